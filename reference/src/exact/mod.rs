//! Exact and arbitrarily precise numbers: what the definition is written in.
//!
//! Every input is a dyadic rational, so scores are exact ([`Dyadic`]); exponentials and logarithms are enclosed in
//! intervals of any width ([`Enclosure`]); a quotient of two enclosures is rounded to binary64 once it is narrow enough
//! to have one rounding ([`round_quotient`]).

mod dyadic;
mod enclosure;
mod rounding;

pub(crate) use dyadic::Dyadic;
pub(crate) use enclosure::{Enclosure, exp_of_negative, ln};
pub(crate) use rounding::{Rounded, round_enclosure, round_quotient, round_ratio};

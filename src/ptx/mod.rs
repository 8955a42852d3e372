//! PTX as data: text to program ([`parse`]), program to text ([`print()`]); `parse(print(m)) == m`.
//!
//! Source: NVIDIA, *Parallel Thread Execution ISA*, versions 7.0 to 9.0. What is read is what compilers
//! emit for attention, softmax, matrix products and reductions; anything else is reported as not supported, with its place.

mod error;
mod inline;
mod instruction;
mod lex;
mod module;
mod names;
mod opcode;
mod operand;
mod operation;
mod parse;
mod print;
mod scalar;
mod sm90;
mod wmma;

pub use error::{Error, ErrorKind};
pub use inline::{InlineError, inline};
pub use instruction::*;
pub use module::*;
pub use names::Use;
pub use opcode::*;
pub use operand::*;
pub use operation::*;
pub use parse::parse;
pub use print::{print, statement};
pub use scalar::*;
pub use sm90::*;
pub use wmma::*;

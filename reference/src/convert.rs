//! The one place in this crate where a number changes to a narrower type.

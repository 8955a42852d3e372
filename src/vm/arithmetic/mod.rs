//! Arithmetic of PTX on bits: floats of every format with every rounding, functions, integers.

pub(crate) mod approximate;
pub(crate) mod byte_float;
pub(crate) mod double;
pub(crate) mod float;
pub(crate) mod function;
pub(crate) mod integer;

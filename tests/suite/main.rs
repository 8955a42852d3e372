//! The one test binary.

mod ptx;

//! Kernel and problem to outcome.

pub mod native;

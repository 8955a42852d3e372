//! Skeleton.

pub mod diagnostic;

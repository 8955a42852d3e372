//! Kernels and their manifests: how a problem becomes a launch.

pub mod binding;
pub mod expression;
pub mod extents;
pub mod tiles;

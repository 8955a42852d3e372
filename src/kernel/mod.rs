//! Kernels and their manifests: how a problem becomes a launch.

pub mod binding;

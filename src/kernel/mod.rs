//! Kernels and their manifests: how a problem becomes a launch.

pub mod bind;
pub mod binding;
pub mod check;
pub mod defects;
pub mod expression;
pub mod extents;
pub mod infer;
mod largest;
pub mod manifest;
pub mod method;
pub mod output;
pub mod param;
mod request;
pub mod selection;
pub mod support;
pub mod table;
pub mod tensor_map;
pub mod tiles;
mod trace;

pub use bind::{BindError, scale_log2};
pub use binding::{Arg, Binding, Buffer, Content};
pub use check::Mismatch;
pub use defects::{Defect, Expected, defects, twins};
pub use infer::{InferError, skeleton};
pub use manifest::{Manifest, ManifestError};
pub use output::{DecodeError, Outputs};
pub use request::Request;
pub use support::Unsupported;
pub use table::{Kernel, UnknownKernel, all, by_name, examples};
pub use tensor_map::BoundMap;

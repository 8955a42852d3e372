//! Kernels and PTX files that the user names.

use super::Failure;
use crate::kernel::{self, Kernel};
use std::path::Path;

/// Whether an argument is a file and not the name of a kernel.
pub(super) fn is_file(argument: &str) -> bool {
    Path::new(argument)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("ptx"))
}

/// The kernels of that name; all right kernels if none is named.
pub(super) fn kernels(names: &[String]) -> Result<Vec<&'static Kernel>, Failure> {
    if names.is_empty() {
        return Ok(kernel::all().iter().collect());
    }
    names
        .iter()
        .map(|name| kernel::by_name(name).map_err(Failure::input))
        .collect()
}

/// Text of a file of the user's.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Input(format!("cannot read {}: {error}", path.display())))
}

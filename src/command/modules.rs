//! Kernels and PTX files that the user names.

use super::Failure;
use crate::kernel::{self, Kernel, manifest};
use std::io::Read;
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
    read(path, u64::MAX, "text in UTF-8")
}

/// Text of a PTX file.
pub(super) fn read_ptx(path: &Path) -> Result<String, Failure> {
    read(
        path,
        PTX_BYTES_MAX,
        "PTX, which is text: `nvcc -ptx` writes it, Triton keeps it in `compiled.asm[\"ptx\"]`, and \
         `cuobjdump -ptx` prints what a cubin, object or library holds of it",
    )
}

/// Text of a manifest.
pub(super) fn read_manifest(path: &Path) -> Result<String, Failure> {
    let limit = u64::try_from(manifest::TEXT_BYTES_MAX).expect("a megabyte");
    read(
        path,
        limit,
        "a manifest, which is TOML text: `flashproof manifest init FILE.ptx` writes a skeleton",
    )
}

/// Largest PTX file: kernels have kilobytes, libraries of them some megabytes.
const PTX_BYTES_MAX: u64 = 256 << 20;

/// The text of a file that should be `what`, of at most `limit` bytes; a file without an end is read so far only.
fn read(path: &Path, limit: u64, what: &str) -> Result<String, Failure> {
    let refuse = |why: String| Failure::Input(format!("cannot read {}: {why}", path.display()));
    let failed = |error: std::io::Error| refuse(error.to_string());
    let file = std::fs::File::open(path).map_err(failed)?;
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        return Err(refuse(format!("it is a folder; name a file of {what}")));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|count| count > limit) {
        return Err(refuse(format!(
            "it has more than {limit} bytes, the most that are read; it should be {what}"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        refuse(format!(
            "byte {at} is {byte:#04x}, which is not UTF-8; it should be {what}"
        ))
    })
}

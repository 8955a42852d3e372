//! The kernels this program carries, with their PTX and manifests.

use super::bind::{self, BindError};
use super::binding::Binding;
use super::check::{self, Mismatch};
use super::defects::{defects, twins};
use super::extents::nearest;
use super::largest;
use super::manifest::{Manifest, ManifestError};
use super::output::{self, DecodeError, Outputs};
use super::request::{self, Request};
use crate::contract::Contract;
use crate::ptx::Module;
use flashproof_reference::{DType, Problem, Shape};
use std::borrow::Cow;
use std::sync::LazyLock;

/// A kernel: PTX and manifest.
#[derive(Clone, Debug)]
pub struct Kernel {
    name: String,
    ptx: Cow<'static, str>,
    pub(super) manifest: Manifest,
}

/// No kernel of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel is called `{name}`{}; `flashproof kernels` lists them", .nearest.as_ref().map_or_else(String::new, |name| format!(" (did you mean `{name}`?)")))]
pub struct UnknownKernel {
    /// The name asked for.
    pub name: String,
    /// A known name that may have been meant.
    pub nearest: Option<String>,
}

impl Kernel {
    /// A kernel of the user's: PTX text and manifest text, under any name. The PTX is not read here.
    pub fn from_parts(name: &str, ptx: &str, manifest: &str) -> Result<Self, ManifestError> {
        Ok(Self {
            name: name.to_owned(),
            ptx: Cow::Owned(ptx.to_owned()),
            manifest: Manifest::parse(manifest)?,
        })
    }

    /// Its name: `block_sparse_sm80`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its PTX.
    pub fn ptx(&self) -> &str {
        &self.ptx
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The launch that computes `problem`.
    pub fn bind(&self, problem: &Problem) -> Result<Binding, BindError> {
        bind::bind(&self.manifest, problem)
    }

    /// The launch for tensors that lie elsewhere: as [`bind`](Self::bind), with q, k and v as so many bytes that nothing
    /// has written. They are contiguous, in the manifest's order of axes.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); thresholds where the kernel takes none, or none where it takes them.
    pub fn bind_shape(&self, request: &Request<'_>) -> Result<Binding, BindError> {
        request::bind(&self.manifest, request)
    }

    /// Launches as large as the manifest allows and a card holds, for a format and a number of channels. Nothing can be run
    /// for them: they say how far the numbers that a launch gives reach ([`Contract::sizes`]).
    pub fn largest(&self, dtype: DType, head_dim: usize) -> Vec<Contract> {
        largest::largest(&self.manifest, dtype, head_dim)
    }

    /// Outputs of a launch, from the bytes of its buffers `o` and `lse` (if it has one).
    pub fn decode(
        &self,
        shape: &Shape,
        dtype: DType,
        o: &[u8],
        lse: Option<&[u8]>,
    ) -> Result<Outputs, DecodeError> {
        output::decode(&self.manifest, shape, dtype, o, lse)
    }

    /// Whether the manifest's entries and parameters are those of the PTX, once parsed.
    ///
    /// # Errors
    /// The first mismatch: the value with its bytes, and what the PTX has there.
    pub fn check_params(&self, module: &Module) -> Result<(), Mismatch> {
        check::check_params(&self.manifest, module)
    }

    pub(super) fn embedded(name: String, ptx: &'static str, manifest: &str) -> Self {
        Self {
            name,
            ptx: Cow::Borrowed(ptx),
            manifest: Manifest::parse(manifest)
                .expect("a test reads the manifest of every embedded kernel"),
        }
    }
}

/// A kernel by the name of its files.
macro_rules! shipped {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../cuda/ptx/", $name, ".ptx")),
            include_str!(concat!("../../cuda/kernels/", $name, ".toml")),
        )
    };
}

static KERNELS: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    [
        shipped!("block_sparse_sm80"),
        shipped!("window_sm80"),
        shipped!("bsfa_sm80"),
        shipped!("block_sparse_sm90"),
        shipped!("window_sm90"),
        shipped!("bsfa_sm90"),
    ]
    .into_iter()
    .map(|(name, ptx, manifest)| Kernel::embedded(name.to_owned(), ptx, manifest))
    .collect()
});

static EXAMPLES: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    vec![
        Kernel::embedded(
            "triton_attention".to_owned(),
            include_str!("../../examples/triton_attention/attention.ptx"),
            include_str!("../../examples/triton_attention/attention.toml"),
        ),
        Kernel::embedded(
            "nvcc_attention".to_owned(),
            include_str!("../../examples/nvcc_attention/attention.ptx"),
            include_str!("../../examples/nvcc_attention/attention.toml"),
        ),
    ]
});

/// Kernels made by others' compilers from plain sources, as a stranger would bring them: `examples/`.
pub fn examples() -> &'static [Kernel] {
    &EXAMPLES
}

/// The right kernels.
pub fn all() -> &'static [Kernel] {
    &KERNELS
}

/// The kernel, defect, repaired twin or example of that name.
pub fn by_name(name: &str) -> Result<&'static Kernel, UnknownKernel> {
    let everything = || {
        let bad = defects().iter().map(|defect| &defect.kernel);
        all().iter().chain(bad).chain(twins()).chain(examples())
    };
    everything()
        .find(|kernel| kernel.name == name)
        .ok_or_else(|| UnknownKernel {
            name: name.to_owned(),
            nearest: nearest(name, everything().map(Kernel::name)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_kernel_is_found_by_its_name() {
        let mut names = HashSet::new();
        let bad = defects().iter().map(|defect| &defect.kernel);
        for kernel in all().iter().chain(bad).chain(twins()) {
            assert!(names.insert(kernel.name()), "{} twice", kernel.name());
            assert_eq!(by_name(kernel.name()).unwrap().ptx(), kernel.ptx());
            for entry in kernel.manifest().entries() {
                assert!(kernel.ptx().contains(&format!(".entry {entry}(")));
            }
        }
        assert_eq!(
            by_name("block_sparse_sm8").unwrap_err().to_string(),
            "no kernel is called `block_sparse_sm8` (did you mean `block_sparse_sm80`?); `flashproof kernels` lists them"
        );
    }

    #[test]
    fn embedded_ptx_stays_small() {
        let bad = defects().iter().map(|defect| &defect.kernel);
        let bytes: usize = all()
            .iter()
            .chain(bad)
            .chain(twins())
            .map(|kernel| kernel.ptx().len())
            .sum();
        assert!(
            bytes < 10 << 20,
            "{bytes} bytes of committed PTX are above 10 MiB"
        );
    }

    #[test]
    fn a_kernel_of_the_users_is_read_from_its_parts() {
        let manifest = include_str!("../../cuda/kernels/block_sparse_sm80.toml");
        let kernel = Kernel::from_parts("mine", "ptx", manifest).unwrap();
        assert_eq!((kernel.name(), kernel.ptx()), ("mine", "ptx"));
        assert!(Kernel::from_parts("mine", "ptx", "version = 1").is_err());
    }
}

//! The kernels this program carries, with their PTX and manifests, and the defects that prove its checkers.

use super::bind::{self, BindError};
use super::binding::Binding;
use super::check::{self, Mismatch};
use super::extents::nearest;
use super::manifest::{Manifest, ManifestError};
use super::output::{self, DecodeError, Outputs};
use super::request::{self, Request};
use crate::ptx::Module;
use flashproof_reference::{DType, Problem, Shape};
use std::borrow::Cow;
use std::sync::LazyLock;

/// A kernel: PTX and manifest.
#[derive(Clone, Debug)]
pub struct Kernel {
    name: String,
    ptx: Cow<'static, str>,
    manifest: Manifest,
}

/// A known-bad kernel with its repaired twin: the same source with the bug taken out.
#[derive(Clone, Debug)]
pub struct Defect {
    /// The bad kernel.
    pub kernel: Kernel,
    /// Its twin, called `NAME.repaired`: as good as the kernel it was made from, so every checker must stay silent.
    pub repaired: Kernel,
    /// What running it must give.
    pub expected: Expected,
    /// Diagnostics that reading it must give (`flashproof analyze`), and no others.
    pub read: &'static [&'static str],
    /// Arguments of a case that shows it, as `verify --case` takes them, without the kernel.
    pub case: &'static str,
}

/// What must be found in a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expected {
    /// One of these diagnostics.
    Findings(&'static [&'static str]),
    /// The verdict *disagree*.
    Disagree,
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

    fn embedded(name: String, ptx: &'static str, manifest: &str) -> Self {
        Self {
            name,
            ptx: Cow::Borrowed(ptx),
            manifest: Manifest::parse(manifest)
                .expect("a test reads the manifest of every embedded kernel"),
        }
    }
}

const BLOCK_SPARSE_SM80: &str = include_str!("../../cuda/kernels/block_sparse_sm80.toml");

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
        let twins = defects()
            .iter()
            .flat_map(|defect| [&defect.kernel, &defect.repaired]);
        all().iter().chain(twins).chain(examples())
    };
    everything()
        .find(|kernel| kernel.name == name)
        .ok_or_else(|| UnknownKernel {
            name: name.to_owned(),
            nearest: nearest(name, everything().map(Kernel::name)),
        })
}

/// The defects.
pub fn defects() -> &'static [Defect] {
    &DEFECTS
}

/// A defect of `block_sparse_sm80` by the name of its files.
macro_rules! defect {
    ($name:literal, $expected:expr, $read:expr, $case:literal) => {
        (
            $name,
            include_str!(concat!("../../cuda/defects/ptx/", $name, ".ptx")),
            include_str!(concat!("../../cuda/defects/ptx/", $name, ".repaired.ptx")),
            $expected,
            {
                const READ: &[&str] = $read;
                READ
            },
            $case,
        )
    };
}

static DEFECTS: LazyLock<Vec<Defect>> = LazyLock::new(|| {
    [
        defect!(
            "copy_barrier_missing",
            Expected::Findings(&["shared-race"]),
            &["copy-wait-barrier", "interval-race"],
            "seqlen_q=64 seqlen_kv=256"
        ),
        defect!(
            "empty_row_nan",
            Expected::Disagree,
            &["unguarded-division"],
            "seqlen_q=40 seqlen_kv=16 layout=causal"
        ),
        defect!(
            "finite_sentinel_fma",
            Expected::Disagree,
            &["finite-sentinel"],
            "seqlen_q=128 seqlen_kv=128 layout=causal+window(20,-)"
        ),
        defect!(
            "lse_base2",
            Expected::Disagree,
            &[],
            "seqlen_q=16 seqlen_kv=64"
        ),
        defect!(
            "ragged_tail_scores_zero",
            Expected::Disagree,
            &[],
            "seqlen_q=16 seqlen_kv=17"
        ),
        defect!(
            "trailing_barrier_missing",
            Expected::Findings(&["shared-race"]),
            &["interval-race"],
            "seqlen_q=64 seqlen_kv=256"
        ),
        defect!(
            "uninitialised_v_tail",
            Expected::Findings(&["uninitialised-store"]),
            &[],
            "seqlen_q=16 seqlen_kv=17"
        ),
        defect!(
            "wait_group_off_by_one",
            Expected::Findings(&["async-copy-read-early"]),
            &["copy-wait-distance"],
            "seqlen_q=64 seqlen_kv=256"
        ),
        defect!(
            "window_off_by_one",
            Expected::Disagree,
            &[],
            "seqlen_q=64 seqlen_kv=64 layout=window(4,-)"
        ),
        defect!(
            "wrong_kv_head",
            Expected::Disagree,
            &[],
            "num_q_heads=4 num_kv_heads=2 seqlen_q=16 seqlen_kv=64"
        ),
    ]
    .into_iter()
    .map(|(name, faulty, repaired, expected, read, case)| {
        // Launched as the kernel they were made from, but built for one of its formats and head dimensions only.
        let kernel = |name: String, ptx| {
            let mut kernel = Kernel::embedded(name, ptx, BLOCK_SPARSE_SM80);
            kernel.manifest.requires.head_dim = vec![32];
            kernel.manifest.requires.dtype = vec![DType::F16];
            kernel
        };
        Defect {
            kernel: kernel(name.to_owned(), faulty),
            repaired: kernel(format!("{name}.repaired"), repaired),
            expected,
            read,
            case,
        }
    })
    .collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::analyze;
    use crate::diagnostic::Blame;
    use crate::ptx::parse;
    use std::collections::HashSet;

    /// Instructions and declarations of an entry, without the places in the source they came from.
    fn code<'a>(ptx: &'a str, entry: &str) -> Vec<&'a str> {
        let (_, rest) = ptx.split_once(&format!(".entry {entry}(")).unwrap();
        let (body, _) = rest.split_once("\n}\n").unwrap();
        body.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with(".loc"))
            .collect()
    }

    #[test]
    fn every_kernel_is_found_by_its_name() {
        let mut names = HashSet::new();
        let twins = defects().iter().flat_map(|d| [&d.kernel, &d.repaired]);
        for kernel in all().iter().chain(twins) {
            assert!(names.insert(kernel.name()), "{} twice", kernel.name());
            assert_eq!(by_name(kernel.name()).unwrap().ptx(), kernel.ptx());
            for entry in kernel.manifest().entries() {
                assert!(!code(kernel.ptx(), &entry).is_empty());
            }
        }
        assert_eq!(
            by_name("block_sparse_sm8").unwrap_err().to_string(),
            "no kernel is called `block_sparse_sm8` (did you mean `block_sparse_sm80`?); `flashproof kernels` lists them"
        );
    }

    #[test]
    fn a_repaired_twin_is_the_kernel_instruction_for_instruction() {
        let entry = "block_sparse_sm80_f16_d32";
        let kernel = code(all()[0].ptx(), entry);
        assert!(kernel.len() > 1000);
        for defect in defects() {
            assert_eq!(
                code(defect.repaired.ptx(), entry),
                kernel,
                "{}",
                defect.repaired.name()
            );
            assert_ne!(
                code(defect.kernel.ptx(), entry),
                kernel,
                "{}",
                defect.kernel.name()
            );
        }
    }

    #[test]
    fn a_defect_says_the_same_in_its_source() {
        for defect in defects() {
            let path = format!(
                "{}/cuda/defects/{}.cu",
                env!("CARGO_MANIFEST_DIR"),
                defect.kernel.name()
            );
            let source = std::fs::read_to_string(path).unwrap();
            assert!(
                source.contains(&format!("/// Case       {}\n", defect.case)),
                "{}",
                defect.kernel.name()
            );
            let (_, finding) = source.split_once("/// Finding").unwrap();
            let (finding, _) = finding.split_once("/// Case").unwrap();
            for code in defect.read {
                assert!(finding.contains(code), "{}: {code}", defect.kernel.name());
            }
            match defect.expected {
                Expected::Disagree => assert!(finding.contains("verdict disagree")),
                Expected::Findings(codes) => {
                    for code in codes {
                        assert!(finding.contains(code), "{}: {code}", defect.kernel.name());
                    }
                }
            }
        }
    }

    #[test]
    fn the_readme_lists_every_defect_with_its_finding() {
        let readme = include_str!("../../cuda/README.md");
        let (_, list) = readme
            .split_once("| defect | wrong | run | read |")
            .unwrap();
        let rows: Vec<&str> = list.lines().skip(2).collect();
        assert_eq!(rows.len(), defects().len());
        for (row, defect) in rows.iter().zip(defects()) {
            let found = match defect.expected {
                Expected::Disagree => "disagree".to_owned(),
                Expected::Findings(codes) => codes.join(", "),
            };
            let read = defect.read.join(", ");
            assert!(
                row.starts_with(&format!("| `{}` |", defect.kernel.name())),
                "{row}"
            );
            assert!(row.ends_with(&format!("| {found} | {read} |")), "{row}");
        }
    }

    #[test]
    fn the_static_pass_finds_what_the_table_says_and_nothing_else() {
        let answers = |kernel: &Kernel| {
            let module = parse(kernel.name(), kernel.ptx()).unwrap();
            let results = analyze(&module);
            assert!(
                results.len() >= module.functions.len(),
                "an answer of each pass"
            );
            let findings = results.into_iter().flat_map(|result| result.findings);
            findings
                .filter(|finding| finding.blame == Blame::Kernel)
                .map(|finding| finding.code.0)
                .collect::<HashSet<_>>()
        };
        for kernel in all() {
            assert_eq!(answers(kernel), HashSet::new(), "{}", kernel.name());
        }
        for defect in defects() {
            assert_eq!(
                answers(&defect.kernel),
                defect.read.iter().copied().collect(),
                "{}",
                defect.kernel.name()
            );
            assert_eq!(
                answers(&defect.repaired),
                HashSet::new(),
                "{}",
                defect.repaired.name()
            );
        }
    }

    #[test]
    fn embedded_ptx_stays_small() {
        let twins = defects().iter().flat_map(|d| [&d.kernel, &d.repaired]);
        let bytes: usize = all()
            .iter()
            .chain(twins)
            .map(|kernel| kernel.ptx().len())
            .sum();
        assert!(
            bytes < 8 << 20,
            "{bytes} bytes of committed PTX are above 8 MiB"
        );
    }

    #[test]
    fn a_kernel_of_the_users_is_read_from_its_parts() {
        let kernel = Kernel::from_parts("mine", "ptx", BLOCK_SPARSE_SM80).unwrap();
        assert_eq!((kernel.name(), kernel.ptx()), ("mine", "ptx"));
        assert!(Kernel::from_parts("mine", "ptx", "version = 1").is_err());
    }
}

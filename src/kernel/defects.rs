//! Kernels that are wrong in one known way, and their repaired twins: they prove the checkers.

use super::table::{self, Kernel};
use Expected::{Disagree, Findings};
use flashproof_reference::DType;
use std::sync::LazyLock;

/// A known-bad kernel with its repaired twin: the same source with the bug taken out.
#[derive(Clone, Debug)]
pub struct Defect {
    /// The bad kernel.
    pub kernel: Kernel,
    /// Its twin, on which every checker must stay silent: the kernel it was made from, or of a defect of
    /// `block_sparse_sm80` a build of its own, `NAME.repaired`, of the same instructions.
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

/// The defects.
pub fn defects() -> &'static [Defect] {
    &DEFECTS
}

/// The repaired twins that are no shipped kernels themselves.
pub fn twins() -> impl Iterator<Item = &'static Kernel> {
    let own = |defect: &&Defect| defect.repaired.name().ends_with(".repaired");
    DEFECTS.iter().filter(own).map(|defect| &defect.repaired)
}

const BLOCK_SPARSE_SM80: &str = include_str!("../../cuda/kernels/block_sparse_sm80.toml");

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

/// Defects of a kernel: `"name": expected, [what reading it gives], "case";`.
macro_rules! of_kernel {
    ($list:ident, $kernel:literal, $head_dim:literal, $($name:literal: $expected:expr, [$($read:literal),*], $case:literal;)+) => {
        $list.extend([$(Defect {
            kernel: restricted(
                Kernel::embedded(
                    $name.to_owned(),
                    include_str!(concat!("../../cuda/defects/ptx/", $name, ".ptx")),
                    include_str!(concat!("../../cuda/kernels/", $kernel, ".toml")),
                ),
                $head_dim,
            ),
            repaired: shipped($kernel),
            expected: $expected,
            read: &[$($read),*],
            case: $case,
        }),+]);
    };
}

/// The right kernel of that name.
fn shipped(name: &str) -> Kernel {
    let mut kernels = table::all().iter();
    let kernel = kernels.find(|kernel| kernel.name() == name);
    kernel
        .expect("a test looks for the kernel of every defect")
        .clone()
}

/// Launched as the kernel it was made from, but built for one of its formats and head dimensions only.
fn restricted(mut kernel: Kernel, head_dim: u32) -> Kernel {
    kernel.manifest.requires.head_dim = vec![head_dim];
    kernel.manifest.requires.dtype = vec![DType::F16];
    kernel
}

static DEFECTS: LazyLock<Vec<Defect>> = LazyLock::new(|| {
    let mut list: Vec<Defect> = [
        defect!(
            "copy_barrier_missing",
            Findings(&["shared-race"]),
            &["copy-wait-barrier", "interval-race"],
            "seqlen_q=64 seqlen_kv=256"
        ),
        defect!(
            "empty_row_nan",
            Disagree,
            &["unguarded-division"],
            "seqlen_q=40 seqlen_kv=16 layout=causal"
        ),
        defect!(
            "finite_sentinel_fma",
            Disagree,
            &["finite-sentinel"],
            "seqlen_q=128 seqlen_kv=128 layout=causal+window(20,-)"
        ),
        defect!("lse_base2", Disagree, &[], "seqlen_q=16 seqlen_kv=64"),
        defect!(
            "ragged_tail_scores_zero",
            Disagree,
            &[],
            "seqlen_q=16 seqlen_kv=17"
        ),
        defect!(
            "trailing_barrier_missing",
            Findings(&["shared-race"]),
            &["interval-race"],
            "seqlen_q=64 seqlen_kv=256"
        ),
        defect!(
            "uninitialised_v_tail",
            Findings(&["uninitialised-store"]),
            &[],
            "seqlen_q=16 seqlen_kv=17"
        ),
        defect!(
            "wait_group_off_by_one",
            Findings(&["async-copy-read-early"]),
            &["copy-wait-distance"],
            "seqlen_q=64 seqlen_kv=256"
        ),
        defect!(
            "window_off_by_one",
            Disagree,
            &[],
            "seqlen_q=64 seqlen_kv=64 layout=window(4,-)"
        ),
        defect!(
            "wrong_kv_head",
            Disagree,
            &[],
            "num_q_heads=4 num_kv_heads=2 seqlen_q=16 seqlen_kv=64"
        ),
    ]
    .into_iter()
    .map(|(name, faulty, repaired, expected, read, case)| {
        let kernel =
            |name: String, ptx| restricted(Kernel::embedded(name, ptx, BLOCK_SPARSE_SM80), 32);
        Defect {
            kernel: kernel(name.to_owned(), faulty),
            repaired: kernel(format!("{name}.repaired"), repaired),
            expected,
            read,
            case,
        }
    })
    .collect();
    of_kernel!(list, "window_sm80", 32,
        "barrier_by_three_warps": Findings(&["shared-race", "barrier-after-exit"]), ["barrier-divergence", "interval-race"], "seqlen_q=64 seqlen_kv=128";
        "diagonal_from_first_key": Disagree, [], "seqlen_q=20 seqlen_kv=64 layout=causal";
        "edge_tile_taken_for_full": Disagree, [], "seqlen_q=64 seqlen_kv=128 layout=window(100,-)";
        "empty_row_mean_of_values": Disagree, ["finite-sentinel"], "seqlen_q=40 seqlen_kv=16 layout=causal";
        "first_tile_late": Disagree, [], "seqlen_q=16 seqlen_kv=200 layout=window(90,-)";
        "kv_head_by_heads": Disagree, [], "num_q_heads=6 num_kv_heads=3 seqlen_q=16 seqlen_kv=64";
        "last_tile_floor": Disagree, [], "seqlen_q=16 seqlen_kv=80";
        "lse_infinite_for_empty_row": Disagree, [], "seqlen_q=40 seqlen_kv=16 layout=causal";
        "lse_scaled_twice": Disagree, [], "seqlen_q=16 seqlen_kv=64";
        "output_not_rescaled": Disagree, [], "seqlen_q=64 seqlen_kv=256 values=growing_max";
        "sinks_past_diagonal": Disagree, [], "seqlen_q=32 seqlen_kv=32 layout=causal+window(2,-)+sinks(9)";
        "tail_read_past_the_end": Findings(&["out-of-bounds"]), [], "seqlen_q=16 seqlen_kv=17";
        "window_never_applied": Disagree, [], "seqlen_q=64 seqlen_kv=64 layout=window(4,4)";
        "window_right_clamped": Disagree, [], "seqlen_q=100 seqlen_kv=20 layout=window(90,-)";
        "window_right_narrow": Disagree, [], "seqlen_q=16 seqlen_kv=64 layout=window(-,3)";
    );
    of_kernel!(list, "bsfa_sm80", 32,
        "decision_by_warp": Findings(&["tile-decision"]), [], "num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=256";
        "dropped_tile_in_row_sum": Disagree, [], "num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=256 values=near_uniform";
        "edge_tile_tested": Findings(&["tile-decision"]), [], "num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=250 layout=causal values=integers";
        "kept_bit_of_next_tile": Findings(&["tile-decision"]), [], "num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=256";
        "last_tile_dropped": Findings(&["tile-decision"]), [], "num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=256 values=integers";
        "maxima_not_ordered": Findings(&["shared-race"]), ["copy-wait-barrier", "interval-race"], "seqlen_q=64 seqlen_kv=128";
        "negative_maxima_lost": Findings(&["tile-decision"]), [], "num_q_heads=3 seqlen_q=305 seqlen_kv=256 values=one_key seed=60993961";
        "scratch_past_shared_memory": Findings(&["out-of-bounds"]), [], "seqlen_q=64 seqlen_kv=128";
        "threshold_not_offset": Findings(&["tile-decision"]), [], "seqlen_q=64 seqlen_kv=256 layout=causal values=integers";
        "threshold_of_kv_head": Findings(&["tile-decision"]), [], "num_q_heads=4 num_kv_heads=2 seqlen_q=64 seqlen_kv=256 values=integers";
        "threshold_strict": Findings(&["tile-decision"]), [], "num_q_heads=4 num_kv_heads=2 seqlen_q=15 seqlen_kv=230 values=q_zero seed=727177936";
        "values_not_waited_for": Findings(&["async-copy-read-early"]), ["copy-wait-distance"], "seqlen_q=64 seqlen_kv=128";
    );
    of_kernel!(list, "block_sparse_sm90", 64,
        "barriers_not_published": Findings(&["mbarrier-init-unordered"]), ["mbarrier-unpublished"], "head_dim=64 seqlen_q=64 seqlen_kv=64";
        "copied_zeros_score": Disagree, [], "head_dim=64 seqlen_q=16 seqlen_kv=17";
        "copies_wait_for_a_release": Findings(&["deadlock"]), ["phase-never-completes"], "head_dim=64 seqlen_q=64 seqlen_kv=64";
        "empty_list_copies_queries": Findings(&["deadlock"]), [], "head_dim=64 seqlen_q=700 seqlen_kv=32 layout=causal";
        "every_thread_releases": Findings(&["deadlock", "mbarrier-over-arrival"]), ["phase-arrivals"], "head_dim=64 seqlen_q=64 seqlen_kv=512";
        "infinity_less_infinity": Disagree, ["unguarded-infinity"], "head_dim=64 seqlen_q=128 seqlen_kv=128 layout=window(3,3)";
        "key_rows_overlap": Disagree, [], "head_dim=64 seqlen_q=16 seqlen_kv=64";
        "last_entry_dropped": Disagree, [], "head_dim=64 seqlen_q=64 seqlen_kv=256";
        "list_read_past_its_end": Findings(&["out-of-bounds"]), [], "head_dim=64 seqlen_q=256 seqlen_kv=256 layout=blocks(400,128,64,1)";
        "mask_of_other_warpgroup": Disagree, [], "head_dim=64 seqlen_q=128 seqlen_kv=256 layout=blocks(500,64,64,1)";
        "one_list_for_all_heads": Disagree, [], "head_dim=64 num_q_heads=2 num_kv_heads=2 seqlen_q=128 seqlen_kv=256 layout=head_blocks(400,64,64,3)";
        "one_release_for_two_readers": Findings(&["deadlock", "wgmma-operand-overwritten"]), ["phase-arrivals"], "head_dim=64 seqlen_q=128 seqlen_kv=512";
        "order_off_by_one": Findings(&["out-of-bounds"]), [], "head_dim=64 seqlen_q=64 seqlen_kv=64";
        "parity_kept_at_wrap": Findings(&["bulk-copy-read-early"]), ["stage-read-early"], "head_dim=64 seqlen_q=64 seqlen_kv=384";
        "partial_tile_taken_for_full": Disagree, [], "head_dim=64 seqlen_q=64 seqlen_kv=128 layout=blocks(500,16,16,1)";
        "proxy_fence_missing": Findings(&["proxy-fence-missing"]), [], "head_dim=64 seqlen_q=64 seqlen_kv=64";
        "queries_parity_kept": Findings(&["bulk-copy-read-early", "bulk-copy-race"]), ["stage-read-early"], "head_dim=64 num_q_heads=6 num_kv_heads=6 seqlen_q=64 seqlen_kv=64";
        "registers_beyond_the_pool": Findings(&["register-pool"]), [], "head_dim=64 seqlen_q=64 seqlen_kv=64";
        "stage_never_released": Findings(&["deadlock"]), ["phase-never-completes"], "head_dim=64 seqlen_q=64 seqlen_kv=384";
        "stage_released_early": Findings(&["wgmma-operand-overwritten"]), ["stage-released-early"], "head_dim=64 seqlen_q=64 seqlen_kv=512";
        "stages_restart_with_queries": Disagree, ["stage-read-early"], "head_dim=64 num_q_heads=6 num_kv_heads=6 seqlen_q=64 seqlen_kv=128";
        "tma_bytes_long": Findings(&["deadlock"]), ["phase-bytes"], "head_dim=64 seqlen_q=64 seqlen_kv=128";
        "tma_bytes_short": Findings(&["deadlock", "bulk-copy-read-early"]), ["phase-bytes"], "head_dim=64 seqlen_q=64 seqlen_kv=128";
        "wgmma_commit_missing": Findings(&["wgmma-accumulator-in-flight"]), ["stage-released-early", "wgmma-operand-rewritten", "wgmma-unwaited"], "head_dim=64 seqlen_q=64 seqlen_kv=128";
        "wgmma_fence_missing": Findings(&["wgmma-fence-missing"]), ["wgmma-unfenced"], "head_dim=64 seqlen_q=64 seqlen_kv=128";
        "wgmma_wait_too_few": Findings(&["wgmma-accumulator-in-flight"]), ["stage-released-early", "wgmma-operand-rewritten", "wgmma-unwaited"], "head_dim=64 seqlen_q=64 seqlen_kv=128";
    );
    list
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::analyze_under;
    use crate::contract::{Contract, Promise, PromisedValue};
    use crate::diagnostic::Blame;
    use crate::kernel::param::ParamValue;
    use crate::kernel::{all, by_name};
    use crate::ptx::parse;
    use std::collections::HashSet;

    /// Instructions and declarations of an entry, without the places in the source they came from.
    fn code<'a>(ptx: &'a str, entry: &str) -> Vec<&'a str> {
        let (_, rest) = ptx.split_once(&format!(".entry {entry}(")).unwrap();
        // Up to the next entry, or to the places in the source: inline assembly has closing braces of its own.
        let ends = [".visible .entry", ".file", ".section"].iter();
        let end = ends.filter_map(|end| {
            rest.find(&format!("\n{end}"))
                .or(rest.find(&format!("\n\t{end}")))
        });
        let body = &rest[..end.min().unwrap_or(rest.len())];
        body.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with(".loc") && !line.starts_with("//"))
            .collect()
    }

    #[test]
    fn a_repaired_twin_is_the_kernel_instruction_for_instruction() {
        for defect in defects() {
            let manifest = defect.kernel.manifest();
            let entry = &manifest.entries()[0];
            let (kernel, _) = entry.rsplit_once("_f16_").unwrap();
            let kernel = code(by_name(kernel).unwrap().ptx(), entry);
            assert!(kernel.len() > 1000);
            let name = defect.kernel.name();
            assert_eq!(code(defect.repaired.ptx(), entry), kernel, "{name}");
            assert_ne!(code(defect.kernel.ptx(), entry), kernel, "{name}");
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
                Disagree => assert!(finding.contains("verdict disagree")),
                Findings(codes) => {
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
                Disagree => "disagree".to_owned(),
                Findings(codes) => codes.join(", "),
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
            // Of a launch only what does not depend on shapes: which boxes its maps copy.
            let maps = kernel.manifest.params.iter().filter_map(|param| {
                let ParamValue::TensorMap(map) = &param.value else {
                    return None;
                };
                let elements: u32 = map.box_elements.iter().product();
                Some(Promise {
                    offset: param.offset,
                    bytes: 128,
                    value: PromisedValue::Map {
                        box_bytes: u64::from(elements) * 2,
                    },
                })
            });
            let contract = Contract {
                shared_bytes: 1 << 20,
                params: maps.collect(),
                ..Contract::default()
            };
            let results = analyze_under(&module, &|_| vec![contract.clone()]);
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
        for kernel in all().iter().chain(twins()) {
            assert_eq!(answers(kernel), HashSet::new(), "{}", kernel.name());
        }
        for defect in defects() {
            assert_eq!(
                answers(&defect.kernel),
                defect.read.iter().copied().collect(),
                "{}",
                defect.kernel.name()
            );
        }
    }
}

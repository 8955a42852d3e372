//! The shipped kernels, feature by feature, with the verdicts of the committed cases.

use super::table::Table;
use crate::case::{Blocks, Case};
use crate::kernel::manifest::MaskRule;
use crate::kernel::{Kernel, all};
use flashproof_reference::DType;

/// A feature: its name, whether a kernel has it, whether a case uses it.
type Feature = (&'static str, fn(&Kernel) -> bool, fn(&Case) -> bool);

const FEATURES: [Feature; 14] = [
    ("f16", |k| takes(k, DType::F16), |c| c.dtype == DType::F16),
    (
        "bf16",
        |k| takes(k, DType::Bf16),
        |c| c.dtype == DType::Bf16,
    ),
    (
        "head_dim 32",
        |k| is_as_wide(k, 32),
        |c| c.shape.head_dim == 32,
    ),
    (
        "head_dim 64",
        |k| is_as_wide(k, 64),
        |c| c.shape.head_dim == 64,
    ),
    (
        "head_dim 128",
        |k| is_as_wide(k, 128),
        |c| c.shape.head_dim == 128,
    ),
    (
        "no rule",
        |_| true,
        |c| {
            let layout = &c.layout;
            !(layout.causal || has_window(c) || layout.sinks > 0 || is_blocked(c))
        },
    ),
    (
        "causal",
        |k| k.manifest().supports(MaskRule::Causal),
        |c| c.layout.causal,
    ),
    (
        "window",
        |k| k.manifest().supports(MaskRule::Window),
        has_window,
    ),
    (
        "sinks",
        |k| k.manifest().supports(MaskRule::Sinks),
        |c| c.layout.sinks > 0,
    ),
    (
        "blocks",
        |k| k.manifest().supports(MaskRule::Blocks),
        is_blocked,
    ),
    (
        "threshold",
        |k| k.manifest().supports(MaskRule::Threshold),
        |_| true,
    ),
    (
        "grouped heads",
        |_| true,
        |c| c.shape.num_q_heads > c.shape.num_kv_heads,
    ),
    (
        "lengths that differ",
        |_| true,
        |c| c.shape.seqlen_q != c.shape.seqlen_kv,
    ),
    ("several sequences", |_| true, |c| c.shape.batch > 1),
];

fn takes(kernel: &Kernel, dtype: DType) -> bool {
    kernel.manifest().requires.dtype.contains(&dtype)
}

fn is_as_wide(kernel: &Kernel, head_dim: u32) -> bool {
    kernel.manifest().requires.head_dim.contains(&head_dim)
}

fn has_window(case: &Case) -> bool {
    case.layout.window.left.is_some() || case.layout.window.right.is_some()
}

fn is_blocked(case: &Case) -> bool {
    case.layout.blocks != Blocks::All
}

/// Cases on which each kernel agreed, of those that use a feature; `-` where the kernel does not have it. Of the rows of
/// `reports/verification/cases.csv` that the virtual machine ran.
pub fn table(cases_csv: &str) -> Table {
    let rows: Vec<(Case, &str)> = cases_csv
        .lines()
        .filter_map(|line| line.strip_prefix("vm,"))
        .filter_map(|rest| {
            // A case has no comma but inside brackets, and is quoted then.
            let (case, rest) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once("\",")?,
                None => rest.split_once(',')?,
            };
            Some((case.parse().ok()?, rest.split(',').next()?))
        })
        .collect();
    let mut columns = vec!["feature"];
    columns.extend(all().iter().map(Kernel::name));
    let mut table = Table::new(columns);
    for (name, has, uses) in FEATURES {
        let cells = all().iter().map(|kernel| {
            if !has(kernel) {
                return "-".to_owned();
            }
            let own = || {
                rows.iter()
                    .filter(|(case, _)| case.kernel == kernel.name() && uses(case))
            };
            let agreed = own().filter(|(_, verdict)| *verdict == "agree").count();
            let of = own().count();
            if of == 0 {
                "no case".to_owned()
            } else {
                format!("{agreed} of {of}")
            }
        });
        table.push(std::iter::once(name.to_owned()).chain(cells));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    fn read(name: &str) -> String {
        std::fs::read_to_string(path(name)).unwrap_or_default()
    }

    /// `FLASHPROOF_UPDATE=1` writes what the document should say; else it must say so.
    #[track_caller]
    fn hold(name: &str, expected: &str) {
        if std::env::var_os("FLASHPROOF_UPDATE").is_some() {
            std::fs::write(path(name), expected).unwrap();
        }
        assert!(
            read(name) == expected,
            "{name} is stale: FLASHPROOF_UPDATE=1 cargo test --lib kernel_table rewrites it"
        );
    }

    #[test]
    fn the_documents_say_what_is_so() {
        let text = read("cuda/README.md");
        let (begin, end) = ("<!-- generated: kernels -->\n", "<!-- end -->");
        let (before, rest) = text.split_once(begin).expect("the table's place");
        let (_, after) = rest.split_once(end).expect("the table's end");
        let table = table(&read("reports/verification/cases.csv")).markdown();
        hold(
            "cuda/README.md",
            &format!("{before}{begin}{table}{end}{after}"),
        );
        let known = super::super::resources::document().unwrap();
        hold("reports/analysis/resources.md", &known);
        let entries = super::super::resources::entries().unwrap();
        hold("reports/analysis/resources.csv", &entries.csv());
    }

    #[test]
    fn cases_are_counted_by_what_they_use() {
        let csv = "backend,case,verdict,detail\n\
                   vm,kernel=window_sm80 seqlen_q=3 seqlen_kv=5 layout=causal,agree,1 elements\n\
                   vm,\"kernel=window_sm80 layout=window(4,-)\",disagree,\"a, b\"\n\
                   native,kernel=window_sm80,agree,1 elements\n";
        let text = table(csv).csv();
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            let at = all()
                .iter()
                .position(|k| k.name() == "window_sm80")
                .unwrap();
            line.split(',').nth(at + 1).unwrap().to_owned()
        };
        assert_eq!(row("causal"), "1 of 1");
        assert_eq!(row("window"), "0 of 1");
        assert_eq!(row("blocks"), "-");
        assert_eq!(row("sinks"), "no case");
        assert_eq!(row("f16"), "1 of 2");
    }
}

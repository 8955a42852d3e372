//! Every shipped kernel over a pairwise covering set: any two values of number format, head dimension, feature, card and
//! contraction of products occur together in a case, and every case agrees. `verify --full` takes random ones.

use flashproof::backend::Backend;
use flashproof::case::Case;
use flashproof::kernel::method::MaskRule;
use flashproof::kernel::{self, Kernel, Manifest};
use flashproof::oracle;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// A rule that a kernel must have, and arguments of a case.
const FEATURES: [(Option<MaskRule>, &str); 8] = [
    (None, "seqlen_q=70 seqlen_kv=130"),
    (
        None,
        "num_q_heads=4 num_kv_heads=2 seqlen_q=17 seqlen_kv=77",
    ),
    (
        None,
        "batch=2 num_q_heads=2 num_kv_heads=1 seqlen_q=130 seqlen_kv=60",
    ),
    (
        Some(MaskRule::Causal),
        "seqlen_q=100 seqlen_kv=140 layout=causal",
    ),
    (
        Some(MaskRule::Window),
        "seqlen_q=130 seqlen_kv=150 layout=window(40,9)",
    ),
    (
        Some(MaskRule::Sinks),
        "seqlen_q=140 seqlen_kv=200 layout=causal+window(20,-)+sinks(3)",
    ),
    (
        Some(MaskRule::Blocks),
        "seqlen_q=128 seqlen_kv=192 layout=blocks(500,32,64,1)",
    ),
    (
        Some(MaskRule::Blocks),
        "num_q_heads=2 num_kv_heads=1 seqlen_q=70 seqlen_kv=130 layout=head_blocks(400,16,16,3)+causal",
    ),
];

/// Each factor's values that a kernel takes, as arguments of a case.
fn factors(manifest: &Manifest) -> Vec<Vec<String>> {
    let supported = |rule: Option<MaskRule>| rule.is_none_or(|rule| manifest.supports(rule));
    let features = FEATURES.iter().filter(|(rule, _)| supported(*rule));
    let targets: &[&str] = if manifest.target == "sm_80" {
        &["target=sm_80", "target=sm_90"]
    } else {
        &["target=sm_90"]
    };
    vec![
        manifest
            .requires
            .dtype
            .iter()
            .map(|dtype| format!("dtype={dtype}"))
            .collect(),
        manifest
            .requires
            .head_dim
            .iter()
            .map(|dim| format!("head_dim={dim}"))
            .collect(),
        features
            .map(|(_, arguments)| (*arguments).to_owned())
            .collect(),
        targets.iter().map(|&target| target.to_owned()).collect(),
        ["contract=none", "contract=ptxas"]
            .map(str::to_owned)
            .to_vec(),
    ]
}

/// Pairs of (factor, value) of a row.
fn pairs(row: &[usize]) -> BTreeSet<[(usize, usize); 2]> {
    let places: Vec<(usize, usize)> = row.iter().copied().enumerate().collect();
    let mut pairs = BTreeSet::new();
    for (i, &a) in places.iter().enumerate() {
        pairs.extend(places[i + 1..].iter().map(|&b| [a, b]));
    }
    pairs
}

/// Rows that cover every pair, each the one that covers most of what is left.
fn covering(counts: &[usize]) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for &count in counts {
        all = all
            .iter()
            .flat_map(|row| (0..count).map(|value| [row.as_slice(), &[value]].concat()))
            .collect();
    }
    let mut open: BTreeSet<_> = all.iter().flat_map(|row| pairs(row)).collect();
    let mut rows = Vec::new();
    while !open.is_empty() {
        let covers = |row: &Vec<usize>| pairs(row).intersection(&open).count();
        let best = all
            .iter()
            .rev()
            .max_by_key(|row| covers(row))
            .unwrap()
            .clone();
        for pair in pairs(&best) {
            open.remove(&pair);
        }
        rows.push(best);
    }
    rows
}

fn cases(kernel: &Kernel) -> Vec<Case> {
    let factors = factors(kernel.manifest());
    let counts: Vec<usize> = factors.iter().map(Vec::len).collect();
    let line = |row: Vec<usize>| {
        let values = row
            .iter()
            .zip(&factors)
            .map(|(&value, factor)| factor[value].as_str());
        let arguments: Vec<&str> = values.collect();
        format!("kernel={} {}", kernel.name(), arguments.join(" "))
            .parse()
            .unwrap()
    };
    covering(&counts).into_iter().map(line).collect()
}

#[test]
fn every_kernel_agrees_on_every_pair_of_values() {
    let cases: Vec<Case> = kernel::all().iter().flat_map(cases).collect();
    assert!(cases.len() >= 90, "{} cases", cases.len());
    let complaints: Vec<String> = cases
        .par_iter()
        .map(|case| oracle::check(case, &Backend::default()).unwrap())
        .filter(|report| report.verdict.name() != "agree" || !report.findings.is_empty())
        .map(|report| report.to_string())
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_covering_set_has_every_pair_and_is_small() {
    let rows = covering(&[2, 3, 8, 2, 2]);
    let covered: BTreeSet<_> = rows.iter().flat_map(|row| pairs(row)).collect();
    assert_eq!(
        covered.len(),
        2 * 3 + 2 * 8 + 4 + 4 + 3 * 8 + 6 + 6 + 16 + 16 + 4
    );
    assert!((24..=28).contains(&rows.len()), "{} rows", rows.len());
}

//! Kernels of Hopper's asynchronous family (`tests/ptx/hopper`): right ones are silent and give the numbers of a plain
//! computation, defective ones are found by name.

mod tensor;
mod wgmma;

use flashproof::ptx::parse;
use flashproof::vm::{
    Element, Initial, Launch, Memory, Options, Report, Stop, Swizzle, Target, TensorMap, run,
};
use half::f16;
use std::collections::BTreeSet;

/// Small integers and halves: products and sums of these are exact in f32, so the answer is one number.
fn values(count: usize, seed: u32) -> Vec<f16> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f16::from_f32((f32::from((state >> 24).to_le_bytes()[0]) - 128.0) / 32.0)
        })
        .collect()
}

fn bytes(values: &[f16]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A map over rows of `width` halves, with boxes of 64 x 64.
fn map(address: u64, width: usize, rows: usize) -> Vec<u8> {
    let size = |count: usize| u64::try_from(count).unwrap();
    TensorMap {
        element: Element::F16,
        address,
        sizes: vec![size(width), size(rows)],
        strides: vec![size(2 * width)],
        box_sizes: vec![64, 64],
        element_strides: vec![1, 1],
        swizzle: Swizzle::B128,
    }
    .encode()
    .unwrap()
    .to_vec()
}

fn execute(text: &str, mut launch: Launch, memory: &mut Memory, seed: u64) -> Result<Report, Stop> {
    let module = parse("hopper.ptx", text).unwrap_or_else(|error| panic!("{error}"));
    launch.entry.clone_from(&module.functions[0].name);
    let options = Options {
        target: Target::Sm90,
        seed,
        instruction_budget: 1_000_000,
        ..Options::default()
    };
    run(&module, &launch, memory, &options)
}

fn codes(result: &Result<Report, Stop>) -> BTreeSet<String> {
    match result {
        Ok(report) => report
            .findings
            .iter()
            .map(|finding| finding.code.to_string())
            .collect(),
        Err(Stop::Trap(diagnostics)) => {
            // A stop's own code first; what was seen before it counts too.
            diagnostics
                .iter()
                .map(|finding| finding.code.to_string())
                .collect()
        }
        Err(other) => panic!("{other}"),
    }
}

/// `m x n x (64 tiles)`; `k` may end inside the last tile.
fn gemm(text: &str, m: usize, n: usize, k: usize, seed: u64) -> (Result<Report, Stop>, bool) {
    let (a, b) = (values(m * k, 1), values(n * k, 2));
    let mut memory = Memory::new();
    let a_at = memory.allocate("a", Initial::Bytes(bytes(&a)), false);
    let b_at = memory.allocate("b", Initial::Bytes(bytes(&b)), false);
    let (rows, columns) = (m.next_multiple_of(64), n.next_multiple_of(64));
    let c_at = memory.allocate("c", Initial::Uninitialised(4 * rows * columns), true);
    let mut params = map(a_at, k, m);
    params.extend(map(b_at, k, n));
    params.extend(c_at.to_le_bytes());
    let word = |x: usize| u32::try_from(x).unwrap();
    params.extend(word(columns).to_le_bytes());
    params.extend(word(k.div_ceil(64)).to_le_bytes());
    let launch = Launch {
        entry: String::new(),
        grid: [word(columns / 64), word(rows / 64), 1],
        cta: [256, 1, 1],
        shared_bytes: 4 * 8192 + 64,
        params,
    };
    let result = execute(text, launch, &mut memory, seed);
    let c = memory.bytes(c_at, 4 * rows * columns).unwrap();
    let right = (0..rows).all(|row| {
        (0..columns).all(|column| {
            let exact: f64 = if row < m && column < n {
                (0..k)
                    .map(|i| f64::from(a[row * k + i]) * f64::from(b[column * k + i]))
                    .sum()
            } else {
                0.0
            };
            let at = 4 * (row * columns + column);
            let got = f32::from_le_bytes(c[at..at + 4].try_into().unwrap());
            // wgmma truncates; these sums need fewer bits than it keeps.
            (f64::from(got) - exact).abs() < 1e-9
        })
    });
    (result, right)
}

#[test]
fn a_right_gemm_is_silent() {
    let text = include_str!("../ptx/hopper/gemm.ptx");
    for (m, n, k, seed) in [(64, 64, 64, 0), (70, 128, 200, 3), (64, 64, 384, 7)] {
        let (result, right) = gemm(text, m, n, k, seed);
        let report = result.unwrap_or_else(|stop| panic!("{stop:#?}"));
        assert_eq!(report.findings, vec![], "{m} x {n} x {k}");
        assert!(right, "{m} x {n} x {k}");
    }
}

/// One head of dimension 64; gives the largest distance from f64.
fn attention(
    text: &str,
    seqlen_q: usize,
    seqlen_kv: usize,
    seed: u64,
) -> (Result<Report, Stop>, f64) {
    let (result, worst, _) = attention_bits(text, seqlen_q, seqlen_kv, seed);
    (result, worst)
}

/// The same with the bytes of the output.
fn attention_bits(
    text: &str,
    seqlen_q: usize,
    seqlen_kv: usize,
    seed: u64,
) -> (Result<Report, Stop>, f64, Vec<u8>) {
    let (q, k, v) = (
        values(seqlen_q * 64, 3),
        values(seqlen_kv * 64, 4),
        values(seqlen_kv * 64, 5),
    );
    let mut memory = Memory::new();
    let mut params = Vec::new();
    for (name, data, rows) in [
        ("q", &q, seqlen_q),
        ("k", &k, seqlen_kv),
        ("v", &v, seqlen_kv),
    ] {
        let address = memory.allocate(name, Initial::Bytes(bytes(data)), false);
        params.extend(map(address, 64, rows));
    }
    let o = memory.allocate("o", Initial::Uninitialised(128 * seqlen_q), true);
    params.extend(map(o, 64, seqlen_q));
    let scale = 0.02_f32;
    let word = |x: usize| u32::try_from(x).unwrap();
    params.extend(word(seqlen_kv).to_le_bytes());
    params.extend((scale * std::f32::consts::LOG2_E).to_le_bytes());
    let launch = Launch {
        entry: String::new(),
        grid: [word(seqlen_q.div_ceil(64)), 1, 1],
        cta: [160, 1, 1],
        shared_bytes: 6 * 8192 + 64,
        params,
    };
    let result = execute(text, launch, &mut memory, seed);
    let got = memory.bytes(o, 128 * seqlen_q).unwrap();
    let x = |of: &[f16], row: usize, i: usize| f64::from(of[64 * row + i]);
    let mut worst = 0.0_f64;
    for row in 0..seqlen_q {
        let scores: Vec<f64> = (0..seqlen_kv)
            .map(|key| {
                f64::from(scale) * (0..64).map(|i| x(&q, row, i) * x(&k, key, i)).sum::<f64>()
            })
            .collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for i in 0..64 {
            let exact = weights
                .iter()
                .enumerate()
                .map(|(key, w)| w * x(&v, key, i))
                .sum::<f64>()
                / sum;
            let at = 128 * row + 2 * i;
            let ours = f64::from(f16::from_le_bytes([got[at], got[at + 1]]));
            // NaN is as wrong as can be.
            let distance = (ours - exact).abs();
            worst = if distance <= worst { worst } else { distance };
        }
    }
    let bits = got.to_vec();
    (result, worst, bits)
}

#[test]
fn a_right_attention_is_silent() {
    let text = include_str!("../ptx/hopper/attention.ptx");
    for (seqlen_q, seqlen_kv, seed) in [(64, 64, 0), (100, 300, 5), (10, 130, 9)] {
        let (result, worst) = attention(text, seqlen_q, seqlen_kv, seed);
        let report = result.unwrap_or_else(|stop| panic!("{stop:#?}"));
        assert_eq!(report.findings, vec![], "{seqlen_q} x {seqlen_kv}");
        // Values below 4: half an f16 unit of the result and the rounding of P.
        assert!(worst < 4e-3, "{seqlen_q} x {seqlen_kv}: {worst}");
    }
}

/// The bits of a right kernel depend on no schedule.
#[test]
fn schedules_change_no_bits() {
    let text = include_str!("../ptx/hopper/attention.ptx");
    let (_, _, first) = attention_bits(text, 80, 300, 0);
    for seed in 1..8 {
        let (result, _, other) = attention_bits(text, 80, 300, seed);
        assert_eq!(codes(&result), BTreeSet::new(), "seed {seed}");
        assert_eq!(other, first, "seed {seed}");
    }
}

#[test]
fn defects_are_found_by_name() {
    let text = |name: &str| {
        let path = format!("{}/tests/ptx/hopper/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let mut failures = Vec::new();
    for (name, expected) in [
        ("gemm.defect1", "bulk-copy-read-early"),
        ("gemm.defect2", "bulk-copy-read-early"),
        ("gemm.defect3", "mbarrier-over-arrival"),
        ("gemm.defect4", "wgmma-accumulator-in-flight"),
        ("gemm.defect5", "wgmma-fence-missing"),
        ("gemm.defect6", "mbarrier-over-arrival"),
        ("gemm.defect7", "mbarrier-init-unordered"),
        ("gemm.defect8", "wgmma-operand-overwritten"),
        ("gemm.defect9", "deadlock"),
    ] {
        let text = text(name);
        // 96 of 128 arrivals: one wait is enough to know a product complete, but the fourth phase ends a tile early.
        let k = if name == "gemm.defect6" { 1024 } else { 384 };
        for seed in 1..4 {
            if codes(&gemm(&text, 64, 64, k, seed).0).is_empty() {
                failures.push(format!("{name}: silent with seed {seed}"));
            }
        }
        let found = codes(&gemm(&text, 64, 64, k, 0).0);
        if !found.contains(expected) {
            failures.push(format!("{name}: {found:?}, expected {expected}"));
        }
    }
    for (name, expected) in [
        ("attention.defect1", "proxy-fence-missing"),
        ("attention.defect2", "bulk-store-unwaited"),
        ("attention.defect3", "bulk-source-overwritten"),
        ("attention.defect4", "wgmma-accumulator-in-flight"),
        ("attention.defect6", "bulk-copy-read-early"),
        ("attention.defect7", "bulk-copy-read-early"),
        ("attention.defect8", "wgmma-fence-missing"),
    ] {
        let text = text(name);
        for seed in 1..4 {
            if codes(&attention(&text, 64, 300, seed).0).is_empty() {
                failures.push(format!("{name}: silent with seed {seed}"));
            }
        }
        let found = codes(&attention(&text, 64, 300, 0).0);
        if !found.contains(expected) {
            failures.push(format!("{name}: {found:?}, expected {expected}"));
        }
    }
    // A wrong number, not a race: keys beyond the end are zeros, which count unless they are masked.
    let (result, worst) = attention(&text("attention.defect5"), 64, 300, 0);
    if !codes(&result).is_empty() || worst < 1e-2 {
        failures.push(format!("attention.defect5: {worst}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A deadlock report names what each warp waits for.
#[test]
fn a_deadlock_says_what_is_waited_for() {
    let text = include_str!("../ptx/hopper/gemm.defect9.ptx");
    let Err(Stop::Trap(diagnostics)) = gemm(text, 64, 64, 384, 0).0 else {
        panic!("not stopped")
    };
    let labels: Vec<&str> = diagnostics[0]
        .sites
        .iter()
        .map(|site| site.label.as_str())
        .collect();
    assert!(
        labels
            .iter()
            .any(|label| label.contains("1 of 129 arrivals are pending, no bytes are outstanding")),
        "{labels:#?}"
    );
}

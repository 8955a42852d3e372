//! Kernels of Hopper's asynchronous family (`tests/ptx/hopper`): right ones are silent and give the numbers of a plain
//! computation, defective ones are found by name.

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

fn execute(
    text: &str,
    mut launch: Launch,
    memory: &mut Memory,
    seed: u64,
) -> Result<Report, Stop> {
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

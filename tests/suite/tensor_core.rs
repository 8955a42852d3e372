//! Tensor-core numerics against dot products measured on real GPUs.
//!
//! The vectors (1,000 a GPU and format pair) lie in `$FLASHPROOF_DATA/tensor-core`: a line is
//! `a.. | b.. | c | d`, f32 words in hexadecimal. Without them the test says so and counts what it skipped; a few
//! rows computed by hand below hold in any case.

use flashproof::vm::Target;
use flashproof::vm::tensor_core::{Accumulator, Operand, Tile, alignment, block, mma};
use std::path::Path;

/// File name, what it measures.
const FILES: [(&str, Target, Operand, Accumulator); 16] = [
    (
        "a100_fp16_fp32",
        Target::Sm80,
        Operand::F16,
        Accumulator::F32,
    ),
    (
        "a100_fp16_fp16",
        Target::Sm80,
        Operand::F16,
        Accumulator::F16,
    ),
    (
        "a100_bf16_fp32",
        Target::Sm80,
        Operand::Bf16,
        Accumulator::F32,
    ),
    (
        "a100_tf32_fp32",
        Target::Sm80,
        Operand::Tf32,
        Accumulator::F32,
    ),
    (
        "ada_fp16_fp32",
        Target::Sm89,
        Operand::F16,
        Accumulator::F32,
    ),
    (
        "ada_fp16_fp16",
        Target::Sm89,
        Operand::F16,
        Accumulator::F16,
    ),
    (
        "ada_bf16_fp32",
        Target::Sm89,
        Operand::Bf16,
        Accumulator::F32,
    ),
    (
        "ada_tf32_fp32",
        Target::Sm89,
        Operand::Tf32,
        Accumulator::F32,
    ),
    (
        "l40s_fp16_fp32",
        Target::Sm89,
        Operand::F16,
        Accumulator::F32,
    ),
    (
        "l40s_fp16_fp16",
        Target::Sm89,
        Operand::F16,
        Accumulator::F16,
    ),
    (
        "l40s_bf16_fp32",
        Target::Sm89,
        Operand::Bf16,
        Accumulator::F32,
    ),
    (
        "l40s_tf32_fp32",
        Target::Sm89,
        Operand::Tf32,
        Accumulator::F32,
    ),
    (
        "h100_fp16_fp32",
        Target::Sm90,
        Operand::F16,
        Accumulator::F32,
    ),
    (
        "h100_fp16_fp16",
        Target::Sm90,
        Operand::F16,
        Accumulator::F16,
    ),
    (
        "h100_bf16_fp32",
        Target::Sm90,
        Operand::Bf16,
        Accumulator::F32,
    ),
    (
        "h100_tf32_fp32",
        Target::Sm90,
        Operand::Tf32,
        Accumulator::F32,
    ),
];

fn words(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .map(|word| u32::from_str_radix(word, 16).expect("hexadecimal"))
        .collect()
}

/// Bits of an f32 word in an operand's format; the vectors hold values that the format represents.
fn to_operand(operand: Operand, word: u32) -> u32 {
    match operand {
        Operand::F16 => u32::from(half::f16::from_f32(f32::from_bits(word)).to_bits()),
        Operand::Bf16 => word >> 16,
        Operand::Tf32 => word,
    }
}

fn to_accumulator(accumulator: Accumulator, word: u32) -> u32 {
    match accumulator {
        Accumulator::F16 => to_operand(Operand::F16, word),
        Accumulator::F32 => word,
    }
}

/// One row through the block model and, where a tile of PTX has as many terms as the row, through `mma`; the number of
/// mismatches.
fn row(target: Target, operand: Operand, accumulator: Accumulator, line: &str) -> usize {
    let parts: Vec<Vec<u32>> = line.split('|').map(words).collect();
    let a: Vec<u32> = parts[0].iter().map(|&x| to_operand(operand, x)).collect();
    let b: Vec<u32> = parts[1].iter().map(|&x| to_operand(operand, x)).collect();
    let c = to_accumulator(accumulator, parts[2][0]);
    let d = to_accumulator(accumulator, parts[3][0]);
    let tile = Tile {
        operand,
        accumulator,
        k: a.len(),
    };
    let mut how = alignment(target, tile);
    how.terms = a.len();
    let mut bad = usize::from(block(how, operand, accumulator, &a, &b, c) != d);
    if tile.exists() && alignment(target, tile).terms == a.len() {
        bad += usize::from(through_mma(target, tile, &a, &b, c) != d);
    }
    bad
}

/// The dot product as element (0, 0) of a tile: row 0 of A lies in lanes 0 to 3, column 0 of B too.
fn through_mma(target: Target, tile: Tile, a: &[u32], b: &[u32], c: u32) -> u32 {
    let (a_count, b_count, c_count) = tile.registers();
    let per_register = if tile.operand == Operand::Tf32 { 1 } else { 2 };
    let mut a_fragment = vec![[0_u32; 32]; a_count];
    let mut b_fragment = vec![[0_u32; 32]; b_count];
    let mut c_fragment = vec![[0_u32; 32]; c_count];
    for lane in 0..4 {
        for half in 0..per_register {
            let shift = 16 * half;
            for step in 0..b_count {
                let k = per_register * (lane + 4 * step) + half;
                a_fragment[2 * step][lane] |= a[k] << shift;
                b_fragment[step][lane] |= b[k] << shift;
            }
        }
    }
    c_fragment[0][0] = c;
    let d = mma(target, tile, &a_fragment, &b_fragment, &c_fragment)[0][0];
    if tile.accumulator == Accumulator::F16 {
        d & 0xffff
    } else {
        d
    }
}

#[test]
fn measured_vectors() {
    let folder =
        std::env::var_os("FLASHPROOF_DATA").map(|root| Path::new(&root).join("tensor-core"));
    let (mut rows, mut skipped) = (0, 0);
    for (name, target, operand, accumulator) in FILES {
        let text = folder
            .as_ref()
            .and_then(|f| std::fs::read_to_string(f.join(format!("{name}.txt"))).ok());
        let Some(text) = text else {
            skipped += 1;
            continue;
        };
        let bad: usize = text
            .lines()
            .map(|line| row(target, operand, accumulator, line))
            .sum();
        assert_eq!(bad, 0, "{name}: mismatches");
        assert_eq!(text.lines().count(), 1000, "{name}: rows");
        rows += text.lines().count();
    }
    println!("tensor-core vectors: {rows} rows agree, {skipped} files skipped");
}

/// Rows made for this test, each exact by hand: `terms`, what the row shows, `a | b | c | d` for f16 to f32.
#[test]
fn rows_by_hand() {
    let pad = |first: &[f32], terms: usize| {
        let mut all = first.to_vec();
        all.resize(terms, 0.0);
        all.iter()
            .map(|x| format!("{:08x}", x.to_bits()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let check = |target: Target, a: &[f32], b: &[f32], c: f32, d: f32| {
        let terms = if target == Target::Sm90 { 16 } else { 8 };
        let line = format!(
            "{} | {} | {:08x} | {:08x}",
            pad(a, terms),
            pad(b, terms),
            c.to_bits(),
            d.to_bits()
        );
        assert_eq!(
            row(target, Operand::F16, Accumulator::F32, &line),
            0,
            "{target}: {line}"
        );
    };
    let two = |e: i32| 2.0_f32.powi(e);
    for target in Target::ALL {
        // Exact sums, and rounding toward zero of what does not fit 24 bits.
        check(target, &[1.5, 2.0], &[2.0, -0.25], 4.0, 6.5);
        check(target, &[1.0, two(-12)], &[1.0, two(-12)], 0.0, 1.0);
        check(
            target,
            &[-1.0, two(-12)],
            &[1.0, two(-12)],
            0.0,
            -1.0 + two(-24),
        );
        // c lies inside the alignment: it loses bits to a large product that cancels.
        for e in 3..8 {
            check(
                target,
                &[two(15), -two(15)],
                &[two(15), two(15)],
                two(e),
                f(target, e),
            );
        }
    }
    /// What survives of `2^e` beside `2^30`.
    fn f(target: Target, e: i32) -> f32 {
        let kept = if target == Target::Sm90 { 25 } else { 24 };
        if e >= 30 - kept { 2.0_f32.powi(e) } else { 0.0 }
    }
}

//! Tensor-core numerics against dot products measured on real GPUs.
//!
//! The vectors (1,000 a GPU and format pair) lie in `$FLASHPROOF_DATA/tensor-core`: a line is
//! `a.. | b.. | c | d`, f32 words in hexadecimal. Without them the test says so and counts what it skipped; a few
//! rows computed by hand below hold in any case.

use flashproof::vm::Target;
use flashproof::vm::tensor_core::Measurement;
use std::path::Path;

#[test]
fn measured_vectors() {
    let folder =
        std::env::var_os("FLASHPROOF_DATA").map(|root| Path::new(&root).join("tensor-core"));
    let Some(entries) = folder.and_then(|folder| std::fs::read_dir(folder).ok()) else {
        println!("tensor-core vectors: skipped 1 folder ($FLASHPROOF_DATA/tensor-core)");
        return;
    };
    let (mut rows, mut files) = (0, 0);
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let measurement: Measurement = name.parse().unwrap_or_else(|error| panic!("{error}"));
        let text = std::fs::read_to_string(&path).unwrap();
        let bad = text
            .lines()
            .filter(|line| !measurement.row(line).unwrap().matches())
            .count();
        assert_eq!(bad, 0, "{name}: mismatches");
        rows += text.lines().count();
        files += 1;
    }
    assert!(files > 0 && rows > 0);
    println!("tensor-core vectors: {rows} rows of {files} files agree");
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
        let terms = if target >= Target::Sm90 { 16 } else { 8 };
        let line = format!(
            "{} | {} | {:08x} | {:08x}",
            pad(a, terms),
            pad(b, terms),
            c.to_bits(),
            d.to_bits()
        );
        let gpu = match target {
            Target::Sm80 => "a100",
            Target::Sm86 => "a10",
            Target::Sm89 => "l4",
            Target::Sm90 => "h100",
            Target::Sm100 => "b200",
        };
        let measurement: Measurement = format!("{gpu}_fp16_fp32").parse().unwrap();
        let row = measurement.row(&line).unwrap();
        assert!(
            row.matches() && row.through_mma.is_some(),
            "{target}: {line}: {row:x?}"
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
        let kept = if target >= Target::Sm90 { 25 } else { 24 };
        if e >= 30 - kept { 2.0_f32.powi(e) } else { 0.0 }
    }
}

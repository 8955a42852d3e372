//! Random straight-line programs on the virtual machine and on a second, scalar one, compared bit for bit (RISU's way).
//!
//! A program is a list of instructions over a few registers of each width, 32 lanes with inputs at the edges. The second
//! machine (`interpreter.rs`) is written from the text of the ISA, shares no code with the first and rounds exact
//! numbers (`exact.rs`).
//!
//! Can miss: what both read wrongly in the ISA; `.approx` functions and tensor cores, whose bits the ISA leaves open; NaN
//! payloads of f64, which are replaced after every instruction that could make one.

mod exact;
mod interpreter;
mod program;

use program::{check, check_bytes, next, templates};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_agree(
        raw in proptest::collection::vec(any::<[u64; 7]>(), 1..48),
        seed in any::<u64>(),
    ) {
        check(&raw, seed).map_err(TestCaseError::fail)?;
    }
}

/// Every template alone, several times: what fails here is named by its instruction.
#[test]
fn every_template_agrees() {
    let count = u64::try_from(templates().len()).unwrap();
    assert!(count > 200, "{count} templates");
    let mut failures = Vec::new();
    for index in 0..count {
        for seed in 0..3 {
            let mut state = seed + 1000 * index;
            let raw = [
                index,
                next(&mut state),
                next(&mut state),
                next(&mut state),
                next(&mut state),
                next(&mut state),
                next(&mut state),
            ];
            // Carries need one to take.
            let carry = templates()
                .iter()
                .position(|(opcode, _)| *opcode == "add.cc.u32")
                .unwrap();
            let before = [u64::try_from(carry).unwrap(), 0, 8, 16, 0, 0, 0];
            if let Err(error) = check(&[before, raw], seed) {
                failures.push(error);
                break;
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} templates:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn programs_that_the_fuzzer_found_and_starts_from_are_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for folder in ["fuzz/regressions/program", "fuzz/seeds/program"] {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            check_bytes(&fs::read(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            count += 1;
        }
    }
    assert!(count >= 8, "{count} programs");
}

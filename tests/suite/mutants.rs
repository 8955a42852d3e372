//! Every planted fault is caught by a *disagree*, no right kernel is accused, and the command says so.

use flashproof::mutant::{Criterion, Plan, mutants, run, trials};
use std::process::Command;

/// Ours alone, once, without the virtual machine's defects (`defects.rs` has them): what fits into a test.
#[test]
fn every_mutant_is_caught_and_the_right_kernel_is_not() {
    let plan = Plan {
        random_count: 0,
        repeat: 1,
        seed: 0,
        has_field: false,
    };
    let list = mutants();
    assert!(list.len() >= 60, "{} mutants", list.len());
    let kernels = flashproof::kernel::defects().len();
    assert!(kernels >= 60, "{kernels} defects of kernels");
    let findings = run(&list, &trials(&plan).unwrap(), None, || {}).unwrap();
    let missed: Vec<&str> = findings
        .mutants
        .iter()
        .filter(|row| !row.is_caught() && row.equivalent.is_none())
        .map(|row| row.name.as_str())
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
    let clean = &findings.clean[0];
    assert_eq!(clean.caught_anywhere(), 0, "{:?}", clean.first);
    assert!(clean.compared > 100_000, "{} elements", clean.compared);
    // Every criterion of the field misses some, on the same problems.
    for criterion in Criterion::ALL {
        let noticed = findings
            .mutants
            .iter()
            .filter(|row| row.ours.refused_by(criterion) > 0);
        assert!(noticed.count() < list.len(), "{}", criterion.name());
    }
}

#[test]
fn the_command_prints_a_family_and_refuses_a_name_it_does_not_know() {
    let flashproof = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_flashproof"))
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = flashproof(&[
        "mutants", "--family", "lse", "--cases", "0", "--format", "json",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["mutants"].as_array().unwrap().len(), 4);
    assert_eq!(document["false_alarms"], 0);
    assert_eq!(document["mutants"][0]["name"], "lse_base2");
    assert_eq!(document["mutants"][0]["caught"], true);
    let output = flashproof(&["mutants", "--family", "lsd"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("no family or mutant is called \"lsd\""),
        "{text}"
    );
}

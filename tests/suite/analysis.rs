//! Static passes on the kernels we ship and on the defects they must tell from their repaired twins.

use flashproof::analysis::{Answer, analyze, copy_wait};
use flashproof::ptx::parse;
use std::path::Path;

/// Answers and codes of `copy-wait` for every entry of a text below `cuda/`.
fn copy_wait_of(path: &str) -> Vec<(Answer, Vec<&'static str>)> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cuda")
        .join(path);
    let text = std::fs::read_to_string(&full)
        .unwrap_or_else(|error| panic!("{}: {error}", full.display()));
    let module = parse(path, &text).unwrap_or_else(|error| panic!("{error}"));
    let results = analyze(&module);
    let of_pass = results
        .into_iter()
        .filter(|result| result.pass == copy_wait::PASS);
    of_pass
        .map(|result| {
            (
                result.answer,
                result
                    .findings
                    .iter()
                    .map(|finding| finding.code.0)
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn our_kernels_wait_for_their_copies() {
    assert_eq!(
        copy_wait_of("ptx/block_sparse_sm80.ptx"),
        vec![(Answer::Proved, vec![]); 2]
    );
}

#[test]
fn copy_defects_are_refuted_and_their_twins_are_not() {
    for (defect, code) in [
        ("wait_group_off_by_one", copy_wait::DISTANCE),
        ("copy_barrier_missing", copy_wait::BARRIER),
    ] {
        assert_eq!(
            copy_wait_of(&format!("defects/ptx/{defect}.ptx")),
            [(Answer::Refuted, vec![code.0])],
            "{defect}"
        );
        assert_eq!(
            copy_wait_of(&format!("defects/ptx/{defect}.repaired.ptx")),
            [(Answer::Proved, vec![])],
            "{defect}"
        );
    }
}

/// The other defects are about other things: copies and waits are right in all of them.
#[test]
fn other_defects_are_left_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/defects/ptx");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if ["wait_group_off_by_one.ptx", "copy_barrier_missing.ptx"].contains(&name.as_str()) {
            continue;
        }
        assert_eq!(
            copy_wait_of(&format!("defects/ptx/{name}")),
            [(Answer::Proved, vec![])],
            "{name}"
        );
        count += 1;
    }
    assert!(count >= 18, "{count} texts");
}

//! Every stored failure is replayed: a regression that no test opens does not exist.

use flashproof::backend::Backend;
use flashproof::case::Case;
use flashproof::oracle;
use flashproof_reference::random;
use std::fs;
use std::path::Path;

/// Files of `fuzz/seeds/layout`.
const SEEDS: u64 = 16;

/// The lines of a file of `tests/cases` that are cases: not empty, not a comment.
pub(crate) fn lines(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn stored_failures_stay_fixed() {
    for line in lines("regressions.txt") {
        let case: Case = line
            .parse()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(case.to_string(), line, "store the line as it prints");
        for backend in [Backend::default(), Backend::Native] {
            let report = oracle::check(&case, &backend).unwrap();
            assert_ne!(report.verdict.name(), "disagree", "{report}");
            assert_ne!(report.verdict.name(), "incomparable", "{report}");
        }
    }
}

#[test]
fn every_file_of_cases_is_opened_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["conformance.txt", "regressions.txt"]);
}

/// A seed of the fuzz target `layout`: random bytes, all that a case reads.
fn seed(index: u64) -> Vec<u8> {
    let bytes = (0..4).flat_map(|word| random::bits(index, word).to_le_bytes());
    bytes.take(Case::BYTES).collect()
}

/// Without seeds 2,000 runs of an uninstrumented target never passed 21 bytes.
#[test]
#[ignore = "writes fuzz/seeds/layout"]
fn write_the_seeds_of_the_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/layout");
    for index in 0..SEEDS {
        fs::write(folder.join(format!("{index:02}.bin")), seed(index)).unwrap();
    }
}

#[test]
fn the_seeds_of_the_fuzzer_are_those_that_are_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/layout");
    for index in 0..SEEDS {
        assert_eq!(
            fs::read(folder.join(format!("{index:02}.bin"))).unwrap(),
            seed(index),
            "{index}"
        );
    }
}

#[test]
fn texts_that_the_fuzzer_found_and_starts_from_are_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut programs, mut count) = (0, 0);
    for folder in ["fuzz/regressions/ptx", "tests/ptx"] {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let is_input = |extension: &std::ffi::OsStr| extension == "bin" || extension == "ptx";
            if path.extension().is_some_and(is_input) {
                programs += usize::from(oracle::fuzz_ptx(&fs::read(&path).unwrap()));
                count += 1;
            }
        }
    }
    assert!(programs > 500, "{programs} programs of {count} texts");
}

/// Wherever a text is cut off, it is malformed: nothing says that this tool lacks something.
#[test]
fn a_text_that_is_cut_off_is_malformed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ptx");
    for name in [
        "call_uni",
        "brx_idx",
        "const_and_symbols",
        "mma_m16n8k32_f32_e4m3_e5m2_sm_89",
    ] {
        let text = fs::read_to_string(root.join(format!("{name}.ptx"))).unwrap();
        let text = &text[text.find(".version").unwrap()..];
        for end in 0..text.trim_end().len() {
            match flashproof::ptx::parse(name, &text[..end]) {
                Ok(_) => assert!(
                    text[..end].trim_end().ends_with(['}', ';', '4']),
                    "{name} {end}"
                ),
                Err(error) => assert!(!error.is_unsupported(), "{name} {end}: {error}"),
            }
        }
    }
}

#[test]
fn what_the_fuzzer_found_and_what_it_starts_from_is_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut reached = oracle::Reached::default();
    let mut count = 0;
    for folder in ["fuzz/regressions/layout", "fuzz/seeds/layout"] {
        // git keeps no empty folder: without regressions there is none.
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "bin") {
                reached += oracle::fuzz_layout(&fs::read(&path).unwrap());
                count += 1;
            }
        }
    }
    assert!(count >= 8 && reached.all(), "{count} files, {reached}");
}

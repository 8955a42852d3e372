//! The kernels do what the reference says: on random cases, on chosen ones, on every backend there is; and the judge
//! sees it when they do not.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers may panic and print as the test itself may"
)]

use flashproof::backend::{Backend, Settings};
use flashproof::case::Case;
use flashproof::kernel::{self, Kernel};
use flashproof::oracle::{self, CaseReport, Tally};
use flashproof::outcome::{Outcome, Output};
use flashproof_reference::{DType, Tensor};
use half::f16;

fn the_kernel() -> &'static Kernel {
    kernel::by_name("block_sparse_sm80").unwrap()
}

/// Checks cases and panics with the first that disagrees, made small; gives the counts.
fn sweep(cases: impl Iterator<Item = Case>, backend: &Backend) -> Tally {
    let mut tally = Tally::default();
    for case in cases {
        let report = oracle::check(&case, backend).unwrap();
        if report.verdict.name() == "disagree" {
            let fails = |case: &Case| {
                oracle::check(case, backend).is_ok_and(|report| report.verdict.name() == "disagree")
            };
            let small = oracle::minimise(&case, 60, fails);
            panic!(
                "{report}\nsmaller: {}",
                oracle::check(&small, backend).unwrap()
            );
        }
        tally.add(&report.verdict);
    }
    println!("{}: {tally}", backend.name());
    tally
}

#[test]
fn the_kernel_agrees_in_the_virtual_machine() {
    let tally = sweep(oracle::cases(the_kernel(), 1).take(40), &Backend::default());
    tally.require(40).unwrap();
}

#[test]
fn native_attention_agrees_in_every_format() {
    for dtype in DType::ALL {
        let cases = oracle::cases(the_kernel(), 2)
            .take(100)
            .map(|case| Case { dtype, ..case });
        sweep(cases, &Backend::Native).require(100).unwrap();
    }
}

#[test]
fn the_kernel_agrees_on_a_device_if_there_is_one() {
    let tally = sweep(oracle::cases(the_kernel(), 3).take(20), &Backend::Device);
    assert_eq!(tally.total(), 20);
    assert!(
        tally.compared() == 20 || tally.unsupported == 20,
        "a device takes all cases or there is none: {tally}"
    );
}

#[test]
fn chosen_cases_agree_everywhere() {
    for line in crate::regressions::lines("conformance.txt") {
        let case: Case = line
            .parse()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        for backend in [Backend::default(), Backend::Native] {
            let report = oracle::check(&case, &backend).unwrap();
            assert_eq!(report.verdict.name(), "agree", "{report}");
        }
    }
}

/// What a canary makes of a right run.
fn canary(line: &str, spoil: impl Fn(&mut Output)) -> CaseReport {
    let case: Case = line.parse().unwrap();
    let backend = Backend::Native;
    oracle::check_with(the_kernel(), &case, &backend, |problem| {
        let mut outcome = backend.run(the_kernel(), problem, &Settings::of(&case));
        if let Outcome::Finished(output) = &mut outcome {
            spoil(output);
        }
        outcome
    })
    .unwrap()
}

fn f16s(output: &mut Output) -> &mut Vec<f16> {
    match &mut output.o {
        Tensor::F16(o) => o,
        other @ (Tensor::Bf16(_) | Tensor::F32(_) | Tensor::F64(_)) => panic!("{other:?}"),
    }
}

#[test]
fn canaries_are_reported() {
    let line = "kernel=block_sparse_sm80 seqlen_q=20 seqlen_kv=70 layout=causal";
    assert_eq!(canary(line, |_| {}).verdict.name(), "agree");

    let nan = canary(line, |output| f16s(output)[320] = f16::NAN);
    assert_eq!(nan.verdict.name(), "disagree");
    assert!(
        nan.to_string().contains(
            "1 of 640 outputs outside their bounds (0.2 %): o[0, 0, 10, 0] is NaN (0x7e00)"
        ),
        "{nan}"
    );
    let nan = canary(line, |output| output.lse[3] = f32::NAN);
    assert_eq!(nan.verdict.name(), "disagree", "{nan}");

    let swapped = canary(line, |output| {
        let o = f16s(output);
        for channel in 0..32 {
            o.swap(5 * 32 + channel, 6 * 32 + channel);
        }
        output.lse.swap(5, 6);
    });
    assert_eq!(swapped.verdict.name(), "disagree", "{swapped}");

    // The last key dropped: the run of a shorter window, judged as the whole.
    for values in [
        "gaussian",
        "near_uniform",
        "q_zero",
        "integers",
        "one_hot_v",
    ] {
        let case: Case =
            format!("kernel=block_sparse_sm80 seqlen_q=20 seqlen_kv=300 values={values}")
                .parse()
                .unwrap();
        let report = oracle::check_with(the_kernel(), &case, &Backend::Native, |problem| {
            let mut shorter = problem.clone();
            let window = flashproof_reference::Window {
                left: None,
                right: Some(18),
            };
            shorter.layout = shorter.layout.with_window(window);
            Backend::Native.run(the_kernel(), &shorter, &Settings::of(&case))
        });
        let report = report.unwrap();
        assert_eq!(report.verdict.name(), "disagree", "{report}");
    }
}

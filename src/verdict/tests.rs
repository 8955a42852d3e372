//! Tests of the verdict: what is accepted, what is refused, and what is said of it.

use super::*;
use crate::diagnostic::Code;
use flashproof_reference::Layout;
use quickcheck::quickcheck;

/// One query, one channel, in f32.
fn verdict(got: f32, lse: f32, answer: f64, bound: f64) -> Verdict {
    let shape = Shape {
        batch: 1,
        num_q_heads: 1,
        num_kv_heads: 1,
        seqlen_q: 1,
        seqlen_kv: 1,
        head_dim: 1,
    };
    let one = || Tensor::F32(vec![1.0]);
    let problem = Problem::new(shape, one(), one(), one(), 1.0, Layout::dense(1, 1)).unwrap();
    let answer = Answer {
        o: vec![answer],
        lse: vec![1.0],
        stats: flashproof_reference::Stats::default(),
    };
    let bound = Bound {
        o: vec![bound],
        lse: vec![0.0],
        ..Bound::default()
    };
    let output = Output {
        o: Tensor::F32(vec![got]),
        lse: vec![lse],
        kept: None,
        findings: Vec::new(),
    };
    judge(
        &problem,
        &answer,
        &bound,
        EmptyRow::Zero,
        &Outcome::Finished(output),
    )
}

fn diagnostic(blame: Blame) -> Diagnostic {
    let message = "what happened".to_owned();
    Diagnostic {
        code: Code("shared-race"),
        blame,
        message,
        sites: Vec::new(),
        help: None,
        count: 1,
    }
}

#[test]
fn within_is_accepted_and_everything_else_is_not() {
    assert_eq!(verdict(2.0, 1.0, 2.0, 0.0).name(), "agree");
    assert_eq!(verdict(2.5, 1.0, 2.0, 0.5).name(), "agree");
    for wrong in [
        2.500_000_2,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -2.0,
    ] {
        assert_eq!(verdict(wrong, 1.0, 2.0, 0.5).name(), "disagree", "{wrong}");
    }
    assert_eq!(verdict(2.0, f32::NAN, 2.0, 0.5).name(), "disagree");
    let text = verdict(2.75, 1.0, 2.0, 0.5).to_string();
    assert_eq!(
        text,
        "disagree\n  1 of 1 outputs outside their bounds (100.0 %): o[0, 0, 0, 0] is 2.75e0 (0x40300000), the \
         answer 2e0 within 5.00e-1: 1.5 bounds away"
    );
}

#[test]
fn what_has_no_answer_is_not_compared() {
    // lse is compared still; without it there is nothing.
    assert_eq!(verdict(0.0, 1.0, f64::NAN, 0.5).name(), "agree");
    let shape = Shape {
        batch: 1,
        num_q_heads: 1,
        num_kv_heads: 1,
        seqlen_q: 1,
        seqlen_kv: 1,
        head_dim: 1,
    };
    let one = || Tensor::F32(vec![1.0]);
    let problem = Problem::new(shape, one(), one(), one(), 1.0, Layout::dense(1, 1)).unwrap();
    let answer = Answer {
        o: vec![2.0],
        lse: vec![f64::INFINITY],
        stats: flashproof_reference::Stats::default(),
    };
    let bound = Bound {
        o: vec![f64::INFINITY],
        lse: vec![f64::NAN],
        ..Bound::default()
    };
    let output = Output {
        o: one(),
        lse: vec![1.0],
        kept: None,
        findings: Vec::new(),
    };
    let outcome = |findings| {
        Outcome::Finished(Output {
            findings,
            ..output.clone()
        })
    };
    let judge = |findings| {
        judge(
            &problem,
            &answer,
            &bound,
            EmptyRow::Zero,
            &outcome(findings),
        )
    };
    assert_eq!(judge(vec![]).name(), "incomparable");
    assert_eq!(judge(vec![diagnostic(Blame::Kernel)]).name(), "disagree");
    assert_eq!(
        judge(vec![diagnostic(Blame::Toolkit)]).name(),
        "incomparable"
    );
    assert_eq!(
        judge(vec![diagnostic(Blame::Unsupported)]).name(),
        "unsupported"
    );
}

#[test]
fn a_trap_is_judged_by_its_blame() {
    let trap = |blame| judge_trap(&[diagnostic(blame)]).to_string();
    assert_eq!(
        trap(Blame::Kernel),
        "disagree\n  stopped, shared-race: what happened"
    );
    let twice = judge_trap(&[diagnostic(Blame::Kernel), diagnostic(Blame::Kernel)]).to_string();
    assert_eq!(
        twice,
        "disagree\n  stopped, shared-race: what happened (and 1 more of this kind)"
    );
    assert_eq!(trap(Blame::Unsupported), "unsupported: what happened");
    assert_eq!(
        trap(Blame::Toolkit),
        "incomparable: flashproof bug, please report: what happened"
    );
    assert_eq!(judge_trap(&[]).name(), "incomparable");
}

#[test]
fn an_empty_row_is_zero_and_minus_infinity_or_whatever_the_manifest_says() {
    let shape = Shape {
        batch: 1,
        num_q_heads: 1,
        num_kv_heads: 1,
        seqlen_q: 1,
        seqlen_kv: 1,
        head_dim: 1,
    };
    let one = || Tensor::F32(vec![1.0]);
    let problem = Problem::new(shape, one(), one(), one(), 1.0, Layout::dense(1, 1)).unwrap();
    let answer = Answer {
        o: vec![0.0],
        lse: vec![f64::NEG_INFINITY],
        stats: flashproof_reference::Stats::default(),
    };
    let bound = Bound {
        o: vec![0.0],
        lse: vec![0.0],
        ..Bound::default()
    };
    let name = |o: f32, lse: f32, convention| {
        let output = Output {
            o: Tensor::F32(vec![o]),
            lse: vec![lse],
            kept: None,
            findings: Vec::new(),
        };
        judge(
            &problem,
            &answer,
            &bound,
            convention,
            &Outcome::Finished(output),
        )
        .name()
    };
    assert_eq!(name(-0.0, f32::NEG_INFINITY, EmptyRow::Zero), "agree");
    assert_eq!(
        name(f32::NAN, f32::NEG_INFINITY, EmptyRow::Zero),
        "disagree"
    );
    assert_eq!(name(1e-40, f32::NEG_INFINITY, EmptyRow::Zero), "disagree");
    assert_eq!(name(0.0, f32::INFINITY, EmptyRow::Zero), "disagree");
    assert_eq!(name(0.0, f32::NAN, EmptyRow::Zero), "disagree");
    assert_eq!(
        name(f32::NAN, f32::NAN, EmptyRow::Undefined),
        "incomparable"
    );
}

quickcheck! {
    fn a_wider_bound_accepts_no_less(got: f32, expected: f32, bound: f32, wider: f32) -> bool {
        let (expected, bound) = (f64::from(expected), f64::from(bound).abs());
        let wider = bound + f64::from(wider).abs();
        DType::ALL.into_iter().all(|dtype| {
            !is_within(f64::from(got), expected, bound, dtype) || wider.is_nan()
                || is_within(f64::from(got), expected, wider, dtype)
        })
    }

    fn nothing_accepts_nan(expected: f64, bound: f64) -> bool {
        DType::ALL.into_iter().all(|dtype| !is_within(f64::NAN, expected, bound, dtype))
    }

    fn the_rounded_answer_is_within_any_bound(expected: f32, bound: f32) -> bool {
        let expected = f64::from(expected);
        // Infinity less infinity is no interval; no bound on an infinite answer is infinite.
        expected.is_nan() || bound.is_nan() || (expected.is_infinite() && bound.is_infinite())
            || is_within(f64_to_f16(expected).to_f64(), expected, f64::from(bound).abs(), DType::F16)
    }
}

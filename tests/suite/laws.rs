//! Laws that hold for whatever quickcheck thinks of.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers may panic as the test itself may"
)]

use flashproof::bound::Bound;
use flashproof::case::Case;
use flashproof::convert::{f64_to_bf16, f64_to_f16};
use flashproof::kernel::method::EmptyRow;
use flashproof::oracle::Tally;
use flashproof::outcome::{Outcome, Output};
use flashproof::ulp::{Ulps, distance};
use flashproof::verdict::{Verdict, judge};
use flashproof_reference::{Answer, Layout, Problem, Shape, Tensor};
use half::{bf16, f16};
use quickcheck::{Arbitrary, Gen, quickcheck};

/// A case of random bytes, shrinking by the case's own simplifications.
#[derive(Clone, Debug)]
struct AnyCase(Case);

impl Arbitrary for AnyCase {
    fn arbitrary(g: &mut Gen) -> Self {
        let bytes: Vec<u8> = (0..Case::BYTES).map(|_| u8::arbitrary(g)).collect();
        Self(Case::from_bytes("block_sparse_sm80", &bytes))
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.simpler().into_iter().map(Self))
    }
}

/// Two layouts of one shape, whose visible sets may be combined.
fn layouts(first: &AnyCase, second: &AnyCase) -> Option<(Layout, Layout, Shape)> {
    let shape = Shape {
        seqlen_q: first.0.shape.seqlen_q.min(40),
        seqlen_kv: first.0.shape.seqlen_kv.min(40),
        ..first.0.shape
    };
    let layout = |case: &AnyCase| {
        let mut case = case.0.clone();
        case.shape = shape;
        case.layout.sinks = case.layout.sinks.min(shape.seqlen_kv);
        case.layout.global.clear();
        case.problem().ok().map(|problem| problem.layout)
    };
    Some((layout(first)?, layout(second)?, shape))
}

/// The verdict on one output of one query with one key.
fn verdict(got: f32, answer: f64, bound: f64) -> Verdict {
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
        lse: vec![1.0],
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

quickcheck! {
    fn case_text_is_the_case(case: AnyCase) -> bool {
        case.0.to_string().parse() == Ok(case.0)
    }

    fn case_bytes_are_always_a_case_that_text_can_say(bytes: Vec<u8>) -> bool {
        let case = Case::from_bytes("block_sparse_sm80", &bytes);
        case.to_string().parse() == Ok(case)
    }

    fn case_problems_are_the_same_twice(case: AnyCase) -> bool {
        let (first, second) = (case.0.problem().unwrap(), case.0.problem().unwrap());
        // As text: a poisoned key is NaN, which equals nothing.
        let text = |problem: &Problem| format!("{:?} {:?} {:?}", problem.q, problem.k, problem.v);
        text(&first) == text(&second) && first.layout == second.layout
    }

    fn ulp_distance_is_a_metric(a: f32, b: f32, c: f32) -> bool {
        if a.is_nan() || b.is_nan() || c.is_nan() {
            return distance(a, b).is_none() || distance(b, c).is_none();
        }
        let steps = |x: f32, y: f32| distance(x, y).unwrap().0;
        steps(a, b) == steps(b, a) && steps(a, c) <= steps(a, b) + steps(b, c) && (steps(a, b) == 0) == a.partial_cmp(&b).unwrap().is_eq()
    }

    fn ulp_distance_counts_neighbours(bits: u32) -> bool {
        let x = f32::from_bits(bits);
        !x.is_finite() || distance(x, x.next_up()) == Some(Ulps(1))
    }

    fn formats_hold_what_they_can_say(bits: u16) -> bool {
        let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
        (half.is_nan() || f64_to_f16(half.to_f64()).to_bits() == bits)
            && (brain.is_nan() || f64_to_bf16(brain.to_f64()).to_bits() == bits)
    }

    fn formats_round_to_a_neighbour(x: f32) -> bool {
        let exact = f64::from(x);
        let rounded = f64_to_f16(exact);
        x.is_nan() || rounded.is_infinite() || {
            let error = (rounded.to_f64() - exact).abs();
            let above = f16::from_bits(rounded.to_bits() + 1).to_f64() - rounded.to_f64();
            error <= above.abs() / 2.0
        }
    }

    fn a_wider_bound_never_turns_agree_into_disagree(got: f32, answer: f32, bound: f32, more: f32) -> bool {
        let (answer, bound) = (f64::from(answer), f64::from(bound).abs());
        let wider = bound + f64::from(more).abs();
        verdict(got, answer, bound).name() != "agree" || verdict(got, answer, wider).name() != "disagree"
    }

    fn nan_never_agrees(answer: f32, bound: f32) -> bool {
        // Where there is no finite answer or bound, nothing is compared.
        !answer.is_finite() || !bound.is_finite()
            || verdict(f32::NAN, f64::from(answer), f64::from(bound).abs()).name() == "disagree"
    }

    fn tallies_add_up(first: Vec<bool>, second: Vec<bool>) -> bool {
        let count = |verdicts: &[bool]| {
            let mut tally = Tally::default();
            for &agree in verdicts {
                tally.add(&verdict(if agree { 1.0 } else { 2.0 }, 1.0, 0.0));
            }
            tally
        };
        count(&first) + count(&second) == count(&[first, second].concat())
    }

    fn layout_union_sees_what_either_sees(first: AnyCase, second: AnyCase) -> bool {
        let Some((a, b, shape)) = layouts(&first, &second) else { return true };
        // What rules of tokens cannot be merged is refused, and says nothing.
        let Ok(union) = a.union(&b) else { return true };
        (0..shape.seqlen_q).all(|q| (0..shape.seqlen_kv).all(|k| {
            union.is_visible(0, q, k) == (a.is_visible(0, q, k) || b.is_visible(0, q, k))
        }))
    }

    fn layout_intersection_sees_what_both_see(first: AnyCase, second: AnyCase) -> bool {
        let Some((a, b, shape)) = layouts(&first, &second) else { return true };
        let Ok(both) = a.intersection(&b) else { return true };
        (0..shape.seqlen_q).all(|q| (0..shape.seqlen_kv).all(|k| {
            both.is_visible(0, q, k) == (a.is_visible(0, q, k) && b.is_visible(0, q, k))
        }))
    }
}

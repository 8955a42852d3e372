//! Answer and outcome -> verdict: the one place that decides whether floats agree.
//!
//! | verdict | when |
//! |---|---|
//! | agree | every element compared lies within its bound, and no checker found anything |
//! | disagree | an element lies outside, a checker blames the kernel, or the kernel was stopped |
//! | incomparable | nothing could be compared: the answer is not finite, or its bound is not; or this tool failed |
//! | unsupported | this backend cannot run this kernel on this problem: says nothing about the kernel |
//!
//! An element `r` is within when `RN(answer - bound) <= r <= RN(answer + bound)`, so NaN never is. Elements whose answer
//! or bound is not finite are not compared, and counted. A row that sees no key holds what the kernel's manifest states:
//! `o = 0` (of either sign) and `lse = -inf`, or anything.

use crate::bound::Bound;
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, usize_to_f64};
use crate::diagnostic::{Blame, Diagnostic};
use crate::kernel::method::EmptyRow;
use crate::outcome::{Outcome, Output};
use flashproof_reference::{Answer, DType, Problem, Shape, Tensor};
use std::fmt;

/// What was decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Right, as far as these inputs can tell.
    Agree(Agreement),
    /// Wrong; at least one fault.
    Disagree(Vec<Fault>),
    /// Nothing could be compared, and why.
    Incomparable(String),
    /// Nothing could be run, and why.
    Unsupported(String),
}

/// How closely a right kernel agreed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Elements of `o` and `lse` that were compared.
    pub compared: usize,
    /// Elements whose answer or bound is not finite.
    pub skipped: usize,
    /// Largest distance of an output from its answer, in bounds; the last rounding can bring it above 1.
    pub o_worst: f64,
    /// The same of a log-sum-exp.
    pub lse_worst: f64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Elements outside their bounds.
    Elements(Elements),
    /// Something a checker saw.
    Finding(Diagnostic),
    /// The kernel was stopped.
    Trap(Diagnostic),
}

/// What an element violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// An output outside its interval.
    Output,
    /// A log-sum-exp outside its interval.
    Lse,
    /// A row that sees no key and is not `o = 0`, `lse = -inf`.
    EmptyRow,
}

/// Elements of one tensor that violate a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Elements {
    /// The rule.
    pub rule: Rule,
    /// How many violate it.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// The one furthest outside.
    pub worst: Element,
}

/// One element.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Where: `o[batch, head, query, channel]` or `lse[batch, head, query]`.
    pub place: String,
    /// The answer.
    pub expected: f64,
    /// What the kernel wrote.
    pub got: f64,
    /// The same with its bits: `1e-1 (0x3dcccccd)`.
    pub got_text: String,
    /// How far it may be from the answer before the last rounding.
    pub bound: f64,
}

impl Element {
    /// Distance from the answer in bounds; infinite for NaN.
    pub fn bounds(&self) -> f64 {
        let ratio = (self.got - self.expected).abs() / self.bound;
        if ratio.is_nan() { f64::INFINITY } else { ratio }
    }
}

impl Fault {
    /// What faults of one kind share: the rule, or the code of the diagnostic.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Elements(elements) => match elements.rule {
                Rule::Output => "output",
                Rule::Lse => "lse",
                Rule::EmptyRow => "empty-row",
            },
            Self::Finding(found) | Self::Trap(found) => found.code.0,
        }
    }
}

impl Verdict {
    /// `agree`, `disagree`, `incomparable` or `unsupported`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Agree(_) => "agree",
            Self::Disagree(_) => "disagree",
            Self::Incomparable(_) => "incomparable",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

/// The verdict on one run.
pub fn judge(
    problem: &Problem,
    answer: &Answer,
    bound: &Bound,
    empty_row: EmptyRow,
    outcome: &Outcome,
) -> Verdict {
    match outcome {
        Outcome::Finished(output) => judge_output(problem, answer, bound, empty_row, output),
        Outcome::Trapped(diagnostics) => judge_trap(diagnostics),
        Outcome::Unsupported(reason) => Verdict::Unsupported(reason.clone()),
    }
}

fn judge_trap(diagnostics: &[Diagnostic]) -> Verdict {
    let by = |blame: Blame| diagnostics.iter().filter(move |found| found.blame == blame);
    let kernel: Vec<Fault> = by(Blame::Kernel).cloned().map(Fault::Trap).collect();
    if !kernel.is_empty() {
        return Verdict::Disagree(kernel);
    }
    if let Some(found) = by(Blame::Toolkit).next() {
        return Verdict::Incomparable(format!("flashproof bug, please report: {}", found.message));
    }
    match by(Blame::Unsupported).chain(by(Blame::Input)).next() {
        Some(found) => Verdict::Unsupported(found.message.clone()),
        None => Verdict::Incomparable(
            "flashproof bug, please report: a trap without a reason".to_owned(),
        ),
    }
}

fn judge_output(
    problem: &Problem,
    answer: &Answer,
    bound: &Bound,
    empty_row: EmptyRow,
    output: &Output,
) -> Verdict {
    let shape = problem.shape;
    let (o, lse) = (output.o.to_f64(), &output.lse);
    if o.len() != answer.o.len() || !(lse.is_empty() || lse.len() == answer.lse.len()) {
        return Verdict::Incomparable(format!(
            "flashproof bug, please report: outputs have {} and {} elements, the answer {} and {}",
            o.len(),
            lse.len(),
            answer.o.len(),
            answer.lse.len()
        ));
    }
    let dtype = output.o.dtype();
    let mut outputs = Judged::new(Rule::Output);
    let mut sums = Judged::new(Rule::Lse);
    let mut empty = Judged::new(Rule::EmptyRow);
    let mut skipped = 0;
    for row in 0..answer.lse.len() {
        let place = |name: &str, channel: Option<usize>| place(name, &shape, row, channel);
        let sees_nothing = answer.lse[row] == f64::NEG_INFINITY;
        let channels = row * shape.head_dim..(row + 1) * shape.head_dim;
        if sees_nothing && empty_row == EmptyRow::Undefined {
            skipped += shape.head_dim + usize::from(!lse.is_empty());
            continue;
        }
        for (channel, index) in channels.enumerate() {
            let (expected, within) = (answer.o[index], bound.o[index]);
            let judged = if sees_nothing {
                &mut empty
            } else {
                &mut outputs
            };
            if !(expected.is_finite() && within.is_finite()) {
                skipped += 1;
                continue;
            }
            judged.see(dtype, o[index], expected, within, || {
                (place("o", Some(channel)), bits(&output.o, index))
            });
        }
        let Some(&got) = lse.get(row) else { continue };
        let (expected, within) = (answer.lse[row], bound.lse[row]);
        let text = || {
            (
                place("lse", None),
                format!("{got:e} ({:#010x})", got.to_bits()),
            )
        };
        if sees_nothing {
            empty.see(DType::F32, f64::from(got), expected, 0.0, text);
        } else if expected.is_finite() && within.is_finite() {
            sums.see(DType::F32, f64::from(got), expected, within, text);
        } else {
            skipped += 1;
        }
    }

    let judged = [outputs, sums, empty];
    let compared = judged.iter().map(|judged| judged.of).sum();
    let [o_worst, lse_worst, _] = [0, 1, 2].map(|rule: usize| judged[rule].closest);
    let mut faults: Vec<Fault> = judged
        .into_iter()
        .filter_map(Judged::fault)
        .map(Fault::Elements)
        .collect();
    let findings = output.findings.iter();
    faults.extend(
        findings
            .clone()
            .filter(|found| found.blame == Blame::Kernel)
            .cloned()
            .map(Fault::Finding),
    );
    if !faults.is_empty() {
        return Verdict::Disagree(faults);
    }
    // Any finding that does not blame the kernel means that the run did not do what it should have.
    if let Some(found) = findings.clone().find(|found| found.blame == Blame::Toolkit) {
        return Verdict::Incomparable(format!("flashproof bug, please report: {}", found.message));
    }
    if let Some(found) = findings.clone().next() {
        return Verdict::Unsupported(found.message.clone());
    }
    if compared == 0 {
        return Verdict::Incomparable(format!(
            "none of {skipped} elements has a finite answer and a finite bound"
        ));
    }
    Verdict::Agree(Agreement {
        compared,
        skipped,
        o_worst,
        lse_worst,
    })
}

/// Elements of one rule, so far.
struct Judged {
    rule: Rule,
    count: usize,
    of: usize,
    /// Largest distance in bounds of the elements within.
    closest: f64,
    worst: Option<Element>,
}

impl Judged {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            count: 0,
            of: 0,
            closest: 0.0,
            worst: None,
        }
    }

    fn see(
        &mut self,
        dtype: DType,
        got: f64,
        expected: f64,
        bound: f64,
        text: impl Fn() -> (String, String),
    ) {
        self.of += 1;
        if is_within(got, expected, bound, dtype) {
            if bound > 0.0 {
                self.closest = self.closest.max((got - expected).abs() / bound);
            }
            return;
        }
        self.count += 1;
        let (place, got_text) = text();
        let element = Element {
            place,
            expected,
            got,
            got_text,
            bound,
        };
        if self
            .worst
            .as_ref()
            .is_none_or(|worst| element.bounds() > worst.bounds())
        {
            self.worst = Some(element);
        }
    }

    fn fault(self) -> Option<Elements> {
        let worst = self.worst?;
        Some(Elements {
            rule: self.rule,
            count: self.count,
            of: self.of,
            worst,
        })
    }
}

/// `RN(expected - bound) <= got <= RN(expected + bound)`. False for NaN.
pub fn is_within(got: f64, expected: f64, bound: f64, dtype: DType) -> bool {
    let round = |x: f64| match dtype {
        DType::F16 => f64_to_f16(x).to_f64(),
        DType::Bf16 => f64_to_bf16(x).to_f64(),
        DType::F32 => f64::from(f64_to_f32(x)),
    };
    round(expected - bound) <= got && got <= round(expected + bound)
}

fn place(name: &str, shape: &Shape, row: usize, channel: Option<usize>) -> String {
    let (head, q) = (row / shape.seqlen_q, row % shape.seqlen_q);
    let (batch, head) = (head / shape.num_q_heads, head % shape.num_q_heads);
    let channel = channel.map_or_else(String::new, |channel| format!(", {channel}"));
    format!("{name}[{batch}, {head}, {q}{channel}]")
}

/// An element as decimal and bits.
fn bits(tensor: &Tensor, index: usize) -> String {
    match tensor {
        Tensor::F16(x) => format!("{:e} ({:#06x})", x[index].to_f32(), x[index].to_bits()),
        Tensor::Bf16(x) => format!("{:e} ({:#06x})", x[index].to_f32(), x[index].to_bits()),
        Tensor::F32(x) => format!("{:e} ({:#010x})", x[index], x[index].to_bits()),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Agree(agreement) => {
                let Agreement {
                    compared,
                    skipped,
                    o_worst,
                    lse_worst,
                } = agreement;
                write!(
                    f,
                    ": {compared} elements, worst at {o_worst:.2} (o) and {lse_worst:.2} (lse) of their bounds"
                )?;
                if *skipped > 0 {
                    write!(f, "; {skipped} not compared")?;
                }
                Ok(())
            }
            Self::Disagree(faults) => {
                // The first fault of each kind says what happened; the rest say how often.
                let mut said = Vec::new();
                for fault in faults {
                    let kind = fault.kind();
                    if said.contains(&kind) {
                        continue;
                    }
                    write!(f, "\n  {fault}")?;
                    let more = faults.iter().filter(|other| other.kind() == kind).count() - 1;
                    if more > 0 {
                        write!(f, " (and {more} more of this kind)")?;
                    }
                    said.push(kind);
                }
                Ok(())
            }
            Self::Incomparable(reason) | Self::Unsupported(reason) => write!(f, ": {reason}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements(elements) => elements.fmt(f),
            Self::Finding(found) => write!(f, "{}: {}", found.code, found.message),
            Self::Trap(found) => write!(f, "stopped, {}: {}", found.code, found.message),
        }
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.rule {
            Rule::Output => "outputs outside their bounds",
            Rule::Lse => "log-sum-exps outside their bounds",
            Rule::EmptyRow => "elements of rows without a key that are not o = 0, lse = -inf",
        };
        let Element {
            place,
            expected,
            got_text,
            bound,
            ..
        } = &self.worst;
        let share = 100.0 * usize_to_f64(self.count) / usize_to_f64(self.of);
        write!(
            f,
            "{} of {} {what} ({share:.1} %): {place} is {got_text}, the answer {expected:e}",
            self.count, self.of
        )?;
        if self.rule != Rule::EmptyRow {
            write!(
                f,
                " within {bound:.2e}: {:.1} bounds away",
                self.worst.bounds()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        };
        let output = Output {
            o: Tensor::F32(vec![got]),
            lse: vec![lse],
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
        };
        let output = Output {
            o: one(),
            lse: vec![1.0],
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
        };
        let name = |o: f32, lse: f32, convention| {
            let output = Output {
                o: Tensor::F32(vec![o]),
                lse: vec![lse],
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
            expected.is_nan() || bound.is_nan()
                || is_within(f64_to_f16(expected).to_f64(), expected, f64::from(bound).abs(), DType::F16)
        }
    }
}

//! Answer and outcome -> verdict: the one place that decides whether floats agree.
//!
//! | verdict | when |
//! |---|---|
//! | agree | every element compared lies within its bound, and no checker found anything |
//! | disagree | an element lies outside, a checker blames the kernel, or the kernel was stopped |
//! | incomparable | nothing could be compared: the answer is not finite, or its bound is not; or this tool failed |
//! | unsupported | this backend cannot run this kernel on this problem: says nothing about the kernel |
//!
//! Rules that may say *disagree*, each by what it can prove:
//!
//! | rule | an element is outside when |
//! |---|---|
//! | `output`, `lse` | it is further from the answer than any order of operations explains ([`Bound::o`], [`Bound::lse`]) |
//! | `exact` | nothing of its row is rounded before the division, so one number alone is right (two at a tie), and it is another: no tolerance |
//! | `replay` | it is further from the outputs of the kernel's own schedule than its roundings explain ([`Bound::replayed`]) |
//! | `empty-row` | its row sees no key and it is not what the kernel owes such rows |
//!
//! *Suspicious* is not a verdict: an output further away than roundings that are independent of each other explain
//! ([`Bound::likely`]), or a root mean square of errors well above a standard deviation, is counted in an agreement. Right
//! kernels reach it on inputs made for it.
//!
//! An element `r` is within when `RN(answer - bound) <= r <= RN(answer + bound)`, so NaN never is. Elements whose answer
//! or bound is not finite are not compared, and counted. A row that sees no key holds what the kernel's manifest states:
//! `o = 0` (of either sign) and `lse = -inf`, or anything.

mod text;

use crate::bound::{Bound, Source, half_ulp, sources};
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, usize_to_f64};
use crate::diagnostic::{Blame, Diagnostic};
use crate::kernel::method::EmptyRow;
use crate::outcome::{Outcome, Output};
use flashproof_reference::{Answer, DType, Problem, Shape, Tensor};

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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Elements of `o` and `lse` that were compared.
    pub compared: usize,
    /// Those of them for which one number alone was right.
    pub exact: usize,
    /// Those of them that the kernel's schedule was replayed for.
    pub replayed: usize,
    /// Elements whose answer or bound is not finite.
    pub skipped: usize,
    /// Largest distance of an output from its answer, in bounds; the last rounding can bring it above 1.
    pub o_worst: f64,
    /// The same of a log-sum-exp.
    pub lse_worst: f64,
    /// What is unlikely, though not impossible.
    pub suspicion: Suspicion,
}

/// Outputs further from the answer than independent roundings explain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suspicion {
    /// Such outputs.
    pub count: usize,
    /// The one furthest away; its bound is the likely one.
    pub worst: Option<Element>,
    /// Root mean square of error over standard deviation, last rounding included.
    pub rms: f64,
    /// Outputs it is of: those that were compared and may be rounded.
    pub of: usize,
}

impl Suspicion {
    /// Above this root mean square of so many outputs a kernel's errors as a whole are suspicious. Roundings alone give
    /// 1 where the last one is all there is, give or take `0.45 / sqrt(of)`; outputs of a row share errors, hence 4.
    pub fn rms_max(of: usize) -> f64 {
        1.1 + 4.0 / usize_to_f64(of.max(1)).sqrt()
    }

    /// Whether anything is.
    pub fn is_suspicious(&self) -> bool {
        self.count > 0 || self.rms > Self::rms_max(self.of)
    }
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
    /// An output that is not the only number it may be.
    Exact,
    /// An output outside the interval of the kernel's own schedule.
    Replay,
}

impl Rule {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Lse => "lse",
            Self::EmptyRow => "empty-row",
            Self::Exact => "exact",
            Self::Replay => "replay",
        }
    }
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
    /// What each kind of rounding may contribute to that, the largest first; of the worst elements alone.
    pub sources: Vec<(Source, f64)>,
}

impl Element {
    /// Distance from the answer in bounds; infinite for NaN.
    pub fn bounds(&self) -> f64 {
        bounds(self.got, self.expected, self.bound)
    }
}

impl Fault {
    /// What faults of one kind share: the rule, or the code of the diagnostic.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Elements(elements) => elements.rule.name(),
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
///
/// ```
/// use flashproof::bound::{Arithmetic, Bound};
/// use flashproof::kernel::method::EmptyRow;
/// use flashproof::outcome::{Outcome, Output};
/// use flashproof::verdict::judge;
/// use flashproof_reference::{Layout, Problem, Shape, Tensor, attention};
/// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
/// let [q, k, v] = [vec![1.0], vec![0.0, 0.0], vec![1.0, 2.0]].map(Tensor::F32);
/// let problem = Problem::new(shape, q, k, v, 1.0, Layout::dense(1, 2))?;
/// let answer = attention(&problem)?;
/// let bound = Bound::of(&problem, &answer, &Arithmetic::native(2));
/// let says = |o: f32| {
///     let output = Output { o: Tensor::F32(vec![o]), lse: vec![], kept: None, findings: vec![] };
///     judge(&problem, &answer, &bound, EmptyRow::Zero, &Outcome::Finished(output)).name()
/// };
/// assert_eq!([says(1.5), says(1.6), says(f32::NAN)], ["agree", "disagree", "disagree"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    let [
        mut outputs,
        mut sums,
        mut empty,
        mut exact,
        mut replay,
        mut likely,
    ] = [
        Rule::Output,
        Rule::Lse,
        Rule::EmptyRow,
        Rule::Exact,
        Rule::Replay,
        Rule::Output,
    ]
    .map(Judged::new);
    let mut skipped = 0;
    let mut squares = (0.0, 0);
    for row in 0..answer.lse.len() {
        let sees_nothing = answer.lse[row] == f64::NEG_INFINITY;
        let channels = row * shape.head_dim..(row + 1) * shape.head_dim;
        if sees_nothing && empty_row == EmptyRow::Undefined {
            skipped += shape.head_dim + usize::from(!lse.is_empty());
            continue;
        }
        let is_exact = bound.exact.get(row) == Some(&true);
        for (channel, index) in channels.enumerate() {
            let (expected, within) = (answer.o[index], bound.o[index]);
            if !(expected.is_finite() && within.is_finite()) {
                skipped += 1;
                continue;
            }
            let at = At {
                row,
                channel: Some(channel),
            };
            let got = o[index];
            if sees_nothing {
                empty.see(dtype, got, expected, within, at);
                continue;
            }
            if is_exact {
                exact.see(dtype, got, expected, within, at);
                continue;
            }
            if !outputs.see(dtype, got, expected, within, at) {
                continue;
            }
            if let Some(replayed) = &bound.replayed
                && replayed.bound[index].is_finite()
                && !replay.see(
                    dtype,
                    got,
                    replayed.centre[index],
                    replayed.bound[index],
                    at,
                )
            {
                continue;
            }
            if let (Some(&bound), Some(&deviation)) =
                (bound.likely.get(index), bound.deviation.get(index))
            {
                likely.see(dtype, got, expected, bound, at);
                let deviation = deviation.hypot(half_ulp(expected, dtype) / 3.0_f64.sqrt());
                squares.0 += ((got - expected) / deviation).powi(2);
                squares.1 += 1;
            }
        }
        let Some(&got) = lse.get(row) else { continue };
        let (expected, within) = (answer.lse[row], bound.lse[row]);
        let at = At { row, channel: None };
        if sees_nothing {
            empty.see(DType::F32, f64::from(got), expected, 0.0, at);
        } else if expected.is_finite() && within.is_finite() {
            sums.see(DType::F32, f64::from(got), expected, within, at);
        } else {
            skipped += 1;
        }
    }

    let compared = [&outputs, &sums, &empty, &exact]
        .map(|judged| judged.of)
        .iter()
        .sum();
    let [o_worst, lse_worst] = [&outputs, &sums].map(|judged| judged.closest);
    let element = |rule, worst: &Worst| element(problem, answer, bound, output, rule, worst);
    let agreement = Agreement {
        compared,
        exact: exact.of,
        replayed: replay.of,
        skipped,
        o_worst,
        lse_worst,
        suspicion: Suspicion {
            count: likely.count,
            worst: likely
                .worst
                .as_ref()
                .map(|worst| element(Rule::Output, worst)),
            rms: f64::sqrt(squares.0 / usize_to_f64(squares.1.max(1))),
            of: squares.1,
        },
    };
    let mut faults: Vec<Fault> = [exact, outputs, replay, sums, empty]
        .iter()
        .filter_map(|judged| {
            let worst = element(judged.rule, judged.worst.as_ref()?);
            Some(Fault::Elements(Elements {
                rule: judged.rule,
                count: judged.count,
                of: judged.of,
                worst,
            }))
        })
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
    Verdict::Agree(agreement)
}

/// Which element.
#[derive(Clone, Copy, Debug)]
struct At {
    row: usize,
    /// Of `o`; none of `lse`.
    channel: Option<usize>,
}

/// The element furthest outside.
struct Worst {
    at: At,
    expected: f64,
    got: f64,
    bound: f64,
}

/// An element with all that can be said of it.
fn element(
    problem: &Problem,
    answer: &Answer,
    bound: &Bound,
    output: &Output,
    rule: Rule,
    worst: &Worst,
) -> Element {
    let At { row, channel } = worst.at;
    let got_text = match channel {
        Some(channel) => bits(&output.o, row * problem.shape.head_dim + channel),
        None => {
            let got = output.lse[row];
            format!("{got:e} ({:#010x})", got.to_bits())
        }
    };
    let dtype = channel.map_or(DType::F32, |_| output.o.dtype());
    let from = match (rule, &bound.arithmetic) {
        (Rule::Output | Rule::Lse, Some(arithmetic)) => {
            sources(problem, answer, arithmetic, row, channel, dtype)
        }
        (Rule::Exact | Rule::Replay | Rule::EmptyRow, _) | (_, None) => Vec::new(),
    };
    Element {
        place: place(
            if channel.is_some() { "o" } else { "lse" },
            &problem.shape,
            row,
            channel,
        ),
        expected: worst.expected,
        got: worst.got,
        got_text,
        bound: worst.bound,
        sources: from,
    }
}

/// Elements of one rule, so far.
struct Judged {
    rule: Rule,
    count: usize,
    of: usize,
    /// Largest distance in bounds of the elements within.
    closest: f64,
    worst: Option<Worst>,
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

    /// Counts an element; whether it is within.
    fn see(&mut self, dtype: DType, got: f64, expected: f64, bound: f64, at: At) -> bool {
        self.of += 1;
        if is_within(got, expected, bound, dtype) {
            if bound > 0.0 {
                self.closest = self.closest.max((got - expected).abs() / bound);
            }
            return true;
        }
        self.count += 1;
        let worst = Worst {
            at,
            expected,
            got,
            bound,
        };
        if self
            .worst
            .as_ref()
            .is_none_or(|known| worst.bounds() > known.bounds())
        {
            self.worst = Some(worst);
        }
        false
    }
}

impl Worst {
    fn bounds(&self) -> f64 {
        bounds(self.got, self.expected, self.bound)
    }
}

/// Distance in bounds; infinite for NaN.
fn bounds(got: f64, expected: f64, bound: f64) -> f64 {
    let ratio = (got - expected).abs() / bound;
    if ratio.is_nan() { f64::INFINITY } else { ratio }
}

/// `RN(expected - bound) <= got <= RN(expected + bound)`. False for NaN.
///
/// ```
/// # use flashproof::verdict::is_within;
/// # use flashproof_reference::DType::F16;
/// assert!(is_within(1.0, 1.0002, 0.0, F16) && !is_within(f64::NAN, 1.0, 9.0, F16));
/// ```
pub fn is_within(got: f64, expected: f64, bound: f64, dtype: DType) -> bool {
    let round = |x: f64| match dtype {
        DType::F16 => f64_to_f16(x).to_f64(),
        DType::Bf16 => f64_to_bf16(x).to_f64(),
        DType::F32 => f64::from(f64_to_f32(x)),
        DType::F64 => x,
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
        Tensor::F64(x) => format!("{:e} ({:#018x})", x[index], x[index].to_bits()),
    }
}

#[cfg(test)]
mod tests;

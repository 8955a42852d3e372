//! Pass `softmax`: the exponentials of a softmax survive a row that sees no key.
//!
//! # Definition
//!
//! Asked of functions that use `ex2` and a maximum of f32 values. (1) No finite constant below -1e4 takes the place of -inf:
//! as an operand of `max`, `selp` or `mov` (a finite stand-in lies above real scores some day, and makes the weights of
//! a row without keys 1). (2) Where -inf is among the constants, some comparison with -inf guards the differences: else
//! (-inf) - (-inf) is NaN, if both sides can be -inf (`softmax/difference.rs`). (3) A reciprocal or a quotient whose divisor is not a constant has a comparison of that divisor
//! with 0 before its result is used.
//!
//! # What an answer means
//!
//! *Proved* says that the three guards are there, not that they test the right row; *refuted* names the constant or the
//! operation; *unknown*: no guard, and no difference of two infinities found, but values in memory are not followed. The
//! pass reads the text and follows registers only. Functions without a softmax are proved.

mod difference;

use super::PassResult;
use super::finding::{result, site, undecided, wrong};
use crate::diagnostic::Code;
use crate::ptx::{
    Compare, FloatBinary, Function, MathFunction, Module, Op, Operand, RegisterId, ScalarType,
    TypeKind,
};
use std::collections::{HashMap, HashSet};

/// Name of the pass.
pub const PASS: &str = "softmax";
/// A large finite number stands in for -inf.
pub const SENTINEL: Code = Code("finite-sentinel");
/// A difference that may be of two infinities.
pub const INFINITY: Code = Code("unguarded-infinity");
/// A division by a sum that may be 0.
pub const DIVISION: Code = Code("unguarded-division");

const MINUS_INFINITY: u64 = 0xff80_0000;
const PLUS_INFINITY: u64 = 0x7f80_0000;
/// Finite constants below this are stand-ins: no score of 16-bit inputs is meant by them.
const SENTINEL_MAX: f32 = -1e4;

pub(super) fn run(module: &Module, function: &Function) -> PassResult {
    let ops = || {
        function
            .instructions
            .iter()
            .map(|instruction| &instruction.op)
    };
    let has_exponential = ops().any(|op| {
        matches!(
            op,
            Op::Math {
                function: MathFunction::Ex2,
                ..
            }
        )
    });
    let has_maximum = ops().any(|op| {
        matches!(
            op,
            Op::FloatBinary {
                operation: FloatBinary::Max,
                ..
            }
        )
    });
    if !(has_exponential && has_maximum) {
        return result(PASS, function, Vec::new(), 0);
    }
    let mut findings = Vec::new();
    let here = |at: usize, label: &str| vec![site(module, function, at, label)];
    let sentinel = function.instructions.iter().position(|instruction| {
        floats(&instruction.op)
            .into_iter()
            .filter_map(number)
            .any(|number| number.is_finite() && number < SENTINEL_MAX)
    });
    if let Some(at) = sentinel {
        findings.push(wrong(
            SENTINEL,
            "a large finite number stands in for -inf".to_owned(),
            here(at, "this constant"),
            "use -inf, and test for it before each difference",
        ));
    }
    let infinity = function.instructions.iter().position(|instruction| {
        floats(&instruction.op)
            .into_iter()
            .any(|operand| *operand == Operand::Immediate(MINUS_INFINITY))
    });
    let guarded = ops().any(|op| compares_with(op, MINUS_INFINITY));
    if let Some(at) = infinity.filter(|_| !guarded) {
        findings.push(match difference::of_infinities(function) {
            Some(difference) => wrong(
                INFINITY,
                "no comparison with -inf guards the differences of this softmax: (-inf) - (-inf) is NaN".to_owned(),
                [
                    here(at, "-inf enters here"),
                    here(difference, "and both sides of this may be infinite"),
                ]
                .concat(),
                "subtract 0 where the row maximum is -inf",
            ),
            None => undecided(
                INFINITY,
                "no comparison with -inf guards this softmax; no difference of two infinities was found in registers, but \
                 values in memory are not followed"
                    .to_owned(),
                here(at, "-inf enters here"),
            ),
        });
    }
    if let Some(at) = unguarded_division(function) {
        findings.push(wrong(
            DIVISION,
            "a division by a value that is nowhere compared with 0".to_owned(),
            here(at, "0 / 0 is NaN for a row that sees no key"),
            "write 0 where the row sum is 0",
        ));
    }
    result(PASS, function, findings, 0)
}

/// f32 operands that take part in a choice or a maximum.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no other instruction chooses between values"
)]
fn floats(op: &Op) -> Vec<&Operand> {
    let is_float = |ty: &ScalarType| ty.kind() == TypeKind::Float || ty.kind() == TypeKind::Bits;
    match op {
        Op::FloatBinary {
            operation: FloatBinary::Max,
            ty,
            a,
            b,
            ..
        } if *ty == ScalarType::F32 => vec![a, b],
        Op::Selp { ty, a, b, .. } if is_float(ty) && ty.bytes() == 4 => vec![a, b],
        Op::Mov { ty, a, .. } if is_float(ty) && ty.bytes() == 4 => vec![a],
        _ => Vec::new(),
    }
}

fn number(operand: &Operand) -> Option<f32> {
    match operand {
        Operand::Immediate(bits) => u32::try_from(*bits).ok().map(f32::from_bits),
        Operand::Register(_) | Operand::Address(..) | Operand::Special(_) => None,
    }
}

fn compares_with(op: &Op, bits: u64) -> bool {
    if let Op::Setp {
        ty, a, b, compare, ..
    } = op
    {
        let equality = matches!(
            compare,
            Compare::Eq
                | Compare::Equ
                | Compare::Ne
                | Compare::Neu
                | Compare::Gt
                | Compare::Gtu
                | Compare::Le
                | Compare::Leu
        );
        return ty.kind() == TypeKind::Float
            && equality
            && [a, b].contains(&&Operand::Immediate(bits));
    }
    false
}

/// A reciprocal or quotient whose divisor, through copies, is compared with 0 by no instruction.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others copy, compare or divide nothing"
)]
fn unguarded_division(function: &Function) -> Option<usize> {
    let mut sources: HashMap<RegisterId, HashSet<RegisterId>> = HashMap::new();
    let mut compared: HashSet<RegisterId> = HashSet::new();
    for instruction in &function.instructions {
        match &instruction.op {
            Op::Mov {
                d,
                a: Operand::Register(a),
                ..
            } => {
                sources.entry(*d).or_default().insert(*a);
            }
            Op::Selp { d, a, b, .. } => {
                for operand in [a, b] {
                    if let Operand::Register(register) = operand {
                        sources.entry(*d).or_default().insert(*register);
                    }
                }
            }
            op @ Op::Setp { a, b, .. } if compares_with(op, 0) => {
                for operand in [a, b] {
                    if let Operand::Register(register) = operand {
                        compared.insert(*register);
                    }
                }
            }
            _ => {}
        }
    }
    let guarded = |register: RegisterId| {
        let (mut left, mut seen) = (vec![register], HashSet::new());
        while let Some(register) = left.pop() {
            if compared.contains(&register) {
                return true;
            }
            if seen.insert(register) {
                left.extend(sources.get(&register).into_iter().flatten());
            }
        }
        false
    };
    function
        .instructions
        .iter()
        .position(|instruction| match &instruction.op {
            Op::Math {
                function: MathFunction::Rcp,
                a: Operand::Register(a),
                ..
            }
            | Op::FloatDiv {
                b: Operand::Register(a),
                ..
            } => !guarded(*a),
            _ => false,
        })
}

//! Where (-inf) - (-inf) may be computed, by following infinite constants through registers.
//!
//! A register may hold -inf, +inf, both or none of them. Copies, choices, shuffles, changes of sign and products keep what
//! their operands may hold (the sign of a factor is taken to be positive, as a scale is); of two operands a maximum is -inf
//! only if both are. Sums keep what either addend may hold. What goes through memory is not followed: a register that is
//! loaded holds neither.

use crate::ptx::{FloatBinary, FloatUnary, Function, MathFunction, Op, Operand, RegisterId};
use std::collections::{HashMap, HashSet};

/// Which infinities a value may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Infinities {
    minus: bool,
    plus: bool,
}

impl Infinities {
    fn or(self, other: Self) -> Self {
        Self {
            minus: self.minus || other.minus,
            plus: self.plus || other.plus,
        }
    }

    fn maximum(self, other: Self) -> Self {
        Self {
            minus: self.minus && other.minus,
            plus: self.plus || other.plus,
        }
    }

    fn negated(self) -> Self {
        Self {
            minus: self.plus,
            plus: self.minus,
        }
    }

    /// Whether the sum of the two may be of opposite infinities.
    fn cancels(self, other: Self) -> bool {
        self.minus && other.plus || self.plus && other.minus
    }
}

/// The first sum that an exponential is computed from and whose addends may be opposite infinities.
pub(super) fn of_infinities(function: &Function) -> Option<usize> {
    let mut held: HashMap<RegisterId, Infinities> = HashMap::new();
    // What a register may hold only grows, two flags a register: this ends.
    loop {
        let mut is_stable = true;
        for instruction in &function.instructions {
            let Some((d, may)) = result(&instruction.op, &held) else {
                continue;
            };
            let old = held.entry(d).or_default();
            let new = old.or(may);
            is_stable &= new == *old;
            *old = new;
        }
        if is_stable {
            break;
        }
    }
    let exponents = exponents(function);
    function.instructions.iter().position(|instruction| {
        let op = &instruction.op;
        op.writes().iter().any(|d| exponents.contains(d))
            && sum(op, &held).is_some_and(|(a, b)| a.cancels(b))
    })
}

/// Registers that the operands of exponentials are computed from.
fn exponents(function: &Function) -> HashSet<RegisterId> {
    let mut needed = HashSet::new();
    loop {
        let before = needed.len();
        for instruction in &function.instructions {
            let op = &instruction.op;
            let is_exponential = matches!(
                op,
                Op::Math {
                    function: MathFunction::Ex2,
                    ..
                }
            );
            if is_exponential || op.writes().iter().any(|d| needed.contains(d)) {
                needed.extend(op.reads());
            }
        }
        if needed.len() == before {
            return needed;
        }
    }
}

fn of(operand: &Operand, held: &HashMap<RegisterId, Infinities>) -> Infinities {
    match operand {
        Operand::Register(register) => held.get(register).copied().unwrap_or_default(),
        Operand::Immediate(bits) => Infinities {
            minus: *bits == super::MINUS_INFINITY,
            plus: *bits == super::PLUS_INFINITY,
        },
        Operand::Address(..) | Operand::Special(_) => Infinities::default(),
    }
}

/// Addends of a sum, a difference or a fused product.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other instruction adds")]
fn sum(op: &Op, held: &HashMap<RegisterId, Infinities>) -> Option<(Infinities, Infinities)> {
    match op {
        Op::FloatBinary {
            operation: FloatBinary::Add,
            a,
            b,
            ..
        } => Some((of(a, held), of(b, held))),
        Op::FloatBinary {
            operation: FloatBinary::Sub,
            a,
            b,
            ..
        } => Some((of(a, held), of(b, held).negated())),
        Op::Fma { a, b, c, .. } => Some((of(a, held).or(of(b, held)), of(c, held))),
        _ => None,
    }
}

/// The register that an instruction writes, and what it may then hold.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what the others give is not infinite by these constants"
)]
fn result(op: &Op, held: &HashMap<RegisterId, Infinities>) -> Option<(RegisterId, Infinities)> {
    Some(match op {
        Op::Mov { d, a, .. } | Op::Shfl { d, a, .. } => (*d, of(a, held)),
        Op::Selp { d, a, b, .. } => (*d, of(a, held).or(of(b, held))),
        Op::FloatUnary {
            operation: FloatUnary::Neg,
            d,
            a,
            ..
        } => (*d, of(a, held).negated()),
        Op::FloatBinary {
            operation, d, a, b, ..
        } => {
            let (a, b) = (of(a, held), of(b, held));
            let may = match operation {
                FloatBinary::Max => a.maximum(b),
                FloatBinary::Min => a.negated().maximum(b.negated()).negated(),
                FloatBinary::Add | FloatBinary::Mul => a.or(b),
                FloatBinary::Sub => a.or(b.negated()),
            };
            (*d, may)
        }
        Op::Fma { d, .. } => {
            let (product, addend) = sum(op, held)?;
            (*d, product.or(addend))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::of_infinities;
    use crate::ptx::parse;

    /// Whether a body may subtract an infinity from itself.
    fn may(body: &str) -> bool {
        // Everything goes into an exponential but for %f8.
        let uses: String = (0..8)
            .map(|register| format!("ex2.approx.f32 %f8, %f{register};\n"))
            .collect();
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry e()\n{{\n.reg .f32 %f<9>;\n.reg .b32 %r<9>;\n\
             .reg .pred %p<3>;\n{body}\n{uses}ret;\n}}\n"
        );
        let module = parse("e", &text).unwrap();
        of_infinities(&module.functions[0]).is_some()
    }

    #[test]
    fn only_two_infinities_are_a_wrong_difference() {
        // Score and maximum both start at -inf.
        let hidden = "mov.f32 %f1, 0fFF800000;\nselp.f32 %f2, %f3, 0fFF800000, %p1;\n";
        assert!(may(&format!("{hidden}sub.f32 %f4, %f2, %f1;")));
        // Through a maximum of the two, a shuffle and a product fused with a changed sign.
        assert!(may(&format!(
            "{hidden}max.f32 %f4, %f1, %f2;\nmov.b32 %r1, %f4;\nshfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;\nmov.b32 %f5, %r2;\n\
             mul.f32 %f6, %f5, %f0;\nneg.f32 %f7, %f6;\nfma.rn.f32 %f5, %f2, %f0, %f7;"
        )));
        // A maximum with a score that is not hidden is finite.
        assert!(!may(&format!(
            "{hidden}max.f32 %f4, %f1, %f3;\nsub.f32 %f5, %f2, %f4;"
        )));
        // A score that is not hidden less a maximum that may still be -inf is +inf, not NaN.
        assert!(!may(&format!("{hidden}sub.f32 %f4, %f3, %f1;")));
        // Around a loop: the accumulator is copied back.
        assert!(may(
            "mov.f32 %f1, 0fFF800000;\n$L:\nmov.f32 %f3, %f1;\nsub.f32 %f4, %f3, %f2;\n\
             mov.f32 %f2, %f1;\n@%p1 bra $L;"
        ));
        // What no exponential is of may be NaN: the logarithm of a sum is a matter of its own.
        assert!(!may(&format!("{hidden}sub.f32 %f8, %f2, %f1;")));
        // Two infinities of one sign add to it.
        assert!(!may(&format!("{hidden}add.f32 %f4, %f1, %f2;")));
    }
}

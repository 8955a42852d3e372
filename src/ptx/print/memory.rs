//! Loads, stores, atomics and asynchronous copies as text.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the match of `statement.rs` names every instruction and sends only these here"
)]

use super::modifiers::{elements, flag, hints, ordering, space};
use super::operands::Names;
use super::statement::Text;
use crate::ptx::ScalarType::{B64, U32};
use crate::ptx::{CacheHints, Op, ScalarType};

impl Names<'_> {
    pub(super) fn memory(self, op: &Op) -> Text {
        match op {
            Op::Ld {
                ordering: order,
                space: from,
                non_coherent,
                hints: hint,
                ty,
                d,
                address,
            } => {
                let modifiers = [
                    ordering(*order),
                    space(*from),
                    flag(*non_coherent, ".nc").to_owned(),
                    hints(hint),
                ]
                .concat();
                let mut operands = vec![self.vector(d, |d| self.sink(d)), self.address(*address)];
                operands.extend(self.policy(hint));
                (format!("ld{modifiers}{}.{ty}", elements(d.len())), operands)
            }
            Op::St {
                ordering: order,
                space: to,
                hints: hint,
                ty,
                address,
                a,
            } => {
                let modifiers = [ordering(*order), space(*to), hints(hint)].concat();
                let mut operands = vec![
                    self.address(*address),
                    self.vector(a, |a| self.operand(a, *ty)),
                ];
                operands.extend(self.policy(hint));
                (format!("st{modifiers}{}.{ty}", elements(a.len())), operands)
            }
            Op::PrefetchLine {
                space: of,
                level,
                address,
            } => (
                format!("prefetch{}.L{level}", space(*of)),
                vec![self.address(*address)],
            ),
            Op::Atomic {
                ordering,
                scope,
                space: of,
                operation,
                ty,
                d,
                address,
                b,
                c,
            } => {
                let half = matches!(
                    ty,
                    ScalarType::F16 | ScalarType::F16x2 | ScalarType::Bf16 | ScalarType::Bf16x2
                );
                let noftz = flag(half, ".noftz");
                let opcode = format!(
                    "{}.{ordering}.{scope}{}.{operation}{noftz}.{ty}",
                    op.opcode(),
                    space(*of)
                );
                let mut operands: Vec<String> = d.iter().map(|d| self.d(*d)).collect();
                operands.push(self.address(*address));
                operands.extend(
                    [Some(*b), *c]
                        .into_iter()
                        .flatten()
                        .map(|operand| self.operand(operand, *ty)),
                );
                (opcode, operands)
            }
            Op::CpAsync {
                operator,
                prefetch,
                bytes,
                source_bytes,
                ignore,
                policy,
                d,
                s,
            } => {
                let hint = CacheHints {
                    operator: Some(*operator),
                    eviction: None,
                    prefetch: *prefetch,
                    policy: *policy,
                };
                // The operator stands before the spaces, the other hints after.
                let rest = hints(&CacheHints {
                    operator: None,
                    ..hint
                });
                let mut operands = vec![self.address(*d), self.address(*s), bytes.to_string()];
                operands.extend(source_bytes.map(|source_bytes| self.operand(source_bytes, U32)));
                operands.extend(ignore.map(|ignore| self.predicate(ignore)));
                operands.extend(self.policy(&hint));
                (format!("cp.async.{operator}.shared.global{rest}"), operands)
            }
            _ => unreachable!("`statement.rs` sends these only"),
        }
    }

    fn policy(self, hints: &CacheHints) -> Option<String> {
        hints.policy.map(|policy| self.operand(policy, B64))
    }
}

//! What an instruction makes of intervals.

use super::flow::{Flow, place};
use super::number::Number;
use super::state::{Condition, State};
use crate::contract::PromisedValue;
use crate::ptx::{
    Address, AddressBase, IntegerBinary, IntegerUnary, LogicOp, Op, Operand, ProductPart,
    RegisterId, ScalarType, ShiftDirection, Space, SpecialRegister, Symbol, TypeKind,
};

/// Shared memory of any card ends below.
const SHARED_BYTES_MAX: i128 = 1 << 18;

impl Flow<'_> {
    /// Executes an instruction; `certain` where every thread that comes here does.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "of the others nothing is known but their width"
    )]
    pub(super) fn execute(&mut self, state: &mut State, at: usize, certain: bool) {
        let op = self.context.function.instructions[at].op.clone();
        if let Some(place) = place(&op) {
            for coordinate in &place.coordinates {
                let number = self.value(state, *coordinate, ScalarType::S32);
                self.take(at, &number, ScalarType::S32, true);
            }
        }
        let writes = op.writes();
        let feeds = self.feeds(&writes);
        let mut results: Vec<(RegisterId, Number)> = Vec::new();
        let mut copied = None;
        let mut condition = None;
        let mut effects = Vec::new();
        match &op {
            Op::Mov { ty, d, a } => {
                if let Operand::Register(register) = a {
                    copied = Some(*register);
                }
                results.push((*d, self.moved(state, *a, *ty)));
            }
            Op::Cvta { d, a, .. } => results.push((*d, self.value(state, *a, ScalarType::U64))),
            Op::Cvt {
                rounding: None,
                saturate: false,
                to,
                from,
                d,
                a,
                ..
            } if to.kind() != TypeKind::Float && from.kind() != TypeKind::Float => {
                let number = self.value(state, *a, *from);
                let converted = self.converted(at, &number, (*from, *to), feeds);
                if let Operand::Register(register) = a
                    && !converted.raw
                    && (converted.low, converted.high) == (number.low, number.high)
                {
                    copied = Some(*register);
                }
                results.push((*d, converted));
            }
            Op::IntegerBinary {
                operation,
                saturate: false,
                ty,
                d,
                a,
                b,
            } => {
                condition = self.of_division(state, *operation, *ty, [*a, *b]);
                let rest = self.remainder(state, *operation, [*a, *b]);
                if let Some((of, number, plus)) = self.sum(*operation, *ty, [*a, *b]) {
                    effects = self.effects(state, of, plus, &state.mentioning(number));
                    condition = Some((Condition::Plus(number, plus), vec![number]));
                }
                let [a, b] = [a, b].map(|operand| self.value(state, *operand, *ty));
                let result = self.binary(at, *operation, *ty, [&a, &b], feeds);
                results.push((*d, rest.map_or(result, |rest| rest.by(at))));
            }
            Op::IntegerUnary {
                operation: IntegerUnary::Neg,
                ty,
                d,
                a,
            } => {
                let number = self.value(state, *a, *ty);
                results.push((*d, Number::exact(0).plus(&number, true).by(at)));
            }
            Op::Not { ty, d, a } if ty.bits() >= 32 => {
                let number = self.value(state, *a, *ty);
                let number = Number::exact(-1).plus(&number, true).by(at);
                results.push((*d, number));
            }
            Op::Mad {
                part,
                ty,
                d,
                a,
                b,
                c,
            } => {
                let [a, b] = [a, b].map(|operand| self.value(state, *operand, *ty));
                let (operation, wide) = match part {
                    ProductPart::Lo => (IntegerBinary::MulLo, *ty),
                    ProductPart::Hi => (IntegerBinary::MulHi, *ty),
                    ProductPart::Wide => (IntegerBinary::MulWide, ScalarType::S64),
                };
                let c = self.value(state, *c, wide);
                let product = self.binary(at, operation, *ty, [&a, &b], feeds);
                results.push((*d, product.plus(&c, false).by(at)));
            }
            Op::Shift {
                direction,
                ty,
                d,
                a,
                b,
            } => {
                let number = self.value(state, *a, *ty);
                let by = self.value(state, *b, ScalarType::U32).is_exact();
                let by = by.filter(|by| (0..64).contains(by));
                results.push((
                    *d,
                    match (direction, by) {
                        (ShiftDirection::Left, Some(by)) => {
                            number.times(&Number::exact(1 << by)).by(at)
                        }
                        (ShiftDirection::Left, None) => Number::raw(ty.bits()),
                        (ShiftDirection::Right, by) => {
                            let unsigned = if ty.kind() == TypeKind::Bits {
                                if ty.bits() == 32 {
                                    ScalarType::U32
                                } else {
                                    ScalarType::U64
                                }
                            } else {
                                *ty
                            };
                            self.take(at, &number, unsigned, feeds).shifted_right(by)
                        }
                    },
                ));
            }
            Op::Logic {
                operation,
                ty,
                d,
                a,
                b,
            } => {
                if *ty == ScalarType::Pred {
                    condition = self.combined(*operation, *a, *b);
                } else {
                    let [a, b] = [a, b].map(|operand| self.value(state, *operand, *ty));
                    results.push((*d, self.logic(at, *operation, *ty, [&a, &b], feeds)));
                }
            }
            Op::Not {
                ty: ScalarType::Pred,
                a: Operand::Register(of),
                ..
            } => {
                let of = self.plan.slice.number(*of);
                condition = of.map(|of| (Condition::Not(of), vec![of]));
            }
            Op::BitFieldExtract { ty, d, c, .. } if ty.kind() == TypeKind::Unsigned => {
                let length = self.value(state, *c, ScalarType::U32).is_exact();
                if let Some(length) = length.filter(|length| (0..32).contains(length)) {
                    results.push((*d, Number::new(0, (1 << length) - 1)));
                }
            }
            Op::Selp { ty, d, a, b, c } => {
                let chosen = |holds: bool, operand: &Operand| {
                    let bounded = match operand {
                        Operand::Register(register) => self
                            .plan
                            .slice
                            .number(*c)
                            .and_then(|c| self.bounded(state, c, holds, *register))
                            .map(|bounded| Number {
                                made: self.value(state, *operand, *ty).made,
                                ..bounded
                            }),
                        Operand::Immediate(_) | Operand::Address(..) | Operand::Special(_) => None,
                    };
                    bounded.unwrap_or_else(|| self.moved(state, *operand, *ty))
                };
                let holds = self.plan.slice.number(*c);
                let holds = holds.and_then(|c| self.holds(state, c, 8));
                results.push((
                    *d,
                    match holds {
                        Some(true) => self.moved(state, *a, *ty),
                        Some(false) => self.moved(state, *b, *ty),
                        None => chosen(true, a).join(&chosen(false, b)),
                    },
                ));
            }
            Op::Setp {
                compare,
                combine: None,
                ty,
                p: Some(_),
                q: None,
                a,
                b,
                ..
            } if ty.kind() != TypeKind::Float => {
                let registers = [a, b].into_iter().filter_map(|operand| match operand {
                    Operand::Register(register) => self.plan.slice.number(*register),
                    Operand::Immediate(_) | Operand::Address(..) | Operand::Special(_) => None,
                });
                let of = Condition::Compare {
                    compare: *compare,
                    ty: *ty,
                    a: *a,
                    b: *b,
                };
                condition = Some((of, registers.collect()));
            }
            Op::Ld {
                space,
                ty,
                d,
                address,
                ..
            } => {
                for (register, element) in d.iter().zip(0_u32..) {
                    if let Some(register) = register {
                        let offset = i128::from(element * ty.bytes());
                        let loaded = self.loaded(state, (*space, *ty), *address, offset);
                        results.push((*register, loaded));
                    }
                }
            }
            // What another lane holds, or what was decided for all.
            Op::Shfl { d, a, .. } => {
                let number = self.value(state, *a, ScalarType::U32);
                results.push((*d, number));
            }
            _ => {}
        }
        for register in &writes {
            let Some(number) = self.plan.slice.number(*register) else {
                continue;
            };
            let found = results.iter().find(|(of, _)| of == register);
            let bits = self.bits(*register);
            let mut result = found.map_or_else(|| Number::raw(bits), |(_, result)| result.clone());
            if !certain {
                let before = state.numbers.get(&number);
                result = result.join(before.unwrap_or(&Number::raw(bits)));
            }
            let known = if bits == 1 { None } else { Some(result) };
            state.write(number, known);
            if let (true, Some(from)) = (certain, copied)
                && let Some(from) = self.plan.slice.number(from)
                && state.numbers.contains_key(&from)
            {
                state.copy(at, from, number);
            }
        }
        if let (true, Some((condition, of)), [predicate]) = (certain, condition, &writes[..])
            && let Some(predicate) = self.plan.slice.number(*predicate)
        {
            let sums = self.sums(state, &condition);
            if !of.contains(&predicate) {
                state.compare(predicate, condition, of);
            }
            // A predicate says of sums what it says of what was compared.
            for (register, sum, plus) in sums {
                for (predicate, effect) in self.effects(state, register, plus, &[predicate]) {
                    state.effect(predicate, sum, effect);
                }
            }
            for (of, effect) in effects {
                state.effect(of, predicate, effect);
            }
        }
    }

    fn combined(
        &self,
        operation: LogicOp,
        a: Operand,
        b: Operand,
    ) -> Option<(Condition, Vec<usize>)> {
        let (Operand::Register(a), Operand::Register(b)) = (a, b) else {
            return None;
        };
        let (a, b) = (self.plan.slice.number(a)?, self.plan.slice.number(b)?);
        let condition = match operation {
            LogicOp::And => Condition::Both(a, b),
            LogicOp::Or => Condition::Either(a, b),
            LogicOp::Xor => return None,
        };
        Some((condition, vec![a, b]))
    }

    fn binary(
        &mut self,
        at: usize,
        operation: IntegerBinary,
        ty: ScalarType,
        [a, b]: [&Number; 2],
        feeds: bool,
    ) -> Number {
        match operation {
            IntegerBinary::Add => return a.plus(b, false).by(at),
            IntegerBinary::Sub => return a.plus(b, true).by(at),
            IntegerBinary::MulLo => return a.times(b).by(at),
            IntegerBinary::MulWide
            | IntegerBinary::MulHi
            | IntegerBinary::Div
            | IntegerBinary::Rem
            | IntegerBinary::Min
            | IntegerBinary::Max => {}
        }
        let [a, b] = [a, b].map(|number| self.take(at, number, ty, feeds));
        match operation {
            IntegerBinary::MulWide => a.times(&b).by(at),
            IntegerBinary::MulHi => a.times(&b).shifted_right(Some(i128::from(ty.bits()))),
            IntegerBinary::Div => a.divided(&b, false).unwrap_or_else(|| Number::any(ty)),
            IntegerBinary::Rem => a.divided(&b, true).unwrap_or_else(|| Number::any(ty)),
            IntegerBinary::Min => Number::new(a.low.min(b.low), a.high.min(b.high)),
            IntegerBinary::Max => Number::new(a.low.max(b.low), a.high.max(b.high)),
            IntegerBinary::Add | IntegerBinary::Sub | IntegerBinary::MulLo => Number::any(ty),
        }
    }

    fn logic(
        &mut self,
        at: usize,
        operation: LogicOp,
        ty: ScalarType,
        [a, b]: [&Number; 2],
        feeds: bool,
    ) -> Number {
        let is_and = operation == LogicOp::And;
        // A mask takes low bits, which wrapping around leaves as they are.
        if is_and && let Some(masked) = a.logic(b, true) {
            return masked;
        }
        let unsigned = if ty.bits() == 64 {
            ScalarType::U64
        } else {
            ScalarType::U32
        };
        let signed = if ty.bits() == 64 {
            ScalarType::S64
        } else {
            ScalarType::S32
        };
        for number in [a, b] {
            if number.taken(signed).is_none() {
                self.take(at, number, unsigned, feeds);
            }
        }
        let fits = [a, b]
            .into_iter()
            .all(|number| number.taken(unsigned).is_some() && !number.raw);
        let known = a.logic(b, is_and).filter(|_| fits);
        known.unwrap_or_else(|| Number::raw(ty.bits()))
    }

    fn converted(
        &mut self,
        at: usize,
        number: &Number,
        (from, to): (ScalarType, ScalarType),
        feeds: bool,
    ) -> Number {
        if to.bits() < 32 {
            let kept = number
                .taken(from)
                .filter(|number| number.taken(to).is_some());
            return kept.unwrap_or_else(|| Number::any(to));
        }
        if from.bits() < 32 || to.bits() > from.bits() {
            let taken = self.take(at, number, from, feeds);
            return Number {
                buffer: number.buffer,
                ..taken
            };
        }
        // As wide or narrower: the register has the same number modulo its width.
        if number.raw {
            Number::raw(to.bits())
        } else {
            number.clone()
        }
    }

    fn loaded(
        &self,
        state: &State,
        (space, ty): (Space, ScalarType),
        address: Address,
        offset: i128,
    ) -> Number {
        if ty.kind() == TypeKind::Float {
            return Number::raw(ty.bits());
        }
        match space {
            Space::Param => {
                let base = match address.base {
                    AddressBase::Register(register) => self
                        .value(state, Operand::Register(register), ScalarType::U64)
                        .is_exact(),
                    AddressBase::Symbol(symbol) => self.param(symbol),
                    AddressBase::Absolute => Some(0),
                };
                let at = base.map(|base| base + i128::from(address.offset) + offset);
                at.and_then(|at| self.promised(at, ty))
                    .unwrap_or_else(|| Number::raw(ty.bits()))
            }
            Space::Global => match self
                .entries(state, address.base)
                .filter(|_| ty.bits() == 32)
            {
                Some((_, greatest)) if self.who.is_some() => Number::exact(greatest),
                Some((least, greatest)) => Number::new(least, greatest),
                None => Number::raw(ty.bits()),
            },
            Space::Shared | Space::Local | Space::Const | Space::Generic => Number::raw(ty.bits()),
        }
    }

    fn promised(&self, at: i128, ty: ScalarType) -> Option<Number> {
        let params = self.contract.params.iter();
        let found = params
            .enumerate()
            .find(|(_, promise)| i128::from(promise.offset) == at);
        let (index, promise) = found?;
        match promise.value {
            PromisedValue::Bits(bits) => Some(immediate(bits, ty)),
            PromisedValue::Buffer { .. } => Some(Number {
                buffer: Some(index),
                ..Number::new(0, 1 << 62)
            }),
            PromisedValue::Map { .. } => None,
        }
    }

    fn param(&self, symbol: Symbol) -> Option<i128> {
        let Symbol::Param(index) = symbol else {
            return None;
        };
        let index = usize::try_from(index).ok()?;
        self.offsets.get(index).map(|offset| i128::from(*offset))
    }

    fn bits(&self, register: RegisterId) -> u32 {
        let ty = self.context.function.register_type(register);
        ty.map_or(64, |ty| if ty == ScalarType::Pred { 1 } else { ty.bits() })
    }

    /// What an operand holds that is moved: of an immediate with the highest bit set nobody has said what it is.
    fn moved(&self, state: &State, operand: Operand, ty: ScalarType) -> Number {
        match operand {
            Operand::Immediate(bits) if bits & ty.mask() > ty.mask() / 2 => Number::raw(ty.bits()),
            Operand::Immediate(_)
            | Operand::Register(_)
            | Operand::Address(..)
            | Operand::Special(_) => self.value(state, operand, ty),
        }
    }

    /// What an operand holds.
    pub(super) fn value(&self, state: &State, operand: Operand, ty: ScalarType) -> Number {
        match operand {
            Operand::Register(register) => {
                let number = self.plan.slice.number(register);
                let known = number.and_then(|number| state.numbers.get(&number));
                known
                    .cloned()
                    .unwrap_or_else(|| Number::raw(self.bits(register)))
            }
            Operand::Immediate(bits) => immediate(bits, ty),
            Operand::Address(symbol, offset) => match self.param(symbol) {
                Some(base) => Number::exact(base + i128::from(offset)),
                None => Number::new(0, SHARED_BYTES_MAX),
            },
            Operand::Special(special) => self.special(special),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are any number")]
    fn special(&self, special: SpecialRegister) -> Number {
        let (thread, cta) = match self.who {
            Some((thread, cta)) => (Some(thread), Some(cta)),
            None => (None, None),
        };
        let below = |extent: u32, exact: Option<u32>| match exact {
            Some(exact) => Number::exact(i128::from(exact)),
            None => Number::new(0, i128::from(extent.max(1) - 1)),
        };
        let (threads, grid) = (self.contract.cta, self.contract.grid);
        match special {
            SpecialRegister::TidX => below(threads[0], thread.map(|thread| thread[0])),
            SpecialRegister::TidY => below(threads[1], thread.map(|thread| thread[1])),
            SpecialRegister::TidZ => below(threads[2], thread.map(|thread| thread[2])),
            SpecialRegister::CtaidX => below(grid[0], cta.map(|cta| cta[0])),
            SpecialRegister::CtaidY => below(grid[1], cta.map(|cta| cta[1])),
            SpecialRegister::CtaidZ => below(grid[2], cta.map(|cta| cta[2])),
            SpecialRegister::NtidX => Number::exact(i128::from(threads[0])),
            SpecialRegister::NtidY => Number::exact(i128::from(threads[1])),
            SpecialRegister::NtidZ => Number::exact(i128::from(threads[2])),
            SpecialRegister::NctaidX => Number::exact(i128::from(grid[0])),
            SpecialRegister::NctaidY => Number::exact(i128::from(grid[1])),
            SpecialRegister::NctaidZ => Number::exact(i128::from(grid[2])),
            SpecialRegister::Laneid => match thread {
                Some([x, y, z]) => {
                    let linear = x + threads[0] * (y + threads[1] * z);
                    Number::exact(i128::from(linear % 32))
                }
                None => Number::new(0, 31),
            },
            SpecialRegister::Warpid => Number::new(0, 63),
            _ => Number::raw(64),
        }
    }
}

/// An immediate, or the bits of a parameter: what has the highest bit set is below 0 to all but unsigned comparisons and
/// masks, for which it is what the type says.
pub(super) fn immediate(bits: u64, ty: ScalarType) -> Number {
    let width = ty.bits().clamp(1, 64);
    let bits = i128::from(bits & ty.mask());
    let negative = ty.kind() == TypeKind::Signed && bits >> (width - 1) & 1 == 1;
    Number::exact(if negative { bits - (1 << width) } else { bits })
}

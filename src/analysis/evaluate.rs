//! What an instruction makes of the values it reads, for all threads of a CTA at once.

mod launch;
mod place;
mod special;
mod vary;

pub(super) use launch::Launch;

use super::alike::AlikeStores;
use super::value::{Bits, Value};
use crate::ptx::{
    Address, AddressBase, BoolOp, Compare, Function, IntegerBinary, IntegerUnary, LogicOp, Module,
    Op, Operand, ProductPart, RegisterId, ScalarType, ShiftDirection, ShuffleMode, Sm90, Space,
    SpecialRegister, Symbol, TypeKind,
};
use std::sync::OnceLock;

/// A function with the launch it declares.
#[derive(Debug)]
pub(super) struct Context<'m> {
    pub(super) module: &'m Module,
    pub(super) function: &'m Function,
    /// Threads of a CTA in x, y, z.
    cta: [u64; 3],
    /// True where every launch has exactly these.
    exact_cta: bool,
    /// Address of each shared variable: module scope, then function scope.
    pub(super) shared: [Vec<Option<u64>>; 2],
    /// The CTA of a launch that is looked at, if it is one.
    pub(super) launch: Option<Launch<'m>>,
    /// Which threads store the same, once somebody has asked.
    alike: OnceLock<AlikeStores>,
}

/// Most threads that a CTA can have.
const THREADS_MAX: u64 = 1024;

impl<'m> Context<'m> {
    /// `None` where the function does not declare how many threads a CTA has, or declares too many.
    pub(super) fn new(module: &'m Module, function: &'m Function) -> Option<Self> {
        let declared = function
            .directives
            .reqntid
            .or(function.directives.maxntid)?;
        let cta = declared.map(u64::from);
        let threads = cta
            .iter()
            .try_fold(1_u64, |threads, extent| threads.checked_mul(*extent))?;
        let shared = place::lay_out(&module.variables, &function.variables);
        let exact_cta = function.directives.reqntid.is_some();
        (1..=THREADS_MAX).contains(&threads).then_some(Self {
            module,
            function,
            cta,
            exact_cta,
            shared,
            launch: None,
            alike: OnceLock::new(),
        })
    }

    /// Which threads store the same.
    pub(super) fn alike(&self) -> &AlikeStores {
        self.alike.get_or_init(|| AlikeStores::new(self))
    }

    /// Threads of a CTA.
    pub(super) fn threads(&self) -> usize {
        usize::try_from(self.cta.iter().product::<u64>()).expect("at most 1024")
    }

    /// `(x, y, z)` of a thread.
    pub(super) fn thread_name(&self, thread: usize) -> String {
        let thread = u64::try_from(thread).expect("at most 1024");
        let [x, y, _] = self.cta;
        format!("({},{},{})", thread % x, thread / x % y, thread / (x * y))
    }

    fn symbol(&self, symbol: Symbol) -> Value {
        let (list, index) = match symbol {
            Symbol::Module(index) => (&self.shared[0], index),
            Symbol::Function(index) => (&self.shared[1], index),
            Symbol::Param(index) => return self.param_address(index),
        };
        let address = usize::try_from(index)
            .ok()
            .and_then(|index| list.get(index).copied().flatten());
        address.map_or_else(|| Value::unknown(false), Value::exact)
    }

    /// Value of an operand.
    pub(super) fn operand(&self, operand: Operand, read: &dyn Fn(RegisterId) -> Value) -> Value {
        match operand {
            Operand::Register(register) => read(register),
            Operand::Immediate(bits) => Value::exact(bits),
            Operand::Address(symbol, offset) => plus(&self.symbol(symbol), offset, u64::MAX),
            Operand::Special(special) => self.special(special),
        }
    }

    /// Value of an address.
    pub(super) fn address(&self, address: Address, read: &dyn Fn(RegisterId) -> Value) -> Value {
        match address.base {
            AddressBase::Register(register) => {
                let mask = self
                    .function
                    .register_type(register)
                    .map_or(u64::MAX, ScalarType::mask);
                plus(&read(register), address.offset, mask)
            }
            AddressBase::Symbol(symbol) => plus(&self.symbol(symbol), address.offset, u64::MAX),
            AddressBase::Absolute => Value::exact(address.offset.cast_unsigned()),
        }
    }

    /// Values that an instruction gives its destinations. What cannot be said is its own symbol.
    pub(super) fn evaluate(
        &self,
        instruction: usize,
        op: &Op,
        read: &dyn Fn(RegisterId) -> Value,
    ) -> Vec<(RegisterId, Value)> {
        let known = self.known(op, read);
        let varying = self.varies(op, read);
        op.writes()
            .into_iter()
            .enumerate()
            .map(|(element, register)| {
                let mask = self
                    .function
                    .register_type(register)
                    .map_or(u64::MAX, ScalarType::mask);
                let value = known
                    .iter()
                    .find(|(found, _)| *found == register)
                    .map(|(_, value)| value);
                let useful = value.filter(|value| {
                    value.symbol.is_some() || value.lanes.iter().any(|lane| lane.known & mask != 0)
                });
                // Four elements at most: a symbol for each.
                let result = || Value::result_of(instruction * 4 + element.min(3), varying);
                let found = match useful.map(|value| value.map(|lane| lane.cut(mask))) {
                    None => result(),
                    // One number for all threads can be compared, whatever it is.
                    Some(value) if value.is_one_unknown() && mask > 1 => Value {
                        base: value.lanes[0],
                        ..Value::result_of(instruction * 4 + element.min(3), false)
                    },
                    Some(value) => value,
                };
                (register, found)
            })
            .collect()
    }

    /// Results that follow from the operands, exactly or in part.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing is known of what the others give"
    )]
    fn known(&self, op: &Op, read: &dyn Fn(RegisterId) -> Value) -> Vec<(RegisterId, Value)> {
        let get = |operand: &Operand| self.operand(*operand, read);
        let one = |register: &RegisterId, value: Option<Value>| {
            value.map_or_else(Vec::new, |value| vec![(*register, value)])
        };
        match op {
            Op::IntegerBinary {
                operation,
                saturate: false,
                ty,
                d,
                a,
                b,
            } => one(d, integer_binary(*operation, *ty, &get(a), &get(b))),
            Op::IntegerUnary {
                operation: IntegerUnary::Neg,
                ty,
                d,
                a,
            } => one(d, Value::exact(0).linear(&get(a), true, ty.mask())),
            Op::Mad {
                part,
                ty,
                d,
                a,
                b,
                c,
            } => {
                let (part, mask) = match part {
                    ProductPart::Lo => (IntegerBinary::MulLo, ty.mask()),
                    ProductPart::Hi => (IntegerBinary::MulHi, ty.mask()),
                    ProductPart::Wide => (IntegerBinary::MulWide, u64::MAX),
                };
                let product = integer_binary(part, *ty, &get(a), &get(b));
                one(
                    d,
                    product.and_then(|product| product.linear(&get(c), false, mask)),
                )
            }
            Op::Logic {
                operation, d, a, b, ..
            } => one(d, Some(logic(*operation, &get(a), &get(b)))),
            Op::Not { d, a, .. } => one(d, Some(Value::combine(&[&get(a)], |bits| bits[0].not()))),
            Op::Shift {
                direction,
                ty,
                d,
                a,
                b,
            } => one(d, Some(shift(*direction, *ty, &get(a), &get(b)))),
            Op::Lop3 { d, a, b, c, table } => one(d, Some(lop3(*table, &get(a), &get(b), &get(c)))),
            Op::BitFieldExtract { ty, d, a, b, c } if ty.kind() == TypeKind::Unsigned => {
                let value = Value::combine(&[&get(a), &get(b), &get(c)], |bits| {
                    match field(bits[1], bits[2]) {
                        Some((at, mask)) => bits[0].shr(at).and(Bits::exact(mask)),
                        None => Bits::UNKNOWN,
                    }
                });
                one(d, Some(value))
            }
            Op::BitFieldInsert {
                d, a, b, c, length, ..
            } => {
                let value = Value::combine(&[&get(a), &get(b), &get(c), &get(length)], |bits| {
                    let Some((at, mask)) = field(bits[2], bits[3]) else {
                        return Bits::UNKNOWN;
                    };
                    let hole = Bits::exact(mask).shl(at);
                    bits[0].shl(at).and(hole).or(bits[1].and(hole.not()))
                });
                one(d, Some(value))
            }
            Op::Setp {
                compare,
                combine,
                ty,
                p,
                q,
                a,
                b,
                ..
            } if ty.kind() != TypeKind::Float => {
                let holds = compared(*compare, *ty, &get(a), &get(b));
                let with = |holds: Value| match combine {
                    None => holds,
                    Some((bool_op, c)) => {
                        let c = read(c.register).map_predicate(c.negated);
                        Value::combine(&[&holds, &c], |bits| match bool_op {
                            BoolOp::And => bits[0].and(bits[1]),
                            BoolOp::Or => bits[0].or(bits[1]),
                            BoolOp::Xor => bits[0].xor(bits[1]),
                        })
                    }
                };
                let p = p.map(|p| (p, with(holds.clone())));
                let q = q.map(|q| (q, with(holds.map_predicate(true))));
                p.into_iter().chain(q).collect()
            }
            Op::Selp { d, a, b, c, .. } => {
                let (a, b, c) = (get(a), get(b), read(*c));
                let value = match c.uniform() {
                    Some(0) => b,
                    Some(_) => a,
                    None => select(&c, &a, &b),
                };
                one(d, Some(value))
            }
            Op::Mov { d, a, .. } => one(d, Some(get(a))),
            Op::Pack { ty, d, a } => {
                let values: Vec<Value> = a.iter().map(get).collect();
                let width = ty.bits() / u32::try_from(a.len().max(1)).unwrap_or(1);
                let value = Value::combine(&values.iter().collect::<Vec<_>>(), |bits| {
                    let parts = bits.iter().zip(0_u32..).map(|(bits, element)| {
                        bits.cut(u64::MAX >> (64 - width.clamp(1, 64)))
                            .shl(width * element)
                    });
                    parts.fold(Bits::exact(0), Bits::or)
                });
                one(d, Some(value))
            }
            Op::Cvt {
                rounding: None,
                saturate: false,
                to,
                from,
                d,
                a,
                ..
            } if to.kind() != TypeKind::Float && from.kind() != TypeKind::Float => {
                let a = get(a);
                let value = if to.bits() <= from.bits() {
                    a.map(|lane| lane.cut(to.mask()))
                } else {
                    Value::combine(&[&a], |bits| extend(bits[0], *from).cut(to.mask()))
                };
                one(d, Some(value))
            }
            // Every lane reads the same lane of its warp.
            Op::Shfl {
                mode: ShuffleMode::Idx,
                d,
                a,
                b,
                c,
                ..
            } => one(d, of_lane(&get(a), &get(b), &get(c))),
            // Which lane is elected is the machine's choice; lanes of a warp are alike to what is asked here.
            Op::Sm90(sm90) => {
                let Sm90::Elect { p, .. } = &**sm90 else {
                    return Vec::new();
                };
                let first = |lane: Bits| Bits::of(lane.value() == Some(0));
                one(p, Some(self.special(SpecialRegister::Laneid).map(first)))
            }
            // Each memory is one window here, whichever way it is addressed.
            Op::Cvta {
                space: Space::Shared | Space::Global | Space::Param,
                d,
                a,
                ..
            } => one(d, Some(get(a))),
            Op::Ld {
                space,
                ty,
                d,
                address,
                ..
            } => self.load((*space, *ty, *address), d, read),
            _ => Vec::new(),
        }
    }
}

impl Value {
    /// A predicate, negated if so asked.
    pub(super) fn map_predicate(&self, negated: bool) -> Self {
        if negated {
            Self::combine(&[self], |bits| bits[0].not().cut(1))
        } else {
            self.clone()
        }
    }
}

/// What `shfl.idx` gives: `None` unless all lanes of a warp ask for the same, whose number is known.
fn of_lane(a: &Value, b: &Value, c: &Value) -> Option<Value> {
    let (lane, within) = (b.uniform()?, c.uniform()?);
    if a.uniform().is_some() {
        return Some(a.clone());
    }
    let lane = usize::try_from(lane).ok().filter(|lane| *lane < 32)?;
    if within != 31 || !a.is_known() {
        return None;
    }
    let source = |thread: usize| a.number(thread / 32 * 32 + lane);
    let numbers: Option<Vec<u64>> = (0..a.lanes.len()).map(source).collect();
    Some(Value::each(numbers?.into_iter()))
}

/// `value + offset`.
fn plus(value: &Value, offset: i64, mask: u64) -> Value {
    let offset = Value::exact(offset.cast_unsigned() & mask);
    value
        .linear(&offset, false, mask)
        .unwrap_or_else(|| Value::unknown(value.differs()))
}

/// The bits of a value of type `ty` as a 64-bit number: sign-extended for signed types.
fn extend(bits: Bits, ty: ScalarType) -> Bits {
    if ty.kind() != TypeKind::Signed {
        return bits.cut(ty.mask());
    }
    let (mask, sign) = (ty.mask(), ty.mask() / 2 + 1);
    let bits = bits.cut(mask);
    if bits.known & sign == 0 {
        Bits {
            known: bits.known & (mask / 2),
            ones: bits.ones,
        }
    } else if bits.ones & sign != 0 {
        bits.or(Bits::exact(!mask))
    } else {
        bits
    }
}

/// Position and mask of a bit field, if known.
fn field(at: Bits, length: Bits) -> Option<(u32, u64)> {
    let (at, length) = (at.value()? & 0xff, length.value()? & 0xff);
    let mask = if length >= 64 {
        u64::MAX
    } else {
        (1 << length) - 1
    };
    Some((u32::try_from(at).ok()?, mask))
}

fn integer_binary(operation: IntegerBinary, ty: ScalarType, a: &Value, b: &Value) -> Option<Value> {
    let mask = ty.mask();
    let exact = |f: &dyn Fn(i128, i128) -> Option<i128>| {
        Value::combine(&[a, b], |bits| {
            let number = |bits: Bits| {
                let value = extend(bits, ty).value()?;
                let signed = ty.kind() == TypeKind::Signed;
                Some(if signed {
                    i128::from(value.cast_signed())
                } else {
                    i128::from(value)
                })
            };
            let result = number(bits[0])
                .zip(number(bits[1]))
                .and_then(|(a, b)| f(a, b));
            // The low 64 bits are what two's complement keeps.
            let low =
                result.map(|result| u64::try_from(result.rem_euclid(1 << 64)).expect("below 2^64"));
            low.map_or(Bits::UNKNOWN, Bits::exact)
        })
    };
    Some(match operation {
        IntegerBinary::Add => return a.linear(b, false, mask),
        IntegerBinary::Sub => return a.linear(b, true, mask),
        IntegerBinary::MulLo => Value::combine(&[a, b], |bits| product(bits[0], bits[1]).cut(mask)),
        IntegerBinary::MulWide => Value::combine(&[a, b], |bits| {
            product(extend(bits[0], ty), extend(bits[1], ty))
        }),
        IntegerBinary::MulHi => exact(&|a, b| a.checked_mul(b).map(|product| product >> ty.bits())),
        IntegerBinary::Div => exact(&|a, b| a.checked_div(b)),
        IntegerBinary::Rem => match b.uniform() {
            Some(divisor) if divisor.is_power_of_two() && ty.kind() == TypeKind::Unsigned => {
                Value::combine(&[a], |bits| bits[0].and(Bits::exact(divisor - 1)))
            }
            _ => exact(&|a, b| a.checked_rem(b)),
        },
        IntegerBinary::Min => exact(&|a, b| Some(a.min(b))),
        IntegerBinary::Max => exact(&|a, b| Some(a.max(b))),
    })
}

/// The low bits of a product follow from the low bits of the factors.
fn product(a: Bits, b: Bits) -> Bits {
    let count = a.known.trailing_ones().min(b.known.trailing_ones());
    let mask = if count >= 64 {
        u64::MAX
    } else {
        (1 << count) - 1
    };
    let low = Bits {
        known: mask,
        ones: a.ones.wrapping_mul(b.ones) & mask,
    };
    // A power of two moves all bits, known and unknown.
    match (a.value(), b.value()) {
        (_, Some(factor)) if factor.is_power_of_two() => a.shl(factor.trailing_zeros()),
        (Some(factor), _) if factor.is_power_of_two() => b.shl(factor.trailing_zeros()),
        (Some(0), _) | (_, Some(0)) => Bits::exact(0),
        _ => low,
    }
}

fn logic(operation: LogicOp, a: &Value, b: &Value) -> Value {
    if operation == LogicOp::And {
        let bit = |of: &Value, mask: &Value| of.bit(mask.uniform()?);
        if let Some(bit) = bit(a, b).or_else(|| bit(b, a)) {
            return bit;
        }
    }
    Value::combine(&[a, b], |bits| match operation {
        LogicOp::And => bits[0].and(bits[1]),
        LogicOp::Or => bits[0].or(bits[1]),
        LogicOp::Xor => bits[0].xor(bits[1]),
    })
}

fn shift(direction: ShiftDirection, ty: ScalarType, a: &Value, b: &Value) -> Value {
    Value::combine(&[a, b], |bits| {
        let Some(amount) = bits[1].value() else {
            return Bits::UNKNOWN;
        };
        let amount = u32::try_from(amount).unwrap_or(u32::MAX).min(ty.bits());
        match direction {
            ShiftDirection::Left => bits[0].shl(amount).cut(ty.mask()),
            ShiftDirection::Right if ty.kind() == TypeKind::Signed => {
                // Bits above the 64th are copies of the sign: fill them in if it is known.
                let wide = extend(bits[0], ty);
                let moved = wide.shr(amount);
                let top = Bits::exact(u64::MAX).shr(amount).not();
                let sign = if wide.known >> 63 == 0 {
                    Bits {
                        known: !top.ones,
                        ones: 0,
                    }
                } else if wide.ones >> 63 == 1 {
                    top
                } else {
                    Bits::exact(0)
                };
                moved.and(top.not()).or(sign).cut(ty.mask())
            }
            ShiftDirection::Right => bits[0].cut(ty.mask()).shr(amount),
        }
    })
}

fn lop3(table: u8, a: &Value, b: &Value, c: &Value) -> Value {
    Value::combine(&[a, b, c], |bits| {
        // One row of the table after the other: where all three bits are as the row says, the result is its entry.
        let mut result = Bits::exact(0);
        for row in (0..8_u8).filter(|row| table >> row & 1 == 1) {
            let pick = |bits: Bits, one: u8| if row & one != 0 { bits } else { bits.not() };
            result = result.or(pick(bits[0], 4).and(pick(bits[1], 2)).and(pick(bits[2], 1)));
        }
        result
    })
}

/// Thread by thread the one or the other where the condition is known; what both share where not.
fn select(c: &Value, a: &Value, b: &Value) -> Value {
    if a == b {
        return a.clone();
    }
    if !c.is_known() {
        let mut joined = a.join(b);
        joined.varying = c.differs() || a.differs() || b.differs();
        return joined;
    }
    Value::combine(&[c, a, b], |bits| {
        if bits[0].value() == Some(0) {
            bits[2]
        } else {
            bits[1]
        }
    })
}

/// A comparison of integers as a predicate.
fn compared(compare: Compare, ty: ScalarType, a: &Value, b: &Value) -> Value {
    // `s + 1` and `s + 3` differ whatever s is.
    if matches!(compare, Compare::Eq | Compare::Ne)
        && let Some(difference) = a.linear(b, true, ty.mask())
        && difference.symbol.is_none()
    {
        return Value::combine(&[&difference], |bits| {
            let equal = match (bits[0].value(), bits[0].ones) {
                (Some(0), _) => true,
                (Some(_), _) => false,
                (None, 0) => return Bits::UNKNOWN.cut(1),
                (None, _) => false,
            };
            Bits::exact(u64::from(equal == (compare == Compare::Eq)))
        });
    }
    let signed = ty.kind() == TypeKind::Signed;
    Value::combine(&[a, b], |bits| {
        let (Some(x), Some(y)) = (extend(bits[0], ty).value(), extend(bits[1], ty).value()) else {
            return Bits::UNKNOWN.cut(1);
        };
        let order = if signed {
            x.cast_signed().cmp(&y.cast_signed())
        } else {
            x.cmp(&y)
        };
        let holds = match compare {
            Compare::Eq | Compare::Equ => order.is_eq(),
            Compare::Ne | Compare::Neu => order.is_ne(),
            Compare::Lt | Compare::Lo | Compare::Ltu => order.is_lt(),
            Compare::Le | Compare::Ls | Compare::Leu => order.is_le(),
            Compare::Gt | Compare::Hi | Compare::Gtu => order.is_gt(),
            Compare::Ge | Compare::Hs | Compare::Geu => order.is_ge(),
            Compare::Num => true,
            Compare::Nan => false,
        };
        Bits::exact(u64::from(holds))
    })
}

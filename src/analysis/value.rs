//! What a register holds in every thread of a CTA, as far as it is known without running.
//!
//! A value is `symbol + offset`: an optional unknown (the result of one instruction, the same at every use) plus an
//! offset of which some bits are known, for all threads together or for each. So a tile's address is a number for
//! each thread, a loop counter that starts at a loaded number is that number plus a known count, and the low bit of
//! a counter that has been forgotten otherwise still picks the buffer of a ring.

use rustc_hash::FxHashMap;
use std::rc::Rc;

/// 64 bits, some of them known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bits {
    /// Ones where the bit is known.
    pub(super) known: u64,
    /// The known bits; zero elsewhere.
    pub(super) ones: u64,
}

impl Bits {
    /// Nothing known.
    pub(super) const UNKNOWN: Self = Self { known: 0, ones: 0 };

    /// All bits known.
    pub(super) const fn exact(value: u64) -> Self {
        Self {
            known: u64::MAX,
            ones: value,
        }
    }

    /// The value, if all bits are known.
    pub(super) fn value(self) -> Option<u64> {
        (self.known == u64::MAX).then_some(self.ones)
    }

    fn zeros(self) -> u64 {
        self.known & !self.ones
    }

    /// Cut to a width: the bits above are zero.
    pub(super) fn cut(self, mask: u64) -> Self {
        Self {
            known: self.known | !mask,
            ones: self.ones & mask,
        }
    }

    /// The greatest number with these bits.
    pub(super) fn most(self) -> u64 {
        self.ones | !self.known
    }

    /// The low `count` bits, the others forgotten.
    pub(super) fn low(self, count: u32) -> Self {
        let mask = (1_u64 << count) - 1;
        Self {
            known: self.known & mask,
            ones: self.ones & mask,
        }
    }

    /// The sum, with `carry` (0 or 1) added: a bit of it is known where both bits and the carry into it are.
    fn sum(self, other: Self, carry: u64) -> Self {
        let most = (!self.zeros())
            .wrapping_add(!other.zeros())
            .wrapping_add(carry);
        let least = self.ones.wrapping_add(other.ones).wrapping_add(carry);
        let carry_zero = !(most ^ self.zeros() ^ other.zeros());
        let carry_one = least ^ self.ones ^ other.ones;
        let known = self.known & other.known & (carry_zero | carry_one);
        Self {
            known,
            ones: least & known,
        }
    }

    pub(super) fn add(self, other: Self) -> Self {
        self.sum(other, 0)
    }

    pub(super) fn sub(self, other: Self) -> Self {
        self.sum(other.not(), 1)
    }

    pub(super) fn not(self) -> Self {
        Self {
            known: self.known,
            ones: self.zeros(),
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        let ones = self.ones & other.ones;
        Self {
            known: ones | self.zeros() | other.zeros(),
            ones,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    pub(super) fn xor(self, other: Self) -> Self {
        let known = self.known & other.known;
        Self {
            known,
            ones: (self.ones ^ other.ones) & known,
        }
    }

    pub(super) fn shl(self, amount: u32) -> Self {
        let shift = |bits: u64| bits.checked_shl(amount).unwrap_or(0);
        Self {
            known: shift(self.known) | !shift(u64::MAX),
            ones: shift(self.ones),
        }
    }

    pub(super) fn shr(self, amount: u32) -> Self {
        let shift = |bits: u64| bits.checked_shr(amount).unwrap_or(0);
        Self {
            known: shift(self.known) | !shift(u64::MAX),
            ones: shift(self.ones),
        }
    }

    /// Known where both agree.
    fn join(self, other: Self) -> Self {
        let known = self.known & other.known & !(self.ones ^ other.ones);
        Self {
            known,
            ones: self.ones & known,
        }
    }
}

/// Operands of most instructions.
const FEW: usize = 4;

/// Symbols below this stand for results; above, for one bit of one.
const BIT_SYMBOLS: u32 = 40;

/// The result that a symbol is, or is a bit of.
pub(super) const fn origin(symbol: usize) -> usize {
    symbol & ((1 << BIT_SYMBOLS) - 1)
}

/// `symbol + offset` in every thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Value {
    /// Instruction whose latest result is added, if any.
    pub(super) symbol: Option<usize>,
    /// What is known of that result; nothing where there is none.
    pub(super) base: Bits,
    /// True where what is unknown may differ between threads.
    pub(super) varying: bool,
    /// Offset: one for all threads, or one for each.
    pub(super) lanes: Rc<[Bits]>,
}

impl Value {
    /// The same known number in every thread.
    pub(super) fn exact(value: u64) -> Self {
        Self {
            symbol: None,
            base: Bits::UNKNOWN,
            varying: false,
            lanes: Rc::new([Bits::exact(value)]),
        }
    }

    /// A known number for each thread.
    pub(super) fn each(values: impl Iterator<Item = u64>) -> Self {
        Self {
            symbol: None,
            base: Bits::UNKNOWN,
            varying: false,
            lanes: values.map(Bits::exact).collect(),
        }
        .shrink()
    }

    /// Nothing known.
    pub(super) fn unknown(varying: bool) -> Self {
        Self {
            symbol: None,
            base: Bits::UNKNOWN,
            varying,
            lanes: Rc::new([Bits::UNKNOWN]),
        }
    }

    /// The result of an instruction, whatever it is.
    pub(super) fn result_of(instruction: usize, varying: bool) -> Self {
        Self {
            symbol: Some(instruction),
            base: Bits::UNKNOWN,
            varying,
            lanes: Rc::new([Bits::exact(0)]),
        }
    }

    /// One bit of a result that is the same in all threads: the same unknown wherever it is taken.
    pub(super) fn bit(&self, mask: u64) -> Option<Self> {
        let symbol = self.symbol.filter(|symbol| origin(*symbol) == *symbol)?;
        let plain = !self.varying && self.lanes.len() == 1 && self.lanes[0].value() == Some(0);
        if !(plain && mask.is_power_of_two() && self.base.known & mask == 0) {
            return None;
        }
        let bit = usize::try_from(mask.trailing_zeros()).expect("below 64") + 1;
        Some(Self {
            base: Bits::UNKNOWN.cut(mask),
            ..Self::result_of(symbol | bit << BIT_SYMBOLS, false)
        })
    }

    /// True where nothing but a few bits is known, the same in all threads.
    pub(super) fn is_one_unknown(&self) -> bool {
        self.symbol.is_none()
            && !self.varying
            && self.lanes.len() == 1
            && self.lanes[0].value().is_none()
    }

    /// The offset in a thread.
    pub(super) fn lane(&self, thread: usize) -> Bits {
        if self.lanes.len() == 1 {
            self.lanes[0]
        } else {
            self.lanes.get(thread).copied().unwrap_or(Bits::UNKNOWN)
        }
    }

    /// The number that a thread has, if known.
    pub(super) fn number(&self, thread: usize) -> Option<u64> {
        if self.symbol.is_some() {
            None
        } else {
            self.lane(thread).value()
        }
    }

    /// The number that all threads have, if known.
    pub(super) fn uniform(&self) -> Option<u64> {
        if self.lanes.len() == 1 {
            self.number(0)
        } else {
            None
        }
    }

    /// True where every thread's number is known.
    pub(super) fn is_known(&self) -> bool {
        self.symbol.is_none() && self.lanes.iter().all(|lane| lane.value().is_some())
    }

    /// True where threads may have different values.
    pub(super) fn differs(&self) -> bool {
        self.varying || self.lanes.len() > 1
    }

    /// The bits of the whole value in a thread.
    pub(super) fn bits(&self, thread: usize) -> Bits {
        let lane = self.lane(thread);
        if self.symbol.is_none() || lane.value() == Some(0) {
            return if self.symbol.is_none() {
                lane
            } else {
                self.base
            };
        }
        let sum = self.base.add(lane);
        // A sum of 32 bits may have wrapped around.
        let most = self.base.most().checked_add(lane.most());
        if most.is_some_and(|most| most <= u64::from(u32::MAX)) {
            sum
        } else {
            sum.low(32)
        }
    }

    /// The symbol forgotten, what is known of its bits kept.
    pub(super) fn forgotten(&self) -> Self {
        Self::combine(&[self], |bits| bits[0])
    }

    /// The lanes mapped one by one, the symbol kept.
    pub(super) fn map(&self, f: impl Fn(Bits) -> Bits) -> Self {
        Self {
            symbol: self.symbol,
            base: self.symbol.map_or(Bits::UNKNOWN, |_| f(self.base)),
            varying: self.varying,
            lanes: self.lanes.iter().map(|lane| f(*lane)).collect(),
        }
        .shrink()
    }

    /// The low bits: of the offset from an unknown of which nothing is known, else of the whole.
    pub(super) fn low(&self, count: u32) -> Self {
        if self.symbol.is_some() && self.base.low(count).known == 0 {
            self.map(|lane| lane.low(count))
        } else {
            self.forgotten().map(|lane| lane.low(count))
        }
    }

    /// A value whose bits in each thread are `f` of the operands'.
    pub(super) fn combine(operands: &[&Value], f: impl Fn(&[Bits]) -> Bits) -> Self {
        let count = operands
            .iter()
            .map(|value| value.lanes.len())
            .max()
            .unwrap_or(1);
        let lane = |thread: usize| {
            // Few operands, many threads: no allocation for each.
            if operands.len() <= FEW {
                let mut bits = [Bits::UNKNOWN; FEW];
                for (bits, value) in bits.iter_mut().zip(operands) {
                    *bits = value.bits(thread);
                }
                f(&bits[..operands.len()])
            } else {
                let bits: Vec<Bits> = operands.iter().map(|value| value.bits(thread)).collect();
                f(&bits)
            }
        };
        Self {
            symbol: None,
            base: Bits::UNKNOWN,
            varying: operands.iter().any(|value| value.differs()),
            lanes: (0..count).map(lane).collect(),
        }
        .shrink()
    }

    /// The sum or difference, symbols kept where one is left.
    pub(super) fn linear(&self, other: &Self, subtract: bool, mask: u64) -> Option<Self> {
        let (symbol, base) = match (self.symbol, other.symbol) {
            (symbol, None) => (symbol, self.base),
            (None, Some(symbol)) if !subtract => (Some(symbol), other.base),
            (Some(a), Some(b)) if subtract && a == b => (None, Bits::UNKNOWN),
            (_, Some(_)) => {
                let sum = |bits: &[Bits]| {
                    let sum = if subtract {
                        bits[0].sub(bits[1])
                    } else {
                        bits[0].add(bits[1])
                    };
                    sum.cut(mask)
                };
                return Some(Self::combine(&[self, other], sum));
            }
        };
        let count = self.lanes.len().max(other.lanes.len());
        let lane = |thread: usize| {
            let (a, b) = (self.lane(thread), other.lane(thread));
            if subtract {
                a.sub(b).cut(mask)
            } else {
                a.add(b).cut(mask)
            }
        };
        // A symbol that is the same in all threads stays so whatever known numbers are added; unknown bits of an offset
        // become different ones where the other differs.
        let open = |value: &Self| value.lanes.iter().any(|lane| lane.value().is_none());
        let varying = self.varying
            || other.varying
            || ((open(self) || open(other)) && (self.differs() || other.differs()));
        Some(
            Self {
                symbol,
                base,
                varying,
                lanes: (0..count).map(lane).collect(),
            }
            .shrink(),
        )
    }

    /// What holds of both: for each thread, the bits on which they agree.
    pub(super) fn join(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        let mut joined = Self::combine(&[self, other], |bits| bits[0].join(bits[1]));
        joined.varying = true;
        joined
    }

    /// The same in the threads of a group, and in all others as in the first of the group: to the group alone, a number that
    /// its threads share is one number.
    pub(super) fn within(&self, group: &[usize]) -> Self {
        let Some(first) = group.first() else {
            return self.clone();
        };
        let mut value = self.clone();
        if self.lanes.len() > 1 {
            let mut lanes = vec![self.lane(*first); self.lanes.len()];
            for thread in group {
                lanes[*thread] = self.lane(*thread);
            }
            value.lanes = lanes.into();
        }
        value.varying &= group.len() > 1;
        value.shrink()
    }

    /// One lane where all are the same; `varying` only where something is unknown.
    fn shrink(mut self) -> Self {
        if self.lanes.len() > 1 && self.lanes.iter().all(|lane| *lane == self.lanes[0]) {
            self.lanes = Rc::new([self.lanes[0]]);
        }
        self.varying &= !self.is_known();
        self
    }
}

/// Index of a value in its table: equal ids are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ValueId(usize);

/// Every value met so far, once.
#[derive(Debug, Default)]
pub(super) struct Values {
    all: Vec<Value>,
    ids: FxHashMap<Value, ValueId>,
}

impl Values {
    /// The id of a value.
    pub(super) fn id(&mut self, value: Value) -> ValueId {
        if let Some(id) = self.ids.get(&value) {
            return *id;
        }
        let id = ValueId(self.all.len());
        self.all.push(value.clone());
        self.ids.insert(value, id);
        id
    }

    /// The value of an id.
    pub(super) fn get(&self, id: ValueId) -> &Value {
        &self.all[id.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arbitrary_bits() -> impl Strategy<Value = (Bits, u64)> {
        (
            any::<u64>(),
            any::<u64>(),
            prop_oneof![Just(u64::MAX), any::<u64>()],
        )
            .prop_map(|(value, mask, small)| {
                let value = value & small;
                (
                    Bits {
                        known: mask,
                        ones: value & mask,
                    },
                    value,
                )
            })
    }

    fn admits(bits: Bits, value: u64) -> bool {
        value & bits.known == bits.ones && bits.ones & !bits.known == 0
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the unknown bits are, the result has the bits that are claimed.
        #[test]
        fn known_bits_are_right((a, x) in arbitrary_bits(), (b, y) in arbitrary_bits(), amount in 0_u32..70) {
            prop_assert!(admits(a.add(b), x.wrapping_add(y)));
            prop_assert!(admits(a.sub(b), x.wrapping_sub(y)));
            prop_assert!(admits(a.and(b), x & y));
            prop_assert!(admits(a.or(b), x | y));
            prop_assert!(admits(a.xor(b), x ^ y));
            prop_assert!(admits(a.not(), !x));
            prop_assert!(admits(a.shl(amount), x.checked_shl(amount).unwrap_or(0)));
            prop_assert!(admits(a.shr(amount), x.checked_shr(amount).unwrap_or(0)));
            prop_assert!(admits(a.join(b), x) && admits(a.join(b), y));
            prop_assert!(admits(a.low(4), x));
        }

        /// Known operands give a known sum.
        #[test]
        fn exact_operands_give_exact_results(x in any::<u64>(), y in any::<u64>()) {
            prop_assert_eq!(Bits::exact(x).add(Bits::exact(y)), Bits::exact(x.wrapping_add(y)));
            prop_assert_eq!(Bits::exact(x).sub(Bits::exact(y)), Bits::exact(x.wrapping_sub(y)));
        }
    }

    #[test]
    fn a_forgotten_counter_still_picks_the_buffer() {
        // ((counter << 13) & 8192) + tile, the counter known modulo 2
        let counter = Bits::exact(5).low(1);
        let buffer = counter.shl(13).and(Bits::exact(8192));
        assert_eq!(
            buffer.add(Bits::exact(4096 + 64)).value(),
            Some(8192 + 4160)
        );
        assert_eq!(
            Bits::UNKNOWN
                .shl(13)
                .and(Bits::exact(8192))
                .add(Bits::exact(64))
                .value(),
            None
        );
    }

    #[test]
    fn the_difference_of_a_symbol_with_itself_is_known() {
        let begin = Value::result_of(7, false);
        let mask = u64::from(u32::MAX);
        let entry = begin.linear(&Value::exact(3), false, mask).unwrap();
        assert_eq!(entry.linear(&begin, true, mask).unwrap().uniform(), Some(3));
        let other = entry
            .linear(&Value::result_of(8, false), true, mask)
            .unwrap();
        assert!(other.symbol.is_none() && other.is_one_unknown());
    }
}

//! Register files of a warp: 32 lanes of each register side by side.

use super::Lanes;
use crate::convert::{index, low_u32};
use crate::ptx::{Function, RegisterId, ScalarType};

/// Where a register lives. Registers of 8 and 16 bits fill a word, their upper bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// One bit a lane.
    Predicate(usize),
    /// 32 bits a lane.
    Word(usize),
    /// 64 bits a lane.
    Long(usize),
}

/// Slots of a function's registers, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    types: Vec<ScalarType>,
    predicates: usize,
    words: usize,
    longs: usize,
}

impl Slots {
    pub(crate) fn new(function: &Function) -> Self {
        let types = function.register_types();
        let mut all = Self {
            slots: Vec::with_capacity(types.len()),
            types: Vec::new(),
            predicates: 0,
            words: 0,
            longs: 0,
        };
        for ty in &types {
            let (count, slot): (&mut usize, fn(usize) -> Slot) = match ty.bits() {
                1 => (&mut all.predicates, Slot::Predicate),
                64 => (&mut all.longs, Slot::Long),
                _ => (&mut all.words, Slot::Word),
            };
            all.slots.push(slot(*count));
            *count += 1;
        }
        all.types = types;
        all
    }

    #[inline]
    pub(crate) fn of(&self, register: RegisterId) -> Slot {
        self.slots[index(register.0)]
    }

    pub(crate) fn type_of(&self, register: RegisterId) -> ScalarType {
        self.types[index(register.0)]
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }
}

/// Values of a warp's registers. A register starts as zero; whether it has been written is for a detector to know.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    predicates: Vec<u32>,
    words: Vec<Lanes<u32>>,
    longs: Vec<Lanes<u64>>,
}

impl Registers {
    pub(crate) fn new(slots: &Slots) -> Self {
        Self {
            predicates: vec![0; slots.predicates],
            words: vec![[0; 32]; slots.words],
            longs: vec![[0; 32]; slots.longs],
        }
    }

    /// A bit a lane; bit 0 of a register that is no predicate.
    pub(crate) fn predicate(&self, slot: Slot) -> u32 {
        match slot {
            Slot::Predicate(at) => self.predicates[at],
            Slot::Word(at) => mask_of(&self.words[at], |x| x & 1 == 1),
            Slot::Long(at) => mask_of(&self.longs[at], |x| x & 1 == 1),
        }
    }

    /// The register itself, where it is one of 32 bits.
    #[inline]
    pub(crate) fn as_word(&self, slot: Slot) -> Option<&Lanes<u32>> {
        match slot {
            Slot::Word(at) => Some(&self.words[at]),
            Slot::Long(_) | Slot::Predicate(_) => None,
        }
    }

    /// The register itself, where it is one of 64 bits.
    #[inline]
    pub(crate) fn as_long(&self, slot: Slot) -> Option<&Lanes<u64>> {
        match slot {
            Slot::Long(at) => Some(&self.longs[at]),
            Slot::Word(_) | Slot::Predicate(_) => None,
        }
    }

    /// Low 32 bits of each lane.
    #[inline]
    pub(crate) fn word(&self, slot: Slot) -> Lanes<u32> {
        match slot {
            Slot::Word(at) => self.words[at],
            Slot::Long(at) => self.longs[at].map(low_u32),
            Slot::Predicate(at) => lanes(|lane| self.predicates[at] >> lane & 1),
        }
    }

    /// Each lane, extended with zeros.
    #[inline]
    pub(crate) fn long(&self, slot: Slot) -> Lanes<u64> {
        match slot {
            Slot::Long(at) => self.longs[at],
            Slot::Word(at) => self.words[at].map(u64::from),
            Slot::Predicate(at) => lanes(|lane| u64::from(self.predicates[at] >> lane & 1)),
        }
    }

    pub(crate) fn set_predicate(&mut self, slot: Slot, mask: u32, value: u32) {
        match slot {
            Slot::Predicate(at) => {
                self.predicates[at] = self.predicates[at] & !mask | value & mask;
            }
            Slot::Word(_) | Slot::Long(_) => {
                self.set_word(slot, mask, &lanes(|lane| value >> lane & 1))
            }
        }
    }

    #[inline]
    pub(crate) fn set_word(&mut self, slot: Slot, mask: u32, value: &Lanes<u32>) {
        match slot {
            Slot::Word(at) => store(&mut self.words[at], mask, value),
            Slot::Long(at) => store(&mut self.longs[at], mask, &value.map(u64::from)),
            Slot::Predicate(_) => self.set_predicate(slot, mask, mask_of(value, |x| x & 1 == 1)),
        }
    }

    #[inline]
    pub(crate) fn set_long(&mut self, slot: Slot, mask: u32, value: &Lanes<u64>) {
        match slot {
            Slot::Long(at) => store(&mut self.longs[at], mask, value),
            Slot::Word(at) => store(&mut self.words[at], mask, &value.map(low_u32)),
            Slot::Predicate(_) => self.set_predicate(slot, mask, mask_of(value, |x| x & 1 == 1)),
        }
    }
}

#[inline]
fn store<T: Copy>(to: &mut Lanes<T>, mask: u32, from: &Lanes<T>) {
    if mask == u32::MAX {
        *to = *from;
    } else {
        for (lane, (to, from)) in to.iter_mut().zip(from).enumerate() {
            // A selection, not a branch: so the loop is one of vectors.
            *to = if mask >> lane & 1 == 1 { *from } else { *to };
        }
    }
}

/// 32 values by lane.
#[inline(always)]
pub(crate) fn lanes<T: Copy + Default>(mut value: impl FnMut(usize) -> T) -> Lanes<T> {
    // `array::from_fn` is not always inlined, and then no loop of vectors.
    let mut all = [T::default(); 32];
    for (lane, one) in all.iter_mut().enumerate() {
        *one = value(lane);
    }
    all
}

/// A bit a lane.
#[inline]
pub(crate) fn mask_of<T: Copy>(values: &Lanes<T>, holds: impl Fn(T) -> bool) -> u32 {
    let mut mask = 0;
    for (lane, &value) in values.iter().enumerate() {
        mask |= u32::from(holds(value)) << lane;
    }
    mask
}

/// Lanes of a mask, ascending.
#[inline]
pub(crate) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (lane < 32).then(|| index(lane))
    })
}

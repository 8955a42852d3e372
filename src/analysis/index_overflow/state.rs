//! What is known at a point: intervals of registers, what predicates compare, which registers are one number.

use super::number::Number;
use crate::ptx::{Compare, Operand, ScalarType};
use std::collections::BTreeMap;

/// What a predicate stands for, or how a number was computed from registers that still hold what they did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Compare {
        compare: Compare,
        ty: ScalarType,
        a: Operand,
        b: Operand,
    },
    /// Both of two predicates, by number.
    Both(usize, usize),
    /// One of two at least.
    Either(usize, usize),
    Not(usize),
    /// A register divided by another, rounded down.
    Quotient(usize, usize),
    /// Of a register, the greatest multiple of another that is not above it.
    Multiple(usize, usize),
    /// A register plus a number.
    Plus(usize, i128),
}

/// Bounds of a register where a predicate does not hold, and where it does.
pub(super) type Effect = [Option<(i128, i128)>; 2];

/// Registers by their number in the slice; one that is absent may hold anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) numbers: BTreeMap<usize, Number>,
    pub(super) conditions: BTreeMap<usize, Condition>,
    /// Predicates that stand for something of a register.
    mentions: BTreeMap<usize, Vec<usize>>,
    /// Registers that hold one number, by the copy that made them so.
    copies: BTreeMap<usize, Vec<usize>>,
    copy_of: BTreeMap<usize, usize>,
    /// What predicates say of registers that differ by a number from one that was compared, by predicate and register. It
    /// stays so when the one that was compared is written again, as a loop's counter is.
    pub(super) effects: BTreeMap<usize, BTreeMap<usize, Effect>>,
    /// Predicates that say something of a register so.
    effected: BTreeMap<usize, Vec<usize>>,
}

impl State {
    /// A register holds a new number.
    pub(super) fn write(&mut self, register: usize, number: Option<Number>) {
        for predicate in self.mentions.remove(&register).unwrap_or_default() {
            self.conditions.remove(&predicate);
        }
        self.conditions.remove(&register);
        self.effects.remove(&register);
        for predicate in self.effected.remove(&register).unwrap_or_default() {
            if let Some(of) = self.effects.get_mut(&predicate) {
                of.remove(&register);
            }
        }
        self.part(register);
        match number {
            Some(number) => self.numbers.insert(register, number),
            None => self.numbers.remove(&register),
        };
    }

    /// A register is no copy of another.
    fn part(&mut self, register: usize) {
        if let Some(copy) = self.copy_of.remove(&register)
            && let Some(others) = self.copies.get_mut(&copy)
        {
            others.retain(|other| *other != register);
        }
    }

    /// A predicate stands for something, of these registers.
    pub(super) fn compare(
        &mut self,
        predicate: usize,
        condition: Condition,
        of: impl IntoIterator<Item = usize>,
    ) {
        for register in of {
            let mentions = self.mentions.entry(register).or_default();
            if !mentions.contains(&predicate) {
                mentions.push(predicate);
            }
        }
        self.conditions.insert(predicate, condition);
    }

    /// A predicate says this of a register.
    pub(super) fn effect(&mut self, predicate: usize, register: usize, effect: Effect) {
        self.effects
            .entry(predicate)
            .or_default()
            .insert(register, effect);
        let predicates = self.effected.entry(register).or_default();
        if !predicates.contains(&predicate) {
            predicates.push(predicate);
        }
    }

    /// What stands for something of a register, or of a copy of it.
    pub(super) fn mentioning(&self, register: usize) -> Vec<usize> {
        let alike = self.alike(register);
        let of = alike
            .iter()
            .filter_map(|register| self.mentions.get(register));
        of.flatten().copied().collect()
    }

    /// A register is a copy of another from the instruction `at` on.
    pub(super) fn copy(&mut self, at: usize, from: usize, to: usize) {
        if from == to {
            return;
        }
        let copy = self.copy_of.get(&from).copied().unwrap_or_else(|| {
            for old in self.copies.remove(&at).unwrap_or_default() {
                self.copy_of.remove(&old);
            }
            self.copies.insert(at, vec![from]);
            self.copy_of.insert(from, at);
            at
        });
        self.copies.entry(copy).or_default().push(to);
        self.copy_of.insert(to, copy);
        for predicate in self.effected.get(&from).cloned().unwrap_or_default() {
            if let Some(effect) = self.effects.get(&predicate).and_then(|of| of.get(&from)) {
                self.effect(predicate, to, *effect);
            }
        }
    }

    /// The register and all that hold the same number.
    pub(super) fn alike(&self, register: usize) -> Vec<usize> {
        let copy = self.copy_of.get(&register);
        copy.and_then(|copy| self.copies.get(copy))
            .cloned()
            .unwrap_or_else(|| vec![register])
    }

    /// Forgets the registers that are not live.
    pub(super) fn settle(&mut self, is_live: impl Fn(usize) -> bool) {
        self.numbers.retain(|register, _| is_live(*register));
        self.conditions.retain(|register, _| is_live(*register));
        let dead: Vec<usize> = self
            .copy_of
            .keys()
            .copied()
            .filter(|of| !is_live(*of))
            .collect();
        for register in dead {
            self.part(register);
        }
        self.copies.retain(|_, all| all.len() > 1);
        let copies = &self.copies;
        self.copy_of.retain(|_, copy| copies.contains_key(copy));
        self.effects.retain(|predicate, of| {
            of.retain(|register, _| is_live(*register));
            is_live(*predicate) && !of.is_empty()
        });
        let effects = &self.effects;
        self.effected.retain(|register, predicates| {
            predicates.retain(|predicate| {
                effects
                    .get(predicate)
                    .is_some_and(|of| of.contains_key(register))
            });
            !predicates.is_empty()
        });
        let conditions = &self.conditions;
        self.mentions.retain(|_, predicates| {
            predicates.retain(|predicate| conditions.contains_key(predicate));
            !predicates.is_empty()
        });
    }

    /// What holds of both.
    pub(super) fn join(&mut self, other: &Self) {
        self.numbers
            .retain(|register, number| match other.numbers.get(register) {
                Some(theirs) => {
                    *number = number.join(theirs);
                    true
                }
                None => false,
            });
        self.conditions
            .retain(|predicate, of| other.conditions.get(predicate) == Some(of));
        self.effects.retain(|predicate, of| {
            let theirs = other.effects.get(predicate);
            of.retain(|register, effect| {
                theirs.and_then(|theirs| theirs.get(register)) == Some(effect)
            });
            !of.is_empty()
        });
        let parted: Vec<usize> = self
            .copy_of
            .keys()
            .copied()
            .filter(|register| self.alike(*register) != other.alike(*register))
            .collect();
        for register in parted {
            self.part(register);
        }
        self.settle(|_| true);
    }
}

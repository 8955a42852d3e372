//! What an instruction reads and writes: registers, immediates, symbols, addresses.

use super::scalar::{CacheOperator, Eviction, Prefetch, SpecialRegister};

/// Register of a function: dense, from 0, in the order of declaration. Its type is `Function::register_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterId(pub u32);

/// Index into `Function::instructions`; equal to its length for the end of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstructionId(pub u32);

/// Something with an address and a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Symbol {
    /// Index into `Module::variables`.
    Module(u32),
    /// Index into `Function::variables`.
    Function(u32),
    /// Index into `Function::params`: an address in param space.
    Param(u32),
}

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// Value of a register.
    Register(RegisterId),
    /// Bits, cut to the width the instruction reads; 0 or 1 for a predicate.
    Immediate(u64),
    /// Address of a symbol plus bytes.
    Address(Symbol, i64),
    /// Value of a special register.
    Special(SpecialRegister),
}

/// What an address is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressBase {
    /// 32 or 64 bits of a register.
    Register(RegisterId),
    /// Address of a symbol.
    Symbol(Symbol),
    /// Nothing: the offset is the address.
    Absolute,
}

/// `[base + offset]`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// What it is counted from.
    pub base: AddressBase,
    /// Signed bytes.
    pub offset: i64,
}

/// A predicate register, perhaps negated (`@!%p1`, `!%p2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Predicate {
    /// Register of type `pred`.
    pub register: RegisterId,
    /// True for `!`.
    pub negated: bool,
}

/// Performance hints of an access: they change no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CacheHints {
    /// Cache operator.
    pub operator: Option<CacheOperator>,
    /// Level 1 eviction priority.
    pub eviction: Option<Eviction>,
    /// Level 2 prefetch size.
    pub prefetch: Option<Prefetch>,
    /// `.L2::cache_hint` with its 64-bit policy operand.
    pub policy: Option<Operand>,
}

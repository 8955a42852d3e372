//! What a kernel does with each of its parameters, followed through its code regardless of order.
//!
//! A register holds the values of parameters that reach it through loads of parameter space, moves, conversions, selects,
//! additions and subtractions; a product or quotient ends the trail and says that a parameter multiplies or divides.
//! Trails through memory or predicates are lost.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what the other instructions do to an address says nothing of a parameter"
)]

use super::tensor_map::TENSOR_MAP_BYTES;
use crate::ptx::{
    AddressBase, Extent, FloatBinary, Function, IntegerBinary, Op, Operand, RegisterId, ScalarType,
    Sm90, Space, Symbol, TensorPlace, TypeKind, Use,
};
use std::collections::{BTreeMap, BTreeSet};

/// One value in the parameter space, as the code reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its place.
    pub(super) offset: u32,
    /// Its width.
    pub(super) bytes: u32,
    /// What it seems to be for.
    pub(super) role: Role,
}

/// What a parameter seems to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A pointer that is stored to.
    Output,
    /// A pointer that is read more than a word at a time, or 16 bits at a time.
    Tensor,
    /// A pointer that is read word by word.
    List,
    /// A pointer that nothing uses.
    Unused,
    /// A tensor map that boxes of so many axes are loaded by, or stored.
    Map { axes: usize, stored: bool },
    /// An f32 that the code multiplies by log2(e).
    Scale,
    /// Any other f32.
    Float,
    /// An integer that divides.
    Divisor,
    /// An integer that is compared.
    Length,
    /// An integer that only multiplies.
    Stride,
    /// Any other integer.
    Integer,
}

impl Field {
    /// Its `type` in a manifest.
    pub(super) fn type_name(&self) -> &'static str {
        match (self.role, self.bytes) {
            (Role::Output | Role::Tensor | Role::List | Role::Unused, _) => "pointer",
            (Role::Map { .. }, _) => "tensor_map",
            (Role::Scale | Role::Float, _) => "f32",
            (_, 1) => "u8",
            (_, 2) => "u16",
            (_, 8) => "u64",
            _ => "u32",
        }
    }

    /// True for numbers that are counted.
    pub(super) fn is_integer(&self) -> bool {
        matches!(
            self.role,
            Role::Divisor | Role::Length | Role::Stride | Role::Integer
        )
    }
}

/// log2(e) in f32.
const LOG2_E_BITS: u64 = 0x3fb8_aa3b;

/// What happens to a value.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    bytes: u32,
    stored: bool,
    /// Most bytes a lane reads at once through it, and fewest.
    read: Option<(u32, u32)>,
    is_pointer: bool,
    is_float: bool,
    becomes_log2: bool,
    compared: bool,
    multiplies: bool,
    divides: bool,
    /// Some instruction uses what was read.
    used: bool,
}

/// The fields of the parameter space of `function`, ascending.
pub(super) fn trace(function: &Function) -> Vec<Field> {
    let mut trace = Trace {
        function,
        trails: BTreeMap::new(),
        addresses: BTreeMap::new(),
        seen: BTreeMap::new(),
        maps: BTreeMap::new(),
    };
    // A trail may lead backwards in the text: until nothing changes, and each round extends one.
    for _ in 0..function.instructions.len().min(64) {
        if !trace.spread() {
            break;
        }
    }
    trace.look();
    trace.fields()
}

struct Trace<'a> {
    function: &'a Function,
    /// Offsets of the parameters that a register holds the value of, plus something.
    trails: BTreeMap<RegisterId, BTreeSet<u32>>,
    /// Parameter space offset that a register holds the address of.
    addresses: BTreeMap<RegisterId, i64>,
    seen: BTreeMap<u32, Seen>,
    /// Tensor maps by their offset.
    maps: BTreeMap<u32, Role>,
}

impl Trace<'_> {
    fn param_offset(&self, symbol: Symbol, offset: i64) -> Option<i64> {
        let Symbol::Param(index) = symbol else {
            return None;
        };
        let start = *self
            .function
            .param_offsets()
            .get(crate::convert::index(index))?;
        i64::try_from(start).ok()?.checked_add(offset)
    }

    /// One round over the code; true where a trail grew.
    fn spread(&mut self) -> bool {
        let mut grew = false;
        for instruction in &self.function.instructions {
            match &instruction.op {
                Op::Ld {
                    space: Space::Param | Space::Generic,
                    ty,
                    d,
                    address,
                    ..
                } => {
                    let at = match address.base {
                        AddressBase::Symbol(symbol) => self.param_offset(symbol, address.offset),
                        AddressBase::Register(register) => self
                            .addresses
                            .get(&register)
                            .and_then(|at| at.checked_add(address.offset)),
                        AddressBase::Absolute => None,
                    };
                    let Some(first) = at.and_then(|at| u32::try_from(at).ok()) else {
                        continue;
                    };
                    for (register, offset) in d
                        .iter()
                        .zip((first..).step_by(crate::convert::index(ty.bytes())))
                    {
                        if let Some(register) = register {
                            grew |= self.trails.entry(*register).or_default().insert(offset);
                            let seen = self.seen.entry(offset).or_default();
                            seen.bytes = seen.bytes.max(ty.bytes());
                            seen.is_float |= ty.kind() == TypeKind::Float;
                        }
                    }
                }
                Op::Mov {
                    d,
                    a: Operand::Address(symbol, offset),
                    ..
                } => {
                    if let Some(at) = self.param_offset(*symbol, *offset) {
                        grew |= self.addresses.insert(*d, at).is_none();
                    }
                }
                Op::IntegerBinary { operation, .. }
                    if !matches!(
                        operation,
                        IntegerBinary::Add
                            | IntegerBinary::Sub
                            | IntegerBinary::Min
                            | IntegerBinary::Max
                    ) => {}
                // The address of a parameter, moved by a constant.
                Op::IntegerBinary {
                    operation: IntegerBinary::Add,
                    d,
                    a: Operand::Register(a),
                    b: Operand::Immediate(bits),
                    ..
                } if self.addresses.contains_key(a) => {
                    if let Some(at) = self.addresses[a].checked_add(bits.cast_signed()) {
                        grew |= self.addresses.insert(*d, at).is_none();
                    }
                }
                // A product's factors end their trails; what is added to it goes on.
                Op::Mad {
                    d,
                    c: Operand::Register(c),
                    ..
                } => {
                    let trail = self.trails.get(c).cloned().unwrap_or_default();
                    let own = self.trails.entry(*d).or_default();
                    let before = own.len();
                    own.extend(trail);
                    grew |= own.len() > before;
                }
                op => {
                    if !carries(op) {
                        continue;
                    }
                    let (mut trail, mut address, mut written) = (BTreeSet::new(), None, Vec::new());
                    op.for_each_use(|one| match one {
                        Use::Read(register) => {
                            trail.extend(self.trails.get(&register).into_iter().flatten().copied());
                            address = address.or_else(|| self.addresses.get(&register).copied());
                        }
                        Use::Write(register) => written.push(register),
                    });
                    for register in written {
                        if let (Op::Mov { .. } | Op::Cvta { .. }, Some(at)) = (op, address) {
                            grew |= self.addresses.insert(register, at).is_none();
                        }
                        let own = self.trails.entry(register).or_default();
                        let before = own.len();
                        own.extend(&trail);
                        grew |= own.len() > before;
                    }
                }
            }
        }
        grew
    }

    fn each(&mut self, register: RegisterId, mut change: impl FnMut(&mut Seen)) {
        for offset in self.trails.get(&register).into_iter().flatten() {
            change(self.seen.entry(*offset).or_default());
        }
    }

    fn operand(&mut self, operand: Operand, change: impl FnMut(&mut Seen)) {
        if let Operand::Register(register) = operand {
            self.each(register, change);
        }
    }

    fn base(&mut self, address: &crate::ptx::Address, change: impl FnMut(&mut Seen)) {
        if let AddressBase::Register(register) = address.base {
            self.each(register, change);
        }
    }

    /// What the trails meet.
    fn look(&mut self) {
        for instruction in &self.function.instructions {
            if let Some(guard) = instruction.guard {
                self.each(guard.register, |seen| seen.used = true);
            }
            for register in instruction.op.reads() {
                self.each(register, |seen| seen.used = true);
            }
            match &instruction.op {
                Op::Cvta { a, .. } => self.operand(*a, |seen| seen.is_pointer |= seen.bytes == 8),
                Op::Ld {
                    space: Space::Global | Space::Generic,
                    ty,
                    d,
                    address,
                    ..
                } => {
                    let bytes = ty.bytes() * u32::try_from(d.len()).unwrap_or(1);
                    self.base(address, |seen| read(seen, bytes));
                }
                Op::CpAsync { bytes, s, .. } => {
                    let bytes = u32::from(*bytes);
                    self.base(s, |seen| read(seen, bytes));
                }
                Op::St {
                    space: Space::Global | Space::Generic,
                    address,
                    ..
                }
                | Op::Atomic {
                    space: Space::Global | Space::Generic,
                    address,
                    ..
                } => {
                    self.base(address, |seen| seen.stored |= seen.bytes == 8);
                }
                Op::Sm90(op) => {
                    if let Sm90::TensorLoad { place, .. } | Sm90::TensorStore { place, .. } = &**op
                    {
                        self.map(place, matches!(**op, Sm90::TensorStore { .. }));
                    }
                }
                Op::Setp { a, b, .. } => {
                    for operand in [*a, *b] {
                        self.operand(operand, |seen| seen.compared = true);
                    }
                }
                Op::Mad { a, b, .. } => {
                    for operand in [*a, *b] {
                        self.operand(operand, |seen| seen.multiplies = true);
                    }
                }
                Op::FloatBinary {
                    operation: FloatBinary::Mul,
                    a,
                    b,
                    ..
                } if [a, b].contains(&&Operand::Immediate(LOG2_E_BITS)) => {
                    for operand in [*a, *b] {
                        self.operand(operand, |seen| seen.becomes_log2 = true);
                    }
                }
                Op::IntegerBinary {
                    operation, a, b, ..
                } => {
                    for operand in [*a, *b] {
                        match operation {
                            IntegerBinary::Div | IntegerBinary::Rem => {
                                self.operand(operand, |seen| seen.divides = true)
                            }
                            IntegerBinary::Add | IntegerBinary::Sub => {}
                            IntegerBinary::Min | IntegerBinary::Max => {
                                self.operand(operand, |seen| seen.compared = true)
                            }
                            // Products, low, high and wide.
                            _ => self.operand(operand, |seen| seen.multiplies = true),
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn map(&mut self, place: &TensorPlace, stored: bool) {
        let at = match place.map.base {
            AddressBase::Symbol(symbol) => self.param_offset(symbol, place.map.offset),
            AddressBase::Register(register) => self
                .addresses
                .get(&register)
                .and_then(|at| at.checked_add(place.map.offset)),
            AddressBase::Absolute => None,
        };
        if let Some(offset) = at.and_then(|at| u32::try_from(at).ok()) {
            let axes = place.coordinates.len();
            self.maps.insert(offset, Role::Map { axes, stored });
        }
    }

    fn fields(&self) -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::new();
        for (param, first) in self
            .function
            .params
            .iter()
            .zip(self.function.param_offsets())
        {
            let first = u32::try_from(first).unwrap_or(u32::MAX);
            let bytes = u32::try_from(param.bytes()).unwrap_or(u32::MAX);
            if param.extent == Extent::Scalar {
                // What is declared, whether or not it is read.
                let mut seen = self.seen.get(&first).copied().unwrap_or_default();
                seen.bytes = bytes;
                seen.is_float |= param.ty == ScalarType::F32;
                seen.is_pointer |= param.pointer.is_some();
                fields.push(Field {
                    offset: first,
                    bytes,
                    role: role(&seen),
                });
                continue;
            }
            let last = first.saturating_add(bytes);
            fields.extend(self.maps.range(first..last).map(|(&offset, &role)| Field {
                offset,
                bytes: TENSOR_MAP_BYTES,
                role,
            }));
            let mut end = first;
            for (&offset, seen) in self.seen.range(first..last) {
                // Bytes of padding are read with their neighbours, and used by nobody.
                if offset >= end && seen.used && offset.is_multiple_of(seen.bytes.max(1)) {
                    fields.push(Field {
                        offset,
                        bytes: seen.bytes,
                        role: role(seen),
                    });
                    end = offset + seen.bytes;
                }
            }
        }
        fields.sort_by_key(|field| field.offset);
        fields
    }
}

/// Whether results are the operands, plus something.
fn carries(op: &Op) -> bool {
    matches!(
        op,
        Op::Mov { .. }
            | Op::Pack { .. }
            | Op::Unpack { .. }
            | Op::Cvta { .. }
            | Op::Cvt { .. }
            | Op::Selp { .. }
            | Op::IntegerBinary { .. }
    )
}

fn read(seen: &mut Seen, bytes: u32) {
    if seen.bytes == 8 {
        let (least, most) = seen.read.unwrap_or((bytes, bytes));
        seen.read = Some((least.min(bytes), most.max(bytes)));
    }
}

fn role(seen: &Seen) -> Role {
    let through = seen.stored || seen.read.is_some();
    if seen.bytes == 8 && (seen.is_pointer || through) {
        match seen.read {
            _ if seen.stored => Role::Output,
            Some((4, 4)) => Role::List,
            Some(_) => Role::Tensor,
            None => Role::Unused,
        }
    } else if seen.is_float && seen.bytes == 4 {
        if seen.becomes_log2 {
            Role::Scale
        } else {
            Role::Float
        }
    } else if seen.divides {
        Role::Divisor
    } else if seen.compared {
        Role::Length
    } else if seen.multiplies {
        Role::Stride
    } else {
        Role::Integer
    }
}

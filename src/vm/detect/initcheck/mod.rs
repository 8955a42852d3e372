//! Initcheck: undefined bits that decide something.
//!
//! **Definition.** Memory that nothing has written, and registers that nothing has written, hold undefined bits. They may be
//! copied and computed with; they are reported where they matter: stored to global memory, used as an address, or used
//! as the guard of an instruction (a branch included). A value that is computed and then discarded by a select or a
//! mask is no finding: FlashAttention-2 reads rows of K beyond the end and masks their scores. `0 * undefined` is
//! undefined (it may be `0 * NaN`), so weights of zero do not excuse undefined rows of V.
//!
//! **Source.** Seward and Nethercote, "Using Valgrind to detect undefined value errors with bit-precision" (USENIX 2005).
//! Deviation: a shadow bit a byte, not a bit; `rules.rs` says how each instruction passes them on.
//!
//! **Can miss.** `bar.red` gives a defined result to other threads, whatever they contributed. A finding names the load (or
//! the instruction) that made the value, but after a detour through shared memory only the load from there.
//! **Can report wrongly.** Bits: a byte with some undefined bits counts as undefined, and arithmetic on it spreads upward
//! and downward, so extracting the defined bits of a half-defined byte is reported if used.

mod asynchronous;
mod rules;
mod shadow;

use super::super::async_event::AsyncEvent;
use super::super::event::{Access, AccessKind, AsyncCopy, Harvest, Landing, Observer, Step};
use super::super::exec::{Program, Slots, lanes_of};
use super::super::memory::View;
use super::{Ledger, Names, Where};
use crate::convert::index;
use crate::diagnostic::Code;
use crate::ptx::{Address, AddressBase, Instruction, Op, Operand, RegisterId, Space, TypeKind};
use rules::{Context, RegisterShadow};
use shadow::{ByteBits, Planes};
use std::collections::BTreeSet;

const STORE: Code = Code("uninitialised-store");
const ADDRESS: Code = Code("uninitialised-address");
const GUARD: Code = Code("uninitialised-branch");

/// What an instruction does with registers, worked out once.
#[derive(Clone, Debug)]
struct Plan {
    guard: Option<RegisterId>,
    /// Registers whose bits become an address, a mask of lanes or a number of a barrier.
    address: Vec<RegisterId>,
    reads: Vec<RegisterId>,
    writes: Vec<RegisterId>,
    /// Its results come from memory and are handled with the access.
    memory: bool,
}

/// Undefined source bytes of a copy in flight: warp, instruction, lane, destination, bits.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    thread: usize,
    at: usize,
    destination: u64,
    bytes: u32,
    undefined: u32,
}

/// The detector.
#[derive(Debug)]
pub(super) struct Initcheck {
    names: Names,
    slots: Slots,
    plans: Vec<Plan>,
    warps: Vec<RegisterShadow>,
    shared: ByteBits,
    local: ByteBits,
    /// Distance of two threads in `local`.
    local_stride: usize,
    /// Global bytes into which undefined bits were stored.
    global: BTreeSet<u64>,
    incoming: Vec<Incoming>,
    /// Undefined bits of the bytes of bulk loads in flight, by number of the copy.
    bulk: std::collections::BTreeMap<u32, Vec<(u32, u32, u32)>>,
    /// What lanes that meet at several instructions get: instruction, lanes, undefined bytes.
    met: Vec<(usize, u32, Planes)>,
    ledger: Ledger,
}

/// The register of an operand, if it is one.
fn register(operand: Operand) -> Option<RegisterId> {
    match operand {
        Operand::Register(register) => Some(register),
        Operand::Immediate(_) | Operand::Address(..) | Operand::Special(_) => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever has no address, lane mask or barrier number only computes"
)]
fn plan(instruction: &Instruction) -> Plan {
    let op = &instruction.op;
    let base = |address: &Address| match address.base {
        AddressBase::Register(register) => Some(register),
        AddressBase::Symbol(_) | AddressBase::Absolute => None,
    };
    let mut address: Vec<RegisterId> = Vec::new();
    match op {
        Op::Ld { address: a, .. }
        | Op::St { address: a, .. }
        | Op::Atomic { address: a, .. }
        | Op::LdMatrix { address: a, .. }
        | Op::StMatrix { address: a, .. } => address.extend(base(a)),
        Op::CpAsync {
            d, s, source_bytes, ..
        } => {
            address.extend(base(d));
            address.extend(base(s));
            address.extend(source_bytes.and_then(register));
        }
        Op::BarrierSync {
            barrier, threads, ..
        }
        | Op::BarrierRed {
            barrier, threads, ..
        } => {
            address.extend(register(*barrier));
            address.extend(threads.and_then(register));
        }
        Op::BarrierArrive {
            barrier, threads, ..
        } => {
            address.extend(register(*barrier));
            address.extend(register(*threads));
        }
        Op::Sm90(op) => address.extend(asynchronous::addresses(op)),
        Op::Shfl { mask, .. }
        | Op::Vote { mask, .. }
        | Op::Redux { mask, .. }
        | Op::Match { mask, .. }
        | Op::WarpSync { mask } => {
            address.extend(register(*mask));
        }
        // Everything else computes, and its operands matter only through its results.
        _ => {}
    }
    let memory = matches!(
        op,
        Op::Ld { .. }
            | Op::St { .. }
            | Op::PrefetchLine { .. }
            | Op::Atomic { .. }
            | Op::CpAsync { .. }
            | Op::LdMatrix { .. }
            | Op::StMatrix { .. }
    ) || asynchronous::is_product(op);
    Plan {
        guard: instruction.guard.map(|guard| guard.register),
        address,
        reads: op.reads(),
        writes: op.writes(),
        memory,
    }
}

impl Initcheck {
    pub(super) fn new(program: &Program<'_>, names: Names) -> Self {
        let threads = index(program.threads());
        let local_stride = program.layout.local_bytes.next_multiple_of(64);
        let warp = RegisterShadow::new(&program.slots);
        Self {
            names,
            slots: program.slots.clone(),
            plans: program.instructions().iter().map(plan).collect(),
            warps: vec![warp; threads.div_ceil(32)],
            shared: ByteBits::all_undefined(program.layout.shared_bytes),
            local: ByteBits::all_undefined(local_stride * threads),
            local_stride,
            global: BTreeSet::new(),
            incoming: Vec::new(),
            bulk: std::collections::BTreeMap::new(),
            met: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    fn report(
        &mut self,
        code: Code,
        step: &Step<'_>,
        register: Option<RegisterId>,
        mask: u32,
        what: &str,
    ) {
        let origin = register.map_or(u32::MAX, |register| {
            self.warps[step.warp].origin[index(register.0)]
        });
        let origin = usize::try_from(origin).ok().filter(|_| origin != u32::MAX);
        let names = self.names;
        let lane = index(mask.trailing_zeros().min(31));
        let thread = u32::try_from(32 * step.warp + lane).unwrap_or(0);
        let at = step.at;
        self.ledger.report(code, at, origin, || {
            let mut places = vec![Where {
                at,
                label: format!("used here by {}", names.thread(thread)),
            }];
            places.extend(origin.map(|at| Where {
                at,
                label: "the value comes from memory or registers read here".to_owned(),
            }));
            let help =
                "write it first, zero the tail of a tile, or mask the value before it is used";
            (
                format!("{what} holds bits that nothing has written"),
                places,
                help,
            )
        });
    }

    /// Undefined bits of the bytes at an address of a space.
    fn memory_bits(
        &self,
        step: &Step<'_>,
        space: Space,
        lane: usize,
        address: u64,
        bytes: u32,
        view: &View<'_>,
    ) -> u32 {
        match space {
            Space::Shared => self
                .shared
                .get(usize::try_from(address).unwrap_or(usize::MAX), bytes),
            Space::Local => self
                .local
                .get(self.local_at(step.warp, lane, address), bytes),
            Space::Param => 0,
            Space::Global | Space::Const | Space::Generic => {
                let mut bits = view.undefined(address, bytes);
                if !self.global.is_empty() {
                    for byte in 0..bytes {
                        bits |=
                            u32::from(self.global.contains(&(address + u64::from(byte)))) << byte;
                    }
                }
                bits
            }
        }
    }

    fn local_at(&self, warp: usize, lane: usize, address: u64) -> usize {
        (32 * warp + lane) * self.local_stride + usize::try_from(address).unwrap_or(0)
    }

    fn load(&mut self, step: &Step<'_>, access: &Access<'_>, view: &View<'_>) {
        let Op::Ld { ty, d, .. } = &step.instruction.op else {
            return;
        };
        let size = ty.bytes();
        let mut bits = [0_u32; 32];
        for lane in lanes_of(access.mask) {
            bits[lane] = self.memory_bits(
                step,
                access.space,
                lane,
                access.addresses[lane],
                access.bytes,
                view,
            );
        }
        let origin = u32::try_from(step.at).unwrap_or(u32::MAX);
        let some = bits.iter().any(|&bits| bits != 0);
        for (which, register) in (0_u32..).zip(d) {
            let Some(register) = register else { continue };
            if !some {
                self.warps[step.warp].planes[index(register.0)].clear(access.mask);
                continue;
            }
            let wide = self.slots.type_of(*register).bytes();
            let mut planes = Planes::DEFINED;
            for lane in lanes_of(access.mask) {
                let mut own = bits[lane] >> (which * size) & ((1 << size) - 1);
                if ty.kind() == TypeKind::Signed && own >> (size - 1) & 1 == 1 {
                    // The sign fills the bytes above.
                    own |= 0xff << size & 0xff;
                }
                planes.set_lane(lane, own);
            }
            self.warps[step.warp].set(*register, access.mask, planes.cut(wide), origin);
        }
    }

    fn load_matrix(&mut self, step: &Step<'_>, access: &Access<'_>) {
        let Op::LdMatrix { transposed, d, .. } = &step.instruction.op else {
            return;
        };
        let mut rows = [0_u32; 32];
        for lane in lanes_of(access.mask) {
            rows[lane] = self.shared.get(
                usize::try_from(access.addresses[lane]).unwrap_or(usize::MAX),
                16,
            );
        }
        let some = rows.iter().any(|&bits| bits != 0);
        let origin = u32::try_from(step.at).unwrap_or(u32::MAX);
        for (matrix, register) in d.iter().enumerate() {
            if !some {
                self.warps[step.warp].planes[index(register.0)].clear(u32::MAX);
                continue;
            }
            let mut planes = Planes::DEFINED;
            for lane in 0..32 {
                let mut own = 0;
                for half in 0..2 {
                    let (major, minor) = (lane / 4, 2 * (lane % 4) + half);
                    let (row, column) = if *transposed {
                        (minor, major)
                    } else {
                        (major, minor)
                    };
                    own |= (rows[8 * matrix + row] >> (2 * column) & 3) << (2 * half);
                }
                planes.set_lane(lane, own);
            }
            self.warps[step.warp].set(*register, u32::MAX, planes, origin);
        }
    }

    fn store_matrix(&mut self, step: &Step<'_>, access: &Access<'_>) {
        let Op::StMatrix { transposed, a, .. } = &step.instruction.op else {
            return;
        };
        let mut rows = [0_u32; 32];
        for (matrix, register) in a.iter().enumerate() {
            let planes = self.warps[step.warp].of(*register);
            for lane in 0..32 {
                let own = planes.lane(lane);
                for half in 0..2 {
                    let (major, minor) = (lane / 4, 2 * (lane % 4) + half);
                    let (row, column) = if *transposed {
                        (minor, major)
                    } else {
                        (major, minor)
                    };
                    rows[8 * matrix + row] |= (own >> (2 * half) & 3) << (2 * column);
                }
            }
        }
        for lane in lanes_of(access.mask) {
            self.shared.set(
                usize::try_from(access.addresses[lane]).unwrap_or(usize::MAX),
                16,
                rows[lane],
            );
        }
    }

    fn store(&mut self, step: &Step<'_>, access: &Access<'_>, size: u32, data: &[Operand]) {
        let shadow = &self.warps[step.warp];
        let planes: Vec<Planes> = data
            .iter()
            .map(|operand| shadow.data(*operand, size))
            .collect();
        let some = planes.iter().fold(0, |any, planes| any | planes.any()) & access.mask;
        if access.space == Space::Global && some != 0 {
            let culprit = data
                .iter()
                .zip(&planes)
                .find(|(_, planes)| planes.any() & access.mask != 0);
            let register = culprit.and_then(|(operand, _)| register(*operand));
            self.report(
                STORE,
                step,
                register,
                some,
                "a value stored to global memory",
            );
        }
        for lane in lanes_of(access.mask) {
            let mut bits = 0;
            if some >> lane & 1 == 1 {
                for (which, planes) in (0_u32..).zip(&planes) {
                    bits |= planes.lane(lane) << (which * size);
                }
            }
            let address = access.addresses[lane];
            match access.space {
                Space::Shared => self.shared.set(
                    usize::try_from(address).unwrap_or(usize::MAX),
                    access.bytes,
                    bits,
                ),
                Space::Local => {
                    let at = self.local_at(step.warp, lane, address);
                    self.local.set(at, access.bytes, bits);
                }
                Space::Param => {}
                Space::Global | Space::Const | Space::Generic => {
                    if bits == 0 && self.global.is_empty() {
                        continue;
                    }
                    for byte in 0..access.bytes {
                        let at = address + u64::from(byte);
                        if bits >> byte & 1 == 1 {
                            self.global.insert(at);
                        } else {
                            self.global.remove(&at);
                        }
                    }
                }
            }
        }
    }

    fn atomic(&mut self, step: &Step<'_>, access: &Access<'_>, view: &View<'_>) {
        let Op::Atomic { ty, d, b, c, .. } = &step.instruction.op else {
            return;
        };
        let mut old = Planes::DEFINED;
        for lane in lanes_of(access.mask) {
            let bits = self.memory_bits(
                step,
                access.space,
                lane,
                access.addresses[lane],
                access.bytes,
                view,
            );
            old.set_lane(lane, bits);
        }
        let data: Vec<Operand> = [Some(*b), *c].into_iter().flatten().collect();
        // The new value mixes old and operand: store the operand's shadow, then what was undefined before.
        self.store(step, access, ty.bytes(), &data[..1]);
        if let Some(d) = d {
            let origin = u32::try_from(step.at).unwrap_or(u32::MAX);
            self.warps[step.warp].set(*d, access.mask, old, origin);
        }
    }
}

impl Observer for Initcheck {
    fn wants_steps(&self) -> bool {
        true
    }

    fn step(&mut self, step: &Step<'_>) {
        if let Some(guard) = self.plans[step.at].guard {
            let undefined = self.warps[step.warp].of(guard).any() & step.path;
            if undefined != 0 {
                self.report(
                    GUARD,
                    step,
                    Some(guard),
                    undefined,
                    "the guard of this instruction",
                );
            }
        }
        if step.mask == 0 {
            return;
        }
        for at in 0..self.plans[step.at].address.len() {
            let register = self.plans[step.at].address[at];
            let undefined = self.warps[step.warp].of(register).any() & step.mask;
            if undefined != 0 {
                self.report(
                    ADDRESS,
                    step,
                    Some(register),
                    undefined,
                    "an address, mask or barrier number",
                );
            }
        }
        let plan = &self.plans[step.at];
        if plan.memory {
            return;
        }
        let shadow = &mut self.warps[step.warp];
        let met = self
            .met
            .iter()
            .position(|(at, mask, _)| (*at, *mask) == (step.at, step.mask));
        if let Some(met) = met {
            let (_, mask, planes) = self.met.swap_remove(met);
            let origin = shadow.origin_of(&plan.reads, mask);
            for register in &plan.writes {
                let bytes = self.slots.type_of(*register).bytes();
                shadow.set(*register, mask, planes.cut(bytes), origin);
            }
            return;
        }
        // A shuffle of part of a warp may read lanes that do not execute it; nothing else looks beyond its own lanes.
        let shuffles = matches!(step.instruction.op, Op::Shfl { .. }) && step.mask != u32::MAX;
        let any = plan
            .reads
            .iter()
            .fold(0, |any, register| any | shadow.of(*register).any());
        if any & step.mask == 0 && !shuffles {
            for register in &plan.writes {
                shadow.planes[index(register.0)].clear(step.mask);
            }
            return;
        }
        let context = Context {
            slots: &self.slots,
            registers: step.registers,
            mask: step.mask,
        };
        shadow.propagate(context, &step.instruction.op, &plan.reads, &plan.writes);
    }

    fn exchange(&mut self, steps: &[Step<'_>]) {
        let given: Vec<(u32, Planes)> = steps
            .iter()
            .map(|step| {
                let shadow = &self.warps[step.warp];
                (step.mask, shadow.given(&step.instruction.op))
            })
            .collect();
        self.met = steps
            .iter()
            .map(|step| {
                let context = Context {
                    slots: &self.slots,
                    registers: step.registers,
                    mask: step.mask,
                };
                let planes = context.taken(&step.instruction.op, &given);
                (step.at, step.mask, planes)
            })
            .collect();
    }

    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, memory: &View<'_>) {
        match (&step.instruction.op, access.kind) {
            (Op::LdMatrix { .. }, _) => self.load_matrix(step, access),
            (Op::StMatrix { .. }, _) => self.store_matrix(step, access),
            (Op::St { ty, a, .. }, AccessKind::Write) => {
                let instruction = step.instruction;
                debug_assert!(matches!(instruction.op, Op::St { .. }));
                self.store(step, access, ty.bytes(), a);
            }
            (_, AccessKind::Read) => self.load(step, access, memory),
            (_, AccessKind::Atomic) => self.atomic(step, access, memory),
            (_, AccessKind::Write) => {}
        }
    }

    fn issue(&mut self, step: &Step<'_>, copy: &AsyncCopy<'_>, memory: &View<'_>) {
        for lane in lanes_of(copy.mask) {
            let undefined = if copy.source_bytes[lane] == 0 {
                0
            } else {
                let (from, bytes) = (copy.source[lane], copy.source_bytes[lane]);
                self.memory_bits(step, Space::Global, lane, from, bytes, memory)
            };
            if undefined != 0 {
                self.incoming.push(Incoming {
                    thread: 32 * step.warp + lane,
                    at: step.at,
                    destination: copy.destination[lane],
                    bytes: copy.bytes,
                    undefined,
                });
            }
        }
    }

    fn land(&mut self, landing: &Landing<'_>) {
        for lane in lanes_of(landing.mask) {
            let destination = landing.destination[lane];
            let mut undefined = 0;
            if !self.incoming.is_empty() {
                let thread = 32 * landing.warp + lane;
                let found = self.incoming.iter().position(|one| {
                    one.thread == thread
                        && one.at == landing.issued_at
                        && one.destination == destination
                        && one.bytes == landing.bytes
                });
                if let Some(found) = found {
                    undefined = self.incoming.remove(found).undefined;
                }
            }
            self.shared.set(
                usize::try_from(destination).unwrap_or(usize::MAX),
                landing.bytes,
                undefined,
            );
        }
    }

    fn asynchronous(&mut self, event: &AsyncEvent<'_>, memory: &View<'_>) {
        self.follow(event, memory);
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
        harvest.undefined.extend(std::mem::take(&mut self.global));
    }
}

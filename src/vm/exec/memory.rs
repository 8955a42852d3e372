//! Loads, stores and atomics: which space an address lies in, whether it may be touched, and the bytes.

use super::super::arithmetic::float::{self, Format, NAN_F32, NAN_HALF, extremum};
use super::super::event::{Access, AccessKind};
use super::super::memory::{Reason, element, window};
use super::cta::Machine;
use super::dispatch::Site;
use super::program::thread_of;
use super::warp::Warp;
use super::{Halt, Lanes, lanes, lanes_of};
use crate::convert::{index, low_u32};
use crate::ptx::{AtomicOp, Op, Rounding, ScalarType, Space, TypeKind};

/// Up to 16 bytes a lane.
pub(super) type Bytes = Lanes<[u8; 16]>;

/// Lanes of an access that fall into one space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Global, shared, local or param.
    pub(super) space: Space,
    pub(super) mask: u32,
    /// Address, or offset in the space.
    pub(super) addresses: Lanes<u64>,
}

/// The space of a generic address, with what to subtract.
fn window_of(address: u64) -> Option<(Space, u64)> {
    let inside = |start: u64| address >= start && address - start < window::BYTES;
    if address >= window::GLOBAL {
        Some((Space::Global, 0))
    } else if inside(window::SHARED) {
        Some((Space::Shared, window::SHARED))
    } else if inside(window::LOCAL) {
        Some((Space::Local, window::LOCAL))
    } else if inside(window::PARAM) {
        Some((Space::Param, window::PARAM))
    } else {
        None
    }
}

impl Machine<'_> {
    /// Splits an access by space.
    pub(super) fn places(
        &self,
        warp: &Warp,
        site: &Site<'_>,
        space: Space,
        addresses: &Lanes<u64>,
        bytes: u32,
        write: bool,
    ) -> Result<Vec<Place>, Halt> {
        match space {
            Space::Global | Space::Shared | Space::Local | Space::Param => Ok(vec![Place {
                space,
                mask: site.mask,
                addresses: *addresses,
            }]),
            // Const variables are read-only allocations.
            Space::Const => Ok(vec![Place {
                space: Space::Global,
                mask: site.mask,
                addresses: *addresses,
            }]),
            Space::Generic => {
                let mut places: Vec<Place> = Vec::with_capacity(1);
                for lane in lanes_of(site.mask) {
                    let Some((space, base)) = window_of(addresses[lane]) else {
                        // Below every window: a null pointer, most often.
                        let fault = Halt::Fault {
                            at: site.at,
                            space: Space::Generic,
                            reason: Reason::NoSpace,
                            thread: thread_of(warp.index, lane),
                            address: addresses[lane],
                            bytes,
                            write,
                        };
                        return Err(fault);
                    };
                    let found = places.iter().position(|place| place.space == space);
                    let at = found.unwrap_or_else(|| {
                        places.push(Place {
                            space,
                            mask: 0,
                            addresses: [0; 32],
                        });
                        places.len() - 1
                    });
                    places[at].mask |= 1 << lane;
                    places[at].addresses[lane] = addresses[lane] - base;
                }
                Ok(places)
            }
        }
    }

    /// Checks every lane of a place and tells the observers.
    pub(super) fn check(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        place: &Place,
        bytes: u32,
        kind: AccessKind,
    ) -> Result<(), Halt> {
        self.check_data(warp, site, place, bytes, kind, None)
    }

    /// As [`check`](Self::check), with what a store is about to write.
    fn check_data(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        place: &Place,
        bytes: u32,
        kind: AccessKind,
        data: Option<&Bytes>,
    ) -> Result<(), Halt> {
        self.check_quietly(warp, site, place, (bytes, bytes), kind)?;
        if !self.observers.is_empty() {
            let unchanged = data.map_or(0, |data| self.unchanged(warp, place, index(bytes), data));
            let access = Access {
                unchanged,
                space: place.space,
                kind,
                mask: place.mask,
                addresses: &place.addresses,
                bytes,
            };
            let step = warp.step(site.at, site.instruction, site.path, site.mask);
            let view = &self.view;
            self.observers
                .each(|observer| observer.access(&step, &access, view));
        }
        Ok(())
    }

    /// Checks every lane of a place: alignment, bounds, permission.
    pub(super) fn check_quietly(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        place: &Place,
        (bytes, alignment): (u32, u32),
        kind: AccessKind,
    ) -> Result<(), Halt> {
        let write = kind != AccessKind::Read;
        for lane in lanes_of(place.mask) {
            let address = place.addresses[lane];
            let reason = if !address.is_multiple_of(u64::from(alignment)) {
                Some(Reason::Misaligned(alignment))
            } else {
                match place.space {
                    Space::Shared => outside(address, bytes, self.shared.len()),
                    Space::Local => outside(address, bytes, self.program.layout.local_bytes),
                    Space::Param if write => Some(Reason::ReadOnly("parameters".to_owned())),
                    Space::Param => outside(address, bytes, self.program.launch.params.len()),
                    Space::Global | Space::Const | Space::Generic => {
                        self.view.locate(address, bytes, write).err()
                    }
                }
            };
            if let Some(reason) = reason {
                return Err(Halt::Fault {
                    at: site.at,
                    space: place.space,
                    reason,
                    thread: thread_of(warp.index, lane),
                    address,
                    bytes,
                    write,
                });
            }
        }
        Ok(())
    }

    /// Bytes of a checked place.
    pub(super) fn fetch(&mut self, warp: &Warp, place: &Place, bytes: usize, to: &mut Bytes) {
        for lane in lanes_of(place.mask) {
            let address = place.addresses[lane];
            let to = &mut to[lane][..bytes];
            match place.space {
                Space::Shared => to.copy_from_slice(slice(&self.shared, address, bytes)),
                Space::Local => to.copy_from_slice(slice(
                    &self.local,
                    self.local_at(warp, lane, address),
                    bytes,
                )),
                Space::Param => {
                    to.copy_from_slice(slice(&self.program.launch.params, address, bytes))
                }
                Space::Global | Space::Const | Space::Generic => {
                    let count = u32::try_from(bytes).expect("at most 16");
                    if let Ok(id) = self.view.locate(address, count, false) {
                        self.view.read(id, address, to);
                    }
                }
            }
        }
    }

    /// Writes bytes of a checked place, lane by lane.
    pub(super) fn put(&mut self, warp: &Warp, place: &Place, bytes: usize, from: &Bytes) {
        for lane in lanes_of(place.mask) {
            let address = place.addresses[lane];
            let from = &from[lane][..bytes];
            match place.space {
                Space::Shared => slice_mut(&mut self.shared, address, bytes).copy_from_slice(from),
                Space::Local => {
                    let at = self.local_at(warp, lane, address);
                    slice_mut(&mut self.local, at, bytes).copy_from_slice(from);
                }
                // The check refuses writes to parameters.
                Space::Param => {}
                Space::Global | Space::Const | Space::Generic => {
                    let count = u32::try_from(bytes).expect("at most 16");
                    if let Ok(id) = self.view.locate(address, count, true) {
                        self.view.write(id, address, from);
                    }
                }
            }
        }
    }

    fn local_at(&self, warp: &Warp, lane: usize, address: u64) -> u64 {
        let own = index(thread_of(warp.index, lane)) * self.program.layout.local_bytes;
        address + u64::try_from(own).expect("local memory fits the host's")
    }

    /// `ld`.
    pub(super) fn load(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        let Op::Ld {
            space,
            ty,
            d,
            address,
            ..
        } = &site.instruction.op
        else {
            unreachable!("dispatch sends ld only")
        };
        let size = index(ty.bytes());
        let bytes = size * d.len();
        let count = u32::try_from(bytes).expect("at most 32 bytes");
        if bytes > 16 {
            return Err(site.unsupported("a load of more than 16 bytes"));
        }
        let addresses = self.addresses(warp, address);
        let mut raw: Bytes = [[0; 16]; 32];
        for place in self.places(warp, site, *space, &addresses, count, false)? {
            self.check(warp, site, &place, count, AccessKind::Read)?;
            self.fetch(warp, &place, bytes, &mut raw);
        }
        for (which, register) in d.iter().enumerate() {
            if let Some(register) = register {
                let value = lanes(|lane| element(&raw[lane], which, size));
                self.write_extended(warp, *register, site.mask, &value, *ty);
            }
        }
        Ok(())
    }

    /// `st`.
    pub(super) fn store(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        let Op::St {
            space,
            ty,
            address,
            a,
            ..
        } = &site.instruction.op
        else {
            unreachable!("dispatch sends st only")
        };
        let size = index(ty.bytes());
        let bytes = size * a.len();
        let count = u32::try_from(bytes).expect("at most 32 bytes");
        if bytes > 16 {
            return Err(site.unsupported("a store of more than 16 bytes"));
        }
        let addresses = self.addresses(warp, address);
        let mut raw: Bytes = [[0; 16]; 32];
        for (which, operand) in a.iter().enumerate() {
            let value = self.read::<u64>(warp, *operand);
            for (raw, value) in raw.iter_mut().zip(value) {
                raw[which * size..(which + 1) * size].copy_from_slice(&value.to_le_bytes()[..size]);
            }
        }
        for place in self.places(warp, site, *space, &addresses, count, true)? {
            self.check_data(warp, site, &place, count, AccessKind::Write, Some(&raw))?;
            self.put(warp, &place, bytes, &raw);
        }
        Ok(())
    }

    /// Lanes that would write what is there already, or what an earlier lane writes to the same address.
    fn unchanged(&mut self, warp: &Warp, place: &Place, bytes: usize, data: &Bytes) -> u32 {
        let mut there: Bytes = [[0; 16]; 32];
        self.fetch(warp, place, bytes, &mut there);
        let mut unchanged = 0;
        let mut earlier = 0_u32;
        let mut highest = None;
        for lane in lanes_of(place.mask) {
            let (address, own) = (place.addresses[lane], &data[lane][..bytes]);
            let same =
                |other: usize| place.addresses[other] == address && data[other][..bytes] == *own;
            // Addresses mostly ascend: then no earlier lane has this one.
            let again =
                highest.is_some_and(|highest| address <= highest) && lanes_of(earlier).any(same);
            unchanged |= u32::from(again || there[lane][..bytes] == *own) << lane;
            earlier |= 1 << lane;
            highest = highest.max(Some(address));
        }
        unchanged
    }

    /// `atom` and `red`: lane by lane, lowest first.
    pub(super) fn atomic(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        let Op::Atomic {
            space,
            operation,
            ty,
            d,
            address,
            b,
            c,
            ..
        } = &site.instruction.op
        else {
            unreachable!("dispatch sends atomics only")
        };
        let size = index(ty.bytes());
        let addresses = self.addresses(warp, address);
        let b = self.read::<u64>(warp, *b);
        let c = c.map_or([0; 32], |c| self.read::<u64>(warp, c));
        let mut old = [0_u64; 32];
        for place in self.places(warp, site, *space, &addresses, ty.bytes(), true)? {
            self.check(warp, site, &place, ty.bytes(), AccessKind::Atomic)?;
            for lane in lanes_of(place.mask) {
                let one = Place {
                    mask: 1 << lane,
                    ..place
                };
                let mut raw: Bytes = [[0; 16]; 32];
                self.fetch(warp, &one, size, &mut raw);
                old[lane] = element(&raw[lane], 0, size);
                let Some(value) = combine(*operation, *ty, old[lane], b[lane], c[lane]) else {
                    return Err(site.unsupported(format!("atom.{operation}.{ty}")));
                };
                raw[lane][..size].copy_from_slice(&value.to_le_bytes()[..size]);
                self.put(warp, &one, size, &raw);
            }
        }
        if let Some(d) = d {
            self.write_extended(warp, *d, site.mask, &old, *ty);
        }
        Ok(())
    }
}

fn outside(address: u64, bytes: u32, size: usize) -> Option<Reason> {
    let size = u64::try_from(size).expect("host memory");
    let fits = address
        .checked_add(u64::from(bytes))
        .is_some_and(|end| end <= size);
    (!fits).then_some(Reason::OutsideSpace(size))
}

fn slice(memory: &[u8], at: u64, bytes: usize) -> &[u8] {
    let at = usize::try_from(at).expect("checked");
    &memory[at..at + bytes]
}

fn slice_mut(memory: &mut [u8], at: u64, bytes: usize) -> &mut [u8] {
    let at = usize::try_from(at).expect("checked");
    &mut memory[at..at + bytes]
}

/// New value of an atomic; `None` for a combination PTX does not have.
pub(super) fn combine(
    operation: AtomicOp,
    ty: ScalarType,
    old: u64,
    b: u64,
    c: u64,
) -> Option<u64> {
    use super::super::arithmetic::integer::sign_extend;
    let keep = ty.mask();
    let (b, c) = (b & keep, c & keep);
    if ty.kind() == TypeKind::Float {
        return combine_floats(operation, ty, old, b);
    }
    let signed = ty.kind() == TypeKind::Signed;
    let less = |x: u64, y: u64| {
        if signed {
            sign_extend(x, ty.bits()).cast_signed() < sign_extend(y, ty.bits()).cast_signed()
        } else {
            x < y
        }
    };
    let value = match operation {
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exch => b,
        AtomicOp::Cas => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::Add => old.wrapping_add(b) & keep,
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Min => {
            if less(b, old) {
                b
            } else {
                old
            }
        }
        AtomicOp::Max => {
            if less(old, b) {
                b
            } else {
                old
            }
        }
    };
    Some(value)
}

fn combine_floats(operation: AtomicOp, ty: ScalarType, old: u64, b: u64) -> Option<u64> {
    let near = Rounding::NearestEven;
    let halves = |format: Format, operation: AtomicOp, x: u32, y: u32| -> Option<u32> {
        let values = (format.decode(x), format.decode(y));
        match operation {
            AtomicOp::Add => Some(float::add(format, values.0, values.1, near)),
            AtomicOp::Min => Some(extremum(values, (x, y), NAN_HALF, false, false)),
            AtomicOp::Max => Some(extremum(values, (x, y), NAN_HALF, true, false)),
            AtomicOp::And
            | AtomicOp::Or
            | AtomicOp::Xor
            | AtomicOp::Exch
            | AtomicOp::Cas
            | AtomicOp::Inc
            | AtomicOp::Dec => None,
        }
    };
    let (x, y) = (low_u32(old), low_u32(b));
    match (ty, operation) {
        // PTX: atom.add.f32 on global memory flushes nothing; on shared memory neither.
        (ScalarType::F32, AtomicOp::Add) => {
            let sum = f32::from_bits(x) + f32::from_bits(y);
            Some(u64::from(if sum.is_nan() {
                NAN_F32
            } else {
                sum.to_bits()
            }))
        }
        (ScalarType::F64, AtomicOp::Add) => {
            Some((f64::from_bits(old) + f64::from_bits(b)).to_bits())
        }
        (ScalarType::F16, _) => halves(Format::F16, operation, x, y).map(u64::from),
        (ScalarType::Bf16, _) => halves(Format::BF16, operation, x, y).map(u64::from),
        (ScalarType::F16x2 | ScalarType::Bf16x2, _) => {
            let format = if ty == ScalarType::F16x2 {
                Format::F16
            } else {
                Format::BF16
            };
            let low = halves(format, operation, x & 0xffff, y & 0xffff)?;
            let high = halves(format, operation, x >> 16, y >> 16)?;
            Some(u64::from(low | high << 16))
        }
        // The ISA has no other atomic on floats; exchange and compare are on bits.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        assert_eq!(
            window_of(window::SHARED + 4),
            Some((Space::Shared, window::SHARED))
        );
        assert_eq!(window_of(window::GLOBAL + 256), Some((Space::Global, 0)));
        assert_eq!((window_of(0), window_of(window::SHARED - 1)), (None, None));
    }

    #[test]
    fn atomics() {
        let u = |operation, old, b| combine(operation, ScalarType::U32, old, b, 9);
        assert_eq!(u(AtomicOp::Add, 0xffff_ffff, 2), Some(1));
        assert_eq!(
            (u(AtomicOp::Inc, 5, 5), u(AtomicOp::Dec, 0, 7)),
            (Some(0), Some(7))
        );
        assert_eq!(
            (u(AtomicOp::Cas, 5, 5), u(AtomicOp::Cas, 5, 6)),
            (Some(9), Some(5))
        );
        assert_eq!(
            combine(AtomicOp::Min, ScalarType::S32, 1, 0xffff_ffff, 0),
            Some(0xffff_ffff)
        );
        let two = u64::from(2.0_f32.to_bits());
        assert_eq!(
            combine(AtomicOp::Add, ScalarType::F32, two, two, 0),
            Some(u64::from(4.0_f32.to_bits()))
        );
        assert_eq!(combine(AtomicOp::Xor, ScalarType::F32, two, two, 0), None);
    }
}

//! Loads, stores and atomics: which space an address lies in, whether it may be touched, and the bytes.

use super::super::event::{Access, AccessKind};
use super::super::memory::{Reason, element, window};
use super::cta::Machine;
use super::dispatch::Site;
use super::program::thread_of;
use super::warp::Warp;
use super::{Halt, Lanes, lanes, lanes_of};
use crate::convert::index;
use crate::ptx::{Op, Space};

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
        if self.is_allowed(place, (bytes, alignment), write) {
            return Ok(());
        }
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

    /// True if all lanes may touch their bytes, which all lie in one space or allocation. False decides nothing.
    fn is_allowed(&mut self, place: &Place, (bytes, alignment): (u32, u32), write: bool) -> bool {
        let length = |bytes: usize| Some((0, u64::try_from(bytes).expect("host memory")));
        let range = match place.space {
            Space::Shared => length(self.shared.len()),
            Space::Local => length(self.program.layout.local_bytes),
            Space::Param if write => None,
            Space::Param => length(self.program.launch.params.len()),
            Space::Global | Space::Const | Space::Generic => {
                let first = index(place.mask.trailing_zeros().min(31));
                self.view.range(place.addresses[first], write)
            }
        };
        let Some((base, end)) = range else {
            return false;
        };
        let Some(last) = (end - base).checked_sub(u64::from(bytes)) else {
            return false;
        };
        let low_bits = u64::from(alignment - 1);
        let outside = self
            .program
            .level
            .mask(&place.addresses, &place.addresses, |address, _| {
                (address.wrapping_sub(base) > last) | (address & low_bits != 0)
            });
        alignment.is_power_of_two() && outside & place.mask == 0
    }

    /// Bytes of a checked place.
    pub(super) fn fetch(&mut self, warp: &Warp, place: &Place, bytes: usize, to: &mut Bytes) {
        let first = place.addresses[index(place.mask.trailing_zeros().min(31))];
        let whole = match place.space {
            Space::Shared => Some((&self.shared[..], 0)),
            Space::Param => Some((&self.program.launch.params[..], 0)),
            Space::Global => self.view.plain(first),
            Space::Local | Space::Const | Space::Generic => None,
        };
        if let Some((memory, base)) = whole {
            let all = match bytes {
                2 => copy::<2>(memory, base, place, to),
                4 => copy::<4>(memory, base, place, to),
                8 => copy::<8>(memory, base, place, to),
                16 => copy::<16>(memory, base, place, to),
                _ => false,
            };
            if all {
                return;
            }
        }
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
        if place.space == Space::Shared {
            match bytes {
                2 => return paste::<2>(&mut self.shared, place, from),
                4 => return paste::<4>(&mut self.shared, place, from),
                8 => return paste::<8>(&mut self.shared, place, from),
                16 => return paste::<16>(&mut self.shared, place, from),
                _ => {}
            }
        }
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
}

/// `N` bytes a lane from `memory`, which starts at `base`; false, with some of them copied, where a lane's are elsewhere.
#[inline]
fn copy<const N: usize>(memory: &[u8], base: u64, place: &Place, to: &mut Bytes) -> bool {
    for lane in lanes_of(place.mask) {
        let at = usize::try_from(place.addresses[lane].wrapping_sub(base)).unwrap_or(usize::MAX);
        let Some(from) = memory.get(at..).and_then(<[u8]>::first_chunk::<N>) else {
            return false;
        };
        to[lane][..N].copy_from_slice(from);
    }
    true
}

/// `N` bytes a lane into shared memory; the place was checked.
#[inline]
fn paste<const N: usize>(memory: &mut [u8], place: &Place, from: &Bytes) {
    for lane in lanes_of(place.mask) {
        slice_mut(memory, place.addresses[lane], N).copy_from_slice(&from[lane][..N]);
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
}

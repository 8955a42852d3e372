//! Global memory: named allocations far apart, which bytes have been written, and what one CTA writes.
//!
//! Addresses are those of a 64-bit GPU: global addresses are generic ones, and shared, local and param space each have
//! a window of generic addresses ([`window`]). Allocations stand at odd multiples of 256 bytes (so nothing is aligned
//! to more than a driver promises) with a gap of at least a megabyte between them, which nothing may touch.
//!
//! While a grid runs, each CTA reads the memory as it was plus its own writes ([`View`]); the grid commits the writes of
//! CTAs in order. So a run does not depend on how many threads execute it.

use crate::convert::{index, low_u64};
use std::collections::BTreeMap;

/// Where the windows of the other spaces lie among generic addresses.
pub(crate) mod window {
    /// First generic address of shared memory.
    pub(crate) const SHARED: u64 = 0x1000_0000_0000;
    /// First generic address of local memory.
    pub(crate) const LOCAL: u64 = 0x2000_0000_0000;
    /// First generic address of the parameters.
    pub(crate) const PARAM: u64 = 0x3000_0000_0000;
    /// Size of a window.
    pub(crate) const BYTES: u64 = 1 << 32;
    /// First address of device memory.
    pub(crate) const GLOBAL: u64 = 0x7000_0000_0000;
}

/// Bytes nothing may touch between two allocations.
const GUARD_BYTES: u64 = 1 << 20;
/// Bytes of a page of a CTA's writes.
const PAGE: usize = 512;

/// What an allocation holds when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Initial {
    /// These bytes, all of them defined.
    Bytes(Vec<u8>),
    /// So many bytes that nothing has written. They read as `0xcd`, which is no number anybody expects.
    Uninitialised(usize),
}

#[derive(Clone, Debug)]
struct Allocation {
    name: String,
    base: u64,
    bytes: Vec<u8>,
    /// A bit a byte: written by the host or by a kernel.
    defined: Vec<u64>,
    writable: bool,
    /// A variable of constant memory.
    constant: bool,
    live: bool,
}

impl Allocation {
    fn end(&self) -> u64 {
        self.base + length(self.bytes.len())
    }

    fn is_defined(&self, at: usize) -> bool {
        self.defined[at / 64] >> (at % 64) & 1 == 1
    }
}

/// A count of bytes as an address difference.
fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a slice is shorter than 2^64")
}

/// Device memory.
#[derive(Clone, Debug)]
pub struct Memory {
    /// By rising base address.
    allocations: Vec<Allocation>,
    next: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an access is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Touches no allocation; the nearest one below, if any, by name, base and length.
    OutOfBounds(Option<(String, u64, u64)>),
    /// Touches an allocation that was freed.
    Freed(String),
    /// Writes an allocation that the launch made read-only.
    ReadOnly(String),
    /// The address is no multiple of this.
    Misaligned(u32),
    /// A generic address between the windows of all spaces.
    NoSpace,
    /// Beyond the end of a space of this many bytes.
    OutsideSpace(u64),
}

/// Index of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AllocationId(usize);

impl Memory {
    /// Empty memory.
    pub fn new() -> Self {
        Self {
            allocations: Vec::new(),
            next: window::GLOBAL + 256,
        }
    }

    /// Makes an allocation and gives its address.
    pub fn allocate(&mut self, name: &str, initial: Initial, writable: bool) -> u64 {
        let base = self.next;
        let (bytes, fill) = match initial {
            Initial::Bytes(bytes) => (bytes, u64::MAX),
            Initial::Uninitialised(count) => (vec![0xcd; count], 0),
        };
        let defined = vec![fill; bytes.len().div_ceil(64)];
        self.next = (base + length(bytes.len()) + GUARD_BYTES).next_multiple_of(512) + 256;
        self.allocations.push(Allocation {
            name: name.to_owned(),
            base,
            bytes,
            defined,
            writable,
            constant: false,
            live: true,
        });
        base
    }

    /// Makes the allocation at `address` one of constant memory.
    pub(crate) fn make_constant(&mut self, address: u64) {
        if let Some(found) = self.allocations.iter_mut().find(|a| a.base == address) {
            found.constant = true;
        }
    }

    /// Frees the allocation that starts at `address`: every later access to it is a finding. False if there is none.
    pub fn free(&mut self, address: u64) -> bool {
        match self
            .allocations
            .iter_mut()
            .find(|a| a.base == address && a.live)
        {
            Some(allocation) => {
                allocation.live = false;
                true
            }
            None => false,
        }
    }

    /// The bytes from `address`; `None` where they do not lie in one live allocation.
    pub fn bytes(&self, address: u64, count: usize) -> Option<&[u8]> {
        let id = self.locate(address, length(count)).ok()?;
        let at = self.offset(id, address);
        self.allocations[id.0].bytes.get(at..at + count)
    }

    /// How many of the bytes from `address` nothing has written; `None` as for [`bytes`](Self::bytes).
    pub fn undefined_bytes(&self, address: u64, count: usize) -> Option<usize> {
        let id = self.locate(address, length(count)).ok()?;
        let at = self.offset(id, address);
        let allocation = &self.allocations[id.0];
        Some(
            (at..at + count)
                .filter(|&i| !allocation.is_defined(i))
                .count(),
        )
    }

    /// Name of the allocation that holds `address`, with the offset of `address` in it.
    pub fn name_of(&self, address: u64) -> Option<(&str, u64)> {
        let id = self.locate(address, 1).ok()?;
        let allocation = &self.allocations[id.0];
        Some((&allocation.name, address - allocation.base))
    }

    fn offset(&self, id: AllocationId, address: u64) -> usize {
        usize::try_from(address - self.allocations[id.0].base).expect("inside a slice")
    }

    /// The live allocation that holds all of `[address, address + count)`.
    fn locate(&self, address: u64, count: u64) -> Result<AllocationId, Reason> {
        let after = self.allocations.partition_point(|a| a.base <= address);
        let Some(found) = after.checked_sub(1) else {
            return Err(Reason::OutOfBounds(None));
        };
        let allocation = &self.allocations[found];
        if address
            .checked_add(count)
            .is_none_or(|end| end > allocation.end())
        {
            let whole = (
                allocation.name.clone(),
                allocation.base,
                length(allocation.bytes.len()),
            );
            return Err(Reason::OutOfBounds(Some(whole)));
        }
        if !allocation.live {
            return Err(Reason::Freed(allocation.name.clone()));
        }
        Ok(AllocationId(found))
    }

    /// True where some allocation can be written by the kernel.
    fn is_writable(&self, id: AllocationId) -> bool {
        self.allocations[id.0].writable
    }

    /// Applies what a CTA wrote.
    pub(crate) fn commit(&mut self, writes: Writes) {
        for ((id, page), written) in writes.pages {
            let allocation = &mut self.allocations[id.0];
            let start = index(page) * PAGE;
            for i in (0..PAGE).filter(|&i| written.has(i)) {
                allocation.bytes[start + i] = written.bytes[i];
                let at = start + i;
                allocation.defined[at / 64] |= 1 << (at % 64);
            }
        }
    }

    /// Marks bytes as never written: the state after a store of undefined bits.
    pub(crate) fn forget(&mut self, address: u64) {
        if let Ok(id) = self.locate(address, 1) {
            let at = self.offset(id, address);
            self.allocations[id.0].defined[at / 64] &= !(1 << (at % 64));
        }
    }
}

#[derive(Clone, Debug)]
struct Page {
    bytes: [u8; PAGE],
    written: [u64; PAGE / 64],
}

impl Page {
    fn has(&self, at: usize) -> bool {
        self.written[at / 64] >> (at % 64) & 1 == 1
    }
}

/// What a CTA wrote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    pages: BTreeMap<(AllocationId, u32), Box<Page>>,
}

/// Memory as one CTA sees it: as it was when the grid (or the turn of this CTA) began, plus its own writes.
#[derive(Debug)]
pub(crate) struct View<'a> {
    memory: &'a Memory,
    writes: Writes,
    /// The allocation found last, and its range: most accesses of a warp fall into it.
    last: (AllocationId, u64, u64),
}

impl<'a> View<'a> {
    pub(crate) fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            writes: Writes::default(),
            last: (AllocationId(0), 1, 0),
        }
    }

    pub(crate) fn into_writes(self) -> Writes {
        self.writes
    }

    /// Checks an access and finds its allocation.
    pub(crate) fn locate(
        &mut self,
        address: u64,
        count: u32,
        write: bool,
    ) -> Result<AllocationId, Reason> {
        let count = u64::from(count);
        let (id, base, end) = self.last;
        let id = if address >= base && address.checked_add(count).is_some_and(|e| e <= end) {
            id
        } else {
            let id = self.memory.locate(address, count)?;
            let allocation = &self.memory.allocations[id.0];
            self.last = (id, allocation.base, allocation.end());
            id
        };
        if write && !self.memory.is_writable(id) {
            return Err(Reason::ReadOnly(self.memory.allocations[id.0].name.clone()));
        }
        Ok(id)
    }

    /// The allocation that holds `address`, if the access is allowed: its first address and the one after its last.
    pub(crate) fn range(&mut self, address: u64, write: bool) -> Option<(u64, u64)> {
        self.locate(address, 1, write).ok()?;
        let (_, base, end) = self.last;
        Some((base, end))
    }

    /// All bytes of the allocation that holds `address`, with its first address, where this CTA sees them as they were.
    pub(crate) fn plain(&mut self, address: u64) -> Option<(&[u8], u64)> {
        let id = self.locate(address, 1, false).ok()?;
        let allocation = &self.memory.allocations[id.0];
        let unchanged = self.writes.pages.is_empty() || !allocation.writable;
        unchanged.then_some((&allocation.bytes[..], allocation.base))
    }

    /// Reads checked bytes.
    pub(crate) fn read(&self, id: AllocationId, address: u64, to: &mut [u8]) {
        let at = self.memory.offset(id, address);
        to.copy_from_slice(&self.memory.allocations[id.0].bytes[at..at + to.len()]);
        if self.writes.pages.is_empty() || !self.memory.is_writable(id) {
            return;
        }
        let (mut at, mut to) = (at, to);
        while !to.is_empty() {
            let within = at % PAGE;
            let (part, rest) = to.split_at_mut(to.len().min(PAGE - within));
            if let Some((page, within)) = self.page(id, at) {
                for (byte, place) in part.iter_mut().zip(within..) {
                    if page.has(place) {
                        *byte = page.bytes[place];
                    }
                }
            }
            at += part.len();
            to = rest;
        }
    }

    /// Writes checked bytes.
    pub(crate) fn write(&mut self, id: AllocationId, address: u64, from: &[u8]) {
        let mut at = self.memory.offset(id, address);
        let mut from = from;
        while !from.is_empty() {
            let within = at % PAGE;
            let count = from.len().min(PAGE - within);
            let page = self
                .writes
                .pages
                .entry((id, page_of(at)))
                .or_insert_with(|| {
                    Box::new(Page {
                        bytes: [0; PAGE],
                        written: [0; PAGE / 64],
                    })
                });
            page.bytes[within..within + count].copy_from_slice(&from[..count]);
            if within % 64 + count <= 64 {
                page.written[within / 64] |= u64::MAX >> (64 - count) << (within % 64);
            } else {
                for i in within..within + count {
                    page.written[i / 64] |= 1 << (i % 64);
                }
            }
            at += count;
            from = &from[count..];
        }
    }

    fn page(&self, id: AllocationId, at: usize) -> Option<(&Page, usize)> {
        self.writes
            .pages
            .get(&(id, page_of(at)))
            .map(|page| (&**page, at % PAGE))
    }

    /// A bit a byte of `count <= 16` bytes from `address`: nothing has written it. Bytes outside memory count as written.
    pub(crate) fn undefined(&self, address: u64, count: u32) -> u32 {
        let Some(id) = self.find(address, u64::from(count)) else {
            return 0;
        };
        let at = self.memory.offset(id, address);
        let allocation = &self.memory.allocations[id.0];
        let bits = u64::MAX >> (64 - count.clamp(1, 64)) << (at % 64);
        if at % 64 + index(count) <= 64 && !allocation.defined[at / 64] & bits == 0 {
            return 0;
        }
        let mut undefined = 0;
        for i in 0..count {
            let byte = at + index(i);
            if !allocation.is_defined(byte)
                && !self
                    .page(id, byte)
                    .is_some_and(|(page, within)| page.has(within))
            {
                undefined |= 1 << i;
            }
        }
        undefined
    }

    /// True where a variable of constant memory lies.
    pub(crate) fn is_constant(&self, address: u64) -> bool {
        self.memory
            .locate(address, 1)
            .is_ok_and(|id| self.memory.allocations[id.0].constant)
    }

    /// The allocation that holds the bytes: mostly that of the last access.
    fn find(&self, address: u64, count: u64) -> Option<AllocationId> {
        let (id, base, end) = self.last;
        if address >= base && address.checked_add(count).is_some_and(|e| e <= end) {
            return Some(id);
        }
        self.memory.locate(address, count).ok()
    }

    /// True where the kernel may write the allocation that holds `address`.
    pub(crate) fn may_change(&self, address: u64) -> bool {
        self.find(address, 1)
            .is_some_and(|id| self.memory.is_writable(id))
    }
}

fn page_of(at: usize) -> u32 {
    u32::try_from(at / PAGE).expect("an allocation is below 2 TiB")
}

/// Element `which` of `size` bytes each in a packed access.
pub(crate) fn element(raw: &[u8; 16], which: usize, size: usize) -> u64 {
    let from = which * size;
    let whole = u128::from_le_bytes(*raw) >> (8 * from);
    let keep = u64::MAX >> (64 - 8 * size);
    low_u64(whole) & keep
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_guards() {
        let mut memory = Memory::new();
        let a = memory.allocate("a", Initial::Bytes(vec![1, 2, 3, 4]), false);
        let b = memory.allocate("b", Initial::Uninitialised(8), true);
        assert_eq!((a % 512, b % 512), (256, 256));
        assert!(b - a > GUARD_BYTES);
        assert_eq!(memory.bytes(a + 1, 3), Some(&[2, 3, 4][..]));
        assert_eq!(memory.bytes(a + 1, 4), None);
        assert_eq!(memory.undefined_bytes(b, 8), Some(8));
        let mut view = View::new(&memory);
        assert_eq!(view.locate(a, 4, true), Err(Reason::ReadOnly("a".into())));
        assert_eq!(
            view.locate(a + 4, 1, false),
            Err(Reason::OutOfBounds(Some(("a".into(), a, 4))))
        );
        assert_eq!(view.locate(3, 1, false), Err(Reason::OutOfBounds(None)));
        assert!(view.locate(u64::MAX, 4, false).is_err());
        let id = view.locate(b + 2, 4, true).unwrap();
        view.write(id, b + 2, &[9, 8, 7, 6]);
        let mut got = [0; 6];
        view.read(id, b, &mut got);
        assert_eq!(got, [0xcd, 0xcd, 9, 8, 7, 6]);
        assert_eq!(view.undefined(b, 8), 0b1100_0011);
        let writes = view.into_writes();
        memory.commit(writes);
        assert_eq!(memory.undefined_bytes(b, 8), Some(4));
        assert!(memory.free(b));
        assert!(!memory.free(b));
        assert_eq!(
            View::new(&memory).locate(b, 1, false),
            Err(Reason::Freed("b".into()))
        );
    }

    #[test]
    fn writes_cross_pages() {
        let mut memory = Memory::new();
        let a = memory.allocate("a", Initial::Uninitialised(2000), true);
        let mut view = View::new(&memory);
        let id = view.locate(a + 508, 16, true).unwrap();
        view.write(id, a + 508, &[7; 16]);
        let mut got = [0; 18];
        view.read(id, a + 507, &mut got);
        assert_eq!((got[0], &got[1..17], got[17]), (0xcd, &[7; 16][..], 0xcd));
    }
}

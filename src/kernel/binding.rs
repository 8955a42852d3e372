//! A launch, before any backend: buffers, arguments, extents.

use super::param::BufferName;
use super::tensor_map::{BoundMap, TENSOR_MAP_ALIGN, TENSOR_MAP_BYTES};
use crate::contract::{Contract, Entries, Promise, PromisedValue};

/// Alignment promised for every buffer: what a device allocator gives, and the virtual machine too.
pub const BUFFER_ALIGN: u32 = 256;

/// What a buffer holds when the kernel starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// These bytes, defined.
    Bytes(Vec<u8>),
    /// So many bytes that nothing has written: outputs and scratch.
    Uninitialised(usize),
}

/// One allocation in global memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Name of the tensor or list: `q`, `k`, `v`, `o`, `lse`, `row_ptr`, `col_idx`, ...
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// Whether the kernel may write it.
    pub writable: bool,
}

/// One kernel parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// Address of `buffers[index]`, 8 bytes.
    Pointer(usize),
    /// 8-bit integer.
    U8(u8),
    /// 16-bit integer.
    U16(u16),
    /// 32-bit integer (its bits).
    U32(u32),
    /// 64-bit integer (its bits).
    U64(u64),
    /// 32-bit float.
    F32(f32),
    /// `tensor_maps[index]`, 128 bytes.
    TensorMap(usize),
}

/// A launch that any backend can make.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Entry point in the module.
    pub entry: String,
    /// CTAs in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a CTA in x, y, z.
    pub cta: [u32; 3],
    /// Dynamic shared memory of a CTA.
    pub shared_bytes: u32,
    /// Arguments with their byte offset in the parameter space, ascending.
    pub args: Vec<(u32, Arg)>,
    /// Allocations.
    pub buffers: Vec<Buffer>,
    /// Tensor maps, which a backend encodes: [`Binding::put_tensor_maps`].
    pub tensor_maps: Vec<BoundMap>,
}

impl Arg {
    /// Size in the parameter space.
    pub fn bytes(&self) -> u32 {
        match self {
            Arg::Pointer(_) | Arg::U64(_) => 8,
            Arg::U32(_) | Arg::F32(_) => 4,
            Arg::U16(_) => 2,
            Arg::U8(_) => 1,
            Arg::TensorMap(_) => TENSOR_MAP_BYTES,
        }
    }

    /// What its offset is a multiple of.
    fn alignment(&self) -> u32 {
        match self {
            Arg::TensorMap(_) => TENSOR_MAP_ALIGN,
            Arg::Pointer(_)
            | Arg::U8(_)
            | Arg::U16(_)
            | Arg::U32(_)
            | Arg::U64(_)
            | Arg::F32(_) => self.bytes(),
        }
    }
}

impl Binding {
    /// End of the last argument in the parameter space.
    pub fn covered_bytes(&self) -> u32 {
        let end = |(offset, arg): &(u32, Arg)| offset + arg.bytes();
        self.args.iter().map(end).max().unwrap_or(0)
    }

    /// The parameter space, little-endian, given the address of each of `buffers`. Bytes that no argument covers are 0,
    /// and so are tensor maps, which [`put_tensor_maps`](Self::put_tensor_maps) encodes; the end is padded to the
    /// strictest alignment, as a C struct is.
    pub fn param_bytes(&self, address: impl Fn(usize) -> u64) -> Vec<u8> {
        let align = self
            .args
            .iter()
            .map(|(_, arg)| arg.alignment())
            .max()
            .unwrap_or(1);
        let padded = self.covered_bytes().next_multiple_of(align);
        let mut space = vec![0; usize::try_from(padded).expect("32 bits fit")];
        for (offset, arg) in &self.args {
            let first = usize::try_from(*offset).expect("32 bits fit");
            let mut put = |bytes: &[u8]| space[first..first + bytes.len()].copy_from_slice(bytes);
            match *arg {
                Arg::Pointer(index) => put(&address(index).to_le_bytes()),
                Arg::U64(bits) => put(&bits.to_le_bytes()),
                Arg::U8(bits) => put(&bits.to_le_bytes()),
                Arg::U16(bits) => put(&bits.to_le_bytes()),
                Arg::U32(bits) => put(&bits.to_le_bytes()),
                Arg::F32(x) => put(&x.to_le_bytes()),
                Arg::TensorMap(_) => {}
            }
        }
        space
    }

    /// Puts each tensor map where the parameter space has it. A map of a tensor without elements stays 0: there is none
    /// that a device would take, and a kernel must not use it.
    ///
    /// # Errors
    /// The first that `encode` gives.
    pub fn put_tensor_maps<E>(
        &self,
        space: &mut [u8],
        encode: impl Fn(&BoundMap) -> Result<[u8; 128], E>,
    ) -> Result<(), E> {
        for (offset, arg) in &self.args {
            let Arg::TensorMap(index) = *arg else {
                continue;
            };
            let map = &self.tensor_maps[index];
            if !map.is_empty() {
                let bytes = encode(map)?;
                let first = usize::try_from(*offset).expect("32 bits fit");
                space[first..first + bytes.len()].copy_from_slice(&bytes);
            }
        }
        Ok(())
    }

    /// The buffer called `name`, with its index.
    pub fn buffer(&self, name: &str) -> Option<(usize, &Buffer)> {
        self.buffers
            .iter()
            .enumerate()
            .find(|(_, buffer)| buffer.name == name)
    }

    /// The buffers that hold results, with their indices: what the kernel may write, scratch aside.
    pub fn outputs(&self) -> impl Iterator<Item = (usize, &Buffer)> {
        let is_output = |buffer: &Buffer| {
            BufferName::ALL
                .iter()
                .any(|name| name.is_output() && name.text() == buffer.name)
        };
        self.buffers
            .iter()
            .enumerate()
            .filter(move |(_, buffer)| buffer.writable && is_output(buffer))
    }

    /// What this launch promises its kernel.
    pub fn contract(&self) -> Contract {
        let params = self.args.iter().map(|(offset, arg)| {
            let value = match *arg {
                Arg::Pointer(index) => promised_buffer(&self.buffers[index]),
                Arg::U8(bits) => PromisedValue::Bits(u64::from(bits)),
                Arg::U16(bits) => PromisedValue::Bits(u64::from(bits)),
                Arg::U32(bits) => PromisedValue::Bits(u64::from(bits)),
                Arg::U64(bits) => PromisedValue::Bits(bits),
                Arg::F32(x) => PromisedValue::Bits(u64::from(x.to_bits())),
                Arg::TensorMap(index) => {
                    let map = &self.tensor_maps[index];
                    let elements: u64 = map.box_elements.iter().copied().map(u64::from).product();
                    PromisedValue::Map {
                        box_bytes: elements
                            * u64::try_from(map.dtype.size_bytes()).expect("at most 8"),
                    }
                }
            };
            Promise {
                offset: *offset,
                bytes: arg.bytes(),
                value,
            }
        });
        Contract {
            grid: self.grid,
            cta: self.cta,
            shared_bytes: self.shared_bytes,
            params: params.collect(),
            sizes: None,
        }
    }
}

fn promised_buffer(buffer: &Buffer) -> PromisedValue {
    let (bytes, words) = match &buffer.content {
        Content::Uninitialised(bytes) => (*bytes, None),
        Content::Bytes(bytes) => {
            let is_list = BufferName::ALL
                .iter()
                .any(|name| name.is_list() && name.text() == buffer.name);
            (bytes.len(), is_list.then(|| words(bytes)))
        }
    };
    PromisedValue::Buffer {
        name: buffer.name.clone(),
        bytes: u64::try_from(bytes).expect("memory is below 2^64 bytes"),
        align: BUFFER_ALIGN,
        writable: buffer.writable,
        entries: words.and_then(|words| {
            Some(Entries {
                least: *words.iter().min()?,
                greatest: *words.iter().max()?,
                ascending: words.is_sorted(),
            })
        }),
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |word: &[u8]| u32::from_le_bytes(word.try_into().expect("chunks of 4 bytes"));
    bytes.chunks_exact(4).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_lie_at_their_offsets() {
        let binding = Binding {
            entry: "k".to_owned(),
            grid: [1; 3],
            cta: [1; 3],
            shared_bytes: 0,
            args: vec![
                (0, Arg::Pointer(0)),
                (8, Arg::F32(1.0)),
                (16, Arg::U64(7)),
                (24, Arg::U32(9)),
            ],
            buffers: Vec::new(),
            tensor_maps: Vec::new(),
        };
        let space = binding.param_bytes(|index| 0x1000 + u64::try_from(index).unwrap());
        assert_eq!(space.len(), 32);
        assert_eq!(space[..8], 0x1000_u64.to_le_bytes());
        assert_eq!(space[8..12], 1.0_f32.to_le_bytes());
        assert_eq!(space[12..16], [0; 4]);
        assert_eq!(space[16..24], 7_u64.to_le_bytes());
        assert_eq!(space[24..28], 9_u32.to_le_bytes());
    }
}

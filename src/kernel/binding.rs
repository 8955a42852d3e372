//! A launch, before any backend: buffers, arguments, extents.

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
    /// 32-bit integer (its bits).
    U32(u32),
    /// 64-bit integer (its bits).
    U64(u64),
    /// 32-bit float.
    F32(f32),
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
}

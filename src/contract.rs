//! What a kernel is promised about one launch, as plain data: `kernel` fills it, `analysis` reads it.

/// Promises about one launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// CTAs in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a CTA in x, y, z.
    pub cta: [u32; 3],
    /// Dynamic shared memory of a CTA.
    pub shared_bytes: u32,
    /// Values in the parameter space, ascending by offset.
    pub params: Vec<Promise>,
    /// Of a launch as large as a kernel is ever given: the sizes of the problem, in words. Nothing is accessed for it; only
    /// how far its numbers reach is asked.
    pub sizes: Option<String>,
}

impl Contract {
    /// Whether a buffer is a list of integers.
    pub fn has_lists(&self) -> bool {
        self.params.iter().any(|promise| match &promise.value {
            PromisedValue::Buffer { entries, .. } => entries.is_some(),
            PromisedValue::Bits(_) | PromisedValue::Map { .. } => false,
        })
    }

    /// Bytes that a copy by the tensor map at an offset brings.
    pub fn box_bytes(&self, offset: u64) -> Option<u64> {
        let mut at = self.params.iter();
        let promise = at.find(|promise| u64::from(promise.offset) == offset)?;
        match promise.value {
            PromisedValue::Map { box_bytes } => Some(box_bytes),
            PromisedValue::Bits(_) | PromisedValue::Buffer { .. } => None,
        }
    }
}

/// A value in the parameter space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Byte offset.
    pub offset: u32,
    /// Size: 4 or 8, of a tensor map 128.
    pub bytes: u32,
    /// What is promised of it.
    pub value: PromisedValue,
}

/// What is promised of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromisedValue {
    /// The address of a buffer of its own, a multiple of `align`.
    Buffer {
        /// Name of the buffer, as its binding has it.
        name: String,
        /// Its size.
        bytes: u64,
        /// Largest power of two that divides the address for certain.
        align: u32,
        /// Whether the kernel may write it.
        writable: bool,
        /// What its numbers may be, where it is a list of integers.
        entries: Option<Entries>,
    },
    /// These bits.
    Bits(u64),
    /// A tensor map, opaque but for what one copy moves.
    Map {
        /// Bytes of a box, what lies outside the tensor included.
        box_bytes: u64,
    },
}

/// What a list of u32 holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// Least entry.
    pub least: u32,
    /// Greatest entry.
    pub greatest: u32,
    /// Whether no entry is below the one before it.
    pub ascending: bool,
}

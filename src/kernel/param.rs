//! Parameters of a kernel: what each holds, and where it lies in the parameter space.

use super::expression::Expression;

/// One value in the parameter space.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Byte offset.
    pub offset: u32,
    /// What it holds.
    pub value: ParamValue,
}

/// What a parameter holds.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    /// Address of a buffer, 8 bytes.
    Pointer(BufferName),
    /// An integer, 4 bytes.
    U32(Expression),
    /// An integer, 8 bytes.
    U64(Expression),
    /// A float, 4 bytes.
    F32(FloatName),
}

/// A buffer that a kernel can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufferName {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Outputs, in the format of the inputs.
    O,
    /// Log-sum-exp (batch, `num_q_heads`, `seqlen_q`): f32.
    Lse,
    /// [`super::tiles::TileList::row_ptr`]: u32.
    RowPtr,
    /// [`super::tiles::TileList::col_idx`]: u32.
    ColIdx,
    /// [`super::tiles::TileList::tile_mask`]: u32.
    TileMask,
}

/// A float that a kernel can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatName {
    /// The problem's scale.
    Scale,
    /// `RN(scale * log2(e))`, the product in f64.
    ScaleLog2,
}

impl Param {
    /// Size of the value.
    pub fn bytes(&self) -> u32 {
        match self.value {
            ParamValue::Pointer(_) | ParamValue::U64(_) => 8,
            ParamValue::U32(_) | ParamValue::F32(_) => 4,
        }
    }

    /// Offset of the byte after it.
    pub fn end(&self) -> u32 {
        self.offset + self.bytes()
    }
}

impl BufferName {
    /// Every name.
    pub const ALL: [BufferName; 8] = [
        BufferName::Q,
        BufferName::K,
        BufferName::V,
        BufferName::O,
        BufferName::Lse,
        BufferName::RowPtr,
        BufferName::ColIdx,
        BufferName::TileMask,
    ];

    /// How it is spelt, in a manifest and in [`super::binding::Buffer::name`].
    pub fn text(self) -> &'static str {
        match self {
            BufferName::Q => "q",
            BufferName::K => "k",
            BufferName::V => "v",
            BufferName::O => "o",
            BufferName::Lse => "lse",
            BufferName::RowPtr => "row_ptr",
            BufferName::ColIdx => "col_idx",
            BufferName::TileMask => "tile_mask",
        }
    }

    /// Whether the kernel writes it.
    pub fn is_output(self) -> bool {
        matches!(self, BufferName::O | BufferName::Lse)
    }
}

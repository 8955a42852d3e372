//! `wmma`: whole-warp matrix products whose fragments a program does not look into (PTX ISA 9.7.14.4).

use super::operand::{Address, Operand, RegisterId};
use super::scalar::{ScalarType, Space, spelled};

spelled! {
    /// `m`, `n` and `k` of a product.
    WmmaShape {
        /// f16, bf16.
        M16N16K16 = "m16n16k16",
        /// f16, bf16.
        M32N8K16 = "m32n8k16",
        /// f16, bf16.
        M8N32K16 = "m8n32k16",
        /// tf32.
        M16N16K8 = "m16n16k8",
    }
}

spelled! {
    /// Which way a matrix lies in memory.
    WmmaLayout {
        /// Row by row.
        Row = "row",
        /// Column by column.
        Col = "col",
    }
}

spelled! {
    /// A matrix of `d = a b + c`: `a` is `m` by `k`, `b` `k` by `n`, `c` and `d` are `m` by `n`.
    WmmaMatrix {
        /// Left factor.
        A = "a",
        /// Right factor.
        B = "b",
        /// Accumulator, to be read.
        C = "c",
        /// Accumulator, to be written.
        D = "d",
    }
}

/// A matrix in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WmmaTile {
    /// Which one.
    pub matrix: WmmaMatrix,
    /// Of the product that it is meant for.
    pub shape: WmmaShape,
    /// Which way it lies.
    pub layout: WmmaLayout,
    /// Where.
    pub space: Space,
    /// Its elements: f16, bf16, tf32 or, of accumulators, f32.
    pub ty: ScalarType,
    /// Its first element.
    pub address: Address,
    /// Elements from a row (or column) to the next; as many as one has where none is given.
    pub stride: Option<Operand>,
    /// The fragment.
    pub registers: Vec<RegisterId>,
}

/// A `wmma` instruction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wmma {
    /// `wmma.load`: memory to fragment.
    Load(WmmaTile),
    /// `wmma.store.d`: fragment to memory.
    Store(WmmaTile),
    /// `wmma.mma`: `d = a b + c`.
    Product {
        /// Of the tile.
        shape: WmmaShape,
        /// With which A was loaded.
        a_layout: WmmaLayout,
        /// With which B was loaded.
        b_layout: WmmaLayout,
        /// Type of A and B: f16, bf16 or tf32.
        factor: ScalarType,
        /// Type of C and D: f16 or f32.
        accumulator: ScalarType,
        /// Fragment of the result.
        d: Vec<RegisterId>,
        /// Fragment of the left factor.
        a: Vec<RegisterId>,
        /// Fragment of the right factor.
        b: Vec<RegisterId>,
        /// Fragment of the accumulator.
        c: Vec<RegisterId>,
    },
}

impl WmmaShape {
    /// Rows, columns and depth.
    #[must_use]
    pub fn extents(self) -> [u32; 3] {
        match self {
            Self::M16N16K16 => [16, 16, 16],
            Self::M32N8K16 => [32, 8, 16],
            Self::M8N32K16 => [8, 32, 16],
            Self::M16N16K8 => [16, 16, 8],
        }
    }

    /// Rows and columns of a matrix.
    #[must_use]
    pub fn extents_of(self, matrix: WmmaMatrix) -> [u32; 2] {
        let [m, n, k] = self.extents();
        match matrix {
            WmmaMatrix::A => [m, k],
            WmmaMatrix::B => [k, n],
            WmmaMatrix::C | WmmaMatrix::D => [m, n],
        }
    }

    /// Whether there is a product of this shape with these types.
    pub(super) fn takes(self, factor: ScalarType, accumulator: ScalarType) -> bool {
        let of_halves = self != Self::M16N16K8;
        if factor == ScalarType::Tf32 {
            !of_halves && accumulator == ScalarType::F32
        } else if factor == ScalarType::Bf16 {
            of_halves && accumulator == ScalarType::F32
        } else {
            of_halves && matches!(accumulator, ScalarType::F16 | ScalarType::F32)
        }
    }

    /// Registers of a fragment: of f16 factors always 8, else as many as the warp needs to hold the matrix once.
    pub(super) fn registers(self, matrix: WmmaMatrix, ty: ScalarType) -> u32 {
        let [rows, columns] = self.extents_of(matrix);
        let is_factor = matches!(matrix, WmmaMatrix::A | WmmaMatrix::B);
        if ty == ScalarType::F16 && is_factor {
            8
        } else if matches!(ty, ScalarType::F16 | ScalarType::Bf16) {
            rows * columns / 64
        } else {
            rows * columns / 32
        }
    }
}

//! `wmma`: matrices to and from fragments, and their products.
//!
//! Not read: integers, f64 and single bits; f16 products whose `c` and `d` differ.

use super::function::Body;
use super::memory::space_or_generic;
use super::modifiers::Modifiers;
use crate::ptx::ScalarType::{B32, Bf16, F16, F32, Tf32, U32};
use crate::ptx::error::Error;
use crate::ptx::{
    Op, RegisterId, ScalarType, Space, Wmma, WmmaLayout, WmmaMatrix, WmmaShape, WmmaTile,
};

impl Body<'_, '_> {
    pub(super) fn wmma(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let op = if m.flag("load") {
            self.wmma_load(m)?
        } else if m.flag("store") {
            self.wmma_store(m)?
        } else {
            m.need_flag("mma")?;
            self.wmma_product(m)?
        };
        Ok(Op::Wmma(Box::new(op)))
    }

    /// `wmma.load.{a,b,c}.sync.aligned.LAYOUT.SHAPE{.SPACE}.TYPE r, [p]{, stride}`
    fn wmma_load(&mut self, m: &mut Modifiers<'_>) -> Result<Wmma, Error> {
        let matrix = m.need(WmmaMatrix::from_text)?;
        m.check(matrix != WmmaMatrix::D)?;
        let mut tile = WmmaTile::empty(matrix, m)?;
        tile.registers = self.fragment(tile.shape, matrix, tile.ty)?;
        self.comma()?;
        tile.address = self.address()?;
        self.wmma_stride(&mut tile)?;
        Ok(Wmma::Load(tile))
    }

    /// `wmma.store.d.sync.aligned.LAYOUT.SHAPE{.SPACE}.TYPE [p], r{, stride}`
    fn wmma_store(&mut self, m: &mut Modifiers<'_>) -> Result<Wmma, Error> {
        m.need_flag("d")?;
        let mut tile = WmmaTile::empty(WmmaMatrix::D, m)?;
        tile.address = self.address()?;
        self.comma()?;
        tile.registers = self.fragment(tile.shape, WmmaMatrix::D, tile.ty)?;
        self.wmma_stride(&mut tile)?;
        Ok(Wmma::Store(tile))
    }

    fn wmma_stride(&mut self, tile: &mut WmmaTile) -> Result<(), Error> {
        if self.parser.peek().text == "," {
            tile.stride = Some(self.then_source(U32)?);
        }
        Ok(())
    }

    /// `wmma.mma.sync.aligned.ALAYOUT.BLAYOUT.SHAPE.D.C d, a, b, c`, with `.D.A.B.C` for other factors than f16.
    fn wmma_product(&mut self, m: &mut Modifiers<'_>) -> Result<Wmma, Error> {
        m.need_flag("sync")?;
        m.need_flag("aligned")?;
        let a_layout = m.need(WmmaLayout::from_text)?;
        let b_layout = m.need(WmmaLayout::from_text)?;
        let shape = m.need(WmmaShape::from_text)?;
        let accumulator = m.ty(&[F16, F32])?;
        let factor = m.ty(&[F16, F32, Bf16, Tf32])?;
        let factor = if matches!(factor, Bf16 | Tf32) {
            m.ty(&[factor])?;
            m.ty(&[accumulator])?;
            factor
        } else {
            m.check(factor == accumulator)?;
            F16
        };
        m.check(shape.takes(factor, accumulator))?;
        m.finish()?;
        let d = self.fragment(shape, WmmaMatrix::D, accumulator)?;
        self.comma()?;
        let a = self.fragment(shape, WmmaMatrix::A, factor)?;
        self.comma()?;
        let b = self.fragment(shape, WmmaMatrix::B, factor)?;
        self.comma()?;
        let c = self.fragment(shape, WmmaMatrix::C, accumulator)?;
        Ok(Wmma::Product {
            shape,
            a_layout,
            b_layout,
            factor,
            accumulator,
            d,
            a,
            b,
            c,
        })
    }

    fn fragment(
        &mut self,
        shape: WmmaShape,
        matrix: WmmaMatrix,
        ty: ScalarType,
    ) -> Result<Vec<RegisterId>, Error> {
        let count = usize::try_from(shape.registers(matrix, ty)).expect("at most 8");
        let word = if ty == F32 { F32 } else { B32 };
        self.vector_of(count, |body| body.destination(word))
    }
}

impl WmmaTile {
    /// A tile of which the modifiers are known.
    fn empty(matrix: WmmaMatrix, m: &mut Modifiers<'_>) -> Result<Self, Error> {
        m.need_flag("sync")?;
        m.need_flag("aligned")?;
        let layout = m.need(WmmaLayout::from_text)?;
        let shape = m.need(WmmaShape::from_text)?;
        let space = space_or_generic(m);
        m.check(matches!(
            space,
            Space::Generic | Space::Global | Space::Shared
        ))?;
        let ty = m.ty(&[F16, Bf16, Tf32, F32])?;
        m.check(match matrix {
            WmmaMatrix::A | WmmaMatrix::B => ty != F32 && shape.takes(ty, F32),
            WmmaMatrix::C | WmmaMatrix::D => {
                ty == F32 || (ty == F16 && shape != WmmaShape::M16N16K8)
            }
        })?;
        m.finish()?;
        Ok(Self {
            matrix,
            shape,
            layout,
            space,
            ty,
            address: crate::ptx::Address {
                base: crate::ptx::AddressBase::Absolute,
                offset: 0,
            },
            stride: None,
            registers: Vec::new(),
        })
    }
}

//! `wmma` as text.

use super::modifiers::space;
use super::operands::Names;
use super::statement::Text;
use crate::ptx::{ScalarType, Wmma, WmmaTile};

impl Names<'_> {
    pub(super) fn wmma(self, op: &Wmma) -> Text {
        match op {
            Wmma::Load(tile) => (
                format!("wmma.load.{}", modifiers(tile)),
                self.with_stride(
                    tile,
                    vec![self.braced(&tile.registers), self.address(tile.address)],
                ),
            ),
            Wmma::Store(tile) => (
                format!("wmma.store.{}", modifiers(tile)),
                self.with_stride(
                    tile,
                    vec![self.address(tile.address), self.braced(&tile.registers)],
                ),
            ),
            Wmma::Product {
                shape,
                a_layout,
                b_layout,
                factor,
                accumulator,
                d,
                a,
                b,
                c,
            } => {
                let types = if *factor == ScalarType::F16 {
                    format!("{accumulator}.{accumulator}")
                } else {
                    format!("{accumulator}.{factor}.{factor}.{accumulator}")
                };
                (
                    format!("wmma.mma.sync.aligned.{a_layout}.{b_layout}.{shape}.{types}"),
                    [d, a, b, c].map(|registers| self.braced(registers)).into(),
                )
            }
        }
    }

    fn with_stride(self, tile: &WmmaTile, mut operands: Vec<String>) -> Vec<String> {
        operands.extend(
            tile.stride
                .map(|stride| self.operand(stride, ScalarType::U32)),
        );
        operands
    }
}

fn modifiers(tile: &WmmaTile) -> String {
    format!(
        "{}.sync.aligned.{}.{}{}.{}",
        tile.matrix,
        tile.layout,
        tile.shape,
        space(tile.space),
        tile.ty
    )
}

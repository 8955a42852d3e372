//! `wgmma`: warpgroup matrix products.
//!
//! Not read: integer and single-bit operands, sparse products.

use super::function::Body;
use super::mbarrier::sm90;
use super::modifiers::Modifiers;
use crate::ptx::ScalarType::{B32, B64, F16, F32, Pred, S32};
use crate::ptx::error::Error;
use crate::ptx::{Op, ScalarType, Sm90, Wgmma, WgmmaA, WgmmaType};

/// `n` and `k` of `m64nNkK`.
fn shape(part: &str) -> Option<(u32, u32)> {
    let (n, k) = part.strip_prefix("m64n")?.split_once('k')?;
    let (n, k): (u32, u32) = (n.parse().ok()?, k.parse().ok()?);
    (n % 8 == 0 && (8..=256).contains(&n)).then_some((n, k))
}

impl Body<'_, '_> {
    pub(super) fn wgmma(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        m.need_flag("sync")?;
        m.need_flag("aligned")?;
        if m.flag("fence") {
            return m.finish().map(|()| sm90(Sm90::WgmmaFence));
        }
        if m.flag("commit_group") {
            return m.finish().map(|()| sm90(Sm90::WgmmaCommit));
        }
        if m.flag("wait_group") {
            m.finish()?;
            let groups = self.parser.number("a number of groups")?;
            return Ok(sm90(Sm90::WgmmaWait { groups }));
        }
        m.need_flag("mma_async")?;
        let (n, k) = m.need(shape)?;
        // `.D.A.B`: the first `f16` is that of D.
        let d_type = m.ty(&[F16, F32])?;
        let a_type = m.need(WgmmaType::from_text)?;
        let b_type = m.need(WgmmaType::from_text)?;
        let bytes = matches!(a_type, WgmmaType::E4m3 | WgmmaType::E5m2);
        m.check(k == 32 / a_type.bytes())?;
        m.check(a_type == b_type || (bytes && b_type.bytes() == 1))?;
        m.check(d_type == F32 || bytes || a_type == WgmmaType::F16)?;
        m.finish()?;
        let (count, accumulator): (u32, ScalarType) = if d_type == F32 {
            (n / 2, F32)
        } else {
            (n / 4, B32)
        };
        let count = usize::try_from(count).expect("at most 128");
        let d = self.vector_of(count, |body| body.destination(accumulator))?;
        self.comma()?;
        let a = if self.parser.peek().text == "{" {
            WgmmaA::Registers(self.vector_of(4, |body| body.destination(B32))?)
        } else {
            WgmmaA::Shared(self.source(B64)?)
        };
        let b = self.then_source(B64)?;
        let scale_d = self.then_source(Pred)?;
        let (negate_a, negate_b) = (self.sign()?, self.sign()?);
        let sixteen = matches!(a_type, WgmmaType::F16 | WgmmaType::Bf16);
        let transpose_a = sixteen && matches!(a, WgmmaA::Shared(_)) && self.flag_operand()?;
        let transpose_b = sixteen && self.flag_operand()?;
        Ok(sm90(Sm90::Wgmma(Wgmma {
            n,
            d_type,
            a_type,
            b_type,
            d,
            a,
            b,
            scale_d,
            negate_a,
            negate_b,
            transpose_a,
            transpose_b,
        })))
    }

    /// `, 1` or `, -1`; true for the latter.
    fn sign(&mut self) -> Result<bool, Error> {
        self.comma()?;
        let token = self.parser.peek();
        match self.immediate(S32)? {
            1 => Ok(false),
            0xffff_ffff => Ok(true),
            _ => Err(self.parser.source.malformed(token, "1 or -1")),
        }
    }

    /// `, 0` or `, 1`.
    fn flag_operand(&mut self) -> Result<bool, Error> {
        self.comma()?;
        let token = self.parser.peek();
        match self.immediate(S32)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.parser.source.malformed(token, "0 or 1")),
        }
    }
}

//! `cp.async.bulk`, `cp.reduce.async.bulk`, their tensor forms, groups and prefetches; `cp.async.mbarrier.arrive`.
//!
//! Not read: `im2col` and gather modes, multicast, copies to the shared memory of another CTA.

use super::function::Body;
use super::mbarrier::sm90;
use super::modifiers::Modifiers;
use crate::ptx::ScalarType::{B32, B64, Bf16, F16, F32, F64, S32, S64, U32, U64};
use crate::ptx::error::Error;
use crate::ptx::{BulkReduction, Op, Operand, ScalarType, Sm90, Space, TensorPlace};

/// Where a bulk copy goes, as its modifiers say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Load,
    Store,
}

/// `.shared::{cluster,cta}.global.mbarrier::complete_tx::bytes`, or `.global.shared::cta.bulk_group`.
fn way(m: &mut Modifiers<'_>) -> Result<Way, Error> {
    if m.flag("bulk_group") {
        m.need_flag("global")?;
        m.need_flag("shared::cta")?;
        Ok(Way::Store)
    } else {
        m.need_flag("mbarrier::complete_tx::bytes")?;
        m.need_flag("global")?;
        // A copy from shared to shared memory has both.
        m.need(|part| matches!(part, "shared::cluster" | "shared::cta").then_some(()))?;
        Ok(Way::Load)
    }
}

/// Dimensions of a tensor copy.
fn rank(m: &mut Modifiers<'_>) -> Result<usize, Error> {
    let rank = m.need(|part| {
        ["1d", "2d", "3d", "4d", "5d"]
            .iter()
            .position(|dimensions| *dimensions == part)
    })?;
    m.flag("tile");
    Ok(rank + 1)
}

impl Body<'_, '_> {
    /// After `cp`: the asynchronous family; `None` for the `cp.async` of `sm_80`.
    pub(super) fn bulk(&mut self, m: &mut Modifiers<'_>) -> Result<Option<Op>, Error> {
        if m.flag("reduce") {
            m.need_flag("async")?;
            m.need_flag("bulk")?;
            if m.flag("tensor") {
                return self.tensor(true, m).map(sm90).map(Some);
            }
            return self.bulk_reduce(m).map(sm90).map(Some);
        }
        if m.flag("mbarrier") {
            m.need_flag("async")?;
            m.need_flag("arrive")?;
            let no_increment = m.flag("noinc");
            m.take(|part| matches!(part, "shared" | "shared::cta").then_some(()));
            m.ty(&[B64])?;
            m.finish()?;
            let address = self.address()?;
            return Ok(Some(sm90(Sm90::CpAsyncArrive {
                no_increment,
                address,
            })));
        }
        if !m.flag("bulk") {
            return Ok(None);
        }
        m.need_flag("async")?;
        if m.flag("commit_group") {
            m.finish()?;
            return Ok(Some(sm90(Sm90::BulkCommit)));
        }
        if m.flag("wait_group") {
            let read = m.flag("read");
            m.finish()?;
            let groups = self.parser.number("a number of groups")?;
            return Ok(Some(sm90(Sm90::BulkWait { groups, read })));
        }
        let op = if m.flag("prefetch") {
            self.bulk_prefetch(m)?
        } else if m.flag("tensor") {
            self.tensor(false, m)?
        } else {
            self.bulk_copy(m)?
        };
        Ok(Some(sm90(op)))
    }

    fn policy(&mut self, hinted: bool) -> Result<Option<Operand>, Error> {
        if hinted {
            self.then_source(B64).map(Some)
        } else {
            Ok(None)
        }
    }

    fn bulk_copy(&mut self, m: &mut Modifiers<'_>) -> Result<Sm90, Error> {
        let hinted = m.flag("L2::cache_hint");
        let way = way(m)?;
        m.finish()?;
        let d = self.address()?;
        self.comma()?;
        let s = self.address()?;
        let bytes = self.then_source(U32)?;
        Ok(match way {
            Way::Load => {
                self.comma()?;
                Sm90::BulkLoad {
                    d,
                    s,
                    bytes,
                    mbarrier: self.address()?,
                    policy: self.policy(hinted)?,
                }
            }
            Way::Store => Sm90::BulkStore {
                reduce: None,
                d,
                s,
                bytes,
                policy: self.policy(hinted)?,
            },
        })
    }

    /// `cp.reduce.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint}.OP.TYPE [d], [s], bytes{, policy}`
    fn bulk_reduce(&mut self, m: &mut Modifiers<'_>) -> Result<Sm90, Error> {
        let hinted = m.flag("L2::cache_hint");
        let way = way(m)?;
        let operation = m.need(BulkReduction::from_text)?;
        let half_flag = m.flag("noftz");
        let ty = m.need(ScalarType::from_text)?;
        let half = matches!(ty, F16 | Bf16);
        m.check(way == Way::Store)?;
        m.check(match operation {
            BulkReduction::And | BulkReduction::Or | BulkReduction::Xor => {
                matches!(ty, B32 | B64)
            }
            BulkReduction::Add => half || matches!(ty, U32 | S32 | U64 | F32 | F64),
            BulkReduction::Min | BulkReduction::Max => half || matches!(ty, U32 | S32 | U64 | S64),
            BulkReduction::Inc | BulkReduction::Dec => ty == U32,
        })?;
        m.check(half_flag == (half && operation == BulkReduction::Add))?;
        m.finish()?;
        let d = self.address()?;
        self.comma()?;
        Ok(Sm90::BulkStore {
            reduce: Some((operation, ty)),
            d,
            s: self.address()?,
            bytes: self.then_source(U32)?,
            policy: self.policy(hinted)?,
        })
    }

    fn bulk_prefetch(&mut self, m: &mut Modifiers<'_>) -> Result<Sm90, Error> {
        let hinted = m.flag("L2::cache_hint");
        m.need_flag("L2")?;
        m.need_flag("global")?;
        if m.flag("tensor") {
            let rank = rank(m)?;
            m.finish()?;
            return Ok(Sm90::TensorPrefetch {
                place: self.tensor_place(rank)?,
                policy: self.policy(hinted)?,
            });
        }
        m.finish()?;
        Ok(Sm90::BulkPrefetch {
            s: self.address()?,
            bytes: self.then_source(U32)?,
            policy: self.policy(hinted)?,
        })
    }

    fn tensor(&mut self, reduces: bool, m: &mut Modifiers<'_>) -> Result<Sm90, Error> {
        let hinted = m.flag("L2::cache_hint");
        let rank = rank(m)?;
        let way = way(m)?;
        let reduce = if reduces {
            Some(m.need(BulkReduction::from_text)?)
        } else {
            None
        };
        m.check(way == Way::Store || !reduces)?;
        m.finish()?;
        if way == Way::Load {
            let d = self.address()?;
            self.comma()?;
            let place = self.tensor_place(rank)?;
            self.comma()?;
            return Ok(Sm90::TensorLoad {
                d,
                place,
                mbarrier: self.address()?,
                policy: self.policy(hinted)?,
            });
        }
        let place = self.tensor_place(rank)?;
        self.comma()?;
        Ok(Sm90::TensorStore {
            reduce,
            place,
            s: self.address()?,
            policy: self.policy(hinted)?,
        })
    }

    /// `[map, {c0, c1, ..}]`
    fn tensor_place(&mut self, rank: usize) -> Result<TensorPlace, Error> {
        self.parser.expect("[")?;
        let map = self.address_inside()?;
        self.comma()?;
        let coordinates = self.vector_of(rank, |body| body.source(S32))?;
        self.parser.expect("]")?;
        Ok(TensorPlace { map, coordinates })
    }

    /// `prefetch{.param,.const}.tensormap [map]`; `None` for a prefetch of data.
    pub(super) fn prefetch_tensor_map(
        &mut self,
        m: &mut Modifiers<'_>,
    ) -> Result<Option<Op>, Error> {
        if !m.flag("tensormap") {
            return Ok(None);
        }
        let space = m.take(super::memory::named_space).unwrap_or(Space::Generic);
        m.check(matches!(
            space,
            Space::Generic | Space::Param | Space::Const
        ))?;
        m.finish()?;
        let address = self.address()?;
        Ok(Some(sm90(Sm90::PrefetchTensorMap { space, address })))
    }
}

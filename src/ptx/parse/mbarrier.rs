//! `mbarrier`, and the small instructions around warp specialisation: `elect`, `setmaxnreg`, `griddepcontrol`, `mapa`,
//! `barrier.cluster`.

use super::function::Body;
use super::memory::named_space;
use super::modifiers::Modifiers;
use super::operand::Width;
use crate::ptx::ScalarType::{B32, B64, Pred, U32, U64};
use crate::ptx::error::Error;
use crate::ptx::{ArriveKind, MbarrierArrive, MbarrierOrder, MbarrierWait, Op, Sm90, Space};

/// An operation of the family as an instruction.
pub(super) fn sm90(op: Sm90) -> Op {
    Op::Sm90(Box::new(op))
}

/// `.{default}` or `.relaxed`, with its scope.
fn order(m: &mut Modifiers<'_>, default: &str) -> Result<MbarrierOrder, Error> {
    let relaxed = m.flag("relaxed");
    if !relaxed && !m.flag(default) {
        return Ok(MbarrierOrder::default());
    }
    let cluster = m.need(|part| match part {
        "cta" => Some(false),
        "cluster" => Some(true),
        _ => None,
    })?;
    Ok(MbarrierOrder { relaxed, cluster })
}

/// `.shared{::cta,::cluster}`, or nothing for a generic address; true for the cluster's window.
fn shared_window(m: &mut Modifiers<'_>) -> bool {
    let remote = m.flag("shared::cluster");
    if !remote {
        m.take(|part| matches!(part, "shared" | "shared::cta").then_some(()));
    }
    remote
}

impl Body<'_, '_> {
    pub(super) fn mbarrier(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let word = m.need(|part| {
            [
                "init",
                "inval",
                "expect_tx",
                "complete_tx",
                "arrive",
                "arrive_drop",
                "test_wait",
                "try_wait",
                "pending_count",
            ]
            .into_iter()
            .find(|word| *word == part)
        })?;
        let op = match word {
            "init" => {
                shared_window(m);
                m.ty(&[B64])?;
                m.finish()?;
                Sm90::MbarrierInit {
                    address: self.address()?,
                    count: self.then_source(U32)?,
                }
            }
            "inval" => {
                shared_window(m);
                m.ty(&[B64])?;
                m.finish()?;
                Sm90::MbarrierInvalidate {
                    address: self.address()?,
                }
            }
            "expect_tx" | "complete_tx" => {
                m.flag("relaxed");
                m.take(|part| matches!(part, "cta" | "cluster").then_some(()));
                shared_window(m);
                m.ty(&[B64])?;
                m.finish()?;
                Sm90::MbarrierTx {
                    complete: word == "complete_tx",
                    address: self.address()?,
                    bytes: self.then_source(U32)?,
                }
            }
            "arrive" | "arrive_drop" => Sm90::MbarrierArrive(self.arrive(word, m)?),
            "pending_count" => {
                m.ty(&[B64])?;
                m.finish()?;
                Sm90::MbarrierPending {
                    d: self.destination(U32)?,
                    state: self.then_source(B64)?,
                }
            }
            _ => Sm90::MbarrierWait(self.wait(word == "try_wait", m)?),
        };
        Ok(sm90(op))
    }

    fn arrive(&mut self, word: &str, m: &mut Modifiers<'_>) -> Result<MbarrierArrive, Error> {
        let expects = m.flag("expect_tx");
        let no_complete = m.flag("noComplete");
        let order = order(m, "release")?;
        let remote = shared_window(m);
        m.ty(&[B64])?;
        m.check(!no_complete || !(expects || remote))?;
        m.finish()?;
        let state = self.destination_or_sink(Width::Exactly(64))?;
        self.comma()?;
        m.check(!(remote && state.is_some()))?;
        let address = self.address()?;
        let kind = if expects {
            ArriveKind::ExpectTx(self.then_source(U32)?)
        } else if no_complete {
            ArriveKind::NoComplete(self.then_source(U32)?)
        } else if self.parser.peek().text == "," {
            ArriveKind::Count(Some(self.then_source(U32)?))
        } else {
            ArriveKind::Count(None)
        };
        Ok(MbarrierArrive {
            drop: word == "arrive_drop",
            kind,
            order,
            remote,
            state,
            address,
        })
    }

    fn wait(&mut self, blocking: bool, m: &mut Modifiers<'_>) -> Result<MbarrierWait, Error> {
        let parity = m.flag("parity");
        let order = order(m, "acquire")?;
        let remote = shared_window(m);
        m.ty(&[B64])?;
        m.check(!remote)?;
        m.finish()?;
        let d = self.destination(Pred)?;
        self.comma()?;
        let address = self.address()?;
        let phase = self.then_source(if parity { U32 } else { B64 })?;
        let hint = if blocking && self.parser.peek().text == "," {
            Some(self.then_source(U32)?)
        } else {
            None
        };
        Ok(MbarrierWait {
            blocking,
            parity,
            order,
            d,
            address,
            phase,
            hint,
        })
    }

    /// `elect.sync d|p, mask`
    pub(super) fn elect(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        m.need_flag("sync")?;
        m.finish()?;
        let d = self.destination_or_sink(Width::Exactly(32))?;
        self.parser.expect("|")?;
        Ok(sm90(Sm90::Elect {
            d,
            p: self.destination(Pred)?,
            mask: self.then_source(B32)?,
        }))
    }

    /// `setmaxnreg.{inc,dec}.sync.aligned.u32 n`
    pub(super) fn set_max_registers(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let increase = m.need(|part| match part {
            "inc" => Some(true),
            "dec" => Some(false),
            _ => None,
        })?;
        m.need_flag("sync")?;
        m.need_flag("aligned")?;
        m.ty(&[U32])?;
        m.finish()?;
        let token = self.parser.peek();
        let count = self.parser.number("a number of registers")?;
        if !(24..=256).contains(&count) || count % 8 != 0 {
            return Err(self
                .parser
                .source
                .malformed(token, "a multiple of 8 from 24 to 256 registers"));
        }
        Ok(sm90(Sm90::SetMaxRegisters { increase, count }))
    }

    /// `griddepcontrol.{wait,launch_dependents}`
    pub(super) fn grid_dependency(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let launch_dependents = m.need(|part| match part {
            "launch_dependents" => Some(true),
            "wait" => Some(false),
            _ => None,
        })?;
        m.finish()?;
        Ok(sm90(Sm90::GridDependency { launch_dependents }))
    }

    /// `mapa{.shared::cluster}.{u32,u64} d, a, rank`
    pub(super) fn mapa(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let space = if shared_window(m) {
            Space::Shared
        } else {
            Space::Generic
        };
        let ty = m.ty(&[U32, U64])?;
        m.finish()?;
        Ok(sm90(Sm90::Mapa {
            space,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            rank: self.then_source(U32)?,
        }))
    }

    /// `barrier.cluster.{arrive,wait}`
    pub(super) fn cluster_barrier(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let op = if m.flag("arrive") {
            let relaxed = m.flag("relaxed");
            if !relaxed {
                m.flag("release");
            }
            Sm90::ClusterArrive {
                relaxed,
                aligned: m.flag("aligned"),
            }
        } else {
            m.need_flag("wait")?;
            m.flag("acquire");
            Sm90::ClusterWait {
                aligned: m.flag("aligned"),
            }
        };
        m.finish()?;
        Ok(sm90(op))
    }

    /// `fence.proxy.async{.space}`, `fence.mbarrier_init.release.cluster`; `None` for the fences of the generic proxy.
    pub(super) fn async_fence(&mut self, m: &mut Modifiers<'_>) -> Result<Option<Op>, Error> {
        if m.flag("mbarrier_init") {
            m.need_flag("release")?;
            m.need_flag("cluster")?;
            m.finish()?;
            return Ok(Some(sm90(Sm90::FenceMbarrierInit)));
        }
        if !m.flag("proxy") {
            return Ok(None);
        }
        m.need_flag("async")?;
        // The window of a cluster of one CTA is that of the CTA.
        let space = if m.flag("shared::cluster") {
            Some(Space::Shared)
        } else {
            m.take(named_space)
        };
        m.check(matches!(space, None | Some(Space::Shared | Space::Global)))?;
        m.finish()?;
        Ok(Some(sm90(Sm90::FenceProxyAsync { space })))
    }
}

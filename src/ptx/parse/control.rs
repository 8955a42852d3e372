//! From an opcode to its parser; warp, barrier, tensor-core and control-flow instructions.

use super::function::Body;
use super::modifiers::Modifiers;
use super::scope::Entity;
use crate::ptx::ScalarType::{B32, Bf16, F16, F32, Pred, S32, Tf32, U32};
use crate::ptx::error::Error;
use crate::ptx::{
    BarrierReduction, BitOp, FloatBinary, FloatUnary, IntegerBinary, IntegerUnary, LogicOp,
    MathFunction, MembarLevel, Mma, MmaShape, Op, Opcode, ReduxOp, ScalarType, Scope,
    ShiftDirection, ShuffleMode, VoteMode,
};

impl Body<'_, '_> {
    /// The rest of an instruction whose first word has been read.
    pub(super) fn op(&mut self, opcode: Opcode, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        match opcode {
            Opcode::Add => self.binary(Some(IntegerBinary::Add), FloatBinary::Add, m),
            Opcode::Sub => self.binary(Some(IntegerBinary::Sub), FloatBinary::Sub, m),
            Opcode::Mul => self.binary(None, FloatBinary::Mul, m),
            Opcode::Min => self.binary(Some(IntegerBinary::Min), FloatBinary::Min, m),
            Opcode::Max => self.binary(Some(IntegerBinary::Max), FloatBinary::Max, m),
            Opcode::Rem => self.integer_binary(IntegerBinary::Rem, m),
            Opcode::Div => self.div(m),
            Opcode::Mad => self.mad(m),
            Opcode::Fma => self.fma(m),
            Opcode::Neg => self.unary(IntegerUnary::Neg, FloatUnary::Neg, m),
            Opcode::Abs => self.unary(IntegerUnary::Abs, FloatUnary::Abs, m),
            Opcode::Ex2 => self.math(MathFunction::Ex2, m),
            Opcode::Lg2 => self.math(MathFunction::Lg2, m),
            Opcode::Rcp => self.math(MathFunction::Rcp, m),
            Opcode::Sqrt => self.math(MathFunction::Sqrt, m),
            Opcode::Rsqrt => self.math(MathFunction::Rsqrt, m),
            Opcode::Sin => self.math(MathFunction::Sin, m),
            Opcode::Cos => self.math(MathFunction::Cos, m),
            Opcode::Tanh => self.math(MathFunction::Tanh, m),
            Opcode::And => self.logic(LogicOp::And, m),
            Opcode::Or => self.logic(LogicOp::Or, m),
            Opcode::Xor => self.logic(LogicOp::Xor, m),
            Opcode::Not => self.not(m),
            Opcode::Shl => self.shift(ShiftDirection::Left, m),
            Opcode::Shr => self.shift(ShiftDirection::Right, m),
            Opcode::Shf => self.funnel_shift(m),
            Opcode::Lop3 => self.lop3(m),
            Opcode::Prmt => self.prmt(m),
            Opcode::Bfe => self.bit_field_extract(m),
            Opcode::Bfi => self.bit_field_insert(m),
            Opcode::Popc => self.bits(BitOp::Popc, m),
            Opcode::Clz => self.bits(BitOp::Clz, m),
            Opcode::Brev => self.bits(BitOp::Brev, m),
            Opcode::Bfind => self.bit_find(m),
            Opcode::Setp => self.setp(m),
            Opcode::Selp => self.selp(m),
            Opcode::Mov => self.mov(m),
            Opcode::Cvt => self.cvt(m),
            Opcode::Cvta => self.cvta(m),
            Opcode::Ld => self.ld(m),
            Opcode::St => self.st(m),
            Opcode::Prefetch => self.prefetch(m),
            Opcode::Atom => self.atomic(true, m),
            Opcode::Red => self.atomic(false, m),
            Opcode::Cp => self.cp(m),
            Opcode::Ldmatrix => self.ldmatrix(m),
            Opcode::Stmatrix => self.stmatrix(m),
            Opcode::Shfl => self.shfl(m),
            Opcode::Vote => self.vote(m),
            Opcode::Redux => self.redux(m),
            Opcode::Activemask => {
                m.ty(&[B32])?;
                m.finish()?;
                Ok(Op::ActiveMask {
                    d: self.destination(B32)?,
                })
            }
            Opcode::Bar => self.bar(m),
            Opcode::Barrier => {
                if m.flag("cluster") {
                    return self.cluster_barrier(m);
                }
                m.flag("cta");
                let aligned = m.flag("aligned");
                self.barrier(aligned, m)
            }
            Opcode::Membar => {
                let level = m.need(MembarLevel::from_text)?;
                m.finish()?;
                Ok(Op::Membar { level })
            }
            Opcode::Fence => {
                if let Some(op) = self.async_fence(m)? {
                    return Ok(op);
                }
                let sequential = m.flag("sc");
                // Without an order a fence is acquire-release.
                m.flag("acq_rel");
                let scope = m.need(Scope::from_text)?;
                m.finish()?;
                Ok(Op::Fence { sequential, scope })
            }
            Opcode::Mma => self.mma(m),
            Opcode::Bra => {
                let uniform = m.flag("uni");
                m.finish()?;
                Ok(Op::Bra {
                    uniform,
                    target: self.branch_target()?,
                })
            }
            Opcode::Ret => {
                m.flag("uni");
                m.finish().map(|()| Op::Ret)
            }
            Opcode::Exit => m.finish().map(|()| Op::Exit),
            Opcode::Trap => m.finish().map(|()| Op::Trap),
            Opcode::Mbarrier => self.mbarrier(m),
            Opcode::Elect => self.elect(m),
            Opcode::Setmaxnreg => self.set_max_registers(m),
            Opcode::Griddepcontrol => self.grid_dependency(m),
            Opcode::Mapa => self.mapa(m),
            Opcode::Wgmma => self.wgmma(m),
        }
    }

    /// `shfl.sync.MODE.b32 d{|p}, a, b, c, mask`
    fn shfl(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        m.need_flag("sync")?;
        let mode = m.need(ShuffleMode::from_text)?;
        m.ty(&[B32])?;
        m.finish()?;
        let d = self.destination(B32)?;
        let p = if self.parser.accept("|") {
            Some(self.destination(Pred)?)
        } else {
            None
        };
        let (a, b) = (self.then_source(B32)?, self.then_source(U32)?);
        let (c, mask) = (self.then_source(U32)?, self.then_source(B32)?);
        Ok(Op::Shfl {
            mode,
            d,
            p,
            a,
            b,
            c,
            mask,
        })
    }

    fn vote(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        m.need_flag("sync")?;
        let mode = m.need(VoteMode::from_text)?;
        let result = if mode == VoteMode::Ballot { B32 } else { Pred };
        m.ty(&[result])?;
        m.finish()?;
        let d = self.destination(result)?;
        self.comma()?;
        Ok(Op::Vote {
            mode,
            d,
            a: self.predicate()?,
            mask: self.then_source(B32)?,
        })
    }

    fn redux(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        m.need_flag("sync")?;
        let operation = m.need(ReduxOp::from_text)?;
        let ty = match operation {
            ReduxOp::Add | ReduxOp::Min | ReduxOp::Max => m.ty(&[U32, S32])?,
            ReduxOp::And | ReduxOp::Or | ReduxOp::Xor => m.ty(&[B32])?,
        };
        m.finish()?;
        Ok(Op::Redux {
            operation,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            mask: self.then_source(B32)?,
        })
    }

    /// `bar.warp.sync`, or a CTA barrier that all threads of a warp reach together.
    fn bar(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        if m.flag("warp") {
            m.need_flag("sync")?;
            m.finish()?;
            return Ok(Op::WarpSync {
                mask: self.source(B32)?,
            });
        }
        m.flag("cta");
        self.barrier(true, m)
    }

    fn barrier(&mut self, aligned: bool, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        if m.flag("sync") {
            m.finish()?;
            let barrier = self.source(U32)?;
            let threads = if self.parser.peek().text == "," {
                Some(self.then_source(U32)?)
            } else {
                None
            };
            return Ok(Op::BarrierSync {
                aligned,
                barrier,
                threads,
            });
        }
        if m.flag("arrive") {
            m.finish()?;
            return Ok(Op::BarrierArrive {
                aligned,
                barrier: self.source(U32)?,
                threads: self.then_source(U32)?,
            });
        }
        m.need_flag("red")?;
        let reduction = m.need(BarrierReduction::from_text)?;
        let result = if reduction == BarrierReduction::Popc {
            U32
        } else {
            Pred
        };
        m.ty(&[result])?;
        m.finish()?;
        let d = self.destination(result)?;
        let barrier = self.then_source(U32)?;
        let threads = if self.is_predicate(1) {
            None
        } else {
            Some(self.then_source(U32)?)
        };
        self.comma()?;
        Ok(Op::BarrierRed {
            aligned,
            reduction,
            d,
            barrier,
            threads,
            a: self.predicate()?,
        })
    }

    /// Whether a predicate operand begins at the token `ahead`.
    pub(super) fn is_predicate(&self, ahead: usize) -> bool {
        let token = self.parser.look(ahead);
        token.text == "!" || matches!(self.names.find(token.text), Some(Entity::Register(_, Pred)))
    }

    /// `mma.sync.aligned.SHAPE.row.col.D.A.B.C d, a, b, c`
    fn mma(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        for part in ["sync", "aligned", "row", "col"] {
            m.need_flag(part)?;
        }
        let shape = m.need(MmaShape::from_text)?;
        let (d_type, a_type) = (m.ty(&[F16, F32])?, m.ty(&[F16, Bf16, Tf32])?);
        let (b_type, c_type) = (m.ty(&[a_type])?, m.ty(&[d_type])?);
        let (k, tf32) = (shape.k(), a_type == Tf32);
        m.check(match shape {
            MmaShape::M16N8K4 => tf32,
            MmaShape::M16N8K8 => true,
            MmaShape::M16N8K16 => !tf32,
        })?;
        m.check(d_type == F32 || a_type == F16)?;
        m.finish()?;
        // 16 k elements of A and 8 k of B over 32 lanes, one (tf32) or two to a register.
        let b_count = if tf32 { k / 4 } else { k / 8 };
        let (a_count, b_count) = (registers(2 * b_count), registers(b_count));
        let c_count = if d_type == F32 { 4 } else { 2 };
        let accumulator: ScalarType = if d_type == F32 { F32 } else { B32 };
        let d = self.vector_of(c_count, |body| body.destination(accumulator))?;
        self.comma()?;
        let a = self.vector_of(a_count, |body| body.destination(B32))?;
        self.comma()?;
        let b = self.vector_of(b_count, |body| body.destination(B32))?;
        self.comma()?;
        let c = self.vector_of(c_count, |body| body.source(accumulator))?;
        Ok(Op::Mma(Box::new(Mma {
            shape,
            d_type,
            a_type,
            b_type,
            c_type,
            d,
            a,
            b,
            c,
        })))
    }
}

/// A small count as an index.
fn registers(count: u32) -> usize {
    usize::try_from(count).expect("a few registers")
}

//! From an opcode to its parser; warp, barrier, tensor-core and control-flow instructions.

use super::function::Body;
use super::modifiers::Modifiers;
use super::scope::Entity;
use crate::ptx::ScalarType::{
    B32, B64, Bf16, E4m3, E5m2, F16, F32, F64, Pred, S4, S8, S32, Tf32, U4, U8, U32,
};
use crate::ptx::error::Error;
use crate::ptx::{
    BarrierReduction, BitOp, Call, FloatBinary, FloatUnary, IntegerBinary, IntegerUnary, LogicOp,
    MathFunction, MembarLevel, Mma, MmaShape, Op, Opcode, Operand, ReduxOp, ScalarType, Scope,
    ShiftDirection, ShuffleMode, Symbol, VoteMode,
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
            Opcode::Addc => self.add_carry(false, true, m),
            Opcode::Subc => self.add_carry(true, true, m),
            Opcode::Madc => self.mad_carry(true, m),
            Opcode::Mul24 => self.product24(false, m),
            Opcode::Mad24 => self.product24(true, m),
            Opcode::Sad => self.absolute_difference(m),
            Opcode::Dp4a => self.dot(true, m),
            Opcode::Dp2a => self.dot(false, m),
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
            Opcode::Set => self.set(m),
            Opcode::Slct => self.slct(m),
            Opcode::Testp => self.test_property(m),
            Opcode::Copysign => self.copysign(m),
            Opcode::Isspacep => self.is_space(m),
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
            Opcode::Match => self.match_lanes(m),
            Opcode::Createpolicy => self.create_policy(m),
            Opcode::Nanosleep => {
                m.ty(&[U32])?;
                m.finish()?;
                Ok(Op::Nanosleep {
                    a: self.source(U32)?,
                })
            }
            Opcode::Movmatrix => {
                for part in ["sync", "aligned", "m8n8", "trans", "b16"] {
                    m.need_flag(part)?;
                }
                m.finish()?;
                Ok(Op::MovMatrix {
                    d: self.destination(B32)?,
                    a: self.then_source(B32)?,
                })
            }
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
            Opcode::Brx => {
                m.need_flag("idx")?;
                let uniform = m.flag("uni");
                m.finish()?;
                let index = self.source(U32)?;
                self.comma()?;
                Ok(Op::BranchIndexed {
                    uniform,
                    index,
                    list: self.branch_list_name()?,
                })
            }
            Opcode::Call => self.call(m),
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
            Opcode::Wmma => self.wmma(m),
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

    /// `call{.uni} {(results),} function{, (arguments)};`
    fn call(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let uniform = m.flag("uni");
        m.finish()?;
        let mut results = Vec::new();
        if self.parser.peek().text == "(" {
            results = self.call_operands()?;
            self.comma()?;
        }
        let name = self.parser.word("a function")?;
        let Some(function) = self.names.find_callee(name.text) else {
            // A register: a call through a pointer.
            return Err(match self.names.find(name.text) {
                Some(_) => m.unsupported(),
                None => self
                    .parser
                    .source
                    .malformed(name, "the name of a function declared before"),
            });
        };
        let mut arguments = Vec::new();
        if self.parser.accept(",") {
            arguments = self.call_operands()?;
        }
        Ok(Op::Call(Box::new(Call {
            uniform,
            function,
            results,
            arguments,
        })))
    }

    /// `(a, b)`: names of `.param` variables.
    fn call_operands(&mut self) -> Result<Vec<Operand>, Error> {
        self.parser.expect("(")?;
        let mut operands = Vec::new();
        if self.parser.accept(")") {
            return Ok(operands);
        }
        loop {
            let token = self.parser.peek();
            match self.names.find(token.text) {
                Some(Entity::Symbol(symbol @ (Symbol::Function(_) | Symbol::Param(_)))) => {
                    self.parser.next();
                    operands.push(Operand::Address(symbol, 0));
                }
                // Registers and immediates go with `.reg` parameters, which no compiler of today emits.
                Some(_) => return Err(self.parser.unsupported()),
                None => return Err(self.parser.malformed("a `.param` variable")),
            }
            if !self.parser.accept(",") {
                break;
            }
        }
        self.parser.expect(")")?;
        Ok(operands)
    }

    /// `mma.sync.aligned.SHAPE.row.col{.satfinite}.D.A.B.C d, a, b, c`
    fn mma(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        for part in ["sync", "aligned", "row", "col"] {
            m.need_flag(part)?;
        }
        let shape = m.need(MmaShape::from_text)?;
        let saturate = m.flag("satfinite");
        let d_type = m.ty(&[F16, F32, F64, S32])?;
        let a_type = m.ty(&[F16, Bf16, Tf32, E4m3, E5m2, F64, U4, S4, U8, S8])?;
        let b_type = m.ty(&[F16, Bf16, Tf32, E4m3, E5m2, F64, U4, S4, U8, S8])?;
        let c_type = m.ty(&[d_type])?;
        m.check(mma_exists(shape, a_type, b_type, d_type))?;
        m.check(!saturate || d_type == S32)?;
        m.finish()?;
        // A holds `m k` elements over 32 lanes, B `8 k`, C and D `8 m`, packed into registers.
        let word: ScalarType = if a_type == F64 { B64 } else { B32 };
        let per_register = word.bits() / if a_type == Tf32 { 32 } else { a_type.bits() };
        let a_count = registers(shape.rows() * shape.k() / 32 / per_register);
        let b_count = registers(8 * shape.k() / 32 / per_register);
        let elements = shape.rows() / 4;
        let (c_count, accumulator) = if d_type == F16 {
            (registers(elements / 2), B32)
        } else {
            (registers(elements), d_type)
        };
        let d = self.vector_of(c_count, |body| body.destination(accumulator))?;
        self.comma()?;
        let a = self.vector_of(a_count, |body| body.destination(word))?;
        self.comma()?;
        let b = self.vector_of(b_count, |body| body.destination(word))?;
        self.comma()?;
        let c = self.vector_of(c_count, |body| body.source(accumulator))?;
        Ok(Op::Mma(Box::new(Mma {
            shape,
            saturate,
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

/// Whether PTX has this `mma.sync` (PTX ISA 9.7.14.5).
fn mma_exists(shape: MmaShape, a_type: ScalarType, b_type: ScalarType, d_type: ScalarType) -> bool {
    use MmaShape::{M8N8K4, M8N8K16, M8N8K32, M16N8K4, M16N8K8, M16N8K16, M16N8K32, M16N8K64};
    let bytes = |ty| matches!(ty, E4m3 | E5m2);
    match (a_type, d_type) {
        (F16, F16 | F32) | (Bf16, F32) => b_type == a_type && matches!(shape, M16N8K8 | M16N8K16),
        (Tf32, F32) => b_type == a_type && matches!(shape, M16N8K4 | M16N8K8),
        (E4m3 | E5m2, F16 | F32) => bytes(b_type) && matches!(shape, M16N8K16 | M16N8K32),
        (F64, F64) => b_type == a_type && matches!(shape, M8N8K4 | M16N8K4 | M16N8K8 | M16N8K16),
        (U8 | S8, S32) => {
            matches!(b_type, U8 | S8) && matches!(shape, M8N8K16 | M16N8K16 | M16N8K32)
        }
        (U4 | S4, S32) => {
            matches!(b_type, U4 | S4) && matches!(shape, M8N8K32 | M16N8K32 | M16N8K64)
        }
        _ => false,
    }
}

/// A small count as an index.
fn registers(count: u32) -> usize {
    usize::try_from(count).expect("a few registers")
}

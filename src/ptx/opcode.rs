//! The first word of every instruction that is read.

use super::instruction::Op;
use super::operation::{
    BitOp, DotShape, FloatBinary, FloatUnary, IntegerBinary, IntegerUnary, LogicOp, MathFunction,
    ShiftDirection,
};
use super::scalar::spelled;

spelled! {
    /// First word of an instruction. The parser matches on it, so that an [`Op`] without a parser does not compile.
    #[expect(missing_docs, reason = "each variant is the word it is named after")]
    Opcode {
        Abs = "abs",
        Activemask = "activemask",
        Add = "add",
        Addc = "addc",
        And = "and",
        Atom = "atom",
        Bar = "bar",
        Barrier = "barrier",
        Bfe = "bfe",
        Bfi = "bfi",
        Bfind = "bfind",
        Bra = "bra",
        Brev = "brev",
        Brx = "brx",
        Call = "call",
        Clz = "clz",
        Copysign = "copysign",
        Cos = "cos",
        Cp = "cp",
        Createpolicy = "createpolicy",
        Cvt = "cvt",
        Cvta = "cvta",
        Div = "div",
        Dp2a = "dp2a",
        Dp4a = "dp4a",
        Ex2 = "ex2",
        Exit = "exit",
        Fence = "fence",
        Fma = "fma",
        Isspacep = "isspacep",
        Ld = "ld",
        Ldmatrix = "ldmatrix",
        Lg2 = "lg2",
        Lop3 = "lop3",
        Mad = "mad",
        Mad24 = "mad24",
        Madc = "madc",
        Match = "match",
        Max = "max",
        Membar = "membar",
        Min = "min",
        Mma = "mma",
        Mov = "mov",
        Movmatrix = "movmatrix",
        Mul = "mul",
        Mul24 = "mul24",
        Nanosleep = "nanosleep",
        Neg = "neg",
        Not = "not",
        Or = "or",
        Popc = "popc",
        Prefetch = "prefetch",
        Prmt = "prmt",
        Rcp = "rcp",
        Red = "red",
        Redux = "redux",
        Rem = "rem",
        Ret = "ret",
        Rsqrt = "rsqrt",
        Sad = "sad",
        Selp = "selp",
        Set = "set",
        Setp = "setp",
        Shf = "shf",
        Shfl = "shfl",
        Shl = "shl",
        Shr = "shr",
        Sin = "sin",
        Slct = "slct",
        Sqrt = "sqrt",
        St = "st",
        Stmatrix = "stmatrix",
        Sub = "sub",
        Subc = "subc",
        Tanh = "tanh",
        Testp = "testp",
        Trap = "trap",
        Vote = "vote",
        Xor = "xor",
    }
}

impl Op {
    /// First word of the canonical spelling.
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::IntegerBinary { operation, .. } => match operation {
                IntegerBinary::Add => Opcode::Add,
                IntegerBinary::Sub => Opcode::Sub,
                IntegerBinary::MulLo | IntegerBinary::MulHi | IntegerBinary::MulWide => Opcode::Mul,
                IntegerBinary::Div => Opcode::Div,
                IntegerBinary::Rem => Opcode::Rem,
                IntegerBinary::Min => Opcode::Min,
                IntegerBinary::Max => Opcode::Max,
            },
            Self::IntegerUnary { operation, .. } => match operation {
                IntegerUnary::Neg => Opcode::Neg,
                IntegerUnary::Abs => Opcode::Abs,
            },
            Self::Mad { .. } => Opcode::Mad,
            Self::Logic { operation, .. } => match operation {
                LogicOp::And => Opcode::And,
                LogicOp::Or => Opcode::Or,
                LogicOp::Xor => Opcode::Xor,
            },
            Self::Not { .. } => Opcode::Not,
            Self::Shift { direction, .. } => match direction {
                ShiftDirection::Left => Opcode::Shl,
                ShiftDirection::Right => Opcode::Shr,
            },
            Self::FunnelShift { .. } => Opcode::Shf,
            Self::Lop3 { .. } | Self::Lop3Predicate { .. } => Opcode::Lop3,
            Self::AddCarry {
                subtract: false,
                carry_in: false,
                ..
            } => Opcode::Add,
            Self::AddCarry {
                subtract: false, ..
            } => Opcode::Addc,
            Self::AddCarry {
                carry_in: false, ..
            } => Opcode::Sub,
            Self::AddCarry { .. } => Opcode::Subc,
            Self::MadCarry {
                carry_in: false, ..
            } => Opcode::Mad,
            Self::MadCarry { .. } => Opcode::Madc,
            Self::Product24 { c: None, .. } => Opcode::Mul24,
            Self::Product24 { c: Some(_), .. } => Opcode::Mad24,
            Self::AbsoluteDifference { .. } => Opcode::Sad,
            Self::Dot { shape, .. } => match shape {
                DotShape::Bytes => Opcode::Dp4a,
                DotShape::LowHalf | DotShape::HighHalf => Opcode::Dp2a,
            },
            Self::Set { .. } => Opcode::Set,
            Self::Slct { .. } => Opcode::Slct,
            Self::TestProperty { .. } => Opcode::Testp,
            Self::CopySign { .. } => Opcode::Copysign,
            Self::IsSpace { .. } => Opcode::Isspacep,
            Self::Prmt { .. } => Opcode::Prmt,
            Self::BitFieldExtract { .. } => Opcode::Bfe,
            Self::BitFieldInsert { .. } => Opcode::Bfi,
            Self::Bits { operation, .. } => match operation {
                BitOp::Popc => Opcode::Popc,
                BitOp::Clz => Opcode::Clz,
                BitOp::Brev => Opcode::Brev,
            },
            Self::BitFind { .. } => Opcode::Bfind,
            Self::Setp { .. } => Opcode::Setp,
            Self::Selp { .. } => Opcode::Selp,
            Self::Mov { .. } | Self::Pack { .. } | Self::Unpack { .. } => Opcode::Mov,
            Self::Cvt { .. } | Self::CvtPair { .. } | Self::CvtPacked { .. } => Opcode::Cvt,
            Self::Cvta { .. } => Opcode::Cvta,
            Self::Ld { .. } => Opcode::Ld,
            Self::St { .. } => Opcode::St,
            Self::PrefetchLine { .. } => Opcode::Prefetch,
            Self::Atomic { d: Some(_), .. } => Opcode::Atom,
            Self::Atomic { d: None, .. } => Opcode::Red,
            Self::FloatBinary { operation, .. } => match operation {
                FloatBinary::Add => Opcode::Add,
                FloatBinary::Sub => Opcode::Sub,
                FloatBinary::Mul => Opcode::Mul,
                FloatBinary::Min => Opcode::Min,
                FloatBinary::Max => Opcode::Max,
            },
            Self::Fma { .. } => Opcode::Fma,
            Self::FloatUnary { operation, .. } => match operation {
                FloatUnary::Neg => Opcode::Neg,
                FloatUnary::Abs => Opcode::Abs,
            },
            Self::Math { function, .. } => match function {
                MathFunction::Ex2 => Opcode::Ex2,
                MathFunction::Lg2 => Opcode::Lg2,
                MathFunction::Rcp => Opcode::Rcp,
                MathFunction::Sqrt => Opcode::Sqrt,
                MathFunction::Rsqrt => Opcode::Rsqrt,
                MathFunction::Sin => Opcode::Sin,
                MathFunction::Cos => Opcode::Cos,
                MathFunction::Tanh => Opcode::Tanh,
            },
            Self::FloatDiv { .. } => Opcode::Div,
            Self::Shfl { .. } => Opcode::Shfl,
            Self::Vote { .. } => Opcode::Vote,
            Self::Redux { .. } => Opcode::Redux,
            Self::ActiveMask { .. } => Opcode::Activemask,
            Self::Match { .. } => Opcode::Match,
            Self::Nanosleep { .. } => Opcode::Nanosleep,
            Self::CreatePolicy { .. } => Opcode::Createpolicy,
            Self::BarrierSync { aligned: true, .. }
            | Self::BarrierArrive { aligned: true, .. }
            | Self::BarrierRed { aligned: true, .. }
            | Self::WarpSync { .. } => Opcode::Bar,
            Self::BarrierSync { aligned: false, .. }
            | Self::BarrierArrive { aligned: false, .. }
            | Self::BarrierRed { aligned: false, .. } => Opcode::Barrier,
            Self::Membar { .. } => Opcode::Membar,
            Self::Fence { .. } => Opcode::Fence,
            Self::CpAsync { .. }
            | Self::CpAsyncCommit
            | Self::CpAsyncWait { .. }
            | Self::CpAsyncWaitAll => Opcode::Cp,
            Self::LdMatrix { .. } => Opcode::Ldmatrix,
            Self::StMatrix { .. } => Opcode::Stmatrix,
            Self::MovMatrix { .. } => Opcode::Movmatrix,
            Self::Mma(_) => Opcode::Mma,
            Self::BranchIndexed { .. } => Opcode::Brx,
            Self::Call(_) => Opcode::Call,
            Self::Bra { .. } => Opcode::Bra,
            Self::Ret => Opcode::Ret,
            Self::Exit => Opcode::Exit,
            Self::Trap => Opcode::Trap,
        }
    }
}

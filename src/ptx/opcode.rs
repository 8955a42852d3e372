//! The first word of every instruction that is read.

use super::instruction::Op;
use super::operation::{
    BitOp, FloatBinary, FloatUnary, IntegerBinary, IntegerUnary, LogicOp, MathFunction,
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
        And = "and",
        Atom = "atom",
        Bar = "bar",
        Barrier = "barrier",
        Bfe = "bfe",
        Bfi = "bfi",
        Bfind = "bfind",
        Bra = "bra",
        Brev = "brev",
        Clz = "clz",
        Cos = "cos",
        Cp = "cp",
        Cvt = "cvt",
        Cvta = "cvta",
        Div = "div",
        Elect = "elect",
        Ex2 = "ex2",
        Exit = "exit",
        Fence = "fence",
        Fma = "fma",
        Griddepcontrol = "griddepcontrol",
        Ld = "ld",
        Ldmatrix = "ldmatrix",
        Lg2 = "lg2",
        Lop3 = "lop3",
        Mad = "mad",
        Mapa = "mapa",
        Max = "max",
        Mbarrier = "mbarrier",
        Membar = "membar",
        Min = "min",
        Mma = "mma",
        Mov = "mov",
        Mul = "mul",
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
        Selp = "selp",
        Setmaxnreg = "setmaxnreg",
        Setp = "setp",
        Shf = "shf",
        Shfl = "shfl",
        Shl = "shl",
        Shr = "shr",
        Sin = "sin",
        Sqrt = "sqrt",
        St = "st",
        Stmatrix = "stmatrix",
        Sub = "sub",
        Tanh = "tanh",
        Trap = "trap",
        Vote = "vote",
        Wgmma = "wgmma",
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
            Self::Lop3 { .. } => Opcode::Lop3,
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
            Self::Cvt { .. } | Self::CvtPair { .. } => Opcode::Cvt,
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
            Self::Mma(_) => Opcode::Mma,
            Self::Bra { .. } => Opcode::Bra,
            Self::Ret => Opcode::Ret,
            Self::Exit => Opcode::Exit,
            Self::Trap => Opcode::Trap,
            Self::Sm90(op) => op.opcode(),
        }
    }
}

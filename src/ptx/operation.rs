//! What an instruction of a family does: the operations and modes that fields of `Op` choose between.

use super::scalar::{IntegerRounding, Rounding, Scope, spelled};

spelled! {
    /// Two integers to one, same width except `mul.wide`.
    IntegerBinary {
        /// Wrapping sum.
        Add = "add",
        /// Wrapping difference.
        Sub = "sub",
        /// Low half of the product.
        MulLo = "mul.lo",
        /// High half of the product.
        MulHi = "mul.hi",
        /// Whole product: `d` is twice as wide (types of 16 and 32 bits).
        MulWide = "mul.wide",
        /// Quotient towards zero; unspecified for divisor 0.
        Div = "div",
        /// Remainder with the sign of the dividend.
        Rem = "rem",
        /// Smaller.
        Min = "min",
        /// Larger.
        Max = "max",
    }
}

spelled! {
    /// Which part of `a * b` a `mad` adds `c` to.
    ProductPart {
        /// Low half.
        Lo = "lo",
        /// High half.
        Hi = "hi",
        /// All of it: `c` and `d` are twice as wide.
        Wide = "wide",
    }
}

spelled! {
    /// One integer to one of the same width.
    IntegerUnary {
        /// Wrapping negation.
        Neg = "neg",
        /// Absolute value.
        Abs = "abs",
    }
}

spelled! {
    /// Bitwise combination; types `pred`, `b16`, `b32`, `b64`.
    LogicOp {
        /// Conjunction.
        And = "and",
        /// Disjunction.
        Or = "or",
        /// Exclusive disjunction.
        Xor = "xor",
    }
}

spelled! {
    /// Counts and reversals of bits; types `b32`, `b64`. `popc` and `clz` give 32 bits.
    BitOp {
        /// Ones.
        Popc = "popc",
        /// Zeros above the highest one.
        Clz = "clz",
        /// Bits in reverse order.
        Brev = "brev",
    }
}

spelled! {
    /// Direction of a shift. Amounts above the width count as the width.
    ShiftDirection {
        /// Left, `b16`, `b32`, `b64`.
        Left = "shl",
        /// Right, arithmetic for signed types.
        Right = "shr",
    }
}

spelled! {
    /// Direction of `shf`.
    FunnelDirection {
        /// High 32 bits of `b:a << c`.
        Left = "l",
        /// Low 32 bits of `b:a >> c`.
        Right = "r",
    }
}

spelled! {
    /// What `shf` does with amounts above 31.
    FunnelMode {
        /// Counts as 32.
        Clamp = "clamp",
        /// Modulo 32.
        Wrap = "wrap",
    }
}

spelled! {
    /// Two floats to one.
    FloatBinary {
        /// Sum.
        Add = "add",
        /// Difference.
        Sub = "sub",
        /// Product.
        Mul = "mul",
        /// Smaller; the other operand when one is NaN.
        Min = "min",
        /// Larger; the other operand when one is NaN.
        Max = "max",
    }
}

spelled! {
    /// One float to one, exact.
    FloatUnary {
        /// Sign flipped.
        Neg = "neg",
        /// Sign cleared.
        Abs = "abs",
    }
}

spelled! {
    /// Functions of one float.
    MathFunction {
        /// `2^a`.
        Ex2 = "ex2",
        /// Base-2 logarithm.
        Lg2 = "lg2",
        /// `1 / a`.
        Rcp = "rcp",
        /// Square root.
        Sqrt = "sqrt",
        /// `1 / sqrt(a)`.
        Rsqrt = "rsqrt",
        /// Sine of radians.
        Sin = "sin",
        /// Cosine of radians.
        Cos = "cos",
        /// Hyperbolic tangent.
        Tanh = "tanh",
    }
}

/// How exactly a [`MathFunction`] or a division is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accuracy {
    /// `.approx`: within an error bound that the ISA states.
    Approx,
    /// `.full` (division only): within 2 ulp, full range.
    Full,
    /// Correctly rounded.
    Rounded(Rounding),
}

/// Rounding of a `cvt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CvtRounding {
    /// To a float format.
    Float(Rounding),
    /// To an integer value.
    Integer(IntegerRounding),
}

/// Memory order of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// The default.
    Weak,
    /// `.volatile`.
    Volatile,
    /// `.relaxed` at a scope.
    Relaxed(Scope),
    /// `.acquire` at a scope.
    Acquire(Scope),
    /// `.release` at a scope.
    Release(Scope),
}

spelled! {
    /// Memory order of `atom` and `red`.
    AtomicOrdering {
        /// Atomic, no more (the default).
        Relaxed = "relaxed",
        /// Later accesses stay after.
        Acquire = "acquire",
        /// Earlier accesses stay before.
        Release = "release",
        /// Both.
        AcquireRelease = "acq_rel",
    }
}

spelled! {
    /// Operation of `atom` and `red`.
    AtomicOp {
        /// Bitwise.
        And = "and",
        /// Bitwise.
        Or = "or",
        /// Bitwise.
        Xor = "xor",
        /// Exchange.
        Exch = "exch",
        /// Compare (`b`) and swap (`c`).
        Cas = "cas",
        /// Sum.
        Add = "add",
        /// `old >= b ? 0 : old + 1`.
        Inc = "inc",
        /// `old == 0 || old > b ? b : old - 1`.
        Dec = "dec",
        /// Smaller.
        Min = "min",
        /// Larger.
        Max = "max",
    }
}

spelled! {
    /// Which lane `shfl` reads.
    ShuffleMode {
        /// Lane minus `b`.
        Up = "up",
        /// Lane plus `b`.
        Down = "down",
        /// Lane xor `b`.
        Bfly = "bfly",
        /// Lane `b`.
        Idx = "idx",
    }
}

spelled! {
    /// What `vote.sync` gives.
    VoteMode {
        /// True on all lanes of the mask.
        All = "all",
        /// True on some lane.
        Any = "any",
        /// The same on all lanes.
        Uni = "uni",
        /// Bit a lane, 32 bits.
        Ballot = "ballot",
    }
}

spelled! {
    /// Reduction of `redux.sync`.
    ReduxOp {
        /// Wrapping sum.
        Add = "add",
        /// Smaller.
        Min = "min",
        /// Larger.
        Max = "max",
        /// Bitwise.
        And = "and",
        /// Bitwise.
        Or = "or",
        /// Bitwise.
        Xor = "xor",
    }
}

spelled! {
    /// What `bar.red` reduces over the threads of the barrier.
    BarrierReduction {
        /// How many predicates are true: `d` has 32 bits.
        Popc = "popc",
        /// All: `d` is a predicate.
        And = "and",
        /// Some: `d` is a predicate.
        Or = "or",
    }
}

spelled! {
    /// Level of `membar`.
    MembarLevel {
        /// The CTA.
        Cta = "cta",
        /// The device.
        Gl = "gl",
        /// The system.
        Sys = "sys",
    }
}

spelled! {
    /// Selection mode of `prmt`.
    PrmtMode {
        /// Forward 4 extract.
        F4e = "f4e",
        /// Backward 4 extract.
        B4e = "b4e",
        /// Replicate 8.
        Rc8 = "rc8",
        /// Edge clamp left.
        Ecl = "ecl",
        /// Edge clamp right.
        Ecr = "ecr",
        /// Replicate 16.
        Rc16 = "rc16",
    }
}

spelled! {
    /// What `testp` asks of a float.
    FloatProperty {
        /// Neither infinite nor NaN.
        Finite = "finite",
        /// Infinite.
        Infinite = "infinite",
        /// No NaN.
        Number = "number",
        /// NaN.
        NotANumber = "notanumber",
        /// Neither zero, subnormal, infinite nor NaN.
        Normal = "normal",
        /// Subnormal.
        Subnormal = "subnormal",
    }
}

spelled! {
    /// Products that a `dp4a` or `dp2a` adds up.
    DotShape {
        /// Four bytes of `a` with those of `b`.
        Bytes = "dp4a",
        /// Two halves of `a` with the low two bytes of `b`.
        LowHalf = "dp2a.lo",
        /// Two halves of `a` with the high two bytes of `b`.
        HighHalf = "dp2a.hi",
    }
}

spelled! {
    /// Which 32 of the 48 bits of a `mul24` or `mad24` count.
    ProductHalf {
        /// Bits 0 to 31.
        Lo = "lo",
        /// Bits 16 to 47.
        Hi = "hi",
    }
}

spelled! {
    /// What `match.sync` compares.
    MatchMode {
        /// `d`: lanes with the same value as this one.
        Any = "any",
        /// `d`: the mask if all lanes have the same value, else 0.
        All = "all",
    }
}

spelled! {
    /// Modifiers of a `createpolicy`, in their canonical order.
    PolicyKind {
        /// Evict last.
        Last = "fractional.L2::evict_last",
        /// Evict last, the rest unchanged.
        LastUnchanged = "fractional.L2::evict_last.L2::evict_unchanged",
        /// Evict first.
        First = "fractional.L2::evict_first",
        /// Evict first, the rest unchanged.
        FirstUnchanged = "fractional.L2::evict_first.L2::evict_unchanged",
        /// Normal.
        Normal = "fractional.L2::evict_normal",
        /// Unchanged.
        Unchanged = "fractional.L2::evict_unchanged",
    }
}

spelled! {
    /// Tile of an `mma.sync`: A is `m x k` by rows, B is `k x n` by columns.
    MmaShape {
        /// 8 x 8 x 4.
        M8N8K4 = "m8n8k4",
        /// 8 x 8 x 16.
        M8N8K16 = "m8n8k16",
        /// 8 x 8 x 32.
        M8N8K32 = "m8n8k32",
        /// 16 x 8 x 4.
        M16N8K4 = "m16n8k4",
        /// 16 x 8 x 8.
        M16N8K8 = "m16n8k8",
        /// 16 x 8 x 16.
        M16N8K16 = "m16n8k16",
        /// 16 x 8 x 32.
        M16N8K32 = "m16n8k32",
        /// 16 x 8 x 64.
        M16N8K64 = "m16n8k64",
    }
}

impl MmaShape {
    /// `k`.
    pub const fn k(self) -> u32 {
        match self {
            Self::M8N8K4 | Self::M16N8K4 => 4,
            Self::M16N8K8 => 8,
            Self::M8N8K16 | Self::M16N8K16 => 16,
            Self::M8N8K32 | Self::M16N8K32 => 32,
            Self::M16N8K64 => 64,
        }
    }

    /// `m`: 8 or 16 rows.
    pub const fn rows(self) -> u32 {
        match self {
            Self::M8N8K4 | Self::M8N8K16 | Self::M8N8K32 => 8,
            Self::M16N8K4 | Self::M16N8K8 | Self::M16N8K16 | Self::M16N8K32 | Self::M16N8K64 => 16,
        }
    }
}

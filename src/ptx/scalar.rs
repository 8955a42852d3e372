//! The scalar types of PTX, the register names the machine reserves, and the modifiers that several instructions share.

/// Declares an enum whose variants each have one PTX spelling, with both directions of the translation.
macro_rules! spelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The PTX spelling, without the leading dot of a modifier.
            pub const fn text(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The value whose PTX spelling is `text`.
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}
pub(crate) use spelled;

spelled! {
    /// A fundamental type (PTX ISA 5.2), packed pairs and alternate float formats included.
    ScalarType {
        /// One bit a thread.
        Pred = "pred",
        /// 8 untyped bits.
        B8 = "b8",
        /// 16 untyped bits.
        B16 = "b16",
        /// 32 untyped bits.
        B32 = "b32",
        /// 64 untyped bits.
        B64 = "b64",
        /// Unsigned 8 bits.
        U8 = "u8",
        /// Unsigned 16 bits.
        U16 = "u16",
        /// Unsigned 32 bits.
        U32 = "u32",
        /// Unsigned 64 bits.
        U64 = "u64",
        /// Two's complement 8 bits.
        S8 = "s8",
        /// Two's complement 16 bits.
        S16 = "s16",
        /// Two's complement 32 bits.
        S32 = "s32",
        /// Two's complement 64 bits.
        S64 = "s64",
        /// IEEE binary16.
        F16 = "f16",
        /// Two binary16 in 32 bits, element 0 in the low half.
        F16x2 = "f16x2",
        /// bfloat16.
        Bf16 = "bf16",
        /// Two bfloat16 in 32 bits, element 0 in the low half.
        Bf16x2 = "bf16x2",
        /// 8-bit float of 4 exponent and 3 fraction bits, no infinity.
        E4m3 = "e4m3",
        /// 8-bit float of 5 exponent and 2 fraction bits.
        E5m2 = "e5m2",
        /// Two `e4m3` in 16 bits, element 0 in the low byte.
        E4m3x2 = "e4m3x2",
        /// Two `e5m2` in 16 bits, element 0 in the low byte.
        E5m2x2 = "e5m2x2",
        /// Unsigned 4 bits, operand of an `mma` only.
        U4 = "u4",
        /// Two's complement 4 bits, operand of an `mma` only.
        S4 = "s4",
        /// 19-bit float kept in the high bits of 32.
        Tf32 = "tf32",
        /// IEEE binary32.
        F32 = "f32",
        /// IEEE binary64.
        F64 = "f64",
    }
}

/// What the bits of a type mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeKind {
    /// One bit a thread.
    Predicate,
    /// Untyped bits.
    Bits,
    /// Unsigned integer.
    Unsigned,
    /// Two's complement integer.
    Signed,
    /// A float, or a pair of them.
    Float,
}

impl ScalarType {
    /// Width in bits; 1 for a predicate.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::U4 | Self::S4 => 4,
            Self::B8 | Self::U8 | Self::S8 | Self::E4m3 | Self::E5m2 => 8,
            Self::B16
            | Self::U16
            | Self::S16
            | Self::F16
            | Self::Bf16
            | Self::E4m3x2
            | Self::E5m2x2 => 16,
            Self::B32
            | Self::U32
            | Self::S32
            | Self::F16x2
            | Self::Bf16x2
            | Self::Tf32
            | Self::F32 => 32,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => 64,
        }
    }

    /// Size in memory; a predicate cannot be stored and counts as 1.
    pub const fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// What the bits mean.
    pub const fn kind(self) -> TypeKind {
        match self {
            Self::Pred => TypeKind::Predicate,
            Self::B8 | Self::B16 | Self::B32 | Self::B64 => TypeKind::Bits,
            Self::U4 | Self::U8 | Self::U16 | Self::U32 | Self::U64 => TypeKind::Unsigned,
            Self::S4 | Self::S8 | Self::S16 | Self::S32 | Self::S64 => TypeKind::Signed,
            Self::E4m3
            | Self::E5m2
            | Self::E4m3x2
            | Self::E5m2x2
            | Self::F16
            | Self::F16x2
            | Self::Bf16
            | Self::Bf16x2
            | Self::Tf32
            | Self::F32
            | Self::F64 => TypeKind::Float,
        }
    }

    /// All ones in the low [`bits`](Self::bits) bits.
    pub const fn mask(self) -> u64 {
        match self {
            Self::Pred => 1,
            Self::U4 | Self::S4 => 0xf,
            Self::B8 | Self::U8 | Self::S8 | Self::E4m3 | Self::E5m2 => 0xff,
            Self::B16
            | Self::U16
            | Self::S16
            | Self::F16
            | Self::Bf16
            | Self::E4m3x2
            | Self::E5m2x2 => 0xffff,
            Self::B32
            | Self::U32
            | Self::S32
            | Self::F16x2
            | Self::Bf16x2
            | Self::Tf32
            | Self::F32 => 0xffff_ffff,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => u64::MAX,
        }
    }
}

spelled! {
    /// A register the machine fills in (PTX ISA 10).
    SpecialRegister {
        /// Index of the thread in its CTA.
        TidX = "%tid.x",
        /// Index of the thread in its CTA.
        TidY = "%tid.y",
        /// Index of the thread in its CTA.
        TidZ = "%tid.z",
        /// Threads of a CTA.
        NtidX = "%ntid.x",
        /// Threads of a CTA.
        NtidY = "%ntid.y",
        /// Threads of a CTA.
        NtidZ = "%ntid.z",
        /// Index of the CTA in the grid.
        CtaidX = "%ctaid.x",
        /// Index of the CTA in the grid.
        CtaidY = "%ctaid.y",
        /// Index of the CTA in the grid.
        CtaidZ = "%ctaid.z",
        /// CTAs of the grid.
        NctaidX = "%nctaid.x",
        /// CTAs of the grid.
        NctaidY = "%nctaid.y",
        /// CTAs of the grid.
        NctaidZ = "%nctaid.z",
        /// Lane within the warp, 0 to 31.
        Laneid = "%laneid",
        /// Warp within the CTA.
        Warpid = "%warpid",
        /// Most warps that a CTA can have here.
        Nwarpid = "%nwarpid",
        /// Multiprocessor the thread runs on.
        Smid = "%smid",
        /// Most multiprocessors there can be.
        Nsmid = "%nsmid",
        /// Launch number.
        Gridid = "%gridid",
        /// Bit of this lane.
        LanemaskEq = "%lanemask_eq",
        /// Bits of lanes up to this one.
        LanemaskLe = "%lanemask_le",
        /// Bits of lanes before this one.
        LanemaskLt = "%lanemask_lt",
        /// Bits of lanes from this one.
        LanemaskGe = "%lanemask_ge",
        /// Bits of lanes after this one.
        LanemaskGt = "%lanemask_gt",
        /// Cycle counter, low 32 bits.
        Clock = "%clock",
        /// Cycle counter, high 32 bits.
        ClockHi = "%clock_hi",
        /// Cycle counter.
        Clock64 = "%clock64",
        /// Nanoseconds.
        Globaltimer = "%globaltimer",
        /// Nanoseconds, low 32 bits.
        GlobaltimerLo = "%globaltimer_lo",
        /// Nanoseconds, high 32 bits.
        GlobaltimerHi = "%globaltimer_hi",
        /// Bytes of shared memory asked for at launch.
        DynamicSmemSize = "%dynamic_smem_size",
        /// Bytes of shared memory in all.
        TotalSmemSize = "%total_smem_size",
        /// Cluster in x.
        ClusteridX = "%clusterid.x",
        /// Cluster in y.
        ClusteridY = "%clusterid.y",
        /// Cluster in z.
        ClusteridZ = "%clusterid.z",
        /// Clusters in x.
        NclusteridX = "%nclusterid.x",
        /// Clusters in y.
        NclusteridY = "%nclusterid.y",
        /// Clusters in z.
        NclusteridZ = "%nclusterid.z",
        /// CTA in its cluster in x.
        ClusterCtaidX = "%cluster_ctaid.x",
        /// CTA in its cluster in y.
        ClusterCtaidY = "%cluster_ctaid.y",
        /// CTA in its cluster in z.
        ClusterCtaidZ = "%cluster_ctaid.z",
        /// CTAs of a cluster in x.
        ClusterNctaidX = "%cluster_nctaid.x",
        /// CTAs of a cluster in y.
        ClusterNctaidY = "%cluster_nctaid.y",
        /// CTAs of a cluster in z.
        ClusterNctaidZ = "%cluster_nctaid.z",
        /// Rank of the CTA in its cluster.
        ClusterCtarank = "%cluster_ctarank",
        /// CTAs of a cluster.
        ClusterNctarank = "%cluster_nctarank",
    }
}

impl SpecialRegister {
    /// Width of the value: 64 bits for `%gridid`, `%clock64` and `%globaltimer`, else 32.
    pub fn bits(self) -> u32 {
        if matches!(self, Self::Gridid | Self::Clock64 | Self::Globaltimer) {
            64
        } else {
            32
        }
    }
}

spelled! {
    /// State space of an access; `Generic` where the instruction names none.
    Space {
        /// A generic address: the window it lies in says which space.
        Generic = "generic",
        /// Device memory.
        Global = "global",
        /// Memory of a CTA; also spelled `shared::cta`.
        Shared = "shared",
        /// Memory of a thread.
        Local = "local",
        /// Read-only constant bank.
        Const = "const",
        /// Kernel parameters.
        Param = "param",
    }
}

spelled! {
    /// Rounding of a float result.
    Rounding {
        /// To nearest, ties to even.
        NearestEven = "rn",
        /// Towards zero.
        Zero = "rz",
        /// Towards minus infinity.
        Down = "rm",
        /// Towards plus infinity.
        Up = "rp",
        /// To nearest, ties away from zero.
        NearestAway = "rna",
    }
}

spelled! {
    /// Rounding to an integer value.
    IntegerRounding {
        /// To nearest, ties to even.
        NearestEven = "rni",
        /// Towards zero.
        Zero = "rzi",
        /// Towards minus infinity.
        Down = "rmi",
        /// Towards plus infinity.
        Up = "rpi",
    }
}

spelled! {
    /// Comparison of `setp` (PTX ISA 9.3): ordered float comparisons are false when an operand is NaN, the `u`
    /// forms are true.
    Compare {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
        /// Unsigned lower.
        Lo = "lo",
        /// Unsigned lower or same.
        Ls = "ls",
        /// Unsigned higher.
        Hi = "hi",
        /// Unsigned higher or same.
        Hs = "hs",
        /// Equal or unordered.
        Equ = "equ",
        /// Not equal or unordered.
        Neu = "neu",
        /// Less or unordered.
        Ltu = "ltu",
        /// Less, equal or unordered.
        Leu = "leu",
        /// Greater or unordered.
        Gtu = "gtu",
        /// Greater, equal or unordered.
        Geu = "geu",
        /// Neither operand is NaN.
        Num = "num",
        /// An operand is NaN.
        Nan = "nan",
    }
}

spelled! {
    /// Combines the comparison of `setp` with a predicate, or predicates across a barrier.
    BoolOp {
        /// Conjunction.
        And = "and",
        /// Disjunction.
        Or = "or",
        /// Exclusive disjunction.
        Xor = "xor",
    }
}

spelled! {
    /// Threads among which an order or an atomicity holds.
    Scope {
        /// The CTA.
        Cta = "cta",
        /// The cluster.
        Cluster = "cluster",
        /// The device.
        Gpu = "gpu",
        /// The system.
        Sys = "sys",
    }
}

spelled! {
    /// Cache operator of a load or store.
    CacheOperator {
        /// All levels.
        Ca = "ca",
        /// Level 2 only.
        Cg = "cg",
        /// Streaming.
        Cs = "cs",
        /// Last use.
        Lu = "lu",
        /// Do not cache.
        Cv = "cv",
        /// Write back.
        Wb = "wb",
        /// Write through.
        Wt = "wt",
    }
}

spelled! {
    /// Level 1 eviction priority.
    Eviction {
        /// Normal.
        Normal = "L1::evict_normal",
        /// Unchanged.
        Unchanged = "L1::evict_unchanged",
        /// First.
        First = "L1::evict_first",
        /// Last.
        Last = "L1::evict_last",
        /// No allocation.
        NoAllocate = "L1::no_allocate",
    }
}

spelled! {
    /// How much to prefetch into level 2.
    Prefetch {
        /// 64 bytes.
        L64 = "L2::64B",
        /// 128 bytes.
        L128 = "L2::128B",
        /// 256 bytes.
        L256 = "L2::256B",
    }
}

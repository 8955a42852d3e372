//! Instructions of the asynchronous family that Hopper kernels are built from: mbarriers, bulk and tensor copies,
//! warpgroup matrix products, and the few around them.
//!
//! They hang on one variant of `Op`; each match on [`Sm90`] names every variant, so a new one does not compile until it
//! is parsed, printed, walked and executed. Fields are named as the PTX ISA names operands.

use super::opcode::Opcode;
use super::operand::{Address, Operand, RegisterId};
use super::scalar::{ScalarType, Scope, Space, spelled};

spelled! {
    /// What a bulk reduction does to each element of its destination.
    BulkReduction {
        /// Sum.
        Add = "add",
        /// Smaller.
        Min = "min",
        /// Larger.
        Max = "max",
        /// Wrapping increment.
        Inc = "inc",
        /// Wrapping decrement.
        Dec = "dec",
        /// Bits of both.
        And = "and",
        /// Bits of either.
        Or = "or",
        /// Bits that differ.
        Xor = "xor",
    }
}

spelled! {
    /// Format of the operands of a `wgmma`.
    WgmmaType {
        /// IEEE binary16.
        F16 = "f16",
        /// bfloat16.
        Bf16 = "bf16",
        /// f32 with a fraction of 10 bits, in 32.
        Tf32 = "tf32",
        /// Four exponent bits, three fraction bits.
        E4m3 = "e4m3",
        /// Five exponent bits, two fraction bits.
        E5m2 = "e5m2",
    }
}

impl WgmmaType {
    /// Bytes of an element.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::Tf32 => 4,
            Self::E4m3 | Self::E5m2 => 1,
        }
    }
}

/// Memory order of an mbarrier operation; release or acquire at CTA scope where nothing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MbarrierOrder {
    /// `.relaxed`: orders no other accesses.
    pub relaxed: bool,
    /// `.cluster` scope.
    pub cluster: bool,
}

/// What an `mbarrier.arrive` does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArriveKind {
    /// `count` arrivals (1 where `None`).
    Count(Option<Operand>),
    /// `.expect_tx`: the phase also waits for so many bytes; one arrival.
    ExpectTx(Operand),
    /// `.noComplete`: so many arrivals, which may not complete the phase.
    NoComplete(Operand),
}

/// `mbarrier.arrive`, `mbarrier.arrive_drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MbarrierArrive {
    /// `arrive_drop`: later phases expect as many arrivals less.
    pub drop: bool,
    /// Count or bytes.
    pub kind: ArriveKind,
    /// Memory order.
    pub order: MbarrierOrder,
    /// The address is one of the cluster's; no state is returned then.
    pub remote: bool,
    /// State of the phase before; `None` for `_` and for the cluster form.
    pub state: Option<RegisterId>,
    /// The mbarrier.
    pub address: Address,
}

/// `mbarrier.test_wait`, `mbarrier.try_wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MbarrierWait {
    /// `try_wait`: may wait for some time.
    pub blocking: bool,
    /// `phase` is a parity, not a state.
    pub parity: bool,
    /// Memory order.
    pub order: MbarrierOrder,
    /// True if the phase is complete.
    pub d: RegisterId,
    /// The mbarrier.
    pub address: Address,
    /// 64 bits of state, or 32 bits of parity.
    pub phase: Operand,
    /// Nanoseconds a `try_wait` may wait.
    pub hint: Option<Operand>,
}

/// Tensor map and coordinates of a tensor copy, innermost dimension first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorPlace {
    /// Generic address of the 128-byte map.
    pub map: Address,
    /// One to five signed 32-bit coordinates.
    pub coordinates: Vec<Operand>,
}

/// Operand A of a `wgmma`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WgmmaA {
    /// Matrix descriptor.
    Shared(Operand),
    /// Four registers of each thread.
    Registers(Vec<RegisterId>),
}

/// `wgmma.mma_async.sync.aligned.m64nNkK.D.A.B`: each warp of a warpgroup computes 16 of the 64 rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wgmma {
    /// Columns: 8 to 256 in steps of 8.
    pub n: u32,
    /// `f16` or `f32`.
    pub d_type: ScalarType,
    /// Format of A.
    pub a_type: WgmmaType,
    /// Format of B: that of A, but the two 8-bit formats mix.
    pub b_type: WgmmaType,
    /// Accumulator and result.
    pub d: Vec<RegisterId>,
    /// A.
    pub a: WgmmaA,
    /// Matrix descriptor of B.
    pub b: Operand,
    /// Predicate: the accumulator counts; else it is taken as zero.
    pub scale_d: Operand,
    /// A is multiplied by -1.
    pub negate_a: bool,
    /// B is multiplied by -1.
    pub negate_b: bool,
    /// A lies M-major in shared memory.
    pub transpose_a: bool,
    /// B lies N-major in shared memory.
    pub transpose_b: bool,
}

impl Wgmma {
    /// Depth of the product: 32 bytes of elements.
    pub const fn k(&self) -> u32 {
        32 / self.a_type.bytes()
    }
}

/// An instruction of the family.
#[expect(
    missing_docs,
    reason = "fields are named as the ISA names operands; each variant states what differs"
)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sm90 {
    /// `mbarrier.init`: phase 0 waits for `count` arrivals.
    MbarrierInit { address: Address, count: Operand },
    /// `mbarrier.inval`.
    MbarrierInvalidate { address: Address },
    /// `mbarrier.expect_tx`, or `complete_tx`: more, or fewer, bytes to wait for.
    MbarrierTx {
        complete: bool,
        address: Address,
        bytes: Operand,
    },
    /// `mbarrier.arrive`, `arrive_drop`.
    MbarrierArrive(MbarrierArrive),
    /// `mbarrier.test_wait`, `try_wait`.
    MbarrierWait(MbarrierWait),
    /// `mbarrier.pending_count`: arrivals that were pending when `state` was made.
    MbarrierPending { d: RegisterId, state: Operand },
    /// `cp.async.mbarrier.arrive{.noinc}`: an arrival once the thread's `cp.async` so far have landed.
    CpAsyncArrive {
        no_increment: bool,
        address: Address,
    },
    /// `cp.async.bulk` from global to shared memory.
    BulkLoad {
        d: Address,
        s: Address,
        bytes: Operand,
        mbarrier: Address,
        policy: Option<Operand>,
    },
    /// `cp.async.bulk`, `cp.reduce.async.bulk` from shared to global memory.
    BulkStore {
        reduce: Option<(BulkReduction, ScalarType)>,
        d: Address,
        s: Address,
        bytes: Operand,
        policy: Option<Operand>,
    },
    /// `cp.async.bulk.prefetch.L2`: no effect on values.
    BulkPrefetch {
        s: Address,
        bytes: Operand,
        policy: Option<Operand>,
    },
    /// `cp.async.bulk.tensor` from global to shared memory, tile mode.
    TensorLoad {
        d: Address,
        place: TensorPlace,
        mbarrier: Address,
        policy: Option<Operand>,
    },
    /// `cp.async.bulk.tensor`, `cp.reduce.async.bulk.tensor` from shared to global memory, tile mode.
    TensorStore {
        reduce: Option<BulkReduction>,
        place: TensorPlace,
        s: Address,
        policy: Option<Operand>,
    },
    /// `cp.async.bulk.prefetch.tensor`: no effect on values.
    TensorPrefetch {
        place: TensorPlace,
        policy: Option<Operand>,
    },
    /// `cp.async.bulk.commit_group`.
    BulkCommit,
    /// `cp.async.bulk.wait_group{.read}`: at most `groups` are pending, or (`read`) still read their source.
    BulkWait { groups: u32, read: bool },
    /// `fence.proxy.async`: orders generic and async accesses of `space` (all, where `None`).
    FenceProxyAsync { space: Option<Space> },
    /// `fence.mbarrier_init.release.cluster`.
    FenceMbarrierInit,
    /// `prefetch.tensormap`: no effect on values.
    PrefetchTensorMap { space: Space, address: Address },
    /// `wgmma.fence`.
    WgmmaFence,
    /// `wgmma.commit_group`.
    WgmmaCommit,
    /// `wgmma.wait_group`.
    WgmmaWait { groups: u32 },
    /// `wgmma.mma_async`.
    Wgmma(Wgmma),
    /// `setmaxnreg.{inc,dec}`.
    SetMaxRegisters { increase: bool, count: u32 },
    /// `elect.sync`: `p` holds in one lane of `mask`, whose number is `d`.
    Elect {
        d: Option<RegisterId>,
        p: RegisterId,
        mask: Operand,
    },
    /// `griddepcontrol.{wait,launch_dependents}`: one grid runs at a time.
    GridDependency { launch_dependents: bool },
    /// `barrier.cluster.arrive`; release unless `relaxed`.
    ClusterArrive { relaxed: bool, aligned: bool },
    /// `barrier.cluster.wait`.
    ClusterWait { aligned: bool },
    /// `mapa`: the address of `a` in the CTA of that rank. `space` is shared or generic.
    Mapa {
        space: Space,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        rank: Operand,
    },
}

impl Sm90 {
    /// First word of the canonical spelling.
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::MbarrierInit { .. }
            | Self::MbarrierInvalidate { .. }
            | Self::MbarrierTx { .. }
            | Self::MbarrierArrive(_)
            | Self::MbarrierWait(_)
            | Self::MbarrierPending { .. } => Opcode::Mbarrier,
            Self::CpAsyncArrive { .. }
            | Self::BulkLoad { .. }
            | Self::BulkStore { .. }
            | Self::BulkPrefetch { .. }
            | Self::TensorLoad { .. }
            | Self::TensorStore { .. }
            | Self::TensorPrefetch { .. }
            | Self::BulkCommit
            | Self::BulkWait { .. } => Opcode::Cp,
            Self::FenceProxyAsync { .. } | Self::FenceMbarrierInit => Opcode::Fence,
            Self::PrefetchTensorMap { .. } => Opcode::Prefetch,
            Self::WgmmaFence | Self::WgmmaCommit | Self::WgmmaWait { .. } | Self::Wgmma(_) => {
                Opcode::Wgmma
            }
            Self::SetMaxRegisters { .. } => Opcode::Setmaxnreg,
            Self::Elect { .. } => Opcode::Elect,
            Self::GridDependency { .. } => Opcode::Griddepcontrol,
            Self::ClusterArrive { .. } | Self::ClusterWait { .. } => Opcode::Barrier,
            Self::Mapa { .. } => Opcode::Mapa,
        }
    }
}

impl MbarrierOrder {
    /// Spelling with its dots, where it is not the default.
    pub(super) fn text(self, default: &str) -> String {
        let scope = if self.cluster {
            Scope::Cluster
        } else {
            Scope::Cta
        };
        match (self.relaxed, self.cluster) {
            (false, false) => String::new(),
            (false, true) => format!(".{default}.{scope}"),
            (true, _) => format!(".relaxed.{scope}"),
        }
    }
}

//! One enum of instructions, with operands resolved.
//!
//! A match on [`Op`] names every variant, so a new instruction does not compile until it is parsed, printed, walked
//! (`ptx::walk`) and executed. Fields are named as the PTX ISA names operands: `d` the destination, `a`, `b`, `c` the
//! sources in order. The parser has checked widths: a register operand has the width of the instruction's type,
//! except where PTX says otherwise (`ld`, `st` and `cvt` take wider registers, `wide` results are twice as wide).

use super::operand::{Address, CacheHints, InstructionId, Operand, Predicate, RegisterId};
use super::operation::{
    Accuracy, AtomicOp, AtomicOrdering, BarrierReduction, BitOp, CvtRounding, DotShape,
    FloatBinary, FloatProperty, FloatUnary, FunnelDirection, FunnelMode, IntegerBinary,
    IntegerUnary, LogicOp, MatchMode, MathFunction, MembarLevel, MmaShape, Ordering, PolicyKind,
    PrmtMode, ProductHalf, ProductPart, ReduxOp, ShiftDirection, ShuffleMode, VoteMode,
};
use super::scalar::{BoolOp, CacheOperator, Compare, Prefetch, Rounding, ScalarType, Scope, Space};

/// An `mma.sync.aligned.SHAPE.row.col.D.A.B.C`. Register counts: A holds `m k` elements over 32 lanes, B `8 k`, C and
/// D `8 m`, packed into 32-bit registers (an f32 or s32 element fills one); an f64 element fills a 64-bit register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mma {
    /// Tile.
    pub shape: MmaShape,
    /// `.satfinite`: integer sums are clamped instead of wrapped.
    pub saturate: bool,
    /// Type of the result: `f16`, `f32`, `f64` or `s32`.
    pub d_type: ScalarType,
    /// Type of A: `f16`, `bf16`, `tf32`, `e4m3`, `e5m2`, `f64`, or an integer of 4 or 8 bits.
    pub a_type: ScalarType,
    /// Type of B: that of A, but for integers of either sign and for the two 8-bit floats.
    pub b_type: ScalarType,
    /// Type of the accumulator: that of D.
    pub c_type: ScalarType,
    /// Result.
    pub d: Vec<RegisterId>,
    /// A fragment.
    pub a: Vec<RegisterId>,
    /// B fragment.
    pub b: Vec<RegisterId>,
    /// Accumulator; immediates are allowed (zeros).
    pub c: Vec<Operand>,
}

/// A `call{.uni} (results), function, (arguments)`. Parameters and results are variables of `.param` space of the caller,
/// or registers and immediates where the callee declares registers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// True for `.uni`.
    pub uniform: bool,
    /// Index into `Module::functions`.
    pub function: u32,
    /// Where the results go, in order.
    pub results: Vec<Operand>,
    /// The arguments, in order.
    pub arguments: Vec<Operand>,
}

/// What an instruction does.
#[expect(
    missing_docs,
    reason = "fields are named as the ISA names operands; each variant states what differs"
)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `add`, `sub`, `mul`, `div`, `rem`, `min`, `max` on integers. `saturate` (`add`, `sub` of `s32` only).
    IntegerBinary {
        operation: IntegerBinary,
        saturate: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },
    /// `neg`, `abs` on integers.
    IntegerUnary {
        operation: IntegerUnary,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
    },
    /// `mad.{lo,hi,wide}`: a part of `a * b`, plus `c`.
    Mad {
        part: ProductPart,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `and`, `or`, `xor`, predicates included.
    Logic {
        operation: LogicOp,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },
    /// `not`, predicates included.
    Not {
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
    },
    /// `shl`, `shr`: `b` is 32 bits whatever the type.
    Shift {
        direction: ShiftDirection,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },
    /// `shf.{l,r}.{clamp,wrap}.b32`: shifts `b:a` (`b` high) by `c`.
    FunnelShift {
        direction: FunnelDirection,
        mode: FunnelMode,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `lop3.b32`: bit `4 a + 2 b + c` of `table`.
    Lop3 {
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
        table: u8,
    },
    /// `prmt.b32`: bytes of `b:a` picked by `c`.
    Prmt {
        mode: Option<PrmtMode>,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `bfe`: `c` bits of `a` from bit `b`, sign-extended for signed types. `b` and `c` are 32 bits (low 8 count).
    BitFieldExtract {
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `bfi d, a, b, c, length`: the low `length` bits of `a` put into `b` at bit `c`. `c`, `length` are 32 bits.
    BitFieldInsert {
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
        length: Operand,
    },
    /// `popc`, `clz`, `brev`.
    Bits {
        operation: BitOp,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
    },
    /// `bfind`: index of the highest bit that differs from the sign (or of the highest one), 32 bits, all ones where
    /// none; with `shift_amount`, how far left that bit would have to move instead.
    BitFind {
        shift_amount: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
    },

    /// `add`, `sub` with the carry flag of the thread: `add.cc`, `addc{.cc}`, `sub.cc`, `subc{.cc}`.
    AddCarry {
        subtract: bool,
        carry_in: bool,
        carry_out: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },
    /// `mad.{lo,hi}.cc`, `madc.{lo,hi}{.cc}`: the sum with `c` takes or gives the carry flag.
    MadCarry {
        part: ProductPart,
        carry_in: bool,
        carry_out: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `mul24`, or `mad24` with `c`: the product of the low 24 bits. `saturate` (`mad24.hi.sat.s32` only).
    Product24 {
        half: ProductHalf,
        saturate: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Option<Operand>,
    },
    /// `sad`: `c + |a - b|`.
    AbsoluteDifference {
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `dp4a`, `dp2a`: products of the parts of `a` and `b`, each signed or not, plus `c`.
    Dot {
        shape: DotShape,
        a_type: ScalarType,
        b_type: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `lop3.{or,and}.b32 d|p, a, b, c, table, q`: as `lop3`, and `p = (d != 0) op q`.
    Lop3Predicate {
        operation: BoolOp,
        d: Option<RegisterId>,
        p: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
        table: u8,
        q: Predicate,
    },

    /// `set`: as `setp`, but `d` is all ones or 1.0 for true, and zero for false.
    Set {
        compare: Compare,
        combine: Option<(BoolOp, Predicate)>,
        flush: bool,
        to: ScalarType,
        from: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },
    /// `slct`: `c >= 0 ? a : b`, `c` of type `select` (`s32` or `f32`); NaN picks `b`.
    Slct {
        flush: bool,
        ty: ScalarType,
        select: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `testp`: a property of a float.
    TestProperty {
        property: FloatProperty,
        ty: ScalarType,
        p: RegisterId,
        a: Operand,
    },
    /// `copysign`: the sign of `a` with the magnitude of `b`.
    CopySign {
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },
    /// `isspacep`: whether a generic address lies in the window of `space`.
    IsSpace {
        space: Space,
        p: RegisterId,
        a: Operand,
    },
    /// `setp`: `p = (a cmp b) boolop c`, `q = !(a cmp b) boolop c`. For `f16x2` and `bf16x2`, `p` is for element 0
    /// and `q` for element 1.
    Setp {
        compare: Compare,
        combine: Option<(BoolOp, Predicate)>,
        flush: bool,
        ty: ScalarType,
        p: Option<RegisterId>,
        q: Option<RegisterId>,
        a: Operand,
        b: Operand,
    },
    /// `selp`: `c ? a : b`.
    Selp {
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: RegisterId,
    },

    /// `mov` of one value: register, immediate, special register or address of a symbol.
    Mov {
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
    },
    /// `mov.bN d, {a0, a1, ..}`: element 0 in the low bits.
    Pack {
        ty: ScalarType,
        d: RegisterId,
        a: Vec<Operand>,
    },
    /// `mov.bN {d0, d1, ..}, a`; `None` for `_`.
    Unpack {
        ty: ScalarType,
        d: Vec<Option<RegisterId>>,
        a: Operand,
    },
    /// `cvt.D.S`. `saturate` clamps to `[0, 1]`, or to the range of an integer; `finite` (`.satfinite`) gives the largest
    /// finite number in place of infinity.
    Cvt {
        rounding: Option<CvtRounding>,
        flush: bool,
        saturate: bool,
        finite: bool,
        relu: bool,
        to: ScalarType,
        from: ScalarType,
        d: RegisterId,
        a: Operand,
    },
    /// `cvt.{rn,rz}.{f16x2,bf16x2,e4m3x2,e5m2x2}.f32 d, a, b`: `a` goes to the high half, `b` to the low one.
    CvtPair {
        rounding: Rounding,
        relu: bool,
        finite: bool,
        to: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },
    /// `cvt.rn{.satfinite}{.relu}` between a pair of 8-bit floats and a pair of halves, element by element.
    CvtPacked {
        relu: bool,
        finite: bool,
        to: ScalarType,
        from: ScalarType,
        d: RegisterId,
        a: Operand,
    },
    /// `cvta`: address in `space` to generic, or back with `to_space`. `ty` is `u32` or `u64`.
    Cvta {
        to_space: bool,
        space: Space,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
    },

    /// `ld`: 1, 2 or 4 elements of `ty`; `None` for `_`. Registers may be wider than `ty`: sign- or zero-extended.
    Ld {
        ordering: Ordering,
        space: Space,
        non_coherent: bool,
        hints: CacheHints,
        ty: ScalarType,
        d: Vec<Option<RegisterId>>,
        address: Address,
    },
    /// `st`: 1, 2 or 4 elements of `ty`, the low bits of wider registers.
    St {
        ordering: Ordering,
        space: Space,
        hints: CacheHints,
        ty: ScalarType,
        address: Address,
        a: Vec<Operand>,
    },
    /// `prefetch`: no effect on values. `level` is 1 or 2.
    PrefetchLine {
        space: Space,
        level: u8,
        address: Address,
    },
    /// `atom`, or `red` where `d` is `None`; relaxed at `gpu` scope unless written. `c` only for `cas`.
    Atomic {
        ordering: AtomicOrdering,
        scope: Scope,
        space: Space,
        operation: AtomicOp,
        ty: ScalarType,
        d: Option<RegisterId>,
        address: Address,
        b: Operand,
        c: Option<Operand>,
    },

    /// `add`, `sub`, `mul`, `min`, `max` on floats. Without `rounding` the result is rounded to nearest even, and a
    /// compiler may fuse it. `nan`: `min`, `max` give NaN if an operand is. `xorsign`: `min`, `max` of the magnitudes, with
    /// the exclusive or of the signs.
    FloatBinary {
        operation: FloatBinary,
        rounding: Option<Rounding>,
        flush: bool,
        saturate: bool,
        nan: bool,
        xorsign: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },
    /// `fma`: `a * b + c`, one rounding.
    Fma {
        rounding: Rounding,
        flush: bool,
        saturate: bool,
        relu: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `neg`, `abs` on floats.
    FloatUnary {
        operation: FloatUnary,
        flush: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
    },
    /// `ex2`, `lg2`, `rcp`, `sqrt`, `rsqrt`, `sin`, `cos`, `tanh`.
    Math {
        function: MathFunction,
        accuracy: Accuracy,
        flush: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
    },
    /// `div` on floats.
    FloatDiv {
        accuracy: Accuracy,
        flush: bool,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        b: Operand,
    },

    /// `shfl.sync.MODE.b32 d|p, a, b, c, mask`: `p` says whether the source lane was in range.
    Shfl {
        mode: ShuffleMode,
        d: RegisterId,
        p: Option<RegisterId>,
        a: Operand,
        b: Operand,
        c: Operand,
        mask: Operand,
    },
    /// `vote.sync`: `d` is a predicate, or 32 bits for `ballot`.
    Vote {
        mode: VoteMode,
        d: RegisterId,
        a: Predicate,
        mask: Operand,
    },
    /// `redux.sync`.
    Redux {
        operation: ReduxOp,
        ty: ScalarType,
        d: RegisterId,
        a: Operand,
        mask: Operand,
    },
    /// `activemask.b32`.
    ActiveMask { d: RegisterId },
    /// `match.sync`: `p` (`all` only) says whether all lanes have the same value.
    Match {
        mode: MatchMode,
        ty: ScalarType,
        d: RegisterId,
        p: Option<RegisterId>,
        a: Operand,
        mask: Operand,
    },
    /// `nanosleep.u32`: a hint, no effect on values.
    Nanosleep { a: Operand },
    /// `createpolicy`: an opaque 64-bit cache policy. `arguments` is everything after the destination.
    CreatePolicy {
        kind: PolicyKind,
        d: RegisterId,
        arguments: Vec<Operand>,
    },

    /// `bar.sync` (`aligned`), `barrier.sync`: waits for `threads` threads (all, where `None`).
    BarrierSync {
        aligned: bool,
        barrier: Operand,
        threads: Option<Operand>,
    },
    /// `bar.arrive`, `barrier.arrive`: does not wait.
    BarrierArrive {
        aligned: bool,
        barrier: Operand,
        threads: Operand,
    },
    /// `bar.red`, `barrier.red`.
    BarrierRed {
        aligned: bool,
        reduction: BarrierReduction,
        d: RegisterId,
        barrier: Operand,
        threads: Option<Operand>,
        a: Predicate,
    },
    /// `bar.warp.sync`.
    WarpSync { mask: Operand },
    /// `membar`.
    Membar { level: MembarLevel },
    /// `fence.{sc,acq_rel}.SCOPE`.
    Fence { sequential: bool, scope: Scope },

    /// `cp.async.{ca,cg}.shared.global [d], [s], bytes{, source_bytes | , ignore}`: 4, 8 or 16 bytes (`cg`: 16); bytes
    /// beyond `source_bytes` are written as zero, and so are all where `ignore` holds.
    CpAsync {
        operator: CacheOperator,
        prefetch: Option<Prefetch>,
        bytes: u8,
        source_bytes: Option<Operand>,
        ignore: Option<Predicate>,
        policy: Option<Operand>,
        d: Address,
        s: Address,
    },
    /// `cp.async.commit_group`.
    CpAsyncCommit,
    /// `cp.async.wait_group N`: waits until at most `groups` of this thread's newest groups are pending.
    CpAsyncWait { groups: u32 },
    /// `cp.async.wait_all`.
    CpAsyncWaitAll,

    /// `ldmatrix.sync.aligned.m8n8.xN{.trans}.shared.b16`: `d.len()` is 1, 2 or 4; `space` is shared or generic.
    LdMatrix {
        transposed: bool,
        space: Space,
        d: Vec<RegisterId>,
        address: Address,
    },
    /// `stmatrix.sync.aligned.m8n8.xN{.trans}.shared.b16`.
    StMatrix {
        transposed: bool,
        space: Space,
        address: Address,
        a: Vec<RegisterId>,
    },
    /// `movmatrix.sync.aligned.m8n8.trans.b16`: the transpose of an 8 x 8 matrix of halves over the lanes.
    MovMatrix { d: RegisterId, a: Operand },
    /// `mma.sync`.
    Mma(Box<Mma>),

    /// `bra`: `uniform` promises that all active threads branch alike.
    Bra {
        uniform: bool,
        target: InstructionId,
    },
    /// `brx.idx`: to the label of a `.branchtargets` list that `index` counts; `list` is an index into
    /// `Function::branch_lists`.
    BranchIndexed {
        uniform: bool,
        index: Operand,
        list: u32,
    },
    /// `call`: of the function at that index of `Module::functions`.
    Call(Box<Call>),
    /// `ret`.
    Ret,
    /// `exit`.
    Exit,
    /// `trap`.
    Trap,
    /// `wmma`: matrices to and from fragments, and their products.
    Wmma(Box<super::wmma::Wmma>),
    /// The asynchronous family of Hopper: mbarriers, bulk copies, `wgmma`.
    Sm90(Box<super::sm90::Sm90>),
}

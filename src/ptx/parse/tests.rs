//! Every form that is read, what is refused, and that no text makes the parser panic.

mod programs;
mod refused;

use super::parse;
use crate::ptx::{Module, Op, Operand, Symbol, print};
use proptest::prelude::*;

const HEAD: &str = ".version 9.0\n.target sm_80\n.address_size 64\n";

/// An entry with one register bank a width, a parameter and shared memory.
fn entry(code: &str) -> String {
    format!(
        "{HEAD}.extern .shared .align 16 .b8 smem[];\n.visible .entry k(\n.param .u64 k_param_0,\n.param .u32 k_param_1)\n\
         {{\n.reg .pred %p<8>;\n.reg .b16 %h<8>;\n.reg .b32 %r<32>;\n.reg .f32 %f<8>;\n.reg .b64 %d<8>;\n\
         .local .align 8 .b8 depot[16];\nLEFT:\n{code}\nRIGHT:\nret;\n}}\n"
    )
}

fn read(code: &str) -> Module {
    parse("test.ptx", &entry(code)).unwrap_or_else(|error| panic!("{error}: {code}"))
}

/// The statement comes back as `canonical`, and the whole program as itself.
#[track_caller]
fn check(statement: &str, canonical: &str) {
    let module = read(statement);
    let function = &module.functions[0];
    assert_eq!(
        crate::ptx::statement(&module, function, &function.instructions[0]),
        canonical
    );
    let text = print(&module);
    assert_eq!(parse("test.ptx", &text).as_ref(), Ok(&module), "{text}");
}

/// Statements that are their own canonical spelling.
const CANONICAL: &str = "
add.s32 %r1, %r2, -1;
add.sat.s32 %r1, %r2, %r3;
sub.u64 %d1, %d2, 18446744073709551615;
add.s16 %h1, %h2, -32768;
mul.lo.s32 %r1, %r2, %r3;
mul.hi.u64 %d1, %d2, %d3;
mul.wide.s32 %d1, %r2, 4;
mul.wide.u16 %r1, %h2, %h3;
mad.lo.s32 %r1, %r2, %r3, %r4;
mad.hi.u32 %r1, %r2, %r3, %r4;
mad.wide.s32 %d1, %r2, %r3, -8;
mad.wide.u32 %d1, %r2, %r3, %d4;
div.s32 %r1, %r2, 3;
rem.u64 %d1, %d2, %d3;
min.s32 %r1, %r2, %r3;
max.u16 %h1, %h2, %h3;
neg.s32 %r1, %r2;
abs.s64 %d1, %d2;
and.b32 %r1, %r2, 4294967295;
or.pred %p1, %p2, %p3;
xor.b64 %d1, %d2, %d3;
and.b16 %h1, %h2, 255;
not.pred %p1, %p2;
not.b32 %r1, %r2;
shl.b32 %r1, %r2, 6;
shr.s64 %d1, %d2, %r3;
shr.u32 %r1, %r2, 31;
shf.l.wrap.b32 %r1, %r2, %r3, 3;
shf.r.clamp.b32 %r1, %r2, %r3, %r4;
lop3.b32 %r1, %r2, %r3, %r4, 150;
prmt.b32 %r1, %r2, %r3, 21520;
prmt.b32.f4e %r1, %r2, %r3, %r4;
bfe.u32 %r1, %r2, 4, 8;
bfe.s64 %d1, %d2, 4, 8;
bfi.b32 %r1, %r2, %r3, 3, 28;
popc.b64 %r1, %d2;
clz.b32 %r1, %r2;
brev.b64 %d1, %d2;
bfind.u32 %r1, %r2;
bfind.shiftamt.s64 %r1, %d2;
add.cc.u32 %r1, %r2, 1;
addc.cc.s64 %d1, %d2, %d3;
addc.u32 %r1, %r2, 0;
sub.cc.s32 %r1, %r2, -5;
subc.u64 %d1, %d2, %d3;
mad.lo.cc.u32 %r1, %r2, %r3, %r4;
madc.hi.u32 %r1, %r2, %r3, %r4;
madc.lo.cc.s64 %d1, %d2, %d3, %d4;
mul24.lo.u32 %r1, %r2, %r3;
mad24.hi.sat.s32 %r1, %r2, %r3, -1;
sad.s16 %h1, %h2, %h3, %h4;
dp4a.u32.s32 %r1, %r2, %r3, -7;
dp2a.hi.u32.u32 %r1, %r2, %r3, %r4;
lop3.or.b32 _|%p1, %r2, %r3, %r4, 150, !%p2;
lop3.and.b32 %r1|%p1, %r2, %r3, %r4, 1, %p2;
set.lt.and.ftz.u32.f32 %r1, %f1, %f2, !%p1;
set.gtu.bf16x2.bf16x2 %r1, %r2, %r3;
slct.ftz.b64.f32 %d1, %d2, %d3, %f1;
slct.u16.s32 %h1, %h2, %h3, %r1;
testp.subnormal.f64 %p1, %d2;
copysign.f32 %f1, %f2, 0f80000000;
isspacep.shared %p1, %d1;
match.any.sync.b64 %r1, %d1, 4294967295;
match.all.sync.b32 %r1|%p1, %r2, %r3;
nanosleep.u32 100;
createpolicy.fractional.L2::evict_first.L2::evict_unchanged.b64 %d1, 0f3F800000;
createpolicy.fractional.L2::evict_last.b64 %d1;
movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2;
cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2;
cvt.rn.satfinite.relu.e5m2x2.f16x2 %h1, %r1;
cvt.rn.relu.f16x2.e4m3x2 %r1, %h1;
cvt.rna.satfinite.tf32.f32 %r1, %f1;
cvt.rn.satfinite.f16x2.f32 %r1, %f1, %f2;
cvt.rn.f16.bf16 %h1, %h2;
max.NaN.xorsign.abs.f16x2 %r1, %r2, %r3;
ld.global.v8.b16 {%h1, %h2, %h3, %h4, %h5, %h6, %h7, _}, [%d1];
st.global.v4.b64 [%d1], {%d2, %d3, %d4, %d5};
atom.relaxed.gpu.global.cas.b16 %h1, [%d1], %h2, %h3;
rcp.approx.ftz.f64 %d1, %d2;
rsqrt.approx.f64 %d1, %d2;
cp.async.cg.shared.global.L2::cache_hint [%r1], [%d1], 16, !%p1, %d2;
cp.async.ca.shared.global [%r1], [%d1], 4, %p1;
mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.u8.s32 {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%r1, %r2, %r3, -1};
mma.sync.aligned.m8n8k32.row.col.s32.s4.u4.s32 {%r1, %r2}, {%r1}, {%r5}, {%r1, %r2};
mma.sync.aligned.m16n8k32.row.col.f16.e4m3.e5m2.f16 {%r1, %r2}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%r7, 0};
mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d1, %d2}, {%d3}, {%d4}, {%d5, %d6};
mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%d1, %d2, %d3, %d4}, {%d1, %d2, %d3, %d4}, {%d5, %d6}, {%d1, %d2, %d3, %d4};
setp.lt.s32 %p1, %r1, %r2;
setp.ne.and.s16 %p1|%p2, %h1, 0, !%p3;
setp.leu.ftz.f32 %p1, %f1, 0f3F800000;
setp.hi.u64 %p1, %d1, %d2;
setp.eq.f16x2 %p1|%p2, %r1, %r2;
setp.nan.f64 %p1, %d1, %d2;
setp.gt.or.f32 %p1, %f1, %f2, %p3;
selp.b32 %r1, 1, 0, %p1;
selp.f32 %f1, 0fFF800000, %f2, %p1;
mov.u32 %r1, %tid.x;
mov.u64 %d1, %clock64;
mov.u32 %r1, smem;
mov.b64 %d1, k_param_0;
mov.u64 %d1, depot+8;
mov.f32 %f1, 0f00000000;
mov.f64 %d1, 0d3FF0000000000000;
mov.pred %p1, 1;
mov.b32 %r1, {%h1, %h2};
mov.b64 %d1, {%r1, %r2};
mov.b64 %d1, {%h1, %h2, %h3, 7};
mov.b32 {%h1, _}, %r1;
mov.b64 {_, %r2}, %d1;
cvt.s64.s32 %d1, %r1;
cvt.u16.u32 %h1, %r1;
cvt.u32.u8 %r1, %h1;
cvt.sat.s16.s32 %h1, %r1;
cvt.rn.f32.s32 %f1, %r1;
cvt.rzi.ftz.s32.f32 %r1, %f1;
cvt.rmi.f32.f32 %f1, %f2;
cvt.rn.f16.f32 %h1, %f1;
cvt.rn.sat.f32.f64 %f1, %d1;
cvt.f32.f16 %f1, %h1;
cvt.ftz.f64.f32 %d1, %f1;
cvt.rna.tf32.f32 %r1, %f1;
cvt.rz.relu.bf16.f32 %h1, %f1;
cvt.rn.f16x2.f32 %r1, %f1, %f2;
cvt.rz.relu.bf16x2.f32 %r1, %f1, 0f00000000;
cvta.to.global.u64 %d1, %d2;
cvta.shared.u64 %d1, %d2;
cvta.param.u64 %d1, %d2;
ld.param.u64 %d1, [k_param_0];
ld.param.u32 %r1, [k_param_0+4];
ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%r1, %r2, _, %r4}, [%d1+-16];
ld.global.L2::cache_hint.b32 %r1, [%d1], %d2;
ld.volatile.shared.v2.f32 {%f1, %f2}, [%r1+8];
ld.relaxed.gpu.global.u64 %d1, [%d2];
ld.acquire.sys.b32 %r1, [%d2];
ld.shared.u8 %h1, [smem+3];
ld.const.f32 %f1, [128];
ld.global.cg.s8 %r1, [%d1];
st.global.v2.u64 [%d1], {%d2, %d3};
st.shared.b16 [%r1], %h1;
st.release.cta.shared.u32 [%r1], 1;
st.local.v4.f32 [depot], {%f1, %f2, %f3, %f4};
st.global.wt.u8 [%d1], %r1;
prefetch.global.L2 [%d1+64];
atom.relaxed.gpu.global.add.u32 %r1, [%d1], 1;
atom.acq_rel.cta.shared.cas.b32 %r1, [%r2], 0, 1;
atom.relaxed.gpu.global.add.noftz.f16x2 %r1, [%d1], %r2;
red.relaxed.gpu.global.max.s64 [%d1], %d2;
add.f32 %f1, %f2, %f3;
sub.rn.ftz.f32 %f1, %f2, %f3;
mul.rz.sat.f32 %f1, %f2, 0f3F317218;
add.rm.f64 %d1, %d2, %d3;
add.bf16x2 %r1, %r2, %r3;
mul.rn.f16 %h1, %h2, 0x3C00;
min.ftz.NaN.f32 %f1, %f2, %f3;
max.f16x2 %r1, %r2, %r3;
fma.rn.ftz.sat.f32 %f1, %f2, %f3, %f4;
fma.rn.relu.f16x2 %r1, %r2, %r3, %r4;
fma.rp.f64 %d1, %d2, %d3, %d4;
neg.ftz.f32 %f1, %f2;
abs.f64 %d1, %d2;
neg.bf16x2 %r1, %r2;
ex2.approx.ftz.f32 %f1, %f2;
ex2.approx.f16x2 %r1, %r2;
lg2.approx.f32 %f1, %f2;
rcp.rn.ftz.f32 %f1, %f2;
rcp.approx.ftz.f32 %f1, %f2;
sqrt.rn.f64 %d1, %d2;
rsqrt.approx.f32 %f1, %f2;
sin.approx.f32 %f1, %f2;
cos.approx.ftz.f32 %f1, %f2;
tanh.approx.f32 %f1, %f2;
div.full.ftz.f32 %f1, %f2, %f3;
div.approx.f32 %f1, %f2, %f3;
div.rn.f64 %d1, %d2, %d3;
shfl.sync.bfly.b32 %r1|%p1, %r2, 1, 31, 4294967295;
shfl.sync.idx.b32 %r1, %r2, %r3, 6175, %r4;
shfl.sync.up.b32 %r1, %r2, 1, 0, 4294967295;
shfl.sync.down.b32 %r1, %r2, 1, 31, 4294967295;
vote.sync.ballot.b32 %r1, !%p1, 4294967295;
vote.sync.any.pred %p1, %p2, %r1;
redux.sync.add.s32 %r1, %r2, 4294967295;
redux.sync.xor.b32 %r1, %r2, %r3;
activemask.b32 %r1;
bar.sync 0;
bar.sync %r1, 128;
bar.arrive 1, 128;
bar.red.popc.u32 %r1, 0, %p1;
bar.red.and.pred %p1, 0, 64, !%p2;
barrier.sync 1;
barrier.red.or.pred %p1, 0, %p2;
bar.warp.sync 4294967295;
membar.gl;
fence.sc.gpu;
fence.acq_rel.cta;
cp.async.cg.shared.global [%r1], [%d1], 16;
cp.async.ca.shared.global [%r1+8], [%d1+-8], 4, %r2;
cp.async.cg.shared.global.L2::128B [smem+16], [%d1], 16, 0;
cp.async.cg.shared.global.L2::cache_hint.L2::256B [%r1], [%d1], 16, %r2, %d2;
cp.async.ca.shared.global.L2::cache_hint [%r1], [%d1], 8, %d2;
cp.async.commit_group;
cp.async.wait_group 1;
cp.async.wait_all;
ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5+32];
ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r1, %r2}, [%r5];
ldmatrix.sync.aligned.m8n8.x1.b16 {%r1}, [%d5];
stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%r5], {%r1, %r2, %r3, %r4};
mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, 0f00000000};
mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%r7, 0};
mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2}, {%r5}, {%f1, %f2, %f3, %f4};
mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};
mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2}, {%r5}, {%f1, %f2, %f3, %f4};
@!%p1 bra RIGHT;
bra.uni LEFT;
@%p2 ret;
exit;
trap;
mbarrier.init.shared.b64 [%r1], 128;
mbarrier.inval.shared.b64 [%d1];
mbarrier.expect_tx.relaxed.cta.shared.b64 [%r1+8], %r2;
mbarrier.complete_tx.relaxed.cta.shared.b64 [%r1], 16;
mbarrier.arrive.shared.b64 %d1, [%r1];
mbarrier.arrive.release.cluster.shared.b64 _, [%r1], %r2;
mbarrier.arrive.shared::cluster.b64 _, [%r1], 2;
mbarrier.arrive.expect_tx.shared.b64 _, [%r1], 4096;
mbarrier.arrive.expect_tx.relaxed.cta.shared.b64 _, [%r1], %r2;
mbarrier.arrive.noComplete.shared.b64 %d1, [%r1], 1;
mbarrier.arrive_drop.shared.b64 %d1, [%r1];
mbarrier.test_wait.shared.b64 %p1, [%r1], %d1;
mbarrier.test_wait.parity.acquire.cluster.shared.b64 %p1, [%r1], 1;
mbarrier.try_wait.parity.shared.b64 %p1, [%r1], %r2, 1000;
mbarrier.try_wait.relaxed.cta.shared.b64 %p1, [%r1], %d2;
mbarrier.pending_count.b64 %r1, %d1;
cp.async.mbarrier.arrive.noinc.shared.b64 [%r1];
cp.async.mbarrier.arrive.shared.b64 [%r1];
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%d1], 1024, [%r2];
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%r1], [%d1], %r3, [%r2], %d2;
cp.async.bulk.global.shared::cta.bulk_group [%d1], [%r1], %r2;
cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%d1], [%r1], 64;
cp.reduce.async.bulk.global.shared::cta.bulk_group.L2::cache_hint.add.noftz.f16 [%d1], [%r1], 64, %d2;
cp.async.bulk.prefetch.L2.global [%d1], 128;
cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%d1, {%r2}], [%r3];
cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%r1], [%d1, {%r2, 0, %r4, -1}], [%r3], %d2;
cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%d1+128, {%r2, %r2, %r3, %r4, 0}], [%r1];
cp.reduce.async.bulk.tensor.2d.global.shared::cta.bulk_group.max [%d1, {%r2, %r3}], [%r1];
cp.async.bulk.prefetch.tensor.3d.L2.global [%d1, {0, %r2, %r3}];
cp.async.bulk.commit_group;
cp.async.bulk.wait_group 2;
cp.async.bulk.wait_group.read 0;
fence.proxy.async;
fence.proxy.async.shared::cta;
fence.proxy.async.global;
fence.mbarrier_init.release.cluster;
prefetch.tensormap [%d1];
prefetch.param.tensormap [%d1];
wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%d1+32], 72;
wmma.load.b.sync.aligned.col.m8n32k16.bf16 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%d1];
wmma.load.c.sync.aligned.row.m16n16k8.global.f32 {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}, [%d1], %r1;
wmma.mma.sync.aligned.row.col.m32n8k16.f16.f16 {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, {%r5, %r6, %r7, %r8};
wmma.mma.sync.aligned.col.row.m16n16k8.f32.tf32.tf32.f32 {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}, {%r1, %r2, %r3, %r4}, {%r5, %r6, %r7, %r8}, {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7};
wmma.store.d.sync.aligned.col.m16n16k16.f16 [%d1], {%r1, %r2, %r3, %r4}, %r5;
wgmma.fence.sync.aligned;
wgmma.commit_group.sync.aligned;
wgmma.wait_group.sync.aligned 1;
wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1, %f2, %f3, %f4}, %d1, %d2, %p1, 1, -1, 0, 1;
wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, %d2, 1, -1, 1, 0;
wgmma.mma_async.sync.aligned.m64n16k16.f16.f16.f16 {%r5, %r6, %r7, %r8}, {%r1, %r2, %r3, %r4}, %d2, %p1, 1, 1, 1;
wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%f1, %f2, %f3, %f4}, %d1, %d2, %p1, 1, 1;
wgmma.mma_async.sync.aligned.m64n8k32.f16.e4m3.e5m2 {%r1, %r2}, %d1, %d2, 0, 1, 1;
setmaxnreg.inc.sync.aligned.u32 240;
setmaxnreg.dec.sync.aligned.u32 24;
elect.sync %r1|%p1, 4294967295;
elect.sync _|%p1, %r2;
griddepcontrol.wait;
griddepcontrol.launch_dependents;
barrier.cluster.arrive.relaxed.aligned;
barrier.cluster.arrive;
barrier.cluster.wait.aligned;
mapa.shared::cluster.u32 %r1, %r2, 0;
mapa.u64 %d1, %d2, %r3;
mov.u32 %r1, %cluster_ctaid.x;
mov.u32 %r1, %cluster_ctarank;
";

#[test]
fn canonical_statements_print_as_themselves() {
    for statement in CANONICAL.lines().filter(|line| !line.is_empty()) {
        check(statement, statement);
    }
}

#[test]
fn every_opcode_that_is_read_stands_in_the_list() {
    for opcode in crate::ptx::Opcode::ALL {
        // Those that name a declaration have programs of their own in `ptx::inline`.
        if matches!(opcode, crate::ptx::Opcode::Brx | crate::ptx::Opcode::Call) {
            continue;
        }
        let starts = |line: &str| {
            line.split([' ', '.', ';'])
                .any(|word| word == opcode.text())
        };
        assert!(CANONICAL.lines().any(starts), "no example of {opcode}");
    }
}

#[test]
fn other_spellings_print_canonically() {
    for (statement, canonical) in [
        (
            "ldmatrix.sync.aligned.x4.trans.m8n8.shared::cta.b16 {%r1,%r2,%r3,%r4},[%r5];",
            "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];",
        ),
        (
            "ldmatrix.sync.aligned.m8n8.x1.shared.b16 %r1, [%r5];",
            "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%r5];",
        ),
        ("barrier.cta.sync.aligned 0;", "bar.sync 0;"),
        ("bar.cta.sync 0;", "bar.sync 0;"),
        (
            "mad.rn.f32 %f1, %f2, %f3, %f4;",
            "fma.rn.f32 %f1, %f2, %f3, %f4;",
        ),
        (
            "atom.global.add.u32 _, [%d1], 1;",
            "red.relaxed.gpu.global.add.u32 [%d1], 1;",
        ),
        ("and.b32 %r1, %r2, -8;", "and.b32 %r1, %r2, 4294967288;"),
        ("mov.b32 %r1, 0f3F800000;", "mov.b32 %r1, 1065353216;"),
        ("mov.f32 %f1, -1.5;", "mov.f32 %f1, 0fBFC00000;"),
        ("mov.u32 %r1, 0x1FU;", "mov.u32 %r1, 31;"),
        ("mov.pred %p1, -1;", "mov.pred %p1, 1;"),
        (
            "ld.shared::cta.v4.b32 {%r1,%r2,%r3,%r4}, [%r1];",
            "ld.shared.v4.b32 {%r1, %r2, %r3, %r4}, [%r1];",
        ),
        (
            "ld.weak.global.u32 %r1, [%d1 + 8];",
            "ld.global.u32 %r1, [%d1+8];",
        ),
        ("fence.gpu;", "fence.acq_rel.gpu;"),
        ("cp.async.wait_group 0x2;", "cp.async.wait_group 2;"),
    ] {
        check(statement, canonical);
    }
}

#[test]
fn immediates_are_cut_to_the_width_read() {
    let module = read("add.s32 %r1, %r2, -1;");
    let Op::IntegerBinary { b, .. } = module.functions[0].instructions[0].op else {
        panic!("an add")
    };
    assert_eq!(b, Operand::Immediate(0xffff_ffff));
}

#[test]
fn parameters_lie_at_their_alignment() {
    let text = format!(
        "{HEAD}.entry k(.param .u8 a, .param .u64 .ptr .global .align 16 b, .param .align 8 .b8 c[12], .param .u16 d)\n\
         .maxntid 128, 2\n.minnctapersm 2\n{{ ret; }}"
    );
    let module = parse("test.ptx", &text).unwrap();
    let function = module.function("k").unwrap();
    assert_eq!(
        (function.param_offsets(), function.param_bytes()),
        (vec![0, 8, 16, 28], 30)
    );
    assert_eq!(
        (
            function.directives.maxntid,
            function.directives.minnctapersm
        ),
        (Some([128, 2, 1]), Some(2))
    );
    assert_eq!(parse("test.ptx", &print(&module)), Ok(module));
}

#[test]
fn inner_scopes_have_names_of_their_own() {
    let module = read(
        "{ .reg .b32 t; .reg .pred %p<2>; mov.b32 t, 1; @%p1 bra IN; IN: { .reg .b64 t; mov.b64 t, 2; bra IN; } add.s32 %r1, t, t; }\n\
         @%p1 bra IN2; IN2: mov.b32 %r2, 3;",
    );
    let function = &module.functions[0];
    let text: Vec<_> = function
        .instructions
        .iter()
        .map(|one| crate::ptx::statement(&module, function, one))
        .collect();
    assert_eq!(text[0], "mov.b32 t_1_, 1;");
    assert_eq!(text[1], "@%p_1_1 bra IN_1_;");
    assert_eq!(text[2], "mov.b64 t_2_, 2;");
    assert_eq!(text[4], "add.s32 %r1, t_1_, t_1_;");
    assert_eq!(text[5], "@%p1 bra IN2;");
    assert_eq!(parse("test.ptx", &print(&module)), Ok(module));
}

#[test]
fn places_follow_loc() {
    let module = read(
        ".loc 1 34 3\n.loc 1 21 5, function_name $L__info_string0, inlined_at 1 34 3\nadd.s32 %r1, %r1, 1;\n\
         .loc 1 7 9, function_name $L__info_string1+4, inlined_at 1 21 5\n.pragma \"nounroll\";\nadd.s32 %r1, %r1, 2;\n\
         .loc 1 0 0\nadd.s32 %r1, %r1, 3;",
    );
    let function = &module.functions[0];
    let lines = |index: usize| {
        let places = module.cuda_places(function, function.instructions[index].location);
        places.iter().map(|place| place.line).collect::<Vec<_>>()
    };
    assert_eq!(
        (lines(0), lines(1), lines(2)),
        (vec![21, 34], vec![7, 21, 34], vec![])
    );
    assert_eq!(parse("test.ptx", &print(&module)), Ok(module));
}

#[test]
fn variables_keep_their_values() {
    let text = format!(
        "{HEAD}.const .align 8 .f32 c[2][2] = {{1.0, 0f40000000}}, d = -1.5;\n.visible .global .s32 g = -7;\n.extern .shared .b8 s[];\n"
    );
    let module = parse("test.ptx", &text).unwrap();
    assert_eq!(module.variables[0].initial, [0x3f80_0000, 0x4000_0000]);
    assert_eq!(
        (module.variables[0].bytes(), module.variables[2].initial[0]),
        (16, 0xffff_fff9)
    );
    assert_eq!(parse("test.ptx", &print(&module)), Ok(module));
}

#[test]
fn symbols_are_found_where_they_are_declared() {
    let module = read("mov.u32 %r1, smem; mov.u64 %d1, depot; mov.u64 %d2, k_param_1;");
    let symbols: Vec<_> = module.functions[0].instructions[..3]
        .iter()
        .map(|one| &one.op)
        .collect();
    for (op, symbol) in
        symbols
            .iter()
            .zip([Symbol::Module(0), Symbol::Function(0), Symbol::Param(1)])
    {
        assert!(
            matches!(op, Op::Mov { a: Operand::Address(found, 0), .. } if *found == symbol),
            "{op:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// No bytes make the parser panic, and what it reads, it prints and reads again.
    #[test]
    fn any_text_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(parse("test.ptx", &String::from_utf8_lossy(&bytes)));
    }

    /// Valid text with pieces cut, doubled or moved: much of it parses, and what does must come back.
    #[test]
    fn mutated_text_is_read_or_refused(
        lines in proptest::collection::vec(0_usize..150, 1..12),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..4), 0..4),
    ) {
        let statements: Vec<&str> = CANONICAL.lines().filter(|line| !line.is_empty()).collect();
        let code: Vec<&str> = lines.iter().map(|line| statements[line % statements.len()]).collect();
        let mut text: Vec<char> = entry(&code.join("\n")).chars().collect();
        for (from, to, kind) in edits {
            let (from, to) = (from.index(text.len()), to.index(text.len()));
            match kind {
                0 => drop(text.remove(from)),
                1 => { let c = text[from]; text.insert(to, c); }
                2 => text.swap(from, to),
                _ => text.truncate(from.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        if let Ok(module) = parse("test.ptx", &text) {
            let printed = print(&module);
            prop_assert_eq!(parse("test.ptx", &printed), Ok(module), "{}", printed);
        }
    }
}

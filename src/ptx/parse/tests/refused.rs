//! Text that is not read: what is said of it, and where.

use super::*;

#[test]
fn what_is_not_read_is_named_with_its_place() {
    for (statement, what) in [
        (
            "wgmma.mma_async.sp.sync.aligned.m64n8k32.f32.f16.f16 {%f1}, %d1, %d1, %r1, 0, 1, 1, 1, 0, 0;",
            "wgmma.mma_async.sp.sync.aligned.m64n8k32.f32.f16.f16",
        ),
        (
            "fence.proxy.tensormap::generic.release.gpu;",
            "fence.proxy.tensormap::generic.release.gpu",
        ),
        (
            "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r1], %r2, [%r3];",
            "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32",
        ),
        (
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r1], [%d1, {%r2, %r2}], [%r3], %h1;",
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster",
        ),
        ("add.cc.u16 %h1, %h2, %h3;", "add.cc.u16"),
        ("add.pred %p1, %p1, %p1;", "add.pred"),
        ("mul.s32 %r1, %r2, %r3;", "mul.s32"),
        ("cvt.f16.f32 %h1, %f1;", "cvt.f16.f32"),
        (
            "mma.sync.aligned.m16n8k64.row.col.s32.s8.s8.s32 {%r1}, {%r1}, {%r1}, {%r1};",
            "mma.sync.aligned.m16n8k64.row.col.s32.s8.s8.s32",
        ),
        (
            "mov.u32 %r1, %is_explicit_cluster.x;",
            "%is_explicit_cluster.x",
        ),
        ("call.uni %d1;", "call.uni"),
        (
            "tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r1], 32;",
            "tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32",
        ),
    ] {
        let error = parse("test.ptx", &entry(statement)).expect_err(statement);
        assert!(error.is_unsupported(), "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("`{what}` is not supported")),
            "{error}"
        );
        assert_eq!(error.span.line, 16, "{error}");
    }
}

#[test]
fn malformed_text_is_refused_with_found_and_expected() {
    let message = |statement: &str| {
        parse("test.ptx", &entry(statement))
            .expect_err(statement)
            .to_string()
    };
    for (statement, expected) in [
        (
            "add.s32 %r1, %r2;",
            "test.ptx:16:17: found `;`, expected `,`",
        ),
        (
            "add.s32 %r1, %d2, 1;",
            "test.ptx:16:14: found `%d2`, expected a register of 32 bits",
        ),
        (
            "add.s32 %r1, %r32, 1;",
            "test.ptx:16:14: found `%r32`, expected the name of a register or variable declared before",
        ),
        (
            "add.s32 %r01, %r2, 1;",
            "test.ptx:16:9: found `%r01`, expected a register of 32 bits",
        ),
        (
            "setp.lt.s32 %r1, %r1, 1;",
            "test.ptx:16:13: found `%r1`, expected a predicate register",
        ),
        (
            "add.s16 %h1, %h1, 65536;",
            "test.ptx:16:19: found `65536`, expected an operand of type s16",
        ),
        (
            "bra NOWHERE;",
            "test.ptx:16:5: found `NOWHERE`, expected a label of this function",
        ),
        (
            "LEFT: ret;",
            "test.ptx:16:1: found `LEFT`, expected a new name",
        ),
        (
            ".reg .b32 %q<2000000>;",
            "test.ptx:16:11: found `%q`, expected at most 1048576 registers in a function",
        ),
        (
            "cp.async.cg.shared.global [%r1], [%d1], 8;",
            "test.ptx:16:41: found `8`, expected 16 bytes, or 4 or 8 with `.ca`",
        ),
        (
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2}, [%r5];",
            "test.ptx:16:42: found `{`, expected 4 elements, not 2",
        ),
        (
            "ld.global.u32 %h1, [%d1];",
            "test.ptx:16:15: found `%h1`, expected a register of at least 32 bits",
        ),
        ("§", "test.ptx:16:1: found `§`, expected an instruction"),
    ] {
        assert_eq!(message(statement), expected);
    }
    assert_eq!(
        parse(
            "t",
            ".version 9.0 .target sm_80 .address_size 64 .entry k() {"
        )
        .expect_err("unfinished")
        .to_string(),
        "t:1:57: found the end of the text, expected an instruction"
    );
    assert!(
        parse("t", ".version 9.0 .target sm_80 .address_size 32 .visible")
            .expect_err("32 bits")
            .is_unsupported()
    );
}

use super::*;
use crate::analysis::{Answer, analyze};
use crate::ptx::parse;

/// A ring of two stages of 8,192 bytes: thread 0 fills, 128 threads multiply what they find.
const RING: &str = ".version 8.0\n.target sm_90a\n.address_size 64\n.entry k(.param .u64 x, .param .u32 n) .reqntid 256\n{\n\
    .reg .pred %p<9>;\n.reg .b32 %r<20>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<9>;\n.shared .align 1024 .b8 tile[16384];\n\
    .shared .align 8 .b8 barriers[32];\nmov.u32 %r1, %tid.x;\nld.param.u64 %rd1, [x];\nld.param.u32 %r2, [n];\n\
    mov.u32 %r3, barriers;\nmov.u32 %r4, tile;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra MADE;\n\
    mbarrier.init.shared.b64 [%r3], 1;\nmbarrier.init.shared.b64 [%r3+8], 1;\n\
    mbarrier.init.shared.b64 [%r3+16], 1;\nmbarrier.init.shared.b64 [%r3+24], 1;\nfence.mbarrier_init.release.cluster;\n\
    MADE: bar.sync 0;\nmov.u32 %r5, 0;\nmov.u32 %r6, 0;\nmov.u32 %r7, 0;\nand.b32 %r8, %r1, 127;\nsetp.ne.u32 %p6, %r8, 0;\n\
    setp.ge.u32 %p2, %r1, 128;\n@%p2 bra READ;\n@%p1 bra DONE;\nmov.u32 %r6, 1;\n\
    FILL: setp.ge.u32 %p3, %r7, %r2;\n@%p3 bra DONE;\nshl.b32 %r9, %r5, 3;\nadd.u32 %r10, %r9, %r3;\nshl.b32 %r11, %r5, 13;\n\
    add.u32 %r12, %r11, %r4;\n\
    W1: mbarrier.try_wait.parity.shared.b64 %p4, [%r10+16], %r6;\n@%p4 bra W1DONE;\nbra W1;\nW1DONE:\n\
    mbarrier.arrive.expect_tx.shared.b64 _, [%r10], 8192;\n\
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r12], [%rd1], 8192, [%r10];\n\
    add.u32 %r5, %r5, 1;\nsetp.eq.u32 %p5, %r5, 2;\n@%p5 mov.u32 %r5, 0;\n@%p5 xor.b32 %r6, %r6, 1;\nadd.u32 %r7, %r7, 1;\nbra FILL;\n\
    READ: setp.ge.u32 %p3, %r7, %r2;\n@%p3 bra DONE;\nshl.b32 %r9, %r5, 3;\nadd.u32 %r10, %r9, %r3;\nshl.b32 %r11, %r5, 13;\n\
    add.u32 %r12, %r11, %r4;\nshr.u32 %r13, %r12, 4;\ncvt.u64.u32 %rd2, %r13;\nor.b64 %rd3, %rd2, 4611686293305294848;\n\
    W2: mbarrier.try_wait.parity.shared.b64 %p4, [%r10], %r6;\n@%p4 bra W2DONE;\nbra W2;\nW2DONE:\nwgmma.fence.sync.aligned;\n\
    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %rd3, %rd3, 1, 1, 1, 0, 0;\n\
    wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n@%p6 bra KEPT;\n\
    mbarrier.arrive.shared.b64 _, [%r10+16];\nKEPT: add.u32 %r5, %r5, 1;\nsetp.eq.u32 %p5, %r5, 2;\n@%p5 mov.u32 %r5, 0;\n\
    @%p5 xor.b32 %r6, %r6, 1;\nadd.u32 %r7, %r7, 1;\nbra READ;\nDONE: ret;\n}\n";

/// Answer and codes for the ring with a piece of its text, which occurs so often, changed.
fn codes(changes: &[(&str, &str)]) -> (Answer, Vec<&'static str>) {
    let text = changes.iter().fold(RING.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let module = parse("ring.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
    let results = analyze(&module);
    // A wait that may give up leaves its threads apart.
    let asked = !text.contains("bra W2DONE;\nbra DONE;");
    for result in &results {
        if asked
            && ["divergence", "shared-race", "shared-bounds", "shared-init"].contains(&result.pass)
        {
            assert_eq!(
                result.answer,
                Answer::Proved,
                "{}: {:?}",
                result.pass,
                result.findings
            );
        }
    }
    let result = results
        .into_iter()
        .find(|result| result.pass == PASS)
        .unwrap();
    assert!(result.states > 10);
    (
        result.answer,
        result
            .findings
            .iter()
            .map(|finding| finding.code.0)
            .collect(),
    )
}

fn refuted(code: Code) -> (Answer, Vec<&'static str>) {
    (Answer::Refuted, vec![code.0])
}

#[test]
fn a_ring_is_proved_for_any_number_of_turns() {
    assert_eq!(codes(&[]), (Answer::Proved, vec![]));
}

#[test]
fn bytes_are_those_of_the_copies() {
    for bytes in ["8176", "8208"] {
        let change = ("_, [%r10], 8192", format!("_, [%r10], {bytes}"));
        assert_eq!(codes(&[(change.0, &change.1)]), refuted(BYTES));
    }
    // Two halves are a whole.
    let copy = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r12], [%rd1], 8192, [%r10];";
    let half = copy.replace("8192", "4096");
    let halves = format!("{half}\n{}", half.replace("[%r12]", "[%r12+4096]"));
    assert_eq!(codes(&[(copy, &halves)]), (Answer::Proved, vec![]));
    assert_eq!(codes(&[(copy, &half)]), refuted(BYTES));
}

#[test]
fn arrivals_are_as_many_as_the_barrier_is_made_for() {
    assert_eq!(codes(&[("[%r3+16], 1", "[%r3+16], 2")]), refuted(ARRIVALS));
    assert_eq!(codes(&[("[%r3], 1", "[%r3], 2")]), refuted(ARRIVALS));
    assert_eq!(codes(&[("@%p6 bra KEPT;\n", "")]), refuted(ARRIVALS));
    let all = [
        ("@%p6 bra KEPT;\n", ""),
        ("[%r3+16], 1", "[%r3+16], 128"),
        ("[%r3+24], 1", "[%r3+24], 128"),
    ];
    assert_eq!(codes(&all), (Answer::Proved, vec![]));
}

#[test]
fn parities_alternate() {
    let reader = "add.u32 %r7, %r7, 1;\nbra READ";
    let kept = codes(&[
        (reader, "bra READ"),
        (
            "KEPT: add.u32 %r5, %r5, 1;\nsetp.eq.u32 %p5, %r5, 2;\n@%p5 mov.u32 %r5, 0;\n@%p5 xor.b32 %r6, %r6, 1;\n",
            "KEPT: add.u32 %r7, %r7, 1;\nadd.u32 %r5, %r5, 1;\nsetp.eq.u32 %p5, %r5, 2;\n@%p5 mov.u32 %r5, 0;\n",
        ),
    ]);
    assert_eq!(kept, refuted(READ_EARLY));
    assert_eq!(
        codes(&[("@%p1 bra DONE;\nmov.u32 %r6, 1;", "@%p1 bra DONE;")]),
        refuted(STALL)
    );
    assert_eq!(
        codes(&[(
            "@%p5 xor.b32 %r6, %r6, 1;\nadd.u32 %r7, %r7, 1;\nbra FILL",
            "add.u32 %r7, %r7, 1;\nbra FILL"
        )]),
        refuted(REFILLED)
    );
}

#[test]
fn a_stage_is_held_while_it_is_used() {
    assert_eq!(
        codes(&[("mbarrier.arrive.shared.b64 _, [%r10+16];\n", "")]),
        refuted(STALL)
    );
    assert_eq!(
        codes(&[(
            "wgmma.wait_group.sync.aligned 0;\n@%p6",
            "wgmma.wait_group.sync.aligned 1;\n@%p6"
        )]),
        refuted(RELEASED)
    );
    assert_eq!(
        codes(&[("W2: mbarrier.try_wait.parity.shared.b64 %p4, [%r10], %r6;\n@%p4 bra W2DONE;\nbra W2;\nW2DONE:\n", "")]).1[0],
        READ_EARLY.0
    );
    assert_eq!(
        codes(&[(
            "W1: mbarrier.try_wait.parity.shared.b64 %p4, [%r10+16], %r6;\n@%p4 bra W1DONE;\nbra W1;\nW1DONE:\n",
            ""
        )]),
        refuted(REFILLED)
    );
}

#[test]
fn a_barrier_is_known_before_it_is_used() {
    assert_eq!(
        codes(&[("MADE: bar.sync 0;", "MADE: mov.u32 %r5, 0;")]),
        refuted(UNPUBLISHED)
    );
}

#[test]
fn what_is_not_known_is_said() {
    let (answer, found) = codes(&[("_, [%r10], 8192", "_, [%r10], %r2")]);
    assert_eq!((answer, found[0]), (Answer::Unknown, UNDECIDED.0));
    // A wait that may give up.
    let (answer, found) = codes(&[("@%p4 bra W2DONE;\nbra W2;", "@%p4 bra W2DONE;\nbra DONE;")]);
    assert_eq!((answer, found[0]), (Answer::Unknown, UNDECIDED.0));
}

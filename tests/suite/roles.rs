//! Programs whose warps have tasks of their own, each defect with its clean twin: read by the passes, run by the machine.

use flashproof::analysis::{Answer, PassResult, analyze, divergence, mbarrier, shared_bounds};
use flashproof::ptx::{Module, parse};
use flashproof::vm::{Launch, Memory, Options, Stop, run};
use std::collections::BTreeSet;

/// Warps of a CTA.
const WARPS: u32 = 4;

/// A kernel of 128 threads: warp 0 does `first`, warp 1 `second`, the others `third`, all after `before`. Word w of shared memory
/// lies at r3 for a thread of lane w, barriers in memory at r4 and 8 bytes on.
fn module(before: &str, [first, second, third]: [&str; 3]) -> Module {
    let text = format!(
        ".version 9.0\n.target sm_90a\n.address_size 64\n.visible .entry roles(.param .u64 out)\n.reqntid 128, 1, 1\n{{\n\
         .reg .pred %p<9>;\n.reg .b32 %r<19>;\n.reg .b64 %rd<9>;\n.shared .align 16 .b8 s[512];\n.shared .align 8 .b8 b[16];\n\
         mov.u32 %r1, %tid.x;\nand.b32 %r2, %r1, 31;\nmov.u32 %r3, s;\nshl.b32 %r5, %r2, 2;\nadd.s32 %r3, %r3, %r5;\n\
         mov.u32 %r4, b;\nshr.u32 %r6, %r1, 5;\n{before}\nsetp.eq.u32 %p1, %r6, 0;\n@%p1 bra FIRST;\n\
         setp.eq.u32 %p2, %r6, 1;\n@%p2 bra SECOND;\n{third}\nbra.uni DONE;\nFIRST:\n{first}\nbra.uni DONE;\n\
         SECOND:\n{second}\nDONE:\nret;\n}}\n"
    );
    parse("roles.ptx", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn answer(results: &[PassResult], pass: &str) -> Answer {
    results
        .iter()
        .find(|result| result.pass == pass)
        .unwrap()
        .answer
}

/// What the passes say, and the codes of a run.
fn both(module: &Module) -> (Vec<PassResult>, BTreeSet<&'static str>) {
    let mut memory = Memory::new();
    let launch = Launch {
        entry: "roles".to_owned(),
        grid: [1; 3],
        cta: [32 * WARPS, 1, 1],
        shared_bytes: 0,
        params: vec![0; 8],
    };
    let options = Options {
        instruction_budget: 100_000,
        ..Options::default()
    };
    let found = match run(module, &launch, &mut memory, &options) {
        Ok(report) => report.findings,
        Err(Stop::Trap(found)) => found,
        Err(other) => panic!("{other}"),
    };
    let codes = found.into_iter().map(|finding| finding.code.0).collect();
    (analyze(module), codes)
}

const WRITE: &str = "st.shared.u32 [%r3], %r1;\n";
const READ: &str = "ld.shared.u32 %r7, [%r3];\n";

/// Warp 0 hands 32 words to warp 1 over a named barrier.
#[test]
fn a_named_barrier_opens_for_as_many_threads_as_come() {
    let hand_over = |arrive: &str, wait: &str| {
        module(
            "",
            [&format!("{WRITE}{arrive}"), &format!("{wait}{READ}"), ""],
        )
    };
    let (results, codes) = both(&hand_over("bar.arrive 1, 64;", "bar.sync 1, 64;\n"));
    assert_eq!(
        answer(&results, divergence::PASS),
        Answer::Proved,
        "{results:?}"
    );
    assert_eq!(answer(&results, shared_bounds::PASS), Answer::Proved);
    assert_eq!(codes, BTreeSet::new());
    for (arrive, wait, why) in [
        ("bar.arrive 2, 64;", "bar.sync 1, 64;\n", "another barrier"),
        ("", "bar.sync 1, 64;\n", "nobody arrives"),
        (
            "bar.arrive 1, 96;",
            "bar.sync 1, 96;\n",
            "one warp too many",
        ),
    ] {
        let (results, codes) = both(&hand_over(arrive, wait));
        assert_eq!(
            answer(&results, divergence::PASS),
            Answer::Refuted,
            "{why}: {results:?}"
        );
        let divergence = results
            .iter()
            .find(|result| result.pass == divergence::PASS)
            .unwrap();
        let message = &divergence.findings[0].message;
        assert!(message.contains("ever come to it"), "{why}: {message}");
        assert!(codes.contains("deadlock"), "{why}: {codes:?}");
    }
}

/// Two warps meet at a barrier of their own, the third goes its way.
#[test]
fn a_barrier_of_a_task_has_the_threads_of_the_task() {
    let own = |number: u32| {
        let part = format!("{WRITE}bar.sync 1, {number};\n{READ}");
        module("", [&part, &part, "mov.u32 %r8, 0;"])
    };
    let (results, codes) = both(&own(64));
    assert_ne!(answer(&results, divergence::PASS), Answer::Refuted);
    assert!(!codes.contains("deadlock"), "{codes:?}");
    let (results, codes) = both(&own(96));
    assert_eq!(
        answer(&results, divergence::PASS),
        Answer::Refuted,
        "{results:?}"
    );
    assert!(codes.contains("deadlock"), "{codes:?}");
}

/// A barrier of all threads where warps have gone separate ways.
#[test]
fn a_barrier_of_the_cta_in_one_task_is_not_proved() {
    let (results, codes) = both(&module(
        "",
        ["bar.sync 0;", "bar.arrive 1, 96;", "bar.sync 1, 96;"],
    ));
    assert_ne!(answer(&results, divergence::PASS), Answer::Proved);
    assert!(!codes.is_empty());
}

/// Warp 1 waits for a barrier in memory that warp 0 completes.
#[test]
fn a_consumer_waits_for_what_a_producer_completes() {
    let before = |count: u32| {
        format!(
            "setp.ne.u32 %p3, %r1, 0;\n@%p3 bra READY;\nmbarrier.init.shared.b64 [%r4], {count};\n\
             fence.mbarrier_init.release.cluster;\nREADY:\nbar.sync 0;"
        )
    };
    let produce =
        format!("{WRITE}setp.eq.u32 %p4, %r2, 0;\n@%p4 mbarrier.arrive.shared.b64 %rd1, [%r4];");
    let produce = format!("bar.warp.sync -1;\n{produce}");
    let consume = format!(
        "WAIT:\nmbarrier.try_wait.parity.shared.b64 %p5, [%r4], 0;\n@%p5 bra GONE;\nbra.uni WAIT;\nGONE:\n{READ}"
    );
    let (results, codes) = both(&module(&before(1), [&produce, &consume, ""]));
    assert_ne!(
        answer(&results, mbarrier::PASS),
        Answer::Refuted,
        "{results:?}"
    );
    assert_eq!(
        answer(&results, divergence::PASS),
        Answer::Proved,
        "{results:?}"
    );
    assert!(!codes.contains("deadlock"), "{codes:?}");
    // Nobody arrives; or fewer than the barrier is made for.
    for (count, producer, expected) in [
        (1, WRITE, Answer::Refuted),
        (2, produce.as_str(), Answer::Unknown),
    ] {
        let (results, codes) = both(&module(&before(count), [producer, &consume, ""]));
        assert_eq!(
            answer(&results, mbarrier::PASS),
            expected,
            "{count}: {results:?}"
        );
        assert!(codes.contains("deadlock"), "{count}: {codes:?}");
    }
}

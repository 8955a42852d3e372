//! Rings of buffers of every small size against what arithmetic says of them, and the ways of not deciding.

use super::{BARRIER, DISTANCE, UNDECIDED};
use crate::analysis::{Answer, PassResult, analyze};
use crate::ptx::parse;

/// An entry of 64 threads with dynamic shared memory; `%r4` is the thread's 16 bytes in it, `%r2` their offset, `%d1`
/// a global address and `%r9` a number that nobody knows.
fn check(code: &str) -> PassResult {
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n.extern .shared .align 128 .b8 smem[];\n\
         .entry k(.param .u64 s, .param .u32 n)\n.reqntid 64\n{{\n\
         .reg .pred %p<8>;\n.reg .b32 %r<40>;\n.reg .b64 %d<8>;\n\
         mov.u32 %r1, %tid.x;\nshl.b32 %r2, %r1, 4;\nmov.u32 %r3, smem;\nadd.s32 %r4, %r3, %r2;\n\
         ld.param.u64 %d1, [s];\nld.param.u32 %r9, [n];\n{code}\nret;\n}}\n"
    );
    let module = parse("ring.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
    analyze(&module).remove(0)
}

fn codes(result: &PassResult) -> Vec<&str> {
    result
        .findings
        .iter()
        .map(|finding| finding.code.0)
        .collect()
}

const COPY: &str = "cp.async.cg.shared.global [%r4], [%d1], 16;\n";
const COMMIT: &str = "cp.async.commit_group;\n";
/// Reads what the thread 33 further copies: another warp's.
const READ: &str = "xor.b32 %r20, %r2, 528;\nadd.s32 %r20, %r20, %r3;\nld.shared.v4.u32 {%r30, %r31, %r32, %r33}, [%r20];\n";

/// A ring of `stages` buffers, filled `distance` tiles ahead, read after `wait_group wait`.
#[derive(Clone, Copy, Debug)]
struct Ring {
    stages: u32,
    distance: u32,
    wait: u32,
    barrier: bool,
}

impl Ring {
    /// `%r10` counts tiles, `%r11` is the buffer to fill, `%r12` the one to read.
    fn code(self) -> String {
        let Self {
            stages,
            distance,
            wait,
            barrier,
        } = self;
        let advance = |register: &str| {
            format!(
                "add.s32 {register}, {register}, 1;\nsetp.eq.s32 %p2, {register}, {stages};\nselp.b32 {register}, 0, {register}, %p2;\n"
            )
        };
        let fill = format!(
            "shl.b32 %r13, %r11, 10;\nadd.s32 %r14, %r4, %r13;\ncp.async.cg.shared.global [%r14], [%d1], 16;\n{COMMIT}{}",
            advance("%r11")
        );
        let barrier = if barrier { "bar.sync 0;\n" } else { "" };
        format!(
            "mov.u32 %r10, 0;\nmov.u32 %r11, 0;\nmov.u32 %r12, 0;\n{}\
             TOP:\n{fill}cp.async.wait_group {wait};\n{barrier}\
             shl.b32 %r15, %r12, 10;\nxor.b32 %r16, %r2, 528;\nadd.s32 %r16, %r16, %r15;\nadd.s32 %r16, %r16, %r3;\n\
             ld.shared.v4.u32 {{%r30, %r31, %r32, %r33}}, [%r16];\nbar.sync 0;\n{}\
             add.s32 %r10, %r10, 1;\nsetp.lt.u32 %p1, %r10, %r9;\n@%p1 bra TOP;",
            fill.repeat(usize::try_from(distance).unwrap()),
            advance("%r12"),
        )
    }

    /// The `wait` newest groups are pending at the read; that of age `a` fills the buffer of the tile `distance - a`
    /// ahead of the one read.
    fn is_in_flight(self) -> bool {
        (0..self.wait)
            .any(|age| age <= self.distance && (self.distance - age).is_multiple_of(self.stages))
    }
}

#[test]
fn rings_of_every_small_size() {
    let mut counts = [0; 3];
    for stages in 1..=4 {
        for distance in 0..=3 {
            for wait in 0..=4 {
                for barrier in [false, true] {
                    let ring = Ring {
                        stages,
                        distance,
                        wait,
                        barrier,
                    };
                    let result = check(&ring.code());
                    let found = codes(&result);
                    assert_eq!(
                        found.contains(&DISTANCE.0),
                        ring.is_in_flight(),
                        "{ring:?}: {found:?}"
                    );
                    assert!(!found.contains(&UNDECIDED.0), "{ring:?}: {found:?}");
                    let right = !ring.is_in_flight() && barrier;
                    assert_eq!(
                        result.answer,
                        if right {
                            Answer::Proved
                        } else {
                            Answer::Refuted
                        },
                        "{ring:?}: {found:?}"
                    );
                    counts[usize::from(right)] += 1;
                    counts[2] += usize::from(found.contains(&BARRIER.0));
                }
            }
        }
    }
    assert!(
        counts.iter().all(|count| *count >= 20),
        "the cases must be able to go either way: {counts:?}"
    );
}

/// The buffer is picked by the low bits of a counter that is itself never bounded.
#[test]
fn a_counter_modulo_a_power_of_two() {
    for (wait, answer) in [
        (0, Answer::Proved),
        (1, Answer::Proved),
        (2, Answer::Refuted),
    ] {
        let code = format!(
            "{COPY}{COMMIT}mov.u32 %r10, %r9;\nTOP:\nadd.s32 %r10, %r10, 1;\nsub.s32 %r11, %r10, %r9;\nand.b32 %r11, %r11, 3;\n\
             shl.b32 %r11, %r11, 10;\nadd.s32 %r12, %r4, %r11;\ncp.async.cg.shared.global [%r12], [%d1], 16;\n{COMMIT}\
             cp.async.wait_group {wait};\nbar.sync 0;\nsub.s32 %r13, %r10, %r9;\nadd.s32 %r13, %r13, 3;\nand.b32 %r13, %r13, 3;\n\
             shl.b32 %r13, %r13, 10;\nadd.s32 %r13, %r13, %r3;\nxor.b32 %r14, %r2, 528;\nadd.s32 %r14, %r14, %r13;\n\
             ld.shared.u32 %r30, [%r14];\nbar.sync 0;\nld.global.u32 %r31, [%d1];\nsetp.lt.u32 %p1, %r10, %r31;\n@%p1 bra TOP;"
        );
        let result = check(&code);
        assert_eq!(result.answer, answer, "wait {wait}: {:?}", codes(&result));
    }
}

#[test]
fn what_makes_a_copy_visible() {
    let own = "ld.shared.u32 %r30, [%r4];\n";
    let neighbour =
        "xor.b32 %r20, %r2, 16;\nadd.s32 %r20, %r20, %r3;\nld.shared.u32 %r30, [%r20];\n";
    let matrix = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r30, %r31, %r32, %r33}, [%r4];\n";
    let wait = "cp.async.wait_group 0;\n";
    for (code, answer, code_found) in [
        (
            format!("{COPY}{COMMIT}{wait}bar.sync 0;\n{READ}"),
            Answer::Proved,
            None,
        ),
        (
            format!("{COPY}{COMMIT}{wait}bar.sync 0, 64;\n{READ}"),
            Answer::Proved,
            None,
        ),
        (
            format!("{COPY}cp.async.wait_all;\nbar.sync 0;\n{READ}"),
            Answer::Proved,
            None,
        ),
        (
            format!("{COPY}{wait}bar.sync 0;\n{READ}"),
            Answer::Refuted,
            Some(DISTANCE),
        ),
        (
            format!("{COPY}{COMMIT}bar.sync 0;\n{READ}"),
            Answer::Refuted,
            Some(DISTANCE),
        ),
        (
            format!("{COPY}{COMMIT}bar.sync 0;\n{wait}{READ}"),
            Answer::Refuted,
            Some(BARRIER),
        ),
        (format!("{COPY}{COMMIT}{wait}{own}"), Answer::Proved, None),
        (
            format!("{COPY}{COMMIT}{own}"),
            Answer::Refuted,
            Some(DISTANCE),
        ),
        (
            format!("{COPY}{COMMIT}{wait}bar.warp.sync -1;\n{neighbour}"),
            Answer::Proved,
            None,
        ),
        (
            format!("{COPY}{COMMIT}{wait}{neighbour}"),
            Answer::Refuted,
            Some(BARRIER),
        ),
        (
            format!("{COPY}{COMMIT}{wait}bar.warp.sync -1;\n{READ}"),
            Answer::Refuted,
            Some(BARRIER),
        ),
        (
            format!("{COPY}{COMMIT}{wait}{matrix}"),
            Answer::Refuted,
            Some(BARRIER),
        ),
        (
            format!("{COPY}{COMMIT}ld.shared.u32 %r30, [%r4+1024];\n"),
            Answer::Proved,
            None,
        ),
    ] {
        let result = check(&code);
        assert_eq!(
            (result.answer, codes(&result)),
            (answer, code_found.map(|code| code.0).into_iter().collect()),
            "{code}"
        );
    }
}

#[test]
fn threads_that_part_and_meet() {
    let part = |condition: &str, inside: &str| {
        format!("setp.lt.u32 %p1, {condition};\n@%p1 bra MEET;\n{inside}MEET:\n")
    };
    let wait = "cp.async.wait_group 0;\nbar.sync 0;\n";
    // Half the threads copy, or those of which nobody knows: both are waited for.
    for condition in ["%r1, 32", "%r30, %r9"] {
        let head =
            "mul.wide.u32 %d2, %r1, 4;\nadd.s64 %d2, %d2, %d1;\nld.global.u32 %r30, [%d2];\n";
        let copies = part(condition, COPY);
        assert_eq!(
            check(&format!("{head}{copies}{COMMIT}{wait}{READ}")).answer,
            Answer::Proved,
            "{condition}"
        );
        let result = check(&format!("{head}{copies}{COMMIT}bar.sync 0;\n{READ}"));
        assert_eq!(codes(&result), [DISTANCE.0], "{condition}");
        assert_eq!(
            codes(&check(&format!(
                "{head}{COPY}{}{wait}{READ}",
                part(condition, COMMIT)
            ))),
            [UNDECIDED.0]
        );
    }
    // Threads 32 to 63 copy; 0 to 31 read their own, which nobody copies.
    let own = "@%p1 ld.shared.u32 %r31, [%r4];\n";
    assert_eq!(
        check(&format!("{}{COMMIT}{own}", part("%r1, 32", COPY))).answer,
        Answer::Proved
    );
}

#[test]
fn what_is_not_known_is_said() {
    let unknown_address = "add.s32 %r20, %r3, %r9;\nld.shared.u32 %r30, [%r20];\n";
    assert_eq!(
        codes(&check(&format!("{COPY}{COMMIT}{unknown_address}"))),
        [UNDECIDED.0]
    );
    assert_eq!(
        check(&format!(
            "{COPY}cp.async.wait_all;\nbar.sync 0;\n{unknown_address}"
        ))
        .answer,
        Answer::Proved
    );
    assert_eq!(
        codes(&check(&format!(
            "{COPY}cp.async.wait_all;\nbar.sync 1, 32;\n{READ}"
        )))[0],
        BARRIER.0
    );
    assert_eq!(check(READ).answer, Answer::Proved);
    let branches = format!("{COPY}TOP:\n{}", "bra TOP;\n".repeat(5000));
    assert_eq!(codes(&check(&branches)), [UNDECIDED.0]);
    let text = ".version 9.0\n.target sm_80\n.address_size 64\n.entry k() {\n.reg .b32 %r<2>; .reg .b64 %d<2>;\n\
                cp.async.cg.shared.global [%r1], [%d1], 16;\nret;\n}";
    let result = analyze(&parse("k.ptx", text).unwrap()).remove(0);
    assert_eq!(
        (result.answer, codes(&result)),
        (Answer::Unknown, vec![UNDECIDED.0])
    );
}

#[test]
fn a_finding_tells_the_distance() {
    let ring = Ring {
        stages: 2,
        distance: 1,
        wait: 2,
        barrier: true,
    };
    let finding = &check(&ring.code()).findings[0];
    let labels: Vec<&str> = finding
        .sites
        .iter()
        .map(|site| site.label.as_str())
        .collect();
    assert_eq!(
        labels,
        [
            "thread (0,0,0) reads shared byte 0x210 here, on the path of blocks at lines 11, 28",
            "lets the 2 newest groups stay pending; 1 came after the copy's own",
            "thread (33,0,0) starts copying this byte here",
        ]
    );
    assert_eq!(
        finding.help.as_deref(),
        Some("wait with `cp.async.wait_group 1` at most, or commit a group in between")
    );
}

use super::*;
use crate::analysis::Answer;
use crate::contract::{Entries, Promise, PromisedValue};
use crate::ptx::parse;

fn contract(n: u64, stride: u64, entries: u32) -> Contract {
    let buffer = |offset, name: &str, entries| Promise {
        offset,
        bytes: 8,
        value: PromisedValue::Buffer {
            name: name.to_owned(),
            bytes: 1 << 36,
            align: 256,
            writable: true,
            entries,
        },
    };
    let list = Entries {
        least: 0,
        greatest: entries,
        ascending: false,
    };
    let bits = |offset, bits| Promise {
        offset,
        bytes: 4,
        value: PromisedValue::Bits(bits),
    };
    Contract {
        grid: [u32::try_from(n.div_ceil(64)).unwrap(), 1, 1],
        cta: [64, 1, 1],
        params: vec![
            buffer(0, "x", None),
            buffer(8, "list", Some(list)),
            bits(16, n),
            bits(20, stride),
        ],
        sizes: Some(format!("n = {n}, stride = {stride}")),
        ..Contract::default()
    }
}

/// Row 64 c + t is in r1, n in r2, stride in r3, x in rd1, the list in rd2; the body leaves an index in rd3.
fn answer_under(body: &str, contract: &Contract) -> (Answer, Vec<String>) {
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n.entry k(.param .u64 x, .param .u64 list, .param .u32 n, .param .u32 stride) .reqntid 64\n{{\n\
         .reg .pred %p<9>;\n.reg .b32 %r<19>;\n.reg .b64 %rd<19>;\nld.param.u64 %rd1, [x];\nld.param.u64 %rd2, [list];\n\
         ld.param.u32 %r2, [n];\nld.param.u32 %r3, [stride];\nmov.u32 %r4, %ctaid.x;\nmov.u32 %r5, %tid.x;\n\
         shl.b32 %r6, %r4, 6;\nadd.s32 %r1, %r6, %r5;\n{body}\nshl.b64 %rd4, %rd3, 2;\nadd.s64 %rd5, %rd1, %rd4;\n\
         st.global.u32 [%rd5], %r1;\nDONE:\nret;\n}}\n"
    );
    let module = parse("k.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
    let context = Context::new(&module, &module.functions[0]).unwrap();
    let result = run(&context, &[contract]);
    let labels = result.findings.iter();
    (
        result.answer,
        labels.map(|found| found.sites[1].label.clone()).collect(),
    )
}

fn answer(body: &str) -> Answer {
    answer_under(body, &contract(1 << 20, 1 << 12, 100)).0
}

#[test]
fn a_product_of_32_bits_wraps_and_one_of_64_does_not() {
    let narrow = "mul.lo.s32 %r7, %r1, %r3;\ncvt.s64.s32 %rd3, %r7;";
    let (refuted, labels) = answer_under(narrow, &contract(1 << 20, 1 << 12, 100));
    assert_eq!(refuted, Answer::Refuted);
    assert_eq!(
        labels,
        ["thread (0,0,0) of CTA (16383,0,0) computes 4294705152 here, of which 32 bits are kept"]
    );
    assert_eq!(answer("mul.wide.s32 %rd3, %r1, %r3;"), Answer::Proved);
    // The same text under sizes that fit.
    assert_eq!(
        answer_under(narrow, &contract(1 << 18, 1 << 12, 100)).0,
        Answer::Proved
    );
    let unsigned = "mul.lo.s32 %r7, %r1, %r3;\ncvt.u64.u32 %rd3, %r7;";
    assert_eq!(answer(unsigned), Answer::Proved);
    let shifted = "shl.b32 %r7, %r1, 12;\ncvt.s64.s32 %rd3, %r7;";
    assert_eq!(answer(shifted), Answer::Refuted);
    let summed =
        "mad.lo.s32 %r7, %r1, 2048, -2147483648;\nadd.s32 %r7, %r7, -1;\ncvt.s64.s32 %rd3, %r7;";
    assert_eq!(answer(summed), Answer::Refuted);
}

#[test]
fn what_wraps_on_the_way_but_not_where_it_is_taken_is_right() {
    let there_and_back =
        "add.s32 %r7, %r1, 2147483647;\nadd.s32 %r8, %r7, -2147483647;\ncvt.s64.s32 %rd3, %r8;";
    assert_eq!(answer(there_and_back), Answer::Proved);
    let masked = "mul.lo.s32 %r7, %r1, %r3;\nand.b32 %r8, %r7, 1023;\ncvt.u64.u32 %rd3, %r8;";
    assert_eq!(answer(masked), Answer::Proved);
    let hidden = "mul.lo.s32 %r7, %r1, 8192;\nor.b32 %r8, %r7, 1;\ncvt.u64.u32 %rd3, %r8;";
    assert_eq!(answer(hidden), Answer::Refuted);
    let divided = "mul.lo.s32 %r7, %r1, 8192;\nshr.u32 %r8, %r7, 4;\ncvt.u64.u32 %rd3, %r8;";
    assert_eq!(answer(divided), Answer::Refuted);
}

#[test]
fn branches_bound_what_they_compare_and_its_copies() {
    let below =
        "setp.lt.u32 %p1, %r1, 1;\n@%p1 bra DONE;\nadd.s32 %r7, %r1, -1;\ncvt.u64.u32 %rd3, %r7;";
    assert_eq!(answer(below), Answer::Proved);
    let unguarded = "add.s32 %r7, %r1, -1;\ncvt.u64.u32 %rd3, %r7;";
    assert_eq!(answer(unguarded), Answer::Refuted);
    let copied = "cvt.u64.u32 %rd6, %r1;\nsetp.lt.u32 %p1, %r1, 1;\n@%p1 bra DONE;\ncvt.u32.u64 %r8, %rd6;\nadd.s32 %r7, %r8, -1;\ncvt.u64.u32 %rd3, %r7;";
    assert_eq!(answer(copied), Answer::Proved);
    let chosen = "setp.gt.s32 %p1, %r1, 0;\nadd.s32 %r7, %r1, -1;\nmov.u32 %r8, 0;\nsetp.gt.s32 %p2, %r7, 0;\nselp.b32 %r9, %r7, %r8, %p2;\ncvt.u64.u32 %rd3, %r9;";
    assert_eq!(answer(chosen), Answer::Proved);
    let both = "setp.gt.s32 %p1, %r1, 0;\nsetp.lt.s32 %p2, %r1, %r2;\nand.pred %p3, %p1, %p2;\n@!%p3 bra DONE;\nadd.s32 %r7, %r1, -1;\ncvt.u64.u32 %rd3, %r7;";
    assert_eq!(answer(both), Answer::Proved);
}

/// What nvcc makes of `%` by a number that is not known.
#[test]
fn a_number_less_its_greatest_multiple_is_below_the_divisor() {
    let modulo = |more: &str| {
        format!(
            "div.u32 %r7, %r1, %r3;\nmul.lo.s32 %r8, %r7, %r3;\n{more}sub.s32 %r9, %r1, %r8;\ncvt.u64.u32 %rd3, %r9;"
        )
    };
    assert_eq!(answer(&modulo("")), Answer::Proved);
    assert_ne!(answer(&modulo("add.s32 %r1, %r1, -1;\n")), Answer::Proved);
}

#[test]
fn loops_end_where_their_counters_do() {
    let counted = "mov.u32 %r7, 0;\nTOP:\nadd.s32 %r7, %r7, 64;\nsetp.lt.s32 %p1, %r7, %r2;\n@%p1 bra TOP;\nmul.wide.u32 %rd3, %r7, %r3;";
    assert_eq!(answer(counted), Answer::Proved);
    // What is compared is the counter before it is raised.
    let before = |step: &str| {
        format!(
            "mov.u32 %r7, 0;\nTOP:\nmul.wide.u32 %rd3, %r7, 4;\nadd.s32 %r8, %r7, {step};\nsetp.lt.u32 %p1, %r7, %r2;\nmov.u32 %r7, %r8;\n@%p1 bra TOP;"
        )
    };
    assert_eq!(answer(&before("1")), Answer::Proved);
    assert_eq!(answer(&before("128")), Answer::Proved);
    let in_place = "mov.u32 %r7, 0;\nTOP:\nmul.wide.u32 %rd3, %r7, 4;\nsetp.lt.u32 %p1, %r7, %r2;\nadd.s32 %r7, %r7, 64;\n@%p1 bra TOP;";
    assert_eq!(answer(in_place), Answer::Proved);
    let in_bytes = "mov.u32 %r7, 0;\nTOP:\nadd.s32 %r7, %r7, 64;\nsetp.lt.s32 %p1, %r7, %r2;\n@%p1 bra TOP;\nmul.lo.s32 %r8, %r7, %r3;\nmul.lo.s32 %r8, %r8, 2;\ncvt.u64.u32 %rd3, %r8;";
    assert_ne!(answer(in_bytes), Answer::Proved);
}

#[test]
fn entries_of_lists_are_what_the_launch_promises() {
    let body = "mul.wide.u32 %rd6, %r5, 4;\nadd.s64 %rd7, %rd2, %rd6;\nld.global.u32 %r7, [%rd7];\nmul.lo.s32 %r8, %r7, %r3;\ncvt.s64.s32 %rd3, %r8;";
    assert_eq!(answer(body), Answer::Proved);
    let (refuted, labels) = answer_under(body, &contract(1 << 20, 1 << 12, 1 << 19));
    assert_eq!(refuted, Answer::Refuted);
    assert!(labels[0].contains("computes 2147483648 here"), "{labels:?}");
    // Any number, and nothing is computed from it.
    let data = "ld.global.u32 %r7, [%rd1];\ncvt.s64.s32 %rd3, %r7;";
    assert_eq!(answer(data), Answer::Proved);
    let data = "ld.global.u32 %r7, [%rd1];\nadd.s32 %r8, %r7, 1;\ncvt.s64.s32 %rd3, %r8;";
    assert_eq!(answer(data), Answer::Unknown);
}

//! `wgmma` of every format, layout and order against plain sums of numbers small enough to be exact.

use super::execute;
use flashproof::vm::{Initial, Launch, Memory};
use half::{bf16, f16};

#[derive(Clone, Copy, Debug)]
struct Form {
    d: &'static str,
    a: &'static str,
    b: &'static str,
    n: usize,
    /// Bytes of a row of the swizzle; 16 for none.
    span: usize,
    transpose_a: bool,
    transpose_b: bool,
    a_in_registers: bool,
    accumulate: bool,
    negate: [bool; 2],
}

/// Whole numbers from -2 to 2.
fn number(seed: usize) -> f32 {
    f32::from(u8::try_from((seed * 7 + seed / 5 * 3 + seed / 31) % 5).unwrap()) - 2.0
}

fn bits(ty: &str, x: f32) -> Vec<u8> {
    let small = |one: u8, two: u8| {
        vec![
            u8::from(x < 0.0) << 7
                | if x.abs() > 1.5 {
                    two
                } else if x == 0.0 {
                    0
                } else {
                    one
                },
        ]
    };
    match ty {
        "f16" => f16::from_f32(x).to_le_bytes().to_vec(),
        "bf16" => bf16::from_f32(x).to_le_bytes().to_vec(),
        // The low 13 bits do not count.
        "tf32" => (x.to_bits() | 0x1abc).to_le_bytes().to_vec(),
        "e4m3" => small(0x38, 0x40),
        "e5m2" => small(0x3c, 0x40),
        _ => unreachable!("{ty}"),
    }
}

fn size(ty: &str) -> usize {
    match ty {
        "tf32" => 4,
        "f16" | "bf16" => 2,
        _ => 1,
    }
}

/// Offset of an element by row and depth.
type Place = Box<dyn Fn(usize, usize) -> usize>;

/// Image of an operand of `rows` rows and 32 bytes of depth, and its descriptor without the address. `at(row, k)`.
fn image(
    ty: &str,
    rows: usize,
    span: usize,
    transposed: bool,
    at: &dyn Fn(usize, usize) -> f32,
) -> (Vec<u8>, u64) {
    let depth = 32 / size(ty);
    let element_bytes = size(ty);
    let swizzle = move |linear: usize| linear ^ ((linear / 128 % (span / 16)) * 16);
    let (leading, stride, place): (usize, usize, Place) = if !transposed {
        let (leading, stride) = (rows * 16, if span == 16 { 128 } else { 8 * span });
        let place = move |row: usize, k: usize| {
            let byte = k * element_bytes;
            let inside = if span == 16 {
                byte % 16 + byte / 16 * leading
            } else {
                byte
            };
            swizzle(row / 8 * stride + row % 8 * span + inside)
        };
        (leading, stride, Box::new(place))
    } else if span == 16 {
        // Eight rows and eight of k are 128 bytes; k first.
        let (leading, stride) = (128, 256);
        let place =
            move |row: usize, k: usize| k / 8 * 128 + k % 8 * 16 + row / 8 * 256 + row % 8 * 2;
        (leading, stride, Box::new(place))
    } else {
        let across = span / 2;
        let (leading, stride) = (16 * span, 8 * span);
        let place = move |row: usize, k: usize| {
            swizzle(k / 8 * 8 * span + k % 8 * span + row / across * 16 * span + row % across * 2)
        };
        (leading, stride, Box::new(place))
    };
    let mut image = Vec::new();
    for row in 0..rows {
        for k in 0..depth {
            let start = place(row, k);
            let element = bits(ty, at(row, k));
            if image.len() < start + element.len() {
                image.resize(start + element.len(), 0);
            }
            image[start..start + element.len()].copy_from_slice(&element);
        }
    }
    image.resize(image.len().next_multiple_of(16), 0);
    let mode = match span {
        16 => 0_u64,
        128 => 1,
        64 => 2,
        _ => 3,
    };
    let field = |bytes: usize| u64::try_from(bytes / 16).unwrap();
    (
        image,
        field(leading) << 16 | field(stride) << 32 | mode << 62,
    )
}

fn kernel(form: Form) -> String {
    let k = 32 / size(form.a);
    let f16 = form.d == "f16";
    let count = if f16 { form.n / 4 } else { form.n / 2 };
    let d: Vec<String> = (0..count).map(|i| format!("%d{i}")).collect();
    let one = if f16 { "0x3c003c00" } else { "0f3F800000" };
    let kind = if f16 { "b32" } else { "f32" };
    let fill: String = d
        .iter()
        .map(|d| format!("mov.{kind} {d}, {one};\n"))
        .collect();
    let store: String = d
        .iter()
        .enumerate()
        .map(|(i, d)| format!("st.global.{kind} [%rd5+{}], {d};\n", 4 * i))
        .collect();
    let sign = |negative: bool| if negative { "-1" } else { "1" };
    let mut flags = format!("{}, {}", sign(form.negate[0]), sign(form.negate[1]));
    if size(form.a) == 2 {
        if !form.a_in_registers {
            flags += &format!(", {}", u8::from(form.transpose_a));
        }
        flags += &format!(", {}", u8::from(form.transpose_b));
    }
    let a = if form.a_in_registers {
        "{%r10, %r11, %r12, %r13}"
    } else {
        "%rd3"
    };
    // Register j of a lane: row lane / 4 + 8 (j & 1), 4 bytes from 4 (lane % 4) + 16 (j >> 1), out of a plain image.
    let fragments: String = (0..4)
        .map(|j| {
            format!(
                "ld.shared.b32 %r{}, [%r6+{}];\n",
                10 + j,
                32 * 8 * (j & 1) + 16 * (j >> 1)
            )
        })
        .collect();
    let fragments = if form.a_in_registers {
        fragments
    } else {
        String::new()
    };
    format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 a_desc, .param .u64 b_desc, \
         .param .u64 out, .param .u32 a_bytes, .param .u32 b_bytes, .param .u32 scale) {{\n\
         .reg .b32 %r<20>;\n.reg .b64 %rd<9>;\n.reg .pred %p<4>;\n.reg .{kind} %d<{count}>;\n\
         .shared .align 1024 .b8 a_tile[32768];\n.shared .align 1024 .b8 b_tile[32768];\n.shared .align 8 .b64 full;\n\
         mov.u32 %r1, a_tile;\nmov.u32 %r2, b_tile;\nmov.u32 %r3, full;\nmov.u32 %r4, %tid.x;\n\
         setp.ne.u32 %p1, %r4, 0;\n@%p1 bra READY;\nmbarrier.init.shared::cta.b64 [%r3], 1;\nfence.proxy.async;\n\
         ld.param.u64 %rd1, [a];\nld.param.u64 %rd2, [b];\nld.param.u32 %r7, [a_bytes];\nld.param.u32 %r8, [b_bytes];\n\
         mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r3], %r7;\nmbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], %r8;\n\
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1], %r7, [%r3];\n\
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd2], %r8, [%r3];\n\
         READY:\nbar.sync 0;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 %p2, [%r3], 0;\n@!%p2 bra WAIT;\n\
         ld.param.u64 %rd3, [a_desc];\nshr.u32 %r5, %r1, 4;\ncvt.u64.u32 %rd1, %r5;\nor.b64 %rd3, %rd3, %rd1;\n\
         ld.param.u64 %rd4, [b_desc];\nshr.u32 %r5, %r2, 4;\ncvt.u64.u32 %rd2, %r5;\nor.b64 %rd4, %rd4, %rd2;\n\
         shr.u32 %r5, %r4, 5;\nand.b32 %r9, %r4, 31;\nmul.lo.s32 %r6, %r5, 512;\nshr.u32 %r5, %r9, 2;\nmad.lo.s32 %r6, %r5, 32, %r6;\n\
         and.b32 %r5, %r9, 3;\nmad.lo.s32 %r6, %r5, 4, %r6;\nadd.s32 %r6, %r6, %r1;\n{fragments}{fill}\
         ld.param.u32 %r5, [scale];\nsetp.ne.b32 %p3, %r5, 0;\nwgmma.fence.sync.aligned;\n\
         wgmma.mma_async.sync.aligned.m64n{n}k{k}.{dt}.{at}.{bt} {{{regs}}}, {a}, %rd4, %p3, {flags};\n\
         wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n\
         ld.param.u64 %rd5, [out];\nmul.wide.u32 %rd6, %r4, {stride};\nadd.s64 %rd5, %rd5, %rd6;\n{store}ret;\n}}\n",
        n = form.n,
        dt = form.d,
        at = form.a,
        bt = form.b,
        regs = d.join(", "),
        stride = 4 * count,
    )
}

fn check(form: Form) {
    let depth = 32 / size(form.a);
    let a_at = |row: usize, k: usize| number(row * 64 + k + 1);
    let b_at = |column: usize, k: usize| number(column * 77 + 3 * k);
    let (a, a_desc) = if form.a_in_registers {
        let plain: Vec<u8> = (0..64)
            .flat_map(|row| (0..depth).flat_map(move |k| bits(form.a, a_at(row, k))))
            .collect();
        (plain, 0)
    } else {
        image(form.a, 64, form.span, form.transpose_a, &a_at)
    };
    let (b, b_desc) = image(form.b, form.n, form.span, form.transpose_b, &b_at);
    let mut memory = Memory::new();
    let (a_bytes, b_bytes) = (
        u32::try_from(a.len()).unwrap(),
        u32::try_from(b.len()).unwrap(),
    );
    let a = memory.allocate("a", Initial::Bytes(a), false);
    let b = memory.allocate("b", Initial::Bytes(b), false);
    let f16_out = form.d == "f16";
    let count = if f16_out { form.n / 4 } else { form.n / 2 };
    let out = memory.allocate("out", Initial::Uninitialised(512 * count), true);
    let mut params = Vec::new();
    for word in [a, b, a_desc, b_desc, out] {
        params.extend(word.to_le_bytes());
    }
    for word in [a_bytes, b_bytes, u32::from(form.accumulate)] {
        params.extend(word.to_le_bytes());
    }
    let launch = Launch {
        entry: String::new(),
        grid: [1; 3],
        cta: [128, 1, 1],
        shared_bytes: 0,
        params,
    };
    let report = execute(&kernel(form), launch, &mut memory, 0)
        .unwrap_or_else(|stop| panic!("{form:?}: {stop:#?}"));
    assert_eq!(report.findings, vec![], "{form:?}");
    let got = memory.bytes(out, 512 * count).unwrap();
    let sign = if form.negate[0] == form.negate[1] {
        1.0
    } else {
        -1.0
    };
    for thread in 0..128 {
        let (warp, lane) = (thread / 32, thread % 32);
        for element in 0..form.n / 2 {
            let row = 16 * warp + lane / 4 + 8 * (element / 2 % 2);
            let column = 8 * (element / 4) + 2 * (lane % 4) + element % 2;
            let sum: f32 = (0..depth).map(|k| a_at(row, k) * b_at(column, k)).sum();
            let want = sign * sum + if form.accumulate { 1.0 } else { 0.0 };
            let at = 4 * count * thread;
            let have = if f16_out {
                let at = at + 2 * element;
                f16::from_le_bytes([got[at], got[at + 1]]).to_f32()
            } else {
                let at = at + 4 * element;
                f32::from_le_bytes(got[at..at + 4].try_into().unwrap())
            };
            assert!(
                (have - want).abs() < 1e-9,
                "{form:?} row {row} column {column}: {have} for {want}"
            );
        }
    }
}

const PLAIN: Form = Form {
    d: "f32",
    a: "f16",
    b: "f16",
    n: 16,
    span: 128,
    transpose_a: false,
    transpose_b: false,
    a_in_registers: false,
    accumulate: true,
    negate: [false; 2],
};

#[test]
fn every_format() {
    for (d, a, b) in [
        ("f32", "f16", "f16"),
        ("f16", "f16", "f16"),
        ("f32", "bf16", "bf16"),
        ("f32", "tf32", "tf32"),
        ("f32", "e4m3", "e4m3"),
        ("f32", "e5m2", "e4m3"),
        ("f16", "e4m3", "e5m2"),
    ] {
        for a_in_registers in [false, true] {
            check(Form {
                d,
                a,
                b,
                a_in_registers,
                ..PLAIN
            });
            check(Form {
                d,
                a,
                b,
                a_in_registers,
                accumulate: false,
                negate: [true, false],
                span: 32,
                ..PLAIN
            });
        }
    }
}

#[test]
fn every_layout() {
    for span in [16, 32, 64, 128] {
        for (transpose_a, transpose_b) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            // Rows of a transposed operand come in whole spans.
            check(Form {
                span,
                transpose_a,
                transpose_b,
                n: 64,
                ..PLAIN
            });
            check(Form {
                span,
                transpose_a,
                transpose_b,
                n: 128,
                a: "bf16",
                b: "bf16",
                ..PLAIN
            });
        }
    }
}

#[test]
fn every_width() {
    for n in (8..=256).step_by(8) {
        check(Form {
            n,
            negate: [n % 16 == 0; 2],
            ..PLAIN
        });
    }
}

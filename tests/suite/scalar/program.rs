//! A random program: as text for the virtual machine, as steps for the scalar one. The fuzz target `program` shares this
//! file, so it depends on no test crate.

use super::exact;
use super::interpreter::{Flags, lane, shuffle};
use flashproof::ptx::parse;
use flashproof::vm::{Initial, Launch, Memory, Options, run};
use std::fmt::Write;

/// Opcode, then the width of each operand, destination first: `r` 32 bits, `d` 64, `h` 16, `p` predicate, `n` a number
/// below 256.
const TEMPLATES: &str = "
add.u32 rrr|add.s64 ddd|add.u16 hhh|sub.s32 rrr|sub.u64 ddd|sub.s16 hhh|add.sat.s32 rrr|sub.sat.s32 rrr
mul.lo.s32 rrr|mul.lo.u64 ddd|mul.lo.s16 hhh|mul.hi.s32 rrr|mul.hi.u32 rrr|mul.hi.s64 ddd|mul.hi.u64 ddd|mul.hi.u16 hhh
mul.wide.s32 drr|mul.wide.u32 drr|mul.wide.s16 rhh|mul.wide.u16 rhh|mad.lo.s32 rrrr|mad.hi.u32 rrrr|mad.lo.u64 dddd
mad.wide.s32 drrd|mad.wide.u16 rhhr|mul24.lo.s32 rrr|mul24.hi.u32 rrr|mad24.lo.u32 rrrr|mad24.hi.s32 rrrr
sad.s32 rrrr|sad.u64 dddd|sad.u16 hhhh|div.s32 rrr|div.u64 ddd|div.s16 hhh|rem.u32 rrr|rem.s64 ddd|rem.u16 hhh
min.s32 rrr|min.u64 ddd|max.s16 hhh|max.u32 rrr|neg.s32 rr|neg.s64 dd|abs.s16 hh|abs.s32 rr
and.b32 rrr|or.b64 ddd|xor.b16 hhh|xor.b32 rrr|not.b64 dd|not.b16 hh|and.pred ppp|or.pred ppp|xor.pred ppp|not.pred pp
shl.b32 rrr|shl.b64 ddr|shl.b16 hhr|shr.u32 rrr|shr.s64 ddr|shr.s16 hhr|shr.u16 hhr
shf.l.wrap.b32 rrrr|shf.l.clamp.b32 rrrr|shf.r.wrap.b32 rrrr|shf.r.clamp.b32 rrrr|lop3.b32 rrrrn|prmt.b32 rrrr
bfe.u32 rrrr|bfe.s32 rrrr|bfe.s64 ddrr|bfe.u64 ddrr|bfi.b32 rrrrr|bfi.b64 dddrr
popc.b32 rr|popc.b64 rd|clz.b32 rr|clz.b64 rd|brev.b32 rr|brev.b64 dd|bfind.s32 rr|bfind.u64 rd|bfind.shiftamt.s64 rd
dp4a.s32.s32 rrrr|dp4a.u32.s32 rrrr|dp2a.lo.s32.u32 rrrr|dp2a.hi.u32.u32 rrrr
add.cc.u32 rrr|addc.cc.u32 rrr|addc.u32 rrr|sub.cc.u64 ddd|subc.cc.s32 rrr|subc.u64 ddd
setp.eq.s32 prr|setp.lt.s64 pdd|setp.hi.u16 phh|setp.ge.u32 prr|setp.le.s16 phh|setp.lt.f32 prr|setp.neu.f64 pdd
setp.ge.ftz.f32 prr|setp.gtu.f16 phh|setp.nan.bf16 phh|setp.num.f32 prr|setp.equ.bf16 phh
set.gt.u32.s32 rrr|set.leu.f32.f32 rrr|set.lt.ftz.s32.f32 rrr|selp.b32 rrrp|selp.b64 dddp|selp.u16 hhhp
slct.b32.s32 rrrr|slct.b64.f32 dddr|slct.ftz.u16.f32 hhhr|testp.normal.f32 pr|testp.subnormal.f64 pd|testp.finite.f32 pr
copysign.f32 rrr|copysign.f64 ddd|mov.b32 rr|mov.b64 dd|mov.u16 hh
add.f32 rrr|add.rz.f32 rrr|add.rm.ftz.f32 rrr|sub.rp.f32 rrr|sub.ftz.f32 rrr|mul.f32 rrr|mul.rz.f32 rrr|mul.rp.sat.f32 rrr
mul.ftz.f32 rrr|fma.rn.f32 rrrr|fma.rz.f32 rrrr|fma.rm.ftz.f32 rrrr|fma.rp.sat.f32 rrrr|add.sat.f32 rrr
div.rn.f32 rrr|div.rz.f32 rrr|div.rm.ftz.f32 rrr|div.rp.f32 rrr|rcp.rn.f32 rr|rcp.rp.ftz.f32 rr|sqrt.rn.f32 rr|sqrt.rz.f32 rr|sqrt.rp.f32 rr
min.f32 rrr|max.NaN.f32 rrr|min.ftz.f32 rrr|max.xorsign.abs.f32 rrr|min.NaN.xorsign.abs.f32 rrr|neg.f32 rr|abs.f32 rr
add.rn.f64 ddd|add.rm.f64 ddd|sub.rz.f64 ddd|mul.rn.f64 ddd|mul.rp.f64 ddd|fma.rn.f64 dddd|fma.rz.f64 dddd|fma.rm.f64 dddd
div.rn.f64 ddd|div.rp.f64 ddd|rcp.rz.f64 dd|sqrt.rn.f64 dd|sqrt.rm.f64 dd|min.f64 ddd|max.f64 ddd
add.rn.f16 hhh|mul.f16 hhh|fma.rn.f16 hhhh|fma.rn.relu.f16 hhhh|sub.sat.f16 hhh|add.ftz.f16 hhh|max.f16 hhh|min.NaN.f16 hhh
fma.rn.bf16 hhhh|fma.rn.relu.bf16 hhhh|max.NaN.bf16 hhh|neg.bf16 hh|abs.f16 hh
add.f16x2 rrr|mul.rn.f16x2 rrr|fma.rn.f16x2 rrrr|fma.rn.sat.f16x2 rrrr|fma.rn.bf16x2 rrrr|max.bf16x2 rrr|min.xorsign.abs.f16x2 rrr
cvt.s64.s32 dr|cvt.u64.u32 dr|cvt.s32.s64 rd|cvt.u16.u32 hr|cvt.s32.s16 rh|cvt.sat.s16.s32 hr|cvt.sat.u32.s64 rd
cvt.rn.f32.s32 rr|cvt.rz.f32.u64 rd|cvt.rp.f32.s64 rd|cvt.rn.f64.s64 dd|cvt.rm.f64.u64 dd|cvt.rn.f16.s32 hr|cvt.rn.f32.u16 rh
cvt.rzi.s32.f32 rr|cvt.rni.u32.f32 rr|cvt.rmi.s64.f32 dr|cvt.rpi.s32.f64 rd|cvt.rzi.u64.f64 dd|cvt.rni.s16.f16 hh|cvt.rzi.ftz.s32.f32 rr
cvt.rn.f16.f32 hr|cvt.rz.f16.f32 hr|cvt.rn.bf16.f32 hr|cvt.rz.relu.bf16.f32 hr|cvt.f32.f16 rh|cvt.f32.bf16 rh|cvt.rn.f32.f64 rd
cvt.rm.f32.f64 rd|cvt.f64.f32 dr|cvt.rni.f32.f32 rr|cvt.rzi.f32.f32 rr|cvt.sat.f32.f32 rr|cvt.ftz.f64.f32 dr
cvt.rn.f16x2.f32 rrr|cvt.rn.relu.bf16x2.f32 rrr|cvt.rz.f16x2.f32 rrr
shfl.bfly rrr|shfl.idx rrr|shfl.up rrr|shfl.down rrr|ballot rp|any pp|all pp|match rr|redux.add.u32 rr|redux.min.s32 rr|redux.max.u32 rr|redux.xor.b32 rr|exchange rrr
";

/// Registers of a kind, and bytes of a lane's input or output.
const COUNT: usize = 6;
const LANE_BYTES: usize = 4 * COUNT + 8 * COUNT + 2 * COUNT + 4 * COUNT;

/// Distance of two lanes in memory: 64-bit values stand at multiples of 8.
const STRIDE: usize = LANE_BYTES.next_multiple_of(8);

/// Registers of a lane: 32, 64, 16 bits, predicates.
#[derive(Clone, Debug, Default)]
struct Lane {
    r: [u64; COUNT],
    d: [u64; COUNT],
    h: [u64; COUNT],
    p: [u64; COUNT],
    flags: Flags,
}

impl Lane {
    fn of(&mut self, kind: char) -> &mut [u64; COUNT] {
        match kind {
            'r' => &mut self.r,
            'd' => &mut self.d,
            'h' => &mut self.h,
            _ => &mut self.p,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        self.d.iter().for_each(|x| all.extend(x.to_le_bytes()));
        self.r
            .iter()
            .for_each(|x| all.extend(&x.to_le_bytes()[..4]));
        self.p
            .iter()
            .for_each(|x| all.extend(&x.to_le_bytes()[..4]));
        self.h
            .iter()
            .for_each(|x| all.extend(&x.to_le_bytes()[..2]));
        all.resize(STRIDE, 0);
        all
    }
}

/// One instruction: its template and what picks its operands.
#[derive(Clone, Debug)]
struct Step {
    opcode: &'static str,
    kinds: &'static str,
    /// Register of each operand, or an immediate.
    operands: Vec<Result<usize, u64>>,
    immediate: u64,
}

fn edge(kind: char, pick: u64) -> u64 {
    const WORDS: [u64; 16] = [
        0,
        1,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        31,
        32,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0001,
        0x0000_0001,
        0x807f_ffff,
        0x3f80_0000,
        0x7f7f_ffff,
        0x4f00_0000,
        0x3c00_7bff,
    ];
    const LONGS: [u64; 12] = [
        0,
        1,
        u64::MAX,
        1 << 63,
        (1 << 63) - 1,
        0x3ff0_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        0x000f_ffff_ffff_ffff,
        0x7fef_ffff_ffff_ffff,
        0x41df_ffff_ffe0_0000,
        0xffff_ffff,
    ];
    const HALVES: [u64; 12] = [
        0, 1, 0x7fff, 0x8000, 0xffff, 0x3c00, 0x7c00, 0x7bff, 0x83ff, 0x3f80, 0x7f80, 0xfc00,
    ];
    let at = |list: &[u64]| list[usize::try_from(pick).unwrap() % list.len()];
    match kind {
        'r' => at(&WORDS),
        'd' => at(&LONGS),
        'h' => at(&HALVES),
        _ => pick & 1,
    }
}

pub(crate) fn templates() -> Vec<(&'static str, &'static str)> {
    TEMPLATES
        .lines()
        .flat_map(|line| line.split('|'))
        .filter_map(|template| template.split_once(' '))
        .collect()
}

fn step(raw: [u64; 7]) -> Step {
    let templates = templates();
    let (opcode, kinds) = templates[usize::try_from(raw[0]).unwrap() % templates.len()];
    let across = matches!(opcode, "ballot" | "any" | "all" | "match" | "exchange")
        || opcode.starts_with("shfl")
        || opcode.starts_with("redux");
    let float = opcode
        .split('.')
        .any(|part| matches!(part, "f32" | "f64" | "f16" | "bf16" | "f16x2" | "bf16x2"));
    let operands = kinds
        .chars()
        .zip(&raw[1..])
        .enumerate()
        .map(|(at, (kind, pick))| {
            if kind == 'n' {
                Err(pick & 255)
            } else if at > 1 && kind == 'r' && !across && !float && pick & 7 == 0 {
                Err(edge('r', pick >> 3))
            } else {
                Ok(usize::try_from(pick >> 3).unwrap() % COUNT)
            }
        })
        .collect();
    Step {
        opcode,
        kinds,
        operands,
        immediate: raw[6],
    }
}

/// Lane masks and clamps that `shfl` meets in practice, and others.
fn clamp(opcode: &str, pick: u64) -> u64 {
    let whole = if opcode.ends_with("up") { 0 } else { 31 };
    [
        whole,
        0x1800 | whole & 7,
        0x1000 | whole & 15,
        pick & 0x1f1f,
    ][usize::try_from(pick % 4).unwrap()]
}

/// Whether the result may be an f64 NaN made here, whose payload nothing pins.
fn gives_f64(opcode: &str, kinds: &str) -> bool {
    kinds.starts_with('d') && (opcode.ends_with("f64") || opcode.contains(".f64.f"))
}

fn text(step: &Step) -> String {
    let names: Vec<String> = step
        .operands
        .iter()
        .zip(step.kinds.chars())
        .map(|(operand, kind)| match operand {
            Ok(register) => format!("%{kind}{register}"),
            Err(number) => number.to_string(),
        })
        .collect();
    let all = "0xffffffff";
    let (first, rest) = (&names[0], names[1..].join(", "));
    match step.opcode {
        "ballot" => format!("vote.sync.ballot.b32 {first}, {rest}, {all};"),
        "any" | "all" => format!("vote.sync.{}.pred {first}, {rest}, {all};", step.opcode),
        "match" => format!("match.any.sync.b32 {first}, {rest}, {all};"),
        "exchange" => format!(
            "st.shared.b32 [%mine], {};\nbar.warp.sync {all};\nand.b32 %t, {}, 31;\nshl.b32 %t, %t, 2;\nadd.u32 %t, %t, buffer;\n\
             ld.shared.b32 {first}, [%t];\nbar.warp.sync {all};",
            names[1], names[2]
        ),
        opcode if opcode.starts_with("shfl") => {
            let mode = opcode.trim_start_matches("shfl.");
            let c = clamp(opcode, step.immediate);
            format!(
                "shfl.sync.{mode}.b32 {first}|%q, {rest}, {c}, {all};\nselp.b32 {first}, {first}, 77, %q;"
            )
        }
        opcode if opcode.starts_with("redux") => {
            format!(
                "redux.sync.{} {first}, {rest}, {all};",
                opcode.trim_start_matches("redux.")
            )
        }
        opcode if gives_f64(opcode, step.kinds) => {
            format!(
                "{opcode} {first}, {rest};\ntestp.number.f64 %q, {first};\nselp.b64 {first}, {first}, 0x7ff8000000000000, %q;"
            )
        }
        opcode => format!("{opcode} {first}, {rest};"),
    }
}

fn program(steps: &[Step]) -> String {
    let mut t = String::from(
        ".version 8.6\n.target sm_90\n.address_size 64\n.visible .entry random(.param .u64 in, .param .u64 out) {\n\
         .reg .b32 %r<8>; .reg .b64 %d<8>; .reg .b16 %h<8>; .reg .pred %p<8>; .reg .pred %q; .reg .b32 %t; .reg .b32 %lane; .reg .b32 %mine;\n\
         .reg .b64 %from; .reg .b64 %to; .reg .b64 %off;\n.shared .align 4 .b8 buffer[128];\nmov.u32 %lane, %tid.x;\n\
         shl.b32 %mine, %lane, 2;\nadd.u32 %mine, %mine, buffer;\nld.param.u64 %from, [in];\nld.param.u64 %to, [out];\n",
    );
    writeln!(
        t,
        "mul.wide.u32 %off, %lane, {STRIDE};\nadd.s64 %from, %from, %off;\nadd.s64 %to, %to, %off;"
    )
    .unwrap();
    let places = || {
        (0..COUNT).map(|i| {
            (
                i,
                8 * i,
                8 * COUNT + 4 * i,
                12 * COUNT + 4 * i,
                16 * COUNT + 2 * i,
            )
        })
    };
    for (i, d, r, p, h) in places() {
        writeln!(t, "ld.global.b64 %d{i}, [%from+{d}];\nld.global.b32 %r{i}, [%from+{r}];\nld.global.b32 %t, [%from+{p}];").unwrap();
        writeln!(
            t,
            "setp.ne.s32 %p{i}, %t, 0;\nld.global.b16 %h{i}, [%from+{h}];"
        )
        .unwrap();
    }
    for step in steps {
        t.push_str(&text(step));
        t.push('\n');
    }
    for (i, d, r, p, h) in places() {
        writeln!(t, "st.global.b64 [%to+{d}], %d{i};\nst.global.b32 [%to+{r}], %r{i};\nselp.b32 %t, 1, 0, %p{i};").unwrap();
        writeln!(
            t,
            "st.global.b32 [%to+{p}], %t;\nst.global.b16 [%to+{h}], %h{i};"
        )
        .unwrap();
    }
    t.push_str("ret;\n}\n");
    t
}

fn interpret(steps: &[Step], lanes: &mut [Lane]) {
    for step in steps {
        let kinds: Vec<char> = step.kinds.chars().collect();
        let sources: Vec<Vec<u64>> = lanes
            .iter_mut()
            .map(|lane| {
                (1..kinds.len())
                    .map(|at| match step.operands[at] {
                        Ok(register) => lane.of(kinds[at])[register],
                        Err(number) => number,
                    })
                    .collect()
            })
            .collect();
        let column = |at: usize| sources.iter().map(move |s| s[at]);
        let number = |lane: usize| u64::try_from(lane).unwrap();
        let results: Vec<u64> = (0..32)
            .map(|at| {
                let own = &sources[at];
                match step.opcode {
                    "ballot" => column(0)
                        .enumerate()
                        .fold(0, |mask, (lane, p)| mask | p << lane),
                    "any" => u64::from(column(0).any(|p| p == 1)),
                    "all" => u64::from(column(0).all(|p| p == 1)),
                    "match" => column(0)
                        .enumerate()
                        .fold(0, |mask, (lane, x)| mask | u64::from(x == own[0]) << lane),
                    "exchange" => sources[usize::try_from(own[1] & 31).unwrap()][0],
                    opcode if opcode.starts_with("shfl") => {
                        let mode = opcode.trim_start_matches("shfl.");
                        let (from, inside) =
                            shuffle(mode, number(at), own[1], clamp(opcode, step.immediate));
                        if inside {
                            sources[usize::try_from(from).unwrap()][0]
                        } else {
                            77
                        }
                    }
                    opcode if opcode.starts_with("redux") => {
                        let inner = opcode.trim_start_matches("redux.");
                        let mut flags = Flags::default();
                        column(0)
                            .reduce(|a, b| lane(inner, &[a, b], &mut flags))
                            .unwrap()
                    }
                    opcode => {
                        let logic = opcode
                            .strip_suffix(".pred")
                            .map(|word| format!("{word}.b32"));
                        let result = lane(
                            logic.as_deref().unwrap_or(opcode),
                            own,
                            &mut lanes[at].flags,
                        );
                        let nan = gives_f64(opcode, step.kinds) && exact::F64.is_nan(result);
                        if nan {
                            0x7ff8_0000_0000_0000
                        } else if kinds[0] == 'p' {
                            result & 1
                        } else {
                            result
                        }
                    }
                }
            })
            .collect();
        let Ok(register) = step.operands[0] else {
            panic!("a destination is a register")
        };
        for (lane, result) in lanes.iter_mut().zip(results) {
            lane.of(kinds[0])[register] = result;
        }
    }
}

/// `SplitMix64`.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn inputs(seed: u64) -> Vec<Lane> {
    let mut state = seed;
    (0..32)
        .map(|_| {
            let mut lane = Lane::default();
            for (kind, keep) in [('r', 0xffff_ffff), ('d', u64::MAX), ('h', 0xffff), ('p', 1)] {
                for value in lane.of(kind) {
                    let (choice, bits) = (next(&mut state), next(&mut state));
                    *value = if choice & 1 == 0 {
                        edge(kind, bits)
                    } else {
                        bits & keep
                    };
                }
            }
            lane
        })
        .collect()
}

/// Runs the program that `raw` picks on both machines, on the lanes that `seed` picks.
///
/// # Errors
/// With the program, where they differ or the virtual machine refuses it.
pub(crate) fn check(raw: &[[u64; 7]], seed: u64) -> Result<(), String> {
    let steps: Vec<Step> = raw.iter().map(|raw| step(*raw)).collect();
    let text = program(&steps);
    let module = parse("random", &text).map_err(|error| format!("{error}\n{text}"))?;
    let mut lanes = inputs(seed);
    let mut memory = Memory::new();
    let from = memory.allocate(
        "in",
        Initial::Bytes(lanes.iter().flat_map(Lane::bytes).collect()),
        false,
    );
    let to = memory.allocate("out", Initial::Uninitialised(32 * STRIDE), true);
    let launch = Launch {
        entry: "random".to_owned(),
        grid: [1; 3],
        cta: [32, 1, 1],
        shared_bytes: 0,
        params: [from.to_le_bytes(), to.to_le_bytes()].concat(),
    };
    let report = run(&module, &launch, &mut memory, &Options::default())
        .map_err(|stop| format!("{stop}\n{text}"))?;
    if !report.findings.is_empty() {
        return Err(format!("{:?}\n{text}", report.findings));
    }
    interpret(&steps, &mut lanes);
    for (at, lane) in lanes.iter().enumerate() {
        let got = memory
            .bytes(to + u64::try_from(at * STRIDE).unwrap(), LANE_BYTES)
            .unwrap();
        let want = lane.bytes();
        if let Some(byte) = (0..LANE_BYTES).find(|i| got[*i] != want[*i]) {
            let body: Vec<String> = steps.iter().map(self::text).collect();
            return Err(format!(
                "lane {at} byte {byte} (d from 0, r from {}, p from {}, h from {}): {:02x?} for {:02x?}\n{}",
                8 * COUNT,
                12 * COUNT,
                16 * COUNT,
                &got[byte / 4 * 4..LANE_BYTES.min(byte / 4 * 4 + 8)],
                &want[byte / 4 * 4..LANE_BYTES.min(byte / 4 * 4 + 8)],
                body.join("\n")
            ));
        }
    }
    Ok(())
}

/// Bytes of a seed and of an instruction, as [`check_bytes`] reads them.
const SEED_BYTES: usize = 2;
const STEP_BYTES: usize = 9;

/// Reads bytes as a program of at most 64 instructions and checks it: of a step, two bytes for the template, one for each
/// operand, two for an immediate.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_bytes(bytes: &[u8]) -> Result<(), String> {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (seed, steps) = bytes.split_at(SEED_BYTES.min(bytes.len()));
    let raw: Vec<[u64; 7]> = steps
        .chunks_exact(STEP_BYTES)
        .take(64)
        .map(|step| {
            let mut raw = [0; 7];
            raw[0] = number(&step[..2]);
            for (pick, byte) in raw[1..6].iter_mut().zip(&step[2..7]) {
                *pick = u64::from(*byte);
            }
            raw[6] = number(&step[7..]);
            raw
        })
        .collect();
    check(&raw, number(seed))
}

//! Random straight-line programs of one warp: what PTX pins to the bit.

use super::{Probe, draw};
use crate::convert::{index, low_u32};
use std::fmt::Write;

/// Registers of a lane.
const REGISTERS: usize = 8;

/// Instructions, each with its number of operands after the first; every register has 32 bits of no type. Nothing here is
/// approximate, and every NaN that arises is the canonical one.
const INSTRUCTIONS: [(&str, usize); 52] = [
    ("add.u32", 2),
    ("sub.u32", 2),
    ("mul.lo.u32", 2),
    ("mul.hi.u32", 2),
    ("mul.hi.s32", 2),
    ("mad.lo.s32", 3),
    ("mad.hi.u32", 3),
    ("min.s32", 2),
    ("max.u32", 2),
    ("and.b32", 2),
    ("or.b32", 2),
    ("xor.b32", 2),
    ("not.b32", 1),
    ("shl.b32", 2),
    ("shr.u32", 2),
    ("shr.s32", 2),
    ("shf.l.wrap.b32", 3),
    ("shf.r.clamp.b32", 3),
    ("prmt.b32", 3),
    ("bfe.u32", 3),
    ("bfe.s32", 3),
    ("popc.b32", 1),
    ("clz.b32", 1),
    ("brev.b32", 1),
    ("abs.s32", 1),
    ("neg.s32", 1),
    ("add.rn.f32", 2),
    ("add.rz.f32", 2),
    ("sub.rn.ftz.f32", 2),
    ("mul.rn.f32", 2),
    ("mul.rm.f32", 2),
    ("mul.rp.ftz.f32", 2),
    ("fma.rn.f32", 3),
    ("fma.rz.ftz.f32", 3),
    ("min.f32", 2),
    ("max.NaN.f32", 2),
    ("div.rn.f32", 2),
    ("rcp.rn.f32", 1),
    ("sqrt.rn.f32", 1),
    ("sqrt.rz.ftz.f32", 1),
    ("add.rn.f16x2", 2),
    ("mul.rn.f16x2", 2),
    ("fma.rn.f16x2", 3),
    ("fma.rn.relu.f16x2", 3),
    ("fma.rn.bf16x2", 3),
    ("min.f16x2", 2),
    ("max.bf16x2", 2),
    ("cvt.rn.f16x2.f32", 2),
    ("cvt.rz.bf16x2.f32", 2),
    ("cvt.rni.s32.f32", 1),
    ("cvt.rzi.u32.f32", 1),
    ("cvt.rn.f32.s32", 1),
];

/// A program of so many instructions, over inputs of its own.
pub fn random(seed: u64, length: usize) -> Probe {
    let mut ptx = String::from(
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry probe(.param .u64 in, .param .u64 out)\n{\n\
         .reg .b32 %r<8>;\n.reg .b32 %lane;\n.reg .b64 %from;\n.reg .b64 %to;\n.reg .b64 %place;\n\
         ld.param.u64 %from, [in];\nld.param.u64 %to, [out];\nmov.u32 %lane, %tid.x;\n\
         mul.wide.u32 %place, %lane, 32;\nadd.s64 %from, %from, %place;\nadd.s64 %to, %to, %place;\n",
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        writeln!(ptx, "{text}").expect("writing to a string does not fail");
    };
    for register in 0..REGISTERS {
        line(format_args!(
            "ld.global.b32 %r{register}, [%from+{}];",
            4 * register
        ));
    }
    for step in 0..length {
        let bits = draw(seed, step);
        // Numbers of 5 bits and more, taken from places that do not overlap.
        let part = |from: u32, below: usize| index(low_u32(bits >> from) & 0xffff) % below;
        let (name, operands) = INSTRUCTIONS[part(0, INSTRUCTIONS.len())];
        let first = part(16, REGISTERS);
        if step % 11 == 10 {
            let lanes = part(32, 31) + 1;
            line(format_args!(
                "shfl.sync.bfly.b32 %r{first}, %r{}, {lanes}, 31, 0xffffffff;",
                part(48, REGISTERS)
            ));
            continue;
        }
        let sources: Vec<String> = (0..operands)
            .map(|i| format!("%r{}", part([20, 32, 44][i], REGISTERS)))
            .collect();
        line(format_args!("{name} %r{first}, {};", sources.join(", ")));
    }
    for register in 0..REGISTERS {
        line(format_args!(
            "st.global.b32 [%to+{}], %r{register};",
            4 * register
        ));
    }
    ptx.push_str("ret;\n}\n");
    let input: Vec<u32> = (0..32 * REGISTERS)
        .map(|i| value(draw(seed ^ 0x696e_7075_7473, i)))
        .collect();
    let name = format!("program {seed} of {length} instructions");
    Probe::new(name, ptx, [1, 32], &input, 32 * REGISTERS)
}

/// Any bits, a float near 1, or an edge.
fn value(bits: u64) -> u32 {
    const EDGES: [u32; 12] = [
        0,
        0x8000_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0x0000_0001,
        0x007f_ffff,
        0x0080_0000,
        0x7f7f_ffff,
        0x3c00_7bff,
        0x0001_8400,
        0xffff_ffff,
    ];
    let word = low_u32(bits);
    match bits >> 62 {
        0 => EDGES[index(low_u32(bits >> 32) & 0xff) % EDGES.len()],
        1 => 0x3f00_0000 + (word & 0x81ff_ffff),
        // Two classes of any bits.
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Target;

    #[test]
    fn every_instruction_runs_here() {
        let mut seen = String::new();
        for seed in 0..30 {
            let probe = random(seed, 60);
            probe
                .in_vm(Target::Sm90)
                .unwrap_or_else(|error| panic!("{error}\n{}", probe.ptx));
            seen += &probe.ptx;
        }
        for (name, _) in INSTRUCTIONS {
            assert!(seen.contains(&format!("\n{name} ")), "{name}");
        }
    }

    #[test]
    fn programs_are_their_seeds() {
        assert_eq!(random(7, 40), random(7, 40));
        assert_ne!(random(7, 40).ptx, random(8, 40).ptx);
    }
}

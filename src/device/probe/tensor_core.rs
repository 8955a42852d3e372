//! Tensor-core products of operands on which published measurements are silent.

use super::{Probe, draw};
use crate::convert::low_u32;

/// Which operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Any bits: infinities and NaN too.
    Any,
    /// Magnitudes near 1.
    Near,
    /// Subnormal numbers and the smallest normal ones, the accumulator too.
    Tiny,
    /// Zeros and tiny numbers in one factor, the largest numbers in the other.
    ZeroTimesHuge,
    /// Zeros of both signs alone.
    Zeros,
    /// Every exponent.
    Spread,
    /// Every exponent, with an accumulator of 0.
    SpreadFromZero,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Any,
        Self::Near,
        Self::Tiny,
        Self::ZeroTimesHuge,
        Self::Zeros,
        Self::Spread,
        Self::SpreadFromZero,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any bits",
            Self::Near => "near 1",
            Self::Tiny => "subnormal",
            Self::ZeroTimesHuge => "zero times huge",
            Self::Zeros => "signed zeros",
            Self::Spread => "every exponent",
            Self::SpreadFromZero => "every exponent, c = 0",
        }
    }
}

/// Formats of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The instruction up to its operands.
    pub instruction: &'static str,
    /// Formats of factors and accumulator, exponent and mantissa bits.
    factor: Bits,
    accumulator: Bits,
    /// Words of a, b, c a thread.
    words: [usize; 3],
    /// A warpgroup's, with b in shared memory, or a warp's.
    is_warpgroup: bool,
    /// Signs of a and b, where the instruction has them.
    signs: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bits {
    exponent: u32,
    mantissa: u32,
}

const F16: Bits = Bits {
    exponent: 5,
    mantissa: 10,
};
const BF16: Bits = Bits {
    exponent: 8,
    mantissa: 7,
};
const F32: Bits = Bits {
    exponent: 8,
    mantissa: 23,
};
const E4M3: Bits = Bits {
    exponent: 4,
    mantissa: 3,
};
const E5M2: Bits = Bits {
    exponent: 5,
    mantissa: 2,
};

const fn mma(
    instruction: &'static str,
    factor: Bits,
    accumulator: Bits,
    words: [usize; 3],
) -> Form {
    Form {
        instruction,
        factor,
        accumulator,
        words,
        is_warpgroup: false,
        signs: "",
    }
}

const fn wgmma(
    instruction: &'static str,
    factor: Bits,
    accumulator: Bits,
    signs: &'static str,
) -> Form {
    // 64 x 8 results of 128 threads: four f32, or two words of f16.
    let c = if accumulator.mantissa == 23 { 4 } else { 2 };
    Form {
        instruction,
        factor,
        accumulator,
        words: [4, 1, c],
        is_warpgroup: true,
        signs,
    }
}

/// Every product that is asked about.
pub const FORMS: [Form; 15] = [
    mma(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
        F16,
        F32,
        [4, 2, 4],
    ),
    mma(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        BF16,
        F32,
        [4, 2, 4],
    ),
    mma(
        "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16",
        F16,
        F16,
        [4, 2, 2],
    ),
    mma(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32",
        F16,
        F32,
        [2, 1, 4],
    ),
    mma(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
        F32,
        F32,
        [4, 2, 4],
    ),
    mma(
        "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32",
        E4M3,
        F32,
        [4, 2, 4],
    ),
    mma(
        "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32",
        E5M2,
        F32,
        [4, 2, 4],
    ),
    wgmma(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16",
        F16,
        F32,
        "1, 1, 0",
    ),
    wgmma(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16",
        F16,
        F32,
        "-1, 1, 0",
    ),
    wgmma(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16",
        BF16,
        F32,
        "1, 1, 0",
    ),
    wgmma(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16",
        BF16,
        F32,
        "1, -1, 0",
    ),
    wgmma(
        "wgmma.mma_async.sync.aligned.m64n8k16.f16.f16.f16",
        F16,
        F16,
        "1, 1, 0",
    ),
    wgmma(
        "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32",
        F32,
        F32,
        "1, 1",
    ),
    wgmma(
        "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3",
        E4M3,
        F32,
        "1, 1",
    ),
    wgmma(
        "wgmma.mma_async.sync.aligned.m64n8k32.f32.e5m2.e5m2",
        E5M2,
        F32,
        "-1, -1",
    ),
];

impl Form {
    /// So many products of operands of a family.
    pub fn probe(&self, family: Family, sets: u32, seed: u64) -> Probe {
        let threads: u32 = if self.is_warpgroup { 128 } else { 32 };
        let [a, b, c] = self.words;
        let each = a + b + c;
        let threads_in_all = usize::try_from(sets * threads).expect("32 bits fit");
        let mut input = Vec::with_capacity(threads_in_all * each);
        for thread in 0..threads_in_all {
            for word in 0..each {
                let place = (thread * each + word) * 4;
                let (role, bits) = if word < a {
                    (Role::A, self.factor)
                } else if word < a + b {
                    (Role::B, self.factor)
                } else {
                    (Role::C, self.accumulator)
                };
                input.push(packed(family, role, bits, seed, place));
            }
        }
        let signs = if self.signs.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.signs)
        };
        let name = format!("{}{signs}, {}", self.instruction, family.name());
        Probe::new(
            name,
            self.text(each),
            [sets, threads],
            &input,
            threads_in_all * c,
        )
    }

    /// Each thread loads its words, multiplies, stores its results.
    fn text(&self, each: usize) -> String {
        let [a, b, c] = self.words;
        let list = |name: &str, count: usize| {
            let names: Vec<String> = (0..count).map(|i| format!("%{name}{i}")).collect();
            format!("{{{}}}", names.join(", "))
        };
        let load = |name: &str, first: usize, count: usize| -> String {
            (0..count)
                .map(|i| format!("ld.global.b32 %{name}{i}, [%from+{}];\n", 4 * (first + i)))
                .collect()
        };
        let target = if self.is_warpgroup { "sm_90a" } else { "sm_90" };
        let product = if self.is_warpgroup {
            format!(
                "mov.u32 %s, tile;\nand.b32 %t, %thread, 63;\nshl.b32 %t, %t, 2;\nadd.u32 %t, %s, %t;\n\
                 setp.ge.u32 %p, %thread, 64;\n@%p bra READY;\nst.shared.b32 [%t], %b0;\nREADY:\n\
                 fence.proxy.async;\nbar.sync 0;\nshr.u32 %t, %s, 4;\ncvt.u64.u32 %desc, %t;\n\
                 or.b64 %desc, %desc, 0x0000000800080000;\nsetp.eq.u32 %p, 0, 0;\nwgmma.fence.sync.aligned;\n\
                 {} {}, {}, %desc, %p, {};\nwgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n",
                self.instruction,
                list("c", c),
                list("a", a),
                self.signs
            )
        } else {
            let (a, b, c) = (list("a", a), list("b", b), list("c", c));
            format!("{} {c}, {a}, {b}, {c};\n", self.instruction)
        };
        let kind = if self.is_warpgroup && self.accumulator == F32 {
            "f32"
        } else {
            "b32"
        };
        let store: String = (0..c)
            .map(|i| format!("st.global.{kind} [%to+{}], %c{i};\n", 4 * i))
            .collect();
        let loads = load("a", 0, a) + &load("b", a, b);
        let loads_c: String = (0..c)
            .map(|i| format!("ld.global.{kind} %c{i}, [%from+{}];\n", 4 * (a + b + i)))
            .collect();
        format!(
            ".version 8.4\n.target {target}\n.address_size 64\n.visible .entry probe(.param .u64 in, .param .u64 out)\n{{\n\
             .reg .b32 %a<4>;\n.reg .b32 %b<2>;\n.reg .{kind} %c<4>;\n.reg .b32 %thread;\n.reg .b32 %s;\n.reg .b32 %t;\n\
             .reg .b64 %from;\n.reg .b64 %to;\n.reg .b64 %place;\n.reg .b64 %desc;\n.reg .pred %p;\n\
             .shared .align 1024 .b8 tile[256];\n\
             ld.param.u64 %from, [in];\nld.param.u64 %to, [out];\nmov.u32 %thread, %tid.x;\nmov.u32 %s, %ctaid.x;\n\
             mov.u32 %t, %ntid.x;\nmad.lo.u32 %t, %s, %t, %thread;\nmul.wide.u32 %place, %t, {};\nadd.s64 %from, %from, %place;\n\
             mul.wide.u32 %place, %t, {};\nadd.s64 %to, %to, %place;\n{loads}{loads_c}{product}{store}ret;\n}}\n",
            4 * each,
            4 * c,
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    A,
    B,
    C,
}

/// As many numbers as fit a word.
fn packed(family: Family, role: Role, format: Bits, seed: u64, place: usize) -> u32 {
    let width = 1 + format.exponent + format.mantissa;
    let mut word = 0;
    for i in 0..32 / width {
        let at = place + usize::try_from(i).expect("at most 3");
        word |= number(family, role, format, draw(seed, at)) << (i * width);
    }
    word
}

fn number(family: Family, role: Role, format: Bits, bits: u64) -> u32 {
    let Bits { exponent, mantissa } = format;
    let bias = (1 << (exponent - 1)) - 1;
    // All of a field are numbers in e4m3; elsewhere its largest value is infinity and NaN.
    let greatest = (1 << exponent) - 2;
    let sign = (low_u32(bits) & 1) << (exponent + mantissa);
    let fraction = low_u32(bits >> 8) & ((1 << mantissa) - 1);
    let pick = low_u32(bits >> 40);
    let with = |field: u32| sign | field << mantissa | fraction;
    match (family, role) {
        (Family::Any, _) => low_u32(bits >> 8) & low_u32((1_u64 << (1 + exponent + mantissa)) - 1),
        (Family::Near, _) => with(bias - 1 + pick % 3),
        (Family::Tiny, _) => with(pick % 3),
        (Family::ZeroTimesHuge, Role::A) if pick.is_multiple_of(2) => sign,
        (Family::ZeroTimesHuge, Role::A) => with(pick % 4),
        (Family::ZeroTimesHuge, Role::B) => with(greatest - pick % 3),
        (Family::ZeroTimesHuge, Role::C) => with(bias / 2 + pick % bias),
        (Family::Zeros, _) => sign,
        (Family::SpreadFromZero, Role::C) => 0,
        (Family::Spread | Family::SpreadFromZero, _) => with(pick % (greatest + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Target;

    #[test]
    fn every_form_and_family_runs_here() {
        for form in &FORMS {
            for family in Family::ALL {
                let probe = form.probe(family, 2, 1);
                let results = probe
                    .in_vm(Target::Sm90)
                    .unwrap_or_else(|error| panic!("{}: {error}\n{}", probe.name, probe.ptx));
                let threads = if form.is_warpgroup { 128 } else { 32 };
                assert_eq!(results.len(), 2 * threads * form.words[2], "{}", probe.name);
                if family == Family::Near {
                    let mut distinct = results.clone();
                    distinct.sort_unstable();
                    distinct.dedup();
                    assert!(distinct.len() > results.len() / 4, "{}", probe.name);
                }
            }
        }
    }

    #[test]
    fn families_are_what_they_say() {
        let f16 = |family, role, seed| number(family, role, F16, draw(seed, 0));
        for seed in 0..200 {
            assert_eq!(f16(Family::Zeros, Role::A, seed) & 0x7fff, 0);
            assert!(f16(Family::Tiny, Role::B, seed) & 0x7c00 <= 2 << 10);
            assert!(f16(Family::Spread, Role::C, seed) & 0x7c00 < 0x7c00);
            assert!(f16(Family::ZeroTimesHuge, Role::B, seed) & 0x7c00 >= 28 << 10);
        }
    }
}

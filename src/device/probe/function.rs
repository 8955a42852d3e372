//! The approximate functions of the card on every input: too many results to keep, so they are reduced, by sign and
//! exponent of the input (512 blocks of 2^23), to counts of their distance from the correctly rounded result and a digest.
//!
//! "Correctly rounded" is here the f64 function of the standard library rounded to f32: within one case in 10^7 of the
//! truth, which moves a count by one and no digest.

use super::Probe;
use crate::convert::{f64_to_f32, low_u32};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// An approximate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `ex2.approx.ftz.f32`.
    Ex2,
    /// `rcp.approx.ftz.f32`.
    Rcp,
    /// `lg2.approx.ftz.f32`.
    Lg2,
    /// `rsqrt.approx.ftz.f32`.
    Rsqrt,
}

/// Inputs of a block: one sign and exponent.
pub const BLOCK: usize = 1 << 23;

/// Results of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Sign and exponent: the input's bits shifted right by 23.
    pub exponent: u32,
    /// Results by their distance in units in the last place, from -3 to 3.
    pub distances: [u64; 7],
    /// Results further away, or not a number where the other is.
    pub beyond: u64,
    /// SHA-256 of the results, little-endian.
    pub digest: String,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ex2, Self::Rcp, Self::Lg2, Self::Rsqrt];

    /// The instruction.
    pub fn instruction(self) -> &'static str {
        match self {
            Self::Ex2 => "ex2.approx.ftz.f32",
            Self::Rcp => "rcp.approx.ftz.f32",
            Self::Lg2 => "lg2.approx.ftz.f32",
            Self::Rsqrt => "rsqrt.approx.ftz.f32",
        }
    }

    /// The result for an input, subnormal numbers taken and given as zeros of their sign.
    pub fn rounded(self, input: f32) -> f32 {
        let flush = |x: f32| {
            if x.is_subnormal() {
                0.0_f32.copysign(x)
            } else {
                x
            }
        };
        let x = f64::from(flush(input));
        flush(f64_to_f32(match self {
            Self::Ex2 => x.exp2(),
            Self::Rcp => 1.0 / x,
            Self::Lg2 if x.abs() <= 0.0 => f64::NEG_INFINITY,
            Self::Lg2 => x.log2(),
            Self::Rsqrt if x.abs() <= 0.0 => f64::INFINITY.copysign(x),
            Self::Rsqrt => 1.0 / x.sqrt(),
        }))
    }

    /// The function on `count` inputs whose bits count up from `first`; at most 2^31 at a time.
    pub fn probe(self, first: u32, count: u32) -> Probe {
        let name = format!("{} from 0x{first:08x}", self.instruction());
        let ptx = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry probe(.param .u64 in, .param .u64 out)\n{{\n\
             .reg .b32 %r<6>;\n.reg .b64 %d<4>;\n.reg .pred %p<2>;\n\
             ld.param.u64 %d0, [in];\nld.param.u64 %d1, [out];\nld.global.b32 %r0, [%d0];\nld.global.b32 %r1, [%d0+4];\n\
             mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %tid.x;\nmad.lo.u32 %r2, %r2, 256, %r3;\n\
             setp.ge.u32 %p0, %r2, %r1;\n@%p0 bra DONE;\nadd.u32 %r3, %r0, %r2;\n{} %r4, %r3;\n\
             mul.wide.u32 %d2, %r2, 4;\nadd.s64 %d1, %d1, %d2;\nst.global.b32 [%d1], %r4;\nDONE:\nret;\n}}\n",
            self.instruction()
        );
        let output = usize::try_from(count).expect("32 bits fit");
        Probe::new(
            name,
            ptx,
            [count.div_ceil(256).max(1), 256],
            &[first, count],
            output,
        )
    }

    /// Reduces results of inputs that count up from `first`, block by block; `first` begins a block.
    pub fn reduce(self, first: u32, results: &[u32]) -> Vec<Block> {
        results
            .par_chunks(BLOCK)
            .enumerate()
            .map(|(i, chunk)| {
                let begin = u64::from(first) + u64::try_from(i * BLOCK).expect("64 bits");
                self.block(low_u32(begin), chunk)
            })
            .collect()
    }

    fn block(self, first: u32, results: &[u32]) -> Block {
        let mut distances = [0; 7];
        let mut beyond = 0;
        let mut hasher = Sha256::new();
        let mut bits = first;
        for &result in results {
            let expected = self.rounded(f32::from_bits(bits));
            match distance(f32::from_bits(result), expected) {
                Some(ulps @ -3..=3) => {
                    distances[usize::try_from(ulps + 3).expect("from 0 to 6")] += 1;
                }
                Some(_) | None => beyond += 1,
            }
            hasher.update(result.to_le_bytes());
            bits = bits.wrapping_add(1);
        }
        let mut digest = String::new();
        for byte in hasher.finalize() {
            write!(digest, "{byte:02x}").expect("writing to a string does not fail");
        }
        Block {
            exponent: first >> 23,
            distances,
            beyond,
            digest,
        }
    }
}

/// Floats from `expected` to `got`, both zeros as one; 0 for two NaN, `None` for one.
fn distance(got: f32, expected: f32) -> Option<i64> {
    if got.is_nan() || expected.is_nan() {
        return (got.is_nan() && expected.is_nan()).then_some(0);
    }
    let line = |x: f32| {
        let magnitude = i64::from(x.to_bits() & 0x7fff_ffff);
        if x.is_sign_negative() {
            -magnitude
        } else {
            magnitude
        }
    };
    Some(line(got) - line(expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Target;

    #[test]
    fn the_machine_here_rounds_correctly() {
        for function in Function::ALL {
            for first in [0_u32, 0x3f80_0000, 0x4120_0000, 0x7f80_0000, 0xbf80_0000] {
                let probe = function.probe(first, 1000);
                let results = probe.in_vm(Target::Sm90).unwrap();
                let blocks = function.reduce(first, &results);
                assert_eq!(blocks.len(), 1);
                let Block {
                    exponent,
                    distances,
                    beyond,
                    digest,
                } = &blocks[0];
                assert_eq!((*exponent, digest.len()), (first >> 23, 64));
                assert_eq!(
                    (distances[3], *beyond),
                    (1000, 0),
                    "{} from 0x{first:08x}: {distances:?}",
                    function.instruction()
                );
            }
        }
    }

    #[test]
    fn a_result_that_is_off_is_counted() {
        let function = Function::Ex2;
        let one = 1.0_f32.to_bits();
        let two = 2.0_f32.to_bits();
        let off = function.reduce(one, &[two + 1]);
        assert_eq!((off[0].distances[4], off[0].beyond), (1, 0));
        let nan = function.reduce(one, &[f32::NAN.to_bits()]);
        assert_eq!(nan[0].beyond, 1);
        assert_ne!(off[0].digest, nan[0].digest);
    }
}

//! Dot products measured on GPUs, compared bit for bit with this machine.
//!
//! A file is named `GPU_OPERANDS_RESULT.txt`, such as `a100_fp16_fp32.txt`; a line is `a.. | b.. | c | d`, f32 words in
//! hexadecimal: as many factors in `a` as in `b`, the addend, the measured result. Where the result is f16 (`_fp16`), `c`
//! is rounded to f16 first and `d` is the f16 result widened. A Hopper file of bytes to f32 was measured on the native
//! operation of `wgmma` with `c = 0`, whatever stands there; one to f16 on the `mma.sync` that the compiler emulates.
//!
//! Which rule a row goes by is keyed on the three words of the name. A row that fits one tile of an `mma.sync` also goes
//! through the fragments of that tile, the code that a kernel's instruction runs.

use super::super::arithmetic::byte_float::ByteFloat;
use super::super::arithmetic::float::Format;
use super::super::target::Target;
use super::block::{Accumulator, Alignment, Operand, block};
use super::narrow::{lowered_bytes, mma_bytes, native_bytes};
use super::{Fragment, Tile, alignment, mma};
use crate::ptx::Rounding;
use std::str::FromStr;

/// A GPU that vectors may come from, by what its tensor cores do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gpu {
    /// V100: blocks of 4 products, 23 bits below the largest.
    Volta,
    /// One whose `mma.sync` the machine executes.
    Of(Target),
}

/// Names of GPUs in files, in lower case.
const GPUS: [(&str, Gpu); 18] = [
    ("v100", Gpu::Volta),
    ("a100", Gpu::Of(Target::Sm80)),
    ("a30", Gpu::Of(Target::Sm80)),
    ("a2", Gpu::Of(Target::Sm86)),
    ("a10", Gpu::Of(Target::Sm86)),
    ("a40", Gpu::Of(Target::Sm86)),
    ("rtx3060", Gpu::Of(Target::Sm86)),
    ("ada", Gpu::Of(Target::Sm89)),
    ("l4", Gpu::Of(Target::Sm89)),
    ("l40", Gpu::Of(Target::Sm89)),
    ("l40s", Gpu::Of(Target::Sm89)),
    ("rtx4090", Gpu::Of(Target::Sm89)),
    ("h100", Gpu::Of(Target::Sm90)),
    ("h200", Gpu::Of(Target::Sm90)),
    ("gh200", Gpu::Of(Target::Sm90)),
    ("b100", Gpu::Of(Target::Sm100)),
    ("b200", Gpu::Of(Target::Sm100)),
    ("gb200", Gpu::Of(Target::Sm100)),
];

const OPERANDS: [(&str, Operand); 5] = [
    ("fp16", Operand::F16),
    ("bf16", Operand::Bf16),
    ("tf32", Operand::Tf32),
    ("e4m3", Operand::E4m3),
    ("e5m2", Operand::E5m2),
];

const RESULTS: [(&str, Accumulator); 2] = [("fp32", Accumulator::F32), ("fp16", Accumulator::F16)];

/// What a file of vectors was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Measurement {
    gpu: Gpu,
    operand: Operand,
    accumulator: Accumulator,
}

/// A name that is no `GPU_OPERANDS_RESULT`, or a combination that GPU does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` names no measurement: expected GPU_OPERANDS_RESULT with a GPU among {gpus}, operands fp16 bf16 tf32 e4m3 e5m2 and a result fp32 or fp16 that this GPU has"
)]
pub struct UnknownMeasurement {
    name: String,
    gpus: String,
}

impl FromStr for Measurement {
    type Err = UnknownMeasurement;

    fn from_str(name: &str) -> Result<Self, UnknownMeasurement> {
        fn find<T: Copy>(table: &[(&str, T)], word: Option<&str>) -> Option<T> {
            let word = word?;
            table
                .iter()
                .find(|(known, _)| *known == word)
                .map(|(_, it)| *it)
        }
        let lower = name.to_ascii_lowercase();
        let mut words = lower.rsplitn(3, '_');
        let accumulator = find(&RESULTS, words.next());
        let operand = find(&OPERANDS, words.next());
        let gpu = find(&GPUS, words.next());
        match (gpu, operand, accumulator) {
            (Some(gpu), Some(operand), Some(accumulator)) => Some(Self {
                gpu,
                operand,
                accumulator,
            }),
            _ => None,
        }
        .filter(|found| found.exists())
        .ok_or_else(|| UnknownMeasurement {
            name: name.to_owned(),
            gpus: GPUS.map(|(name, _)| name).join(" "),
        })
    }
}

/// Why a line cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// Another number of fields.
    #[error("{0} fields between `|`, expected 4: a.. | b.. | c | d")]
    Fields(usize),
    /// No hexadecimal word of 32 bits.
    #[error("`{0}` is no hexadecimal word of 32 bits")]
    Word(String),
    /// Other numbers of words than a dot product has.
    #[error(
        "{a} words of a, {b} of b, {c} of c and {d} of d; expected as many of a as of b, and one c and d"
    )]
    Counts {
        /// Words in the first field.
        a: usize,
        /// Words in the second field.
        b: usize,
        /// Words in the third field.
        c: usize,
        /// Words in the last field.
        d: usize,
    },
    /// More products than one block, and no whole number of blocks.
    #[error("{terms} products; expected at most {block} or a multiple of it")]
    Length {
        /// As given.
        terms: usize,
        /// Products of a block.
        block: usize,
    },
    /// A word that its format does not hold.
    #[error("{word:#010x} is no number of {format}")]
    Format {
        /// As given.
        word: u32,
        /// Format of the operand or result.
        format: &'static str,
    },
}

/// A row: what this machine computes and what was measured, as bits of the result's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// By the block model.
    pub computed: u32,
    /// Through the fragments of an `mma.sync`, where a tile has as many products.
    pub through_mma: Option<u32>,
    /// As measured.
    pub measured: u32,
}

impl Row {
    /// True where everything computed has the measured bits.
    pub fn matches(self) -> bool {
        self.computed == self.measured && self.through_mma.is_none_or(|bits| bits == self.measured)
    }
}

fn words(text: &str) -> Result<Vec<u32>, BadRow> {
    text.split_whitespace()
        .map(|word| {
            let digits = word.strip_prefix("0x").unwrap_or(word);
            let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16)
                .ok()
                .filter(|_| plain)
                .ok_or_else(|| BadRow::Word(word.chars().take(40).collect()))
        })
        .collect()
}

impl Measurement {
    fn is_bytes(self) -> bool {
        matches!(self.operand, Operand::E4m3 | Operand::E5m2)
    }

    fn exists(self) -> bool {
        match (self.gpu, self.operand, self.accumulator) {
            (Gpu::Volta, operand, _) => operand == Operand::F16,
            (Gpu::Of(_), Operand::Bf16 | Operand::Tf32, accumulator) => {
                accumulator == Accumulator::F32
            }
            (Gpu::Of(target), Operand::E4m3 | Operand::E5m2, _) => {
                super::narrow::has_bytes(target, 32)
            }
            (Gpu::Of(_), Operand::F16, _) => true,
        }
    }

    /// Bits in the operand's format of an f32 word that must be one of its numbers.
    fn operand_bits(self, word: u32) -> Result<u32, BadRow> {
        let x = f64::from(f32::from_bits(word));
        let near = Rounding::NearestEven;
        let (bits, back, format) = match self.operand {
            Operand::F16 => {
                let bits = Format::F16.round(x, near);
                (bits, Format::F16.decode(bits), "fp16")
            }
            Operand::Bf16 => (word >> 16, Format::BF16.decode(word >> 16), "bf16"),
            // Its low bits are ignored by the operation.
            Operand::Tf32 => return Ok(word),
            Operand::E4m3 | Operand::E5m2 => {
                let (float, format) = if self.operand == Operand::E4m3 {
                    (ByteFloat::E4m3, "e4m3")
                } else {
                    (ByteFloat::E5m2, "e5m2")
                };
                // Infinity has no rounding to it: it is told apart before.
                let bits = if x.is_infinite() && float == ByteFloat::E5m2 {
                    0x7c | word >> 24 & 0x80
                } else {
                    float.encode(x)
                };
                (bits, float.decode(bits), format)
            }
        };
        if back.to_bits() == x.to_bits() || back.is_nan() && x.is_nan() {
            Ok(bits)
        } else {
            Err(BadRow::Format { word, format })
        }
    }

    /// Products of one block.
    fn block_terms(self, terms: usize) -> usize {
        match (self.gpu, self.operand) {
            (Gpu::Volta, _) => 4,
            (Gpu::Of(Target::Sm89), Operand::E4m3 | Operand::E5m2) => 16,
            (Gpu::Of(_), Operand::E4m3 | Operand::E5m2) => 32,
            (Gpu::Of(target), operand) => {
                let deepest = if operand == Operand::Tf32 { 8 } else { 16 };
                let how = alignment(
                    target,
                    Tile {
                        operand,
                        accumulator: self.accumulator,
                        k: deepest,
                    },
                );
                how.terms.min(terms)
            }
        }
    }

    /// Computes one line of a file.
    ///
    /// # Errors
    /// [`BadRow`]: the line is not of the format.
    pub fn row(self, line: &str) -> Result<Row, BadRow> {
        let fields: Vec<&str> = line.split('|').collect();
        let [a, b, c, d] = fields[..] else {
            return Err(BadRow::Fields(fields.len()));
        };
        let (a, b, c, d) = (words(a)?, words(b)?, words(c)?, words(d)?);
        let ([c], [d], true) = (&c[..], &d[..], a.len() == b.len() && !a.is_empty()) else {
            return Err(BadRow::Counts {
                a: a.len(),
                b: b.len(),
                c: c.len(),
                d: d.len(),
            });
        };
        let terms = self.block_terms(a.len());
        if a.len() % terms != 0 && a.len() > terms || self.is_bytes() && a.len() % terms != 0 {
            return Err(BadRow::Length {
                terms: a.len(),
                block: terms,
            });
        }
        let a: Vec<u32> = a
            .iter()
            .map(|&x| self.operand_bits(x))
            .collect::<Result<_, _>>()?;
        let b: Vec<u32> = b
            .iter()
            .map(|&x| self.operand_bits(x))
            .collect::<Result<_, _>>()?;
        let near = Rounding::NearestEven;
        let (c, measured) = match self.accumulator {
            Accumulator::F32 => (*c, *d),
            Accumulator::F16 => {
                let wide = f64::from(f32::from_bits(*d));
                let bits = Format::F16.round(wide, near);
                let back = Format::F16.decode(bits);
                if back.to_bits() != wide.to_bits() && !wide.is_nan() {
                    return Err(BadRow::Format {
                        word: *d,
                        format: "fp16",
                    });
                }
                (Format::F16.round(f64::from(f32::from_bits(*c)), near), bits)
            }
        };
        Ok(Row {
            computed: self.compute(&a, &b, c),
            through_mma: self.through_mma(&a, &b, c),
            measured,
        })
    }

    /// The native operation of Hopper: measured from zero.
    fn is_hopper_native(self) -> bool {
        self.gpu == Gpu::Of(Target::Sm90) && self.is_bytes() && self.accumulator == Accumulator::F32
    }

    fn compute(self, a: &[u32], b: &[u32], c: u32) -> u32 {
        let formats = (self.operand, self.operand);
        match self.gpu {
            Gpu::Volta => chain(
                Alignment {
                    terms: 4,
                    fraction_bits: 23,
                    exponent_floor: if self.accumulator == Accumulator::F32 {
                        -132
                    } else {
                        -20
                    },
                },
                formats,
                self.accumulator,
                (a, b, c),
            ),
            Gpu::Of(_) if self.is_hopper_native() => {
                native_bytes(32, self.operand, self.operand, self.accumulator, a, b, 0)
            }
            Gpu::Of(Target::Sm89) if self.is_bytes() => {
                native_bytes(16, self.operand, self.operand, self.accumulator, a, b, c)
            }
            Gpu::Of(target) if self.is_bytes() => {
                a.chunks(32).zip(b.chunks(32)).fold(c, |c, (a, b)| {
                    let (f, g) = formats;
                    lowered_bytes(target, f, g, self.accumulator, a, b, c)
                })
            }
            Gpu::Of(target) => {
                let deepest = if self.operand == Operand::Tf32 { 8 } else { 16 };
                let tile = Tile {
                    operand: self.operand,
                    accumulator: self.accumulator,
                    k: deepest,
                };
                let mut how = alignment(target, tile);
                how.terms = how.terms.min(a.len());
                chain(how, formats, self.accumulator, (a, b, c))
            }
        }
    }

    /// Element (0, 0) of a tile whose row 0 of A and column 0 of B hold the factors.
    fn through_mma(self, a: &[u32], b: &[u32], c: u32) -> Option<u32> {
        let Gpu::Of(target) = self.gpu else {
            return None;
        };
        let tile = Tile {
            operand: self.operand,
            accumulator: self.accumulator,
            k: a.len(),
        };
        let per_register = tile.per_register();
        let bits = 32 / per_register;
        let bytes = self.is_bytes();
        if self.is_hopper_native() || bytes && a.len() != 32 || !bytes && !tile.exists() {
            return None;
        }
        let (a_count, b_count, c_count) = if bytes {
            (
                4,
                2,
                if self.accumulator == Accumulator::F16 {
                    2
                } else {
                    4
                },
            )
        } else {
            tile.registers()
        };
        let mut a_fragment: Vec<Fragment> = vec![[0; 32]; a_count];
        let mut b_fragment: Vec<Fragment> = vec![[0; 32]; b_count];
        let mut c_fragment: Vec<Fragment> = vec![[0; 32]; c_count];
        for lane in 0..4 {
            for step in 0..b_count {
                for which in 0..per_register {
                    let k = per_register * (lane + 4 * step) + which;
                    a_fragment[2 * step][lane] |= a[k] << (bits * which);
                    b_fragment[step][lane] |= b[k] << (bits * which);
                }
            }
        }
        c_fragment[0][0] = c;
        let d = if bytes {
            let formats = (self.operand, self.operand);
            mma_bytes(
                target,
                formats,
                self.accumulator,
                &a_fragment,
                &b_fragment,
                &c_fragment,
            )?
        } else {
            mma(target, tile, &a_fragment, &b_fragment, &c_fragment)
        };
        Some(match self.accumulator {
            Accumulator::F32 => d[0][0],
            Accumulator::F16 => d[0][0] & 0xffff,
        })
    }
}

/// Blocks from left to right.
fn chain(
    how: Alignment,
    formats: (Operand, Operand),
    accumulator: Accumulator,
    (a, b, c): (&[u32], &[u32], u32),
) -> u32 {
    let blocks = a.chunks(how.terms).zip(b.chunks(how.terms));
    blocks.fold(c, |c, (a, b)| {
        let how = Alignment {
            terms: a.len(),
            ..how
        };
        block(how, formats, accumulator, a, b, c)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let of = |name: &str| name.parse::<Measurement>();
        assert_eq!(
            of("L40S_e4m3_fp16"),
            Ok(Measurement {
                gpu: Gpu::Of(Target::Sm89),
                operand: Operand::E4m3,
                accumulator: Accumulator::F16
            })
        );
        for name in [
            "a100",
            "a100_fp16",
            "a100_e4m3_fp32",
            "k80_fp16_fp32",
            "h100_bf16_fp16",
            "v100_tf32_fp32",
        ] {
            assert!(of(name).is_err(), "{name}");
        }
    }

    #[test]
    fn rows_by_hand() {
        let row = |name: &str, line: &str| name.parse::<Measurement>().unwrap().row(line).unwrap();
        // 1.5 * 2 + 1 = 4.
        let four = "3fc00000 0 0 0 | 40000000 0 0 0 | 3f800000 | 40800000";
        for name in [
            "v100_fp16_fp32",
            "v100_fp16_fp16",
            "a100_tf32_fp32",
            "h100_fp16_fp32",
            "b200_bf16_fp32",
        ] {
            assert!(row(name, four).matches(), "{name}");
        }
        assert_eq!(row("a100_tf32_fp32", four).through_mma, Some(0x4080_0000));
        let wrong = "3fc00000 0 0 0 | 40000000 0 0 0 | 3f800000 | 40800001";
        assert!(!row("a100_tf32_fp32", wrong).matches());
        // Hopper's native bytes start from zero, the emulated ones from c.
        let bytes = |d: &str| {
            format!(
                "3fc00000{} | 40000000{} | 3f800000 | {d}",
                " 0".repeat(31),
                " 0".repeat(31)
            )
        };
        assert!(row("h100_e4m3_fp32", &bytes("40400000")).matches());
        assert!(row("h100_e5m2_fp16", &bytes("40800000")).matches());
        assert!(row("ada_e4m3_fp32", &bytes("40800000")).matches());
        assert!(
            row("b200_e4m3_fp32", &bytes("40800000"))
                .through_mma
                .is_some()
        );
    }

    #[test]
    fn bad_rows() {
        let bad = |line: &str| {
            "a100_fp16_fp16"
                .parse::<Measurement>()
                .unwrap()
                .row(line)
                .unwrap_err()
        };
        assert_eq!(bad(""), BadRow::Fields(1));
        assert_eq!(bad("0 | 0 | x | 0"), BadRow::Word("x".into()));
        assert!(matches!(
            bad("0 0 | 0 | 0 | 0"),
            BadRow::Counts { a: 2, .. }
        ));
        assert!(matches!(
            bad("0 0 0 0 0 0 0 0 0 | 0 0 0 0 0 0 0 0 0 | 0 | 0"),
            BadRow::Length { .. }
        ));
        assert!(matches!(
            bad("3f800001 | 0 | 0 | 0"),
            BadRow::Format { format: "fp16", .. }
        ));
        assert!(matches!(bad("0 | 0 | 0 | 3f800001"), BadRow::Format { .. }));
    }
}

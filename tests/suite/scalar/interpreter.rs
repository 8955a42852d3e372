//! A second machine: one lane and one instruction at a time, from the text of the PTX ISA and the opcode as it is spelt.
//! It shares no code with the virtual machine; floats are exact numbers rounded once.

use super::exact::{BF16, F16, F32, F64, Format, Real};
use std::cmp::Ordering;

/// Bits of a type by its spelling.
pub(crate) fn bits(ty: &str) -> u32 {
    match ty {
        "pred" => 1,
        "f16x2" | "bf16x2" => 32,
        _ => ty
            .trim_start_matches(|c: char| c.is_ascii_alphabetic())
            .parse()
            .unwrap(),
    }
}

fn mask(bits: u32) -> u64 {
    if bits == 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    }
}

/// The value of bits as an integer of a type.
fn integer(ty: &str, x: u64) -> i128 {
    let bits = bits(ty);
    let x = i128::from(x & mask(bits));
    if ty.starts_with('s') && x >> (bits - 1) & 1 == 1 {
        x - (1 << bits)
    } else {
        x
    }
}

fn cut(ty: &str, x: i128) -> u64 {
    u64::try_from(x & i128::from(mask(bits(ty)))).unwrap()
}

fn format(ty: &str) -> Option<Format> {
    match ty {
        "f16" | "f16x2" => Some(F16),
        "bf16" | "bf16x2" => Some(BF16),
        "f32" => Some(F32),
        "f64" => Some(F64),
        _ => None,
    }
}

/// The modifiers of an opcode.
struct Words<'t>(Vec<&'t str>);

impl Words<'_> {
    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }
    fn rounding(&self) -> &str {
        self.0
            .iter()
            .find(|word| matches!(**word, "rn" | "rz" | "rm" | "rp" | "rna"))
            .copied()
            .unwrap_or("rn")
    }
    fn flush(&self, format: Format, bits: u64) -> u64 {
        let subnormal = bits & format.infinity() == 0;
        if self.has("ftz") && subnormal {
            bits & format.sign()
        } else {
            bits
        }
    }
    /// `.ftz`, `.sat`, `.relu` of a result; NaN is canonical but for f64.
    fn finish(&self, format: Format, bits: u64) -> u64 {
        let bits = self.flush(format, bits);
        let value = Real::decode(format, bits);
        let below = value == Real::Nan || value.is_negative() || value.is_zero();
        if self.has("sat") {
            let one = Real::integer(1);
            return if below {
                0
            } else if value.compare(&one) == Some(Ordering::Greater) {
                one.round(format, "rn")
            } else {
                bits
            };
        }
        if self.has("relu") && value != Real::Nan && below {
            0
        } else {
            bits
        }
    }
}

fn compare(operator: &str, order: Option<Ordering>) -> bool {
    use Ordering::{Equal, Greater, Less};
    match operator {
        "eq" => order == Some(Equal),
        "ne" => order.is_some_and(|o| o != Equal),
        "lt" | "lo" => order == Some(Less),
        "le" | "ls" => order.is_some_and(|o| o != Greater),
        "gt" | "hi" => order == Some(Greater),
        "ge" | "hs" => order.is_some_and(|o| o != Less),
        "num" => order.is_some(),
        "nan" => order.is_none(),
        other => order.is_none() || compare(other.strip_suffix('u').unwrap(), order),
    }
}

/// What one lane keeps between instructions besides registers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) carry: bool,
}

/// The result of an instruction that needs no other lane: the bits of its destination.
pub(crate) fn lane(opcode: &str, s: &[u64], flags: &mut Flags) -> u64 {
    let parts: Vec<&str> = opcode.split('.').collect();
    let (word, words) = (parts[0], Words(parts[1..].to_vec()));
    let ty = *parts.last().unwrap();
    if word == "cvt" {
        return convert(&words, s);
    }
    if let Some(format) = format(ty)
        && !matches!(
            word,
            "selp" | "slct" | "set" | "setp" | "mov" | "testp" | "copysign"
        )
    {
        if matches!(ty, "f16x2" | "bf16x2") {
            let half = |shift: u32| {
                let parts: Vec<u64> = s.iter().map(|x| x >> shift & 0xffff).collect();
                float(word, &words, format, &parts) << shift
            };
            return half(0) | half(16);
        }
        return float(word, &words, format, s);
    }
    let n = |i: usize| integer(ty, s[i]);
    let width = bits(ty);
    let amount = |i: usize| u32::try_from(s[i] & 0xffff_ffff).unwrap();
    let out = |x: i128| cut(ty, x);
    match word {
        "add" | "addc" | "sub" | "subc" if words.has("cc") || word.ends_with('c') => {
            let carry = u128::from(word.ends_with('c') && flags.carry);
            let (a, b) = (
                u128::from(s[0] & mask(width)),
                u128::from(s[1] & mask(width)),
            );
            let (value, out_carry) = if word.starts_with('a') {
                (a + b + carry, a + b + carry > u128::from(mask(width)))
            } else {
                (a.wrapping_sub(b).wrapping_sub(carry), a < b + carry)
            };
            if words.has("cc") {
                flags.carry = out_carry;
            }
            u64::try_from(value & u128::from(mask(width))).unwrap()
        }
        "add" if words.has("sat") => out((n(0) + n(1)).clamp(-(1 << 31), (1 << 31) - 1)),
        "sub" if words.has("sat") => out((n(0) - n(1)).clamp(-(1 << 31), (1 << 31) - 1)),
        "add" => out(n(0) + n(1)),
        "sub" => out(n(0) - n(1)),
        "mul" | "mad" => {
            let part = match (ty, words.has("hi")) {
                ("u64", true) => {
                    i128::try_from((u128::from(s[0]) * u128::from(s[1])) >> 64).unwrap()
                }
                ("u64", false) => i128::from(s[0].wrapping_mul(s[1])),
                (_, true) => (n(0) * n(1)) >> width,
                (_, false) => n(0) * n(1),
            };
            let sum = if word == "mad" {
                part + i128::from(s[2])
            } else {
                part
            };
            if words.has("wide") {
                u64::try_from(sum & i128::from(mask(2 * width))).unwrap()
            } else {
                out(sum)
            }
        }
        "mul24" | "mad24" => {
            let part = |x: u64| {
                let x = i128::from(x & 0xff_ffff);
                if ty == "s32" && x >> 23 == 1 {
                    x - (1 << 24)
                } else {
                    x
                }
            };
            let product = (part(s[0]) * part(s[1])) >> if words.has("hi") { 16 } else { 0 };
            out(product + if word == "mad24" { n(2) } else { 0 })
        }
        "sad" => out(n(2) + (n(0) - n(1)).abs()),
        "div" => out(if n(1) == 0 { -1 } else { n(0) / n(1) }),
        "rem" => out(if n(1) == 0 { n(0) } else { n(0) % n(1) }),
        "min" => out(n(0).min(n(1))),
        "max" => out(n(0).max(n(1))),
        "neg" => out(-n(0)),
        "abs" => out(n(0).abs()),
        "and" => s[0] & s[1],
        "or" => s[0] | s[1],
        "xor" => s[0] ^ s[1],
        "not" => !s[0] & mask(width),
        "shl" => {
            if amount(1) >= width {
                0
            } else {
                s[0] << amount(1) & mask(width)
            }
        }
        "shr" => out(n(0) >> amount(1).min(100)),
        "shf" => {
            let by = if words.has("wrap") {
                amount(2) & 31
            } else {
                amount(2).min(32)
            };
            let pair = u128::from(s[1]) << 32 | u128::from(s[0]);
            let moved = if words.has("l") {
                pair << by >> 32
            } else {
                pair >> by
            };
            u64::try_from(moved & 0xffff_ffff).unwrap()
        }
        "lop3" => (0..32).fold(0, |d, i| {
            let row = (s[0] >> i & 1) * 4 + (s[1] >> i & 1) * 2 + (s[2] >> i & 1);
            d | (s[3] >> row & 1) << i
        }),
        "prmt" => (0..4).fold(0, |d, i| {
            let pick = s[2] >> (4 * i) & 15;
            let byte = (s[1] << 32 | s[0]) >> (8 * (pick & 7)) & 0xff;
            let byte = if pick & 8 == 0 {
                byte
            } else if byte & 0x80 != 0 {
                0xff
            } else {
                0
            };
            d | byte << (8 * i)
        }),
        "bfe" => {
            // The ISA's own loop.
            let (position, length) = (s[1] & 0xff, s[2] & 0xff);
            let top = u64::from(width) - 1;
            let sign = if ty.starts_with('u') || length == 0 {
                0
            } else {
                s[0] >> (position + length - 1).min(top) & 1
            };
            (0..=top).fold(0, |d, i| {
                let bit = if i < length && position + i <= top {
                    s[0] >> (position + i) & 1
                } else {
                    sign
                };
                d | bit << i
            })
        }
        "bfi" => {
            let (position, length) = (s[2] & 0xff, s[3] & 0xff);
            let end = (position + length).min(u64::from(width));
            (position..end).fold(s[1], |d, i| {
                d & !(1 << i) | (s[0] >> (i - position) & 1) << i
            })
        }
        "popc" => (0..width).map(|i| s[0] >> i & 1).sum(),
        "clz" => (0..width)
            .rev()
            .take_while(|i| s[0] >> i & 1 == 0)
            .map(|_| 1)
            .sum(),
        "brev" => (0..width).fold(0, |d, i| d | (s[0] >> i & 1) << (width - 1 - i)),
        "bfind" => {
            let x = if ty.starts_with('s') && n(0) < 0 {
                !s[0] & mask(width)
            } else {
                s[0]
            };
            match (0..width).rev().find(|i| x >> i & 1 == 1) {
                None => 0xffff_ffff,
                Some(at) if words.has("shiftamt") => u64::from(width - 1 - at),
                Some(at) => u64::from(at),
            }
        }
        "dp4a" | "dp2a" => {
            let field = |x: u64, bits: u32, i: u32, ty: &str| {
                let x = i128::from(x >> (bits * i) & mask(bits));
                if ty == "s32" && x >> (bits - 1) == 1 {
                    x - (1 << bits)
                } else {
                    x
                }
            };
            let (a_type, b_type) = (parts[parts.len() - 2], ty);
            let (count, width, first) = if word == "dp4a" {
                (4, 8, 0)
            } else {
                (2, 16, if words.has("hi") { 2 } else { 0 })
            };
            let sum: i128 = (0..count)
                .map(|i| field(s[0], width, i, a_type) * field(s[1], 8, first + i, b_type))
                .sum();
            cut("b32", i128::from(s[2]) + sum)
        }
        "setp" | "set" => {
            let order = match format(ty) {
                Some(format) => {
                    let read = |x| Real::decode(format, words.flush(format, x));
                    read(s[0]).compare(&read(s[1]))
                }
                None => Some(n(0).cmp(&n(1))),
            };
            let holds = compare(parts[1], order);
            match parts[parts.len() - 2] {
                "u32" | "s32" if word == "set" => {
                    if holds {
                        0xffff_ffff
                    } else {
                        0
                    }
                }
                "f32" if word == "set" => {
                    if holds {
                        0x3f80_0000
                    } else {
                        0
                    }
                }
                _ => u64::from(holds),
            }
        }
        "selp" => {
            if s[2] & 1 == 1 {
                s[0]
            } else {
                s[1]
            }
        }
        "slct" => {
            let first = if ty == "s32" {
                n(2) >= 0
            } else {
                Real::decode(F32, words.flush(F32, s[2]))
                    .compare(&Real::integer(0))
                    .is_some_and(|o| o != Ordering::Less)
            };
            if first { s[0] } else { s[1] }
        }
        "testp" => {
            let format = format(ty).unwrap();
            let (field, fraction) = (s[0] & format.infinity(), s[0] & ((1 << format.1) - 1));
            let full = field == format.infinity();
            u64::from(match parts[1] {
                "finite" => !full,
                "infinite" => full && fraction == 0,
                "number" => !(full && fraction != 0),
                "notanumber" => full && fraction != 0,
                "normal" => !full && field != 0,
                "subnormal" => field == 0 && fraction != 0,
                other => panic!("{other}"),
            })
        }
        "copysign" => {
            let sign = format(ty).unwrap().sign();
            s[0] & sign | s[1] & (sign - 1)
        }
        "mov" => s[0] & mask(width),
        other => panic!("no rule for {other}"),
    }
}

fn float(word: &str, words: &Words<'_>, format: Format, s: &[u64]) -> u64 {
    let s: Vec<u64> = s.iter().map(|x| words.flush(format, *x)).collect();
    let x = |i: usize| Real::decode(format, s[i]);
    let mode = words.rounding();
    let down = mode == "rm";
    let value = match word {
        "add" => x(0).plus(&x(1), down),
        "sub" => x(0).plus(&x(1).negated(), down),
        "mul" => x(0).times(&x(1)),
        "fma" => x(0).times(&x(1)).plus(&x(2), down),
        "div" => x(0).over(&x(1)),
        "rcp" => Real::integer(1).over(&x(0)),
        "sqrt" => x(0).root(),
        "neg" => return s[0] ^ format.sign(),
        "abs" => return s[0] & (format.sign() - 1),
        "min" | "max" => {
            let xorsign = words.has("xorsign");
            let keep = |bits: u64| {
                if xorsign {
                    bits & (format.sign() - 1)
                } else {
                    bits
                }
            };
            let (a, b) = (keep(s[0]), keep(s[1]));
            let bits = match (format.is_nan(a), format.is_nan(b)) {
                (true, true) => return format.nan(),
                (true, _) | (_, true) if words.has("NaN") => return format.nan(),
                (true, false) => b,
                (false, true) => a,
                (false, false) => {
                    let order = Real::decode(format, a)
                        .compare(&Real::decode(format, b))
                        .unwrap();
                    // -0 is below +0.
                    let order = order.then((a & format.sign() == 0).cmp(&(b & format.sign() == 0)));
                    if (order == Ordering::Less) == (word == "min") {
                        a
                    } else {
                        b
                    }
                }
            };
            let sign = if xorsign {
                (s[0] ^ s[1]) & format.sign()
            } else {
                0
            };
            return bits | sign;
        }
        other => panic!("no rule for {other} on floats"),
    };
    words.finish(format, value.round(format, mode))
}

fn convert(words: &Words<'_>, s: &[u64]) -> u64 {
    let [.., to, from] = words.0[..] else {
        panic!("cvt has two types")
    };
    let relu = |x: Real| {
        if words.has("relu") && (x.is_negative() || x.is_zero()) {
            Real::integer(0)
        } else {
            x
        }
    };
    if let ("f16x2" | "bf16x2", Some(format)) = (to, format(to)) {
        let half = |x: u64| relu(Real::decode(F32, x)).round(format, words.rounding());
        return half(s[0]) << 16 | half(s[1]);
    }
    let integral = words
        .0
        .iter()
        .find(|word| word.len() == 3 && word.ends_with('i'));
    match (format(from), format(to)) {
        (None, None) => {
            let x = integer(from, s[0]);
            let (low, high) = range(to);
            cut(
                to,
                if words.has("sat") {
                    x.clamp(low, high)
                } else {
                    x
                },
            )
        }
        (None, Some(format)) => words.finish(
            format,
            Real::integer(integer(from, s[0])).round(format, words.rounding()),
        ),
        (Some(format), None) => {
            let x = Real::decode(format, words.flush(format, s[0]));
            let (low, high) = range(to);
            match x.to_integer(integral.unwrap()) {
                // PTX: 0, or the highest bit where 64-bit types take part.
                None if from == "f64" || bits(to) == 64 => 1 << (bits(to) - 1),
                None => 0,
                Some(x) => cut(to, x.clamp(low, high)),
            }
        }
        (Some(source), Some(target)) => {
            let x = relu(Real::decode(source, words.flush(source, s[0])));
            let x = match integral.map(|mode| (x.to_integer(mode), &x)) {
                Some((Some(whole), Real::Finite { negative, .. }))
                    if whole.unsigned_abs() < 1 << 64 =>
                {
                    // A zero keeps the sign of what it was rounded from.
                    if whole == 0 && *negative {
                        Real::integer(0).negated()
                    } else {
                        Real::integer(whole)
                    }
                }
                _ => x,
            };
            words.finish(target, x.round(target, words.rounding()))
        }
    }
}

fn range(ty: &str) -> (i128, i128) {
    let bits = bits(ty);
    if ty.starts_with('s') {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

/// Source lane of a `shfl`, and whether it is in range: the ISA's pseudocode.
pub(crate) fn shuffle(mode: &str, lane: u64, b: u64, c: u64) -> (u64, bool) {
    let (b, c_value, segment) = (b & 31, c & 31, c >> 8 & 31);
    let max_lane = lane & segment | c_value & !segment & 31;
    let min_lane = lane & segment;
    let (j, inside) = match mode {
        "up" => (lane.wrapping_sub(b), lane >= b && lane - b >= max_lane),
        "down" => (lane + b, lane + b <= max_lane),
        "bfly" => (lane ^ b, lane ^ b <= max_lane),
        _ => {
            let j = min_lane | b & !segment & 31;
            (j, j <= max_lane)
        }
    };
    if inside { (j, true) } else { (lane, false) }
}

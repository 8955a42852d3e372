//! Comparisons of floats.

use super::Lanes;
use super::cta::Machine;
use super::dispatch::Site;
use super::float::{Finish, finish_half, half_format};
use super::warp::Warp;
use crate::ptx::{Compare, Op, Operand, ScalarType};
use crate::simd::Level;

impl Machine<'_> {
    /// `setp` on floats.
    pub(super) fn compare_floats(&self, warp: &mut Warp, site: &Site<'_>) {
        let Op::Setp {
            compare,
            combine,
            flush,
            ty,
            p,
            q,
            a,
            b,
        } = &site.instruction.op
        else {
            unreachable!("dispatch sends setp only")
        };
        let results = self.float_comparison(warp, *compare, *flush, *ty, (*a, *b));
        self.set_comparison(warp, site.mask, (*p, *q), *combine, results);
    }

    /// A bit a lane: `a` compares so with `b`; for packed types element 0 and element 1, else the result and its
    /// negation.
    pub(super) fn float_comparison(
        &self,
        warp: &Warp,
        compare: Compare,
        flush: bool,
        ty: ScalarType,
        (a, b): (Operand, Operand),
    ) -> (u32, u32) {
        let level = self.program.level;
        let by_element = |element: u32| -> u32 {
            if ty == ScalarType::F64 {
                let (mut spare_a, mut spare_b) = (None, None);
                let a = self.hold::<u64>(warp, a, &mut spare_a);
                let b = self.hold::<u64>(warp, b, &mut spare_b);
                return compare_values(level, compare, a, b, f64::from_bits);
            }
            match half_format(ty) {
                Some((format, _)) => {
                    let (a, b) = (self.read::<u32>(warp, a), self.read::<u32>(warp, b));
                    let finish = Finish {
                        flush,
                        ..Finish::default()
                    };
                    let value = |x: u32| {
                        format.decode(finish_half(format, x >> (16 * element) & 0xffff, finish))
                    };
                    compare_values(level, compare, &a, &b, value)
                }
                None => {
                    let (mut spare_a, mut spare_b) = (None, None);
                    let a = self.read_f32(warp, a, flush, &mut spare_a);
                    let b = self.read_f32(warp, b, flush, &mut spare_b);
                    compare_values(level, compare, a, b, f32::from_bits)
                }
            }
        };
        let first = by_element(0);
        let second = match half_format(ty) {
            Some((_, true)) => by_element(1),
            _ => !first,
        };
        (first, second)
    }
}

fn compare_values<W: Copy, F: PartialOrd + Copy>(
    level: Level,
    compare: Compare,
    a: &Lanes<W>,
    b: &Lanes<W>,
    value: impl Fn(W) -> F,
) -> u32 {
    let value = &value;
    let equal = || level.mask(a, b, |x, y| value(x) == value(y));
    let less = || level.mask(a, b, |x, y| value(x) < value(y));
    let at_most = || level.mask(a, b, |x, y| value(x) <= value(y));
    let greater = || level.mask(a, b, |x, y| value(x) > value(y));
    let at_least = || level.mask(a, b, |x, y| value(x) >= value(y));
    #[expect(clippy::eq_op, reason = "only NaN is not equal to itself")]
    let unordered = || {
        level.mask(a, b, |x, y| {
            let (x, y) = (value(x), value(y));
            (x != x) | (y != y)
        })
    };
    match compare {
        Compare::Eq => equal(),
        Compare::Ne => !equal() & !unordered(),
        Compare::Lt | Compare::Lo => less(),
        Compare::Le | Compare::Ls => at_most(),
        Compare::Gt | Compare::Hi => greater(),
        Compare::Ge | Compare::Hs => at_least(),
        Compare::Equ => equal() | unordered(),
        Compare::Neu => !equal(),
        Compare::Ltu => less() | unordered(),
        Compare::Leu => at_most() | unordered(),
        Compare::Gtu => greater() | unordered(),
        Compare::Geu => at_least() | unordered(),
        Compare::Num => !unordered(),
        Compare::Nan => unordered(),
    }
}

//! The functions that hardware only approximates, off by as much as their specification allows.

use crate::case::values::Stream;
use crate::convert::f64_to_f32;
use crate::kernel::method::Reciprocal;
use flashproof_reference::exp::{exp, ln};

/// Which errors the approximate functions make.
#[derive(Clone, Copy, Debug)]
pub enum Noise {
    /// None: the nearest f32.
    Nearest,
    /// Any that their specification allows, a function of the stream and of the place.
    Random(Stream),
    /// The largest allowed: exponentials of even places too large, of odd places too small; reciprocals and logarithms
    /// too large.
    Largest,
}

impl Noise {
    /// Units of the last place, within `-most ..= most`.
    fn steps(self, place: usize, most: f64) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Random(stream) => (stream.normal(u64::try_from(place).expect("at most 64 bits"))
                * most)
                .round()
                .clamp(-most, most),
            Self::Largest if place.is_multiple_of(2) => most,
            Self::Largest => -most,
        }
    }

    /// PTX `ex2.approx.ftz.f32`: at most 2 units of the last place from the nearest f32; `2^0 = 1`; subnormal results
    /// are 0.
    pub(super) fn ex2(self, x: f32, place: usize) -> f32 {
        if x == 0.0 {
            return 1.0;
        }
        let exact = exp(f64::from(x) * std::f64::consts::LN_2);
        if exact < f64::from(f32::MIN_POSITIVE) {
            return 0.0;
        }
        let rounded = f64_to_f32(exact);
        let steps = self.steps(place, 2.0);
        if steps == 0.0 || !rounded.is_finite() {
            return rounded;
        }
        f64_to_f32(f64::from(rounded) + steps * unit(rounded))
    }

    /// The factor for `1 / x`, or the quotient itself, `o / x`.
    pub(super) fn divide(self, o: f32, x: f32, how: Reciprocal, place: usize) -> f32 {
        match how {
            Reciprocal::DivRn => o / x,
            Reciprocal::RcpRn => o * (1.0 / x),
            Reciprocal::DivFull => {
                let rounded = o / x;
                let steps = match self {
                    Self::Largest => 2.0,
                    Self::Nearest | Self::Random(_) => self.steps(place, 2.0),
                };
                if steps == 0.0 || !rounded.is_finite() {
                    return rounded;
                }
                f64_to_f32(f64::from(rounded) + steps * unit(rounded))
            }
            Reciprocal::RcpApproxFtz => {
                let rounded = 1.0 / x;
                let steps = match self {
                    Self::Largest => 1.0,
                    Self::Nearest | Self::Random(_) => self.steps(place, 1.0),
                };
                let inverse = if steps == 0.0 || !rounded.is_finite() {
                    rounded
                } else {
                    f64_to_f32(f64::from(rounded) + steps * unit(rounded))
                };
                o * inverse
            }
        }
    }

    /// PTX `lg2.approx.ftz.f32`: at most `2^-22` off, absolute in (0.5, 2), relative elsewhere. Positive numbers only;
    /// `-inf` for 0.
    pub(super) fn lg2(self, x: f32, place: usize) -> f32 {
        let Some(natural) = ln(f64::from(x)) else {
            return if x == 0.0 { f32::NEG_INFINITY } else { x };
        };
        let exact = natural / std::f64::consts::LN_2;
        let share = match self {
            Self::Largest => 1.0,
            Self::Nearest | Self::Random(_) => self.steps(place, 4.0) / 4.0,
        };
        f64_to_f32(exact + share * exact.abs().max(1.0) * (0.25 / 1_048_576.0))
    }
}

/// Distance from a positive normal f32 to the next larger one.
fn unit(x: f32) -> f64 {
    f64::from(x.next_up()) - f64::from(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_stays_within_its_specification() {
        let noises = [
            Noise::Nearest,
            Noise::Random(Stream::new(3, 1)),
            Noise::Largest,
        ];
        for noise in noises {
            let mut most = [0.0_f64; 3];
            for place in 0..2000 {
                let x = -f32::from(u16::try_from(place).unwrap()) * 0.061;
                let exact = f64::from(x).exp2();
                let found = f64::from(noise.ex2(x, place));
                most[0] = most[0].max((found - exact).abs() / exact);
                let y = 1.0 - x;
                let found = f64::from(noise.divide(1.0, y, Reciprocal::RcpApproxFtz, place));
                most[1] = most[1].max((found * f64::from(y) - 1.0).abs());
                let exact = f64::from(y).log2();
                let found = f64::from(noise.lg2(y, place));
                most[2] = most[2].max((found - exact).abs() / exact.abs().max(1.0));
            }
            let ulp = 1.0 / 8_388_608.0;
            assert!(most[0] <= 2.5 * ulp, "{noise:?} {most:?}");
            assert!(most[1] <= 1.5 * ulp, "{noise:?} {most:?}");
            assert!(most[2] <= 2.5 * ulp, "{noise:?} {most:?}");
            if let Noise::Largest = noise {
                assert!(
                    most.iter()
                        .zip([2.0, 1.0, 1.9])
                        .all(|(m, least)| *m > least * ulp),
                    "{most:?}"
                );
            }
        }
        assert_eq!(Noise::Largest.ex2(0.0, 0).to_bits(), 1.0_f32.to_bits());
        assert_eq!(Noise::Largest.ex2(-127.0, 0).to_bits(), 0);
        assert_eq!(Noise::Largest.ex2(f32::NEG_INFINITY, 1).to_bits(), 0);
    }
}

//! N6, Gaussian noise on the embeddings: what is added to a document's token embeddings before their layer norm.
//!
//! Component c of token t of a document is `z(t, c)`, a standard normal number of the document's stream, in units that
//! the encoder sets (sigma times the root mean square of its word embeddings). The level only scales it, so a higher
//! level is the same noise, further out. No token moves: what an arm attends changes for no other reason.
//!
//! `z = Phi^-1(u)`, `u` the middle of one of 2^53 equal parts of (0, 1) by `SplitMix64` as a counter: draw k of stream s is
//! mix(s + (k + 1) 0x9e3779b97f4a7c15). (Steele, Lea and Flood 2014; Wichura 1988, algorithm AS 241, to 1e-16 relative.)
//! No library's logarithm is used, so the bits are the same on every machine.

use super::NoiseError;
use super::draws::Draws;
use crate::convert::u64_to_f64;
use coefficients::{A, B, C, D, E, F};

/// Name of the family in seeds.
const FAMILY: &str = "embedding";

/// Standard normal numbers of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normals {
    stream: u64,
}

impl Normals {
    /// Those of this document under this global seed.
    #[must_use]
    pub fn new(seed: u64, document_id: &str) -> Self {
        Self {
            stream: Draws::new(seed, FAMILY, document_id).bits(0),
        }
    }

    /// Number `index` of the stream.
    #[must_use]
    pub fn at(self, index: u64) -> f64 {
        let step = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut z = self.stream.wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        quantile((u64_to_f64(z >> 11) + 0.5) * 2.0_f64.powi(-53))
    }
}

/// Refuses a level that is no relative standard deviation.
///
/// # Errors
/// [`NoiseError::Sigma`].
pub fn check_sigma(level: f64) -> Result<(), NoiseError> {
    if level >= 0.0 && level.is_finite() {
        Ok(())
    } else {
        Err(NoiseError::Sigma(level))
    }
}

/// `Phi^-1(u)` for u in (0, 1).
fn quantile(u: f64) -> f64 {
    let q = u - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * horner(A, r) / horner(B, r);
    }
    let tail = if q < 0.0 { u } else { 1.0 - u };
    let r = (-ln(tail)).sqrt();
    let size = if r <= 5.0 {
        horner(C, r - 1.6) / horner(D, r - 1.6)
    } else {
        horner(E, r - 5.0) / horner(F, r - 5.0)
    };
    if q < 0.0 { -size } else { size }
}

/// Natural logarithm of a normal number: `e ln 2 + 2 artanh((m - 1) / (m + 1))` with m between 1 / sqrt 2 and sqrt 2.
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut m = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    let mut e = u64_to_f64(bits >> 52) - 1023.0;
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        e += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    // s is at most 0.1716: the term left out is below 2e-18.
    let mut sum = 0.0;
    for k in (0..12_u8).rev() {
        sum = sum * square + 1.0 / f64::from(2 * k + 1);
    }
    e * std::f64::consts::LN_2 + 2.0 * s * sum
}

fn horner(coefficients: [f64; 8], x: f64) -> f64 {
    let mut all = coefficients.into_iter().rev();
    let last = all.next().unwrap_or(0.0);
    all.fold(last, |sum, coefficient| sum * x + coefficient)
}

/// Coefficients of AS 241 (its PPND16): numerator and denominator near the middle, in the tails, and far out.
#[expect(
    clippy::excessive_precision,
    reason = "the digits of the published table"
)]
mod coefficients {
    pub(super) const A: [f64; 8] = [
        3.387_132_872_796_366_608,
        1.331_416_678_917_843_774_5e2,
        1.971_590_950_306_551_442_7e3,
        1.373_169_376_550_946_112_5e4,
        4.592_195_393_154_987_145_7e4,
        6.726_577_092_700_870_085_3e4,
        3.343_057_558_358_812_810_5e4,
        2.509_080_928_730_122_672_7e3,
    ];
    pub(super) const B: [f64; 8] = [
        1.0,
        4.231_333_070_160_091_125_2e1,
        6.871_870_074_920_579_083e2,
        5.394_196_021_424_751_107_7e3,
        2.121_379_430_158_659_586_7e4,
        3.930_789_580_009_271_061e4,
        2.872_908_573_572_194_267_4e4,
        5.226_495_278_852_854_561e3,
    ];
    pub(super) const C: [f64; 8] = [
        1.423_437_110_749_683_577_34,
        4.630_337_846_156_545_295_9,
        5.769_497_221_460_691_405_5,
        3.647_848_324_763_204_605_04,
        1.270_458_252_452_368_382_58,
        2.417_807_251_774_506_117_7e-1,
        2.272_384_498_926_918_458_33e-2,
        7.745_450_142_783_414_076_4e-4,
    ];
    pub(super) const D: [f64; 8] = [
        1.0,
        2.053_191_626_637_758_821_87,
        1.676_384_830_183_803_849_4,
        6.897_673_349_851_000_045_5e-1,
        1.481_039_764_274_800_745_9e-1,
        1.519_866_656_361_645_719_66e-2,
        5.475_938_084_995_344_946e-4,
        1.050_750_071_644_416_843_24e-9,
    ];
    pub(super) const E: [f64; 8] = [
        6.657_904_643_501_103_777_2,
        5.463_784_911_164_114_369_9,
        1.784_826_539_917_291_335_8,
        2.965_605_718_285_048_912_3e-1,
        2.653_218_952_657_612_309_3e-2,
        1.242_660_947_388_078_438_6e-3,
        2.711_555_568_743_487_578_15e-5,
        2.010_334_399_292_288_132_65e-7,
    ];
    pub(super) const F: [f64; 8] = [
        1.0,
        5.998_322_065_558_879_376_9e-1,
        1.369_298_809_227_358_053_1e-1,
        1.487_536_129_085_061_485_25e-2,
        7.868_691_311_456_132_591e-4,
        1.846_318_317_510_054_681_8e-5,
        1.421_511_758_316_445_888_7e-7,
        2.044_263_103_389_939_785_64e-15,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_pythons() {
        // statistics.NormalDist().inv_cdf
        for (u, want) in QUANTILES {
            let found = quantile(u);
            assert!(
                (found - want).abs() <= 2e-15 * want.abs().max(1.0),
                "{u}: {found} {want}"
            );
            // 1 - u is rounded, which matters in the far tail.
            assert!(u < 1e-6 || (quantile(1.0 - u) + want).abs() <= 1e-8 * want.abs().max(1.0));
        }
        assert!(quantile(0.5).abs() < 1e-300);
        for x in [1e-300, 1e-9, 0.1, 0.5, 0.7, 0.71, 0.999, 1.0, 1.5, 3e7] {
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs(), "{x}");
        }
    }

    #[test]
    fn numbers_are_normal_and_each_document_has_its_own() {
        let normals = Normals::new(3, "d");
        let count = 20_000_u32;
        let all: Vec<f64> = (0..u64::from(count))
            .map(|index| normals.at(index))
            .collect();
        let moment = |power: i32| all.iter().map(|z| z.powi(power)).sum::<f64>() / f64::from(count);
        // Standard errors of the four moments are below 0.007, 0.010, 0.028 and 0.070.
        assert!(moment(1).abs() < 0.03 && (moment(2) - 1.0).abs() < 0.04);
        assert!(moment(3).abs() < 0.12 && (moment(4) - 3.0).abs() < 0.3);
        assert!(
            all.windows(2)
                .all(|pair| pair[0].to_bits() != pair[1].to_bits())
        );
        assert_eq!(
            normals.at(7).to_bits(),
            Normals::new(3, "d").at(7).to_bits()
        );
        for other in [Normals::new(4, "d"), Normals::new(3, "e")] {
            assert_ne!(other.at(7).to_bits(), normals.at(7).to_bits());
        }
    }

    #[test]
    fn draws_are_pinned() {
        // Committed results depend on these bits; checked once against Python's hashlib and statistics.
        let found = Normals::new(7, "0011").at(5);
        assert!((found - PINNED).abs() < 1e-15, "{found:e}");
    }

    #[test]
    fn levels_are_deviations() {
        assert_eq!(check_sigma(0.0), Ok(()));
        assert_eq!(check_sigma(2.0), Ok(()));
        for level in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(matches!(check_sigma(level), Err(NoiseError::Sigma(_))));
        }
    }

    const QUANTILES: [(f64, f64); 8] = [
        (1e-16, -8.222082216130435),
        (1e-12, -7.034483825301132),
        (1e-06, -4.753424308822899),
        (0.01, -2.3263478740408408),
        (0.074, -1.4466320671589785),
        (0.0751, -1.4388253927525398),
        (0.2, -0.8416212335729142),
        (0.4, -0.2533471031357998),
    ];
    const PINNED: f64 = -0.40104061358283993;
}

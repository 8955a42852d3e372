//! How other projects decide whether an attention kernel is right, each as its own tests have it.
//!
//! | criterion | accepts when | from |
//! |---|---|---|
//! | `allclose_1e-2` | `abs(out - ref) <= 1e-2 + 1e-2 abs(ref)` everywhere | `torch.allclose(atol=1e-2, rtol=1e-2)`, `MInference` and `FlexPrefill` (scripts) |
//! | `fa2_2x` | `max abs(out - ref) <= 2 max abs(half - ref)` | FlashAttention-2, `tests/test_flash_attn.py` |
//! | `fa3_2x_floor` | the same `+ 2 max abs(ref + 0.3 - 0.3 - ref)` in the output's format | FlashAttention-3, `hopper/test_flash_attn.py` |
//! | `flashinfer_1e-3` | `abs(out - ref) <= 1e-3 + 1e-3 abs(ref)` everywhere | `FlashInfer`, `tests/attention` |
//! | `flashinfer_1e-2` | `abs(out - ref) <= 1e-2 + 1e-3 abs(ref)` everywhere | `FlashInfer`, `tests/attention/test_block_sparse.py` |
//! | `flex_mean` | `mean abs(out - gold) <= 1.1 mean abs(half - gold)` | PyTorch, `test/inductor/test_flex_attention.py` |
//! | `candle_0.125` | `max abs(out - ref) < 0.125` | candle and mistral.rs, window and paged tests |
//! | `cubek_1e-2` | `abs(out - ref) <= max(1e-2, 1e-2 abs(ref))` everywhere | cubek, attention tests |
//!
//! `ref` is their f32 result rounded to the output's format, here the correctly rounded answer in its place (which is
//! kinder to them: their own rounding errors are gone); `gold` is f64; `half` is the same formula with scores, weights and
//! outputs each rounded to the inputs' format, FlashAttention's `attention_ref(upcast=False)`. A NaN that a criterion's own
//! project would notice is noticed. They are shown the outputs only: few of these tests look at the log-sum-exp.

use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, usize_to_f64};
use flashproof_reference::exp::exp;
use flashproof_reference::{DType, Problem};
use rayon::prelude::*;

/// One of the field's criteria.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criterion {
    /// `torch.allclose`.
    Allclose,
    /// FlashAttention-2.
    Fa2,
    /// FlashAttention-3.
    Fa3,
    /// `FlashInfer`, attention.
    FlashInfer3,
    /// `FlashInfer`, block-sparse.
    FlashInfer2,
    /// `FlexAttention`.
    Flex,
    /// candle.
    Candle,
    /// cubek.
    Cubek,
}

/// What a criterion looks at.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The kernel's output.
    pub out: &'a [f64],
    /// The answer.
    pub gold: &'a [f64],
    /// The formula in the inputs' format.
    pub half: &'a [f64],
    /// That format.
    pub dtype: DType,
}

impl Criterion {
    /// All, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::Allclose,
        Self::Fa2,
        Self::Fa3,
        Self::FlashInfer3,
        Self::FlashInfer2,
        Self::Flex,
        Self::Candle,
        Self::Cubek,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allclose => "allclose_1e-2",
            Self::Fa2 => "fa2_2x",
            Self::Fa3 => "fa3_2x_floor",
            Self::FlashInfer3 => "flashinfer_1e-3",
            Self::FlashInfer2 => "flashinfer_1e-2",
            Self::Flex => "flex_mean",
            Self::Candle => "candle_0.125",
            Self::Cubek => "cubek_1e-2",
        }
    }

    /// Whether it takes the output for right.
    pub fn accepts(self, sample: &Sample<'_>) -> bool {
        let Sample {
            out,
            gold,
            half,
            dtype,
        } = *sample;
        let reference = || gold.iter().map(|&x| rounded(x, dtype));
        let everywhere = |allowed: &dyn Fn(f64) -> f64| {
            out.iter()
                .zip(reference())
                .all(|(out, reference)| (out - reference).abs() <= allowed(reference))
        };
        match self {
            Self::Allclose => everywhere(&|x| 1e-2 + 1e-2 * x.abs()),
            Self::FlashInfer3 => everywhere(&|x| 1e-3 + 1e-3 * x.abs()),
            Self::FlashInfer2 => everywhere(&|x| 1e-2 + 1e-3 * x.abs()),
            Self::Cubek => everywhere(&|x| (1e-2 * x.abs()).max(1e-2)),
            Self::Candle => largest(out.iter().copied().zip(reference())) < 0.125,
            Self::Fa2 | Self::Fa3 => {
                let own = largest(half.iter().copied().zip(reference()));
                let floor = if self == Self::Fa3 {
                    let moved = reference().map(|x| {
                        let up = rounded(x + rounded(0.3, dtype), dtype);
                        rounded(up - rounded(0.3, dtype), dtype)
                    });
                    2.0 * largest(moved.zip(reference()))
                } else {
                    0.0
                };
                largest(out.iter().copied().zip(reference())) <= 2.0 * own + floor
            }
            Self::Flex => {
                let mean = |x: &[f64]| {
                    let sum: f64 = x.iter().zip(gold).map(|(x, gold)| (x - gold).abs()).sum();
                    sum / usize_to_f64(gold.len().max(1))
                };
                mean(out) <= 1.1 * mean(half)
            }
        }
    }
}

/// The largest distance; NaN if there is one.
fn largest(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    pairs.fold(0.0, |largest: f64, (a, b)| {
        let distance = (a - b).abs();
        if distance.is_nan() || distance > largest {
            distance
        } else {
            largest
        }
    })
}

/// Nearest number of a format.
pub fn rounded(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f64_to_f16(x).to_f64(),
        DType::Bf16 => f64_to_bf16(x).to_f64(),
        DType::F32 => f64::from(f64_to_f32(x)),
        DType::F64 => x,
    }
}

/// The formula with scores, weights and outputs each rounded to the inputs' format, as FlashAttention's
/// `attention_ref(upcast=False, reorder_ops=True)`: k is scaled first; a row that sees no key is 0.
pub fn half_precision(problem: &Problem) -> Vec<f64> {
    let (shape, dtype) = (problem.shape, problem.dtype());
    let (d, n) = (shape.head_dim, shape.seqlen_kv);
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f64());
    let scale = f64::from(problem.scale);
    let k: Vec<f64> = k.iter().map(|&k| rounded(k * scale, dtype)).collect();
    q.par_chunks(d)
        .enumerate()
        .flat_map_iter(|(row, q)| {
            let head = row / shape.seqlen_q;
            let q_head = head % shape.num_q_heads;
            let kv = head / shape.num_q_heads * shape.num_kv_heads + shape.kv_head(q_head);
            let (k, v) = (&k[kv * n * d..], &v[kv * n * d..]);
            let keys: Vec<usize> = problem
                .layout
                .visible_keys(q_head, row % shape.seqlen_q)
                .flatten()
                .collect();
            let score: Vec<f64> = keys
                .iter()
                .map(|&key| {
                    let sum: f64 = q.iter().zip(&k[key * d..]).map(|(q, k)| q * k).sum();
                    rounded(sum, dtype)
                })
                .collect();
            let max = score.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weight: Vec<f64> = score.iter().map(|score| exp(score - max)).collect();
            let sum: f64 = weight.iter().sum();
            let mut o = vec![0.0; d];
            for (weight, key) in weight.iter().zip(keys) {
                let weight = rounded(weight / sum, dtype);
                for (o, v) in o.iter_mut().zip(&v[key * d..]) {
                    *o += weight * v;
                }
            }
            o.into_iter().map(move |o| rounded(o, dtype))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use flashproof_reference::attention;

    #[test]
    fn each_criterion_accepts_the_answer_and_its_own_slack_and_no_more() {
        let problem = "kernel=k seqlen_q=16 seqlen_kv=64 dtype=bf16"
            .parse::<Case>()
            .unwrap()
            .problem()
            .unwrap();
        let gold = attention(&problem).unwrap().o;
        let half = half_precision(&problem);
        let dtype = DType::Bf16;
        let off = |by: f64| -> Vec<f64> {
            let mut out: Vec<f64> = gold.iter().map(|&x| rounded(x, dtype)).collect();
            out[7] += by;
            out
        };
        for criterion in Criterion::ALL {
            let accepts = |out: &[f64]| {
                criterion.accepts(&Sample {
                    out,
                    gold: &gold,
                    half: &half,
                    dtype,
                })
            };
            let name = criterion.name();
            assert!(accepts(&off(0.0)), "{name}");
            assert!(!accepts(&off(1e6)) && !accepts(&off(f64::NAN)), "{name}");
        }
        let accepts = |criterion: Criterion, by: f64| {
            criterion.accepts(&Sample {
                out: &off(by),
                gold: &gold,
                half: &half,
                dtype,
            })
        };
        assert!(accepts(Criterion::Candle, 0.124) && !accepts(Criterion::Candle, 0.126));
        assert!(accepts(Criterion::Cubek, 0.0099) && !accepts(Criterion::Cubek, 0.03));
        assert!(!accepts(Criterion::FlashInfer3, 0.0099));
        // One element of 512 is far off, and the mean does not see it.
        assert!(accepts(Criterion::Flex, 0.05) && !accepts(Criterion::Fa2, 0.05));
    }
}

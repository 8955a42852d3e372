//! Facts that a manifest states about a kernel: orders, bases, and the method that an error bound may rest on.

use flashproof_reference::DType;
use serde::{Deserialize, Deserializer, de};

/// Order of the axes of q, k, v and o, the last contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorOrder {
    /// (batch, heads, seqlen, `head_dim`).
    Bhsd,
    /// (batch, seqlen, heads, `head_dim`).
    Bshd,
    /// (tokens of all sequences, heads, `head_dim`): sequences one after another, their starts in `cu_seqlens_q` and
    /// `cu_seqlens_kv`. The sequences of a case are equally long, so this is [`Bshd`](Self::Bshd) in memory.
    Varlen,
}

/// Order of the axes of `lse`, the last contiguous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LseOrder {
    /// (batch, heads, `seqlen_q`).
    #[default]
    Bhs,
    /// (batch, `seqlen_q`, heads).
    Bsh,
    /// (heads, queries of all sequences).
    Hbs,
}

/// Base of the logarithm in `lse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum LseBase {
    /// Natural.
    #[serde(rename = "e")]
    E,
    /// Two.
    #[serde(rename = "2")]
    Two,
}

/// What a row that sees no key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyRow {
    /// `o = 0`, `lse = -inf`.
    Zero,
    /// Anything: such rows are not compared.
    Undefined,
}

/// A rule of visibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskRule {
    /// Keys after the diagonal may be hidden.
    Causal,
    /// Keys far from the diagonal may be hidden.
    Window,
    /// Leading keys may be seen by every query.
    Sinks,
    /// Sparsity blocks may be absent.
    Blocks,
    /// Tokens may see, and be seen by, everything.
    Global,
    /// The kernel keeps the tiles whose largest score reaches a threshold, and says which (see [`super::selection`]).
    Threshold,
}

/// Facts about a kernel's method. A bound that needs another fact is not derived from a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method<W = DType> {
    /// Queries that a CTA computes at a time.
    pub tile_q: u32,
    /// Keys between two updates of the row maximum.
    pub tile_kv: u32,
    /// Format of a weight as an operand of the product with v.
    pub p_dtype: W,
    /// How a score becomes the argument of the exponential.
    pub score: ScoreScaling,
    /// The exponential.
    pub exponential: Exponential,
    /// The logarithm of `lse`.
    pub logarithm: Logarithm,
    /// The final division by the row sum.
    pub reciprocal: Reciprocal,
    /// Rounding of o to its format.
    pub output_rounding: Rounding,
    /// Lanes that add the weights of a row, each its own keys in ascending order, before their sums are added as a
    /// tree; 1 where nothing is promised.
    pub row_sum_lanes: u32,
}

/// Format of a weight, as a manifest states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// That of q, k and v: `"input"`.
    Input,
    /// This one, whatever the inputs are.
    Stated(DType),
}

impl<'de> Deserialize<'de> for WeightFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "input" {
            return Ok(Self::Input);
        }
        text.parse().map(Self::Stated).map_err(de::Error::custom)
    }
}

impl Method<WeightFormat> {
    /// The method on inputs of a format.
    pub fn for_inputs(&self, dtype: DType) -> Method {
        Method {
            tile_q: self.tile_q,
            tile_kv: self.tile_kv,
            p_dtype: match self.p_dtype {
                WeightFormat::Input => dtype,
                WeightFormat::Stated(dtype) => dtype,
            },
            score: self.score,
            exponential: self.exponential,
            logarithm: self.logarithm,
            reciprocal: self.reciprocal,
            output_rounding: self.output_rounding,
            row_sum_lanes: self.row_sum_lanes,
        }
    }
}

/// In which order a CTA takes the tiles of `tile_kv` keys, tile `t` beginning with key `t * tile_kv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TileOrder {
    /// The first keys first.
    Ascending,
    /// The last keys first.
    Descending,
}

/// How a score becomes the argument of a base-2 exponential, with `scale_log2 = RN(scale * log2(e))` in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreScaling {
    /// `RN(RN(score - row_max) * scale_log2)`.
    SubtractThenScale,
    /// `fma(score, scale_log2, -RN(row_max * scale_log2))`.
    Fused,
}

/// An exponential, base 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Exponential {
    /// PTX `ex2.approx.ftz.f32`: 2 ulp of the correctly rounded result, results below 2^-126 are 0.
    #[serde(rename = "ex2.approx.ftz")]
    Ex2ApproxFtz,
    /// PTX `ex2.approx.f32`: the same with subnormal results.
    #[serde(rename = "ex2.approx")]
    Ex2Approx,
}

/// A logarithm, base 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Logarithm {
    /// PTX `lg2.approx.ftz.f32`: 2^-22, absolute in (0.5, 2), relative elsewhere; times ln 2, rounded.
    #[serde(rename = "lg2.approx.ftz")]
    Lg2ApproxFtz,
    /// PTX `lg2.approx.f32`: the same with subnormal arguments.
    #[serde(rename = "lg2.approx")]
    Lg2Approx,
}

/// The division by the row sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Reciprocal {
    /// `RN(o * RN(1 / row_sum))`.
    #[serde(rename = "rcp.rn")]
    RcpRn,
    /// `RN(o * rcp.approx(row_sum))`, 1 ulp.
    #[serde(rename = "rcp.approx.ftz")]
    RcpApproxFtz,
    /// `RN(o / row_sum)`.
    #[serde(rename = "div.rn")]
    DivRn,
    /// PTX `div.full.f32(o, row_sum)`, 2 ulp.
    #[serde(rename = "div.full")]
    DivFull,
}

/// A rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Rounding {
    /// To nearest, ties to even.
    #[serde(rename = "rn")]
    NearestEven,
}

/// Reads a list of names of number formats.
pub(super) fn dtypes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DType>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| text.parse().map_err(de::Error::custom))
        .collect()
}

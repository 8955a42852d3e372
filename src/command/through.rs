//! Passages through the CUDA kernel: every head of every layer of the encoder, as PTX in the virtual machine.

use super::model::Model;
use super::{Failure, progress};
use crate::backend::native::NativeInputs;
use crate::backend::{Backend, Settings};
use crate::bound::Bound;
use crate::encoder::{ArmPlan, AttentionBackend, AttentionFailure, Role, Site};
use crate::kernel::{self, Kernel};
use crate::oracle::Terms;
use crate::outcome::Outcome;
use crate::verdict::{Verdict, judge};
use crate::vm::Target;
use flashproof_reference::{DType, Layout, Problem, Tensor, attention};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

/// The kernel that carries the encoder.
const KERNEL: &str = "block_sparse_sm80";

/// What the virtual machine gave for some passages under one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Through {
    /// The kernel.
    pub(super) kernel: String,
    /// The arm.
    pub(super) arm: String,
    /// Passages.
    pub(super) passages: usize,
    /// Heads of layers run and judged, over all passages.
    pub(super) heads: usize,
    /// Elements of `o` and `lse` that the judge compared.
    pub(super) elements: usize,
    /// Least cosine between an embedding made so and the native f32 one.
    pub(super) cosine_min: f64,
}

impl Through {
    /// One sentence for a caption.
    pub(super) fn sentence(&self) -> String {
        format!(
            "Through CUDA, under {}: {} passages, all {} heads of all layers as the PTX of {} in the virtual machine; \
             the judge compared {} elements and every one agreed; least cosine to the native embedding {:.8}.",
            self.arm, self.passages, self.heads, self.kernel, self.elements, self.cosine_min
        )
    }
}

/// Runs passages under an arm through the kernel, and compares the embeddings with the native ones.
pub(super) fn run(model: &Model, passages: &[String], arm: &str) -> Result<Through, Failure> {
    let plan = model.arms.plan(arm).map_err(Failure::Input)?;
    let sequences = model
        .arms
        .tokens(passages, Role::Passage)
        .map_err(Failure::Input)?;
    let layers = model.arms.encoder.architecture().layers * sequences.len();
    let bar = progress::count(
        u64::try_from(layers).unwrap_or(u64::MAX),
        "layers through PTX",
    );
    let mut carried = Carried {
        kernel: kernel::by_name(KERNEL).map_err(Failure::input)?,
        heads: 0,
        elements: 0,
        bar,
    };
    let kernel_vectors = model
        .arms
        .encoder
        .embed_through(&sequences, &plan, &mut carried)
        .map_err(Failure::input)?
        .vectors;
    carried.bar.finish_and_clear();
    let architecture = model.arms.encoder.architecture();
    let expected = architecture.layers * architecture.heads * sequences.len();
    if carried.heads != expected {
        return Err(Failure::Input(format!(
            "{} heads went through {KERNEL}, but {expected} make up the passages; please report it",
            carried.heads
        )));
    }
    let native_vectors = native(model, &sequences, &plan)?;
    let cosine_min = kernel_vectors
        .iter()
        .zip(&native_vectors)
        .map(|(a, b)| cosine(a, b))
        .fold(1.0, f64::min);
    Ok(Through {
        kernel: KERNEL.to_owned(),
        arm: arm.to_owned(),
        passages: passages.len(),
        heads: carried.heads,
        elements: carried.elements,
        cosine_min,
    })
}

fn native(model: &Model, sequences: &[Vec<u32>], plan: &ArmPlan) -> Result<Vec<Vec<f32>>, Failure> {
    let embedded = model.arms.encoder.embed(sequences, plan);
    Ok(embedded.map_err(Failure::input)?.vectors)
}

/// Dot product over the product of lengths.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Attention by the kernel in the virtual machine; a head that the judge does not accept stops the encoder.
struct Carried {
    kernel: &'static Kernel,
    heads: usize,
    elements: usize,
    bar: ProgressBar,
}

impl AttentionBackend for Carried {
    fn attention(
        &mut self,
        site: Site,
        inputs: &NativeInputs<'_>,
        layout: &Layout,
        o: &mut [f32],
    ) -> Result<(), AttentionFailure> {
        let narrow = |values| Tensor::from_f32_rounded(DType::F16, values);
        let problem = Problem::new(
            inputs.shape,
            narrow(inputs.q),
            narrow(inputs.k),
            narrow(inputs.v),
            inputs.scale,
            layout.clone(),
        )?;
        let backend = Backend::default();
        let settings = Settings::default();
        let outcome = backend.run(self.kernel, &problem, &settings);
        let terms = Terms::of(
            self.kernel.manifest(),
            &backend,
            &problem,
            Target::default(),
        );
        let answer = attention(&problem)?;
        let bound = Bound::of(&problem, &answer, &terms.arithmetic);
        let verdict = judge(&problem, &answer, &bound, terms.empty_row, &outcome);
        let place = format!("layer {} of passage {}", site.layer, site.sequence);
        match (&verdict, outcome) {
            (Verdict::Agree(agreement), Outcome::Finished(output)) => {
                self.heads += inputs.shape.num_q_heads * inputs.shape.batch;
                self.elements += agreement.compared;
                self.bar.inc(1);
                o.copy_from_slice(&output.o.to_f32());
                Ok(())
            }
            _ => Err(format!("{place}: {verdict}").into()),
        }
    }
}

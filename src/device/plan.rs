//! Which kernel computes an attention on a card, and with which launch. Everything that can be wrong with a call is found
//! here, before the driver is asked for anything.

use super::hardware::Hardware;
use super::tensor::{View, ViewError, check_apart};
use crate::convert::{f64_to_f32, usize_to_f64};
use crate::kernel::manifest::{BufferName, MaskRule, ParamValue};
use crate::kernel::{self, BindError, Binding, Content, Kernel, Request};
use flashproof_reference::{DType, Layout, Problem, Shape, Tensor};

/// Attention of tensors whose values are somewhere else: what `plan` makes a launch of.
///
/// `o = softmax(scale * q k^T over visible keys) v` and `lse`, as [`flashproof_reference::attention()`] defines them. Tensors
/// are contiguous, (batch, heads, seqlen, `head_dim`).
///
/// ```
/// use flashproof::device::{Attention, Hardware};
/// use flashproof_reference::{DType, Layout, Shape};
/// let shape = Shape { batch: 1, num_q_heads: 8, num_kv_heads: 2, seqlen_q: 1000, seqlen_kv: 1000, head_dim: 64 };
/// let attention = Attention::new(shape, DType::Bf16, Layout::dense_causal(1000, 1000));
/// let plan = attention.plan(&Hardware::a100())?;
/// assert_eq!(plan.kernel().name(), "window_sm80");
/// assert_eq!(plan.binding().grid, [16, 8, 1]);
/// # Ok::<(), flashproof::device::PlanError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Attention {
    shape: Shape,
    dtype: DType,
    layout: Layout,
    scale: f32,
    thresholds: Option<Vec<f32>>,
}

/// A launch on one card.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<'k> {
    kernel: Chosen<'k>,
    binding: Binding,
    shape: Shape,
    dtype: DType,
}

/// A kernel, equal to itself alone.
#[derive(Clone, Copy, Debug)]
struct Chosen<'k>(&'k Kernel);

impl PartialEq for Chosen<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name() && self.0.ptx() == other.0.ptx()
    }
}

/// Why there is no launch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The problem is not well formed, or the kernel does not do it.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No kernel runs on the card.
    #[error("{hardware}: the kernels need {needed}")]
    Hardware {
        /// The card.
        hardware: String,
        /// Targets of the kernels.
        needed: String,
    },
    /// A launch that the card has no room for.
    #[error(
        "{kernel} needs {needed} bytes of shared memory, but {hardware} gives a CTA at most {most}"
    )]
    Shared {
        /// The kernel.
        kernel: String,
        /// What it needs.
        needed: u32,
        /// The card.
        hardware: String,
        /// What there is.
        most: u32,
    },
    /// A tensor that is not the one the launch is for.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl Attention {
    /// Attention with the usual scale, `1 / sqrt(head_dim)`. Nothing is checked before [`plan`](Self::plan).
    pub fn new(shape: Shape, dtype: DType, layout: Layout) -> Self {
        let scale = f64_to_f32(1.0 / usize_to_f64(shape.head_dim.max(1)).sqrt());
        Self {
            shape,
            dtype,
            layout,
            scale,
            thresholds: None,
        }
    }

    /// The attention of a problem, its values aside.
    pub fn of(problem: &Problem) -> Self {
        Self {
            shape: problem.shape,
            dtype: problem.dtype(),
            layout: problem.layout.clone(),
            scale: problem.scale,
            thresholds: None,
        }
    }

    /// With this factor of the scores.
    pub fn with_scale(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }

    /// Block-sparse FlashAttention: of the tiles in which every pair is visible, a tile of queries attends those whose
    /// largest scaled score reaches its threshold (`num_q_heads`, cached tiles + `q_tiles`; see
    /// [`crate::kernel::selection`]). Entries of cached tiles are not read.
    pub fn with_thresholds(mut self, thresholds: Vec<f32>) -> Self {
        self.thresholds = Some(thresholds);
        self
    }

    /// Its extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Its format.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its factor of the scores.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Its layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The launch of the best kernel that this program carries: one for the card's own architecture before one for all,
    /// and one without lists of tiles where the layout has no blocks.
    ///
    /// # Errors
    /// [`PlanError`]; where several kernels refuse, the words of the one that would have been taken.
    pub fn plan(&self, hardware: &Hardware) -> Result<Plan<'static>, PlanError> {
        let mut candidates: Vec<&'static Kernel> = kernel::all()
            .iter()
            .filter(|kernel| hardware.runs(&kernel.manifest().target))
            .collect();
        if candidates.is_empty() {
            return Err(no_kernel(hardware));
        }
        candidates.sort_by_key(|kernel| self.rank(kernel));
        let mut first = None;
        for kernel in candidates {
            match self.plan_with(kernel, hardware) {
                Ok(plan) => return Ok(plan),
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| no_kernel(hardware)))
    }

    /// The launch of this kernel.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn plan_with<'k>(
        &self,
        kernel: &'k Kernel,
        hardware: &Hardware,
    ) -> Result<Plan<'k>, PlanError> {
        let request = Request {
            shape: self.shape,
            dtype: self.dtype,
            layout: &self.layout,
            scale: self.scale,
            thresholds: self.thresholds.as_deref(),
        };
        let binding = kernel.bind_shape(&request)?;
        Plan::of(kernel, binding, (self.shape, self.dtype), hardware)
    }

    /// The best kernel has the least.
    fn rank(&self, kernel: &Kernel) -> (bool, bool, bool) {
        let manifest = kernel.manifest();
        let has_blocks = self.layout.pattern_count() > 0;
        let thresholds = manifest.supports(MaskRule::Threshold) != self.thresholds.is_some();
        let own = manifest.target.ends_with('a');
        let lists = manifest.supports(MaskRule::Blocks) != has_blocks;
        (thresholds, !own, lists)
    }
}

fn no_kernel(hardware: &Hardware) -> PlanError {
    let mut targets: Vec<&str> = kernel::all()
        .iter()
        .map(|kernel| kernel.manifest().target.as_str())
        .collect();
    targets.sort_unstable();
    targets.dedup();
    PlanError::Hardware {
        hardware: hardware.to_string(),
        needed: format!("{} or later", targets.join(" or ")),
    }
}

impl<'k> Plan<'k> {
    /// A launch that somebody else has bound, on a card: shared memory is checked, and a persistent kernel gets as many
    /// CTAs as the card has multiprocessors.
    ///
    /// # Errors
    /// [`PlanError`]: the card does not run it.
    pub fn of(
        kernel: &'k Kernel,
        mut binding: Binding,
        (shape, dtype): (Shape, DType),
        hardware: &Hardware,
    ) -> Result<Self, PlanError> {
        let target = &kernel.manifest().target;
        if !hardware.runs(target) {
            return Err(PlanError::Hardware {
                hardware: hardware.to_string(),
                needed: if target.ends_with('a') {
                    format!("{target}, and no other")
                } else {
                    format!("{target} or later")
                },
            });
        }
        if binding.shared_bytes > hardware.shared_bytes_max {
            return Err(PlanError::Shared {
                kernel: kernel.name().to_owned(),
                needed: binding.shared_bytes,
                hardware: hardware.to_string(),
                most: hardware.shared_bytes_max,
            });
        }
        if is_persistent(kernel) {
            let tile_q = kernel.manifest().tile_shape().tile_q;
            let work = shape.batch * shape.num_q_heads * shape.seqlen_q.div_ceil(tile_q);
            let work = u32::try_from(work).unwrap_or(u32::MAX);
            binding.grid = [hardware.multiprocessors.min(work).max(1), 1, 1];
        }
        Ok(Self {
            kernel: Chosen(kernel),
            binding,
            shape,
            dtype,
        })
    }

    /// The kernel.
    pub fn kernel(&self) -> &'k Kernel {
        self.kernel.0
    }

    /// The launch.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Extents of the attention.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Format of q, k, v and o.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// With the values of q, k and v, for kernels whose tensors are (batch, heads, seqlen, `head_dim`): all that this
    /// program carries.
    ///
    /// # Errors
    /// [`ViewError`]: another format, or another number of elements.
    pub fn with_values(mut self, tensors: [&Tensor; 3]) -> Result<Self, PlanError> {
        let (q, kv) = (self.shape.q_extents(), self.shape.kv_extents());
        let names = ["q", "k", "v"];
        for ((tensor, name), extents) in tensors.into_iter().zip(names).zip([q, kv, kv]) {
            let view = View::contiguous(name, tensor.dtype(), extents, 0, tensor.len());
            view.check(self.dtype, extents)?;
            let expected = extents.iter().product();
            if tensor.len() != expected {
                let found = tensor.len();
                return Err(ViewError::Length {
                    name,
                    found,
                    expected,
                }
                .into());
            }
            let bytes = match tensor {
                Tensor::F16(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Tensor::Bf16(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Tensor::F32(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Tensor::F64(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            };
            let buffers = &mut self.binding.buffers;
            if let Some(buffer) = buffers.iter_mut().find(|buffer| buffer.name == name) {
                buffer.content = Content::Bytes(bytes);
            }
        }
        Ok(self)
    }

    /// Whether these tensors are those of the launch: formats, extents, strides, alignment, sizes, and results that lie
    /// over nothing else. `lse` may be left out.
    ///
    /// # Errors
    /// [`ViewError`]: the first thing that is wrong.
    pub fn check(&self, inputs: &[View; 3], o: &View, lse: Option<&View>) -> Result<(), PlanError> {
        check_views((self.shape, self.dtype), inputs, o, lse)
    }
}

/// As [`Plan::check`].
pub(super) fn check_views(
    (shape, dtype): (Shape, DType),
    inputs: &[View; 3],
    o: &View,
    lse: Option<&View>,
) -> Result<(), PlanError> {
    let (q, kv) = (shape.q_extents(), shape.kv_extents());
    for (view, extents) in inputs.iter().zip([q, kv, kv]) {
        view.check(dtype, extents)?;
    }
    o.check(dtype, q)?;
    let [batch, heads, seqlen, _] = q;
    let mut outputs = vec![*o];
    if let Some(lse) = lse {
        lse.check(DType::F32, [batch, heads, seqlen, 1])?;
        outputs.push(*lse);
    }
    Ok(check_apart(inputs, &outputs)?)
}

/// Whether CTAs take tiles of queries until there are no more, so that their number is the launcher's to choose.
fn is_persistent(kernel: &Kernel) -> bool {
    let order = ParamValue::Pointer(BufferName::Order);
    kernel
        .manifest()
        .params
        .iter()
        .any(|param| param.value == order)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

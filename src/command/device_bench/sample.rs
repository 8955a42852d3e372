//! Some rows of an answer, judged: the reference of whole tensors of this size would take hours.

use crate::backend::Backend;
use crate::bound::Bound;
use crate::kernel::Kernel;
use crate::oracle::Terms;
use crate::outcome::{Outcome, Output};
use crate::verdict::{Verdict, judge};
use crate::vm::Target;
use flashproof_reference::{
    BlockPattern, DType, Extents, Layout, Problem, Shape, Tensor, attention,
};

/// Rows of one query head.
pub(super) struct Rows<'a> {
    pub(super) layout: &'a Layout,
    /// The head whose pattern the rows have.
    pub(super) head: usize,
    /// Queries, ascending.
    pub(super) rows: &'a [usize],
    /// Their values (rows, `head_dim`).
    pub(super) q: Tensor,
    /// Keys and values of their key head (`seqlen_kv`, `head_dim`).
    pub(super) k: &'a Tensor,
    pub(super) v: &'a Tensor,
    pub(super) scale: f32,
    pub(super) head_dim: usize,
}

impl Rows<'_> {
    /// The problem of these rows alone: a block for each pair, those present that the row sees in the whole problem. Keys
    /// stay where they are, so tiles do too. `kept` says whether a kernel that chooses its tiles kept a key's.
    pub(super) fn problem(&self, kept: &dyn Fn(usize, usize) -> bool) -> Result<Problem, String> {
        let seqlen_kv = self.layout.seqlen_kv();
        let visible = self.rows.iter().map(|&row| {
            let keys = self.layout.visible_keys(self.head, row).flatten();
            keys.filter(|&key| kept(row, key)).collect::<Vec<usize>>()
        });
        let pattern = BlockPattern::from_rows(visible);
        let extents = Extents {
            seqlen_q: self.rows.len(),
            seqlen_kv,
            block_q: 1,
            block_kv: 1,
        };
        let layout = Layout::from_extents(extents)
            .and_then(|layout| layout.with_heads(vec![pattern]))
            .map_err(|error| error.to_string())?;
        let shape = Shape {
            batch: 1,
            num_q_heads: 1,
            num_kv_heads: 1,
            seqlen_q: self.rows.len(),
            seqlen_kv,
            head_dim: self.head_dim,
        };
        Problem::new(
            shape,
            self.q.clone(),
            self.k.clone(),
            self.v.clone(),
            self.scale,
            layout,
        )
        .map_err(|error| error.to_string())
    }

    /// The verdict on outputs (rows, `head_dim`) and log-sum-exps (rows) that a kernel of this manifest gave.
    pub(super) fn judge(
        &self,
        kernel: &Kernel,
        kept: &dyn Fn(usize, usize) -> bool,
        (o, lse): (Tensor, Vec<f32>),
        (backend, target): (&Backend, Target),
    ) -> Result<Verdict, String> {
        let problem = self.problem(kept)?;
        let terms = Terms::of(kernel.manifest(), backend, &problem, target);
        let answer = attention(&problem).map_err(|error| error.to_string())?;
        let bound = Bound::of(&problem, &answer, &terms.arithmetic);
        let outcome = Outcome::Finished(Output {
            o,
            lse,
            kept: None,
            findings: Vec::new(),
        });
        Ok(judge(&problem, &answer, &bound, terms.empty_row, &outcome))
    }
}

/// Rows of a (rows, `head_dim`) tensor.
pub(super) fn gather(tensor: &Tensor, first: usize, rows: &[usize], head_dim: usize) -> Tensor {
    let places = || {
        rows.iter().flat_map(move |row| {
            (0..head_dim).map(move |channel| (first + row) * head_dim + channel)
        })
    };
    match tensor {
        Tensor::F16(x) => Tensor::F16(places().map(|i| x[i]).collect()),
        Tensor::Bf16(x) => Tensor::Bf16(places().map(|i| x[i]).collect()),
        Tensor::F32(x) => Tensor::F32(places().map(|i| x[i]).collect()),
        Tensor::F64(x) => Tensor::F64(places().map(|i| x[i]).collect()),
    }
}

/// A tensor of little-endian elements.
pub(super) fn from_bytes(dtype: DType, bytes: &[u8]) -> Tensor {
    let halves = || {
        bytes
            .chunks_exact(2)
            .map(|word| u16::from_le_bytes(word.try_into().expect("chunks of 2 bytes")))
    };
    match dtype {
        DType::F16 => Tensor::F16(halves().map(half::f16::from_bits).collect()),
        DType::Bf16 => Tensor::Bf16(halves().map(half::bf16::from_bits).collect()),
        DType::F32 => Tensor::F32(floats(bytes)),
        DType::F64 => Tensor::F64(
            bytes
                .chunks_exact(8)
                .map(|word| f64::from_le_bytes(word.try_into().expect("chunks of 8 bytes")))
                .collect(),
        ),
    }
}

/// Little-endian floats.
pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    let word = |word: &[u8]| f32::from_le_bytes(word.try_into().expect("chunks of 4 bytes"));
    bytes.chunks_exact(4).map(word).collect()
}

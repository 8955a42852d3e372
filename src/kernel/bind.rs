//! A problem becomes a launch: requirements checked, layout lowered, expressions evaluated, buffers filled.

use super::binding::{Arg, Binding, Buffer, Content};
use super::expression::{EvaluationError, Expression};
use super::extents::Extents;
use super::manifest::{BufferName, FloatName, IntegerType, Manifest, ParamValue, TensorOrder};
use super::selection;
use super::support::{self, Unsupported};
use super::tensor_map::BoundMap;
use super::tiles::{self, TileList};
use crate::convert::{f64_to_f32, low_u32};
use flashproof_reference::{Problem, ProblemError, Tensor};

/// Largest dynamic shared memory of a CTA: `sm_90`'s, the most of the targets this tool knows.
pub const SHARED_BYTES_MAX: i64 = 227 * 1024;
/// Most CTAs in x, y and z (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
pub const GRID_MAX: [i64; 3] = [0x7fff_ffff, 65535, 65535];
/// Most scratch of a launch, all buffers together: what a test machine has to spare.
pub const SCRATCH_BYTES_MAX: i64 = 1 << 30;

/// Why a problem does not become a launch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The problem is not well formed.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// The kernel does not do this; says nothing about its correctness.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The manifest gives no launch for this problem.
    #[error("{key} of the manifest: {error}")]
    Evaluation {
        /// Which key.
        key: String,
        /// Why.
        error: EvaluationError,
    },
    /// The manifest gives a launch that no device can make.
    #[error("{key} of the manifest is {value}, but {limit}")]
    Launch {
        /// Which key.
        key: String,
        /// Its value for this problem.
        value: i64,
        /// What it must be.
        limit: String,
    },
}

/// The launch of the kernel of `manifest` on `problem`.
pub(super) fn bind(manifest: &Manifest, problem: &Problem) -> Result<Binding, BindError> {
    problem.validate()?;
    support::check(manifest, problem)?;
    let list = tiles::lower(&problem.layout, manifest.tile_shape()).map_err(Unsupported::from)?;
    let extents = extents(manifest, problem, &list)?;
    assemble(manifest, problem, &extents, |name| {
        content(name, manifest, problem, &list)
    })
}

/// The launch once the extents are known and it is known what each buffer holds. Of `problem` no values are read.
pub(super) fn assemble(
    manifest: &Manifest,
    problem: &Problem,
    extents: &Extents,
    content: impl Fn(BufferName) -> Result<Content, BindError>,
) -> Result<Binding, BindError> {
    // What names a tensor twice means one tensor.
    let shared = |buffers: &mut Vec<Buffer>, name: BufferName| {
        let known = buffers.iter().position(|known| known.name == name.text());
        if let Some(index) = known {
            return Ok(index);
        }
        buffers.push(Buffer {
            name: name.text().to_owned(),
            content: content(name)?,
            writable: name.is_output(),
        });
        Ok::<_, BindError>(buffers.len() - 1)
    };
    let mut buffers = Vec::new();
    let mut args = Vec::new();
    let mut tensor_maps = Vec::new();
    let mut scratch_left = SCRATCH_BYTES_MAX;
    for param in &manifest.params {
        let key = || format!("{}.value", param.key);
        let arg = match &param.value {
            ParamValue::Pointer(name) => Arg::Pointer(shared(&mut buffers, *name)?),
            ParamValue::Null => Arg::U64(0),
            ParamValue::Scratch { bytes, zeroed } => {
                let key = format!("{}.bytes", param.key);
                let bytes = evaluate(&key, bytes, extents, 0, scratch_left)?;
                scratch_left -= bytes;
                let bytes = usize::try_from(bytes).expect("checked against the limit");
                buffers.push(Buffer {
                    name: format!("scratch of {}", param.name.as_ref().unwrap_or(&param.key)),
                    content: if *zeroed {
                        Content::Bytes(vec![0; bytes])
                    } else {
                        Content::Uninitialised(bytes)
                    },
                    writable: true,
                });
                Arg::Pointer(buffers.len() - 1)
            }
            ParamValue::Integer(ty, expression) => {
                let [least, greatest] = ty.range();
                let value = evaluate(&key(), expression, extents, least, greatest)?;
                let low = low_u32(value.cast_unsigned());
                match ty {
                    IntegerType::U8 => Arg::U8(u8::try_from(low).expect("in its range")),
                    IntegerType::U16 => Arg::U16(u16::try_from(low).expect("in its range")),
                    IntegerType::U32 | IntegerType::I32 => Arg::U32(low),
                    IntegerType::U64 | IntegerType::I64 => Arg::U64(value.cast_unsigned()),
                }
            }
            ParamValue::F32(FloatName::Scale) => Arg::F32(problem.scale),
            ParamValue::F32(FloatName::ScaleLog2) => Arg::F32(scale_log2(problem.scale)),
            ParamValue::F32(FloatName::Constant(x)) => Arg::F32(*x),
            ParamValue::TensorMap(map) => {
                let index = shared(&mut buffers, map.tensor)?;
                let of_keys = matches!(map.tensor, BufferName::K | BufferName::V);
                let extents = if of_keys {
                    problem.shape.kv_extents()
                } else {
                    problem.shape.q_extents()
                };
                let (dtype, order) = (problem.dtype(), manifest.tensor_order);
                tensor_maps.push(BoundMap::new(
                    map, &param.key, index, dtype, extents, order,
                )?);
                Arg::TensorMap(tensor_maps.len() - 1)
            }
        };
        args.push((param.offset, arg));
    }
    Ok(Binding {
        entry: manifest.entry_for(problem.dtype(), problem.shape.head_dim),
        grid: axes("grid", &manifest.grid, extents, GRID_MAX)?,
        cta: cta(manifest, extents)?,
        shared_bytes: {
            let value = evaluate(
                "shared_bytes",
                &manifest.shared_bytes,
                extents,
                0,
                SHARED_BYTES_MAX,
            )?;
            u32::try_from(value).expect("checked against the limit")
        },
        args,
        buffers,
        tensor_maps,
    })
}

/// `RN(scale * log2(e))` in f32: the factor with which a base-2 exponential takes scores.
pub fn scale_log2(scale: f32) -> f32 {
    f64_to_f32(f64::from(scale) * std::f64::consts::LOG2_E)
}

/// Values of the names. The sums were checked against `seqlen_sum_max`, and no tensor in memory has more than 2^63
/// elements, so every extent fits.
pub(super) fn extents(
    manifest: &Manifest,
    problem: &Problem,
    list: &TileList,
) -> Result<Extents, Unsupported> {
    let int = |x: usize| i64::try_from(x).expect("an extent of a tensor in memory");
    let (shape, layout) = (&problem.shape, &problem.layout);
    let tile = manifest.tile_shape();
    if i32::try_from(list.col_idx.len()).is_err() {
        return Err(Unsupported::TileCount {
            found: list.col_idx.len(),
        });
    }
    let unbounded = shape.seqlen_q + shape.seqlen_kv;
    let side = |side: Option<usize>| int(side.map_or(unbounded, |side| side.min(unbounded)));
    Ok(Extents {
        batch: int(shape.batch),
        num_q_heads: int(shape.num_q_heads),
        num_kv_heads: int(shape.num_kv_heads),
        seqlen_q: int(shape.seqlen_q),
        seqlen_kv: int(shape.seqlen_kv),
        head_dim: int(shape.head_dim),
        block_q: int(layout.block_q()),
        block_kv: int(layout.block_kv()),
        tile_q: int(tile.tile_q),
        tile_kv: int(tile.tile_kv),
        q_tiles: int(shape.seqlen_q.div_ceil(tile.tile_q)),
        kv_tiles: int(shape.seqlen_kv.div_ceil(tile.tile_kv)),
        tile_count: int(list.col_idx.len()),
        row_ptr_stride: int(list.row_ptr_stride),
        causal: i64::from(layout.causal()),
        window_left: side(layout.window().left),
        window_right: side(layout.window().right),
        sinks: int(layout.sinks().min(shape.seqlen_kv)),
    })
}

pub(super) fn evaluate(
    key: &str,
    expression: &Expression,
    extents: &Extents,
    least: i64,
    greatest: i64,
) -> Result<i64, BindError> {
    let value = expression
        .evaluate(extents)
        .map_err(|error| BindError::Evaluation {
            key: key.to_owned(),
            error,
        })?;
    if (least..=greatest).contains(&value) {
        return Ok(value);
    }
    Err(BindError::Launch {
        key: key.to_owned(),
        value,
        limit: format!("it must be {least} to {greatest}"),
    })
}

pub(super) fn axes(
    key: &str,
    expressions: &[Expression; 3],
    extents: &Extents,
    greatest: [i64; 3],
) -> Result<[u32; 3], BindError> {
    let mut axes = [0; 3];
    for (i, axis) in axes.iter_mut().enumerate() {
        let value = evaluate(
            &format!("{key}[{i}]"),
            &expressions[i],
            extents,
            1,
            greatest[i],
        )?;
        *axis = u32::try_from(value).expect("checked against the limit");
    }
    Ok(axes)
}

pub(super) fn cta(manifest: &Manifest, extents: &Extents) -> Result<[u32; 3], BindError> {
    let cta = axes("cta", &manifest.cta, extents, [1024, 1024, 64])?;
    let threads: i64 = cta.iter().copied().map(i64::from).product();
    if threads > 1024 {
        return Err(BindError::Launch {
            key: "cta".to_owned(),
            value: threads,
            limit: "a CTA has at most 1024 threads".to_owned(),
        });
    }
    Ok(cta)
}

/// What the buffer of a name holds when the kernel starts.
pub(super) fn content(
    name: BufferName,
    manifest: &Manifest,
    problem: &Problem,
    list: &TileList,
) -> Result<Content, BindError> {
    let shape = &problem.shape;
    let input = |tensor: &Tensor, extents: [usize; 4]| {
        Content::Bytes(in_order(tensor, extents, manifest.tensor_order))
    };
    let rows = shape.batch * shape.num_q_heads * shape.seqlen_q;
    Ok(match name {
        BufferName::Q => input(&problem.q, shape.q_extents()),
        BufferName::K => input(&problem.k, shape.kv_extents()),
        BufferName::V => input(&problem.v, shape.kv_extents()),
        BufferName::O => {
            Content::Uninitialised(rows * shape.head_dim * problem.q.dtype().size_bytes())
        }
        BufferName::Lse => Content::Uninitialised(rows * 4),
        BufferName::RowPtr => indices(&list.row_ptr),
        BufferName::ColIdx => indices(&list.col_idx),
        BufferName::Order => indices(&list.longest_first(shape.batch, shape.num_q_heads)),
        BufferName::Thresholds => {
            let thresholds =
                selection::thresholds(problem, manifest.tile_shape()).map_err(Unsupported::from)?;
            Content::Bytes(thresholds.iter().flat_map(|t| t.to_le_bytes()).collect())
        }
        BufferName::Kept => {
            let tile = manifest.tile_shape();
            let q_tiles = shape.batch * shape.num_q_heads * shape.seqlen_q.div_ceil(tile.tile_q);
            Content::Uninitialised(q_tiles * selection::kept_words(shape, tile) * 4)
        }
        BufferName::CuSeqlensQ => starts(shape.batch, shape.seqlen_q),
        BufferName::CuSeqlensKv => starts(shape.batch, shape.seqlen_kv),
        BufferName::TileMask => Content::Bytes(
            list.tile_mask
                .iter()
                .flat_map(|mask| mask.to_le_bytes())
                .collect(),
        ),
    })
}

/// First token of each sequence, all equally long, and the end of the last.
pub(super) fn starts(batch: usize, seqlen: usize) -> Content {
    let starts: Vec<usize> = (0..=batch).map(|i| i * seqlen).collect();
    indices(&starts)
}

pub(super) fn indices(list: &[usize]) -> Content {
    let word = |index: &usize| u32::try_from(*index).expect("the number of tiles was checked");
    Content::Bytes(
        list.iter()
            .flat_map(|index| word(index).to_le_bytes())
            .collect(),
    )
}

/// Little-endian bytes of a (batch, heads, seqlen, `head_dim`) tensor with its axes in `order`.
fn in_order(tensor: &Tensor, extents: [usize; 4], order: TensorOrder) -> Vec<u8> {
    let bytes = tensor.to_le_bytes();
    let [batch, heads, seqlen, head_dim] = extents;
    match order {
        TensorOrder::Bhsd => bytes,
        TensorOrder::Bshd | TensorOrder::Varlen => {
            let row_bytes = head_dim * tensor.dtype().size_bytes();
            swap_rows(&bytes, [batch, heads, seqlen], row_bytes)
        }
    }
}

/// Rows (a, b, c) in the order (a, c, b).
pub(super) fn swap_rows(bytes: &[u8], [a, b, c]: [usize; 3], row_bytes: usize) -> Vec<u8> {
    let mut swapped = Vec::with_capacity(bytes.len());
    for i in 0..a {
        for k in 0..c {
            for j in 0..b {
                let first = ((i * b + j) * c + k) * row_bytes;
                swapped.extend_from_slice(&bytes[first..first + row_bytes]);
            }
        }
    }
    swapped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{self, BindError};
    use flashproof_reference::{BlockPattern, DType, Layout, Shape, Window};

    const SHAPE: Shape = Shape {
        batch: 2,
        num_q_heads: 4,
        num_kv_heads: 2,
        seqlen_q: 65,
        seqlen_kv: 70,
        head_dim: 32,
    };

    fn tensor(extents: [usize; 4], dtype: DType) -> Tensor {
        let count: usize = extents.iter().product();
        Tensor::from_f32_rounded(dtype, &vec![0.5; count])
    }

    fn problem(shape: Shape, dtype: DType, layout: Layout) -> Problem {
        let [q, k] = [shape.q_extents(), shape.kv_extents()].map(|extents| tensor(extents, dtype));
        Problem::new(shape, q, k.clone(), k, 0.25, layout).unwrap()
    }

    fn bind(problem: &Problem) -> Result<Binding, BindError> {
        kernel::by_name("block_sparse_sm80").unwrap().bind(problem)
    }

    #[test]
    fn a_problem_becomes_a_launch() {
        let layout = Layout::dense_causal(65, 70)
            .with_window(Window {
                left: Some(5),
                right: None,
            })
            .with_sinks(99);
        let binding = bind(&problem(SHAPE, DType::F16, layout)).unwrap();
        assert_eq!(binding.entry, "block_sparse_sm80_f16_d32");
        assert_eq!(binding.grid, [2, 4, 2]);
        assert_eq!(binding.cta, [128, 1, 1]);
        assert_eq!(binding.shared_bytes, 20480);
        let names: Vec<&str> = binding.buffers.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(
            names,
            ["q", "k", "v", "o", "lse", "row_ptr", "col_idx", "tile_mask"]
        );
        assert_eq!(
            binding.buffers[3].content,
            Content::Uninitialised(2 * 4 * 65 * 32 * 2)
        );
        assert_eq!(
            binding.buffers[4].content,
            Content::Uninitialised(2 * 4 * 65 * 4)
        );
        assert!(
            binding
                .buffers
                .iter()
                .all(|b| b.writable == ["o", "lse"].contains(&b.name.as_str()))
        );
        let words: Vec<Arg> = binding.args[5..].iter().map(|(_, arg)| *arg).collect();
        // Heads, lengths, causal, window (unbounded is 65 + 70), sinks cut to the keys, scales; one list for all.
        let integers = [4, 2, 65, 70, 1, 5, 135, 70].map(Arg::U32);
        assert_eq!(words[..8], integers);
        assert_eq!(words[8..10], [Arg::F32(0.25), Arg::F32(0.360_673_76)]);
        assert_eq!(words[13..], [Arg::U32(0)]);
        // The CUDA struct's size.
        assert_eq!(binding.param_bytes(|_| 0).len(), 112);
        let contract = binding.contract();
        assert_eq!(contract.params.len(), binding.args.len());
        assert_eq!(contract.grid, binding.grid);
    }

    #[test]
    fn each_head_has_its_list_where_patterns_differ() {
        let heads = (0..4)
            .map(|head| BlockPattern::from_fn(2, 2, |row, column| (row + column) % 4 == head));
        let layout = Layout::dense(65, 70).with_heads(heads.collect()).unwrap();
        let binding = bind(&problem(SHAPE, DType::F16, layout)).unwrap();
        assert_eq!(binding.args[18].1, Arg::U32(3));
        let (_, row_ptr) = binding.buffer("row_ptr").unwrap();
        let expected: [u32; 12] = [0, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 4];
        let bytes = expected.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(row_ptr.content, Content::Bytes(bytes));
    }

    #[test]
    fn a_manifest_that_gives_no_launch_is_an_error_of_the_manifest() {
        let text = include_str!("../../cuda/kernels/block_sparse_sm80.toml");
        let error = |from: &str, to: &str| {
            let kernel = kernel::Kernel::from_parts("mine", "", &text.replace(from, to)).unwrap();
            let problem = problem(SHAPE, DType::F16, Layout::dense(65, 70));
            kernel.bind(&problem).unwrap_err().to_string()
        };
        assert_eq!(
            error("\"128\", \"1\", \"1\"", "\"128 / causal\", \"1\", \"1\""),
            "cta[0] of the manifest: 128 / 0 in `128 / causal` divides by zero"
        );
        assert_eq!(
            error("\"128\", \"1\", \"1\"", "\"128\", \"16\", \"1\""),
            "cta of the manifest is 2048, but a CTA has at most 1024 threads"
        );
        assert_eq!(
            error("* head_dim * 2\"", "* head_dim * 200\""),
            "shared_bytes of the manifest is 2048000, but it must be 0 to 232448"
        );
        assert_eq!(
            error("\"window_left\"", "\"0 - window_left\""),
            "param[10].value of the manifest is -135, but it must be 0 to 4294967295"
        );
    }

    #[test]
    fn orders_of_axes_are_bound_and_read_back() {
        let text = include_str!("../../cuda/kernels/block_sparse_sm80.toml");
        let kernel =
            kernel::Kernel::from_parts("mine", "", &text.replace("\"bhsd\"", "\"bshd\"")).unwrap();
        let mut problem = problem(SHAPE, DType::F16, Layout::dense(65, 70));
        let count: usize = SHAPE.q_extents().iter().product();
        let numbers: Vec<half::f16> = (0..count)
            .map(|i| half::f16::from_bits(u16::try_from(i % 30000).unwrap()))
            .collect();
        problem.q = Tensor::F16(numbers);
        let binding = kernel.bind(&problem).unwrap();
        let Content::Bytes(q) = &binding.buffer("q").unwrap().1.content else {
            panic!("q has bytes");
        };
        // Element (batch 1, head 2, query 3, channel 4) of (batch, seqlen, heads, head_dim).
        let at = ((65 + 3) * 4 + 2) * 32 + 4;
        let expected: u16 = ((4 + 2) * 65 + 3) * 32 + 4;
        assert_eq!(u16::from_le_bytes([q[2 * at], q[2 * at + 1]]), expected);
        // What was bound as q, read back as o, is q again; and one byte less is an error.
        let outputs = kernel.decode(&SHAPE, DType::F16, q, None).unwrap();
        assert_eq!(outputs.o, problem.q);
        let error = kernel
            .decode(&SHAPE, DType::F16, &q[1..], None)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "buffer o has 33279 bytes, but its shape needs 33280"
        );
    }

    #[test]
    fn a_base_2_lse_becomes_natural() {
        let text = include_str!("../../cuda/kernels/block_sparse_sm80.toml");
        let kernel =
            kernel::Kernel::from_parts("mine", "", &text.replace("\"e\"", "\"2\"")).unwrap();
        let shape = Shape {
            batch: 1,
            num_q_heads: 1,
            num_kv_heads: 1,
            seqlen_q: 2,
            seqlen_kv: 1,
            head_dim: 32,
        };
        let lse: Vec<u8> = [1.0, f32::NEG_INFINITY]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let outputs = kernel
            .decode(&shape, DType::F16, &[0; 128], Some(&lse))
            .unwrap();
        assert_eq!(outputs.lse, [std::f32::consts::LN_2, f32::NEG_INFINITY]);
    }
}

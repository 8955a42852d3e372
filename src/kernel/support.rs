//! What a kernel's manifest asks of a problem. Anything else is *unsupported*, which says nothing about the kernel.

use super::manifest::{Manifest, MaskRule};
use super::tiles::TileError;
use flashproof_reference::{DType, Layout, Problem, Tensor};

/// What a kernel does not support, with the value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// A number format.
    #[error("dtype {found}: the kernel takes {}", list(.supported))]
    DType {
        /// The problem's.
        found: DType,
        /// The kernel's.
        supported: Vec<DType>,
    },
    /// Inputs of several formats.
    #[error("q, k and v are {q}, {k} and {v}: the kernel takes one format")]
    MixedDTypes {
        /// Format of q.
        q: DType,
        /// Format of k.
        k: DType,
        /// Format of v.
        v: DType,
    },
    /// A number of channels.
    #[error("head_dim = {found}: the kernel takes {}", list(.supported))]
    HeadDim {
        /// The problem's.
        found: usize,
        /// The kernel's.
        supported: Vec<u32>,
    },
    /// A rule of visibility.
    #[error("{rule}: the kernel has no such rule")]
    Rule {
        /// The rule, with its value.
        rule: String,
    },
    /// A rule that the kernel applies whatever it is told.
    #[error("no {rule}: the kernel has that rule always")]
    Always {
        /// The rule.
        rule: &'static str,
    },
    /// A length that is no multiple of what the kernel asks.
    #[error("{name} = {value}: the kernel takes multiples of {multiple}")]
    Seqlen {
        /// `seqlen_q` or `seqlen_kv`.
        name: &'static str,
        /// The problem's.
        value: usize,
        /// The kernel's.
        multiple: u32,
    },
    /// Two numbers that the kernel takes for one.
    #[error("{names} = {values:?}: the kernel takes one number for both")]
    Different {
        /// Which.
        names: &'static str,
        /// The problem's.
        values: [usize; 2],
    },
    /// A size of sparsity blocks.
    #[error("{name} = {value}: the kernel takes multiples of {multiple}")]
    Block {
        /// `block_q` or `block_kv`.
        name: &'static str,
        /// The problem's.
        value: usize,
        /// The kernel's.
        multiple: u32,
    },
    /// An extent of which the kernel needs at least one.
    #[error("{name} = 0: a grid has at least one CTA")]
    Zero {
        /// Which.
        name: &'static str,
    },
    /// Too many tokens.
    #[error("seqlen_q + seqlen_kv = {found}: the kernel takes up to {max}")]
    SeqlenSum {
        /// The problem's.
        found: usize,
        /// The kernel's.
        max: u64,
    },
    /// A scale.
    #[error("scale = {found:e} (0x{:08x}): the kernel takes {min:e} to {max:e}", found.to_bits())]
    Scale {
        /// The problem's.
        found: f32,
        /// The least.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// A list whose indices do not fit 32 bits.
    #[error("the layout has {found} visible tiles: they are counted to 2147483647")]
    TileCount {
        /// How many.
        found: usize,
    },
    /// Thresholds of another shape than the kernel takes.
    #[error(
        "{found} thresholds, but this kernel takes {expected} here: num_q_heads times the tiles of queries, those of cached keys counted"
    )]
    Thresholds {
        /// How many were given.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A threshold that decides nothing.
    #[error(
        "the threshold of q_head {q_head}, tile {tile} is NaN (0x{bits:08x}): it must be a number or an infinity"
    )]
    ThresholdNan {
        /// Query head.
        q_head: usize,
        /// Tile of queries, cached ones counted.
        tile: usize,
        /// The bits found.
        bits: u32,
    },
    /// A layout that has no tile list.
    #[error(transparent)]
    Tiles(#[from] TileError),
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

/// Refuses what the manifest does not promise.
///
/// # Errors
/// The first requirement that fails, with the problem's value and the kernel's.
pub(super) fn check(manifest: &Manifest, problem: &Problem) -> Result<(), Unsupported> {
    let requires = &manifest.requires;
    let (shape, layout) = (&problem.shape, &problem.layout);
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(Tensor::dtype);
    if q != k || q != v {
        return Err(Unsupported::MixedDTypes { q, k, v });
    }
    if !requires.dtype.contains(&q) {
        return Err(Unsupported::DType {
            found: q,
            supported: requires.dtype.clone(),
        });
    }
    let head_dim = u32::try_from(shape.head_dim).unwrap_or(u32::MAX);
    if !requires.head_dim.contains(&head_dim) {
        return Err(Unsupported::HeadDim {
            found: shape.head_dim,
            supported: requires.head_dim.clone(),
        });
    }
    for (name, extent) in [
        ("batch", shape.batch),
        ("num_q_heads", shape.num_q_heads),
        ("seqlen_q", shape.seqlen_q),
    ] {
        if extent == 0 {
            return Err(Unsupported::Zero { name });
        }
    }
    for (name, value, multiple) in [
        ("seqlen_q", shape.seqlen_q, requires.seqlen_q_multiple),
        ("seqlen_kv", shape.seqlen_kv, requires.seqlen_kv_multiple),
    ] {
        if !value.is_multiple_of(usize::try_from(multiple).expect("32 bits fit")) {
            return Err(Unsupported::Seqlen {
                name,
                value,
                multiple,
            });
        }
    }
    for (names, values, equal) in [
        (
            "seqlen_q, seqlen_kv",
            [shape.seqlen_q, shape.seqlen_kv],
            requires.seqlen_equal,
        ),
        (
            "num_q_heads, num_kv_heads",
            [shape.num_q_heads, shape.num_kv_heads],
            requires.heads_equal,
        ),
    ] {
        if equal && values[0] != values[1] {
            return Err(Unsupported::Different { names, values });
        }
    }
    let tokens = shape.seqlen_q.saturating_add(shape.seqlen_kv);
    if u64::try_from(tokens).map_or(true, |tokens| tokens > requires.seqlen_sum_max) {
        return Err(Unsupported::SeqlenSum {
            found: tokens,
            max: requires.seqlen_sum_max,
        });
    }
    let scale = f64::from(problem.scale);
    if !(requires.scale_min..=requires.scale_max).contains(&scale) {
        return Err(Unsupported::Scale {
            found: problem.scale,
            min: requires.scale_min,
            max: requires.scale_max,
        });
    }
    check_rules(manifest, layout)
}

fn check_rules(manifest: &Manifest, layout: &Layout) -> Result<(), Unsupported> {
    let window = layout.window();
    let side = |side: Option<usize>| side.map_or_else(|| "unbounded".to_owned(), |n| n.to_string());
    let rules = [
        (MaskRule::Causal, layout.causal(), "causal".to_owned()),
        (
            MaskRule::Window,
            window.left.is_some() || window.right.is_some(),
            format!(
                "window of {} left and {} right",
                side(window.left),
                side(window.right)
            ),
        ),
        (
            MaskRule::Sinks,
            layout.sinks() > 0,
            format!("{} sinks", layout.sinks()),
        ),
        (
            MaskRule::Blocks,
            layout.pattern_count() > 0,
            format!("{} block patterns", layout.pattern_count()),
        ),
        (
            MaskRule::Global,
            !layout.global().is_empty(),
            format!("{} global tokens", layout.global().len()),
        ),
    ];
    if let (Some(right), false) = (window.right, manifest.requires.window_right) {
        let rule = format!("window of {right} right");
        return Err(Unsupported::Rule { rule });
    }
    for (rule, used, text) in rules {
        if used && !manifest.supports(rule) {
            return Err(Unsupported::Rule { rule: text });
        }
    }
    if manifest.always(MaskRule::Causal) && !layout.causal() {
        return Err(Unsupported::Always { rule: "causal" });
    }
    if layout.pattern_count() > 0 {
        let multiple = manifest.requires.block_multiple;
        let divides = usize::try_from(multiple).expect("32 bits fit");
        for (name, value) in [
            ("block_q", layout.block_q()),
            ("block_kv", layout.block_kv()),
        ] {
            if !value.is_multiple_of(divides) {
                return Err(Unsupported::Block {
                    name,
                    value,
                    multiple,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;
    use flashproof_reference::{BlockPattern, Shape};

    const SHAPE: Shape = Shape {
        batch: 1,
        num_q_heads: 2,
        num_kv_heads: 2,
        seqlen_q: 65,
        seqlen_kv: 70,
        head_dim: 32,
    };

    fn problem(shape: Shape, dtype: DType, layout: Layout) -> Problem {
        let tensor = |extents: [usize; 4]| {
            let count = extents.iter().product();
            Tensor::from_f32_rounded(dtype, &vec![0.5; count])
        };
        let [q, k] = [shape.q_extents(), shape.kv_extents()].map(tensor);
        Problem::new(shape, q, k.clone(), k, 0.25, layout).unwrap()
    }

    #[test]
    fn what_a_kernel_does_not_do_is_unsupported_with_its_value() {
        let manifest = kernel::all()[0].manifest();
        let unsupported = |problem: &Problem| check(manifest, problem).unwrap_err().to_string();
        let dense = || Layout::dense(65, 70);
        assert_eq!(
            unsupported(&problem(SHAPE, DType::F32, dense())),
            "dtype f32: the kernel takes f16, bf16"
        );
        assert_eq!(
            unsupported(&problem(
                Shape {
                    head_dim: 48,
                    ..SHAPE
                },
                DType::F16,
                dense()
            )),
            "head_dim = 48: the kernel takes 32, 64, 128"
        );
        assert_eq!(
            unsupported(&problem(
                SHAPE,
                DType::F16,
                dense().with_global([3]).unwrap()
            )),
            "1 global tokens: the kernel has no such rule"
        );
        let blocks = dense().with_blocks(16, 24).unwrap();
        let blocks = blocks
            .with_heads(vec![BlockPattern::from_fn(5, 3, |_, _| true)])
            .unwrap();
        assert_eq!(
            unsupported(&problem(SHAPE, DType::F16, blocks)),
            "block_kv = 24: the kernel takes multiples of 16"
        );
        let mut negative = problem(SHAPE, DType::F16, dense());
        negative.scale = -1.0;
        assert_eq!(
            unsupported(&negative),
            "scale = -1e0 (0xbf800000): the kernel takes 1e-30 to 1e20"
        );
    }
}

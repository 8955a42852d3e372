//! The problems that mutants are tried on: ours, and those of the projects whose criteria stand beside ours.
//!
//! Grids of other projects are theirs in lengths, head dimensions, formats and masks, with one batch and at most two query
//! heads, and without lengths above 2048: what a criterion sees of one head does not depend on how many there are.

use super::criteria::Criterion;
use super::table::Kind;
use crate::case::values::Stream;
use crate::case::{Case, CaseError, Values};
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32};
use crate::kernel::method::{Exponential, Logarithm, Method, Reciprocal, Rounding, ScoreScaling};
use crate::simulation::{Design, Noise};
use crate::vm::Target;
use flashproof_reference::{DType, Layout, Problem, Shape, Tensor};

/// Whose problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grid {
    /// Ours.
    Ours,
    /// Of the project that a criterion is from.
    Of(Criterion),
}

/// One problem and the kernel that runs on it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The case as text, and what was done to it.
    pub text: String,
    /// Whose.
    pub grid: Grid,
    /// The problem.
    pub problem: Problem,
    /// The kernel. Thresholds, where it skips, are set by the judge.
    pub design: Design,
    /// What the kernel must do.
    pub kind: Kind,
    /// Scores are whole numbers.
    pub has_whole_scores: bool,
}

/// Cases that between them have every feature that a mutant is about.
const DIRECTED: [&str; 26] = [
    "seqlen_q=17 seqlen_kv=77 head_dim=64",
    "seqlen_q=33 seqlen_kv=200 dtype=bf16 values=near_uniform",
    "seqlen_q=130 seqlen_kv=100 layout=causal",
    "seqlen_q=100 seqlen_kv=130 layout=causal values=growing_max",
    "seqlen_q=64 seqlen_kv=256 values=growing_max head_dim=64",
    "seqlen_q=70 seqlen_kv=190 dtype=bf16 values=growing_max",
    "seqlen_q=96 seqlen_kv=256 layout=window(9,-)",
    "seqlen_q=96 seqlen_kv=256 layout=window(70,3)+sinks(2)",
    "seqlen_q=150 seqlen_kv=60 layout=window(20,-)",
    "seqlen_q=192 seqlen_kv=192 layout=causal+window(5,-) values=near_uniform",
    "seqlen_q=200 seqlen_kv=200 layout=causal+window(100,-) values=q_zero",
    "num_q_heads=4 num_kv_heads=2 seqlen_q=80 seqlen_kv=130 layout=causal+window(30,-)",
    "num_q_heads=6 num_kv_heads=3 seqlen_q=40 seqlen_kv=90 dtype=bf16",
    "batch=2 num_q_heads=2 num_kv_heads=1 seqlen_q=40 seqlen_kv=96",
    "seqlen_q=128 seqlen_kv=300 layout=blocks(400,16,32,1)",
    "seqlen_q=150 seqlen_kv=300 layout=blocks(300,64,64,2) values=near_uniform",
    "num_q_heads=2 seqlen_q=100 seqlen_kv=250 layout=head_blocks(350,32,16,3)+causal",
    "num_q_heads=2 num_kv_heads=1 seqlen_q=200 seqlen_kv=256 layout=head_blocks(500,64,64,4) values=q_zero",
    "seqlen_q=128 seqlen_kv=320 layout=strided(64,64,1,3)",
    "seqlen_q=70 seqlen_kv=77 values=q_zero head_dim=64",
    "seqlen_q=64 seqlen_kv=130 values=one_hot_v",
    "seqlen_q=64 seqlen_kv=100 values=integers layout=causal",
    "seqlen_q=48 seqlen_kv=100 head_dim=40 values=peaky",
    "seqlen_q=20 seqlen_kv=100 head_dim=80 values=cancelling",
    "seqlen_q=64 seqlen_kv=128 dtype=f32 layout=causal",
    "seqlen_q=256 seqlen_kv=128 layout=causal+window(40,-)",
];

/// Sinks: of both formats, with a window and without; all rows see a key.
const SINKS: [&str; 4] = [
    "num_q_heads=2 num_kv_heads=1 seqlen_q=40 seqlen_kv=100 head_dim=64",
    "num_q_heads=2 seqlen_q=64 seqlen_kv=128 head_dim=64 layout=causal values=near_uniform",
    "seqlen_q=50 seqlen_kv=90 head_dim=64 dtype=bf16 layout=causal+window(20,-)",
    "seqlen_q=30 seqlen_kv=64 head_dim=64 values=q_zero",
];

/// Skipping: whole scores for exact decisions, others for decisions near a threshold.
const SKIPPING: [&str; 5] = [
    "num_q_heads=4 num_kv_heads=2 seqlen_q=128 seqlen_kv=320 head_dim=64 values=integers",
    "num_q_heads=2 num_kv_heads=1 seqlen_q=192 seqlen_kv=320 head_dim=64 values=integers layout=causal",
    "num_q_heads=2 seqlen_q=160 seqlen_kv=256 head_dim=64 layout=causal+window(90,-) values=integers",
    "num_q_heads=2 num_kv_heads=1 seqlen_q=128 seqlen_kv=512 head_dim=64",
    "seqlen_q=128 seqlen_kv=384 head_dim=64 values=peaky dtype=bf16 layout=window(100,-)",
];

/// Problems of other projects.
const FIELD: [(Criterion, &[&str]); 8] = [
    // MInference, FlexPrefill: long dense and causal prompts, head_dim 128.
    (
        Criterion::Allclose,
        &[
            "seqlen_q=1024 seqlen_kv=1024 head_dim=64 layout=causal dtype=bf16",
            "seqlen_q=1000 seqlen_kv=1000 head_dim=64 layout=strided(64,64,2,4)+causal",
            "seqlen_q=512 seqlen_kv=512 head_dim=128 layout=blocks(300,64,64,1)+causal",
        ],
    ),
    (
        Criterion::Fa2,
        &[
            "num_q_heads=2 num_kv_heads=1 seqlen_q=113 seqlen_kv=203 head_dim=64",
            "num_q_heads=2 num_kv_heads=1 seqlen_q=128 seqlen_kv=217 head_dim=40 layout=causal",
            "num_q_heads=2 seqlen_q=113 seqlen_kv=211 head_dim=64 layout=window(85,60)",
            "num_q_heads=2 seqlen_q=108 seqlen_kv=256 head_dim=59 layout=causal+window(40,-) dtype=bf16",
            "seqlen_q=512 seqlen_kv=256 head_dim=64 layout=causal dtype=bf16",
            "num_q_heads=2 num_kv_heads=1 seqlen_q=256 seqlen_kv=512 head_dim=64 layout=causal",
            "seqlen_q=1024 seqlen_kv=1024 head_dim=64 layout=causal",
            "seqlen_q=1023 seqlen_kv=1024 head_dim=64 layout=window(500,300)",
            "seqlen_q=1024 seqlen_kv=1023 head_dim=64",
        ],
    ),
    (
        Criterion::Fa3,
        &[
            "num_q_heads=2 num_kv_heads=1 seqlen_q=113 seqlen_kv=203 head_dim=64 dtype=bf16",
            "num_q_heads=2 num_kv_heads=1 seqlen_q=239 seqlen_kv=1 head_dim=64 dtype=bf16",
            "num_q_heads=2 seqlen_q=799 seqlen_kv=3 head_dim=64 layout=causal dtype=bf16",
            "num_q_heads=2 seqlen_q=113 seqlen_kv=128 head_dim=128 layout=window(30,20) dtype=bf16",
            "seqlen_q=384 seqlen_kv=256 head_dim=64 layout=causal dtype=bf16",
            "seqlen_q=640 seqlen_kv=128 head_dim=64 layout=causal",
            "seqlen_q=1024 seqlen_kv=1024 head_dim=64 layout=causal dtype=bf16",
            "seqlen_q=1023 seqlen_kv=1024 head_dim=64 layout=window(500,300) dtype=bf16",
        ],
    ),
    (
        Criterion::FlashInfer3,
        &[
            "num_q_heads=2 num_kv_heads=1 seqlen_q=37 seqlen_kv=54 head_dim=128 layout=causal",
            "num_q_heads=2 num_kv_heads=1 seqlen_q=17 seqlen_kv=97 head_dim=128",
            "num_q_heads=2 seqlen_q=127 seqlen_kv=512 head_dim=64 layout=causal",
            "seqlen_q=577 seqlen_kv=2048 head_dim=64 layout=causal",
            "seqlen_q=127 seqlen_kv=512 head_dim=64 layout=causal+window(128,-)",
        ],
    ),
    (
        Criterion::FlashInfer2,
        &[
            "num_q_heads=2 num_kv_heads=1 seqlen_q=64 seqlen_kv=64 head_dim=128 layout=blocks(250,1,1,1)",
            "num_q_heads=2 num_kv_heads=1 seqlen_q=128 seqlen_kv=128 head_dim=128 layout=blocks(250,4,4,2)",
            "num_q_heads=2 seqlen_q=256 seqlen_kv=256 head_dim=128 layout=blocks(250,16,16,3)",
            "seqlen_q=256 seqlen_kv=128 head_dim=128 layout=blocks(250,16,4,4)",
        ],
    ),
    (
        Criterion::Flex,
        &[
            "seqlen_q=2048 seqlen_kv=2048 head_dim=64",
            "seqlen_q=2048 seqlen_kv=2048 head_dim=64 layout=causal dtype=bf16",
            "seqlen_q=1024 seqlen_kv=2048 head_dim=64 layout=blocks(300,128,128,1)",
        ],
    ),
    (
        Criterion::Candle,
        &[
            "num_q_heads=2 seqlen_q=3 seqlen_kv=3 head_dim=8",
            "num_q_heads=2 num_kv_heads=1 seqlen_q=128 seqlen_kv=128 head_dim=64 layout=causal+window(16,-)",
            "seqlen_q=130 seqlen_kv=130 head_dim=64 layout=causal dtype=bf16",
        ],
    ),
    (
        Criterion::Cubek,
        &[
            "seqlen_q=8 seqlen_kv=8 head_dim=16",
            "seqlen_q=24 seqlen_kv=40 head_dim=16",
            "seqlen_q=64 seqlen_kv=128 head_dim=32",
            "seqlen_q=100 seqlen_kv=77 head_dim=64 layout=causal",
        ],
    ),
];

/// Which trials a run makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Random cases besides the directed ones.
    pub random_count: usize,
    /// Times each case is run, each with another seed.
    pub repeat: u64,
    /// First seed.
    pub seed: u64,
    /// Whether other projects' grids are run too.
    pub has_field: bool,
}

/// The trials of a plan.
///
/// # Errors
/// None for the lists above; a case that is no case.
pub fn trials(plan: &Plan) -> Result<Vec<Trial>, CaseError> {
    let mut trials = Vec::new();
    for seed in (plan.seed..).take(usize::try_from(plan.repeat).unwrap_or(usize::MAX)) {
        let mut add = |grid: Grid, kind: Kind, line: &str| -> Result<(), CaseError> {
            let case: Case = format!("kernel=simulated {line} seed={seed}").parse()?;
            trials.push(trial(grid, kind, &case, seed)?);
            Ok(())
        };
        for line in DIRECTED {
            add(Grid::Ours, Kind::Plain, line)?;
        }
        for line in SINKS {
            add(Grid::Ours, Kind::Sinks, line)?;
        }
        for line in SKIPPING {
            add(Grid::Ours, Kind::Skipping, line)?;
        }
        trials.extend(stress(seed));
    }
    let stream = Stream::new(plan.seed, 0x7269_616c);
    for index in 0..u64::try_from(plan.random_count).unwrap_or(u64::MAX) {
        let bytes: Vec<u8> = (0..4)
            .flat_map(|word| stream.bits(index * 4 + word).to_le_bytes())
            .collect();
        let case = Case::from_bytes("simulated", &bytes);
        trials.push(trial(Grid::Ours, Kind::Plain, &case, index)?);
    }
    if plan.has_field {
        for seed in (plan.seed..).take(usize::try_from(plan.repeat).unwrap_or(usize::MAX)) {
            for (criterion, lines) in FIELD {
                for line in lines {
                    let case: Case = format!("kernel=simulated {line} seed={seed}").parse()?;
                    trials.push(trial(Grid::Of(criterion), Kind::Plain, &case, seed)?);
                }
            }
        }
    }
    Ok(trials)
}

/// The kernel's tiles, target and score scaling vary with `variant`.
fn design(dtype: DType, kind: Kind, variant: u64) -> Design {
    let even = variant.is_multiple_of(2);
    let (tile_q, tile_kv) = if variant % 3 == 2 {
        (128, 32)
    } else {
        (64, 64)
    };
    let score = if even || kind == Kind::Sinks {
        ScoreScaling::Fused
    } else {
        ScoreScaling::SubtractThenScale
    };
    let method = Method {
        tile_q: if kind == Kind::Skipping { 64 } else { tile_q },
        tile_kv,
        p_dtype: dtype,
        score,
        exponential: Exponential::Ex2ApproxFtz,
        logarithm: Logarithm::Lg2ApproxFtz,
        reciprocal: Reciprocal::RcpApproxFtz,
        output_rounding: Rounding::NearestEven,
        row_sum_lanes: 4,
    };
    let target = if even { Target::Sm80 } else { Target::Sm90 };
    Design::new(
        method,
        target,
        Noise::Random(Stream::new(variant, 0x6e6f_6973)),
    )
}

fn trial(grid: Grid, kind: Kind, case: &Case, variant: u64) -> Result<Trial, CaseError> {
    let problem = case.problem()?;
    let mut design = design(case.dtype, kind, variant);
    if kind == Kind::Sinks {
        // A multiple of the scale by a number of 16 bits: the sink is then a key like any other.
        design.sink_logits = (0..case.shape.num_q_heads)
            .map(|head| problem.scale * SINK_SCORES[head % SINK_SCORES.len()])
            .collect();
    }
    Ok(Trial {
        text: case.to_string(),
        grid,
        problem,
        design,
        kind,
        has_whole_scores: matches!(case.values, Values::Integers | Values::QZero),
    })
}

/// Scores of the sinks, by query head; times the scale they are the logits.
pub(super) const SINK_SCORES: [f32; 4] = [16.0, -3.5, 30.0, 8.25];

/// Problems that no case makes.
fn stress(seed: u64) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |text: String, problem: Problem| {
        let design = design(problem.dtype(), Kind::Plain, seed);
        trials.push(Trial {
            text,
            grid: Grid::Ours,
            problem,
            design,
            kind: Kind::Plain,
            has_whole_scores: false,
        });
    };
    // Scores below a finite stand-in for -inf: all -6e4, from one product, so that their bound stays small.
    let mut problem = two_levels(DType::F16, 0.0, 64, seed);
    let low = |i: usize| {
        if i.is_multiple_of(problem.shape.head_dim) {
            half::f16::NEG_ONE
        } else {
            half::f16::ZERO
        }
    };
    problem.k = Tensor::F16((0..problem.k.len()).map(low).collect());
    problem.scale = 60_000.0;
    let text = "all scores -6e4: dtype=f16 seqlen_q=16 seqlen_kv=64 head_dim=16, v in [1, 2)";
    add(text.to_owned(), problem);
    // Two levels of scores, and values of one sign: every rounding of a weight pushes the same way.
    for (dtype, level, n) in [
        (DType::F16, -1.3824, 1024_usize),
        (DType::F16, -0.3, 1024),
        (DType::Bf16, -1.3824, 512),
        (DType::Bf16, -0.3, 512),
    ] {
        let text = format!(
            "two levels of scores, 0 and {level}: dtype={dtype} seqlen_q=16 seqlen_kv={n} head_dim=16, v in [1, 2)"
        );
        add(text, two_levels(dtype, level, n, seed));
    }
    trials
}

/// q is the first unit vector; every 64th key has score 0, all others `level`; v lies in [1, 2).
fn two_levels(dtype: DType, level: f64, n: usize, seed: u64) -> Problem {
    let (d, rows) = (16, 16);
    let shape = Shape {
        batch: 1,
        num_q_heads: 1,
        num_kv_heads: 1,
        seqlen_q: rows,
        seqlen_kv: n,
        head_dim: d,
    };
    let mut q = vec![0.0; rows * d];
    q.iter_mut().step_by(d).for_each(|q| *q = 1.0);
    let mut k = vec![0.0; n * d];
    for (key, k) in k.chunks_mut(d).enumerate() {
        k[0] = if key.is_multiple_of(64) { 0.0 } else { level };
    }
    let stream = Stream::new(seed, 0x6c65_7665);
    let v: Vec<f64> = (0..n * d)
        .map(|i| {
            let [low, ..] = stream
                .bits(u64::try_from(i).expect("at most 64 bits"))
                .to_le_bytes();
            1.0 + f64::from(low) / 256.0
        })
        .collect();
    let tensor = |x: &[f64]| match dtype {
        DType::F16 => Tensor::F16(x.iter().map(|&x| f64_to_f16(x)).collect()),
        DType::Bf16 => Tensor::Bf16(x.iter().map(|&x| f64_to_bf16(x)).collect()),
        DType::F32 => Tensor::F32(x.iter().map(|&x| f64_to_f32(x)).collect()),
        DType::F64 => Tensor::F64(x.to_vec()),
    };
    Problem {
        shape,
        q: tensor(&q),
        k: tensor(&k),
        v: tensor(&v),
        scale: 1.0,
        layout: Layout::dense(rows, n),
    }
}

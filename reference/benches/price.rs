//! What certainty costs: the correctly rounded answer beside plain f64 attention, in one run, on one thread and on two.
//!
//! ```text
//! cargo bench -p flashproof-reference --bench price            a table of medians and ratios
//! cargo bench -p flashproof-reference --bench price -- f16 blocks   of the cases with these words
//! cargo bench -p flashproof-reference --bench price -- --csv   the same for reports/timing
//! ```
//!
//! Every case is checked before it is timed: both agree to 1e-12 of the largest value. Contenders take turns, so that
//! a busy machine slows all of them alike, and a ratio is the median of the ratios of the turns. Not criterion's loop,
//! which times one after the other.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use flashproof_reference::convert::{f32_from_f64, f64_from_count};
use flashproof_reference::plain::{self, Exponential};
use flashproof_reference::random::Draws;
use flashproof_reference::{DType, Extents, Layout, Problem, Shape, Tensor, attention};
use std::hint::black_box;
use std::time::Instant;

const TURNS: usize = 9;

/// Near normal numbers, the usual scale.
fn problem(dtype: DType, heads: usize, head_dim: usize, layout: Layout) -> Problem {
    let shape = Shape {
        batch: 1,
        num_q_heads: heads,
        num_kv_heads: heads,
        seqlen_q: layout.seqlen_q(),
        seqlen_kv: layout.seqlen_kv(),
        head_dim,
    };
    let draws = &mut Draws::from_seed(11);
    let mut uniform = || f64::from_bits(0x3ff0_0000_0000_0000 | (draws.bits() >> 12)) - 1.0;
    let mut tensor = |extents: [usize; 4]| {
        let numbers: Vec<f32> = (0..extents.iter().product())
            .map(|_| f32_from_f64((0..12).map(|_| uniform()).sum::<f64>() - 6.0))
            .collect();
        Tensor::from_f32_rounded(dtype, &numbers)
    };
    let (q, k, v) = (
        tensor(shape.q_extents()),
        tensor(shape.kv_extents()),
        tensor(shape.kv_extents()),
    );
    let scale = f32_from_f64(1.0 / f64_from_count(head_dim).sqrt());
    Problem::new(shape, q, k, v, scale, layout).expect("extents and lengths agree")
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn seconds(task: &dyn Fn()) -> f64 {
    let start = Instant::now();
    task();
    start.elapsed().as_secs_f64()
}

/// Times of each contender, turn by turn.
fn turns(contenders: &[&dyn Fn()]) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..TURNS {
        for (times, contender) in times.iter_mut().zip(contenders) {
            times.push(seconds(contender));
        }
    }
    times
}

fn ratio(above: &[f64], below: &[f64]) -> f64 {
    median(above.iter().zip(below).map(|(a, b)| a / b).collect())
}

struct Table {
    csv: bool,
    /// Words of the cases to run; all without.
    words: Vec<String>,
}

impl Table {
    fn line(&self, cells: [&str; 6]) {
        if self.csv {
            println!("{}", cells.join(","));
        } else {
            let [name, rest @ ..] = cells;
            println!(
                "{name:34} {}",
                rest.map(|cell| format!("{cell:>12}")).join(" ")
            );
        }
    }

    /// One case: certified, plain with the library's exponential, plain with a vectorised one.
    fn case(&self, name: &str, threads: usize, problem: &Problem) {
        if !self.words.iter().all(|word| name.contains(word)) {
            return;
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("threads");
        let run = || pool.install(|| attention(problem)).expect("a problem");
        let answer = run();
        let scale = problem
            .v
            .to_f64()
            .iter()
            .fold(0.0_f64, |max, v| max.max(v.abs()));
        // Plain attention knows no layout: it is compared where the layout hides nothing.
        let shape = problem.shape;
        if (0..shape.num_q_heads)
            .all(|head| problem.layout.visible_pairs(head) == shape.seqlen_q * shape.seqlen_kv)
        {
            for exponential in [Exponential::Library, Exponential::Vector] {
                let found = plain::attention(problem, exponential);
                let pairs = found.iter().zip(&answer.o);
                let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(
                    worst < 1e-12 * scale,
                    "{name}: {exponential:?} is off by {worst}"
                );
            }
        }
        let certified = || drop(black_box(run()));
        let library = || {
            pool.install(|| drop(black_box(plain::attention(problem, Exponential::Library))));
        };
        let vector = || {
            pool.install(|| drop(black_box(plain::attention(problem, Exponential::Vector))));
        };
        let times = turns(&[&certified, &library, &vector]);
        let ms = |times: &[f64]| format!("{:.2}", median(times.to_vec()) * 1e3);
        self.line([
            name,
            &ms(&times[0]),
            &ms(&times[1]),
            &ms(&times[2]),
            &format!("{:.2}", ratio(&times[0], &times[1])),
            &format!("{:.2}", ratio(&times[0], &times[2])),
        ]);
    }
}

fn main() {
    let (options, words) = std::env::args()
        .skip(1)
        .partition::<Vec<_>, _>(|word| word.starts_with('-'));
    let table = Table {
        csv: options.iter().any(|option| option == "--csv"),
        words,
    };
    table.line([
        "case",
        "certified_ms",
        "plain_ms",
        "vector_ms",
        "ratio",
        "ratio_vector",
    ]);
    for dtype in DType::ALL {
        for (n, head_dim) in [(512, 64), (2048, 64), (2048, 128)] {
            let name = format!("{dtype} n={n} d={head_dim}");
            table.case(&name, 1, &problem(dtype, 1, head_dim, Layout::dense(n, n)));
        }
    }
    let extents = Extents {
        seqlen_q: 2048,
        seqlen_kv: 2048,
        block_q: 64,
        block_kv: 64,
    };
    let sparse = Layout::random(extents, 0.11, 5).expect("a density in 0..=1");
    table.case(
        "f16 n=2048 d=64 blocks 11%",
        1,
        &problem(DType::F16, 1, 64, sparse),
    );
    let causal = problem(DType::F16, 1, 64, Layout::dense_causal(2048, 2048));
    table.case("f16 n=2048 d=64 causal", 1, &causal);

    let many = problem(DType::F16, 4, 64, Layout::dense(1024, 1024));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("threads");
        let many = &many;
        move || {
            pool.install(|| drop(black_box(attention(many).expect("a problem"))));
        }
    };
    let (one, two) = (on(1), on(2));
    let times = turns(&[&one, &two]);
    let speedup = ratio(&times[0], &times[1]);
    let note =
        format!("two threads are {speedup:.2} times as fast as one (f16, 4 heads, n=1024, d=64)");
    println!("{}{note}", if table.csv { "# " } else { "\n" });
}

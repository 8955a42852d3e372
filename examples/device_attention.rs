//! Block-sparse attention on the first NVIDIA GPU, its result beside the reference's.
//!
//! ```sh
//! cargo run --release --features cuda --example device_attention
//! ```
//!
//! Exits with 0 where the outputs are near the answer, 1 where they are not, 2 where the call is wrong, and 3 where there is
//! no GPU, no driver, or no feature `cuda`; the launch that would be made is printed either way.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use flashproof::device::{Attention, DeviceError, Hardware, hardware};
use flashproof_reference::{
    BlockPattern, DType, Layout, Problem, Shape, Tensor, attention, random,
};
use std::process::ExitCode;

/// Largest distance that is near: some units in the last place of bf16 near 1.
const DISTANCE_MAX: f64 = 0.02;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            println!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<u8, Box<dyn std::error::Error>> {
    // Two sequences, eight query heads that share two key heads, every second block of 64 x 64.
    let shape = Shape {
        batch: 2,
        num_q_heads: 8,
        num_kv_heads: 2,
        seqlen_q: 300,
        seqlen_kv: 500,
        head_dim: 64,
    };
    let pattern = BlockPattern::from_fn(5, 8, |row, column| (row + column) % 2 == 0);
    let layout = Layout::dense(300, 500)
        .with_blocks(64, 64)?
        .with_heads(vec![pattern])?;
    let attend = Attention::new(shape, DType::Bf16, layout.clone());

    // What is launched is decided without a GPU.
    let card = hardware();
    let planned_for = card.clone().unwrap_or_else(|_| Hardware::h200());
    let plan = attend.plan(&planned_for)?;
    let launch = plan.binding();
    println!(
        "on {planned_for}: {} with grid {:?}, cta {:?}, {} bytes of shared memory",
        launch.entry, launch.grid, launch.cta, launch.shared_bytes
    );

    let [q, k, v] = [
        (1, shape.q_extents()),
        (2, shape.kv_extents()),
        (3, shape.kv_extents()),
    ]
    .map(|(seed, extents)| numbers(seed, extents.iter().product()));
    let computed = match attend.compute(&q, &k, &v) {
        Ok(computed) => computed,
        Err(DeviceError::Absent(reason)) => {
            println!("not run: {reason}");
            return Ok(3);
        }
        Err(error) => return Err(error.into()),
    };
    let answer = attention(&Problem::new(shape, q, k, v, attend.scale(), layout)?)?;
    let worst = computed
        .outputs
        .o
        .to_f64()
        .iter()
        .zip(&answer.o)
        .map(|(got, expected)| (got - expected).abs())
        .fold(0.0, |worst: f64, distance| {
            if distance > worst || distance.is_nan() {
                distance
            } else {
                worst
            }
        });
    println!(
        "{} on {}: the largest distance from the answer is {worst:.1e}",
        computed.kernel, computed.hardware
    );
    // A NaN is no distance below any limit.
    Ok(if worst <= DISTANCE_MAX { 0 } else { 1 })
}

/// Numbers from -1 to 1, rounded to bf16.
fn numbers(seed: u64, count: usize) -> Tensor {
    let mut draws = random::Draws::from_seed(seed);
    let one = |below: usize| f32::from(u16::try_from(below).expect("below 2001")) / 1000.0 - 1.0;
    let all: Vec<f32> = (0..count).map(|_| one(draws.below(2001))).collect();
    Tensor::from_f32_rounded(DType::Bf16, &all)
}

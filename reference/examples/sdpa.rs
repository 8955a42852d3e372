//! The Rust side of `benches/sdpa.py`: attention of inputs made elsewhere, once for each line on standard input.
//!
//! `sdpa FOLDER HEADS SEQLEN HEAD_DIM BLOCK` reads `q.bin`, `k.bin`, `v.bin` (f32, heads x seqlen x `head_dim`) and
//! `blocks.bin` (a byte a block, heads x rows x columns), prints the seconds of each run, and at the end of input writes
//! `o.bin` (f64).

#![expect(clippy::print_stdout, reason = "a program that reports")]

use flashproof_reference::convert::{f32_from_f64, f64_from_count};
use flashproof_reference::{
    BlockPattern, DType, Extents, Layout, Problem, Shape, Tensor, attention,
};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn floats(path: &Path) -> Result<Tensor, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let numbers: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    // Numbers that f16 holds too are taken as such.
    let tensor = Tensor::from_f32_exactly(DType::F16, &numbers);
    Ok(tensor.unwrap_or(Tensor::F32(numbers)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: sdpa FOLDER HEADS SEQLEN HEAD_DIM BLOCK";
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let mut number =
        || -> Result<usize, Box<dyn Error>> { Ok(arguments.next().ok_or(usage)?.parse()?) };
    let (heads, seqlen, head_dim, block) = (number()?, number()?, number()?, number()?);
    let shape = Shape {
        batch: 1,
        num_q_heads: heads,
        num_kv_heads: heads,
        seqlen_q: seqlen,
        seqlen_kv: seqlen,
        head_dim,
    };
    let extents = Extents {
        seqlen_q: seqlen,
        seqlen_kv: seqlen,
        block_q: block,
        block_kv: block,
    };
    let bits = std::fs::read(folder.join("blocks.bin"))?;
    let (rows, columns) = (extents.block_rows(), extents.block_columns());
    let patterns = bits.chunks_exact((rows * columns).max(1)).map(|bits| {
        BlockPattern::from_fn(rows, columns, |row, column| {
            bits[row * columns + column] != 0
        })
    });
    let layout = Layout::from_extents(extents)?.with_heads(patterns.collect())?;
    let [q, k, v] = ["q.bin", "k.bin", "v.bin"].map(|name| floats(&folder.join(name)));
    let scale = f32_from_f64(1.0 / f64_from_count(head_dim).sqrt());
    let problem = Problem::new(shape, q?, k?, v?, scale, layout)?;
    let mut o = Vec::new();
    for line in std::io::stdin().lines() {
        line?;
        let start = Instant::now();
        let answer = attention(&problem)?;
        println!("{}", start.elapsed().as_secs_f64());
        o = answer.o;
    }
    let bytes: Vec<u8> = o.iter().flat_map(|o| o.to_le_bytes()).collect();
    Ok(std::fs::write(folder.join("o.bin"), bytes)?)
}

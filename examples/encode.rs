//! The Rust side of `benches/encoder.py`: embeds sequences made elsewhere, once for each line on standard input.
//!
//! `encode FOLDER ARM` reads a BERT checkpoint of the Hugging Face hub and `tokens.bin` (u32: the count of sequences,
//! their length, their tokens) from the folder. A line says the precision, `f32` or `bf16`; the answer is the seconds of the
//! run. The vectors of the last run of each are written to `f32.bin` and `bf16.bin` (f32, sequences x hidden).

#![expect(clippy::print_stdout, reason = "a program that reports")]

use flashproof::encoder::{Arm, ArmPlan, Encoder, Precision};
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: encode FOLDER ARM";
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let arm: Arm = arguments.next().ok_or(usage)?.parse()?;
    let read = |name: &str| std::fs::read(folder.join(name));
    let load = || -> Result<Encoder, Box<dyn Error>> {
        let files = ["config.json", "model.safetensors", "tokenizer.json"].map(read);
        let [config, model, tokenizer] = files;
        Ok(Encoder::from_hugging_face(&config?, &model?, &tokenizer?)?)
    };
    let (exact, rounded) = (load()?, load()?.with_precision(Precision::Bf16));
    let words: Vec<u32> = read("tokens.bin")?
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect();
    let [_, length, tokens @ ..] = words.as_slice() else {
        return Err("tokens.bin has no count and length".into());
    };
    let length = usize::try_from(*length)?.max(1);
    let sequences: Vec<Vec<u32>> = tokens.chunks(length).map(<[u32]>::to_vec).collect();
    let plan = ArmPlan::uniform(arm);
    for line in std::io::stdin().lines() {
        let line = line?;
        let encoder = match line.as_str() {
            "f32" => &exact,
            "bf16" => &rounded,
            other => return Err(format!("{other:?} is not f32 or bf16").into()),
        };
        let start = Instant::now();
        let embedded = encoder.embed(&sequences, &plan)?;
        println!("{}", start.elapsed().as_secs_f64());
        let bytes: Vec<u8> = embedded
            .vectors
            .iter()
            .flatten()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        std::fs::write(folder.join(format!("{line}.bin")), bytes)?;
    }
    Ok(())
}

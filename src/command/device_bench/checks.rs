//! What only a card can settle: random cases of every kernel judged as anywhere, random programs and tensor-core products
//! compared bit by bit with the virtual machine, and the approximate functions on every input.

use super::{Failure, Status};
use crate::backend::Backend;
use crate::device::Hardware;
use crate::device::probe::function::{BLOCK, Function};
use crate::device::probe::tensor_core::{FORMS, Family};
use crate::device::probe::{Comparison, Probe, program};
use crate::kernel;
use crate::oracle::{cases, check};
use crate::vm::Target;
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

/// Random cases of each kernel.
const CASES: usize = 40;
/// Random programs, and their instructions.
const PROGRAMS: u64 = 200;
const LENGTH: usize = 80;
/// Products of each form and family.
const SETS: u32 = 64;
/// Inputs of a function computed at a time.
const CHUNK: u32 = 1 << 26;
/// Products whose operands are kept in the document, of each form and family.
const VECTORS: usize = 2;

pub(super) fn run(
    hardware: &Hardware,
    begin: Instant,
    limit: Duration,
    out: &mut dyn Write,
) -> Result<(Vec<Value>, Status), Failure> {
    let mut documents = Vec::new();
    let mut status = Status::Agree;
    let is_over = || begin.elapsed() > limit;
    for kernel in kernel::all() {
        if !hardware.runs(&kernel.manifest().target) {
            continue;
        }
        let (mut counts, mut failures) = ([0_usize; 4], Vec::new());
        for case in cases(kernel, 0).take(CASES) {
            if is_over() {
                break;
            }
            let report = check(&case, &Backend::Device).map_err(Failure::input)?;
            let name = report.verdict.name();
            let place = ["agree", "disagree", "incomparable", "unsupported"]
                .iter()
                .position(|known| *known == name);
            counts[place.unwrap_or(3)] += 1;
            if name == "disagree" {
                status = status.max(Status::Disagree);
                failures.push(report.to_string());
            }
        }
        let [agree, disagree, incomparable, unsupported] = counts;
        writeln!(
            out,
            "{}: {agree} agree, {disagree} disagree, {incomparable} incomparable, {unsupported} unsupported",
            kernel.name()
        )?;
        documents.push(json!({
            "check": "random cases", "kernel": kernel.name(), "agree": agree, "disagree": disagree,
            "incomparable": incomparable, "unsupported": unsupported, "failures": failures,
        }));
    }
    documents.push(programs(&is_over, out)?);
    for form in &FORMS {
        for family in Family::ALL {
            if !is_over() {
                documents.push(product(&form.probe(family, SETS, 1), out)?);
            }
        }
    }
    for function in Function::ALL {
        documents.push(exhaustive(function, &is_over, out)?);
    }
    Ok((documents, status))
}

/// Whose bits are right is the card's to say, so a difference is a finding about the virtual machine and no failure of a
/// kernel; it is written down.
fn programs(is_over: &dyn Fn() -> bool, out: &mut dyn Write) -> Result<Value, Failure> {
    let (mut words, mut differing, mut first, mut failed) = (0, 0, Vec::new(), Vec::new());
    let mut run = 0;
    for seed in 0..PROGRAMS {
        if is_over() {
            break;
        }
        let probe = program::random(seed, LENGTH);
        match both(&probe) {
            Ok((found, _)) => {
                run += 1;
                words += found.words;
                differing += found.differing;
                if found.differing > 0 && first.len() < 16 {
                    first.push(json!({ "seed": seed, "first": hex(&found), "ptx": probe.ptx }));
                }
            }
            Err(error) => failed.push(format!("{}: {error}", probe.name)),
        }
    }
    writeln!(
        out,
        "random programs: {run}, {differing} of {words} words differ, {} did not run",
        failed.len()
    )?;
    Ok(json!({
        "check": "random programs", "programs": run, "instructions": LENGTH, "words": words,
        "differing": differing, "first": first, "failed": failed,
    }))
}

fn product(probe: &Probe, out: &mut dyn Write) -> Result<Value, Failure> {
    match both(probe) {
        Ok((found, there)) => {
            if found.differing > 0 {
                writeln!(
                    out,
                    "{}: {} of {} words differ",
                    found.name, found.differing, found.words
                )?;
            }
            // One set is what the threads of one CTA have.
            let cta = probe.binding.cta[0];
            let sets = usize::try_from(probe.binding.grid[0]).unwrap_or(1).max(1);
            let input = probe.input();
            let (each_in, each_out) = (input.len() / sets, there.len() / sets);
            let vectors: Vec<Value> = (0..VECTORS.min(sets))
                .map(|set| {
                    json!({
                        "in": words(&input[set * each_in..][..each_in]),
                        "out": words(&there[set * each_out..][..each_out]),
                    })
                })
                .collect();
            Ok(json!({
                "check": "tensor core", "probe": found.name, "threads": cta, "words": found.words,
                "differing": found.differing, "first": hex(&found), "vectors": vectors,
            }))
        }
        Err(error) => {
            writeln!(out, "{}: {error}", probe.name)?;
            Ok(json!({ "check": "tensor core", "probe": probe.name, "failed": error }))
        }
    }
}

/// All inputs of a function, reduced by exponent.
fn exhaustive(
    function: Function,
    is_over: &dyn Fn() -> bool,
    out: &mut dyn Write,
) -> Result<Value, Failure> {
    let chunks = u32::try_from((1_u64 << 32) / u64::from(CHUNK)).expect("64 chunks");
    let mut blocks = Vec::new();
    let mut failed = None;
    for chunk in 0..chunks {
        if is_over() {
            failed = Some("out of time".to_owned());
            break;
        }
        let first = chunk * CHUNK;
        match function.probe(first, CHUNK).on_device() {
            Ok(results) => blocks.extend(function.reduce(first, &results)),
            Err(error) => {
                failed = Some(error.to_string());
                break;
            }
        }
    }
    let mut distances = [0; 7];
    for block in &blocks {
        for (total, count) in distances.iter_mut().zip(block.distances) {
            *total += count;
        }
    }
    let beyond: u64 = blocks.iter().map(|block| block.beyond).sum();
    writeln!(
        out,
        "{}: {} of {} blocks of {BLOCK} inputs, distances -3..3 from the correctly rounded result {distances:?}, beyond {beyond}",
        function.instruction(),
        blocks.len(),
        (1_u64 << 32) / (1 << 23),
    )?;
    let rows: Vec<Value> = blocks
        .iter()
        .map(|block| json!([block.exponent, block.distances, block.beyond, block.digest]))
        .collect();
    Ok(json!({
        "check": "function", "instruction": function.instruction(), "inputs_a_block": BLOCK,
        "columns": ["exponent", "distances -3..3", "beyond", "sha256"], "blocks": rows, "failed": failed,
    }))
}

/// Results here and there; the bits of both, compared.
fn both(probe: &Probe) -> Result<(Comparison, Vec<u32>), String> {
    let here = probe.in_vm(Target::Sm90)?;
    let there = probe.on_device().map_err(|error| error.to_string())?;
    Ok((probe.compare(&here, &there), there))
}

fn words(words: &[u32]) -> String {
    let text: Vec<String> = words.iter().map(|word| format!("{word:08x}")).collect();
    text.join(" ")
}

fn hex(found: &Comparison) -> Vec<String> {
    let line = |(index, here, there): &(usize, u32, u32)| {
        format!("word {index}: {here:08x} here, {there:08x} on the card")
    };
    found.first.iter().map(line).collect()
}

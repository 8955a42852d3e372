//! `flashproof judge`: the verdict on a result made elsewhere.

use super::inputs::{File, Inputs, dtype_of, exactly};
use super::{Failure, Status};
use crate::bound::{Bound, Elsewhere, Generation, TileOrder};
use crate::cli::{self, Base, EmptyRows, Format, Machine, Order};
use crate::convert::f64_to_f32;
use crate::kernel::method::EmptyRow;
use crate::outcome::{Outcome, Output};
use crate::report::verdict;
use crate::verdict::{Verdict, judge};
use flashproof_reference::{DType, attention};
use serde_json::json;
use std::io::Write;

pub(super) fn run(arguments: &cli::Judge, out: &mut dyn Write) -> Result<Status, Failure> {
    let dtype = dtype_of(arguments.inputs.dtype);
    let elsewhere = Elsewhere {
        dtype,
        p_dtype: dtype_of(arguments.p_dtype),
        tile_kv: arguments.tile_kv,
        generation: match arguments.target {
            Machine::Sm80 | Machine::Sm86 | Machine::Sm89 => Generation::Ampere,
            Machine::Sm90 | Machine::Sm100 => Generation::Hopper,
        },
    };
    let arithmetic = elsewhere
        .arithmetic()
        .map_err(Failure::input)?
        .with_tile_order(arguments.tile_order.map(|order| match order {
            Order::Ascending => TileOrder::Ascending,
            Order::Descending => TileOrder::Descending,
        }));
    let output_file = File::open(
        "output",
        arguments.output.as_deref(),
        arguments.inputs.tensors.as_deref(),
    )?;
    let lse_file = arguments
        .output_lse
        .as_deref()
        .map(|path| File::open("output-lse", Some(path), None))
        .transpose()?;
    let files: Vec<&File> = [&output_file].into_iter().chain(&lse_file).collect();
    let inputs = Inputs::read(&arguments.inputs, &files)?;
    output_file.require_shape(&inputs.q_shape, "q")?;
    if let Some(file) = &lse_file {
        file.require_shape(inputs.lse_shape(), "q without its last axis")?;
    }

    let output_dtype = arguments.output_dtype.map_or(dtype, dtype_of);
    let o = exactly(&output_file, output_dtype, Some("--output-dtype"))?;
    let lse = match &lse_file {
        None => Vec::new(),
        Some(file) => {
            let numbers = exactly(file, DType::F32, None)?.to_f32();
            match arguments.lse_base {
                Base::E => numbers,
                // As the outputs of a kernel are read: one product in f64, one rounding, which the bound counts.
                Base::Two => numbers
                    .into_iter()
                    .map(|x| f64_to_f32(f64::from(x) * std::f64::consts::LN_2))
                    .collect(),
            }
        }
    };

    let problem = &inputs.problem;
    let answer = attention(problem).map_err(Failure::input)?;
    let bound = Bound::of(problem, &answer, &arithmetic);
    let outcome = Outcome::Finished(Output {
        o,
        lse,
        kept: None,
        findings: Vec::new(),
    });
    let empty_row = match arguments.empty_rows {
        EmptyRows::Zero => EmptyRow::Zero,
        EmptyRows::Undefined => EmptyRow::Undefined,
    };
    let verdict = judge(problem, &answer, &bound, empty_row, &outcome);
    match arguments.format {
        Format::Text => {
            writeln!(out, "{}: {verdict}", output_file.label())?;
            writeln!(out, "{}", terms(&elsewhere, arguments))?;
        }
        Format::Json => {
            let mut document = verdict::json(&verdict);
            document["output"] = json!(output_file.label());
            document["terms"] = json!({
                "target": target(arguments.target),
                "dtype": elsewhere.dtype.to_string(),
                "p_dtype": elsewhere.p_dtype.to_string(),
                "tile_kv": elsewhere.tile_kv(),
                "tile_kv_stated": elsewhere.tile_kv.is_some(),
                "replayed": arithmetic.replays(),
            });
            writeln!(out, "{document:#}")?;
        }
    }
    Ok(match verdict {
        Verdict::Agree(_) => Status::Agree,
        Verdict::Disagree(_) => Status::Disagree,
        Verdict::Incomparable(_) | Verdict::Unsupported(_) => Status::Unsupported,
    })
}

fn target(machine: Machine) -> &'static str {
    match machine {
        Machine::Sm80 => "sm_80",
        Machine::Sm86 => "sm_86",
        Machine::Sm89 => "sm_89",
        Machine::Sm90 => "sm_90",
        Machine::Sm100 => "sm_100",
    }
}

/// What the bound rests on, in a line.
fn terms(elsewhere: &Elsewhere, arguments: &cli::Judge) -> String {
    let stated = if elsewhere.tile_kv.is_some() {
        "as stated"
    } else {
        "the smallest, as none is stated"
    };
    format!(
        "bound: {}, inputs {}, weights {}, tiles of {} keys ({stated})",
        target(arguments.target),
        elsewhere.dtype,
        elsewhere.p_dtype,
        elsewhere.tile_kv()
    )
}

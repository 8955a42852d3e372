//! All of a run on a card that needs none: launches planned, small ones run in the virtual machine and judged by sampled
//! rows as the card's results are, and an estimate of the time.

use super::inputs::{self, Role, dtype, sampled_rows, shape};
use super::plans::{attention, plans, visible_pairs};
use super::sample::{Rows, floats, gather};
use super::{Failure, Status};
use crate::backend::Backend;
use crate::convert::usize_to_f64;
use crate::device::{Attention, Hardware, Plan, simulate};
use crate::kernel::selection::Kept;
use crate::report::device_timing::{Measurement, Pattern};
use crate::report::table::Table;
use crate::verdict::Verdict;
use crate::vm::Target;
use flashproof_reference::Tensor;
use std::io::Write;

/// Rates to estimate with, 10^12 operations a second: guesses, for the order of the time alone.
const GUESS_OWN: f64 = 500.0;
const GUESS_SM80: f64 = 200.0;
/// Seconds that a measurement takes beside its runs: lists, inputs, sampled rows.
const OVERHEAD: f64 = 0.5;
/// Seconds of its runs, at most, and how many they are at least.
const SPAN: f64 = 0.25;
const RUNS: f64 = 8.0;
/// Seconds that compiling and timing of the peers take for a measurement, about; and the checks in all.
const PEERS: f64 = 2.0;
const CHECKS: f64 = 100.0;

/// Tokens of a sequence that the virtual machine is given, and its heads.
const SMALL: usize = 320;
const SMALL_HEADS: usize = 2;

pub(super) fn run(
    list: &[Measurement],
    seconds: u64,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let mut worst = Status::Agree;
    let mut total = 0.0;
    for hardware in [Hardware::h200(), Hardware::a100()] {
        let (table, took, status) = launches(list, &hardware);
        writeln!(out, "{hardware}")?;
        out.write_all(table.text().as_bytes())?;
        total = f64::max(total, took);
        worst = worst.max(status);
    }
    let peers = PEERS * usize_to_f64(list.len());
    writeln!(
        out,
        "about {total:.0} seconds for ours, {peers:.0} for the peers, {CHECKS:.0} for the checks, of {seconds}; what does not fit is left out, from the end of the list"
    )?;
    for of in smallest() {
        for (name, verdict) in small(&of)? {
            writeln!(
                out,
                "{name} in the virtual machine, {}: {verdict}",
                of.name()
            )?;
            if !matches!(verdict, Verdict::Agree(_)) {
                worst = worst.max(Status::Disagree);
            }
        }
    }
    Ok(worst)
}

/// Every launch with its sizes and seconds; a measurement that nobody computes is bad.
fn launches(list: &[Measurement], hardware: &Hardware) -> (Table, f64, Status) {
    let mut table = Table::new([
        "measurement",
        "kernel",
        "ctas",
        "cta",
        "shared",
        "lists",
        "seconds",
    ]);
    let mut total = 0.0;
    let mut status = Status::Agree;
    for of in list {
        let attention = attention(of);
        let operations = 4.0 * usize_to_f64(of.head_dim) * visible_pairs(&attention);
        let found = plans(&attention, of, hardware);
        if found.is_empty() {
            status = Status::Disagree;
        }
        for plan in found {
            let own = plan.kernel().manifest().target.ends_with('a');
            let rate = if own { GUESS_OWN } else { GUESS_SM80 };
            let share = match of.pattern {
                Pattern::Kept { permille } => {
                    0.5 + usize_to_f64(usize::try_from(permille).unwrap_or(1000)) / 2000.0
                }
                Pattern::Dense | Pattern::Blocks { .. } | Pattern::Window { .. } => 1.0,
            };
            let once = share * operations / (rate * 1e12);
            let seconds = OVERHEAD + (RUNS * once).max(SPAN);
            total += seconds;
            let binding = plan.binding();
            let lists: usize = ["row_ptr", "col_idx", "tile_mask", "order", "thresholds"]
                .iter()
                .filter_map(|name| binding.buffer(name))
                .map(|(_, buffer)| match &buffer.content {
                    crate::kernel::Content::Bytes(bytes) => bytes.len(),
                    crate::kernel::Content::Uninitialised(_) => 0,
                })
                .sum();
            let product = |axes: [u32; 3]| axes.into_iter().map(u64::from).product::<u64>();
            table.push([
                of.name(),
                plan.kernel().name().to_owned(),
                product(binding.grid).to_string(),
                product(binding.cta).to_string(),
                binding.shared_bytes.to_string(),
                lists.to_string(),
                format!("{seconds:.1}"),
            ]);
        }
    }
    (table, total, status)
}

/// One of each kind, small enough to execute here.
fn smallest() -> Vec<Measurement> {
    let of = |bf16, causal, pattern| Measurement {
        bf16,
        head_dim: 64,
        batch: 1,
        heads: SMALL_HEADS,
        seqlen: SMALL,
        causal,
        pattern,
    };
    vec![
        of(true, true, Pattern::Dense),
        of(false, true, Pattern::Window { left: 100 }),
        of(
            true,
            false,
            Pattern::Blocks {
                block_q: 128,
                block_kv: 64,
                permille: 500,
            },
        ),
        of(false, false, Pattern::Kept { permille: 500 }),
    ]
}

/// The verdict on sampled rows of each kernel's results.
fn small(of: &Measurement) -> Result<Vec<(String, Verdict)>, Failure> {
    let attention = attention(of);
    let shape = shape(of);
    let count = |extents: [usize; 4]| extents.iter().product::<usize>();
    let tensors = [
        (Role::Q, shape.q_extents()),
        (Role::K, shape.kv_extents()),
        (Role::V, shape.kv_extents()),
    ]
    .map(|(role, extents)| inputs::values(role, dtype(of), 0, count(extents)));
    let mut verdicts = Vec::new();
    for plan in plans(&attention, of, &Hardware::h200()) {
        let verdict = simulated(&attention, plan, &tensors).map_err(Failure::Wrong)?;
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

fn simulated(
    attention: &Attention,
    plan: Plan<'static>,
    tensors: &[Tensor; 3],
) -> Result<(String, Verdict), String> {
    let [q, k, v] = tensors;
    let plan = plan
        .with_values([q, k, v])
        .map_err(|error| error.to_string())?;
    judged(attention, &plan, tensors)
}

/// Runs a launch with its own values, and judges its results as those of `tensors`.
fn judged(
    attention: &Attention,
    plan: &Plan<'static>,
    [q, k, v]: &[Tensor; 3],
) -> Result<(String, Verdict), String> {
    let kernel = plan.kernel();
    let written = simulate(kernel.ptx(), plan.binding(), Target::Sm90)?;
    let bytes = |name: &str| {
        let (index, _) = plan.binding().buffer(name)?;
        let found = written.iter().find(|(written, _)| *written == index);
        found.map(|(_, bytes)| bytes.as_slice())
    };
    let shape = attention.shape();
    let (d, seqlen) = (shape.head_dim, shape.seqlen_q);
    let o = Tensor::from_le_bytes(attention.dtype(), bytes("o").unwrap_or_default());
    let lse = floats(bytes("lse").unwrap_or_default());
    let kept = bytes("kept").map(|bytes| Kept {
        words: bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().expect("chunks of 4 bytes")))
            .collect(),
        tile: kernel.manifest().tile_shape(),
    });
    let head = shape.num_q_heads - 1;
    let rows = sampled_rows(seqlen, 5);
    let q_tiles = seqlen.div_ceil(kernel.manifest().tile_shape().tile_q);
    let is_kept = |row: usize, key: usize| {
        kept.as_ref().is_none_or(|kept| {
            let tile = head * q_tiles + row / kept.tile.tile_q;
            kept.contains(tile, key / kept.tile.tile_kv, &shape)
        })
    };
    let all: Vec<usize> = (0..shape.seqlen_kv).collect();
    let sampled = Rows {
        layout: attention.layout(),
        head: 0,
        rows: &rows,
        q: gather(q, head * seqlen, &rows, d),
        k: &gather(k, head * shape.seqlen_kv, &all, d),
        v: &gather(v, head * shape.seqlen_kv, &all, d),
        scale: attention.scale(),
        head_dim: d,
    };
    let outputs = (
        gather(&o, head * seqlen, &rows, d),
        rows.iter().map(|row| lse[head * seqlen + row]).collect(),
    );
    let verdict = sampled.judge(
        kernel,
        &is_kept,
        outputs,
        (&Backend::default(), Target::Sm90),
    )?;
    Ok((kernel.name().to_owned(), verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampled_rows_catch_a_wrong_result() {
        let of = smallest()[0];
        let attention = attention(&of);
        let count = of.heads * of.seqlen * of.head_dim;
        let [q, k, v] =
            [Role::Q, Role::K, Role::V].map(|role| inputs::values(role, dtype(&of), 0, count));
        let plan = plans(&attention, &of, &Hardware::a100()).remove(0);
        let right = simulated(&attention, plan.clone(), &[q.clone(), k.clone(), v.clone()]);
        assert_eq!(right.unwrap().1.name(), "agree");
        // Another v: the rows that are judged were not computed from it.
        let Tensor::Bf16(mut numbers) = v.clone() else {
            panic!("{of:?}")
        };
        numbers.iter_mut().for_each(|x| *x = -*x);
        let other = plan.with_values([&q, &k, &Tensor::Bf16(numbers)]).unwrap();
        let wrong = judged(&attention, &other, &[q, k, v]);
        assert_eq!(wrong.unwrap().1.name(), "disagree");
    }
}

//! Who computes a measurement, and with which launch; and what the peers are told.

use super::inputs::{self, Role, dtype, fingerprint, layout, shape};
use crate::convert::{f64_to_f32, index, low_u32, usize_to_f64};
use crate::device::{Attention, Hardware, Plan};
use crate::kernel;
use crate::report::device_timing::{Ceiling, Measurement, Pattern, Timed};
use flashproof_reference::random::bits;
use serde::Deserialize;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Tiles of queries and keys of the kernel that keeps tiles, and how many pairs of them a threshold is found from.
const KEPT_TILE: usize = 64;
const KEPT_SAMPLES: usize = 256;

/// Elements that a fingerprint is of.
const FINGERPRINT: usize = 4096;

/// The attention of a measurement.
pub(super) fn attention(of: &Measurement) -> Attention {
    let attention = Attention::new(shape(of), dtype(of), layout(of));
    match of.pattern {
        Pattern::Kept { permille } => {
            let tiles = of.heads * of.seqlen.div_ceil(KEPT_TILE);
            attention.with_thresholds(vec![threshold(of, permille); tiles])
        }
        Pattern::Dense | Pattern::Blocks { .. } | Pattern::Window { .. } => attention,
    }
}

/// The scaled score that so many tiles in a thousand reach, among some tiles of the first head. Inputs are alike
/// everywhere, so it serves all.
fn threshold(of: &Measurement, permille: u64) -> f32 {
    if permille >= 1000 {
        return f32::NEG_INFINITY;
    }
    let d = of.head_dim;
    let tiles = of.seqlen.div_ceil(KEPT_TILE);
    let rows = |role, tile: usize| {
        let first = tile * KEPT_TILE * d;
        inputs::values(role, dtype(of), first, KEPT_TILE * d).to_f64()
    };
    let pick = |i: usize| {
        let draw = bits(1 << 50, u64::try_from(i).expect("64 bits"));
        index(low_u32(draw)) % tiles
    };
    let mut maxima: Vec<f64> = (0..KEPT_SAMPLES)
        .map(|i| {
            let (q, k) = (rows(Role::Q, pick(2 * i)), rows(Role::K, pick(2 * i + 1)));
            let scores = q.chunks_exact(d).flat_map(|q| {
                let product = move |k: &[f64]| q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
                k.chunks_exact(d).map(product)
            });
            scores.fold(f64::NEG_INFINITY, f64::max)
        })
        .collect();
    maxima.sort_by(|a, b| b.total_cmp(a));
    let place = usize::try_from(permille).expect("below 1000") * KEPT_SAMPLES / 1000;
    f64_to_f32(maxima[place.min(KEPT_SAMPLES - 1)] / usize_to_f64(d).sqrt())
}

/// The launches of every kernel that does it on this card; of two that differ in how they are told what is visible, the
/// one without lists alone.
pub(super) fn plans(attention: &Attention, of: &Measurement, on: &Hardware) -> Vec<Plan<'static>> {
    let without_lists = !matches!(of.pattern, Pattern::Blocks { .. });
    kernel::all()
        .iter()
        .filter(|kernel| !(without_lists && kernel.name() == "block_sparse_sm80"))
        .filter_map(|kernel| attention.plan_with(kernel, on).ok())
        .collect()
}

/// Visible pairs of all heads and sequences.
pub(super) fn visible_pairs(attention: &Attention) -> f64 {
    let shape = attention.shape();
    usize_to_f64(attention.layout().visible_pairs(0))
        * usize_to_f64(shape.batch * shape.num_q_heads)
}

/// What the peers' script writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peers {
    pub(super) machine: Vec<String>,
    pub(super) ceilings: Vec<Ceiling>,
    pub(super) timed: Vec<Timed>,
}

/// What the script is told: the list, and sums over the inputs that it must find too.
pub(super) fn document(list: &[Measurement]) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = list
        .iter()
        .map(|of| {
            // A kernel's threshold is its own affair: peers take the dense problem.
            let pairs = visible_pairs(&Attention::new(shape(of), dtype(of), layout(of)));
            json!({ "measurement": of, "visible_pairs": pairs })
        })
        .collect();
    let sums = |bf16: bool| {
        let dtype = if bf16 {
            flashproof_reference::DType::Bf16
        } else {
            flashproof_reference::DType::F16
        };
        [Role::Q, Role::K, Role::V].map(|role| fingerprint(role, dtype, FINGERPRINT))
    };
    json!({
        "list": rows,
        "fingerprint": { "elements": FINGERPRINT, "bf16": sums(true), "f16": sums(false) },
    })
}

/// Runs the script with so much time, and reads what it wrote.
pub(super) fn ask_peers(
    script: &Path,
    folder: &Path,
    list: &[Measurement],
    limit: Duration,
) -> Result<Peers, String> {
    let said = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    std::fs::create_dir_all(folder).map_err(|error| said("temporary folder", &error))?;
    let (plan, found) = (folder.join("plan.json"), folder.join("peers.json"));
    std::fs::write(&plan, document(list).to_string()).map_err(|error| said("plan.json", &error))?;
    let mut child = Command::new("python3")
        .arg(script)
        .arg(&plan)
        .arg(&found)
        .arg(limit.as_secs().to_string())
        .spawn()
        .map_err(|error| said("python3", &error))?;
    // The script keeps its time itself; one that hangs is stopped a little later.
    let begin = Instant::now();
    let end = limit + Duration::from_secs(20);
    let status = loop {
        match child.try_wait().map_err(|error| said("python3", &error))? {
            Some(status) => break status.to_string(),
            None if begin.elapsed() > end => {
                // If it cannot be stopped it has just ended.
                let _ = child.kill();
                let _ = child.wait();
                break "stopped after its time".to_owned();
            }
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let text = std::fs::read_to_string(&found)
        .map_err(|error| format!("{} ({status}): {error}", script.display()))?;
    serde_json::from_str(&text).map_err(|error| said("peers.json", &error))
}

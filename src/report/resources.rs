//! What is known of a kernel's speed without a card: its machine code's registers and instructions, how many CTAs a
//! multiprocessor holds, bytes and operations of a tile, and a roofline of some problems. Nothing here is a measurement.

use super::table::Table;
use crate::analysis::layout::{CARDS, Launch, cost};
use crate::analysis::occupancy::{Footprint, MULTIPROCESSORS, occupancy};
use crate::convert::usize_to_f64;
use crate::device::{Attention, Hardware};
use crate::kernel::{self, Kernel};
use flashproof_reference::{BlockPattern, DType, Layout, Shape, Window};

/// Registers and instructions of every entry, by `cuda/build.sh`.
const ASSEMBLED: &str = include_str!("../../cuda/ptx/resources.csv");

/// One entry for one target, as the assembler made it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assembled {
    kernel: String,
    entry: String,
    target: String,
    registers: u32,
    spilled_bytes: u32,
    instructions: usize,
    tensor: usize,
    functions: usize,
}

/// Rows of the file; one that is not a row of it is an error with its line.
fn assembled(text: &str) -> Result<Vec<Assembled>, String> {
    let mut rows = Vec::new();
    for (i, line) in text.lines().enumerate().skip(1) {
        let bad = || format!("resources.csv, line {}: {line}", i + 1);
        let cells: Vec<&str> = line.split(',').collect();
        let [
            kernel,
            entry,
            target,
            registers,
            _,
            spilled,
            instructions,
            tensor,
            functions,
            _,
        ] = cells[..]
        else {
            return Err(bad());
        };
        rows.push(Assembled {
            kernel: kernel.to_owned(),
            entry: entry.to_owned(),
            target: target.to_owned(),
            registers: registers.parse().map_err(|_| bad())?,
            spilled_bytes: spilled.parse().map_err(|_| bad())?,
            instructions: instructions.parse().map_err(|_| bad())?,
            tensor: tensor.parse().map_err(|_| bad())?,
            functions: functions.parse().map_err(|_| bad())?,
        });
    }
    Ok(rows)
}

/// Format and channels of an entry, by the manifest that names it.
fn variant(kernel: &Kernel, entry: &str) -> Option<(DType, usize)> {
    let manifest = kernel.manifest();
    for &dtype in &manifest.requires.dtype {
        for &head_dim in &manifest.requires.head_dim {
            if manifest.entry_for(dtype, head_dim) == entry {
                return Some((dtype, usize::try_from(head_dim).ok()?));
            }
        }
    }
    None
}

/// Dynamic shared bytes and threads of an entry's launch.
fn launch_of(kernel: &Kernel, dtype: DType, head_dim: usize) -> Option<(u32, u32)> {
    let shape = Shape {
        batch: 1,
        num_q_heads: 1,
        num_kv_heads: 1,
        seqlen_q: 128,
        seqlen_kv: 128,
        head_dim,
    };
    let attention = Attention::new(shape, dtype, Layout::dense(128, 128));
    let tiles = 128_usize.div_ceil(kernel.manifest().tile_shape().tile_q);
    let hopper = Hardware::h200();
    let plan = attention
        .plan_with(kernel, &hopper)
        .or_else(|_| {
            attention
                .with_thresholds(vec![0.0; tiles])
                .plan_with(kernel, &hopper)
        })
        .ok()?;
    let binding = plan.binding();
    Some((binding.shared_bytes, binding.cta.iter().product()))
}

/// Every entry and target: registers, occupancy, and the share of tensor-core instructions in its machine code.
///
/// # Errors
/// The line of the file that is no row of it, or an entry that no kernel has.
pub fn entries() -> Result<Table, String> {
    let mut table = Table::new([
        "entry",
        "target",
        "registers",
        "spilled bytes",
        "shared bytes",
        "CTAs",
        "warps",
        "limit",
        "instructions",
        "tensor",
        "share",
        "MUFU",
    ]);
    for row in assembled(ASSEMBLED)? {
        let kernel = kernel::by_name(&row.kernel).map_err(|error| error.to_string())?;
        let launch = variant(kernel, &row.entry)
            .and_then(|(dtype, head_dim)| launch_of(kernel, dtype, head_dim));
        let Some((shared_bytes, threads)) = launch else {
            return Err(format!("{} has no entry {}", row.kernel, row.entry));
        };
        let on = MULTIPROCESSORS
            .iter()
            .find(|on| row.target.trim_end_matches('a') == on.target)
            .ok_or_else(|| format!("{}: no multiprocessor of {}", row.entry, row.target))?;
        let found = occupancy(
            Footprint {
                threads,
                registers: Some(row.registers),
                shared_bytes,
            },
            on,
        );
        table.push([
            row.entry.clone(),
            row.target.clone(),
            row.registers.to_string(),
            row.spilled_bytes.to_string(),
            shared_bytes.to_string(),
            found.ctas.to_string(),
            found.warps.to_string(),
            found.limit.to_owned(),
            row.instructions.to_string(),
            row.tensor.to_string(),
            format!(
                "{:.3}",
                usize_to_f64(row.tensor) / usize_to_f64(row.instructions.max(1))
            ),
            row.functions.to_string(),
        ]);
    }
    Ok(table)
}

/// Operations and bytes of one tile of keys for one tile of queries: both products, and the tile's keys and values.
pub fn tiles() -> Table {
    let mut table = Table::new([
        "kernel",
        "tile",
        "head_dim",
        "operations",
        "bytes",
        "operations a byte",
    ]);
    for kernel in kernel::all() {
        let tile = kernel.manifest().tile_shape();
        for &head_dim in &kernel.manifest().requires.head_dim {
            let d = usize::try_from(head_dim).expect("32 bits fit");
            let operations = 4 * tile.tile_q * tile.tile_kv * d;
            let bytes = 2 * tile.tile_kv * d * 2;
            table.push([
                kernel.name().to_owned(),
                format!("{}x{}", tile.tile_q, tile.tile_kv),
                d.to_string(),
                operations.to_string(),
                bytes.to_string(),
                (operations / bytes).to_string(),
            ]);
        }
    }
    table
}

/// Tokens of the problems that a roofline is given for.
const LENGTH: usize = 8192;

fn problems() -> Vec<(&'static str, Layout)> {
    let half = BlockPattern::from_fn(LENGTH / 128, LENGTH / 64, |row, column| {
        (row + column) % 2 == 0
    });
    let blocks = Layout::dense(LENGTH, LENGTH)
        .with_blocks(128, 64)
        .and_then(|layout| layout.with_heads(vec![half]))
        .expect("blocks that divide the length, and one pattern made for them");
    vec![
        ("dense", Layout::dense(LENGTH, LENGTH)),
        ("causal", Layout::dense_causal(LENGTH, LENGTH)),
        (
            "window of 1024, causal",
            Layout::dense_causal(LENGTH, LENGTH).with_window(Window {
                left: Some(1024),
                right: None,
            }),
        ),
        ("every second block of 128 x 64", blocks),
    ]
}

/// Predicted milliseconds of each problem on each card: the rate of its tensor cores or of its memory, whichever is
/// slower, with CTAs shared among its multiprocessors. A bound from below, not what a kernel takes.
pub fn rooflines() -> Table {
    let cards: Vec<&str> = CARDS.iter().map(|card| card.name).collect();
    let mut columns = vec!["tile", "problem"];
    columns.extend(cards);
    let mut table = Table::new(columns);
    for [tile_q, tile_kv] in [[64, 64], [128, 64]] {
        for (name, layout) in problems() {
            let launch = Launch {
                num_q_heads: 16,
                num_kv_heads: 16,
                head_dim: 128,
                element_bytes: 2,
                tile_q,
                tile_kv,
            };
            let mut row = vec![format!("{tile_q}x{tile_kv}"), name.to_owned()];
            row.extend(
                CARDS
                    .iter()
                    .map(|card| format!("{:.3}", 1e3 * cost(&layout, &launch, card).seconds)),
            );
            table.push(row);
        }
    }
    table
}

/// The document.
///
/// # Errors
/// As [`entries`].
pub fn document() -> Result<String, String> {
    let sources: String = CARDS
        .iter()
        .map(|card| {
            format!(
                "| {} | {} | {} | {} | {} |\n",
                card.name, card.sms, card.tflops, card.gbytes_per_second, card.source
            )
        })
        .collect();
    Ok(format!(
        "# What is known without a card\n\n\
         Nothing here is a measurement: registers and instructions are the assembler's ([resources.csv](../../cuda/ptx/resources.csv),\n\
         by `cuda/build.sh`), the rest follows from them and from layouts.\n\n\
         ## Machine code and occupancy\n\n\
         CTAs and warps that a multiprocessor holds, and what limits them. Instructions of the whole entry, padding aside;\n\
         *tensor* are HMMA or HGMMA. A wgmma is one instruction of four warps and many times the work of an HMMA.\n\n{}\n\
         ## A tile\n\n\
         Two products of `2 * tile_q * tile_kv * head_dim` operations, over keys and values of 16 bits that come from memory or L2.\n\n{}\n\
         ## Rooflines\n\n\
         Milliseconds at least: {LENGTH} queries and keys, 16 heads, head_dim 128, 16-bit formats.\n\n{}\n\
         | card | multiprocessors | TFLOP/s, dense, 16-bit into f32 | GB/s | source |\n|---|---|---|---|---|\n{sources}",
        entries()?.markdown(),
        tiles().markdown(),
        rooflines().markdown(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_every_kernel_is_there_and_spills_nothing() {
        let rows = assembled(ASSEMBLED).unwrap();
        for kernel in kernel::all() {
            for entry in kernel.manifest().entries() {
                let own: Vec<&Assembled> = rows.iter().filter(|row| row.entry == entry).collect();
                let targets = if kernel.manifest().target == "sm_90a" {
                    1
                } else {
                    2
                };
                assert_eq!(own.len(), targets, "{entry}: run cuda/build.sh");
                assert!(
                    own.iter()
                        .all(|row| row.spilled_bytes == 0 && row.tensor > 0)
                );
            }
        }
        assert_eq!(entries().unwrap().len(), rows.len());
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        assert_eq!(
            assembled("head\na,b\n").unwrap_err(),
            "resources.csv, line 2: a,b"
        );
        let bad = "head\nk,e,sm_80,many,0,0,1,1,1,1\n";
        assert!(assembled(bad).unwrap_err().contains("many"));
    }

    #[test]
    fn a_tile_reuses_its_keys_once_a_query() {
        let text = tiles().csv();
        // 4 * 64 * 64 * 128 operations over 2 * 64 * 128 * 2 bytes.
        assert!(
            text.contains("block_sparse_sm80,64x64,128,2097152,32768,64"),
            "{text}"
        );
    }
}

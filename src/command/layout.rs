//! `flashproof layout`: sparsity layouts by themselves.

use super::{Failure, Status, note, write_file};
use crate::analysis::layout::{
    CARDS, Card, HeadStatistics, Launch, cost, difference, fields, head_statistics, load, path,
};
use crate::cli::{self, Format, LayoutAction, Matrix};
use crate::convert::{index, usize_to_f64};
use crate::format::mask::{self, FlexRules, Imported, MaskError};
use crate::report::layout as pictures;
use crate::report::table::Table;
use flashproof_reference::{Layout, Window};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Most tokens whose receptive field is computed: a bit for each pair, twice.
const FIELD_TOKENS_MAX: usize = 32_768;

pub(super) fn run(arguments: &cli::Layout, out: &mut dyn Write) -> Result<Status, Failure> {
    match &arguments.action {
        LayoutAction::Show(arguments) => show(arguments, out),
        LayoutAction::Stats(arguments) => stats(arguments, out),
        LayoutAction::Convert(arguments) => convert(arguments),
        LayoutAction::Diff(arguments) => diff(arguments, out),
    }
}

/// Formats, by the ending of a file's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Npy,
    Npz,
    SafeTensors,
}

fn kind(path: &Path) -> Result<Kind, Failure> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("json") => Ok(Kind::Json),
        Some("npy") => Ok(Kind::Npy),
        Some("npz") => Ok(Kind::Npz),
        Some("safetensors") => Ok(Kind::SafeTensors),
        Some(_) | None => Err(Failure::Input(format!(
            "{}: a layout is .json, .npy, .npz or .safetensors",
            path.display()
        ))),
    }
}

fn rules(arguments: &cli::Rules) -> Result<FlexRules, Failure> {
    let pair = |a: Option<u32>, b: Option<u32>, default: Option<u32>| match (a, b, default) {
        (None, None, _) => Ok(None),
        (Some(a), Some(b), _) => Ok(Some((index(a), index(b)))),
        (a, b, Some(default)) => Ok(Some((
            index(a.unwrap_or(default)),
            index(b.unwrap_or(default)),
        ))),
        _ => Err(Failure::Input(
            "--seqlen-q and --seqlen-kv go together".to_owned(),
        )),
    };
    let window = arguments
        .window
        .map_or_else(Window::default, |reaches| Window {
            left: reaches.left,
            right: reaches.right,
        });
    Ok(FlexRules {
        block: pair(arguments.block_q, arguments.block_kv, Some(128))?,
        seqlen: pair(arguments.seqlen_q, arguments.seqlen_kv, None)?,
        causal: arguments.causal,
        window,
    })
}

fn read(path: &Path, given: &cli::Rules) -> Result<Layout, Failure> {
    let kind = kind(path)?;
    let rules = rules(given)?;
    let bytes = fs::read(path)
        .map_err(|error| Failure::Input(format!("cannot read {}: {error}", path.display())))?;
    let wrong = |error: MaskError| Failure::Input(format!("{}: {error}", path.display()));
    let imported = match kind {
        Kind::Json => {
            let text = String::from_utf8(bytes).map_err(|error| {
                Failure::Input(format!("{}: not UTF-8: {error}", path.display()))
            })?;
            Imported {
                layout: Layout::from_json(&text).map_err(|error| wrong(error.into()))?,
                notes: Vec::new(),
            }
        }
        Kind::Npy => mask::from_npy(&bytes).map_err(wrong)?,
        Kind::Npz => mask::from_npz(&bytes).map_err(wrong)?,
        Kind::SafeTensors => mask::from_block_mask(&bytes, rules).map_err(wrong)?,
    };
    for sentence in &imported.notes {
        note(&format!("{}: {sentence}", path.display()));
    }
    Ok(imported.layout)
}

fn convert(arguments: &cli::LayoutConvert) -> Result<Status, Failure> {
    let layout = read(&arguments.from, &arguments.rules)?;
    let to = kind(&arguments.to)?;
    let wrong = |error: MaskError| Failure::Input(format!("{}: {error}", arguments.to.display()));
    let bytes = match (to, arguments.matrix) {
        (Kind::Json, _) => Ok(format!("{}\n", layout.to_json()).into_bytes()),
        (Kind::Npy, _) => mask::to_npy(&layout),
        (Kind::Npz, Matrix::Dense) => mask::to_dense_npz(&layout),
        (Kind::Npz, Matrix::Csr) => mask::to_csr(&layout, arguments.head),
        (Kind::Npz, Matrix::Bsr) => mask::to_bsr(&layout, arguments.head),
        (Kind::SafeTensors, _) => mask::to_block_mask(&layout),
    };
    write_file(&arguments.to, bytes.map_err(wrong)?)?;
    Ok(Status::Agree)
}

fn diff(arguments: &cli::LayoutDiff, out: &mut dyn Write) -> Result<Status, Failure> {
    let first = read(&arguments.first, &arguments.rules)?;
    let second = read(&arguments.second, &arguments.rules)?;
    let Some(found) = difference(&first, &second, arguments.limit) else {
        let shape = |layout: &Layout| {
            format!(
                "{} heads, {} x {}",
                layout.pattern_count().max(1),
                layout.seqlen_q(),
                layout.seqlen_kv()
            )
        };
        writeln!(
            out,
            "different shapes: {} and {}",
            shape(&first),
            shape(&second)
        )?;
        return Ok(Status::Disagree);
    };
    for (pair, in_first) in &found.pairs {
        let only = if *in_first {
            &arguments.first
        } else {
            &arguments.second
        };
        writeln!(
            out,
            "head {} query {} key {}: only in {}",
            pair.head,
            pair.q,
            pair.k,
            only.display()
        )?;
    }
    writeln!(
        out,
        "{} pairs in both, {} only in {}, {} only in {}",
        found.both,
        found.only_first,
        arguments.first.display(),
        found.only_second,
        arguments.second.display()
    )?;
    Ok(if found.is_empty() {
        Status::Agree
    } else {
        Status::Disagree
    })
}

fn head_of(layout: &Layout, head: usize) -> Result<usize, Failure> {
    if layout.has_head(head) {
        Ok(head)
    } else {
        Err(Failure::Input(format!(
            "--head {head}: the layout has {} heads",
            layout.pattern_count()
        )))
    }
}

fn show(arguments: &cli::LayoutShow, out: &mut dyn Write) -> Result<Status, Failure> {
    let layout = read(&arguments.file, &arguments.rules)?;
    let head = head_of(&layout, arguments.head)?;
    let picture = pictures::picture(&layout, head, index(arguments.width));
    out.write_all(pictures::text(&picture).as_bytes())?;
    writeln!(
        out,
        "{} x {}, a character for {} queries x {} keys: · none, ░▒▓ some, █ all visible; density {:.4}",
        layout.seqlen_q(),
        layout.seqlen_kv(),
        picture.cell_q,
        picture.cell_kv,
        layout.density(head)
    )?;
    if let Some(file) = &arguments.svg {
        let launch = Launch {
            num_q_heads: 1,
            num_kv_heads: 1,
            head_dim: 64,
            element_bytes: 2,
            tile_q: 64,
            tile_kv: 64,
        };
        let work = load(&layout, &launch, 1).tiles;
        let tiles = &work[head.min(work.len() - 1)];
        let title = format!(
            "{} head {head}: {} x {}, density {:.4}",
            arguments
                .file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy(),
            layout.seqlen_q(),
            layout.seqlen_kv(),
            layout.density(head)
        );
        write_file(file, pictures::svg(&layout, head, tiles, &title))?;
    }
    Ok(Status::Agree)
}

fn stats(arguments: &cli::LayoutStats, out: &mut dyn Write) -> Result<Status, Failure> {
    let layout = read(&arguments.file, &arguments.rules)?;
    let card = Card::by_name(&arguments.card).ok_or_else(|| {
        let names: Vec<&str> = CARDS.iter().map(|card| card.name).collect();
        Failure::Input(format!(
            "no card is named {:?}; known: {}",
            arguments.card,
            names.join(" ")
        ))
    })?;
    let document = Document::of(&layout, arguments, card)?;
    match arguments.format {
        Format::Text => out.write_all(document.text().as_bytes())?,
        Format::Json => writeln!(out, "{:#}", document.json())?,
    }
    Ok(Status::Agree)
}

/// Everything that `stats` says, as rows of a name, a value and what it means.
struct Document {
    heads: Vec<HeadStatistics>,
    rows: Vec<(&'static str, Value, String)>,
    fields: Vec<crate::analysis::layout::Field>,
    tokens: usize,
}

impl Document {
    fn of(layout: &Layout, arguments: &cli::LayoutStats, card: &Card) -> Result<Self, Failure> {
        let patterns = layout.pattern_count().max(1);
        let num_q_heads = arguments.heads.map_or(patterns, index);
        if !num_q_heads.is_multiple_of(patterns) {
            return Err(Failure::Input(format!(
                "--heads {num_q_heads} is no multiple of the layout's {patterns}"
            )));
        }
        let launch = Launch {
            num_q_heads,
            num_kv_heads: arguments.kv_heads.map_or(num_q_heads, index),
            head_dim: index(arguments.head_dim),
            element_bytes: 2,
            tile_q: index(arguments.tile_q),
            tile_kv: index(arguments.tile_kv),
        };
        let shared = load(layout, &launch, card.sms);
        let costs = cost(layout, &launch, card);
        let mut rows = vec![
            (
                "ctas",
                json!(shared.ctas),
                format!("tiles of {} queries, one head each", launch.tile_q),
            ),
            (
                "waves",
                json!(shared.waves),
                format!("on the {} multiprocessors of {}", card.sms, card.name),
            ),
            (
                "tiles",
                json!(shared.total_tiles),
                format!(
                    "of {} x {}, visited by all CTAs",
                    launch.tile_q, launch.tile_kv
                ),
            ),
            (
                "tiles_max",
                json!(shared.tiles_max),
                "visited by one CTA".to_owned(),
            ),
            (
                "balance",
                json!(shared.balance),
                "share of the multiprocessors' time that is used".to_owned(),
            ),
            (
                "flops",
                json!(costs.flops),
                "of the visible pairs".to_owned(),
            ),
            (
                "computed_flops",
                json!(costs.computed_flops),
                "of the tiles visited".to_owned(),
            ),
            (
                "bytes",
                json!(costs.bytes),
                "q, k, v, o once each".to_owned(),
            ),
            (
                "tile_bytes",
                json!(costs.tile_bytes),
                "q, o once; k, v once a tile visited".to_owned(),
            ),
            (
                "seconds_model",
                json!(costs.seconds),
                format!("roofline of {}, a model and no measurement", card.name),
            ),
            (
                "dense_seconds_model",
                json!(costs.dense_seconds),
                "the same of the dense layout".to_owned(),
            ),
            (
                "speedup_model",
                json!(costs.speedup),
                "dense over sparse".to_owned(),
            ),
            (
                "speedup_limit",
                json!(costs.speedup_limit),
                "pairs over visible pairs".to_owned(),
            ),
        ];
        if let (Some(query), Some(token)) = (arguments.from, arguments.to) {
            if query >= layout.seqlen_q() || token >= layout.seqlen_kv() {
                return Err(Failure::Input(format!(
                    "--from {query} --to {token}: the layout has {} queries and {} keys",
                    layout.seqlen_q(),
                    layout.seqlen_kv()
                )));
            }
            rows.push(match path(layout, query, token) {
                Some(path) => {
                    let way: Vec<String> = path.tokens.iter().map(ToString::to_string).collect();
                    ("reach_layers", json!(path.layers()), way.join(" sees "))
                }
                None => (
                    "reach_layers",
                    Value::Null,
                    format!("query {query} can never know of token {token}"),
                ),
            });
        }
        let square = layout.seqlen_q() == layout.seqlen_kv();
        let fields = if square && layout.seqlen_q() <= FIELD_TOKENS_MAX {
            fields(layout, index(arguments.layers))
        } else {
            note(if square {
                "no receptive field: more than 32768 tokens"
            } else {
                "no receptive field: queries and keys are not the same tokens"
            });
            Vec::new()
        };
        Ok(Self {
            heads: (0..patterns)
                .map(|head| head_statistics(layout, head))
                .collect(),
            rows,
            fields,
            tokens: layout.seqlen_q(),
        })
    }

    fn text(&self) -> String {
        let mut heads = Table::new([
            "head",
            "visible_pairs",
            "density",
            "empty_rows",
            "empty_columns",
            "blocks_full",
            "blocks_partial",
            "blocks_empty",
            "redundant",
            "unlisted_pairs",
            "padding_waste",
        ]);
        for (head, of) in self.heads.iter().enumerate() {
            heads.push([
                head.to_string(),
                of.visible_pairs.to_string(),
                format!("{:.6}", of.density),
                of.empty_rows.to_string(),
                of.empty_columns.to_string(),
                of.blocks.full.to_string(),
                of.blocks.partial.to_string(),
                of.blocks.empty.to_string(),
                of.redundant_blocks.to_string(),
                of.unlisted_pairs.to_string(),
                format!("{:.4}", of.padding_waste()),
            ]);
        }
        let mut text = heads.text();
        if !self.fields.is_empty() {
            let mut table = Table::new(["layers", "tokens_min", "tokens_mean", "tokens_max"]);
            for field in &self.fields {
                table.push([
                    field.layers.to_string(),
                    field.tokens_min.to_string(),
                    format!("{:.1}", self.mean(field.tokens_sum)),
                    field.tokens_max.to_string(),
                ]);
            }
            text += "\ntokens that can inform a query\n";
            text += &table.text();
        }
        let mut table = Table::new(["quantity", "value", "meaning"]);
        for (name, value, meaning) in &self.rows {
            let shown = match value {
                Value::Number(number) if number.is_f64() => {
                    let value = number.as_f64().unwrap_or(f64::NAN);
                    if (1e-3..1e6).contains(&value.abs()) {
                        format!("{value:.4}")
                    } else {
                        format!("{value:.4e}")
                    }
                }
                Value::Null => "never".to_owned(),
                Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_) => value.to_string(),
            };
            table.push([(*name).to_owned(), shown, meaning.clone()]);
        }
        text + "\n" + &table.text()
    }

    fn mean(&self, sum: usize) -> f64 {
        usize_to_f64(sum) / usize_to_f64(self.tokens.max(1))
    }

    fn json(&self) -> Value {
        let heads: Vec<Value> = self
            .heads
            .iter()
            .map(|of| {
                json!({
                    "visible_pairs": of.visible_pairs,
                    "density": of.density,
                    "empty_rows": of.empty_rows,
                    "empty_columns": of.empty_columns,
                    "blocks": {"full": of.blocks.full, "partial": of.blocks.partial, "empty": of.blocks.empty},
                    "redundant_blocks": of.redundant_blocks,
                    "unlisted_pairs": of.unlisted_pairs,
                    "padding_waste": of.padding_waste(),
                })
            })
            .collect();
        let fields: Vec<Value> = self
            .fields
            .iter()
            .map(|field| {
                json!({
                    "layers": field.layers,
                    "tokens_min": field.tokens_min,
                    "tokens_mean": self.mean(field.tokens_sum),
                    "tokens_max": field.tokens_max,
                })
            })
            .collect();
        let mut document = json!({"heads": heads, "receptive_field": fields});
        for (name, value, _) in &self.rows {
            document[*name] = value.clone();
        }
        document
    }
}

//! `flashproof eval`: retrieval accuracy against noise, one line an attention arm.

use super::model::Model;
use super::progress::StudyBar;
use super::through::{self, Through};
use super::{Failure, Status, write_file};
use crate::cli;
use crate::convert::usize_to_f64;
use crate::encoder::Thresholds;
use crate::fetch::{Environment, Tree};
use crate::report::accuracy::{Accuracy, figure, pairs_figure};
use crate::report::{registered, svg, table::Table};
use crate::retrieval::published_dev_scores;
use crate::stats::BandOptions;
use crate::study::{
    self, Curve, DataFolder, Family, Metric, PairScore, Plan, Results, RunOptions, Shard, Source,
    Split, Task, csv, curves, differences, pair_scores,
};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn run(arguments: &cli::Eval, out: &mut dyn Write) -> Result<Status, Failure> {
    if let Some(path) = &arguments.plan {
        return planned(path, arguments, out);
    }
    let tree = Tree::locate(&Environment::read()).map_err(Failure::input)?;
    let mut model = Model::load(&tree)?;
    let plan = plan_of(arguments, model.name)?;
    let place = Place {
        folder: arguments
            .out
            .clone()
            .unwrap_or_else(|| PathBuf::from("reports/accuracy")),
        name: arguments.name.clone(),
    };
    measure(&plan, &tree, &mut model, &place, &place.options())?;
    if let (Some(cli::Through::Vm), Some(passages)) = (arguments.through, arguments.passages) {
        carry(&plan, &tree, &model, &place, passages)?;
    }
    publish(&place, &Extras::default(), out)?;
    Ok(Status::Agree)
}

/// A study from its plan file: what is missing is made, or only a shard's part of it, or nothing.
fn planned(path: &Path, arguments: &cli::Eval, out: &mut dyn Write) -> Result<Status, Failure> {
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    let plan = Plan::from_toml(&text).map_err(|error| unreadable(&error))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let place = Place {
        folder: arguments.out.clone().unwrap_or_else(|| beside.to_owned()),
        name: stem.unwrap_or("study").to_owned(),
    };
    if arguments.stored {
        let stored = Results::read(&place.file(".jsonl")).map_err(Failure::input)?;
        if stored.plan != plan {
            return Err(Failure::Input(format!(
                "{} holds results of another plan than {} ({})",
                place.file(".jsonl").display(),
                path.display(),
                plan.differences(&stored.plan).join("; ")
            )));
        }
        publish(&place, &Extras::default(), out)?;
        return Ok(Status::Agree);
    }
    let tree = Tree::locate(&Environment::read()).map_err(Failure::input)?;
    let mut model = Model::load(&tree)?;
    if plan.model != model.name {
        return Err(Failure::Input(format!(
            "{}: model: \"{}\", but \"{}\" is on this machine; results of two models are not mixed",
            path.display(),
            plan.model,
            model.name
        )));
    }
    for (name, file) in &plan.thresholds {
        let found = thresholds(&beside.join(&file.file), &file.sha256)?;
        model.arms.thresholds.insert(name.clone(), found);
    }
    let part = Place {
        name: format!(
            "{}{}",
            place.name,
            arguments.shard.map(Shard::suffix).unwrap_or_default()
        ),
        ..place.clone()
    };
    let options = RunOptions {
        shard: arguments.shard,
        ..part.options()
    };
    let summary = measure(&plan, &tree, &mut model, &part, &options)?;
    if arguments.shard.is_some_and(|shard| shard != Shard::WHOLE) {
        writeln!(
            out,
            "{}: {} cells; `flashproof merge {}` puts the parts together",
            part.file(".jsonl").display(),
            summary.cells,
            path.display()
        )?;
    } else {
        publish(&place, &Extras::default(), out)?;
    }
    Ok(Status::Agree)
}

/// Thresholds from a file that must have this digest.
fn thresholds(path: &Path, sha256: &str) -> Result<(Arc<Thresholds>, String), Failure> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::Input(format!(
            "cannot read {name}: {error}; `flashproof calibrate` makes one"
        ))
    })?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if found != sha256 {
        return Err(Failure::Input(format!(
            "{name}: SHA-256 {found}, but the plan has {sha256}"
        )));
    }
    let parsed: Thresholds = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Input(format!("{name}: {error}")))?;
    Ok((Arc::new(parsed), found))
}

fn plan_of(arguments: &cli::Eval, model: &str) -> Result<Plan, Failure> {
    let noise = match arguments.noise {
        cli::Noise::None => Family::None,
        cli::Noise::Distractor => Family::Distractor,
    };
    let cli::Task::MlqaRetrieval = arguments.task;
    let plan = Plan {
        model: model.to_owned(),
        task: Task::MlqaRetrieval,
        pairs: arguments.pairs.clone(),
        arms: arguments.arms.clone(),
        noise,
        levels: match noise {
            Family::None => vec![0.0],
            Family::Distractor => arguments.levels.clone(),
        },
        seeds: vec![arguments.seed],
        contexts_per_pair: arguments.contexts,
        queries_per_pair: arguments.queries,
        sample_seed: arguments.seed,
        split: match arguments.split {
            cli::Split::Exploration => Split::Exploration,
            cli::Split::All => Split::All,
        },
        ..Plan::from_toml(DEFAULTS).map_err(Failure::input)?
    };
    plan.check().map_err(Failure::input)?;
    Ok(plan)
}

/// A plan whose other fields are the defaults of the format.
const DEFAULTS: &str = r#"
    model = ""
    pairs = ["en-en"]
    arms = ["dense"]
    levels = [0]
    seeds = [0]
"#;

/// Where a study's files are: `FOLDER/NAME.jsonl` and what is made of it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) name: String,
}

impl Place {
    pub(super) fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}{ending}", self.name))
    }

    /// A run of all cells that keeps its vectors beside its results.
    fn options(&self) -> RunOptions {
        RunOptions {
            shard: None,
            vectors: Some(self.file(".vectors")),
        }
    }
}

/// What a figure says besides its study.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    /// The sample is too small to prove anything.
    pub(super) is_smoke: bool,
    /// Sentences for the caption.
    pub(super) notes: Vec<String>,
}

/// Computes the cells that `place` does not have yet.
pub(super) fn measure(
    plan: &Plan,
    tree: &Tree,
    model: &mut Model,
    place: &Place,
    options: &RunOptions,
) -> Result<study::Summary, Failure> {
    let source = source(tree)?;
    std::fs::create_dir_all(&place.folder).map_err(|source| Failure::Write {
        what: place.folder.display().to_string(),
        source,
    })?;
    let mut bar = StudyBar::new();
    let result = study::run(
        plan,
        &source,
        &mut model.arms,
        &place.file(".jsonl"),
        options,
        &mut bar,
    );
    bar.finish();
    result.map_err(Failure::input)
}

/// Runs the first passages of the plan's first pair through the CUDA kernel, under dense attention and under the
/// plan's first arm of sparsity blocks, and stores what came of it beside the study.
pub(super) fn carry(
    plan: &Plan,
    tree: &Tree,
    model: &Model,
    place: &Place,
    passages: usize,
) -> Result<(), Failure> {
    let pair = plan.languages().map_err(Failure::input)?[0];
    let corpus = source(tree)?.pair(pair).map_err(Failure::input)?;
    let texts: Vec<String> = corpus
        .paragraphs()
        .take(passages)
        .map(|(_, paragraph)| paragraph.context.clone())
        .collect();
    let blocks = plan.arms.iter().find(|arm| arm.starts_with("block-topk"));
    let arms = std::iter::once("dense").chain(blocks.map(String::as_str));
    let carried: Vec<Through> = arms
        .map(|arm| through::run(model, &texts, arm))
        .collect::<Result<_, _>>()?;
    let text = serde_json::to_string_pretty(&carried).map_err(Failure::input)?;
    write_file(&place.file(".through.json"), &(text + "\n"))
}

/// Sentences on what went through the CUDA kernel, where that was stored.
fn carried_sentences(place: &Place) -> Result<Vec<String>, Failure> {
    let path = place.file(".through.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(Vec::new());
    };
    let carried: Vec<Through> = serde_json::from_str(&text)
        .map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
    Ok(carried.iter().map(Through::sentence).collect())
}

/// The tree's root that holds MLQA, as a study reads it.
pub(super) fn source(tree: &Tree) -> Result<DataFolder, Failure> {
    let dev = tree.mlqa_dev().map_err(Failure::input)?;
    let root = dev
        .ancestors()
        .nth(2)
        .expect("mlqa/dev lies two folders under the root of its tree");
    Ok(DataFolder {
        root: root.to_owned(),
    })
}

/// Makes tables and figures of the stored results, and prints the main table.
pub(super) fn publish(place: &Place, extras: &Extras, out: &mut dyn Write) -> Result<(), Failure> {
    let whole = Results::read(&place.file(".jsonl")).map_err(Failure::input)?;
    let results = if whole.plan.corpus_shares.is_empty() {
        whole.clone()
    } else {
        let Some((share, seeds)) = whole.reached() else {
            writeln!(
                out,
                "{}: {} cells are there, but no share of the contexts is whole yet",
                place.name,
                whole.cells.len()
            )?;
            return Ok(());
        };
        whole.at(share, &seeds)
    };
    if let Some(answer) = study::answer(&whole).map_err(Failure::input)? {
        let text = registered::markdown(&answer, &place.name, &[]);
        let file = if whole.plan.split == Split::Confirmation {
            place.folder.join("README.md")
        } else {
            place.file(".md")
        };
        write_file(&file, text)?;
    }
    let options = BandOptions::default();
    let baseline = "dense";
    let mut all: Vec<Curve> = Vec::new();
    let mut main = None;
    for metric in Metric::ALL {
        let of_arms = curves(&results, metric, &options).map_err(Failure::input)?;
        let of_differences =
            differences(&results, baseline, metric, &options).map_err(Failure::input)?;
        all.extend(of_arms.curves.iter().chain(&of_differences.curves).cloned());
        main.get_or_insert((of_arms, of_differences));
    }
    let (of_arms, of_differences) = main.expect("there is a main measure");
    let scores = pair_scores(&results);
    let notes: Vec<String> = extras
        .notes
        .iter()
        .cloned()
        .chain(carried_sentences(place)?)
        .collect();
    let accuracy = Accuracy {
        plan: &results.plan,
        curves: &of_arms.curves,
        differences: &of_differences.curves,
        missing_cells: of_arms.missing_cells,
        is_smoke: extras.is_smoke,
        notes: &notes,
    };
    write_file(&place.file(".csv"), csv(&all))?;
    write_file(&place.file("_pairs.csv"), pairs_table(&scores).csv())?;
    if results.plan.noise != Family::None {
        write_file(&place.file(".svg"), svg::draw(&figure(&accuracy)))?;
        write_file(
            &place.file("_pairs.svg"),
            svg::draw(&pairs_figure(&accuracy, &scores)),
        )?;
    }
    out.write_all(curves_table(&of_arms.curves).text().as_bytes())?;
    for note in &notes {
        writeln!(out, "{note}")?;
    }
    if results.plan.noise == Family::None {
        let table = published_table(&scores);
        write_file(&place.file("_published.csv"), table.csv())?;
        writeln!(out)?;
        out.write_all(table.text().as_bytes())?;
    }
    Ok(())
}

fn curves_table(curves: &[Curve]) -> Table {
    let mut table = Table::new([
        "arm",
        "noise",
        "nDCG@10",
        "low",
        "high",
        "attends",
        "questions",
        "articles",
    ]);
    for curve in curves {
        for point in &curve.points {
            table.push([
                curve.arm.clone(),
                format!("{:.2}", point.achieved),
                format!("{:.3}", point.mean),
                format!("{:.3}", point.low),
                format!("{:.3}", point.high),
                format!("{:.3}", point.realised_density),
                point.query_count.to_string(),
                point.cluster_count.to_string(),
            ]);
        }
    }
    table
}

fn pairs_table(scores: &[PairScore]) -> Table {
    let mut table = Table::new([
        "pair",
        "arm",
        "level",
        "ndcg_at_10",
        "mrr_at_10",
        "recall_at_1",
        "queries",
        "documents",
    ]);
    for score in scores {
        table.push([
            score.pair.clone(),
            score.arm.clone(),
            score.level.to_string(),
            format!("{:.6}", score.scores.ndcg_at_10),
            format!("{:.6}", score.scores.mrr_at_10),
            format!("{:.6}", score.scores.recall_at_1),
            score.query_count.to_string(),
            score.document_count.to_string(),
        ]);
    }
    table
}

/// Scores of the dense arm beside those published for the f32 weights, x 100, and their means over the pairs that have
/// both.
fn published_table(scores: &[PairScore]) -> Table {
    let mut table = Table::new([
        "pair",
        "nDCG@10",
        "nDCG@10 published",
        "gap",
        "R@1",
        "R@1 published",
        "R@1 gap",
        "questions",
        "contexts",
    ]);
    let two = |value: f64| format!("{value:.2}");
    let gap = |ours: f64, theirs: f64| format!("{:+.2}", ours - theirs);
    let mut sums = [0.0; 4];
    let mut count = 0;
    for score in scores.iter().filter(|score| score.arm == "dense") {
        let ours = [
            100.0 * score.scores.ndcg_at_10,
            100.0 * score.scores.recall_at_1,
        ];
        let published = published_dev_scores()
            .iter()
            .find(|cell| cell.is_valid && cell.pair == score.pair);
        let mut row = vec![score.pair.clone()];
        match published {
            Some(cell) => {
                count += 1;
                let all = [ours[0], cell.ndcg_at_10, ours[1], cell.recall_at_1];
                for (sum, value) in sums.iter_mut().zip(all) {
                    *sum += value;
                }
                row.extend([
                    two(ours[0]),
                    two(cell.ndcg_at_10),
                    gap(ours[0], cell.ndcg_at_10),
                ]);
                row.extend([
                    two(ours[1]),
                    two(cell.recall_at_1),
                    gap(ours[1], cell.recall_at_1),
                ]);
            }
            None => {
                let none = || "-".to_owned();
                row.extend([two(ours[0]), none(), none(), two(ours[1]), none(), none()]);
            }
        }
        row.extend([
            score.query_count.to_string(),
            score.document_count.to_string(),
        ]);
        table.push(row);
    }
    if count > 0 {
        let [ndcg, ndcg_published, recall, recall_published] =
            sums.map(|sum| sum / usize_to_f64(count));
        table.push([
            format!("mean of {count}"),
            two(ndcg),
            two(ndcg_published),
            gap(ndcg, ndcg_published),
            two(recall),
            two(recall_published),
            gap(recall, recall_published),
        ]);
    }
    table
}

/// Studies whose results lie in a folder, by name.
pub(super) fn stored(folder: &Path) -> Vec<Place> {
    let mut found: Vec<Place> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .filter_map(|path| {
            Some(Place {
                folder: folder.to_owned(),
                name: path.file_stem()?.to_str()?.to_owned(),
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

//! `flashproof eval`: retrieval accuracy against noise, one line an attention arm.

use super::model::Model;
use super::progress::StudyBar;
use super::publish::{Extras, publish, publish_mechanism};
use super::through::{self, Through};
use super::{Failure, Status, write_file};
use crate::cli;
use crate::encoder::{Precision, Thresholds};
use crate::fetch::{Collection, Environment, Tree};
use crate::mlqa::Language;
use crate::study::{
    self, DataFolder, Family, Plan, Results, RunOptions, Shard, Source, Split, Task,
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
    let precision = match arguments.precision {
        cli::Precision::F32 => Precision::F32,
        cli::Precision::Bf16 => Precision::Bf16,
    };
    let mut model = Model::load_for(&tree, precision)?;
    let plan = Plan {
        precision,
        ..plan_of(arguments, model.name)?
    };
    let source = source_of(&plan, &tree, Path::new(""))?;
    let place = Place {
        folder: arguments
            .out
            .clone()
            .unwrap_or_else(|| PathBuf::from("reports/accuracy")),
        name: arguments.name.clone(),
    };
    let options = place.options_of(&plan, arguments);
    measure(&plan, &source, &mut model, &place, &options)?;
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
    let mut model = Model::load_for(&tree, plan.precision)?;
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
    let source = source_of(&plan, &tree, beside)?;
    if let Some(count) = arguments.mechanism {
        let bar = super::progress::count(0, "documents");
        let rows = study::mechanism(&plan, &source, &mut model.arms, count, |done, total| {
            bar.set_length(u64::try_from(total).unwrap_or(u64::MAX));
            bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
        });
        bar.finish_and_clear();
        publish_mechanism(&place, &plan, &rows.map_err(Failure::input)?, out)?;
        return Ok(Status::Agree);
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
        ..part.options_of(&plan, arguments)
    };
    let summary = measure(&plan, &source, &mut model, &part, &options)?;
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
    let usual_noise = match arguments.task {
        cli::Task::MlqaRetrieval => cli::Noise::Distractor,
        cli::Task::MlqaR | cli::Task::XquadR | cli::Task::Beir => cli::Noise::None,
    };
    let noise = match arguments.noise.unwrap_or(usual_noise) {
        cli::Noise::None => Family::None,
        cli::Noise::Distractor => Family::Distractor,
        cli::Noise::HardDistractor => Family::HardDistractor,
        cli::Noise::Characters => Family::Characters,
        cli::Noise::Embedding => Family::Embedding,
    };
    let task = match arguments.task {
        cli::Task::MlqaRetrieval => Task::MlqaRetrieval,
        cli::Task::MlqaR => Task::MlqaR,
        cli::Task::XquadR => Task::XquadR,
        cli::Task::Beir => Task::Beir,
    };
    let usual: &[&str] = match task {
        Task::MlqaRetrieval => &["de-en", "es-en", "ar-en", "zh-en"],
        Task::MlqaR | Task::XquadR => &["all-en", "all-de"],
        Task::Beir => &["all"],
    };
    let seven = Language::MLQA.map(|language| language.code().to_owned());
    let plan = Plan {
        model: model.to_owned(),
        task,
        pairs: if arguments.pairs.is_empty() {
            usual.iter().map(|pair| (*pair).to_owned()).collect()
        } else {
            arguments.pairs.clone()
        },
        pool: match task {
            Task::MlqaR | Task::XquadR => seven.to_vec(),
            Task::MlqaRetrieval | Task::Beir => Vec::new(),
        },
        folder: arguments
            .folder
            .as_ref()
            .map(|folder| folder.display().to_string()),
        arms: arguments.arms.clone(),
        noise,
        levels: if arguments.levels.is_empty() || noise == Family::None {
            noise.usual_levels().to_vec()
        } else {
            arguments.levels.clone()
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
    pub(super) fn options(&self) -> RunOptions {
        RunOptions {
            vectors: Some(self.file(".vectors")),
            ..RunOptions::default()
        }
    }

    /// The same with rankings beside the results, where the task's scores are TREC's or the arguments ask for them.
    fn options_of(&self, plan: &Plan, arguments: &cli::Eval) -> RunOptions {
        let is_wanted = arguments.rankings || plan.task == Task::Beir;
        RunOptions {
            rankings: is_wanted.then(|| self.file("_rankings")),
            ..self.options()
        }
    }
}

/// Computes the cells that `place` does not have yet.
pub(super) fn measure(
    plan: &Plan,
    source: &DataFolder,
    model: &mut Model,
    place: &Place,
    options: &RunOptions,
) -> Result<study::Summary, Failure> {
    std::fs::create_dir_all(&place.folder).map_err(|source| Failure::Write {
        what: place.folder.display().to_string(),
        source,
    })?;
    let mut bar = StudyBar::new();
    let result = study::run(
        plan,
        source,
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

/// The tree's root that holds MLQA, as a study reads it.
pub(super) fn source(tree: &Tree) -> Result<DataFolder, Failure> {
    let dev = tree.mlqa_dev().map_err(Failure::input)?;
    let root = dev
        .ancestors()
        .nth(2)
        .expect("mlqa/dev lies two folders under the root of its tree");
    Ok(DataFolder {
        root: root.to_owned(),
        beside: PathBuf::new(),
    })
}

/// What a plan in the folder `beside` reads; a folder of the user's own needs no MLQA.
fn source_of(plan: &Plan, tree: &Tree, beside: &Path) -> Result<DataFolder, Failure> {
    let beside = beside.to_owned();
    match plan.task {
        Task::Beir => Ok(DataFolder {
            root: beside.clone(),
            beside,
        }),
        Task::MlqaRetrieval | Task::MlqaR => Ok(DataFolder {
            beside,
            ..source(tree)?
        }),
        Task::XquadR => {
            let english = tree.find("xquad-r/en.json", Collection::Xquad);
            let english = english.map_err(Failure::input)?;
            let root = english.ancestors().nth(2);
            let root = root
                .expect("xquad-r/en.json lies two folders down")
                .to_owned();
            Ok(DataFolder { root, beside })
        }
    }
}

//! `flashproof bitext`: MLQA's own parallelism, and sentences mined by margins.

use super::eval::source;
use super::model::Model;
use super::modules::read_text;
use super::{Failure, Status, note};
use crate::cli::{self, BitextWhat};
use crate::fetch::{Environment, Tree};
use crate::mlqa::{Corpus, Language, Pair, Parallelism};
use crate::report::table::Table;
use crate::retrieval::{Direction, Margin, Neighbours, error_rate};
use crate::study::{Embedder, Source};
use std::io::Write;
use std::path::Path;

pub(super) fn run(arguments: &cli::Bitext, out: &mut dyn Write) -> Result<Status, Failure> {
    match &arguments.what {
        BitextWhat::Mlqa => parallelism(out),
        BitextWhat::Mine(arguments) => mine(arguments, out),
    }
}

fn parallelism(out: &mut dyn Write) -> Result<Status, Failure> {
    let tree = Tree::locate(&Environment::read()).map_err(Failure::input)?;
    let source = source(&tree)?;
    let mut corpora: Vec<(Language, Corpus)> = Vec::new();
    for language in Language::MLQA {
        let own = Pair::new(language, language).expect("a language of MLQA");
        corpora.push((language, source.pair(own).map_err(Failure::input)?));
    }
    let found = Parallelism::of(corpora.iter().map(|(language, corpus)| (*language, corpus)));
    writeln!(
        out,
        "MLQA dev, questions by the number of languages they are in:"
    )?;
    for (ways, questions) in found.ways().into_iter().rev() {
        writeln!(out, "{ways}-way  {questions}")?;
    }
    writeln!(out, "\nquestions that two languages share:")?;
    let codes = Language::MLQA.map(Language::code);
    let mut table = Table::new(std::iter::once("").chain(codes));
    for a in Language::MLQA {
        let shared = Language::MLQA.map(|b| found.shared(a, b).to_string());
        table.push(std::iter::once(a.code().to_owned()).chain(shared));
    }
    out.write_all(table.text().as_bytes())?;
    Ok(Status::Agree)
}

fn mine(arguments: &cli::Mine, out: &mut dyn Write) -> Result<Status, Failure> {
    let margin: Margin = arguments.margin.parse().map_err(Failure::input)?;
    let direction: Direction = arguments.retrieval.parse().map_err(Failure::input)?;
    if arguments.neighbours == 0 {
        return Err(Failure::Input("--neighbours 0: want at least 1".to_owned()));
    }
    let (x, y) = (lines(&arguments.source)?, lines(&arguments.target)?);
    if arguments.aligned && x.len() != y.len() {
        return Err(Failure::Input(format!(
            "--aligned: {} has {} lines, {} has {}",
            arguments.source.display(),
            x.len(),
            arguments.target.display(),
            y.len()
        )));
    }
    let tree = Tree::locate(&Environment::read()).map_err(Failure::input)?;
    let mut model = Model::load(&tree)?;
    let arm = &arguments.arm;
    model.arms.check_arm(arm).map_err(Failure::Input)?;
    let mut embed = |texts: &[String]| -> Result<Vec<Vec<f32>>, Failure> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(16) {
            let embedded = model.arms.embed_documents(batch, arm);
            vectors.extend(embedded.map_err(Failure::Input)?.vectors);
        }
        Ok(vectors)
    };
    let (of_x, of_y) = (embed(&x)?, embed(&y)?);
    let neighbours = Neighbours::new(&of_x, &of_y, arguments.neighbours).map_err(Failure::input)?;
    let mined = neighbours.mine(margin, direction);
    let kept = mined
        .iter()
        .filter(|mined| arguments.threshold.is_none_or(|least| mined.score >= least));
    let mut count = 0;
    for mined in kept {
        writeln!(out, "{:.6}\t{}\t{}", mined.score, x[mined.x], y[mined.y])?;
        count += 1;
    }
    if arguments.aligned {
        let forward = neighbours.mine(margin, Direction::Forward);
        let rate = 100.0 * error_rate(&forward, x.len());
        note(&format!(
            "{count} pairs; {margin} margin errs on {rate:.2} % of {} source lines",
            x.len()
        ));
    }
    if count == 0 {
        note("no pair reaches the threshold");
        return Ok(Status::Unsupported);
    }
    Ok(Status::Agree)
}

/// The lines of a file, none of them empty.
fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = read_text(path)?;
    let found: Vec<String> = text.lines().map(str::to_owned).collect();
    if found.is_empty() {
        return Err(Failure::Input(format!(
            "{}: no sentence in it",
            path.display()
        )));
    }
    match found.iter().position(|line| line.trim().is_empty()) {
        None => Ok(found),
        Some(empty) => Err(Failure::Input(format!(
            "{}:{}: an empty line; want one sentence a line",
            path.display(),
            empty + 1
        ))),
    }
}

//! `flashproof calibrate`: thresholds of block-sparse `FlashAttention` from clean texts.
//!
//! Texts are runs of consecutive XQuAD paragraphs, of articles that MLQA does not have: no question of a study is
//! asked of them, and they carry no noise.

use super::model::Model;
use super::{Failure, Status, note, write_file};
use crate::cli;
use crate::encoder::{Calibration, Role};
use crate::fetch::{Environment, Tree};
use crate::mlqa::{Language, Pair};
use crate::study::{DataFolder, calibration_texts};
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn run(arguments: &cli::Calibrate, out: &mut dyn Write) -> Result<Status, Failure> {
    let tree = Tree::locate(&Environment::read()).map_err(Failure::input)?;
    let languages = languages(&arguments.languages)?;
    let mut model = Model::load(&tree)?;
    let source = super::eval::source(&tree)?;
    if !arguments.each {
        return calibrate(
            arguments,
            &source,
            &mut model,
            &languages,
            &arguments.out,
            out,
        );
    }
    let pattern = arguments.out.display().to_string();
    if !pattern.contains('*') {
        return Err(Failure::Input(format!(
            "--each writes a file for each language: --out {pattern} has no * for its code"
        )));
    }
    for language in languages {
        let path = PathBuf::from(pattern.replace('*', language.code()));
        calibrate(arguments, &source, &mut model, &[language], &path, out)?;
    }
    Ok(Status::Agree)
}

/// Thresholds from texts of these languages.
fn calibrate(
    arguments: &cli::Calibrate,
    source: &DataFolder,
    model: &mut Model,
    languages: &[Language],
    path: &Path,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let texts = calibration_texts(
        source,
        &mut model.arms,
        languages,
        arguments.texts,
        arguments.tokens,
    )
    .map_err(Failure::input)?;
    let sequences = model
        .arms
        .tokens(&texts, Role::Passage)
        .map_err(Failure::Input)?;
    let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
    note(&format!(
        "{} texts of {} to {} tokens",
        lengths.len(),
        lengths.iter().min().unwrap_or(&0),
        lengths.iter().max().unwrap_or(&0)
    ));
    let encoder = &model.arms.encoder;
    let thresholds = Calibration::new(encoder, &sequences, arguments.block)
        .and_then(|calibration| calibration.fitted(encoder, arguments.density))
        .map_err(Failure::input)?;
    let text = serde_json::to_string(&thresholds).map_err(Failure::input)?;
    write_file(path, text + "\n")?;
    writeln!(
        out,
        "{}: thresholds that keep {:.4} of the blocks under dense attention attend {:.4} of the pairs of {} texts",
        path.display(),
        thresholds.share,
        thresholds.density,
        thresholds.texts
    )?;
    Ok(Status::Agree)
}

fn languages(words: &[String]) -> Result<Vec<Language>, Failure> {
    if words == ["all"] {
        let mut all: Vec<Language> = Pair::all().into_iter().map(Pair::context).collect();
        all.dedup();
        return Ok(all);
    }
    words
        .iter()
        .map(|word| word.parse().map_err(Failure::input))
        .collect()
}

//! `flashproof read`: answers of a question-answering model to a data set's questions.

use super::modules::read_text;
use super::progress::count;
use super::{Failure, Status, write_file};
use crate::cli;
use crate::encoder::{Arm, ArmPlan, Reader, ReaderOptions};
use crate::mlqa::{self, Predictions};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

pub(super) fn run(arguments: &cli::Read, out: &mut dyn Write) -> Result<Status, Failure> {
    let arm: Arm = arguments.arm.parse().map_err(Failure::input)?;
    let plan = ArmPlan::uniform(arm);
    let options = ReaderOptions {
        max_tokens: arguments.max_tokens,
        doc_stride: arguments.doc_stride,
        best: arguments.best,
        answer_tokens: arguments.answer_tokens,
    };
    let name = arguments.dataset.display().to_string();
    let corpus = mlqa::load(&name, &read_text(&arguments.dataset)?).map_err(Failure::input)?;
    let reader = load(&arguments.model)?;
    let asked: Vec<(&str, &mlqa::Question)> = corpus
        .paragraphs()
        .flat_map(|(_, paragraph)| {
            let questions = paragraph.questions.iter();
            questions.map(|question| (paragraph.context.as_str(), question))
        })
        .take(arguments.limit.unwrap_or(usize::MAX))
        .collect();
    let bar = count(u64::try_from(asked.len()).unwrap_or(u64::MAX), "questions");
    let mut predictions = Predictions::default();
    let mut nbest = serde_json::Map::new();
    for (context, question) in &asked {
        let found = reader
            .answers(&question.text, context, &options, &plan)
            .map_err(|error| Failure::Input(format!("question {}: {error}", question.id)))?;
        let text = |index: usize| {
            found
                .get(index)
                .map_or("", |one| &context[one.bytes.clone()])
        };
        let (id, best) = (question.id.clone(), text(0).to_owned());
        let spans = found.iter().enumerate().map(|(index, one)| {
            json!({"text": text(index), "start_byte": one.bytes.start, "score": one.score})
        });
        nbest.insert(id.clone(), Value::Array(spans.collect()));
        predictions.answers.insert(id, best);
        bar.inc(1);
    }
    bar.finish_and_clear();
    write_file(&arguments.out, predictions.json() + "\n")?;
    if let Some(path) = &arguments.nbest {
        write_file(path, Value::Object(nbest).to_string() + "\n")?;
    }
    writeln!(
        out,
        "{}: answers to {} questions under {}",
        arguments.out.display(),
        predictions.answers.len(),
        arguments.arm
    )?;
    Ok(Status::Agree)
}

/// The model of a folder.
fn load(folder: &Path) -> Result<Reader, Failure> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path)
            .map_err(|error| Failure::Input(format!("cannot read {}: {error}", path.display())))
    };
    let (config, model, tokenizer) = (
        read("config.json")?,
        read("model.safetensors")?,
        read("tokenizer.json")?,
    );
    Reader::from_hugging_face(&config, &model, &tokenizer)
        .map_err(|error| Failure::Input(format!("{}: {error}", folder.display())))
}

//! What is made of a study's stored results: tables, figures, a report.

use super::eval::Place;
use super::through::Through;
use super::{Failure, other_studies, write_file};
use crate::convert::usize_to_f64;
use crate::report::accuracy::{Accuracy, figure, pairs_figure, words};
use crate::report::figure::Figure;
use crate::report::{against, families, forest, heat, mechanism, registered, svg, table::Table};
use crate::retrieval::published_dev_scores;
use crate::stats::BandOptions;
use crate::study::{
    self, Answer, Curve, Family, Mechanism, Metric, PairScore, Plan, Results, Split, Task, csv,
    curves, differences, is_cross_lingual, pair_scores,
};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a figure says besides its study.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    /// The sample is too small to prove anything.
    pub(super) is_smoke: bool,
    /// Sentences for the caption.
    pub(super) notes: Vec<String>,
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
            if whole.plan.registered.is_some() {
                let text = registered::waiting(&whole.plan, whole.cells.len(), &place.name);
                write_file(&report_file(place, &whole.plan), text)?;
            }
            return Ok(());
        };
        whole.at(share, &seeds)
    };
    let mut closing = Vec::new();
    if let Some(answer) = study::answer(&whole).map_err(Failure::input)? {
        let others = other_studies::read(place)?;
        let arms = other_studies::other_arms(&others, &answer.plan, &answer.registered)?;
        let mut sections = registered_figures(place, &results, &answer)?;
        sections.extend(against::section(&answer.registered.block, &arms));
        sections.extend(other_studies::section(place, &others, &answer.registered)?);
        sections.extend(other_studies::precision_section(place)?);
        let text = registered::markdown(&answer, &place.name, &arms, &sections);
        let file = report_file(place, &whole.plan);
        write_file(&file, text)?;
        closing.push(String::new());
        closing.extend(registered::verdicts(&answer).map(|sentence| sentence.replace("**", "")));
        closing.push(format!("report: {}", file.display()));
    }
    let results = if results.plan.registered.is_some() {
        only(&results, |_| true)
    } else {
        results
    };
    let options = BandOptions::default();
    let baseline = "dense";
    let mut all: Vec<Curve> = Vec::new();
    let mut main = None;
    for metric in Metric::of_task(results.plan.task) {
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
        share: whole.reached().map(|(share, _)| share),
        is_smoke: extras.is_smoke,
        notes: &notes,
    };
    write_file(&place.file(".csv"), csv(&all))?;
    write_file(
        &place.file("_pairs.csv"),
        pairs_table(&results.plan, &scores).csv(),
    )?;
    if results.plan.noise != Family::None {
        if results.plan.arms.len() > forest::LINES_MAX {
            let forest = forest::of_differences(&accuracy);
            write_file(&place.file(".svg"), forest.svg())?;
            write_file(&place.file(".png"), forest.png())?;
        } else {
            write_figure(place, "", &figure(&accuracy))?;
        }
        if results.plan.pairs.len() <= PANELS_MAX {
            write_figure(place, "_pairs", &pairs_figure(&accuracy, &scores))?;
        }
    }
    out.write_all(curves_table(&of_arms.curves).text().as_bytes())?;
    for note in &notes {
        writeln!(out, "{note}")?;
    }
    if results.plan.noise == Family::None && results.plan.task == Task::MlqaRetrieval {
        let table = published_table(&scores);
        write_file(&place.file("_published.csv"), table.csv())?;
        writeln!(out)?;
        out.write_all(table.text().as_bytes())?;
    }
    for line in closing {
        writeln!(out, "{line}")?;
    }
    let table = place.file(".csv");
    writeln!(out, "tables and plots: {} and beside it", table.display())?;
    Ok(())
}

fn curves_table(curves: &[Curve]) -> Table {
    let metric = curves
        .first()
        .map_or(Metric::NdcgAt10, |curve| curve.metric);
    let mut table = Table::new([
        "arm",
        "noise",
        words(metric),
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

fn pairs_table(plan: &Plan, scores: &[PairScore]) -> Table {
    let metrics = Metric::of_task(plan.task);
    let names = metrics.map(|metric| metric.to_string());
    let [first, second, third] = names.each_ref().map(String::as_str);
    let mut table = Table::new([
        "pair",
        "arm",
        "level",
        first,
        second,
        third,
        "queries",
        "documents",
    ]);
    for score in scores {
        let [first, second, third] =
            metrics.map(|metric| format!("{:.6}", metric.of(score.scores)));
        table.push([
            score.pair.clone(),
            score.arm.clone(),
            score.level.to_string(),
            first,
            second,
            third,
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

/// The folder's README for the registered run, a file of its own for a rehearsal on exploration questions.
fn report_file(place: &Place, plan: &Plan) -> PathBuf {
    if plan.split == Split::Confirmation {
        place.folder.join("README.md")
    } else {
        place.file(".md")
    }
}

/// Pairs that have a panel each; of more, the languages have.
const PANELS_MAX: usize = 12;

/// A figure as SVG and as PNG.
fn write_figure(place: &Place, ending: &str, figure: &Figure) -> Result<(), Failure> {
    write_file(&place.file(&format!("{ending}.svg")), svg::draw(figure))?;
    write_file(&place.file(&format!("{ending}.png")), svg::png(figure))
}

/// The cross-lingual pairs that `keep` lets through, as results of their own.
fn only(results: &Results, keep: impl Fn(&str) -> bool) -> Results {
    let pairs = results.plan.pairs.iter();
    Results {
        plan: Plan {
            pairs: pairs
                .filter(|pair| is_cross_lingual(pair) && keep(pair))
                .cloned()
                .collect(),
            ..results.plan.clone()
        },
        ..results.clone()
    }
}

/// Figures of a registered study besides the main one, and the report's sections that show them.
fn registered_figures(
    place: &Place,
    results: &Results,
    answer: &Answer,
) -> Result<Vec<String>, Failure> {
    let name = &place.name;
    let options = BandOptions {
        resamples: answer.registered.resamples,
        ..BandOptions::default()
    };
    let mut languages: Vec<(String, Vec<Curve>)> = Vec::new();
    for pair in &results.plan.pairs {
        let language = pair.split('-').next().unwrap_or(pair);
        if languages.iter().any(|(known, _)| known == language) {
            continue;
        }
        let of_language = only(results, |pair| pair.starts_with(language));
        if of_language.plan.pairs.is_empty() {
            continue;
        }
        let drawn = curves(&of_language, Metric::NdcgAt10, &options).map_err(Failure::input)?;
        languages.push((language.to_owned(), drawn.curves));
    }
    let all: Vec<Curve> = languages
        .iter()
        .flat_map(|(_, curves)| curves.clone())
        .collect();
    write_file(
        &place.file("_languages.csv"),
        by_language_csv(&languages, &all),
    )?;
    write_figure(
        place,
        "_languages",
        &families::languages(answer, &languages),
    )?;
    write_figure(place, "_cost", &families::cost(answer))?;
    write_figure(place, "_retention", &families::retention(answer))?;
    write_file(&place.file("_arms.csv"), families::arms_table(answer).csv())?;
    let map = heat::of_pairs(answer);
    write_file(&place.file("_heat.csv"), map.table().csv())?;
    write_file(&place.file("_heat.svg"), map.svg())?;
    write_file(&place.file("_heat.png"), map.png())?;
    let mut sections = vec![format!(
        "## Figures\n\n\
         By context language: ![nDCG@10 over noise by language]({name}_languages.svg)\n\n\
         Against density and FLOPs: ![area against cost]({name}_cost.svg)\n\n\
         Retention: ![share kept]({name}_retention.svg)\n\n\
         By pair, block minus local: ![7 x 7 differences]({name}_heat.svg)\n"
    )];
    if let Ok(text) = std::fs::read_to_string(place.file("_mechanism.csv")) {
        write_figure(place, "_mechanism", &mechanism::figure(&answer.plan, &text))?;
        let changed = mechanism::first_places_table(&study::first_places(results, "dense"));
        sections.push(format!(
            "## Mechanism\n\n![what the arms see]({name}_mechanism.svg)\n\n{}\n{}\n\
             Whose first document changes, of all questions, pairs and seeds of the study: `right`, a context that answers is first\n\
             under dense attention; `lost`, there but not under the arm; `gained`, under the arm alone. (From one wrong context to\n\
             another is not in the stored ranks.)\n\n{}",
            markdown_of(&text),
            mechanism::LEGEND,
            changed.markdown()
        ));
    }
    Ok(sections)
}

fn by_language_csv(languages: &[(String, Vec<Curve>)], all: &[Curve]) -> String {
    let text = csv(all);
    let mut lines = text.lines();
    let mut out = format!("context,{}\n", lines.next().unwrap_or_default());
    let counts = languages.iter().map(|(language, curves)| {
        let rows: usize = curves.iter().map(|curve| curve.points.len()).sum();
        (language, rows)
    });
    for (language, rows) in counts {
        for line in lines.by_ref().take(rows) {
            out += &format!("{language},{line}\n");
        }
    }
    out
}

/// Rows of a CSV file of ours that quotes nothing, without its header.
fn parsed(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .skip(1)
        .map(|line| line.split(',').map(str::to_owned).collect())
        .collect()
}

fn markdown_of(text: &str) -> String {
    let header = text.lines().next().unwrap_or_default();
    let mut table = Table::new(header.split(','));
    for row in parsed(text) {
        table.push(row);
    }
    table.markdown()
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

/// What the arms see, as a table and as a figure beside the study.
pub(super) fn publish_mechanism(
    place: &Place,
    plan: &Plan,
    rows: &[Mechanism],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let table = mechanism::table(rows);
    write_file(&place.file("_mechanism.csv"), table.csv())?;
    write_figure(place, "_mechanism", &mechanism::figure(plan, &table.csv()))?;
    out.write_all(table.text().as_bytes())?;
    Ok(())
}

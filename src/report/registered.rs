//! The report of a registered study, in Markdown: question, answer, protocol, tables, limits; every number from the
//! results.

use crate::study::{Against, Answer, ArmAnswer, Estimate, Plan};

use super::against;
use super::table::Table;

/// The report. `name` is that of the study's files, `others` the block-sparse arm against arms of other studies,
/// `sections` what is shown before the limits.
pub fn markdown(
    answer: &Answer,
    name: &str,
    others: &[(String, Vec<Against>)],
    sections: &[String],
) -> String {
    let mut text = TITLE.to_owned();
    text += &section("Answer", &verdicts(answer));
    text += &section("Where it would flip", &flips(answer, others));
    text += &section("Protocol", &protocol(answer, name));
    text += "## Arms\n\n";
    text += &format!("![nDCG@10 and differences over noise]({name}.svg)\n\n");
    text += &arms(answer).markdown();
    text += "\n`area`: mean over the noise levels by the trapezoid rule. `FLOPs`: share of dense attention's matrix products\n\
             (thresholds and top-k need every score, so `(1 + density) / 2`). `kept under noise`: the most noise over none.\n\
             `of dense`: area over dense attention's. `-15 %`: the noise level at which that much is lost.\n\n";
    text += "## Contrasts\n\n";
    text += &contrasts(answer).markdown();
    text += "\nThe primary contrast, \"preserves\" and \"under noise\" were registered; p is two-sided, by flipping the signs of\n\
             whole articles; Holm's adjustment is over the rows that have one. `deff`: variance over that of as many\n\
             independent questions. `detectable`: smallest true difference found with 80 % power.\n\n";
    text += "## Languages\n\n";
    text += &languages(answer).markdown();
    text += &format!("\n{}\n\n", pairs_sentence(answer));
    for section in sections {
        text += section;
        text += "\n";
    }
    text += &section("Limits", &limits(answer));
    text
}

/// The report while no share of the contexts is whole: the question, what is to be tested, and how far the run is.
pub fn waiting(plan: &Plan, done: usize, name: &str) -> String {
    let mut text = TITLE.to_owned();
    text += &section(
        "Answer",
        &[format!(
            "**None yet**: {done} of {} cells are there, and no share of the contexts is whole.",
            plan.cells().len()
        )],
    );
    let mut sentences = vec![format!(
        "Plan [{name}.toml]({name}.toml), SHA-256 of its content `{}`, committed before the run.",
        plan.sha256()
    )];
    if let Some(registered) = &plan.registered {
        sentences.push(format!(
            "Primary contrast: `{}` minus `{}`, area over the noise levels of nDCG@10 on the cross-lingual pairs; \"preserves\": \
             one-sided 95 % lower bound of the difference from `{}` above {} points; \"under noise\": the primary contrast at the \
             most noise minus that at the least. Secondary, at equal density: `{}`.",
            registered.block,
            registered.local,
            registered.dense,
            points(-registered.margin),
            registered.local_equal_density
        ));
        sentences.push(format!(
            "Choice of the local arms: {}.",
            registered.chosen_on
        ));
    }
    text += &section("Protocol", &sentences);
    text.trim_end().to_owned() + "\n"
}

const TITLE: &str = "# Does Block-Sparse FlashAttention keep cross-lingual retrieval on MLQA better than local attention under noise?\n\n\
     Written by `flashproof eval`; every number comes from the stored results beside it. nDCG@10 in points (0 to 100),\n\
     differences with 95 % intervals.\n\n";

fn section(title: &str, sentences: &[String]) -> String {
    let items: Vec<String> = sentences
        .iter()
        .map(|sentence| format!("* {sentence}"))
        .collect();
    format!("## {title}\n\n{}\n\n", items.join("\n"))
}

fn points(value: f64) -> String {
    // A negative zero is a zero.
    format!("{:+.2}", 100.0 * value + 0.0)
}

pub(super) fn interval(estimate: &Estimate) -> String {
    format!(
        "{} [{}, {}]",
        points(estimate.mean),
        points(estimate.low),
        points(estimate.high)
    )
}

pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 {
        format!("{p:.4}")
    } else {
        format!("{p:.3}")
    }
}

/// Better, worse or not told apart, by the interval.
fn direction(estimate: &Estimate) -> &'static str {
    if estimate.low > 0.0 {
        "better than"
    } else if estimate.high < 0.0 {
        "worse than"
    } else {
        "not distinguishable from"
    }
}

/// The answer in five sentences of Markdown: how far the run is, the registered contrasts, that at equal density.
pub fn verdicts(answer: &Answer) -> [String; 5] {
    let registered = &answer.registered;
    let (planned, done) = answer.cells;
    let standing = if done == planned {
        "The registered run is complete.".to_owned()
    } else {
        format!(
            "**Interim**: {done} of {planned} cells are there; whole so far are {} of the contexts under {} of {} noise seeds, and \
             the numbers below are of these. No decision is taken before the run is closed.",
            share_words(answer.share),
            answer.seeds.len(),
            answer.plan.seeds.len()
        )
    };
    let primary = &answer.primary;
    let preserves = &answer.preserves;
    let holds = preserves.lower_bound > -registered.margin;
    [
        standing,
        format!(
            "**Primary contrast.** Over all noise levels `{}` is {} `{}`, the best local arm at equal attention FLOPs: {} \
             points (p = {}).",
            registered.block,
            direction(primary),
            registered.local,
            interval(primary),
            p_value(primary.p)
        ),
        format!(
            "**\"Preserves\"** {}: `{}` minus dense is {} points, one-sided 95 % lower bound {}, margin {}. The local arm \
             minus dense is {}.",
            if holds { "holds" } else { "does not hold" },
            registered.block,
            interval(preserves),
            points(preserves.lower_bound),
            points(-registered.margin),
            interval(&answer.local_preserves)
        ),
        format!(
            "**\"Under noise\"**: from the least to the most noise the difference between the two changes by {} points \
             (p = {}): {}.",
            interval(&answer.under_noise),
            p_value(answer.under_noise.p),
            if answer.under_noise.low > 0.0 {
                "noise favours the block-sparse arm"
            } else if answer.under_noise.high < 0.0 {
                "noise favours the local arm"
            } else {
                "no change that could be told from none"
            }
        ),
        format!(
            "At equal density (`{}`) the difference is {} points (Holm-adjusted p = {}).",
            registered.local_equal_density,
            interval(&answer.equal_density),
            p_value(answer.holm.first().copied().unwrap_or(1.0))
        ),
    ]
}

fn flips(answer: &Answer, others: &[(String, Vec<Against>)]) -> Vec<String> {
    let registered = &answer.registered;
    let mut sentences = Vec::new();
    let rivals = answer
        .arms
        .iter()
        .filter(|arm| arm.arm != registered.block && arm.arm != registered.dense);
    let block = answer.arms.iter().find(|arm| arm.arm == registered.block);
    if let Some(block) = block {
        for other in rivals {
            let difference = block.area.mean - other.area.mean;
            sentences.push(format!(
                "Against `{}` (density {}, FLOPs {}) the block-sparse arm is {} points {}.",
                other.arm,
                density(other),
                flops(other),
                points(difference.abs()).trim_start_matches('+'),
                if difference > 0.0 { "ahead" } else { "behind" }
            ));
        }
    }
    let levels: Vec<String> = answer
        .levels
        .iter()
        .map(|(level, local, _)| format!("{level}: {}", interval(local)))
        .collect();
    sentences.push(format!(
        "Block-sparse minus `{}` by noise level: {}.",
        registered.local,
        levels.join("; ")
    ));
    let ahead = |sign: f64| -> Vec<&str> {
        answer
            .languages
            .iter()
            .filter(|(_, estimate)| sign * estimate.mean > 0.0)
            .map(|(words, _)| words.as_str())
            .collect()
    };
    let (better, worse) = (ahead(1.0), ahead(-1.0));
    sentences.push(if better.is_empty() || worse.is_empty() {
        "The sign of the primary contrast is the same for every context language and every question language.".to_owned()
    } else {
        format!("The block-sparse arm is ahead for {}; behind for {}.", better.join(", "), worse.join(", "))
    });
    sentences.extend(against::sentence(others));
    sentences
}

fn share_words(share: f64) -> String {
    if share >= 1.0 {
        "all".to_owned()
    } else {
        format!("{share} (drawn without regard to the questions)")
    }
}

fn protocol(answer: &Answer, name: &str) -> Vec<String> {
    let plan = &answer.plan;
    let first = answer.arms.first().and_then(|arm| arm.points.first());
    let seeds: Vec<String> = answer.seeds.iter().map(u64::to_string).collect();
    let achieved: Vec<String> = answer
        .arms
        .first()
        .map(|arm| arm.points.iter())
        .into_iter()
        .flatten()
        .map(|point| format!("{:.2}", point.achieved))
        .collect();
    vec![
        format!(
            "Plan [{name}.toml]({name}.toml), SHA-256 of its content `{}`, committed before the run; results [{name}.jsonl]({name}.jsonl).",
            plan.sha256()
        ),
        format!(
            "Task: MTEB's MLQARetrieval on MLQA dev, {} pairs CONTEXT-QUESTION, of which the cross-lingual ones count; questions of \
             the {} half of the articles: {} (question, pair) on {} articles; corpora of {} to {} contexts, fixed.",
            plan.pairs.len(),
            plan.split.name(),
            answer.primary.query_count,
            answer.primary.cluster_count,
            answer.documents.0,
            answer.documents.1
        ),
        format!(
            "Noise N1: texts of {} tokens, a gold crop of at most {} with every answer in it, four slots of which the level's share \
             holds sentences of other articles (XQuAD), the rest copies of the crop; achieved share of distractor tokens {}; noise \
             seeds {}; {} tokens on average.",
            plan.total_tokens,
            plan.gold_tokens,
            achieved.join(", "),
            seeds.join(", "),
            first.map_or(0.0, |point| point.mean_tokens).round()
        ),
        format!(
            "Encoder: {}; only documents are sparse, in all layers and heads; questions are dense. Same weights, texts and order in every arm.",
            plan.model
        ),
        format!(
            "Choice of the local arms: {}. Calibration on clean texts of articles that MLQA does not have, so the density of thresholds \
             may drift with noise: see the densities below.",
            answer.registered.chosen_on
        ),
        format!(
            "Intervals: {} bootstrap resamples of articles (all questions of an article together, in all languages) and of noise seeds; \
             corpora stated as fixed.",
            answer.registered.resamples
        ),
    ]
}

fn density(arm: &ArmAnswer) -> String {
    let of = |pick: fn(f64, f64) -> f64, start: f64| {
        arm.points
            .iter()
            .map(|point| point.realised_density)
            .fold(start, pick)
    };
    let (low, high) = (of(f64::min, f64::INFINITY), of(f64::max, 0.0));
    let (low, high) = (format!("{low:.3}"), format!("{high:.3}"));
    if low == high {
        low
    } else {
        format!("{low} to {high}")
    }
}

fn flops(arm: &ArmAnswer) -> String {
    arm.flops
        .map_or("-".to_owned(), |flops| format!("{flops:.3}"))
}

fn arms(answer: &Answer) -> Table {
    let mut header = vec!["arm".to_owned(), "density".to_owned(), "FLOPs".to_owned()];
    header.extend(
        answer
            .levels
            .iter()
            .map(|(level, ..)| format!("nu = {level}")),
    );
    for word in ["area", "kept under noise", "of dense", "-15 %", "-50 %"] {
        header.push(word.to_owned());
    }
    let mut table = Table::new(header.iter().map(String::as_str));
    let critical =
        |level: Option<f64>| level.map_or("> max".to_owned(), |level| format!("{level:.2}"));
    let percent = |(ratio, low, high): (f64, f64, f64)| {
        format!(
            "{:.1} % [{:.1}, {:.1}]",
            100.0 * ratio,
            100.0 * low,
            100.0 * high
        )
    };
    for arm in &answer.arms {
        let mut row = vec![format!("`{}`", arm.arm), density(arm), flops(arm)];
        row.extend(
            arm.points
                .iter()
                .map(|point| format!("{:.1}", 100.0 * point.mean)),
        );
        row.push(format!(
            "{:.2} [{:.2}, {:.2}]",
            100.0 * arm.area.mean,
            100.0 * arm.area.low,
            100.0 * arm.area.high
        ));
        row.extend([
            percent(arm.retention_self),
            percent(arm.retention_dense),
            critical(arm.critical[0]),
            critical(arm.critical[2]),
        ]);
        table.push(row);
    }
    table
}

fn contrasts(answer: &Answer) -> Table {
    let mut table = Table::new(["contrast", "difference", "p", "Holm", "deff", "detectable"]);
    let registered = &answer.registered;
    let mut push = |words: String, estimate: &Estimate, holm: Option<f64>| {
        table.push([
            words,
            interval(estimate),
            p_value(estimate.p),
            holm.map_or("-".to_owned(), p_value),
            format!("{:.2}", estimate.design_effect),
            format!("{:.2}", 100.0 * estimate.detectable),
        ]);
    };
    let holm = |index: usize| answer.holm.get(index).copied();
    push(
        format!("primary: area, block minus `{}`", registered.local),
        &answer.primary,
        None,
    );
    push(
        "preserves: area, block minus dense".to_owned(),
        &answer.preserves,
        None,
    );
    push(
        "area, local minus dense".to_owned(),
        &answer.local_preserves,
        None,
    );
    push(
        format!(
            "area, block minus `{}` (equal density)",
            registered.local_equal_density
        ),
        &answer.equal_density,
        holm(0),
    );
    push(
        "under noise: primary at the most noise minus at the least".to_owned(),
        &answer.under_noise,
        holm(1),
    );
    for (index, (level, local, _)) in answer.levels.iter().enumerate() {
        push(
            format!("nu = {level}: block minus local"),
            local,
            holm(2 + index),
        );
    }
    for (level, _, dense) in &answer.levels {
        push(format!("nu = {level}: block minus dense"), dense, None);
    }
    table
}

fn languages(answer: &Answer) -> Table {
    let mut table = Table::new([
        "",
        "block minus local, area",
        "questions",
        "articles",
        "detectable",
    ]);
    for (words, estimate) in &answer.languages {
        table.push([
            words.clone(),
            interval(estimate),
            estimate.query_count.to_string(),
            estimate.cluster_count.to_string(),
            format!("{:.2}", 100.0 * estimate.detectable),
        ]);
    }
    table
}

fn pairs_sentence(answer: &Answer) -> String {
    let count = |keep: &dyn Fn(&Estimate, f64) -> bool| {
        answer
            .pairs
            .iter()
            .filter(|(_, estimate, adjusted)| keep(estimate, *adjusted))
            .count()
    };
    format!(
        "Of {} cross-lingual pairs the block-sparse arm is ahead in {} and behind in {}; with a false discovery rate of 5 % \
         (Benjamini and Hochberg), ahead in {} and behind in {}.",
        answer.pairs.len(),
        count(&|estimate, _| estimate.mean > 0.0),
        count(&|estimate, _| estimate.mean < 0.0),
        count(&|estimate, adjusted| estimate.mean > 0.0 && adjusted < 0.05),
        count(&|estimate, adjusted| estimate.mean < 0.0 && adjusted < 0.05),
    )
}

fn limits(answer: &Answer) -> Vec<String> {
    let mut limits = vec![
        format!(
            "One encoder ({}), 12 layers of head dimension 32, at most 512 tokens; trained dense, no arm was trained for. Blocks \
             of 16 tokens: the published 128 x 64 would leave 4 x 8 tiles.",
            answer.plan.encoder()
        ),
        "One noise family at fixed length. At no noise a text repeats its crop, which a text in the wild does not.".to_owned(),
        "Distractors come from a pool of 240 paragraphs a language, some of which the thresholds were calibrated on.".to_owned(),
        "FLOPs are counted, not timed; the kernels' speed is another report.".to_owned(),
    ];
    if answer.share < 1.0 {
        limits.push(format!(
            "Corpora of a share of {} are smaller than the task's, so retrieval is easier and differences smaller than in whole ones.",
            answer.share
        ));
    }
    if answer.seeds.len() < 2 {
        limits.push("One noise seed: the intervals do not hold what another draw of distractors would change.".to_owned());
    }
    limits
}

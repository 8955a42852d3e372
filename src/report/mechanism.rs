//! What arms see, as a table and as a figure.

use super::figure::{Axis, Figure, Panel, Point, Scale, Series};
use super::table::Table;
use crate::study::{FirstPlaces, Mechanism, Plan};

/// Columns of the table that the figure draws, each with its title there.
const DRAWN: [(&str, &str); 6] = [
    ("density", "pairs attended"),
    ("gold_recall", "pairs attended into the gold crop"),
    ("sentence_recall", "blocks kept into the answering sentence"),
    ("mass", "softmax weight held"),
    ("cosine", "cosine to the dense vector"),
    ("top1_changes", "questions with another first document"),
];

/// What [`table`]'s columns are.
pub const LEGEND: &str = "`density`: share of (query, key) pairs attended; `density_drift`: less that at the first level. `gold_recall`: share of\n\
     the pairs attended whose key is of the gold crop and whose query is not. `sentence_recall`: share of the blocks kept, of 16\n\
     queries by 16 keys, whose keys are of a sentence that answers and whose queries are not. `mass`: share of the softmax weight\n\
     that attended keys hold; a text in pieces has none. `cosine`: to the dense vector. `top1_changes`: share of the questions whose nearest document, of\n\
     those run, is another than under dense attention. Means over documents, layers, heads.\n";

/// The numbers.
pub fn table(rows: &[Mechanism]) -> Table {
    let mut table = Table::new([
        "arm",
        "level",
        "documents",
        "questions",
        "density",
        "density_drift",
        "gold_recall",
        "sentence_recall",
        "mass",
        "cosine",
        "top1_changes",
    ]);
    for row in rows {
        table.push([
            row.arm.clone(),
            row.level.to_string(),
            row.documents.to_string(),
            row.questions.to_string(),
            format!("{:.4}", row.density),
            format!("{:.4}", row.density_drift),
            format!("{:.4}", row.gold_recall),
            format!("{:.4}", row.sentence_recall),
            row.mass.map_or(String::new(), |mass| format!("{mass:.4}")),
            format!("{:.5}", row.cosine),
            row.top1_changes
                .map_or(String::new(), |changes| format!("{changes:.4}")),
        ]);
    }
    table
}

/// Whose first document changes over the whole corpora, as far as stored ranks say.
pub fn first_places_table(rows: &[FirstPlaces]) -> Table {
    let mut table = Table::new(["arm", "level", "questions", "right", "lost", "gained"]);
    for row in rows {
        table.push([
            row.arm.clone(),
            row.level.to_string(),
            row.questions.to_string(),
            format!("{:.4}", row.right),
            format!("{:.4}", row.lost),
            format!("{:.4}", row.gained),
        ]);
    }
    table
}

/// A panel a measure, from the text of [`table`] as CSV.
pub fn figure(plan: &Plan, csv: &str) -> Figure {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap_or_default();
    let rows: Vec<Vec<&str>> = lines.collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let levels: Vec<(f64, String)> = plan
        .levels
        .iter()
        .map(|level| (*level, level.to_string()))
        .collect();
    let number = |row: &[&str], name: &str| -> Option<f64> { row.get(column(name)?)?.parse().ok() };
    let lowest = |name: &str| {
        let all = rows.iter().filter_map(|row| number(row, name));
        all.fold(1.0, f64::min)
    };
    let panel = |(name, title): (&str, &str)| Panel {
        title: title.to_owned(),
        x: Axis::at(
            "noise level nu (share of distractor slots)",
            Scale::Linear,
            &levels,
        ),
        // Cosines of one encoder lie close together: theirs is the only axis that does not begin at 0.
        y: if name == "cosine" {
            Axis::covering(name, lowest(name), 1.0)
        } else {
            Axis::from_zero("share", 1.0)
        },
        series: plan
            .arms
            .iter()
            .enumerate()
            .map(|(style, arm)| Series {
                name: arm.clone(),
                style,
                points: rows
                    .iter()
                    .filter(|row| row.first() == Some(&arm.as_str()))
                    .filter_map(|row| {
                        Some(Point {
                            x: number(row, "level")?,
                            y: number(row, name)?,
                            band: None,
                        })
                    })
                    .collect(),
            })
            .filter(|series| !series.points.is_empty())
            .collect(),
        reference: None,
    };
    let count = |name: &str| {
        let first = rows.first().zip(column(name));
        first
            .and_then(|(row, column)| row.get(column).copied())
            .unwrap_or("0")
    };
    Figure {
        title: "What do the arms see of the answer, and how does their density drift?".to_owned(),
        panels: DRAWN.into_iter().map(panel).collect(),
        columns: 2,
        caption: vec![
            format!(
                "{} documents and {} questions asked of them, the same at every level and under every arm; noise seed {}; encoder {}.",
                count("documents"),
                count("questions"),
                plan.seeds.first().copied().unwrap_or(0),
                plan.encoder()
            ),
            "Means over documents, layers and heads; first documents among those run. The axis of cosines does not begin at 0. No bands: a sample to explain, not to decide."
                .to_owned(),
        ],
        watermark: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_a_panel_and_every_arm_a_line() {
        let plan = Plan::from_toml(
            "model = \"m\"\npairs = [\"de-en\"]\narms = [\"dense\", \"window:0.25\"]\nlevels = [0, 1]\nseeds = [3]",
        )
        .unwrap();
        let row = |arm: &str, level: f64, top1_changes: Option<f64>| Mechanism {
            arm: arm.to_owned(),
            level,
            documents: 2,
            questions: 5,
            density: 0.25,
            density_drift: 0.01,
            gold_recall: 0.5,
            sentence_recall: 0.75,
            mass: Some(0.9),
            cosine: 0.99,
            top1_changes,
        };
        let rows = [
            row("dense", 0.0, Some(0.0)),
            row("dense", 1.0, Some(0.0)),
            row("window:0.25", 0.0, Some(0.2)),
            row("window:0.25", 1.0, None),
        ];
        let figure = figure(&plan, &table(&rows).csv());
        assert_eq!(figure.panels.len(), DRAWN.len());
        for (panel, want) in figure.panels.iter().zip([0.25, 0.5, 0.75, 0.9, 0.99, 0.2]) {
            assert_eq!(panel.series.len(), 2, "{}", panel.title);
            assert!((panel.series[1].points[0].y - want).abs() < 1e-9);
        }
        let last = figure
            .panels
            .last()
            .map(|panel| panel.series[1].points.len());
        assert_eq!(last, Some(1), "no question, no point");
        assert!(figure.caption[0].starts_with("2 documents and 5 questions"));
    }
}

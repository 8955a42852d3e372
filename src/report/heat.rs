//! Differences by pair as a table of coloured cells: rows are context languages, columns question languages.

use super::svg::{Shade, heat_png, heat_svg};
use super::table::Table;
use crate::study::{Answer, context_language, question_language};

/// A map of values with the words that explain it.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// The question it answers.
    pub title: String,
    /// Names of the rows, top to bottom.
    pub rows: Vec<String>,
    /// Names of the columns, left to right.
    pub columns: Vec<String>,
    /// (rows, columns): value and whether it stands out; `None` where there is none.
    pub cells: Vec<Vec<Option<(f64, bool)>>>,
    /// Sentences under it.
    pub caption: Vec<String>,
}

/// The primary contrast by pair, in points.
pub fn of_pairs(answer: &Answer) -> HeatMap {
    let distinct = |side: fn(&str) -> &str| -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        for pair in &answer.plan.pairs {
            if !seen.iter().any(|known| known == side(pair)) {
                seen.push(side(pair).to_owned());
            }
        }
        seen
    };
    let (rows, columns) = (distinct(context_language), distinct(question_language));
    let cell = |context: &String, question: &String| {
        let name = format!("{context}-{question}");
        let found = answer.pairs.iter().find(|(pair, ..)| *pair == name);
        found.map(|(_, estimate, adjusted)| (100.0 * estimate.mean, *adjusted < 0.05))
    };
    let of_row = |row: &String| columns.iter().map(|column| cell(row, column)).collect();
    HeatMap {
        title: format!(
            "In which pairs is {} ahead of {}?",
            answer.registered.block, answer.registered.local
        ),
        cells: rows.iter().map(of_row).collect(),
        rows,
        columns,
        caption: vec![
            "nDCG@10 points, mean over the noise levels; rows: language of the contexts, columns: of the questions.".to_owned(),
            "Framed: not 0 at a false discovery rate of 5 % (Benjamini and Hochberg). Cells have different questions: compare signs, not sizes.".to_owned(),
            format!(
                "Questions of the {} half, share {} of the contexts, {} noise seeds.",
                answer.plan.split.name(),
                answer.share,
                answer.seeds.len()
            ),
        ],
    }
}

impl HeatMap {
    /// Rows of context, question, value, and whether it stands out.
    pub fn table(&self) -> Table {
        let mut table = Table::new(["context", "question", "points", "discovery"]);
        for (row, cells) in self.rows.iter().zip(&self.cells) {
            for (column, cell) in self.columns.iter().zip(cells) {
                if let Some((value, stands_out)) = cell {
                    table.push([
                        row.clone(),
                        column.clone(),
                        format!("{value:.4}"),
                        stands_out.to_string(),
                    ]);
                }
            }
        }
        table
    }

    /// As SVG.
    pub fn svg(&self) -> String {
        heat_svg(self)
    }

    /// As the bytes of a PNG file.
    pub fn png(&self) -> Vec<u8> {
        heat_png(self)
    }

    /// The colour of a value: orange below 0, blue above, white at it; full at the largest size in the map.
    pub(super) fn shade(&self, value: f64) -> Shade {
        let sizes = self
            .cells
            .iter()
            .flatten()
            .flatten()
            .map(|(value, _)| value.abs());
        let largest = sizes.fold(1e-9, f64::max);
        Shade {
            is_above: value > 0.0,
            strength: (value.abs() / largest).clamp(0.0, 1.0),
        }
    }
}

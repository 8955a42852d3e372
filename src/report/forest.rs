//! Many arms at once: a row an arm, a column a level of noise, each a difference with its interval.

use super::accuracy::{Accuracy, caption, levels, name_of, words};
use super::figure::Axis;
use super::svg::{
    CAPTION_SIZE, Canvas, Drawn, INK, MARGIN, PALE, TEXT_SIZE, TITLE_SIZE, WIDTH, count, paint,
    picture, text, wrap,
};
use crate::convert::{pixel, usize_to_f64};
use crate::study::Curve;
use plotters::prelude::{DrawingBackend, Rectangle};
use plotters::style::text_anchor::{HPos, VPos};

/// Arms that lines can be told apart of; more become a forest.
pub const LINES_MAX: usize = 8;

const LABELS: i32 = 372;
const ROW: i32 = 26;

/// Differences from one arm, by arm and level.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// The question it answers.
    pub title: String,
    /// Titles of the columns, left to right.
    pub columns: Vec<String>,
    /// The axis under every column.
    pub axis: Axis,
    /// Label, and in each column the value with the ends of its interval; the best row first.
    pub rows: Vec<(String, Vec<Option<[f64; 3]>>)>,
    /// Sentences under it.
    pub caption: Vec<String>,
}

/// The differences of a study from its baseline, arms by falling mean over the levels.
pub fn of_differences(accuracy: &Accuracy<'_>) -> Forest {
    let metric = accuracy
        .curves
        .first()
        .map_or("", |curve| words(curve.metric));
    let named = accuracy.differences.iter();
    let baseline = named
        .clone()
        .find_map(|curve| curve.baseline.clone())
        .unwrap_or_default();
    let mean = |curve: &Curve| {
        let sum: f64 = curve.points.iter().map(|point| point.mean).sum();
        sum / usize_to_f64(curve.points.len().max(1))
    };
    let mut arms: Vec<&Curve> = named.filter(|curve| curve.arm != baseline).collect();
    arms.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    let levels = levels(accuracy.curves);
    let of_baseline = accuracy.curves.iter().find(|curve| curve.arm == baseline);
    let columns = levels.iter().enumerate().map(|(index, (_, level))| {
        let point = of_baseline.and_then(|curve| curve.points.get(index));
        let score = point.map_or_else(String::new, |point| {
            format!(": {baseline} has {:.3}", point.mean)
        });
        format!("noise {level}{score}")
    });
    let cell = |curve: &Curve, index: usize| {
        let point = curve.points.get(index)?;
        Some([point.low, point.mean, point.high])
    };
    let rows = arms.iter().map(|curve| {
        let cells = (0..levels.len()).map(|index| cell(curve, index));
        (name_of(accuracy.curves, &curve.arm), cells.collect())
    });
    let ends = || arms.iter().flat_map(|curve| &curve.points);
    let low = ends().map(|point| point.low).fold(0.0, f64::min);
    let high = ends().map(|point| point.high).fold(0.0, f64::max);
    Forest {
        title: format!("Which arms keep what {baseline} finds as noise grows?"),
        columns: columns.collect(),
        axis: Axis::covering(
            format!("{metric} minus that of {baseline}, paired by question"),
            low,
            high,
        ),
        rows: rows.collect(),
        caption: [
            "Rows by mean over the levels. Square: the whole interval lies above 0; triangle: below; circle: neither."
                .to_owned(),
        ]
        .into_iter()
        .chain(caption(accuracy))
        .collect(),
    }
}

impl Forest {
    /// As SVG.
    pub fn svg(&self) -> String {
        text(self.height(), |canvas| canvas.forest(self))
    }

    /// As the bytes of a PNG file.
    pub fn png(&self) -> Vec<u8> {
        picture(self.height(), |canvas| canvas.forest(self))
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.caption.iter();
        lines
            .flat_map(|line| wrap(line, WIDTH - 2 * MARGIN, CAPTION_SIZE))
            .collect()
    }

    fn top() -> i32 {
        MARGIN + TITLE_SIZE + 50
    }

    fn height(&self) -> i32 {
        let lines = count(self.lines().len());
        Self::top() + count(self.rows.len()) * ROW + 76 + lines * (CAPTION_SIZE + 5) + MARGIN
    }
}

impl<B: DrawingBackend> Canvas<B> {
    fn forest(&mut self, forest: &Forest) -> Drawn<B> {
        let white = paint((255, 255, 255), 1.0).filled();
        let whole = [(0, 0), (WIDTH, forest.height())];
        self.area.draw(&Rectangle::new(whole, white))?;
        let corner = (HPos::Left, VPos::Top);
        self.text(&forest.title, (MARGIN, MARGIN), TITLE_SIZE, INK, corner)?;
        let top = Forest::top();
        let bottom = top + count(forest.rows.len()) * ROW;
        let middle = |row: usize| top + count(row) * ROW + ROW / 2;
        for (row, (label, _)) in forest.rows.iter().enumerate() {
            let at = (LABELS - 8, middle(row));
            self.text(label, at, TEXT_SIZE - 2, INK, (HPos::Right, VPos::Center))?;
        }
        let columns = count(forest.columns.len().max(1));
        let width = (WIDTH - MARGIN - LABELS) / columns;
        for (column, title) in forest.columns.iter().enumerate() {
            let left = LABELS + count(column) * width + 14;
            let span = width - 40;
            let along = |value: f64| {
                left + pixel(forest.axis.position(value).clamp(0.0, 1.0) * f64::from(span))
            };
            let at = (left, top - 10);
            self.text(title, at, TEXT_SIZE, INK, (HPos::Left, VPos::Bottom))?;
            for (value, words) in &forest.axis.ticks {
                let x = along(*value);
                self.line((x, top), (x, bottom), PALE, 1)?;
                let at = (x, bottom + 8);
                self.text(words, at, TEXT_SIZE - 3, INK, (HPos::Center, VPos::Top))?;
            }
            self.line((along(0.0), top), (along(0.0), bottom), INK, 2)?;
            for (row, (_, cells)) in forest.rows.iter().enumerate() {
                let Some([low, mean, high]) = cells.get(column).copied().flatten() else {
                    continue;
                };
                // Blue where the whole interval is above, vermilion where it is below, black where it has both.
                let style = if low > 0.0 {
                    1
                } else if high < 0.0 {
                    2
                } else {
                    0
                };
                let y = middle(row);
                let ink = super::svg::colour(style);
                self.line((along(low), y), (along(high), y), ink, 2)?;
                self.marker((along(mean), y), style)?;
            }
        }
        let at = ((LABELS + WIDTH - MARGIN) / 2, bottom + 32);
        let words = &forest.axis.label;
        self.text(words, at, TEXT_SIZE, INK, (HPos::Center, VPos::Top))?;
        let mut top = bottom + 64;
        for line in forest.lines() {
            self.text(&line, (MARGIN, top), CAPTION_SIZE, INK, corner)?;
            top += CAPTION_SIZE + 5;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forest(cells: Vec<Option<[f64; 3]>>) -> Forest {
        Forest {
            title: "?".to_owned(),
            columns: vec!["one".to_owned(), "two".to_owned()],
            axis: Axis::covering("points", -0.2, 0.1),
            rows: vec![("arm".to_owned(), cells)],
            caption: vec!["Said.".to_owned()],
        }
    }

    #[test]
    fn signs_have_shapes_and_gaps_stay_empty() {
        let parts = |cells: &[Option<[f64; 3]>], part: &str| {
            forest(cells.to_vec()).svg().matches(part).count()
        };
        let empty = [None, None];
        let polygons =
            |cells: &[Option<[f64; 3]>]| parts(cells, "<polygon") - parts(&empty, "<polygon");
        let circles = |cells: &[Option<[f64; 3]>]| parts(cells, "<circle");
        let sure = [Some([0.01, 0.05, 0.09]), Some([-0.19, -0.1, -0.05])];
        assert_eq!((polygons(&sure), circles(&sure)), (2, 0));
        let unsure = [Some([-0.01, 0.05, 0.09]), None];
        assert_eq!((polygons(&unsure), circles(&unsure)), (0, 1));
        assert_eq!(circles(&empty), 0);
    }

    #[test]
    fn labels_columns_and_caption_are_on_the_page() {
        let svg = forest(vec![None, None]).svg();
        for words in ["arm", "one", "two", "points", "Said.", "-0.2"] {
            assert!(svg.contains(words), "{words}");
        }
        assert!(!forest(vec![]).png().is_empty());
    }
}

//! Speed against sequence length and density: tables and figures of a sweep.

use super::figure::{Axis, Figure, Panel, Point, Scale, Series};
use super::table::Table;
use crate::convert::usize_to_f64;

/// One point of a sweep: one backend, one arm, one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// What ran it: `native`, `vm`, `device`.
    pub backend: String,
    /// Which blocks are present, in words: `dense`, `random blocks`, `window`.
    pub arm: String,
    /// Share of blocks asked for.
    pub target: f64,
    /// Share of (query, key) pairs visible.
    pub density: f64,
    /// Queries, and keys.
    pub seqlen: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Median wall-clock time of a run in milliseconds.
    pub milliseconds: f64,
    /// Runs the median is of.
    pub runs: usize,
}

impl Timing {
    /// Effective 10^9 operations a second: two products of `2 * head_dim` operations for every visible pair. What a
    /// backend computes beyond the visible pairs does not count.
    pub fn gflops(&self) -> f64 {
        let length = usize_to_f64(self.seqlen);
        let pairs = length * length * self.density * usize_to_f64(self.heads);
        4.0 * usize_to_f64(self.head_dim) * pairs / (self.milliseconds * 1e6)
    }
}

/// Time of the dense run on the same backend at the same length over this time: 1.0 for dense.
fn speedup(timings: &[Timing], timing: &Timing) -> Option<f64> {
    timings
        .iter()
        .find(|other| {
            other.backend == timing.backend && other.seqlen == timing.seqlen && other.arm == "dense"
        })
        .map(|dense| dense.milliseconds / timing.milliseconds)
}

/// One row a timing.
pub fn table(timings: &[Timing]) -> Table {
    let mut table = Table::new([
        "backend", "arm", "target", "density", "seqlen", "heads", "head_dim", "ms", "GFLOP/s",
        "vs dense", "runs",
    ]);
    for timing in timings {
        table.push([
            timing.backend.clone(),
            timing.arm.clone(),
            format!("{:.4}", timing.target),
            format!("{:.4}", timing.density),
            timing.seqlen.to_string(),
            timing.heads.to_string(),
            timing.head_dim.to_string(),
            significant(timing.milliseconds),
            significant(timing.gflops()),
            speedup(timings, timing).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            timing.runs.to_string(),
        ]);
    }
    table
}

/// Time and rate against length, and speed against density at the greatest length.
pub fn figure(timings: &[Timing], backend: &str, caption: Vec<String>) -> Figure {
    let own: Vec<&Timing> = timings
        .iter()
        .filter(|timing| timing.backend == backend)
        .collect();
    let mut lengths: Vec<usize> = own.iter().map(|timing| timing.seqlen).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let marks: Vec<(f64, String)> = lengths
        .iter()
        .map(|&length| (usize_to_f64(length), length.to_string()))
        .collect();
    let x = || Axis::at("seqlen", Scale::Logarithmic, &marks);
    let lines = lines(&own);
    let series = |value: fn(&Timing) -> f64| -> Vec<Series> {
        lines
            .iter()
            .enumerate()
            .map(|(style, (name, points))| Series {
                name: name.clone(),
                style,
                points: points
                    .iter()
                    .map(|timing| Point {
                        x: usize_to_f64(timing.seqlen),
                        y: value(timing),
                        band: None,
                    })
                    .collect(),
            })
            .collect()
    };
    let bounds = own
        .iter()
        .fold((f64::INFINITY, 0.0), |(low, high), timing| {
            (
                f64::min(low, timing.milliseconds),
                f64::max(high, timing.milliseconds),
            )
        });
    let fastest = own.iter().map(|timing| timing.gflops()).fold(0.0, f64::max);
    Figure {
        title: format!(
            "How fast is attention on the {backend} backend, and what does sparsity save?"
        ),
        panels: vec![
            Panel {
                title: "time of a run".to_owned(),
                x: x(),
                y: Axis::decades("milliseconds", bounds.0.min(bounds.1), bounds.1),
                series: series(|timing| timing.milliseconds),
                reference: None,
            },
            Panel {
                title: "effective rate (visible pairs only)".to_owned(),
                x: x(),
                y: Axis::from_zero("GFLOP/s", fastest),
                series: series(Timing::gflops),
                reference: None,
            },
            density_panel(timings, &own, lengths.last().copied().unwrap_or(0)),
        ],
        columns: 3,
        caption,
        watermark: None,
    }
}

/// First style of the density panel, beyond those of the lines against length.
const DENSITY_STYLES: usize = 4;

/// Dense and random blocks at each target, by length; other arms are in the density panel.
fn lines<'a>(own: &[&'a Timing]) -> Vec<(String, Vec<&'a Timing>)> {
    let mut lines: Vec<(String, Vec<&Timing>)> = Vec::new();
    for timing in own
        .iter()
        .filter(|timing| ["dense", "random blocks"].contains(&timing.arm.as_str()))
    {
        let name = if timing.arm == "dense" {
            "dense".to_owned()
        } else {
            format!("{}, {:.3} of blocks", timing.arm, timing.target)
        };
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, points)) => points.push(timing),
            None => lines.push((name, vec![timing])),
        }
    }
    for (_, points) in &mut lines {
        points.sort_by_key(|timing| timing.seqlen);
    }
    lines
}

/// Speed over dense against the realised density, one line an arm, beside what skipping alone would give.
fn density_panel(timings: &[Timing], own: &[&Timing], length: usize) -> Panel {
    let at_length = || {
        own.iter()
            .filter(|timing| timing.seqlen == length && timing.density > 0.0)
    };
    let mut arms: Vec<&str> = at_length().map(|timing| timing.arm.as_str()).collect();
    arms.sort_unstable();
    arms.dedup();
    let mut targets: Vec<f64> = at_length().map(|timing| timing.target).collect();
    targets.sort_by(f64::total_cmp);
    targets.dedup();
    let sorted = |mut points: Vec<Point>| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        points
    };
    let mut series = vec![Series {
        name: "1 / density: skipping alone".to_owned(),
        style: 7,
        points: targets
            .iter()
            .map(|&target| Point {
                x: target,
                y: 1.0 / target,
                band: None,
            })
            .collect(),
    }];
    for (index, arm) in arms.into_iter().filter(|arm| *arm != "dense").enumerate() {
        let points = at_length()
            .filter(|timing| timing.arm == arm || timing.arm == "dense")
            .filter_map(|timing| {
                Some(Point {
                    x: timing.density,
                    y: speedup(timings, timing)?,
                    band: None,
                })
            })
            .collect();
        series.push(Series {
            name: format!("{arm} over dense"),
            style: DENSITY_STYLES + index,
            points: sorted(points),
        });
    }
    let high = series
        .iter()
        .flat_map(|series| &series.points)
        .map(|point| point.y)
        .fold(1.0, f64::max);
    let marks: Vec<(f64, String)> = targets
        .iter()
        .map(|&target| (target, target.to_string()))
        .collect();
    Panel {
        title: format!("speed over dense at seqlen {length}"),
        x: Axis::at("density (visible pairs)", Scale::Logarithmic, &marks),
        y: Axis::from_zero("dense = 1.0", high),
        series,
        reference: Some(1.0),
    }
}

/// Three significant digits.
fn significant(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else if value >= 1.0 {
        2
    } else {
        4
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(arm: &str, density: f64, milliseconds: f64) -> Timing {
        Timing {
            backend: "native".to_owned(),
            arm: arm.to_owned(),
            target: density,
            density,
            seqlen: 1000,
            heads: 2,
            head_dim: 32,
            milliseconds,
            runs: 5,
        }
    }

    #[test]
    fn the_rate_counts_visible_pairs_alone() {
        // 4 * 32 operations for each of 2 * 1000 * 1000 pairs in 1 ms: 256 GFLOP/s.
        assert!((timing("dense", 1.0, 1.0).gflops() - 256.0).abs() < 1e-9);
        assert!((timing("random", 0.25, 1.0).gflops() - 64.0).abs() < 1e-9);
    }

    #[test]
    fn dense_is_one_and_others_are_relative_to_it() {
        let timings = [
            timing("dense", 1.0, 8.0),
            timing("random blocks", 0.25, 2.0),
        ];
        let text = table(&timings).csv();
        let last: Vec<&str> = text
            .lines()
            .map(|line| line.split(',').nth(9).unwrap())
            .collect();
        assert_eq!(last, ["vs dense", "1.00", "4.00"]);
    }

    #[test]
    fn a_sweep_of_nothing_still_draws() {
        let figure = figure(&[], "native", Vec::new());
        assert_eq!(figure.panels.len(), 3);
        assert!(super::super::svg::draw(&figure).contains("</svg>"));
    }
}

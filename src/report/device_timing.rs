//! Times on a card: the document a run leaves, and tables and figures of it.

use super::figure::{Axis, Figure, Panel, Point, Scale, Series};
use super::table::Table;
use crate::convert::usize_to_f64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a measurement attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pattern {
    /// Everything.
    Dense,
    /// Random blocks, the same for every head: `inputs::is_present`.
    Blocks {
        /// Queries of a block.
        block_q: usize,
        /// Keys of a block.
        block_kv: usize,
        /// Blocks present in a thousand.
        permille: u64,
    },
    /// The last `left` keys before the diagonal, and the diagonal.
    Window {
        /// Keys before the diagonal.
        left: usize,
    },
    /// Block-sparse FlashAttention, which keeps about so many tiles in a thousand.
    Kept {
        /// Tiles kept in a thousand.
        permille: u64,
    },
}

/// One problem to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// bf16, or f16.
    pub bf16: bool,
    /// Channels of a head.
    pub head_dim: usize,
    /// Sequences.
    pub batch: usize,
    /// Query heads, and key heads.
    pub heads: usize,
    /// Queries, and keys.
    pub seqlen: usize,
    /// Keys after the diagonal are hidden.
    pub causal: bool,
    /// What is attended.
    pub pattern: Pattern,
}

/// One time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// What was computed.
    pub measurement: Measurement,
    /// Who computed it: a kernel of ours by its name, `torch sdpa cudnn`, `flex_attention`, ...
    pub by: String,
    /// Visible pairs of all heads and sequences.
    pub visible_pairs: f64,
    /// Median milliseconds; `None` where it did not run, and `note` says why.
    pub milliseconds: Option<f64>,
    /// Shortest and longest.
    pub range: Option<[f64; 2]>,
    /// Runs the median is of.
    pub runs: usize,
    /// What the check before the timing said: `agree`, or a distance from our result for others.
    pub check: String,
    /// Anything a reader must know.
    pub note: String,
}

/// The card's own rate of a large product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// bf16, or f16.
    pub bf16: bool,
    /// 10^12 operations a second.
    pub tflops: f64,
    /// What was multiplied, and by what.
    pub how: String,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// 1.
    pub version: u32,
    /// Made up for a test: never evidence.
    #[serde(default)]
    pub is_fixture: bool,
    /// Day, UTC.
    pub date: String,
    /// Commit.
    pub commit: String,
    /// Card, driver, clocks, as its tools said them.
    pub machine: Vec<String>,
    /// Rates of large products.
    pub ceilings: Vec<Ceiling>,
    /// Times.
    pub timed: Vec<Timed>,
    /// Results of the card's checks, each its own document.
    pub checks: Vec<Value>,
}

impl Measurement {
    /// `bf16` or `f16`.
    pub fn dtype(&self) -> &'static str {
        if self.bf16 { "bf16" } else { "f16" }
    }

    /// In words, without what ran it.
    pub fn name(&self) -> String {
        let pattern = match self.pattern {
            Pattern::Dense => "dense".to_owned(),
            Pattern::Blocks {
                block_q,
                block_kv,
                permille,
            } => format!("blocks {block_q}x{block_kv} at {permille}/1000"),
            Pattern::Window { left } => format!("window {left}"),
            Pattern::Kept { permille } => format!("bsfa at {permille}/1000"),
        };
        format!(
            "{} d{} {}x{}x{}{} {pattern}",
            self.dtype(),
            self.head_dim,
            self.batch,
            self.heads,
            self.seqlen,
            if self.causal { " causal" } else { "" },
        )
    }

    fn is_dense(&self) -> bool {
        self.pattern == Pattern::Dense
    }
}

impl Timed {
    /// Effective 10^12 operations a second: `4 * head_dim` for each visible pair.
    pub fn tflops(&self) -> Option<f64> {
        let operations = 4.0 * usize_to_f64(self.measurement.head_dim) * self.visible_pairs;
        self.milliseconds.map(|ms| operations / (ms * 1e9))
    }

    /// Whether it is a kernel of ours.
    pub fn is_ours(&self) -> bool {
        crate::kernel::by_name(&self.by).is_ok()
    }
}

impl Run {
    /// Reads a run's JSON.
    ///
    /// # Errors
    /// The place and what is wrong there.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let run: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if run.version != 1 {
            return Err(format!(
                "version = {}, but this program reads version 1",
                run.version
            ));
        }
        Ok(run)
    }

    fn ceiling(&self, bf16: bool) -> Option<f64> {
        let rates = self.ceilings.iter().filter(|ceiling| ceiling.bf16 == bf16);
        rates.map(|ceiling| ceiling.tflops).reduce(f64::max)
    }

    /// Best rate of the others on the same measurement.
    fn best_peer(&self, of: &Measurement) -> Option<f64> {
        self.timed
            .iter()
            .filter(|timed| timed.measurement == *of && !timed.is_ours())
            .filter_map(Timed::tflops)
            .reduce(f64::max)
    }

    /// Our own best dense rate of the same format, channels and causality, at the same length.
    fn own_dense(&self, of: &Measurement) -> Option<f64> {
        let dense = Measurement {
            pattern: Pattern::Dense,
            ..*of
        };
        self.timed
            .iter()
            .filter(|timed| timed.measurement == dense && timed.is_ours())
            .filter_map(Timed::tflops)
            .reduce(f64::max)
    }

    /// One row a time, the ratios that matter beside it; all of one run.
    pub fn table(&self) -> Table {
        let mut table = Table::new([
            "measurement",
            "by",
            "ms",
            "min",
            "max",
            "runs",
            "TFLOP/s",
            "of GEMM",
            "of best peer",
            "of own dense",
            "check",
            "note",
        ]);
        for timed in &self.timed {
            let of = &timed.measurement;
            let rate = timed.tflops();
            let over = |other: Option<f64>| match (rate, other) {
                (Some(rate), Some(other)) if other > 0.0 => format!("{:.3}", rate / other),
                (_, _) => "-".to_owned(),
            };
            let number = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.4}"));
            table.push([
                of.name(),
                timed.by.clone(),
                number(timed.milliseconds),
                number(timed.range.map(|range| range[0])),
                number(timed.range.map(|range| range[1])),
                timed.runs.to_string(),
                rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
                over(self.ceiling(of.bf16)),
                if timed.is_ours() {
                    over(self.best_peer(of))
                } else {
                    "-".to_owned()
                },
                if timed.is_ours() {
                    over(self.own_dense(of))
                } else {
                    "-".to_owned()
                },
                timed.check.clone(),
                timed.note.clone(),
            ]);
        }
        table
    }

    /// The figures with the names of their files.
    pub fn figures(&self) -> Vec<(&'static str, Figure)> {
        vec![
            ("dense", self.against_length()),
            ("density", self.against_density()),
            ("window", self.against_window()),
        ]
    }

    fn figure(&self, title: &str, panels: Vec<Panel>) -> Figure {
        let mut caption = self.machine.clone();
        caption.push(format!(
            "{}, commit {}. Median time by CUDA events, L2 cache flushed before each run; rates count visible pairs alone.",
            self.date, self.commit
        ));
        Figure {
            title: title.to_owned(),
            panels,
            columns: 2,
            caption,
            watermark: self.is_fixture.then(|| "TEST FIXTURE".to_owned()),
        }
    }

    fn against_length(&self) -> Figure {
        let panels = self.panels(
            |of| of.is_dense().then_some(usize_to_f64(of.seqlen)),
            |of| format!("{} d{}{}", of.dtype(), of.head_dim, causal(of)),
            "seqlen",
            &|run, timed| {
                let _ = run;
                timed.tflops()
            },
            "TFLOP/s",
        );
        self.figure(
            "Dense attention: how much of the card's own rate is reached?",
            panels,
        )
    }

    fn against_density(&self) -> Figure {
        let panels = self.panels(
            |of| match of.pattern {
                Pattern::Blocks {
                    block_q: 128,
                    block_kv: 64,
                    permille,
                } if of.seqlen == 16_384 => {
                    Some(usize_to_f64(usize::try_from(permille).ok()?) / 1000.0)
                }
                Pattern::Kept { permille } => {
                    Some(usize_to_f64(usize::try_from(permille).ok()?) / 1000.0)
                }
                Pattern::Dense | Pattern::Blocks { .. } | Pattern::Window { .. } => None,
            },
            |of| format!("{} d{}{}", of.dtype(), of.head_dim, causal(of)),
            "share of blocks, or of tiles kept",
            &Self::speed_over_dense,
            "speed, own dense = 1",
        );
        self.figure("What does block sparsity save?", panels)
    }

    fn against_window(&self) -> Figure {
        let panels = self.panels(
            |of| match of.pattern {
                Pattern::Window { left } => Some(usize_to_f64(left)),
                Pattern::Dense | Pattern::Blocks { .. } | Pattern::Kept { .. } => None,
            },
            |of| {
                let dtype = of.dtype();
                format!("{dtype} d{}, seqlen {}", of.head_dim, of.seqlen)
            },
            "keys before the diagonal",
            &Self::speed_over_dense,
            "speed, own dense = 1",
        );
        self.figure("What does a window save?", panels)
    }

    /// Own dense time over this time.
    fn speed_over_dense(&self, timed: &Timed) -> Option<f64> {
        let of = Measurement {
            pattern: Pattern::Dense,
            ..timed.measurement
        };
        let dense = self
            .timed
            .iter()
            .filter(|other| other.measurement == of && other.is_ours())
            .filter_map(|other| other.milliseconds)
            .reduce(f64::min)?;
        timed.milliseconds.map(|ms| dense / ms)
    }

    /// A panel for each group, a line for each who.
    fn panels(
        &self,
        x: impl Fn(&Measurement) -> Option<f64>,
        group: impl Fn(&Measurement) -> String,
        label: &str,
        y: &dyn Fn(&Self, &Timed) -> Option<f64>,
        unit: &str,
    ) -> Vec<Panel> {
        let mut who: Vec<&str> = self.timed.iter().map(|timed| timed.by.as_str()).collect();
        who.sort_by_key(|by| (crate::kernel::by_name(by).is_err(), *by));
        who.dedup();
        let mut groups: Vec<String> = Vec::new();
        for timed in &self.timed {
            let name = group(&timed.measurement);
            if x(&timed.measurement).is_some() && !groups.contains(&name) {
                groups.push(name);
            }
        }
        groups
            .into_iter()
            .map(|name| {
                let members: Vec<&Timed> = self
                    .timed
                    .iter()
                    .filter(|timed| {
                        x(&timed.measurement).is_some() && group(&timed.measurement) == name
                    })
                    .collect();
                let mut marks: Vec<f64> = members
                    .iter()
                    .filter_map(|timed| x(&timed.measurement))
                    .collect();
                marks.sort_by(f64::total_cmp);
                marks.dedup();
                let marks: Vec<(f64, String)> = marks
                    .into_iter()
                    .map(|mark| (mark, mark.to_string()))
                    .collect();
                let series: Vec<Series> = who
                    .iter()
                    .enumerate()
                    .map(|(style, by)| {
                        let mut points: Vec<Point> = members
                            .iter()
                            .filter(|timed| timed.by == **by)
                            .filter_map(|timed| {
                                Some(Point {
                                    x: x(&timed.measurement)?,
                                    y: y(self, timed)?,
                                    band: None,
                                })
                            })
                            .collect();
                        points.sort_by(|a, b| a.x.total_cmp(&b.x));
                        Series {
                            name: (*by).to_owned(),
                            style,
                            points,
                        }
                    })
                    .filter(|series| !series.points.is_empty())
                    .collect();
                let high = series
                    .iter()
                    .flat_map(|series| &series.points)
                    .map(|point| point.y)
                    .fold(0.0, f64::max);
                let reference = if unit == "TFLOP/s" {
                    members
                        .first()
                        .and_then(|timed| self.ceiling(timed.measurement.bf16))
                } else {
                    Some(1.0)
                };
                Panel {
                    title: name,
                    x: Axis::at(label, Scale::Logarithmic, &marks),
                    y: Axis::from_zero(unit, high.max(reference.unwrap_or(0.0))),
                    series,
                    reference,
                }
            })
            .collect()
    }
}

fn causal(of: &Measurement) -> &'static str {
    if of.causal { ", causal" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(by: &str, pattern: Pattern, milliseconds: Option<f64>) -> Timed {
        Timed {
            measurement: Measurement {
                bf16: true,
                head_dim: 128,
                batch: 1,
                heads: 16,
                seqlen: 16_384,
                causal: false,
                pattern,
            },
            by: by.to_owned(),
            visible_pairs: 1e9,
            milliseconds,
            range: milliseconds.map(|ms| [ms, 2.0 * ms]),
            runs: 9,
            check: "agree".to_owned(),
            note: String::new(),
        }
    }

    /// Made-up numbers.
    fn fixture() -> Run {
        let blocks = Pattern::Blocks {
            block_q: 128,
            block_kv: 64,
            permille: 500,
        };
        Run {
            version: 1,
            is_fixture: true,
            date: "2000-01-01".to_owned(),
            commit: "0000000".to_owned(),
            machine: vec!["no card: made-up numbers".to_owned()],
            ceilings: vec![Ceiling {
                bf16: true,
                tflops: 800.0,
                how: "made up".to_owned(),
            }],
            timed: vec![
                timed("block_sparse_sm80", Pattern::Dense, Some(1.28)),
                timed("block_sparse_sm80", blocks, Some(0.8)),
                timed("torch sdpa cudnn", Pattern::Dense, Some(0.8)),
                timed("flex_attention", blocks, None),
                timed("window_sm80", Pattern::Window { left: 256 }, Some(0.1)),
                timed("bsfa_sm80", Pattern::Kept { permille: 250 }, Some(0.5)),
            ],
            checks: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_of_the_same_run() {
        let text = fixture().table().csv();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        // 4 * 128 * 1e9 operations in 1.28 ms: 400 TFLOP/s.
        assert_eq!(rows[1][6..10], ["400.0", "0.500", "0.625", "1.000"]);
        assert_eq!(rows[2][6..10], ["640.0", "0.800", "-", "1.600"]);
        assert_eq!(rows[3][6..10], ["640.0", "0.800", "-", "-"]);
        assert_eq!(rows[4][2..7], ["-", "-", "-", "9", "-"]);
    }

    #[test]
    fn a_run_is_its_json() {
        let text = serde_json::to_string(&fixture()).unwrap();
        assert_eq!(Run::from_json(&text).unwrap(), fixture());
        let later = text.replace("\"version\":1", "\"version\":2");
        assert_eq!(
            Run::from_json(&later).unwrap_err(),
            "version = 2, but this program reads version 1"
        );
        assert!(Run::from_json("{}").is_err());
    }

    #[test]
    fn figures_say_that_a_fixture_is_one() {
        for (name, figure) in fixture().figures() {
            assert_eq!(figure.watermark.as_deref(), Some("TEST FIXTURE"));
            assert!(!figure.panels.is_empty(), "{name}");
            assert!(super::super::svg::draw(&figure).contains("TEST FIXTURE"));
        }
        let (_, density) = fixture().figures().remove(1);
        let speeds: Vec<f64> = density.panels[0]
            .series
            .iter()
            .flat_map(|series| series.points.iter().map(|point| point.y))
            .collect();
        assert!((speeds[0] - 1.6).abs() < 1e-12 && (speeds[1] - 2.56).abs() < 1e-12);
    }
}

//! A figure as data: panels of lines with bands, before anybody draws it.

use crate::convert::usize_to_f64;

/// A page of panels with one legend, a title that states the question, and a caption that states the sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The question that the figure answers.
    pub title: String,
    /// Panels, row by row.
    pub panels: Vec<Panel>,
    /// Panels side by side, at least 1.
    pub columns: usize,
    /// Sentences under the panels.
    pub caption: Vec<String>,
    /// Large pale words across every panel of a figure that proves nothing.
    pub watermark: Option<String>,
}

/// One pair of axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What this panel shows.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Lines, drawn in order.
    pub series: Vec<Series>,
    /// Height of a horizontal line to compare with (no difference; as fast as dense).
    pub reference: Option<f64>,
}

/// How values become positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Proportional to the value.
    Linear,
    /// Proportional to the logarithm; values must be positive.
    Logarithmic,
}

/// One axis with its marks.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Quantity and unit.
    pub label: String,
    /// How values become positions.
    pub scale: Scale,
    /// Value at the left or the bottom.
    pub low: f64,
    /// Value at the right or the top.
    pub high: f64,
    /// Marked values and their words, ascending.
    pub ticks: Vec<(f64, String)>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend; lines of one name share their style in every panel.
    pub name: String,
    /// Index of colour and marker; 0 is black.
    pub style: usize,
    /// Points, ascending in `x`.
    pub points: Vec<Point>,
}

/// One value with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Position.
    pub x: f64,
    /// Value.
    pub y: f64,
    /// Ends of the 95 % band.
    pub band: Option<(f64, f64)>,
}

impl Axis {
    /// From 0 to the round number at or above `high`, with about five marks.
    pub fn from_zero(label: impl Into<String>, high: f64) -> Self {
        Self::covering(label, 0.0, high)
    }

    /// Round numbers around `low..=high`, with about five marks.
    pub fn covering(label: impl Into<String>, low: f64, high: f64) -> Self {
        let (low, high) = if low.is_finite() && high.is_finite() && low < high {
            (low, high)
        } else {
            (0.0, 1.0)
        };
        let step = round_step((high - low) / 5.0);
        let first = (low / step).floor();
        let last = (high / step).ceil();
        let mut ticks = Vec::new();
        let mut index = first;
        while index <= last {
            ticks.push((index * step, decimal(index * step, step)));
            index += 1.0;
        }
        Self {
            label: label.into(),
            scale: Scale::Linear,
            low: first * step,
            high: last * step,
            ticks,
        }
    }

    /// Marks exactly at `values` (ascending); with `Linear`, half a mark's distance of air at both ends.
    pub fn at(label: impl Into<String>, scale: Scale, values: &[(f64, String)]) -> Self {
        let first = values.first().map_or(1.0, |value| value.0);
        let last = values.last().map_or(2.0, |value| value.0);
        let (low, high) = match scale {
            Scale::Linear => {
                let air = if last > first {
                    (last - first) / usize_to_f64(2 * values.len())
                } else {
                    0.5
                };
                (first - air, last + air)
            }
            Scale::Logarithmic => (first / 1.25, last * 1.25),
        };
        Self {
            label: label.into(),
            scale,
            low,
            high,
            ticks: values.to_vec(),
        }
    }

    /// Powers of ten around `low..=high`, both positive.
    pub fn decades(label: impl Into<String>, low: f64, high: f64) -> Self {
        let (low, high) = if low > 0.0 && high.is_finite() && low <= high {
            (low, high)
        } else {
            (1.0, 10.0)
        };
        let first = low.log10().floor();
        let last = high.log10().ceil().max(first + 1.0);
        let mut ticks = Vec::new();
        let mut exponent = first;
        while exponent <= last {
            let value = 10_f64.powf(exponent);
            ticks.push((value, decimal(value, value)));
            exponent += 1.0;
        }
        Self {
            label: label.into(),
            scale: Scale::Logarithmic,
            low: 10_f64.powf(first),
            high: 10_f64.powf(last),
            ticks,
        }
    }

    /// Where `value` lies: 0 at `low`, 1 at `high`.
    pub fn position(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        }
    }
}

/// 1, 2 or 5 times a power of ten, at or above `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&candidate| candidate >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// `value` with the decimals that `step` needs; a negative zero is zero.
fn decimal(value: f64, step: f64) -> String {
    let decimals = (0..9)
        .find(|&count| {
            let scaled = step * 10_f64.powi(count);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        })
        .map_or(9, |count| usize::try_from(count).unwrap_or(0));
    format!("{:.decimals$}", value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let unit = Axis::from_zero("nDCG@10", 0.83);
        assert_eq!(words(&unit), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        let signed = Axis::covering("difference", -0.07, 0.021);
        assert_eq!(
            words(&signed),
            ["-0.08", "-0.06", "-0.04", "-0.02", "0.00", "0.02", "0.04"]
        );
        let decades = Axis::decades("ms", 0.3, 42.0);
        assert_eq!(words(&decades), ["0.1", "1", "10", "100"]);
    }

    #[test]
    fn positions_run_from_low_to_high() {
        let values = [(128.0, "128".to_owned()), (512.0, "512".to_owned())];
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let axis = Axis::at("seqlen", scale, &values);
            assert!(axis.position(axis.low).abs() < 1e-12);
            assert!((axis.position(axis.high) - 1.0).abs() < 1e-12);
            assert!(axis.position(128.0) < axis.position(512.0));
        }
    }

    #[test]
    fn an_axis_of_nothing_is_still_an_axis() {
        assert_eq!(words(&Axis::covering("", f64::NAN, 1.0)).len(), 6);
        assert_eq!(words(&Axis::covering("", 0.3, 0.3)).len(), 6);
    }
}

//! Bitext mining by margins: which sentences of two languages are translations of each other.
//!
//! With `a = cos(x, y)` and `b` half of (mean cosine of x to its k nearest in Y, plus mean cosine of y to its k nearest in
//! X), the margin of (x, y) is `a / b` (ratio), `a - b` (distance) or `a` (absolute). Forward takes for every x the best
//! of its k nearest, backward for every y; intersect keeps the pairs that both chose; max goes through the pairs of both
//! by descending margin and takes each whose two sentences are still free. (Artetxe and Schwenk 2019; LASER's
//! `mine_bitexts.py`, whose order of loops this follows.)

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::rank::{RetrievalError, check, dot};
use crate::convert::usize_to_f64;

/// How a cosine is judged against those of the neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Margin {
    /// `a`.
    Absolute,
    /// `a - b`.
    Distance,
    /// `a / b`.
    #[default]
    Ratio,
}

/// Which pairs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The best y of every x.
    Forward,
    /// The best x of every y.
    Backward,
    /// What both choose.
    Intersect,
    /// The best of both, each sentence once.
    #[default]
    Max,
}

/// A pair of sentences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mined {
    /// Its margin.
    pub score: f64,
    /// Place among the x.
    pub x: usize,
    /// Place among the y.
    pub y: usize,
}

/// Text that names no margin or direction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{text}'; known are {known}")]
pub struct UnknownChoice {
    what: &'static str,
    text: String,
    known: &'static str,
}

impl Margin {
    fn of(self, cosine: f64, neighbourhood: f64) -> f64 {
        match self {
            Self::Absolute => cosine,
            Self::Distance => cosine - neighbourhood,
            Self::Ratio => cosine / neighbourhood,
        }
    }
}

impl FromStr for Margin {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "absolute" => Ok(Self::Absolute),
            "distance" => Ok(Self::Distance),
            "ratio" => Ok(Self::Ratio),
            // Any other text names none.
            _ => Err(UnknownChoice {
                what: "margin",
                text: text.to_owned(),
                known: "absolute, distance and ratio",
            }),
        }
    }
}

impl FromStr for Direction {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "forward" => Ok(Self::Forward),
            "backward" => Ok(Self::Backward),
            "intersect" => Ok(Self::Intersect),
            "max" => Ok(Self::Max),
            // Any other text names none.
            _ => Err(UnknownChoice {
                what: "direction",
                text: text.to_owned(),
                known: "forward, backward, intersect and max",
            }),
        }
    }
}

impl fmt::Display for Margin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absolute => "absolute",
            Self::Distance => "distance",
            Self::Ratio => "ratio",
        })
    }
}

/// The k nearest of one side: (place, cosine), nearest first, equal ones in their order.
type Nearest = Vec<Vec<(usize, f64)>>;

/// Both sides' neighbours, from which every margin and direction is mined.
#[derive(Clone, Debug)]
pub struct Neighbours {
    of_x: Nearest,
    of_y: Nearest,
}

impl Neighbours {
    /// The `k` nearest of every vector of length 1 on the other side.
    ///
    /// # Errors
    /// [`RetrievalError`] for vectors that are uneven, not normalised or NaN.
    pub fn new(x: &[Vec<f32>], y: &[Vec<f32>], k: usize) -> Result<Self, RetrievalError> {
        let width = x.first().or(y.first()).map_or(0, Vec::len);
        for (what, vectors) in [("source", x), ("target", y)] {
            for (index, vector) in vectors.iter().enumerate() {
                check(what, index, vector, width)?;
            }
        }
        let nearest = |from: &[Vec<f32>], to: &[Vec<f32>]| -> Nearest {
            let of_one = |vector: &Vec<f32>| {
                let all = to.iter().map(|other| dot(vector, other)).enumerate();
                let mut all: Vec<(usize, f64)> = all.collect();
                all.sort_by(|a, b| b.1.total_cmp(&a.1));
                all.truncate(k);
                all
            };
            from.iter().map(of_one).collect()
        };
        Ok(Self {
            of_x: nearest(x, y),
            of_y: nearest(y, x),
        })
    }

    /// The pairs, by descending margin; forward by x and backward by y.
    #[must_use]
    pub fn mine(&self, margin: Margin, direction: Direction) -> Vec<Mined> {
        let mean = |nearest: &[(usize, f64)]| {
            let sum: f64 = nearest.iter().map(|(_, cosine)| cosine).sum();
            sum / usize_to_f64(nearest.len().max(1))
        };
        let means_x: Vec<f64> = self.of_x.iter().map(|nearest| mean(nearest)).collect();
        let means_y: Vec<f64> = self.of_y.iter().map(|nearest| mean(nearest)).collect();
        let score = |x: usize, y: usize, cosine: f64| {
            margin.of(cosine, f64::midpoint(means_x[x], means_y[y]))
        };
        let best = |mined: Vec<Mined>| {
            // The first of equal ones, as argmax takes it.
            mined.into_iter().reduce(
                |best, next| {
                    if next.score > best.score { next } else { best }
                },
            )
        };
        let of_x = |(x, nearest): (usize, &Vec<(usize, f64)>)| {
            let scored = nearest.iter().map(|&(y, cosine)| Mined {
                score: score(x, y, cosine),
                x,
                y,
            });
            best(scored.collect())
        };
        let of_y = |(y, nearest): (usize, &Vec<(usize, f64)>)| {
            let scored = nearest.iter().map(|&(x, cosine)| Mined {
                score: score(x, y, cosine),
                x,
                y,
            });
            best(scored.collect())
        };
        let forward: Vec<Mined> = self.of_x.iter().enumerate().filter_map(of_x).collect();
        let backward: Vec<Mined> = self.of_y.iter().enumerate().filter_map(of_y).collect();
        let descending = |mut mined: Vec<Mined>| {
            mined.sort_by(|a, b| {
                b.score
                    .total_cmp(&a.score)
                    .then((a.x, a.y).cmp(&(b.x, b.y)))
            });
            mined
        };
        match direction {
            Direction::Forward => forward,
            Direction::Backward => backward,
            Direction::Intersect => {
                let chosen: BTreeSet<(usize, usize)> =
                    backward.iter().map(|mined| (mined.x, mined.y)).collect();
                let both = forward.into_iter();
                descending(
                    both.filter(|mined| chosen.contains(&(mined.x, mined.y)))
                        .collect(),
                )
            }
            Direction::Max => {
                let (mut used_x, mut used_y) = (BTreeSet::new(), BTreeSet::new());
                let mut all = descending([forward, backward].concat());
                all.retain(|mined| {
                    let is_free = !used_x.contains(&mined.x) && !used_y.contains(&mined.y);
                    if is_free {
                        used_x.insert(mined.x);
                        used_y.insert(mined.y);
                    }
                    is_free
                });
                all
            }
        }
    }
}

/// xsim's error rate: share of the x whose chosen y is not the one at their own place.
#[must_use]
pub fn error_rate(forward: &[Mined], count: usize) -> f64 {
    let right = forward.iter().filter(|mined| mined.x == mined.y).count();
    1.0 - usize_to_f64(right) / usize_to_f64(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit vectors in the plane, by cosine and sine.
    fn vectors(all: &[(f32, f32)]) -> Vec<Vec<f32>> {
        all.iter().map(|&(c, s)| vec![c, s]).collect()
    }

    /// x0 = (1, 0), x1 = (0, 1); y0 = (0.8, 0.6), y1 = (0.6, 0.8), y2 = (0, 1).
    /// Cosines: x0: .8 .6 0; x1: .6 .8 1. Two nearest: x0 {y0 .8, y1 .6}, x1 {y2 1, y1 .8};
    /// y0 {x0 .8, x1 .6}, y1 {x1 .8, x0 .6}, y2 {x1 1, x0 0}. Means: x .7 .9; y .7 .7 .5.
    fn hand() -> Neighbours {
        let x = vectors(&[(1.0, 0.0), (0.0, 1.0)]);
        let y = vectors(&[(0.8, 0.6), (0.6, 0.8), (0.0, 1.0)]);
        Neighbours::new(&x, &y, 2).unwrap()
    }

    #[track_caller]
    fn check_mined(margin: Margin, direction: Direction, want: &[(f64, usize, usize)]) {
        let found = hand().mine(margin, direction);
        assert_eq!(found.len(), want.len(), "{found:?}");
        for (found, &(score, x, y)) in found.iter().zip(want) {
            assert_eq!((found.x, found.y), (x, y), "{found:?}");
            assert!((found.score - score).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn margins_are_those_by_hand() {
        use Direction::{Backward, Forward, Intersect, Max};
        // Ratio: (x0, y0) .8/.7, (x0, y1) .6/.7; (x1, y2) 1/.7, (x1, y1) .8/.8; (x1, y0) .6/.8.
        check_mined(
            Margin::Ratio,
            Forward,
            &[(0.8 / 0.7, 0, 0), (1.0 / 0.7, 1, 2)],
        );
        check_mined(
            Margin::Ratio,
            Backward,
            &[(0.8 / 0.7, 0, 0), (1.0, 1, 1), (1.0 / 0.7, 1, 2)],
        );
        check_mined(
            Margin::Ratio,
            Intersect,
            &[(1.0 / 0.7, 1, 2), (0.8 / 0.7, 0, 0)],
        );
        check_mined(Margin::Ratio, Max, &[(1.0 / 0.7, 1, 2), (0.8 / 0.7, 0, 0)]);
        // Distance: .1, -.1; .3, 0; -.2.
        check_mined(Margin::Distance, Forward, &[(0.1, 0, 0), (0.3, 1, 2)]);
        check_mined(
            Margin::Distance,
            Backward,
            &[(0.1, 0, 0), (0.0, 1, 1), (0.3, 1, 2)],
        );
        check_mined(Margin::Absolute, Max, &[(1.0, 1, 2), (0.8, 0, 0)]);
    }

    #[test]
    fn a_hub_is_everyones_nearest_and_the_ratio_undoes_it() {
        // y0 lies between both x; each x has its own translation a little further off, on its far side.
        let at = |degrees: f32| (degrees.to_radians().cos(), degrees.to_radians().sin());
        let x = vectors(&[at(0.0), at(20.0)]);
        let y = vectors(&[at(10.0), at(-11.0), at(31.0)]);
        let neighbours = Neighbours::new(&x, &y, 2).unwrap();
        let chosen = |margin| -> Vec<usize> {
            let mined = neighbours.mine(margin, Direction::Forward);
            mined.iter().map(|mined| mined.y).collect()
        };
        assert_eq!(chosen(Margin::Absolute), [0, 0]);
        assert_eq!(chosen(Margin::Ratio), [1, 2]);
        let mined = neighbours.mine(Margin::Absolute, Direction::Forward);
        assert!((error_rate(&mined, 2) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn vectors_and_words_are_checked() {
        let wrong = Neighbours::new(&[vec![1.0, 0.0]], &[vec![1.0, 1.0]], 4).unwrap_err();
        assert!(
            wrong
                .to_string()
                .starts_with("target vector 0 has squared length"),
            "{wrong}"
        );
        assert!(
            Neighbours::new(&[], &[], 4)
                .unwrap()
                .mine(Margin::Ratio, Direction::Max)
                .is_empty()
        );
        assert_eq!("ratio".parse(), Ok(Margin::Ratio));
        assert_eq!("intersect".parse(), Ok(Direction::Intersect));
        let unknown = "cosine".parse::<Margin>().unwrap_err().to_string();
        assert_eq!(
            unknown,
            "unknown margin 'cosine'; known are absolute, distance and ratio"
        );
    }
}

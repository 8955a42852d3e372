//! The measures of `trec_eval` over one query's ranking.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use super::rank::discount;
use crate::convert::usize_to_f64;

/// A measure under `trec_eval`'s name. A document is relevant from grade 1; one that was not judged, or judged below
/// 0, has grade 0. R is the number of relevant judged documents; where it is 0 every measure is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// `map`: sum over retrieved relevant documents of the precision at their rank, divided by R.
    Map,
    /// `map_cut_K`: the same sum over the first K documents; R still counts all.
    MapCut(NonZeroUsize),
    /// `ndcg`: sum of grade / log2(rank + 1), divided by that of the judged documents in descending order of grade.
    Ndcg,
    /// `ndcg_cut_K`: the same, both sums over the first K.
    NdcgCut(NonZeroUsize),
    /// `recip_rank`: 1 / rank of the first relevant document, without a cut-off; 0 if none was retrieved.
    RecipRank,
    /// `P_K`: share of relevant documents among the first K, a shorter ranking filled up with others.
    P(NonZeroUsize),
    /// `recall_K`: share of the R documents that are among the first K.
    Recall(NonZeroUsize),
    /// `success_K`: 1 if a relevant document is among the first K, else 0.
    Success(NonZeroUsize),
}

/// Text that names no [`Measure`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown measure '{0}'; known are map, map_cut_K, ndcg, ndcg_cut_K, recip_rank, P_K, recall_K and success_K, K a whole number from 1"
)]
pub struct UnknownMeasure(pub String);

impl Measure {
    /// Value for the grades of a ranking, best document first, and all the query's judged grades in any order.
    #[must_use]
    pub fn value(self, ranking: &[i32], judged: &[i32]) -> f64 {
        let relevant_count = judged.iter().filter(|&&grade| is_relevant(grade)).count();
        if relevant_count == 0 {
            return 0.0;
        }
        let first = |cut: NonZeroUsize| &ranking[..cut.get().min(ranking.len())];
        let found = |cut| {
            first(cut)
                .iter()
                .filter(|&&grade| is_relevant(grade))
                .count()
        };
        match self {
            Self::Map => precision_sum(ranking) / usize_to_f64(relevant_count),
            Self::MapCut(cut) => precision_sum(first(cut)) / usize_to_f64(relevant_count),
            Self::Ndcg => gain_sum(ranking) / ideal_gain_sum(judged, usize::MAX),
            Self::NdcgCut(cut) => gain_sum(first(cut)) / ideal_gain_sum(judged, cut.get()),
            Self::RecipRank => ranking
                .iter()
                .position(|&grade| is_relevant(grade))
                .map_or(0.0, |at| 1.0 / usize_to_f64(at + 1)),
            Self::P(cut) => usize_to_f64(found(cut)) / usize_to_f64(cut.get()),
            Self::Recall(cut) => usize_to_f64(found(cut)) / usize_to_f64(relevant_count),
            Self::Success(cut) => f64::from(u8::from(found(cut) > 0)),
        }
    }
}

fn is_relevant(grade: i32) -> bool {
    grade >= 1
}

fn precision_sum(ranking: &[i32]) -> f64 {
    let ranks = ranking
        .iter()
        .enumerate()
        .filter(|&(_, &grade)| is_relevant(grade));
    ranks
        .enumerate()
        .map(|(before, (at, _))| usize_to_f64(before + 1) / usize_to_f64(at + 1))
        .fold(0.0, add)
}

fn gain_sum(ranking: &[i32]) -> f64 {
    ranking
        .iter()
        .enumerate()
        .filter(|&(_, &grade)| is_relevant(grade))
        .map(|(at, &grade)| f64::from(grade) * discount(at))
        .fold(0.0, add)
}

/// Summing from 0 where `Iterator::sum` starts from -0, which an empty ranking would print.
fn add(a: f64, b: f64) -> f64 {
    a + b
}

fn ideal_gain_sum(judged: &[i32], cut: usize) -> f64 {
    let mut best = judged.to_vec();
    best.sort_unstable_by(|a, b| b.cmp(a));
    best.truncate(cut);
    gain_sum(&best)
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map => f.write_str("map"),
            Self::MapCut(cut) => write!(f, "map_cut_{cut}"),
            Self::Ndcg => f.write_str("ndcg"),
            Self::NdcgCut(cut) => write!(f, "ndcg_cut_{cut}"),
            Self::RecipRank => f.write_str("recip_rank"),
            Self::P(cut) => write!(f, "P_{cut}"),
            Self::Recall(cut) => write!(f, "recall_{cut}"),
            Self::Success(cut) => write!(f, "success_{cut}"),
        }
    }
}

impl FromStr for Measure {
    type Err = UnknownMeasure;

    fn from_str(text: &str) -> Result<Self, UnknownMeasure> {
        let unknown = || UnknownMeasure(text.to_owned());
        match text {
            "map" => return Ok(Self::Map),
            "ndcg" => return Ok(Self::Ndcg),
            "recip_rank" => return Ok(Self::RecipRank),
            _ => {} // All others have a cut-off.
        }
        let (name, cut) = text.rsplit_once('_').ok_or_else(unknown)?;
        let of_cut = match name {
            "map_cut" => Self::MapCut,
            "ndcg_cut" => Self::NdcgCut,
            "P" => Self::P,
            "recall" => Self::Recall,
            "success" => Self::Success,
            _ => return Err(unknown()),
        };
        cut.parse().map(of_cut).map_err(|_| unknown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, ranking: &[i32], judged: &[i32]) -> f64 {
        name.parse::<Measure>().unwrap().value(ranking, judged)
    }

    #[test]
    fn measures_by_hand() {
        // Relevant at ranks 2 and 4 (grades 1 and 2); a third, of grade 1, was not retrieved; one judged 0, one -1.
        let (ranking, judged) = ([0, 1, -1, 2, 0], [0, 1, 2, 1, -1]);
        // log2 3 = 1.584963, log2 5 = 2.321928; ideal: 2 + 1 / 1.584963 + 1 / 2 = 3.130930.
        let dcg = 1.0 / 1.584_962_500_721_156 + 2.0 / 2.321_928_094_887_362;
        for (name, want) in [
            ("map", (0.5 + 0.5) / 3.0),
            ("map_cut_2", 0.5 / 3.0),
            ("ndcg", dcg / 3.130_929_753_571_457),
            ("ndcg_cut_1", 0.0),
            ("ndcg_cut_2", 0.630_929_753_571_457 / 2.630_929_753_571_457),
            ("recip_rank", 0.5),
            ("P_1", 0.0),
            ("P_4", 0.5),
            ("P_10", 0.2),
            ("recall_2", 1.0 / 3.0),
            ("recall_100", 2.0 / 3.0),
            ("success_1", 0.0),
            ("success_2", 1.0),
        ] {
            let got = value(name, &ranking, &judged);
            assert!((got - want).abs() < 1e-12, "{name}: {got}, want {want}");
        }
        for name in [
            "map",
            "ndcg",
            "ndcg_cut_5",
            "recip_rank",
            "recall_5",
            "P_5",
            "success_5",
        ] {
            assert_eq!(
                value(name, &[0, 0], &[0, -1]).to_bits(),
                0,
                "{name}: nothing is relevant"
            );
            assert_eq!(
                value(name, &[], &[1]).to_bits(),
                0,
                "{name}: nothing is retrieved"
            );
        }
    }

    #[test]
    fn names_read_back() {
        for name in [
            "map",
            "map_cut_10",
            "ndcg",
            "ndcg_cut_10",
            "recip_rank",
            "P_5",
            "recall_100",
            "success_1",
        ] {
            assert_eq!(name.parse::<Measure>().unwrap().to_string(), name);
        }
        for name in [
            "",
            "P",
            "P_",
            "P_0",
            "P_-1",
            "p_5",
            "map_10",
            "ndcg_cut",
            "recip_rank_10",
        ] {
            let error = name.parse::<Measure>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("unknown measure '{name}'")),
                "{error}"
            );
        }
    }
}

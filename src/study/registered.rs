//! The answer of a study whose tests were written down before it ran.

use crate::stats::{BandOptions, benjamini_hochberg, critical_level, holm, percentiles};

use super::StudyError;
use super::contrast::{
    Estimate, Term, area, combination, context_language, estimate, is_cross_lingual,
    question_language,
};
use super::curve::{Metric, Point, curves, mean_density};
use super::encoder::attention_flops;
use super::plan::{Plan, Registration};
use super::results::Results;

/// All numbers of the report. In nDCG@10 over the cross-lingual pairs, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The whole plan.
    pub plan: Plan,
    /// What was registered in it.
    pub registered: Registration,
    /// Share of the contexts that is whole.
    pub share: f64,
    /// Seeds that are whole at that share.
    pub seeds: Vec<u64>,
    /// Cells of the plan, and those that are there.
    pub cells: (usize, usize),
    /// Contexts searched, fewest and most of a pair.
    pub documents: (usize, usize),
    /// One an arm.
    pub arms: Vec<ArmAnswer>,
    /// `block - local`, area over the levels.
    pub primary: Estimate,
    /// `block - local_equal_density`, area.
    pub equal_density: Estimate,
    /// `block - dense`, area.
    pub preserves: Estimate,
    /// `(block - local)` at the highest level minus the same at the lowest.
    pub under_noise: Estimate,
    /// `local - dense`, area: whether the local arm itself preserves.
    pub local_preserves: Estimate,
    /// `block - local` and `block - dense` at every level.
    pub levels: Vec<(f64, Estimate, Estimate)>,
    /// Holm-adjusted p-values of `equal_density`, `under_noise`, and `block - local` at every level, in that order.
    pub holm: Vec<f64>,
    /// `block - local`, area, by context language and by question language: (words, estimate).
    pub languages: Vec<(String, Estimate)>,
    /// `block - local`, area, by pair, with its p-value adjusted by Benjamini and Hochberg.
    pub pairs: Vec<(String, Estimate, f64)>,
}

/// One arm.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmAnswer {
    /// The arm.
    pub arm: String,
    /// Its curve.
    pub points: Vec<Point>,
    /// Area under it.
    pub area: Estimate,
    /// Share of dense attention's FLOPs at the densities realised.
    pub flops: Option<f64>,
    /// Measure at the highest level over that at the lowest, with its band.
    pub retention_self: (f64, f64, f64),
    /// Area over dense attention's, with its band.
    pub retention_dense: (f64, f64, f64),
    /// Levels at which 15, 25 and 50 % of its first value are lost.
    pub critical: [Option<f64>; 3],
}

/// The answer as far as the results go; `None` while no share of the contexts is whole for the first seed, and for a
/// plan without a registration.
///
/// # Errors
/// [`StudyError::Sample`] for results that give no mean.
pub fn answer(stored: &Results) -> Result<Option<Answer>, StudyError> {
    let Some(registered) = stored.plan.registered.clone() else {
        return Ok(None);
    };
    let (results, share, seeds) = if stored.plan.corpus_shares.is_empty() {
        (stored.clone(), 1.0, stored.plan.seeds.clone())
    } else {
        match stored.reached() {
            Some((share, seeds)) => (stored.at(share, &seeds), share, seeds),
            None => return Ok(None),
        }
    };
    let options = BandOptions {
        resamples: registered.resamples,
        ..BandOptions::default()
    };
    let view = View {
        results: &results,
        options,
    };
    let levels = view.levels();
    let difference = |a: &str, b: &str| -> Vec<Term> {
        let mut terms = area(a, &levels, 1.0);
        terms.extend(area(b, &levels, -1.0));
        terms
    };
    let at = |a: &str, b: &str, level: f64, sign: f64| -> Vec<Term> {
        let term = |arm: &str, weight: f64| Term {
            arm: arm.to_owned(),
            level,
            weight,
        };
        vec![term(a, sign), term(b, -sign)]
    };
    let Registration {
        block,
        local,
        local_equal_density,
        dense,
        ..
    } = &registered;
    let (first, last) = (levels[0], levels[levels.len() - 1]);
    let mut grown = at(block, local, last, 1.0);
    grown.extend(at(block, local, first, -1.0));
    let found = [
        view.cross(&difference(block, local))?,
        view.cross(&difference(block, local_equal_density))?,
        view.cross(&difference(block, dense))?,
        view.cross(&grown)?,
        view.cross(&difference(local, dense))?,
    ];
    let [
        Some(primary),
        Some(equal_density),
        Some(preserves),
        Some(under_noise),
        Some(local_preserves),
    ] = found
    else {
        return Ok(None);
    };
    let mut by_level = Vec::new();
    for &level in &levels {
        let of_level = (
            view.cross(&at(block, local, level, 1.0))?,
            view.cross(&at(block, dense, level, 1.0))?,
        );
        if let (Some(local), Some(dense)) = of_level {
            by_level.push((level, local, dense));
        }
    }
    let mut tests = vec![equal_density.p, under_noise.p];
    tests.extend(by_level.iter().map(|(_, local, _)| local.p));
    let contrast = difference(block, local);
    let documents = results.judgements.values().map(|judged| judged.documents);
    let documents = (
        documents.clone().min().unwrap_or(0),
        documents.max().unwrap_or(0),
    );
    let cells = stored.plan.cells();
    let done = cells
        .iter()
        .filter(|cell| stored.cells.contains_key(&cell.to_string()))
        .count();
    Ok(Some(Answer {
        plan: stored.plan.clone(),
        share,
        seeds,
        cells: (cells.len(), done),
        documents,
        arms: view.arms(dense)?,
        primary,
        equal_density,
        preserves,
        under_noise,
        local_preserves,
        levels: by_level,
        holm: holm(&tests),
        languages: view.languages(&contrast)?,
        pairs: view.pairs(&contrast)?,
        registered,
    }))
}

struct View<'a> {
    results: &'a Results,
    options: BandOptions,
}

impl View<'_> {
    fn levels(&self) -> Vec<f64> {
        let mut levels = self.results.plan.levels.clone();
        levels.sort_unstable_by(f64::total_cmp);
        levels
    }

    fn of(
        &self,
        terms: &[Term],
        keep: impl Fn(&str) -> bool,
    ) -> Result<Option<Estimate>, StudyError> {
        let sample = combination(self.results, Metric::NdcgAt10, terms, keep)?;
        Ok(sample.map(|sample| estimate(&sample, &self.options)))
    }

    fn cross(&self, terms: &[Term]) -> Result<Option<Estimate>, StudyError> {
        self.of(terms, is_cross_lingual)
    }

    fn arms(&self, dense: &str) -> Result<Vec<ArmAnswer>, StudyError> {
        let levels = self.levels();
        let plan = Plan {
            pairs: self
                .results
                .plan
                .pairs
                .iter()
                .filter(|pair| is_cross_lingual(pair))
                .cloned()
                .collect(),
            ..self.results.plan.clone()
        };
        let cross = Results {
            plan,
            ..self.results.clone()
        };
        let drawn = curves(&cross, Metric::NdcgAt10, &self.options)?;
        let means = |terms: &[Term]| -> Result<Option<(f64, Vec<f64>)>, StudyError> {
            let sample = combination(self.results, Metric::NdcgAt10, terms, is_cross_lingual)?;
            Ok(sample.map(|sample| (sample.mean(), sample.resampled_means(&self.options))))
        };
        let point = |arm: &str, level: f64| {
            vec![Term {
                arm: arm.to_owned(),
                level,
                weight: 1.0,
            }]
        };
        let of_dense = means(&area(dense, &levels, 1.0))?;
        let mut arms = Vec::new();
        for curve in drawn.curves {
            let arm = curve.arm;
            let terms = area(&arm, &levels, 1.0);
            let (Some(area), Some(own), Some(first), Some(last), Some(of_dense)) = (
                self.cross(&terms)?,
                means(&terms)?,
                means(&point(&arm, levels[0]))?,
                means(&point(&arm, levels[levels.len() - 1]))?,
                &of_dense,
            ) else {
                continue;
            };
            let nominal: Vec<(f64, f64)> = curve
                .points
                .iter()
                .map(|point| (point.level, point.mean))
                .collect();
            let density = mean_density(&curve.points);
            arms.push(ArmAnswer {
                flops: attention_flops(&arm, density),
                arm,
                points: curve.points,
                area,
                retention_self: ratio(&last, &first),
                retention_dense: ratio(&own, of_dense),
                critical: [0.15, 0.25, 0.5].map(|lost| critical_level(&nominal, lost)),
            });
        }
        Ok(arms)
    }

    /// By context language, then by question language.
    fn languages(&self, terms: &[Term]) -> Result<Vec<(String, Estimate)>, StudyError> {
        let mut found = Vec::new();
        type Side = fn(&str) -> &str;
        let sides: [(&str, Side); 2] = [
            ("contexts in", context_language),
            ("questions in", question_language),
        ];
        for (words, side) in sides {
            let mut seen: Vec<&str> = Vec::new();
            for pair in &self.results.plan.pairs {
                let language = side(pair);
                if seen.contains(&language) {
                    continue;
                }
                seen.push(language);
                let keep = |pair: &str| is_cross_lingual(pair) && side(pair) == language;
                if !self.results.plan.pairs.iter().any(|pair| keep(pair)) {
                    continue;
                }
                if let Some(estimate) = self.of(terms, keep)? {
                    found.push((format!("{words} {language}"), estimate));
                }
            }
        }
        Ok(found)
    }

    fn pairs(&self, terms: &[Term]) -> Result<Vec<(String, Estimate, f64)>, StudyError> {
        let mut found = Vec::new();
        for pair in &self.results.plan.pairs {
            if let (true, Some(estimate)) =
                (is_cross_lingual(pair), self.of(terms, |this| this == pair)?)
            {
                found.push((pair.clone(), estimate));
            }
        }
        let p: Vec<f64> = found.iter().map(|(_, estimate)| estimate.p).collect();
        Ok(found
            .into_iter()
            .zip(benjamini_hochberg(&p))
            .map(|((pair, estimate), adjusted)| (pair, estimate, adjusted))
            .collect())
    }
}

/// Ratio of two means with its 95 % band, resample by resample.
fn ratio(over: &(f64, Vec<f64>), under: &(f64, Vec<f64>)) -> (f64, f64, f64) {
    let mut ratios: Vec<f64> = over.1.iter().zip(&under.1).map(|(a, b)| a / b).collect();
    let (low, high) = percentiles(&mut ratios, 50);
    (over.0 / under.0, low, high)
}

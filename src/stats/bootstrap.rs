//! The percentile cluster bootstrap of a macro-mean, and of a paired difference.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::counter::{draw, index_below};
use crate::convert::usize_to_f64;

/// One measured value: of one question in one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What is drawn together: the question's article, numbered alike in all samples that are compared.
    pub cluster: u32,
    /// What is averaged over with equal weight in the end: the pair.
    pub group: u32,
    /// Noise seed, drawn with replacement besides the clusters; numbered alike in all samples that are compared.
    pub seed: u32,
    /// The value.
    pub value: f64,
}

/// Observations, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    observations: Vec<Observation>,
}

/// Why a sample or a difference of samples was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// No observation: it has no mean.
    #[error("no observation to average")]
    Empty,
    /// A value that is NaN or infinite.
    #[error("observation {index} is {value}")]
    NotFinite {
        /// Which observation.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// Two samples that are not over the same questions in the same order.
    #[error(
        "observation {index} is of cluster, group and seed {left:?} on one side, {right:?} on the other"
    )]
    NotPaired {
        /// First observation that differs.
        index: usize,
        /// (cluster, group, seed) of the left sample, `None` past its end.
        left: Option<(u32, u32, u32)>,
        /// (cluster, group, seed) of the right sample.
        right: Option<(u32, u32, u32)>,
    },
}

/// How a band is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BandOptions {
    /// Resamples drawn, at least 40.
    pub resamples: u32,
    /// Share left out below and above together, in thousandths: 50 gives a 95 % band.
    pub outside_per_mille: u32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for BandOptions {
    fn default() -> Self {
        Self {
            resamples: 10_000,
            outside_per_mille: 50,
            seed: 0,
        }
    }
}

/// A mean and where the bootstrap puts it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Mean over groups of the mean over each group's observations.
    pub mean: f64,
    /// Lower percentile of the resampled means.
    pub low: f64,
    /// Upper percentile.
    pub high: f64,
    /// Standard deviation of the resampled means.
    pub standard_error: f64,
    /// Observations.
    pub observations: usize,
    /// Clusters among them.
    pub clusters: usize,
    /// Groups among them.
    pub groups: usize,
}

impl Sample {
    /// A sample of these observations.
    ///
    /// # Errors
    /// [`SampleError::Empty`], [`SampleError::NotFinite`].
    pub fn new(observations: Vec<Observation>) -> Result<Self, SampleError> {
        if observations.is_empty() {
            return Err(SampleError::Empty);
        }
        match observations
            .iter()
            .position(|observation| !observation.value.is_finite())
        {
            Some(index) => Err(SampleError::NotFinite {
                index,
                value: observations[index].value,
            }),
            None => Ok(Self { observations }),
        }
    }

    /// `self - other`, observation by observation: both must be of the same questions in the same order.
    ///
    /// # Errors
    /// [`SampleError::NotPaired`] with the first that differs.
    pub fn minus(&self, other: &Self) -> Result<Self, SampleError> {
        let key = |sample: &Self, index: usize| {
            let observation = sample.observations.get(index);
            observation.map(|o| (o.cluster, o.group, o.seed))
        };
        let length = self.observations.len().max(other.observations.len());
        if let Some(index) = (0..length).find(|&index| key(self, index) != key(other, index)) {
            return Err(SampleError::NotPaired {
                index,
                left: key(self, index),
                right: key(other, index),
            });
        }
        let observations = self
            .observations
            .iter()
            .zip(&other.observations)
            .map(|(a, b)| Observation {
                value: a.value - b.value,
                ..*a
            })
            .collect();
        Self::new(observations)
    }

    /// Mean over groups of the mean over each group's observations.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let table = Table::new(&self.observations);
        let mut sums = table.zeros();
        let once = vec![1.0; table.seeds];
        table.rows.iter().for_each(|row| add(&mut sums, row, &once));
        macro_mean(&sums)
    }

    /// The mean of every resample: clusters are drawn with replacement, as many as there are, each with all its
    /// observations in all groups, and noise seeds likewise, as many as there are, the same for all clusters.
    ///
    /// A group that a resample leaves without observations is left out of that resample's mean. Resample `r` uses draws
    /// `r * clusters ..` for its clusters and `r * seeds ..` of another stream for its seeds, so that the result depends
    /// on no thread count, and samples over the same clusters and seeds are resampled alike.
    #[must_use]
    pub fn resampled_means(&self, options: &BandOptions) -> Vec<f64> {
        let table = Table::new(&self.observations);
        let wide = |count: usize| u64::try_from(count).expect("64 bits hold a usize");
        let (clusters, seeds) = (table.rows.len(), table.seeds);
        (0..u64::from(options.resamples.max(40)))
            .into_par_iter()
            .map_init(
                || table.zeros(),
                |sums, resample| {
                    let times = seed_times(seeds, options.seed, resample);
                    sums.fill(GroupSum::default());
                    let first = resample.wrapping_mul(wide(clusters));
                    for offset in 0..wide(clusters) {
                        let bits = draw(options.seed, first.wrapping_add(offset));
                        add(sums, &table.rows[index_below(bits, clusters)], &times);
                    }
                    macro_mean(sums)
                },
            )
            .collect()
    }

    /// The mean with its band, from [`Self::resampled_means`].
    ///
    /// The percentiles are order statistics: with `n` resamples and share `a` left out, number `floor(n a / 2)` from
    /// either end.
    #[must_use]
    pub fn band(&self, options: &BandOptions) -> Band {
        let table = Table::new(&self.observations);
        let mut means = self.resampled_means(options);
        let standard_error = deviation(&means);
        let (low, high) = percentiles(&mut means, options.outside_per_mille);
        Band {
            mean: self.mean(),
            low,
            high,
            standard_error,
            observations: table.questions,
            clusters: table.rows.len(),
            groups: table.groups,
        }
    }

    /// Two-sided p-value of "no difference" by flipping the sign of whole clusters: the share of flips, the one found
    /// counted in, whose mean is at least as far from 0. All flips where there are no more than `permutations`, else as
    /// many drawn ones. (Groups keep their sizes, so a flip changes signs alone.)
    #[must_use]
    pub fn sign_flip(&self, permutations: u32, seed: u64) -> f64 {
        let effects = self.cluster_effects();
        let found: f64 = effects.iter().sum();
        // Sums of the same numbers in another order must not count as smaller.
        let least = found.abs() * (1.0 - 1e-12);
        let all = u32::try_from(effects.len())
            .ok()
            .and_then(|clusters| 1_u32.checked_shl(clusters))
            .filter(|all| *all > 0 && *all <= permutations);
        let flipped = |bit: &dyn Fn(usize) -> bool| -> f64 {
            let signed = effects.iter().enumerate();
            signed
                .map(|(index, effect)| if bit(index) { -effect } else { *effect })
                .sum()
        };
        if let Some(all) = all {
            let far = (0..all)
                .filter(|flips| flipped(&|index| flips >> index & 1 == 1).abs() >= least)
                .count();
            return usize_to_f64(far) / f64::from(all);
        }
        let words = u64::try_from(effects.len().div_ceil(64)).expect("64 bits hold a usize");
        let far = (0..u64::from(permutations))
            .into_par_iter()
            .filter(|permutation| {
                let first = permutation.wrapping_mul(words);
                let bits: Vec<u64> = (0..words)
                    .map(|word| draw(seed, first.wrapping_add(word)))
                    .collect();
                flipped(&|index| bits[index / 64] >> (index % 64) & 1 == 1).abs() >= least
            })
            .count();
        (1.0 + usize_to_f64(far)) / (1.0 + f64::from(permutations))
    }

    /// What each cluster adds to the mean.
    fn cluster_effects(&self) -> Vec<f64> {
        let table = Table::new(&self.observations);
        let once = vec![1.0; table.seeds];
        let mut sizes = table.zeros();
        table
            .rows
            .iter()
            .for_each(|row| add(&mut sizes, row, &once));
        let groups = usize_to_f64(table.groups);
        let effect = |row: &Vec<(usize, Vec<GroupSum>)>| -> f64 {
            let of_group = row.iter().map(|(group, seeds)| {
                seeds.iter().map(|cell| cell.sum).sum::<f64>() / sizes[*group].count
            });
            of_group.sum::<f64>() / groups
        };
        table.rows.iter().map(effect).collect()
    }

    /// Variance of the mean under this bootstrap over what it would be if every question of every group, averaged over
    /// its seeds, were drawn alone.
    #[must_use]
    pub fn design_effect(&self, options: &BandOptions) -> f64 {
        let table = Table::new(&self.observations);
        let seeds = table.seeds.max(1);
        let mut by_group: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for observation in &self.observations {
            by_group
                .entry(observation.group)
                .or_default()
                .push(observation.value);
        }
        let groups = usize_to_f64(by_group.len());
        // Observations of one question follow each other, one a seed.
        let alone: f64 = by_group
            .values()
            .map(|values| {
                let questions: Vec<f64> = values
                    .chunks(seeds)
                    .map(|of_question| {
                        of_question.iter().sum::<f64>() / usize_to_f64(of_question.len())
                    })
                    .collect();
                deviation(&questions).powi(2) / usize_to_f64(questions.len()) / (groups * groups)
            })
            .sum();
        let clustered = self.band(options).standard_error;
        if alone > 0.0 {
            clustered * clustered / alone
        } else {
            1.0
        }
    }
}

/// How often each noise seed is in a resample.
fn seed_times(seeds: usize, seed: u64, resample: u64) -> Vec<f64> {
    let mut times = vec![0.0; seeds];
    let stride = u64::try_from(seeds).expect("64 bits hold a usize");
    for offset in 0..stride {
        let bits = draw(!seed, resample.wrapping_mul(stride).wrapping_add(offset));
        times[index_below(bits, seeds)] += 1.0;
    }
    times
}

/// Standard deviation with Bessel's correction; 0 for fewer than two values.
pub(super) fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let count = usize_to_f64(values.len());
    let centre = values.iter().sum::<f64>() / count;
    let squares = values
        .iter()
        .map(|value| (value - centre) * (value - centre));
    (squares.sum::<f64>() / (count - 1.0)).sqrt()
}

/// Order statistics number `floor(n a / 2)` from either end, where `a` is the share left out, in thousandths. Sorts.
#[must_use]
pub fn percentiles(values: &mut [f64], outside_per_mille: u32) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return (f64::NAN, f64::NAN);
    };
    let outside = usize::try_from(outside_per_mille.min(1000)).expect("at most 1000");
    let cut = (values.len() * outside / 2000).min(last / 2);
    (values[cut], values[last - cut])
}

/// Sum and number of values of one group.
#[derive(Clone, Copy, Debug, Default)]
struct GroupSum {
    sum: f64,
    count: f64,
}

/// Observations summed by cluster, group and seed.
struct Table {
    /// One a cluster: (group index, one sum a seed), only the groups it has.
    rows: Vec<Vec<(usize, Vec<GroupSum>)>>,
    groups: usize,
    seeds: usize,
    /// Observations of the first seed.
    questions: usize,
}

impl Table {
    fn new(observations: &[Observation]) -> Self {
        let numbered = |of: fn(&Observation) -> u32| -> BTreeMap<u32, usize> {
            let mut index: BTreeMap<u32, usize> = observations.iter().map(|o| (of(o), 0)).collect();
            for (number, slot) in index.values_mut().enumerate() {
                *slot = number;
            }
            index
        };
        let (group_index, seed_index) = (numbered(|o| o.group), numbered(|o| o.seed));
        let mut rows: BTreeMap<u32, BTreeMap<usize, Vec<GroupSum>>> = BTreeMap::new();
        for observation in observations {
            let cells = rows
                .entry(observation.cluster)
                .or_default()
                .entry(group_index[&observation.group])
                .or_insert_with(|| vec![GroupSum::default(); seed_index.len()]);
            let cell = &mut cells[seed_index[&observation.seed]];
            cell.sum += observation.value;
            cell.count += 1.0;
        }
        let first = observations.iter().map(|o| o.seed).min();
        Self {
            rows: rows
                .into_values()
                .map(|row| row.into_iter().collect())
                .collect(),
            groups: group_index.len(),
            seeds: seed_index.len(),
            questions: observations
                .iter()
                .filter(|o| Some(o.seed) == first)
                .count(),
        }
    }

    fn zeros(&self) -> Vec<GroupSum> {
        vec![GroupSum::default(); self.groups]
    }
}

/// Adds a cluster, each seed as often as the resample has it.
fn add(sums: &mut [GroupSum], row: &[(usize, Vec<GroupSum>)], times: &[f64]) {
    for (group, seeds) in row {
        for (cell, times) in seeds.iter().zip(times) {
            sums[*group].sum += cell.sum * times;
            sums[*group].count += cell.count * times;
        }
    }
}

fn macro_mean(sums: &[GroupSum]) -> f64 {
    let (mut total, mut groups) = (0.0, 0.0);
    for group in sums.iter().filter(|group| group.count > 0.0) {
        total += group.sum / group.count;
        groups += 1.0;
    }
    total / groups
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;

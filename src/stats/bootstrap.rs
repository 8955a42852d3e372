//! The percentile cluster bootstrap of a macro-mean, and of a paired difference.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::counter::{draw, index_below};

/// One measured value: of one question in one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What is drawn together: the question's article, numbered alike in all samples that are compared.
    pub cluster: u32,
    /// What is averaged over with equal weight in the end: the pair.
    pub group: u32,
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
        "observation {index} is of cluster and group {left:?} on one side, {right:?} on the other"
    )]
    NotPaired {
        /// First observation that differs.
        index: usize,
        /// (cluster, group) of the left sample, `None` past its end.
        left: Option<(u32, u32)>,
        /// (cluster, group) of the right sample.
        right: Option<(u32, u32)>,
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
            sample.observations.get(index).map(|o| (o.cluster, o.group))
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
        table.rows.iter().for_each(|row| add(&mut sums, row));
        macro_mean(&sums)
    }

    /// The mean with its band: clusters are drawn with replacement, as many as there are, each with all its
    /// observations in all groups.
    ///
    /// The percentiles are order statistics: with `n` resamples and share `a` left out, number `floor(n a / 2)` from
    /// either end. A group that a resample leaves without observations is left out of that resample's mean. Resample
    /// `r` uses draws `r * clusters ..`, so the result depends on no thread count.
    #[must_use]
    pub fn band(&self, options: &BandOptions) -> Band {
        let table = Table::new(&self.observations);
        let clusters = table.rows.len();
        let stride = u64::try_from(clusters).expect("64 bits hold a usize");
        let resamples = options.resamples.max(40);
        let mut means: Vec<f64> = (0..u64::from(resamples))
            .into_par_iter()
            .map_init(
                || table.zeros(),
                |sums, resample| {
                    sums.fill(GroupSum::default());
                    let first = resample.wrapping_mul(stride);
                    for offset in 0..stride {
                        let bits = draw(options.seed, first.wrapping_add(offset));
                        add(sums, &table.rows[index_below(bits, clusters)]);
                    }
                    macro_mean(sums)
                },
            )
            .collect();
        let count = f64::from(resamples);
        let centre = means.iter().sum::<f64>() / count;
        let variance = means
            .iter()
            .map(|mean| (mean - centre) * (mean - centre))
            .sum::<f64>()
            / (count - 1.0);
        means.sort_unstable_by(f64::total_cmp);
        let cut = u64::from(resamples) * u64::from(options.outside_per_mille.min(1000)) / 2000;
        let cut = usize::try_from(cut)
            .unwrap_or(usize::MAX)
            .min((means.len() - 1) / 2);
        Band {
            mean: self.mean(),
            low: means[cut],
            high: means[means.len() - 1 - cut],
            standard_error: variance.sqrt(),
            observations: self.observations.len(),
            clusters,
            groups: table.groups,
        }
    }
}

/// Sum and number of values of one group.
#[derive(Clone, Copy, Debug, Default)]
struct GroupSum {
    sum: f64,
    count: f64,
}

/// Observations summed by cluster and group.
struct Table {
    /// One a cluster: (group index, sum), only the groups it has.
    rows: Vec<Vec<(usize, GroupSum)>>,
    groups: usize,
}

impl Table {
    fn new(observations: &[Observation]) -> Self {
        let mut group_index: BTreeMap<u32, usize> =
            observations.iter().map(|o| (o.group, 0)).collect();
        for (index, slot) in group_index.values_mut().enumerate() {
            *slot = index;
        }
        let mut rows: BTreeMap<u32, BTreeMap<usize, GroupSum>> = BTreeMap::new();
        for observation in observations {
            let cell = rows
                .entry(observation.cluster)
                .or_default()
                .entry(group_index[&observation.group])
                .or_default();
            cell.sum += observation.value;
            cell.count += 1.0;
        }
        Self {
            rows: rows
                .into_values()
                .map(|row| row.into_iter().collect())
                .collect(),
            groups: group_index.len(),
        }
    }

    fn zeros(&self) -> Vec<GroupSum> {
        vec![GroupSum::default(); self.groups]
    }
}

fn add(sums: &mut [GroupSum], row: &[(usize, GroupSum)]) {
    for &(group, cell) in row {
        sums[group].sum += cell.sum;
        sums[group].count += cell.count;
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
mod tests {
    use super::*;

    fn sample(rows: &[(u32, u32, f64)]) -> Sample {
        Sample::new(
            rows.iter()
                .map(|&(cluster, group, value)| Observation {
                    cluster,
                    group,
                    value,
                })
                .collect(),
        )
        .unwrap()
    }

    #[test]
    fn groups_weigh_the_same_whatever_their_size() {
        let unbalanced = sample(&[(0, 0, 1.0), (1, 0, 1.0), (2, 0, 1.0), (3, 1, 0.0)]);
        assert!((unbalanced.mean() - 0.5).abs() <= 0.0, "exact in binary");
    }

    #[test]
    fn one_cluster_or_equal_values_have_no_width() {
        let constant =
            sample(&[(0, 0, 0.25), (1, 0, 0.25), (2, 1, 0.25)]).band(&BandOptions::default());
        assert_eq!(
            (
                constant.low,
                constant.mean,
                constant.high,
                constant.standard_error
            ),
            (0.25, 0.25, 0.25, 0.0)
        );
        let single = sample(&[(7, 0, 0.0), (7, 0, 1.0)]).band(&BandOptions::default());
        assert_eq!((single.low, single.high, single.clusters), (0.5, 0.5, 1));
    }

    #[test]
    fn two_clusters_give_the_binomial_band() {
        // Means of two draws from {0, 1}: 0, 1/2, 1 with weights 1/4, 1/2, 1/4: standard error sqrt(1/8).
        let band = sample(&[(0, 0, 0.0), (1, 0, 1.0)]).band(&BandOptions::default());
        assert_eq!((band.low, band.mean, band.high), (0.0, 0.5, 1.0));
        assert!(
            (band.standard_error - 0.125_f64.sqrt()).abs() < 0.005,
            "{band:?}"
        );
    }

    /// Normal deviates by the sum of twelve uniforms.
    fn normal(seed: u64, index: u64) -> f64 {
        let uniform = |k: u64| {
            f64::from(u32::try_from(draw(seed, index * 12 + k) >> 32).unwrap()) / 4_294_967_296.0
        };
        (0..12).map(uniform).sum::<f64>() - 6.0
    }

    #[test]
    fn iid_clusters_give_the_analytic_standard_error() {
        let rows: Vec<(u32, u32, f64)> = (0..400_u32)
            .map(|index| (index, 0, normal(5, u64::from(index))))
            .collect();
        let band = sample(&rows).band(&BandOptions::default());
        let mean = rows.iter().map(|row| row.2).sum::<f64>() / 400.0;
        let variance = rows.iter().map(|row| (row.2 - mean).powi(2)).sum::<f64>() / 400.0;
        let analytic = (variance / 400.0).sqrt();
        // 10,000 resamples estimate a standard error to 0.7 % (one sigma); 3 % is over four.
        assert!(
            (band.standard_error / analytic - 1.0).abs() < 0.03,
            "{} against {analytic}",
            band.standard_error
        );
        for (end, sign) in [(band.low, -1.0), (band.high, 1.0)] {
            let want = mean + sign * 1.959_964 * analytic;
            assert!((end - want).abs() < 0.15 * analytic, "{end} against {want}");
        }
    }

    #[test]
    fn correlated_questions_widen_the_band() {
        let value = |cluster: u32| normal(9, u64::from(cluster));
        let rows = |cluster_of: fn(u32) -> u32| -> Vec<(u32, u32, f64)> {
            (0..400_u32)
                .map(|index| (cluster_of(index), 0, value(index / 8)))
                .collect()
        };
        let clustered = sample(&rows(|index| index / 8)).band(&BandOptions::default());
        let pretended = sample(&rows(|index| index)).band(&BandOptions::default());
        // Eight equal values a cluster: the error grows by sqrt(8).
        let ratio = clustered.standard_error / pretended.standard_error;
        assert!((ratio / 8.0_f64.sqrt() - 1.0).abs() < 0.06, "{ratio}");
    }

    #[test]
    fn pairing_removes_what_both_share() {
        let rows = |shift: f64| -> Vec<(u32, u32, f64)> {
            (0..100_u32)
                .map(|index| (index / 2, index % 2, normal(3, u64::from(index)) + shift))
                .collect()
        };
        let (a, b) = (sample(&rows(0.25)), sample(&rows(0.0)));
        let difference = a.minus(&b).unwrap().band(&BandOptions::default());
        assert!(
            (difference.mean - 0.25).abs() < 1e-12 && difference.standard_error < 1e-12,
            "{difference:?}"
        );
        assert!(a.band(&BandOptions::default()).standard_error > 0.05);
    }

    #[test]
    fn the_band_depends_on_seed_alone() {
        let rows: Vec<(u32, u32, f64)> = (0..60_u32)
            .map(|index| (index / 3, index % 4, normal(1, u64::from(index))))
            .collect();
        let band = |seed: u64| {
            sample(&rows).band(&BandOptions {
                seed,
                ..BandOptions::default()
            })
        };
        let alone = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(band(4), alone.install(|| band(4)));
        assert_ne!(band(4), band(5));
    }

    #[test]
    fn unusable_samples_are_refused() {
        assert_eq!(Sample::new(Vec::new()), Err(SampleError::Empty));
        let nan = Sample::new(vec![Observation {
            cluster: 0,
            group: 0,
            value: f64::NAN,
        }]);
        assert!(matches!(nan, Err(SampleError::NotFinite { index: 0, .. })));
        let (a, b) = (sample(&[(0, 0, 1.0), (1, 0, 1.0)]), sample(&[(0, 0, 1.0)]));
        assert_eq!(
            a.minus(&b),
            Err(SampleError::NotPaired {
                index: 1,
                left: Some((1, 0)),
                right: None
            })
        );
    }
}

"""Makes statistics.json: what scipy says of a small sample, on the resamples that flashproof draws.

    python3 -m venv venv && venv/bin/pip install scipy && venv/bin/python tests/cases/statistics.py > tests/cases/statistics.json

scipy resamples through a generator that hands it flashproof's draws (SplitMix64 read as a counter).
"""

import json
import numpy as np
import scipy
from scipy import integrate, stats

MASK = (1 << 64) - 1
RESAMPLES = 400


def draw(seed, counter):
    z = (seed + (counter + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def below(seed, counter, count):
    return (draw(seed, counter) * count) >> 64


class Draws(np.random.Generator):
    """Hands out flashproof's draws where scipy asks for random indices."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))
        self.counter = 0

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
        count = int(high if high is not None else low)
        found = [below(0, self.counter + k, count) for k in range(int(np.prod(size)))]
        self.counter += len(found)
        return np.array(found).reshape(size)


rng = np.random.default_rng(20)
rows = []  # cluster, group, seed, value
for cluster in range(11):
    shift = rng.normal(0.1, 0.3)
    for group in range(3):
        for _ in range(int(rng.integers(0, 3)) + (group == 0)):
            base = shift + rng.normal(0, 0.2)
            for seed in range(2):
                rows.append((cluster, group, seed, round(base + rng.normal(0, 0.1), 6)))


def table(seeds):
    """(clusters, groups, seeds) sums and counts."""
    sums, counts = np.zeros((11, 3, 2)), np.zeros((11, 3, 2))
    for cluster, group, seed, value in rows:
        if seed in seeds:
            sums[cluster, group, seed] += value
            counts[cluster, group, seed] += 1
    return sums, counts


def macro(sums, counts, clusters, times):
    s = (sums[clusters] * times).sum(axis=(0, 2))
    n = (counts[clusters] * times).sum(axis=(0, 2))
    return (s[n > 0] / n[n > 0]).mean()


# One seed, by scipy itself.
sums, counts = table({0})
first = np.array([1.0, 0.0])
scipy_one = stats.bootstrap(
    (np.arange(11),),
    lambda clusters: macro(sums, counts, np.asarray(clusters, dtype=int), first),
    n_resamples=RESAMPLES,
    vectorized=False,
    method="percentile",
    rng=Draws(),
)
# Two seeds: the same draws for clusters, and another stream for the seeds.
sums2, counts2 = table({0, 1})
both = []
for r in range(RESAMPLES):
    clusters = np.array([below(0, r * 11 + k, 11) for k in range(11)])
    times = np.zeros(2)
    for k in range(2):
        times[below(MASK, r * 2 + k, 2)] += 1
    both.append(macro(sums2, counts2, clusters, times))
effects = (sums / counts.sum(axis=0, keepdims=True).clip(1)).sum(axis=(1, 2)) / 3
flips = stats.permutation_test(
    (effects, np.zeros(11)),
    lambda x, y: (x - y).sum(),
    permutation_type="samples",
    vectorized=False,
    n_resamples=10_000,
)
p = [0.001, 0.2, 0.013, 0.04, 0.041, 0.9, 0.013]
order = np.argsort(p, kind="stable")
holm = np.empty(len(p))
holm[order] = np.minimum(1, np.maximum.accumulate([(len(p) - i) * p[k] for i, k in enumerate(order)]))
levels, curve = [0.0, 0.25, 0.5, 0.75, 1.0], [0.81, 0.78, 0.7, 0.64, 0.5]
print(
    json.dumps(
        {
            "made_by": f"scipy {scipy.__version__}, numpy {np.__version__}",
            "resamples": RESAMPLES,
            "rows": rows,
            "one_seed": {
                "mean": macro(sums, counts, np.arange(11), first),
                "means": scipy_one.bootstrap_distribution.tolist(),
                "standard_error": float(scipy_one.standard_error),
                "p": float(flips.pvalue),
            },
            "two_seeds": {"means": both, "standard_error": float(np.std(both, ddof=1))},
            "p": p,
            "holm": holm.tolist(),
            "benjamini_hochberg": stats.false_discovery_control(p, method="bh").tolist(),
            "levels": levels,
            "curve": curve,
            "area": float(integrate.trapezoid(curve, levels)),
        }
    )
)

#!/usr/bin/env bash
# frouros' Kuiper test looks up Kolmogorov's statistic in Kuiper's table: a drift that widens the scores goes unseen.
#
# Guess: `KuiperTest` adds the largest difference of the two distributions above to the largest below, as Kuiper did, and so sees a
# distribution that becomes wider around the same middle, where Kolmogorov-Smirnov sees one of the two only. Without drift, a threshold of
# 5% on its p-value alarms in 5% of the cases. For angles, such as hues, the result does not depend on where the circle is cut.
#
# What happens: the statistic is that of Kolmogorov-Smirnov, the larger one of the two, but its p-value is taken from the distribution
# of the sum, which is larger. So each p-value is too large, by a factor of 10 and more where it matters. The test alarms in less than 1%
# of the cases without drift. It is weaker than `KSTest` of the same package, for every kind of drift, and weakest for the kind that one
# chooses Kuiper for: here it misses nine of ten windows that the true test finds. For angles, it depends on the cut. There is no error
# and no warning, and the documentation's example and the package's tests have shifts that are so large that any test finds them.
#
# Versions: frouros 0.9.0, scipy 1.14.1, numpy 2.1.3, Python 3.11.
# Who is hurt: users who watch the scores of a zero-shot CLIP for drift. If OOD images, with low cosines, and near copies of known images,
# with high ones, come in together, the mean stays and the scores spread to both sides: the monitor stays green. Drifts of hues are lost
# as well.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    frouros==0.9.0 numpy==2.1.3 scipy==1.14.1 matplotlib==3.9.4 requests==2.32.5 tqdm==4.70.1

cat >"$work/kuiper.py" <<'PY'
import sys
import warnings

import numpy as np
from frouros.detectors.data_drift import KSTest, KuiperTest

warnings.simplefilter("error")
REFERENCE, WINDOW, WINDOWS, LEVEL = 2000, 1000, 300, 0.05
random = np.random.default_rng(0)


def differences(first, second):
    """The largest differences of the two empirical distributions, above and below."""
    values = np.concatenate([first, second])
    gaps = [np.searchsorted(np.sort(part), values, side="right") / len(part) for part in (first, second)]
    return max((gaps[0] - gaps[1]).max(), 0), max((gaps[1] - gaps[0]).max(), 0)


def kuiper(first, second):
    """Kuiper's statistic and its p-value for large samples."""
    statistic = sum(differences(first, second))
    size = np.sqrt(len(first) * len(second) / (len(first) + len(second)))
    squares = (np.arange(1, 101) * (size + 0.155 + 0.24 / size) * statistic) ** 2
    return statistic, 2 * np.sum((4 * squares - 1) * np.exp(-2 * squares))


def run(test, reference, window):
    detector = test()
    detector.fit(X=reference)
    result = detector.compare(X=window)[0]
    return float(result.statistic), float(result.p_value)


def cosines(count, ood=0.0, copies=0.0, shift=0.0):
    """Cosines of images with their nearest prompt: OOD images have low ones, near copies of known images high ones."""
    kind = random.random(count)
    low, high = kind < ood, kind > 1 - copies
    return random.normal(0.27 + shift - 0.05 * low + 0.05 * high, 0.025, count)


as_expected = True
reference, window = cosines(REFERENCE), cosines(WINDOW, ood=0.1, copies=0.1)
above, below = differences(reference, window)
statistic, p_value = run(KuiperTest, reference, window)
true_statistic, true_p = kuiper(reference, window)
both = np.concatenate([reference, window])
shuffled = [kuiper(*np.split(random.permutation(both), [REFERENCE]))[0] for _ in range(2000)]
by_shuffling = (1 + sum(value >= true_statistic for value in shuffled)) / 2001
print(f"One window: the differences are {above:.4f} and {below:.4f}")
print(f"  frouros: statistic {statistic:.4f}, p-value {p_value:.2g}")
print(f"  Kuiper: statistic {true_statistic:.4f}, p-value {true_p:.2g}, by 2,000 shuffles {by_shuffling:.2g}")
as_expected &= abs(statistic - max(above, below)) < 1e-9 and abs(statistic - true_statistic) > 0.02
as_expected &= p_value > LEVEL > 0.001 > true_p and by_shuffling < 0.001

print(f"Share of {WINDOWS} windows with a p-value below {LEVEL:.0%}: frouros' KuiperTest, its KSTest, Kuiper's test")
for label, change in (
    ("no drift", {}),
    ("all cosines are lower by 0.003", {"shift": -0.003}),
    ("5% OOD images and 5% near copies", {"ood": 0.05, "copies": 0.05}),
    ("6% OOD images and 6% near copies", {"ood": 0.06, "copies": 0.06}),
):
    alarms = np.zeros(3)
    for _ in range(WINDOWS):
        pair = cosines(REFERENCE), cosines(WINDOW, **change)
        alarms += [found[1] < LEVEL for found in (run(KuiperTest, *pair), run(KSTest, *pair), kuiper(*pair))]
    ours, smirnov, true = alarms / WINDOWS
    print(f"  {label}: {ours:.1%}, {smirnov:.1%}, {true:.1%}")
    if not change:
        as_expected &= ours < 0.02 and 0.02 < true < 0.09 and 0.02 < smirnov < 0.09
    elif "shift" in change:
        as_expected &= ours < smirnov - 0.1
    else:
        as_expected &= ours < 0.2 and ours < smirnov < true - 0.2 and true > 0.7

print("Hues: statistic and p-value of frouros, statistic of Kuiper")
hues, new = random.vonmises(1.0, 1.0, REFERENCE) % (2 * np.pi), random.vonmises(1.0, 1.25, WINDOW) % (2 * np.pi)
found = []
for turn in (0.0, 0.5, 1.0, 1.5):
    pair = [(part + turn * np.pi) % (2 * np.pi) for part in (hues, new)]
    found.append((*run(KuiperTest, *pair), kuiper(*pair)[0]))
    print("  cut at {:.0f} degrees: {:.4f}, {:.2g}; {:.4f}".format(180 * turn, *found[-1]))
statistics, p_values, truths = np.array(found).T
as_expected &= np.ptp(statistics) > 0.01 and p_values.max() > 3 * p_values.min() and np.ptp(truths) < 1e-9
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/kuiper.py"

#!/usr/bin/env bash
# frouros' population stability index (PSI) is decided by single images: half of the windows without any drift are a "significant shift".
#
# Guess: the PSI of two samples of the same distribution is close to 0, about the number of bins divided by the size of the smaller
# sample. By the usual rule, less than 0.1 is no shift and more than 0.25 is a significant one. One image among a thousand changes it
# very little, as for the other distances of the package with the same bins. More drift gives a larger PSI.
#
# What happens: a bin that is empty in one of the samples would be a division by zero. It gets the smallest positive float, 2e-308, in
# place of a value such as 0.0001, so that its logarithm is about 700 away. An image that is alone in its bin adds 0.7 in a sample of 1,000.
# The ten bins have the same width and reach from the lowest to the highest score of both samples, so that the outer ones are almost
# empty: in half of the windows, the window has no image in one of them and the reference has. So the PSI counts the stragglers, and it
# hardly separates windows with and without drift. With 20 bins, it is worse. There is no error and no warning.
#
# Versions: frouros 0.9.0, scipy 1.14.1, numpy 2.1.3, Python 3.11.
# Who is hurt: users who watch the scores of a zero-shot CLIP with the PSI and the thresholds of the textbooks, or move from another
# package: the monitor alarms every other day without a cause, and a real drift is lost in it.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    frouros==0.9.0 numpy==2.1.3 scipy==1.14.1 matplotlib==3.9.4 requests==2.32.5 tqdm==4.70.1

cat >"$work/psi.py" <<'PY'
import sys
import warnings

import numpy as np
from frouros.detectors.data_drift import PSI, HellingerDistance

warnings.simplefilter("error")
REFERENCE, WINDOW, WINDOWS, SIGNIFICANT = 10_000, 1000, 300, 0.25
random = np.random.default_rng(0)


def cosines(count, shift=0.0):
    """Cosines of images with their nearest prompt."""
    return random.normal(0.27 + shift, 0.03, count)


def run(detector, reference, window):
    detector.fit(X=reference)
    return float(detector.compare(X=window)[0].distance)


def psi(reference, window, edges):
    """The PSI with 0.0001 in place of an empty bin."""
    first, second = (np.maximum(np.histogram(part, edges)[0] / len(part), 1e-4) for part in (reference, window))
    return float(np.sum((second - first) * np.log(second / first)))


def all_distances(reference, window):
    equal = np.histogram_bin_edges(np.concatenate([reference, window]), 10)
    deciles = np.quantile(reference, np.linspace(0, 1, 11))
    deciles[[0, -1]] = -np.inf, np.inf
    return (
        run(PSI(), reference, window),
        run(PSI(num_bins=20), reference, window),
        psi(reference, window, equal),
        psi(reference, window, deciles),
        run(HellingerDistance(), reference, window),
    )


NAMES = "frouros, 10 bins", "frouros, 20 bins", "the same 10 bins, 0.0001", "deciles, 0.0001", "frouros' Hellinger distance"
none, some = (
    np.array([all_distances(cosines(REFERENCE), cosines(WINDOW, shift)) for _ in range(WINDOWS)]).T for shift in (0.0, -0.003)
)
print(f"{WINDOWS} windows without drift, and with cosines lower by 0.003: median; share above {SIGNIFICANT}; AUROC of the two")
as_expected = True
for name, calm, drift in zip(NAMES, none, some):
    auroc = np.mean((drift[:, None] > calm) + 0.5 * (drift[:, None] == calm))
    alarms, found = np.mean(calm > SIGNIFICANT), np.mean(drift > SIGNIFICANT)
    print(f"  {name}: {np.median(calm):.3f} and {np.median(drift):.3f}; {alarms:.0%} and {found:.0%}; {auroc:.2f}")
    if name.startswith("frouros, "):
        as_expected &= alarms > 0.35 and found > 0.35 and auroc < 0.7
    else:
        as_expected &= alarms == 0 and np.median(calm) < 0.05 and auroc > 0.75

print("Two samples of 1,000 that are alike, then one image of the second gets a cosine beyond all others: PSI, Hellinger distance")
grid = (np.arange(1000) + 0.5) / 1000
reference, window = 0.2 + 0.14 * grid, 0.2 + 0.14 * grid
outlier = window.copy()
outlier[0] = 0.36
before, after = ([run(test(), reference, part) for test in (PSI, HellingerDistance)] for part in (window, outlier))
print("  before: {:.3f}, {:.3f}".format(*before))
print("  after: {:.3f}, {:.3f}".format(*after))
as_expected &= before[0] < 0.001 and after[0] > SIGNIFICANT and after[1] < 0.05
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/psi.py"

#!/usr/bin/env bash
# PyOD's DIF gives every image the same outlier score if the images come one at a time.
#
# Guess: after `fit`, the score of a feature vector depends on the vector and on the fitted detector alone. Known exceptions (ECOD,
# COPOD) rank the new samples together with those of `fit`; a forest of fixed networks and fixed trees has no reason to.
#
# What happens: `decision_function` standardizes the networks' outputs with the mean and the deviation of the samples that it is given
# and not with those of `fit`. A batch of one becomes zeros: all scores are equal, for inliers and for outliers. A batch of outliers
# becomes as centered as the training set: scored by themselves, as OOD benchmarks do it, they are no longer far away.
#
# Versions: pyod 3.6.7, torch 2.15.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.
# Who is hurt: users who serve DIF as an OOD detector on CLIP features and score each request by itself, and benchmarks that score the
# ID set and each OOD set in turn: AUROC, FPR at 95% TPR and the labels of `predict` depend on how the test set was cut.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    torch==2.15.0 numpy==2.4.6 scikit-learn==1.9.1 pyod==3.6.7

cat >"$work/batches.py" <<'PY'
import sys
import warnings

import numpy as np
from pyod.models.dif import DIF
from sklearn.metrics import roc_auc_score

warnings.filterwarnings("ignore")  # pinned memory without a GPU
rng = np.random.default_rng(0)
WIDTH = 64


def features(center, count):
    """Unit vectors around a direction, as the image features of one domain are."""
    points = center + 0.7 * rng.standard_normal((count, WIDTH))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


here, there = rng.standard_normal((2, WIDTH))
train, inside, outside = features(here, 500), features(here, 60), features(there, 10)
print(f"cosine of the centers {here @ there / np.linalg.norm(here) / np.linalg.norm(there):.2f}")
detector = DIF(n_ensemble=10, random_state=0).fit(train)
everything = np.concatenate([inside, outside])
truth = np.repeat([0, 1], [len(inside), len(outside)])

scores = {
    "one batch of all": detector.decision_function(everything),
    "the ID set, then the OOD set": np.concatenate([detector.decision_function(part) for part in (inside, outside)]),
    "one image at a time": np.concatenate([detector.decision_function(row[None]) for row in everything]),
}
area, distinct, flagged = {}, {}, {}
for label, values in scores.items():
    area[label], distinct[label] = roc_auc_score(truth, values), len(np.unique(values))
    flagged[label] = (values[truth == 1] > detector.threshold_).mean()
    print(f"{label}: AUROC {area[label]:.3f}, {distinct[label]} different scores, {flagged[label]:.0%} of the OOD flagged")
together, apart, single = area.values()
as_expected = together > 0.9 > apart and single == 0.5 and list(distinct.values())[2] == 1
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/batches.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

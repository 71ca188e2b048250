#!/usr/bin/env bash
# puncc's APS and RAPS put no more classes in the set of an image than there are images in the batch.
#
# Guess: the prediction set of an image depends on the image and the calibration alone, up to the random number of APS and RAPS. So the
# coverage is the one that was requested, whether 2,000 images are predicted at once or two at a time.
#
# What happens: where the size of a set is limited to the number of classes, the code takes the number of images. In batches of two, a
# set has at most two classes, and the true class is missing in more than a third of them, not in a tenth. The last batch of a data set,
# if it is smaller, has smaller sets than the others. LAC, in the same package, is right. There is no error and no warning (a single
# image is an error), though coverage is what conformal prediction is for.
#
# Versions: puncc 0.9.3, numpy 1.26.4 (puncc needs a version below 2), scikit-learn 1.7.2, pandas 2.3.3, Python 3.11.
# Who is hurt: users who evaluate conformal prediction on a whole test set and then serve requests of a few images: the sets of the
# ambiguous images, which need many classes, are cut. With 1,000 classes, batches of 32 or 64 images can be too small as well.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    puncc==0.9.3 numpy==1.26.4 scikit-learn==1.7.2 pandas==2.3.3 matplotlib==3.10.7

cat >"$work/batches.py" <<'PY'
import sys

import numpy as np
from deel.puncc.api.prediction import BasePredictor
from deel.puncc.classification import APS, LAC, RAPS

CLASSES, IMAGES, COVERAGE = 100, 2000, 0.9
np.random.seed(0)
rng = np.random.default_rng(0)


class ZeroShot:
    """The softmax of logits, as a zero-shot classifier returns it."""

    def predict(self, logits):
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)


def images(count):
    labels = rng.integers(CLASSES, size=count)
    logits = rng.standard_normal((count, CLASSES))
    logits[np.arange(count), labels] += 2.5
    return 2 * logits, labels


calibration, (logits, labels) = images(IMAGES), images(IMAGES)
predictor = BasePredictor(ZeroShot(), is_trained=True)
as_expected = True
for label, method in (
    ("LAC", LAC(predictor, train=False)),
    ("APS", APS(predictor, train=False)),
    ("APS, not randomized", APS(predictor, train=False, rand=False)),
    ("RAPS", RAPS(predictor, train=False, lambd=0.001, k_reg=2)),
):
    method.fit(X_calib=calibration[0], y_calib=calibration[1])
    print(f"{label}, requested coverage {COVERAGE:.0%}")
    for batch in (IMAGES, 200, 8, 4, 2):
        sets = []
        for start in range(0, IMAGES, batch):
            sets += method.predict(logits[start : start + batch], alpha=1 - COVERAGE)[1]
        covered = np.mean([truth in found for found, truth in zip(sets, labels)])
        sizes = np.array([len(found) for found in sets])
        print(f"  batches of {batch}: coverage {covered:.1%}, size {sizes.mean():.1f} on average and {sizes.max()} at most")
        if label == "LAC" or batch > CLASSES:
            as_expected &= COVERAGE - 0.03 < covered < COVERAGE + 0.07
        else:
            as_expected &= sizes.max() == batch and covered < COVERAGE - 0.05
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/batches.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

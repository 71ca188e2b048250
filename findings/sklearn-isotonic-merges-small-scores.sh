#!/usr/bin/env bash
# scikit-learn's isotonic calibration takes all scores below 1e-6 for one if they are float32: hardly a positive image is found.
#
# Guess: isotonic regression looks at the order of the scores only. So it does not matter whether they are multiplied by a million, come
# from a sharp or a mild softmax, or are float32 or float64 of the same numbers. What separates the classes before still does it afterwards.
#
# What happens: before the fit, scores that differ by less than a fixed tolerance are merged into one: 1e-15 for float64, but 1e-6 for
# float32. At CLIP's scale of 100, the less visible of two contents has a probability of 1e-13 to 1e-6, which float32 holds with 7 digits.
# All such images are one point of the fit, so that each gets about the share of the positives, which is below one half. If no score is
# above 1e-6, the AUROC is exactly 0.5; with a few above, a line to these keeps the order, but the probabilities are hardly better. The same
# numbers as float64, times a million, or as logarithms are calibrated well. There is no error and no warning, and the documentation of
# `IsotonicRegression` and of `CalibratedClassifierCV` names no tolerance.
#
# Versions: scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.
# Who is hurt: users who calibrate zero-shot probabilities of torch, which are float32, for what is seldom the main content: smoke, a weapon,
# a logo, the second label of an image. The mean is right, so the calibration error is small. CLIP seems not to know the content. Densities
# and p-values as OOD scores are alike.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir scikit-learn==1.9.1 numpy==2.4.6

cat >"$work/merged.py" <<'PY'
import sys

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

IMAGES = 4000


class ZeroShot(ClassifierMixin, BaseEstimator):
    """Softmax over the cosines of an image with two prompts, as CLIP computes it in float32."""

    def __init__(self, scale=100, dtype="float32"):
        self.scale, self.dtype = scale, dtype

    def fit(self, cosines=None, labels=None):
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, cosines):
        logits = np.float32(self.scale) * cosines.astype(np.float32)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(self.dtype)

    def predict(self, cosines):
        return self.classes_[self.predict_proba(cosines).argmax(axis=1)]


def images(rng, main):
    """Cosines with the main content, which is in all images, and with a second one, which is in a third of them."""
    labels = (rng.random(IMAGES) < 1 / 3).astype(int)
    second = np.where(labels == 1, 0.12, 0.08) + rng.normal(0, 0.017, IMAGES)
    return np.stack([rng.normal(main, 0.01, IMAGES), second], axis=1), labels


as_expected = True
for main in (0.30, 0.34):
    rng = np.random.default_rng(0)
    (train, train_labels), (test, labels) = images(rng, main), images(rng, main)
    print(f"mean cosine with the main content {main}, with the second one in {labels.mean():.0%} of the images")
    for scale, dtype in [(100, "float32"), (100, "float64"), (20, "float32")]:
        classifier = ZeroShot(scale, dtype).fit()
        raw = classifier.predict_proba(test)[:, 1]
        calibrated = CalibratedClassifierCV(FrozenEstimator(classifier), method="isotonic").fit(train, train_labels)
        values = calibrated.predict_proba(test)[:, 1]
        before, after, brier = roc_auc_score(labels, raw), roc_auc_score(labels, values), brier_score_loss(labels, values)
        found = (values[labels == 1] > 0.5).mean()
        points = len(calibrated.calibrated_classifiers_[0].calibrators[0].X_thresholds_)
        print(
            f"  scale {scale}, {dtype}: scores {raw.min():.0e} to {raw.max():.0e}, {(raw > 1e-6).mean():.1%} above 1e-6, AUROC {before:.3f}; "
            f"calibrated: {points} points, AUROC {after:.3f}, Brier score {brier:.3f}, mean {values.mean():.0%}, positives found {found:.0%}"
        )
        as_expected &= before > 0.9 and len(np.unique(raw)) > 0.99 * IMAGES and abs(values.mean() - labels.mean()) < 0.05
        if (scale, dtype) == (100, "float32"):
            as_expected &= found < 0.1 and brier > 0.19 and points < 10 and (after == 0.5) == (main == 0.34)
        else:
            as_expected &= found > 0.7 and brier < 0.12 and points > 30 and after > 0.9
    scores, queries = (ZeroShot().fit().predict_proba(cosines)[:, 1] for cosines in (train, test))
    for label, change in [("as they are", np.copy), ("times a million", lambda score: score * np.float32(1e6)), ("as logarithms", np.log)]:
        values = IsotonicRegression(out_of_bounds="clip").fit(change(scores), train_labels).predict(change(queries))
        found = (values[labels == 1] > 0.5).mean()
        print(f"  IsotonicRegression on the {change(queries).dtype} scores at 100 {label}: positives found {found:.0%}")
        as_expected &= found < 0.1 if label == "as they are" else found > 0.7
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/merged.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

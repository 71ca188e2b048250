#!/usr/bin/env bash
# scikit-learn's temperature scaling makes all probabilities equal if the classes are 1 to 10 and not 0 to 9.
#
# Guess: `CalibratedClassifierCV(method="temperature")` finds one temperature, which does not depend on the names of the classes. It
# keeps the predicted class of each image, as a temperature cannot change it. The methods "sigmoid" and "isotonic" take any labels.
#
# What happens: numeric labels are taken as column numbers as they are; only texts are encoded first. With labels from 1, each image
# is fitted to the class behind its own, and the last class to none: the temperature becomes 22,000 and all classes get a probability
# of 10%. The order of the columns is ignored as well: of a classifier whose `classes_` are not sorted, as those of a zero-shot
# classifier that keeps the order of its prompts, `predict` then returns other classes. There is no error and no warning.
#
# Versions: scikit-learn 1.9.1 (the method is there since 1.8), numpy 2.4.6, Python 3.11.
# Who is hurt: users who calibrate a linear probe on data with labels from 1 (Flowers-102, Stanford Cars, CUB) or with gaps (COCO), or a
# zero-shot classifier. Accuracy stays for the former, so a test passes, but a threshold on the probability rejects all images.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1

cat >"$work/temperature.py" <<'PY'
import sys
import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("error")
rng = np.random.default_rng(0)
CLASSES, WIDTH, IMAGES = 10, 64, 2000


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class ZeroShot(ClassifierMixin, BaseEstimator):
    """Compares image features with one text feature for each class, at the temperature of CLIP."""

    def fit(self, texts, names):
        self.texts_, self.classes_ = texts, np.array(names)
        return self

    def predict_proba(self, images):
        logits = 100 * images @ self.texts_.T
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def predict(self, images):
        return self.classes_[self.predict_proba(images).argmax(axis=1)]


texts = unit(rng.standard_normal((CLASSES, WIDTH)))
numbers = rng.integers(CLASSES, size=(3, IMAGES))
train, calibration, test = (unit(texts[row] + 0.35 * rng.standard_normal((IMAGES, WIDTH))) for row in numbers)


def calibrated(label, classifier, names, method):
    """The accuracy before and after the calibration, and the mean of the largest probability after it."""
    names = np.array(names)
    result = CalibratedClassifierCV(FrozenEstimator(classifier), method=method).fit(calibration, names[numbers[1]])
    before, after = ((which.predict(test) == names[numbers[2]]).mean() for which in (classifier, result))
    confidence = result.predict_proba(test).max(axis=1).mean()
    print(f"{label}, {method}: accuracy {before:.1%}, after calibration {after:.1%}, mean confidence {confidence:.1%}")
    return before, after, confidence


as_expected = True
for label, names in (
    ("linear probe, classes 0 to 9", range(CLASSES)),
    ("linear probe, classes 1 to 10", range(1, CLASSES + 1)),
    ("linear probe, classes '1' to '10'", sorted(str(number) for number in range(1, CLASSES + 1))),
    ("linear probe, some numbers of COCO", [1, 2, 3, 5, 6, 7, 8, 13, 44, 90]),
):
    probe = LogisticRegression(C=100, max_iter=1000).fit(train, np.array(names)[numbers[0]])
    for method in ("temperature", "sigmoid"):
        before, after, confidence = calibrated(label, probe, names, method)
        broken = method == "temperature" and label.endswith(("1 to 10", "COCO"))
        as_expected &= abs(before - after) < 0.03
        as_expected &= confidence < 0.15 if broken else abs(confidence - after) < (0.05 if method == "temperature" else 0.2)

PROMPTS = ["truck", "car", "ship", "plane", "horse", "dog", "cat", "bird", "deer", "frog"]
for label, order in (("zero-shot, names sorted", sorted(PROMPTS)), ("zero-shot, names in the order of the prompts", PROMPTS)):
    for method in ("temperature", "sigmoid"):
        before, after, confidence = calibrated(label, ZeroShot().fit(texts, order), order, method)
        broken = method == "temperature" and order is PROMPTS
        as_expected &= after < 0.3 < 0.6 < before if broken else abs(before - after) < 0.03
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/temperature.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

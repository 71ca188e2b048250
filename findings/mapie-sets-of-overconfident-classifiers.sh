#!/usr/bin/env bash
# MAPIE's prediction sets hold all classes, or miss the true one too often, if the classifier is as sharp as CLIP's scale makes it.
#
# Guess: split conformal prediction covers the true class with the probability that was requested, whatever the classifier is. A model
# that is overconfident needs another threshold and no more. `top_k` looks at ranks only, so the scale of the logits changes nothing.
#
# What happens: MAPIE compares probabilities with a tolerance of 1e-8. The true class of a misclassified image often has less than that
# if the softmax is sharp. For `lac` and `top_k`, each class below the tolerance then is as good as the threshold: all sets are the
# full list of classes. For `aps` and `raps` it is the other way round: a sum within 1e-8 of 1 counts as all of the mass, the classes
# behind it are cut, and the coverage is far below the one requested. The same logits at a mild scale give correct sets of all four
# kinds, and thresholds on the plain float64 probabilities give them at each scale. There is no error and no warning.
#
# Versions: mapie 1.6.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.
# Who is hurt: users who put conformal sets around a zero-shot or fine-tuned CLIP whose softmax has the learned scale of 100, where the
# domain is hard: images are rejected as "could be anything", or three times as many images as allowed lack their class (at twice the
# scale: twelve times).
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir mapie==1.6.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1

cat >"$work/sets.py" <<'PY'
import sys

import numpy as np
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

CLASSES, WIDTH, IMAGES, COVERAGE = 100, 64, 4000, 0.99
rng = np.random.default_rng(0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class ZeroShot(ClassifierMixin, BaseEstimator):
    """Softmax of the cosines of image and text features, times a scale."""

    def __init__(self, texts=None, scale=1.0):
        self.texts, self.scale = texts, scale

    def fit(self, images, labels):
        self.classes_ = np.arange(CLASSES)
        return self

    def predict_proba(self, images):
        logits = self.scale * images @ self.texts.T
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def predict(self, images):
        return (images @ self.texts.T).argmax(axis=1)


texts = unit(rng.standard_normal((CLASSES, WIDTH)))


def images():
    labels = rng.integers(CLASSES, size=IMAGES)
    return unit(texts[labels] + 0.33 * rng.standard_normal((IMAGES, WIDTH))), labels


(calibration, known), (test, truth) = images(), images()
rows, index = np.arange(IMAGES), int(np.ceil((IMAGES + 1) * COVERAGE)) - 1
as_expected = True
for scale in (10, 100, 200):
    classifier = ZeroShot(texts, scale).fit(None, None)
    accuracy = (classifier.predict(test) == truth).mean()
    before, after = classifier.predict_proba(calibration), classifier.predict_proba(test)
    tiny = (after[rows, truth] < 1e-8).mean()
    print(f"scale {scale}: accuracy {accuracy:.1%}, true class below 1e-8 for {tiny:.1%}, requested coverage {COVERAGE:.0%}")

    def show(name, sets):
        covered, sizes = sets[rows, truth].mean(), sets.sum(axis=1)
        print(f"  {name}: coverage {covered:.1%}, size {sizes.mean():.1f} of {CLASSES}, all classes for {(sizes == CLASSES).mean():.1%}")
        return covered, sizes.mean()

    # What the same methods give without a tolerance, in the same float64.
    threshold = np.sort(-before[rows, known])[index]
    ranks = lambda values: (-values).argsort(axis=1).argsort(axis=1)
    deepest = np.sort(ranks(before)[rows, known])[index]
    for name, sets in (("lac, by hand", -after <= threshold), ("top_k, by hand", ranks(after) <= deepest)):
        covered, size = show(name, sets)
        as_expected &= abs(covered - COVERAGE) < 0.02 and size < 40

    for name in ("lac", "top_k", "aps", "raps"):
        predictor = SplitConformalClassifier(
            classifier, confidence_level=COVERAGE, conformity_score=name, prefit=True, random_state=0
        ).conformalize(calibration, known)
        covered, size = show(name, predictor.predict_set(test)[1][:, :, 0])
        if scale == 10:
            as_expected &= abs(covered - COVERAGE) < 0.02 and size < 40
        elif name in ("lac", "top_k"):
            as_expected &= covered > 0.995 and size > 0.9 * CLASSES
        else:
            as_expected &= covered < (0.98 if scale == 100 else 0.9)
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/sets.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

#!/usr/bin/env bash
# cleanlab scores the images of a class without labels as more out of distribution than the OOD images.
#
# Guess: `OutOfDistribution().fit(pred_probs=..., labels=...)` uses the labels to correct for classes that are rarer or less
# confident than others. A class that no label names has nothing to correct, so its images are scored about as before, and one
# class of 100 changes nothing for the other 99.
#
# What happens: the correction subtracts each class's average confidence, shifts all values to be positive and rescales them. A
# class without labels has no average and gets 2 as a stand-in, with which other functions of cleanlab count no image in that
# class. Here, the shift then adds 2 minus the average to every other class. All images have nearly uniform values with a low one
# at the class without labels. A confident image of that class raises the low one, and so is the most uniform of all: its OOD
# score is the worst. If the probabilities are softened, as calibration does, the default score, entropy, loses most of the
# ranking of the other images as well. There is no error and no warning, and the correction is on by default. With labels for
# each class, or with the mean of the other averages in place of the stand-in, it does little harm.
#
# Versions: cleanlab 2.9.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.
# Who is hurt: users of a zero-shot CLIP whose list of prompts is longer than the labeled images cover: rare species, new
# products, ImageNet's 1,000 names and a small set for fitting. The rare classes, for which a zero-shot model was chosen, are
# the ones that are rejected.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir cleanlab==2.9.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1

cat >"$work/classes.py" <<'PY'
import sys
import warnings

import numpy as np
from cleanlab.outlier import OutOfDistribution
from sklearn.metrics import roc_auc_score

warnings.simplefilter("error")
CLASSES, IMAGES = 100, 10_000
random = np.random.default_rng(0)


def images(known):
    """Cosines with the prompts, as CLIP has them, and the true classes."""
    cosines = random.normal(0.18, 0.02, (IMAGES, CLASSES))
    classes = random.integers(0, CLASSES, IMAGES)
    cosines[np.arange(IMAGES), classes] += random.normal(0.10 if known else 0.02, 0.01, IMAGES)
    return cosines, classes


def probabilities(cosines, scale):
    values = np.exp(scale * (cosines - cosines.max(axis=1, keepdims=True)))
    return values / values.sum(axis=1, keepdims=True)


(fit_images, labels), (inside, classes), (outside, _) = images(True), images(True), images(False)
accuracy = float(np.mean(inside.argmax(axis=1) == classes))
first = classes == 0
print(f"{CLASSES} classes, accuracy {accuracy:.1%}, of class 0 {np.mean(inside[first].argmax(axis=1) == 0):.1%}")
as_expected = accuracy > 0.9


def aurocs(detector, scale):
    """AUROC of the images of class 0 and of all others, each with the OOD images."""
    known, ood = (detector.score(pred_probs=probabilities(cosines, scale)) for cosines in (inside, outside))
    return [
        float(roc_auc_score(np.repeat([1, 0], [len(part), len(ood)]), np.concatenate([part, ood])))
        for part in (known[first], known[~first])
    ]


for scale in (100, 20):
    fitted = probabilities(fit_images, scale)
    for method in ("entropy", "least_confidence"):
        every, some = (OutOfDistribution({"method": method}) for _ in range(2))
        every.fit(pred_probs=fitted, labels=labels, verbose=False)
        some.fit(pred_probs=fitted[labels > 0], labels=labels[labels > 0], verbose=False)
        averages = some.params["confident_thresholds"].copy()
        as_expected &= averages[0] == 2 and averages[1:].max() < 1
        averages[0] = averages[1:].mean()
        guessed = OutOfDistribution({"method": method, "confident_thresholds": averages})
        plain = OutOfDistribution({"method": method, "adjust_pred_probs": False})
        print(f"Scale {scale}, {method}: AUROC of class 0, of the others")
        for how, detector in (
            ("without the correction", plain),
            ("labels of all classes", every),
            ("no labels of class 0", some),
            ("the same, with the mean of the other averages for class 0", guessed),
        ):
            one, others = aurocs(detector, scale)
            print(f"  {how}: {one:.3f}, {others:.3f}")
            if detector is some:
                as_expected &= one < (0.05 if scale == 100 or method == "entropy" else 0.5)
                as_expected &= others < 0.6 if scale == 20 and method == "entropy" else others > 0.95
            else:
                as_expected &= one > 0.9 and others > 0.9
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/classes.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

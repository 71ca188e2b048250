#!/usr/bin/env bash
# crepes' online p-values without smoothing are those of the calibration images: a stream of OOD images looks in-distribution.
#
# Guess: `predict_p_online` gives each image of a stream the p-value of its own score among all scores so far, those of the calibration
# included. `smoothing=False` leaves out the random numbers that break ties, so that p-values are a little larger and are repeatable.
# `all_classes=False` returns the column of the image's class only.
#
# What happens: with both, the function counts how many scores so far are at least as large as the first score of all, then as the second,
# and so on, and the calibration scores come first. So the first image of the stream gets the p-value of the first calibration image. A
# score of the stream enters only as one more that may be larger. With smoothing, or with all classes, or with Mondrian categories, each
# image gets its own p-value. There is no error and no warning. The p-values of ID images are uniform, as they must be, so that a test of
# the validity passes.
#
# Versions: crepes 0.9.1, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11. `WrapClassifier.predict_p(online=True, ...)` calls the same code.
# Who is hurt: users who watch a stream of CLIP features for OOD images or for drift, by small p-values or by a test martingale, and turn
# smoothing off so that results can be repeated. OOD images are flagged as rarely as ID images are, the martingale does not grow, and the
# OOD score (here, the distance to the 10th neighbor, which separates all of them) seems to be useless.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir crepes==0.9.1 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1

cat >"$work/stream.py" <<'PY'
import sys

import numpy as np
from crepes import ConformalClassifier
from crepes.martingales import SimpleJumper
from sklearn.neighbors import NearestNeighbors

DIMENSIONS, IMAGES, LEVEL = 64, 100, 0.05
generator = np.random.default_rng(0)
centers = generator.standard_normal((20, DIMENSIONS))


def features(count, kinds):
    points = kinds[generator.integers(len(kinds), size=count)] + 0.5 * generator.standard_normal((count, DIMENSIONS))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


neighbors = NearestNeighbors(n_neighbors=10, metric="cosine").fit(features(2000, centers))
score = lambda points: neighbors.kneighbors(points)[0][:, -1]
calibration = score(features(1000, centers))
streams = {"ID": score(features(IMAGES, centers))}
streams["OOD"] = score(features(IMAGES, generator.standard_normal((20, DIMENSIONS))))
print(f"smallest score of {IMAGES} OOD images: {streams['OOD'].min():.2f}; largest of 1,000 calibration images: {calibration.max():.2f}")
as_expected = streams["OOD"].min() > calibration.max()

one_class, labels = np.zeros(1), np.zeros(IMAGES)
for kind, scores in streams.items():
    conformal = ConformalClassifier().fit(calibration, seed=0)
    # The definition: the share of all scores so far, with the image's own, that are at least as large.
    so_far = np.concatenate([calibration, scores])
    own = np.array([np.mean(so_far[: 1001 + index] >= scores[index]) for index in range(IMAGES)])
    other = np.array([np.mean(so_far[: 1001 + index] >= calibration[index]) for index in range(IMAGES)])
    for label, settings in (
        ("with smoothing", {"smoothing": True, "all_classes": False}),
        ("without smoothing, all classes", {"smoothing": False, "all_classes": True}),
        ("without smoothing", {"smoothing": False, "all_classes": False}),
    ):
        values = conformal.predict_p_online(scores[:, None], one_class, labels, **settings).ravel()
        flagged, martingale = np.mean(values < LEVEL), SimpleJumper().apply(values).max()
        print(f"{kind} images, {label}: {flagged:.1%} have a p-value below {LEVEL}; the martingale reaches {martingale:.3g}")
        if label == "without smoothing":
            print(f"  equal to those of the calibration images: {np.allclose(values, other)}, to their own: {np.allclose(values, own)}")
            as_expected &= np.allclose(values, other) and not np.allclose(values, own)
        elif label == "without smoothing, all classes":
            as_expected &= np.allclose(values, own)
        if kind == "ID":
            as_expected &= flagged < 0.1 and martingale < 20
        elif label == "without smoothing":
            as_expected &= flagged < 0.1 and martingale < 20
        else:
            as_expected &= flagged > 0.8 and martingale > 1e12
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/stream.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

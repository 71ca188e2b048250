#!/usr/bin/env bash
# An int8 index of usearch scales each vector to one length, so that L2 distance and inner product become the cosine.
#
# Guess: `Index(metric="l2sq", dtype="i8")` and `metric="ip"` store the given float vectors in 8 bits and return about the neighbors of
# the float index, as "f16" and "bf16" do. If a range must be chosen, one range serves all vectors, or values beyond it are refused.
#
# What happens: every vector and every query is scaled by its own length before it is cut to 8 bits. A vector and a fifth of it have the
# distance 0. The chosen metric is accepted and then works on directions. The data are not too coarse for int8: the same features, put
# into int8 with one scale for all and handed over as int8 arrays, give the results of float32. There is no error and no warning.
#
# Versions: usearch 2.26.6, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11. All searches here are exact.
# Who is hurt: users of OOD scores by the k-th neighbor without normalization, where the shorter features of OOD images are the signal:
# the AUROC falls to that of chance. Users who serve a linear probe or classifier head as an inner-product search (its classes have
# weights of different lengths) get another top class for more than half of the images.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir usearch==2.26.6 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1

cat >"$work/lengths.py" <<'PY'
import sys

import numpy as np
from sklearn.metrics import roc_auc_score
from usearch.index import Index

WIDTH, GROUPS, BANK, IMAGES, CLASSES, NEIGHBORS = 512, 20, 3000, 500, 100, 10
rng = np.random.default_rng(0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


centers = unit(rng.standard_normal((GROUPS, WIDTH)))


def features(count, length):
    """Image features around the centers; those of OOD images point the same way and are shorter."""
    directions = unit(centers[rng.integers(GROUPS, size=count)] + 0.01 * rng.standard_normal((count, WIDTH)))
    return (directions * rng.normal(length, 0.5, size=(count, 1))).astype(np.float32)


bank, queries = features(BANK, 10), np.concatenate([features(IMAGES, 10), features(IMAGES, 6)])
is_ood = np.repeat([0, 1], IMAGES)
head = (unit(rng.standard_normal((CLASSES, WIDTH))) * rng.uniform(0.5, 2, size=(CLASSES, 1))).astype(np.float32)
images = unit(rng.standard_normal((IMAGES, WIDTH))).astype(np.float32)


def search(metric, dtype, stored, wanted, count):
    index = Index(ndim=WIDTH, metric=metric, dtype=dtype)
    index.add(np.arange(len(stored)), stored)
    return index.search(wanted, count, exact=True)


def one_scale(*arrays):
    largest = max(np.abs(array).max() for array in arrays)
    return [np.rint(array * (127 / largest)).astype(np.int8) for array in arrays]


as_expected = True
for dtype in ("f32", "bf16", "f16", "i8", "i8 by hand"):
    by_hand = dtype.endswith("hand")
    prepare = one_scale if by_hand else lambda *arrays: arrays
    kind = dtype.split()[0]
    near, near_queries = prepare(bank, queries)
    distances = search("l2sq", kind, near, near_queries, NEIGHBORS).distances[:, -1]
    auroc = roc_auc_score(is_ood, distances)
    whole, fifth = prepare(bank[:1], bank[:1] / 5)
    apart = float(np.ravel(search("l2sq", kind, whole, fifth, 1).distances)[0])
    (weights,), (inputs,) = prepare(head), prepare(images)
    best = search("ip", kind, weights, inputs, 1).keys[:, 0]
    same, cosine = (best == (images @ head.T).argmax(axis=1)).mean(), (best == (images @ unit(head).T).argmax(axis=1)).mean()
    print(
        f"{dtype}: AUROC of the distance to neighbor {NEIGHBORS} {auroc:.3f}, distance of a vector to a fifth of it {apart:.0f}, "
        f"top class by inner product {same:.1%}, by cosine {cosine:.1%}"
    )
    if dtype == "i8":
        as_expected &= 0.4 < auroc < 0.6 and apart == 0 and same < 0.5 and cosine > 0.75
    else:
        as_expected &= auroc > 0.95 and apart > 10 and same > 0.9 and cosine < 0.5
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/lengths.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

#!/usr/bin/env bash
# FAISS finds every image within every radius of a query if the index is RaBitQ in its fast-scan form.
#
# Guess: `range_search(queries, radius)` returns the vectors that `search` ranks within the radius, with the same distances. The index
# "IVF,RaBitQfs" is a faster layout of "IVF,RaBitQ", so that the results are about the same. An index that cannot do it refuses, as
# "RaBitQfs" without IVF does, and "PQfs" with IVF, of the same family, can do it.
#
# What happens: a RaBitQ distance is made of a sum over bits and of corrections, which belong to the query and to each vector: lengths,
# and how well the bits fit. `search` has a result handler of its own, which adds them. `range_search` is inherited from the common
# class of the fast-scan indexes. It knows no corrections and compares the bare sum with the radius. With L2, the bare sum lies around zero
# and falls where the distance grows: any ordinary radius returns the whole data set. With the inner product, the sum has little to do
# with the similarity: most of the near images are missing here, and many unlike ones are found. The distances that come with the results
# are bare sums as well. With more bits for each value, the extra bits are not even read. There is no error and no warning.
#
# Versions: faiss-cpu 1.15.1, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11. `nprobe` is the number of lists, so that no list is skipped.
# Who is hurt: users who count the neighbors within a radius as an OOD score, look for copies below a distance, or collect all images above
# a cosine with a text, in a compressed index of CLIP features. All images are in-distribution, or copies of each other. A test of the
# index by the recall of `search` passes.
# What to do: "IVF,RaBitQ" without "fs"; or `search` with a large k, and then cut at the radius.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir faiss-cpu==1.15.1 scikit-learn==1.9.1 numpy==2.4.6

cat >"$work/radius.py" <<'PY'
import sys

import faiss
import numpy as np
from sklearn.metrics import roc_auc_score

CLASSES, WIDTH, BANK, TEST, LISTS = 20, 512, 2000, 50, 16
rng = np.random.default_rng(0)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


classes = rng.standard_normal((CLASSES, WIDTH))
others = rng.standard_normal((CLASSES, WIDTH))


def images(centers, count):
    """Unit features around the directions of their classes."""
    return unit(centers[rng.integers(CLASSES, size=count)] + 0.7 * rng.standard_normal((count, WIDTH)))


bank = images(classes, BANK)
queries = np.concatenate([images(classes, TEST), images(others, TEST)])
is_ood = np.repeat([0, 1], TEST)
cosines = queries.astype(np.float64) @ bank.T.astype(np.float64)
as_expected = True


def correlation(left, right):
    return float(np.corrcoef(left, right)[0, 1]) if len(left) > 1 else float("nan")


for name, metric, radius, truth in (
    ("squared L2 distance below 1", faiss.METRIC_L2, 1.0, 2 - 2 * cosines),
    ("cosine above 0.5", faiss.METRIC_INNER_PRODUCT, 0.5, cosines),
):
    near = truth < radius if metric == faiss.METRIC_L2 else truth > radius
    auroc = roc_auc_score(is_ood, -near.sum(axis=1))
    print(f"{name}: {near.sum()} of {near.size} pairs; AUROC of the number of neighbors {auroc:.3f}")
    as_expected &= auroc > 0.99
    for kind in ("Flat", "PQ256x4fs", "RaBitQ", "RaBitQfs", "RaBitQ4", "RaBitQfs4"):
        index = faiss.index_factory(WIDTH, f"IVF{LISTS},{kind}", metric)
        index.train(bank)
        index.add(bank)
        index.nprobe = LISTS

        values, ids = index.search(queries, BANK)
        inside = values < radius if metric == faiss.METRIC_L2 else values > radius
        inside &= ids >= 0
        rows = np.nonzero(inside)[0]
        by_search = near[rows, ids[inside]].sum(), len(rows)
        right = correlation(values[inside], truth[rows, ids[inside]])

        limits, values, ids = index.range_search(queries, radius)
        rows = np.repeat(np.arange(len(queries)), np.diff(limits).astype(int))
        by_range = near[rows, ids].sum(), len(rows)
        wrong = correlation(values, truth[rows, ids])
        auroc = roc_auc_score(is_ood, -np.diff(limits).astype(int))
        print(
            f"  IVF{LISTS},{kind}: search finds {by_search[1]} pairs, {by_search[0] / near.sum():.1%} of the near ones; "
            f"range_search {by_range[1]} pairs, {by_range[0] / near.sum():.1%} of the near ones, AUROC {auroc:.3f}, "
            f"correlation of the values with the true ones {wrong:.2f} (search: {right:.2f})"
        )
        as_expected &= abs(by_search[1] / near.sum() - 1) < 0.2 and right > 0.4
        if not kind.startswith("RaBitQfs"):
            as_expected &= abs(by_range[1] / by_search[1] - 1) < 0.05 and auroc > 0.99 and wrong > 0.4
        elif metric == faiss.METRIC_L2:
            as_expected &= by_range[1] > 0.99 * near.size and auroc < 0.6 and wrong < 0
        else:
            as_expected &= by_range[0] < 0.8 * near.sum() and by_range[0] < 0.2 * by_range[1] and auroc < 0.8 and wrong < right - 0.2

index = faiss.index_factory(WIDTH, "RaBitQfs")
index.train(bank)
index.add(bank)
try:
    index.range_search(queries, 1.0)
    refused = False
except RuntimeError as error:
    refused = "not implemented" in str(error)
print("RaBitQfs without IVF:", "range search is refused as not implemented" if refused else "range search is not refused")
sys.exit(0 if as_expected and refused else 1)
PY
"$work/venv/bin/python" "$work/radius.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

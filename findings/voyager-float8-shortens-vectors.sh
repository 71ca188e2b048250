#!/usr/bin/env bash
# Voyager's Float8 storage gives a CLIP feature a cosine distance of 0.14 to itself, and more the wider the tower is.
#
# Guess: `StorageDataType.Float8` rounds values to the nearest of 255 steps between -1 and 1. Errors of both signs cancel in a cosine
# over hundreds of dimensions: each vector keeps its length, and thresholds on the distance of float features stay good.
#
# What happens: values are cut toward zero instead. The values of a unit vector with 512 dimensions are about 5 steps large, so cutting
# takes half a step of each and a seventh of the whole product. `Space.Cosine` takes the product of the shortened vectors for the cosine,
# so that all distances are too large: 0.05 for the vector itself with 64 dimensions, 0.14 with 512 and 0.17 with 1024. The same steps with
# rounding give less than 0.01, and find more of the true neighbors. There is no error and no warning.
#
# Versions: voyager 2.2.3, numpy 2.4.6, Python 3.11.
# Who is hurt: users who save memory with Float8 on CLIP features and keep their thresholds: deduplication at a distance of 0.05 finds not
# one of the copies, and a detector of OOD images by the distance to the neighbors, set on float32 features, rejects all ID images. The
# larger tower looks as if it were worse.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir voyager==2.2.3 numpy==2.4.6

cat >"$work/short.py" <<'PY'
import sys

import numpy as np
import voyager

IMAGES, COPIES, NEIGHBORS, DUPLICATE = 2000, 300, 10, 0.05
rng = np.random.default_rng(0)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def nearest(stored, wanted):
    return np.argsort(-(wanted @ stored.T), axis=1)[:, :NEIGHBORS]


def recall(found, truth):
    return np.mean([len(set(one) & set(other)) for one, other in zip(found.tolist(), truth.tolist())]) / NEIGHBORS


as_expected = True
for width in (64, 512, 1024):
    # Features in a cone, as those of CLIP, and slightly edited copies of some of the images.
    features = unit(0.85 * unit(rng.standard_normal((1, width))) + 0.53 * unit(rng.standard_normal((IMAGES, width))))
    copies = unit(features[:COPIES] + 0.1 * unit(rng.standard_normal((COPIES, width))))
    truth = nearest(features, copies)
    # A detector that keeps 95% of images which are as near to the stored ones as the copies are.
    limit = np.quantile(1 - (copies * features[:COPIES]).sum(axis=1), 0.95)
    print(f"{width} dimensions")
    results = {}
    for storage in ("Float32", "Float8"):
        index = voyager.Index(
            voyager.Space.Cosine, width, M=24, ef_construction=200, random_seed=1,
            storage_data_type=getattr(voyager.StorageDataType, storage),
        )
        index.add_items(features, num_threads=1)
        keys, distances = index.query(copies, NEIGHBORS, num_threads=1, query_ef=500)
        itself = float(index.query(features[0], 1)[1][0])
        found = ((distances[:, 0] < DUPLICATE) & (keys[:, 0] == np.arange(COPIES))).mean()
        kept = (distances[:, 0] <= limit).mean()
        results[storage] = itself, found, kept, recall(keys, truth)
        length = np.linalg.norm(index.get_vector(0))
        print(
            f"  {storage}: distance to itself {itself:.3f}, stored length {length:.3f}, copies found below {DUPLICATE} {found:.1%}, "
            f"ID kept {kept:.1%}, recall {results[storage][3]:.1%}"
        )
    rounded = [np.rint(rows * 127) / 127 for rows in (features, copies)]
    results["rounded"] = 1 - float(rounded[0][0] @ rounded[0][0]), recall(nearest(*rounded), truth)
    print(f"  the same steps with rounding: distance to itself {results['rounded'][0]:.3f}, recall {results['rounded'][1]:.1%}")
    as_expected &= abs(results["Float32"][0]) < 1e-5 and results["Float32"][1] == 1 and results["Float32"][3] > 0.99
    as_expected &= 0.93 < results["Float32"][2] < 0.97 and results["Float8"][2] < 0.01
    as_expected &= abs(results["rounded"][0]) < 0.01 and results["rounded"][1] > results["Float8"][3] + 0.01
    as_expected &= results["Float8"][0] > (0.04 if width == 64 else 0.12) and (width == 64 or results["Float8"][1] == 0)
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/short.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

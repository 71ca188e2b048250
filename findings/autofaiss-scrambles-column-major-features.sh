#!/usr/bin/env bash
# autofaiss builds an index of scrambled vectors from a feature matrix that is column-major in memory.
#
# Guess: `build_index` takes a NumPy array, or the `.npy` files that `numpy.save` wrote, and indexes the rows of the matrix. Two
# arrays that are equal by `numpy.array_equal` give the same index.
#
# What happens: NumPy stores a column-major matrix as such and notes `fortran_order` in the header. embedding-reader, which reads
# all vectors for autofaiss, parses the header by itself and looks for shape and type only. It cuts the transposed values into rows
# of the right length. autofaiss saves an array in memory to a file first, so that is scrambled as well. There is no warning, and the
# reconstruction error that autofaiss reports is 0: it compares the index with the same scrambled vectors.
#
# Versions: autofaiss 2.18.0, embedding-reader 1.8.1, faiss-cpu 1.15.1, pandas 2.3.3, numpy 1.26.4, Python 3.11.
# Who is hurt: users of clip-retrieval and autofaiss whose features come from a data frame with a column for each dimension, from
# scikit-learn's PCA, or from `.T`: all of these can be column-major. Every search returns random images.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    autofaiss==2.18.0 embedding-reader==1.8.1 faiss-cpu==1.15.1 pandas==2.3.3 numpy==1.26.4 pyarrow==20.0.0

cat >"$work/index.py" <<'PY'
import os
import sys

import numpy as np
import pandas as pd
from autofaiss import build_index

work = sys.argv[1]
IMAGES, WIDTH = 2000, 64
features = np.random.default_rng(0).standard_normal((IMAGES, WIDTH)).astype(np.float32)
features /= np.linalg.norm(features, axis=1, keepdims=True)
frame = pd.DataFrame({f"feature_{column}": features[:, column] for column in range(WIDTH)})
ARRAYS = {"row-major": features, "from a data frame": frame.to_numpy(), "transposed": features.T.copy().T}

as_expected = True
for label, array in ARRAYS.items():
    equal = np.array_equal(array, features)
    folder = f"{work}/{label.replace(' ', '-')}"
    os.mkdir(folder)
    np.save(f"{folder}/features.npy", array)
    own = {}
    for how, source in (("array", array), ("file", folder)):
        index, infos = build_index(
            source, save_on_disk=False, index_key="Flat", metric_type="ip", max_index_memory_usage="1GB", verbose=40
        )
        found = index.search(features, 1)[1][:, 0]
        own[how] = float(np.mean(found == np.arange(IMAGES)))
    error = infos["reconstruction error %"]
    order = "column-major" if np.load(f"{folder}/features.npy").flags.f_contiguous else "row-major"
    print(f"{label} ({order}), the same values: {equal}. Images that find themselves in the index")
    print(f"  of the array: {own['array']:.0%}, of the file: {own['file']:.0%}; autofaiss reports a reconstruction error of {error}%")
    good = label == "row-major"
    as_expected &= equal and (order == "row-major") == good and error == 0
    as_expected &= all((value == 1) if good else (value < 0.02) for value in own.values())
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/index.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

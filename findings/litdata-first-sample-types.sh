#!/usr/bin/env bash
# litdata reads every sample's vectors and scores with the type of the first sample, whatever was stored.
#
# Guess: `optimize` stores each NumPy array so that `StreamingDataset` returns its values. If all samples must have one type, another
# type is converted or refused, as an int in a field of floats is refused. A missing score (None) comes back as None.
#
# What happens: the bytes of a one-dimensional array are stored without a type, and each array is read as the type of the first
# sample: with float32 first, float16 and float64 vectors become other numbers, and half or twice as many. A None in a field of
# ints, floats or texts is stored as no bytes, and read as 0, 0.0 or an empty text. (If it is the last field of the sample, it is
# None.) Nothing warns, neither when it is written nor when it is read.
#
# Versions: litdata 0.2.76, torch 2.15.0, numpy 2.4.6, Python 3.11.
# Who is hurt: users who store CLIP features with captions and scores: `np.zeros(512)` for a missing image or text is float64, and
# features of an autocast or a half-precision run are float16. Training continues on random vectors where the lengths are not
# compared, and "no score" means "safe" or "unlike".
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir litdata==0.2.76 torch==2.15.0 numpy==2.4.6

cat >"$work/store.py" <<'PY'
import sys

import numpy
from litdata import StreamingDataset, optimize

HALVES = numpy.full(4, 0.5)
SAMPLES = [
    {"unsafe": 0.9, "feature": HALVES.astype(numpy.float32), "caption": "a cat", "width": 640},
    {"unsafe": 0.9, "feature": HALVES.astype(numpy.float16), "caption": "a dog", "width": 640},
    {"unsafe": 0.9, "feature": HALVES, "caption": "a bird", "width": 640},
    {"unsafe": None, "feature": HALVES.astype(numpy.float32), "caption": None, "width": 640},
    {"unsafe": 0.9, "feature": HALVES.astype(numpy.float32), "caption": "a fish", "width": 640},
]


def sample(index):
    return SAMPLES[index]


if __name__ == "__main__":
    work = sys.argv[1]
    optimize(sample, list(range(len(SAMPLES))), output_dir=f"{work}/stored", chunk_size=8, num_workers=1)
    dataset = StreamingDataset(f"{work}/stored")
    right = []
    with open(f"{work}/seen", "w") as seen:
        for stored, read in zip(SAMPLES, [dataset[index] for index in range(len(SAMPLES))]):
            for field in ("unsafe", "feature", "caption"):
                same = numpy.array_equal(stored[field], read[field])
                right.append(same)
                if not same:
                    type_ = f" ({stored[field].dtype})" if field == "feature" else ""
                    print(f"{field}: stored {stored[field]!s}{type_}, read {read[field]!r}", file=seen)
        print(f"{sum(right)} of {len(right)} values are right", file=seen)
    missing = dataset[3]
    expected = [True] * 3 + [True, False, True] * 2 + [False, True, False] + [True] * 3
    as_expected = right == expected and missing["unsafe"] == 0 and missing["caption"] == ""
    as_expected &= len(dataset[1]["feature"]) == 2 and len(dataset[2]["feature"]) == 8
    sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/store.py" "$work" >"$work/log" 2>&1 || {
    status=$?
    cat "$work/seen" || true
    tail -20 "$work/log" >&2
    exit "$status"
}
cat "$work/seen"

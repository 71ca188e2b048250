#!/usr/bin/env bash
# Hugging Face datasets cuts the scores in a WebDataset's JSON to integers if the first five samples have whole numbers.
#
# Guess: the values of a `.json` field arrive as they are in the shard. If the type that was inferred does not fit a later value,
# there is an error, as pyarrow raises one for 0.9 in a column of integers.
#
# What happens: the types are inferred from the first five samples of the first shard. If a score is written as 0 or 1 in these,
# its column is int64, and each later value goes through Python's `int()`: 0.99 becomes 0. This is so with and without streaming,
# and nothing warns. If the five have 0 and 0.99, there is an error; if all are written as 1.0 and 0.0, all scores are right. So
# the order of the shard decides.
#
# Versions: datasets 5.2.0, Python 3.11.
# Who is hurt: users who filter image-text shards by similarity, aesthetic or unsafe scores that the JSON next to each image
# holds, and that JavaScript, Go or a rounding step writes as 0 or 1 where they are whole. "Unsafe above 0.5" finds nothing,
# "similarity above 0.3" drops almost everything, and a look at the first rows shows nothing wrong.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir datasets==5.2.0 numpy==2.4.6 pyarrow==26.0.1

cat >"$work/scores.py" <<'PY'
import io
import json
import sys
import tarfile

from datasets import load_dataset

work = sys.argv[1]
LATER = [{"similarity": 0.31, "unsafe": 0.99}, {"similarity": 0.28, "unsafe": 0.02}]
FIRST = {"whole": [{"similarity": 1, "unsafe": 0}] * 5, "float": [{"similarity": 1.0, "unsafe": 0.0}] * 5}
as_expected = True
for kind, first in FIRST.items():
    with tarfile.open(f"{work}/{kind}.tar", "w") as shard:
        for number, sample in enumerate(first + LATER):
            text = json.dumps(sample).encode()
            entry = tarfile.TarInfo(f"{number:09}.json")
            entry.size = len(text)
            shard.addfile(entry, io.BytesIO(text))
    for streaming in (False, True):
        rows = load_dataset(
            "webdataset",
            data_files=f"{work}/{kind}.tar",
            split="train",
            streaming=streaming,
            cache_dir=f"{work}/cache-{kind}",
        )
        later = [row["json"] for row in rows][5:]
        print(f"first five {kind}{', streaming' * streaming}: the other two are {later}")
        as_expected &= later == ([{"similarity": 0, "unsafe": 0}] * 2 if kind == "whole" else LATER)
print(f"in both shards: {LATER}")
sys.exit(0 if as_expected else 1)
PY
export HF_HOME="$work/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1
"$work/venv/bin/python" "$work/scores.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

#!/usr/bin/env bash
# datago's random sample of an image folder comes from the first few class folders only, the same ones in each run.
#
# Guess: `random_sampling` with `limit=100` serves 100 random images of the folder, from about all classes, and others in the next run. With
# several ranks, each rank serves up to `limit` images, or all of them together do, and each has a random part of the data.
#
# What happens: only the first 2 x `limit` files in the order of the file system are listed, folder by folder, and these are shuffled:
# 200 of 1,000 images, which are 4 of 20 classes. No run ever serves another class. The ranks split the same short list before it is
# shuffled, so that each of 4 ranks serves half of `limit` from one class, and each of 8 a quarter of it. If the limit covers the whole
# data set, each rank still has its own folders, in all epochs. There is no warning.
#
# Versions: datago 2026.10.1, pillow 13.0.0, numpy 2.4.6, Python 3.11.
# Who is hurt: users who draw a calibration set, a validation subset or a short training run from a folder with one subfolder a class:
# thresholds, temperatures and accuracies are those of a few classes, and are stable from run to run, so that nothing looks wrong. On
# several GPUs, the batch of each GPU has its own classes, so that a loss with local negatives never sees the others.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir datago==2026.10.1 pillow==13.0.0 numpy==2.4.6

cat >"$work/sample.py" <<'PY'
import json
import sys
from collections import Counter
from pathlib import Path

from datago import DatagoClient
from PIL import Image

CLASSES, EACH = 20, 50
root = Path(sys.argv[1]) / "images"
for label in range(CLASSES):
    (root / f"class-{label:02}").mkdir(parents=True)
    for number in range(EACH):
        Image.new("RGB", (8, 8), (10 * label, number, 0)).save(root / f"class-{label:02}" / f"{number:02}.png")


def served(limit, rank=0, world_size=1):
    """Classes of the served images, and the files."""
    source = {"root_path": str(root), "random_sampling": True, "rank": rank, "world_size": world_size}
    client = DatagoClient(json.dumps(
        {"source_type": "file", "source_config": source, "limit": limit, "samples_buffer_size": 16}
    ))
    files = []
    while sample := client.get_sample():
        files.append(Path(json.loads(sample.id)))
    client.stop()
    return Counter(file.parent.name for file in files), set(files)


as_expected = True
seen, distinct = set(), set()
for _ in range(5):
    classes, files = served(100)
    seen |= set(classes)
    distinct |= files
    as_expected &= len(classes) <= 4
print(f"limit 100, 5 runs: {len(distinct)} different images of {len(seen)} of {CLASSES} classes")
as_expected &= len(seen) == 4 and 150 < len(distinct) <= 200

for limit, world_size, images, most in ((100, 4, 50, 1), (100, 8, 25, 1), (250, 8, 62, 3), (1000, 8, 125, 4)):
    ranks = [served(limit, rank, world_size) for rank in range(world_size)]
    counts = [sum(classes.values()) for classes, _ in ranks]
    together = set().union(*(classes for classes, _ in ranks))
    print(
        f"limit {limit}, {world_size} ranks: {counts} images, "
        f"of {[len(classes) for classes, _ in ranks]} classes, {len(together)} together"
    )
    as_expected &= all(images <= count <= images + 1 for count in counts)
    as_expected &= max(len(classes) for classes, _ in ranks) <= most
    as_expected &= len(together) == min(CLASSES, 2 * limit // EACH)
again, _ = served(1000, 0, 8)
print(f"rank 0 of 8, again: {'the same' if set(again) == set(ranks[0][0]) else 'other'} classes")
as_expected &= set(again) == set(ranks[0][0])
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/sample.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

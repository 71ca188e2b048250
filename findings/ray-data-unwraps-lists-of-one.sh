#!/usr/bin/env bash
# Ray Data turns a WebDataset sample's JSON list of one caption into a bare text.
#
# Guess: `ray.data.read_webdataset` hands out the JSON of each sample as `json.loads` gives it: a list of captions is a list,
# whether it has no, one or five elements.
#
# What happens: every list of exactly one element, in any field, is replaced by its element; other lengths stay lists. The code is
# there for `expand_json`, but it runs without it as well. `write_webdataset` then writes the bare text, so the shape of the data
# is changed for good. Nothing warns, and the documentation does not say it.
#
# Versions: ray 2.60.0 (ray[data]), Python 3.11.
# Who is hurt: users who keep several captions (or boxes, or tags) of an image in a JSON list, as COCO-like data do. For images
# with one caption, `random.choice(captions)` draws a letter, `captions[0]` is a letter, `len(captions)` counts letters, and
# zero-shot or contrastive training sees "a" as the text. Only the samples with one caption are wrong.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir "ray[data]==2.60.0" numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1

cat >"$work/captions.py" <<'PY'
import glob
import io
import json
import os
import sys
import tarfile

import ray

work = sys.argv[1]
SAMPLES = [["two dogs", "dogs at play"], ["a red kite"], [], ["tea", "a cup", "a cup of tea"]]
os.mkdir(f"{work}/shards")
with tarfile.open(f"{work}/shards/0.tar", "w") as shard:
    for number, captions in enumerate(SAMPLES):
        text = json.dumps(captions).encode()
        entry = tarfile.TarInfo(f"{number:05}.captions.json")
        entry.size = len(text)
        shard.addfile(entry, io.BytesIO(text))

ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
dataset = ray.data.read_webdataset(f"{work}/shards/0.tar")
read = [row["captions.json"] for row in sorted(dataset.take_all(), key=lambda row: row["__key__"])]
dataset.write_webdataset(f"{work}/written")
written = {}
for path in glob.glob(f"{work}/written/*.tar"):
    with tarfile.open(path) as shard:
        written.update({entry.name: json.load(shard.extractfile(entry)) for entry in shard})
written = [written[name] for name in sorted(written)]
ray.shutdown()

as_expected = len(read) == len(written) == len(SAMPLES)
for captions, got, again in zip(SAMPLES, read, written):
    print(f"in the shard: {captions}, read: {got!r}, first caption: {got[0] if len(got) else None!r}, written again: {again!r}")
    expected = captions[0] if len(captions) == 1 else captions
    as_expected &= (got if isinstance(got, str) else list(got)) == expected and again == expected
sys.exit(0 if as_expected else 1)
PY
export RAY_USAGE_STATS_ENABLED=0
"$work/venv/bin/python" "$work/captions.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

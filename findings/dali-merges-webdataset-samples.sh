#!/usr/bin/env bash
# NVIDIA DALI loses samples of a WebDataset that webdataset's own writer made, if their keys are not ASCII or are long.
#
# Guess: `fn.readers.webdataset` returns the same samples as the webdataset package. It reads the PAX format, which Python's
# `tarfile`, and so `webdataset.TarWriter`, writes by default. The index file only saves time: without one, the documentation
# says, the same is inferred from the archive.
#
# What happens: without an index file, DALI passes over the PAX header that holds the true name and uses the short name behind it,
# where each character that is not ASCII is a question mark and all beyond 100 bytes is cut. Neighboring keys that look alike then
# are one sample; its first files are returned, the others dropped; a log line speaks of "multiple components". Names
# that lose their extension give samples with empty components. With an index file by DALI's `wds2idx`, all is right.
#
# Versions: nvidia-dali-cuda130 2.4.0 (on the CPU), webdataset 1.0.2, numpy 2.4.6, Python 3.11. `wds2idx` calls the `tar` program.
# Who is hurt: users whose keys are titles, class names or paths in Chinese, Japanese, Russian, Hindi …, or URLs. Keys such as
# those of the first shard below keep one sample in three; an epoch is shorter and a class can vanish, without an error.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir nvidia-dali-cuda130==2.4.0 webdataset==1.0.2 numpy==2.4.6

cat >"$work/read.py" <<'PY'
import subprocess
import sys

import webdataset
from nvidia.dali import fn, pipeline_def

work = sys.argv[1]
LONG = "https%3A%2F%2Flocalhost%2F" + "photos%2F" * 9
SHARDS = {
    "of one character": ["猫", "犬", "鳥"],
    "of one length": ["собака", "корова", "лошадь", "dog"],
    "long": [LONG + "cat", LONG + "dog", "short"],
    "ASCII": ["cat", "dog", "horse"],
}
EXPECTED = {"of one character": (1, 0), "of one length": (2, 0), "long": (2, 1), "ASCII": (3, 0)}


@pipeline_def(batch_size=1, num_threads=1, device_id=None)
def reader(shard, index):
    numbers, texts = fn.readers.webdataset(paths=shard, index_paths=index, ext=["cls", "txt"])
    return numbers, texts


def dali(shard, index=None):
    pipeline = reader(shard, index)
    pipeline.build()
    (meta,) = pipeline.reader_meta().values()
    return [bytes(pipeline.run()[1].at(0)).decode() for _ in range(meta["epoch_size"])]


as_expected = True
for name, keys in SHARDS.items():
    shard, index = f"{work}/{name}.tar", f"{work}/{name}.idx"
    with webdataset.TarWriter(shard) as writer:
        for number, key in enumerate(keys):
            writer.write({"__key__": key, "cls": number, "txt": f"a photo of a {key[-9:]}"})
    wanted = [sample["txt"].decode() for sample in webdataset.WebDataset(shard, shardshuffle=False)]
    alone = dali(shard)
    subprocess.run([f"{work}/venv/bin/wds2idx", shard, index], check=True, stdout=subprocess.DEVNULL)
    indexed = dali(shard, index)
    print(f"keys {name}: webdataset reads {len(wanted)} samples, DALI {len(alone)}, and {len(indexed)} with an index file")
    print(f"  captions by DALI: {alone}")
    as_expected &= (len(alone), alone.count("")) == EXPECTED[name]
    as_expected &= len(wanted) == len(keys) and indexed == wanted
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/read.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

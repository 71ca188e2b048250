#!/usr/bin/env bash
# webdataset's cache hands out the shard of another data set if the two shards have the same file name.
#
# Guess: `WebDataset(url, cache_dir=...)` returns the samples of its URL, and the cache only saves the second download. One folder can serve
# several data sets, as the caches of browsers, pip and Hugging Face do. `url_to_name` chooses the names of the files, as documented.
#
# What happens: the name in the cache is the last part of the URL, without the folders and the host. If a file of that name is there, it is
# taken for the shard: `train/00000.tar` is read in place of `val/00000.tar`, and `v1` in place of `v2`. In one list of two data sets, the
# first is read twice and the second never. `__url__` of such a sample is the URL that was not read. `url_to_name` is accepted and has no
# effect, as it is never handed on to the cache. A list of `pipe:curl ...` has names of its own, and is right. There is no error and no warning.
#
# Versions: webdataset 1.0.2, numpy 2.4.6, Python 3.11. Local files are not cached, so this needs HTTP (or S3, GS, ...): here it is a server
# on 127.0.0.1.
# Who is hurt: img2dataset names the shards of each data set 00000.tar, 00001.tar and so on. Who reads CC3M and CC12M, or the training and
# the validation set, through one cache trains on the first alone and validates on training samples: below, a nearest-neighbor classifier on
# pure noise has a validation accuracy of 100%. Counts of samples are right.
#
# Prints what was seen, and exits with 1 if it is otherwise. Needs curl, which webdataset calls.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir webdataset==1.0.2 numpy==2.4.6

cat >"$work/shards.py" <<'PY'
import functools
import http.server
import os
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import webdataset as wds
from webdataset.cache import FileCache, url_to_cache_name

os.environ["no_proxy"] = "127.0.0.1"
root = Path(sys.argv[1])
rng = np.random.default_rng(0)
IMAGES, CLASSES = 500, 10

# Two sets with the same names of shards and keys, as img2dataset makes them. Features and labels are noise, so nothing can be learned.
for part in ("train", "val"):
    (root / part).mkdir()
    with wds.TarWriter(str(root / part / "00000.tar")) as writer:
        for number in range(IMAGES):
            features, label = rng.standard_normal(32).astype(np.float32), int(rng.integers(CLASSES))
            writer.write({"__key__": f"{number:09d}", "txt": f"{part} {number}", "npy": features, "cls": label})


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=root))
threading.Thread(target=server.serve_forever, daemon=True).start()
url = {part: f"http://127.0.0.1:{server.server_port}/{part}/00000.tar" for part in ("train", "val")}


def whole_name(address):
    return address.partition("//")[2].replace("/", "_")


def read(urls, **options):
    return list(wds.WebDataset(urls, shardshuffle=False, **options).decode())


def own_cache(urls, folder):
    """The same pipeline by hand, where the names reach the cache."""
    return list(
        wds.DataPipeline(
            wds.SimpleShardList(urls), FileCache(folder, url_to_name=whole_name), wds.tariterators.tar_file_expander,
            wds.tariterators.group_by_keys, wds.decode(),
        )
    )


def accuracy(train, val):
    """Accuracy of the nearest training sample's label."""
    known, queries = (np.stack([sample["npy"] for sample in part]) for part in (train, val))
    labels, truth = (np.array([sample["cls"] for sample in part]) for part in (train, val))
    nearest = ((queries[:, None] - known[None]) ** 2).sum(axis=2).argmin(axis=1)
    return (labels[nearest] == truth).mean()


print("names in the cache:", *(url_to_cache_name(address) for address in url.values()))
as_expected = True
for label, options, right in [
    ("no cache", None, True),
    ("cache_dir", {}, False),
    ("cache_dir, url_to_name", {"url_to_name": whole_name}, False),
    ("cache_dir, pipe:curl", "pipe", True),
    ("FileCache(url_to_name)", "own", True),
]:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        if options is None:
            get = get_both = read
        elif options == "own":
            get = functools.partial(own_cache, folder=folder)
            get_both = functools.partial(own_cache, folder=other)
        else:
            kept = options if isinstance(options, dict) else {}
            get = functools.partial(read, cache_dir=folder, **kept)
            get_both = functools.partial(read, cache_dir=other, **kept)
        names = {part: f"pipe:curl -s {address}" if options == "pipe" else address for part, address in url.items()}
        train, val = get([names["train"]]), get([names["val"]])
        both = get_both(list(names.values()))
        files = sorted(os.listdir(folder))
    first, score = val[0], accuracy(train, val)
    seen = {part: sum(sample["txt"].startswith(part) for sample in both) for part in url}
    source = first["__url__"].rpartition(":")[2].partition("/")[2]
    print(
        f"{label}: {len(val)} samples of val, the first is {first['txt']!r} of {source}, accuracy {score:.1%}, "
        f"both in one list: {seen['train']} of train and {seen['val']} of val; {len(files)} files in the cache"
    )
    as_expected &= len(train) == len(val) == IMAGES and len(both) == 2 * IMAGES and source == "val/00000.tar"
    as_expected &= first["txt"] == ("val 0" if right else "train 0")
    as_expected &= seen["val"] == (IMAGES if right else 0) and (score < 0.2 if right else score == 1)
sys.exit(0 if as_expected else 1)
PY
mkdir "$work/data"
"$work/venv/bin/python" "$work/shards.py" "$work/data" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

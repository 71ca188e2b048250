#!/usr/bin/env bash
# A Pillow image that was edited in place is stored as the unedited file that it came from.
#
# Guess: a data set that is made of Pillow images holds the pixels that these images have. `thumbnail`, `paste` and drawing
# change an image in place, so what is stored is the small or masked image, wherever the image was opened from.
#
# What happens: Pillow keeps `filename` on an image that was edited in place. Hugging Face datasets then stores that path instead
# of pixels, in `Dataset.from_dict` and in what `map` returns, and an upload embeds the original file. MosaicML Streaming's "jpeg"
# encoding copies the original file too. The same edits are kept if datasets held the image as bytes, or if the edit makes a new
# image (`copy`, `resize`). Nothing warns.
#
# Versions: datasets 5.2.0, mosaicml-streaming 0.13.0, pillow 13.0.0, Python 3.11. Of Streaming, only the module of the encodings
# is loaded, which needs no PyTorch.
# Who is hurt: users who mask faces, plates or watermarks, or shrink images, before they publish or train. The masked parts are in
# the published file; a model trains on images that the script was meant to have changed. A test with images from memory passes.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir datasets==5.2.0 pillow==13.0.0 numpy==2.4.6 pyarrow==26.0.1
"$work/venv/bin/pip" install --quiet --no-cache-dir --no-deps mosaicml-streaming==0.13.0

cat >"$work/edited.py" <<'PY'
import io
import os
import runpy
import sys
import sysconfig

from datasets import Dataset, Features, Image
from datasets.table import embed_table_storage
from PIL import Image as Pillow

os.chdir(sys.argv[1])
FEATURES = Features({"image": Image()})
Pillow.new("RGB", (64, 64), "white").save("photo.jpg", quality=95)
data = open("photo.jpg", "rb").read()
seen = {}


def state(image):
    corner = "masked" if max(image.convert("RGB").getpixel((0, 0))) < 50 else "not masked"
    return f"{image.width} x {image.height}, {corner}"


def edited(image):
    image.paste("black", (0, 0, 32, 32))  # in place
    image.thumbnail((16, 16))  # in place
    return image


def edit(row):
    edited(row["image"])
    return row


image = edited(Pillow.open("photo.jpg"))
seen["the Pillow image itself"] = state(image)
made = Dataset.from_dict({"image": [image]}, features=FEATURES)
seen["datasets, from_dict"] = state(made[0]["image"])
files = Dataset.from_dict({"image": ["photo.jpg"]}, features=FEATURES)
mapped = files.map(edit)
seen["datasets, map over files"] = state(mapped[0]["image"])
published = embed_table_storage(mapped.with_format("arrow")[:])  # as `push_to_hub` does it
seen["datasets, map over files, embedded"] = state(Pillow.open(io.BytesIO(published["image"][0]["bytes"].as_py())))
in_memory = Dataset.from_dict({"image": [{"bytes": data, "path": None}]}, features=FEATURES)
seen["datasets, map over bytes"] = state(in_memory.map(edit)[0]["image"])
encodings = runpy.run_path(sysconfig.get_path("purelib") + "/streaming/base/format/mds/encodings.py")
shard = encodings["mds_encode"]("jpeg", edited(Pillow.open("photo.jpg")))
seen["Streaming, jpeg"] = state(encodings["mds_decode"]("jpeg", shard))
seen["Streaming, jpeg, of a new image"] = state(encodings["mds_decode"]("jpeg", encodings["mds_encode"]("jpeg", image.copy())))

for label, what in seen.items():
    print(f"{label}: {what}")
lost, kept = "64 x 64, not masked", "16 x 16, masked"
sys.exit(0 if list(seen.values()) == [kept, lost, lost, lost, kept, lost, kept] else 1)
PY
export HF_HOME="$work/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1
"$work/venv/bin/python" "$work/edited.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

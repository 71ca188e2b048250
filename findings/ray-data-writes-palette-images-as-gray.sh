#!/usr/bin/env bash
# Color images with a palette come out of Ray Data as gray noise: their palette indices are taken for pixels.
#
# Guess: `ray.data.read_webdataset` decodes an image to its colors, and `write_webdataset` writes an image that looks the same.
# PNG is lossless, so a PNG that is only copied keeps its pixels.
#
# What happens: the default decoder makes an array of whatever Pillow opened. For a PNG with a palette, that is one channel with
# the numbers of the palette's entries, and the palette is gone. The writer stores this array as a gray PNG. `read_images` without
# a `mode` hands out the same indices. There is neither an error nor a warning, and webdataset's own decoder gives the colors.
#
# Versions: ray 2.60.0 (ray[data]), webdataset 1.0.2, pillow 13.0.0, Python 3.11.
# Who is hurt: users who filter, re-shard or deduplicate image-text shards with Ray. Charts, logos, screenshots and drawings of the
# web are often PNGs with a palette (every size-optimizing tool makes them): after the run they are dark gray noise with a correct
# caption, in shards that load without an error, and CLIP features of them mean nothing.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    "ray[data]==2.60.0" webdataset==1.0.2 pillow==13.0.0 numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1

cat >"$work/palette.py" <<'PY'
import glob
import io
import os
import sys

import numpy
import ray
import webdataset
from PIL import Image

work = sys.argv[1]
os.mkdir(f"{work}/shards")
os.mkdir(f"{work}/images")
across, down = numpy.meshgrid(numpy.linspace(0, 255, 64), numpy.linspace(0, 255, 64))
color = Image.fromarray(numpy.stack([across, down, 255 - across], -1).astype(numpy.uint8))
COLORS = color.quantize(32).convert("RGB")
with webdataset.TarWriter(f"{work}/shards/0.tar") as shard:
    for key, image in (("palette", color.quantize(32)), ("rgb", COLORS)):
        image.save(f"{work}/images/{key}.png")
        data = io.BytesIO()
        image.save(data, "PNG")
        shard.write({"__key__": key, "png": data.getvalue()})

ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
dataset = ray.data.read_webdataset(f"{work}/shards/0.tar")
read = {row["__key__"]: row["png"] for row in dataset.take_all()}
dataset.write_webdataset(f"{work}/written")
images = ray.data.read_images(f"{work}/images/palette.png").take_all()[0]["image"]
ray.shutdown()


def differences(pattern):
    shards = webdataset.WebDataset(sorted(glob.glob(pattern)), shardshuffle=False).decode("rgb8")
    return {row["__key__"]: float(numpy.abs(row["png"] - numpy.asarray(COLORS, int)).mean().round(1)) for row in shards}


before, after = differences(f"{work}/shards/*.tar"), differences(f"{work}/written/*.tar")
as_expected = True
for key, shape, largest in (("palette", (64, 64), 31), ("rgb", (64, 64, 3), 255)):
    print(f"{key}: array of shape {read[key].shape}, values up to {read[key].max()}; mean difference of the colors by")
    print(f"  webdataset: {before[key]} in the first shard, {after[key]} in the shard that Ray wrote")
    as_expected &= read[key].shape == shape and read[key].max() <= largest
    as_expected &= before[key] == 0 and (after[key] > 50) == (key == "palette")
print(f"read_images: array of shape {images.shape}, values up to {images.max()}")
sys.exit(0 if as_expected and images.shape == (64, 64) and images.max() <= 31 and after["rgb"] == 0 else 1)
PY
export RAY_USAGE_STATS_ENABLED=0
"$work/venv/bin/python" "$work/palette.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

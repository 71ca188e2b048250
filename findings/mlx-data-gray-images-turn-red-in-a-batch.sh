#!/usr/bin/env bash
# mlx-data turns a gray PNG red if there is a color image in its batch.
#
# Guess: `load_image`, whose format is "RGB" by default, makes three channels of each image, as it does of a gray JPEG. If images of a
# batch do not fit together, there is an error. So an image has the same pixels, whatever else is in its batch.
#
# What happens: a gray PNG has one channel, and one with transparency has two, the gray values and the opacity. `batch` pads all
# dimensions, also the channels, with zeros: beside a color image, gray becomes the red channel, and opacity the green one. Only a batch
# of gray images keeps one channel. Resizing and cropping pass both on, and the shape of the batch is as it should be. JPEG files with
# CMYK keep three channels, but not the black one: what is printed in black only is white. Nothing warns.
#
# Versions: mlx-data 0.1.0, pillow 13.0.0, numpy 2.4.6, Python 3.11.
# Who is hurt: users who embed or train on images of mixed formats: scans, drawings, X-rays and digits are often gray PNG files. Their
# features are those of red images, but not in a batch of their own, so that the results depend on the order of the files, and on the
# shuffling. A gray OOD set seems easy to detect if it is mixed with the ID set, by its color.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir mlx-data==0.1.0 pillow==13.0.0 numpy==2.4.6

cat >"$work/colors.py" <<'PY'
import sys
from pathlib import Path

import mlx.data as dx
import numpy as np
from PIL import Image

folder = Path(sys.argv[1])
rows, columns = np.mgrid[:300, :400]
gray = Image.fromarray((60 + rows // 3 + columns // 8).astype(np.uint8))
gray.convert("RGB").save(folder / "color.png")
gray.save(folder / "gray.png")
gray.convert("LA").save(folder / "opaque.png")
gray.save(folder / "gray.jpg", quality=95)
# As a printer does it: nothing but black ink.
nothing = Image.new("L", gray.size, 0)
Image.merge("CMYK", [nothing] * 3 + [gray.point(lambda value: 255 - value)]).save(folder / "cmyk.jpg", quality=95)


def batch(*names):
    buffer = dx.buffer_from_vector([{"image": name.encode()} for name in names]).load_image("image", prefix=str(folder))
    buffer = buffer.image_resize_smallest_side("image", 224).image_center_crop("image", 224, 224)
    return np.array(buffer.batch(len(names))[0]["image"])


as_expected = True
reference = batch("color.png")[0].astype(float)
for name in ("gray.png", "opaque.png", "gray.jpg", "cmyk.jpg"):
    pillow = np.asarray(Image.open(folder / name).convert("RGB").resize((299, 224)).crop((37, 0, 261, 224)), float)
    alone, beside = batch(name), batch("color.png", name)[1:]
    means = beside.mean(axis=(0, 1, 2)).round()
    print(
        f"{name}: alone {alone.shape[-1]} channels with means {alone.mean(axis=(0, 1, 2)).round()}, beside a color image "
        f"{beside.shape[-1]} with {means}; Pillow {pillow.mean(axis=(0, 1)).round()}"
    )
    as_expected &= bool(np.abs(pillow - reference).mean() < 2) and beside.shape[-1] == 3
    expected = {
        "gray.png": (1, [reference[..., 0].mean(), 0, 0]),
        "opaque.png": (2, [reference[..., 0].mean(), 255, 0]),
        "gray.jpg": (3, reference.mean(axis=(0, 1))),
        "cmyk.jpg": (3, [255, 255, 255]),
    }[name]
    as_expected &= alone.shape[-1] == expected[0] and bool(np.abs(means - expected[1]).max() < 2)
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/colors.py" "$work"

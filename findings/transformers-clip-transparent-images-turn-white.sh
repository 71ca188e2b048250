#!/usr/bin/env bash
# transformers 5 puts a white background behind transparent images for CLIP, where 4 and open_clip drop the transparency.
#
# Guess: `CLIPImageProcessor` with `do_convert_rgb` converts as `Image.convert("RGB")` does, which drops the alpha channel: OpenAI's code
# does so, open_clip does so, transformers 4 did, and the configurations of the published models were written for it.
#
# What happens: transformers 4.57.1 keeps the hidden color, which is black in many files. 5.24.0 blends with white. Other pixels reach the
# same weights from the same file and the same configuration: the background goes from the darkest to the lightest value.
#
# Versions: transformers 5.24.0 and 4.57.1, numpy 2.3.5, pillow 12.0.0, Python 3.11.
# Who is hurt: owners of an index of logos, stickers, emoji and product images that was filled before the upgrade, or with open_clip, and
# is searched by image after it; OOD thresholds, which were set on images with a black background; who reproduces published numbers.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 4.57.1 5.24.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet --no-cache-dir "transformers==$version" numpy==2.3.5 pillow==12.0.0
done

cat >"$work/background.py" <<'PY'
import io
import sys

import numpy as np
import transformers
from PIL import Image
from transformers import CLIPImageProcessor

# A red square on a transparent background, which is black below the transparency as an eraser or a renderer leaves it.
pixels = np.zeros((64, 64, 4), np.uint8)
pixels[24:40, 24:40] = (200, 30, 30, 255)


def loaded(**options):
    """The image as a PNG file gives it back."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", **options)
    return Image.open(io.BytesIO(file.getvalue()))


processor = CLIPImageProcessor(
    size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_normalize=False
)
image = loaded()
corner = np.asarray(processor(image)["pixel_values"][0])[:, 0, 0]
opaque = np.asarray(processor(image.convert("RGB"))["pixel_values"][0])
mean = float(np.mean(np.asarray(processor(image)["pixel_values"][0])))
print(f"transformers {transformers.__version__}, the corner of an RGBA PNG: {corner.round(2).tolist()}, mean {mean:.2f}")
print(f"  after Image.convert('RGB'), as in open_clip: {opaque[:, 0, 0].round(2).tolist()}, mean {opaque.mean():.2f}")
expected = float(sys.argv[1])
sys.exit(0 if np.allclose(corner, expected, atol=0.01) and np.allclose(opaque[:, 0, 0], 0, atol=0.01) else 1)
PY
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
for run in "4.57.1 0" "5.24.0 1"; do
    read -r version expected <<<"$run"
    "$work/$version/bin/python" "$work/background.py" "$expected" 2>"$work/log" || {
        status=$?
        tail -20 "$work/log" >&2
        exit "$status"
    }
done

#!/usr/bin/env bash
# transformers.js in Node shrinks images for CLIP without antialiasing: gray stripes become black, or white one pixel further.
#
# Guess: `CLIPImageProcessor` of transformers.js with `resample: 3` gives the pixels of the Python library and of Pillow's bicubic filter,
# up to a small rounding error. Its source says that its way of resizing matches Pillow, and its numbers are compared with Python's.
#
# What happens: for bilinear and bicubic it does not resize but calls `affine` of sharp, which reads 4 x 4 pixels around each point of
# the result, however far the points are apart. From 1,344 to 224 pixels, most of the image is never read: fine stripes become one flat
# color that depends on their position, noise keeps its full contrast. Smooth images pass, but are moved by a part of a pixel, as the
# centers of the pixels are not aligned. Only "lanczos", which CLIP does not use, is filtered. Nothing warns.
#
# Versions: @huggingface/transformers 4.3.2 and sharp 0.35.4 on Node 20, pillow 13.0.0, numpy 2.4.6, Python 3.11.
# Who is hurt: users who embed photographs in Node, and compare them with text features, an index, a linear probe or OOD thresholds from
# Python: cloth, hair, grass, print, screens and camera noise look otherwise. Tests with small or smooth images agree.
#
# Prints what was seen, and exits with 1 if it is otherwise. Needs Node and npm.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir pillow==13.0.0 numpy==2.4.6
cd "$work"
echo '{"private": true, "type": "module"}' >package.json
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$work/npm" @huggingface/transformers@4.3.2 sharp@0.35.4

cat >images.py <<'PY'
import numpy as np
from PIL import Image

SIZE = 1344
rows, columns = np.mgrid[:SIZE, :SIZE]
noise = np.random.default_rng(0).integers(0, 2, (SIZE, SIZE))
for name, values in {
    "stripes": columns % 2 * 255,
    "stripes-one-pixel-further": (columns + 1) % 2 * 255,
    "every-third-column": (columns % 3 == 0) * 255,
    "noise": noise * 255,
    "smooth": 128 + 60 * np.sin(columns / 40) + 60 * np.cos(rows / 30),
}.items():
    Image.fromarray(np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)).save(f"{name}.png")
PY

cat >shrink.js <<'JS'
import fs from "node:fs";
import { CLIPImageProcessor, RawImage } from "@huggingface/transformers";

const size = { width: 224, height: 224 };
for (const [method, resample] of [["bicubic", 3], ["lanczos", 1]]) {
  const processor = new CLIPImageProcessor({
    do_resize: true, size: { shortest_edge: 224 }, resample, do_center_crop: true, crop_size: size,
    do_convert_rgb: true, do_rescale: false, do_normalize: false,
  });
  for (const file of fs.readdirSync(".").filter((name) => name.endsWith(".png"))) {
    const { pixel_values } = await processor(await RawImage.read(file));
    const values = Float32Array.from(pixel_values.data);
    fs.writeFileSync(file.replace(".png", `.${method}`), new Uint8Array(values.buffer));
  }
}
JS

cat >compare.py <<'PY'
import sys
from pathlib import Path

import numpy as np
from PIL import Image

as_expected = True
for path in sorted(Path(".").glob("*.png")):
    for method in ("bicubic", "lanczos"):
        expected = np.asarray(Image.open(path).resize((224, 224), getattr(Image.Resampling, method.upper())), np.float32)
        seen = np.fromfile(path.with_suffix(f".{method}"), np.float32).reshape(3, 224, 224).transpose(1, 2, 0)
        error = np.abs(seen - expected).mean()
        print(
            f"{path.stem}, {method}: Pillow {expected.mean():.0f} ± {expected.std():.0f}, "
            f"transformers.js {seen.mean():.0f} ± {seen.std():.0f}, mean difference {error:.1f}"
        )
        if method == "lanczos":
            as_expected &= error < 6
        elif path.stem == "smooth":
            as_expected &= 1 < error < 5
        elif path.stem == "noise":
            as_expected &= expected.std() < 30 and seen.std() > 100
        else:
            value = {"stripes": 0, "stripes-one-pixel-further": 255, "every-third-column": 255}[path.stem]
            as_expected &= np.abs(seen - value).max() < 3 and 80 < expected.mean() < 130 and expected.std() < 5
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" images.py
node shrink.js >"$work/log" 2>&1 || {
    tail -20 "$work/log" >&2
    exit 1
}
"$work/venv/bin/python" compare.py

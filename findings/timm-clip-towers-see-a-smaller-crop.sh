#!/usr/bin/env bash
# timm's data configuration cuts the border off for half of its CLIP and SigLIP towers; open_clip shows the same weights the whole.
#
# Guess: `resolve_data_config` of a CLIP tower describes CLIP's own preprocessing, as the documentation of timm recommends it for
# every pretrained model: the short side is resized to the input size (CLIP), or both sides are (SigLIP), and nothing else is cut.
#
# What happens: mean and standard deviation are CLIP's, but half of the configurations do not set `crop_pct` and inherit 0.9, a value
# of image classifiers. The towers of OpenAI's ViT-B/16 and B/32 lose a tenth of the short side, that of ViT-L/14 does not. Most
# SigLIP towers lose it too, and all of fixed size get a center crop where SigLIP takes the whole image, squashed.
#
# Versions: timm 1.0.31, open_clip_torch 3.3.0, torch 2.15.0, torchvision 0.29.2, Python 3.11. No weights are needed.
# Who is hurt: users who extract features with timm (linear probes, nearest neighbors, OOD scores) and compare them with text features
# or with numbers from open_clip, or compare two towers: one sees 90% of a square image's width and height, the other all of it.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    torch==2.15.0 torchvision==0.29.2 numpy==2.4.6 pillow==13.0.0 timm==1.0.31 open_clip_torch==3.3.0

cat >"$work/crops.py" <<'PY'
import sys
from collections import Counter

import numpy as np
import open_clip
import timm
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from timm.data import create_transform, resolve_data_config

# Red is the column and green is the row, from 0 at the left and top to 255 at the right and bottom.
WIDTH, HEIGHT = 640, 480
image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
image[..., 0] = np.linspace(0, 255, WIDTH).round()
image[..., 1] = np.linspace(0, 255, HEIGHT).round()[:, None]
image = Image.fromarray(image)


def seen(transform, mean, std):
    """The shares of the width and of the height that are left, in percent, from the colors at the borders."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    pixels = transform(image) * std + mean
    row, column = pixels[0].mean(0), pixels[1].mean(1)
    return round(100 * float(row[-1] - row[0])), round(100 * float(column[-1] - column[0]))


as_expected = True
for name, tag, tower, expected in (
    ("ViT-B-16", "openai", "vit_base_patch16_clip_224.openai", ((75, 100), (67, 90))),
    ("ViT-L-14", "openai", "vit_large_patch14_clip_224.openai", ((75, 100), (75, 100))),
    ("ViT-B-16-SigLIP", "webli", "vit_base_patch16_siglip_224.webli", ((100, 100), (67, 90))),
):
    ours = open_clip.get_pretrained_cfg(name, tag)
    ours = PreprocessCfg(**{k: ours[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in ours})
    data = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(tower).to_dict())
    shares = (
        seen(image_transform_v2(ours, is_train=False), ours.mean, ours.std),
        seen(create_transform(**data), data["mean"], data["std"]),
    )
    print(f"{name} {tag}: width and height seen of a {WIDTH}x{HEIGHT} image, in percent")
    print(f"  open_clip {shares[0]}, timm {shares[1]} (crop_pct {data['crop_pct']}, {data['crop_mode']})")
    as_expected &= all(abs(a - b) <= 1 for got, want in zip(shares, expected) for a, b in zip(got, want))

towers = timm.list_models("*clip*", pretrained=True) + timm.list_models("*siglip*", pretrained=True)
towers = [tower for tower in sorted(set(towers)) if "_ft_" not in tower]
crops = Counter(resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(t).to_dict())["crop_pct"] for t in towers)
print(f"timm's {len(towers)} CLIP and SigLIP towers that are not fine-tuned, by crop_pct: {dict(sorted(crops.items()))}")
as_expected &= crops[0.9] > 0.4 * len(towers) and crops[1.0] > 0.3 * len(towers)
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/crops.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

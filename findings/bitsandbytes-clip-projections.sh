#!/usr/bin/env bash
# A CLIP that transformers loads with bitsandbytes has one of its two projections quantized, and the other not.
#
# Guess: the image projection and the text projection are treated alike. They are the same kind of layer, and their outputs are
# compared with each other. Either both are skipped, as the output heads of language models are, or neither is.
#
# What happens: with `load_in_8bit` and with `load_in_4bit`, `visual_projection` becomes a quantized layer and `text_projection`
# stays as it is, because only the last module of a model without output embeddings counts as its head. With
# `llm_int8_skip_modules=[]` both are quantized.
#
# Versions: transformers 5.24.0, bitsandbytes 0.50.2, accelerate 1.15.0, torch 2.15.0, Python 3.11, on the CPU.
# Who is hurt: users who compare scores or thresholds of a quantized CLIP with those of the original, or fill an index of image
# features with the one and search it with texts of the other: the error is in the images' last layer alone.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    torch==2.15.0 numpy==2.4.6 transformers==5.24.0 bitsandbytes==0.50.2 accelerate==1.15.0

cat >"$work/projections.py" <<'PY'
import sys

import torch
from transformers import BitsAndBytesConfig, CLIPConfig, CLIPModel

work = sys.argv[1]
tower = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=128)
config = CLIPConfig(
    text_config=dict(tower, vocab_size=99, max_position_embeddings=8),
    vision_config=dict(tower, image_size=16, patch_size=8),
    projection_dim=64,
)
CLIPModel(config).save_pretrained(f"{work}/clip")
as_expected = True
for label, settings, expected in (
    ("load_in_8bit", dict(load_in_8bit=True), (True, False)),
    ("load_in_4bit", dict(load_in_4bit=True), (True, False)),
    ("load_in_8bit, nothing skipped", dict(load_in_8bit=True, llm_int8_skip_modules=[]), (True, True)),
):
    quantization = BitsAndBytesConfig(**settings)
    model = CLIPModel.from_pretrained(f"{work}/clip", quantization_config=quantization, device_map="cpu")
    layers = (model.visual_projection, model.text_projection)
    names = [type(layer).__name__ for layer in layers]
    quantized = tuple(type(layer) is not torch.nn.Linear for layer in layers)
    print(f"{label}: visual_projection is {names[0]}, text_projection is {names[1]}")
    as_expected &= quantized == expected
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/projections.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

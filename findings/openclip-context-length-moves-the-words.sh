#!/usr/bin/env bash
# open_clip gives the words of a caption the positions of other words if a checkpoint is loaded with another context length.
#
# Guess: `force_context_length=32` makes the text tower faster for short captions, as class names are, and keeps their features: behind the
# causal mask, the padding after the end token has no effect. A longer context keeps them as well and leaves the new positions untrained.
# `get_tokenizer(..., context_length=32)` returns the same tokens with less padding.
#
# What happens: when the weights are loaded, the learned position embeddings are stretched to the new length, as is right for the grid of an
# image. With 32 in place of 77, the second token gets the embedding of about the fourth position, and the tenth that of the 23rd, where no
# word of a short caption ever was. With 154, each embedding is a mix of two, and the tenth token is where the fifth was. So the same tokens
# get other features. A line in the log says it, at a level that is hidden by default; there is no warning. The model here is trained on
# captions of 10 tokens: with a shorter or a longer context, most are taken for others. If the first rows are copied back, all is right.
#
# Versions: open_clip_torch 3.3.0, timm 1.0.31, torch 2.15.0, torchvision 0.29.2, numpy 2.4.6, Python 3.11, on the CPU. How much a published
# model loses depends on its weights, which are not loaded here.
# Who is hurt: who shortens the context to encode class names or prompts faster, and who lengthens it to train on long captions and starts
# from short ones: zero-shot accuracy falls, OOD thresholds do not fit, and features in an index do not match those of a query.
# What to do: load with the length of the checkpoint, then cut `positional_embedding` and the causal mask, or copy the first rows as below.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    open_clip_torch==3.3.0 timm==1.0.31 torch==2.15.0 torchvision==0.29.2 numpy==2.4.6 pillow==13.0.0

cat >"$work/context.py" <<'PY'
import json
import sys

import open_clip
import torch

work = sys.argv[1]
WORDS = ["cat", "dog", "bird", "car", "tree", "boat"]
PAIRS = [(first, second) for first in WORDS for second in WORDS if first != second]
CAPTIONS = [f"a photo of a {first} above a {second}" for first, second in PAIRS]
STEPS, IMAGES = 240, 20
torch.manual_seed(0)
torch.set_num_threads(1)

text = dict(context_length=77, vocab_size=49408, width=64, heads=2, layers=2)
vision = dict(image_size=16, patch_size=8, width=64, layers=1, head_width=32)
with open(f"{work}/small.json", "w") as file:
    json.dump(dict(embed_dim=64, vision_cfg=vision, text_cfg=text), file)
open_clip.add_model_config(work)
patterns = {word: torch.randn(3, 8, 16) for word in WORDS}
halves = torch.stack([torch.cat([patterns[first], patterns[second]], dim=1) for first, second in PAIRS])


def images(numbers):
    return halves[numbers] + 0.7 * torch.randn(len(numbers), 3, 16, 16)


model = open_clip.create_model("small")
model.token_embedding.requires_grad_(False)
tokens = open_clip.get_tokenizer("small")(CAPTIONS)
optimizer = torch.optim.AdamW((weights for weights in model.parameters() if weights.requires_grad), lr=3e-3)
contrastive = open_clip.ClipLoss()
for _ in range(STEPS):
    numbers = torch.randperm(len(PAIRS))
    seen = model.encode_image(images(numbers), normalize=True)
    loss = contrastive(seen, model.encode_text(tokens[numbers], normalize=True), model.logit_scale.exp())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
torch.save(model.state_dict(), f"{work}/small.pt")
learned = model.positional_embedding.detach()

truth = torch.arange(len(PAIRS)).repeat(IMAGES)
print(f"{len(CAPTIONS)} captions of {int((tokens > 0).sum(dim=1).max())} tokens, model trained with a context of {len(learned)}")
as_expected, reference = True, None
for length in (77, 32, 64, 154):
    model = open_clip.create_model("small", pretrained=f"{work}/small.pt", force_context_length=length).eval()
    padded = open_clip.get_tokenizer("small", context_length=length)(CAPTIONS)
    as_expected &= torch.equal(padded[:, :10], tokens[:, :10]) and not padded[:, 10:].any()
    for label in ("as loaded", "first rows copied back"):
        with torch.no_grad():
            if label != "as loaded":
                rows = min(length, len(learned))
                model.positional_embedding[:rows] = learned[:rows]
            seen = model.encode_image(images(truth), normalize=True)
            features = model.encode_text(padded, normalize=True)
        reference = features if reference is None else reference
        cosines = (features * reference).sum(dim=1)
        accuracy = float(((seen @ features.T).argmax(dim=1) == truth).float().mean())
        print(f"context {length}, {label}: accuracy {accuracy:.0%}, cosine to those at 77 {cosines.min():.2f} to {cosines.max():.2f}")
        if length == 77 or label != "as loaded":
            as_expected &= accuracy > 0.98 and float(cosines.min()) > 0.999
        else:
            as_expected &= accuracy < 0.8 and float(cosines.min()) < 0.7
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/context.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

#!/usr/bin/env bash
# sentence-transformers gives a SigLIP text another embedding if a longer text is in the same batch.
#
# Guess: `SentenceTransformer` loads a SigLIP checkpoint of transformers as it is, and finds its text and image features by itself. So
# `encode` returns the features of `get_text_features`, and a text has one embedding, whatever else is encoded with it.
#
# What happens: SigLIP's text feature is the state at the last position, which is padding in training, as all texts are padded to 64
# tokens. transformers calls this important, and fastembed does it. sentence-transformers pads to the longest text of the batch: the
# last position, and so the feature, depends on the other texts, and that of a text alone is the state of its end token. The small
# model here is trained with full padding. Its class names are right if encoded so, and wrong if encoded one by one. Nothing warns.
#
# Versions: sentence-transformers 6.2.0, transformers 5.24.0, torch 2.15.0, numpy 2.4.6, Python 3.11, on the CPU. A setting helps:
# `model[0].processing_kwargs = {"text": {"padding": "max_length"}}`.
# Who is hurt: users who search images by text with SigLIP or SigLIP 2, or classify without training: a query is encoded alone, the
# class names or captions in batches that are sorted by length, and similarities and thresholds of the two do not match.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    torch==2.15.0 numpy==2.4.6 transformers==5.24.0 sentence-transformers==6.2.0 pillow==13.0.0

cat >"$work/siglip.py" <<'PY'
import sys

import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import logsigmoid, normalize
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

work = sys.argv[1]
NAMES = ["cat", "dog", "red cat", "big dog", "small red house", "a very big old house", "a photo of a dog and a cat"]
NAMES += ["a very small red house in a big old garden"]
LENGTH, SIDE, COPIES = 16, 16, 8
torch.manual_seed(0)
torch.set_num_threads(2)

words = ["<pad>", "</s>", "<unk>", *sorted({word for name in NAMES for word in name.split()})]
core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
core.pre_tokenizer = pre_tokenizers.Whitespace()
core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=LENGTH,
    model_input_names=["input_ids"],
)
tower = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
text = dict(tower, vocab_size=len(words), max_position_embeddings=LENGTH, projection_size=64)
text |= dict(pad_token_id=0, eos_token_id=1, bos_token_id=2)
model = SiglipModel(SiglipConfig(text_config=text, vision_config=dict(tower, image_size=SIDE, patch_size=8)))


def features(output):
    return normalize(output if torch.is_tensor(output) else output.pooler_output, dim=-1)


centers = torch.randn(len(NAMES), 3, SIDE, SIDE)
tokens = tokenizer(NAMES, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
targets = 2 * torch.eye(len(NAMES)).repeat(COPIES, 1) - 1
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for _ in range(200):
    seen = features(model.get_image_features(pixel_values=centers.repeat(COPIES, 1, 1, 1) + torch.randn(len(targets), 3, SIDE, SIDE)))
    logits = 10 * seen @ features(model.get_text_features(input_ids=tokens)).T - 5
    loss = -logsigmoid(targets * logits).sum(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
model.save_pretrained(f"{work}/siglip")
SiglipProcessor(SiglipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer).save_pretrained(f"{work}/siglip")

numbers = torch.arange(len(NAMES)).repeat(50)
with torch.no_grad():
    images = features(model.get_image_features(pixel_values=centers[numbers] + torch.randn(len(numbers), 3, SIDE, SIDE)))
    reference = features(model.get_text_features(input_ids=tokens))

plain = SentenceTransformer(f"{work}/siglip", device="cpu")
padded = SentenceTransformer(f"{work}/siglip", device="cpu")
padded[0].processing_kwargs = {"text": {"padding": "max_length"}}
settings = dict(convert_to_tensor=True, normalize_embeddings=True)
encoded = {
    "transformers, padded to the full length": reference,
    "sentence-transformers, padded to the full length": padded.encode(NAMES, **settings),
    "sentence-transformers, all names in a batch": plain.encode(NAMES, **settings),
    "sentence-transformers, two in a batch": plain.encode(NAMES, batch_size=2, **settings),
    "sentence-transformers, one by one": torch.stack([plain.encode(name, **settings) for name in NAMES]),
}
as_expected = True
for label, rows in encoded.items():
    cosines = (rows * reference).sum(dim=1)
    accuracy = float(((images @ rows.T).argmax(dim=1) == numbers).float().mean())
    print(f"{label}: accuracy {accuracy:.0%}, cosine to the first from {cosines.min():.2f} to {cosines.max():.2f}")
    if "padded" in label:
        as_expected &= accuracy > 0.95 and float(cosines.min()) > 0.999
    else:
        as_expected &= float(cosines.min()) < 0.7
        as_expected &= accuracy < 0.8 or "all names" in label
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/siglip.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

#!/usr/bin/env bash
# A LoRA of PEFT on a PyTorch transformer layer is used in training and ignored in evaluation.
#
# Guess: LoRA on `linear1` and `linear2` of `nn.TransformerEncoderLayer`, which are plain linear layers, changes the outputs alike in
# training and in evaluation. Without dropout, `model.eval()` does not change the outputs. Merging keeps them as well.
#
# What happens: in evaluation, the layer takes PyTorch's fast path, which does not call the two layers but reads their `weight`. PEFT's
# wrapper has that attribute too: it is the frozen weight without LoRA. The training loss falls, and each evaluation, saved and loaded
# or not, returns what the model returned before the training, bit for bit. After `merge_and_unload`, or with the fast path off, or
# with `batch_first=False` (the default), the outputs are those of the training. There is no error and no warning.
#
# Versions: peft 0.21.2, torch 2.15.0, transformers 5.24.0, accelerate 1.15.0, numpy 2.4.6, Python 3.11, on the CPU.
# Who is hurt: users who fine-tune a transformer over the patch, frame or region features of CLIP: the validation accuracy does not
# move whatever the rank and the learning rate, so a useless adapter seems to be the result; or the adapter is served without effect.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    torch==2.15.0 numpy==2.4.6 transformers==5.24.0 accelerate==1.15.0 peft==0.21.2

cat >"$work/lora.py" <<'PY'
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

work = sys.argv[1]
WIDTH, FRAMES, CLASSES, VIDEOS = 32, 4, 3, 240


class Head(nn.Module):
    """A transformer over the CLIP features of the frames of a video."""

    def __init__(self, batch_first):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, dropout=0.0, batch_first=batch_first, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classes = nn.Linear(WIDTH, CLASSES)
        self.frames = 1 if batch_first else 0

    def forward(self, features):
        return self.classes(self.encoder(features).mean(dim=self.frames))


def evaluate(model, features, labels):
    model.eval()
    with torch.no_grad():
        logits = model(features)
    return logits, float((logits.argmax(dim=1) == labels).float().mean())


as_expected = True
for batch_first in (True, False):
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (VIDEOS,))
    centers = torch.randn(CLASSES, WIDTH)
    features = nn.functional.normalize(centers[labels][:, None] + torch.randn(VIDEOS, FRAMES, WIDTH), dim=-1)
    features = features if batch_first else features.transpose(0, 1)
    head = Head(batch_first)
    before, accuracy = evaluate(head, features, labels)
    torch.save(head.state_dict(), f"{work}/head.pt")
    print(f"batch_first={batch_first}")
    print(f"  before the training: accuracy {accuracy:.0%}")

    model = get_peft_model(head, LoraConfig(r=4, target_modules=["linear1", "linear2"])).train()
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), lr=1e-2)
    for _ in range(100):
        logits = model(features)
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        trained = model(features)
    fitted = float((trained.argmax(dim=1) == labels).float().mean())
    print(f"  train(): loss {loss:.3f}, accuracy {fitted:.0%}")
    as_expected &= fitted > 0.9 > 0.7 > accuracy

    seen = {"eval()": evaluate(model, features, labels)}
    model.save_pretrained(f"{work}/adapter")
    again = Head(batch_first)
    again.load_state_dict(torch.load(f"{work}/head.pt"))
    again = PeftModel.from_pretrained(again, f"{work}/adapter")
    seen["saved, loaded, eval()"] = evaluate(again, features, labels)
    torch.backends.mha.set_fastpath_enabled(False)
    seen["eval() without the fast path"] = evaluate(model, features, labels)
    torch.backends.mha.set_fastpath_enabled(True)
    seen["merged, eval()"] = evaluate(model.merge_and_unload(), features, labels)
    for label, (logits, accuracy) in seen.items():
        ignored = torch.equal(logits, before)
        close = torch.allclose(logits, trained, atol=1e-3)
        state = "those from before the training" if ignored else "those of train()" if close else "others"
        print(f"  {label}: accuracy {accuracy:.0%}, outputs: {state}")
        as_expected &= ignored if batch_first and label in ("eval()", "saved, loaded, eval()") else close
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/lora.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

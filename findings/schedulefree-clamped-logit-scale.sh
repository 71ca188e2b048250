#!/usr/bin/env bash
# With a schedule-free optimizer, the clamp that keeps CLIP's logit scale at 100 or less drives it towards 0 in evaluation.
#
# Guess: CLIP's training loop clamps `logit_scale` to ln(100) after each step, and many runs end there. With `AdamWScheduleFree`, whose
# weights in eval mode are an average of the past ones, it is the same: an average of values of at most 100 that soon are all 100.
#
# What happens: the parameter holds 100 in each step of the training. But the optimizer has a second copy (`z`), which the clamp does not
# reach. Each gradient that points above the clamp moves `z` on, without end. `eval()` does not read the average, which is not stored: it
# extrapolates from `z` through the parameter, to the other side. So the longer the scale is held at 100 in training, the smaller it is in
# eval mode, in which checkpoints are to be saved. The features are right, and so is the accuracy; the probabilities become uniform. There
# is no error and no warning, and the log of the training shows 100. If `z` is clamped as well, the scale is 100 in both modes.
#
# Versions: schedulefree 1.4.1, open_clip_torch 3.3.0 (its own training loop), torch 2.15.0, Python 3.11, on the CPU.
# Who is hurt: who trains or fine-tunes CLIP without a schedule and uses its probabilities. With a threshold on the maximum softmax
# probability (MCM), all images are out of distribution. Retrieval and zero-shot accuracy, which training runs report, are as good as ever.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir schedulefree==1.4.1 open_clip_torch==3.3.0 timm==1.0.31 torch==2.15.0 \
    torchvision==0.29.2 numpy==2.4.6

cat >"$work/clamp.py" <<'PY'
import math
import sys
from types import SimpleNamespace

import torch
from open_clip import ClipLoss
from open_clip_train.train import train_one_epoch
from schedulefree import AdamWScheduleFree
from torch.nn.functional import normalize

WIDTH, DIMENSIONS, CONCEPTS, BATCH, STEPS, EPOCHS, NOISE = 64, 5, 1000, 128, 1000, 18, 0.1
torch.set_num_threads(1)
torch.manual_seed(0)
IMAGES = torch.randn(CONCEPTS, WIDTH)
TEXTS = IMAGES @ torch.randn(WIDTH, WIDTH) / WIDTH**0.5
SEEN = IMAGES + NOISE * torch.randn(CONCEPTS, WIDTH)


class Towers(torch.nn.Module):
    """Two small towers, and the logit scale as open_clip has it: it starts at 1 / 0.07."""

    def __init__(self):
        super().__init__()
        self.image = torch.nn.Linear(WIDTH, DIMENSIONS)
        self.text = torch.nn.Linear(WIDTH, DIMENSIONS)
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images, texts):
        scale = self.logit_scale.exp()
        return {"image_features": normalize(self.image(images)), "text_features": normalize(self.text(texts)), "logit_scale": scale}


class Pairs:
    """Both the data loader and its owner in open_clip's loop: different concepts in each batch, each with its text."""

    num_batches, num_samples = STEPS, STEPS * BATCH

    def __init__(self):
        self.dataloader = self

    def set_epoch(self, epoch):
        self.generator = torch.Generator().manual_seed(epoch)

    def __iter__(self):
        for _ in range(STEPS):
            chosen = torch.randperm(CONCEPTS, generator=self.generator)[:BATCH]
            yield IMAGES[chosen] + NOISE * torch.randn(BATCH, WIDTH, generator=self.generator), TEXTS[chosen]


SETTINGS = SimpleNamespace(
    device="cpu", precision="fp32", distill=False, accum_freq=1, skip_scheduler=True, horovod=False, grad_clip_norm=None, rank=0,
    local_rank=0, log_local=False, world_size=1, batch_size=BATCH, log_every_n_steps=STEPS, wandb=False, distributed=False,
)


def measured(model):
    """The logit scale, the accuracy, the mean maximum probability, and the fraction of images with more than 0.5 of it."""
    with torch.no_grad():
        out = model(SEEN, TEXTS)
        largest, predicted = (out["logit_scale"] * out["image_features"] @ out["text_features"].T).softmax(dim=1).max(dim=1)
    right = (predicted == torch.arange(CONCEPTS)).float().mean()
    return [float(value) for value in (out["logit_scale"], right, largest.mean(), (largest > 0.5).float().mean())]


def show(when, values):
    scale, right, largest, above = values
    print(f"  {when}: logit scale {scale:.1f}, accuracy {right:.0%}, mean probability {largest:.3f}, above 0.5: {above:.0%}", flush=True)


def trained(name, make, schedule_free):
    torch.manual_seed(1)
    model = Towers()
    optimizer = make(model)
    print(name)
    scales = []
    for epoch in range(EPOCHS):
        if schedule_free:
            optimizer.train()
        train_one_epoch(model, {"train": Pairs()}, ClipLoss(), epoch, optimizer, None, None, None, SETTINGS)
        training = measured(model)
        if schedule_free:
            optimizer.eval()
        evaluated = measured(model)
        scales.append(evaluated[0])
    show("the weights of the last step", training)
    if schedule_free:
        show("the weights in eval mode", evaluated)
        stored = float(optimizer.state[model.logit_scale]["z"])
        print(f"  logit scale in eval mode after each third epoch: {', '.join(f'{scale:.0f}' for scale in scales[2::3])}")
        print(f"  ln(100) is {math.log(100):.1f}; the optimizer's z is {stored:.1f}")
    return training, evaluated, scales


def schedule_free(model):
    return AdamWScheduleFree(model.parameters(), lr=0.0025, warmup_steps=100)


def schedule_free_clamped(model):
    optimizer = schedule_free(model)
    optimizer.register_step_post_hook(lambda *_: optimizer.state[model.logit_scale]["z"].clamp_(0, math.log(100)))
    return optimizer


plain, _, _ = trained("AdamW", lambda model: torch.optim.AdamW(model.parameters(), lr=0.0025, weight_decay=0), False)
training, evaluated, scales = trained("AdamWScheduleFree", schedule_free, True)
right, both, _ = trained("AdamWScheduleFree, z clamped as well", schedule_free_clamped, True)


def holds(values):
    """At the clamp, and sure of most images."""
    return 97 < values[0] < 103 and values[1] > 0.95 and values[3] > 0.9


as_expected = all(map(holds, (plain, training, right, both)))
as_expected &= evaluated[0] < 12 and evaluated[1] > 0.95 and evaluated[2] < 0.2 and evaluated[3] == 0
as_expected &= max(scales) > 70 and scales[-1] < scales[-4] < scales[-7]
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/clamp.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

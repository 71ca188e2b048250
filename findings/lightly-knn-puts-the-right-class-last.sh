#!/usr/bin/env bash
# lightly's kNN classifier puts the right class last for images that are close to the training images, if the features are float16.
#
# Guess: `KNNClassifier(feature_dtype=torch.float16)`, which the documentation recommends to save memory, rounds the features and gives
# about the accuracy of float32. A lower `knn_t` gives the nearest neighbors more weight, at the limit all of it. More similar training
# images make a prediction safer.
#
# What happens: the weight of a neighbor is exp(similarity / knn_t) in the type of the features, without a shift by the largest. In
# float16 it is infinite from a similarity of 0.78 on for InstDisc's temperature 0.07; in float32 from 0.89 on for CLIP's 0.01. It is
# then multiplied by 0 for each other class, so all these have the score NaN, which is sorted before infinity: the right class is the
# last. Images with safe neighbors have top-1 and top-5 accuracy 0, the others are right. There is no error and no warning.
#
# Versions: lightly 1.6.0, pytorch-lightning 2.6.6, torch 2.15.0, torchvision 0.29.2, numpy 2.4.6, Python 3.11, on the CPU.
# Who is hurt: users who score frozen CLIP features by kNN, whose similarities within a class are mostly above 0.78: the better the
# tower separates the classes, the lower its accuracy. A mix of both kinds of images looks like a mediocre tower.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    lightly==1.6.0 pytorch-lightning==2.6.6 torch==2.15.0 torchvision==0.29.2 numpy==2.4.6

cat >"$work/knn.py" <<'PY'
import logging
import sys
import warnings

import torch
from lightly.utils.benchmarking.knn_classifier import KNNClassifier
from pytorch_lightning import Trainer
from torch.nn.functional import normalize, one_hot
from torch.utils.data import DataLoader, TensorDataset

WIDTH, CLASSES, BANK, IMAGES, NEIGHBORS, BATCH = 256, 50, 4000, 1000, 20, 250
warnings.simplefilter("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.manual_seed(0)
centers = normalize(torch.randn(CLASSES, WIDTH), dim=1)


def images(count, within):
    """Unit features; two images of one class have about the cosine `within`."""
    labels = torch.randint(CLASSES, (count,))
    noise = normalize(torch.randn(count, WIDTH), dim=1)
    return normalize(within**0.5 * centers[labels] + (1 - within) ** 0.5 * noise, dim=1), labels


def measured(bank, queries, temperature, dtype):
    """Top-1 and top-5 accuracy according to lightly."""
    model = KNNClassifier(
        None, num_classes=CLASSES, knn_k=NEIGHBORS, knn_t=temperature, train_dataloader_idx=0, val_dataloader_idx=1, feature_dtype=dtype
    )
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    loaders = [DataLoader(TensorDataset(*data), batch_size=BATCH) for data in (bank, queries)]
    results = {key: value for part in trainer.validate(model, loaders, verbose=False) for key, value in part.items()}
    return tuple(next(value for key, value in results.items() if key.startswith(name)) for name in ("val_knn_top1", "val_knn_top5"))


def by_hand(bank, queries, temperature):
    """The same vote in double precision, with weights relative to that of the nearest neighbor."""
    similar, rows = (queries[0].double() @ bank[0].double().T).topk(NEIGHBORS, dim=1)
    weights = torch.softmax(similar / temperature, dim=1)
    order = (weights[:, :, None] * one_hot(bank[1][rows], CLASSES)).sum(dim=1).argsort(dim=1, descending=True)
    hits = order == queries[1][:, None]
    return float(hits[:, :1].any(dim=1).double().mean()), float(hits[:, :5].any(dim=1).double().mean()), similar[:, 0]


as_expected = True
for temperature, dtype, lowest in (
    (0.1, torch.float16, None),
    (0.07, torch.float16, 0.7765),
    (0.07, torch.float32, None),
    (0.01, torch.float32, 0.8873),
):
    print(f"knn_t={temperature}, {dtype}")
    for within in (0.6, 0.75, 0.9):
        bank, queries = images(BANK, within), images(IMAGES, within)
        top1, top5 = measured(bank, queries, temperature, dtype)
        true1, true5, nearest = by_hand(bank, queries, temperature)
        safe = 0.0 if lowest is None else float((nearest > lowest).double().mean())
        print(
            f"  cosine within a class about {within}: top-1 {top1:.1%}, top-5 {top5:.1%}; by hand {true1:.1%}, {true5:.1%}; "
            f"nearest neighbor beyond the limit: {safe:.1%}"
        )
        as_expected &= true1 > 0.99 and abs(top1 - (true1 - safe)) < 0.02 and abs(top5 - (true5 - safe)) < 0.02
    as_expected &= (safe > 0.95) == (lowest is not None)
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/knn.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

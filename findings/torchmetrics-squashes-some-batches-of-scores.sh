#!/usr/bin/env bash
# torchmetrics turns a perfect OOD detector into one worse than chance if the ID images come before the OOD images.
#
# Guess: `BinaryAUROC` and `BinarySpecificityAtSensitivity` depend on the ranks of the scores only, and not on the batches in which these
# are handed over. The documented sigmoid for scores outside of [0, 1] keeps the order, so at most the returned threshold is moved.
#
# What happens: each `update` decides by its own batch. A batch of ID images with distances of about 0.8 stays as it is; in a batch of OOD
# images some distance is above 1, and the sigmoid makes 0.75 of 1.1: now the OOD images are the nearer ones. At once, or shuffled, the same
# scores give an AUROC of 1. Also, float32 has one value only for the sigmoid of all scores above 17: energies and largest logits of CLIP,
# which are 100 times a cosine, become ties, with an AUROC of exactly 0.5 and a threshold of 1. There is no error and no warning.
#
# Versions: torchmetrics 1.9.0, torch 2.15.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11, on the CPU.
# Who is hurt: users who evaluate the ID set and then each OOD set, as OOD benchmarks do it, with distances to neighbors, entropies or other
# scores around 1: AUROC and FPR at 95% TPR change with the order and the batch size. The threshold is one of squashed scores.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir torchmetrics==1.9.0 torch==2.15.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1

cat >"$work/squash.py" <<'PY'
import sys
import warnings

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryAUROC, BinarySpecificityAtSensitivity

warnings.simplefilter("error")
IMAGES, BATCH = 2048, 32
generator = torch.Generator().manual_seed(0)


def normal(mean, deviation):
    return mean + deviation * torch.randn(IMAGES, generator=generator)


def measured(scores, positive, size):
    """AUROC, FPR at 95% TPR, and the threshold of the latter, from batches of this size."""
    auroc, specificity = BinaryAUROC(), BinarySpecificityAtSensitivity(min_sensitivity=0.95)
    for start in range(0, len(scores), size):
        for metric in (auroc, specificity):
            metric.update(scores[start : start + size], positive[start : start + size])
    value, threshold = specificity.compute()
    return float(auroc.compute()), 1 - float(value), float(threshold)


as_expected = True
first, last = torch.zeros(IMAGES).long(), torch.ones(IMAGES).long()
order = torch.randperm(2 * IMAGES, generator=generator)
for name, scores, positive in (
    ("distance to neighbors, OOD is positive", torch.cat([normal(0.80, 0.05), normal(1.10, 0.05)]), torch.cat([first, last])),
    ("largest logit, ID is positive", torch.cat([normal(24, 1), normal(20, 1)]), torch.cat([last, first])),
):
    truth = roc_auc_score(positive.numpy(), scores.numpy())
    wanted = np.quantile(scores[positive == 1].numpy(), 0.05)
    wrong = (scores[positive == 0].numpy() >= wanted).mean()
    print(f"{name}: AUROC {truth:.3f}, FPR at 95% TPR {wrong:.1%}, threshold {wanted:.2f}")
    as_expected &= truth > 0.99 and wrong < 0.02
    for how, chosen, size in (
        ("at once", slice(None), 2 * IMAGES),
        (f"batches of {BATCH}, shuffled", order, BATCH),
        (f"batches of {BATCH}, ID before OOD", slice(None), BATCH),
    ):
        auroc, fpr, threshold = measured(scores[chosen], positive[chosen], size)
        print(f"  torchmetrics, {how}: AUROC {auroc:.3f}, FPR at 95% TPR {fpr:.1%}, threshold {threshold:.2f}")
        if name.startswith("largest"):
            as_expected &= auroc == 0.5 and fpr > 0.99 and threshold == 1
        elif "before" in how:
            as_expected &= auroc < 0.3 and fpr > 0.8
        else:
            as_expected &= auroc > 0.99 and fpr < 0.02 and threshold < 0.8
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/squash.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

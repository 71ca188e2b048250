"""Metrics of small score sets by the packages of the field, for crates/clipn-testing/fixtures/metrics/packages.json.

    python3 -m venv venv && venv/bin/pip install scikit-learn==1.9.1 torch==2.15.0 torchmetrics==1.9.0 \
        ood-metrics==1.1.2 pytorch-ood==0.4.0
    git clone https://github.com/Jingkang50/OpenOOD && git -C OpenOOD checkout 3c35632e
    venv/bin/python scripts/metrics_of_packages.py OpenOOD/openood/evaluators/metrics.py > packages.json

Higher scores mean in-distribution. Every package gets the scores and labels in the form that its documentation
describes.
"""

import importlib.metadata
import json
import runpy
import sys

import numpy as np
import ood_metrics
import torch
from pytorch_ood.metrics import functional as pytorch_ood
from sklearn import metrics
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

PACKAGES = ["scikit-learn", "torch", "torchmetrics", "ood-metrics", "pytorch-ood", "numpy"]


def as_f32(scores):
    return np.asarray(scores, dtype=np.float32).astype(np.float64)


def cases():
    """Returns the ID and OOD scores of each case, exact in f32."""
    random = np.random.RandomState(7)
    smooth = random.uniform(0.3, 1.0, 40), random.uniform(0.0, 0.8, 30)
    logits = random.normal(24.0, 3.0, 40), random.normal(21.0, 3.0, 30)
    # Only some batches of margins leave [0, 1].
    margins = random.uniform(0.2, 1.6, 40), random.uniform(0.0, 1.1, 30)
    sets = {
        "smooth": smooth,
        "one_decimal": tuple(np.round(scores, 1) for scores in smooth),
        "constant": (np.full(8, 0.5), np.full(12, 0.5)),
        # Every tie has one ID and one OOD score, so that the points of the curve are collinear.
        "collinear": (np.arange(40) / 40, np.arange(40) / 40),
        # Half of the ID scores saturate, and some OOD scores.
        "saturated": (
            np.concatenate([np.ones(20), random.uniform(0.5, 1.0, 20)]),
            np.concatenate([np.ones(6), random.uniform(0.0, 0.9, 24)]),
        ),
        # The last 5 % of the ID scores tie with half of the OOD scores.
        "tie_at_95": (
            np.concatenate([np.linspace(0.5, 1.0, 36), np.full(4, 0.25)]),
            np.concatenate([np.full(15, 0.25), np.linspace(0.0, 0.125, 15)]),
        ),
        "logits": logits,
        "margins": margins,
    }
    return {name: (as_f32(id_), as_f32(ood)) for name, (id_, ood) in sets.items()}


def trapezoid(labels, scores):
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    return metrics.auc(recall, precision)


def torchmetrics_of(scores, is_id, batch_size):
    """AUROC and average precision of batches of f32 scores, as in a loop over a data loader."""
    auroc, precision = BinaryAUROC(), BinaryAveragePrecision()
    scores = torch.tensor(scores, dtype=torch.float32)
    labels = torch.tensor(is_id)
    for start in range(0, len(scores), batch_size):
        batch = slice(start, start + batch_size)
        auroc.update(scores[batch], labels[batch])
        precision.update(scores[batch], labels[batch])
    return {"auroc": auroc.compute().item(), "aupr_in": precision.compute().item()}


def figures(id_, ood, openood):
    scores = np.concatenate([id_, ood])
    is_id = np.concatenate([np.ones(len(id_), int), np.zeros(len(ood), int)])
    openood_label = np.where(is_id == 1, 0, -1)
    auroc, aupr_in, aupr_out, fpr = openood["auc_and_fpr_recall"](scores, openood_label, 0.95)
    outlier = torch.tensor(-scores)
    label = torch.tensor(openood_label)
    by_ood_metrics = ood_metrics.calc_metrics(scores, is_id)
    return {
        "scikit-learn": {
            "auroc": metrics.roc_auc_score(is_id, scores),
            "aupr_in": metrics.average_precision_score(is_id, scores),
            "aupr_out": metrics.average_precision_score(1 - is_id, -scores),
            "aupr_in_trapezoid": trapezoid(is_id, scores),
            "aupr_out_trapezoid": trapezoid(1 - is_id, -scores),
        },
        "ood-metrics": {
            "auroc": by_ood_metrics["auroc"],
            "aupr_in": by_ood_metrics["aupr_in"],
            "aupr_out": by_ood_metrics["aupr_out"],
            "fpr95": by_ood_metrics["fpr_at_95_tpr"],
        },
        "pytorch-ood": {
            "auroc": pytorch_ood.auroc(outlier, label).item(),
            "aupr_in": pytorch_ood.aupr(outlier, label, positive="id").item(),
            "aupr_out": pytorch_ood.aupr(outlier, label, positive="ood").item(),
            "fpr95": pytorch_ood.fpr_at_tpr(outlier, label, 0.95).item(),
        },
        "openood": {"auroc": auroc, "aupr_in": aupr_in, "aupr_out": aupr_out, "fpr95": fpr},
        "torchmetrics": {
            "one_batch": torchmetrics_of(scores, is_id, len(scores)),
            "batches_of_10": torchmetrics_of(scores, is_id, 10),
        },
    }


def main():
    openood = runpy.run_path(sys.argv[1])
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["openood"] = "commit 3c35632e"
    found = {}
    for name, (id_, ood) in cases().items():
        given = {"id": id_.tolist(), "ood": ood.tolist()}
        found[name] = given | {"figures": figures(id_, ood, openood)}
    json.dump({"versions": versions, "cases": found}, sys.stdout, indent=1, default=float)
    print()


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# pytorch-ood's ViM takes the OOD samples for part of the ID data if it is fitted on features: it then accepts OOD images of that kind.
#
# Guess: `fit_features(features, labels)` ignores samples with a label below zero, as its documentation says, as `fit(loader)` does for
# the same data, and as KNN and NNGuide of the same package do with the same call. The scores do not depend on the OOD rows.
#
# What happens: `ViM.fit_features` never reads its labels. The OOD rows count for the principal subspace and for alpha. Directions in
# which only OOD features spread become principal ones, so the residual, which is the signal of ViM, no longer holds them. With 5,000 ID
# rows, 1,000 OOD rows are enough to turn an FPR95 of 5% into that of chance. There is no error and no warning.
#
# Versions: pytorch-ood 0.4.0, torch 2.15.0, torchvision 0.29.2, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11, on the CPU.
# Who is hurt: users who keep the features of a CLIP tower in one table with label -1 for OOD images, which is the package's own
# convention, and compare its detectors on them: ViM looks useless, and only for OOD images like those in the table.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    pytorch-ood==0.4.0 torch==2.15.0 torchvision==0.29.2 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1

cat >"$work/vim.py" <<'PY'
import sys

import numpy as np
import torch
from pytorch_ood.detector import KNN, NNGuide, ViM
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, TensorDataset

WIDTH, PRINCIPAL, CLASSES, OOD_AXES, ID, TEST = 256, 128, 50, 10, 5000, 2000
torch.manual_seed(0)
axes = torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q
spread = torch.arange(1, WIDTH + 1) ** -0.5


def directions(count):
    """Unit vectors whose variance falls from axis to axis, as that of real features does."""
    return normalize((torch.randn(count, WIDTH) * spread) @ axes.T, dim=1)


classes = directions(CLASSES)


def features(count, ood):
    """Unit image features around the classes; those of OOD images also move along axes that ID images hardly use."""
    labels = torch.randint(CLASSES, (count,))
    rows = classes[labels] + 0.6 * directions(count)
    if ood:
        rows = rows + 0.3 * normalize(torch.randn(count, OOD_AXES), dim=1) @ axes[:, -OOD_AXES:].T
        labels = torch.full_like(labels, -1)
    return normalize(rows, dim=1), labels


weight, bias = 100 * classes, torch.zeros(CLASSES)
test = torch.cat([features(TEST, False)[0], features(TEST, True)[0]])
is_ood = np.repeat([0, 1], TEST)


def vim():
    return ViM(torch.nn.Identity(), d=PRINCIPAL, w=weight, b=bias)


def by_hand(bank):
    """The score of the paper in double precision; the origin is 0, as the classifier has no bias."""
    bank, rows, head = bank.double().numpy(), test.double().numpy(), weight.double().numpy()
    rest = np.linalg.eigh(bank.T @ bank)[1][:, : WIDTH - PRINCIPAL]
    alpha = (bank @ head.T).max(axis=1).mean() / np.linalg.norm(bank @ rest, axis=1).mean()
    logits = rows @ head.T
    largest = logits.max(axis=1)
    energy = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    return alpha * np.linalg.norm(rows @ rest, axis=1) - energy


def report(label, scores):
    scores = np.asarray(scores)
    auroc = roc_auc_score(is_ood, scores)
    fpr = float((scores[is_ood == 1] <= np.quantile(scores[is_ood == 0], 0.95)).mean())
    print(f"  {label}: AUROC {auroc:.3f}, FPR95 {fpr:.1%}")
    return fpr


as_expected = True
id_rows, id_labels = features(ID, False)
for n_ood in (0, 250, 1000):
    ood_rows, ood_labels = features(n_ood, True)
    rows, labels = torch.cat([id_rows, ood_rows]), torch.cat([id_labels, ood_labels])
    print(f"{ID} ID rows and {n_ood} OOD rows with the label -1")
    for name, make in (("KNN", lambda: KNN(None, k=50)), ("NNGuide", lambda: NNGuide(None, lambda z: z @ weight.T))):
        same = torch.equal(
            make().fit_features(id_rows, id_labels).predict_features(test), make().fit_features(rows, labels).predict_features(test)
        )
        print(f"  {name}.fit_features: the scores {'do not depend' if same else 'depend'} on the OOD rows")
        as_expected &= same
    loader = DataLoader(TensorDataset(rows, labels), batch_size=500)
    by_loader = vim().fit(loader).predict_features(test)
    by_features = vim().fit_features(rows, labels).predict_features(test)
    good, bad = report("ViM.fit with a loader", by_loader), report("ViM.fit_features", by_features)
    without, within = by_hand(id_rows), by_hand(rows)
    report("by hand, from the ID rows", without)
    report("by hand, from all rows", within)
    as_expected &= np.allclose(by_loader, without, atol=0.5) and np.allclose(by_features, within, atol=0.5) and good < 0.08
    as_expected &= abs(bad - good) < 0.005 if n_ood == 0 else bad > (0.3 if n_ood == 250 else 0.85)
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/vim.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

#!/usr/bin/env bash
# The Mahalanobis score of the package detectors takes a triangular factor for the inverse covariance: it depends on the order of the columns.
#
# Guess: the Mahalanobis distance does not depend on the coordinates. Features whose columns are shuffled, reversed or rotated keep their
# scores, and so the AUROC, and the scores are those of the formula: the difference to the class mean, times the inverse of the covariance,
# times the difference again.
#
# What happens: the detector factors the covariance and inverts the factor, as one does to get the distance as the length of a product. But
# the code that scores is written for the whole inverse and puts the triangular factor in its place. The result is no distance: directions
# in which ID images hardly vary, where this method finds OOD images, count far too little, and each order of the columns gives other scores.
# The sum can also be negative. Its root is then replaced by a million, the worst score of all, ID image or not. The right inverse is computed
# as well, kept in `invs`, and never read here; handed to the same function, it gives the ranking of the formula (it only lacks a
# small regularization). `RelativeMahalanobis` of the same package does read it. There is no error and no warning.
#
# Versions: detectors 0.1.11, torch 2.15.0, torchvision 0.29.2, scikit-learn 1.9.1, numpy 2.4.6, pandas 3.1.1, Python 3.11, on the CPU. Of
# detectors, only the modules of the method are loaded, which need no timm, wilds, optuna ... All settings are the defaults.
# Who is hurt: users who compare OOD detectors on features of CLIP or timm: Mahalanobis, a common baseline, looks weak, and two exports of the
# same tower with another order of channels get other numbers.
# What to do: set `precision_chols` of the fitted detector to its `invs`, or compute the distance by hand.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    torch==2.15.0 torchvision==0.29.2 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 tqdm==4.70.1
"$work/venv/bin/pip" install --quiet --no-cache-dir --no-deps detectors==0.1.11

cat >"$work/distance.py" <<'PY'
import sys
import sysconfig
import types
from collections import OrderedDict

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, TensorDataset

# The packages' own __init__ files import everything, so that these stand in for them.
for name in ("detectors", "detectors.methods"):
    module = types.ModuleType(name)
    module.__path__ = [sysconfig.get_path("purelib") + "/" + name.replace(".", "/")]
    sys.modules[name] = module
from detectors.methods.mahalanobis import Mahalanobis

WIDTH, CLASSES, BANK, TEST, OOD_AXES, WORST = 512, 20, 6000, 1000, 10, -1e6
torch.manual_seed(0)
axes = torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q
spread = 1 / torch.arange(1, WIDTH + 1)


def directions(count):
    """Unit vectors whose variance falls from axis to axis, as that of real features does."""
    return normalize((torch.randn(count, WIDTH) * spread) @ axes.T, dim=1)


classes = directions(CLASSES)


def features(count, ood):
    """Unit features around the classes; those of OOD images also move a little along axes that ID images hardly use."""
    labels = torch.randint(CLASSES, (count,))
    rows = classes[labels] + 0.6 * directions(count)
    if ood:
        rows = rows + 0.05 * normalize(torch.randn(count, OOD_AXES), dim=1) @ axes[:, -OOD_AXES:].T
    return normalize(rows, dim=1), labels


bank, labels = features(BANK, False)
test = torch.cat([features(TEST, False)[0], features(TEST, True)[0]])
is_id = np.repeat([1, 0], TEST)
unchanged = torch.eye(WIDTH)
COORDINATES = {
    "as they are": unchanged,
    "columns reversed": unchanged.flip(0),
    "columns shuffled": unchanged[:, torch.randperm(WIDTH)],
    "rotated to the principal axes": axes,
}


def by_hand(bank, test):
    """The distance to the nearest class mean in double precision, with the detector's small regularization."""
    bank, test = bank.double(), test.double()
    means = torch.stack([bank[labels == label].mean(dim=0) for label in range(CLASSES)])
    rest = bank - means[labels]
    inverse = torch.linalg.inv(rest.T @ rest / BANK + 1e-6 * torch.eye(WIDTH))
    apart = test[:, None] - means
    return -((apart @ inverse) * apart).sum(dim=-1).min(dim=1)[0].sqrt().numpy()


as_expected, seen = True, []
for label, matrix in COORDINATES.items():
    rows, queries = bank @ matrix, test @ matrix
    model = torch.nn.Sequential(OrderedDict(tower=torch.nn.Identity(), head=torch.nn.Linear(WIDTH, CLASSES)))
    detector = Mahalanobis(model)
    detector.fit(DataLoader(TensorDataset(rows, labels), batch_size=500))
    found = {"detector": detector(queries).numpy()}
    detector.precision_chols = detector.invs
    found["detector with its own invs"] = detector(queries).numpy()
    found["formula"] = by_hand(rows, queries)
    seen.append(found)
    print(f"features {label}:")
    for name, scores in found.items():
        auroc = roc_auc_score(is_id, scores)
        accepted = (scores[TEST:] >= np.quantile(scores[:TEST], 0.05)).mean()
        same = spearmanr(scores, found["formula"]).statistic
        print(
            f"  {name}: AUROC {auroc:.3f}, OOD images accepted with 95% of the ID images {accepted:.0%}, "
            f"rank correlation with the formula {same:.2f}, images with the worst score {(scores == WORST).sum()} of {len(scores)}"
        )
        if name == "detector":
            as_expected &= auroc < 0.8 and accepted > 0.68 and same < 0.95
        else:
            as_expected &= auroc > 0.88 and accepted < 0.58 and same > 0.95 and not (scores == WORST).any()
for name in seen[0]:
    same = spearmanr(seen[0][name], seen[1][name]).statistic
    print(f"rank correlation of the scores before and after the columns are reversed, {name}: {same:.2f}")
    as_expected &= same < 0.9 if name == "detector" else same > 0.95
as_expected &= any((found["detector"] == WORST).any() for found in seen)
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/distance.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

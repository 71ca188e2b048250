#!/usr/bin/env bash
# TorchCP's SAPS score without randomization gives empty prediction sets, and no coverage, if the classifier is good.
#
# Guess: `SplitPredictor` covers the true class with the probability that was requested, whatever the score and the model, as this is
# the guarantee of conformal prediction. `randomized=False` makes the sets a little larger, as it does for APS and RAPS.
#
# What happens: in the calibration, SAPS scores a true class that is ranked first with 0, as its random number is taken as 0. In the
# prediction, the class ranked first gets its whole probability as its score. If the accuracy is above the coverage, the threshold is
# 0, no class is below it, and all sets are empty. Below that, sets are too small. With `randomized=True`, the default, both formulas
# have the same distribution, and the coverage is right. Nothing warns.
#
# Versions: torchcp 1.2.1, torch 2.15.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11. Of TorchCP, only the modules of the scores and
# of the split predictor are loaded, which need none of its compiled dependencies.
# Who is hurt: users who want the same sets for the same image at each request, and so turn randomization off: an empty set means
# "none of the classes", so each image of a good zero-shot classifier is rejected as OOD. A better model has less coverage.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir torch==2.15.0 numpy==2.4.6 scikit-learn==1.9.1 tqdm==4.70.1
"$work/venv/bin/pip" install --quiet --no-cache-dir --no-deps torchcp==1.2.1

cat >"$work/coverage.py" <<'PY'
import sys
import sysconfig
import types

import torch

# The packages' own `__init__` modules import losses and graph networks with many dependencies.
for name in ("torchcp", "torchcp.utils", "torchcp.classification.score", "torchcp.classification.predictor", "torchcp.classification"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [f"{sysconfig.get_path('purelib')}/{name.replace('.', '/')}"]
from torchcp.classification.predictor.split import SplitPredictor
from torchcp.classification.score.aps import APS
from torchcp.classification.score.raps import RAPS
from torchcp.classification.score.saps import SAPS

CLASSES, CALIBRATION, TEST, COVERAGE = 100, 2000, 5000, 0.9
torch.manual_seed(0)


def zero_shot(count, signal):
    """Logits and true classes; a larger signal is a better model."""
    labels = torch.randint(CLASSES, (count,))
    logits = torch.randn(count, CLASSES)
    logits[torch.arange(count), labels] += signal
    return 2 * logits, labels


as_expected = True
for signal in (2.5, 3.5, 5.0):
    calibration, test = zero_shot(CALIBRATION, signal), zero_shot(TEST, signal)
    logits, labels = test
    accuracy = float((logits.argmax(1) == labels).float().mean())
    print(f"accuracy {accuracy:.0%}, requested coverage {COVERAGE:.0%}")
    for label, score in (
        ("APS, not randomized", APS(randomized=False)),
        ("RAPS, not randomized", RAPS(randomized=False, penalty=0.01, kreg=2)),
        ("SAPS, randomized", SAPS(randomized=True)),
        ("SAPS, not randomized", SAPS(randomized=False)),
    ):
        predictor = SplitPredictor(score, alpha=1 - COVERAGE)
        predictor.calculate_threshold(*calibration)
        sets = predictor.predict_with_logits(logits)
        covered = float(sets[torch.arange(TEST), labels].float().mean())
        empty = float((sets.sum(1) == 0).float().mean())
        print(f"  {label}: coverage {covered:.1%}, empty sets {empty:.0%}, mean size {float(sets.sum(1).float().mean()):.2f}")
        if label == "SAPS, not randomized" and accuracy > COVERAGE:
            as_expected &= covered == 0 and empty == 1
        elif label == "SAPS, not randomized" and accuracy > 0.7:
            as_expected &= covered < COVERAGE - 0.2
        else:
            as_expected &= abs(covered - COVERAGE) < 0.05
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/coverage.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

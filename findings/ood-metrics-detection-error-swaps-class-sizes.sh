#!/usr/bin/env bash
# ood-metrics' detection error weighs the errors on ID images by the share of OOD images, and the other way round.
#
# Guess: `detection_error` is the probability of a wrong decision at a TPR of at least 95%, as its documentation says: the share of ID images
# times the missed ones, plus the share of OOD images times the accepted ones. A threshold that attains it can be counted by hand.
#
# What happens: the shares are swapped, which changes nothing for as many OOD as ID images. With 10,000 ID and 1,000 OOD images that no
# score separates, 9% of all images are decided wrongly (accept everything), and the function says 87%; with the sizes swapped, 87% are,
# and it says 9%. It falls when OOD images are added, so a table over OOD sets of several sizes ranks methods by the wrong error. There
# is no error and no warning.
#
# Versions: ood-metrics 1.1.2, scikit-learn 1.6.1, numpy 1.26.4 (it needs one below 2), Python 3.11.
# Who is hurt: users who report the detection error of ODIN's protocol, or `calc_metrics` as a whole, on sets that differ in size: ImageNet's
# 50,000 images beside 10,000 of iNaturalist, SUN or Places.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir ood-metrics==1.1.2 scikit-learn==1.6.1 numpy==1.26.4 scipy==1.14.1 matplotlib==3.9.4

cat >"$work/error.py" <<'PY'
import sys
import warnings

import numpy as np
from ood_metrics import calc_metrics, detection_error

warnings.simplefilter("error")
random = np.random.default_rng(0)


def counted(scores, positive):
    """Smallest share of wrong decisions among thresholds that accept at least 95% of the ID images."""
    errors = []
    for threshold in np.unique(scores):
        accepted = scores >= threshold
        if accepted[positive == 1].mean() >= 0.95:
            errors.append((accepted != (positive == 1)).mean())
    return min(errors)


as_expected = True
found = {}
for shift in (0.0, 3.0):
    for n_id, n_ood in ((2000, 2000), (10000, 1000), (1000, 10000)):
        scores = np.concatenate([random.normal(shift, 1, n_id), random.normal(0, 1, n_ood)]).round(3)
        positive = np.repeat([1, 0], [n_id, n_ood])
        error, truth = float(detection_error(scores, positive)), float(counted(scores, positive))
        assert calc_metrics(list(scores), list(positive))["detection_error"] == error
        print(f"shift {shift}: {n_id} ID, {n_ood} OOD images: wrongly decided {truth:.1%}, detection_error {error:.1%}")
        found[shift, n_id] = truth, error
for (shift, n_id), (truth, error) in found.items():
    as_expected &= abs(truth - error) < 0.01 if n_id == 2000 else abs(truth - error) > (0.7 if shift == 0 else 0.01)
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/error.py"

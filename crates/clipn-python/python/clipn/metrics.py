"""Metrics of out-of-distribution detection.

Scores are higher for in-distribution (ID) images; ``id`` is ``[N]``, ``ood`` is ``[M]``, of any array library, ``float32`` or
``float64``. Results are fractions. NaN and infinite scores raise :class:`~clipn.MetricError` with their index.

>>> import clipn
>>> clipn.metrics.auroc([0.9, 0.8, 0.7], [0.2, 0.75])
0.8333333333333334
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _clipn
from ._arrays import array, floats, integers
from ._results import Metrics

if TYPE_CHECKING:
    ArrayLike = Any

__all__ = [
    "auroc",
    "aupr_in",
    "aupr_out",
    "aupr_in_trapezoid",
    "aupr_out_trapezoid",
    "aurc",
    "fpr_at_tpr",
    "fpr95",
    "fpr_range",
    "accuracy",
    "evaluate",
    "CONVENTIONS",
]

#: Conventions of the FPR: as published by CLIPN, as in MCM's code, and as in OpenOOD and pytorch-ood.
CONVENTIONS = ("clipn", "mcm", "openood")


def _sets(id: ArrayLike, ood: ArrayLike) -> tuple[Any, Any]:
    return floats(id, "the in-distribution scores", 1), floats(ood, "the out-of-distribution scores", 1)


def auroc(id: ArrayLike, ood: ArrayLike) -> float:
    """Area under the ROC curve, with ties counted as one half."""
    return _clipn.metric("auroc", *_sets(id, ood))


def aupr_in(id: ArrayLike, ood: ArrayLike) -> float:
    """Average precision with ID as the positive class."""
    return _clipn.metric("aupr_in", *_sets(id, ood))


def aupr_out(id: ArrayLike, ood: ArrayLike) -> float:
    """Average precision with OOD as the positive class."""
    return _clipn.metric("aupr_out", *_sets(id, ood))


def aupr_in_trapezoid(id: ArrayLike, ood: ArrayLike) -> float:
    """Area under the precision-recall curve by the trapezoidal rule, as OpenOOD and pytorch-ood report it.

    ID is the positive class. With ties it is usually higher than the average precision :func:`aupr_in`.
    """
    return _clipn.metric("aupr_in_trapezoid", *_sets(id, ood))


def aupr_out_trapezoid(id: ArrayLike, ood: ArrayLike) -> float:
    """Same as :func:`aupr_in_trapezoid` with OOD as the positive class."""
    return _clipn.metric("aupr_out_trapezoid", *_sets(id, ood))


def aurc(id: ArrayLike, is_wrong: ArrayLike, ood: ArrayLike | None = None) -> float:
    """Area under the risk-coverage curve: mean error rate of the images with the highest scores.

    Args:
        id: Scores of ID images, ``[N]``.
        is_wrong: Whether the predicted class of each is wrong, ``[N]``.
        ood: Scores of OOD images, ``[M]``, which are errors all.
    """
    import numpy as np

    scores = floats(id, "the in-distribution scores", 1)
    others = None if ood is None else floats(ood, "the out-of-distribution scores", 1)
    return _clipn.aurc(scores, np.ascontiguousarray(array(is_wrong, "is_wrong"), dtype=bool), others)


def fpr_at_tpr(id: ArrayLike, ood: ArrayLike, tpr: float = 0.95, convention: str = "clipn") -> float:
    """False positive rate at the true positive rate ``tpr``, in one of the :data:`CONVENTIONS`."""
    return _clipn.fpr_at_tpr(*_sets(id, ood), tpr, convention)[0]


def fpr95(id: ArrayLike, ood: ArrayLike, convention: str = "clipn") -> float:
    """False positive rate at a true positive rate of 0.95."""
    return fpr_at_tpr(id, ood, 0.95, convention)


def fpr_range(id: ArrayLike, ood: ArrayLike, tpr: float = 0.95, convention: str = "clipn") -> tuple[float, float]:
    """Lowest and highest FPR over every order in which equal scores could be ranked."""
    low, high = _clipn.fpr_at_tpr(*_sets(id, ood), tpr, convention)[1]
    return low, high


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Fraction of the class indices ``predictions``, ``[N]``, that equal ``labels``, ``[N]``."""
    return _clipn.accuracy(integers(predictions, "predictions"), integers(labels, "labels"))


def evaluate(id: ArrayLike, ood: ArrayLike, tpr: float = 0.95) -> Metrics:
    """All metrics from one sort.

    Returns:
        A dictionary with ``auroc``, ``aupr_in`` and ``aupr_out`` (average precision), ``aupr_in_trapezoid`` and
        ``aupr_out_trapezoid``, ``fpr`` and ``fpr_ties`` (by convention), ``n_id``,
        ``n_ood`` and the number of ``distinct`` values.
    """
    return Metrics(_clipn.evaluate(*_sets(id, ood), tpr))

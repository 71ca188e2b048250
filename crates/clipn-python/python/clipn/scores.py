"""Scores of logits ``[N, K]``: higher is more in-distribution.

Logits are cosines times the scale, 100 as published. Any array works: NumPy, torch on the CPU, JAX, lists. ``float32`` is
computed in the published arithmetic, ``float64`` in log space; the result has the type of the logits. With ``stable=True``, the
result is ``float64``, probabilities are natural logarithms, and values that tie at 0 or 1 stay apart. A row that cannot be scored,
such as one with NaN, gets NaN.

>>> import clipn
>>> clipn.scores.maxlogit([[20.0, 30.0]]).tolist()
[30.0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

from . import _clipn
from ._arrays import floats, same_type
from ._errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np

    ArrayLike = Any

__all__ = ["score", "names", "msp", "maxlogit", "energy", "mcm", "margin", "gen", "logitgap", "ctw", "atd", "gated_energy", "neglabel", "cma", "eoe", "ole", "ctw_neg", "atd_neg", "l_mcm", "gl_mcm"]


def score(
    name: str,
    yes_logits: ArrayLike,
    no_logits: ArrayLike | None = None,
    negative_logits: ArrayLike | None = None,
    *,
    local_logits: ArrayLike | None = None,
    group_ends: Sequence[int] | None = None,
    scale: float = 100.0,
    stable: bool = False,
) -> np.ndarray:
    """Computes a score by its name.

    Args:
        name: Name, such as ``"atd"`` (:func:`names`); the program's ``docs/scores.md`` describes them.
        yes_logits: "Yes" logits, ``[N, K]``.
        no_logits: "No" logits, ``[N, K]``, for scores that need them.
        negative_logits: Logits of M words that are no class, ``[N, M]``, for scores that need them.
        local_logits: "Yes" logits of P patches of each image, ``[N, P, K]``, for scores that need them.
        group_ends: End of each group of negatives [default: one group].
        scale: Factor between cosines and logits.
        stable: Whether to return ``float64`` in log space.

    Returns:
        Scores, ``[N]``.

    Raises:
        ScoreError: The score is unknown or needs other inputs.
        InvalidArgumentError: An array has a wrong shape or type.
    """
    yes = floats(yes_logits, "yes_logits", 2)
    no = None if no_logits is None else floats(no_logits, "no_logits", 2)
    negatives = None if negative_logits is None else floats(negative_logits, "negative_logits", 2)
    local = None
    if local_logits is not None:
        local = floats(local_logits, "local_logits", 3)
        if local.shape[2] != yes.shape[1]:
            raise InvalidArgumentError(f"expected local_logits of shape (N, P, {yes.shape[1]}), got {local.shape}")
        local = local.reshape(local.shape[0], -1)
    yes, no, negatives, local = same_type(yes, no, negatives, local)
    if group_ends is not None and negatives is None:
        raise InvalidArgumentError("group_ends has no effect without negative_logits", "leave it out")
    ends = None if group_ends is None else list(group_ends)
    return _clipn.score(name, yes, no, negatives, local, ends, scale, stable)


def names(*, no: bool = True, negatives: bool = True) -> list[str]:
    """Returns the names of the standard scores.

    Args:
        no: Whether to include scores that need "no" logits.
        negatives: Whether to include scores that need negatives.
    """
    rows = _clipn.score_names()
    return [name for name, _, uses_no, uses_negatives in rows if (no or not uses_no) and (negatives or not uses_negatives)]


def msp(yes_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """MSP: the highest softmax probability of the classes (Hendrycks and Gimpel, 2017).

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("msp", yes_logits, None, None, **settings)


def maxlogit(yes_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """MaxLogit: the highest logit (Hendrycks et al., 2022).

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("maxlogit", yes_logits, None, None, **settings)


def energy(yes_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """Energy: the log-sum-exp of the logits (Liu et al., 2020).

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("energy", yes_logits, None, None, **settings)


def mcm(yes_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """MCM: the highest softmax probability of the cosines (Ming et al., 2022).

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("mcm", yes_logits, None, None, **settings)


def margin(yes_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """Margin: the difference of the two highest probabilities.

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("margin", yes_logits, None, None, **settings)


def gen(yes_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """GEN: generalized entropy (Liu et al., 2023), negated.

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("gen", yes_logits, None, None, **settings)


def logitgap(yes_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """LogitGap: the highest logit less the mean of the next ones.

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("logitgap", yes_logits, None, None, **settings)


def ctw(yes_logits: ArrayLike, no_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """CTW, CLIPN-C: the agreement q of the predicted class (Wang et al., 2023).

    Args:
        yes_logits: "Yes" logits, ``[N, K]``.
        no_logits: "No" logits, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("ctw", yes_logits, no_logits, None, **settings)


def atd(yes_logits: ArrayLike, no_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """ATD, CLIPN-A: the probability of any class, the sum of p·q (Wang et al., 2023).

    Args:
        yes_logits: "Yes" logits, ``[N, K]``.
        no_logits: "No" logits, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("atd", yes_logits, no_logits, None, **settings)


def gated_energy(yes_logits: ArrayLike, no_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """Gated energy: energy in which each class counts as much as its "no" allows.

    Args:
        yes_logits: "Yes" logits, ``[N, K]``.
        no_logits: "No" logits, ``[N, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("gated-energy", yes_logits, no_logits, None, **settings)


def neglabel(yes_logits: ArrayLike, negative_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """NegLabel: the probability of the classes against the negatives (Jiang et al., 2024).

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        negative_logits: Logits of the negatives, ``[N, M]``.
        settings: ``scale``, ``stable`` and ``group_ends`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("neglabel", yes_logits, None, negative_logits, **settings)


def cma(yes_logits: ArrayLike, negative_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """CMA: the probability of the predicted class against the negatives.

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        negative_logits: Logits of the negatives, ``[N, M]``.
        settings: ``scale``, ``stable`` and ``group_ends`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("cma", yes_logits, None, negative_logits, **settings)


def eoe(yes_logits: ArrayLike, negative_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """EOE: the highest probability less that of the negatives.

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        negative_logits: Logits of the negatives, ``[N, M]``.
        settings: ``scale``, ``stable`` and ``group_ends`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("eoe", yes_logits, None, negative_logits, **settings)


def ole(yes_logits: ArrayLike, no_logits: ArrayLike, negative_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """OLE: ATD with the negatives in the denominator of its softmax (Ding and Pang, 2024). Its authors' scale is 50.

    Args:
        yes_logits: "Yes" logits, ``[N, K]``.
        no_logits: "No" logits, ``[N, K]``.
        negative_logits: Logits of the negatives, ``[N, M]``.
        settings: ``scale``, ``stable`` and ``group_ends`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("ole", yes_logits, no_logits, negative_logits, **settings)


def ctw_neg(yes_logits: ArrayLike, no_logits: ArrayLike, negative_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """CTW with negatives.

    Args:
        yes_logits: "Yes" logits, ``[N, K]``.
        no_logits: "No" logits, ``[N, K]``.
        negative_logits: Logits of the negatives, ``[N, M]``.
        settings: ``scale``, ``stable`` and ``group_ends`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("ctw-neg", yes_logits, no_logits, negative_logits, **settings)


def atd_neg(yes_logits: ArrayLike, no_logits: ArrayLike, negative_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """ATD with negatives.

    Args:
        yes_logits: "Yes" logits, ``[N, K]``.
        no_logits: "No" logits, ``[N, K]``.
        negative_logits: Logits of the negatives, ``[N, M]``.
        settings: ``scale``, ``stable`` and ``group_ends`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("atd-neg", yes_logits, no_logits, negative_logits, **settings)


def l_mcm(yes_logits: ArrayLike, local_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """L-MCM: the highest softmax probability of the cosines over all patches (Miyai et al., 2025).

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        local_logits: Logits of P patches of each image, ``[N, P, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("l-mcm", yes_logits, None, None, local_logits=local_logits, **settings)


def gl_mcm(yes_logits: ArrayLike, local_logits: ArrayLike, **settings: Any) -> np.ndarray:
    """GL-MCM: MCM plus half of L-MCM (Miyai et al., 2025).

    Args:
        yes_logits: Logits of the classes, ``[N, K]``.
        local_logits: Logits of P patches of each image, ``[N, P, K]``.
        settings: ``scale`` and ``stable`` of :func:`score`.

    Returns:
        Scores, ``[N]``.
    """
    return score("gl-mcm", yes_logits, None, None, local_logits=local_logits, **settings)

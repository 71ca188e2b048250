"""Scores and metrics, compared with NumPy, SciPy's formulas and scikit-learn."""

import inspect

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

import clipn
from clipn import metrics, scores


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(1)
    yes = rng.normal(20, 5, (300, 17)).astype(np.float32)
    return yes, (yes + rng.normal(0, 4, yes.shape)).astype(np.float32)


def softmax(values):
    e = np.exp(values - values.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("dtype,tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_scores_equal_their_formulas(logits, dtype, tolerance):
    yes, no = (values.astype(dtype) for values in logits)
    p, q = softmax(yes.astype(np.float64)), 1 / (1 + np.exp(no.astype(np.float64) - yes))
    expected = {
        "msp": p.max(1),
        "maxlogit": yes.max(1),
        "energy": np.log(np.exp(yes.astype(np.float64)).sum(1)),
        "mcm": softmax(yes.astype(np.float64) / 100).max(1),
        "atd": (p * q).sum(1),
        "ctw": q[np.arange(len(q)), yes.argmax(1)],
    }
    for name, values in expected.items():
        got = scores.score(name, yes, no)
        assert got.dtype == dtype and got.shape == (300,)
        np.testing.assert_allclose(got, values, rtol=tolerance, err_msg=name)
    assert np.array_equal(scores.atd(yes, no), scores.score("atd", yes, no))
    stable = scores.msp(yes, stable=True)
    assert stable.dtype == np.float64
    np.testing.assert_allclose(stable, np.log(p.max(1)), atol=1e-5)


def test_negatives(logits):
    yes, negatives = logits
    both = np.concatenate([yes, negatives], axis=1).astype(np.float64)
    expected = softmax(both)[:, : yes.shape[1]].sum(1)
    np.testing.assert_allclose(scores.neglabel(yes, negatives), expected, rtol=1e-5)
    assert "neglabel" in scores.names() and "neglabel" not in scores.names(negatives=False)


def test_local_logits(logits):
    yes, _ = logits
    local = np.stack([yes, yes[::-1], yes + 1], axis=1)
    expected = softmax(local.reshape(-1, yes.shape[1]).astype(np.float64) / 100).max(1).reshape(-1, 3).max(1)
    np.testing.assert_allclose(scores.l_mcm(yes, local), expected, rtol=1e-5)
    np.testing.assert_allclose(scores.gl_mcm(yes, local), scores.mcm(yes) + 0.5 * scores.l_mcm(yes, local), rtol=1e-5)
    with pytest.raises(clipn.ScoreError, match="local"):
        scores.score("l-mcm", yes)
    with pytest.raises(clipn.InvalidArgumentError, match=r"\(N, P, 17\)"):
        scores.l_mcm(yes, local[:, :, :5])


def test_every_function_is_the_score_of_its_name(logits):
    yes, no = logits
    inputs = {"yes_logits": yes, "no_logits": no, "negative_logits": yes[:, ::-1].copy(), "local_logits": yes[:, None]}
    for name in scores.__all__:
        if name in ("score", "names"):
            continue
        function = getattr(scores, name)
        needed = [p for p in inspect.signature(function).parameters if p in inputs]
        got = function(**{p: inputs[p] for p in needed})
        local = {"local_logits": inputs["local_logits"]} if "local_logits" in needed else {}
        expected = scores.score(name.replace("_", "-"), yes, no, inputs["negative_logits"], **local)
        np.testing.assert_array_equal(got, expected, err_msg=name)


def test_any_array_and_layout(logits):
    yes, no = logits
    expected = scores.atd(yes, no)
    padded = np.zeros((300, 34), np.float32)
    padded[:, ::2] = yes
    for variant in (np.asfortranarray(yes), padded[:, ::2], yes.astype(">f4"), yes.tolist()):
        np.testing.assert_allclose(scores.atd(variant, no), expected, rtol=1e-5)

    class Dlpack:
        def __dlpack__(self, **kwargs):
            return yes.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return yes.__dlpack_device__()

    assert np.array_equal(scores.atd(Dlpack(), no), expected)
    half = scores.msp(yes.astype(np.float16))
    assert half.dtype == np.float32
    assert scores.msp(yes.astype(int)).dtype == np.float64


def test_wrong_inputs_are_refused(logits):
    yes, no = logits
    with pytest.raises(clipn.ScoreError, match="unknown score `entropy`|entropy"):
        scores.score("entropy", yes)
    with pytest.raises(clipn.ScoreError):
        scores.score("atd", yes)
    with pytest.raises(clipn.InvalidArgumentError, match=r"expected no logits of shape \(300, 17\), got \(299, 17\)"):
        scores.atd(yes, no[1:])
    with pytest.raises(ValueError, match=r"got \(300,\)"):
        scores.msp(yes[:, 0])
    with pytest.raises(ValueError, match="complex"):
        scores.msp(yes.astype(complex))
    damaged = yes.copy()
    damaged[3, 2] = np.nan
    assert np.flatnonzero(np.isnan(scores.msp(damaged))).tolist() == [3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_metrics_equal_scikit_learn(dtype):
    rng = np.random.default_rng(3)
    id, ood = (np.round(rng.normal(mean, 1, n), 2).astype(dtype) for mean, n in ((1, 700), (0, 500)))
    labels, values = np.r_[np.ones(700), np.zeros(500)], np.r_[id, ood]
    assert metrics.auroc(id, ood) == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    assert metrics.aupr_in(id, ood) == pytest.approx(average_precision_score(labels, values), abs=1e-12)
    assert metrics.aupr_out(id, ood) == pytest.approx(average_precision_score(1 - labels, -values), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, values)
    assert metrics.aupr_in_trapezoid(id, ood) == pytest.approx(auc(recall, precision), abs=1e-12)
    precision, recall, _ = precision_recall_curve(1 - labels, -values)
    assert metrics.aupr_out_trapezoid(id, ood) == pytest.approx(auc(recall, precision), abs=1e-12)
    figures = metrics.evaluate(id, ood)
    assert figures["aupr_in_trapezoid"] == metrics.aupr_in_trapezoid(id, ood)
    assert figures["auroc"] == metrics.auroc(id, ood) and figures["n_ood"] == 500
    for convention in metrics.CONVENTIONS:
        fpr = metrics.fpr95(id, ood, convention)
        low, high = metrics.fpr_range(id, ood, convention=convention)
        assert figures["fpr"][convention] == fpr and low <= fpr <= high
    # As OpenOOD: out-of-distribution is the positive class.
    fpr, tpr, _ = roc_curve(1 - labels, -values)
    assert metrics.fpr95(id, ood, "openood") == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, values)
    assert metrics.fpr95(id, ood, "clipn") == pytest.approx(np.interp(0.95, tpr, fpr), abs=1e-12)
    assert "auroc" in figures._repr_html_()


def test_aurc_counts_wrong_predictions_and_unknown_images():
    assert metrics.aurc([0.9, 0.8, 0.5], [False, False, True], [0.7]) == pytest.approx((1 / 3 + 2 / 4) / 4)
    assert metrics.aurc([0.9, 0.8], [False, True]) == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match="2 scores for 1 predictions"):
        metrics.aurc([0.9, 0.8], [False])


def test_metrics_refuse_nan():
    with pytest.raises(clipn.MetricError, match="1"):
        metrics.auroc([0.5, np.nan], [0.1])
    with pytest.raises(ValueError):
        metrics.auroc([], [0.1])
    with pytest.raises(clipn.ClipnError):
        metrics.fpr95([0.5], [0.1], "mine")
    assert metrics.accuracy([0, 1, 2], [0, 1, 1]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="-1"):
        metrics.accuracy([-1], [0])

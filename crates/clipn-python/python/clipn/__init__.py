"""Zero-shot classification that knows when to say no: CLIPN.

==================  ================================================================
``Detector``        images in, labels or "unknown" out: one, many, or a stream
``Classifier``      class names, or text features of any model, as rows W_yes and W_no
``Bundle``          a classifier with its model and threshold in one file
``calibrate``       a threshold for your images, or for scores
``load``            weights: CLIP's towers as callables on images and texts
``scores``          MSP, MCM, energy, ATD, CTW, NegLabel and more, on logits of any array library
``metrics``         AUROC, both AUPRs, FPR in three conventions
``tokenize``, ``preprocess``, ``convert``  CLIP's tokenizer, its pixels, and its weights' formats
==================  ================================================================

Nothing is downloaded unless :func:`load` is given a name on the hub. Work runs on all cores without the GIL, and Ctrl-C stops it.
"""

from __future__ import annotations

from . import metrics, scores
from ._api import Bundle, Calibration, Classifier, Detector, Model, calibrate, convert, load, preprocess, tokenize
from ._clipn import Detection, DetectionStream, __version__
from ._errors import (
    BundleError,
    CalibrationError,
    ClassifierError,
    ClipnError,
    DetectorError,
    DownloadError,
    ImageError,
    InvalidArgumentError,
    MetricError,
    ModelError,
    ProcessError,
    ScoreError,
)
from ._results import Detections, Metrics

__all__ = [
    "Bundle",
    "BundleError",
    "Calibration",
    "CalibrationError",
    "Classifier",
    "ClassifierError",
    "ClipnError",
    "Detection",
    "DetectionStream",
    "Detections",
    "Detector",
    "DetectorError",
    "DownloadError",
    "ImageError",
    "InvalidArgumentError",
    "MetricError",
    "Metrics",
    "Model",
    "ModelError",
    "ProcessError",
    "ScoreError",
    "__version__",
    "calibrate",
    "convert",
    "load",
    "metrics",
    "preprocess",
    "scores",
    "tokenize",
]

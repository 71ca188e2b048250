"""Types of the native module."""

from typing import Any, Iterator

__version__: str

class Detection:
    """Result of one image."""

    @property
    def path(self) -> str | None:
        """Path of the image; None for one in memory."""
    @property
    def label(self) -> str | None:
        """Name of the class; None for an unknown image."""
    @property
    def label_or_unknown(self) -> str:
        """Name of the class, or "unknown"."""
    @property
    def class_index(self) -> int | None:
        """Index of the class; None for an unknown image."""
    @property
    def is_unknown(self) -> bool:
        """Whether the image belongs to none of the classes."""
    @property
    def score(self) -> float:
        """Score that decided, in its published unit."""
    @property
    def threshold(self) -> float:
        """Minimum score of a known image."""
    @property
    def p_value(self) -> float | None:
        """Conformal p-value, with a calibrated threshold."""
    @property
    def reason(self) -> str:
        """Explanation of the decision."""
    @property
    def top(self) -> list[tuple[str, float, float | None]]:
        """Top classes as tuples (label, p, q), p descending; q is None without "no"."""
    def __eq__(self, other: object) -> bool: ...
    __hash__: None  # type: ignore[assignment]
    def to_json(self) -> str:
        """The serialized form of the program's rows."""
    @staticmethod
    def from_json(text: str, path: str | None = None) -> Detection:
        """Reads what :meth:`to_json` returned."""

class DetectionStream(Iterator[Detection]):
    """Iterator over the detections of a stream, in order."""

    def __iter__(self) -> DetectionStream: ...
    def __next__(self) -> Detection: ...
    def close(self) -> None:
        """Stops the work."""

class Calibration:
    """A calibrated threshold."""

    @property
    def threshold(self) -> float:
        """Threshold in the published unit of the score."""
    @property
    def score(self) -> str:
        """Name of the score."""
    @property
    def n(self) -> int:
        """Number of in-distribution images."""
    @property
    def warnings(self) -> list[str]:
        """Warnings about the calibration set."""
    def p_value(self, score: float) -> float:
        """Conformal p-value of a score in its published unit."""
    def to_json(self) -> str:
        """All figures as JSON, with the keys of ``clipn calibrate --format json`` and scores in their published unit."""

class Model:
    name: str
    embed_dim: int
    image_size: int
    context_length: int
    has_no: bool
    logit_scale: float
    precision: str
    def config_json(self) -> str: ...
    def image_tower_hash(self) -> str: ...
    def preprocess(self, images: Any) -> Any: ...
    def encode_images(self, images: Any, normalize: bool, batch_size: int, workers: int | None, progress: Any) -> Any: ...
    def encode_pixels(self, pixels: Any, normalize: bool) -> Any: ...
    def encode_tokens(self, tokens: Any, side: str, normalize: bool, progress: Any) -> Any: ...

class Classifier:
    class_names: list[str]
    negative_names: list[str]
    scores: list[str]
    dim: int
    scale: float
    no_scale: float
    yes_weights: Any
    no_weights: Any
    @staticmethod
    def build(
        classes: list[str],
        model: Model,
        templates: str | None,
        variant: str | None,
        logit_scale: str | None,
        allow_duplicates: bool,
        negatives: str | None,
        reject: list[str] | None,
        progress: Any,
    ) -> Classifier: ...
    @staticmethod
    def from_features(
        yes: Any,
        no: Any,
        negatives: Any,
        classes: list[str] | None,
        negative_names: list[str] | None,
        scale: float,
        no_scale: float,
    ) -> Classifier: ...
    def add(self, other: Classifier) -> Classifier: ...
    def remove(self, names: list[str]) -> Classifier: ...
    def prompt_variant(self) -> str | None: ...
    def encode_like(self, classes: list[str], model: Model, progress: Any) -> Classifier: ...
    def logits(self, features: Any) -> tuple[Any, Any, Any]: ...
    def __len__(self) -> int: ...

class Bundle:
    classifier: Classifier
    calibration: Calibration | None
    has_image_tower: bool
    @staticmethod
    def open(path: str) -> Bundle: ...
    @staticmethod
    def build(classifier: Classifier, model: Model, image_tower: bool) -> Bundle: ...
    def write(self, path: str) -> None: ...
    def identity_json(self) -> str: ...
    def with_classifier(self, classifier: Classifier) -> Bundle: ...

class Detector:
    class_names: list[str]
    classifier: Classifier
    score_name: str
    is_calibrated: bool
    image_size: int
    accepts_all: bool
    @staticmethod
    def open(path: str, model: Model | None) -> Detector: ...
    @staticmethod
    def from_bundle(bundle: Bundle, model: Model | None) -> Detector: ...
    @staticmethod
    def from_classifier(classifier: Classifier, model: Model | None) -> Detector: ...
    def with_rule(self, score: str | None, threshold: float | None, reject: bool) -> Detector: ...
    def with_top(self, top: int) -> Detector: ...
    def detect_list(
        self, images: Any, keep_errors: bool, batch_size: int, workers: int | None, progress: Any
    ) -> list[Any]: ...
    def detect_features(self, features: Any, keep_errors: bool) -> list[Any]: ...
    def stream(self, images: Any, keep_errors: bool, batch_size: int, workers: int | None) -> DetectionStream: ...

def score(
    name: str,
    yes: Any,
    no: Any,
    negatives: Any,
    local: Any,
    group_ends: list[int] | None,
    scale: float,
    stable: bool,
) -> Any: ...
def score_names() -> list[tuple[str, str, bool, bool]]: ...
def metric(name: str, id: Any, ood: Any) -> float: ...
def fpr_at_tpr(id: Any, ood: Any, tpr: float, name: str) -> tuple[float, list[float]]: ...
def evaluate(id: Any, ood: Any, tpr: float) -> dict[str, Any]: ...
def accuracy(predictions: Any, labels: Any) -> float: ...
def aurc(id: Any, is_wrong: Any, ood: Any | None) -> float: ...
def tokenize(texts: list[str], context_length: int) -> tuple[Any, int]: ...
def preprocess(images: Any, size: int, faithful: bool, pillow: str) -> Any: ...
def load(
    name: str, model: str | None, precision: str, offline: bool, faithful: bool, progress: Any
) -> Model: ...
def convert(
    source: str, output: str, to: str, dtype: str, model: str | None, force: bool, progress: Any
) -> list[tuple[Any, int]]: ...
def calibrate_scores(
    id: Any, ood: Any, score: str, target_tpr: float, choice: str, confidence: float
) -> Calibration: ...
def calibrate_bundle(
    bundle: Bundle,
    id: Any,
    ood: Any,
    labels: list[int | None] | None,
    model: Model | None,
    score: str | None,
    target_tpr: float,
    choice: str,
    confidence: float,
    fit_fraction: float | None,
    fit_settings: str | None,
    description: str,
    workers: int | None,
    progress: Any,
) -> tuple[Bundle, list[str], str | None]: ...
def run_program(launcher: list[str], words: list[str]) -> int: ...

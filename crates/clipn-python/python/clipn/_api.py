"""Classes and functions over the native module."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, Sequence

from . import _clipn
from ._arrays import array, floats, integers, one_or_many
from ._clipn import Calibration, Detection
from ._errors import InvalidArgumentError
from ._results import Detections

if TYPE_CHECKING:
    import numpy as np

    ArrayLike = Any
    Image = Any
    #: Called as ``progress(stage, done, total)`` on the calling thread; ``total`` is 0 if it is not known.
    Progress = Callable[[str, int, int], Any]
    StrPath = "str | os.PathLike[str]"


def _progress(progress: Progress | bool | None) -> Progress | None:
    """A progress function: the given one, or a bar of tqdm for ``True``."""
    if progress is None or progress is False:
        return None
    if progress is not True:
        return progress
    from tqdm.auto import tqdm

    bars: dict[str, Any] = {}

    def show(stage: str, done: int, total: int) -> None:
        bar = bars.get(stage)
        if bar is None:
            bar = bars[stage] = tqdm(desc=stage, total=total or None)
        if done < bar.n:
            # The stage begins again, with other images.
            bar.close()
            bar = bars[stage] = tqdm(desc=stage, total=total or None)
        bar.update(done - bar.n)
        if total and done >= total:
            bar.close()

    return show


def _names(texts: str | Sequence[str], what: str = "class names") -> list[str]:
    if isinstance(texts, str):
        raise InvalidArgumentError(f"expected a list of {what}, got the string {texts!r}", f"give [{texts!r}]")
    return [str(text) for text in texts]


class Model:
    """A CLIP model; :func:`load` opens one.

    Attributes:
        name: Name of the architecture.
        embed_dim: Dimension D of the features.
        image_size: Side S of the images in pixels.
        context_length: Number of tokens L of a text.
        has_no: Whether the weights have learned "no".
        logit_scale: Factor from cosines to logits that the model was trained with.
        precision: ``"f32"`` or ``"int8"``.
        config: The architecture.
    """

    def __init__(self, native: _clipn.Model) -> None:
        self._native = native
        self.name: str = native.name
        self.embed_dim: int = native.embed_dim
        self.image_size: int = native.image_size
        self.context_length: int = native.context_length
        self.has_no: bool = native.has_no
        self.logit_scale: float = native.logit_scale
        self.precision: str = native.precision
        self.config: dict[str, Any] = json.loads(native.config_json())

    def preprocess(self, images: Image | Iterable[Image]) -> np.ndarray:
        """Reads, resizes and normalizes images as Pillow and CLIP do.

        Args:
            images: One image or several: paths, encoded bytes, PIL images or ``uint8`` arrays ``[H, W, 3]``.

        Returns:
            Pixels, ``[N, 3, S, S]`` in ``float32``, for ``torch.from_numpy``.
        """
        return self._native.preprocess(one_or_many(images)[0])

    def image(
        self,
        images: Image | Iterable[Image] | ArrayLike,
        *,
        normalize: bool = True,
        batch_size: int = 16,
        workers: int | None = None,
        progress: Progress | bool | None = None,
    ) -> np.ndarray:
        """Encodes images with the image tower.

        Args:
            images: Images as for :meth:`preprocess`, or pixels ``[N, 3, S, S]`` of it.
            normalize: Whether features have length 1.
            batch_size: Images per batch of one worker.
            workers: Worker threads [default: one per core].
            progress: Function ``progress(stage, done, total)``, or ``True`` for a bar of tqdm.

        Returns:
            Features, ``[N, D]`` in ``float32``.
        """
        if hasattr(images, "ndim") and images.ndim == 4 and not str(images.dtype).endswith("uint8"):
            import numpy as np

            pixels = np.ascontiguousarray(array(images, "pixels"), dtype=np.float32)
            return self._native.encode_pixels(pixels, normalize)
        collection, _ = one_or_many(images)
        return self._native.encode_images(collection, normalize, batch_size, workers, _progress(progress))

    def text(
        self,
        texts: str | Sequence[str] | ArrayLike,
        *,
        side: str = "yes",
        normalize: bool = True,
        progress: Progress | bool | None = None,
    ) -> np.ndarray:
        """Encodes texts with a text tower.

        Args:
            texts: One text or several, or token ids ``[N, L]`` of :func:`tokenize`.
            side: ``"yes"`` for CLIP's own text tower, ``"no"`` for the one that has learned "no".
            normalize: Whether features have length 1.
            progress: Function ``progress(stage, done, total)``, or ``True`` for a bar of tqdm.

        Returns:
            Features, ``[N, D]`` in ``float32``.
        """
        if not isinstance(texts, str) and not hasattr(texts, "ndim") and not hasattr(texts, "__dlpack__"):
            texts = list(texts)
        is_text = isinstance(texts, str) or (not hasattr(texts, "ndim") and all(isinstance(t, str) for t in texts))
        tokens = tokenize(texts, self.context_length) if is_text else integers(texts, "token ids")
        if tokens.ndim != 2:
            raise InvalidArgumentError(f"expected token ids of shape (N, L), got {tokens.shape}")
        return self._native.encode_tokens(tokens, side, normalize, _progress(progress))

    def image_tower_hash(self) -> str:
        """Returns a digest of the image tower's weights."""
        return self._native.image_tower_hash()

    def __repr__(self) -> str:
        return repr(self._native)


def load(
    pretrained: StrPath = "clipn-mini",
    *,
    model: str | None = None,
    precision: str = "f32",
    offline: bool = False,
    faithful_pixels: bool = False,
    progress: Progress | bool | None = None,
) -> Model:
    """Opens weights.

    Args:
        pretrained: A file (safetensors, PyTorch, TorchScript), a directory (transformers, open_clip), ``hf-hub:OWNER/NAME``, a
            tag of open_clip with ``model``, or ``clipn-mini``, the demonstration model, which is for research only.
        model: Architecture, such as ``"ViT-B-16"``, or an open_clip model config [default: from the weights].
        precision: ``"f32"``, or ``"int8"``, which is faster.
        offline: Whether to take weights from the hub's cache only.
        faithful_pixels: Whether to decode pixels as the published evaluation does: no EXIF rotation, 16-bit gray clipped.
        progress: Function ``progress(stage, done, total)`` for downloads, or ``True`` for a bar of tqdm.

    Raises:
        ModelError: The weights cannot be used.
        DownloadError: Weights of this name cannot be found.
    """
    native = _clipn.load(os.fspath(pretrained), model, precision, offline, faithful_pixels, _progress(progress))
    return Model(native)


def _model(model: Model | StrPath | None) -> Model | None:
    return model if model is None or isinstance(model, Model) else load(model)


def _native(model: Model | StrPath | None) -> _clipn.Model | None:
    opened = _model(model)
    return None if opened is None else opened._native


class Classifier:
    """A zero-shot classifier of K classes: rows W_yes and, for weights that have learned "no", W_no, each ``[K, D]``."""

    def __init__(self, native: _clipn.Classifier) -> None:
        self._native = native

    @classmethod
    def build(
        cls,
        classes: Sequence[str],
        templates: str | None = None,
        *,
        pretrained: Model | StrPath = "clipn-mini",
        variant: str | None = None,
        logit_scale: str | None = None,
        allow_duplicates: bool = False,
        negatives: str | None = None,
        reject: Sequence[str] | None = None,
        progress: Progress | bool | None = None,
    ) -> Classifier:
        """Encodes class names with the text towers of a model.

        Args:
            classes: Names of the K classes.
            templates: Prompt templates: ``"clipn"``, ``"plain"``, ``"simple"``, … or a file [default: from the weights].
            pretrained: The model, or what :func:`load` opens.
            variant: ``"learnable"`` or ``"handcrafted"``: which templates the "no" tower reads.
            logit_scale: ``"published"`` (100) or ``"trained"``.
            allow_duplicates: Whether two classes may have the same name.
            negatives: Words that are no class: ``"wordnet"``, ``"neglabel"``, ``"csp"`` or a file [default: none].
            reject: Texts that are no class, such as ``["a hand"]``, in place of ``negatives``.
            progress: Function ``progress(stage, done, total)``, or ``True`` for a bar of tqdm.
        """
        if negatives is not None and reject is not None:
            raise InvalidArgumentError("negatives and reject exclude each other", "give one of them")
        model = _model(pretrained)
        assert model is not None
        native = _clipn.Classifier.build(
            _names(classes), model._native, templates, variant, logit_scale, allow_duplicates, negatives,
            None if reject is None else _names(reject, "texts to reject"), _progress(progress),
        )
        return cls(native)

    @classmethod
    def from_features(
        cls,
        yes: ArrayLike,
        no: ArrayLike | None = None,
        negatives: ArrayLike | None = None,
        *,
        classes: Sequence[str] | None = None,
        negative_names: Sequence[str] | None = None,
        scale: float = 100.0,
        no_scale: float = 1.0,
    ) -> Classifier:
        """Takes text features of any model.

        Args:
            yes: Features of the classes, ``[K, D]``; they are normalized.
            no: Features of the "no" texts of the same classes, ``[K, D]``.
            negatives: Features of words that are no class, ``[M, D]``. They are split into groups that suit K
                classes, and ordered by group, as :attr:`negative_names` says.
            classes: Names of the classes [default: their indices].
            negative_names: The words [default: their indices].
            scale: Factor between cosines and logits.
            no_scale: Factor of the "no" logits over "yes" logits of the same cosine.
        """
        native = _clipn.Classifier.from_features(
            floats(yes, "yes features", 2),
            None if no is None else floats(no, "no features", 2),
            None if negatives is None else floats(negatives, "negative features", 2),
            None if classes is None else _names(classes),
            None if negative_names is None else _names(negative_names, "names of negatives"),
            scale,
            no_scale,
        )
        return cls(native)

    def add(
        self,
        classes: Classifier | Sequence[str],
        *,
        pretrained: Model | StrPath | None = None,
        progress: Progress | bool | None = None,
    ) -> Classifier:
        """Returns a classifier with further classes, and without negatives.

        Args:
            classes: Another classifier of the same model, or class names, which are encoded with the same prompts.
            pretrained: The model, for class names.
        """
        if isinstance(classes, Classifier) and pretrained is not None:
            raise InvalidArgumentError("a classifier needs no model: pretrained has no effect", "give class names")
        if not isinstance(classes, Classifier):
            model = _native(pretrained)
            if model is None:
                raise InvalidArgumentError("class names need the model that encodes them", "give pretrained=…")
            classes = Classifier(self._native.encode_like(_names(classes), model, _progress(progress)))
        return Classifier(self._native.add(classes._native))

    def remove(self, classes: Sequence[str]) -> Classifier:
        """Returns a classifier without these classes."""
        return Classifier(self._native.remove(_names(classes)))

    def logits(self, features: ArrayLike) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Computes the logits of image features ``[N, D]``, which are normalized: "yes" ``[N, K]``, "no" ``[N, K]`` and those of
        the negatives ``[N, M]``; None for what the classifier does not have."""
        return self._native.logits(floats(features, "features", 2))

    @property
    def class_names(self) -> list[str]:
        """Names of the K classes."""
        return self._native.class_names

    @property
    def negative_names(self) -> list[str]:
        """The M negatives."""
        return self._native.negative_names

    @property
    def dim(self) -> int:
        """Dimension D of the features."""
        return self._native.dim

    @property
    def no_scale(self) -> float:
        """Factor of the "no" logits over "yes" logits of the same cosine, with which "no" was trained."""
        return self._native.no_scale

    @property
    def scale(self) -> float:
        """Factor between cosines and logits."""
        return self._native.scale

    @property
    def scores(self) -> list[str]:
        """Names of the scores that can be computed."""
        return self._native.scores

    @property
    def yes_weights(self) -> np.ndarray:
        """W_yes, ``[K, D]``; a copy."""
        return self._native.yes_weights

    @property
    def no_weights(self) -> np.ndarray | None:
        """W_no, ``[K, D]``, or None; a copy."""
        return self._native.no_weights

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        return repr(self._native)

    def _repr_html_(self) -> str:
        from html import escape

        names = ", ".join(escape(name) for name in self.class_names[:20])
        more = f" and {len(self) - 20} more" if len(self) > 20 else ""
        return f"<p>{escape(repr(self))}</p><p>{names}{more}</p>"


class Bundle:
    """A classifier with its model's identity, its threshold and, if wanted, its image tower in one file."""

    def __init__(self, native: _clipn.Bundle) -> None:
        self._native = native

    @classmethod
    def open(cls, path: StrPath) -> Bundle:
        """Opens a file of ``clipn classifier build`` or :meth:`write`."""
        return cls(_clipn.Bundle.open(os.fspath(path)))

    @classmethod
    def build(cls, classifier: Classifier, pretrained: Model | StrPath, *, image_tower: bool = True) -> Bundle:
        """Combines a classifier of class names with its model.

        Args:
            classifier: Result of :meth:`Classifier.build` with the same model.
            pretrained: The model.
            image_tower: Whether the file contains the image tower, so that it needs no other file.
        """
        model = _model(pretrained)
        assert model is not None
        return cls(_clipn.Bundle.build(classifier._native, model._native, image_tower))

    def write(self, path: StrPath) -> None:
        """Writes the file atomically."""
        self._native.write(os.fspath(path))

    def with_classifier(self, classifier: Classifier) -> Bundle:
        """Returns the bundle with a classifier of the same model, and its prompts, without a calibration."""
        return Bundle(self._native.with_classifier(classifier._native))

    @property
    def classifier(self) -> Classifier:
        """The classifier."""
        return Classifier(self._native.classifier)

    @property
    def calibration(self) -> Calibration | None:
        """The calibrated threshold, if there is one."""
        return self._native.calibration

    @property
    def has_image_tower(self) -> bool:
        """Whether the image tower is in the file."""
        return self._native.has_image_tower

    @property
    def identity(self) -> dict[str, Any]:
        """Architecture, digests and precision of the model."""
        return json.loads(self._native.identity_json())

    def __repr__(self) -> str:
        return repr(self._native)


class Detector:
    """Classifies images as one of its classes or as unknown. Safe to use from several threads.

    >>> import clipn
    >>> model = clipn.load()
    >>> detector = clipn.Detector(clipn.Classifier.build(["school bus", "pizza"], pretrained=model), model)
    >>> detector.class_names
    ['school bus', 'pizza']
    """

    def __init__(self, source: Bundle | Classifier, pretrained: Model | StrPath | None = None) -> None:
        """Combines a classifier or a bundle with a model. Without one, a bundle uses the image tower in it; else the detector
        decides on features only (:meth:`detect_features`). If nothing rejects, for lack of "no" and of negatives, every image gets
        its best label, with a warning."""
        self._has_rule = False
        if isinstance(source, _clipn.Detector):
            self._native = source
        elif isinstance(source, Bundle):
            self._native = _clipn.Detector.from_bundle(source._native, _native(pretrained))
        elif isinstance(source, Classifier):
            self._native = _clipn.Detector.from_classifier(source._native, _native(pretrained))
        else:
            raise TypeError(f"expected a Bundle or a Classifier, got {type(source).__name__}; Detector.open opens a file")

    @classmethod
    def open(cls, path: StrPath, *, pretrained: Model | StrPath | None = None) -> Detector:
        """Opens a bundle with its model: ``pretrained``, else the image tower in it, else the weights that it names."""
        return cls(_clipn.Detector.open(os.fspath(path), _native(pretrained)))

    def with_rule(self, score: str | None = None, threshold: float | None = None, *, reject: bool = True) -> Detector:
        """Returns a detector with another decision rule: a label needs at least ``threshold`` of ``score``, in its published
        unit. With ``reject=False``, every image gets its best label."""
        if threshold is not None and not reject:
            raise InvalidArgumentError("a threshold has no effect with reject=False", "leave one of them out")
        detector = Detector(self._native.with_rule(score, threshold, reject))
        detector._has_rule = True
        return detector

    def with_top(self, top: int) -> Detector:
        """Returns a detector that reports the ``top`` best classes [default: 3]."""
        detector = Detector(self._native.with_top(top))
        detector._has_rule = self._has_rule
        return detector

    def _warn_without_rule(self) -> None:
        """Warns once if nothing rejects, and no rule was set."""
        if self._native.accepts_all and not self._has_rule:
            import warnings

            self._has_rule = True
            warnings.warn(
                'every image gets its best label: the classifier has neither "no" nor negatives; give negatives="wordnet" or '
                "reject=[…] to Classifier.build, or set a rule with Detector.with_rule",
                stacklevel=3,
            )

    def detect(
        self,
        images: Image | Iterable[Image],
        *,
        errors: str = "raise",
        batch_size: int = 16,
        workers: int | None = None,
        progress: Progress | bool | None = None,
    ) -> Any:
        """Classifies images, in parallel and without the GIL.

        Args:
            images: One image or several: paths, encoded bytes, PIL images or ``uint8`` arrays ``[H, W, 3]``.
            errors: ``"raise"`` to stop at the first image that cannot be read, ``"return"`` to put its exception in its place.
            batch_size: Images per batch of one worker.
            workers: Worker threads [default: one per core].
            progress: Function ``progress(stage, done, total)``, or ``True`` for a bar of tqdm.

        Returns:
            A :class:`Detection` for one image; :class:`Detections`, a list with ``to_pandas`` and ``to_arrow``, for several.
        """
        self._warn_without_rule()
        collection, is_one = one_or_many(images)
        found = self._native.detect_list(collection, _keep(errors), batch_size, workers, _progress(progress))
        return found[0] if is_one else Detections(found)

    def detect_features(self, features: ArrayLike, *, errors: str = "raise") -> Detections:
        """Classifies image features ``[N, D]`` of the same model, normalized or not."""
        self._warn_without_rule()
        return Detections(self._native.detect_features(floats(features, "features", 2), _keep(errors)))

    def stream(
        self,
        images: Iterable[Image],
        *,
        errors: str = "raise",
        batch_size: int = 16,
        workers: int | None = None,
    ) -> Iterator[Detection]:
        """Classifies the images of an iterable, which may be endless, and yields the detections in order. Images are drawn a few
        batches ahead, on worker threads."""
        if isinstance(images, (str, bytes, os.PathLike)):
            raise InvalidArgumentError("expected an iterable of images, got one image", "give [image], or call `detect`")
        self._warn_without_rule()
        return self._native.stream(images, _keep(errors), batch_size, workers)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes."""
        return self._native.class_names

    @property
    def classifier(self) -> Classifier:
        """The classifier."""
        return Classifier(self._native.classifier)

    @property
    def score_name(self) -> str:
        """Name of the score that decides."""
        return self._native.score_name

    @property
    def is_calibrated(self) -> bool:
        """Whether the threshold was calibrated."""
        return self._native.is_calibrated

    def __repr__(self) -> str:
        return repr(self._native)


def _keep(errors: str) -> bool:
    if errors not in ("raise", "return"):
        raise InvalidArgumentError(f'expected errors "raise" or "return", got {errors!r}')
    return errors == "return"


def calibrate(
    target: Bundle | ArrayLike,
    id: Any = None,
    ood: Any = None,
    *,
    labels: Sequence[int | str | None] | None = None,
    pretrained: Model | StrPath | None = None,
    score: str | None = None,
    target_tpr: float | None = None,
    choice: str = "on-average",
    confidence: float = 0.95,
    fit_fraction: float | None = None,
    fit_settings: Mapping[str, Any] | None = None,
    description: str | None = None,
    workers: int | None = None,
    progress: Progress | bool | None = None,
) -> Any:
    """Chooses a threshold that accepts the fraction ``target_tpr`` of in-distribution images.

    ``calibrate(bundle, id, ood)`` scores images or features with a bundle, and returns the calibrated bundle.
    ``calibrate(id_scores, ood_scores, score="msp")`` takes scores that exist, and returns a :class:`Calibration`.

    Args:
        target: A bundle, or scores of in-distribution images, ``[N]``, in their published unit.
        id: In-distribution images: a directory, a list of images, or features ``[N, D]``. With scores in ``target``, the
            out-of-distribution scores.
        ood: Out-of-distribution images, in the same forms.
        labels: Class of each in-distribution image, an index or a name [default: its folder], for warnings about other classes
            and for scores that are fitted to images.
        pretrained: The model of the bundle, if its image tower is not in it.
        score: Name of the score, or ``"best"`` to compare all by cross-validation [default: the bundle's]. Scores that are
            fitted to images, such as ``"knn"``, are compared if there are at least 200 in-distribution images.
        target_tpr: Fraction of in-distribution images to accept [default: 0.95]. An error with ``choice="best"``.
        choice: ``"on-average"``, ``"guaranteed"`` (at least the fraction, with ``confidence``) or ``"best"`` (separates ``id`` and
            ``ood`` best).
        confidence: Confidence of intervals and of the guarantee.
        fit_fraction: Fraction of the in-distribution images that such a score is fitted to [default: 0.5]; the threshold comes
            from the others.
        fit_settings: Settings of such scores, as ``{"knn-k": 10}`` [default: those of OpenOOD]. Both are an error if ``score``
            names another one.
        description: Description of the images, in the bundle [default: the directory].
        workers: Worker threads [default: one per core].
        progress: Function ``progress(stage, done, total)``, or ``True`` for a bar of tqdm.
    """
    if choice == "best" and target_tpr is not None:
        raise InvalidArgumentError('choice="best" takes no target_tpr: it separates the sets best')
    tpr = 0.95 if target_tpr is None else target_tpr
    if not isinstance(target, Bundle):
        if ood is not None:
            raise InvalidArgumentError("expected calibrate(id_scores, ood_scores), got three sets")
        if score is None:
            raise InvalidArgumentError("scores need their name", 'give score="msp", for example')
        of_bundles = {"labels": labels, "pretrained": pretrained, "fit_fraction": fit_fraction, "fit_settings": fit_settings}
        of_bundles |= {"description": description, "workers": workers, "progress": progress or None}
        given = [name for name, value in of_bundles.items() if value is not None]
        if given:
            raise InvalidArgumentError(f"calibrate(scores) takes no {given[0]}", "give it with a bundle and its images")
        return _clipn.calibrate_scores(
            floats(target, "scores", 1), None if id is None else floats(id, "scores", 1), score, tpr, choice, confidence
        )
    if id is None:
        raise InvalidArgumentError("no in-distribution images", "give a directory, images or features")
    names = target.classifier.class_names
    bundle, skipped, comparison = _clipn.calibrate_bundle(
        target._native,
        _calibration_input(id),
        None if ood is None else _calibration_input(ood),
        None if labels is None else [_label(label, names) for label in labels],
        _native(pretrained),
        score,
        tpr,
        choice,
        confidence,
        fit_fraction,
        None if fit_settings is None else ",".join(f"{key}={value}" for key, value in fit_settings.items()),
        description if description is not None else (os.fspath(id) if _is_path(id) else "images"),
        workers,
        _progress(progress),
    )
    if skipped:
        import warnings

        what = "1 image" if len(skipped) == 1 else f"{len(skipped)} images"
        warnings.warn(f"skipped {what} that could not be read or scored; the first: {skipped[0]}", stacklevel=2)
    result = Bundle(bundle)
    result.comparison = json.loads(comparison) if comparison else None  # type: ignore[attr-defined]
    return result


def _is_path(value: Any) -> bool:
    return isinstance(value, str) or hasattr(value, "__fspath__")


def _calibration_input(value: Any) -> Any:
    if _is_path(value):
        if not os.path.isdir(value):
            raise InvalidArgumentError(f"{os.fspath(value)} is not a directory", "give a list of images for single files")
        return value
    if hasattr(value, "ndim") and value.ndim == 2:
        return floats(value, "features", 2)
    return list(value)


def _label(label: int | str | None, names: Sequence[str]) -> int | None:
    if label is None:
        return None
    if isinstance(label, str):
        if label not in names:
            raise InvalidArgumentError(f"unknown class {label!r}")
        return names.index(label)
    try:
        index = int(label)
        is_integer = index == label
    except (TypeError, ValueError, OverflowError):
        is_integer = False
    if not is_integer or index >= len(names):
        raise InvalidArgumentError(
            f"expected the index of a class from 0 to {len(names) - 1}, got {label!r}", "give None for an image without a class"
        )
    return index if index >= 0 else None


def tokenize(texts: str | Sequence[str], context_length: int = 77) -> np.ndarray:
    """Tokenizes texts as CLIP does; a text that is too long is cut, as by open_clip.

    Args:
        texts: One text or several.
        context_length: Number of tokens L.

    Returns:
        Token ids, ``[N, L]`` in ``int64``, for ``torch.from_numpy``.

    >>> tokenize("a dog", 5).tolist()
    [[49406, 320, 1929, 49407, 0]]
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    return _clipn.tokenize(texts, context_length)[0]


def preprocess(
    images: Image | Iterable[Image],
    size: int = 224,
    *,
    faithful_pixels: bool = False,
    pillow: str = "12",
) -> np.ndarray:
    """Reads, resizes and normalizes images as Pillow and CLIP do, to the last bit of the resized pixels.

    Args:
        images: One image or several: paths, encoded bytes, PIL images or ``uint8`` arrays ``[H, W, 3]``.
        size: Side S in pixels.
        faithful_pixels: Whether to decode files as the published evaluation does: no EXIF rotation, 16-bit gray clipped.
        pillow: ``"12"`` or ``"13"``: version of Pillow whose resize is followed.

    Returns:
        Pixels, ``[N, 3, S, S]`` in ``float32``, for ``torch.from_numpy``.
    """
    return _clipn.preprocess(one_or_many(images)[0], size, faithful_pixels, pillow)


def convert(
    source: StrPath,
    output: StrPath,
    *,
    to: str = "clipn",
    dtype: str = "keep",
    model: str | None = None,
    force: bool = False,
    progress: Progress | bool | None = None,
) -> dict[str, int]:
    """Converts weights.

    Args:
        source: Weights: a file or a directory.
        output: File for ``to="clipn"``, else a directory.
        to: ``"clipn"``, ``"open-clip"``, ``"transformers"``, ``"transformers-4"`` or ``"transformers-5"``.
        dtype: ``"keep"``, ``"f32"``, ``"f16"``, ``"bf16"`` or ``"int8"``.
        model: Architecture of weights without a config.
        force: Whether to replace existing weights.

    Returns:
        The files that were written, with their sizes in bytes.
    """
    files: Iterable[tuple[Any, int]] = _clipn.convert(
        os.fspath(source), os.fspath(output), to, dtype, model, force, _progress(progress)
    )
    written: Mapping[str, int] = {os.fspath(path): size for path, size in files}
    return dict(written)

"""Exceptions. Texts and hints are those of the library and the program."""

from __future__ import annotations


class ClipnError(Exception):
    """Base of all exceptions of clipn. ``hint`` says what to do, if anything is known."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type, tuple[str, str | None], dict[str, object]]:
        return type(self), (self.message, self.hint), self.__dict__


class InvalidArgumentError(ClipnError, ValueError):
    """An argument has a wrong value, type or shape."""


class ProcessError(ClipnError, RuntimeError):
    """The process was forked after clipn had started threads."""


class ImageError(ClipnError):
    """An image cannot be read, decoded or scored. ``path`` is that of its file, of one that was given by its path."""

    path: str | None = None


class ModelError(ClipnError):
    """Weights or a configuration cannot be used."""


class DownloadError(ClipnError):
    """Weights cannot be found or downloaded."""


class ClassifierError(ClipnError, ValueError):
    """Class names, templates or text features cannot be used."""


class BundleError(ClipnError):
    """A bundle cannot be read, written or used with a model."""


class DetectorError(ClipnError):
    """A detector cannot be made of its parts."""


class CalibrationError(ClipnError, ValueError):
    """A threshold cannot be chosen."""


class ScoreError(ClipnError, ValueError):
    """A score is unknown, or needs inputs that are not there."""


class MetricError(ClipnError, ValueError):
    """Scores cannot be measured."""

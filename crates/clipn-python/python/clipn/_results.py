"""Results as lists, tables and HTML."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from ._clipn import Detection

if TYPE_CHECKING:
    import pandas
    import pyarrow


def detection_dict(detection: Detection) -> dict[str, Any]:
    """Returns a detection as a dictionary, with the keys of the program's rows."""
    return {"path": detection.path, **json.loads(detection.to_json()), "error": None}


class Detections(list):
    """Results of several images, in order: :class:`Detection`, or an exception for an image that cannot be read."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns one dictionary per image, with the keys of the program's rows."""
        return [
            {"path": getattr(item, "path", None), "error": str(item)} if isinstance(item, Exception) else detection_dict(item)
            for item in self
        ]

    def _columns(self) -> dict[str, list[Any]]:
        rows = self.to_dicts()
        columns: dict[str, list[Any]] = {
            key: [row.get(key) for row in rows]
            for key in ("path", "label", "class", "unknown", "score", "threshold", "p_value", "reason", "error")
        }
        top = [row.get("top") or [{}] for row in rows]
        for key in ("label", "p", "q"):
            columns[f"top_{key}"] = [first[0].get(key) for first in top]
        return columns

    def to_pandas(self) -> pandas.DataFrame:
        """Returns a pandas table with one row per image; needs pandas."""
        import pandas

        columns = {key: pandas.Series(values, dtype=_PANDAS[key]) for key, values in self._columns().items()}
        return pandas.DataFrame(columns)

    def to_arrow(self) -> pyarrow.Table:
        """Returns a pyarrow table with one row per image; needs pyarrow."""
        import pyarrow

        types = {"string": pyarrow.string(), "Int64": pyarrow.int64(), "boolean": pyarrow.bool_()}
        arrays = {
            key: pyarrow.array(values, type=types.get(_PANDAS[key], pyarrow.float64()))
            for key, values in self._columns().items()
        }
        return pyarrow.table(arrays)

    def _repr_html_(self) -> str:
        head = "<tr><th>image</th><th>label</th><th>score</th><th>threshold</th></tr>"
        rows = "".join(
            f"<tr><td>{escape(str(row['path'] or index))}</td><td>{escape(row.get('label') or row['error'] or 'unknown')}</td>"
            f"<td>{_number(row.get('score'))}</td><td>{_number(row.get('threshold'))}</td></tr>"
            for index, row in enumerate(Detections(self[:50]).to_dicts())
        )
        more = f"<p>and {len(self) - 50} more</p>" if len(self) > 50 else ""
        return f"<table>{head}{rows}</table>{more}"


_PANDAS = {
    "path": "string",
    "label": "string",
    "class": "Int64",
    "unknown": "boolean",
    "score": "float64",
    "threshold": "float64",
    "p_value": "float64",
    "reason": "string",
    "error": "string",
    "top_label": "string",
    "top_p": "float64",
    "top_q": "float64",
}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


class Metrics(dict):
    """Figures of one score, as fractions; see :func:`clipn.metrics.evaluate`."""

    def _repr_html_(self) -> str:
        flat = {key: value for key, value in self.items() if isinstance(value, (int, float))}
        flat.update({f"FPR ({name})": value for name, value in self["fpr"].items()})
        rows = "".join(
            f"<tr><td>{escape(key)}</td><td>{value:.4f}</td></tr>" if isinstance(value, float)
            else f"<tr><td>{escape(key)}</td><td>{value}</td></tr>"
            for key, value in flat.items()
        )
        return f"<table>{rows}</table>"

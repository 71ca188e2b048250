"""Arrays of any library as NumPy arrays, without a copy where the memory layout allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._errors import ImageError, InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np


def array(values: Any, name: str) -> np.ndarray:
    """Returns a NumPy array of ``values``: an array, a DLPack capsule's owner, or nested lists."""
    import numpy as np

    if isinstance(values, np.ndarray):
        if np.ma.is_masked(values):
            raise InvalidArgumentError(f"expected {name} without masked values", "give .filled(…) or .compressed()")
        return values
    if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):
        return np.from_dlpack(values)
    if hasattr(values, "__dlpack__") and hasattr(values, "detach"):
        # A tensor on a device has no memory that NumPy can read; from_dlpack says so.
        values = values.detach()
        if getattr(getattr(values, "device", None), "type", "cpu") != "cpu":
            raise InvalidArgumentError(f"expected {name} on the CPU, got {values.device}", "call .cpu() first")
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        return np.from_dlpack(values)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgumentError(f"cannot use {name} as an array: {error}") from error


def integers(values: Any, name: str) -> np.ndarray:
    """Returns a contiguous int64 array of integers; numbers with a fraction are an error."""
    import numpy as np

    result = array(values, name)
    if result.dtype.kind not in "iu" and result.size > 0:
        raise InvalidArgumentError(f"expected {name} as integers, got {result.dtype}")
    return np.ascontiguousarray(result, dtype=np.int64)


def floats(values: Any, name: str, ndim: int) -> np.ndarray:
    """Returns a contiguous float32 or float64 array of ``ndim`` dimensions; float16 becomes float32, integers
    float64."""
    import numpy as np

    result = array(values, name)
    if result.ndim != ndim:
        shape = {1: "(N,)", 2: "(N, D)"}.get(ndim, f"{ndim} dimensions")
        raise InvalidArgumentError(f"expected {name} of shape {shape}, got {result.shape}")
    if result.dtype == np.float16 or result.dtype.name == "bfloat16":
        result = result.astype(np.float32)
    elif result.dtype.kind in "iub":
        result = result.astype(np.float64)
    elif result.dtype not in (np.float32, np.float64) or not result.dtype.isnative:
        if result.dtype.kind != "f" or result.dtype.itemsize > 8:
            raise InvalidArgumentError(f"expected {name} of floats of up to 64 bits, got {result.dtype}")
        result = result.astype(np.float32 if result.dtype.itemsize < 4 else result.dtype.newbyteorder("="))
    return np.ascontiguousarray(result)


def same_type(first: np.ndarray, *others: np.ndarray | None) -> list[np.ndarray | None]:
    """Converts arrays to float64 if one of them is."""
    import numpy as np

    arrays = [first, *others]
    if any(a is not None and a.dtype == np.float64 for a in arrays):
        return [None if a is None else np.ascontiguousarray(a, dtype=np.float64) for a in arrays]
    return arrays


EXIF_ORIENTATION = 0x0112


def pixels_or_file(image: Any) -> tuple[np.ndarray, int] | bytes:
    """Returns the pixels ``[H, W, 3]`` of an image and its EXIF orientation, or the file of a PIL image of 16 bits, which
    is decoded as one on disk is.

    The image is a PIL image, or an array ``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]`` of ``uint8``.
    Transparency is dropped, as PIL does."""
    import numpy as np

    if hasattr(image, "convert") and hasattr(image, "getbands"):
        return _of_pil(image)
    values = array(image, "an image")
    if values.dtype != np.uint8 or values.ndim not in (2, 3):
        raise InvalidArgumentError(
            f"expected an image as a path, bytes, a PIL image or a uint8 array of shape (H, W, 3), got "
            f"{type(image).__name__} of {values.dtype} and shape {values.shape}"
        )
    if values.ndim == 2:
        values = values[:, :, None]
    if values.shape[2] not in (1, 3, 4):
        raise InvalidArgumentError(f"expected an image of 1, 3 or 4 channels in the last axis, got shape {values.shape}")
    values = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[:, :, :3]
    return np.ascontiguousarray(values), 1


def _of_pil(image: Any) -> tuple[np.ndarray, int] | bytes:
    import io

    import numpy as np

    mode = getattr(image, "mode", "RGB")
    if mode in ("I", "F"):
        raise InvalidArgumentError(
            f"expected a PIL image of 8 or 16 bits, got mode {mode!r}, whose range is unknown",
            "give the path, or scale it to uint8",
        )
    if mode not in ("I;16", "I;16B"):
        # Before the orientation: PIL turns some formats when it loads them.
        try:
            pixels = np.ascontiguousarray(np.asarray(image.convert("RGB")))
        except Exception as error:  # PIL decodes here, and its formats raise errors of many kinds.
            raise ImageError(f"PIL cannot decode the image: {error}") from error
        return pixels, _orientation(image)
    # convert("RGB") clips 16 bits to 8, which is white for most images.
    from PIL import Image

    try:
        image.load()
    except Exception as error:
        raise ImageError(f"PIL cannot decode the image: {error}") from error
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = _orientation(image)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=0, exif=exif)
    return file.getvalue()


def _orientation(image: Any) -> int:
    """EXIF orientation, from 1 to 8; 1 without one that can be read."""
    try:
        orientation = int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # Damaged EXIF raises errors of many kinds.
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def is_one_image(value: Any) -> bool:
    """Whether a value is one image rather than a collection of images."""
    if isinstance(value, (str, bytes, bytearray)) or hasattr(value, "__fspath__"):
        return True
    if hasattr(value, "convert") and hasattr(value, "getbands"):
        return True
    return hasattr(value, "ndim") and hasattr(value, "dtype") and value.ndim <= 3 and str(value.dtype).endswith("uint8")


def one_or_many(images: Any) -> tuple[Any, bool]:
    """Returns a collection of images, and whether there is only one."""
    return ([images], True) if is_one_image(images) else (images, False)

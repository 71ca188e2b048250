"""Crops of a small image by Pillow, for crates/clipn-testing/fixtures/image/resize_modes.json.

    python3 -m venv venv && venv/bin/pip install pillow==12.3.0
    venv/bin/python scripts/resize_of_pillow.py > crates/clipn-testing/fixtures/image/resize_modes.json

The modes are those of `clipn eval --preprocess`: the short side is resized, the other one truncated, and the
center cropped at round-half-even, as torchvision's Resize and CenterCrop do.
"""

import json
import sys

from PIL import Image, __version__

MODES = {
    "clip": (Image.BICUBIC, lambda size: size),
    "bilinear": (Image.BILINEAR, lambda size: size),
    "openood": (Image.BICUBIC, lambda size: size * 256 // 224),
}

# Width and height, and the size of the crop: downsampling of both shapes, a strong one, and upsampling.
CASES = [(37, 23, 14), (20, 50, 14), (160, 120, 14), (9, 7, 14), (14, 14, 14)]


def pixels(width, height):
    """Bytes of a linear congruential generator, as the test makes them."""
    state, values = 1, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    return bytes(values)


def crop(image, size, mode):
    resample, short_side = MODES[mode]
    width, height = image.size
    short, side = min(width, height), short_side(size)
    image = image.resize((side * width // short, side * height // short), resample)
    left, top = (round((length - size) / 2) for length in image.size)
    return image.crop((left, top, left + size, top + size))


def main():
    cases = []
    for width, height, size in CASES:
        image = Image.frombytes("RGB", (width, height), pixels(width, height))
        for mode in MODES:
            values = list(crop(image, size, mode).tobytes())
            cases.append({"width": width, "height": height, "size": size, "mode": mode, "crop": values})
    json.dump({"pillow": __version__, "cases": cases}, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()

"""Images, a model and a bundle that all tests share."""

import numpy as np
import pytest
from PIL import Image

import clipn

CLASSES = ["school bus", "pizza", "teapot"]


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Paths of images of several sizes, formats and modes."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(7)
    paths = []
    for index, (mode, ending) in enumerate([("RGB", "png"), ("RGB", "jpg"), ("L", "png"), ("RGB", "webp"), ("RGB", "bmp")]):
        size = (40 + 17 * index, 90 - 11 * index)
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
        path = folder / f"{index}.{ending}"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(path)
        paths.append(path)
    return paths


@pytest.fixture(scope="session")
def model():
    return clipn.load("clipn-mini")


@pytest.fixture(scope="session")
def classifier(model):
    return clipn.Classifier.build(CLASSES, pretrained=model)


@pytest.fixture(scope="session")
def bundle_path(classifier, model, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "shop.clipn"
    clipn.Bundle.build(classifier, model).write(path)
    return path

"""Inputs that are unusual, and processes that are forked."""

import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

import clipn


def gray_16(side=64):
    values = np.linspace(0, 65535, side * side).reshape(side, side).astype(np.uint16)
    return Image.fromarray(values)


def file_of(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("faithful", [False, True])
def test_pil_images_of_16_bits_equal_their_files(faithful):
    image = gray_16()
    assert image.mode == "I;16"
    from_file = clipn.preprocess(file_of(image, "PNG"), size=32, faithful_pixels=faithful)
    assert np.array_equal(clipn.preprocess(image, size=32, faithful_pixels=faithful), from_file)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pil_images_of_an_unknown_range_are_refused(mode):
    with pytest.raises(clipn.InvalidArgumentError, match=f"got mode '{mode}'"):
        clipn.preprocess(Image.new(mode, (40, 40)), size=32)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pil_images_are_turned_as_their_files_are(orientation, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = file_of(Image.fromarray(pixels), kind, exif=exif)
    expected = clipn.preprocess(file, size=32)
    # Twice: TIFF is turned when its pixels are loaded.
    opened = Image.open(io.BytesIO(file))
    for _ in range(2):
        assert np.array_equal(clipn.preprocess(opened, size=32), expected)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    assert np.array_equal(clipn.preprocess(upright, size=32), expected)


def test_damaged_exif_is_ignored():
    image = Image.new("RGB", (40, 40), (10, 20, 30))
    opened = Image.open(io.BytesIO(file_of(image, "PNG", exif=b"garbage ")))
    assert np.array_equal(clipn.preprocess(opened, size=32), clipn.preprocess(image, size=32))


def test_numbers_that_are_no_integers_are_refused(model):
    with pytest.raises(clipn.InvalidArgumentError, match="expected predictions as integers, got float64"):
        clipn.metrics.accuracy([1.7, 2], [1, 2])
    with pytest.raises(clipn.InvalidArgumentError, match="expected token ids as integers"):
        model.text(np.full((1, model.context_length), 1.5))


def test_pixels_of_another_size_are_refused(model):
    side = model.image_size
    for shape in [(1, 3, side + 1, side + 1), (1, 3, side, side // 2), (1, 1, side, side)]:
        with pytest.raises(clipn.InvalidArgumentError, match="expected pixels of shape"):
            model.image(np.zeros(shape, np.float32))


def test_groups_and_scales_of_scores_are_checked():
    yes, negatives = np.random.default_rng(0).normal(size=(2, 4, 3))
    for ends in ([2], [2, 2, 3], [3, 2], [4], []):
        with pytest.raises(clipn.InvalidArgumentError, match="ends of groups"):
            clipn.scores.neglabel(yes, negatives, group_ends=ends)
    assert np.isfinite(clipn.scores.neglabel(yes, negatives, group_ends=[1, 3])).all()
    with pytest.raises(clipn.InvalidArgumentError, match="group_ends has no effect"):
        clipn.scores.msp(yes, group_ends=[1, 3])
    for scale in (0, -1, float("nan"), float("inf")):
        with pytest.raises(clipn.InvalidArgumentError, match="expected a positive scale"):
            clipn.scores.score("msp", yes, scale=scale)


def test_token_ids_have_a_possible_length():
    for length in [0, 65_537, 1 << 40]:
        with pytest.raises(clipn.InvalidArgumentError, match=f"from 1 to 65536, got {length}"):
            clipn.tokenize("a dog", length)
    with pytest.raises(clipn.InvalidArgumentError, match="at least one per text"):
        clipn.load("clipn-mini").text(np.zeros((3, 0), int))


def test_detections_without_a_threshold_are_restored(bundle_path, images):
    detector = clipn.Detector.open(bundle_path).with_rule(reject=False)
    [detection] = detector.detect(images[:1])
    assert detection.threshold == float("-inf")
    assert pickle.loads(pickle.dumps(detection)) == detection


def test_a_bundle_takes_the_prompts_of_a_classifier(bundle_path, model):
    plain = clipn.Classifier.build(["pizza", "banana"], "plain", pretrained=model)
    bundle = clipn.Bundle.open(bundle_path).with_classifier(plain)
    added = bundle.classifier.add(["teapot"], pretrained=model)
    expected = clipn.Classifier.build(["pizza", "banana", "teapot"], "plain", pretrained=model)
    assert np.array_equal(added.yes_weights, expected.yes_weights)
    of_features = clipn.Classifier.from_features(plain.yes_weights, classes=["pizza", "banana"])
    with pytest.raises(clipn.InvalidArgumentError, match="made of features"):
        bundle.with_classifier(of_features)


def test_errors_of_files_have_their_paths(bundle_path, images, tmp_path):
    detector = clipn.Detector.open(bundle_path)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    results = detector.detect([images[0], bad], errors="return")
    assert [row["path"] for row in results.to_dicts()] == [str(images[0]), str(bad)]
    again = pickle.loads(pickle.dumps(results[1]))
    assert (str(again), again.path) == (str(results[1]), str(bad))


def test_scores_without_a_logarithm_are_named():
    with pytest.raises(clipn.InvalidArgumentError, match="above 0, which have a logarithm, got 0 at index 1"):
        clipn.calibrate([0.5] + [0.0] * 30, score="msp")


def test_arguments_without_effect_are_refused(bundle_path, model):
    detector = clipn.Detector.open(bundle_path)
    with pytest.raises(clipn.InvalidArgumentError, match="no effect with reject=False"):
        detector.with_rule("msp", 0.5, reject=False)
    with pytest.raises(clipn.InvalidArgumentError, match="exclude each other"):
        clipn.Classifier.build(["pizza"], negatives="wordnet", reject=["a hand"], pretrained=model)


class Failing:
    """An iterator that raises for ever."""

    def __iter__(self):
        return self

    def __next__(self):
        raise ValueError("no more")


def test_a_stream_ends_after_an_exception_of_its_iterator(bundle_path, images):
    detector = clipn.Detector.open(bundle_path)
    results = list(detector.stream(Failing(), errors="return"))
    assert [str(result) for result in results] == ["no more"]
    # An image that cannot be read is named by its index, and does not end the stream.
    stream = detector.stream([images[0].read_bytes(), b"no image", images[0].read_bytes()], errors="return")
    first, error, last = stream
    assert first == last and str(error).startswith("image 1: ")


def call_in_a_fork(function, results):
    try:
        results.put(function())
    except clipn.ClipnError as error:
        results.put(str(error))


def in_a_fork(function):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=call_in_a_fork, args=(function, results))
    process.start()
    try:
        return results.get(timeout=60)
    finally:
        process.kill()
        process.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_processes_work_or_say_why_not(model, images):
    texts = ["a school bus"] * 200
    yes = np.random.default_rng(0).normal(size=(300, 4))
    calls = [
        lambda: clipn.tokenize(texts),
        lambda: clipn.preprocess(images, size=32),
        lambda: clipn.scores.msp(yes),
    ]
    detector = clipn.Detector(clipn.Classifier.from_features(yes, scale=100), None).with_rule("maxlogit", 0)
    calls += [
        lambda: [found.score for found in detector.detect_features(yes)],
        lambda: np.frombuffer(model.image_tower_hash().encode(), np.uint8),
    ]
    for call in calls:
        assert np.array_equal(in_a_fork(call), call())
    message = in_a_fork(lambda: model.image(images))
    assert "was forked after clipn had started its threads" in message and "spawn" in message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_that_used_features_first_can_be_forked():
    code = """
import multiprocessing, sys
import numpy as np
import clipn

features = np.random.default_rng(0).normal(size=(5000, 64))
detector = clipn.Detector(clipn.Classifier.from_features(features[:9])).with_rule("maxlogit", 0)
detector.detect_features(features)
queue = multiprocessing.get_context("fork").Queue()
process = multiprocessing.get_context("fork").Process(target=lambda: queue.put(clipn.scores.msp(features).sum()))
process.start()
try:
    print(queue.get(timeout=60) == clipn.scores.msp(features).sum())
finally:
    process.kill()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr


def test_texts_may_come_from_an_iterator(model):
    texts = ["a dog", "a cat"]
    expected = model.text(texts)
    assert np.array_equal(model.text(iter(texts)), expected)
    assert np.array_equal(model.text(text for text in texts), expected)


def test_an_image_that_cannot_be_converted_is_returned_in_its_place(model, images):
    detector = clipn.Detector(clipn.Classifier.build(["a dog", "a cat"], pretrained=model), model)
    file = io.BytesIO()
    Image.open(images[0]).convert("RGB").save(file, "JPEG")
    cut = Image.open(io.BytesIO(file.getvalue()[: len(file.getvalue()) // 2]))
    found = detector.detect([images[0], cut, None, images[0]], errors="return")
    assert found[0].path == found[3].path == str(images[0])
    assert isinstance(found[1], clipn.ImageError) and "PIL cannot decode" in str(found[1])
    assert isinstance(found[2], clipn.InvalidArgumentError)
    with pytest.raises(clipn.ImageError):
        detector.detect([cut])


def test_a_published_threshold_keeps_what_the_calibration_keeps():
    rng = np.random.default_rng(0)
    for digits in (2, 3, 17):
        scores = np.round(rng.uniform(0.01, 0.99, 1000), digits)
        for target in (0.8, 0.9, 0.95):
            calibration = clipn.calibrate(scores, score="atd", target_tpr=target)
            kept = json.loads(calibration.to_json())["kept"]["count"]
            assert (scores >= calibration.threshold).sum() == kept
    calibration = clipn.calibrate(np.full(100, 0.01), score="atd", choice="guaranteed")
    assert calibration.threshold <= 0.01


def test_arguments_without_effect_are_refused(classifier, model):
    scores = np.linspace(0.1, 0.9, 100)
    for given in ({"labels": [0]}, {"fit_fraction": 0.4}, {"fit_settings": {"knn-k": 3}}, {"description": "a"}):
        with pytest.raises(clipn.InvalidArgumentError, match="takes no"):
            clipn.calibrate(scores, score="atd", **given)
    with pytest.raises(clipn.InvalidArgumentError, match="takes no target_tpr"):
        clipn.calibrate(scores, scores / 2, score="atd", choice="best", target_tpr=0.9)
    with pytest.raises(clipn.InvalidArgumentError, match="pretrained has no effect"):
        classifier.add(classifier, pretrained=model)
    with pytest.raises(TypeError, match="Detector.open"):
        clipn.Detector("shop.clipn")


def test_labels_are_whole_numbers():
    from clipn._api import _label

    assert [_label(label, ["a", "b"]) for label in (0, 1.0, -1, np.int64(1), "b", None)] == [0, 1, None, 1, 1, None]
    for label in (0.9, -0.5, float("nan"), 2, float("inf")):
        with pytest.raises(clipn.InvalidArgumentError, match="index of a class"):
            _label(label, ["a", "b"])


def test_added_classes_of_features_have_no_prompts(classifier):
    names = classifier.class_names
    of_features = clipn.Classifier.from_features(
        np.ones((1, classifier.dim)), np.ones((1, classifier.dim)), classes=["other"], scale=classifier.scale,
        no_scale=classifier.no_scale,
    )
    added = classifier.add(of_features)
    assert added.class_names == [*names, "other"]
    with pytest.raises(clipn.ClipnError):
        clipn.Bundle.build(added, clipn.load())
    scaled = clipn.Classifier.from_features(np.ones((1, classifier.dim)), np.ones((1, classifier.dim)), classes=["other"], scale=50)
    with pytest.raises(clipn.InvalidArgumentError, match="scale"):
        classifier.add(scaled)


def test_features_of_any_magnitude_have_a_direction():
    detector = clipn.Detector(clipn.Classifier.from_features(np.eye(4))).with_rule("maxlogit", 0)
    for size in (1e-30, 1e-22, 1.0, 1e20, 1e30):
        assert detector.detect_features(np.array([[size, 0, 0, 0]]))[0].score == pytest.approx(100, rel=1e-6)


def test_masked_arrays_are_refused():
    masked = np.ma.masked_greater(np.array([[1.0, 5.0]]), 4)
    with pytest.raises(clipn.InvalidArgumentError, match="masked"):
        clipn.scores.msp(masked)

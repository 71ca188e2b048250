"""Models, classifiers, bundles, detection and calibration."""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

import clipn

from conftest import CLASSES


def test_preprocess_equals_pillow(images):
    got = clipn.preprocess(images, size=32)
    assert got.shape == (5, 3, 32, 32) and got.dtype == np.float32
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
    std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
    for path, tensor in zip(images, got):
        image = Image.open(path).convert("RGB")
        # Pixels that were decoded by Pillow: the resize is compared, not the JPEG decoder.
        again = clipn.preprocess(image, size=32)[0]
        side = min(image.size)
        size = tuple(int(32 * value / side) if value != side else 32 for value in image.size)
        resized = image.resize(size, Image.BICUBIC)
        left, top = (int(round((value - 32) / 2.0)) for value in size)
        cropped = np.asarray(resized.crop((left, top, left + 32, top + 32)))
        assert np.array_equal(np.rint((again.transpose(1, 2, 0) * std + mean) * 255), cropped), path
        assert np.abs(again - tensor).max() < (0.1 if path.suffix in (".jpg", ".webp") else 1e-6)


def test_all_forms_of_an_image_are_equal(images, model):
    path = images[0]
    pixels = np.asarray(Image.open(path))
    forms = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), Image.open(path), pixels]
    features = model.image(forms)
    assert features.shape == (6, model.embed_dim)
    assert np.array_equal(features, np.repeat(features[:1], 6, axis=0))
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    assert np.array_equal(model.image(np.stack([pixels, pixels])), features[:2])
    assert np.array_equal(model.image(model.preprocess(path)), features[:1])
    raw = model.image(path, normalize=False)
    np.testing.assert_allclose(raw / np.linalg.norm(raw), features[:1], atol=1e-6)
    with pytest.raises(clipn.InvalidArgumentError, match="shape"):
        model.image([pixels.astype(float)])


def test_texts(model):
    tokens = clipn.tokenize(["a school bus", "a pizza"])
    assert tokens.shape == (2, 77) and tokens.dtype == np.int64 and tokens[0, 0] == 49406
    assert np.array_equal(model.text(["a school bus", "a pizza"]), model.text(tokens[:, : model.context_length]))
    assert model.text("a pizza", side="no").shape == (1, model.embed_dim)
    with pytest.raises(clipn.InvalidArgumentError):
        model.text("a pizza", side="maybe")


def test_a_classifier_of_features_equals_that_of_names(classifier, model, images):
    features = model.image(images)
    copy = clipn.Classifier.from_features(
        classifier.yes_weights, classifier.no_weights, classes=classifier.class_names, scale=classifier.scale,
        no_scale=classifier.no_scale,
    )
    for own, other in zip(classifier.logits(features), copy.logits(features)):
        assert (own is None) == (other is None) and (own is None or np.array_equal(own, other))
    yes, no, negatives = classifier.logits(features)
    assert yes.shape == (5, 3) and negatives is None
    np.testing.assert_allclose(yes, classifier.scale * features @ classifier.yes_weights.T, atol=1e-3)
    detections = clipn.Detector(copy).detect_features(features)
    assert [d.score for d in detections] == [d.score for d in clipn.Detector(classifier, model).detect(images)]
    with_negatives = clipn.Classifier.from_features(np.eye(3), negatives=-np.eye(3), classes=list("abc"))
    assert "neglabel" in with_negatives.scores and with_negatives.negative_names == ["0", "1", "2"]
    with pytest.raises(clipn.ClassifierError):
        clipn.Classifier.from_features(np.array([[np.nan, 1.0]]))
    with pytest.raises(clipn.InvalidArgumentError, match="dimension 3, got 2"):
        clipn.Classifier.from_features(np.eye(3), np.eye(2))


def test_features_are_checked_with_their_names_and_factors(model):
    rows = np.eye(3, dtype=np.float32)
    for arguments, text in [
        (dict(classes=["a", "b"]), "expected 3 class names, one per row, got 2"),
        (dict(classes=["a", "b", "A"]), "duplicate class names"),
        (dict(classes=["a", "b", "unknown"]), "unknown"),
        (dict(negatives=-rows, negative_names=["x"]), "expected 3 names of negatives, one per row, got 1"),
        (dict(negatives=-rows, negative_names="xyz"), "list of names of negatives"),
        (dict(scale=float("nan")), "expected a positive scale"),
        (dict(no_scale=0), "expected a positive no_scale"),
    ]:
        with pytest.raises(clipn.ClipnError, match=text):
            clipn.Classifier.from_features(rows, **arguments)
    with pytest.raises(clipn.InvalidArgumentError, match="list of texts to reject"):
        clipn.Classifier.build(["goose"], pretrained=model, reject="plate")


def test_the_no_logits_have_the_factor_of_the_weights(classifier, model, images):
    assert classifier.no_scale == 2.5
    features = model.image(images)
    one = clipn.Classifier.from_features(
        classifier.yes_weights, classifier.no_weights, classes=classifier.class_names, scale=classifier.scale
    )
    assert one.no_scale == 1.0
    np.testing.assert_allclose(2.5 * one.logits(features)[1], classifier.logits(features)[1], rtol=1e-5)


def test_classes_are_added_and_removed(classifier, model):
    more = classifier.add(["banana"], pretrained=model)
    assert more.class_names == [*CLASSES, "banana"]
    assert np.array_equal(more.remove(["banana"]).yes_weights, classifier.yes_weights)
    alone = clipn.Classifier.build(["banana"], pretrained=model)
    assert np.array_equal(more.yes_weights[3:], alone.yes_weights)
    with pytest.raises(clipn.ClassifierError, match="cat"):
        classifier.remove(["cat"])
    with pytest.raises(clipn.InvalidArgumentError, match="list of class names"):
        clipn.Classifier.build("pizza", pretrained=model)
    with pytest.raises(clipn.ClassifierError) as caught:
        clipn.Classifier.build(["pizza", "pizza"], pretrained=model)
    assert "pizza" in str(caught.value)


def test_unread_words_and_rejected_classes_are_warnings(model):
    with pytest.warns(UserWarning) as caught:
        clipn.Classifier.build(["pizza", "zeppelin"], pretrained=model, reject=["a plate", "Pizza"])
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 2, texts
    assert texts[0].endswith("did not occur in the training captions make 1 of 2 classes unreliable: `zeppelin`")
    assert texts[1] == "dropped texts to reject that name classes: 1, such as `Pizza`"
    assert all(warning.filename == __file__ for warning in caught)


def test_detections_equal_those_of_the_program(bundle_path, images):
    rows = subprocess.run(
        [sys.executable, "-m", "clipn", "classify", "--bundle", bundle_path, "--format", "json", *images],
        capture_output=True, text=True, check=True,
    ).stdout
    detections = clipn.Detector.open(bundle_path).detect(images)
    expected = [json.loads(row) for row in rows.splitlines()]
    got = json.loads(json.dumps(detections.to_dicts()))
    assert got == expected
    assert detections[0].path == str(images[0]) and isinstance(detections[0].top[0][1], float)


def test_one_many_and_stream(bundle_path, images):
    detector = clipn.Detector.open(bundle_path)
    many = [d.score for d in detector.detect(images)]
    assert [detector.detect(path).score for path in images] == many
    assert [d.score for d in detector.stream(iter(images), batch_size=2)] == many
    endless = detector.stream(images[i % 5] for i in itertools.count())
    assert [next(endless).score for _ in range(12)] == [many[i % 5] for i in range(12)]
    endless.close()
    del endless


def test_one_image_is_no_stream(bundle_path):
    with pytest.raises(clipn.InvalidArgumentError, match="got one image"):
        clipn.Detector.open(bundle_path).stream("photo.jpg")


def test_tables(bundle_path, images, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8nothing")
    detector = clipn.Detector.open(bundle_path)
    detections = detector.detect([*images, broken], errors="return")
    frame = detections.to_pandas()
    assert len(frame) == 6 and frame["error"].isna().tolist() == [True] * 5 + [False]
    assert str(frame["unknown"].dtype) == "boolean" and frame["score"].iloc[0] == detections[0].score
    table = detections.to_arrow()
    assert table.num_rows == 6 and table["path"][0].as_py() == str(images[0])
    assert "<table>" in detections._repr_html_()
    with pytest.raises(clipn.ImageError, match="broken.jpg") as caught:
        detector.detect([*images, broken])
    assert caught.value.hint is None or isinstance(caught.value.hint, str)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is clipn.ImageError and str(again) == str(caught.value)
    again = pickle.loads(pickle.dumps(detections[:5]))
    assert again == detections[:5] and again[0].path == str(images[0]) and again[0] != again[1]
    assert clipn.Detection.from_json(again[0].to_json()).top == again[0].top
    with pytest.raises(clipn.ImageError):
        list(detector.stream([broken]))
    with pytest.raises(clipn.ImageError, match="image 1"):
        detector.detect([images[0], b"no image"])


def test_hints_have_the_names_of_python(bundle_path):
    classifier = clipn.Bundle.open(bundle_path).classifier
    with pytest.raises(clipn.ClassifierError, match="nothing") as caught:
        classifier.remove(["nothing"])
    assert caught.value.hint == "`Classifier.class_names` lists the classes"


def test_errors_of_a_python_iterator_are_raised(bundle_path, images):
    def failing():
        yield images[0]
        raise KeyError("mine")

    stream = clipn.Detector.open(bundle_path).stream(failing())
    assert next(stream).path == str(images[0])
    with pytest.raises(KeyError, match="mine"):
        next(stream)


def test_rules(bundle_path, images):
    detector = clipn.Detector.open(bundle_path)
    assert all(d.is_unknown for d in detector.with_rule("msp", 1.1).detect(images))
    accepted = detector.with_rule(reject=False).detect(images)
    assert not any(d.is_unknown for d in accepted)
    assert len(detector.with_top(1).detect(images[0]).top) == 1
    with pytest.raises(clipn.InvalidArgumentError, match="no default threshold"):
        detector.with_rule("energy")


def test_calibration_equals_that_of_the_program(bundle_path, model, tmp_path):
    rng = np.random.default_rng(5)
    folder = tmp_path / "known" / "pizza"
    folder.mkdir(parents=True)
    for index in range(40):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{index:02}.png")
    subprocess.run(
        [sys.executable, "-m", "clipn", "calibrate", "--bundle", bundle_path, "--id", tmp_path / "known", "--out", tmp_path / "p.clipn"],
        check=True, capture_output=True,
    )
    program = clipn.Bundle.open(tmp_path / "p.clipn").calibration
    bundle = clipn.Bundle.open(bundle_path)
    ours = clipn.calibrate(bundle, tmp_path / "known").calibration
    assert (ours.threshold, ours.n, ours.score) == (program.threshold, 40, program.score)
    assert ours.warnings == program.warnings
    paths = sorted(folder.iterdir())
    features = model.image(paths)
    by_features = clipn.calibrate(bundle, features, labels=["pizza"] * 40).calibration
    assert by_features.threshold == pytest.approx(ours.threshold, rel=1e-6)
    scores = [d.score for d in clipn.Detector(bundle).detect(paths)]
    by_scores = clipn.calibrate(scores, score=ours.score)
    assert by_scores.threshold == pytest.approx(ours.threshold, rel=1e-4)
    assert 0 < by_scores.p_value(by_scores.threshold) < 0.2
    for wrong in (1.5, -0.1, -np.inf, np.nan):
        with pytest.raises(clipn.InvalidArgumentError, match="from 0 to 1, got .* at index 2"):
            clipn.calibrate([0.5, 0.6, wrong, *scores], score="atd")
    chosen = clipn.calibrate(bundle, features, model.image(rng.integers(0, 9, (20, 32, 32, 3), dtype=np.uint8)), score="best")
    assert chosen.calibration.score in bundle.classifier.scores and chosen.comparison
    chosen.write(tmp_path / "c.clipn")
    assert clipn.Detector.open(tmp_path / "c.clipn").detect(paths[0]).p_value is not None
    with pytest.raises(clipn.CalibrationError):
        clipn.calibrate(bundle, features[:3])


def test_fitted_scores_are_compared_and_calibrated_as_in_the_program(bundle_path, model, tmp_path):
    rng = np.random.default_rng(6)
    for name, low, count in (("known/pizza", 100, 220), ("other", 0, 40)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(low, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{index:03}.png")
    bundle = clipn.Bundle.open(bundle_path)
    for score in ("best", "knn"):
        out = tmp_path / f"{score}.clipn"
        command = [
            sys.executable, "-m", "clipn", "calibrate", "--bundle", bundle_path, "--id", tmp_path / "known", "--ood",
            tmp_path / "other", "--score", score, "--fit-settings", "knn-k=10", "--out", out,
        ]
        if score == "best":
            command = [word for word in command if word not in ("--fit-settings", "knn-k=10")]
        subprocess.run(command, check=True, capture_output=True)
        program = clipn.Bundle.open(out).calibration
        settings = {"knn-k": 10} if score == "knn" else None
        ours = clipn.calibrate(bundle, tmp_path / "known", tmp_path / "other", score=score, fit_settings=settings)
        found = ours.calibration
        assert (found.score, found.n) == (program.score, program.n)
        assert found.threshold == pytest.approx(program.threshold, rel=1e-9)
        figures = json.loads(found.to_json())
        assert (figures["threshold"], figures["n"]) == (found.threshold, found.n)
        if score == "best":
            assert {"knn", "vim", "msp"} <= {row["score"] for row in ours.comparison["scores"]}
        else:
            assert found.n == 110 and ours.classifier.scores.count("knn") == 1
            detector = clipn.Detector(ours, model)
            assert detector.score_name == "knn"
    # Labels are those of all images, also if one cannot be read.
    images = [*sorted((tmp_path / "known/pizza").iterdir())[:40], b"no image"]
    with pytest.warns(UserWarning, match="skipped 1 image that could not be read"):
        calibrated = clipn.calibrate(bundle, images, labels=["pizza"] * 41)
    assert calibrated.calibration.n == 40
    with pytest.raises(clipn.InvalidArgumentError, match="expected 41 labels, got 40"):
        clipn.calibrate(bundle, images, labels=["pizza"] * 40)
    with pytest.warns(UserWarning, match="cannot compare scores without"):
        clipn.calibrate(bundle, images[:40], score="best")
    # Settings that no score reads are an error where one is named, and said where scores are compared.
    with pytest.raises(clipn.InvalidArgumentError, match="fit_settings without a score that is fitted") as error:
        clipn.calibrate(bundle, images[:40], score="msp", fit_settings={"knn-k": 10})
    assert "give score= one of" in error.value.hint
    with pytest.warns(UserWarning, match="they are fitted to at least 100 images, got 20"):
        clipn.calibrate(bundle, images[:40], tmp_path / "other", score="best", fit_settings={"knn-k": 10})


def test_progress_is_reported_and_its_errors_raised(bundle_path, images):
    detector = clipn.Detector.open(bundle_path)
    seen = []
    detector.detect(images * 20, progress=lambda *state: seen.append((*state, threading.get_ident())))
    assert seen[-1] == ("classifying", 100, 100, threading.get_ident())

    def fail(stage, done, total):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        detector.detect(images * 20, progress=fail)


def test_the_gil_is_released(bundle_path, images):
    detector = clipn.Detector.open(bundle_path)
    count, done = 0, threading.Event()

    def work():
        detector.detect(images * 60)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(0.001):
        count += 1
    thread.join()
    assert count > 5


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_a_long_call(bundle_path, images):
    code = (
        "import signal, sys, clipn\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job\n"
        "detector = clipn.Detector.open(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    detector.detect([sys.argv[2]] * 200_000)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, bundle_path, images[0]], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    start = time.monotonic()
    try:
        out, _ = child.communicate(timeout=30)
    finally:
        child.kill()
    assert out == "interrupted\n" and time.monotonic() - start < 20


def test_weights_are_converted(tmp_path, model):
    written = clipn.convert("clipn-mini", tmp_path / "mini.safetensors", dtype="f16")
    assert all(os.path.getsize(path) == size for path, size in written.items())
    again = clipn.load(tmp_path / "mini.safetensors")
    assert again.embed_dim == model.embed_dim and again.has_no
    with pytest.raises(clipn.ModelError):
        clipn.load(tmp_path / "missing.safetensors")


@pytest.fixture
def other_model(model, tmp_path):
    """A model of the same shapes with other towers."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = tmp_path / "mini.safetensors"
    clipn.convert("clipn-mini", path, to="clipn")
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    changed = {name: np.ascontiguousarray(-values if name.endswith("proj") else values) for name, values in tensors.items()}
    assert any(name.endswith("proj") for name in changed)
    save_file(changed, tmp_path / "other.safetensors", metadata)
    return clipn.load(tmp_path / "other.safetensors")


def test_two_models_are_not_mixed(model, other_model, classifier, bundle_path, tmp_path):
    others = clipn.Classifier.build(["lion"], pretrained=other_model)
    bundle = clipn.Bundle.open(bundle_path)
    for mixed in [
        lambda: classifier.add(["lion"], pretrained=other_model),
        lambda: classifier.add(others),
        lambda: clipn.Bundle.build(classifier, other_model),
        lambda: bundle.with_classifier(others),
        lambda: bundle.classifier.add(others),
        lambda: clipn.Detector(others, model),
    ]:
        with pytest.raises(clipn.InvalidArgumentError, match="expected the model of the classifier, .*, got ") as caught:
            mixed()
        assert "build the classifier with this model" in str(caught.value.hint)
    # The same weights, opened again, and rows of features, whose model is not known.
    copy = clipn.load("clipn-mini")
    assert len(classifier.add(["lion"], pretrained=copy)) == len(bundle.classifier.add(["lion"], pretrained=copy)) == 4
    assert clipn.Detector(classifier, copy).class_names == classifier.class_names
    assert len(others.add(["tiger"], pretrained=clipn.load(tmp_path / "other.safetensors"))) == 2
    rows = clipn.Classifier.from_features(
        others.yes_weights, others.no_weights, classes=["lion"], scale=classifier.scale, no_scale=classifier.no_scale
    )
    assert len(classifier.add(rows)) == 4


def test_a_detector_without_a_rule_warns_once(recwarn):
    detector = clipn.Detector(clipn.Classifier.from_features(np.eye(3, dtype=np.float32)))
    features = np.eye(3, dtype=np.float32)
    with pytest.warns(UserWarning, match="every image gets its best label"):
        assert detector.detect_features(features)[0].label == "0"
    recwarn.clear()
    detector.detect_features(features)
    detector.with_rule(reject=False).with_top(1).detect_features(features)
    clipn.Detector(clipn.Classifier.from_features(features)).with_rule("msp", 0.5).detect_features(features)
    assert not recwarn.list


def test_the_command_is_installed():
    shown = subprocess.run([os.path.join(os.path.dirname(sys.executable), "clipn"), "--version"], capture_output=True, text=True)
    assert shown.stdout.startswith(f"clipn {clipn.__version__}"), shown
    wrong = subprocess.run([sys.executable, "-m", "clipn", "classify"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "error: " in wrong.stderr


def test_import_is_fast_and_downloads_nothing():
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a connection at import')\n"
        "socket.socket.connect = refuse\n"
        "import clipn\n"
        "assert 'numpy' not in sys.modules and 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""torch, open_clip and pytorch-ood, where they are installed: they take gigabytes."""

import json

import numpy as np
import pytest

import clipn

torch = pytest.importorskip("torch", reason="torch is not installed")


def test_tensors_in_and_out():
    generator = torch.Generator().manual_seed(3)
    yes = torch.randn(50, 7, generator=generator) * 5 + 20
    no = torch.randn(50, 7, generator=generator) * 5 + 20
    for dtype in (torch.float32, torch.float64):
        scores = clipn.scores.atd(yes.to(dtype), no.to(dtype))
        expected = (yes.softmax(1) * torch.sigmoid(yes - no)).sum(1)
        assert np.allclose(scores, expected.numpy(), atol=2e-6)
        assert torch.from_numpy(scores).dtype == dtype
    # Views whose rows are not contiguous.
    assert np.array_equal(clipn.scores.mcm(yes[:, ::2]), clipn.scores.mcm(yes[:, ::2].contiguous()))


def test_features_of_open_clip(tmp_path):
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    safetensors = pytest.importorskip("safetensors.torch")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 48, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    torch.manual_seed(5)
    reference = open_clip.CLIP(**config).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    weights = {name: value for name, value in reference.state_dict().items() if name != "attn_mask"}
    safetensors.save_file(weights, tmp_path / "open_clip_model.safetensors")
    model = clipn.load(tmp_path)

    texts = ["a photo of a school bus.", "pizza", "no text is too short: " + "a " * 90, ""]
    images = np.random.default_rng(1).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = reference.encode_text(open_clip.tokenize(texts), normalize=True).numpy()
        pixels = torch.from_numpy(clipn.preprocess(list(images), size=48))
        seen = reference.encode_image(pixels, normalize=True).numpy()
    assert np.abs(model.text(texts) - expected).max() < 1e-5
    assert np.abs(model.image(list(images)) - seen).max() < 1e-5


def test_metrics_of_pytorch_ood():
    functional = pytest.importorskip("pytorch_ood.metrics.functional", reason="pytorch-ood is not installed")
    rng = np.random.default_rng(4)
    id_scores = rng.normal(1, 1, 400).round(1)
    ood_scores = rng.normal(0, 1, 300).round(1)
    figures = clipn.metrics.evaluate(id_scores, ood_scores)
    # Outliers are positive there, and their scores are high.
    scores = torch.from_numpy(-np.r_[id_scores, ood_scores])
    labels = torch.from_numpy(np.r_[np.ones(400), -np.ones(300)]).long()
    fpr95 = functional.fpr_at_tpr(scores, labels, 0.95).item()
    assert functional.auroc(scores, labels).item() == pytest.approx(figures["auroc"], abs=1e-6)
    assert fpr95 == pytest.approx(figures["fpr"]["openood"], abs=1e-6)
    for positive in ("in", "out"):
        name = {"in": "id", "out": "ood"}[positive]
        aupr = functional.aupr(scores, labels, positive=name).item()
        assert aupr == pytest.approx(figures[f"aupr_{positive}_trapezoid"], abs=1e-6), name

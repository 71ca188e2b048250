#!/usr/bin/env python3
"""Checks `clipn convert` against transformers and open_clip: they open its output, and their own models survive a round trip.

    python scripts/check_conversions.py --clipn target/release/clipn

Needs torch, safetensors, transformers and open_clip_torch. The small models of the repository's tests are converted. They must
open without a missing or unexpected tensor, and give the published features. Models saved by the two programs must have the
same bits after a round trip. Prints one line per check, and exits with 1 at the first failure.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import open_clip
import torch
import transformers
from open_clip.push_to_hf_hub import save_for_hf
from safetensors.torch import load_file

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "crates/clipn-testing/fixtures"
TOLERANCE = 1e-5

# Weights, config of weights without one, inputs, expected features, and the names of the features.
PLAIN = ("image_features", "text_yes")
MODELS = {
    "openai": ("checkpoint/openai_style_jit.pt", None, "models/plain_clip/io", "models/plain_clip/io", PLAIN),
    "openai-resnet": (
        "openai_resnet/openai_resnet.pt", None, "openai_resnet/io", "openai_resnet/io",
        ("image_features", "text_features"),
    ),
    **{
        name: (
            f"models/{name}/model.safetensors", f"models/{name}/{name}.json", f"models/{name}/inputs",
            f"models/{name}/io_f32", ("image_features", "text_features_yes"),
        )
        for name in ("vit_gelu", "vit_quickgelu", "rn_tiny")
    },
}


def check(what, passed, detail=""):
    print(f"{'ok  ' if passed else 'FAIL'}  {what}  {detail}".rstrip())
    if not passed:
        sys.exit(1)


def features_agree(what, found, expected):
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    check(what, error <= TOLERANCE, f"{error:.1e}")


def transformers_features(folder, images, tokens):
    model, info = transformers.CLIPModel.from_pretrained(folder, output_loading_info=True, torch_dtype=torch.float32)
    check(f"{folder.name}: all tensors are loaded", not any(info.values()), ", ".join(k for k, v in info.items() if v))
    transformers.CLIPImageProcessor.from_pretrained(folder)
    pooled = lambda output: getattr(output, "pooler_output", output)
    return pooled(model.eval().get_image_features(images)), pooled(model.get_text_features(tokens))


def open_clip_features(folder, images, tokens):
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}", precision="fp32")
    model = model.float().eval()
    return model.encode_image(images), model.encode_text(tokens)


def published_features(convert, root):
    for name, (weights, config, inputs, expected, names) in MODELS.items():
        model = ["--model", FIXTURES / config] if config else []
        inputs, expected = load_file(FIXTURES / f"{inputs}.safetensors"), load_file(FIXTURES / f"{expected}.safetensors")
        images, tokens = inputs["images"].float(), inputs["tokens"].long()
        for target, features in (("transformers", transformers_features), ("open-clip", open_clip_features)):
            if target == "transformers" and ("resnet" in name or name.startswith("rn")):
                continue
            folder = root / f"{name}-{target}"
            convert(*model, FIXTURES / weights, folder, "--to", target)
            for part, found in zip(names, features(folder, images, tokens)):
                features_agree(f"{name} in {target}: {part}", found, expected[part])


def same_bits(what, before, after):
    names = set(before) ^ set(after)
    check(what, not names and all(torch.equal(before[name], after[name]) for name in before), ", ".join(sorted(names)))


class NoTokenizer:
    """Placeholder for a tokenizer, whose files are not checked."""

    def save_pretrained(self, folder):
        pass


def round_trips(convert, root):
    config = transformers.CLIPConfig(
        text_config={
            "hidden_size": 32, "intermediate_size": 50, "num_hidden_layers": 2, "num_attention_heads": 2,
            "max_position_embeddings": 10, "vocab_size": 60, "bos_token_id": 58, "eos_token_id": 59,
        },
        vision_config={
            "hidden_size": 48, "intermediate_size": 70, "num_hidden_layers": 3, "num_attention_heads": 3,
            "image_size": 32, "patch_size": 8,
        },
        projection_dim=20,
    )
    model = transformers.CLIPModel(config)
    for name, size in (("whole", "1GB"), ("sharded", "50KB")):
        model.save_pretrained(root / name, max_shard_size=size)
        convert(root / name, root / f"{name}.safetensors")
        convert(root / f"{name}.safetensors", root / f"{name}-back", "--to", "transformers")
        back = load_file(root / f"{name}-back/model.safetensors")
        same_bits(f"transformers, {name}, round trip", {n: t for n, t in model.state_dict().items()}, back)
    for name in ("ViT-S-32-alt", "RN50"):
        model = open_clip.create_model(name)
        folder = root / name
        save_for_hf(model, NoTokenizer(), open_clip.get_model_config(name), save_directory=folder)
        convert(folder, root / f"{name}.safetensors")
        convert(root / f"{name}.safetensors", root / f"{name}-back", "--to", "open-clip")
        weights = "open_clip_model.safetensors"
        same_bits(f"open_clip, {name}, round trip", load_file(folder / weights), load_file(root / f"{name}-back" / weights))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipn", default="target/release/clipn")
    args = parser.parse_args()

    def convert(*arguments):
        subprocess.run([args.clipn, "convert", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    torch.manual_seed(0)
    print(f"transformers {transformers.__version__}, open_clip {open_clip.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as root, torch.no_grad():
        published_features(convert, pathlib.Path(root))
        round_trips(convert, pathlib.Path(root))


main()

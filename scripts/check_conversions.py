#!/usr/bin/env python3
"""What `clipn convert` writes, opened by transformers and open_clip themselves; and what they write, converted and back.

    python scripts/check_conversions.py --clipn target/release/clipn

Needs torch, safetensors, transformers and open_clip_torch. The small models of the repository's tests are converted, opened
without a missing or unexpected tensor, and must give the published features; models that the two programs save must come
back with the same bits. Prints a line a check and exits with 1 at the first that fails.
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

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "crates/clipn/tests/fixtures"
TOLERANCE = 1e-5

# Weights, the config of those that do not tell it, inputs, expected features, and the names of those.
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


def check(what, is_so, detail=""):
    print(f"{'ok  ' if is_so else 'FAIL'}  {what}  {detail}".rstrip())
    if not is_so:
        sys.exit(1)


def features_agree(what, found, expected):
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    check(what, error <= TOLERANCE, f"{error:.1e}")


def of_transformers(folder, images, tokens):
    model, info = transformers.CLIPModel.from_pretrained(folder, output_loading_info=True, torch_dtype=torch.float32)
    check(f"{folder.name}: every tensor is taken", not any(info.values()), ", ".join(k for k, v in info.items() if v))
    transformers.CLIPImageProcessor.from_pretrained(folder)
    pooled = lambda output: getattr(output, "pooler_output", output)
    return pooled(model.eval().get_image_features(images)), pooled(model.get_text_features(tokens))


def of_open_clip(folder, images, tokens):
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}", precision="fp32")
    model = model.float().eval()
    return model.encode_image(images), model.encode_text(tokens)


def published_features(convert, root):
    for name, (weights, config, inputs, expected, names) in MODELS.items():
        model = ["--model", FIXTURES / config] if config else []
        inputs, expected = load_file(FIXTURES / f"{inputs}.safetensors"), load_file(FIXTURES / f"{expected}.safetensors")
        images, tokens = inputs["images"].float(), inputs["tokens"].long()
        for target, opened in (("transformers", of_transformers), ("open-clip", of_open_clip)):
            if target == "transformers" and ("resnet" in name or name.startswith("rn")):
                continue
            folder = root / f"{name}-{target}"
            convert(*model, FIXTURES / weights, folder, "--to", target)
            for part, found in zip(names, opened(folder, images, tokens)):
                features_agree(f"{name} in {target}: {part}", found, expected[part])


def same_bits(what, before, after):
    names = set(before) ^ set(after)
    check(what, not names and all(torch.equal(before[name], after[name]) for name in before), ", ".join(sorted(names)))


class NoTokenizer:
    """Stands in for a tokenizer, none of whose files are looked at."""

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
    for name, size in (("whole", "1GB"), ("parts", "50KB")):
        model.save_pretrained(root / name, max_shard_size=size)
        convert(root / name, root / f"{name}.safetensors")
        convert(root / f"{name}.safetensors", root / f"{name}-back", "--to", "transformers")
        back = load_file(root / f"{name}-back/model.safetensors")
        same_bits(f"transformers, {name}, and back", {n: t for n, t in model.state_dict().items()}, back)
    for name in ("ViT-S-32-alt", "RN50"):
        model = open_clip.create_model(name)
        folder = root / name
        save_for_hf(model, NoTokenizer(), open_clip.get_model_config(name), save_directory=folder)
        convert(folder, root / f"{name}.safetensors")
        convert(root / f"{name}.safetensors", root / f"{name}-back", "--to", "open-clip")
        weights = "open_clip_model.safetensors"
        same_bits(f"open_clip, {name}, and back", load_file(folder / weights), load_file(root / f"{name}-back" / weights))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipn", default="target/release/clipn")
    asked = parser.parse_args()

    def convert(*arguments):
        subprocess.run([asked.clipn, "convert", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    torch.manual_seed(0)
    print(f"transformers {transformers.__version__}, open_clip {open_clip.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as root, torch.no_grad():
        published_features(convert, pathlib.Path(root))
        round_trips(convert, pathlib.Path(root))


main()

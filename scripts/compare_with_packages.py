#!/usr/bin/env python3
"""Compares the image and text rates of clipn with those of other Python packages on the same ViT-B/32 weights and photographs.

    clipn convert WEIGHTS HF --to transformers --model ViT-B-32
    mkdir -p CACHE/sentence-transformers__clip-ViT-B-32/0_CLIPModel
    cp HF/model.safetensors CACHE/sentence-transformers__clip-ViT-B-32/0_CLIPModel/
    FASTER_CLIP_CACHE=CACHE python scripts/compare_with_packages.py WEIGHTS PHOTOS [--images 64] [--texts 256] [--rounds 5]

WEIGHTS is a safetensors file with the names of open_clip; random ones do. Needs clipn in a release build, faster-clip, open_clip_torch
and torch. Every round runs each engine once in a process of its own, from encoded JPEG files
and from short texts to features; prints medians.
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import time

KINDS = ["goldfish", "school bus", "red panda", "steam locomotive", "violin"]
ENGINES = ["clipn f32", "clipn int8", "faster-clip", "open_clip"]


def encoder(engine: str, weights: str, threads: int):
    """Returns functions from encoded images and from texts to features."""
    if engine.startswith("clipn"):
        import clipn

        model = clipn.load(weights, model="ViT-B-32", precision=engine.split()[1])
        return lambda images: model.image(images, workers=threads), model.text
    if engine == "faster-clip":
        import faster_clip

        # Its texts go through another model, a multilingual DistilBERT.
        return faster_clip.ClipModel().encode_image, None
    import io

    import open_clip
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32")
    model.load_state_dict(load_file(weights))
    model.eval()

    def encode(images):
        with torch.no_grad():
            return model.encode_image(torch.stack([preprocess(Image.open(io.BytesIO(image))) for image in images])).numpy()

    def encode_texts(texts):
        with torch.no_grad():
            return torch.cat([model.encode_text(open_clip.tokenize(texts[at : at + 64])) for at in range(0, len(texts), 64)]).numpy()

    return encode, encode_texts


def measure(engine: str, args: argparse.Namespace) -> None:
    paths = sorted(pathlib.Path(args.photos).glob("*.jpg"))[: args.images]
    images = [path.read_bytes() for path in paths]
    begin = time.perf_counter()
    encode, encode_texts = encoder(engine, args.weights, args.threads)
    encode(images[:1])
    start = time.perf_counter() - begin
    encode(images[:32])
    begin = time.perf_counter()
    encode(images)
    rate = len(images) / (time.perf_counter() - begin)
    texts = [f"a photo of a {KINDS[i % len(KINDS)]} number {i}." for i in range(args.texts)]
    text_rate = float("nan")
    if encode_texts:
        encode_texts(texts[:64])
        begin = time.perf_counter()
        encode_texts(texts)
        text_rate = len(texts) / (time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rate} {text_rate} {start} {peak}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("photos", help="directory of .jpg files")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.engine:
        measure(args.engine, args)
        return
    figures: dict[str, list[list[float]]] = {engine: [] for engine in ENGINES}
    for _ in range(args.rounds):
        for engine in ENGINES:
            words = [sys.executable, __file__, *sys.argv[1:], "--engine", engine]
            out = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
            figures[engine].append([float(figure) for figure in out.split()])
    print("| engine | images/s | texts/s | start to the first feature | peak memory |\n|---|---|---|---|---|")
    for engine, rounds in figures.items():
        rate, text_rate, start, peak = (statistics.median(column) for column in zip(*rounds))
        print(f"| {engine} | {rate:.1f} | {text_rate:.1f} | {start:.1f} s | {peak:.0f} MiB |")


if __name__ == "__main__":
    main()

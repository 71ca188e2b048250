#!/usr/bin/env bash
# sentence-transformers' search in uint8 embeddings with faiss finds one in ten of the nearest neighbors.
#
# Guess: `semantic_search_faiss` with `corpus_precision="uint8"`, the only scalar quantization that it takes, finds about what the
# float embeddings find. 8 bits a dimension lose little: faiss' own 8-bit index keeps 99% of the ten nearest.
#
# What happens: `quantize_embeddings` maps the range of each dimension to 0..255, and both query and corpus, all positive now, go into
# an inner product as they are. The offsets outweigh the signal: the vectors with large codes are "near" to every query. The default
# rescoring sees twice `top_k` of those candidates only. With usearch, the same function takes int8 (-128..127) and does far better.
#
# Versions: sentence-transformers 6.2.0, faiss-cpu 1.15.1, usearch 2.26.6, torch 2.15.0, transformers 5.24.0, Python 3.11.
# Who is hurt: users who search images by text in quantized CLIP embeddings. Nothing fails; the same few images are found for all
# texts, which looks like a bad model. The ranges are those of the corpus here, as the documentation recommends.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    torch==2.15.0 numpy==2.4.6 transformers==5.24.0 sentence-transformers==6.2.0 faiss-cpu==1.15.1 usearch==2.26.6

cat >"$work/search.py" <<'PY'
import sys

import faiss
import numpy as np
from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss, semantic_search_usearch

IMAGES, TEXTS, WIDTH, K = 4000, 200, 256, 10
rng = np.random.default_rng(0)


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


# Each text is near to one image, in a cone of its own, as with CLIP.
content = rng.standard_normal((IMAGES, WIDTH))
image_cone, text_cone = 0.5 * rng.standard_normal((2, WIDTH))
wanted = rng.choice(IMAGES, TEXTS, replace=False)
images = unit(content + image_cone)
texts = unit(content[wanted] + rng.standard_normal((TEXTS, WIDTH)) + text_cone)
nearest = np.argsort(-(texts @ images.T), axis=1)[:, :K]
ranges = np.stack([images.min(0), images.max(0)])


def report(label, found):
    neighbors = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, nearest)])
    first = np.mean([row[0] == image for row, image in zip(found, wanted)])
    print(f"{label}: {neighbors:.0%} of the {K} nearest, its own image first for {first:.0%} of the texts")
    return neighbors, first


def ours(search, precision, rescore):
    corpus = quantize_embeddings(images, precision, ranges=ranges)
    rows, _ = search(
        texts, corpus_embeddings=corpus, corpus_precision=precision, top_k=K, ranges=ranges, rescore=rescore
    )
    return [[hit["corpus_id"] for hit in row] for row in rows]


index = faiss.index_factory(WIDTH, "SQ8", faiss.METRIC_INNER_PRODUCT)
index.train(images)
index.add(images)
results = [report("float", nearest), report("faiss SQ8", index.search(texts, K)[1])]
for rescore in (False, True):
    how = "with rescoring" if rescore else "without rescoring"
    results.append(report(f"semantic_search_faiss, uint8, {how}", ours(semantic_search_faiss, "uint8", rescore)))
results.append(report("semantic_search_usearch, int8, with rescoring", ours(semantic_search_usearch, "int8", True)))
(_, exact), (scalar, _), (plain, _), (rescored, first), (int8, _) = results
as_expected = exact > 0.95 and scalar > 0.95 and plain < 0.2 and rescored < 0.2 and first < 0.85 and int8 > 0.5
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/search.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

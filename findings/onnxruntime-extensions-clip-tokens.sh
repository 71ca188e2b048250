#!/usr/bin/env bash
# ONNX Runtime's CLIP tokenizer drops the end token of long captions: they all get one and the same text feature.
#
# Guess: the `CLIPTokenizer` operator of onnxruntime-extensions, as `gen_processing_models` makes it from the tokenizer of transformers,
# returns the tokens of that tokenizer. With `padding_length=77`, a long caption is cut to 77 tokens with the end token as the last.
#
# What happens: a longer caption is cut to 77 tokens without the end token. CLIP's text tower takes its feature at the end token, the
# largest number, which is the start token now, at position 0. Behind the causal mask, that one sees itself only. Also, a number of two
# or more digits is split into other tokens than in CLIP's training ("10" is "1" and "0</w>", not "1</w>" and "0</w>"), and a newline
# is removed, so that the words before and after it become one. There is no error and no warning.
#
# Versions: onnxruntime-extensions 0.15.2, onnxruntime 1.32.0, transformers 4.57.1 (the last series with a tokenizer that the generator
# takes; 5.24.0 and open_clip 3.3.0 return the same tokens), numpy 2.3.5, Python 3.11. The vocabulary is that of open_clip.
# Who is hurt: users who deploy CLIP with the tokenizer as a part of the ONNX model. Short English captions are right, so tests pass;
# all long captions are duplicates in the index, have equal similarity to each image, and texts with years, prices or sizes are off.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    onnxruntime-extensions==0.15.2 onnxruntime==1.32.0 onnx==1.20.1 transformers==4.57.1 numpy==2.3.5
"$work/venv/bin/pip" install --quiet --no-cache-dir --no-deps open_clip_torch==3.3.0

cat >"$work/vocabulary.py" <<'PY'
"""Writes the vocabulary of CLIP, whose merges are a part of open_clip, in the two files of transformers."""

import gzip
import json
import sys
import sysconfig

work = sys.argv[1]
source = f"{sysconfig.get_path('purelib')}/open_clip/bpe_simple_vocab_16e6.txt.gz"
merges = gzip.open(source, "rt", encoding="utf-8").read().split("\n")[1 : 49152 - 256 - 2 + 1]
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
characters = [chr(byte) for byte in printable] + [chr(256 + extra) for extra in range(256 - len(printable))]
tokens = characters + [f"{character}</w>" for character in characters] + [merge.replace(" ", "") for merge in merges]
tokens += ["<|startoftext|>", "<|endoftext|>"]
with open(f"{work}/vocab.json", "w", encoding="utf-8") as file:
    json.dump({token: number for number, token in enumerate(tokens)}, file)
with open(f"{work}/merges.txt", "w", encoding="utf-8") as file:
    file.write("\n".join(["#version: 0.2", *merges]) + "\n")
PY

cat >"$work/tokens.py" <<'PY'
import sys

import numpy as np
import onnxruntime
from onnxruntime_extensions import gen_processing_models, get_library_path
from transformers import CLIPTokenizer

work = sys.argv[1]
START, END = 49406, 49407
SAME = ["a photo of a cat", "don't move!", "a 7 year old dog"]
DIFFERENT = ["10 dogs", "a car of 1984", "$5.99", "a cat\nand a dog"]
LONG = ["a cat in the garden behind the house, " * 10, "a red bus in a street of the old city, " * 9]
captions = SAME + DIFFERENT + LONG
tokenizer = CLIPTokenizer(f"{work}/vocab.json", f"{work}/merges.txt", model_max_length=77)
reference = np.array(tokenizer(captions, padding="max_length", truncation=True)["input_ids"])
as_expected = True

graph, _ = gen_processing_models(tokenizer, pre_kwargs={"padding_length": 77})
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(get_library_path())
options.log_severity_level = 2  # warnings
session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
for caption, expected in zip(captions, reference):
    numbers = np.array(session.run(None, {name: np.array([caption])})[0])[0]
    as_expected &= numbers.shape == (77,) and numbers[0] == START
    equal, long = np.array_equal(numbers, expected), caption in LONG
    print(f"{caption[:36]!r}{'…' if long else ''}: {'the same tokens' if equal else 'other tokens'}, pooled at", end=" ")
    print(f"{numbers.argmax()} (transformers: {expected.argmax()})")
    if not equal and not long:
        for label, row in (("transformers", expected), ("operator", numbers)):
            print(f"    {label}: {' '.join(tokenizer.convert_ids_to_tokens(row[1 : row.argmax()].tolist()))}")
    if long:
        as_expected &= expected.argmax() == 76 and numbers.argmax() == 0 and END not in numbers
        as_expected &= np.array_equal(numbers[:76], expected[:76])
    else:
        as_expected &= equal == (caption not in DIFFERENT) and numbers[numbers.argmax()] == END
sys.exit(0 if as_expected else 1)
PY
{
    "$work/venv/bin/python" "$work/vocabulary.py" "$work"
    "$work/venv/bin/python" "$work/tokens.py" "$work"
} 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

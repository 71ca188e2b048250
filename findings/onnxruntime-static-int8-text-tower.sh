#!/usr/bin/env bash
# ONNX Runtime's static quantization puts the causal mask into the range of the attention scores: CLIP's text tower is lost.
#
# Guess: `quantize_static` treats the two towers of CLIP alike, as they are the same transformer. If 8 bits were too few for one of
# them, 16-bit activations would help. A range that is not finite is refused.
#
# What happens: a text tower adds a causal mask to its scores: -inf as open_clip exports it, the lowest float as transformers does.
# The calibration takes this as the minimum of the scores, and the scale becomes inf or 1e36. All scores that are not masked then
# are one value, and attention is an average, whatever the bits. There is no error; for -inf, NumPy warns of a cast. A tower without
# a mask, as for images, is good, and so is the text tower if its additions are left out (`op_types_to_quantize=["MatMul"]`).
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, Python 3.11, on the CPU. Exports by open_clip 3.3.0 and transformers 5.24.0
# (eager attention) with torch 2.15.0 have the same masks and scales; the small towers here are written without them.
# Who is hurt: users who quantize CLIP for phones or NPUs, which need static quantization. The features of the images are right and
# those of the texts are not: zero-shot accuracy and OOD scores are lost, and 8 bits are blamed.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cat >"$work/towers.py" <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

work = sys.argv[1]
TOKENS, WIDTH, LAYERS = 16, 32, 2
rng = np.random.default_rng(0)
INPUTS = [rng.standard_normal((1, TOKENS, WIDTH)).astype(np.float32) for _ in range(16)]
WEIGHTS = {
    f"{name}{layer}": (rng.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)
    for layer in range(LAYERS)
    for name in ("query", "key", "value", "out")
}


class Reader(CalibrationDataReader):
    def __init__(self):
        self.inputs = iter(INPUTS)

    def get_next(self):
        return next(({"x0": x} for x in self.inputs), None)


def save_tower(name, masked):
    """Attention layers with a residual; the last token is the feature, as in CLIP's text tower."""
    constants = dict(WEIGHTS, scale=np.float32([3 / np.sqrt(WIDTH)]), last=np.int64(TOKENS - 1))
    if masked is not None:
        constants["mask"] = np.triu(np.full((TOKENS, TOKENS), masked, np.float32), 1)
    nodes = []
    for i in range(LAYERS):
        steps = [
            ("MatMul", [f"x{i}", f"query{i}"], f"q{i}", {}),
            ("MatMul", [f"x{i}", f"key{i}"], f"k{i}", {}),
            ("MatMul", [f"x{i}", f"value{i}"], f"v{i}", {}),
            ("Transpose", [f"k{i}"], f"t{i}", {"perm": [0, 2, 1]}),
            ("MatMul", [f"q{i}", f"t{i}"], f"products{i}", {}),
            ("Mul", [f"products{i}", "scale"], f"scores{i}", {}),
            ("Add", [f"scores{i}", "mask"], f"masked{i}", {}),
            ("Softmax", [f"scores{i}" if masked is None else f"masked{i}"], f"attention{i}", {"axis": -1}),
            ("MatMul", [f"attention{i}", f"v{i}"], f"mixed{i}", {}),
            ("MatMul", [f"mixed{i}", f"out{i}"], f"change{i}", {}),
            ("Add", [f"x{i}", f"change{i}"], f"x{i + 1}", {}),
        ]
        for kind, inputs, output, attributes in steps:
            if masked is not None or "mask" not in inputs:
                nodes.append(helper.make_node(kind, inputs, [output], **attributes))
    nodes.append(helper.make_node("Gather", [f"x{LAYERS}", "last"], ["feature"], axis=1))
    values = [
        helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, TOKENS, WIDTH]),
        helper.make_tensor_value_info("feature", TensorProto.FLOAT, [1, WIDTH]),
    ]
    constants = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    onnx.save(model, f"{work}/{name}.onnx")


def features(name):
    session = onnxruntime.InferenceSession(f"{work}/{name}.onnx", providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x0": x})[0] for x in INPUTS])


as_expected = True
for name, masked in (("no mask", None), ("lowest float", np.finfo(np.float32).min), ("-inf", -np.inf)):
    save_tower(name, masked)
    original = features(name)
    similar = {}
    for label, settings in (
        ("8 bits", dict(activation_type=QuantType.QInt8)),
        ("16 bits", dict(activation_type=QuantType.QUInt16)),
        ("8 bits, MatMul only", dict(activation_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])),
    ):
        quantize_static(f"{work}/{name}.onnx", f"{work}/quantized.onnx", Reader(), weight_type=QuantType.QInt8, **settings)
        weights = {x.name: numpy_helper.to_array(x) for x in onnx.load(f"{work}/quantized.onnx").graph.initializer}
        largest = max(float(value.max()) for key, value in weights.items() if key.endswith("_scale"))
        got = features("quantized")
        norms = np.linalg.norm(got, axis=1) * np.linalg.norm(original, axis=1)
        similar[label] = float(np.mean(np.sum(got * original, 1) / norms))
        print(f"{name}, {label}: cosine with the original's features {similar[label]:.3f}, largest scale {largest:.2g}")
        broken = masked is not None and "only" not in label
        as_expected &= (largest > 1e30) == broken
        as_expected &= not similar[label] > 0.95 if broken else similar[label] > 0.99
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/towers.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

#!/usr/bin/env bash
# ONNX Runtime sets all negative values to zero when it resizes int8 with antialiasing.
#
# Guess: `Resize` on int8 gives what it gives on float, rounded, and a constant image stays as it is. A model that ONNX Runtime
# quantized to int8 is about as good as one that it quantized to uint8.
#
# What happens: with `antialias=1`, linear and cubic, each negative result becomes 0: a constant image of -50 turns into one of 0.
# Without `antialias`, and for uint8 and float, all is right. A small image tower with such a `Resize` between two layers that
# `quantize_static` quantizes in the QOperator format keeps its outputs with uint8 activations; with int8 activations, the
# default, they are unlike the original's. There is no error, and the one warning of that choice speaks of speed.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, Python 3.11, on the CPU.
# Who is hurt: users who quantize an image tower (or a preprocessing that is part of the graph) with the antialiased `Resize` of
# opset 18 and later, which PyTorch's exporter writes for `interpolate(antialias=True)`. Half of the signal is gone, features
# point elsewhere, and the quantization itself is blamed.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cat >"$work/resize.py" <<'PY'
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

work = sys.argv[1]
rng = numpy.random.default_rng(0)
STEM, PATCH = (rng.normal(size=shape).astype(numpy.float32) / 4 for shape in ((3, 3, 3, 3), (8, 3, 4, 4)))
IMAGES = [rng.normal(size=(1, 3, 8, 8)).astype(numpy.float32).repeat(8, 2).repeat(8, 3) for _ in range(8)]


class Reader(CalibrationDataReader):
    def __init__(self):
        self.images = iter(IMAGES)

    def get_next(self):
        return next(({"x": image} for image in self.images), None)


def save(name, nodes, kind, shape, result, **constants):
    values = [helper.make_tensor_value_info("x", kind, shape)], [helper.make_tensor_value_info("y", kind, result)]
    constants = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, name, *values, constants), opset_imports=[helper.make_opsetid("", 19)])
    model.ir_version = 10
    onnx.save(model, f"{work}/{name}.onnx")


def run(name, x):
    session = onnxruntime.InferenceSession(f"{work}/{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


as_expected = True
for mode, antialias in (("linear", 0), ("linear", 1), ("cubic", 1)):
    resize = dict(mode=mode, antialias=antialias)
    node = helper.make_node("Resize", ["x", "", "", "size"], ["y"], **resize)
    save("one", [node], TensorProto.INT8, [1, 1, 8, 8], [1, 1, 4, 4], size=numpy.array([1, 1, 4, 4]))
    constant = run("one", numpy.full((1, 1, 8, 8), -50, numpy.int8))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["stem"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["stem", "", "", "size"], ["small"], **resize),
        helper.make_node("Conv", ["small", "v"], ["y"], strides=[4, 4]),
    ]
    size = numpy.array([1, 3, 16, 16])
    save("tower", nodes, TensorProto.FLOAT, [1, 3, 64, 64], [1, 8, 4, 4], size=size, w=STEM, v=PATCH)
    similar = {}
    for kind in (QuantType.QUInt8, QuantType.QInt8):
        quantize_static(
            f"{work}/tower.onnx",
            f"{work}/quantized.onnx",
            Reader(),
            quant_format=QuantFormat.QOperator,
            activation_type=kind,
        )
        outputs = [numpy.concatenate([run(name, x).ravel() for x in IMAGES]) for name in ("tower", "quantized")]
        similar[kind] = float(numpy.dot(*outputs) / numpy.prod([numpy.linalg.norm(output) for output in outputs]))
    print(f"{mode}, antialias={antialias}: -50 becomes {numpy.unique(constant).tolist()}; cosine of the quantized tower's")
    print(f"  outputs with the original's: {similar[QuantType.QUInt8]:.3f} in uint8, {similar[QuantType.QInt8]:.3f} in int8")
    as_expected &= numpy.all(constant == (0 if antialias else -50)) and similar[QuantType.QUInt8] > 0.99
    as_expected &= similar[QuantType.QInt8] < 0.8 if antialias else similar[QuantType.QInt8] > 0.99
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/resize.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

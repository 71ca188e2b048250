#!/usr/bin/env python3
"""CLIP's towers of torch_reference.py in onnxruntime, in f32 or with dynamic int8 quantization.

    python onnxruntime_towers.py TASK --reference torch_reference.py [--int8] [--threads 2] [--reps 7]

TASK is image-b32, image-b16, image-b32-single, text77 or text16. The tower is exported by PyTorch to a file in a temporary
directory; --int8 quantizes its weights with onnxruntime's dynamic quantization, per channel, signed. Needs torch, onnx and
onnxruntime. Weights are random; only the time is meaningful. The output format is that of torch_reference.py.
"""
import argparse
import pathlib
import tempfile
import warnings

from pytorch_clipn import load_reference

# Task: tower, argument of its constructor, shape of its input.
TASKS = {
    "image-b32": ("Vision", [32], (32, 3, 224, 224)),
    "image-b16": ("Vision", [16], (16, 3, 224, 224)),
    "image-b32-single": ("Vision", [32], (1, 3, 224, 224)),
    "text77": ("Text", [], (32, 77)),
    "text16": ("Text", [], (64, 16)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=7)
    args = parser.parse_args()

    found = load_reference(args.reference, args.threads)
    import onnxruntime
    import torch

    tower, arguments, shape = TASKS[args.task]
    model = found[tower](*arguments).eval()
    inputs = torch.randn(shape) if tower == "Vision" else torch.randint(0, 49408, shape)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tower.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, (inputs,), str(path), opset_version=17, input_names=["input"], dynamo=False)
        if args.int8:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantized = path.with_name("quantized.onnx")
            quantize_dynamic(path, quantized, per_channel=True, weight_type=QuantType.QInt8)
            path = quantized
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    values = {"input": inputs.numpy()}
    count = shape[0] * (shape[1] if tower == "Text" else 1)
    # The reference's functions read its parsed arguments.
    found["a"].task, found["a"].reps = args.task, args.reps
    times = found["timed"](lambda: session.run(None, values))
    found["report"](times, count, "tokens" if tower == "Text" else "images")


if __name__ == "__main__":
    main()

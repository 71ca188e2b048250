#!/usr/bin/env python3
"""Compares clipn with PyTorch, and with onnxruntime if it is named, on this machine: measures them alternately in one run,
and prints Markdown tables.

    python3 scripts/compare_with_pytorch.py --clipn target/release/clipn --python /path/to/torch/bin/python

Every round runs each task once in clipn and once in PyTorch, so that other load on the machine affects both; the median of
the rounds counts. Needs only Python's standard library; the interpreter of --python needs torch, and pillow for the task
pixels. The reference is torch_reference.py, the towers in plain PyTorch. With --onnxruntime, the interpreter needs onnx and
onnxruntime too; tasks in int8 are compared with PyTorch in f32 and onnxruntime's dynamic int8.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

# Task: PyTorch's task, target ratio of the rates, description.
TASKS = {
    "image-b32": ("image-b32", 1.05, "image tower, ViT-B-32, 32 images"),
    "image-b16": ("image-b16", 1.25, "image tower, ViT-B-16, 16 images"),
    "image-b32-single": ("image-b32-single", 1.2, "image tower, ViT-B-32, one image"),
    "image-b32-int8": ("image-b32", 4.5, "image tower in int8, ViT-B-32, 32 images"),
    "image-b16-int8": ("image-b16", 4.5, "image tower in int8, ViT-B-16, 16 images"),
    "image-b32-single-int8": ("image-b32-single", None, "image tower in int8, ViT-B-32, one image"),
    "text77-int8": ("text77", None, "text tower in int8, 32 texts of 77 ids"),
    "text77": ("text77", 1.3, "text tower, 32 texts of 77 ids"),
    "text16": ("text16", 1.1, "text tower, 64 texts of 16 ids"),
    "train77": ("train77", 1.25, "text training step, 32 texts of 77 ids"),
    "train16": ("train16", 1.25, "text training step, 64 texts of 16 ids"),
    "classifier": ("classifier", 25.0, "classifier, one pair of name and template, yes and no"),
    "step": ("step", 2.5, "training step `clipn`, ViT-B-32, 32 pairs"),
    "step-cached": ("step", 8.0, "the same with cached image and yes features"),
    "pixels": ("pixels", 1.6, "decode, resize and crop, one thread"),
    "metrics": (None, None, "metrics of 50,000 + 10,000 images"),
}
OWN_SCRIPT = {"step", "classifier", "image-b32-single"}
# Tasks with a counterpart in onnxruntime.
ONNX = {"image-b32", "image-b16", "image-b32-single", "text77", "text16"}
LINE = re.compile(r"median ([\d.]+) s, best ([\d.]+) s, ([\d.]+) (\w+)/s, peak (\d+) MiB")


def log(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"error: {text}")


def output_of(command, environment=None):
    """Returns the standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        fail(f"`{' '.join(map(str, command))}` exited with {done.returncode}: {last}")
    return done.stdout


def measure_clipn(args, task):
    """Returns rate, peak memory and unit of a task in clipn."""
    command = [args.clipn, "bench", task, "--format", "json", "--reps", str(args.reps), "--threads", str(args.threads)]
    if args.data:
        command += ["--data", args.data]
    measured = json.loads(output_of(command))["tasks"][0]
    return measured["rate"], measured["peak_memory_mib"], measured["unit"]


def measure_pytorch(args, task):
    """Returns rate, peak memory and unit of a task in PyTorch."""
    settings = ["--threads", str(args.threads), "--reps", str(args.reps)]
    if task in OWN_SCRIPT:
        command = [args.python, HERE / "pytorch_clipn.py", task, "--reference", args.reference, *settings]
    elif task == "pixels":
        command = [args.python, args.reference, task, args.data, *settings]
    else:
        command = [args.python, args.reference, task, *settings]
    output = output_of([str(part) for part in command])
    found = LINE.search(output)
    if not found:
        fail(f"no measurement in the output of PyTorch's {task}: `{output.strip()}`")
    return float(found[3]), float(found[5]), found[4]


def measure_onnxruntime(args, task):
    """Returns rate, peak memory and unit of a task in onnxruntime; None if it has no counterpart."""
    tower = task.removesuffix("-int8")
    if tower not in ONNX:
        return None
    settings = ["--reference", args.reference, "--threads", str(args.threads), "--reps", str(args.reps)]
    int8 = ["--int8"] if tower != task else []
    found = LINE.search(output_of([args.python, str(HERE / "onnxruntime_towers.py"), tower, *settings, *int8]))
    if not found:
        fail(f"no measurement in the output of onnxruntime's {task}")
    return float(found[3]), float(found[5]), found[4]


def timed(command):
    """Returns wall seconds and peak MiB of a command that must succeed."""
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            errors.seek(0)
            message = errors.read().decode(errors="replace").strip()
            fail(f"`{' '.join(map(str, command))}` exited with {child.returncode}: {message}")
    return seconds, usage.ru_maxrss / 1024


def measure(args):
    """Returns the measurements as {task: {program: [(rate, memory, unit), ...]}}."""
    results = {task: {"clipn": [], "PyTorch": [], "onnxruntime": []} for task in args.tasks}
    for number in range(1, args.rounds + 1):
        known = {}
        for task in args.tasks:
            theirs = TASKS[task][0]
            log(f"round {number} of {args.rounds}: {task}")
            results[task]["clipn"].append(measure_clipn(args, task))
            other = measure_onnxruntime(args, task) if args.onnxruntime else None
            if other is not None:
                results[task]["onnxruntime"].append(other)
            if theirs is None:
                continue
            # Two tasks have the same counterpart.
            if theirs not in known:
                known[theirs] = measure_pytorch(args, theirs)
            results[task]["PyTorch"].append(known[theirs])
    return results


def median(runs, index):
    values = [run[index] for run in runs if run[index] is not None]
    return statistics.median(values) if values else None


def number(value, unit=""):
    if value is None:
        return "–"
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{unit}"


def speed_table(args, results):
    onnx = args.onnxruntime
    more = " onnxruntime | ratio |" if onnx else ""
    print(f"| task | clipn | PyTorch | ratio |{more} target | met |\n|---|---|---|---|---|---|{'---|---|' if onnx else ''}")
    for task, runs in results.items():
        _, target, what = TASKS[task]
        target = args.targets.get(task, target)
        unit = runs["clipn"][0][2]
        ours, theirs = median(runs["clipn"], 0), median(runs["PyTorch"], 0)
        ratio = ours / theirs if theirs else None
        met = "–" if ratio is None or target is None else "yes" if ratio >= target else "**no**"
        cells = [
            f"{what} (`{task}`)",
            number(ours, f" {unit}/s"),
            number(theirs, f" {unit}/s") if theirs else "–",
            number(ratio, "×"),
        ]
        if onnx:
            other = median(runs["onnxruntime"], 0)
            cells += [number(other, f" {unit}/s") if other else "–", number(ours / other if other else None, "×")]
        cells += [
            f"≥ {target}×" if target is not None else "–",
            met,
        ]
        print(f"| {' | '.join(cells)} |")


def memory_table(results):
    print("\n| peak memory | clipn | PyTorch | ratio |\n|---|---|---|---|")
    for task, runs in results.items():
        ours, theirs = median(runs["clipn"], 1), median(runs["PyTorch"], 1)
        ratio = f"{100 * ours / theirs:.0f} %" if ours and theirs else "–"
        print(f"| `{task}` | {number(ours, ' MiB')} | {number(theirs, ' MiB')} | {ratio} |")


def start_table(args):
    """Prints the time from program start to the first result."""
    theirs = [args.python, "-c", "import torch"]
    ours = [args.clipn, "classify", "--model", args.model, "--pretrained", args.pretrained, "--classes", "a,b,c"]
    ours += ["--templates", "simple", args.image]
    runs = {"clipn": [], "PyTorch": []}
    for number_of_round in range(1, args.rounds + 1):
        log(f"round {number_of_round} of {args.rounds}: start")
        if args.pretrained:
            runs["clipn"].append(timed(ours))
        runs["PyTorch"].append(timed(theirs))
    print("\n| start | seconds | peak memory |\n|---|---|---|")
    model = pathlib.Path(args.model or "").stem
    labels = {
        "clipn": f"`clipn classify`, {model}, three classes, one image",
        "PyTorch": "`import torch` alone",
    }
    for program, what in labels.items():
        if runs[program]:
            seconds, memory = (statistics.median(run[index] for run in runs[program]) for index in (0, 1))
            print(f"| {what} | {seconds:.2f} | {number(memory, ' MiB')} |")
    if not args.pretrained:
        print("| `clipn classify` | not measured: give --model, --pretrained and --image | |")


def build_table(args):
    """Prints program size and number of crates of the release build."""
    print("\n| release build | |\n|---|---|")
    print(f"| size of the program | {os.path.getsize(args.clipn) / 2**20:.1f} MiB |")
    command = ["cargo", "tree", "-p", "clipn-cli", "--edges", "normal,build", "--prefix", "none", "--locked"]
    try:
        tree = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    except FileNotFoundError:
        print("| crates | not counted: cargo is not installed |")
        return
    if tree.returncode != 0:
        fail(f"`{' '.join(command)}`: {tree.stderr.strip()}")
    crates = {tuple(line.split()[:2]) for line in tree.stdout.splitlines() if line.strip()}
    print(f"| crates, including clipn's own | {len(crates)} |")


def target(text):
    task, _, ratio = text.partition("=")
    if task not in TASKS:
        raise argparse.ArgumentTypeError(f"unknown task {task}")
    return task, float(ratio)


def arguments():
    data = os.environ.get("CLIPN_TEST_DATA", HERE.parent.parent / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipn", default=HERE.parent / "target/release/clipn", help="release build of clipn")
    parser.add_argument("--reference", default=pathlib.Path(data) / "bench/torch_reference.py")
    parser.add_argument("--python", default=sys.executable, help="interpreter with torch")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, metavar="TASK", help=f"tasks to measure: {', '.join(TASKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reps", type=int, default=1, help="repetitions per round, after a warm-up")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", help="directory of photos for pixels, and of a captions.tsv for step")
    parser.add_argument("--model", help="architecture of --pretrained, for the start of `clipn classify`")
    parser.add_argument("--pretrained", help="weights for the start of `clipn classify`")
    parser.add_argument("--image", help="image for the start of `clipn classify`")
    parser.add_argument("--onnxruntime", action="store_true", help="measure onnxruntime too")
    parser.add_argument("--target", type=target, action="append", default=[], metavar="TASK=RATIO")
    parser.add_argument("--no-start", action="store_true", help="skip the start and the build")
    args = parser.parse_args()
    args.targets = dict(args.target)
    if args.tasks is None:
        args.tasks = [task for task in TASKS if task != "pixels" or args.data]
    if "pixels" in args.tasks and not args.data:
        parser.error("the task pixels needs --data")
    if args.pretrained and not (args.model and args.image):
        parser.error("--pretrained needs --model and --image")
    if args.rounds < 1 or args.reps < 1:
        parser.error("--rounds and --reps must be at least 1")
    for what, path in (("--clipn", args.clipn), ("--reference", args.reference)):
        if not os.path.isfile(path):
            parser.error(f"{what}: no such file: {path}")
    args.clipn, args.reference = (str(pathlib.Path(path).resolve()) for path in (args.clipn, args.reference))
    return args


def main():
    args = arguments()
    results = measure(args)
    speed_table(args, results)
    memory_table(results)
    if not args.no_start:
        start_table(args)
        build_table(args)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

#!/usr/bin/env python3
"""clipn beside PyTorch on this machine: both measured in turn, in one run, and told as a Markdown table.

    python3 scripts/compare_with_pytorch.py --clipn target/release/clipn --python /path/to/torch/bin/python

Every round runs each task once in clipn and once in PyTorch, so that whatever else the machine does meets both; the
median of the rounds counts. Needs nothing but Python's standard library; the interpreter of --python needs torch, and
pillow for the task pixels. The reference is torch_reference.py, the towers in plain PyTorch.
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

# Task: PyTorch's own task, the least ratio of the rates that is aimed at, and what is compared.
TASKS = {
    "image-b32": ("image-b32", 1.05, "image tower, ViT-B-32, 32 images"),
    "image-b16": ("image-b16", 1.25, "image tower, ViT-B-16, 16 images"),
    "text77": ("text77", 1.3, "text tower, 32 texts of 77 ids"),
    "text16": ("text16", 1.1, "text tower, 64 texts of 16 ids"),
    "train77": ("train77", 1.25, "text training step, 32 texts of 77 ids"),
    "train16": ("train16", 1.25, "text training step, 64 texts of 16 ids"),
    "classifier": ("classifier", 25.0, "classifier, a pair of name and template, yes and no"),
    "step": ("step", 2.5, "training step `clipn`, ViT-B-32, 32 pairs"),
    "step-cached": ("step", 8.0, "the same with cached image and yes features"),
    "pixels": ("pixels", 1.6, "decode, resize and crop, one thread"),
    "metrics": (None, None, "metrics of 50,000 + 10,000 images"),
}
OWN_SCRIPT = {"step", "classifier"}
LINE = re.compile(r"median ([\d.]+) s, best ([\d.]+) s, ([\d.]+) (\w+)/s, peak (\d+) MiB")


def tell(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"error: {text}")


def output_of(command, environment=None):
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        fail(f"`{' '.join(map(str, command))}` ended with {done.returncode}: {last}")
    return done.stdout


def of_clipn(asked, task):
    """Rate, peak memory and unit of a task in clipn."""
    command = [asked.clipn, "bench", task, "--format", "json", "--reps", str(asked.reps), "--threads", str(asked.threads)]
    if asked.data:
        command += ["--data", asked.data]
    measured = json.loads(output_of(command))["tasks"][0]
    return measured["rate"], measured["peak_memory_mib"], measured["unit"]


def of_pytorch(asked, task):
    """Rate, peak memory and unit of a task in PyTorch."""
    settings = ["--threads", str(asked.threads), "--reps", str(asked.reps)]
    if task in OWN_SCRIPT:
        command = [asked.python, HERE / "pytorch_clipn.py", task, "--reference", asked.reference, *settings]
    elif task == "pixels":
        command = [asked.python, asked.reference, task, asked.data, *settings]
    else:
        command = [asked.python, asked.reference, task, *settings]
    said = output_of([str(part) for part in command])
    found = LINE.search(said)
    if not found:
        fail(f"PyTorch's {task} said `{said.strip()}`, which is no measurement")
    return float(found[3]), float(found[5]), found[4]


def timed(command):
    """Wall seconds and peak MiB of a command that must succeed."""
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
            fail(f"`{' '.join(map(str, command))}` ended with {child.returncode}: {said}")
    return seconds, usage.ru_maxrss / 1024


def measure(asked):
    """What each task came to: {task: {program: [(rate, memory, unit), ...]}}."""
    results = {task: {"clipn": [], "PyTorch": []} for task in asked.tasks}
    for number in range(1, asked.rounds + 1):
        known = {}
        for task in asked.tasks:
            theirs = TASKS[task][0]
            tell(f"round {number} of {asked.rounds}: {task}")
            results[task]["clipn"].append(of_clipn(asked, task))
            if theirs is None:
                continue
            # Two tasks have the same counterpart.
            if theirs not in known:
                known[theirs] = of_pytorch(asked, theirs)
            results[task]["PyTorch"].append(known[theirs])
    return results


def middle(runs, place):
    values = [run[place] for run in runs if run[place] is not None]
    return statistics.median(values) if values else None


def number(value, unit=""):
    if value is None:
        return "–"
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{unit}"


def speed_table(asked, results):
    print("| task | clipn | PyTorch | ratio | target | met |\n|---|---|---|---|---|---|")
    for task, runs in results.items():
        _, target, what = TASKS[task]
        target = asked.targets.get(task, target)
        unit = runs["clipn"][0][2]
        ours, theirs = middle(runs["clipn"], 0), middle(runs["PyTorch"], 0)
        ratio = ours / theirs if theirs else None
        met = "–" if ratio is None or target is None else "yes" if ratio >= target else "**no**"
        cells = [
            f"{what} (`{task}`)",
            number(ours, f" {unit}/s"),
            number(theirs, f" {unit}/s") if theirs else "–",
            number(ratio, "×"),
            f"≥ {target}×" if target is not None else "–",
            met,
        ]
        print(f"| {' | '.join(cells)} |")


def memory_table(results):
    print("\n| peak memory | clipn | PyTorch | clipn's share |\n|---|---|---|---|")
    for task, runs in results.items():
        ours, theirs = middle(runs["clipn"], 1), middle(runs["PyTorch"], 1)
        share = f"{100 * ours / theirs:.0f} %" if ours and theirs else "–"
        print(f"| `{task}` | {number(ours, ' MiB')} | {number(theirs, ' MiB')} | {share} |")


def start_table(asked):
    """How long the programs take before they are of use."""
    theirs = [asked.python, "-c", "import torch"]
    ours = [asked.clipn, "classify", "--model", asked.model, "--pretrained", asked.pretrained, "--classes", "a,b,c"]
    ours += ["--templates", "simple", asked.image]
    runs = {"clipn": [], "PyTorch": []}
    for number_of_round in range(1, asked.rounds + 1):
        tell(f"round {number_of_round} of {asked.rounds}: start")
        if asked.pretrained:
            runs["clipn"].append(timed(ours))
        runs["PyTorch"].append(timed(theirs))
    print("\n| start | seconds | peak memory |\n|---|---|---|")
    model = pathlib.Path(asked.model or "").stem
    told = {
        "clipn": f"`clipn classify`, {model}, three classes, one picture",
        "PyTorch": "`import torch` alone",
    }
    for program, what in told.items():
        if runs[program]:
            seconds, memory = (statistics.median(run[place] for run in runs[program]) for place in (0, 1))
            print(f"| {what} | {seconds:.2f} | {number(memory, ' MiB')} |")
    if not asked.pretrained:
        print("| `clipn classify` | not measured: give --model, --pretrained and --image | |")


def build_table(asked):
    """What a release build is made of."""
    print("\n| release build | |\n|---|---|")
    print(f"| size of the program | {os.path.getsize(asked.clipn) / 2**20:.1f} MiB |")
    command = ["cargo", "tree", "-p", "clipn-cli", "--edges", "normal,build", "--prefix", "none", "--locked"]
    try:
        tree = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    except FileNotFoundError:
        print("| crates | not counted: cargo is not here |")
        return
    if tree.returncode != 0:
        fail(f"`{' '.join(command)}`: {tree.stderr.strip()}")
    crates = {tuple(line.split()[:2]) for line in tree.stdout.splitlines() if line.strip()}
    print(f"| crates, its own two among them | {len(crates)} |")


def target(text):
    task, _, ratio = text.partition("=")
    if task not in TASKS:
        raise argparse.ArgumentTypeError(f"{task} is no task")
    return task, float(ratio)


def arguments():
    data = os.environ.get("CLIPN_TEST_DATA", HERE.parent.parent / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipn", default=HERE.parent / "target/release/clipn", help="the program, a release build")
    parser.add_argument("--reference", default=pathlib.Path(data) / "bench/torch_reference.py")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, metavar="TASK", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reps", type=int, default=1, help="repetitions a round, after one that warms up")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", help="a folder of photographs for pixels; a captions.tsv in it serves step")
    parser.add_argument("--model", help="architecture of --pretrained, for the start of `clipn classify`")
    parser.add_argument("--pretrained", help="weights for the start of `clipn classify`")
    parser.add_argument("--image", help="a picture for the start of `clipn classify`")
    parser.add_argument("--target", type=target, action="append", default=[], metavar="TASK=RATIO")
    parser.add_argument("--no-start", action="store_true", help="leave the start and the build out")
    asked = parser.parse_args()
    asked.targets = dict(asked.target)
    if asked.tasks is None:
        asked.tasks = [task for task in TASKS if task != "pixels" or asked.data]
    if "pixels" in asked.tasks and not asked.data:
        parser.error("the task pixels needs --data FOLDER")
    if asked.pretrained and not (asked.model and asked.image):
        parser.error("--pretrained needs --model and --image")
    if asked.rounds < 1 or asked.reps < 1:
        parser.error("--rounds and --reps are whole numbers from 1")
    for what, path in (("--clipn", asked.clipn), ("--reference", asked.reference)):
        if not os.path.isfile(path):
            parser.error(f"{what}: there is no file {path}")
    asked.clipn, asked.reference = (str(pathlib.Path(path).resolve()) for path in (asked.clipn, asked.reference))
    return asked


def main():
    asked = arguments()
    results = measure(asked)
    speed_table(asked, results)
    memory_table(results)
    if not asked.no_start:
        start_table(asked)
        build_table(asked)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

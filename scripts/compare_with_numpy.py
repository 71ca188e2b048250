#!/usr/bin/env python3
"""Compares clipn.scores and clipn.metrics with NumPy and scikit-learn doing the same, alternating, in one process.

    python scripts/compare_with_numpy.py [--rows 60000] [--classes 1000] [--repeat 5]

Needs the package clipn in a release build, NumPy and scikit-learn. Prints the best time of each and the memory that each
takes at its peak besides its input.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np


def softmax(values: np.ndarray) -> np.ndarray:
    e = np.exp(values - values.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def numpy_atd(yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    return (softmax(yes) / (1 + np.exp(no - yes))).sum(axis=1)


def numpy_mcm(yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    return softmax(yes / 100).max(axis=1)


def sklearn_metrics(id_scores: np.ndarray, ood_scores: np.ndarray) -> tuple[float, float]:
    from sklearn.metrics import roc_auc_score, roc_curve

    labels = np.r_[np.ones(len(id_scores)), np.zeros(len(ood_scores))]
    values = np.r_[id_scores, ood_scores]
    fpr, tpr, _ = roc_curve(1 - labels, -values)
    return float(roc_auc_score(labels, values)), float(fpr[np.argmax(tpr >= 0.95)])


def clipn_metrics(id_scores: np.ndarray, ood_scores: np.ndarray) -> tuple[float, float]:
    import clipn

    figures = clipn.metrics.evaluate(id_scores, ood_scores)
    return figures["auroc"], figures["fpr"]["openood"]


def tasks(args: argparse.Namespace) -> dict:
    import clipn

    rng = np.random.default_rng(0)
    yes = rng.normal(20, 4, (args.rows, args.classes)).astype(np.float32)
    no = rng.normal(20, 4, (args.rows, args.classes)).astype(np.float32)
    id_scores = rng.normal(1, 1, args.rows).astype(np.float32)
    ood_scores = rng.normal(0, 1, args.rows).astype(np.float32)
    return {
        "atd": (lambda: numpy_atd(yes, no), lambda: clipn.scores.atd(yes, no)),
        "mcm": (lambda: numpy_mcm(yes, no), lambda: clipn.scores.mcm(yes)),
        "auroc+fpr95": (lambda: sklearn_metrics(id_scores, ood_scores), lambda: clipn_metrics(id_scores, ood_scores)),
    }


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def memory(kind: str) -> float:
    """Memory of this process in MB: resident now (``VmRSS``) or at its peak (``VmHWM``)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(kind)) / 1024


def peak(args: argparse.Namespace, task: str, side: int) -> float:
    """Memory in MB that a task adds to its input at its peak, in a process of its own."""
    words = [sys.executable, __file__, "--rows", str(args.rows), "--classes", str(args.classes), "--child", task, str(side)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    all_tasks = tasks(args)
    if args.child:
        work = all_tasks[args.child[0]][int(args.child[1])]
        # Linux forgets the peak so far, which is that of drawing the input.
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")
        before = memory("VmRSS")
        work()
        print(memory("VmHWM") - before)
        return
    print("| task | NumPy, scikit-learn | clipn | ratio | memory NumPy | memory clipn |")
    print("|---|---|---|---|---|---|")
    for name, (theirs, ours) in all_tasks.items():
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-3)
        times = [(seconds(theirs), seconds(ours)) for _ in range(args.repeat)]
        a, b = (min(column) for column in zip(*times))
        print(f"| {name} | {a:.3f} s | {b:.3f} s | {a / b:.1f} | {peak(args, name, 0):.0f} MB | {peak(args, name, 1):.0f} MB |")


if __name__ == "__main__":
    main()

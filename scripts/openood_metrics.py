"""Compares the results of `clipn eval` with those of OpenOOD's own code on the same scores.

    python3 -m venv venv && venv/bin/pip install scikit-learn==1.9.1
    git clone https://github.com/Jingkang50/OpenOOD && git -C OpenOOD checkout 3c35632e
    clipn eval --benchmark openood-cifar10 --data-root OpenOOD/data --output results
    venv/bin/python scripts/openood_metrics.py OpenOOD/openood/evaluators/metrics.py results

The scores are those of `scores.csv`, and `compute_all_metrics` is run on each out-of-distribution set as OpenOOD's evaluator
does. Figures must be equal to 1e-12, and the printed ones as text, unless 1e-12 decides how they are rounded. The exit code
is 1 if one differs.
"""

import csv
import json
import pathlib
import runpy
import sys

import numpy as np

TOLERANCE = 1e-12
HEADING = ["FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"]


def read_scores(path):
    """Returns the rows of each set, ID first; rows of images that could not be read are left out."""
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["error"]]
    sets = {}
    for row in rows:
        sets.setdefault(row["set"], []).append(row)
    return sets


def arrays(rows, score, classes, is_id):
    """Confidences, labels and predictions of a set as OpenOOD has them; OOD images have the label -1."""
    conf = np.array([float(row[score]) for row in rows])
    pred = np.array([classes[row["prediction"]] for row in rows])
    label = np.array([classes[row["label"]] for row in rows]) if is_id else np.full(len(rows), -1)
    return conf, label, pred


def figures_of(result):
    """The figures of results.json that OpenOOD has too, in its order."""
    fpr = next(f for f in result["fpr"] if (f["tpr"], f["convention"]) == (0.95, "openood"))
    return [fpr["fpr"], result["auroc"], result["aupr_in_trapezoid"], result["aupr_out_trapezoid"]]


def main():
    compute_all_metrics = runpy.run_path(sys.argv[1])["compute_all_metrics"]
    directory = pathlib.Path(sys.argv[2])
    results = json.loads((directory / "results.json").read_text())
    sets = read_scores(directory / "scores.csv")
    id_rows = sets[results["id"]["name"]]
    names = {row[column] for rows in sets.values() for row in rows for column in ("label", "prediction")}
    classes = {name: index for index, name in enumerate(sorted(names - {""}))}
    with open(directory / "openood.csv", newline="") as file:
        table = {(row["score"], row["dataset"]): [row[name] for name in HEADING] for row in csv.DictReader(file)}
    worst, printed, failed = 0.0, 0, False
    by_kind = {}
    for result in results["results"]:
        score, name = result["score"], result["ood"]
        parts = zip(arrays(id_rows, score, classes, True), arrays(sets[name], score, classes, False))
        conf, label, pred = (np.concatenate(part) for part in parts)
        theirs = compute_all_metrics(conf, label, pred)
        ours = figures_of(result) + [results["accuracy"]]
        difference = max(abs(a - b) for a, b in zip(ours, theirs))
        worst = max(worst, difference)
        if difference > TOLERANCE:
            print(f"{score} on {name}: clipn {ours}, OpenOOD {theirs}")
            failed = True
        by_kind.setdefault((score, result["kind"]), []).append(theirs)
        rows = {name: theirs}
        if result["kind"]:
            # The last set of a kind completes its mean.
            rows[f"{result['kind']}ood"] = np.mean(np.array(by_kind[score, result["kind"]]), axis=0)
        for dataset, metrics in rows.items():
            # A figure at the middle of two printed ones may be rounded either way.
            shown = [{"{:.2f}".format(100 * (value + e)) for e in (-TOLERANCE, 0, TOLERANCE)} for value in metrics]
            of_kind = [r for r in results["results"] if (r["score"], r["kind"]) == (score, result["kind"])]
            is_whole = dataset == name or len(by_kind[score, result["kind"]]) == len(of_kind)
            if not is_whole:
                continue
            printed += 1
            if not all(ours in theirs for ours, theirs in zip(table[score, dataset], shown)):
                print(f"{score} on {dataset}: clipn prints {table[score, dataset]}, OpenOOD one of {shown}")
                failed = True
    print(f"{len(results['results'])} results, largest difference {worst:.1e}; {printed} of {len(table)} printed rows compared")
    sys.exit(1 if failed or printed != len(table) else 0)


if __name__ == "__main__":
    main()

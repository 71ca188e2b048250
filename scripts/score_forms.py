#!/usr/bin/env python3
"""Compares forms of the score that use the same "no": the tables "Other forms of the score" in docs/results.md.

    python scripts/score_forms.py --clipn target/release/clipn --data data --work /tmp/forms seed-0.safetensors seed-1.safetensors

`data` is that of recipes/tiny-imagenet.toml, with `cifar10-test/`, `coco-mini/images/` and `imagenet-100/` for the selection. Each
weights file is one seed of "no" on the same CLIP. Needs NumPy. Prints Markdown: forms (AUROC / FPR95 in %), differences with
intervals of a paired bootstrap, and rules without calibration.
"""
import argparse
import csv
import json
import os
import pathlib
import subprocess
import tarfile

import numpy as np

FIVE = [
    ["projectile", "sewing machine", "slug", "Christmas stocking", "wooden spoon"],
    ["ox", "acorn", "albatross", "chest", "monarch"],
    ["black stork", "lion", "tabby", "picket fence", "lesser panda"],
]
SELECTION = [
    ["water jug", "snorkel", "golden retriever", "obelisk", "parking meter"],
    ["crane", "black widow", "punching bag", "baboon", "coral reef"],
    ["beer bottle", "bullfrog", "chain", "basketball", "rugby ball"],
    ["military uniform", "turnstile", "dumbbell", "frying pan", "boa constrictor"],
    ["bighorn", "remote control", "flagpole", "cliff dwelling", "potpie"],
    ["comic book", "nail", "rocking chair", "dugong", "sulphur butterfly"],
]
FAR = ["dtd", "scene", "mnist", "fashion"]
OTHER_IMAGES = ["train-near", "cifar", "coco", "imagenet"]
RESAMPLES = 200


def prepare(data, work):
    """Writes folders of links, and the training images of the near classes. Returns names and folders by role."""
    rows = list(csv.DictReader(open(data / "tiny-imagenet/classes.tsv"), delimiter="\t"))
    folders = {row["name"]: row["wnid"] for row in rows if row["role"] in ("id", "near-ood")}
    known = sorted(row["name"] for row in rows if row["role"] == "id")
    near = {index: row["name"] for index, row in enumerate(rows) if row["role"] == "near-ood"}
    train = work / "train-near"
    if not train.exists():
        train.mkdir(parents=True)
        for shard in sorted((data / "tiny-imagenet").glob("train-*.tar.gz")):
            with tarfile.open(shard) as tar:
                files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
            for name, label in files.items():
                if name.endswith(".cls") and int(label) in near:
                    image = name.removesuffix(".cls") + ".jpg"
                    (train / image.replace("/", "-")).write_bytes(files[image])
    dtd = work / "dtd"
    if not dtd.exists():
        dtd.mkdir()
        for folder in (data / "dtd10").iterdir():
            if folder.name != "cobwebbed":  # overlaps with the class spider web
                (dtd / folder.name).symlink_to(folder.resolve())
    sets = {
        "val": data / "tiny-imagenet/val", "dtd": dtd, "scene": data / "scene15", "mnist": data / "mnist",
        "fashion": data / "fashion/test", "train-near": train, "cifar": data / "cifar10-test",
        "coco": data / "coco-mini/images", "imagenet": data / "imagenet-100",
    }
    return folders, known, list(near.values()), sets


def linked(folder, targets):
    """A folder with links of these names."""
    folder.mkdir(exist_ok=True)
    for name, target in targets.items():
        if not (folder / name).exists():
            (folder / name).symlink_to(target.resolve())
    return folder


class Seed:
    """Features of the images and texts of one weights file."""

    def __init__(self, clipn, weights, work, sets):
        self.clipn, self.weights = clipn, weights
        self.work = work / weights.stem
        self.work.mkdir(parents=True, exist_ok=True)
        self.images = {name: self.embed("images", folder, name) for name, folder in sets.items()}
        inspected = json.loads(self.run("inspect", weights, "--format", "json"))
        self.no_scale = float(inspected["metadata"].get("no_scale", 1))

    def run(self, *arguments):
        command = [self.clipn, *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout

    def embed(self, kind, given, name, *more):
        output = self.work / f"{name}.npy"
        if not output.exists():
            self.run("embed", kind, given, "--pretrained", self.weights, "--output", output, *more)
        keys = [json.loads(line).get("image_path", "") for line in open(self.work / f"{name}.keys.jsonl")]
        return np.load(output).astype(np.float64), [os.path.realpath(key) for key in keys]

    def texts(self, names, tag):
        """"Yes" and "no" features of names, and the factor of the logits."""
        listing = self.work / f"{tag}.txt"
        listing.write_text("\n".join(names) + "\n")
        flags = ["--templates", "simple", "--allow-duplicates"]
        return [self.embed("texts", listing, f"{tag}-{side}", *flags, "--side", side)[0] for side in ("yes", "no")]

    def negatives(self, names, tag):
        """Words of WordNet that the model has read and that describe none of the names; the logit scale."""
        bundle = self.work / f"{tag}.clipn"
        if not bundle.exists():
            listing = self.work / f"{tag}-names.txt"
            listing.write_text("\n".join(names) + "\n")
            self.run("classifier", "build", "--pretrained", self.weights, "--classes", listing,
                     "--negatives", "wordnet", "--output", bundle)
        shown = json.loads(self.run("classifier", "show", bundle, "--format", "json"))
        return shown["negatives"]["words"], shown["logit_scale"]


    def own_scores(self, id_folder, sets, tag):
        """The program's NegLabel and ln ATD-Neg with WordNet's words, `[2]` by path of an image."""
        output = self.work / f"{tag}-eval"
        if not (output / "scores.csv").exists():
            others = [f"--ood={name}={folder}" for name, folder in sets.items()]
            self.run("eval", "--pretrained", self.weights, "--templates", "simple", "--logit-scale", "trained", "--id", id_folder,
                     *others, "--negatives", "wordnet", "--scores", "neglabel,atd-neg", "--score-precision", "f64",
                     "--feature-cache", self.work / "cache", "--output", output, "--force")
        rows = csv.DictReader(open(output / "scores.csv"))
        return {os.path.realpath(row["path"]): [float(row["neglabel"]), float(row["atd-neg"])] for row in rows}


def log_sum_exp(values):
    top = values.max(axis=1, keepdims=True)
    return (top + np.log(np.exp(values - top).sum(axis=1, keepdims=True)))[:, 0]


def log_q(yes, no):
    return -np.logaddexp(0, no - yes)


def atd(yes, no):
    """ln Σ p·q."""
    return log_sum_exp(yes + log_q(yes, no)) - log_sum_exp(yes)


def forms(logits, reference):
    """Scores of images, by form. `reference` has the known images' logits, from which statistics are taken."""
    yes, no, all_yes, all_no = (logits[key] for key in ("yes", "no", "all_yes", "all_no"))
    energy, evidence = log_sum_exp(yes), atd(yes, no)
    vocabulary = atd(all_yes, all_no)
    deviation = log_sum_exp(reference["yes"]).std()
    centered = no - reference["no"].mean(axis=0) + reference["no"].mean()
    best = np.argsort(-yes, axis=1)[:, :3]
    three = np.take_along_axis(log_q(yes, no), best, axis=1).mean(axis=1)
    without_mean = all_no - all_no.mean(axis=1, keepdims=True) + reference["all_no"].mean()
    temperature = reference["temperature"]
    return {
        "E": energy,
        "A": evidence,
        "E + A (gated energy)": energy + evidence,
        "AN": logits["atd-neg"],
        "E + 2A": energy + 2 * evidence,
        "E + A, each class's \"no\" centered on known images": energy + atd(yes, centered),
        "E + A, a temperature fitted on known images":
            log_sum_exp(yes / temperature) + atd(yes / temperature, no / temperature),
        "E + mean ln q of the three best names": energy + three,
        "E + 2V°": energy + 2 * atd(all_yes, without_mean),
        "E + V": energy + vocabulary,
        "E + 2V": energy + 2 * vocabulary,
        "E + 1.75 sd·V": energy + 1.75 * deviation * vocabulary,
    }


def fitted_temperature(yes, labels):
    """The temperature at which known images have the lowest cross entropy."""
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 81))
    loss = [np.mean(log_sum_exp(yes / t) - yes[np.arange(len(labels)), labels] / t) for t in grid]
    return grid[int(np.argmin(loss))]


def auroc(known, other):
    values = np.concatenate([known, other])
    order = values.argsort(kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(1, len(values) + 1)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.bincount(inverse, ranks) / counts)[inverse]
    sum_of_ranks = ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2
    return 100 * sum_of_ranks / (len(known) * len(other))


def fpr95(known, other):
    return 100 * np.mean(other >= np.quantile(known, 0.05))


class Task:
    """Known names against sets of other images, for one seed."""

    def __init__(self, seed, names, folders, others, near_names, tag, sets):
        yes, no = seed.texts(names, f"{tag}-classes")
        words, scale = seed.negatives(names, tag)
        word_yes, word_no = seed.texts(words, f"{tag}-words")
        of_class = {folders[name]: index for index, name in enumerate(names)}
        near = {folders[name] for name in near_names}
        known_folder = linked(seed.work / f"{tag}-id", {name: sets["val"] / folders[name] for name in names})
        given = {name: sets[name] for name in others if name != "near"}
        if near:
            given["near"] = linked(seed.work / f"{tag}-near", {folder: sets["val"] / folder for folder in near})
        own = seed.own_scores(known_folder, given, f"{tag}-{others[0]}")

        val, keys = seed.images["val"]
        folder_of = [pathlib.PurePath(key).parent.name for key in keys]
        rows = {"known": [i for i, folder in enumerate(folder_of) if folder in of_class]}
        rows["near"] = [i for i, folder in enumerate(folder_of) if folder in near]
        self.labels = np.array([of_class[folder_of[i]] for i in rows["known"]])
        images = {name: (val[index], [keys[i] for i in index]) for name, index in rows.items()}
        images |= {name: seed.images[name] for name in others if name != "near"}
        self.logits = {}
        for name in ["known", *others]:
            features, paths = images[name]
            of = {"yes": scale * features @ yes.T, "no": seed.no_scale * scale * features @ no.T}
            of["all_yes"] = np.concatenate([of["yes"], scale * features @ word_yes.T], axis=1)
            of["all_no"] = np.concatenate([of["no"], seed.no_scale * scale * features @ word_no.T], axis=1)
            of["neglabel"], of["atd-neg"] = np.array([own[path] for path in paths]).T
            self.logits[name] = of
        known = self.logits["known"]
        known["temperature"] = fitted_temperature(known["yes"], self.labels)
        self.scores = {name: forms(of, known) for name, of in self.logits.items()}
        self.others = others

    def measure(self, form, chosen=None):
        """AUROC and FPR95 of a form per set; `chosen` are indices of images by set."""
        take = lambda name: self.scores[name][form] if chosen is None else self.scores[name][form][chosen[name]]
        known = take("known")
        return {name: np.array([auroc(known, take(name)), fpr95(known, take(name))]) for name in self.others}

    def rules(self):
        """Shares of images that each rule rejects, by rule and set."""
        shares = {}
        for name, of in self.logits.items():
            p = np.exp(of["yes"] - log_sum_exp(of["yes"])[:, None])
            q = np.exp(log_q(of["yes"], of["no"]))
            best = of["yes"].argmax(axis=1)
            rejected = {
                "ATD, extra class": (p * (1 - q)).sum(axis=1) > (p * q).max(axis=1),
                "CTW ≥ 0.5": q[np.arange(len(q)), best] < 0.5,
                "NegLabel ≥ 0.5": np.exp(of["neglabel"]) < 0.5,
                "ATD-Neg ≥ 0.5": np.exp(of["atd-neg"]) < 0.5,
            }
            for rule, which in rejected.items():
                shares.setdefault(rule, {})[name] = 100 * which.mean()
        return shares


def average(measured, sets):
    return np.mean([measured[name] for name in sets], axis=0)


def over_tasks(tasks, form, sets):
    return np.mean([average(task.measure(form), sets) for task in tasks], axis=0)


def pair(values, with_spread=False):
    """`88.6 / 42.9` or `88.6 ± 0.2 / 42.9 ± 0.3` of seeds `[S, 2]`."""
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(2)
    if with_spread and len(values) > 1:
        return f"{mean[0]:.1f} ± {spread[0]:.1f} / {mean[1]:.1f} ± {spread[1]:.1f}"
    return f"{mean[0]:.1f} / {mean[1]:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipn", default="clipn")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("weights", type=pathlib.Path, nargs="+")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    folders, known, near, sets = prepare(args.data, args.work)
    test_sets = ["near", *FAR]
    seeds = []
    for path in args.weights:
        seed = Seed(args.clipn, path, args.work, sets)
        five = [Task(seed, names, folders, test_sets, [n for n in folders if n not in names], f"five-{k}", sets)
                for k, names in enumerate(FIVE)]
        many = [Task(seed, known, folders, test_sets, near, "many", sets)]
        few_selection = [Task(seed, names, folders, OTHER_IMAGES, [], f"selection-{k}", sets)
                         for k, names in enumerate(SELECTION)]
        many_selection = [Task(seed, known, folders, OTHER_IMAGES, [], "many", sets)]
        seeds.append((five, many, few_selection, many_selection))

    print("| score | five names: near | far | mean | 146 names: near | far | mean | selection (AUROC): five; 146 |")
    print("|---|---|---|---|---|---|---|---|")
    for form in seeds[0][0][0].scores["known"]:
        cells = [form]
        for which in (0, 1):
            for group, spread in ((["near"], False), (FAR, False), (test_sets, True)):
                cells.append(pair(np.array([over_tasks(seed[which], form, group) for seed in seeds]), spread))
        chosen = [np.mean([over_tasks(seed[which], form, OTHER_IMAGES)[0] for seed in seeds]) for which in (2, 3)]
        print("| " + " | ".join(cells) + f" | {chosen[0]:.1f}; {chosen[1]:.1f} |")

    print("\n| difference | five names: near | mean | 146 names: near | mean |\n|---|---|---|---|---|")
    gated = "E + A (gated energy)"
    pairs = [(gated, "E"), ("A", gated), ("AN", "A"), ("AN", gated), ("E + V", gated), ("E + 2V", gated), ("E + 2V°", "E")]
    random = np.random.default_rng(0)
    for first, second in pairs:
        cells = []
        for which in (0, 1):
            for group in (["near"], test_sets):
                def difference(chosen_of):
                    return np.mean([
                        average(task.measure(first, chosen), group)[0] - average(task.measure(second, chosen), group)[0]
                        for seed in seeds for task, chosen in zip(seed[which], chosen_of)
                    ])
                found = difference([None] * len(seeds[0][which]))
                draws = []
                for _ in range(RESAMPLES):
                    # One resample for all seeds: they score the same images.
                    draws.append(difference([
                        {name: random.integers(len(s["E"]), size=len(s["E"])) for name, s in task.scores.items()}
                        for task in seeds[0][which]
                    ]))
                low, high = np.quantile(draws, [0.025, 0.975])
                cells.append(f"{found:+.1f} [{low:.1f}, {high:.1f}]".replace("-", "−"))
        name = lambda form: "(E + A)" if form == gated and first != gated else "E + A" if form == gated else form
        print(f"| {name(first)} − {name(second)} | " + " | ".join(cells) + " |")

    print("\n| rule | five names | five names, selection | 146 names | 146 names, selection |\n|---|---|---|---|---|")
    for rule in seeds[0][0][0].rules():
        cells = []
        for which, others in ((0, test_sets), (2, OTHER_IMAGES), (1, test_sets), (3, OTHER_IMAGES)):
            kept = np.mean([100 - task.rules()[rule]["known"] for seed in seeds for task in seed[which]])
            rejected = np.mean([task.rules()[rule][name] for seed in seeds for task in seed[which] for name in others])
            cells.append(f"{kept:.0f} / {rejected:.0f} / **{(kept + rejected) / 2:.1f}**")
        print(f"| {rule} | " + " | ".join(cells) + " |")

    alone = [auroc(-task.logits["known"]["all_no"].mean(axis=1), -task.logits[name]["all_no"].mean(axis=1))
             for seed in seeds for task in seed[1] for name in FAR]
    near_alone = [auroc(-task.logits["known"]["all_no"].mean(axis=1), -task.logits["near"]["all_no"].mean(axis=1))
                  for seed in seeds for task in seed[1]]
    print(f"\nmean \"no\" over all words, reversed, 146 names: far {np.mean(alone):.1f}, near {np.mean(near_alone):.1f}")


if __name__ == "__main__":
    main()

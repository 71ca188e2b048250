#!/usr/bin/env bash
# timm numbers the classes of an image folder in another order than torchvision, and the classes A and a at random in each process.
#
# Guess: `timm.data.create_dataset("", folder)` labels the images as `torchvision.datasets.ImageFolder` does: the names of the subfolders are
# sorted, and the first is 0. At least, the same folder has the same labels in each run and on each rank.
#
# What happens: timm compares names in lower case and digits by value. So the cats of Oxford-IIIT Pet, whose names start with a capital, do
# not come before its dogs: 33 of the 37 classes have another number than in torchvision and in a sorted list of prompts. In lower case, "A"
# and "a" are equal, and names that are equal keep the order of a Python set, which is drawn with the hash seed when a process starts. A probe
# for letters that is saved and evaluated by the next process has the pairs mixed up. Two ranks of one training disagree about the labels, and
# the averaged gradient teaches both. There is no error and no warning. A file of the classes (`class_map`) gives them a fixed order.
#
# Versions: timm 1.0.31, torch 2.15.0, torchvision 0.29.2, pillow 13.0.0, numpy 2.4.6, Python 3.11. Readers of tar files sort in the same way.
# Who is hurt: who trains a tower or a probe with timm's data sets and evaluates it with another loader or against zero-shot prompts in sorted
# order (Pets, Caltech-101, Stanford Cars and others mix cases): the accuracy is near chance, or off for some classes only. And who reads
# letters in images or has other classes that differ in case only: the loss stops early, and the letters seem too alike.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir timm==1.0.31 torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6

cat >"$work/order.py" <<'PY'
import os
import string
import sys

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from timm.data import create_dataset
from torch.nn.functional import cross_entropy
from torchvision.datasets import ImageFolder

mode, work = sys.argv[1:3]
SIDE, IMAGES = 8, 20
CATS = "Abyssinian Bengal Birman Bombay British_Shorthair Egyptian_Mau Maine_Coon Persian Ragdoll Russian_Blue Siamese Sphynx"
DOGS = """american_bulldog american_pit_bull_terrier basset_hound beagle boxer chihuahua english_cocker_spaniel english_setter
german_shorthaired great_pyrenees havanese japanese_chin keeshond leonberger miniature_pinscher newfoundland pomeranian pug
saint_bernard samoyed scottish_terrier shiba_inu staffordshire_bull_terrier wheaten_terrier yorkshire_terrier"""
PETS, LETTERS = [*CATS.split(), *DOGS.split()], list(string.ascii_letters)
torch.set_num_threads(1)


def write():
    """Each class is a random pattern, and its images are that pattern with noise."""
    rng = np.random.default_rng(0)
    for folder, names in (("pets", PETS), ("letters", LETTERS)):
        for name in names:
            pattern = rng.uniform(64, 192, size=(SIDE, SIDE, 3))
            os.makedirs(f"{work}/{folder}/{name}")
            for number in range(IMAGES):
                pixels = (pattern + rng.normal(0, 15, pattern.shape)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(f"{work}/{folder}/{name}/{number}.png")
    with open(f"{work}/classes.txt", "w") as file:
        file.write("\n".join(LETTERS))


def loaded(dataset):
    rows = [torch.from_numpy(np.array(image)).float().flatten() / 255 - 0.5 for image, _ in dataset]
    return torch.stack(rows), torch.tensor([label for _, label in dataset])


def trained(rows, labels, classes, ranks=1):
    """A linear probe. With several ranks, each of them has its share of the images, and the gradients are averaged."""
    torch.manual_seed(0)
    probe = torch.nn.Linear(rows.shape[1], classes)
    optimizer = torch.optim.Adam(probe.parameters(), lr=0.01)
    for _ in range(150):
        loss = cross_entropy(probe(rows), labels)
        optimizer.zero_grad()
        loss.backward()
        if ranks > 1:
            for weights in probe.parameters():
                dist.all_reduce(weights.grad)
                weights.grad /= ranks
        optimizer.step()
    return probe, float(loss)


def accuracy(probe, rows, labels):
    return float((probe(rows).argmax(dim=1) == labels).float().mean())


def opened(folder, mapped=False):
    return create_dataset("", f"{work}/{folder}", class_map=f"{work}/classes.txt" if mapped else "")


if mode == "pets":
    write()
    ours, theirs = opened("pets"), ImageFolder(f"{work}/pets")
    numbers = ours.reader.class_to_idx
    same = sum(numbers[name] == theirs.class_to_idx[name] for name in PETS)
    print(f"Pets, first classes: torchvision {theirs.classes[:3]}, timm {sorted(numbers, key=numbers.get)[:3]}")
    print(f"Pets, classes with the same number in both: {same} of {len(PETS)}")
    probe, _ = trained(*loaded(ours), len(PETS))
    found = {"timm": accuracy(probe, *loaded(ours)), "torchvision": accuracy(probe, *loaded(theirs))}
    print(f"Pets, a probe trained with timm's labels: accuracy {found['timm']:.0%} by these, {found['torchvision']:.0%} by torchvision's")
    sys.exit(0 if theirs.classes == sorted(PETS) and same == 4 and found["timm"] > 0.98 and found["torchvision"] < 0.15 else 1)

mapped = sys.argv[3] == "mapped"
how = "with a class map" if mapped else "as it is"
if mode == "train":
    dataset = opened("letters", mapped)
    probe, _ = trained(*loaded(dataset), len(LETTERS))
    found = accuracy(probe, *loaded(dataset))
    torch.save([probe.state_dict(), dataset.reader.class_to_idx], f"{work}/probe.pt")
    print(f"Letters {how}, trained in one process: accuracy {found:.0%}")
    sys.exit(0 if found > 0.98 else 1)
if mode == "evaluate":
    dataset = opened("letters", mapped)
    weights, before = torch.load(f"{work}/probe.pt")
    probe = torch.nn.Linear(3 * SIDE * SIDE, len(LETTERS))
    probe.load_state_dict(weights)
    found = accuracy(probe, *loaded(dataset))
    same = sum(dataset.reader.class_to_idx[name] == before[name] for name in LETTERS)
    print(f"Letters {how}, the probe in the next process: accuracy {found:.0%}; {same} of {len(LETTERS)} classes kept their number")
    sys.exit(0 if (found > 0.98 and same == 52 if mapped else found < 0.75 and abs(found - same / 52) < 0.02) else 1)

dist.init_process_group("gloo", init_method=f"file://{work}/meeting-{sys.argv[3]}", rank=int(os.environ["RANK"]), world_size=2)
rank = dist.get_rank()
rows, labels = loaded(opened("letters", mapped))
share = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[rank::2]
probe, loss = trained(rows[share], labels[share], len(LETTERS), ranks=2)
everywhere = [torch.empty_like(labels) for _ in range(2)]
dist.all_gather(everywhere, labels)
shared = float((everywhere[0] == everywhere[1]).float().mean())
found = accuracy(probe, rows, labels)
if rank == 0:
    print(f"Letters {how}, trained on two ranks: accuracy {found:.0%}, loss {loss:.2f}; the ranks agree on {shared:.0%} of the labels")
dist.destroy_process_group()
sys.exit(0 if (found > 0.98 and shared == 1 if mapped else found < 0.9 and shared < 0.75) else 1)
PY

# Python draws the hash seed when a process starts; it is set here so that the figures can be repeated.
run() {
    PYTHONHASHSEED=$1 "$work/venv/bin/python" "$work/order.py" "$2" "$work" "${@:3}" 2>>"$work/log" || {
        status=$?
        tail -20 "$work/log" >&2
        return "$status"
    }
}
run 1 pets
for how in plain mapped; do
    run 1 train "$how"
    run 2 evaluate "$how"
    RANK=1 run 2 ranks "$how" &
    RANK=0 run 1 ranks "$how"
    wait $!
done

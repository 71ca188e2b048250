#!/usr/bin/env bash
# mlx-data gives all its prefetch threads the same random numbers: they crop and flip alike, and in the next epoch again.
#
# Guess: `prefetch(8, 8)` only makes a stream faster, and puts it into another order, as documented. Random crops and flips are
# independent of each other: an image seldom has the crop of another one, and has other crops in the next epoch.
#
# What happens: each thread starts with a copy of the one random generator. The first crop of every thread is the same, and so are the
# second ones and the following ones; with `batch` before `prefetch`, as in the documentation, whole batches have the same list of crops
# and flips. A new stream has new threads, which start from the same copy: each epoch repeats the crops of the first, with one thread the
# same crop of the same image. `set_state` with another seed moves all threads alike. Without prefetching, all is as guessed.
#
# Versions: mlx-data 0.1.0, pillow 13.0.0, numpy 2.4.6, Python 3.11.
# Who is hurt: users who train a tower or a probe with augmented images: the number of different crops is that of one thread in one epoch,
# whatever the size of the data set, and all ranks share them too. A contrastive loss sees the same borders in many images at once.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir mlx-data==0.1.0 pillow==13.0.0 numpy==2.4.6

cat >"$work/crops.py" <<'PY'
import io
import sys

import mlx.data as dx
import numpy as np
from PIL import Image

IMAGES, SIZE, CROP, BATCH = 512, 256, 64, 16

# Each pixel holds its row and its column, so that a crop shows where it is from and whether it was flipped.
rows, columns = np.mgrid[:SIZE, :SIZE]
file = io.BytesIO()
Image.fromarray(np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)).save(file, "PNG")
png = np.frombuffer(bytearray(file.getvalue()), np.uint8)


def augmented():
    """The stream of one epoch."""
    samples = [{"image": png, "number": number} for number in range(IMAGES)]
    stream = dx.buffer_from_vector(samples).to_stream().load_image("image", from_memory=True)
    return stream.image_random_crop("image", CROP, CROP).image_random_h_flip("image", 0.5)


def origin(image):
    """Row and column of the crop, and whether it was flipped."""
    return int(image[0, 0, 0]), int(image[0, :, 1].min()), bool(image[0, 0, 1] > image[0, -1, 1])


def epoch(threads):
    """The crop of each image."""
    stream = augmented()
    if threads:
        stream = stream.prefetch(2 * threads, threads)
    crops = {int(sample["number"]): origin(np.array(sample["image"])) for sample in stream}
    return [crops[number] for number in range(IMAGES)]


dx.core.set_state(7)
first, second = epoch(0), epoch(0)
different, repeated = len(set(first)), np.mean([one == two for one, two in zip(first, second)])
print(f"without prefetching: {different} different crops of {IMAGES} images, {repeated:.0%} again in the next epoch")
as_expected = different > 0.95 * IMAGES and repeated < 0.05

dx.core.set_state(7)
sequence = epoch(1)
again = epoch(1)
repeated = np.mean([one == two for one, two in zip(sequence, again)])
print(f"1 thread: {len(set(sequence))} different crops of {IMAGES} images, {repeated:.0%} again in the next epoch")
as_expected &= sequence == again == first

for threads, limit in ((2, 0.95), (8, 0.6)):
    crops, following = epoch(threads), epoch(threads)
    different, both = len(set(crops)), len(set(crops + following))
    most = max(sequence.index(crop) for crop in crops) + 1
    print(f"{threads} threads: {different} different crops of {IMAGES} images, {both} of {2 * IMAGES} in two epochs")
    # What is seen is the start of the one sequence that all threads have.
    as_expected &= max(different, both) < limit * IMAGES and set(crops) == set(sequence[:most])

lists = [
    tuple(origin(image) for image in np.array(batch["image"]))
    for _ in range(2)
    for batch in augmented().batch(BATCH).prefetch(16, 8)
]
print(f"8 threads, batch before prefetch: {len(set(lists))} different lists of crops in {len(lists)} batches of two epochs")
whole = [sequence[start : start + BATCH] for start in range(0, IMAGES, BATCH)]
as_expected &= len(set(lists)) <= len(lists) // 2 and all(list(crops) in whole for crops in lists if len(crops) == BATCH)

dx.core.set_state(8)
other = epoch(1)
shared = len(set(epoch(8)) - set(other))
print(f"another seed: {len(set(other) & set(sequence))} crops of the first seed; 8 threads have {shared} crops that 1 thread has not")
as_expected &= len(set(other) & set(sequence)) < 0.05 * IMAGES and shared == 0
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/crops.py"

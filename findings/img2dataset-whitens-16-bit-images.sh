#!/usr/bin/env bash
# img2dataset stores 16-bit images as white ones and counts them as a success.
#
# Guess: a PNG or TIFF with 16 bits per channel, which browsers show like its 8-bit twin, becomes the same JPEG as the twin. If
# img2dataset could not handle it, the sample would be counted as one that failed to resize.
#
# What happens: the image is decoded with its 16 bits, is resized, and goes to the JPEG encoder, which clips all above 255. What is
# left is plain white, for color, gray and TIFF. With an alpha channel, it is almost white: the 16-bit alpha is divided by 255.
# The status of the sample is "success", with its caption, and with the right width and height.
#
# Versions: img2dataset 1.47.0, opencv-python-headless 4.14.0.94, numpy 2.4.6, Python 3.11 (3.12 at most).
# Who is hurt: users who train or evaluate on what they download: scans, renderings, medical, satellite and camera images are often
# of 16 bits. CLIP sees "a white image" with a true caption. A filter by similarity throws the good images out, and a
# deduplication by pixels or features takes them all for one image.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir \
    img2dataset==1.47.0 opencv-python-headless==4.14.0.94 albumentations==1.4.24 numpy==2.4.6 pandas==2.3.3 pyarrow==26.0.1

cat >"$work/fetch.py" <<'PY'
import functools
import http.server
import json
import os
import sys
import tarfile
import threading

import cv2
import numpy
from img2dataset import download


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def main(work):
    os.makedirs(f"{work}/web")
    ramp = numpy.tile(numpy.linspace(0, 1, 64), (64, 1))
    color = numpy.stack([ramp, ramp.T, 1 - ramp], -1)
    opaque = numpy.dstack([color, numpy.ones((64, 64))])
    names = []
    for kind, image in (("color.png", color), ("gray.png", ramp), ("alpha.png", opaque), ("color.tiff", color)):
        for bits, dtype in ((8, numpy.uint8), (16, numpy.uint16)):
            names.append(f"{bits}-bit-{kind}")
            cv2.imwrite(f"{work}/web/{names[-1]}", numpy.rint(image * (2**bits - 1)).astype(dtype))
    handler = functools.partial(Quiet, directory=f"{work}/web")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(f"{work}/list.csv", "w") as listed:
        listed.write("url,caption\n")
        listed.writelines(f"http://127.0.0.1:{server.server_port}/{name},{name}\n" for name in names)
    download(
        url_list=f"{work}/list.csv",
        input_format="csv",
        caption_col="caption",
        output_folder=f"{work}/shards",
        output_format="webdataset",
        image_size=32,
        resize_mode="keep_ratio",
        processes_count=1,
        thread_count=1,
    )
    as_expected, means = True, {}
    with tarfile.open(f"{work}/shards/00000.tar") as shard:
        files = {entry.name: shard.extractfile(entry).read() for entry in shard}
    for name in sorted(name for name in files if name.endswith(".json")):
        sample = json.loads(files[name])
        image = cv2.imdecode(numpy.frombuffer(files[name[:-4] + "jpg"], numpy.uint8), cv2.IMREAD_COLOR)
        means[sample["caption"]] = image.mean()
        as_expected &= sample["status"] == "success"
        as_expected &= image.mean() > 240 if sample["caption"].startswith("16") else 120 < image.mean() < 135
    for caption in names:
        print(f"{caption}: success, mean of the stored JPEG: {means[caption]:.1f}", file=sys.__stdout__)
    return 0 if as_expected and len(means) == 8 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
PY
export NO_ALBUMENTATIONS_UPDATE=1
"$work/venv/bin/python" "$work/fetch.py" "$work" 2>"$work/log" >"$work/out" || {
    status=$?
    grep 'stored JPEG' "$work/out" || true
    tail -20 "$work/log" >&2
    exit "$status"
}
grep 'stored JPEG' "$work/out"

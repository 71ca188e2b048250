"""Classifies the images of a directory or of a Parquet table with Ray Data, one row each, on several workers.

    python examples/ray_classify.py --bundle shop.clipn --images photos --output rows
    python examples/ray_classify.py --bundle shop.clipn --images table.parquet --output rows

A worker that dies is started again, and Ray computes its batches again: every image has one row.
"""

from __future__ import annotations

import argparse
import os
import pathlib

import pyarrow
import ray

import clipn


class Classify:
    """An actor: opens the bundle once, and classifies batches of images."""

    def __init__(self, bundle: str, threads: int) -> None:
        self.detector = clipn.Detector.open(bundle)
        self.threads = threads

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        images = [value.as_py() for value in batch["bytes"]]
        rows = self.detector.detect(images, errors="return", workers=self.threads).to_arrow()
        return rows.set_column(rows.schema.get_field_index("path"), "path", batch["path"].cast(pyarrow.string()))


def read_images(source: str) -> ray.data.Dataset:
    """Returns a data set with the columns ``path`` and ``bytes``."""
    if source.endswith(".parquet"):
        table = ray.data.read_parquet(source)

        def columns(batch: pyarrow.Table) -> pyarrow.Table:
            # As `datasets` writes them: a struct of bytes and path. A table of paths has no bytes.
            images = batch["image"].to_pylist()
            content = [image["bytes"] or pathlib.Path(image["path"]).read_bytes() for image in images]
            return pyarrow.table({"path": [image["path"] for image in images], "bytes": content})

        return table.map_batches(columns, batch_format="pyarrow")
    return ray.data.read_binary_files(source, include_paths=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", required=True, help="bundle with its image tower")
    parser.add_argument("--images", required=True, help="directory of images, or a .parquet table with a column image")
    parser.add_argument("--output", required=True, help="directory of the rows, in Parquet")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="threads of a worker")
    args = parser.parse_args()
    if "RAY_ADDRESS" not in os.environ:
        # A cluster on this machine, with a CPU for the tasks that read and write besides those of the workers.
        ray.init(num_cpus=max(os.cpu_count() or 1, args.workers * args.threads + 1))
    rows = read_images(args.images).map_batches(
        Classify,
        fn_constructor_args=(os.path.abspath(args.bundle), args.threads),
        concurrency=args.workers,
        num_cpus=args.threads,
        batch_size=64,
        batch_format="pyarrow",
        max_restarts=-1,
        max_task_retries=-1,
    )
    rows.write_parquet(os.path.abspath(args.output))
    print(ray.data.read_parquet(args.output).count(), "rows in", args.output)


if __name__ == "__main__":
    main()

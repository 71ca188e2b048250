"""The notebook, and the example with Ray."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

import numpy as np
import pytest
from PIL import Image

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples"


def test_the_notebook_runs():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "outputs are not committed"
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds


def test_ray_survives_a_killed_worker(bundle_path, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(2)
    (tmp_path / "photos").mkdir()
    for index in range(1500):
        Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / f"photos/{index:04}.png")
    mark = f"CLIPN_TEST_MARK={uuid.uuid4()}"
    child = subprocess.Popen(
        [sys.executable, EXAMPLES / "ray_classify.py", "--bundle", bundle_path, "--images", tmp_path / "photos", "--output", tmp_path / "rows"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **dict([mark.split("=")])},
    )
    killed = 0
    try:
        deadline = time.monotonic() + 120
        while child.poll() is None and not killed and time.monotonic() < deadline:
            time.sleep(0.5)
            for process in workers(mark)[:1]:
                time.sleep(1)
                os.kill(process, signal.SIGKILL)
                killed = process
        out, _ = child.communicate(timeout=240)
    finally:
        child.terminate()
    assert child.returncode == 0, out[-3000:]
    assert killed, "no worker was found"
    rows = pandas.read_parquet(tmp_path / "rows")
    assert len(rows) == 1500 and rows["path"].nunique() == 1500 and rows["error"].isna().all()


def test_ray_reads_tables_of_images(bundle_path, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    datasets = pytest.importorskip("datasets")
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(3)
    paths = []
    for index in range(40):
        path = tmp_path / f"{index:02}.png"
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    # The content of the first half is in the table, of the others only the path.
    images = [{"path": path, "bytes": pathlib.Path(path).read_bytes() if index < 20 else None} for index, path in enumerate(paths)]
    table = datasets.Dataset.from_dict({"image": images}, features=datasets.Features({"image": datasets.Image()}))
    table.to_parquet(tmp_path / "table.parquet")
    subprocess.run(
        [sys.executable, EXAMPLES / "ray_classify.py", "--bundle", bundle_path, "--images", tmp_path / "table.parquet",
         "--output", tmp_path / "rows"],
        check=True, timeout=240,
    )
    rows = pandas.read_parquet(tmp_path / "rows")
    rows["name"] = rows["path"].map(lambda path: pathlib.Path(path).name)
    assert sorted(rows["name"]) == [pathlib.Path(path).name for path in paths]
    assert rows["error"].isna().all()
    expected = subprocess.run(
        [sys.executable, "-c", "import clipn, sys; d = clipn.Detector.open(sys.argv[1]); "
         "print(*[r.score for r in d.detect(sys.argv[2:])])", bundle_path, *paths],
        check=True, capture_output=True, text=True,
    )
    scores = rows.sort_values("name")["score"].to_list()
    assert scores == [float(score) for score in expected.stdout.split()]


def workers(mark):
    """Processes that run the actor, with ``mark`` in their environment."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            is_actor = (entry / "cmdline").read_bytes().startswith(b"ray::MapWorker")
            if is_actor and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found

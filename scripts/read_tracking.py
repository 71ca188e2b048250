"""Reads the files of `clipn eval --tracking` with the packages of their trackers, and compares every metric.

    python3 -m venv venv && venv/bin/pip install tensorboard==2.21.0 mlflow-skinny==3.17.2 wandb==0.31.0
    clipn eval … --tracking tensorboard=tracked/tb --tracking mlflow=tracked/mlruns --tracking wandb=tracked \
        --output results
    venv/bin/python scripts/read_tracking.py results/results.json tracked/tb tracked/mlruns tracked

TensorBoard's scalars are f32, so they are compared to 1e-6; MLflow's and W&B's are equal. W&B's package writes offline runs
but has no reader in Python: the frames are read here, and their contents by its protobuf messages.
"""

import json
import os
import pathlib
import sys
import zlib

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"

from mlflow.tracking import MlflowClient  # noqa: E402
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from wandb.proto import wandb_internal_pb2  # noqa: E402

BLOCK, HEADER = 32768, 7


def expected(results):
    metrics = {"accuracy": results["accuracy"]}
    names = ["auroc", "fpr95", "aupr_in", "aupr_out", "aupr_in_trapezoid", "aupr_out_trapezoid", "aurc"]
    for r in results["id_results"]:
        metrics[f"{r['score']}/{results['id']['name']}/aurc"] = r["aurc"]
    for r in results["results"]:
        metrics |= {f"{r['score']}/{r['ood']}/{name}": r[name] for name in names}
    for a in results["averages"]:
        kind = "mean" + (f"_{a['kind']}" if a["kind"] else "")
        metrics |= {f"{a['score']}/{kind}/{name}": a[name] for name in names}
    return metrics


def tensorboard(directory):
    (run,) = pathlib.Path(directory).iterdir()
    events = EventAccumulator(str(run)).Reload()
    return {tag.removeprefix("eval/"): events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}


def mlflow(directory):
    client = MlflowClient(f"file://{pathlib.Path(directory).absolute()}")
    (experiment,) = client.search_experiments(filter_string="name = 'clipn eval'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["clipn"], run.info
    print("mlflow:", run.info.run_name, len(run.data.params), "parameters")
    return run.data.metrics


def frames(data):
    assert data[:7] == b":W&B\xe1\xbe\x00", data[:7]
    position, record = 7, b""
    while position < len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        crc, length, kind = data[position : position + 4], data[position + 4 : position + 6], data[position + 6]
        part = data[position + HEADER : position + HEADER + int.from_bytes(length, "little")]
        assert zlib.crc32(bytes([kind]) + part) == int.from_bytes(crc, "little")
        record += part
        if kind in (1, 4):
            yield record
            record = b""
        position += HEADER + len(part)


def wandb(directory):
    (path,) = pathlib.Path(directory).glob("wandb/offline-run-*/run-*.wandb")
    metrics = {}
    for frame in frames(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(frame)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            assert config["clipn"] and record.run.run_id in path.name
            print("wandb:", record.run.display_name, len(config), "settings")
        if kind == "history":
            metrics = {item.key: json.loads(item.value_json) for item in record.history.item}
    return {name: value for name, value in metrics.items() if not name.startswith("_")}


def main():
    results = json.loads(pathlib.Path(sys.argv[1]).read_text())
    wanted = expected(results)
    for name, read, tolerance in [("tensorboard", tensorboard, 1e-6), ("mlflow", mlflow, 0), ("wandb", wandb, 0)]:
        found = read(sys.argv[2 + ["tensorboard", "mlflow", "wandb"].index(name)])
        assert found.keys() == wanted.keys(), (name, found.keys() ^ wanted.keys())
        worst = max(abs(found[key] - value) for key, value in wanted.items())
        assert worst <= tolerance, (name, worst)
        print(f"{name}: {len(found)} metrics, largest difference {worst:.1e}")


if __name__ == "__main__":
    main()

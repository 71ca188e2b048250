#!/usr/bin/env bash
# PyTorch's converter of distributed checkpoints can write a file with the rows of one rank only.
#
# Guess: `dcp_to_torch_save` (`python -m torch.distributed.checkpoint.format_utils dcp_to_torch`) makes one complete file of a
# directory that `torch.distributed.checkpoint.save` wrote, or fails. All of its data are in the directory.
#
# What happens: after `save(..., use_collectives=False)`, where each rank writes metadata of its own (`__0.metadata`, …), the
# converter logs that there is no `.metadata`, reads that of rank 0, and succeeds. Tensors have their full shape, but only the rows
# of rank 0: the others are whatever was in memory.
#
# Versions: torch 2.15.0 with gloo on two processes, Python 3.11.
# Who is hurt: users who convert a checkpoint of FSDP for inference. The file loads into the model, which has all its names and
# shapes; half of every weight is noise, or zeros.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir torch==2.15.0 numpy==2.4.6

cat >"$work/two_ranks.py" <<'PY'
import os
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

WHOLE = torch.arange(1, 65, dtype=torch.float32).reshape(8, 8)


def save(rank, world, work):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29571")
    dist.init_process_group("gloo", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    state = {"weight": distribute_tensor(WHOLE, mesh, [Shard(0)])}
    dcp.save(state, checkpoint_id=f"{work}/coordinated")
    dcp.save(state, checkpoint_id=f"{work}/each-rank", use_collectives=False)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    work = sys.argv[1]
    mp.spawn(save, args=(2, work), nprocs=2)
    as_guessed = True
    for name in ("coordinated", "each-rank"):
        files = " ".join(sorted(os.listdir(f"{work}/{name}")))
        dcp_to_torch_save(f"{work}/{name}", f"{work}/{name}.pt")
        weight = torch.load(f"{work}/{name}.pt", weights_only=True)["weight"]
        right = [bool(torch.equal(a, b)) for a, b in zip(weight, WHOLE)]
        print(f"{name}: {files}")
        print(f"  converted without an error: shape {tuple(weight.shape)}, {sum(right)} of 8 rows are right")
        expected = [True] * 8 if name == "coordinated" else [True] * 4 + [False] * 4
        as_guessed &= right == expected and tuple(weight.shape) == (8, 8)
    sys.exit(0 if as_guessed else 1)
PY
"$work/venv/bin/python" "$work/two_ranks.py" "$work" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}
grep -m1 -i 'falling back' "$work/log" || true

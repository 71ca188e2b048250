#!/usr/bin/env bash
# Kills a command at each of its system calls that change what is on disk, starts it again, and compares
# the end with that of an undisturbed run. The suite does the same with the operations of the program
# (crates/clipn-cli/tests/it/crash_points.rs); this takes any build, and calls that no test knows of.
#
# usage: scripts/crash_points.sh DIR COMMAND...
#
# The command runs in a copy of DIR, `out` in it is what is compared, and it must write nowhere else:
#   scripts/crash_points.sh work clipn classify --classes "a, b" --resume --output out/rows.jsonl photos
#
# CALLS sets the system calls, MAX the number of points of each [default: 40].
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,13p' "$0" >&2
    exit 2
fi
source=$1
shift
calls=${CALLS:-write,fsync,rename,renameat2,unlink,unlinkat,mkdir,symlink,ftruncate,openat}
max=${MAX:-40}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fresh() {
    rm -rf "${work:?}/$1"
    cp -r "$source" "$work/$1"
    mkdir -p "$work/$1/out"
}

fresh whole
(cd "$work/whole" && "$@" >/dev/null)
failed=0
for call in ${calls//,/ }; do
    points=0
    for ((point = 1; point <= max; point++)); do
        fresh killed
        # The shell reports a killed child, which is what is wanted.
        if { (cd "$work/killed" && strace -f -qq -o /dev/null -e "trace=$call" \
            -e "inject=$call:signal=SIGKILL:when=$point" "$@" >/dev/null 2>&1); } 2>/dev/null; then
            break
        fi
        points=$point
        if ! (cd "$work/killed" && "$@" >/dev/null 2>"$work/error"); then
            echo "$call $point: the command fails when it is started again:"
            cat "$work/error"
            failed=1
        elif ! diff -r "$work/whole/out" "$work/killed/out" >"$work/error" 2>&1; then
            echo "$call $point: the output differs:"
            head -5 "$work/error"
            failed=1
        fi
    done
    echo "$call: $points points"
done
exit $failed

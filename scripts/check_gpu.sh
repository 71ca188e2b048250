#!/usr/bin/env bash
# Checks and measures clipn on a GPU, in under six minutes on an H100, and prints tables in Markdown:
#
#     scripts/check_gpu.sh [DEVICE] [CLIPN]
#
# DEVICE is that of --device [default: cuda:0], CLIPN a program that was built with `--features gpu,cuda`
# [default: target/release/clipn]. The figures of the small models are checked with cargo, unless SKIP_TESTS is
# set. Speed is measured unless SKIP_BENCH is set. TINY_IMAGENET_OOD names the data root of that benchmark, and
# WEIGHTS the weights to evaluate on it.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda:0}
clipn=${2:-target/release/clipn}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

row() { printf '| %s | %s |\n' "$1" "$2"; }

"$clipn" devices
printf '\n| check on %s | result |\n|---|---|\n' "$device"

# Features, gradients and AdamW against the published figures, on the GPU itself.
if [ -z "${SKIP_TESTS:-}" ]; then
    case $device in cuda*) filter=cuda ;; *) filter=gpu ;; esac
    if cargo test -p clipn-gpu --features gpu,cuda --locked --test it -- --nocapture "$filter" >"$work/tests" 2>&1; then
        row "features, gradients and AdamW of the small models" \
            "$(grep -o '[0-9]* passed' "$work/tests" | tail -1), $(grep -c '^skipped' "$work/tests" || true) skipped"
    else
        row "features, gradients and AdamW of the small models" "FAILED: $(grep -m1 panicked "$work/tests")"
    fi
fi

# Training: the losses of 50 steps, on the CPU and on the device, from the same data and seed.
train() {
    "$clipn" train --quiet --objective clip --model "$work/small.json" --train-data "$work/captions.tsv" \
        --batch-size 8 --epochs 50 --lr 1e-3 --logs "$work/logs" --name "$1" --device "$2" >/dev/null
}
python3 - "$work" <<'PYTHON'
import json, pathlib, random, sys
work = pathlib.Path(sys.argv[1])
random.seed(2023)
rows = ["filepath\ttitle"]
for index in range(8):
    pixels = bytes(random.randrange(256) for _ in range(3 * 32 * 32))
    (work / f"{index}.ppm").write_bytes(b"P6 32 32 255\n" + pixels)
    rows.append(f"{index}.ppm\tan image with the number {index}")
(work / "captions.tsv").write_text("\n".join(rows) + "\n")
vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8}
text = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}
(work / "small.json").write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}))
PYTHON
if train cpu cpu && train gpu "$device"; then
    row "50 training steps: largest relative difference of the losses from the CPU's" "$(python3 - "$work" <<'PYTHON'
import json, pathlib, sys
def losses(name):
    lines = (pathlib.Path(sys.argv[1]) / "logs" / name / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["losses"]["total"] for line in lines]
cpu, gpu = losses("cpu"), losses("gpu")
assert len(cpu) == len(gpu) >= 50
print(f"{max(abs(g / c - 1) for c, g in zip(cpu, gpu)):.1e}")
PYTHON
)"
else
    row "50 training steps" FAILED
fi

# The benchmark of the documentation, on the CPU and in every precision.
if [ -n "${TINY_IMAGENET_OOD:-}" ] && [ -n "${WEIGHTS:-}" ]; then
    for run in "cpu f32" "$device f32" "$device f16" "$device bf16"; do
        read -r where precision <<<"$run"
        seconds=$SECONDS
        if "$clipn" eval --quiet --benchmark tiny-imagenet-ood --data-root "$TINY_IMAGENET_OOD" --pretrained "$WEIGHTS" \
            --device "$where" --precision "$precision" --format csv >"$work/$where-$precision.csv" 2>"$work/error"; then
            row "tiny-imagenet-ood on $where in $precision" "$((SECONDS - seconds)) s"
        else
            row "tiny-imagenet-ood on $where in $precision" "$(head -1 "$work/error")"
        fi
    done
    for file in "$work"/*.csv; do printf '\n%s\n' "$(basename "$file" .csv)" && cat "$file"; done
fi

if [ -z "${SKIP_BENCH:-}" ]; then
    precisions=$("$clipn" devices --format csv | grep "^$device," | grep -o 'f32\|bf16\|f16' | sort -u)
    for precision in $precisions; do
        for batch in 256 1024; do
            printf '\n%s, batches of %s\n' "$precision" "$batch"
            "$clipn" bench --quiet image-b32 image-b16 --quick --device "$device" --precision "$precision" --batch-size "$batch"
        done
    done
fi

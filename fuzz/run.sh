#!/usr/bin/env bash
# Fuzzes the targets one after another, seeded with the test fixtures: `fuzz/run.sh SECONDS [TARGET…]`. Prints the
# executions, the maximum resident set, the peak memory of a reader, and the findings. Requires Rust (any channel) and a
# C++ compiler. FUZZ_CORPUS and FUZZ_PROGRAMS set other directories for the corpora and for prebuilt programs.
set -euo pipefail

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET…]}
shift
root=$(cd "$(dirname "$0")/.." && pwd)
corpora=$(realpath -m "${FUZZ_CORPUS:-$root/fuzz/corpus}")
fixtures=$root/crates/clipn-testing/fixtures
all=(safetensors zip pickle torchscript distributed configs image jpeg shard names definitions tables tokenizer hub bundle)
targets=("${@:-${all[@]}}")

# Prints the seed files of a target.
seeds() {
    case $1 in
        safetensors) echo "$fixtures"/{metrics,scores,training,models/*}/*.safetensors ;;
        zip) echo "$fixtures"/checkpoint/{formats_zip*,openai_style_jit,plain_clip,with_namespace}.pt ;;
        pickle) echo "$fixtures"/checkpoint/*.pkl "$fixtures"/checkpoint/formats_legacy*.pt ;;
        torchscript) echo "$fixtures"/checkpoint/*.pkl ;;
        distributed) distributed ;;
        configs) echo "$root"/crates/clipn-model/assets/model_configs/*.json "$fixtures"/{models,openai_resnet}/{,*/}*.json ;;
        image) echo "$fixtures"/image/*.{png,gif,bmp,tif,webp,pbm,pgm,ppm,qoi} ;;
        jpeg) echo "$fixtures"/image/*.jpg ;;
        shard) shards ;;
        names) echo "$root"/crates/clipn-text/assets/{classes,templates}/* "$fixtures"/tokenizer/*.json ;;
        definitions) echo "$root"/crates/clipn-data/assets/benchmarks/*.toml "$root"/fuzz/seeds/definitions/* ;;
        *) echo "$root"/fuzz/seeds/"$1"/* ;;
    esac
}

# Packs the metadata and the chunks of all ranks of each fixture, each file after its length.
distributed() {
    local directory=$corpora/generated fixture file size
    mkdir -p "$directory"
    for fixture in "$fixtures"/cases/weights/distributed/{fsdp2,grid}; do
        for file in "$fixture"/.metadata "$fixture"/*.distcp; do
            size=$(printf '%08x' "$(wc -c <"$file")")
            printf '%b' "\\x${size:6:2}\\x${size:4:2}\\x${size:2:2}\\x${size:0:2}"
            cat "$file"
        done >"$directory/${fixture##*/}.distributed"
    done
    echo "$directory"/*.distributed
}

# Creates shards of images and captions in each supported format, if its tool is installed.
shards() {
    local directory=$corpora/generated
    mkdir -p "$directory"
    cp "$fixtures"/image/420.jpg "$directory/a.jpg"
    cp "$fixtures"/image/palette2.png "$directory/b.png"
    echo 'a photo of a goldfish' >"$directory/a.txt"
    echo '{"caption": "a school bus"}' >"$directory/b.json"
    echo 7 >"$directory/b.cls"
    for format in gnu pax ustar; do
        tar --format="$format" -C "$directory" -cf "$directory/$format.tar" a.jpg a.txt b.png b.json b.cls
    done
    gzip -kf "$directory/gnu.tar"
    if command -v zstd >/dev/null; then zstd -qf "$directory/gnu.tar"; fi
    echo "$directory"/*.tar*
}

# Builds the targets with the coverage instrumentation that libFuzzer uses, as cargo-fuzz does.
build() {
    local pass=-Cllvm-args=-sanitizer-coverage
    RUSTFLAGS="-Cpasses=sancov-module $pass-level=4 $pass-inline-8bit-counters $pass-pc-table $pass-trace-compares \
        --cfg fuzzing -Cdebug-assertions -Coverflow-checks=on -Ccodegen-units=1" \
        cargo build --manifest-path "$root/fuzz/Cargo.toml" --release --target "$(rustc --print host-tuple)" \
        --target-dir "$1" --bins
}

if [[ -z ${FUZZ_PROGRAMS:-} ]]; then
    build "$root/fuzz/target"
    FUZZ_PROGRAMS=$root/fuzz/target/$(rustc --print host-tuple)/release
fi

printf '%-12s %8s %12s %8s %10s %12s  %s\n' target seconds executions per-sec 'RSS (MB)' 'peak (MB)' findings
found=0
for target in "${targets[@]}"; do
    corpus=$corpora/$target
    artifacts=$corpora/artifacts/$target/
    mkdir -p "$corpus" "$artifacts"
    for seed in $(seeds "$target"); do
        if [[ -f $seed && $(wc -c <"$seed") -le 262144 ]]; then
            cp "$seed" "$corpus/$(cksum <"$seed" | tr ' ' -)-${seed##*/}"
        fi
    done
    log=$corpora/$target.log
    max_length=262144
    # A text is scanned many times.
    if [[ $target == tokenizer ]]; then max_length=2048; fi
    status=0
    "$FUZZ_PROGRAMS/$target" "$corpus" -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=512 \
        -timeout=20 -max_len="$max_length" -print_final_stats=1 -artifact_prefix="$artifacts" >"$log" 2>&1 || status=$?
    final() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    peak=$(sed -n 's/^peak memory: \([0-9]*\) bytes$/\1/p' "$log" | tail -1)
    elapsed=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log" | tail -1)
    verdict=none
    if ((status != 0)); then
        found=1
        verdict="status $status: $(grep -m1 -E 'panicked|ERROR: libFuzzer' "$log" || true), see $log"
    fi
    printf '%-12s %8s %12s %8s %10s %12s  %s\n' "$target" "${elapsed:-?}" "$(final number_of_executed_units)" \
        "$(final average_exec_per_sec)" "$(final peak_rss_mb)" "$((${peak:-0} / 1000000))" "$verdict"
done
exit "$found"

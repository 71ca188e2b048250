#!/usr/bin/env bash
# Fuzzes one target after another, from the files of the tests: `fuzz/run.sh SECONDS [TARGET…]`. Tells executions, the
# largest resident set, the most memory that a reader took, and what was found. Needs Rust, of whatever channel, and a C++
# compiler; FUZZ_CORPUS and FUZZ_PROGRAMS name other folders for the corpora and for programs that are built already.
set -euo pipefail

seconds=${1:?give the seconds that each target gets}
shift
root=$(cd "$(dirname "$0")/.." && pwd)
corpora=$(realpath -m "${FUZZ_CORPUS:-$root/fuzz/corpus}")
fixtures=$root/crates/clipn/tests/fixtures
all=(safetensors zip pickle torchscript configs image jpeg shard names definitions tables tokenizer hub bundle)
targets=("${@:-${all[@]}}")

# The files that a target begins with.
seeds() {
    case $1 in
        safetensors) echo "$fixtures"/{metrics,scores,training,models/*}/*.safetensors ;;
        zip) echo "$fixtures"/checkpoint/{formats_zip*,openai_style_jit,plain_clip,with_namespace}.pt ;;
        pickle) echo "$fixtures"/checkpoint/*.pkl "$fixtures"/checkpoint/formats_legacy*.pt ;;
        torchscript) echo "$fixtures"/checkpoint/*.pkl ;;
        configs) echo "$root"/assets/model_configs/*.json "$fixtures"/{models,openai_resnet}/{,*/}*.json ;;
        image) echo "$fixtures"/image/*.{png,gif,bmp,tif,webp} ;;
        jpeg) echo "$fixtures"/image/*.jpg ;;
        shard) shards ;;
        names) echo "$root"/assets/{classes,templates}/* "$fixtures"/tokenizer/*.json ;;
        definitions) echo "$root"/assets/benchmarks/*.toml "$root"/fuzz/seeds/definitions/* ;;
        *) echo "$root"/fuzz/seeds/"$1"/* ;;
    esac
}

# Shards of pictures and captions, packed in each way that is read where the tool for it is there.
shards() {
    local folder=$corpora/made
    mkdir -p "$folder"
    cp "$fixtures"/image/420.jpg "$folder/a.jpg"
    cp "$fixtures"/image/palette2.png "$folder/b.png"
    echo 'a photo of a goldfish' >"$folder/a.txt"
    echo '{"caption": "a school bus"}' >"$folder/b.json"
    echo 7 >"$folder/b.cls"
    for format in gnu pax ustar; do
        tar --format="$format" -C "$folder" -cf "$folder/$format.tar" a.jpg a.txt b.png b.json b.cls
    done
    gzip -kf "$folder/gnu.tar"
    if command -v zstd >/dev/null; then zstd -qf "$folder/gnu.tar"; fi
    echo "$folder"/*.tar*
}

# Builds the targets with the coverage that libFuzzer looks at, as cargo-fuzz does.
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

printf '%-12s %8s %12s %8s %10s %12s  %s\n' target seconds executions per-sec 'RSS (MB)' 'taken (MB)' found
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
    longest=262144
    # A text is gone over many times.
    if [[ $target == tokenizer ]]; then longest=2048; fi
    status=0
    "$FUZZ_PROGRAMS/$target" "$corpus" -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=512 \
        -timeout=20 -max_len="$longest" -print_final_stats=1 -artifact_prefix="$artifacts" >"$log" 2>&1 || status=$?
    final() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    taken=$(sed -n 's/^taken: \([0-9]*\) bytes$/\1/p' "$log" | tail -1)
    took=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log" | tail -1)
    verdict=nothing
    if ((status != 0)); then
        found=1
        verdict="status $status: $(grep -m1 -E 'panicked|ERROR: libFuzzer' "$log" || true), see $log"
    fi
    printf '%-12s %8s %12s %8s %10s %12s  %s\n' "$target" "${took:-?}" "$(final number_of_executed_units)" \
        "$(final average_exec_per_sec)" "$(final peak_rss_mb)" "$((${taken:-0} / 1000000))" "$verdict"
done
exit "$found"

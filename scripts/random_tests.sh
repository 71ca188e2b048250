#!/usr/bin/env bash
# Runs the random tests of all crates with new seeds for MINUTES minutes (default: 10), and stops at
# the first failure with its seed:
#
#     scripts/random_tests.sh [MINUTES]
#
# `cargo test` alone draws from the fixed seed in .cargo/config.toml. proptest writes a failing case
# to a directory proptest-regressions next to the tests, from which every later run repeats it;
# commit that file with the fix. CLIPN_SIMD selects the SIMD level, as everywhere.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-10}
if ! [[ $minutes =~ ^[0-9]+$ ]]; then
    echo "usage: $0 [MINUTES]" >&2
    exit 2
fi

# Names of the tests in the `proptest!` blocks of some files.
random_tests() {
    awk '
        FNR == 1 { inside = 0 }
        match($0, /^ *proptest! *\{/) { inside = 1; end = sprintf("%*s}", index($0, "p") - 1, "") }
        inside && /#\[test\]/ { test = 1 }
        inside && test && match($0, /fn [a-z0-9_]+/) {
            print substr($0, RSTART + 3, RLENGTH - 3)
            test = 0
        }
        $0 == end { inside = 0 }
    ' "$@"
}

mapfile -t files < <(grep -rl --include='*.rs' 'proptest! {' crates)
mapfile -t names < <(random_tests "${files[@]}" | sort -u)
mapfile -t packages < <(printf '%s\n' "${files[@]}" | cut -d/ -f2 | sort -u)
options=()
for package in "${packages[@]}"; do
    options+=(--package "$package")
done

cargo test --quiet "${options[@]}" --lib --bins --tests --no-run
echo "${#names[@]} random tests of ${#packages[@]} crates for $minutes minutes"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
rounds=0
end=$((SECONDS + 60 * minutes))
while ((SECONDS < end)); do
    seed=$(od -An -N8 -tu8 /dev/urandom | tr -d ' ')
    if ! PROPTEST_RNG_SEED=$seed cargo test --quiet "${options[@]}" --lib --bins --tests --no-fail-fast \
        -- "${names[@]}" >"$log" 2>&1; then
        cat "$log"
        echo
        echo "failed with the seed $seed: repeat with PROPTEST_RNG_SEED=$seed cargo test"
        git status --short -- '*proptest-regressions*'
        exit 1
    fi
    rounds=$((rounds + 1))
done
echo "passed with $rounds seeds"

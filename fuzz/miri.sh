#!/usr/bin/env bash
# Runs tests of the kernels that have `unsafe` under Miri, which reports undefined behavior: with the instructions that
# every x86-64 processor has, and with those of AVX2 and FMA. It needs a nightly compiler with the components `miri` and
# `rust-src`, and takes some twenty minutes.
#
# usage: fuzz/miri.sh [TEST...]
set -euo pipefail
cd "$(dirname "$0")/.."

tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
    tests=(kernels::aligned kernels::gemm::transpose kernels::gemm::tests::sides_read
        kernels::int8::gemm::tests::a_damaged)
fi
# Few random cases: Miri interprets. The tree borrows are those that crossbeam, below rayon, is written for; rayon's
# threads outlive the tests, which Miri takes for leaks.
export PROPTEST_CASES=${PROPTEST_CASES:-3}
export MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-tree-borrows"
for features in "" "+avx2,+fma,+f16c,+bmi1,+bmi2,+lzcnt,+popcnt,+movbe"; do
    for test in "${tests[@]}"; do
        echo "== $test ${features:-(no features)}"
        RUSTFLAGS=${features:+-C target-feature=$features} \
            cargo +nightly miri test -p clipn-engine --lib --locked -- "$test"
    done
done

#!/usr/bin/env bash
# The word list of clipn-text, from the database files of WordNet 3.0 in Debian's package `wordnet-base`.
#
#   scripts/wordnet.sh              generates crates/clipn-text/assets/wordnet/wordnet.bin again
#   scripts/wordnet.sh fetch DIR    unpacks the package in DIR, and prints the directory of its database files
#
# Needs apt-get with Debian's or Ubuntu's package lists, dpkg-deb and a network, but no root.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1:3.0-37
sha256=61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752

fetch() {
    mkdir -p "$1"
    local directory package
    directory=$(cd "$1" && pwd)
    # apt-get writes into the working directory. As root it would warn that its sandbox user cannot.
    (cd "$directory" && apt-get -qq -o APT::Sandbox::User=root download "wordnet-base=$version" >&2)
    package=$(echo "$directory"/wordnet-base_*.deb)
    echo "$sha256  $package" | sha256sum --check --quiet >&2
    dpkg-deb --extract "$package" "$directory"
    echo "$directory/usr/share/wordnet"
}

case "${1:-}" in
fetch)
    fetch "${2:?usage: scripts/wordnet.sh fetch DIR}"
    ;;
"")
    temporary=$(mktemp -d)
    trap 'rm -rf "$temporary"' EXIT
    database=$(fetch "$temporary")
    cargo run --quiet --locked -p clipn-testing --bin wordnet -- \
        "$database" crates/clipn-text/assets/wordnet/wordnet.bin
    ;;
*)
    echo "usage: scripts/wordnet.sh [fetch DIR]" >&2
    exit 2
    ;;
esac

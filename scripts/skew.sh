#!/usr/bin/env bash
# Rolls an update through a running system, and back: the program of an older revision beside that
# of this one, on one ledger, one queue, one bucket.
#
#   scripts/skew.sh [REVISION]
#
# REVISION is the version that one updates from: the last tag of which this is a descendant, since
# that is what runs somewhere; before there is any, the commit before this one. $TONEMILL_OLD, a
# program, is taken as it is instead. The old program is built once for each revision, in
# target/skew.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
    echo "skew: $*" >&2
    exit 1
}

if [ -z "${TONEMILL_OLD:-}" ]; then
    wanted=${1:-$(git describe --tags --abbrev=0 HEAD^ 2>/dev/null || echo HEAD^)}
    revision=$(git rev-parse --verify --quiet "$wanted^{commit}") ||
        die "there is no revision $wanted here; in a shallow clone, git fetch --unshallow"
    old=$PWD/target/skew/$revision
    export TONEMILL_OLD=$old/tonemill
    if [ ! -x "$TONEMILL_OLD" ]; then
        echo "skew: building $wanted ($revision)"
        rm -rf "$old"
        mkdir -p "$old/source"
        git archive "$revision" | tar -x -C "$old/source"
        # In a build of its own, which keeps what revisions have in common.
        (cd "$old/source" &&
            CARGO_TARGET_DIR=${TONEMILL_SKEW_TARGET:-$old/../build} \
                cargo build --workspace --bins --locked)
        cp "${TONEMILL_SKEW_TARGET:-$old/../build}/debug/tonemill" "$TONEMILL_OLD"
        rm -r "$old/source"
    fi
fi
[ -x "$TONEMILL_OLD" ] || die "TONEMILL_OLD=$TONEMILL_OLD is no program"
echo "skew: $("$TONEMILL_OLD" --version | head -n 1), then this one"
cargo test --workspace --locked --test system -- --ignored --nocapture --test-threads 1 skew::

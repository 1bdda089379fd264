#!/usr/bin/env bash
# Runs what the books say: every block marked as `sh` in README.md and docs/, in order, each book in a
# shell, a folder and with services of its own. Stops at the first command that fails.
#
#   scripts/docs.sh [BOOK…]
#
# A block after `<!-- not run: WHY -->` is passed over, and counted; what stands between `<!-- run` and
# `-->` is run and not read. Only what a reader would replace is replaced: PASSWORD, ports, and names in
# capitals such as JOB, which stand for variables ($job). A command in a block that is not marked is an
# error: nobody would run it.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# TONEMILL names another program than the one that is built here.
if [ -z "${TONEMILL-}" ]; then
    cargo build --workspace --bins --locked -q
    TONEMILL=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/tonemill
fi
[ $# -gt 0 ] || set -- README.md docs/*.md

root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/media"
ln -s "$(realpath "$TONEMILL")" "$work/bin/tonemill"

# What the books take for granted: a talk, and a film with a German track.
ffmpeg -nostdin -v error -f lavfi -i testsrc2=size=320x180:rate=10 -f lavfi -i sine -t 20 \
    -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac "$work/media/talk.mp4"
ffmpeg -nostdin -v error -f lavfi -i testsrc2=size=64x36:rate=1 -f lavfi -i sine -t 750 \
    -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -metadata:s:a language=deu \
    "$work/media/film.mkv"

# Commands in blocks that are indented, or marked as anything but `sh`.
strays() {
    awk '
        /^ *```./ { fenced = 1; marked = /```sh$/; next }
        /^ *```$/ { fenced = !fenced; marked = 0; next }
        /^ *<!-- run$/ { hidden = 1 }
        /^ *-->$/ { hidden = 0 }
        marked || hidden { next }
        !fenced && !/^    / { next }
        /^ *(sudo|tonemill|make|kubectl|docker|curl) / { printf "%s:%d: %s\n", FILENAME, FNR, $0 }' "$1"
}

# The shell's part of a book, each block after where it is. In a list both are indented.
blocks() {
    awk '
        /^ *<!-- not run: .*-->$/ { skip = 1; next }
        /^ *(<!-- run|```sh)$/ {
            inside = !skip; margin = match($0, /[^ ]/)
            if (inside) printf "at=%s:%d\n", FILENAME, FNR
            next
        }
        /^ *(```|-->)$/ { inside = 0; skip = 0; next }
        inside { print substr($0, margin) }' "$1"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }

# Reads a block's commands; each port of the books becomes a free one.
filled_in() {
    local replace=(-e 's/\bPASSWORD\b/of-the-books-alone/g') name
    for name in JOB DELIVERY WEBHOOK; do replace+=(-e "s/\\b$name\\b/\$${name,,}/g"); done
    replace+=(-e "s/\\b8080\\b/$PORT/g")
    for port in 6379 8443 9000 9464; do replace+=(-e "s/\\b$port\\b/$(free_port)/g"); done
    sed "${replace[@]}"
}

# What is different for a script than for a reader: services run beside it, and nobody types.
cat >"$work/prelude" <<'END'
set -euo pipefail
tonemill() {
    case $1 in
        serve) serve "${@:2}" ;;
        login) command tonemill "$@" --name admin --password-stdin <<<of-the-books-alone ;;
        *)
            # What `&` starts has a shell of its own, which is to end with it.
            if [ "$1" = worker ] && [ $BASHPID -ne $$ ]; then exec tonemill "$@"; fi
            command tonemill "$@"
            ;;
    esac
}
serve() {
    stop
    : >serve.out
    command tonemill serve "$@" >serve.out 2>>serve.log &
    service=$!
    until grep -q 'http' serve.out; do
        kill -0 $service || return 1
        sleep 0.05
    done
}
stop() {
    if [ -z "${service-}" ]; then return 0; fi
    kill -9 $service && wait $service || true
    service=
} 2>/dev/null
ended() {
    local code=$?
    stop
    for beside in $(jobs -p); do kill "$beside" && wait "$beside" || true; done 2>/dev/null
    if [ $code -ne 0 ]; then
        if [ -f serve.log ]; then tail -n 5 serve.log | cut -c 1-300 >&3; fi
        tail -c 2000 said >&3
        echo "docs: what is said at $at does not work" >&3
    fi
    exit $code
}
trap ended EXIT
END

total=0 passed_over=0
for book in "$@"; do
    if strays "$book" | grep . >&2; then
        echo "docs: mark these as sh, after <!-- not run: WHY --> if they cannot be run" >&2
        exit 1
    fi
    blocks "$book" >"$work/blocks"
    count=$(grep -c '^ *```sh$' "$book" || true)
    skipped=$(grep -c '^ *<!-- not run: ' "$book" || true)
    if [ "$count" -eq 0 ]; then
        echo "docs: $book: no blocks"
        continue
    fi
    count=$((count - skipped))
    folder=$work/$(basename "$book" .md)
    cp -r "$work/media" "$folder"
    PORT=$(free_port)
    { cat "$work/prelude" && filled_in <"$work/blocks"; } >"$folder.sh"
    (
        cd "$folder"
        export HOME=$folder PATH=$work/bin:$PATH TONEMILL_LISTEN=127.0.0.1:$PORT
        export TONEMILL_ADMIN_PASSWORD=of-the-books-alone ROOT=$root
        bash "$folder.sh" </dev/null 3>&2 >said 2>&1
    )
    echo "docs: $book: $count blocks run, $skipped not run"
    total=$((total + count)) passed_over=$((passed_over + skipped))
done
[ $total -gt 0 ] || { echo "docs: nothing was run" >&2 && exit 1; }
echo "docs: $total blocks run, $passed_over not run"

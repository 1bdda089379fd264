#!/usr/bin/env bash
# Proves the API with clients that others wrote: schemathesis, tus-js-client, a browser and curl. Each
# has a service of its own. Says one line for each thing that is proven.
#
#   scripts/clients.sh [schemathesis] [tus] [browser] [curl]
#
# Without a word: all of them.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=target/clients
export TONEMILL=$PWD/${CARGO_TARGET_DIR:-target}/debug/tonemill
export NODE_MODULES=$PWD/$out/node/node_modules
work=$(mktemp -d)
service=

stop() {
    if [ -z "$service" ]; then return; fi
    kill -9 "$service" 2>/dev/null || true
    wait "$service" 2>/dev/null || true
    service=
}
trap 'stop; rm -rf "$work"' EXIT

say() { echo "clients: $*"; }
die() {
    say "$*" >&2
    exit 1
}

# start NAME FLAG…: a fresh service; sets url and token.
start() {
    local name=$1
    shift
    TONEMILL_ADMIN_PASSWORD=of-the-clients-alone "$TONEMILL" serve --data "$work/$name" \
        --listen 127.0.0.1:0 "$@" >"$work/$name.out" 2>"$work/$name.log" &
    service=$!
    until url=$(grep -o 'http://.*' "$work/$name.out"); do
        kill -0 $service || { cat "$work/$name.log" >&2 && die "the service does not start"; }
        sleep 0.05
    done
    token=$(curl -sf -u admin:of-the-clients-alone -X POST "$url/login")
}

# api ARGUMENT…: curl as the administrator; the last argument is a path.
api() { curl -sSf -H "Authorization: Bearer $token" "${@:1:$#-1}" "$url${*: -1}"; }

# field NAME: of the JSON on standard input
field() { sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p" | head -n 1; }

# finished JOB: waits for it.
finished() {
    local state
    until state=$(api "/v1/jobs/$1" | field state) && [ "$state" = finished ]; do
        case $state in failed | cancelled) die "job $1 $state" ;; esac
        sleep 0.2
    done
}

# --- files -------------------------------------------------------------------------------------

video=$out/video.mp4
sound=$out/sound.wav
mkdir -p "$out"
if [ ! -f "$video" ]; then
    ffmpeg -nostdin -v error -y -f lavfi -i "testsrc2=size=1280x720:rate=25" \
        -f lavfi -i "anoisesrc=seed=1:amplitude=0.3" -t 20 -c:v libx264 -preset ultrafast \
        -b:v 10M -minrate 10M -pix_fmt yuv420p -c:a aac "$out/new.mp4"
    mv "$out/new.mp4" "$video"
fi
if [ ! -f "$sound" ]; then
    ffmpeg -nostdin -v error -y -f lavfi -i "anoisesrc=seed=1:amplitude=0.3:r=48000" \
        -t 240 -ac 2 "$out/new.wav"
    mv "$out/new.wav" "$sound"
fi
blake3=$(b3sum --no-names "$video")

# --- clients -----------------------------------------------------------------------------------

run_schemathesis() {
    # As many requests as it likes: it is one user.
    start schemathesis --requests 1000000 --access-token 1:00:00
    curl -sSf "$url/openapi.json" >"$work/openapi.json"
    "$out/venv/bin/openapi-spec-validator" "$work/openapi.json" >"$work/validator.out" ||
        { cut -c 1-500 "$work/validator.out" >&2 && die "the description is not valid"; }
    say "openapi-spec-validator: the description is valid OpenAPI"
    TOKEN=$token "$out/venv/bin/schemathesis" --config-file clients/schemathesis/schemathesis.toml \
        run --url "$url" --no-color "$work/openapi.json" >"$out/schemathesis.log" 2>&1 ||
        { cat "$out/schemathesis.log" >&2 && die "schemathesis found something"; }
    say "schemathesis: $(grep -o '[0-9]* generated, .*' "$out/schemathesis.log")"
    stop
}

run_tus() {
    # Long enough for a service to be killed within one request on a fast machine.
    local large=$work/large.mp4
    ffmpeg -nostdin -v error -stream_loop 9 -i "$video" -c copy "$large"
    DATA=$work/tus node clients/tus/uploads.mjs "$large" "$(b3sum --no-names "$large")"
}

run_browser() {
    DATA=$work/browser CHROMIUM=$(command -v chromium) node clients/browser/watch.mjs "$sound"
}

run_curl() {
    start curl
    local job mp3=$work/whole.mp3 size
    job=$(api -F "file=@$video" -F label=form -F tag.title=Form /v1/jobs | field id)
    finished "$job"
    api -o "$mp3" "/v1/jobs/$job/output"
    size=$(stat -c %s "$mp3")
    say "curl -F: a form becomes an MP3 of $size bytes"

    api -r 1000-1999 -o "$work/part" "/v1/jobs/$job/output"
    cmp "$work/part" <(tail -c +1001 "$mp3" | head -c 1000)
    api -r -500 -o "$work/part" "/v1/jobs/$job/output"
    cmp "$work/part" <(tail -c 500 "$mp3")
    say "curl -r: ranges are those of the file"

    # Cut off in the middle, and gone on with.
    api "/v1/jobs/$job/output" 2>/dev/null | head -c 100000 >"$work/resumed.mp3" || true
    local cut
    cut=$(stat -c %s "$work/resumed.mp3")
    [ "$cut" -eq 100000 ] || die "the download was not cut off: it has $cut bytes"
    api -C - -o "$work/resumed.mp3" "/v1/jobs/$job/output"
    cmp "$mp3" "$work/resumed.mp3"
    say "curl -C -: a download that was cut off at $cut bytes goes on there"

    job=$(api -T "$video" -X POST --limit-rate 5M "/v1/jobs?label=slow&end_seconds=1" | field id)
    api "/v1/jobs/$job" | grep -q "\"input_blake3\":\"$blake3\"" || die "the upload is another"
    say "curl -T --limit-rate: a slow upload arrives as it was sent"

    local version
    version=$(api --http2-prior-knowledge -o "$work/http2.json" -w '%{http_version}' \
        -F "file=@$video" -F end_seconds=1 /v1/jobs)
    [ "$version" = 2 ] || die "HTTP/$version"
    grep -q "\"input_blake3\":\"$blake3\"" "$work/http2.json" || die "the upload is another"
    say "curl --http2-prior-knowledge: an upload arrives over HTTP/2"
    stop
}

cargo build --workspace --bins --locked -q
if [ $# -eq 0 ]; then set -- curl tus browser schemathesis; fi
for client in "$@"; do
    case $client in
        schemathesis | tus | browser | curl) "run_$client" ;;
        *) die "unknown client: $client" ;;
    esac
done

#!/usr/bin/env bash
# Makes a small video with moving pictures and a spoken sentence, starts the whole service, uploads
# the video over HTTP, follows its progress, downloads the MP3, and checks it with other programs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=target/demo
video=$out/demo.mp4
mp3=$out/demo.mp3
seconds=8
sentence="Hello! This is Tonemill. It takes the sound out of a video, and writes it to an MP3, \
on every core that your machine has."

mkdir -p "$out"

echo "demo: making $video"
espeak-ng -v en -s 175 -w "$out/speech.wav" "$sentence"
ffmpeg -nostdin -hide_banner -loglevel error -y \
    -f lavfi -i "testsrc2=size=640x360:rate=25" -i "$out/speech.wav" -t $seconds \
    -c:v libx264 -preset veryfast -pix_fmt yuv420p \
    -af apad -c:a aac -b:a 128k -ar 48000 -ac 2 \
    -metadata title="Hello from Tonemill" -metadata artist="eSpeak NG" \
    "$video"

echo "demo: building (about 400 crates: 10 to 20 minutes on 2 cores the first time)"
# As for the tests, so that both take one build; `cargo install` makes a faster program.
cargo build --workspace --bins --locked

# A service of this run alone: its own folder, its own port.
data=$(mktemp -d)
tonemill=${CARGO_TARGET_DIR:-target}/debug/tonemill
export TONEMILL_ADMIN_PASSWORD="demo-$RANDOM-$RANDOM"
"$tonemill" serve --data "$data" --listen 127.0.0.1:0 >"$data/out" 2>"$data/log" &
service=$!
trap 'kill $service 2>/dev/null; wait $service 2>/dev/null; rm -rf "$data"' EXIT

until url=$(grep -o 'http://.*' "$data/out"); do
    kill -0 $service || { cat "$data/log" >&2 && exit 1; }
    sleep 0.05
done
echo "demo: the service runs at $url"

# field NAME: of the JSON on standard input
field() { sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p" | head -n 1; }

token=$(curl -sf -u "admin:$TONEMILL_ADMIN_PASSWORD" -X POST "$url/login")
job=$(curl -sf -H "Authorization: Bearer $token" -F "file=@$video" -F label=demo \
    "$url/v1/jobs" | field id)
echo "demo: uploaded, as job $job"
curl -sfN -H "Authorization: Bearer $token" "$url/v1/jobs/$job/events" |
    sed -nu 's/^data: .*"state":"\([a-z]*\)".*/demo: \1/p'
curl -sf -H "Authorization: Bearer $token" -o "$mp3" "$url/v1/jobs/$job/output"
echo "demo: downloaded"

# The files as another program sees them, so that the demo does not mark its own homework. The length
# is counted after decoding: headers of an MP3 include padding that a player leaves out.
describe() {
    fact() { ffprobe -v error -select_streams a:0 -show_entries "$1" -of default=nw=1:nk=1 "$file"; }
    local file=$1 rate
    rate=$(fact stream=sample_rate)
    samples=$(($(ffmpeg -nostdin -v error -i "$file" -map 0:a:0 -ac 1 -f s16le - | wc -c) / 2))
    echo
    echo "$file"
    printf '  audio   %s, %s Hz, %s channels, %s kbit/s\n' "$(fact stream=codec_name)" "$rate" \
        "$(fact stream=channels)" "$(($(fact stream=bit_rate) / 1000))"
    printf '  length  %s samples, %s s\n' "$samples" \
        "$(awk "BEGIN { printf \"%.3f\", $samples / $rate }")"
    printf '  size    %s bytes\n' "$(fact format=size)"
    printf '  tags    "%s", by %s\n' "$(fact format_tags=title)" "$(fact format_tags=artist)"
}

describe "$video"
of_video=$samples
describe "$mp3"
if [ "$samples" -ne "$of_video" ]; then
    echo "demo: the MP3 is not as long as the video" >&2
    exit 1
fi
mp3val "$mp3" | grep -i error && exit 1
echo
echo "demo: the MP3 is as long as the video, to the sample"
echo "demo: try it yourself: $tonemill serve"

#!/usr/bin/env bash
# Makes a small video with moving pictures and a spoken sentence, converts it with Tonemill, and
# prints what came out.
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

echo "demo: converting it"
cargo run --release --locked -p tonemill -- convert "$video" -o "$mp3" --force

# The files as another program sees them, so that the demo does not mark its own homework. The length
# is counted after decoding: headers of an MP3 include padding that a player leaves out.
describe() {
    fact() { ffprobe -v error -select_streams a:0 -show_entries "$1" -of default=nw=1:nk=1 "$file"; }
    local file=$1 rate samples
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
describe "$mp3"

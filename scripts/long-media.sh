#!/usr/bin/env bash
# Makes the sound of the long test tier: ten minutes and a half of real music (Debian's
# wesnoth-1.16-music) and speech (espeak-ng), in turns of half a minute, as a 48 kHz stereo WAV.
# Usage: scripts/long-media.sh OUT.wav
set -euo pipefail

out=$1
[ -s "$out" ] && exit 0
music=(/usr/share/games/wesnoth/*/data/core/music/*.ogg)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

text="The quick brown fox jumps over the lazy dog. She sells sea shells by the sea shore. \
Peter Piper picked a peck of pickled peppers, and nobody has heard the end of it since."
for turn in $(seq 0 20); do
    part=$work/$(printf %02d "$turn").wav
    if [ $((turn % 5)) -eq 4 ]; then
        espeak-ng -v "en+f$((turn % 4 + 1))" -s 150 -w "$work/speech.wav" "$text $text $text $text"
        input=(-i "$work/speech.wav")
    else
        input=(-ss 20 -i "${music[turn * 2 % ${#music[@]}]}")
    fi
    ffmpeg -nostdin -v quiet -y "${input[@]}" -af apad -t 30 -ac 2 -ar 48000 -c:a pcm_s16le "$part"
    echo "file '$part'" >>"$work/list"
done
mkdir -p "$(dirname "$out")"
ffmpeg -nostdin -v quiet -y -f concat -safe 0 -i "$work/list" -c copy "$work/all.wav"
mv "$work/all.wav" "$out"

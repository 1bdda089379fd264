#!/usr/bin/env bash
# Makes small seeds for the fuzz targets in fuzz/corpus: one file per container and codec with the
# ffmpeg CLI, and the small ones of TONEMILL_MEDIA (default: ../shared/media beside the project) if
# there are any. It makes only what is missing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
media=${TONEMILL_MEDIA:-../../shared/media}
most_made=50000 # bytes
most_taken=200000

seeds=corpus/ffmpeg_input
mkdir -p $seeds corpus/symphonia_input corpus/tag corpus/metadata

# make NAME.EXTENSION OPTIONS…: half a second of a tone with noise, at 16 kHz, and of a tiny picture
# where the container is asked for video.
make() {
    local file=$seeds/made-$1
    shift
    if [ -s "$file" ]; then return; fi
    ffmpeg -nostdin -hide_banner -loglevel error -y -bitexact \
        -f lavfi -i "aevalsrc=0.3*sin(880*t)+0.1*random(0):s=16000:d=0.5" \
        -f lavfi -i "testsrc=size=64x48:rate=8:duration=0.5" \
        -map 0:a -metadata title="Tür 門" -metadata artist="fuzz" "$@" "$file"
    if [ "$(wc -c <"$file")" -gt $most_made ]; then
        echo "seeds: $file is larger than $most_made bytes" >&2
        exit 1
    fi
}

x264=(-map 1:v -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac)
make pcm16.wav
make pcm8.wav -c:a pcm_u8 -ar 8000
make float.wav -c:a pcm_f32le -ar 8000
make adpcm.wav -c:a adpcm_ima_wav
make surround.wav -ar 8000 -af "pan=5.1|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0" -t 0.3
make aac.m4a -c:a aac
make alac.m4a -c:a alac
make video.mp4 "${x264[@]}"
make front.mp4 "${x264[@]}" -movflags +faststart
make fragments.mp4 "${x264[@]}" -movflags +frag_keyframe+empty_moov
make two-tracks.mp4 "${x264[@]}" -map 0:a -metadata:s:a:1 language=deu
make pcm.mov -c:a pcm_s16le -ar 8000
make 3gp.3gp -map 1:v -s 128x96 -c:v h263 -c:a aac
make video.mkv "${x264[@]}"
make flac.mka -c:a flac
make vorbis.webm -map 1:v -c:v libvpx -c:a libvorbis
make opus.webm -c:a libopus
make vorbis.ogg -c:a libvorbis
make flac.ogg -c:a flac
make opus.opus -c:a libopus
make flac.flac
make cbr.mp3 -c:a libmp3lame -b:a 32k
make vbr.mp3 -c:a libmp3lame -q:a 7
make mp2.mp2 -c:a mp2
make cover.mp3 -map 1:v -frames:v 1 -c:v png -c:a libmp3lame -disposition:v attached_pic
make adts.aac -c:a aac
make ac3.ac3 -c:a ac3 -ar 48000
make eac3.mkv -c:a eac3 -ar 48000
make video.ts -map 1:v -c:v mpeg2video -r 25 -c:a mp2
make aac.ts -c:a aac
make video.mpg -map 1:v -c:v mpeg2video -r 25 -c:a mp2
make video.avi -map 1:v -c:v mpeg4 -c:a libmp3lame
make video.flv -map 1:v -c:v flv1 -c:a libmp3lame -ar 22050
make wma.wma -c:a wmav2
make pcm.aiff -ar 8000
make pcm.caf -ar 8000
make alac.caf -c:a alac
make pcm.au -ar 8000
make wavpack.wv -c:a wavpack -ar 8000
make tta.tta -c:a tta -ar 8000

# Files of others, but not those that nothing may read.
if [ -d "$media" ]; then
    find -L "$media/real" "$media/hostile" -maxdepth 1 -type f -size "-${most_taken}c" -size +0 \
        ! -name 'canary_*' ! -name 'MANIFEST.*' -exec cp -n {} $seeds/ \;
else
    echo "seeds: there is no $media; TONEMILL_MEDIA says where media to test against lies"
fi
chmod u+w $seeds/*
cp -n $seeds/* corpus/symphonia_input/

# Text that deceives or breaks off, and the first bytes of pictures.
printf 'T\\u00fcr \xe9\x96\x80 \xe2\x80\xaetxt.exe\xe2\x80\xac \x1b[31m\r\n\t \xef\xbb\xbf\xe2\x81\xa6' \
    >corpus/metadata/text
printf '\xff\xd8\xff\xe0JFIF \x89PNG\r\n\x1a\n GIF89a RIFFxxxxWEBP' >corpus/metadata/pictures
head -c 512 $seeds/made-cbr.mp3 >corpus/tag/head

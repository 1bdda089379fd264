#!/bin/sh
# Builds the FFmpeg of the worker image: Debian's source package, with its security patches, but
# only what the codec lets in. The lists are read from the codec itself, so they cannot drift.
# Nothing in it opens a file or a socket, encodes, decodes pictures or is a program.
#
#   deploy/ffmpeg.sh CODEC PREFIX     as root, on Debian; CODEC is crates/codec/src/decode/ffmpeg.rs
set -eu

codec=$(realpath "$1")
prefix=$2

# names LIST: what the constant LIST of the codec names, a line each.
names() {
    sed -n "/ $1: &str = /,/;\$/p" "$codec" | tr -d '\\\n ' | cut -d'"' -f2 | tr , '\n'
}

# What the codec calls as FFmpeg's programs do, as FFmpeg's configure calls it.
demuxers=$(names FORMATS | sed 's/^mpeg$/mpegps/; /^webm$/d')
decoders=$(names CODECS | sed 's/^g72/adpcm_g72/; s/^real_/ra_/; s/plus$/p/')
# Those of audio: a demuxer may hand out packets that are not whole frames.
parsers="aac aac_latm ac3 amr cook dca flac gsm mlp mpegaudio opus sipr tak vorbis"
[ "$(echo "$demuxers" | wc -l)" -gt 20 ] && [ "$(echo "$decoders" | wc -l)" -gt 50 ] || {
    echo "ffmpeg.sh: no lists in $codec" >&2
    exit 1
}

sed -i 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/debian.sources
apt-get update -q
apt-get install -q -y --no-install-recommends dpkg-dev gcc libc6-dev make nasm pkg-config zlib1g-dev
work=$(mktemp -d)
cd "$work"
# As _apt it could not read a folder of root's.
apt-get source -q -o APT::Sandbox::User=root ffmpeg
cd ffmpeg-*/

# Programme streams do not say what is in them: FFmpeg asks the demuxers of this table. Without
# those of video it takes video for MP3. The codec opens no file by them.
asked=$(sed -n '/ fmt_id_type\[\] = {/,/};/s/.*{ "\([a-z0-9_]*\)".*/\1/p' libavformat/demux.c)
[ -n "$asked" ] || {
    echo "ffmpeg.sh: no table of what is asked in libavformat/demux.c" >&2
    exit 1
}
demuxers=$(printf '%s\n%s\n' "$demuxers" "$asked" | sort -u)

options() { for name in $2; do printf -- '--enable-%s=%s ' "$1" "$name"; done; }
# shellcheck disable=SC2046 # one word each
./configure --prefix="$prefix" --toolchain=hardened --enable-shared --disable-static \
    --disable-everything --disable-autodetect --disable-programs --disable-doc --disable-debug \
    --disable-network --disable-avdevice --disable-avfilter --disable-postproc --disable-swscale \
    --enable-pthreads --enable-zlib \
    $(options demuxer "$demuxers") $(options decoder "$decoders") $(options parser "$parsers") |
    tee configured
if grep -q 'did not match anything' configured; then
    echo "ffmpeg.sh: this FFmpeg lacks what is named above" >&2
    exit 1
fi

# What is in it is what was asked for, and brought nothing else along.
# shellcheck disable=SC2086 # one word each
same() {
    printf '%s\n' $2 | sed '/^$/d' | sort >wanted
    sed -n "s/^#define CONFIG_\(.*\)_$1 1\$/\1/p" config_components.h | tr '[:upper:]' '[:lower:]' | sort >there
    diff wanted there >&2 || {
        echo "ffmpeg.sh: $1: < was asked for, > is there" >&2
        exit 1
    }
}
same DEMUXER "$demuxers"
same DECODER "$decoders"
same PARSER "$parsers"
for kind in PROTOCOL ENCODER MUXER FILTER INDEV OUTDEV HWACCEL; do same $kind ""; done

make -s -j"$(nproc)"
make -s install

# What goes into the image: the libraries by the names that they are linked by, and for scanners,
# which look Debian's packages up, where they come from.
image=$prefix/image
mkdir -p "$image/usr/lib" "$image/var/lib/dpkg/status.d" "$image/usr/share/doc/ffmpeg"
for library in avcodec avformat avutil swresample; do
    soname=$(cd "$prefix/lib" && echo lib$library.so.[0-9] lib$library.so.[0-9][0-9] | tr ' ' '\n' |
        grep -v '\[')
    cp -L "$prefix/lib/$soname" "$image/usr/lib/"
    package=$(echo "$soname" | sed 's/\.so\.//')
    cat >"$image/var/lib/dpkg/status.d/$package" <<EOF
Package: $package
Status: install ok installed
Architecture: $(dpkg --print-architecture)
Source: ffmpeg
Version: $(dpkg-parsechangelog -S Version)
Description: FFmpeg, with the demuxers and decoders of Tonemill alone
EOF
done
cp -L /lib/*-linux-gnu*/libz.so.1 "$image/usr/lib/"
dpkg-query -s zlib1g >"$image/var/lib/dpkg/status.d/zlib1g"
cp debian/copyright "$image/usr/share/doc/ffmpeg/"
rm -rf "$work"

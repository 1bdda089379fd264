#!/usr/bin/env bash
# Builds the images of deploy/Dockerfile without a Docker engine, and tries what came out: who is in
# there, what is not, and whether it works for a user without a name on a disk that is read-only.
#
#   scripts/images/try.sh [FOLDER]     as root; FOLDER (default target/images) takes some 15 GB
#
# Buildah reads the Dockerfile. The images that it starts from come from their registries, or with
# TONEMILL_BASES=debian, where those cannot be reached, are put together here: Debian's by
# debootstrap, Rust's with the toolchain of this machine, distroless' from the packages that it has.
# PROFILE=dev builds in minutes what takes half an hour otherwise.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(realpath -m "${1:-target/images}")
profile=${PROFILE:-release}
mirror=http://deb.debian.org/debian
debian=docker.io/library/debian:bookworm-slim
rust=docker.io/library/rust:1.95-slim-bookworm
distroless=gcr.io/distroless/cc-debian12:nonroot
mkdir -p "$folder"

say() { echo "images: $*"; }
die() {
    say "$*" >&2
    exit 1
}
export BUILDAH_ISOLATION=chroot
buildah() { command buildah --root "$folder/storage" --runroot "$folder/run" "$@"; }
[ "$(id -u)" -eq 0 ] || die "this needs root: it builds and runs in other root folders"

# --- what the images start from ------------------------------------------------------------------

# stand_in NAME FROM COMMAND…: NAME is FROM and what the command adds, unless it is there.
stand_in() {
    local name=$1 from=$2 container
    shift 2
    if buildah inspect --type image "$name" >/dev/null 2>&1; then return; fi
    say "putting $name together"
    container=$(buildah from --pull-never "$from")
    "$@" "$container"
    buildah commit -q --rm "$container" "$name" >/dev/null
}

debian_base() {
    debootstrap --variant=minbase bookworm "$folder/debian" $mirror >"$folder/debootstrap.log"
    cat >"$folder/debian/etc/apt/sources.list.d/debian.sources" <<EOF
Types: deb
URIs: $mirror
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $mirror-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
    rm "$folder/debian/etc/apt/sources.list"
    buildah add -q "$1" "$folder/debian" / >/dev/null
    rm -rf "$folder/debian"
}

rust_base() {
    buildah run "$1" -- sh -c 'apt-get update -q && apt-get install -q -y \
        --no-install-recommends gcc libc6-dev ca-certificates' >"$folder/rust.log"
    # Whatever this machine trusts, it trusts there.
    buildah copy -q "$1" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ >/dev/null
    local part
    for part in bin lib libexec; do
        buildah copy -q "$1" "$(rustc --print sysroot)/$part" "/usr/local/$part" >/dev/null
    done
    buildah config --env CARGO_HOME=/usr/local/cargo \
        --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$1"
}

distroless_base() {
    mkdir -p "$folder/debs" "$folder/distroless"
    (cd "$folder/debs" && apt-get download -q base-files netbase tzdata ca-certificates \
        libc6 libgcc-s1 libstdc++6 libgomp1 libssl3 >/dev/null)
    local package
    for package in "$folder"/debs/*.deb; do dpkg-deb -x "$package" "$folder/distroless"; done
    mkdir -p "$folder/distroless/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$folder/distroless/etc/ssl/certs/"
    buildah add -q "$1" "$folder/distroless" / >/dev/null
    rm -rf "$folder/debs" "$folder/distroless"
}

pull=--pull
if [ "${TONEMILL_BASES:-}" = debian ]; then
    pull=--pull-never
    stand_in $debian scratch debian_base
    stand_in $rust $debian rust_base
    stand_in $distroless scratch distroless_base
fi

# --- the images ----------------------------------------------------------------------------------

# build TARGET, and mount it.
build() {
    say "building $1 ($profile)"
    local started=$SECONDS
    # What cargo downloads is kept.
    mkdir -p "$folder/registry"
    buildah bud $pull --layers --format docker -f deploy/Dockerfile --target "$1" -t "$1" \
        --volume "$folder/registry:/usr/local/cargo/registry" --build-arg "PROFILE=$profile" . \
        >"$folder/$1.log" 2>&1 || die "it failed: see $folder/$1.log"
    say "built in $((SECONDS - started)) s"
}

build tonemill
build tonemill-worker
slim=$(buildah mount "$(buildah from --pull-never tonemill)")
worker=$(buildah mount "$(buildah from --pull-never tonemill-worker)")

# --- what is in them, and what is not ------------------------------------------------------------

failures=0
check() {
    local what=$1
    shift
    if "$@"; then say "ok: $what"; else
        say "NOT SO: $what" >&2
        failures=$((failures + 1))
    fi
}
needs() { readelf -d "$1/usr/bin/tonemill" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
# Debian's and distroless' lists of packages are in folders that are called as the manager.
lacks() { ! find "$1" -xdev -name "$2" ! -type d | grep .; }
config() { buildah inspect --type image --format "{{.Docker.Config.$2}}" "$1"; }
is() { [ "$1" = "$2" ] || { echo "  \"$1\" is not \"$2\"" >&2 && false; }; }

for root in "$slim" "$worker"; do
    check "there is no shell" lacks "$root" sh
    check "there is no package manager" lacks "$root" dpkg
    check "nothing is setuid" is "$(find "$root" -xdev -type f -perm /6000 | wc -l)" 0
    # Part of the program: the list of its crates.
    check "the crates are listed" grep -q '\.dep-v0' <(readelf -S -W "$root/usr/bin/tonemill")
done
for image in tonemill tonemill-worker; do check "$image has a user" is "$(config $image User)" 10001:10001; done
check "the slim one has no FFmpeg" lacks "$slim" 'libav*'
check "the slim one links no FFmpeg" is "$(needs "$slim" | grep -c 'libav\|libsw')" 0
check "the slim one has no LAME" is "$(grep -c lame_encode "$slim/usr/bin/tonemill")" 0
check "the other has both" [ "$(needs "$worker" | grep -c 'libav\|libsw')" -eq 4 ]
du -sh --apparent-size "$slim" "$worker" | sed 's/^/images: /'

# --- do they work --------------------------------------------------------------------------------

scratch=$(mktemp -d)
cleanup() {
    kill "${pids[@]}" 2>/dev/null || true
    wait
    buildah rm --all >/dev/null
    rm -rf "$scratch"
}
pids=()
trap cleanup EXIT
mkdir "$scratch/files"
sox -n -r 44100 -c 2 "$scratch/files/tone.wav" synth 5 sine 440
ffmpeg -v error -i "$scratch/files/tone.wav" -c:a aac "$scratch/files/tone.m4a"
chown -R 10001:10001 "$scratch/files"

# within ROOT ARGUMENT…: the program of an image, as its user, alone in a container of sorts: all
# disks are read-only but for /files, and nothing makes it more than it is.
# shellcheck disable=SC2016 # the inner shell expands it
within() {
    ROOT=$1 FILES=$scratch/files unshare --mount --pid --fork --kill-child sh -c '
        mkdir -p "$ROOT/files" && mount --bind "$ROOT" "$ROOT" &&
            mount --bind "$FILES" "$ROOT/files" && mount -t proc proc "$ROOT/proc" &&
            mount -o remount,bind,ro "$ROOT" || exit 99
        shift
        exec setpriv --no-new-privs \
            chroot --userspec=10001:10001 --groups= "$ROOT" /usr/bin/tonemill "$@"' sh "$@"
}
ends() {
    local wanted=$1 code=0
    shift
    "$@" >"$scratch/said" 2>&1 || code=$?
    [ $code -eq "$wanted" ] || { sed 's/^/  /' "$scratch/said" >&2 && false; }
}
# until COMMAND…: for half a minute at most.
until_() {
    local end=$((SECONDS + 30))
    until "$@" 2>/dev/null; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.5
    done
}

check "the slim one tells its version" ends 0 within "$slim" --version
check "the slim one does not convert" ends 2 within "$slim" convert /files/tone.m4a
check "and says why" grep -q "no codec" "$scratch/said"
for input in tone.wav tone.m4a; do
    check "the other converts $input" \
        ends 0 within "$worker" convert "/files/$input" -o "/files/$input.mp3"
    # 5 s of 44,100 frames of 4 bytes.
    check "what came out is as long" is 882000 \
        "$(ffmpeg -v error -i "$scratch/files/$input.mp3" -f s16le - | wc -c)"
done

check "nothing else can be written" \
    ends 3 within "$worker" convert /files/tone.wav -o /usr/tone.mp3
check "for its disk is read-only" grep -q "Read-only" "$scratch/said"

redis-server --port 0 --unixsocket "$scratch/files/redis.sock" --unixsocketperm 777 --save '' \
    >"$scratch/redis.log" &
pids+=($!)
until_ [ -S "$scratch/files/redis.sock" ]
backends=(--redis-url unix:///files/redis.sock --folder /files/store)
within "$worker" worker "${backends[@]}" --admin 127.0.0.1:9464 >"$scratch/worker.log" 2>&1 &
unshared=$!
pids+=("$unshared")
health=(within "$worker" health http://127.0.0.1:9464/livez)
check "the worker is healthy" until_ ends 0 "${health[@]}"
check "it works for the slim one" ends 0 \
    within "$slim" submit "${backends[@]}" /files/tone.m4a -o /files/submitted.mp3
check "both make the same MP3" cmp "$scratch/files/tone.m4a.mp3" "$scratch/files/submitted.mp3"
# A shell of ours, unshare, the program.
kill -TERM "$(pgrep -P "$(pgrep -P $unshared)")"
code=0
wait $unshared || code=$?
check "it ends as it is told to" is $code 0
check "then it is not healthy" ends 3 "${health[@]}"

[ $failures -eq 0 ] || die "$failures things are not so"
say "all is well"

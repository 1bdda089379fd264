#!/usr/bin/env bash
# Installs what building, testing and demonstrating Tonemill needs, and says what it did.
# It does nothing when everything is in place, so every make target calls it first.
#
#   scripts/setup.sh [test] [bench] [audit] [fuzz] [garage] [clients] [kubernetes] [images]
#                    [images-try] [docs]
#
# Each word adds what make targets of that name need beyond the common set; garage is the S3 server
# of the full tests, which takes ten minutes or more to build.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" # `rustup override` and `cargo` look at the working directory
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

done_something=no

say() { echo "setup: $*"; }
warn() { say "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

want_test=no want_bench=no want_audit=no want_fuzz=no want_garage=no want_clients=no
want_kubernetes=no want_images=no want_images_try=no want_docs=no
for argument in "$@"; do
    case $argument in
        test) want_test=yes ;;
        bench) want_bench=yes ;;
        audit) want_audit=yes ;;
        fuzz) want_fuzz=yes ;;
        garage) want_garage=yes ;;
        clients) want_clients=yes ;;
        kubernetes) want_kubernetes=yes ;;
        images) want_images=yes ;;
        images-try) want_images_try=yes ;;
        docs) want_docs=yes ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && die "unknown argument: $argument" ;;
    esac
done

# --- system packages ---------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root and there is no sudo; run as root: $*"
    fi
}

apt() {
    # `env` because sudo does not pass the variable on; the timeout waits for another apt to finish.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

apt_update() {
    apt update && return
    warn "apt-get update failed; trying once more"
    sleep 5
    apt update
}

apt_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# `apt-cache show` also succeeds for packages that others merely mention.
apt_offers() {
    command -v apt-cache >/dev/null && apt-cache policy "$1" | grep -q 'Candidate: [^(]'
}

setup_debian() {
    local packages=(
        # build: clang for LAME and (as libclang) for the FFmpeg bindings
        clang libclang-dev pkg-config make git ca-certificates curl
        libavcodec-dev libavformat-dev libavutil-dev libswresample-dev
        # tests and demo
        ffmpeg lame mp3val mediainfo strace sox espeak-ng
    )
    # The queue, the databases, wrong clocks, a mail server, and promtool, which reads the alert rules. Debian starts
    # a redis-server, a PostgreSQL and a Prometheus of its own, which nothing here uses. MariaDB's core packages hold
    # the programs alone.
    if [ $want_test = yes ]; then
        packages+=(
            redis-server mariadb-server-core mariadb-client-core postgresql faketime python3-aiosmtpd
            prometheus
        )
    fi
    # The music of a game: long, varied, and freely licensed.
    if [ $want_bench = yes ]; then packages+=(wesnoth-1.16-music python3-venv); fi
    if [ $want_clients = yes ]; then
        packages+=(python3-venv nodejs b3sum)
        # A newer nodejs than Debian's brings its own; Ubuntu has no package of this name.
        command -v npm >/dev/null || packages+=(npm)
        command -v chromium >/dev/null || packages+=(chromium)
    fi
    if [ $want_kubernetes = yes ]; then
        packages+=(python3-venv redis-server)
        command -v node >/dev/null || packages+=(nodejs)
        command -v npm >/dev/null || packages+=(npm)
    fi
    if [ $want_docs = yes ]; then packages+=(jq python3 openssl redis-server); fi

    if [ $want_images = yes ]; then packages+=(python3-venv); fi
    if [ $want_images_try = yes ]; then
        packages+=(buildah debootstrap binutils redis-server)
    fi

    local missing=() package
    for package in "${packages[@]}"; do
        apt_installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi

    say "installing ${missing[*]}"
    apt_update
    # --no-remove: a set-up script may add packages, never take one away.
    apt install --no-install-recommends --no-remove "${missing[@]}"
    say "installed ${missing[*]}"
    done_something=yes
}

# Untested: nobody has run Tonemill on macOS yet. strace does not exist there, and the music that
# the benchmarks use is not in Homebrew.
setup_macos() {
    local missing=() formula
    for formula in llvm pkgconf ffmpeg lame mp3val media-info sox espeak-ng redis \
        mariadb postgresql@17 prometheus; do
        brew list --versions "$formula" >/dev/null || missing+=("$formula")
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi

    brew install "${missing[@]}"
    say "installed ${missing[*]}"
    done_something=yes
}

# --- Rust --------------------------------------------------------------------------------------

rust_is_new_enough() {
    local have
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2) || return
    [ -n "$have" ] && printf '%s\n%s\n' "$msrv" "$have" | sort -VC
}

setup_rust() {
    msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! rust_is_new_enough; then
        if ! command -v rustup >/dev/null && apt_offers rustup; then
            say "installing rustup"
            apt install --no-install-recommends --no-remove rustup || warn "cannot install rustup"
        fi
        if command -v rustup >/dev/null; then
            say "installing stable Rust with rustup, for this directory only"
            rustup toolchain install stable --profile minimal --component clippy,rustfmt
            rustup override set stable
            hash -r
            done_something=yes
        fi
        rust_is_new_enough || die "Tonemill needs Rust $msrv or later, and \`cargo --version\` says" \
            "\"$(cargo --version 2>&1 || true)\". Install it from https://rustup.rs and make sure" \
            "that its directory comes first in PATH."
    fi

    local component missing=()
    for component in clippy rustfmt; do
        "cargo-${component/rust/}" --version >/dev/null 2>&1 || missing+=("$component")
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    if command -v rustup >/dev/null && rustup component add "${missing[@]}"; then
        say "installed ${missing[*]}"
        done_something=yes
    else
        warn "\`make lint\` will fail: there is no ${missing[*]} for this cargo"
    fi
}

# setup_cargo_tool NAME VERSION: versions are pinned because their options and files change.
setup_cargo_tool() {
    if command -v "$1" >/dev/null; then return; fi
    say "building $1 $2"
    cargo install "$1" --version "$2" --locked
    say "installed $1 $2"
    done_something=yes
}

# setup_server NAME VERSION OPTION…: an S3 server for the tests, kept below target/.
setup_server() {
    local name=$1 version=$2
    shift 2
    if [ -x "target/tools/bin/$name" ]; then return; fi
    say "building $name $version"
    # Away from this workspace's own settings.
    (cd / && CARGO_TARGET_DIR="$root/target/tools/build" cargo install "$name" \
        --version "$version" --locked --root "$root/target/tools" "$@")
    rm -rf target/tools/build
    say "installed $name $version"
    done_something=yes
}

# setup_venv FOLDER REQUIREMENTS WHAT: a Python with these packages, in FOLDER/venv.
setup_venv() {
    local folder=$1 requirements=$2 what=$3
    if cmp -s "$requirements" "$folder/venv/requirements.txt"; then return; fi
    say "installing $what"
    mkdir -p "$folder"
    rm -rf "$folder/venv"
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q -r "$requirements"
    cp "$requirements" "$folder/venv/"
    say "installed $what"
    done_something=yes
}

# Clients of others, for `make clients`, with all that they need in the versions that were tested.
setup_clients() {
    local clients=target/clients
    setup_venv $clients clients/schemathesis/requirements.txt schemathesis
    if ! cmp -s clients/tus/package-lock.json $clients/node/node_modules/installed.json; then
        say "installing tus-js-client"
        mkdir -p $clients/node
        cp clients/tus/package.json clients/tus/package-lock.json $clients/node/
        npm ci --prefix $clients/node --no-audit --no-fund --silent
        cp clients/tus/package-lock.json $clients/node/node_modules/installed.json
        say "installed tus-js-client"
        done_something=yes
    fi
}

# kubectl, if there is none that fits the oldest cluster the manifests are for: that of Debian 13, which runs on 12
# as well (the latter's own is too old). apt fetches and verifies it; it is kept below target/.
setup_kubectl() {
    local at=$root/target/tools/kubectl
    if [ -x "$at/usr/bin/kubectl" ] || kubectl_is_new_enough; then return; fi
    command -v apt-get >/dev/null || die "install kubectl 1.29 or later: https://kubernetes.io/docs/tasks/tools"
    say "fetching kubectl of Debian 13"
    mkdir -p "$at/lists/partial" "$at/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian trixie main" >"$at/sources.list"
    : >"$at/status"
    local options=(-q -o Dir::Etc::sourcelist="$at/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$at/lists" -o Dir::State::status="$at/status" -o Dir::Cache="$at")
    (cd "$at" && apt-get "${options[@]}" update && apt-get "${options[@]}" download kubectl)
    dpkg-deb -x "$at"/kubectl_*.deb "$at"
    rm -rf "$at"/{lists,archives,*.bin,kubectl_*.deb}
    say "installed $("$at/usr/bin/kubectl" version --client | head -n 1)"
    done_something=yes
}

# One minor version before the cluster's is the oldest that may be used with it.
kubectl_is_new_enough() {
    local version
    version=$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v//p')
    [ -n "$version" ] && printf '1.29\n%s\n' "$version" | sort -VC
}

# What `make kubernetes` holds the manifests against, in the versions that were tested.
setup_kubernetes() {
    setup_kubectl
    local from=scripts/kubernetes to=target/kubernetes
    mkdir -p $to/node
    setup_venv $to $from/requirements.txt "the schemas of Kubernetes"
    if ! cmp -s $from/package-lock.json $to/node/node_modules/installed.json; then
        say "installing the models of operators"
        cp $from/package.json $from/package-lock.json $to/node/
        npm ci --prefix $to/node --no-audit --no-fund --silent
        cp $from/package-lock.json $to/node/node_modules/installed.json
        say "installed the models of operators"
        done_something=yes
    fi
}

# What `make images` holds Dockerfile, compose file and workflow against, in the versions that were
# tested.
setup_images() {
    setup_venv target/images scripts/images/requirements.txt "hadolint, shellcheck and schemas"
}

# --- all of it ---------------------------------------------------------------------------------

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    setup_debian
elif command -v brew >/dev/null; then
    setup_macos
else
    warn "this script knows apt and Homebrew only; its package list says what to install yourself"
fi
setup_rust
if [ $want_test = yes ]; then
    setup_server s3s-fs 0.14.1 --features binary --config 'profile.release.opt-level=1'
fi
if [ $want_garage = yes ]; then
    setup_server garage 2.5.0 --no-default-features --features bundled-libs,sqlite
fi
if [ $want_clients = yes ]; then setup_clients; fi
if [ $want_kubernetes = yes ]; then setup_kubernetes; fi
if [ $want_images = yes ]; then setup_images; fi
if [ $want_audit = yes ]; then setup_cargo_tool cargo-deny 0.20.2; fi
if [ $want_fuzz = yes ]; then setup_cargo_tool cargo-fuzz 0.13.2; fi

if [ $done_something = no ]; then say "nothing to do"; fi

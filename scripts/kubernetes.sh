#!/usr/bin/env bash
# Checks the manifests below deploy/kubernetes: every overlay renders, every object is what
# Kubernetes and the operators take, what objects say of each other is true, and every command,
# variable, port, probe and path is the program's. No cluster is needed; scripts/setup.sh kubernetes
# installs what is.
#
#   scripts/kubernetes.sh [rules | TEST…]
#
# `rules` makes the alert rules for the Prometheus operator. TEST is a name of unittest's, such as
# test_schemas; without one, all of them. TONEMILL names a program that is built already.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=$PWD/target/kubernetes

if [ "${1-}" = rules ]; then exec "$tools/venv/bin/python" scripts/kubernetes/rules.py; fi

if [ -z "${TONEMILL-}" ]; then
    cargo build --workspace --bins --locked -q
    TONEMILL=$(realpath "${CARGO_TARGET_DIR:-target}/debug/tonemill")
    export TONEMILL
fi
own=$PWD/target/tools/kubectl/usr/bin/kubectl
if [ -z "${KUBECTL-}" ] && [ -x "$own" ]; then export KUBECTL=$own; fi
export NODE_MODULES=$tools/node/node_modules

cd scripts/kubernetes
if [ $# -eq 0 ]; then set -- test_schemas test_wiring test_program; fi
PYTHONDONTWRITEBYTECODE=1 exec "$tools/venv/bin/python" -m unittest "$@"

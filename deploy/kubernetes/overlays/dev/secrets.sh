#!/bin/sh
# Prints Secrets for a cluster to try things in, with passwords that were just made:
#
#   overlays/dev/secrets.sh | kubectl apply -f -
#
# Once is enough: the databases keep the first passwords that they were given.
set -eu

random() { od -An -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }

# secret NAME KEY=VALUE…
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: { name: %s, namespace: tonemill-dev }\nstringData:\n' "$1"
    shift
    for pair in "$@"; do
        printf '  %s: "%s"\n' "${pair%%=*}" "${pair#*=}"
    done
}

ledger=$(random 16) queue=$(random 16)
secret ledger "url=postgres://tonemill:$ledger@postgres:5432/tonemill" "password=$ledger"
secret queue "url=redis://default:$queue@redis:6379" "password=$queue"
secret bucket "access-key-id=GK$(random 16)" "secret-access-key=$(random 32)" "rpc-secret=$(random 32)"
secret mail "url=smtp://mail:1025?tls=none"
secret administrator "password=$(random 8)"

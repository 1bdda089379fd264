#!/bin/sh
# Makes up the secrets of deploy/compose.yaml, once, into deploy/.env, which is never committed.
set -eu

file=$(dirname "$0")/../.env
[ ! -e "$file" ] || {
    echo "$file is there already, and what runs knows these secrets: remove it with the volumes" >&2
    exit 1
}
# secret BYTES: in hexadecimal digits, which need no quoting in URLs.
secret() { od -An -vtx1 -N"$1" /dev/urandom | tr -d ' \n'; }
umask 077
cat >"$file" <<EOF
ADMIN_PASSWORD=$(secret 16)
GRAFANA_PASSWORD=$(secret 16)
MARIADB_PASSWORD=$(secret 16)
REDIS_PASSWORD=$(secret 16)
S3_ACCESS_KEY_ID=GK$(secret 12)
S3_SECRET_ACCESS_KEY=$(secret 32)
GARAGE_RPC_SECRET=$(secret 32)
EOF
echo "The administrator's password is ADMIN_PASSWORD in $file."

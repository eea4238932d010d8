#!/bin/sh
# Makes what compose.yaml needs and nobody may know: ./secrets, with a certificate that signed itself.
#
#   deploy/compose/secrets.sh [name]     name: what clients call the service; by default localhost
#
# What is there already stays as it is. Replace tls.crt and tls.key by real ones; keep a copy of
# master_secret away from the database's copies: all keys derive from it.
set -eu

name=${1:-localhost}
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets

if [ ! -e master_secret ]; then
    openssl rand -base64 32 > master_secret
fi
if [ ! -e postgres_password ]; then
    openssl rand -hex 24 > postgres_password
    printf 'postgresql://keyturn:%s@postgres:5432/keyturn\n' "$(cat postgres_password)" > database_url
fi
if [ ! -e valkey_auth ]; then
    password=$(openssl rand -hex 24)
    printf 'requirepass %s\n' "$password" > valkey_auth
    printf 'redis://:%s@valkey:6379/0\n' "$password" > redis_url
fi
if [ ! -e tls.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 \
        -subj "/CN=$name" -addext "subjectAltName=DNS:$name,IP:127.0.0.1" \
        -out tls.crt -keyout tls.key 2> /dev/null
fi
# Compose binds the files as they are, and no process in a container is who you are. The directory
# keeps everybody else of this machine out.
chmod 444 ./*
echo "made in $PWD:" ./*

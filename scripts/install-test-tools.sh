#!/usr/bin/env bash
# Installs the programs that the tests drive, where they are missing: nginx, curl, openssl, wrk, h2load, valgrind, redis, dnsmasq and pebble. Needs apt
# and either root or sudo. No service that a package brings is started.
set -euo pipefail

declare -A package_of=(
    [nginx]=nginx
    [curl]=curl
    [wrk]=wrk
    [h2load]=nghttp2-client
    [openssl]=openssl
    [valgrind]=valgrind
    [redis-server]=redis-server
    [dnsmasq]=dnsmasq-base
    [pebble]=pebble
)

export PATH="$PATH:/usr/local/sbin:/usr/sbin"
missing=()
for program in "${!package_of[@]}"; do
    command -v "$program" >/dev/null || missing+=("${package_of[$program]}")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "missing: ${missing[*]}; installing them needs root or sudo" >&2; exit 1; }
    as_root=(sudo)
fi

# Debian starts the services that it installs, unless this file says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod +x "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"

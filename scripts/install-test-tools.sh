#!/usr/bin/env bash
# Installs the programs that the tests drive, where they are missing: nginx, curl, openssl, wrk, h2load, nghttpd, gnutls-cli, valgrind, redis, dnsmasq and pebble, and
# Python libraries. Needs apt and either root or sudo, and the package index of Python. No service that a package brings is started.
set -euo pipefail

declare -A package_of=(
    [nginx]=nginx
    [curl]=curl
    [wrk]=wrk
    [h2load]=nghttp2-client
    [nghttpd]=nghttp2-server
    [openssl]=openssl
    [gnutls-cli]=gnutls-bin
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

# Clients and scanners in Python have an environment of their own, with releases that are known.
tools="${XDG_CACHE_HOME:-$HOME/.cache}/tidegate-test-tools"
python="$tools/bin/tidegate-test-python"
libraries=(grpcio==1.85.3 httpx==0.28.1 h2==4.4.1 websockets==17.4 wsproto==1.3.2 sslyze==6.3.1)
have_libraries() {
    [ -x "$python" ] && [ "$(cat "$tools/libraries" 2>/dev/null)" = "${libraries[*]}" ]
}
install_libraries() {
    have_libraries && return
    echo "installing: ${libraries[*]}"
    python3 -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "${libraries[@]}"
    ln -sf python3 "$python"
    echo "${libraries[*]}" >"$tools/libraries"
}
have_libraries || python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -eq 0 ]; then
    install_libraries
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
install_libraries

#!/bin/sh
# Installs the programs that the benchmarks and end-to-end tests run beside Tidegate: HAProxy and
# nginx as peers, wrk and h2load as independent load generators, valgrind for instruction counts.
# Installs only what is missing, and leaves no system service running or enabled: the benchmarks
# start their own processes on their own ports.
set -eu

missing=
need() { # command package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need haproxy haproxy
need nginx nginx
need wrk wrk
need h2load nghttp2-client
need valgrind valgrind

if [ -z "$missing" ]; then
    echo "all benchmark peers are installed"
    exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
fi

# Packages start their services on installation. A policy that forbids it (exit code 101) is the
# documented way to prevent that; an existing policy is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi

$as_root apt-get update -qq
# shellcheck disable=SC2086 # one word per package
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing

if [ -d /run/systemd/system ]; then
    for service in haproxy nginx; do
        case " $missing " in
            *" $service"*) $as_root systemctl disable --now "$service" >/dev/null 2>&1 || true ;;
        esac
    done
fi
echo "installed:$missing"

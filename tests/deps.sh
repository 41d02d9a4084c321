#!/bin/sh
# Installs what is missing from Debian's packages; says so; does nothing when all is there.
#
#   tests/deps.sh build    what compiling and running needs
#   tests/deps.sh demo     and a broker with its clients
#   tests/deps.sh test     and what `make test` and `make fuzz` use
set -eu

packages="pkg-config libpaho-mqtt-dev libssl-dev libserialport-dev libinih-dev libsqlite3-dev"
case "${1:-test}" in
build) ;;
demo) packages="$packages mosquitto mosquitto-clients socat python3" ;;
test) packages="$packages mosquitto mosquitto-clients socat python3 python3-scapy iproute2 libcmocka-dev libjansson-dev tshark gnuplot-nox
                clang libclang-rt-dev clang-format clang-tidy" ;;
*)
    echo "usage: $0 [build|demo|test]" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not Debian; needed are what these of its packages contain:" $packages >&2
    exit 0
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null || true)
missing=
for package in $packages; do
    case "
$installed
" in
    *"
installed $package
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

run=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing, and neither root nor sudo is here; run: apt-get install$missing" >&2
        exit 1
    fi
    run=sudo
fi
echo "deps: installing from Debian's packages:$missing"
# tshark asks whether users may capture; the answer stays "no".
$run apt-get update -q
$run env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
case "$missing" in
*" mosquitto"*)
    echo "deps: Debian has started its mosquitto on 127.0.0.1:1883. The tests use brokers of their own;"
    echo "deps: \`systemctl disable --now mosquitto\` if you have no use for that one."
    ;;
esac

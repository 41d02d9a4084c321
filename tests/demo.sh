#!/bin/bash
# The main job in a minute: three sensors, two links, a broker that goes away in the middle, and the
# account at the end. The sensors on UDP are behind a simulated satellite, which loses frames and
# takes a quarter of a second each way. Everything runs on loopback, in a folder of its own, and is ended
# and removed again. Ends with 0 when the account adds up.
set -u
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin # where Debian's broker is, and an ordinary user's PATH does not lead
bin=${BUILD:-build}
dir=$(mktemp -d "${TMPDIR:-/tmp}/snbridge-demo.XXXXXX")
pids=()
count=25 # messages of each sensor

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '  $ %s\n' "$*"; }
fail() {
    printf '\ndemo: %s\n' "$*" >&2
    for log in "$dir"/*.log; do
        echo "--- ${log##*/}" >&2
        tail -n 5 "$log" >&2
    done
    exit 1
}
finish() {
    kill "${pids[@]}" 2>/dev/null
    wait 2>/dev/null
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

free_port() { # a port that nothing uses now
    python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_'"$1"')
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}
until_true() { # seconds, then a command
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}
status() { "$bin/snbridge" status -c "$dir/snbridge.conf" "$@" 2>/dev/null; }
figure() { # of the account over all: row of the status, then the column
    status | awk -v row="$1" -v column="$2" 'index($0, row "  ") == 1 {
        split(substr($0, 15), f, " "); print f[column] }'
}
is_ready() { grep -q ': ready' "$dir/snbridge.log"; }
broker_is_up() { status | grep -q 'broker .* connected' && ! status | grep -q 'not connected'; }
all_delivered() { [ "$(figure 'from sensors' 5)" = 0 ] && [ "$(figure 'to sensors' 5)" = 0 ]; }

start_broker() {
    mosquitto -c "$dir/mosquitto.conf" >>"$dir/mosquitto.log" 2>&1 &
    broker=$!
    pids+=("$broker")
    until_true 10 mosquitto_pub -p "$broker_port" -t demo/ready -m 1 || fail 'mosquitto does not start'
}

broker_port=$(free_port STREAM)
udp_port=$(free_port DGRAM)
space_port=$(free_port DGRAM) # the satellite's end at the sensors
cat >"$dir/mosquitto.conf" <<END
# Started by root, mosquitto would become a user that may not write here.
listener $broker_port 127.0.0.1
allow_anonymous true
persistence true
user root
persistence_location $dir/
max_queued_messages 0
END
cat >"$dir/snbridge.conf" <<END
[bridge]
data = $dir/data

[broker]
url = tcp://127.0.0.1:$broker_port
reconnect_max_ms = 2000

[link satellite]
type = udp
listen = 127.0.0.1:$udp_port
profile = geo-vsat

[link radio]
type = serial
device = $dir/radio
baud = 9600
framing = cobs
END

say "A broker, a bridge with two links (UDP for a satellite terminal, a serial radio on a pty)"
start_broker
socat "pty,raw,echo=0,link=$dir/radio" "pty,raw,echo=0,link=$dir/sensor" >"$dir/socat.log" 2>&1 &
pids+=($!)
until_true 5 test -e "$dir/sensor" || fail 'no pty'
show "snbridge -c snbridge.conf"
sed 's/^/    /' "$dir/snbridge.conf"
"$bin/snbridge" -c "$dir/snbridge.conf" 2>"$dir/snbridge.log" &
bridge=$!
pids+=("$bridge")
until_true 10 is_ready && until_true 10 broker_is_up || fail 'the bridge does not start'

say "A simulated geostationary satellite between the bridge and its sensors on UDP"
show "snsim link geo-vsat --udp $space_port --to 127.0.0.1:$udp_port --set loss=3%"
"$bin/snsim" link geo-vsat --udp "$space_port" --to "127.0.0.1:$udp_port" --set loss=3% \
    2>"$dir/satellite.log" &
satellite=$!
pids+=("$satellite")
until_true 5 grep -q '^snsim: link' "$dir/satellite.log" || fail 'the satellite does not start'

say "Somebody at the broker watches; a valve behind the radio gap waits for commands"
show "mosquitto_sub -t 'sea/#' -t 'river/#' -t 'pump/#' -q 2 -c -i watcher"
mosquitto_sub -p "$broker_port" -t 'sea/#' -t 'river/#' -t 'pump/#' -q 2 -c -i watcher -F '%t %p' \
    >"$dir/received" 2>"$dir/watcher.log" &
pids+=($!)
show "snsub -i valve -t 'valve/#' -q 1"
"$bin/snsub" -p "$space_port" -i valve -t 'valve/#' -q 1 -C 6 -W 60 >"$dir/commands" 2>"$dir/valve.log" &
valve=$!
until_true 10 sh -c "$bin/snbridge status -c $dir/snbridge.conf | grep -q '^subscriptions  1'" ||
    fail 'the valve does not get its subscription'

say "Three sensors publish $count messages each: a buoy at QoS 2, a river gauge and a pump at QoS 1"
show "snpub -i buoy -t sea/buoy/wave -q 2 -m '{n}' --repeat $count --interval 300"
"$bin/snpub" -p "$space_port" -i buoy -t sea/buoy/wave -q 2 -m '{n}' --repeat $count --interval 300 \
    2>"$dir/buoy.log" &
buoy=$!
show "snpub -i gauge -t river/gauge/level -q 1 -m '{n}' --repeat $count --interval 300"
"$bin/snpub" -p "$space_port" -i gauge -t river/gauge/level -q 1 -m '{n}' --repeat $count --interval 300 \
    2>"$dir/gauge.log" &
gauge=$!
show "snpub --serial sensor --baud 9600 -i pump -t pump/pressure -q 1 -m '{n}' --repeat $count --interval 300"
"$bin/snpub" --serial "$dir/sensor" --baud 9600 -i pump -t pump/pressure -q 1 -m '{n}' \
    --repeat $count --interval 300 2>"$dir/pump.log" &
pump=$!
for n in 1 2 3; do mosquitto_pub -p "$broker_port" -t valve/open -q 1 -m "$n"; done
sleep 4
printf '  at the broker so far: %s messages\n' "$(wc -l <"$dir/received")"

say "The broker goes away; the sensors notice nothing"
kill -TERM "$broker"
wait "$broker" 2>/dev/null
for _ in 1 2 3; do
    sleep 1.5
    printf '  accepted from sensors %4s   on disk, waiting for the broker %4s\n' \
        "$(figure 'from sensors' 1)" "$(figure 'from sensors' 5)"
done

say "The broker is back"
start_broker
for n in 4 5 6; do mosquitto_pub -p "$broker_port" -t valve/open -q 1 -m "$n"; done
for sensor in $buoy $gauge $pump; do
    wait "$sensor" || fail 'a sensor was not acknowledged'
done
wait "$valve" || fail 'the valve did not get its commands'
until_true 30 all_delivered || fail 'messages are still waiting'
total=$((3 * count))
until_true 10 sh -c "[ \$(wc -l <'$dir/received') -ge $total ]" || true

say "The account"
show "snbridge status"
status | sed 's/^/  /'

kill -TERM "$satellite"
wait "$satellite" || fail 'the satellite did not stop cleanly'
say "What the satellite did to the frames"
sed -n '2,$s/^/  /p' "$dir/satellite.log"

received=$(wc -l <"$dir/received")
once=$(sort -u "$dir/received" | wc -l)
buoy_count=$(grep -c '^sea/' "$dir/received")
accepted=$(figure 'from sensors' 1)
delivered=$(figure 'from sensors' 2)
lost=0
order=0
for topic in sea/buoy/wave river/gauge/level pump/pressure; do
    grep "^$topic " "$dir/received" | awk '{ print $2 }' >"$dir/numbers"
    [ "$(sort -nu "$dir/numbers" | wc -l)" -eq "$count" ] || lost=1
    awk '!seen[$1]++' "$dir/numbers" | sort -nc 2>/dev/null || order=1
done
printf '\n  published by the sensors    %5d\n' $total
printf '  accepted by the bridge      %5d\n' "$accepted"
printf '  delivered to the broker     %5d\n' "$delivered"
printf '  seen by the watcher         %5d, %d different\n' "$received" "$once"
printf '  commands that the valve got %5d of 6\n' "$(wc -l <"$dir/commands")"
[ "$accepted" -eq "$total" ] || fail 'not every message was accepted'
[ "$delivered" -eq "$total" ] || fail 'not every message was delivered'
[ "$once" -eq "$total" ] && [ $lost -eq 0 ] || fail 'messages are missing'
[ $order -eq 0 ] || fail 'messages came out of order'
[ "$buoy_count" -eq "$count" ] || fail 'a QoS 2 message came more than once'
kill -TERM "$bridge"
wait "$bridge" || fail 'the bridge did not stop cleanly'
say "accepted = delivered: nothing lost, QoS 2 exactly once, in order per sensor"

#!/usr/bin/python3
"""SIGTERM and kill -9: the bridge ends in time, and what it has acknowledged it still has."""

import signal
import socket
import time

from harness import IN_ORDER, free_port, main, udp_link, wait_until
from mqtt import Client
from sensors import Fleet

STOP_S = 2.0


def start(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker(IN_ORDER)
    watcher = env.watcher(broker, "out/#")
    bridge = env.bridge(env.config(broker, udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    return port, broker, watcher, bridge


def stops_in_time(bridge):
    begin = time.monotonic()
    bridge.stop()
    took = time.monotonic() - begin
    assert took < STOP_S, "stopping took %.1f s" % took


def test_an_idle_bridge_stops_within_two_seconds(env):
    _, _, _, bridge = start(env)
    stops_in_time(bridge)


def test_a_bridge_without_a_broker_stops_within_two_seconds(env):
    port = free_port(socket.SOCK_DGRAM)
    for url in ("tcp://127.0.0.1:9", "tcp://192.0.2.1:1883"):  # refuses; never answers
        bridge = env.bridge(env.config(url, udp_link(port)))
        stops_in_time(bridge)


def test_a_busy_bridge_stops_within_two_seconds_and_loses_nothing(env):
    port, _, watcher, bridge = start(env)
    fleet = Fleet(env, port, count=20, messages=60)
    fleet.prepare()
    for target in (300, 700):
        fleet.run(until=lambda: fleet.sent > target)
        stops_in_time(bridge)
        bridge.start()
    fleet.run()
    watcher.wait_for(20 * 60)
    bridge.wait_until_delivered()
    fleet.check(watcher)


def test_what_was_acknowledged_survives_kill_9(env):
    port, broker, _, bridge = start(env)
    watcher = Client(broker.port, "counter", ["out/#"])
    wait_until(lambda: watcher.turn() or watcher.ready, "the watcher subscribes")
    fleet = Fleet(env, port, count=20, messages=60)
    fleet.prepare()

    def run(count):
        fleet.run(until=lambda: watcher.turn() or fleet.sent > count)

    run(200)
    bridge.end(signal.SIGKILL)
    bridge.start()
    run(500)
    # The second time with a backlog on the disk.
    broker.end()
    bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
    run(800)
    bridge.end(signal.SIGKILL)
    bridge.start()
    run(900)
    broker.start()
    run(20 * 60)
    bridge.wait_until_delivered(60)
    wait_until(
        lambda: watcher.turn() or len(watcher.received) >= 20 * 60, "the watcher has got everything"
    )
    fleet.check(watcher)


def test_a_subscriber_notices_nothing_of_a_restart(env):
    port, broker, _, bridge = start(env)
    words = ["-p", port, "-t", "to/#", "-q", 1, "-c", "-i", "sub", "-C", 2]
    sub = env.spawn("snsub", *words)
    bridge.wait_for_status(lambda s: s["filters"] == 1, "the broker has the filter")
    env.mosquitto_pub(broker, "-t", "to/it", "-m", "before", "-q", 1)
    sub.wait_for_log("before")
    bridge.stop()
    env.mosquitto_pub(broker, "-t", "to/it", "-m", "meanwhile", "-q", 1)
    bridge.start()
    assert sub.wait() == 0, sub.log()
    assert sub.log() == "before\nmeanwhile\n", sub.log()
    assert bridge.status()["links"]["lan"]["frames_out"] >= 1


if __name__ == "__main__":
    main()

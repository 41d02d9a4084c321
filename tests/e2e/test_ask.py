#!/usr/bin/python3
"""What a running bridge says when it is asked: links and queues, as text and for programs."""

import json
import os
import socket
import subprocess

import mqttsn
from harness import PATIENCE, free_port, main, program, serial_link, udp_link, wait_until

NOBODY = "tcp://127.0.0.1:9"


def asked(bridge, word):
    """The answer for programs; the one for people must come, too."""
    text = bridge.ask(word)
    assert text.returncode == 0 and text.stderr == "", text.stderr
    answer = bridge.ask(word, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def link(bridge, name):
    return next(found for found in asked(bridge, "links") if found["link"] == name)


def test_links_tell_traffic_round_trip_and_the_last_frame(env):
    port, other = (free_port(socket.SOCK_DGRAM) for _ in range(2))
    broker = env.broker()
    links = udp_link(port) + udp_link(other, name="idle")
    bridge = env.bridge(env.config(broker, links))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    env.spawn("snsub", "-p", port, "-t", "a", "-q", 1)
    broker.wait_for_log("snbridge 1 a")
    env.mosquitto_pub(broker, "-t", "a", "-m", "1", "-q", 1)
    lan = wait_until(
        lambda: (found := link(bridge, "lan"))["measured"] and found, "PUBACK is measured"
    )
    assert lan["up"] and lan["place"] == "127.0.0.1:%d" % port, lan
    assert lan["frames_in"] >= 3 and lan["frames_out"] >= 3, lan
    assert lan["bytes_in"] > 0 and lan["bytes_out"] > 0, lan
    assert 0 <= lan["last_in_ms"] < 1000 * PATIENCE and 0 <= lan["last_out_ms"], lan
    assert lan["clients"] == 1 and lan["connected"] == 1 and lan["measured"] == 1, lan
    assert 1 <= lan["round_trip_min_ms"] <= lan["round_trip_mean_ms"], lan
    assert lan["round_trip_mean_ms"] <= lan["round_trip_max_ms"], lan
    assert not lan["paced"], lan
    idle = link(bridge, "idle")
    assert idle["last_in_ms"] == -1 and idle["last_out_ms"] == -1, idle
    text = bridge.ask("links").stdout
    assert "not paced" in text and "not measured yet" in text, text


def test_links_tell_the_air_time_of_a_radio_and_what_its_duty_cycle_allows(env):
    cable = env.cable()
    keys = "baud = 9600\nduty_per_mille = 100"
    bridge = env.bridge(env.config(NOBODY, serial_link(cable.a, keys)))
    env.spawn("snsub", "--serial", cable.b, "--baud", 9600, "-t", "a", "-C", 1)
    radio = wait_until(
        lambda: (found := link(bridge, "radio"))["air_used_ms"] > 0 and found, "CONNACK went out"
    )
    assert radio["paced"] and radio["bits_per_s"] == 9600, radio
    assert radio["place"] == cable.a, radio
    assert radio["air_budget_ms"] == 360000, radio
    assert radio["air_used_ms"] < 1000, "a few frames of 9600 bit/s: %s" % radio
    text = bridge.ask("links").stdout
    assert "of 360.0 s allowed" in text, text


def test_a_port_that_is_unplugged_is_told_and_told_when_it_is_back(env):
    first = env.cable()
    device = env.path("radio")
    os.symlink(first.a, device)
    bridge = env.bridge(env.config(NOBODY, serial_link(device)))
    assert link(bridge, "radio")["up"]
    first.cut()
    os.unlink(device)
    bridge.wait_for_log("warning: link radio: %s is gone" % device)
    radio = link(bridge, "radio")
    assert not radio["up"] and radio["losses"] == 1, radio
    assert "DOWN for" in bridge.ask("links").stdout
    second = env.cable()
    os.symlink(second.a, device)
    bridge.wait_for_log("info: link radio: %s is back" % device)
    assert link(bridge, "radio")["up"]
    env.run("snpub", "--serial", second.b, "-t", "a", "-m", 1, "-q", 1)


def test_the_queue_tells_what_waits_for_the_broker_and_for_whom(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    bridge = env.bridge(env.config(broker, udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    for name, count in (("few", 2), ("many", 5)):
        sleeper = mqttsn.Device(port, name)
        env.devices.append(sleeper)
        sleeper.connect(duration=3600, clean=False)
        sleeper.subscribe("to/" + name, qos=1)
        sleeper.disconnect(duration=3600)
        broker.wait_for_log("snbridge 1 to/" + name)
        for number in range(count):
            env.mosquitto_pub(broker, "-t", "to/" + name, "-m", "%03d" % number, "-q", 1)
    bridge.wait_for_status(lambda s: s["down"]["queued"] == 7, "seven wait for sleepers")
    broker.end()
    bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
    env.run("snpub", "-p", port, "-t", "up", "-q", 1, "-l", text="12345\n1234567890\n")

    shared, many, few = asked(bridge, "queue")
    assert (shared["direction"], shared["client"], shared["messages"]) == ("up", "", 2), shared
    assert shared["bytes"] == 15 and shared["bytes_are_known"], shared
    assert 0 <= shared["oldest_ms"] < 1000 * PATIENCE, shared
    assert (many["direction"], many["client"], many["messages"]) == ("down", "many", 5), many
    assert many["bytes"] == 15 and many["undecided"] == 0, many
    assert (few["client"], few["messages"], few["bytes"]) == ("few", 2, 6), few
    text = bridge.ask("queue").stdout
    assert "2 messages wait for the broker, which is NOT CONNECTED; 7 for 2 sensors" in text, text


def test_an_empty_queue_says_so(env):
    bridge = env.bridge(env.config(NOBODY, udp_link(free_port(socket.SOCK_DGRAM))))
    (shared,) = asked(bridge, "queue")
    assert shared["messages"] == 0 and shared["oldest_ms"] == -1, shared


def test_an_unknown_command_is_refused_with_those_that_exist(env):
    config = env.config(NOBODY, udp_link(free_port(socket.SOCK_DGRAM)))
    result = subprocess.run(
        [program("snbridge"), "-c", config, "queues"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 2, result.returncode
    assert "queues: not a command; there are: status, clients, links, queue" in result.stderr


if __name__ == "__main__":
    main()

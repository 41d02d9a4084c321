#!/usr/bin/python3
"""What only the broker and the air show of the protocol."""

import re
import socket
import time

from harness import free_port, main, udp_link, wait_until
from mqttsn import PREDEFINED, Device, decode, flags, frame, pingreq, publish

TOPICS = "[topics]\n7 = plant/7/temp\n"


class Plant:
    def __init__(self, env, keys="", broker_keys="", bridge="", topics=TOPICS):
        self.env = env
        self.port = free_port(socket.SOCK_DGRAM)
        self.broker = env.broker()
        self.bridge = env.bridge(
            env.config(
                self.broker,
                udp_link(self.port, keys),
                bridge=bridge,
                broker_keys=broker_keys,
                topics=topics,
            )
        )
        self.bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")

    def device(self, name):
        device = Device(self.port, name)
        self.env.devices.append(device)
        return device

    def connections(self):
        """Client ids that have connected to the broker, in order."""
        return re.findall(r"New client connected from \S+ as (\S+)", self.broker.log())


def test_all_clients_share_one_connection(env):
    """SN12-4.2-1, SN12-7.1-2: with those that do not even connect."""
    plant = Plant(env, "qos_minus_one = yes")
    watcher = env.watcher(plant.broker)
    devices = [plant.device("d%d" % number) for number in range(10)]
    for device in devices:
        device.connect()
        device.publish(device.register("t/" + device.client), b"1", 1)
    Device(plant.port).publish(7, b"anonymous", -1, PREDEFINED)
    watcher.wait_for(11)
    assert plant.connections() == ["snbridge", watcher.name], plant.connections()


def test_the_broker_does_not_notice_a_sleep(env):
    """SN12-6.11-6, SN12-6.14-19: the connection outlives the sleepers' silence, for the bridge
    itself says that it is there."""
    plant = Plant(env, broker_keys="keepalive_s = 5")
    sleeper = plant.device("sleeper")
    sleeper.connect(duration=2)
    sleeper.subscribe("to/sleeper", 1)
    sleeper.disconnect(3600)
    # The broker would have closed a silent connection after one and a half times 5 s.
    begin = time.monotonic()
    wait_until(
        lambda: plant.broker.log().count("Received PINGREQ from snbridge") >= 2,
        "the bridge pings the broker",
        30,
    )
    assert time.monotonic() - begin > 7.5
    env.mosquitto_pub(plant.broker, "-t", "to/sleeper", "-m", "still there", "-q", 1)
    plant.bridge.wait_for_status(lambda s: s["down"]["queued"] == 1, "it waits for the sleeper")
    sleeper.ask(pingreq("sleeper"), "PINGRESP")
    assert [f["data"] for f in sleeper.received] == [b"still there"]
    assert plant.connections().count("snbridge") == 1
    assert "snbridge disconnected" not in plant.broker.log()


def test_every_datagram_is_one_whole_message(env):
    """SN12-5.2.1-7, SN12-5.2.1-8: also when it is long, and when many are due at once."""
    plant = Plant(env, "frame_max = 1000")
    device = plant.device("d")
    device.connect()
    device.subscribe("to/d", 0)
    sizes = [0, 1, 247, 248, 249, 991]
    for size in sizes:
        env.mosquitto_pub(plant.broker, "-t", "to/d", "-m", "x" * size)
    env.mosquitto_pub(plant.broker, "-t", "to/d", "-m", "x" * 992)  # one octet too many
    env.mosquitto_pub(plant.broker, "-t", "to/d", "-m", "last")
    # decode() refuses a datagram that is not exactly one message.
    wait_until(lambda: device.wait("none", None, 0.1) or len(device.received) > len(sizes), "all")
    assert [len(f["data"]) for f in device.received] == sizes + [4]
    assert plant.bridge.note("down_too_large") == 1


def test_other_versions_are_refused_and_counted(env):
    """SN12-5.3.8-1, SN12-6.2-5: with "not supported", for waiting does not help; MQTT-SN 2.0
    has its version in the same octet."""
    plant = Plant(env)
    device = plant.device("d")
    for version, body in (
        (0, b"\x00\x3c" + b"d"),
        (2, b"\x00\x3c" + b"\x00\x00\x00\x00" + b"\x05\x78" + b"d"),
        (0xFF, b"\x00\x3c" + b"d"),
    ):
        answer = device.ask(frame("CONNECT", bytes([flags(clean=True), version]) + body), "CONNACK")
        assert answer["code"] == 3, answer
    assert plant.bridge.note("client_refused") == 3
    assert plant.bridge.status()["clients"] == 0


def test_who_is_not_connected_hears_so_at_once(env):
    """SN12-5.4.21-4, SN12-6.12-5"""
    plant = Plant(env)
    device = plant.device("d")
    device.send(publish(7, b"x", 1, 1, kind=PREDEFINED))
    found = device.receive(10)
    assert found == {"type": "DISCONNECT", "duration": None}, found
    assert decode(b"\x02\x18") == found


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""ADVERTISE, SEARCHGW and GWINFO: in multicast groups of both kinds of IP, and on a serial line.

As root the tests have a network of their own, with an interface that carries multicast in
IPv6, too; otherwise IPv4 goes over the loopback interface and IPv6 is left out."""

import ctypes
import os
import select
import socket
import struct
import subprocess
import time

from harness import Skip, free_port, main, serial_link, udp_link, wait_until
from mqttsn import decode, frame

CLONE_NEWNET = 0x40000000
INTERFACE = "lo"


def own_network():
    """Returns whether there is one from now on."""
    if os.getuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    add = ["ip", "link", "add", "air0", "type", "veth", "peer", "name", "air1"]
    if subprocess.run(add, capture_output=True).returncode != 0:
        return False
    for words in ("air1 up", "air0 up"):
        subprocess.run(["ip", "link", "set", *words.split()], check=True)
    subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", "air0"], check=True)

    def has_address():
        shown = subprocess.run(["ip", "-6", "address", "show", "dev", "air0"], capture_output=True)
        return b"fe80:" in shown.stdout and b"tentative" not in shown.stdout

    wait_until(has_address, "the interface has an address")
    return True


class Group:
    """A multicast group, and somebody who listens there."""

    def __init__(self, env, version=4):
        self.family = socket.AF_INET if version == 4 else socket.AF_INET6
        if version == 6 and INTERFACE == "lo":
            raise Skip("multicast in IPv6 needs a network of our own")
        self.port = free_port(socket.SOCK_DGRAM)
        host = "225.1.1.1" if version == 4 else "ff02::1234"
        self.name = "%s:%d" % (host if version == 4 else "[%s]" % host, self.port)
        index = socket.if_nametoindex(INTERFACE)
        self.socket = socket.socket(self.family, socket.SOCK_DGRAM)
        env.devices.append(self.socket)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, self.port) if version == 4 else (host, self.port, 0, index))
        address = socket.inet_pton(self.family, host)
        if version == 4:
            group = struct.pack("4s4si", address, bytes(4), index)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            here = struct.pack("4s4si", bytes(4), bytes(4), index)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
            self.to = (host, self.port)
        else:
            group = struct.pack("16si", address, index)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            self.to = (host, self.port, 0, index)

    def hear(self, kind, seconds=20.0):
        """The next frame of a kind in the group; None when there is none."""
        end = time.monotonic() + seconds
        while select.select([self.socket], [], [], max(0, end - time.monotonic()))[0]:
            found = decode(self.socket.recv(2048))
            if found["type"] == kind:
                return found
        return None

    def say(self, octets):
        self.socket.sendto(octets, self.to)


class Plant:
    def __init__(self, env, group, keys="", start=True):
        self.port = free_port(socket.SOCK_DGRAM)
        self.broker = env.broker(start=start)
        link = udp_link(
            self.port,
            "multicast = %s\nmulticast_interface = %s\n%s" % (group.name, INTERFACE, keys),
        )
        everywhere = "0.0.0.0" if group.family == socket.AF_INET else "[::]"
        link = link.replace("127.0.0.1", everywhere)
        self.bridge = env.bridge(env.config(self.broker, link, bridge="gateway_id = 9"))
        self.group = group

    def finds(self, env):
        """A device that knows the group alone publishes, and others hear of the gateway."""
        watcher = env.watcher(self.broker)
        words = ["--discover=" + self.group.name, "--interface", INTERFACE, "--retry", 300]
        result = env.run("snpub", *words, "-d", "-t", "found", "-q", 1, "-m", "x")
        watcher.wait_for(1)
        assert "gateway 9 found" in result.stderr, result.stderr
        assert self.group.hear("SEARCHGW")
        assert self.group.hear("GWINFO") == {"type": "GWINFO", "gateway": 9, "address": b""}


def test_a_device_finds_the_gateway_in_an_ipv4_group(env):
    """SN12-5.4.3-2, SN12-6.1-7, SN12-5.3.9-1: the answer is heard by everybody in the group."""
    Plant(env, Group(env)).finds(env)


def test_a_device_finds_the_gateway_in_an_ipv6_group(env):
    """SN12-5.4.3-2, SN12-6.1-7"""
    Plant(env, Group(env, 6)).finds(env)


def test_a_search_can_be_answered_to_the_asker_alone(env):
    """A-08: where the configuration wants it so."""
    group = Group(env)
    Plant(env, group, "gwinfo = unicast")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setsockopt(
            socket.IPPROTO_IP,
            socket.IP_MULTICAST_IF,
            struct.pack("4s4si", bytes(4), bytes(4), socket.if_nametoindex(INTERFACE)),
        )
        asker.settimeout(20)
        asker.sendto(frame("SEARCHGW", b"\x00"), group.to)
        assert asker.recv(100) == b"\x03\x02\x09"
    assert group.hear("GWINFO", 0.2) is None


def advertises(env, version):
    group = Group(env, version)
    plant = Plant(env, group, "advertise_s = 1", start=False)
    assert group.hear("ADVERTISE", 1.5) is None, "it advertises without a broker"
    plant.broker.start()
    times = []
    for _ in range(3):
        assert group.hear("ADVERTISE") == {"type": "ADVERTISE", "gateway": 9, "duration": 1}
        times.append(time.monotonic())
    assert times[2] - times[0] < 3, "not as often as it says"
    plant.broker.end()
    plant.bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is away")
    while group.hear("ADVERTISE", 0):
        pass
    assert group.hear("ADVERTISE", 1.5) is None, "it advertises although the broker is away"
    plant.broker.start()
    assert group.hear("ADVERTISE"), "it does not advertise again"


def test_a_gateway_advertises_itself_in_an_ipv4_group_while_it_has_a_broker(env):
    """SN12-5.4.1-1, SN12-6.1-1, SN12-6.1-2, SN12-6.1-4"""
    advertises(env, 4)


def test_a_gateway_advertises_itself_in_an_ipv6_group_while_it_has_a_broker(env):
    """SN12-5.4.1-1, SN12-6.1-1, SN12-6.1-2, SN12-6.1-4"""
    advertises(env, 6)


def test_a_standby_takes_over_in_the_group(env):
    """SN12-6.1-6"""
    group = Group(env)
    port = free_port(socket.SOCK_DGRAM)
    link = udp_link(port, "multicast = %s\nmulticast_interface = %s\nadvertise_s = 1"
                    % (group.name, INTERFACE)).replace("127.0.0.1", "0.0.0.0")  # fmt: skip
    env.bridge(env.config(env.broker(), link, bridge="gateway_id = 2\nstandby = yes"))
    end = time.monotonic() + 5
    while time.monotonic() < end:  # the active gateway is there
        group.say(frame("ADVERTISE", b"\x01\x00\x01"))
        found = group.hear("ADVERTISE", 0.5)
        assert found is None or found["gateway"] == 1, found
    wait_until(lambda: (group.hear("ADVERTISE") or {}).get("gateway") == 2, "it takes over")


def test_a_device_finds_the_gateway_on_a_serial_line(env):
    """SN12-6.1-7, SN12-6.1-1: the wire is everybody."""
    broker = env.broker()
    watcher = env.watcher(broker)
    cable = env.cable()
    env.bridge(
        env.config(
            broker,
            serial_link(cable.a, "baud = 115200\nadvertise_s = 1"),
            bridge="gateway_id = 9",
        )
    )
    words = ["--serial", cable.b, "--baud", 115200, "--discover", "--retry", 500]
    result = env.run("snpub", *words, "-d", "-t", "found", "-q", 1, "-m", "x")
    watcher.wait_for(1)
    assert "gateway 9 found" in result.stderr, result.stderr


def test_a_gateway_advertises_itself_on_a_serial_line(env):
    """SN12-6.1-1, SN12-5.4.3-2"""
    cable = env.cable()
    link = serial_link(cable.a, "baud = 115200\nframing = raw\nadvertise_s = 1")
    env.bridge(env.config(env.broker(), link, bridge="gateway_id = 9"))
    line = os.open(cable.b, os.O_RDWR | os.O_NOCTTY)
    heard = b""

    def hears(octets):
        nonlocal heard
        if select.select([line], [], [], 0)[0]:
            heard += os.read(line, 100)
        return octets in heard

    try:
        wait_until(lambda: hears(b"\x05\x00\x09\x00\x01"), "ADVERTISE is on the line")
        os.write(line, frame("SEARCHGW", b"\x01"))
        wait_until(lambda: hears(b"\x03\x02\x09"), "GWINFO is on the line")
    finally:
        os.close(line)


def test_a_search_without_an_answer_ends_with_a_hint(env):
    group = Group(env)
    words = ["--discover=" + group.name, "--interface", INTERFACE, "--retry", 50, "--retries", 2]
    result = env.run("snpub", *words, "-t", "x", "-m", "x", code=1)
    assert "no gateway answers in the group" in result.stderr, result.stderr
    for _ in range(3):
        assert group.hear("SEARCHGW", 0)
    assert not group.hear("SEARCHGW", 0.3)


def test_two_devices_search_once(env):
    """SN12C-6.1-5, SN12C-6.1-4: who hears the other's search during the random delay waits."""
    group = Group(env)
    plant = Plant(env, group)
    watcher = env.watcher(plant.broker)
    words = ["--discover=" + group.name, "--interface", INTERFACE, "--retry", 2000, "-q", 1]
    devices = [
        env.spawn("snpub", *words, "-t", "t%d" % n, "-m", "x", log="snpub%d" % n) for n in range(5)
    ]
    for device in devices:
        assert device.wait() == 0, device.log()
    watcher.wait_for(5)
    searches = 0
    while group.hear("SEARCHGW", 0):
        searches += 1
    assert searches < 5, "everybody has searched"


if __name__ == "__main__":
    if own_network():
        INTERFACE = "air0"
    main(dict.fromkeys(["lo", INTERFACE]))

#!/usr/bin/python3
"""Nodes behind forwarders, over UDP and over a serial line: each a client of its own."""

import os
import select
import socket

from harness import free_port, main, serial_link, udp_link, wait_until
from mqttsn import Device, decode, forward, frame

NODES = 40


class UdpForwarder:
    """One socket for all its nodes. The bridge has never heard of it before."""

    def __init__(self, port):
        self.nodes = {}
        self.strays = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))

    def close(self):
        self.socket.close()

    def send(self, octets):
        self.socket.send(octets)

    def pump(self, seconds):
        """Hands what comes to the nodes it is for."""
        if select.select([self.socket], [], [], max(0, seconds))[0]:
            self.hand_over(self.socket.recv(65536))

    def hand_over(self, octets):
        found = decode(octets)
        assert found["type"] == "FORWARD", found
        node = self.nodes.get(found["node"])
        (node.inbox if node else self.strays).append(found["inner"])


class SerialForwarder(UdpForwarder):
    """The same on a line without framing: MQTT-SN's own lengths tell where frames end."""

    def __init__(self, path):
        self.nodes = {}
        self.strays = []
        self.line = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self.octets = b""

    def close(self):
        os.close(self.line)

    def send(self, octets):
        os.write(self.line, octets)

    def pump(self, seconds):
        if select.select([self.line], [], [], max(0, seconds))[0]:
            self.octets += os.read(self.line, 4096)
        while self.octets and len(self.octets) > self.octets[0]:
            size = self.octets[0] + self.octets[self.octets[0]]
            if len(self.octets) < size:
                return
            self.hand_over(self.octets[:size])
            self.octets = self.octets[size:]


class Node(Device):
    def __init__(self, forwarder, node, client, radius=0):
        super().__init__(9, client)  # its socket is not used
        self.forwarder, self.node, self.radius = forwarder, node, radius
        self.inbox = []
        forwarder.nodes[node] = self

    def send(self, octets):
        self.forwarder.send(forward(self.node, octets, self.radius))

    def receive(self, seconds):
        if not self.inbox:
            self.forwarder.pump(seconds)
        return self.inbox.pop(0) if self.inbox else None


class Plant:
    def __init__(self, env, link):
        self.env = env
        self.broker = env.broker()
        self.watcher = env.watcher(self.broker)
        self.bridge = env.bridge(env.config(self.broker, link))
        self.bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")

    def serves(self, nodes):
        """Each publishes under its name and gets what is for it, and nothing else."""
        for node in nodes:
            node.connect()
            node.subscribe("to/" + node.client, 1)
            node.publish(node.register("from/" + node.client), node.client.encode(), 1)
        self.watcher.wait_for(len(nodes))
        assert sorted((m.topic, m.payload) for m in self.watcher.messages()) == sorted(
            ("from/" + node.client, node.client) for node in nodes
        )
        for node in nodes:
            self.env.mosquitto_pub(
                self.broker, "-t", "to/" + node.client, "-m", "for " + node.client, "-q", 1
            )

        def all_came():
            for node in nodes:
                node.wait("none", None, 0.002)
            return all(node.received for node in nodes)

        wait_until(all_came, "every node has its message")
        self.bridge.wait_for_status(lambda s: s["down"]["queued"] == 0, "all have come")
        for node in nodes:
            assert {f["data"].decode() for f in node.received} == {"for " + node.client}
            assert not node.others and not node.forwarder.strays


def test_many_nodes_behind_a_forwarder_nobody_listed(env):
    """SN12-5.5-1, SN12-5.5-3, SN12-5.5-4, SN12-5.5-7"""
    port = free_port(socket.SOCK_DGRAM)
    plant = Plant(env, udp_link(port))
    forwarder = UdpForwarder(port)
    env.devices.append(forwarder)
    nodes = [Node(forwarder, b"\x0a%c" % n, "n%02d" % n, radius=n % 4) for n in range(NODES)]
    env.devices += nodes
    plant.serves(nodes)
    assert plant.bridge.status()["active"] == NODES


def test_the_same_node_behind_two_forwarders_is_two_clients(env):
    """SN12-5.5-5"""
    port = free_port(socket.SOCK_DGRAM)
    plant = Plant(env, udp_link(port))
    forwarders = [UdpForwarder(port), UdpForwarder(port)]
    nodes = [Node(f, b"\x01", "behind%d" % n) for n, f in enumerate(forwarders)]
    env.devices += forwarders + nodes
    plant.serves(nodes)


def test_nodes_and_a_direct_device_share_an_address(env):
    """SN12-4-2: a forwarder may have something to say for itself."""
    port = free_port(socket.SOCK_DGRAM)
    plant = Plant(env, udp_link(port))
    forwarder = UdpForwarder(port)
    node = Node(forwarder, b"\x01", "node")
    env.devices += [forwarder, node]
    node.connect()
    forwarder.send(frame("CONNECT", b"\x04\x01\x00\x3cforwarder"))
    assert select.select([forwarder.socket], [], [], 20)[0]
    assert decode(forwarder.socket.recv(100)) == {"type": "CONNACK", "code": 0}
    assert plant.bridge.status()["active"] == 2


def test_many_nodes_behind_a_forwarder_on_a_serial_line(env):
    """SN12-5.5-1, SN12-5.5-3, SN12-5.5-4"""
    cable = env.cable()
    plant = Plant(env, serial_link(cable.a, "baud = 115200\nframing = raw"))
    forwarder = SerialForwarder(cable.b)
    nodes = [Node(forwarder, b"\x0b%c" % n, "s%02d" % n) for n in range(8)]
    env.devices += nodes + [forwarder]
    plant.serves(nodes)


def test_searches_reach_as_far_as_they_ask(env):
    """SN12-5.5-6, SN12-6.1-8, SN12-5.3.9-1: the radius is in the envelope of the answer."""
    port = free_port(socket.SOCK_DGRAM)
    Plant(env, udp_link(port))
    forwarder = UdpForwarder(port)
    env.devices.append(forwarder)
    for radius in (0, 1, 2, 3):
        forwarder.send(forward(b"\x01", frame("SEARCHGW", bytes([radius]))))
        assert select.select([forwarder.socket], [], [], 20)[0]
        assert forwarder.socket.recv(100) == forward(b"\x01", b"\x03\x02\x01", radius)


def test_who_is_not_on_the_list_may_not_forward(env):
    """The list is optional; without one everybody may be a forwarder."""
    port = free_port(socket.SOCK_DGRAM)
    plant = Plant(env, udp_link(port, "forwarder_list = 127.0.0.2, 192.0.2.7"))
    stranger = UdpForwarder(port)
    listed = UdpForwarder.__new__(UdpForwarder)
    listed.nodes, listed.strays = {}, []
    listed.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listed.socket.bind(("127.0.0.2", 0))
    listed.socket.connect(("127.0.0.1", port))
    env.devices += [stranger, listed]
    stranger.send(forward(b"\x01", frame("PINGREQ")))
    wait_until(lambda: plant.bridge.note("forwarder_refused") == 1, "it is counted")
    node = Node(listed, b"\x01", "node")
    env.devices.append(node)
    node.connect()
    assert not select.select([stranger.socket], [], [], 0)[0]


if __name__ == "__main__":
    main()

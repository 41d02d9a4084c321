#!/usr/bin/python3
"""One socket that connects under a thousand names, or writes without end, does not keep anybody
else out."""

import socket

import mqttsn
from harness import free_port, main, udp_link, wait_until


def crowd(port, count, will=False):
    """Connects under so many names, one after the other, whatever is answered."""
    device = mqttsn.Device(port)
    for number in range(count):
        device.send(mqttsn.connect("crowd%d" % number, 60, False, will))
        device.receive(1)
    device.close()


def test_newcomers_get_in_when_max_clients_are_kept(env):
    port = free_port(socket.SOCK_DGRAM)
    keys = "max_clients = 100\nmax_new_clients = 0"
    bridge = env.bridge(env.config(env.broker(), udp_link(port), bridge=keys))
    crowd(port, 1000)
    bridge.wait_for_status(lambda s: s["clients"] == 100, "the limit is reached")
    assert bridge.note("session_replaced") >= 800, bridge.status()
    mqttsn.Device(port, "first").connect()
    bridge.kill()
    bridge.start()
    assert bridge.status()["clients"] == 100, bridge.status()
    mqttsn.Device(port, "second").connect()
    wait_until(lambda: bridge.status()["active"] >= 2, "both are there")
    assert bridge.note("client_limit") == 0, bridge.status()


def test_one_address_has_no_more_than_so_many_new_clients(env):
    port = free_port(socket.SOCK_DGRAM)
    bridge = env.bridge(env.config(env.broker(), udp_link(port), bridge="max_new_clients = 60"))
    device = mqttsn.Device(port)
    for number in range(1000):
        device.send(mqttsn.connect("crowd%d" % number, 60, False))
        device.receive(0.002)
    bridge.wait_for_status(lambda s: s["links"]["lan"]["frames_in"] == 1000, "all have come")
    status = bridge.status()
    assert 60 <= status["clients"] <= 60 + status["uptime_s"] + 1, status
    assert status["notes"]["new_client_limit"] == 1000 - status["clients"], status
    mqttsn.Device(port, "other").connect()


def test_one_client_has_no_more_than_so_many_writes(env):
    port = free_port(socket.SOCK_DGRAM)
    bridge = env.bridge(env.config(env.broker(), udp_link(port)))
    device = mqttsn.Device(port, "busy")
    device.connect()
    before = bridge.status()["store"]["written"]
    codes = [0, 0]
    for number in range(1500):
        answer = device.ask(mqttsn.frame("WILLMSGUPD", b"%d" % number), "WILLMSGRESP")
        codes[answer["code"]] += 1
    status = bridge.status()
    assert 598 <= codes[mqttsn.ACCEPTED] <= 600 + status["uptime_s"], codes
    assert status["store"]["written"] - before <= codes[mqttsn.ACCEPTED] + 5, status
    assert status["notes"]["write_limit"] == codes[mqttsn.CONGESTION], status
    mqttsn.Device(port, "other").connect()


if __name__ == "__main__":
    main()

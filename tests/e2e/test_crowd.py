#!/usr/bin/python3
"""One socket that connects under a thousand names does not keep anybody else out."""

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
    keys = "max_clients = 100"
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


if __name__ == "__main__":
    main()

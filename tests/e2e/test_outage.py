#!/usr/bin/python3
"""The broker goes away while sensors publish: no reading is lost, none at QoS 2 comes twice."""

import signal
import socket
import threading
import time

from harness import IN_ORDER, free_port, main, udp_link, wait_until
from sensors import Fleet

OUTAGE_S = 10


def publish_while_away(fleet, bridge, seconds):
    """Sensors go on for so long, at a tenth of what is left; their readings queue up."""
    target = fleet.sent + (fleet.sensors[0].count * len(fleet.sensors) - fleet.sent) // 3
    end = time.monotonic() + seconds
    fleet.run(until=lambda: fleet.sent >= target)
    fleet.settle()
    status = bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
    assert status["up"]["queued"] > 0, status
    while time.monotonic() < end:  # an outage has a length; the bridge must notice nothing else
        assert bridge.is_running()
        time.sleep(0.2)


def test_readings_survive_outages_of_the_broker(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker(IN_ORDER)
    watcher = env.watcher(broker, "out/#")
    bridge = env.bridge(env.config(broker, udp_link(port)))
    fleet = Fleet(env, port, count=20, messages=100)
    fleet.prepare()

    # In the middle of traffic, as an administrator restarts a broker.
    fleet.run(until=lambda: fleet.sent > 400)
    broker.end(signal.SIGTERM)
    publish_while_away(fleet, bridge, OUTAGE_S)
    broker.start()
    fleet.run(until=lambda: fleet.sent > 1400)

    # As a machine loses power. What a broker held in memory only would be its own loss,
    # so that what it has is on its disk when it dies.
    fleet.settle()
    bridge.wait_until_delivered()
    watcher.wait_for(fleet.sent)
    broker.save()
    broker.kill()
    publish_while_away(fleet, bridge, OUTAGE_S)
    broker.start()
    assert fleet.run()

    bridge.wait_until_delivered(60)
    watcher.wait_for(2000)
    fleet.check(watcher)
    account = bridge.status()["up"]
    assert account["accepted"] == account["delivered"] == 2000, account


def test_a_device_is_not_held_up_by_a_broker_that_is_away(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    watcher = env.watcher(broker, "out/#")
    bridge = env.bridge(env.config(broker, udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    broker.end()
    bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
    lines = "".join("line %d\n" % n for n in range(100))
    env.run("snpub", "-p", port, "-t", "out/log", "-q", 2, "-l", text=lines)
    assert bridge.status()["up"]["queued"] == 100
    broker.start()
    watcher.wait_for(100)
    assert watcher.payloads("out/log") == lines.splitlines()


class RudeBroker:
    """Accepts a connection, and ends it in its own way as soon as something is published."""

    def __init__(self, farewell):
        self.farewell = farewell
        self.connects = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = "tcp://127.0.0.1:%d" % self.server.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection:
                self.talk(connection)

    def close(self):
        """Ends serve() first: its accept() would go on with whatever gets the descriptor next."""
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

    def talk(self, connection):
        while head := connection.recv(2):
            body = connection.recv(head[1])  # these packets are short
            if head[0] == 0x10:  # CONNECT
                self.connects += 1
                protocol = body[6]
                connection.sendall(bytes.fromhex("2003000000" if protocol == 5 else "20020000"))
            elif head[0] == 0xC0:  # PINGREQ
                connection.sendall(b"\xd0\x00")
            elif head[0] & 0xF0 == 0x30:  # PUBLISH
                connection.sendall(self.farewell)
                return


def test_a_broker_that_hangs_up_on_a_message_is_connected_again(env):
    """With DISCONNECT and a reason (MQTT 5), with half a packet, with nothing."""
    for farewell in ("e0028100", "e00181", "e000", "30", ""):
        broker = RudeBroker(bytes.fromhex(farewell))
        port = free_port(socket.SOCK_DGRAM)
        bridge = env.bridge(env.config(broker, udp_link(port, "qos_minus_one = yes")))
        for number in range(3):
            bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
            assert broker.connects > number
            env.run("snpub", "-p", port, "-t", "ab", "-S", "-q", -1, "-m", "x")
            wait_until(lambda: broker.connects > number + 1, "it connects again after %r" % farewell)
        bridge.stop()
        broker.close()


def test_a_bridge_that_the_broker_throws_out_comes_back(env):
    """Another client with our id: the broker says DISCONNECT (MQTT 5) or only closes (3.1.1)."""
    for protocol in ("5", "3.1.1"):
        port = free_port(socket.SOCK_DGRAM)
        broker = env.broker()
        watcher = env.watcher(broker, "out/#")
        keys = "client_id = twin\nprotocol = " + protocol
        bridge = env.bridge(env.config(broker, udp_link(port), broker_keys=keys))
        bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
        env.mosquitto_pub(broker, "-i", "twin", "-t", "out/twin", "-m", "me")
        bridge.wait_for_status(lambda s: s["notes"]["broker_lost"] == 1, "the loss is noticed")
        bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected again")
        env.run("snpub", "-p", port, "-t", "out/a", "-m", "b", "-q", 1)
        watcher.wait_for(2)
        bridge.stop()
        broker.end()


for test in (test_readings_survive_outages_of_the_broker,):
    test.limit = 240

if __name__ == "__main__":
    main()

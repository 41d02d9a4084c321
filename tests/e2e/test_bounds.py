#!/usr/bin/python3
"""What happens at each bound: disk, memory, a client and a broker that never acknowledge."""

import os
import socket
import subprocess
import threading

import mqttsn
from harness import Skip, free_port, main, udp_link, wait_until

CONGESTION = 1


class DeafBroker:
    """Speaks MQTT 3.1.1 as far as connecting goes, and never acknowledges a message."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = "tcp://127.0.0.1:%d" % self.port
        self.published = 0
        self.closing = False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.closing:
            try:
                connection, _ = self.listener.accept()
                with connection:
                    self.talk(connection.makefile("rb"), connection)
            except OSError:
                return

    def talk(self, source, connection):
        while head := source.read(1):
            length, shift = 0, 0
            while True:
                octet = source.read(1)[0]
                length |= (octet & 0x7F) << shift
                shift += 7
                if octet < 0x80:
                    break
            source.read(length)
            kind = head[0] >> 4
            if kind == 1:
                connection.sendall(b"\x20\x02\x00\x00")  # CONNACK
            elif kind == 12:
                connection.sendall(b"\xd0\x00")  # PINGRESP
            elif kind == 3:
                self.published += 1

    def close(self):
        self.closing = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def publish_until_congestion(device, tid, payload, limit):
    """Returns how many were accepted before one was refused."""
    for count in range(limit):
        mid = device.next_mid()
        answer = device.ask(mqttsn.publish(tid, payload, 1, mid), "PUBACK", mid)
        if answer["code"] == CONGESTION:
            return count
        assert answer["code"] == mqttsn.ACCEPTED, answer
    raise AssertionError("%d messages and no congestion" % limit)


def accept_again(device, tid, payload):
    mid = device.next_mid()
    answer = device.ask(mqttsn.publish(tid, payload, 1, mid), "PUBACK", mid)
    return answer["code"] == mqttsn.ACCEPTED


def test_a_full_disk_is_congestion_and_loses_nothing(env):
    folder = env.path("data")
    os.mkdir(folder)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        raise Skip("a small file system cannot be mounted")
    try:
        port = free_port(socket.SOCK_DGRAM)
        broker = env.broker(start=False)
        bridge = env.bridge(env.config(broker, udp_link(port)))
        device = mqttsn.Device(port, "s1")
        device.connect()
        tid = device.register("plant/1")
        accepted = publish_until_congestion(device, tid, b"x" * 1000, 10000)
        assert accepted > 100, accepted
        assert bridge.note("store_failed") > 0 and bridge.note("up_congestion") > 0
        assert bridge.status()["up"]["queued"] == accepted, bridge.status()["up"]
        bridge.check_account()

        # A restart with a full disk is none the worse for it.
        bridge.kill()
        bridge.start()
        bridge.wait_until_ready()
        assert bridge.status()["up"]["queued"] == accepted, bridge.status()["up"]

        # The broker makes room, and the sensor is served again.
        broker.start()
        bridge.wait_until_delivered(60)
        assert accept_again(device, tid, b"again")
        bridge.wait_until_delivered()
        assert bridge.status()["up"]["delivered"] == accepted + 1, bridge.status()["up"]
        bridge.check_account()
        bridge.stop()
    finally:
        bridge.kill()
        subprocess.run(["umount", folder], check=False)


def test_the_limit_of_the_file_is_congestion_too(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker(start=False)
    bridge = env.bridge(env.config(broker, udp_link(port), bridge="store_max_mb = 1"))
    device = mqttsn.Device(port, "s1")
    device.connect()
    tid = device.register("plant/1")
    accepted = publish_until_congestion(device, tid, b"x" * 1000, 5000)
    broker.start()
    bridge.wait_until_delivered(60)
    assert accept_again(device, tid, b"again")
    bridge.wait_until_delivered()
    assert bridge.status()["up"]["delivered"] == accepted + 1, bridge.status()["up"]


def test_memory_stays_below_its_limit_whatever_waits(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker(start=False)
    keys = "max_clients = 100\nmemory_mb = 3\nmax_live = 1000000\nqos0_backlog = 1000000"
    bridge = env.bridge(env.config(broker, udp_link(port), bridge=keys))
    device = mqttsn.Device(port, "s1")
    device.connect()
    tid = device.register("plant/1")
    for _ in range(3000):
        device.publish(tid, b"x" * 1000, qos=1)
    for _ in range(300):
        device.publish(tid, b"y" * 1000, qos=0)
    device.publish(tid, b"last", qos=1)
    bridge.wait_for_status(lambda s: s["up"]["accepted"] >= 3001, "all have come")
    status = bridge.status()
    assert status["memory_used"] <= status["memory_size"] <= 3 << 20, status
    assert status["up"]["queued"] >= 3001, status["up"]
    assert status["up"]["dropped"] == status["notes"]["up_dropped_qos0"] > 0, status["up"]
    broker.start()
    bridge.wait_until_delivered(60)
    up = bridge.status()["up"]
    assert up["delivered"] + up["dropped"] == up["accepted"] and up["delivered"] >= 3001, up


def test_subscriptions_of_many_levels_leave_memory_to_others(env):
    port = free_port(socket.SOCK_DGRAM)
    bridge = env.bridge(env.config(env.broker(), udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    empty = bridge.status()["memory_used"]
    devices = [mqttsn.Device(port, "deep%d" % number) for number in range(7)]
    for device in devices:
        device.connect()
    for levels, code in ((1380, mqttsn.NOT_SUPPORTED), (64, mqttsn.ACCEPTED)):
        for number in range(63):
            for device in devices:
                first = "%s-%d-%d" % (device.client, levels, number)
                mid = device.next_mid()
                frame = mqttsn.subscribe(mid, first + "/" * (levels - 1))
                assert device.ask(frame, "SUBACK", mid)["code"] == code
        status = bridge.status()
        if code != mqttsn.ACCEPTED:
            assert status["memory_used"] - empty < 100000, status
    assert status["subscriptions"] == 441, status
    assert status["memory_used"] - empty < status["memory_size"] / 8, status


def test_a_client_that_never_acknowledges_fills_its_own_queue_only(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    keys = "max_queue = 10"
    bridge = env.bridge(env.config(broker, udp_link(port, "retry_ms = 60000"), bridge=keys))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    deaf = mqttsn.Device(port, "deaf")
    deaf.connect(duration=600)
    deaf.subscribe("c/#", qos=1)
    deaf.serve = lambda found: None
    other = mqttsn.Device(port, "other")
    other.connect(duration=600)
    other.subscribe("c/#", qos=1)
    for number in range(30):
        env.mosquitto_pub(broker, "-t", "c/1", "-q", 1, "-m", number)
        wait_until(
            lambda: other.wait("PINGRESP", seconds=0.01) or len(other.received) > number,
            "the other client gets message %d" % number,
        )
    assert [m["data"] for m in other.received] == [b"%d" % n for n in range(30)], other.received
    status = bridge.wait_for_status(lambda s: s["down"]["queued"] == 10, "one queue is full")
    assert status["notes"]["down_queue_full"] == status["down"]["dropped"] == 20, status["down"]
    assert status["down"]["delivered"] == 30, status["down"]
    bridge.check_account()


def test_a_broker_that_never_acknowledges_is_a_bound_of_its_own(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = DeafBroker()
    try:
        config = env.config(
            broker.url,
            udp_link(port),
            bridge="max_backlog = 500\ncommit_delay_ms = 2",
            broker_keys="protocol = 3.1.1\nmax_inflight = 10",
        )
        bridge = env.bridge(config)
        bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
        device = mqttsn.Device(port, "s1")
        device.connect()
        tid = device.register("plant/1")
        assert publish_until_congestion(device, tid, b"x", 1000) == 500
        status = bridge.status()
        assert status["undecided"] == 10 and status["up"]["queued"] == 500, status
        wait_until(lambda: broker.published >= 10, "the window is used")
        assert broker.published == 10, broker.published
        bridge.check_account()
    finally:
        broker.close()


def memory_kb(bridge):
    with open("/proc/%d/status" % bridge.process.pid, encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def publish_what_no_link_carries(env, protocol):
    """A sensor that is subscribed, and 60 MB that somebody publishes for it."""
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    keys = "protocol = " + protocol
    bridge = env.bridge(env.config(broker, udp_link(port), broker_keys=keys))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    valve = mqttsn.Device(port, "valve")
    env.devices.append(valve)
    valve.connect()
    valve.subscribe("cmd/#", 1)
    env.mosquitto_pub(broker, "-t", "cmd/first", "-m", "first", "-q", 1)
    valve.serve(valve.wait("PUBLISH"))
    before_kb = memory_kb(bridge)
    file = env.path("large")
    with open(file, "wb") as large:
        large.truncate(60 << 20)
    env.mosquitto_pub(broker, "-t", "cmd/large", "-f", file, "-q", 1)
    return broker, bridge, valve, before_kb


def wait_for_payload(valve, payload):
    while (message := valve.wait("PUBLISH", seconds=60.0))["data"] != payload:
        valve.serve(message)


def test_the_broker_is_told_what_is_too_large(env):
    broker, bridge, valve, before_kb = publish_what_no_link_carries(env, "5")
    env.mosquitto_pub(broker, "-t", "cmd/next", "-m", "next", "-q", 1)
    wait_for_payload(valve, b"next")
    assert memory_kb(bridge) - before_kb < 4000, (before_kb, memory_kb(bridge))
    assert bridge.note("broker_lost") == 0


def test_without_mqtt_5_a_packet_that_is_too_large_is_not_read(env):
    broker, bridge, valve, before_kb = publish_what_no_link_carries(env, "3.1.1")
    bridge.wait_for_log("cut: the broker sends a packet of more than")
    bridge.wait_for_log("the session that brings it is given up", 60)
    assert bridge.status()["broker"]["oversized"] == 2
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is back")
    env.mosquitto_pub(broker, "-t", "cmd/next", "-m", "next", "-q", 1)
    wait_for_payload(valve, b"next")
    assert memory_kb(bridge) - before_kb < 80000, (before_kb, memory_kb(bridge))
    assert bridge.status()["broker"]["oversized"] == 2


def test_a_subscription_that_is_too_large_for_the_broker_is_not_sent(env):
    """CONNACK of MQTT 5 says so: nobody is cut off over it."""
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker("max_packet_size 300")
    watcher = env.watcher(broker, "reading")
    bridge = env.bridge(env.config(broker, udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    odd = mqttsn.Device(port, "odd")
    odd.connect()
    answer = odd.ask(mqttsn.subscribe(1, "x" * 330, 1), "SUBACK", 1)
    assert answer["code"] == mqttsn.NOT_SUPPORTED, answer
    env.run("snpub", "-p", port, "-i", "good", "-t", "reading", "-q", 1, "-m", "1")
    watcher.wait_for(1)
    assert bridge.note("broker_refused_filter") == 1 and bridge.note("broker_lost") == 0


if __name__ == "__main__":
    main()

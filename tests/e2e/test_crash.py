#!/usr/bin/python3
"""kill -9 at random moments, of the bridge and of the broker, with messages at QoS 1 and 2 under way
in both directions: nothing that was acknowledged is lost, and at QoS 2 nothing comes twice.

N=200 says how often the bridge is killed (the broker: a quarter of it), SEED which moments.
`make crash N=5000` is the long form.

What a killed broker had in memory only is lost, and with it what it has acknowledged: mosquitto
writes its memory when told to, and no broker's disk is our subject. So it is killed at a random
moment, but with its line held up while it writes: what it knows on disk is then exactly what it has
told anybody.
"""

import os
import random
import signal
import socket
import time

import mqttsn
from harness import IN_ORDER, free_port, main, udp_link, wait_until
from mqtt import Client, Line
from sensors import Fleet

KILLS = int(os.environ.get("N", "200"))
SEED = int(os.environ.get("SEED", str(random.randrange(1 << 32))))
LIFE_S = 0.3  # the bridge lives for up to this long
SENSORS = 6
RECEIVERS = 3
RETRY_S = 0.1
ON_THE_WAY_MAX = 60  # to the devices: their queues in the bridge have a limit


class Receiver(mqttsn.Device):
    """A device that counts what it gets; a QoS 2 message is new until its PUBREL."""

    def __init__(self, port, name):
        super().__init__(port, name, retry_s=RETRY_S, tries=100)
        self.open_mids = set()
        self.payloads = []
        self.known = set()

    def prepare(self):
        self.connect(duration=3600, clean=False)
        self.subscribe("in/" + self.client, qos=2)

    def serve(self, found):
        if found["type"] == "PUBREL":
            self.open_mids.discard(found["mid"])
        elif found["type"] == "PUBLISH" and found["mid"] not in self.open_mids:
            self.payloads.append(found["data"])
            self.known.add(found["data"])
            if found["qos"] == 2:
                self.open_mids.add(found["mid"])
        super().serve(found)

    def take(self):
        while (found := self.receive(0)) is not None:
            self.serve(found)


class Traffic:
    """Sensors that publish, a client of the broker that gets it; a client that publishes, devices
    that get it. All in one thread."""

    def __init__(self, env, udp_port, mqtt_port):
        self.fleet = Fleet(env, udp_port, SENSORS, 0)
        for sensor in self.fleet.sensors:
            sensor.retry_s = RETRY_S
        self.receivers = [Receiver(udp_port, "r%d" % n) for n in range(RECEIVERS)]
        env.devices += self.receivers
        self.watcher = Client(mqtt_port, "watcher", ["out/#"])
        self.sender = Client(mqtt_port, "sender", window=4)
        self.sent = 0
        self.both_ways = True

    def prepare(self):
        self.fleet.prepare()
        for receiver in self.receivers:
            receiver.prepare()
        wait_until(lambda: self.watcher.turn() or self.watcher.ready, "the watcher subscribes")

    def turn(self, more):
        for sensor in self.fleet.sensors:
            if more:
                sensor.count = sensor.next + 1
            sensor.tick(time.monotonic())
            sensor.take(time.monotonic())
        for receiver in self.receivers:
            receiver.take()
        on_the_way = self.sent - sum(len(r.known) for r in self.receivers)
        while more and self.both_ways and on_the_way < ON_THE_WAY_MAX and not self.sender.waiting:
            name, qos = "r%d" % (self.sent % RECEIVERS), 1 + self.sent // RECEIVERS % 2
            self.sender.publish("in/" + name, qos, b"%s %d %d" % (name.encode(), qos, self.sent))
            self.sent += 1
        self.sender.turn()
        self.watcher.turn()
        time.sleep(0.0005)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn(True)

    def settle(self, bridge):
        """Lets everything come to its end."""
        for sensor in self.fleet.sensors:
            sensor.count = sensor.next + (sensor.state is not None)

        def is_done():
            self.turn(False)
            return self.sender.idle and all(sensor.done for sensor in self.fleet.sensors)

        wait_until(is_done, "everything is acknowledged", 60)

        def is_delivered():
            for _ in range(100):
                self.turn(False)
            status = bridge.status()
            return status["undecided"] == 0 and not status["up"]["queued"] + status["down"]["queued"]

        wait_until(is_delivered, "everything is delivered", 60)

    def check(self):
        got = {}
        for topic, _, payload in self.watcher.received:
            got.setdefault(topic, []).append(payload)
        for sensor in self.fleet.sensors:
            for qos in (1, 2):
                sent = [sensor.payload(n) for n in range(sensor.count) if sensor.qos(n) == qos]
                compare(sensor.topic(qos), qos, sent, got.get(sensor.topic(qos), []))
        for receiver in self.receivers:
            for qos in (1, 2):
                head = b"%s %d " % (receiver.client.encode(), qos)
                sent = [p for p in self.sender.acknowledged if p.startswith(head)]
                compare(head.decode(), qos, sent, [p for p in receiver.payloads if p.startswith(head)])
        return sum(sensor.count for sensor in self.fleet.sensors), len(self.sender.acknowledged)


def compare(what, qos, sent, got):
    lost = sorted(set(sent) - set(got))
    unknown = sorted(set(got) - set(sent))
    assert not lost and not unknown, "seed %d: %s: lost %s, unknown %s" % (SEED, what, lost, unknown)
    twice = sorted({p for p in got if got.count(p) > 1})
    assert qos == 1 or not twice, "seed %d: %s: more than once: %s" % (SEED, what, twice)


def start(env, **keys):
    chance = random.Random(SEED)
    print("# SEED=%d" % SEED, flush=True)
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker(IN_ORDER, quiet=True)
    line = Line(broker.port)
    url = "tcp://127.0.0.1:%d" % line.port
    bridge = env.bridge(env.config(url, udp_link(port, "retry_ms = 100"), log="info", **keys))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    traffic = Traffic(env, port, line.port)
    traffic.prepare()
    bridge.unwatch()
    return chance, broker, line, bridge, traffic


def finish(bridge, traffic, kills):
    bridge.wait_until_ready()
    traffic.settle(bridge)
    up, down = traffic.check()
    bridge.check_account()
    status = bridge.status()
    for direction in ("up", "down"):
        account = status[direction]
        assert account["dropped"] == account["expired"] == account["queued"] == 0, status
    print("# %d kills, %d messages to the broker, %d from it" % (kills, up, down), flush=True)


def kill_bridge(env, kills, both_ways=True, **keys):
    chance, _, line, bridge, traffic = start(env, **keys)
    traffic.both_ways = both_ways
    for _ in range(kills):
        traffic.run(chance.uniform(0, LIFE_S))
        bridge.end(signal.SIGKILL)
        bridge.start(ready=False)
    finish(bridge, traffic, kills)
    line.close()


def test_a_killed_bridge_loses_and_doubles_nothing(env):
    kill_bridge(env, KILLS)


def test_a_killed_bridge_loses_and_doubles_nothing_with_mqtt_3_1_1(env):
    kill_bridge(env, KILLS // 4, broker_keys="protocol = 3.1.1")


def test_a_killed_bridge_loses_and_doubles_nothing_in_transparent_mode(env):
    # To the broker only: when a connection comes up and is lost twice in a row, mosquitto 2.0.11
    # sends the PUBLISH again of a message whose PUBREL it has sent already.
    kill_bridge(env, KILLS // 8, both_ways=False, bridge="mode = transparent")


def test_a_killed_broker_makes_the_bridge_lose_and_double_nothing(env):
    chance, broker, line, bridge, traffic = start(env)
    for _ in range(KILLS // 4):
        traffic.run(chance.uniform(0, LIFE_S))
        line.hold()
        broker.save()
        broker.end(signal.SIGKILL)
        broker.start()
        line.cut()
    finish(bridge, traffic, KILLS // 4)
    line.close()


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test.limit = 120 + KILLS

if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Thousands of sleeping devices: each subscribed, asleep, and awake in turns.

CLIENTS and SECONDS in the environment say how many and for how long; `make sleepers` takes
5000 and 600. Somebody publishes for one or the other at QoS 1; each message must come to its
sleeper, once and in order. Then all sleep, nothing happens, and the bridge must have nothing to
do, and no more memory in use than when it began."""

import heapq
import os
import random
import resource
import select
import socket
import struct
import time

from harness import PATIENCE, Skip, free_port, main, udp_link, wait_until
from mqttsn import SHORT, connect, disconnect, pingreq, short, subscribe

CLIENTS = int(os.environ.get("CLIENTS", 300))
SECONDS = int(os.environ.get("SECONDS", 10))
WAKE_S = min(30.0, SECONDS / 4)  # from one wake to the next
RATE = CLIENTS / 20  # messages per second for all of them
RETRY_S = 3.0
IDLE_S = min(30, max(5, SECONDS // 10))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:;,!=()<>"


class Sleeper:
    def __init__(self, port, number):
        self.name = "s%05d" % number
        self.topic = short(LETTERS[number // len(LETTERS)] + LETTERS[number % len(LETTERS)])
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", port))
        self.waiting = None  # type of the answer that is waited for; None: asleep
        self.frame = b""
        self.due = 0.0
        self.sent = 0  # messages published for it
        self.got = 0  # the number of the last one that came
        self.wakes = 0

    def close(self):
        self.socket.close()

    def ask(self, frame, answer, now):
        self.frame, self.waiting, self.due = frame, answer, now + RETRY_S
        self.socket.send(frame)

    def wake(self, now):
        self.ask(pingreq(self.name), 0x17, now)

    def take(self, octets, now):
        """True when it has gone to sleep."""
        kind = octets[1]
        if kind == 0x0C:  # PUBLISH
            tid, mid = struct.unpack(">HH", octets[3:7])
            number = int(octets[7:])
            assert number <= self.got + 1, "%s: %d after %d" % (self.name, number, self.got)
            assert number == self.got + 1 or octets[2] & 0x80, "%s: %d twice" % (self.name, number)
            self.got = number
            self.socket.send(struct.pack(">BBHHB", 7, 0x0D, tid, mid, 0))
            self.due = now + RETRY_S
            return False
        if kind != self.waiting:
            return False
        self.waiting = None
        if kind == 0x05:  # CONNACK
            self.ask(subscribe(1, self.topic, 1, SHORT), 0x13, now)
        elif kind == 0x13:  # SUBACK
            assert octets[7] == 0, octets
            self.ask(disconnect(3600), 0x18, now)
        elif kind == 0x17:  # PINGRESP
            self.wakes += 1
        return self.waiting is None


class Crowd:
    def __init__(self, env, port):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard < CLIENTS + 200:
            raise Skip("only %d files may be open" % hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.sleepers = [Sleeper(port, number) for number in range(CLIENTS)]
        env.devices += self.sleepers
        self.by_fd = {s.socket.fileno(): s for s in self.sleepers}
        self.epoll = select.epoll()
        for fd in self.by_fd:
            self.epoll.register(fd, select.EPOLLIN)
        self.wakes = []  # (when, number) of those asleep
        self.busy = set()
        self.next_check = 0.0
        self.random = random.Random(1)

    def connect(self):
        """A few at a time, until all are asleep."""
        new = list(self.sleepers)
        while new or self.busy:
            while new and len(self.busy) < 200:
                s = new.pop()
                s.ask(connect(s.name, 3600), 0x05, time.monotonic())
                self.busy.add(s)
            self.turn(0.1)
        spread = time.monotonic()
        self.wakes = [(spread + self.random.uniform(0, WAKE_S), n) for n in range(CLIENTS)]
        heapq.heapify(self.wakes)

    def turn(self, seconds):
        for fd, _ in self.epoll.poll(seconds, 500):
            s = self.by_fd[fd]
            try:
                while True:
                    if s.take(s.socket.recv(2048), time.monotonic()):
                        self.busy.discard(s)
            except BlockingIOError:
                pass
        now = time.monotonic()
        if now > self.next_check:
            self.next_check = now + 0.5
            for s in [s for s in self.busy if s.due < now]:
                s.ask(s.frame, s.waiting, now)

    def wake_who_is_due(self, every_s):
        now = time.monotonic()
        while self.wakes and self.wakes[0][0] <= now:
            when, number = heapq.heappop(self.wakes)
            s = self.sleepers[number]
            if s not in self.busy:
                s.wake(now)
                self.busy.add(s)
            heapq.heappush(self.wakes, (when + every_s, number))

    def publish_one(self, publisher):
        s = self.random.choice(self.sleepers)
        s.sent += 1
        publisher.publish(struct.pack(">H", s.topic), b"%d" % s.sent)


class Publisher:
    """As little of MQTT 3.1.1 as is needed to publish at QoS 1."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03pub")
        assert self.socket.recv(4)[3] == 0, "the broker refuses"
        self.mid = 0

    def close(self):
        self.socket.close()

    def publish(self, topic, payload):
        self.mid = self.mid % 65535 + 1
        body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", self.mid) + payload
        self.socket.sendall(bytes([0x32, len(body)]) + body)
        try:
            self.socket.recv(65536, socket.MSG_DONTWAIT)  # acknowledgements of earlier ones
        except BlockingIOError:
            pass


class Meter:
    """What the bridge uses."""

    def __init__(self, bridge):
        self.bridge = bridge
        self.pid = bridge.process.pid
        self.samples = []  # resident KiB

    def cpu_s(self):
        with open("/proc/%d/stat" % self.pid, encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kb(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    def files(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))


def test_thousands_sleep_and_wake_without_a_leak(env):
    """SN12-6.14-3, SN12-6.14-8, SN12-6.14-10, SN12-6.14-18"""
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker("autosave_interval 0", quiet=True)
    bridge = env.bridge(
        env.config(broker, udp_link(port), bridge="max_clients = %d" % (CLIENTS + 10), log="warning")
    )
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    crowd, meter = Crowd(env, port), Meter(bridge)
    crowd.connect()
    status = bridge.status()
    assert status["asleep"] == status["subscriptions"] == CLIENTS, status
    memory, files = status["memory_used"], meter.files()

    publisher = Publisher(broker.port)
    env.devices.append(publisher)
    begin, cpu = time.monotonic(), meter.cpu_s()
    published, next_sample = 0, begin
    while (now := time.monotonic()) < begin + SECONDS:
        while published < RATE * (now - begin):
            crowd.publish_one(publisher)
            published += 1
        crowd.wake_who_is_due(WAKE_S)
        crowd.turn(0.01)
        if now >= next_sample:
            meter.samples.append(meter.resident_kb())
            next_sample += SECONDS / 40
    busy = 100 * (meter.cpu_s() - cpu) / SECONDS
    bridge.wait_for_status(lambda s: s["down"]["accepted"] == published, "the bridge has them all")

    def all_came():
        for s in crowd.sleepers:
            if s.got < s.sent and s not in crowd.busy:
                s.wake(time.monotonic())
                crowd.busy.add(s)
        crowd.turn(0.05)
        return not crowd.busy and all(s.got == s.sent for s in crowd.sleepers)

    wait_until(all_came, "every message has come to its sleeper", 3 * PATIENCE)
    status = bridge.status()
    assert status["down"]["delivered"] == published, (status["down"], published)
    assert status["asleep"] == CLIENTS and status["notes"]["client_lost"] == 0

    time.sleep(1)  # lazy writes of what has just happened
    cpu = meter.cpu_s()
    time.sleep(IDLE_S)
    idle = 100 * (meter.cpu_s() - cpu) / IDLE_S
    after = bridge.status()["memory_used"]
    quarter = len(meter.samples) // 4
    first, last = meter.samples[quarter], max(meter.samples[-quarter:])
    print(
        "# %d sleepers, %d s: %d wakes, %d messages; CPU %.1f %%, idle %.2f %%; resident %d KiB "
        "after a quarter, %d KiB at most in the last; core %d -> %d octets; files %d -> %d"
        % (CLIENTS, SECONDS, sum(s.wakes for s in crowd.sleepers), published, busy, idle, first,
           last, memory, after, files, meter.files())  # fmt: skip
    )
    assert idle < 2, "not idle: %.2f %%" % idle
    assert meter.files() == files
    # What a queue has once held may be kept for the next message, but not more with each.
    assert after < memory * 1.1 + 100000, "core: %d -> %d octets" % (memory, after)
    assert last < first * 1.05 + 1024, "resident: %s KiB" % meter.samples


test_thousands_sleep_and_wake_without_a_leak.limit = 2 * SECONDS + 180


if __name__ == "__main__":
    main()

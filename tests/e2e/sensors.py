"""Many sensors in one process, each with one message open at a time."""

import select
import time

import mqttsn


class Sensor(mqttsn.Device):
    """Publishes a list of messages one after the other: payload number, at QoS 1 and 2 by turns."""

    def __init__(self, port, name, count):
        super().__init__(port, name)
        self.name = name
        self.count = count
        self.next = 0  # message to be sent next
        self.state = None  # None, "PUBACK", "PUBREC" or "PUBCOMP": what is waited for
        self.open_mid = 0
        self.frame = b""
        self.due = 0.0
        self.repeats = 0

    def payload(self, number):
        return b"%s %d" % (self.name.encode(), number)

    @staticmethod
    def qos(number):
        return 1 + number % 2

    def topic(self, qos):
        return "out/%s/%d" % (self.name, qos)

    def prepare(self):
        self.connect(duration=3600, clean=False)
        for qos in (1, 2):
            self.register(self.topic(qos))

    @property
    def done(self):
        return self.next >= self.count and self.state is None

    def emit(self, frame, now):
        self.frame = frame
        self.due = now + self.retry_s
        self.send(frame)

    def begin(self, now):
        qos = self.qos(self.next)
        self.open_mid = self.next_mid()
        self.state = "PUBACK" if qos == 1 else "PUBREC"
        tid = self.topics[self.topic(qos)]
        self.emit(mqttsn.publish(tid, self.payload(self.next), qos, self.open_mid), now)

    def tick(self, now):
        if self.state is None:
            if self.next < self.count:
                self.begin(now)
        elif now >= self.due:
            self.repeats += 1
            again = bytearray(self.frame)
            if self.state in ("PUBACK", "PUBREC"):
                again[2] |= 0x80  # DUP
            self.emit(bytes(again), now)

    def take(self, now):
        found = self.receive(0)
        if found is None or found.get("mid") != self.open_mid or found["type"] != self.state:
            return
        if self.state == "PUBREC":
            self.state = "PUBCOMP"
            self.emit(mqttsn.acknowledge("PUBREL", self.open_mid), now)
            return
        if found.get("code", mqttsn.ACCEPTED) == mqttsn.CONGESTION:
            self.due = now + 0.5  # the message stays open, and is tried again
            return
        assert found.get("code", mqttsn.ACCEPTED) == mqttsn.ACCEPTED, found
        self.state = None
        self.next += 1
        self.tick(now)


class Fleet:
    def __init__(self, env, port, count, messages):
        self.sensors = [Sensor(port, "s%02d" % number, messages) for number in range(count)]
        env.devices += self.sensors

    def prepare(self):
        for sensor in self.sensors:
            sensor.prepare()

    def run(self, until=lambda: False, seconds=60.0, pace_s=0.0):
        """Runs until all have sent everything, or until says so. Returns whether all have."""
        end = time.monotonic() + seconds
        poller = select.poll()
        by_fd = {sensor.fileno(): sensor for sensor in self.sensors}
        for fd in by_fd:
            poller.register(fd, select.POLLIN)
        while not all(sensor.done for sensor in self.sensors):
            now = time.monotonic()
            if now > end:
                raise AssertionError(
                    "after %g s the sensors are at %s"
                    % (seconds, [(s.next, s.state) for s in self.sensors])
                )
            if until():
                return False
            for sensor in self.sensors:
                sensor.tick(now)
            for fd, _ in poller.poll(20 + 1000 * pace_s):
                by_fd[fd].take(time.monotonic())
        return True

    def settle(self, seconds=30.0):
        """Lets every open message end, and begins no new one."""
        counts = [sensor.count for sensor in self.sensors]
        for sensor in self.sensors:
            sensor.count = sensor.next + (1 if sensor.state is not None else 0)
        self.run(seconds=seconds)
        for sensor, count in zip(self.sensors, counts):
            sensor.count = count

    @property
    def sent(self):
        return sum(sensor.next for sensor in self.sensors)

    def check(self, watcher, at_most_once=(2,)):
        """Everything has arrived, in order; at QoS 2 once."""
        for sensor in self.sensors:
            for qos in (1, 2):
                expected = [
                    sensor.payload(n).decode() for n in range(sensor.count) if sensor.qos(n) == qos
                ]
                got = watcher.payloads(sensor.topic(qos))
                first = list(dict.fromkeys(got))
                assert set(got) == set(expected), "%s: missing %s, unknown %s" % (
                    sensor.topic(qos),
                    sorted(set(expected) - set(got))[:10],
                    sorted(set(got) - set(expected))[:10],
                )
                assert first == expected, "%s: out of order: %s" % (sensor.topic(qos), first)
                if qos in at_most_once:
                    again = [p for p in first if got.count(p) > 1]
                    assert not again, "%s: more than once: %s" % (sensor.topic(qos), again)

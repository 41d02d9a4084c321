"""An MQTT 3.1.1 client whose session survives any number of lost connections, written from the
specification, and a line to the broker that can be held up and cut.

mosquitto_sub will not do for counting: over a restart of the broker it forgets QoS 2 messages
that it has answered with PUBREC.
"""

import os
import select
import socket
import struct
import threading

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK = range(1, 10)
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14
DUP = 8


def packet(kind, flags, body):
    length, head = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        head += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([kind << 4 | flags]) + head + body


def text(value):
    octets = value.encode()
    return struct.pack(">H", len(octets)) + octets


class Client:
    """Call turn() often. Messages that came are in `received`, as (topic, qos, payload); payloads
    whose handshake has ended are in `acknowledged`."""

    def __init__(self, port, name, filters=(), window=10):
        self.port = port
        self.name = name
        self.filters = filters
        self.window = window
        self.socket = None
        self.buffer = b""
        self.mid = 0
        self.ready = False  # CONNACK is here, and SUBACK if there is a filter
        self.outgoing = {}  # mid: [state, topic, qos, payload], in the order they were sent
        self.incoming = set()  # mids of QoS 2 messages that are not released
        self.waiting = []  # not yet sent
        self.received = []
        self.acknowledged = []

    def payloads(self, topic):
        return [payload.decode() for name, _, payload in self.received if name == topic]

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None
        self.ready = False
        self.buffer = b""

    def next_mid(self):
        self.mid = self.mid % 65535 + 1
        while self.mid in self.outgoing:
            self.mid = self.mid % 65535 + 1
        return self.mid

    def publish(self, topic, qos, payload):
        self.waiting.append((topic, qos, payload))

    @property
    def idle(self):
        return not self.waiting and not self.outgoing

    def send(self, kind, flags, body):
        try:
            self.socket.sendall(packet(kind, flags, body))
        except (OSError, AttributeError):
            self.close()

    def open(self):
        try:
            self.socket = socket.create_connection(("127.0.0.1", self.port), 5)
        except OSError:
            self.socket = None
            return
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Clean session 0, keep alive off.
        self.send(CONNECT, 0, text("MQTT") + b"\x04\x00\x00\x00" + text(self.name))

    def send_publish(self, mid, dup):
        _, topic, qos, payload = self.outgoing[mid]
        head = text(topic) + struct.pack(">H", mid)
        self.send(PUBLISH, qos << 1 | (DUP if dup else 0), head + payload)

    def take_connack(self, body):
        assert body[1] == 0, "%s: refused: %d" % (self.name, body[1])
        if not body[0] & 1:
            self.incoming.clear()
            for entry in self.outgoing.values():
                entry[0] = PUBREC if entry[2] == 2 else PUBACK
        for mid, entry in list(self.outgoing.items()):
            if entry[0] == PUBCOMP:
                self.send(PUBREL, 2, struct.pack(">H", mid))
            else:
                self.send_publish(mid, True)
        for name in self.filters:
            mid = struct.pack(">H", self.next_mid())
            self.send(SUBSCRIBE, 2, mid + text(name) + b"\x02")
        self.ready = not self.filters

    def take_publish(self, flags, body):
        qos = flags >> 1 & 3
        length = struct.unpack(">H", body[:2])[0]
        topic = body[2 : 2 + length].decode()
        rest = body[2 + length :]
        mid = rest[:2] if qos else b""
        message = (topic, qos, rest[len(mid) :])
        if qos < 2 or mid not in self.incoming:
            self.received.append(message)
        if qos == 1:
            self.send(PUBACK, 0, mid)
        elif qos == 2:
            self.incoming.add(mid)
            self.send(PUBREC, 0, mid)

    def take(self, kind, flags, body):
        if kind == CONNACK:
            self.take_connack(body)
        elif kind == SUBACK:
            self.ready = True
        elif kind == PUBLISH:
            self.take_publish(flags, body)
        elif kind == PUBREL:
            self.incoming.discard(body[:2])
            self.send(PUBCOMP, 0, body[:2])
        elif kind in (PUBACK, PUBREC, PUBCOMP):
            mid = struct.unpack(">H", body[:2])[0]
            entry = self.outgoing.get(mid)
            if entry is None:
                return
            if kind == PUBREC and entry[0] in (PUBREC, PUBCOMP):
                entry[0] = PUBCOMP
                self.send(PUBREL, 2, body[:2])
            elif kind == entry[0]:
                self.acknowledged.append(entry[3])
                del self.outgoing[mid]

    def read(self):
        try:
            octets = self.socket.recv(65536)
        except OSError:
            octets = b""
        if not octets:
            self.close()
            return
        self.buffer += octets
        while self.buffer:
            length, shift, at = 0, 0, 1
            while True:
                if at == len(self.buffer):
                    return
                length |= (self.buffer[at] & 0x7F) << shift
                shift += 7
                at += 1
                if not self.buffer[at - 1] & 0x80:
                    break
            if len(self.buffer) < at + length:
                return
            first, body = self.buffer[0], self.buffer[at : at + length]
            self.buffer = self.buffer[at + length :]
            self.take(first >> 4, first & 15, body)

    def turn(self):
        """Reads what is there, sends what may be sent; never waits."""
        if self.socket is None:
            self.open()
        while self.socket is not None and select.select([self.socket], [], [], 0)[0]:
            self.read()
        while self.ready and self.waiting and len(self.outgoing) < self.window:
            topic, qos, payload = self.waiting.pop(0)
            mid = self.next_mid()
            self.outgoing[mid] = [PUBACK if qos == 1 else PUBREC, topic, qos, payload]
            self.send_publish(mid, False)


class Line:
    """A TCP port that leads to another one. While it is held nothing passes it; cut() drops every
    connection and what is on its way."""

    def __init__(self, to):
        self.to = to
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.other = {}  # socket: its far end
        self.wake_read, self.wake_write = os.pipe()
        self.order = None
        self.done = threading.Event()
        self.held = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _tell(self, order):
        self.done.clear()
        self.order = order
        os.write(self.wake_write, b"x")
        self.done.wait()

    def hold(self):
        """Nothing more passes when this returns."""
        self._tell("hold")

    def cut(self):
        """And lets new connections through again."""
        self._tell("cut")

    def close(self):
        self._tell("close")
        self.thread.join()

    def _drop(self, one):
        for end in (one, self.other.pop(one, None)):
            if end is not None:
                self.other.pop(end, None)
                end.close()

    def _accept(self):
        near, _ = self.listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self.to), 5)
        except OSError:
            near.close()
            return
        for one, two in ((near, far), (far, near)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.other[one] = two

    def _pass_on(self, one):
        try:
            octets = one.recv(65536)
            if octets:
                self.other[one].sendall(octets)
                return
        except OSError:
            pass
        self._drop(one)

    def _run(self):
        while True:
            sources = [self.wake_read]
            if not self.held:
                sources += [self.listener, *self.other]
            ready, _, _ = select.select(sources, [], [])
            if self.wake_read in ready:
                os.read(self.wake_read, 1)
                self.held = self.order == "hold"
                if not self.held:
                    for one in list(self.other):
                        self._drop(one)
                self.done.set()
                if self.order == "close":
                    self.listener.close()
                    return
                continue
            for one in ready:
                if one is self.listener:
                    self._accept()
                elif one in self.other:
                    self._pass_on(one)

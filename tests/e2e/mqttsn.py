"""MQTT-SN 1.2 frames and a device's side in Python, written from the specification and
from nothing of the C code, so that the two do not share their mistakes.

A frame is a dict: {"type": "PUBLISH", "qos": 1, ...}. Unknown types decode to
{"type": 0x03, "body": b"..."}; frames that are no frame raise ValueError.
"""

import select
import socket
import struct
import time

TYPES = {
    0x00: "ADVERTISE",
    0x01: "SEARCHGW",
    0x02: "GWINFO",
    0x04: "CONNECT",
    0x05: "CONNACK",
    0x06: "WILLTOPICREQ",
    0x07: "WILLTOPIC",
    0x08: "WILLMSGREQ",
    0x09: "WILLMSG",
    0x0A: "REGISTER",
    0x0B: "REGACK",
    0x0C: "PUBLISH",
    0x0D: "PUBACK",
    0x0E: "PUBCOMP",
    0x0F: "PUBREC",
    0x10: "PUBREL",
    0x12: "SUBSCRIBE",
    0x13: "SUBACK",
    0x14: "UNSUBSCRIBE",
    0x15: "UNSUBACK",
    0x16: "PINGREQ",
    0x17: "PINGRESP",
    0x18: "DISCONNECT",
    0x1A: "WILLTOPICUPD",
    0x1B: "WILLTOPICRESP",
    0x1C: "WILLMSGUPD",
    0x1D: "WILLMSGRESP",
    0xFE: "FORWARD",
}
CODES = {name: code for code, name in TYPES.items()}

NORMAL, PREDEFINED, SHORT = 0, 1, 2
ACCEPTED, CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED = 0, 1, 2, 3


def flags(dup=False, qos=0, retain=False, will=False, clean=False, kind=NORMAL):
    return dup << 7 | (qos & 3) << 5 | retain << 4 | will << 3 | clean << 2 | kind


def unflags(octet):
    qos = octet >> 5 & 3
    return {
        "dup": bool(octet & 0x80),
        "qos": -1 if qos == 3 else qos,
        "retain": bool(octet & 0x10),
        "will": bool(octet & 8),
        "clean": bool(octet & 4),
        "kind": octet & 3,
    }


def short(name):
    """The topic id that a topic of two characters is."""
    return struct.unpack(">H", name.encode())[0]


def frame(name, body=b""):
    """Length and type before a body; 5.2.1."""
    if len(body) + 2 < 256:
        return bytes([len(body) + 2, CODES[name]]) + body
    return b"\x01" + struct.pack(">HB", len(body) + 4, CODES[name]) + body


def connect(client, duration=60, clean=True, will=False):
    head = struct.pack(">BBH", flags(clean=clean, will=will), 1, duration)
    return frame("CONNECT", head + client.encode())


def register(mid, topic, tid=0):
    return frame("REGISTER", struct.pack(">HH", tid, mid) + topic.encode())


def publish(tid, data, qos=0, mid=0, dup=False, retain=False, kind=NORMAL):
    head = struct.pack(">BHH", flags(dup=dup, qos=qos, retain=retain, kind=kind), tid, mid)
    return frame("PUBLISH", head + data)


def subscribe(mid, topic, qos=0, kind=NORMAL, name="SUBSCRIBE"):
    """topic: a name or filter, or a number with kind PREDEFINED or SHORT"""
    what = topic.encode() if kind == NORMAL else struct.pack(">H", topic)
    return frame(name, struct.pack(">BH", flags(qos=qos, kind=kind), mid) + what)


def acknowledge(name, mid, tid=None, code=ACCEPTED):
    """PUBACK and REGACK carry a topic id and a code, the others only the message id."""
    if tid is None:
        return frame(name, struct.pack(">H", mid))
    return frame(name, struct.pack(">HHB", tid, mid, code))


def disconnect(duration=None):
    return frame("DISCONNECT", b"" if duration is None else struct.pack(">H", duration))


def pingreq(client=""):
    return frame("PINGREQ", client.encode())


def forward(node, inner, radius=0):
    """5.5: Length counts the encapsulation only, the message follows it."""
    return bytes([3 + len(node), 0xFE, radius]) + node + inner


def decode(octets):
    if len(octets) >= 2 and octets[1] == 0xFE:
        end = octets[0]
        return {
            "type": "FORWARD",
            "node": octets[3:end],
            "inner": decode(octets[end:]),
        }
    head = 3 if octets[:1] == b"\x01" else 1
    if len(octets) < head + 1:
        raise ValueError("too short: %s" % octets.hex())
    length = struct.unpack(">H", octets[1:3])[0] if head == 3 else octets[0]
    if length != len(octets):
        raise ValueError("length is %d, not %d: %s" % (length, len(octets), octets.hex()))
    name = TYPES.get(octets[head])
    body = octets[head + 1 :]
    found = {"type": name if name else octets[head]}
    try:
        found.update(decode_body(name, body))
    except struct.error as error:
        raise ValueError("%s: %s" % (error, octets.hex())) from error
    return found


def decode_body(name, b):
    if name == "PUBLISH":
        octet, tid, mid = struct.unpack(">BHH", b[:5])
        return dict(unflags(octet), tid=tid, mid=mid, data=b[5:])
    if name in ("PUBACK", "REGACK"):
        tid, mid, code = struct.unpack(">HHB", b)
        return {"tid": tid, "mid": mid, "code": code}
    if name in ("PUBREC", "PUBREL", "PUBCOMP", "UNSUBACK"):
        return {"mid": struct.unpack(">H", b)[0]}
    if name == "SUBACK":
        octet, tid, mid, code = struct.unpack(">BHHB", b)
        return {"qos": octet >> 5 & 3, "tid": tid, "mid": mid, "code": code}
    if name == "REGISTER":
        tid, mid = struct.unpack(">HH", b[:4])
        return {"tid": tid, "mid": mid, "name": b[4:].decode()}
    if name in ("CONNACK", "WILLTOPICRESP", "WILLMSGRESP"):
        return {"code": struct.unpack(">B", b)[0]}
    if name == "DISCONNECT":
        return {"duration": struct.unpack(">H", b)[0] if b else None}
    if name == "ADVERTISE":
        gateway, duration = struct.unpack(">BH", b)
        return {"gateway": gateway, "duration": duration}
    if name == "GWINFO":
        return {"gateway": b[0], "address": b[1:]}
    if name in ("WILLTOPICREQ", "WILLMSGREQ", "PINGRESP"):
        if b:
            raise ValueError("%s with a body: %s" % (name, b.hex()))
        return {}
    return {"body": b}


class Device:
    """One device on UDP that waits for its answers. Repeats what is not answered."""

    def __init__(self, port, client="", host="127.0.0.1", retry_s=1.0, tries=10):
        self.client = client
        self.retry_s = retry_s
        self.tries = tries
        self.mid = 0
        self.topics = {}
        self.received = []  # PUBLISH frames of the gateway, in order
        self.others = []  # frames nobody was waiting for
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port))

    def close(self):
        self.socket.close()

    def fileno(self):
        return self.socket.fileno()

    def send(self, octets):
        try:
            self.socket.send(octets)
        except ConnectionRefusedError:
            pass  # the gateway is away; the next try may find it

    def receive(self, seconds):
        """The next frame, or None."""
        ready, _, _ = select.select([self.socket], [], [], max(0, seconds))
        if not ready:
            return None
        try:
            return decode(self.socket.recv(65536))
        except ConnectionRefusedError:
            return None

    def next_mid(self):
        self.mid = self.mid % 65535 + 1
        return self.mid

    def serve(self, found):
        """Does what a frame of the gateway's asks for."""
        if found["type"] == "PUBLISH":
            self.received.append(found)
            if found["qos"] == 1:
                self.send(acknowledge("PUBACK", found["mid"], found["tid"]))
            elif found["qos"] == 2:
                self.send(acknowledge("PUBREC", found["mid"]))
        elif found["type"] == "PUBREL":
            self.send(acknowledge("PUBCOMP", found["mid"]))
        elif found["type"] == "REGISTER":
            self.topics[found["name"]] = found["tid"]
            self.send(acknowledge("REGACK", found["mid"], found["tid"]))
        else:
            self.others.append(found)

    def wait(self, name, mid=None, seconds=10.0):
        """The next frame of a type, serving others meanwhile; None when none came."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            found = self.receive(left)
            if found is None:
                continue
            if found["type"] == name and (mid is None or found.get("mid") == mid):
                return found
            self.serve(found)
        return None

    def ask(self, octets, answer, mid=None, again=None):
        """Sends until the answer comes; again is what repeats look like."""
        for number in range(self.tries):
            self.send(octets if number == 0 or again is None else again)
            if found := self.wait(answer, mid, self.retry_s):
                return found
        raise TimeoutError(
            "%s: no %s to %s" % (self.client, answer, TYPES.get(octets[1], "a frame"))
        )

    def connect(self, duration=60, clean=True):
        answer = self.ask(connect(self.client, duration, clean), "CONNACK")
        assert answer["code"] == ACCEPTED, answer
        return answer

    def register(self, topic):
        mid = self.next_mid()
        answer = self.ask(register(mid, topic), "REGACK", mid)
        assert answer["code"] == ACCEPTED, answer
        self.topics[topic] = answer["tid"]
        return answer["tid"]

    def subscribe(self, topic, qos=0, kind=NORMAL):
        mid = self.next_mid()
        answer = self.ask(subscribe(mid, topic, qos, kind), "SUBACK", mid)
        assert answer["code"] == ACCEPTED, answer
        return answer

    def publish(self, tid, data, qos=0, kind=NORMAL, retain=False):
        """Returns when the gateway has taken it."""
        if qos <= 0:
            self.send(publish(tid, data, qos, 0, False, retain, kind))
            return
        mid = self.next_mid()
        first = publish(tid, data, qos, mid, False, retain, kind)
        again = publish(tid, data, qos, mid, True, retain, kind)
        if qos == 1:
            answer = self.ask(first, "PUBACK", mid, again)
            assert answer["code"] == ACCEPTED, answer
        else:
            self.ask(first, "PUBREC", mid, again)
            self.ask(acknowledge("PUBREL", mid), "PUBCOMP", mid)

    def disconnect(self, duration=None):
        return self.ask(disconnect(duration), "DISCONNECT")

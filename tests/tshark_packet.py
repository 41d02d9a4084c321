#!/usr/bin/python3
"""Shows every packet that `test_packet --frames` writes to tshark, whose MQTT-SN
dissector was written by others, and compares every field it shows with the field
the packet was made from. Prints TAP.

    tests/tshark_packet.py build/tests/test_packet

Where the dissector is known to differ, KNOWN says so and why. An entry that no
frame needs any more is a failure, too, so that the list stays true.
"""
import collections
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

PORT = 1884  # any that the dissector is told with -d

TYPES = {name: code for code, name in enumerate(
    "ADVERTISE SEARCHGW GWINFO - CONNECT CONNACK WILLTOPICREQ WILLTOPIC WILLMSGREQ WILLMSG "
    "REGISTER REGACK PUBLISH PUBACK PUBCOMP PUBREC PUBREL - SUBSCRIBE SUBACK UNSUBSCRIBE "
    "UNSUBACK PINGREQ PINGRESP DISCONNECT - WILLTOPICUPD WILLTOPICRESP WILLMSGUPD "
    "WILLMSGRESP".split()) if name != "-"}
TYPES["ENCAPSULATED"] = 0xFE

# What each field of ours is called by the dissector, and how many octets it has:
# a number, "bits" within an octet, "text", or "hex" for octets already in hex.
FIELDS = {
    "GwId": ("mqttsn.gw.id", 1),
    "GwAdd": ("mqttsn.gw.addr", "hex"),
    "Radius": ("mqttsn.radius", 1),
    "Will": ("mqttsn.will", "bits"),
    "CleanSession": ("mqttsn.clean.session", "bits"),
    "DUP": ("mqttsn.dup", "bits"),
    "QoS": ("mqttsn.qos", "bits"),
    "Retain": ("mqttsn.retain", "bits"),
    "TopicIdType": ("mqttsn.topic.id.type", "bits"),
    "ProtocolId": ("mqttsn.protocol.id", 1),
    "ClientId": ("mqttsn.client.id", "text"),
    "ReturnCode": ("mqttsn.return.code", 1),
    "WillTopic": ("mqttsn.will.topic", "text"),
    "WillMsg": ("mqttsn.will.msg", "hex"),
    "TopicId": ("mqttsn.topic.id", 2),
    "MsgId": ("mqttsn.msg.id", 2),
    "TopicName": ("mqttsn.topic", "text"),
    "Data": ("mqttsn.pub.msg", "hex"),
    "WirelessNodeId": ("mqttsn.wireless.node.id", "hex"),
}
DURATION = {"ADVERTISE": "mqttsn.adv.interv", "CONNECT": "mqttsn.keep.alive",
            "DISCONNECT": "mqttsn.sleep.timer"}

# (message, what happens) and why it is the dissector that differs, not we.
KNOWN = {
    ("WILLTOPIC", "hides QoS"): "5.4.7: QoS and Retain of the will count",
    ("WILLTOPIC", "hides Retain"): "5.4.7",
    ("WILLTOPIC", "shows unused TopicIdType"): "5.4.7: not used, sent as 0",
    ("WILLTOPIC", "empty is malformed"): "5.4.7: two octets delete the will",
    ("WILLTOPICUPD", "hides QoS"): "5.4.22",
    ("WILLTOPICUPD", "hides Retain"): "5.4.22",
    ("WILLTOPICUPD", "shows unused TopicIdType"): "5.4.22: not used, sent as 0",
    ("WILLTOPICUPD", "empty is malformed"): "5.4.22: two octets delete the will",
    ("CONNECT", "shows unused TopicIdType"): "5.4.4: not used, sent as 0",
    ("SUBSCRIBE", "hides DUP"): "5.4.15: DUP counts",
    ("SUBSCRIBE", "hides QoS"): "5.4.15: QoS is the requested one",
    ("SUBACK", "hides QoS"): "5.4.16: QoS is the granted one",
    ("SUBACK", "shows unused TopicIdType"): "5.4.16: not used, sent as 0",
    ("ENCAPSULATED", "empty node id is malformed"): "5.5: no least length is given",
    ("ENCAPSULATED", "long node id is malformed"): "5.5: an address, not a number of 4 octets",
}


def write_pcap(path, payloads):
    """Each payload as a UDP datagram over IPv4, without checksums."""
    localhost = bytes([127, 0, 0, 1])
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101))
        for payload in payloads:
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0,
                             localhost, localhost)
            udp = struct.pack(">HHHH", 40000, PORT, 8 + len(payload), 0)
            datagram = ip + udp + payload
            file.write(struct.pack("<IIII", 0, 0, len(datagram), len(datagram)) + datagram)


def octets(value, form):
    if form == "hex":
        return value
    if form == "text" or isinstance(value, str):
        return value.encode().hex()
    return value.to_bytes(form, "big").hex()


def expected(fields, length):
    """The dissector's names, each with octets in hex, or with a number for bits."""
    kind = fields["type"]
    want = {"mqttsn.msg.type": "%02x" % TYPES[kind],
            "mqttsn.msg.len": "%02x" % length if length < 256 else "%04x" % length}
    for name, value in fields.items():
        if name in ("type", "Empty", "Inner"):
            continue
        if name == "Duration":
            want[DURATION[kind]] = octets(value, 2)
            continue
        field, form = FIELDS[name]
        if name == "Radius" and kind == "ENCAPSULATED":
            field, form = "mqttsn.control.info", "bits"
        if name in ("TopicName", "TopicId") and kind in ("SUBSCRIBE", "UNSUBSCRIBE"):
            field = "mqttsn.topic.name.or.id"
        if form == "bits":
            want[field] = value & 3  # QoS -1 is 0b11
        else:
            want[field] = octets(value, form)
    # An empty GwAdd or client id is no field at all.
    return {name: value for name, value in want.items()
            if value != "" or name in ("mqttsn.pub.msg", "mqttsn.will.msg",
                                       "mqttsn.wireless.node.id")}


class Comparison:
    def __init__(self):
        self.frames = collections.Counter()
        self.values = collections.Counter()
        self.faults = collections.defaultdict(list)
        self.used = set()

    def differ(self, fields, frame, what):
        """Records a difference, as known or as a fault."""
        kind = fields["type"]
        if (kind, what) in KNOWN:
            self.used.add((kind, what))
        else:
            self.faults[kind].append("%s: %s" % (frame[:64], what))

    def message(self, shown, fields, length, frame):
        """One message as shown, against the fields it was made from."""
        want = expected(fields, length)
        names = {dissector: ours for ours, (dissector, _) in FIELDS.items()}
        for name, value, bits in shown:
            if name not in want:
                if bits is not None and bits == 0:
                    self.differ(fields, frame, "shows unused " + names.get(name, name))
                else:
                    self.differ(fields, frame, "shows %s=%s" % (name, value))
                continue
            got = bits if isinstance(want[name], int) else value
            if got != want[name]:
                self.differ(fields, frame, "%s is %s, not %s" % (name, got, want[name]))
            self.values[fields["type"]] += 1
            del want[name]
        if fields.get("WirelessNodeId") == "":
            want.pop("mqttsn.wireless.node.id", None)
        for name in want:
            self.differ(fields, frame, "hides " + names.get(name, name))

    def packet(self, element, line):
        fields, frame = line["fields"], line["hex"]
        self.frames[fields["type"]] += 1
        messages = [read_message(m) for m in element.iter("field")
                    if m.get("name") == "mqttsn.msg"]
        length = len(frame) // 2
        made = [(fields, length)]
        if "inner" in line:
            inner_length = len(fields["Inner"]) // 2
            made = [(fields, length - inner_length), (line["inner"], inner_length)]
        if any(p.get("name") == "_ws.malformed" for p in element.iter("proto")):
            if fields.get("WirelessNodeId") == "":
                self.differ(fields, frame, "empty node id is malformed")
                made = made[:1]  # the dissector gave up before the inner message
            elif len(fields.get("WirelessNodeId", "")) > 2 * 4:
                self.differ(fields, frame, "long node id is malformed")
            elif "Empty" in fields:
                self.differ(fields, frame, "empty is malformed")
            else:
                self.differ(fields, frame, "is malformed")
        if len(messages) != len(made):
            self.differ(fields, frame, "holds %d messages, not %d" % (len(messages), len(made)))
        for shown, (of, size) in zip(messages, made):
            self.message(shown, of, size, frame)


def read_message(element):
    """Name, octets in hex and, for bits within an octet, their number. An inner
    message stands inside the outer one, and is not descended into."""
    fields = []
    for field in element.findall("field"):
        name = field.get("name")
        if name.startswith("mqttsn.") and name != "mqttsn.msg":
            value = field.get("value", "")
            masked = field.get("unmaskedvalue") is not None
            fields.append((name, value, int(value, 16) if masked else None))
    return fields


def main():
    if shutil.which("tshark") is None:
        print("1..0 # SKIP tshark is not installed")
        return 0
    frames = subprocess.run([sys.argv[1], "--frames"], check=True, stdout=subprocess.PIPE).stdout
    lines = [json.loads(line) for line in frames.splitlines()]
    comparison = Comparison()
    with tempfile.NamedTemporaryFile(suffix=".pcap") as pcap:
        write_pcap(pcap.name, [bytes.fromhex(line["hex"]) for line in lines])
        command = ["tshark", "-n", "-r", pcap.name, "-d", "udp.port==%d,mqttsn" % PORT, "-T", "pdml"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tshark:
            shown = 0
            for _, element in ElementTree.iterparse(tshark.stdout):
                if element.tag == "packet":
                    comparison.packet(element, lines[shown])
                    shown += 1
                    element.clear()
        complete = tshark.returncode == 0 and shown == len(lines)

    results = [(complete, "tshark shows all of %d frames" % len(lines), [])]
    for kind in TYPES:
        faults = comparison.faults[kind]
        name = "%s: %d frames, %d values agree" % (kind, comparison.frames[kind],
                                                   comparison.values[kind])
        results.append((not faults and comparison.frames[kind] > 0, name, faults[:10]))
    for known, why in KNOWN.items():
        results.append((known in comparison.used, "tshark differs: %s %s (%s)" % (*known, why), []))
    print("1..%d" % len(results))
    for number, (good, name, faults) in enumerate(results, 1):
        print("%s %d - %s" % ("ok" if good else "not ok", number, name))
        for fault in faults:
            print("# " + fault)
    return 0 if all(good for good, _, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())

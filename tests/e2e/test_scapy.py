#!/usr/bin/python3
"""Sessions of each kind driven by frames that Scapy makes, and answers that Scapy reads: a
second opinion of what MQTT-SN is, from people who have never seen this program."""

import select
import socket

from harness import Message, Skip, free_port, main, udp_link

try:
    import scapy.contrib.mqttsn as sn
    from scapy.packet import Raw
except ImportError:
    sn = None

TOPICS = "[topics]\n7 = plant/7/temp\n"


class Device:
    """Sends what Scapy has made, and lets Scapy read what comes."""

    def __init__(self, port, node=None):
        self.node = node
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))

    def close(self):
        self.socket.close()

    def send(self, body, **fields):
        frame = bytes(sn.MQTTSN(**fields) / body) if body else bytes(sn.MQTTSN(len=2, **fields))
        if self.node:
            frame = bytes(sn.MQTTSN() / sn.MQTTSNEncaps(w_node_id=self.node)) + frame
        self.socket.send(frame)

    def receive(self, seconds=20):
        """The next message, which Scapy must understand to its last octet."""
        assert select.select([self.socket], [], [], seconds)[0], "nothing came"
        octets = self.socket.recv(65536)
        if self.node:
            envelope = sn.MQTTSN(octets[: octets[0]])
            assert envelope.type == sn.ENCAPS_MSG and envelope.w_node_id == self.node, octets
            octets = octets[octets[0] :]
        message = sn.MQTTSN(octets)
        assert message.len == len(octets) and Raw not in message, message.show(dump=True)
        return message

    def expect(self, kind, **fields):
        message = self.receive()
        assert message.type == kind, message.show(dump=True)
        for name, value in fields.items():
            assert getattr(message, name) == value, message.show(dump=True)
        return message

    def connect(self, name, **fields):
        self.send(sn.MQTTSNConnect(duration=60, client_id=name, **fields))
        self.expect(sn.CONNACK, return_code=sn.ACCEPTED)

    def leave(self):
        self.send(None, type=sn.DISCONNECT)
        self.expect(sn.DISCONNECT)


class Plant:
    def __init__(self, env):
        if sn is None:
            raise Skip("python3-scapy is not here")
        self.env = env
        self.port = free_port(socket.SOCK_DGRAM)
        self.broker = env.broker()
        self.watcher = env.watcher(self.broker)
        config = env.config(self.broker, udp_link(self.port, "qos_minus_one = yes"), topics=TOPICS)
        self.bridge = env.bridge(config)
        self.bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
        self.capture = env.capture(self.port)

    def device(self, node=None):
        device = Device(self.port, node)
        self.env.devices.append(device)
        return device

    def publish(self, topic, text, qos):
        self.env.mosquitto_pub(self.broker, "-t", topic, "-m", text, "-q", qos)

    def expect(self, *messages):
        """In any order: they have several topics."""
        self.watcher.wait_for(len(messages))
        assert sorted(map(repr, self.watcher.messages())) == sorted(map(repr, messages))


def publishes(plant, device):
    """Every QoS and every kind of topic; returns what must arrive."""
    device.connect("publisher", cleansess=1)
    device.send(sn.MQTTSNRegister(mid=1, topic_name="a/name"))
    tid = device.expect(sn.REGACK, mid=1, return_code=sn.ACCEPTED).tid
    device.send(sn.MQTTSNPublish(qos=0, tid=tid, data="0"))
    plant.watcher.wait_for(1)
    device.send(sn.MQTTSNPublish(qos=1, tid=tid, mid=2, data="1"))
    device.expect(sn.PUBACK, tid=tid, mid=2, return_code=sn.ACCEPTED)
    device.send(sn.MQTTSNPublish(qos=2, tid=7, tid_type=sn.TID_PREDEF, mid=3, data="2"))
    device.expect(sn.PUBREC, mid=3)
    device.send(sn.MQTTSNPubrel(mid=3))
    device.expect(sn.PUBCOMP, mid=3)
    device.send(sn.MQTTSNPublish(qos=1, tid=0x4142, tid_type=sn.TID_SHORT, mid=4, data="x" * 300))
    device.expect(sn.PUBACK, tid=0x4142, mid=4, return_code=sn.ACCEPTED)
    device.send(sn.MQTTSNPublish(qos=1, tid=999, mid=5, data="nowhere"))
    device.expect(sn.PUBACK, tid=999, mid=5, return_code=sn.REJ_TID)
    device.leave()
    return [
        Message("a/name", 0, 0, "0"),
        Message("a/name", 1, 0, "1"),
        Message("plant/7/temp", 2, 0, "2"),
        Message("AB", 1, 0, "x" * 300),
    ]


def test_a_publisher_of_every_qos_and_topic(env):
    """SN12-5.4.12-1, SN12-5.4.13-1, SN12-5.4.14-1, SN12-6.6-1, SN12-6.6-2, SN12-6.6-3"""
    plant = Plant(env)
    plant.expect(*publishes(plant, plant.device()))


def test_a_publisher_behind_a_forwarder(env):
    """SN12-4-2, SN12-5.5-1, SN12-5.5-3"""
    plant = Plant(env)
    plant.expect(*publishes(plant, plant.device(b"\x0a\x01")))


def test_a_publisher_without_a_connection(env):
    """SN12-6.8-1, SN12-6.8-2, SN12-6.8-3"""
    plant = Plant(env)
    device = plant.device()
    device.send(sn.MQTTSNPublish(qos=sn.QOS_NEG1, tid=7, tid_type=sn.TID_PREDEF, data="a"))
    plant.watcher.wait_for(1)
    device.send(sn.MQTTSNPublish(qos=sn.QOS_NEG1, tid=0x4142, tid_type=sn.TID_SHORT, data="b"))
    plant.expect(Message("plant/7/temp", 0, 0, "a"), Message("AB", 0, 0, "b"))
    assert not select.select([device.socket], [], [], 0)[0], "it was answered"


def test_a_subscriber_of_every_kind_of_topic(env):
    """SN12-5.4.15-1, SN12-5.4.16-1, SN12-5.4.17-1, SN12-5.4.18-1, SN12-6.10-2, SN12-6.10-9"""
    plant = Plant(env)
    device = plant.device()
    device.connect("subscriber", cleansess=1)
    device.send(sn.MQTTSNSubscribe(qos=2, mid=1, topic_name="to/name"))
    tid = device.expect(sn.SUBACK, qos=2, mid=1, return_code=sn.ACCEPTED).tid
    device.send(sn.MQTTSNSubscribe(qos=1, mid=2, tid_type=sn.TID_PREDEF, tid=7))
    device.expect(sn.SUBACK, qos=1, mid=2, tid=7, return_code=sn.ACCEPTED)
    device.send(sn.MQTTSNSubscribe(qos=0, mid=3, tid_type=sn.TID_SHORT, short_topic="AB"))
    device.expect(sn.SUBACK, qos=0, mid=3, return_code=sn.ACCEPTED)
    device.send(sn.MQTTSNSubscribe(qos=1, mid=4, topic_name="wild/#"))
    device.expect(sn.SUBACK, qos=1, mid=4, tid=0, return_code=sn.ACCEPTED)
    device.send(sn.MQTTSNSubscribe(qos=1, mid=5, topic_name="bad/#/x"))
    device.expect(sn.SUBACK, mid=5, return_code=sn.REJ_NOTSUP)

    plant.publish("to/name", "2", 2)
    mid = device.expect(sn.PUBLISH, qos=2, dup=0, tid=tid, tid_type=0, data=b"2").mid
    device.send(sn.MQTTSNPubrec(mid=mid))
    device.expect(sn.PUBREL, mid=mid)
    device.send(sn.MQTTSNPubcomp(mid=mid))
    plant.publish("plant/7/temp", "1", 2)
    mid = device.expect(sn.PUBLISH, qos=1, tid=7, tid_type=sn.TID_PREDEF, data=b"1").mid
    device.send(sn.MQTTSNPuback(tid=7, mid=mid))
    plant.publish("AB", "0", 1)
    device.expect(sn.PUBLISH, qos=0, mid=0, tid=0x4142, tid_type=sn.TID_SHORT, data=b"0")
    plant.publish("wild/1", "w", 1)
    register = device.expect(sn.REGISTER, topic_name=b"wild/1")
    device.send(sn.MQTTSNRegack(tid=register.tid, mid=register.mid))
    mid = device.expect(sn.PUBLISH, qos=1, tid=register.tid, data=b"w").mid
    device.send(sn.MQTTSNPuback(tid=register.tid, mid=mid))

    device.send(sn.MQTTSNUnsubscribe(mid=6, tid_type=sn.TID_SHORT, short_topic="AB"))
    device.expect(sn.UNSUBACK, mid=6)
    plant.publish("AB", "no more", 0)
    plant.publish("to/name", "last", 0)
    device.expect(sn.PUBLISH, qos=0, tid=tid, data=b"last")
    device.leave()


def test_a_will_that_is_changed_and_fires(env):
    """SN12-6.2-2, SN12-6.4-1, SN12-5.4.22-1, SN12-5.4.23-1, SN12-5.4.24-1, SN12-5.4.25-1"""
    plant = Plant(env)
    device = plant.device()
    device.send(sn.MQTTSNConnect(will=1, cleansess=1, duration=1, client_id="mortal"))
    device.expect(sn.WILLTOPICREQ)
    device.send(sn.MQTTSNWillTopic(qos=0, will_topic="will/first"))
    device.expect(sn.WILLMSGREQ)
    device.send(sn.MQTTSNWillMsg(will_msg="first"))
    device.expect(sn.CONNACK, return_code=sn.ACCEPTED)
    device.send(sn.MQTTSNWillTopicUpd(qos=1, retain=1, will_topic="will/second"))
    device.expect(sn.WILLTOPICRESP, return_code=sn.ACCEPTED)
    device.send(sn.MQTTSNWillMsgUpd(will_msg="second"))
    device.expect(sn.WILLMSGRESP, return_code=sn.ACCEPTED)
    plant.expect(Message("will/second", 1, 0, "second"))
    late = env.watcher(plant.broker, "will/second")
    assert late.wait_for(1) == [Message("will/second", 1, 1, "second")]


def test_a_sleeper_in_two_cycles(env):
    """SN12-6.14-1, SN12-6.14-8, SN12-6.14-9, SN12-6.14-10, SN12-6.14-13"""
    plant = Plant(env)
    device = plant.device()
    device.connect("sleeper")
    device.send(sn.MQTTSNSubscribe(qos=1, mid=1, topic_name="to/sleeper"))
    tid = device.expect(sn.SUBACK, return_code=sn.ACCEPTED).tid
    device.send(sn.MQTTSNDisconnect(duration=600))
    device.expect(sn.DISCONNECT, len=2)
    for cycle in (1, 2):
        for number in (1, 2):
            plant.publish("to/sleeper", "%d.%d" % (cycle, number), 1)
        plant.bridge.wait_for_status(lambda s: s["down"]["queued"] == 2, "both wait")
        device.send(sn.MQTTSNPingReq(client_id="sleeper"))
        for number in (1, 2):
            data = b"%d.%d" % (cycle, number)
            mid = device.expect(sn.PUBLISH, qos=1, tid=tid, data=data).mid
            device.send(sn.MQTTSNPuback(tid=tid, mid=mid))
        device.expect(sn.PINGRESP)
    device.connect("sleeper")
    plant.publish("to/sleeper", "awake", 0)
    # A new connection: the name is registered once more.
    register = device.expect(sn.REGISTER, topic_name=b"to/sleeper")
    device.send(sn.MQTTSNRegack(tid=register.tid, mid=register.mid))
    device.expect(sn.PUBLISH, data=b"awake")


def test_discovery_and_what_is_refused(env):
    """SN12-5.4.3-1, SN12-6.2-5, SN12-6.12-5"""
    plant = Plant(env)
    device = plant.device()
    device.send(sn.MQTTSNSearchGW(radius=1))
    device.expect(sn.GWINFO, len=3, gw_id=1)
    device.send(sn.MQTTSNConnect(prot_id=2, client_id="later"))
    device.expect(sn.CONNACK, return_code=sn.REJ_NOTSUP)
    device.send(None, type=sn.PINGREQ)
    device.expect(sn.DISCONNECT)


def test_answers_to_fields_of_all_values_are_well_formed(env):
    """SN12-5.2.2-1, SN12-5.3.10-1: whatever Scapy makes up, what comes back it can read."""
    plant = Plant(env)
    device = plant.device()
    device.connect("fuzzer", cleansess=1)
    bodies = [sn.MQTTSNRegister, sn.MQTTSNPublish, sn.MQTTSNSubscribe, sn.MQTTSNUnsubscribe]
    bodies += [sn.MQTTSNPubrel, sn.MQTTSNPubrec, sn.MQTTSNWillTopicUpd, sn.MQTTSNWillMsgUpd]
    answers = 0
    for octet in range(256):
        for body in bodies:
            names = {field.name for field in body.fields_desc}
            fields = {"mid": octet + 1} if "mid" in names else {"will_topic": "w"}
            if body is sn.MQTTSNWillMsgUpd:
                fields = {"will_msg": "w"}
            frame = bytearray(bytes(sn.MQTTSN() / body(**fields)))
            frame[2] = octet
            device.socket.send(bytes(frame))
        # Not more at a time than the socket holds, if the disk is fast; else PINGRESP may be lost.
        device.send(None, type=sn.PINGREQ)
        while True:
            if not select.select([device.socket], [], [], 1)[0]:
                device.send(None, type=sn.PINGREQ)
            elif device.receive().type == sn.PINGRESP:
                break
            answers += 1
    assert answers > 1000, answers


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Subscriptions of many devices over one broker connection: each message once, to whom it belongs."""

import shutil
import signal
import socket

import mqttsn
from harness import free_port, main, udp_link
from mqttsn import Device


class Plant:
    """A broker, a bridge and subscribers that print what they get."""

    def __init__(self, env, protocol="5", settings=""):
        self.env = env
        self.port = free_port(socket.SOCK_DGRAM)
        self.broker = env.broker(settings)
        keys = "protocol = " + protocol
        self.bridge = env.bridge(env.config(self.broker, udp_link(self.port), broker_keys=keys))
        self.bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
        self.count = 0

    def subscriber(self, name, filters, *words):
        topics = [word for text in filters for word in ("-t", text)]
        sub = self.env.spawn(
            "snsub", "-p", self.port, "-i", name, "-v", *topics, *words, log=name
        )
        self.count += len(filters)
        self.bridge.wait_for_status(
            lambda s: s["subscriptions"] == self.count, "%s is subscribed" % name
        )
        return sub

    def publish(self, topic, text, qos=1, *words):
        self.env.mosquitto_pub(self.broker, "-t", topic, "-m", text, "-q", qos, *words)

    def settle(self, subs, text="end"):
        """Everything published before has been delivered when this has."""
        self.publish("a/last", text, 2)
        for sub in subs:
            sub.wait_for_log("a/last " + text)


def check_overlapping_filters_deliver_once_at_the_highest_qos(env, protocol):
    plant = Plant(env, protocol)
    wide = plant.subscriber("wide", ["a/#"], "-q", 0)
    narrow = plant.subscriber("narrow", ["a/+"], "-q", 2)
    both = plant.subscriber("both", ["a/#", "a/+"], "-q", 1)
    for number in range(5):
        plant.publish("a/b", "same", 2)
        plant.publish("a/b", "other %d" % number, 2)
    # At QoS 1 it may overtake those at QoS 2, which are ours with PUBREL only in MQTT 3.1.1.
    plant.settle([wide, narrow, both], "so far")
    plant.publish("a/b/c", "deep", 1)
    plant.settle([wide, narrow, both])
    expected = []
    for number in range(5):
        expected += ["a/b same", "a/b other %d" % number]
    expected.append("a/last so far")
    deep = ["a/b/c deep", "a/last end"]
    assert narrow.log().splitlines() == expected + ["a/last end"], narrow.log()
    assert wide.log().splitlines() == expected + deep, wide.log()
    assert both.log().splitlines() == expected + deep, both.log()


def check_each_subscriber_gets_the_retained_message_once(env, protocol):
    plant = Plant(env, protocol)
    plant.publish("a/kept", "value", 1, "-r")
    first = plant.subscriber("first", ["a/#"], "-q", 1)
    first.wait_for_log("a/kept value")
    second = plant.subscriber("second", ["a/#"], "-q", 1)
    second.wait_for_log("a/kept value")
    third = plant.subscriber("third", ["a/+"], "-q", 1)
    third.wait_for_log("a/kept value")
    plant.settle([first, second, third])
    for sub in (first, second, third):
        assert sub.log().splitlines() == ["a/kept value", "a/last end"], sub.log()


def check_one_leaves_and_the_other_stays(env, protocol):
    plant = Plant(env, protocol)
    stays = plant.subscriber("stays", ["a/#"], "-q", 1)
    leaves = plant.subscriber("leaves", ["a/#"], "-q", 1, "-C", 1)
    plant.publish("a/1", "both", 1)
    assert leaves.wait() == 0
    plant.bridge.wait_for_status(lambda s: s["subscriptions"] == 1, "one has left")
    plant.publish("a/2", "one", 1)
    plant.settle([stays])
    assert stays.log().splitlines() == ["a/1 both", "a/2 one", "a/last end"], stays.log()
    assert plant.bridge.status()["filters"] == 1


def check_a_retained_message_comes_behind_its_suback(env, protocol):
    """What comes before it has an id that the device does not know."""
    plant = Plant(env, protocol)
    device = Device(plant.port, "valve")
    env.devices.append(device)
    device.connect()
    for number in range(10):
        for qos in (0, 1):
            topic = "a/%d/%d" % (number, qos)
            plant.publish(topic, topic, qos, "-r")
            granted = device.subscribe(topic, qos)
            assert device.received == [], device.received
            kept = device.wait("PUBLISH")
            assert kept["tid"] == granted["tid"], (kept, granted)
            assert kept["data"] == topic.encode(), kept
            device.serve(kept)
            device.received.clear()


def test_suback_waits_for_the_broker_while_the_first_connection_is_made(env):
    plant = Plant(env, "5")
    plant.bridge.stop()
    shutil.rmtree(env.path("data"))
    plant.broker.send_signal(signal.SIGSTOP)  # it is there, and says nothing yet
    plant.bridge.start()
    device = Device(plant.port, "valve")
    env.devices.append(device)
    device.connect()
    device.send(mqttsn.subscribe(1, "a/b", qos=1))
    assert device.wait("SUBACK", seconds=0.5) is None
    plant.broker.send_signal(signal.SIGCONT)
    assert device.wait("SUBACK")["code"] == mqttsn.ACCEPTED
    plant.publish("a/b", "at once", 1)
    assert device.wait("PUBLISH")["data"] == b"at once"


def test_overlapping_filters_deliver_once_at_the_highest_qos(env):
    check_overlapping_filters_deliver_once_at_the_highest_qos(env, "5")


def test_overlapping_filters_deliver_once_at_the_highest_qos_in_mqtt_3(env):
    check_overlapping_filters_deliver_once_at_the_highest_qos(env, "3.1.1")


def test_each_subscriber_gets_the_retained_message_once(env):
    check_each_subscriber_gets_the_retained_message_once(env, "5")


def test_each_subscriber_gets_the_retained_message_once_in_mqtt_3(env):
    check_each_subscriber_gets_the_retained_message_once(env, "3.1.1")


def test_a_retained_message_comes_behind_its_suback(env):
    check_a_retained_message_comes_behind_its_suback(env, "5")


def test_a_retained_message_comes_behind_its_suback_in_mqtt_3(env):
    check_a_retained_message_comes_behind_its_suback(env, "3.1.1")


def test_one_leaves_and_the_other_stays(env):
    check_one_leaves_and_the_other_stays(env, "5")


def test_one_leaves_and_the_other_stays_in_mqtt_3(env):
    check_one_leaves_and_the_other_stays(env, "3.1.1")


def test_of_a_copy_for_each_filter_each_subscriber_has_one(env):
    """As other brokers do it, mosquitto can send a message for each of our filters that match."""
    plant = Plant(env, "3.1.1", "allow_duplicate_messages true")
    subs = [
        plant.subscriber("widest", ["#"], "-q", 2),
        plant.subscriber("wide", ["a/#"], "-q", 2),
        plant.subscriber("narrow", ["a/+"], "-q", 2),
    ]
    expected = []
    for number in range(10):
        for text in ("same", "same", "other %d" % number):
            plant.publish("a/b", text, 2)
            expected.append("a/b " + text)
    plant.settle(subs)
    for sub in subs:
        assert sub.log().splitlines() == expected + ["a/last end"], sub.log()
    assert plant.bridge.note("down_copy") == 2 * (len(expected) + 1)


if __name__ == "__main__":
    main()

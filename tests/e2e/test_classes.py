#!/usr/bin/python3
"""Classes of messages, and what an MQTT 5 client at the broker learns about a message."""

import datetime
import json
import re
import shutil
import socket

import mqttsn
from harness import Process, Skip, free_port, main, udp_link, wait_until

CLASSES = """
[class alarm]
topics = alarm/#, +/alarm
expire_s = 600

[class short]
topics = short/#
expire_s = 1
"""


class Listener(Process):
    """mosquitto_sub that speaks MQTT 5 and prints what came with each message."""

    def __init__(self, env, broker):
        path = shutil.which("mosquitto_sub")
        if path is None:
            raise Skip("mosquitto_sub is not here")
        command = [path, "-h", "127.0.0.1", "-p", str(broker.port), "-V", "5", "-q", "1"]
        command += ["-i", "listener", "-t", "#", "-F", "%t|%p|%E|%P"]
        super().__init__(env, "listener", command)
        self.broker = broker

    def start(self):
        super().start()
        self.broker.wait_for_log("Sending SUBACK to listener")
        return self

    def messages(self):
        found = {}
        for line in self.log().splitlines():
            if line.count("|") == 3:
                topic, payload, expiry, properties = line.split("|")
                found[topic] = (payload, expiry, dict(re.findall(r"(\w+):(\S+)", properties)))
        return found

    def wait_for(self, topic):
        return wait_until(lambda: self.messages().get(topic), "%s arrives" % topic)


def test_the_broker_is_told_link_time_and_expiry_of_a_message(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    listener = Listener(env, broker).start()
    keys = "user_properties = always"
    bridge = env.bridge(
        env.config(broker, CLASSES + udp_link(port, name="roof"), broker_keys=keys)
    )
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    before = datetime.datetime.now(datetime.timezone.utc)
    env.run("snpub", "-p", port, "-i", "s1", "-t", "alarm/fire", "-q", 1, "-m", "yes")
    env.run("snpub", "-p", port, "-i", "s1", "-t", "plant/1", "-q", 2, "-m", "21.5")

    payload, expiry, properties = listener.wait_for("alarm/fire")
    assert payload == "yes" and 590 < int(expiry) <= 600, (payload, expiry)
    assert properties["link"] == "roof", properties
    received = datetime.datetime.fromisoformat(properties["received"].replace("Z", "+00:00"))
    after = datetime.datetime.now(datetime.timezone.utc)
    second = datetime.timedelta(seconds=1)
    assert before - second <= received <= after + second, (before, received, after)

    payload, expiry, properties = listener.wait_for("plant/1")
    assert payload == "21.5" and expiry in ("", "0"), (payload, expiry)
    assert properties["link"] == "roof", properties


def test_the_time_of_receipt_is_that_before_an_outage(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    bridge = env.bridge(env.config(broker, udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    broker.end()
    bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
    env.run("snpub", "-p", port, "-c", "-i", "s1", "-t", "plant/1", "-q", 1, "-m", "x")
    sent = datetime.datetime.now(datetime.timezone.utc)
    bridge.kill()
    broker.start()
    listener = Listener(env, broker).start()
    # By default those that waited say so, and a second has gone by.
    wait_until(
        lambda: datetime.datetime.now(datetime.timezone.utc) - sent
        > datetime.timedelta(seconds=1),
        "a second passes",
    )
    bridge.start()
    properties = listener.wait_for("plant/1")[2]
    received = datetime.datetime.fromisoformat(properties["received"].replace("Z", "+00:00"))
    assert received <= sent, (received, sent)
    assert properties["link"] == "lan", properties


def test_a_message_that_did_not_wait_has_no_user_properties(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    listener = Listener(env, broker).start()
    bridge = env.bridge(env.config(broker, udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    env.run("snpub", "-p", port, "-i", "s1", "-t", "plant/1", "-q", 1, "-m", "x")
    assert listener.wait_for("plant/1")[2] == {}


def test_what_expired_during_an_outage_is_dropped_and_counted(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    watcher = env.watcher(broker, "#")
    bridge = env.bridge(env.config(broker, CLASSES + udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    broker.end()
    bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
    for number in range(5):
        env.run("snpub", "-p", port, "-i", "s1", "-t", "short/%d" % number, "-q", 1, "-m", "x")
    env.run("snpub", "-p", port, "-i", "s1", "-t", "long", "-q", 1, "-m", "x")
    bridge.wait_for_status(lambda s: s["up"]["queued"] == 6, "all wait")
    due = datetime.datetime.now() + datetime.timedelta(seconds=1.1)
    wait_until(lambda: datetime.datetime.now() > due, "their time is over")
    broker.start()
    bridge.wait_until_delivered()
    watcher.wait_for(1)
    assert watcher.payloads("long") == ["x"] and len(watcher.messages()) == 1, watcher.messages()
    up = bridge.status()["up"]
    assert up["expired"] == 5 and up["delivered"] == 1, json.dumps(up)


def test_the_account_by_class_link_and_client_outlives_restarts(env):
    port = free_port(socket.SOCK_DGRAM)
    other = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    links = udp_link(port, name="roof") + udp_link(other, name="yard")
    bridge = env.bridge(env.config(broker, CLASSES + links))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    for number in range(3):
        env.run("snpub", "-p", port, "-c", "-i", "s1", "-t", "alarm/1", "-q", 1, "-m", number)
        env.run("snpub", "-p", other, "-c", "-i", "s2", "-t", "plant/1", "-q", 2, "-m", number)
    bridge.wait_until_delivered()
    for clean in (True, False):
        bridge.check_account()
        before = bridge.status()
        if clean:
            bridge.stop()
        else:
            broker.end()
            bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
            env.run("snpub", "-p", port, "-c", "-i", "s1", "-t", "alarm/1", "-q", 1, "-m", "x")
            bridge.kill()
        bridge.start()
        bridge.wait_until_ready()
        bridge.check_account()
        after = bridge.status()
        queued = 0 if clean else 1
        assert after["classes"]["alarm"]["up"]["queued"] == queued, after
        assert after["links"]["roof"]["account"]["up"]["queued"] == queued, after
        if clean:
            assert after["classes"] == before["classes"], (before, after)
            for name in ("roof", "yard"):
                assert after["links"][name]["account"] == before["links"][name]["account"]
    clients = {c["client"]: c["account"] for c in json.loads(bridge.ask("clients", "--json").stdout)}
    assert clients["s1"]["up"]["delivered"] == 3 and clients["s1"]["up"]["queued"] == 1, clients
    assert clients["s2"]["up"]["delivered"] == 3, clients


def test_an_alarm_does_not_wait_behind_what_a_sleeper_has_to_catch_up_on(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    classes = "[class alarm]\ntopics = +/alarm\npriority = 0\n"
    bridge = env.bridge(env.config(broker, classes + udp_link(port)))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    sleeper = mqttsn.Device(port, "sleeper")
    env.devices.append(sleeper)
    sleeper.connect(duration=3600, clean=False)
    sleeper.subscribe("to/#", qos=1)
    sleeper.disconnect(duration=3600)
    broker.wait_for_log("snbridge 1 to/#")
    for number in range(30):
        env.mosquitto_pub(broker, "-t", "to/log", "-m", number, "-q", 1)
    for number in range(10):
        env.mosquitto_pub(broker, "-t", "to/alarm", "-m", "alarm %d" % number, "-q", 1)
    bridge.wait_for_status(lambda s: s["down"]["queued"] == 40, "all wait")
    bridge.kill()
    bridge.start()
    bridge.wait_until_ready()
    assert bridge.status()["classes"]["alarm"]["down"]["queued"] == 10
    sleeper.ask(mqttsn.pingreq("sleeper"), "PINGRESP")

    came = list(dict.fromkeys(m["data"].decode() for m in sleeper.received))
    assert came == ["alarm %d" % n for n in range(10)] + [str(n) for n in range(30)], came
    bridge.wait_for_status(lambda s: s["down"]["queued"] == 0, "nothing waits")
    bridge.check_account()


if __name__ == "__main__":
    main()

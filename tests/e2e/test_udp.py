#!/usr/bin/python3
"""snpub and snsub over UDP, as seen by ordinary MQTT clients at the broker."""

import socket

from harness import Message, free_port, main, udp_link, wait_until

TOPICS = "[topics]\n7 = plant/7/temp\n[topics dev9]\n7 = dev9/temp\n"


class Plant:
    """A broker with a watcher, a bridge on UDP, and what passes between them."""

    def __init__(self, env, keys="", topics=TOPICS, watch="#"):
        self.env = env
        self.port = free_port(socket.SOCK_DGRAM)
        self.broker = env.broker()
        self.watcher = env.watcher(self.broker, watch)
        self.bridge = env.bridge(env.config(self.broker, udp_link(self.port, keys), topics=topics))
        self.bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
        self.capture = env.capture(self.port)

    def snpub(self, *words, **options):
        return self.env.run("snpub", "-p", self.port, *words, **options)

    def snsub(self, *words, log="snsub"):
        process = self.env.spawn("snsub", "-p", self.port, *words, log=log)
        return process

    def expect(self, *messages):
        """Exactly these have reached the watcher, and tshark can read every frame."""
        self.watcher.wait_for(len(messages))
        assert self.watcher.messages() == list(messages), self.watcher.messages()
        self.check_frames()

    def check_frames(self):
        if self.capture:
            assert self.capture.check() > 0, "nothing was captured"


def test_a_reading_arrives_at_every_qos(env):
    plant = Plant(env)
    for qos in (0, 1, 2):
        plant.snpub("-t", "plant/1/temp", "-m", "21.%d" % qos, "-q", qos)
        plant.watcher.wait_for(qos + 1)
    plant.expect(*[Message("plant/1/temp", qos, 0, "21.%d" % qos) for qos in (0, 1, 2)])


def test_lines_arrive_in_their_order(env):
    plant = Plant(env)
    lines = ["line %d" % number for number in range(200)]
    for qos in (1, 2):
        plant.snpub("-t", "log", "-l", "-q", qos, text="\n".join(lines) + "\n", seconds=60)
    plant.expect(*[Message("log", qos, 0, line) for qos in (1, 2) for line in lines])


def test_a_retained_reading_waits_for_whoever_asks_later(env):
    plant = Plant(env)
    plant.snpub("-t", "state", "-m", "open", "-q", 1, "-r")
    plant.expect(Message("state", 1, 0, "open"))
    late = env.watcher(plant.broker, "state")
    assert late.wait_for(1) == [Message("state", 1, 1, "open")], late.messages()


def test_predefined_and_short_topics_need_no_registration(env):
    plant = Plant(env)
    plant.snpub("-T", 7, "-m", "a", "-q", 1)
    plant.snpub("-T", 7, "-m", "b", "-q", 1, "-i", "dev9")
    plant.snpub("-t", "ab", "-S", "-m", "c", "-q", 1)
    assert not plant.capture or not plant.capture.read("mqttsn.msg.type == 0x0a")
    plant.expect(
        Message("plant/7/temp", 1, 0, "a"),
        Message("dev9/temp", 1, 0, "b"),
        Message("ab", 1, 0, "c"),
    )


def test_qos_minus_one_needs_no_connection(env):
    plant = Plant(env, "qos_minus_one = yes")
    plant.snpub("-T", 7, "-m", "a", "-q", -1)
    plant.watcher.wait_for(1)
    plant.snpub("-t", "ab", "-S", "-m", "b", "-q", -1)
    plant.watcher.wait_for(2)
    assert plant.watcher.messages() == [
        Message("plant/7/temp", 0, 0, "a"),
        Message("ab", 0, 0, "b"),
    ], plant.watcher.messages()
    assert plant.bridge.status()["clients"] == 0


def test_qos_minus_one_is_refused_unless_the_link_allows_it(env):
    plant = Plant(env)
    plant.snpub("-T", 7, "-m", "a", "-q", -1)
    wait_until(lambda: plant.bridge.note("qos_minus_one_refused") == 1, "it is counted")
    assert plant.watcher.messages() == []


def test_a_subscriber_receives_what_others_publish_at_every_qos(env):
    plant = Plant(env)
    sub = plant.snsub("-t", "to/+/x", "-q", 2, "-v", "-C", 4)
    plant.bridge.wait_for_status(lambda s: s["filters"] == 1, "the broker has the filter")
    for qos in (0, 1, 2):
        env.mosquitto_pub(plant.broker, "-t", "to/%d/x" % qos, "-m", "m%d" % qos, "-q", qos)
    env.mosquitto_pub(plant.broker, "-t", "other", "-m", "not this", "-q", 1)
    plant.snpub("-t", "to/sensor/x", "-m", "from a sensor", "-q", 2)
    assert sub.wait() == 0, sub.log()
    assert sorted(sub.log().splitlines()) == [
        "to/0/x m0",
        "to/1/x m1",
        "to/2/x m2",
        "to/sensor/x from a sensor",
    ], sub.log()
    plant.check_frames()


def test_a_subscriber_receives_the_retained_message_at_once(env):
    plant = Plant(env)
    env.mosquitto_pub(plant.broker, "-t", "state", "-m", "open", "-q", 1, "-r")
    for number in (1, 2):  # the second one needs no new filter at the broker
        sub = plant.snsub("-t", "state", "-q", 1, "-C", 1, log="snsub%d" % number)
        assert sub.wait() == 0, sub.log()
        assert sub.log() == "open\n", sub.log()


def test_an_empty_message_and_a_large_one_arrive(env):
    plant = Plant(env, "frame_max = 1400")
    plant.snpub("-t", "size", "-n", "-q", 1)
    plant.snpub("-t", "size", "-m", "x" * 1300, "-q", 1)
    plant.expect(Message("size", 1, 0, ""), Message("size", 1, 0, "x" * 1300))


def test_a_device_behind_a_forwarder_is_served(env):
    plant = Plant(env)
    plant.snpub("--forwarder", "0a01", "-t", "node", "-m", "a", "-q", 1)
    plant.snpub("--forwarder", "0a02", "-t", "node", "-m", "b", "-q", 2)
    plant.expect(Message("node", 1, 0, "a"), Message("node", 2, 0, "b"))


def test_a_will_is_published_when_its_device_is_lost(env):
    plant = Plant(env)
    sub = plant.snsub("-t", "x", "-k", 2, "--will-topic", "gone", "--will-payload", "dev", "-i", "d")
    plant.bridge.wait_for_status(lambda s: s["subscriptions"] == 1, "it has subscribed")
    sub.kill()
    plant.watcher.wait_for(1)
    assert plant.watcher.payloads("gone") == ["dev"]


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""What other gateways did when these cases were run against them, and what this one does.

Each test says in its docstring what was seen: with the MQTT-SN gateway of Eclipse Paho
(07a9512), RSMB (36fd4ba) and cc.mqttsn (2.0.10), on Debian 12 with mosquitto 2.0.11 and UDP
over the loopback interface. What this gateway does is asserted."""

import signal
import socket
import time

from harness import free_port, main, udp_link, wait_until
from mqttsn import Device, acknowledge, connect, frame, pingreq

RETRIES = 3


class Plant:
    def __init__(self, env, keys="", bridge=""):
        self.env = env
        self.port = free_port(socket.SOCK_DGRAM)
        self.broker = env.broker()
        keys = "retry_ms = 300\nretries = %d\n%s" % (RETRIES, keys)
        self.config = env.config(self.broker, udp_link(self.port, keys), bridge=bridge)
        self.bridge = env.bridge(self.config)
        self.broker_is_there()

    def broker_is_there(self):
        self.bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")

    def device(self, name):
        device = Device(self.port, name)
        self.env.devices.append(device)
        return device

    def subscriber(self, name, topic="to"):
        """Connected, with a session that is kept, and subscribed at QoS 1."""
        device = self.device(name)
        device.connect(clean=False)
        device.topics[topic] = device.subscribe(topic, 1)["tid"]
        return device

    def messages(self, count, topic="to"):
        """Numbered ones, all of them with the bridge when this returns."""
        before = self.bridge.status()["down"]["accepted"]
        for number in range(1, count + 1):
            self.env.mosquitto_pub(self.broker, "-t", topic, "-m", number, "-q", 1)
        self.bridge.wait_for_status(
            lambda s: s["down"]["accepted"] == before + count, "the bridge has the messages"
        )


def silent_until(device, seconds, done=lambda frames: False):
    """Takes what comes and answers nothing."""
    frames, end = [], time.monotonic() + seconds
    while time.monotonic() < end and not done(frames):
        found = device.receive(0.05)
        if found:
            frames.append(found)
    return frames


def numbers(frames):
    return [int(f["data"]) for f in frames if f["type"] == "PUBLISH"]


def test_who_never_acknowledges_hears_it_again_and_loses_nothing(env):
    """SN12-6.13-1, SN12-6.13-2, SN12-5.3.4-3

    Paho and RSMB: sent once, and not again. cc.mqttsn: sent three times, then dropped; the
    next message goes on. Here: repeated with DUP, then it waits for the client's next CONNECT,
    or anything else that it sends, with those that came after it."""
    plant = Plant(env)
    device = plant.subscriber("dev")
    plant.messages(2)
    frames = silent_until(device, 30, lambda _: plant.bridge.note("client_no_answer"))
    assert numbers(frames) == [1] * (RETRIES + 1), frames
    assert [f["dup"] for f in frames] == [False] + [True] * RETRIES
    assert len({f["mid"] for f in frames}) == 1
    device.connect(clean=False)
    wait_until(lambda: device.wait("none", None, 0.1) or len(device.received) >= 2, "both came")
    assert numbers(device.received) == [1, 2]
    assert [f["dup"] for f in device.received] == [True, False]


def test_who_never_acknowledges_is_not_refused(env):
    """Its reading is taken, and what it did not hear comes behind the answer."""
    plant = Plant(env)
    device = plant.subscriber("dev")
    tid = device.register("reading")
    plant.messages(2)
    silent_until(device, 30, lambda _: plant.bridge.note("client_no_answer"))
    device.publish(tid, b"21.5", 1)
    wait_until(lambda: device.wait("none", None, 0.1) or len(device.received) >= 2, "both came")
    assert numbers(device.received) == [1, 2]
    assert plant.bridge.note("client_lost") == 0


def test_a_sleeper_gets_all_its_messages_in_order(env):
    """SN12-6.14-3, SN12-6.14-9

    Paho: 25 sent, the first 20 came. RSMB: does not implement sleep; nothing came, after a
    new CONNECT neither. cc.mqttsn with a limit of 5: of 8 the newest 5, PINGRESP last.
    Here: all 25, and PINGRESP last."""
    plant = Plant(env)
    device = plant.subscriber("dev")
    device.disconnect(3600)
    plant.messages(25)
    device.ask(pingreq("dev"), "PINGRESP")
    assert numbers(device.received) == list(range(1, 26))
    assert not silent_until(device, 0.5)


def test_a_sleepers_bound_refuses_the_newest_and_counts_them(env):
    """Here with max_queue = 5: the oldest 5 of 8; what is not kept is counted."""
    plant = Plant(env, bridge="max_queue = 5")
    device = plant.subscriber("dev")
    device.disconnect(3600)
    plant.messages(8)
    device.ask(pingreq("dev"), "PINGRESP")
    assert numbers(device.received) == [1, 2, 3, 4, 5]
    assert plant.bridge.note("down_queue_full") == 3


def test_what_a_wake_did_not_acknowledge_comes_at_the_next(env):
    """SN12-6.14-17, SN12-6.14-18

    Paho: at the second wake only PINGRESP, the message was lost. RSMB: no reply. Here: it
    comes again with DUP, and after its acknowledgement not any more."""
    plant = Plant(env)
    device = plant.subscriber("dev")
    device.disconnect(3600)
    plant.messages(1)
    device.send(pingreq("dev"))
    frames = silent_until(device, 30, lambda _: plant.bridge.note("client_no_answer"))
    assert set(numbers(frames)) == {1}
    device.ask(pingreq("dev"), "PINGRESP")
    assert numbers(device.received) == [1] and device.received[0]["dup"]
    device.ask(pingreq("dev"), "PINGRESP")
    assert numbers(device.received) == [1]


def test_without_the_broker_messages_are_taken_and_arrive_later(env):
    """SN12-6.6-8, SN12-6.12-6

    Paho: CONNECT unanswered; PUBLISH at QoS 1 answered by DISCONNECT and lost, 5 of 5, and
    the client not told of the loss. cc.mqttsn: DISCONNECT, then PUBACK with code 3; after the
    broker's return only a new CONNECT helped, with Paho as well. Here: CONNECT is accepted,
    each PUBLISH acknowledged, all arrive, and nobody has to connect again."""
    plant = Plant(env)
    watcher = env.watcher(plant.broker)
    old, new = plant.device("old"), plant.device("new")
    old.connect()
    tid = old.register("t")
    plant.broker.save()
    plant.broker.kill()
    plant.bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is away")
    for number in range(5):
        old.publish(tid, b"old %d" % number, 1)
    new.connect()
    new.publish(new.register("t"), b"new", 1)
    assert not old.others and not new.others
    plant.broker.start()
    old.publish(tid, b"old 5", 1)
    expected = ["old %d" % number for number in range(5)] + ["new", "old 5"]
    wait_until(lambda: sorted(set(watcher.payloads("t"))) == sorted(expected), "all arrive")
    assert list(dict.fromkeys(watcher.payloads("t"))) == expected
    assert not old.others


def test_a_restart_of_the_gateway_costs_a_device_nothing(env):
    """SN12-6.5-3

    cc.mqttsn: after a restart PUBLISH is answered by PUBACK with code 3. Here: topic ids,
    subscriptions and waiting messages are the same as before kill -9."""
    plant = Plant(env)
    watcher = env.watcher(plant.broker)
    device = plant.subscriber("dev")
    tid = device.register("t")
    plant.bridge.kill()
    plant.bridge.start()
    device.publish(tid, b"after", 1)
    watcher.wait_for(1)
    plant.broker_is_there()
    plant.messages(1)
    wait_until(lambda: device.wait("none", None, 0.1) or device.received, "a message comes")
    assert device.received[0]["tid"] == device.topics["to"]
    assert not device.others


def test_a_client_id_that_another_begins_with_is_somebody_else(env):
    """SN12-5.3.1-2, SN12-6.2-6

    Paho: CONNECT as "dev" took over the session of "dev1", for it compares the beginnings.
    Here: two clients, each with its own messages."""
    plant = Plant(env)
    first = plant.subscriber("dev1", "to/dev1")
    second = plant.subscriber("dev", "to/dev")
    plant.messages(1, "to/dev1")
    plant.messages(2, "to/dev")
    for device, expected in ((first, [1]), (second, [1, 2])):
        # What is for somebody else would come as well.
        wait_until(
            lambda: device.wait("none", None, 0.1) or len(device.received) >= len(expected),
            "%s gets its messages" % device.client,
        )
        assert numbers(device.received) == expected, (device.client, device.received)
    assert plant.bridge.status()["active"] == 2


def test_sigterm_ends_it_in_order(env):
    """Paho: needs SIGKILL. RSMB: killed. cc.mqttsn: SIGTERM works, with exit code 100. Here:
    SIGTERM, exit code 0, soon."""
    plant = Plant(env)
    plant.subscriber("dev")
    begin = time.monotonic()
    assert plant.bridge.end(signal.SIGTERM) == 0
    assert time.monotonic() - begin < 5


def test_the_will_of_a_lost_client_is_published(env):
    """SN12-6.11-2

    RSMB: stored, and not published within 12 s of the loss. Here: after the keep-alive time
    and half of it."""
    plant = Plant(env)
    watcher = env.watcher(plant.broker, "will")
    device = plant.device("dev")
    device.ask(connect("dev", 1, will=True), "WILLTOPICREQ")
    device.ask(frame("WILLTOPIC", b"\x30will"), "WILLMSGREQ")
    device.ask(frame("WILLMSG", b"gone"), "CONNACK")
    begin = time.monotonic()
    (message,) = watcher.wait_for(1)
    assert 1 < time.monotonic() - begin < 5
    assert (message.qos, message.payload) == (1, "gone")


def test_a_sleeper_behind_a_new_port_is_served_where_that_is_allowed(env):
    """SN12-6.14-7

    cc.mqttsn: PINGREQ from a new port is not answered. (Paho: asked for and declined.) Here: with
    roam = yes the messages come there; otherwise DISCONNECT tells the device to connect."""
    plant = Plant(env, "roam = yes")
    device = plant.subscriber("dev")
    device.disconnect(3600)
    plant.messages(2)
    moved = plant.device("dev")
    moved.ask(pingreq("dev"), "PINGRESP")
    assert numbers(moved.received) == [1, 2]
    moved.disconnect()


def test_a_sleeper_behind_a_new_port_is_told_to_connect_elsewhere(env):
    """SN12-6.14-7"""
    plant = Plant(env)
    device = plant.subscriber("dev")
    device.disconnect(3600)
    plant.messages(2)
    moved = plant.device("dev")
    moved.ask(pingreq("dev"), "DISCONNECT")
    assert not moved.received
    moved.connect(clean=False)
    wait_until(lambda: moved.wait("none", None, 0.1) or len(moved.received) >= 2, "both came")
    assert numbers(moved.received) == [1, 2]


def test_register_is_repeated_until_it_is_answered(env):
    """SN12-6.13-1, SN12-6.5-5

    Paho and RSMB do not repeat REGISTER (seen in their source). Here: as PUBLISH."""
    plant = Plant(env)
    device = plant.device("dev")
    device.connect()
    device.subscribe("wild/#", 1)
    plant.messages(1, "wild/1")
    registers = silent_until(device, 20, lambda frames: len(frames) >= 2)
    assert [f["type"] for f in registers] == ["REGISTER", "REGISTER"]
    assert registers[0] == registers[1]
    device.send(acknowledge("REGACK", registers[0]["mid"], registers[0]["tid"]))
    device.ask(pingreq(), "PINGRESP")
    wait_until(lambda: device.wait("none", None, 0.1) or device.received, "the message comes")
    assert numbers(device.received) == [1]


if __name__ == "__main__":
    main()

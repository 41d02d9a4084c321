#!/usr/bin/python3
"""Transparent mode: sensors with a broker connection of their own, as the broker sees them."""

import os
import select
import shutil
import signal
import socket
import subprocess
import time

import mqttsn
from harness import Message, free_port, main, udp_link, wait_until
from mqttsn import ACCEPTED, CONGESTION, NOT_SUPPORTED, SHORT, Device, frame, short

MANY = 500


class Field:
    """A broker, a bridge in transparent mode, and devices on UDP."""

    def __init__(self, env, keys="", broker_keys="", modes="", settings="", quiet=False, watch="#"):
        self.env = env
        self.port = free_port(socket.SOCK_DGRAM)
        self.broker = env.broker(settings, quiet=quiet)
        self.watcher = env.watcher(self.broker, watch) if watch else None
        config = env.config(
            self.broker,
            udp_link(self.port),
            bridge="mode = transparent\n" + keys,
            broker_keys=broker_keys,
            topics=modes,
            log="debug" if not quiet else "info",
        )
        self.bridge = env.bridge(config)
        self.bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")

    def device(self, client, **options):
        device = Device(self.port, client, **options)
        self.env.devices.append(device)
        return device

    def mark(self):
        """A message of somebody else's: what the broker published before comes before it."""
        self.env.mosquitto_pub(self.broker, "-t", "mark", "-m", "mark", "-q", 1)


def will_topic(topic, qos=1, retain=False, name="WILLTOPIC"):
    return frame(name, bytes([mqttsn.flags(qos=qos, retain=retain)]) + topic.encode())


def connect_with_will(device, topic, message, duration=60, clean=True, **options):
    device.ask(mqttsn.connect(device.client, duration, clean, will=True), "WILLTOPICREQ")
    device.ask(will_topic(topic, **options), "WILLMSGREQ")
    answer = device.ask(frame("WILLMSG", message.encode()), "CONNACK")
    assert answer["code"] == ACCEPTED, answer


def check_numbers(got, count):
    """Even ones were sent at QoS 1, odd ones at QoS 2; brokers keep the order of each."""
    even = list(dict.fromkeys(n for n in got if n % 2 == 0))
    odd = [n for n in got if n % 2 == 1]
    assert even == list(range(0, count, 2)), got
    assert odd == list(range(1, count, 2)), got


def test_the_broker_sees_each_sensor_under_its_own_name(env):
    """SN12-4.1-1, SN12-4.1-2, SN12-5.3.1-2: and those that a pattern says share the bridge's
    connection."""
    field = Field(env, modes="[modes]\naggregating = old-*\n")
    for client, clean in (("buoy", True), ("pump", False), ("old-1", True)):
        device = field.device(client)
        device.connect(clean=clean)
        device.publish(short("ab"), client.encode(), qos=1, kind=SHORT)
        device.subscribe("to/" + client, qos=1)
    field.watcher.wait_for(3)
    assert field.watcher.payloads("ab") == ["buoy", "pump", "old-1"], field.watcher.messages()
    log = field.broker.log()
    assert "as buoy (p5, c1, " in log and "as pump (p5, c0, " in log, log
    assert "as old-1 " not in log and "as snbridge " in log, log
    assert "Received PUBLISH from buoy " in log and "Received PUBLISH from pump " in log, log
    assert "Received SUBSCRIBE from buoy" in log and "Received SUBSCRIBE from snbridge" in log
    status = field.bridge.status()
    assert (status["connections"], status["connections_up"]) == (2, 2), status


def test_messages_reach_the_sensor_by_its_own_connection(env):
    field = Field(env)
    device, other = field.device("valve"), field.device("other")
    for one in (device, other):
        one.connect()
        one.subscribe("to/+", qos=2)
    for qos in (0, 1, 2):
        env.mosquitto_pub(field.broker, "-t", "to/x", "-m", "m%d" % qos, "-q", qos)
    for one in (device, other):
        wait_until(
            lambda: one.wait("PINGRESP", seconds=0.1) or len(one.received) >= 3, "three messages"
        )
        assert [(m["qos"], m["data"]) for m in one.received] == [
            (0, b"m0"),
            (1, b"m1"),
            (2, b"m2"),
        ], one.received
    assert "Sending PUBLISH to valve " in field.broker.log()


def test_a_lost_sensors_will_is_published_once_by_the_broker(env):
    for protocol in ("5", "3.1.1"):
        field = Field(env, broker_keys="protocol = " + protocol)
        device = field.device("buoy")
        connect_with_will(device, "w/buoy", "gone", duration=1, retain=True)
        assert field.watcher.messages() == [], "not while it is there"
        field.watcher.wait_for(1)
        wait_until(lambda: field.bridge.status()["clients"] == 0, "the session is gone")
        assert field.bridge.note("will_left") == 1 and field.bridge.note("will_fired") == 0
        field.mark()
        field.watcher.wait_for(2)
        assert field.watcher.messages() == [
            Message("w/buoy", 1, 0, "gone"),
            Message("mark", 1, 0, "mark"),
        ], field.watcher.messages()
        field.bridge.stop()
        shutil.rmtree(env.path("data"))
        field.broker.end()


def test_a_broker_with_less_patience_than_we_asked_for_takes_nobody_for_lost(env):
    """MQTT 5, 3.2.2.3.14: from the first connection on."""
    field = Field(env, settings="max_keepalive 10")
    device = field.device("buoy")
    connect_with_will(device, "w/buoy", "gone")
    log = field.broker.log()
    assert "as snbridge (p5, c0, k10" in log and "as buoy (p5, c1, k10" in log, log
    assert "as buoy (p5, c1, k30" not in log, "the first connection has told us"
    field.broker.wait_for_log("Received PINGREQ from buoy", seconds=15)
    field.mark()
    field.watcher.wait_for(1)
    assert field.watcher.payloads() == ["mark"], field.watcher.messages()
    assert field.bridge.note("connection_lost") == 0 and field.bridge.note("broker_lost") == 0


def test_no_will_is_published_after_disconnect(env):
    for protocol in ("5", "3.1.1"):
        field = Field(env, broker_keys="protocol = " + protocol)
        device = field.device("buoy")
        connect_with_will(device, "w/buoy", "gone")
        device.disconnect()
        field.bridge.wait_for_status(lambda s: s["connections"] == 0, "its connection has ended")
        field.mark()
        field.watcher.wait_for(1)
        assert field.watcher.payloads() == ["mark"], field.watcher.messages()
        field.bridge.stop()
        shutil.rmtree(env.path("data"))
        field.broker.end()


def test_an_updated_will_replaces_the_old_one_at_the_broker(env):
    field = Field(env)
    device = field.device("buoy")
    connect_with_will(device, "w/old", "old", duration=2)
    device.ask(frame("WILLMSGUPD", b"new"), "WILLMSGRESP")
    device.ask(will_topic("w/new", name="WILLTOPICUPD"), "WILLTOPICRESP")
    device.publish(short("ab"), b"x", qos=1, kind=SHORT)
    field.watcher.wait_for(2, seconds=10)
    assert field.watcher.messages() == [
        Message("ab", 1, 0, "x"),
        Message("w/new", 1, 0, "new"),
    ], field.watcher.messages()
    assert field.broker.log().count(" as buoy ") >= 2, "its connection was made anew"


def test_a_deleted_will_is_not_published(env):
    field = Field(env)
    device = field.device("buoy")
    connect_with_will(device, "w", "gone", duration=1)
    device.ask(frame("WILLTOPICUPD"), "WILLTOPICRESP")
    wait_until(lambda: field.bridge.status()["clients"] == 0, "the session is gone")
    field.mark()
    field.watcher.wait_for(1)
    assert field.watcher.payloads() == ["mark"], field.watcher.messages()


def test_each_sensor_logs_in_with_its_own_credentials(env):
    passwords = env.path("passwords")
    for option, user in (("-c", "fleet"), (None, "gateway")):
        command = ["mosquitto_passwd", "-b"] + ([option] if option else [])
        subprocess.run(command + [passwords, user, user + "-word"], check=True, timeout=20)
    os.chmod(passwords, 0o644)
    logins = env.write("logins", "buoy-? : fleet : fleet-word\nbad* : fleet : wrong\n")
    os.chmod(logins, 0o600)
    field = Field(
        env,
        broker_keys="username = gateway\npassword = gateway-word\ncredentials_file = " + logins,
        settings="password_file %s\nallow_anonymous false" % passwords,
        watch=None,
    )
    buoy, other, bad = field.device("buoy-1"), field.device("other"), field.device("bad-1")
    buoy.connect()
    other.connect()
    answer = bad.ask(mqttsn.connect("bad-1"), "CONNACK")
    assert answer["code"] == NOT_SUPPORTED, answer
    buoy.publish(short("ab"), b"x", qos=2, kind=SHORT)
    field.bridge.wait_until_delivered()
    log = field.broker.log()
    assert "as buoy-1 (p5, c1, k30, u'fleet')" in log, log
    assert "as other (p5, c1, k30, u'gateway')" in log, log
    assert "as bad-1" not in log
    assert field.bridge.note("connection_refused") == 1
    field.bridge.check_account()


def test_sensors_go_on_through_an_outage_of_the_broker(env):
    """Even those that connect for the first time while it is away."""
    field = Field(env)
    old = field.device("old")
    old.connect(clean=False)
    old.publish(short("ab"), b"before", qos=2, kind=SHORT)
    field.watcher.wait_for(1)
    field.broker.end()
    field.watcher.wait_for(1)
    field.bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
    new = field.device("new")
    new.connect()
    for number in range(20):
        for device in (old, new):
            text = b"%s %d" % (device.client.encode(), number)
            device.publish(short("ab"), text, qos=1 + number % 2, kind=SHORT)
    new.disconnect()  # what it leaves behind is sent under its name
    field.broker.start()
    field.watcher.wait_for(41, seconds=60)
    field.bridge.wait_until_delivered()
    got = field.watcher.payloads("ab")
    for client in ("old", "new"):
        mine = [int(p.split()[1]) for p in got if p.startswith(client + " ")]
        check_numbers(mine, 20)
    log = field.broker.log()
    assert "Received PUBLISH from new " in log and "Received PUBLISH from snbridge" not in log, log
    field.bridge.wait_for_status(lambda s: s["connections"] == 1, "who has gone has no connection")
    field.bridge.check_account()


def test_sessions_and_messages_survive_a_kill(env):
    field = Field(env)
    device = field.device("pump")
    device.connect(clean=False)
    device.subscribe("to/pump", qos=1)
    field.broker.send_signal(signal.SIGSTOP)  # what comes now is not acknowledged
    for number in range(10):
        device.publish(short("ab"), b"%d" % number, qos=1 + number % 2, kind=SHORT)
    field.bridge.kill()
    field.broker.send_signal(signal.SIGCONT)
    env.mosquitto_pub(field.broker, "-t", "to/pump", "-m", "meanwhile", "-q", 1)
    field.bridge.start()
    field.bridge.wait_for_status(lambda s: s["connections_up"] == 1, "it is connected again")
    field.watcher.wait_for(11)
    field.bridge.wait_until_delivered()
    assert device.others == [], "no frame because of the restart"
    check_numbers([int(p) for p in field.watcher.payloads("ab")], 10)
    wait_until(
        lambda: device.wait("PINGRESP", seconds=0.1) or device.received, "what came meanwhile"
    )
    assert device.received[0]["data"] == b"meanwhile"
    device.publish(short("ab"), b"after", qos=1, kind=SHORT)
    wait_until(lambda: "after" in field.watcher.payloads("ab"), "and it goes on")
    field.bridge.check_account()


def test_a_sleeper_keeps_its_connection(env):
    field = Field(env)
    device = field.device("node")
    device.connect(duration=1)
    device.subscribe("to/node", qos=1)
    device.disconnect(duration=60)
    env.mosquitto_pub(field.broker, "-t", "to/node", "-m", "wake up", "-q", 1)
    field.bridge.wait_for_status(lambda s: s["down"]["queued"] == 1, "the message waits")
    assert field.bridge.status()["connections_up"] == 1
    device.ask(mqttsn.pingreq("node"), "PINGRESP")
    assert [m["data"] for m in device.received] == [b"wake up"], device.received


def connect_all(devices, clean=True):
    """All at once, as after a power failure; repeats are the devices' own. Returns the codes."""
    codes = {}
    poller = select.poll()
    by_fd = {device.fileno(): device for device in devices}
    for fd in by_fd:
        poller.register(fd, select.POLLIN)
    end = time.monotonic() + 60
    again = 0.0
    while len(codes) < len(devices):
        assert time.monotonic() < end, "%d of %d have an answer" % (len(codes), len(devices))
        if time.monotonic() > again:
            for device in devices:
                if device.client not in codes:
                    device.send(mqttsn.connect(device.client, 3600, clean))
            again = time.monotonic() + 10
        for fd, _ in poller.poll(1000):
            found = by_fd[fd].receive(0)
            if found and found["type"] == "CONNACK":
                codes[by_fd[fd].client] = found["code"]
    return codes


def test_five_hundred_sensors_have_a_connection_each(env):
    """And the next one hears congestion until somebody goes."""
    field = Field(env, keys="max_connections = %d" % MANY, quiet=True, watch=None)
    watcher = env.path("sub.out")
    with open(watcher, "wb") as out:
        sub = subprocess.Popen(
            ["mosquitto_sub", "-p", str(field.broker.port), "-t", "ab", "-q", "2"], stdout=out
        )
    begin = time.monotonic()
    devices = [field.device("n%03d" % number) for number in range(MANY)]
    codes = connect_all(devices)
    assert set(codes.values()) == {ACCEPTED}, codes
    field.bridge.wait_for_status(lambda s: s["connections_up"] == MANY, "all are connected", 60)
    print("# %d connections in %.1f s" % (MANY, time.monotonic() - begin))

    late = field.device("late")
    assert late.ask(mqttsn.connect("late"), "CONNACK")["code"] == CONGESTION
    devices[0].disconnect()
    field.bridge.wait_for_status(lambda s: s["connections"] == MANY - 1, "one has gone")
    late.connect()

    begin = time.monotonic()
    for device in devices[1:]:
        device.publish(short("ab"), device.client.encode(), qos=1, kind=SHORT)
    field.bridge.wait_until_delivered(60)
    print("# a message from each in %.1f s" % (time.monotonic() - begin))

    field.broker.end()
    field.bridge.wait_for_status(lambda s: s["connections_up"] == 0, "the broker is missed")
    field.broker.start()
    begin = time.monotonic()
    field.bridge.wait_for_status(lambda s: s["connections_up"] == MANY, "all are back", 90)
    print("# all are back %.1f s after the broker" % (time.monotonic() - begin))
    sub.terminate()
    sub.wait(20)
    with open(watcher, encoding="utf-8") as file:
        assert sorted(file.read().split()) == sorted(d.client for d in devices[1:])
    field.bridge.check_account()
    field.bridge.stop(30)


test_five_hundred_sensors_have_a_connection_each.limit = 240

if __name__ == "__main__":
    main()

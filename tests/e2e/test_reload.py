#!/usr/bin/python3
"""SIGHUP: what a file that has changed does to a running bridge, and what the service manager hears."""

import os
import re
import signal
import socket
import subprocess

import mqttsn
from harness import PATIENCE, Bridge, free_port, main, udp_link, wait_until

NOBODY = "tcp://127.0.0.1:9"


def change(path, *pairs):
    """Replaces text in a file; each must be there."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for old, new in pairs:
        assert old in text, "no %r in %s" % (old, path)
        text = text.replace(old, new)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def reload(bridge, *lines):
    """Sends SIGHUP, waits for its end, and returns what was logged about it; lines must be there."""
    before = len(bridge.log())
    bridge.send_signal(signal.SIGHUP)

    def ended():
        text = bridge.log()[before:]
        return text if re.search(r"reload: (done|.*nothing has changed)", text) else None

    text = wait_until(ended, "the reload is over")
    said = [line.split("Z ", 1)[1] for line in text.splitlines() if "reload: " in line]
    for line in lines:
        assert any(line in found for found in said), "no %r in %s" % (line, said)
    return said


def test_flags_limits_and_topics_change_and_nobody_is_disconnected(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    watcher = env.watcher(broker)
    config = env.config(
        broker,
        udp_link(port, "qos_minus_one = no"),
        bridge="max_queue = 50",
        topics="[topics]\n1 = old/one\n",
    )
    bridge = env.bridge(config)
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    sensor = mqttsn.Device(port, "s1")
    env.devices.append(sensor)
    sensor.connect(duration=3600)
    sensor.publish(1, b"before", qos=1, kind=mqttsn.PREDEFINED)
    change(
        config,
        ("qos_minus_one = no", "qos_minus_one = yes"),
        ("max_queue = 50", "max_queue = 60"),
        ("1 = old/one", "1 = new/one\n2 = new/two"),
    )
    said = reload(
        bridge,
        "info: reload: [link lan] qos_minus_one: was no, is yes",
        "info: reload: [bridge] max_queue: was 50, is 60",
        "info: reload: [topics]: 2 predefined ids, were 1",
        "info: reload: done",
    )
    assert len(said) == 4, said
    sensor.publish(1, b"after", qos=1, kind=mqttsn.PREDEFINED)
    env.run("snpub", "-p", port, "-T", 2, "-q", -1, "-m", "by nobody")
    watcher.wait_for(3)
    assert watcher.payloads("old/one") == ["before"], watcher.messages()
    assert watcher.payloads("new/one") == ["after"], watcher.messages()
    assert watcher.payloads("new/two") == ["by nobody"], watcher.messages()
    assert bridge.status()["notes"]["client_connected"] == 1
    assert reload(bridge) == ["info: reload: done, nothing differs"]


def test_the_log_level_changes(env):
    port = free_port(socket.SOCK_DGRAM)
    config = env.config(NOBODY, udp_link(port), log="info")
    bridge = env.bridge(config)
    assert " debug: " not in bridge.log()
    change(config, ("log = info", "log = debug"))
    reload(bridge, "[bridge] log: was info, is debug")
    env.run("snpub", "-p", port, "-t", "a", "-m", "x", "-q", 1)
    bridge.wait_for_log(" debug: lan < ")


def test_a_password_that_was_mended_is_used_at_once(env):
    passwords = env.write("passwords", "")
    subprocess.run(["mosquitto_passwd", "-b", passwords, "u", "right"], check=True)
    os.chmod(passwords, 0o644)
    broker = env.broker("password_file " + passwords)
    secret = env.write("secret", "wrong\n")
    keys = "username = u\npassword_file = " + secret
    config = env.config(broker, udp_link(free_port(socket.SOCK_DGRAM)), broker_keys=keys)
    change(config, ("reconnect_min_ms = 100\n", "reconnect_min_ms = 3600000\n"))
    change(config, ("reconnect_max_ms = 500\n", "reconnect_max_ms = 3600000\n"))
    bridge = env.bridge(config)
    bridge.wait_for_log("check username and password")
    env.write("secret", "right\n")
    reload(bridge, "[broker] password: is another one")
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")


def test_what_cannot_change_is_told_and_stays(env):
    port, other, third = (free_port(socket.SOCK_DGRAM) for _ in range(3))
    broker = env.broker()
    config = env.config(broker, udp_link(port) + udp_link(other, name="gone"))
    bridge = env.bridge(config)
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    change(
        config,
        (env.path("data"), env.path("elsewhere")),
        (broker.url, NOBODY),
        (":%d" % port, ":%d" % third),
        ("[link gone]", "[link fresh]"),
    )
    reload(
        bridge,
        "warning: reload: [bridge] data: stays %s; %s needs a restart"
        % (env.path("data"), env.path("elsewhere")),
        "warning: reload: [broker] url: stays %s; %s needs a restart" % (broker.url, NOBODY),
        "warning: reload: [link lan] listen: stays 127.0.0.1:%d; 127.0.0.1:%d needs a restart"
        % (port, third),
        "warning: reload: [link gone]: stays; to end it needs a restart",
        "warning: reload: [link fresh]: is new, and needs a restart",
        "info: reload: done",
    )
    assert not os.path.exists(env.path("elsewhere"))
    env.run("snpub", "-p", port, "-t", "a", "-m", "x", "-q", 1)
    env.run("snpub", "-p", other, "-t", "a", "-m", "x", "-q", 1)
    # So that it is found again, where it is.
    change(config, (env.path("elsewhere"), env.path("data")))


def test_a_file_with_an_error_is_refused_as_a_whole(env):
    port = free_port(socket.SOCK_DGRAM)
    config = env.config(NOBODY, udp_link(port), bridge="max_queue = 50")
    bridge = env.bridge(config)
    change(config, ("max_queue = 50", "max_queue = 60\nmax_cleints = 7\ngateway_id = 300"))
    said = reload(
        bridge,
        "error: reload: %s:5: [bridge] max_cleints" % config,
        "error: reload: %s:6: [bridge] gateway_id" % config,
        "is not taken over, nothing has changed",
    )
    assert len(said) == 3, said
    change(config, ("max_queue = 60\nmax_cleints = 7\ngateway_id = 300", "max_queue = 50"))
    assert reload(bridge) == ["info: reload: done, nothing differs"]
    os.rename(config, config + ".away")
    reload(bridge, "No such file or directory", "nothing has changed")
    os.rename(config + ".away", config)


class ServiceManager:
    """The socket on which one hears the state of its services."""

    def __init__(self, env):
        self.path = env.path("notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)
        env.devices.append(self.socket)

    def wait_for(self, state):
        """The next message that is no sign of life, or the next that is."""
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            if lines[0] == state:
                return lines
            assert lines[0] == "WATCHDOG=1", "%s instead of %s" % (lines, state)


def test_the_service_manager_hears_of_every_state(env):
    manager = ServiceManager(env)
    config = env.config(NOBODY, udp_link(free_port(socket.SOCK_DGRAM)))
    bridge = Bridge(env, config)
    bridge.environment.update(NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="500000")
    bridge.start()
    manager.wait_for("READY=1")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    bridge.send_signal(signal.SIGHUP)
    assert re.fullmatch(r"MONOTONIC_USEC=\d+", manager.wait_for("RELOADING=1")[1])
    manager.wait_for("READY=1")
    bridge.stop()
    manager.wait_for("STOPPING=1")


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""The limit of open files: raised where that is allowed, told where it is not, survived when reached."""

import os
import resource
import socket
import subprocess

import mqttsn
from harness import Bridge, Process, free_port, main, udp_link, wait_until

CONGESTION = 1


def limited(env, soft, hard, sensors):
    """A transparent bridge that begins with this limit."""
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker(quiet=True)
    keys = "mode = transparent\nmax_connections = %d" % sensors
    bridge = Bridge(env, env.config(broker, udp_link(port), bridge=keys, log="info"))
    plain = bridge.command
    bridge.command = ["prlimit", "--nofile=%d:%d" % (soft, hard)] + plain
    Process.start(bridge)
    bridge.command = plain
    bridge.wait_until_ready()
    return bridge, port


def connect(env, port, count):
    """The codes of so many CONNACKs."""
    codes = []
    for number in range(count):
        device = mqttsn.Device(port, "s%d" % number)
        env.devices.append(device)
        device.send(mqttsn.connect(device.client))
        codes.append(device.wait("CONNACK")["code"])
    return codes


def test_the_limit_is_raised_to_what_max_connections_needs(env):
    bridge, port = limited(env, 64, 400, 60)
    assert connect(env, port, 60) == [0] * 60
    bridge.wait_for_status(lambda s: s["connections_up"] == 60, "all have a connection")
    soft, hard = resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE)
    assert 64 < soft < hard == 400, (soft, hard)
    assert "open files" not in bridge.log(), bridge.log()


def test_where_it_cannot_be_raised_max_connections_is_what_fits(env):
    bridge, port = limited(env, 64, 80, 60)
    assert "open files: the limit is 80" in bridge.log(), bridge.log()
    assert "max_connections = 60: only 14 fit" in bridge.log(), bridge.log()
    codes = connect(env, port, 20)
    assert codes == [0] * 14 + [CONGESTION] * 6, codes
    bridge.wait_for_status(lambda s: s["connections_up"] == 14, "those have a connection")


def cpu_s(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_a_free_descriptor_questions_are_answered(env):
    bridge, port = limited(env, 400, 400, 60)
    assert connect(env, port, 10) == [0] * 10
    bridge.wait_for_status(lambda s: s["connections_up"] == 10, "all have a connection")
    used = max(int(name) for name in os.listdir("/proc/%d/fd" % bridge.process.pid))
    resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE, (used + 1, 400))
    # With all that is left below the highest one taken.
    connect(env, port, 40)
    bridge.wait_for_log("open files: the limit is reached")
    assert bridge.status()["connections_up"] >= 10
    assert bridge.log().count("the limit is reached") == 1, bridge.log()


def test_who_cannot_be_answered_costs_no_cpu(env):
    bridge, port = limited(env, 400, 400, 60)
    resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE, (3, 400))
    asker = env.spawn("snbridge", "-c", bridge.config, "status")
    bridge.wait_for_log("open files: the limit is reached")
    before = cpu_s(bridge.process.pid)
    subprocess.run(["sleep", "2"], check=True)
    spent = cpu_s(bridge.process.pid) - before
    assert spent < 0.5, spent
    resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE, (400, 400))
    wait_until(lambda: bridge.ask("status").returncode == 0, "it answers again")
    asker.end()


if __name__ == "__main__":
    main()

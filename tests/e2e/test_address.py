#!/usr/bin/python3
"""A broker that has several addresses, of which not all work, or one that needs a zone.

Each test runs in a network and a hosts file of its own, as far as the machine allows that."""

import os
import subprocess

from harness import Broker, Bridge, Process, Skip, main, udp_link, wait_until
from test_tls import Certificates

NAME = "broker.test"


class Elsewhere:
    """Commands with this in front see a network of their own, with only a loopback interface."""

    def __init__(self, env, *addresses):
        hosts = env.write("hosts", "".join("%s %s\n" % (a, NAME) for a in addresses))
        setup = "ip link set lo up && ip -6 addr add fe80::5/64 dev lo nodad && "
        setup += "mount --bind %s /etc/hosts && echo ready && exec sleep 1000" % hosts
        self.holder = Process(env, "elsewhere", ["unshare", "-mn", "sh", "-c", setup]).start()
        try:
            wait_until(lambda: not self.holder.is_running() or "ready" in self.holder.log(), "")
        finally:
            if not self.holder.is_running():
                raise Skip("there is no network of our own: " + self.holder.log())
        self.enter = ["nsenter", "-m", "-n", "-t", str(self.holder.process.pid)]

    def run(self, process):
        plain = process.command
        process.command = self.enter + plain
        Process.start(process)
        process.command = plain  # with which the bridge is asked
        return process

    def broker(self, env, listeners):
        broker = Broker(env, settings=listeners)
        self.run(broker)
        broker.wait_for_log("running")
        return broker

    def bridge(self, env, url, keys=""):
        config = env.config(url, udp_link(1884), broker_keys=keys)
        return self.run(Bridge(env, config))


def listener(port, address, more=""):
    return "listener %d %s\n%s" % (port, address, more)


def test_a_dead_address_is_passed_over(env):
    """IPv4 is dead, and of IPv6 the first, too."""
    elsewhere = Elsewhere(env, "127.0.0.2", "fd00::1", "127.0.0.3", "::1")
    elsewhere.broker(env, listener(1888, "::1"))
    bridge = elsewhere.bridge(env, "tcp://%s:1888" % NAME)
    bridge.wait_for_log("broker connected")
    assert "broker cannot be reached" not in bridge.log(), bridge.log()


def test_when_no_address_works_each_is_told_with_its_reason(env):
    elsewhere = Elsewhere(env, "127.0.0.2", "::1", "fd00::1")
    bridge = elsewhere.bridge(env, "tcp://%s:1888" % NAME)
    bridge.wait_for_log("broker cannot be reached")
    for part in ("127.0.0.2: Connection refused", "::1: Connection refused", "fd00::1: Network"):
        assert part in bridge.log(), bridge.log()
    elsewhere.broker(env, listener(1888, "::1"))
    bridge.wait_for_log("broker connected")


def test_a_broker_that_moves_to_its_other_address_is_found_there(env):
    elsewhere = Elsewhere(env, "127.0.0.2", "::1")
    broker = elsewhere.broker(env, listener(1888, "127.0.0.2"))
    bridge = elsewhere.bridge(env, "tcp://%s:1888" % NAME)
    bridge.wait_for_log("broker connected")
    broker.kill()
    elsewhere.run(Process(env, "other", ["mosquitto", "-c", write_conf(env)]))
    wait_until(lambda: bridge.log().count("broker connected") == 2, "it is found")


def write_conf(env):
    return env.write("other.conf", listener(1888, "::1", "allow_anonymous true\nuser root\n"))


def test_a_link_local_address_is_reached_through_its_zone(env):
    elsewhere = Elsewhere(env)
    elsewhere.broker(env, listener(1888, "::"))
    bridge = elsewhere.bridge(env, "tcp://[fe80::5%lo]:1888")
    bridge.wait_for_log("broker connected")


def tls(env, name):
    """A broker with TLS at ::1, whose certificate is for this name."""
    elsewhere = Elsewhere(env, "127.0.0.2", "::1")
    certificates = Certificates(env)
    certificates.sign("server", "DNS:" + name)
    files = ["cafile", "ca.crt", "certfile", "server.crt", "keyfile", "server.key"]
    pairs = ["%s %s" % (k, certificates[v]) for k, v in zip(files[::2], files[1::2])]
    elsewhere.broker(env, listener(8883, "::1", "\n".join(pairs + ["allow_anonymous true"])))
    return elsewhere.bridge(
        env, "ssl://%s:8883" % NAME, "ca_file = " + certificates["ca.crt"]
    )


def test_the_certificate_is_checked_for_the_name_at_every_address(env):
    tls(env, NAME).wait_for_log("broker connected")


def test_another_name_is_refused_at_every_address(env):
    bridge = tls(env, "other.test")
    bridge.wait_for_log("broker cannot be reached")
    assert "other.test" in bridge.log() or "host name" in bridge.log(), bridge.log()
    assert "broker connected" not in bridge.log()


if __name__ == "__main__":
    if os.getuid() != 0 or subprocess.run(["which", "nsenter"], capture_output=True).returncode:
        print("1..0 # SKIP a network of our own needs root and nsenter")
    else:
        main()

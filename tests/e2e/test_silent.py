#!/usr/bin/python3
"""A broker that is connected and says nothing is noticed, and done without."""

import signal
import socket

import mqttsn
from harness import free_port, main, udp_link


def check_a_stopped_broker_is_noticed(env, mode):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    watcher = env.watcher(broker, "t")
    config = env.config(broker, udp_link(port), "mode = " + mode, "answer_timeout_s = 2")
    bridge = env.bridge(config)
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    device = mqttsn.Device(port, "d")
    device.connect()
    tid = device.ask(mqttsn.register(1, "t"), "REGACK", 1)["tid"]
    broker.send_signal(signal.SIGSTOP)
    device.ask(mqttsn.publish(tid, b"x", 1, 2), "PUBACK", 2)
    bridge.wait_for_log("no answer for")
    assert bridge.note("broker_silent") == 1, bridge.status()
    assert device.ask(mqttsn.subscribe(3, "u", 1), "SUBACK", 3)["code"] == mqttsn.ACCEPTED
    broker.send_signal(signal.SIGCONT)
    bridge.wait_until_delivered(60)
    watcher.wait_for(1)
    assert "x" in watcher.payloads()


def test_a_stopped_broker_is_noticed(env):
    check_a_stopped_broker_is_noticed(env, "aggregating")


def test_a_stopped_broker_is_noticed_by_a_sensors_own_connection(env):
    check_a_stopped_broker_is_noticed(env, "transparent")


if __name__ == "__main__":
    main()

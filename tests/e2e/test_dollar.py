#!/usr/bin/python3
"""What begins with "$" means something to the broker: sensors do not take from others by it."""

import socket

import mqttsn
from harness import free_port, main, udp_link


def check_a_group_keeps_its_messages(env, protocol, mode):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    member = env.watcher(broker, "$share/g/t")
    bridge = env.bridge(
        env.config(broker, udp_link(port), "mode = " + mode, "protocol = " + protocol)
    )
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    device = mqttsn.Device(port, "intruder")
    device.connect()
    answer = device.ask(mqttsn.subscribe(1, "$share/g/t", 1), "SUBACK", 1)
    assert answer["code"] == mqttsn.NOT_SUPPORTED, answer
    for number in range(20):
        env.mosquitto_pub(broker, "-t", "t", "-q", 1, "-m", number)
    member.wait_for(20)
    assert member.payloads() == [str(number) for number in range(20)], member.payloads()
    assert bridge.note("subscription_refused") == 1 and bridge.note("down_no_subscriber") == 0


def test_a_group_keeps_its_messages(env):
    check_a_group_keeps_its_messages(env, "5", "aggregating")


def test_a_group_keeps_its_messages_in_mqtt_3(env):
    check_a_group_keeps_its_messages(env, "3.1.1", "aggregating")


def test_a_group_keeps_its_messages_from_a_transparent_sensor(env):
    check_a_group_keeps_its_messages(env, "5", "transparent")


def test_the_configuration_cannot_make_a_member_either(env):
    topics = "[topics]\n1 = $share/g/t\n"
    config = env.config("tcp://127.0.0.1:1883", udp_link(1884), topics=topics)
    errors = env.run("snbridge", "-c", config, "--check", code=2).stderr
    assert "[topics] 1: found" in errors and "dollar_topics" in errors, errors


if __name__ == "__main__":
    main()

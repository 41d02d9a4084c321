#!/usr/bin/python3
"""What snpub and snsub show of sleep."""

import socket

from harness import free_port, main, udp_link, wait_until


class Plant:
    def __init__(self, env):
        self.env = env
        self.port = free_port(socket.SOCK_DGRAM)
        self.broker = env.broker()
        self.bridge = env.bridge(env.config(self.broker, udp_link(self.port)))
        self.bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")

    def asleep(self, count=1):
        self.bridge.wait_for_status(lambda s: s["asleep"] == count, "the device sleeps")

    def publish(self, text):
        self.env.mosquitto_pub(self.broker, "-t", "to/dev", "-m", text, "-q", 1)


def test_a_sleeping_subscriber_gets_its_messages_at_each_wake(env):
    """SN12C-6.14-1, SN12C-6.14-3: asleep at once, awake in time, several times over."""
    plant = Plant(env)
    sub = env.spawn(
        "snsub", "-p", plant.port, "-i", "dev", "-t", "to/dev", "-q", 1, "--sleep", 2, "-d", "-C", 2
    )
    for text in ("first", "second"):
        plant.asleep()
        plant.publish(text)
        sub.wait_for_log(text)
    assert sub.wait() == 0, sub.log()
    log = sub.log()
    assert "> DISCONNECT duration_s=2" in log and '> PINGREQ client_id="dev"' in log, log
    assert log.index("PINGREQ") < log.index("first") < log.index("PINGRESP"), log


def test_a_publisher_sleeps_between_its_messages(env):
    """SN12C-6.14-5, SN12C-6.14-6: it connects to publish, and sleeps again."""
    plant = Plant(env)
    watcher = env.watcher(plant.broker)
    words = ["-i", "dev", "-t", "from/dev", "-q", 1, "-m", "{n}", "--repeat", 3, "--interval", 700]
    pub = env.spawn("snpub", "-p", plant.port, *words, "--sleep", 60, "-d")
    wait_until(lambda: not pub.is_running(), "it has published everything")
    assert pub.wait() == 0, pub.log()
    watcher.wait_for(3)
    assert watcher.payloads("from/dev") == ["1", "2", "3"]
    assert pub.log().count("> CONNECT") == 3, pub.log()
    assert pub.log().count("> DISCONNECT duration_s=60") == 2, pub.log()
    assert pub.log().count("> REGISTER") == 1, "the session was kept: " + pub.log()


if __name__ == "__main__":
    main()

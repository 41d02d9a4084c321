#!/usr/bin/python3
"""snsub and snpub on a serial line: real ptys in place of the radio."""

from harness import main, serial_link


def receives(env, framing):
    """A subscriber behind a serial line receives what is published at the broker."""
    cable = env.cable()
    broker = env.broker()
    link = serial_link(cable.a, "framing = %s\nbaud = 115200" % framing)
    bridge = env.bridge(env.config(broker, link))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    line = ["--serial", cable.b, "--framing", framing]
    sub = env.spawn("snsub", *line, "-t", "plant/#", "-q", 1, "-v", "-C", 20)
    bridge.wait_for_status(lambda s: s["filters"] == 1, "the broker has the filter")
    # Octets that the framings must escape, too.
    payloads = ["reading %d \u00c0\u00db\u00dc" % number for number in range(20)]
    for number, payload in enumerate(payloads):
        env.mosquitto_pub(broker, "-t", "plant/%d" % (number % 3), "-m", payload, "-q", 1)
    assert sub.wait(60) == 0, sub.log()
    expected = ["plant/%d %s" % (number % 3, text) for number, text in enumerate(payloads)]
    assert sub.log().splitlines() == expected, sub.log()
    assert bridge.status()["links"]["radio"]["bad_frames"] == 0


def test_a_subscriber_on_a_cobs_line_receives_everything_in_order(env):
    receives(env, "cobs")


def test_a_subscriber_on_a_slip_line_receives_everything_in_order(env):
    receives(env, "slip")


def test_a_subscriber_on_an_hdlc_line_receives_everything_in_order(env):
    receives(env, "hdlc")


def test_a_line_that_echoes_is_no_loop(env):
    """RS-485 whose receiver stays on, at both ends: everybody hears himself."""
    cable = env.cable(echo=True)
    broker = env.broker()
    watcher = env.watcher(broker)
    bridge = env.bridge(env.config(broker, serial_link(cable.a, "baud = 115200")))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    sub = env.spawn("snsub", "--serial", cable.b, "-t", "valve/#", "-v", "-C", 20)
    bridge.wait_for_status(lambda s: s["filters"] == 1, "the broker has the filter")
    expected = ["valve/%d open %d" % (number % 2, number) for number in range(20)]
    for line in expected:
        topic, payload = line.split(" ", 1)
        env.mosquitto_pub(broker, "-t", topic, "-m", payload)
    assert sub.wait(60) == 0, sub.log()
    assert sub.log().splitlines() == expected, sub.log()
    assert len(watcher.wait_for(20)) == 20, watcher.messages()
    notes = bridge.status()["notes"]
    assert notes["link_echoes"] == 1 and notes["frame_echo"] > 20, notes
    assert bridge.log().count("the line echoes what is sent") == 1, bridge.log()


def test_readings_from_a_serial_line_arrive(env):
    cable = env.cable()
    broker = env.broker()
    watcher = env.watcher(broker)
    env.bridge(env.config(broker, serial_link(cable.a, "baud = 115200")))
    lines = ["value %d" % number for number in range(50)]
    text = "".join(line + "\n" for line in lines)
    env.run("snpub", "--serial", cable.b, "-t", "tank", "-q", 2, "-l", text=text, seconds=60)
    watcher.wait_for(50)
    assert watcher.payloads("tank") == lines, watcher.payloads()


def test_two_radios_and_a_network_are_one_system(env):
    one, two = env.cable(), env.cable()
    broker = env.broker()
    links = serial_link(one.a, "baud = 115200", "r1") + serial_link(two.a, "framing = slip", "r2")
    bridge = env.bridge(env.config(broker, links))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    sub = env.spawn("snsub", "--serial", one.b, "-t", "a", "-q", 2, "-C", 3)
    bridge.wait_for_status(lambda s: s["filters"] == 1, "the broker has the filter")
    for number in range(3):
        words = ["--serial", two.b, "--framing", "slip", "-t", "a", "-m", number, "-q", 2]
        env.run("snpub", *words, seconds=60)
    assert sub.wait(60) == 0, sub.log()
    assert sub.log().split() == ["0", "1", "2"], sub.log()


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Anything may arrive at a UDP port. The bridge counts it and goes on."""

import json
import os
import random
import socket
import time

from harness import TOP, free_port, main, udp_link, wait_until
import mqttsn

FRAMES = 100000
BURST = 200  # sent before the bridge must have read them: below what a socket holds


def seeds():
    """The wire examples, good and bad, of both versions."""
    with open(os.path.join(TOP, "tests/corpus/vectors.json"), encoding="utf-8") as file:
        vectors = json.load(file)["vectors"]
    return [bytes.fromhex(v["hex"]) for v in vectors if v.get("hex")]


def mutate(rng, frame):
    """Changes, cuts, doubles or joins octets."""
    octets = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(5)
        at = rng.randrange(len(octets) + 1)
        if kind == 0 and octets:
            octets[at % len(octets)] = rng.randrange(256)
        elif kind == 1 and octets:
            octets[at % len(octets)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del octets[at:]
        elif kind == 3:
            octets[at:at] = rng.randbytes(rng.randint(1, 8))
        elif octets:
            octets[at % len(octets) :] = octets[: rng.randint(0, 40)]
    return bytes(octets)


def test_a_hundred_thousand_wild_datagrams_do_no_harm(env):
    port = free_port(socket.SOCK_DGRAM)
    broker = env.broker()
    link = udp_link(port, "qos_minus_one = yes\nroam = yes")
    bridge = env.bridge(env.config(broker, link, bridge="max_clients = 500"))
    capture = env.capture(port)
    rng = random.Random(1)
    frames = seeds()
    rogues = [mqttsn.Device(port, "rogue%d" % n) for n in range(20)]
    env.devices += rogues

    sent = 0
    while sent < FRAMES:
        for _ in range(BURST):
            kind = rng.random()
            if kind < 0.2:
                frame = rng.randbytes(rng.choice((0, 1, 2, 3, 5, 9, 40, 300, 1500)))
            elif kind < 0.4:
                frame = rng.choice(frames)
            else:
                frame = mutate(rng, rng.choice(frames))
            rng.choice(rogues).send(frame)
        sent += BURST
        for rogue in rogues:
            drain(rogue.socket)
        if sent % (10 * BURST) == 0:
            catch_up(bridge, sent)

    status = bridge.wait_for_status(
        lambda s: arrived(s) == FRAMES, "every datagram was read or counted as lost"
    )
    notes = status["notes"]
    refused = sum(notes[name] for name in notes if name.startswith("frame_"))
    assert refused > FRAMES / 10, "only %d were refused: %s" % (refused, notes)

    sober = mqttsn.Device(port, "sober")
    env.devices.append(sober)
    watcher = env.watcher(broker, "sober")
    sober.connect()
    sober.publish(sober.register("sober"), b"still here", qos=2)
    watcher.wait_for(1)
    if capture:
        capture.check()


def drain(s):
    """Reads what has come, so that no socket of ours fills up."""
    s.setblocking(False)
    try:
        while True:
            s.recv(65536)
    except (BlockingIOError, ConnectionRefusedError):
        pass
    s.setblocking(True)


def arrived(status):
    link = status["links"]["lan"]
    return link["frames_in"] + link["bad_frames"] + link["dropped_in"]


def catch_up(bridge, sent):
    wait_until(lambda: arrived(bridge.status()) >= sent, "%d datagrams were read" % sent)


test_a_hundred_thousand_wild_datagrams_do_no_harm.limit = 240

if __name__ == "__main__":
    main()

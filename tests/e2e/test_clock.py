#!/usr/bin/python3
"""A wall clock that is wrong, and then set: what is seconds old is not years old."""

import os
import shutil
import socket
import subprocess
import time

import mqttsn
from harness import Skip, free_port, main, udp_link, wait_until

# Stands before the system's own: the wall clock of one process, by as much as a file says.
SHIM = """
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *t)
{
    const long rc = syscall(SYS_clock_gettime, id, t);
    FILE *file = rc == 0 && id == CLOCK_REALTIME ? fopen(getenv("CLOCK_OFFSET"), "r") : NULL;
    long seconds = 0;
    if (file != NULL && fscanf(file, "%ld", &seconds) == 1)
        t->tv_sec += seconds;
    if (file != NULL)
        fclose(file);
    return (int)rc;
}
"""


class Clock:
    def __init__(self, env):
        compiler = shutil.which("cc")
        if compiler is None:
            raise Skip("there is no compiler")
        self.env = env
        self.library = env.path("clock.so")
        source = env.write("clock.c", SHIM)
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", self.library, source]
        subprocess.run(command, check=True)
        self.set(0)

    def set(self, offset_s):
        with open(self.env.path("offset.new"), "w", encoding="utf-8") as file:
            file.write("%d\n" % offset_s)
        os.rename(self.env.path("offset.new"), self.env.path("offset"))

    def give(self, bridge):
        bridge.environment["LD_PRELOAD"] = self.library
        bridge.environment["CLOCK_OFFSET"] = self.env.path("offset")
        bridge.environment["ASAN_OPTIONS"] += ":verify_asan_link_order=0"


def watch_properties(env, broker):
    log = open(env.path("properties.log"), "w+", encoding="utf-8")
    command = ["mosquitto_sub", "-V", "5", "-h", "127.0.0.1", "-p", str(broker.port)]
    command += ["-i", "reader", "-c", "-x", "1000", "-q", "1", "-t", "plant/1", "-F", "%p %P"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    broker.wait_for_log("Sending SUBACK to reader")

    def lines():
        with open(env.path("properties.log"), encoding="utf-8") as file:
            return {line.split()[0]: line for line in file.read().splitlines()}

    return process, lines


def test_messages_from_before_the_clock_was_set_do_not_expire(env):
    broker = env.broker()
    reader, lines = watch_properties(env, broker)
    try:
        port = free_port(socket.SOCK_DGRAM)
        clock = Clock(env)
        clock.set(-int(time.time()) + 100)  # in 1970, as on a board without a clock
        keys = "max_backlog_age_s = 3600\nmax_queue_age_s = 3600"
        bridge = env.bridge(env.config(broker, udp_link(port), bridge=keys), start=False)
        clock.give(bridge)
        bridge.start()
        assert "the wall clock is not set" in bridge.log(), bridge.log()
        device = mqttsn.Device(port, "s1")
        device.connect(duration=600, clean=False)
        device.subscribe("c/1", qos=1)
        tid = device.register("plant/1")
        device.disconnect(600)
        env.mosquitto_pub(broker, "-t", "c/1", "-q", 1, "-m", "command")
        bridge.wait_for_status(lambda s: s["down"]["queued"] == 1, "the command waits")
        broker.end()
        bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
        device.connect(duration=600, clean=False)
        for number in range(5):
            device.publish(tid, b"early%d" % number, qos=1)
        time.sleep(1.1)  # from then on the broker is told when a message came
        broker.start()
        wait_until(lambda: "early4" in lines(), "the first messages arrive")
        assert "received" not in lines()["early4"], lines()

        # NTP comes; then the bridge is started again.
        broker.end()
        bridge.wait_for_status(lambda s: not s["broker_up"], "the broker is missed")
        for number in range(5):
            device.publish(tid, b"late%d" % number, qos=1)
        device.disconnect(600)
        clock.set(0)
        bridge.kill()
        bridge.start()
        status = bridge.status()
        assert status["up"]["queued"] == 5, status["up"]
        time.sleep(1.1)
        broker.start()
        wait_until(lambda: "late4" in lines(), "the others arrive")
        year = "received:" + time.strftime("%Y-")
        assert year in lines()["late4"], lines()
        status = bridge.status()
        assert status["up"]["expired"] == 0 and status["down"]["expired"] == 0, status

        # A clock that is set back again, or years ahead, drops nothing either.
        for offset_s in (-86400, 5 * 365 * 86400):
            broker.end()
            device.connect(duration=600, clean=False)
            device.publish(tid, b"again%d" % offset_s, qos=1)
            clock.set(offset_s)
            bridge.stop()
            bridge.start()
            broker.start()
            wait_until(lambda: "again%d" % offset_s in lines(), "it arrives")
        bridge.check_account()
    finally:
        reader.terminate()
        reader.wait()


if __name__ == "__main__":
    main()

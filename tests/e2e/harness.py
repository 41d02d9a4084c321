"""Runs the real programs against a real broker, and says in TAP what holds.

A scenario file defines functions `test_...(env)`; their names are the facts they prove.

    from harness import main
    def test_a_reading_arrives(env): ...
    if __name__ == "__main__": main()

Each test gets an Env: a temporary folder, and things that are started in it and ended
with it. Nothing is left behind by a test that passes; the folder of one that fails is
kept and named. Nothing sleeps for a fixed time: what must happen is waited for, with a deadline.

BUILD says where the programs are (default "build"), so that the same scenarios run
on sanitized ones. Arguments of a scenario file choose tests by a part of their name.
"""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback
import tty

import framing

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests"))
import tshark_packet  # noqa: E402  (the path comes first)

BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
PATIENCE = 20.0  # seconds that anything may take on a loaded machine
TEST_LIMIT = 120  # seconds for one test, unless it has an attribute `limit`


# For a broker whose subscribers compare the order: with a queue for one of them mosquitto 2.0.11
# lets a new message overtake older ones, whenever its window has room for a moment. With a large
# window there is no queue.
IN_ORDER = "max_inflight_messages 5000"


class Skip(Exception):
    """The machine lacks what the test needs."""


watched = []  # processes whose unexpected end is a failure by itself


def wait_until(condition, what, seconds=PATIENCE):
    """Polls until condition() is true, and returns what it returned."""
    end = time.monotonic() + seconds
    pause = 0.002
    while True:
        for process in watched:
            if not process.is_running():
                raise AssertionError("%s ended:\n%s" % (process.name, process.log()[-3000:]))
        if value := condition():
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (seconds, what))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


# Below those that the system gives to connections, so that none of them takes one.
PORTS = range(20000, 32768)
reserved = []  # while this program runs: see free_port()


def free_port(kind=socket.SOCK_STREAM):
    """A port that nothing uses, and that no other test gets until this program ends, even while
    nothing listens there: its name as an abstract socket is taken."""
    for i in range(len(PORTS)):
        port = PORTS[(os.getpid() * 101 + i) % len(PORTS)]
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            mark.bind("\0snbridge-test-port-%d" % port)
            with socket.socket(socket.AF_INET, kind) as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        reserved.append(mark)
        return port
    raise AssertionError("no port is free")


def program(name):
    path = os.path.join(BUILD, name)
    if not os.path.exists(path):
        raise Skip("%s is not built" % name)
    return path


class Process:
    """A program, its output in a file."""

    def __init__(self, env, name, command, environment=None):
        self.env = env
        self.name = name
        self.command = command
        self.environment = environment
        self.log_path = env.path(name + ".log")
        self.process = None
        self.from_start = 0  # where in the log this run began

    def start(self):
        assert not self.is_running(), self.name + " is running already"
        with open(self.log_path, "ab") as log:
            self.from_start = log.tell()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.env.folder,
                env=self.environment,
            )
        self.env.started.append(self)
        return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=PATIENCE):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s does not end within %g s" % (self.name, seconds)) from None

    def end(self, number=signal.SIGTERM, seconds=PATIENCE):
        """Sends a signal and waits. Returns the exit code."""
        self.unwatch()
        if self.is_running():
            self.send_signal(number)
        return self.wait(seconds)

    def unwatch(self):
        if self in watched:
            watched.remove(self)

    def kill(self):
        self.unwatch()
        if self.is_running():
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def log(self):
        """What this run has written so far."""
        with open(self.log_path, "rb") as file:
            file.seek(self.from_start)
            return file.read().decode(errors="replace")

    def wait_for_log(self, text, seconds=PATIENCE):
        def seen():
            if not self.is_running() and text not in self.log():
                raise AssertionError("%s ended:\n%s" % (self.name, self.log()))
            return text in self.log()

        wait_until(seen, '%s logs "%s"' % (self.name, text), seconds)


class Broker(Process):
    """A mosquitto of our own. Its memory outlives SIGTERM, and SIGKILL after save()."""

    def __init__(self, env, name="mosquitto", settings="", quiet=False):
        path = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        if not os.path.exists(path):
            raise Skip("mosquitto is not here")
        self.port = free_port()
        self.folder = env.path(name)
        os.mkdir(self.folder)
        conf = env.write(
            name + ".conf",
            "listener %d 127.0.0.1\n"
            "allow_anonymous true\n"
            "persistence true\n"
            "persistence_location %s/\n"
            "max_queued_messages 0\n"
            # Of more, mosquitto 2.0.11 lets the newest overtake the others after a restart.
            "max_inflight_messages 1000\n"
            "log_type %s\n"
            "%s\n" % (self.port, self.folder, "error" if quiet else "all", settings),
        )
        if os.getuid() == 0:
            # mosquitto gives up being root, and must still reach its folder.
            with open(conf, "a", encoding="utf-8") as file:
                file.write("user root\n")
        super().__init__(env, name, [path, "-c", conf])

    @property
    def url(self):
        return "tcp://127.0.0.1:%d" % self.port

    def start(self):
        super().start()
        wait_until(self.answers, "%s listens" % self.name)
        return self

    def answers(self):
        if not self.is_running():
            raise AssertionError("%s ended:\n%s" % (self.name, self.log()))
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def save(self):
        """Makes it write its memory to disk, as it does when it ends in order."""
        path = os.path.join(self.folder, "mosquitto.db")
        before = os.stat(path).st_mtime_ns if os.path.exists(path) else 0
        self.send_signal(signal.SIGUSR1)
        wait_until(
            lambda: os.path.exists(path) and os.stat(path).st_mtime_ns > before,
            "mosquitto.db is written",
        )


class Message:
    def __init__(self, topic, qos, retain, payload):
        self.topic = topic
        self.qos = qos
        self.retain = retain
        self.payload = payload

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return "%s q%d r%d %r" % (self.topic, self.qos, self.retain, self.payload)


class Watcher(Process):
    """mosquitto_sub with a session that the broker keeps. Payloads must be text of one line."""

    number = 0

    def __init__(self, env, broker, *filters, qos=2):
        path = shutil.which("mosquitto_sub")
        if path is None:
            raise Skip("mosquitto_sub is not here")
        Watcher.number += 1
        name = "watcher%d" % Watcher.number
        command = [path, "-h", "127.0.0.1", "-p", str(broker.port), "-V", "311"]
        command += ["-q", str(qos), "-c", "-i", name, "-F", "%q %r %t %p"]
        for name_or_filter in filters or ["#"]:
            command += ["-t", name_or_filter]
        super().__init__(env, name, command)
        self.broker = broker

    def start(self):
        super().start()
        self.broker.wait_for_log("Sending SUBACK to " + self.name)
        return self

    def messages(self):
        found = []
        for line in self.log().splitlines():
            if match := re.match(r"^([012]) ([01]) (\S+) (.*)$", line):
                qos, retain, topic, payload = match.groups()
                found.append(Message(topic, int(qos), int(retain), payload))
        return found

    def payloads(self, topic=None):
        return [m.payload for m in self.messages() if topic is None or m.topic == topic]

    def wait_for(self, count, seconds=PATIENCE):
        """At least so many messages; returns them."""
        try:
            wait_until(lambda: len(self.messages()) >= count, "", seconds)
        except AssertionError:
            raise AssertionError(
                "%d of %d messages within %g s: %s"
                % (len(self.messages()), count, seconds, self.messages()[-5:])
            ) from None
        return self.messages()


class Bridge(Process):
    """build/snbridge with a configuration file of its own."""

    SANITIZERS = re.compile(r"(?:ERROR|WARNING): \w+Sanitizer|runtime error:|Assertion .* failed")

    def __init__(self, env, config, name="snbridge"):
        self.config = config
        environment = dict(
            os.environ,
            ASAN_OPTIONS="detect_leaks=1:abort_on_error=1",
            UBSAN_OPTIONS="print_stacktrace=1",
        )
        super().__init__(env, name, [program("snbridge"), "-c", config], environment)

    def start(self, ready=True):
        super().start()
        if ready:
            watched.append(self)
            self.wait_until_ready()
        return self

    def wait_until_ready(self):
        wait_until(
            lambda: self.ask("status").returncode == 0, "snbridge answers `snbridge status`"
        )

    def ask(self, *words):
        """`snbridge status` and its like."""
        command = [self.command[0], *words[:1], "-c", self.config, *words[1:]]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def status(self):
        """What `snbridge status --json` says, as a dict."""
        answer = self.ask("status", "--json")
        assert answer.returncode == 0, answer.stderr
        status = json.loads(answer.stdout)
        status["notes"] = {name.lower(): count for name, count in status["notes"].items()}
        return status

    def note(self, name):
        """How often the bridge has said so, from its counters."""
        return self.status()["notes"][name]

    def wait_for_status(self, condition, what, seconds=PATIENCE):
        """Polls until condition(status) is true; returns that status."""

        def reached():
            status = self.status()
            return status if condition(status) else None

        try:
            return wait_until(reached, what, seconds)
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, json.dumps(self.status()))) from None

    def wait_until_delivered(self, seconds=PATIENCE):
        """Nothing is queued or undecided any more."""
        return self.wait_for_status(
            lambda s: s["up"]["queued"] == 0 and s["undecided"] == 0,
            "the broker has everything",
            seconds,
        )

    def check_account(self):
        """Nothing vanishes: what was accepted is delivered, expired, dropped or queued."""
        status = self.status()
        by_class = status["classes"]
        by_link = {name: link["account"] for name, link in status["links"].items()}
        by_link["(no link)"] = status["no_link"]
        clients = json.loads(self.ask("clients", "--json").stdout)
        by_client = {client["client"]: client["account"] for client in clients}
        for parts in ({"all": status}, by_class, by_link, by_client):
            for name, part in parts.items():
                for direction in ("up", "down"):
                    account = dict(part[direction])
                    accepted = account.pop("accepted")
                    assert accepted == sum(account.values()), (
                        "the account of %s does not add up: %s %s"
                        % (name, direction, part[direction])
                    )
        for parts in (by_class, by_link):
            for direction in ("up", "down"):
                for what in ("accepted", "queued"):
                    total = sum(part[direction][what] for part in parts.values())
                    assert total == status[direction][what], (direction, what, parts, status)

    def stop(self, seconds=PATIENCE):
        code = self.end(signal.SIGTERM, seconds)
        assert code == 0, "snbridge ended with %d:\n%s" % (code, self.log()[-2000:])

    def check_sanitizers(self):
        if os.path.exists(self.log_path):
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                text = file.read()
            if match := self.SANITIZERS.search(text):
                raise AssertionError(text[match.start() : match.start() + 4000])


class Cable:
    """Two ptys with their far ends tied together: what is written to one comes out of
    the other, and with echo back to the first as well. cut() lets both ends hang up."""

    def __init__(self, echo=False):
        self.echo = echo
        self.masters, self.paths, self.slaves = [], [], []
        for _ in range(2):
            master, slave = os.openpty()
            tty.setraw(slave, termios.TCSANOW)
            self.masters.append(master)
            # Held open, so that the pty lives while nobody has it open.
            self.slaves.append(slave)
            self.paths.append(os.ttyname(slave))
        self.a, self.b = self.paths
        self.written = {path: bytearray() for path in self.paths}
        self.wake_read, self.wake_write = os.pipe()
        self.thread = threading.Thread(target=self._pump, daemon=True)
        self.thread.start()

    def _pump(self):
        one, two = self.masters
        other = {one: two, two: one}
        path = dict(zip(self.masters, self.paths))
        while True:
            ready, _, _ = select.select([one, two, self.wake_read], [], [])
            if self.wake_read in ready:
                return
            for master in ready:
                try:
                    data = os.read(master, 4096)
                    self.written[path[master]] += data
                    for to in (other[master], master) if self.echo else (other[master],):
                        left = data
                        while left:
                            left = left[os.write(to, left) :]
                except OSError:
                    return

    def cut(self):
        if self.thread is None:
            return
        os.write(self.wake_write, b"x")
        self.thread.join()
        self.thread = None
        for fd in self.masters + self.slaves + [self.wake_read, self.wake_write]:
            os.close(fd)

    def frames(self, framings):
        """What was written to paths whose framing is known, frame by frame."""
        for path, octets in self.written.items():
            if path in framings:
                yield from framing.frames(framings[path], bytes(octets))


MALFORMED = "_ws.malformed || _ws.expert.severity >= 0x600000"  # for tshark, or suspicious


class Capture(Process):
    """What passes a UDP port on the loopback interface, for tshark, whose dissector was
    written by others."""

    SIZE_KB = 200000
    SECONDS = 600

    def __init__(self, env, port):
        if shutil.which("dumpcap") is None or os.getuid() != 0:
            raise Skip("capturing needs dumpcap and root")
        self.port = port
        self.file = env.path("port%d.pcapng" % port)
        command = ["dumpcap", "-q", "-i", "lo", "-f", "udp port %d" % port, "-w", self.file]
        command += ["-a", "filesize:%d" % self.SIZE_KB, "-a", "duration:%d" % self.SECONDS]
        super().__init__(env, "dumpcap%d" % port, command)

    def start(self):
        super().start()
        self.wait_for_log("File:")
        return self

    def read(self, display_filter):
        """One line for each frame that the filter shows."""
        command = ["tshark", "-r", self.file, "-d", "udp.port==%d,mqttsn" % self.port]
        command += ["-Y", display_filter]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return result.stdout.splitlines()

    def catch_up(self):
        """Packets reach the file in batches. A datagram of ours, which the bridge refuses,
        is the last of those that matter."""
        mark = b"\xff" + os.urandom(16)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(mark, ("127.0.0.1", self.port))

        def written():
            with open(self.file, "rb") as file:
                return mark in file.read()

        wait_until(written, "the capture is written")

    def check(self):
        """Ends the capture. No frame of the bridge's may look malformed to tshark."""
        if self.is_running():
            self.catch_up()
            self.end(signal.SIGINT)
        sent = "udp.srcport == %d" % self.port
        bad = self.read(sent + " && (%s)" % MALFORMED)
        assert not bad, "malformed for tshark:\n" + "\n".join(bad[:20])
        return len(self.read(sent))


class Traffic:
    """Everything that passes the interfaces while a scenario file runs, so that tshark may judge
    every frame of every bridge at its end."""

    ports = set()  # of all bridges so far
    framings = {}  # of the serial lines of the present test's bridges
    serial = []  # frames that bridges have written to them

    def __init__(self, interfaces):
        if shutil.which("dumpcap") is None or shutil.which("tshark") is None:
            raise Skip("tshark is not here")
        if os.getuid() != 0:
            raise Skip("only root may capture")
        self.folder = tempfile.mkdtemp(prefix="snbridge-traffic.")
        self.file = os.path.join(self.folder, "all.pcapng")
        command = ["dumpcap", "-q", "-f", "udp", "-w", self.file]
        command += ["-a", "filesize:%d" % Capture.SIZE_KB]
        for interface in interfaces:
            command += ["-i", interface]
        self.log = open(os.path.join(self.folder, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        wait_until(lambda: os.path.exists(self.file) or self.process.poll(), "dumpcap runs")

    def end(self):
        if self.process.poll() is None:
            self.catch_up()
            self.process.send_signal(signal.SIGINT)
        if self.process.wait(PATIENCE) != 0:
            self.log.seek(0)
            raise AssertionError("dumpcap failed:\n" + self.log.read())

    def catch_up(self):
        """What was sent before this mark is in the file when the mark is."""
        mark = os.urandom(16)
        begin = os.path.getsize(self.file)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(mark, ("127.0.0.1", free_port(socket.SOCK_DGRAM)))

        def written():
            with open(self.file, "rb") as file:
                file.seek(begin)
                return mark in file.read() or self.process.poll() is not None

        wait_until(written, "the capture is written")

    def shown(self, file, ports, display_filter):
        command = ["tshark", "-n", "-r", file, "-Y", display_filter]
        for port in sorted(ports):
            command += ["-d", "udp.port==%d,mqttsn" % port]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=250
        ).stdout.splitlines()

    def judge(self):
        """How many frames the bridges have sent, and those that tshark does not like."""
        self.end()
        count, bad = 0, []
        if self.ports:
            sent = "mqttsn && udp.srcport in {%s}" % ", ".join(map(str, sorted(self.ports)))
            bad += self.shown(self.file, self.ports, "(%s) && (%s)" % (sent, MALFORMED))
            count += len(self.shown(self.file, self.ports, sent))
        if self.serial:
            lines = os.path.join(self.folder, "serial.pcap")
            tshark_packet.write_pcap(lines, self.serial)
            bad += self.shown(lines, [tshark_packet.PORT], MALFORMED)
            count += len(self.serial)
        return count, bad

    def forget(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)


class Env:
    """What one test has. Everything it starts ends with it."""

    def __init__(self, name):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix="snbridge-%s." % name.replace("_", "-")[:40])
        self.started = []
        self.cables = []
        self.devices = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def broker(self, settings="", start=True, quiet=False):
        number = sum(isinstance(process, Broker) for process in self.started)
        broker = Broker(self, "mosquitto%s" % (number or ""), settings, quiet)
        return broker.start() if start else broker

    def watcher(self, broker, *filters, qos=2):
        return Watcher(self, broker, *filters, qos=qos).start()

    def cable(self, echo=False):
        self.cables.append(Cable(echo))
        return self.cables[-1]

    def capture(self, port):
        """None where capturing is not possible."""
        try:
            return Capture(self, port).start()
        except Skip:
            return None

    def config(
        self,
        broker,
        links,
        bridge="",
        broker_keys="",
        topics="",
        name="snbridge.conf",
        log="debug",
    ):
        """A configuration that reconnects fast and keeps its state in the test's folder."""
        url = broker if isinstance(broker, str) else broker.url
        return self.write(
            name,
            "[bridge]\ndata = %s\nlog = %s\n%s\n"
            "[broker]\nurl = %s\nreconnect_min_ms = 100\nreconnect_max_ms = 500\n%s\n"
            "%s\n%s\n" % (self.path("data"), log, bridge, url, broker_keys, links, topics),
        )

    def bridge(self, config, start=True):
        bridge = Bridge(self, config)
        return bridge.start() if start else bridge

    def run(self, name, *words, seconds=PATIENCE, text=None, code=0):
        """Runs one of our programs to its end, and returns what it printed."""
        result = subprocess.run(
            [program(name), *map(str, words)],
            capture_output=True,
            text=True,
            input=text,
            timeout=seconds,
            check=False,
            cwd=self.folder,
        )
        assert result.returncode == code, "%s %s: exit code %d, not %d\n%s%s" % (
            name,
            " ".join(map(str, words)),
            result.returncode,
            code,
            result.stdout,
            result.stderr,
        )
        return result

    def spawn(self, name, *words, log=None):
        return Process(self, log or name, [program(name), *map(str, words)]).start()

    def mosquitto_pub(self, broker, *words):
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), *map(str, words)]
        subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True)

    def close(self):
        """Ends what runs, in the opposite order, and looks for reports of sanitizers."""
        bridges = {p for p in self.started if isinstance(p, Bridge)}
        for process in reversed(self.started):
            if process.is_running() and not isinstance(process, Bridge):
                process.process.terminate()
        try:
            for bridge in bridges:
                if bridge.is_running():
                    bridge.check_account()
                    bridge.stop()
        finally:
            for process in reversed(self.started):
                process.kill()
            for cable in self.cables:
                cable.cut()
                Traffic.serial += cable.frames(Traffic.framings)
            Traffic.framings.clear()
            for device in self.devices:
                device.close()
        for bridge in bridges:
            bridge.check_sanitizers()


def udp_link(port, keys="", name="lan"):
    Traffic.ports.add(port)
    return "[link %s]\ntype = udp\nlisten = 127.0.0.1:%d\n%s\n" % (name, port, keys)


def serial_link(device, keys="", name="radio"):
    known = re.search(r"^framing = (\w+)", keys, re.MULTILINE)
    Traffic.framings[device] = known.group(1) if known else "cobs"
    return "[link %s]\ntype = serial\ndevice = %s\n%s\n" % (name, device, keys)


class TimeLimit(Exception):
    pass


def _on_alarm(_number, _frame):
    raise TimeLimit("the test's time is over")


def _on_term(_number, _frame):
    raise KeyboardInterrupt


def run_test(function):
    """None, or why it failed. Skip passes through."""
    env = Env(function.__name__)
    failure = None
    signal.alarm(getattr(function, "limit", TEST_LIMIT))
    try:
        function(env)
    except Skip:
        signal.alarm(0)
        env.close()
        shutil.rmtree(env.folder)
        raise
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, the test failed
        failure = "".join(traceback.format_exception(error)[-6:])
        if isinstance(error, KeyboardInterrupt):
            signal.alarm(0)
            env.close()
            raise
    signal.alarm(0)
    try:
        signal.alarm(2 * int(PATIENCE))
        env.close()
    except Exception as error:
        failure = (failure or "") + "while ending: %s" % error
    signal.alarm(0)
    if failure is None:
        shutil.rmtree(env.folder)
    else:
        failure += "\nlogs are in " + env.folder
    return failure


def judge(traffic, number):
    """The last test of a file: tshark, which was written by others, reads what was sent."""
    name = "tshark finds every frame of the bridge well formed"
    if isinstance(traffic, Skip):
        print("ok %d - %s # SKIP %s" % (number, name, traffic), flush=True)
        return True
    try:
        count, bad = traffic.judge()
    except Exception as error:  # whatever it is, the test failed
        count, bad = 0, traceback.format_exception(error)[-6:]
    print("%sok %d - %s" % ("not " if bad else "", number, name))
    print("# %d frames" % count)
    for line in bad[:20]:
        print("# " + line.rstrip())
    sys.stdout.flush()
    return not bad


def main(interfaces=("lo",)):
    module = sys.modules["__main__"]
    tests = [
        value
        for name, value in vars(module).items()
        if name.startswith("test_") and callable(value)
        if not sys.argv[1:] or any(part in name for part in sys.argv[1:])
    ]
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.signal(signal.SIGTERM, _on_term)
    print("1..%d" % (len(tests) + 1), flush=True)
    failed = 0
    try:
        traffic = Traffic(interfaces)
    except Skip as skip:
        traffic = skip
    try:
        failed = run_tests(tests)
        failed += not judge(traffic, len(tests) + 1)
    finally:
        if not isinstance(traffic, Skip):
            traffic.forget()
    sys.exit(1 if failed else 0)


def run_tests(tests):
    """How many failed."""
    failed = 0
    for number, test in enumerate(tests, 1):
        name = test.__name__[len("test_") :].replace("_", " ")
        begin = time.monotonic()
        try:
            failure = run_test(test)
        except Skip as skip:
            print("ok %d - %s # SKIP %s" % (number, name, skip), flush=True)
            continue
        except KeyboardInterrupt:
            print("Bail out!", flush=True)
            sys.exit(1)
        failed += failure is not None
        print("%sok %d - %s" % ("not " if failure else "", number, name))
        for line in (failure or "").splitlines():
            print("# " + line)
        print("# %.1f s" % (time.monotonic() - begin), flush=True)
    return failed

#!/usr/bin/python3
"""The broker behind TLS, passwords and WebSockets; and the one line that says what to do
when one of them is not as it should be."""

import os
import shutil
import socket
import ssl
import subprocess

from harness import PATIENCE, Skip, free_port, main, program, udp_link
from websocket import WebSocket


class Certificates:
    """An authority of our own, another that nobody knows, and what they have signed."""

    NEW = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split()

    def __init__(self, env):
        if shutil.which("openssl") is None:
            raise Skip("openssl is not here")
        self.folder = env.path("certificates")
        os.mkdir(self.folder)
        self.authority("ca")
        self.authority("other")

    def __getitem__(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, *words):
        subprocess.run(
            ["openssl", *words], check=True, cwd=self.folder, capture_output=True, timeout=PATIENCE
        )

    def authority(self, name):
        words = ["-keyout", name + ".key", "-out", name + ".crt", "-subj", "/CN=" + name]
        self.openssl("req", "-x509", *self.NEW, *words, "-days", "2")

    def sign(self, name, names="IP:127.0.0.1", by="ca", days=2):
        """NAME.crt and NAME.key. With days below 0 it has expired."""
        words = ["-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name]
        self.openssl("req", *self.NEW, *words)
        with open(self[name + ".san"], "w", encoding="ascii") as file:
            file.write("subjectAltName=" + names)
        words = ["-in", name + ".csr", "-out", name + ".crt", "-extfile", name + ".san"]
        words += ["-CA", by + ".crt", "-CAkey", by + ".key", "-CAcreateserial"]
        self.openssl("x509", "-req", *words, "-days", str(days))
        return name


def tls_broker(env, certificates, server, settings=""):
    """A mosquitto with one listener for us, without TLS, and one with."""
    port = free_port()
    broker = env.broker(
        "listener %d 127.0.0.1\nallow_anonymous true\ncafile %s\ncertfile %s\nkeyfile %s\n%s"
        % (
            port,
            certificates["ca.crt"],
            certificates[server + ".crt"],
            certificates[server + ".key"],
            settings,
        )
    )
    broker.tls_url = "ssl://127.0.0.1:%d" % port
    return broker


def config(env, url, **keys):
    text = "".join("%s = %s\n" % pair for pair in keys.items())
    return env.config(url, udp_link(free_port(socket.SOCK_DGRAM)), broker_keys=text)


def works(env, broker, url, **keys):
    """A message from a sensor arrives, and one to a sensor does."""
    port = free_port(socket.SOCK_DGRAM)
    text = "".join("%s = %s\n" % pair for pair in keys.items())
    bridge = env.bridge(env.config(url, udp_link(port), broker_keys=text))
    bridge.wait_for_status(lambda s: s["broker_up"], "the broker is connected")
    watcher = env.watcher(broker, "up")
    sub = env.spawn("snsub", "-p", port, "-t", "down", "-q", 1, "-C", 1)
    broker.wait_for_log("snbridge 1 down")
    env.mosquitto_pub(broker, "-t", "down", "-m", "open", "-q", 1)
    assert sub.wait() == 0 and sub.log() == "open\n", sub.log()
    env.run("snpub", "-p", port, "-t", "up", "-m", "4.2", "-q", 2)
    watcher.wait_for(1)
    return bridge


def fails(env, url, *parts, **keys):
    """The bridge starts, and each attempt leaves one warning that contains the parts."""
    bridge = env.bridge(config(env, url, **keys))
    bridge.wait_for_status(lambda s: s["notes"]["broker_unreachable"] >= 2, "two attempts failed")
    lines = [line for line in bridge.log().splitlines() if " warning: " in line]
    assert lines, bridge.log()
    for line in lines:
        assert "broker cannot be reached" in line, line
        for part in (url, *parts):
            assert part in line, "no %r in: %s" % (part, line)
    return bridge


def refused_at_start(env, url, key, *parts, **keys):
    """A fault of the file: named with its line before anything is opened."""
    path = config(env, url, **keys)
    result = subprocess.run(
        [program("snbridge"), "-c", path, "--check"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for part in ("[broker] %s: " % key, *parts):
        assert part in result.stderr, "no %r in: %s" % (part, result.stderr)


def test_messages_pass_through_tls_both_ways(env):
    certificates = Certificates(env)
    broker = tls_broker(env, certificates, certificates.sign("server"))
    works(env, broker, broker.tls_url, ca_file=certificates["ca.crt"])


def test_a_broker_that_wants_our_certificate_gets_it(env):
    certificates = Certificates(env)
    settings = "require_certificate true\nuse_identity_as_username true"
    broker = tls_broker(env, certificates, certificates.sign("server"), settings)
    certificates.sign("bridge7")
    works(
        env,
        broker,
        broker.tls_url,
        ca_file=certificates["ca.crt"],
        cert_file=certificates["bridge7.crt"],
        key_file=certificates["bridge7.key"],
    )
    assert "u'bridge7'" in broker.log(), broker.log()


def test_without_the_certificate_that_the_broker_wants_cert_file_is_asked_for(env):
    certificates = Certificates(env)
    for version in ("tlsv1.2", "tlsv1.3"):
        settings = "require_certificate true\ntls_version " + version
        broker = tls_broker(env, certificates, certificates.sign("server"), settings)
        ca = certificates["ca.crt"]
        fails(env, broker.tls_url, "wants our certificate", "cert_file", ca_file=ca).stop()


def test_a_certificate_of_ours_that_the_broker_does_not_know_is_named(env):
    certificates = Certificates(env)
    broker = tls_broker(env, certificates, certificates.sign("server"), "require_certificate true")
    certificates.sign("stranger", by="other")
    fails(
        env,
        broker.tls_url,
        "does not accept our certificate, cert_file = " + certificates["stranger.crt"],
        "unknown CA",
        ca_file=certificates["ca.crt"],
        cert_file=certificates["stranger.crt"],
        key_file=certificates["stranger.key"],
    )


def test_a_broker_signed_by_somebody_else_is_refused(env):
    certificates = Certificates(env)
    broker = tls_broker(env, certificates, certificates.sign("server"))
    other = certificates["other.crt"]
    fails(env, broker.tls_url, 'signed by "ca"', "ca_file = " + other, ca_file=other).stop()
    fails(env, broker.tls_url, 'signed by "ca"', "set ca_file").stop()


def test_a_broker_of_another_name_is_refused(env):
    certificates = Certificates(env)
    broker = tls_broker(env, certificates, certificates.sign("server", "DNS:elsewhere.example"))
    ca = certificates["ca.crt"]
    fails(
        env, broker.tls_url, 'is for "elsewhere.example", not for "127.0.0.1"', ca_file=ca
    ).stop()
    works(env, broker, broker.tls_url, ca_file=ca, verify="no")


def test_an_expired_certificate_is_refused_and_the_clock_is_shown(env):
    certificates = Certificates(env)
    broker = tls_broker(env, certificates, certificates.sign("old", days=-1))
    ca = certificates["ca.crt"]
    fails(env, broker.tls_url, '"old" expired', "set the clock", ca_file=ca)


def test_a_wrong_password_is_refused_in_words(env):
    certificates = Certificates(env)
    passwords = env.write("passwords", "")
    subprocess.run(["mosquitto_passwd", "-b", passwords, "u", "secret"], check=True)
    os.chmod(passwords, 0o644)
    broker = tls_broker(
        env, certificates, certificates.sign("server"), "password_file " + passwords
    )
    ca = certificates["ca.crt"]
    words = "Not authorized; check username and password"
    url = broker.tls_url
    fails(env, url, words, ca_file=ca, username="u", password="guess").stop()
    secret = env.write("secret", "secret\n")
    works(env, broker, url, ca_file=ca, username="u", password_file=secret)


def test_tls_where_none_is_and_none_where_tls_is_are_told(env):
    certificates = Certificates(env)
    broker = tls_broker(env, certificates, certificates.sign("server"))
    fails(env, broker.tls_url.replace("ssl:", "tcp:"), "ssl:// is wanted").stop()
    fails(env, broker.url.replace("tcp:", "ssl:"), "no TLS at this port").stop()


def test_files_that_cannot_be_used_are_named_before_the_start(env):
    certificates = Certificates(env)
    certificates.sign("bridge")
    text = env.write("text", "not a certificate\n")
    url = "ssl://127.0.0.1:9"
    cert, key = certificates["bridge.crt"], certificates["bridge.key"]
    refused_at_start(env, url, "ca_file", "no certificate", text, ca_file=text)
    refused_at_start(env, url, "cert_file", "no certificate", text, cert_file=text, key_file=key)
    refused_at_start(env, url, "cert_file", "no private key", "set key_file", cert_file=cert)
    refused_at_start(env, url, "key_file", "no private key", cert_file=cert, key_file=text)
    other = certificates["other.key"]
    refused_at_start(env, url, "key_file", "is not the key", cert_file=cert, key_file=other)
    locked = certificates["locked.key"]
    certificates.openssl("pkey", "-in", key, "-aes128", "-passout", "pass:x", "-out", locked)
    refused_at_start(env, url, "key_file", "has a password", cert_file=cert, key_file=locked)


def test_a_broker_behind_a_websocket_works(env):
    broker = env.broker()
    front = WebSocket(broker.port)
    env.devices.append(front)
    works(env, broker, "ws://127.0.0.1:%d/mqtt" % front.port)
    assert set(front.paths) == {"/mqtt"}, front.paths


def test_a_broker_behind_a_websocket_with_tls_works(env):
    certificates = Certificates(env)
    certificates.sign("server")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates["server.crt"], certificates["server.key"])
    broker = env.broker()
    front = WebSocket(broker.port, tls)
    env.devices.append(front)
    url = "wss://127.0.0.1:%d" % front.port
    fails(env, url, 'signed by "ca"', ca_file=certificates["other.crt"]).stop()
    works(env, broker, url, ca_file=certificates["ca.crt"])


if __name__ == "__main__":
    main()

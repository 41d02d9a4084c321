#!/usr/bin/python3
"""What snbridge says about a configuration that cannot work: one line, and the right exit code.
2 is the file's fault, 1 is the machine's."""

import contextlib
import os
import socket
import subprocess

from harness import PATIENCE, Skip, free_port, main, program, serial_link, udp_link

NOBODY = "tcp://127.0.0.1:9"


def run(config, *words):
    return subprocess.run(
        [program("snbridge"), *words, "-c", config],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refuses(env, config, code, *parts):
    """snbridge ends with the code after one line of stderr that contains the parts."""
    result = run(config)
    assert result.returncode == code, "%d, not %d: %s" % (result.returncode, code, result.stderr)
    assert result.stdout == "", result.stdout
    lines = [line for line in result.stderr.splitlines() if not is_progress(line)]
    assert len(lines) == 1, result.stderr
    for part in parts:
        assert part in lines[0], "no %r in: %s" % (part, lines[0])
    if code == 2:
        assert lines[0].startswith(config), lines[0]
        checked = run(config, "--check")
        assert checked.returncode == 2 and checked.stderr == result.stderr, checked.stderr


def is_progress(line):
    """A log line that is no complaint."""
    return any(word in line for word in (" info ", " debug ", "<6>", "<7>"))


def lan(env, **keys):
    return env.config(NOBODY, udp_link(free_port(socket.SOCK_DGRAM)), **keys)


def test_an_unknown_key_is_named_with_the_nearest_one(env):
    refuses(env, lan(env, bridge="max_cleints = 5"), 2, ":4: [bridge] max_cleints", "max_clients?")


def test_a_bad_number_is_named_with_what_is_allowed(env):
    config = lan(env, bridge="gateway_id = 300")
    refuses(env, config, 2, ":4: [bridge] gateway_id", '"300"', "from 0 to 255")


def test_a_missing_file_is_named_with_the_reason(env):
    config = lan(env, broker_keys="username = u\npassword_file = /nowhere/secret")
    refuses(env, config, 2, "[broker] password_file", "/nowhere/secret", "No such file")
    missing = env.path("missing.conf")
    refuses(env, missing, 2, "No such file or directory")


def test_a_missing_device_is_named(env):
    config = env.config(NOBODY, serial_link("/dev/ttyNOWHERE"))
    refuses(env, config, 1, "radio", "/dev/ttyNOWHERE")


def test_a_port_in_use_is_named(env):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        config = env.config(NOBODY, udp_link(port))
        refuses(env, config, 1, "lan", str(port), "in use")


def test_a_data_directory_that_cannot_be_made_is_named(env):
    file = env.write("file", "")
    config = lan(env)
    text = open(config, encoding="utf-8").read().replace(env.path("data"), file + "/data")
    refuses(env, env.write("other.conf", text), 1, file + "/data", "Not a directory")


def test_a_data_directory_that_is_somebody_elses_is_named_with_what_to_do(env):
    config = lan(env)
    with open(config, encoding="utf-8") as file:
        text = file.read()
    refuses(env, env.write("file.conf", text.replace(env.path("data"), config)), 1, "no directory")
    if os.getuid() != 0:
        raise Skip("only root can be somebody else")
    os.mkdir(env.path("data"), 0o755)
    os.chmod(env.folder, 0o755)
    result = subprocess.run(
        [program("snbridge"), "-c", config],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        user=65534,
        group=65534,
        extra_groups=[],
    )
    assert result.returncode == 1, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for part in (env.path("data"), "user 65534 may not write there", "give the directory"):
        assert part in result.stderr, result.stderr


def test_a_full_disk_is_named_and_nothing_starts(env):
    if os.getuid() != 0:
        raise Skip("mounting needs root")
    data = env.path("data")
    os.mkdir(data)
    words = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", data]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        raise Skip("mounting is not allowed")
    try:
        with open(data + "/other", "wb") as file, contextlib.suppress(OSError):
            file.write(bytes(100000))
        refuses(env, lan(env), 1, data + "/store.db", "disk is full")
    finally:
        subprocess.run(["umount", data], check=True)


def test_one_command_at_a_time(env):
    result = run(lan(env), "status", "clients")
    assert result.returncode == 2, result.returncode
    assert "status clients: one command at a time" in result.stderr, result.stderr


def test_a_second_instance_on_the_same_data_is_refused(env):
    first = env.bridge(lan(env, name="first.conf"))
    refuses(env, lan(env, name="second.conf"), 1, env.path("data"))
    assert first.is_running()
    assert first.ask("status").returncode == 0, "the first one is still asked by its socket"


def test_a_broker_that_is_away_or_has_no_address_is_no_error(env):
    for url in (NOBODY, "tcp://no-such-host.invalid:1883"):
        bridge = env.bridge(env.config(url, udp_link(free_port(socket.SOCK_DGRAM))))
        bridge.wait_for_status(lambda s: s["notes"]["broker_unreachable"] > 0, "it has tried")
        bridge.stop()


def test_check_says_that_a_file_is_good(env):
    config = lan(env)
    result = run(config, "--check")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert not os.path.exists(env.path("data")), "--check must not touch the data"


def test_what_print_config_prints_means_the_same(env):
    config = lan(env, bridge="max_queue = 77", topics="[topics]\n1 = a/b\n")
    first = run(config, "--print-config")
    assert first.returncode == 0, first.stderr
    assert "\nmax_queue = 77\n" in first.stdout and "\n1 = a/b\n" in first.stdout
    second = run(env.write("printed.conf", first.stdout), "--print-config")
    assert second.stdout == first.stdout


def test_status_without_a_running_bridge_says_so(env):
    result = run(lan(env), "status")
    assert result.returncode == 1 and result.stdout == "", result.stdout
    assert len(result.stderr.splitlines()) == 1 and "no bridge is running here" in result.stderr, result.stderr


if __name__ == "__main__":
    main()

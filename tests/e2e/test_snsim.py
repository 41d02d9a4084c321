#!/usr/bin/python3
"""What `snsim run` leaves behind: pages, captures, tables."""

import csv
import io
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

from harness import PATIENCE, TOP, Skip, main, program

SCENARIOS = os.path.join(TOP, "sim", "scenarios")
LOSSY = "register-is-repeated.sim"


def snsim(*words, code=0, environment=None):
    result = subprocess.run(
        [program("snsim"), *words],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
        env=environment,
    )
    assert result.returncode == code, "%d: %s" % (result.returncode, result.stderr)
    return result


def scenario(env, text):
    path = env.path("made.sim")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def tshark(capture, *words):
    if shutil.which("tshark") is None:
        raise Skip("tshark is not installed")
    result = subprocess.run(
        ["tshark", "-n", "-r", capture, "-d", "udp.port==1883,mqttsn", *words],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=True,
    )
    return result.stdout.splitlines()


def test_a_page_has_every_chart_and_asks_nobody_for_anything(env):
    if shutil.which("gnuplot") is None:
        raise Skip("gnuplot is not installed")
    page = env.path("page.html")
    snsim("run", "-q", os.path.join(SCENARIOS, LOSSY), "--report", page)
    with open(page, encoding="utf-8") as file:
        text = file.read()
    pictures = re.findall(r"<svg\b.*?</svg>", text, re.DOTALL)
    assert len(pictures) == 5, len(pictures)
    for picture in pictures:
        ElementTree.fromstring(picture)
    assert "1 device had 9 messages for the broker; all of them (100 %) arrived" in text
    assert "snsim run " in text and "--seed 1" in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//|url\(""", text)


def test_without_gnuplot_the_package_is_named(env):
    empty = env.path("nothing")
    os.mkdir(empty)
    result = snsim(
        "run",
        "-q",
        os.path.join(SCENARIOS, LOSSY),
        "--report",
        env.path("page.html"),
        code=1,
        environment={"PATH": empty},
    )
    assert "gnuplot-nox" in result.stderr, result.stderr


def test_wireshark_reads_every_frame_and_the_fate_of_the_lost_ones(env):
    capture = env.path("run.pcapng")
    transcript = env.path("run.out")
    snsim("run", "-q", os.path.join(SCENARIOS, LOSSY), "--pcapng", capture, "-t", transcript)
    with open(transcript, encoding="utf-8") as file:
        lines = file.read().splitlines()
    lost = [line for line in lines if "(" in line and " lost: " in line]
    sent = [line for line in lines if re.search(r" [<>] [A-Z]", line)]
    shown = tshark(capture, "-T", "fields", "-e", "mqttsn.msg.type", "-e", "frame.comment")
    assert len(lost) > 5 and len(shown) == len(sent), "%d, %d" % (len(shown), len(sent))
    assert all(line.split("\t")[0] for line in shown), shown
    assert sum("lost: loss" in line for line in shown) == len(lost)


def test_a_sweep_is_a_table_with_a_row_for_each_combination(env):
    path = scenario(
        env,
        "set n 1\nset loss 0\n"
        "link l loss $loss delay 5ms\n"
        "fleet s $n on l publishes t/{n} qos 1 every 10s\n"
        "at 2m stop\n",
    )
    result = snsim("run", path, "--sweep", "n=1,3", "--sweep", "loss=0,20%")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["n"], row["loss"]) for row in rows] == [
        ("1", "0"),
        ("1", "20%"),
        ("3", "0"),
        ("3", "20%"),
    ]
    for row in rows:
        assert row["faults"] == "0" and row["accepted"] == row["published"] == row["delivered"]
        assert row["devices"] == row["n"]
        assert (float(row["copies"]) > 1) == (row["loss"] != "0"), row


def test_a_parameter_that_the_scenario_does_not_have_is_named(env):
    path = scenario(env, "link l\ndevice d on l publishes t qos 1 every 1s\nat 2s stop\n")
    result = snsim("run", path, "--set", "loss=1", code=2)
    assert "there is no parameter $loss" in result.stderr, result.stderr


if __name__ == "__main__":
    main()

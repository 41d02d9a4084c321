#!/usr/bin/python3
"""Shows the capture that `test_pcapng --capture FILE` writes to tshark and compares what
tshark says with the run it was made from. Prints TAP.

    tests/tshark_pcapng.py build/tests/test_pcapng
"""
import os
import shutil
import subprocess
import sys
import tempfile

# interface, time, source, destination, type, client id, comment
WANTED = [
    ["radio", "1.500000000", "10.0.0.1", "10.0.255.254", "0x04", "buoy", ""],
    ["radio", "1.750001000", "10.0.255.254", "10.0.0.1", "0x05", "", ""],
    ["radio", "5000.000000000", "10.0.0.1", "10.0.255.254", "0x0c", "", "lost: collision"],
    ["lan", "5000.000001000", "10.1.255.254", "10.1.0.0", "0x00", "", ""],
]
FIELDS = ["frame.interface_name", "frame.time_epoch", "ip.src", "ip.dst", "mqttsn.msg.type",
          "mqttsn.client.id", "frame.comment"]


def tshark(capture, *arguments):
    return subprocess.run(["tshark", "-r", capture, "-d", "udp.port==1883,mqttsn", *arguments],
                          check=False, capture_output=True, text=True)


def main():
    if shutil.which("tshark") is None:
        print("1..0 # SKIP tshark is not installed")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        capture = os.path.join(folder, "run.pcapng")
        subprocess.run([sys.argv[1], "--capture", capture], check=True)
        fields = [part for field in FIELDS for part in ("-e", field)]
        table = tshark(capture, "-n", "-T", "fields", "-E", "separator=|", *fields)
        named = tshark(capture, "-N", "n", "-T", "fields", "-e", "ip.src_host", "-e", "ip.dst_host")
        bad = tshark(capture, "-n", "-o", "ip.check_checksum:TRUE",
                     "-Y", "ip.checksum.status == 0 || (_ws.malformed && !(mqttsn.msg.type == 0))")
    rows = [line.split("|") for line in table.stdout.splitlines()]
    results = [
        (table.returncode == 0 and not table.stderr.strip().replace(
            "Running as user \"root\" and group \"root\". This could be dangerous.", ""),
         "tshark reads the capture without complaint", table.stderr),
        (rows == WANTED, "links, times, ends, messages and losses are those of the run",
         "\n".join(map(str, rows))),
        (named.stdout.splitlines()[:1] == ["buoy\tgateway"], "the ends have their names",
         named.stdout),
        (bad.stdout == "", "no header sum is wrong and no whole frame malformed", bad.stdout),
    ]
    print("1..%d" % len(results))
    for number, (good, name, said) in enumerate(results, 1):
        print("%s %d - %s" % ("ok" if good else "not ok", number, name))
        if not good:
            print("".join("# %s\n" % line for line in said.splitlines()), end="")
    return 0 if all(good for good, _, _ in results) else 1


sys.exit(main())

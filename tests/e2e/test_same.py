#!/usr/bin/python3
"""The same seed gives the same run, whatever compiler made the simulator."""

import glob
import hashlib
import os
import shutil
import subprocess

from harness import TOP, Skip, main

DRIVER = "tests/data/every_profile.c"


def sources():
    """What a channel is made of."""
    names = "world random trace channel airtime orbit profile profile_ini quantity".split()
    nodes = glob.glob(os.path.join(TOP, "sim/node_*.c"))
    return ["sim/%s.c" % name for name in names] + [os.path.relpath(path, TOP) for path in nodes]


def transcript(env, compiler, level):
    """What it prints when built by this compiler at this level, by the Makefile's own rules."""
    if not shutil.which(compiler):
        raise Skip("%s is not here" % compiler)
    build = env.path("%s%s" % (compiler, level))
    objects = [os.path.join(build, path[:-2] + ".o") for path in sources() + [DRIVER]]
    words = ["BUILD=" + build, "CC=" + compiler, "CFLAGS=" + level]
    subprocess.run(["make", "-j2", *words, *objects], cwd=TOP, check=True, capture_output=True)
    run = os.path.join(build, "run")
    subprocess.run([compiler, "-o", run, *objects, "-linih"], check=True)
    return subprocess.run([run], check=True, capture_output=True).stdout


def test_every_profile_runs_the_same_from_gcc_and_clang_at_any_level(env):
    runs = {
        (compiler, level): transcript(env, compiler, level)
        for compiler in ("gcc", "clang")
        for level in ("-O0", "-O2")
    }
    lines = runs["gcc", "-O0"].count(b"\n")
    assert lines > 50000, lines
    digests = {which: hashlib.sha256(text).hexdigest() for which, text in runs.items()}
    assert len(set(digests.values())) == 1, digests


test_every_profile_runs_the_same_from_gcc_and_clang_at_any_level.limit = 600

if __name__ == "__main__":
    main()

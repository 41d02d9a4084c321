#!/usr/bin/python3
"""What a newcomer runs first."""

import os
import subprocess

from harness import BUILD, TOP, main, program


def test_the_demo_ends_with_an_account_that_adds_up(env):
    program("snbridge")
    result = subprocess.run(
        [os.path.join(TOP, "tests/demo.sh")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=dict(os.environ, BUILD=BUILD, TMPDIR=env.folder),
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert not result.stderr, result.stderr


test_the_demo_ends_with_an_account_that_adds_up.limit = 240

if __name__ == "__main__":
    main()

"""Run Python that is killed on the spot, as by ``kill -9``."""

import signal
import subprocess
import sys

# Kills the process when the given number of files has been brought to the disk, before the file
# of that moment gets its final name.
KILL_AT_SYNC = """
import os, signal
real, seen = os.fsync, []
def fsync(number):
    seen.append(number)
    if len(seen) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
    real(number)
os.fsync = fsync
"""


def run_python(code, *arguments):
    """Run code in a process of its own; returns what it printed, and its exit status."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return done.stdout + done.stderr, done.returncode


def run_and_kill(code, *arguments):
    """Run code that kills itself, and make sure that it did."""
    said, status = run_python(code, *arguments)
    assert status == -signal.SIGKILL, said

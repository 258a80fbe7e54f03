"""Run Python that is killed on the spot, as by ``kill -9``.

A process that has imported what the code needs waits beside each process of the tests, and forks
one that runs the code: as good as new, but for the seconds that the imports take.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

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

SERVER = """
import json, os, sys, traceback
import napari_sam3_assistant.api
import napari_sam3_assistant.viewer.file_backed_layers
import napari_sam3_assistant.workflows.save
from napari_sam3_assistant.engines import builtin

for line in sys.stdin:
    code, sys.argv[1:], folder, environment, output = json.loads(line)
    child = os.fork()
    if not child:
        file = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        status = 1
        try:
            exec(compile(code, "<code of a test>", "exec"), {"__name__": "__main__"})
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, flush=True)
"""


@cache
def _server():
    """Start the process that forks."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.communicate)
    return server


def run_python(code, *arguments):
    """Run code in a process of its own; returns what it printed, and its exit status."""
    if not hasattr(os, "fork"):
        return run_new_python(code, *arguments)
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        task = (code, list(map(str, arguments)), os.getcwd(), dict(os.environ), str(output))
        print(json.dumps(task), file=server.stdin, flush=True)
        return_code = int(server.stdout.readline())
        return output.read_text("utf8"), return_code


def run_new_python(code, *arguments):
    """Run code in a process that has imported nothing; returns the same as ``run_python``."""
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

"""A process of ``napari-sam3 serve``."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading


class Server:
    """A process of ``napari-sam3 serve``."""

    def __init__(self, *options):
        command = [sys.executable, "-m", "napari_sam3_assistant", "serve", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.said = []
        # However long a busy machine takes; one that ends says so by its last line.
        while not self.said or "stops the server" not in self.said[-1]:
            line = self.lines.get()
            if line is None:
                self.kill()
                raise RuntimeError("".join(self.said))
            self.said.append(line)

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def kill(self):
        """End it as a power cut does; its workers end by themselves."""
        self.process.kill()
        self._clear_up()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.process.kill()
        self._clear_up()

    def _clear_up(self):
        self.process.wait()
        self.reader.join(60)
        self.process.stdout.close()

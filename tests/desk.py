"""What a worker wants to have done on the thread of a session, where a test is that thread."""

import queue
import time


class Desk:
    """The thread of the test as the thread that the session lives on."""

    def __init__(self):
        self._calls = queue.SimpleQueue()

    def __call__(self, call):
        self._calls.put(call)

    @property
    def waiting(self):
        """How many calls nobody has done yet."""
        return self._calls.qsize()

    def until(self, condition, seconds=240):
        """Do what comes in until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            self._calls.get(timeout=max(0.01, end - time.monotonic()))()

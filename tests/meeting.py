"""Work that waits inside an engine until a test lets it go on."""

import threading

from napari_sam3_assistant.errors import EngineError, JobCancelled


class Meeting:
    """A reporter that stops inside the work until the test lets it go on."""

    def __init__(self):
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def report(self, progress):
        self.inside.set()
        assert self.go_on.wait(240)

    def check(self):
        pass


def in_thread(work):
    """Run work in a thread; return the thread and where its result or error will be."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except (EngineError, JobCancelled) as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome

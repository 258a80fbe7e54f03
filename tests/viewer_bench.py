"""A viewer without a window and its session; what a worker tells is done when a test says so."""

import queue

from napari.components import ViewerModel

from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for


class ViewerBench:
    """A viewer, the session on it, and the worker's calls, which ``settle`` does."""

    def __init__(self):
        self._calls = queue.SimpleQueue()
        self.viewer = ViewerModel()
        self.binding = binding_for(self.viewer, self._calls.put, MemorySettings())
        self.model, self.session = self.binding.model, self.binding.session

    def settle(self):
        """Do what comes until nothing runs."""
        while self.model.running or not self._calls.empty():
            self._calls.get(timeout=240)()

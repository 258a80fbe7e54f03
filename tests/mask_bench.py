"""A viewer without a window whose mask jobs are delivered when a test says so."""

import queue

import numpy as np
from napari.components import ViewerModel

from napari_sam3_assistant.mask_operations.binding import mask_binding_for


class MaskBench:
    """A viewer, the mask session on it, and the thread's results, delivered by ``settle``."""

    def __init__(self):
        self._calls = queue.SimpleQueue()
        self.viewer = ViewerModel()
        self.binding = mask_binding_for(self.viewer, self._calls.put)
        self.model = self.binding.model
        self.cleanup = self.binding.session.cleanup
        self.collection = self.binding.session.collection

    def settle(self):
        """Deliver results until nothing runs any more, and do what was put off."""
        while self.model.running or not self._calls.empty():
            self._calls.get(timeout=240)()
        return self.model.message.text

    def wait(self, job):
        """Deliver results until a job has ended that is none of the window's."""
        while not job.state.is_over:
            self._calls.get(timeout=240)()

    def deliver_one(self):
        """Deliver the next result, if something runs."""
        if self.model.running:
            self._calls.get(timeout=240)()

    def add(self, labels, target=True, **options):
        layer = self.viewer.add_labels(np.array(labels), **options)
        if target:
            self.model.target = str(layer.unique_id)
        return layer

    def export(self, layer, path, format_):
        """Export a layer, and return what is said."""
        self.model.output, self.model.path = layer.name, str(path)
        self.model.export_format = format_
        self.collection.export()
        said = self.settle()
        assert said.startswith("Exported "), said
        return said

    def key(self, layer):
        return str(layer.unique_id)

    def named(self, name):
        return np.asarray(self.viewer.layers[name].data)

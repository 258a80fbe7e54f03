"""A stack, a viewer without a window, and a user who knows the verbs of the task 3D/video."""

import numpy as np
from napari.components import ViewerModel

from desk import Desk
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for

PREVIEW = "SAM3 propagated preview labels"
CENTRES = {"left": (20, 20), "right": (40, 50)}
LENGTH, HEIGHT, WIDTH = 12, 60, 70


def balls():
    """Two bright balls on slices 1 to 11 of 12, dark elsewhere: (12, 60, 70) uint8."""
    z, y, x = np.ogrid[:LENGTH, :HEIGHT, :WIDTH]
    stack = np.full((LENGTH, HEIGHT, WIDTH), 30, np.uint8)
    for cy, cx in CENTRES.values():
        stack[((z - 6) * 2) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 140] = 200
    return stack


class Bench:
    """A viewer with an image, and a user who knows the session's verbs."""

    def __init__(self, image, **layer):
        self.desk = Desk()
        self.viewer = ViewerModel()
        self.image = self.viewer.add_image(image, name="image", **layer)
        self.binding = binding_for(self.viewer, self.desk, MemorySettings())
        self.model, self.session = self.binding.model, self.binding.session
        self.propagation = self.session.propagation
        self.model.task = Task.VIDEO

    def arm(self, tool=Tool.POINTS):
        self.model.tool = tool
        self.binding.prompts.arm()
        return self.viewer.layers.selection.active

    def click(self, *pixel, on=1):
        """Click on an object, given the pixel of the image."""
        layer = self.arm()
        self.model.object_id = on
        layer.add(layer.world_to_data(self.image.data_to_world(pixel)))

    def start(self):
        return self.finish(self.session.run())

    def go_on(self):
        return self.finish(self.propagation.go_on())

    def finish(self, job):
        self.desk.until(lambda: job.state.is_over)
        return job

    def stop_after(self, frames):
        """Start, and cancel when so many frames are there."""
        job = self.session.run()
        arrived = []
        job.yielded.connect(arrived.append)
        self.desk.until(lambda: len(arrived) == frames + 1)  # the plan comes first
        self.session.cancel()
        return job

    @property
    def labels(self):
        return self.viewer.layers[PREVIEW]

    @property
    def message(self):
        return self.model.message.text

    @staticmethod
    def values(labels):
        """The ids on each frame."""
        return [np.unique(plane[plane > 0]).tolist() for plane in labels]

    @staticmethod
    def box(frame, y0, x0, y1, x1):
        """The corners of a rectangle on a slice."""
        return [[frame, y0, x0], [frame, y0, x1], [frame, y1, x1], [frame, y1, x0]]

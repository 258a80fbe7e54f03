"""Labels of one layer written into another, on which somebody paints meanwhile."""

import numpy as np
import zarr

from napari_sam3_assistant.workflows.edit_masks import overlay


class Painter:
    """Progress that paints a pixel of the first block when the last one has its turn."""

    def __init__(self, labels):
        self.labels = labels

    def report(self, progress):
        if progress.done == progress.total - 1:
            self.labels[5, 5] = 9

    def check(self):
        """Go on."""


def test_what_is_painted_meanwhile_stays():
    target = np.zeros((4100, 2100), np.uint8)
    source = zarr.create_array({}, shape=target.shape, dtype="uint8", fill_value=0)
    source[0, 0] = 3

    (edit,) = overlay(source, target, 0, Painter(target), replace=True)
    edit.write(target)

    assert (target[0, 0], target[5, 5]) == (3, 9)

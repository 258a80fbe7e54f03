"""Labels that napari's own reader opened: axes and pixel size by their file."""

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.core.masks.operations import Expand, Operation
from napari_sam3_assistant.session.values import AxesUse


@pytest.fixture
def opened(napari_reads, bench, tmp_path):
    """Two times with a large and a small object, that are no slices of one volume."""
    labels = np.zeros((2, 24, 32), np.int32)
    labels[:, 2:12, 2:12], labels[1, 16:20, 16:20] = 1, 2
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "TimeIncrement": 30.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", labels, metadata={"axes": "TYX", **size})
    (layer,) = bench.viewer.open(str(tmp_path / "a.ome.tif"), plugin="napari")
    bench.wait(bench.binding.session.axes_from_file.job)
    return layer


def test_times_are_times_and_sizes_are_taken_by_a_click(bench, opened):
    model, verbs = bench.model, bench.binding.session.axes_from_file
    assert opened.axis_labels == ("t", "y", "x")
    assert model.axes_from_file.text == "By its file: t 30 s, y and x 0.5 µm."
    assert model.axes_from_file.offered is AxesUse.SIZES
    verbs.take()
    assert tuple(opened.scale) == (30, 0.5, 0.5)
    assert [str(unit) for unit in opened.units] == ["second", "micrometer", "micrometer"]

    model.physical, model.expand = True, Expand(1)
    bench.cleanup.apply(Operation.EXPAND)
    bench.settle()
    assert np.count_nonzero(opened.data[0, 5]) == 14  # a micrometer is two pixels, to both sides
    assert not opened.data[0, 18].any()  # at the other time is another object

    verbs.take_back()
    assert tuple(opened.scale) == (1, 1, 1)
    bench.cleanup.undo()
    assert np.count_nonzero(opened.data[0, 5]) == 10


def test_what_a_painted_layer_is_says_nobody(bench):
    bench.add(np.zeros((2, 24, 32), np.int32))
    assert bench.model.axes_from_file is None

"""Drawing a part of a labels layer again: what is shown is what a whole refresh would show."""

import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Labels

from napari_sam3_assistant.viewer.label_pixels import default_colours, redraw


def shown(layer):
    return np.array(layer._slice.image.view)  # noqa: SLF001 - what napari would draw


def drawn_again(viewer, layer, box, value):
    """Write a value, redraw, and return what is shown, and what a whole refresh shows."""
    updates = []
    layer.events.labels_update.connect(lambda event: updates.append(event.data.shape))
    layer.data[box] = value
    redraw(layer, box)
    part = shown(layer)
    layer.refresh()
    return part, shown(layer), updates


@pytest.mark.parametrize("value", [7, 49, 50, 120])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32])
def test_a_box_of_a_plane(dtype, value):
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros((40, 60), dtype))

    part, whole, updates = drawn_again(viewer, layer, (slice(5, 9), slice(10, 30)), value)

    assert part.any()
    np.testing.assert_array_equal(part, whole)
    assert updates == [(4, 20)]


@pytest.mark.parametrize("value", [3, 100, 70_000])
def test_colours_that_the_user_chose(value):
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros((40, 60), np.uint32))
    layer.colormap = {None: "black", 3: "red", 100: "blue"}

    part, whole, _ = drawn_again(viewer, layer, (slice(5, 9), slice(10, 30)), value)

    np.testing.assert_array_equal(part, whole)
    assert len(np.unique(part)) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_a_box_of_the_slice_on_show_in_any_order_of_axes(order):
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros((8, 10, 12), np.uint32), scale=(2, 0.5, 0.5))
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 3)

    part, whole, updates = drawn_again(viewer, layer, (slice(3, 4), slice(2, 7), slice(1, 9)), 5)

    assert len(updates) == (order[0] == 0 or 2 <= 3 < 7)
    np.testing.assert_array_equal(part, whole)
    assert part.any()


def test_a_slice_that_is_not_on_show_is_not_drawn():
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros((8, 10, 12), np.uint32))
    viewer.dims.set_current_step(0, 3)

    part, whole, updates = drawn_again(viewer, layer, (slice(4, 5), slice(2, 7), slice(1, 9)), 5)

    assert updates == []
    np.testing.assert_array_equal(part, whole)
    assert not part.any()


def test_a_volume_shown_in_3d():
    viewer = ViewerModel(ndisplay=3)
    layer = viewer.add_labels(np.zeros((8, 10, 12), np.uint32))

    part, whole, updates = drawn_again(viewer, layer, (slice(3, 4), slice(2, 7), slice(1, 9)), 5)

    assert updates == [(1, 5, 8)]
    np.testing.assert_array_equal(part, whole)


def test_stored_labels_and_contours_are_drawn_as_a_whole(tmp_path):
    stored = zarr.open(tmp_path / "labels.zarr", mode="w", shape=(40, 60), dtype="u4")
    viewer = ViewerModel()
    for layer in (viewer.add_labels(stored), viewer.add_labels(np.zeros((40, 60), np.uint32))):
        layer.contour = 2
        part, whole, updates = drawn_again(viewer, layer, (slice(5, 9), slice(10, 30)), 7)

        assert part.any()
        np.testing.assert_array_equal(part, whole)
        assert updates == []


@pytest.mark.parametrize("highest", [3, 49, 60, 100_000, 2**32 - 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64])
def test_large_labels_get_naparis_colours(highest, dtype):
    # More pixels than a strip; the last strip is shorter than the others.
    highest = min(highest, np.iinfo(dtype).max)
    data = np.zeros((1100, 2050), dtype)
    data[5:9] = np.linspace(0, highest, 2050, dtype=dtype)
    data[-1] = highest
    usual, ours = Labels(data), Labels(data, colormap=default_colours())

    assert shown(ours).dtype == shown(usual).dtype
    np.testing.assert_array_equal(shown(ours), shown(usual))
    np.testing.assert_array_equal(ours.get_color(7), usual.get_color(7))
    for layer in (usual, ours):
        layer.selected_label = 3
        layer.show_selected_label = True
    np.testing.assert_array_equal(shown(ours), shown(usual))


def test_large_labels_below_zero_get_naparis_colours():
    data = np.zeros((1100, 2050), np.int32)
    data[500] = -7
    usual, ours = Labels(data), Labels(data, colormap=default_colours())

    np.testing.assert_array_equal(shown(ours), shown(usual))
    assert len(np.unique(shown(ours))) == 2


class Growing(np.ndarray):
    """Labels into which somebody writes higher ones as soon as the highest is known."""

    def max(self, *args, **kwargs):
        highest = super().max(*args, **kwargs)
        self[...] = highest + 1
        return highest


def test_labels_that_a_job_changes_meanwhile_are_drawn():
    values = np.full((1100, 2050), 60, np.uint32)

    texture = default_colours()._data_to_texture(values.view(Growing))  # noqa: SLF001 - napari calls it

    np.testing.assert_array_equal(texture, default_colours()._data_to_texture(values))  # noqa: SLF001

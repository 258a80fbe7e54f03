"""Images with a channel axis anywhere: whatever we show lies on its slice, on all channels.

What napari draws at each position of the sliders is right; see :mod:`layouts`.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from skimage.draw import disk

from amounts import each_once, thorough
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import SoftMask, max_probability
from napari_sam3_assistant.session.values import SoftImage
from napari_sam3_assistant.viewer.roles import Role, with_role

sys.path.insert(0, str(Path(__file__).parent))
from layouts import displayed, drawn_under, pixel_at, place_of, shown_vertices, slice_on_show

SIZES = {"t": 3, "c": 3, "z": 2, "y": 136, "x": 144}
"""Rows and columns are enough for labels in a file to have a smaller size, which napari draws."""
PLACE = {"scale": {"t": 30, "c": 5, "z": 2, "y": 0.5, "x": 0.25},
         "translate": {"t": 3, "c": 2, "z": -7, "y": 10, "x": 20},
         "units": {"t": "s", "c": "pixel", "z": "um", "y": "um", "x": "um"}}  # fmt: skip
CENTRES = ((16, 24), (64, 88))
START = 1
KNOWN = ("by name beside nm", "by number")
HOW = pytest.mark.parametrize("how", KNOWN)
LAYOUTS = pytest.mark.parametrize(
    ("names", "how"), each_once(["zcyx", thorough("tcyx"), "tczyx", "czyx", "cyx"], KNOWN)
)


class Desk:
    """A viewer with discs on all slices, on show at the second position of each slider."""

    def __init__(self, viewer, binding, names, how):
        self.viewer, self.binding, self.names = viewer, binding, names
        self.model, self.session = binding.model, binding.session
        shape = tuple(SIZES[name] for name in names)
        data = np.full(shape, 30, np.float32)
        for centre in CENTRES:
            data[(..., *disk(centre, 8))] = 200
        # The corner of a plane tells which one is drawn.
        data[..., 0, 0] = np.arange(data.size).reshape(shape)[..., 0, 0]
        placed = {kind: [of[name] for name in names] for kind, of in PLACE.items()}
        if how.startswith("by name"):
            placed["axis_labels"] = names
        self.image = viewer.add_image(data, name="cells", contrast_limits=(0, 255), **placed)
        if how.endswith("nm"):
            viewer.add_labels(np.zeros((4, 4), np.uint8), scale=(10, 10), units=("nm", "nm"))
        viewer.layers.selection.active = self.image
        if how == "by number":
            self.model.channel_axis = names.index("c")
        self.hidden = shape[:-2]
        self.go_to(self.here)
        self.reach = self.sliders

    @property
    def sliders(self):
        """From where to where each slider goes."""
        return [(one.start, one.stop) for one in self.viewer.dims.range]

    @property
    def here(self):
        return (START,) * len(self.hidden)

    def go_to(self, index):
        for axis, (at, size) in enumerate(zip(index, self.hidden, strict=True)):
            low, high, _ = self.viewer.dims.range[axis]
            self.viewer.dims.set_point(axis, np.linspace(low, high, size)[at])
        shown = slice_on_show(self.image)
        assert tuple(shown[axis] for axis in range(len(index))) == index

    def same_slice(self, one, other):
        """Whether two positions are the same, but for the channel."""
        return all(
            a == b for a, b, name in zip(one, other, self.names, strict=False) if name != "c"
        )

    def go_everywhere(self):
        for index in np.ndindex(self.hidden):
            self.go_to(index)
            yield index
        self.go_to(self.here)

    def wait(self, job):
        assert job.wait(240)
        assert job.error is None, job.error

    def click(self, tool=Tool.POINTS):
        self.model.tool = tool
        self.binding.prompts.arm()
        layer = self.viewer.layers.selection.active
        place = list(self.viewer.dims.point)
        place[-2:] = place_of(self.viewer, self.image, [*self.here, *CENTRES[0]])
        layer.add(layer.world_to_data(place))

    def layer(self, role):
        (found,) = with_role(self.viewer.layers, role)
        return found

    def assert_drawn(self, layer, plane):
        """Every eighth pixel of a plane is drawn on its slice, and nothing on others."""
        np.testing.assert_allclose(self.sliders, self.reach)
        pixels = [(y, x) for y in range(0, SIZES["y"], 8) for x in range(0, SIZES["x"], 8)]
        assert displayed(self.image) == [len(self.names) - 2, len(self.names) - 1]
        wanted = plane[tuple(np.transpose(pixels))]
        assert wanted.any()
        for index in self.go_everywhere():
            drawn = drawn_under(self.viewer, layer, self.image, pixels)
            on_slice = self.same_slice(index, self.here)
            np.testing.assert_allclose(drawn, wanted * on_slice, err_msg=f"{layer.name} {index}")


@pytest.fixture
def open_desk(viewer, binding):
    return lambda names, how: Desk(viewer, binding, names, how)


@LAYOUTS
def test_scans_and_merged_regions_lie_on_their_slice(open_desk, tmp_path, names, how):
    desk = open_desk(names, how)
    desk.session.scan_model.scan_folder = str(tmp_path)
    desk.model.task, desk.model.text = Task.TEXT, "bright discs"
    desk.wait(desk.session.scanning.run())
    desk.model.task = Task.SEGMENT
    desk.model.large_image, desk.model.roi_size = True, 24
    desk.click()
    desk.wait(desk.session.run())
    desk.wait(desk.session.merging.run())

    for role in (Role.SCAN, Role.MERGED):
        layer = desk.layer(role)
        plane = zarr.open_group(layer.metadata["sam3_file"], mode="r")["0"][...]
        assert plane[CENTRES[0]] > 0
        assert layer.multiscale
        assert layer.data_level == 1
        desk.assert_drawn(layer, plane)


@LAYOUTS
def test_soft_masks_lie_on_their_slice(open_desk, names, how):
    desk = open_desk(names, how)
    desk.click()
    desk.wait(desk.session.run())
    (preview,) = desk.model.previews
    # The built-in engine gives none.
    values = np.linspace(0.1, 0.9, 10 * 14, dtype=np.float32).reshape(10, 14)
    soft = SoftMask.crop(values, Region.whole((SIZES["y"], SIZES["x"])), logits=False)
    (record,) = preview.segmentation.objects
    found = replace(preview.segmentation, objects=(replace(record, soft=soft),))
    preview = replace(preview, segmentation=found)
    desk.binding.adapter.show([preview])
    pixels = max_probability(found.objects, found.region)
    desk.binding.adapter.show_soft([SoftImage(preview, pixels)], shown=True)

    layer = desk.layer(Role.PREVIEW_MASKS)
    assert layer.visible
    desk.assert_drawn(layer, pixels)


@pytest.mark.parametrize("names", ["zcyx", "tcyx", "czyx"])
@HOW
def test_tracks_are_drawn_up_to_the_frame_on_show_on_all_channels(open_desk, names, how):
    desk = open_desk(names, how)
    desk.model.task, desk.model.tracks_layer = Task.VIDEO, True
    desk.click()
    desk.wait(desk.session.run())

    layer = desk.layer(Role.TRACKS)
    np.testing.assert_allclose(desk.sliders, desk.reach)
    axis = 1 - names.index("c")
    frames = desk.hidden[axis]
    assert len(layer.data) == frames
    for index in desk.go_everywhere():
        drawn = shown_vertices(layer)
        np.testing.assert_array_equal(layer.track_times[drawn], np.arange(index[axis] + 1))
        for vertex in layer.data[drawn, 1:]:
            place = place_of(desk.viewer, layer, vertex)
            pixel = pixel_at(desk.viewer, desk.image, place)
            np.testing.assert_allclose(pixel, CENTRES[0], atol=0.5)


@HOW
def test_tracks_of_more_axes_than_napari_takes_are_refused(open_desk, how):
    desk = open_desk("tczyx", how)
    desk.model.task, desk.model.tracks_layer = Task.VIDEO, True
    desk.click()
    desk.wait(desk.session.run())

    assert "A Tracks layer has up to 4 axes" in desk.model.message.text
    assert not list(with_role(desk.viewer.layers, Role.TRACKS))
    assert desk.layer(Role.PROPAGATED).data.shape == (3, 1, 2, 136, 144)

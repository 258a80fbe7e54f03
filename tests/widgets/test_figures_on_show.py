"""What a saved figure shows, read from its pixels: what is on show on the plane, and no more."""

import re

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.widgets.fields.results import draw_figure
from viewer_bench import ViewerBench

SHAPE, SCALE = (240, 300), 4  # a figure has 1200 pixels at least
# Beside the legend and the scale bar.
CENTRES = ((100, 60), (100, 140), (100, 220), (180, 100))
RADII = (10, 14, 18, 22)
PREVIEW, ACCEPTED = "SAM3 preview labels", "SAM3 live accepted labels"
PROPAGATED = "SAM3 propagated preview labels"


def draw_discs():
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    image = np.full(SHAPE, 30, np.uint8)
    for (cy, cx), radius in zip(CENTRES, RADII, strict=True):
        image[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = 200
    return image


class Desk(ViewerBench):
    """A viewer without a window, and its session."""

    def __init__(self, image, folder, **layer):
        super().__init__()
        self._folder = folder
        self.viewer.add_image(image, name="cells", contrast_limits=(0, 255), **layer)

    def find(self):
        self.model.task, self.model.text = Task.TEXT, "bright discs"
        self.session.run()
        self.settle()
        assert len(self.model.results) == 4

    def accept(self):
        self.session.accept()
        self.settle()

    def save(self, ending=".png"):
        path = self._folder / f"figure{ending}"
        self.session.save_figure(path, draw_figure)
        self.settle()
        assert "Saved" in self.model.message.text
        return path

    def check(self, labels):
        """The figure has the outlines of these objects and no others; return it."""
        picture = np.asarray(Image.open(self.save()).convert("RGB")).astype(int)
        assert picture.shape == (SHAPE[0] * SCALE, SHAPE[1] * SCALE, 3)
        coloured = np.ptp(picture, axis=-1) > 60
        coloured[: 60 * SCALE] = False  # the legend
        large = np.kron(labels, np.ones((SCALE, SCALE), int))
        edges = np.zeros(large.shape, bool)
        for id_ in np.unique(labels[labels > 0]):
            mask = large == id_
            edge = mask & ~ndimage.binary_erosion(mask)
            edges |= edge
            drawn = ndimage.binary_dilation(coloured, iterations=4)
            assert (drawn & edge).sum() > 0.9 * edge.sum(), f"object {id_} has no outline"
        assert not (coloured & ~ndimage.binary_dilation(edges, iterations=6)).any()
        return picture


@pytest.fixture
def open_desk(qapp, tmp_path):
    desks = []

    def open_it(image, **layer):
        desks.append(Desk(image, tmp_path, **layer))
        return desks[-1]

    yield open_it
    for desk in desks:
        desk.binding.close()


def plane(layer, at=...):
    return np.asarray(layer.data)[at].reshape(SHAPE)


def test_found_filtered_and_all_hidden(open_desk):
    desk = open_desk(draw_discs())
    desk.find()
    labels = plane(desk.viewer.layers[PREVIEW]).copy()
    desk.check(labels)
    areas = {id_: (labels == id_).sum() for id_ in range(1, 5)}
    large = sorted(areas, key=areas.get)[2:]
    desk.session.filtering.show_range("Area", min(areas[one] for one in large), 1e9)
    desk.check(np.where(np.isin(labels, large), labels, 0))
    desk.session.filtering.show_range("Area", 1e8, 1e9)
    assert desk.model.why_not.figure == ""
    desk.check(np.zeros_like(labels))
    desk.session.filtering.show_all()
    desk.viewer.layers[PREVIEW].visible = False
    desk.check(np.zeros_like(labels))


def test_found_and_accepted_together_also_without_their_rows(open_desk):
    desk = open_desk(draw_discs())
    desk.find()
    labels = plane(desk.viewer.layers[PREVIEW]).copy()
    desk.accept()
    desk.session.results.clear()
    desk.check(labels)
    accepted = desk.viewer.layers[ACCEPTED]
    accepted.data[accepted.data == accepted.data[CENTRES[3]]] = 0
    accepted.data = accepted.data.copy()
    rest = np.asarray(accepted.data).copy()
    desk.check(rest)
    desk.model.task, desk.model.tool = Task.SEGMENT, Tool.POINTS
    desk.binding.prompts.arm()
    desk.viewer.layers.selection.active.add(CENTRES[3])
    desk.session.run()
    desk.settle()
    desk.check(labels)


def test_a_filtered_propagation_on_the_frame_on_show(open_desk):
    image = draw_discs()
    desk = open_desk(np.stack([image] * 3))
    desk.model.task, desk.model.tool = Task.VIDEO, Tool.POINTS
    desk.binding.prompts.arm()
    points = desk.viewer.layers.selection.active
    for number, centre in enumerate(CENTRES[1:3], 1):
        desk.model.object_id = number
        points.add((desk.viewer.dims.current_step[0], *centre))
    desk.session.run()
    desk.settle()
    layer = desk.viewer.layers[PROPAGATED]
    whole = np.array(layer.data)
    assert set(np.unique(whole)) == {0, 1, 2}
    desk.viewer.dims.set_point(0, 2)
    desk.check(whole[2])
    desk.session.filtering.show_range("Area", (whole == 2).sum(), 1e9)
    desk.check(np.where(whole[2] == 2, 2, 0))
    desk.session.results.clear()
    desk.check(np.where(whole[2] == 2, 2, 0))


def test_a_scan_without_what_is_hidden_and_only_on_its_own_plane(open_desk, tmp_path):
    image = draw_discs()
    desk = open_desk(np.stack([image, image]))
    desk.model.task, desk.model.text = Task.TEXT, "bright discs"
    choices = desk.session.scan_model
    choices.scan_tile, choices.scan_folder = 256, str(tmp_path)
    desk.viewer.dims.set_point(0, 1)
    desk.session.scanning.run()
    desk.settle()
    rows = {row.record.id: row for row in desk.model.results}
    assert len(rows) == 4
    (stored,) = desk.session.results.scans
    labels = np.asarray(stored.levels[0][:])
    desk.check(labels)
    largest = max(rows, key=lambda id_: rows[id_].record.area)
    desk.session.filtering.show_range("Area", rows[largest].record.area, 1e9)
    desk.check(np.where(labels == largest, largest, 0))
    desk.viewer.dims.set_point(0, 0)
    desk.check(np.zeros_like(labels))


@pytest.mark.parametrize("size", [0.13, 2.0, 4e-3])
def test_the_scale_bar_is_as_long_as_it_says(open_desk, size):
    desk = open_desk(draw_discs(), scale=(size, size), units=("um", "um"))
    desk.find()
    picture = desk.check(plane(desk.viewer.layers[PREVIEW]))
    white = (picture > 250).all(-1)
    # The lowest row with white: the bar, under its number.
    bar = white[np.nonzero(white.any(1))[0].max() - 2]
    text = desk.save(".svg").read_text(encoding="utf-8")
    (number,) = re.findall(r">([\d.e-]+) µm<", text)
    assert bar.sum() / SCALE * size == pytest.approx(float(number), rel=0.02)

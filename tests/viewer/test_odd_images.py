"""Images as nobody expects them: click, keep, everything, filter, save, and read what was saved."""

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.session.values import Level
from viewer_bench import ViewerBench

sys.path.insert(0, str(Path(__file__).parent))
from layouts import drag, place_of

PREVIEW, ACCEPTED, POINTS = "SAM3 preview labels", "SAM3 live accepted labels", "SAM3 points"
SAVED = "SAM3 saved labels"
SHAPE = (60, 90)
CENTRES = ((15, 15), (15, 45), (45, 15), (45, 45), (30, 75))


def draw_discs(shape=SHAPE, centres=CENTRES):
    """Bright discs of radius 8, the last one of 6, on a dark, slightly noisy ground, in 0 to 1."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    image = np.random.default_rng(0).normal(0.2, 0.01, shape)
    for cy, cx in centres:
        radius = 6 if (cy, cx) == centres[-1] else 8
        image[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] += 0.6
    return image.clip(0, 1)


def draw_line():
    """Three bright stretches on a dark row."""
    line = np.random.default_rng(0).normal(0.2, 0.01, 90)
    for begin, end in ((10, 22), (40, 52), (70, 79)):
        line[begin:end] += 0.6
    return line


@dataclass
class Odd:
    """An image, how it lies in the viewer, and where an object is on the plane on show."""

    pixels: np.ndarray
    on: tuple[int, ...] = CENTRES[1]
    off: tuple[int, ...] = (30, 30)
    area: tuple[int, int] = (150, 260)
    layer: dict = field(default_factory=dict)
    order: tuple[int, ...] | None = None
    beside: object = None
    meanwhile: object = None

    @property
    def is_line(self):
        """Whether the plane has one row or column: the engine finds less in it."""
        return self.area[1] < 20

    def find_shape(self):
        """Return the shape of labels of the image."""
        return self.pixels.shape[:2] if self.layer.get("rgb") else self.pixels.shape


def _with_holes():
    image = draw_discs().astype(np.float32)
    image[:4] = np.nan
    image[20:24, 60:64] = np.inf
    image[50:54, 60:64] = -np.inf
    image[14, 44] = np.nan  # within the object that is clicked on
    return image


def _beside_labels(viewer):
    viewer.add_labels(np.tri(60, 90, dtype=np.uint8), name="labels of somebody")


def _beside_small(viewer):
    viewer.add_image(draw_discs((20, 20), [(10, 10)]), name="small", translate=(70, 0))
    viewer.layers.selection.active = viewer.layers["image"]


def _remove_other(viewer):
    viewer.layers.remove("small")


def _rename(viewer):
    viewer.layers["image"].name = "after / lunch: é"


def _slices(axis):
    disc = draw_discs()
    return np.stack([disc * 0 + 0.2, disc, disc * 0 + 0.2], axis)


COLOUR = (np.stack([draw_discs() * part for part in (1, 0.6, 0.3)], -1) * 255).astype(np.uint8)
TURN = np.deg2rad(30)
ODD = {
    "one row": Odd(draw_line()[None], (0, 45), (0, 30), (4, 13)),
    "one column": Odd(draw_line()[:, None], (45, 0), (30, 0), (4, 13)),
    "not a number": Odd(_with_holes()),
    "rotated and scaled": Odd(
        draw_discs(), layer={"rotate": 30, "scale": (0.5, 2), "translate": (900, -7)}
    ),
    "mirrored": Odd(draw_discs(), layer={"scale": (-0.25, 0.25)}),
    "tiny pixels": Odd(draw_discs(), layer={"scale": (1e-9, 1e-9)}),
    "colours beside labels": Odd(COLOUR, layer={"rgb": True}, beside=_beside_labels),
    "two sizes": Odd(draw_discs(), beside=_beside_small),
    "another image removed": Odd(draw_discs(), beside=_beside_small, meanwhile=_remove_other),
    "renamed": Odd(draw_discs(), meanwhile=_rename),
    "order rolled": Odd(_slices(0), (1, *CENTRES[1]), (1, 30, 30), order=(0, 2, 1)),
    "slices in the middle": Odd(_slices(1), (15, 1, 45), (30, 1, 30), order=(1, 0, 2)),
    "slices last": Odd(_slices(2), (15, 45, 1), (30, 30, 1), layer={"rgb": False}, order=(2, 1, 0)),
    "uint16 of 12 bits": Odd((draw_discs() * 3000 + 500).astype(np.uint16)),
    "int32 below 0": Odd((draw_discs() * 1e6).astype(np.int32) - 2_000_000),
    "float64, huge": Odd(draw_discs() * 1e300),
    "float16": Odd(draw_discs().astype(np.float16)),
    "uint64": Odd((draw_discs() * 2.0**60).astype(np.uint64)),
    "big endian": Odd((draw_discs() * 3000).astype(">u2")),
    "bool": Odd(draw_discs() > 0.5),
    "read only": Odd(np.broadcast_to(draw_discs(), SHAPE)),
    "singleton axes": Odd(draw_discs()[None, None], (0, 0, *CENTRES[1]), (0, 0, 30, 30)),
    "singleton last": Odd(draw_discs()[..., None], (*CENTRES[1], 0), (30, 30, 0), order=(2, 0, 1)),
}


class Desk(ViewerBench):
    """A viewer with an odd image, and a person with a mouse."""

    def __init__(self, odd):
        super().__init__()
        self.odd = odd
        self.image = self.viewer.add_image(odd.pixels, name="image", **odd.layer)
        if odd.beside is not None:
            odd.beside(self.viewer)
        if odd.order is not None:
            self.viewer.dims.order = odd.order
        for axis in self.viewer.dims.not_displayed:
            self.viewer.dims.set_point(axis, self.image.data_to_world(odd.on)[axis])
        self.viewer.layers.selection.active = self.image
        self.settle()

    def find_all(self):
        self.model.task = Task.EVERYTHING
        self.session.run()
        self.settle()

    def click(self, at):
        """Click with the mouse, and run as the window does."""
        self.model.task, self.model.tool = Task.LIVE_POINTS, Tool.POINTS
        self.binding.prompts.arm()
        assert self.viewer.layers.selection.active.name.startswith(POINTS)
        drag(self.viewer, place_of(self.viewer, self.image, at))
        self.settle()
        self.session.run_live()
        self.settle()

    def save(self, path):
        self.session.saving.export(path)
        self.settle()
        assert self.model.message.text.startswith("Saved"), self.model.message.text
        return path

    def labels(self, name):
        """The pixels of results, in the place that they have in the image."""
        layer = self.viewer.layers[name]
        whole = np.zeros(self.odd.find_shape(), int)
        corner = self.image.world_to_data(layer.data_to_world((0,) * layer.ndim))
        begin = np.round(np.asarray(corner)[: whole.ndim]).astype(int)
        whole[tuple(slice(a, a + n) for a, n in zip(begin, layer.data.shape, strict=True))] = (
            layer.data
        )
        return whole


@pytest.fixture(params=ODD.values(), ids=ODD)
def desk(request):
    made = Desk(request.param)
    yield made
    made.binding.close()


def test_from_a_click_to_a_file(desk, tmp_path):
    odd, model = desk.odd, desk.model
    desk.click(odd.on)
    found = desk.labels(PREVIEW)
    assert found[odd.on] > 0, model.message.text
    assert found[odd.off] == 0
    assert odd.area[0] <= np.count_nonzero(found) <= odd.area[1]

    desk.session.accept()
    desk.settle()
    np.testing.assert_array_equal(desk.labels(ACCEPTED) > 0, found > 0)
    assert len(desk.viewer.layers[POINTS].data) == 0
    if odd.meanwhile is not None:
        odd.meanwhile(desk.viewer)

    desk.find_all()
    every = desk.labels(PREVIEW)
    assert every[odd.on] or odd.is_line, model.message.text
    count = len(np.unique(every)) - 1
    assert count == len(model.preview.segmentation.objects) >= 3

    areas = sorted(one.area for one in model.preview.segmentation.objects)
    desk.session.filtering.show_range("Area", areas[0] + 0.5, areas[-1])
    shown = model.preview.segmentation.objects
    assert len(shown) == sum(area > areas[0] for area in areas)
    desk.session.filtering.show_all()
    np.testing.assert_array_equal(desk.labels(PREVIEW), every)

    saved = tifffile.imread(desk.save(tmp_path / "labels.tif"), squeeze=False)
    array = np.load(desk.save(tmp_path / "labels.npy"))
    assert array.shape == odd.find_shape()
    np.testing.assert_array_equal(saved.reshape(array.shape), array)
    # What is accepted goes first; the rest of what was found has its pixels beside it.
    np.testing.assert_array_equal(array[found > 0], 1)
    others = (every > 0) & (every != every[odd.on]) & (found == 0)
    assert (array[others] > 1).all() or odd.is_line
    assert not array[(every == 0) & (found == 0)].any()
    desk.session.accept()
    desk.settle()
    np.testing.assert_array_equal(desk.labels(ACCEPTED), array)
    assert model.message.level is not Level.ERROR


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
def test_an_image_without_contrast_says_so_and_is_no_error(value):
    desk = Desk(Odd(np.full(SHAPE, value, np.float32)))
    desk.click((15, 45))
    assert desk.model.message.level is not Level.ERROR, desk.model.message.text
    desk.find_all()
    assert desk.model.message.level is not Level.ERROR, desk.model.message.text
    assert not any(one.ids for one in desk.model.previews)
    desk.binding.close()


def test_what_was_found_on_an_image_that_is_removed_stays_as_a_layer():
    desk = Desk(ODD["two sizes"])
    desk.click(CENTRES[1])
    found = np.array(desk.viewer.layers[PREVIEW].data)
    desk.viewer.layers.remove("image")
    desk.settle()
    assert desk.model.previews == ()
    assert PREVIEW not in desk.viewer.layers
    assert desk.model.message.text == (
        f"“image” was removed: what was found on it stays as layer “{SAVED}”."
    )
    np.testing.assert_array_equal(desk.viewer.layers[SAVED].data, found)

    desk.image = desk.viewer.layers["small"]
    desk.odd = Odd(desk.image.data)
    desk.click((10, 10))
    on_small = desk.labels(PREVIEW)
    assert on_small[10, 10]
    assert not on_small[0, 0]
    desk.binding.close()


def test_all_layers_can_be_removed_at_once_in_any_order():
    """As napari removes what is selected: by a list of a set, in any order."""
    for seed in range(3):
        desk = Desk(ODD["two sizes"])
        desk.click(CENTRES[1])
        desk.session.accept()
        desk.settle()
        desk.click(CENTRES[2])
        layers = list(desk.viewer.layers)
        random.Random(seed).shuffle(layers)
        for layer in layers:
            desk.viewer.layers.remove(layer)
        desk.settle()
        assert len(desk.viewer.layers) == 0, (seed, list(desk.viewer.layers))
        assert desk.model.previews == ()
        assert desk.model.message.text == "Ready"
        desk.binding.close()


def test_the_layer_list_can_be_cleared():
    desk = Desk(ODD["two sizes"])
    desk.click(CENTRES[1])
    desk.viewer.layers.clear()
    desk.settle()
    assert len(desk.viewer.layers) == 0
    assert desk.model.previews == ()
    desk.binding.close()

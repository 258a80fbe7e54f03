"""Images of other kinds than the benchmark draws: corners, strong vignetting, touching boxes."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines import registry

SHAPE = (200, 200)
ENGINE, REPORTER = registry.create("builtin"), NullReporter()


def disc(y, x, radius):
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def rgb(grey, noise=3.0):
    grey = grey + np.random.default_rng(0).normal(0, noise, SHAPE)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2)


def encode(grey):
    return ENGINE.embed(rgb(grey), REPORTER)


def mask_of(encoding, **prompts):
    answer = ENGINE.predict(encoding, PromptSet(**prompts), PredictOptions(), REPORTER)
    (record,) = answer.objects
    mask = np.zeros(SHAPE, bool)
    mask[record.region.slices] = record.mask
    return mask


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.parametrize("centre", [(0, 0), (199, 199), (0, 100), (100, 199), (6, 6)])
def test_a_click_takes_a_cell_that_the_edge_of_the_image_cuts(centre):
    cell = disc(*centre, 20)
    encoding = encode(40 + 100 * ndi.gaussian_filter(cell * 1.0, 1))
    inside = np.argwhere(ndi.binary_erosion(cell, iterations=3, border_value=1))
    for y, x in inside[:: len(inside) // 3]:
        assert iou(mask_of(encoding, points=(PointPrompt(y, x),)), cell) > 0.85


@pytest.mark.parametrize(("sign", "fall"), [(1, 0.8), (-1, 1.6)])
def test_a_click_takes_a_cell_where_the_light_falls_off_steeply(sign, fall):
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    light = np.exp(-fall * (y**2 + x**2))
    cells = [disc(row, column, 12) for row in (30, 80, 130, 170) for column in (30, 80, 130, 170)]
    depth = ndi.gaussian_filter(np.logical_or.reduce(cells) * 1.0, 1.2)
    encoding = encode((150 + sign * 80 * depth) * light)
    for number, cell in enumerate(cells):
        rows, columns = np.nonzero(cell)
        pick = len(rows) // (5, 2)[number % 2]  # near its edge, and in its middle
        click = PointPrompt(int(rows[pick]), int(columns[pick]))
        assert iou(mask_of(encoding, points=(click,)), cell) > 0.8


def test_a_box_leaves_out_the_neighbour_that_touches_even_if_it_is_drawn_over_it():
    cell, other = disc(100, 90, 12), disc(100, 113.5, 12)
    encoding = encode(40 + 90 * ndi.gaussian_filter((cell | other) * 1.0, 1))
    found = mask_of(encoding, boxes=(BoxPrompt(Region(87, 77, 114, 106)),))
    assert iou(found, cell) > 0.93
    assert np.count_nonzero(found & other) < 0.05 * np.count_nonzero(found)

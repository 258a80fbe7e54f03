"""Scale bars of a round length, and outlines that lie where the objects end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.images import PixelSize
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.workflows.figure import (
    FigureRequest,
    LabelsOnShow,
    choose_bar,
    make_figure,
)


@given(st.integers(4, 50_000), st.floats(1e-9, 1e9), st.sampled_from(["micrometer", "", "pixel"]))
def test_a_bar_is_round_and_neither_short_nor_long(width, size, unit):
    length, text = choose_bar(width, PixelSize(size, size, unit))
    assert width * 0.09 < length <= width * 0.2501
    number, symbol = text.split()
    assert float(number) == pytest.approx(length * size)
    assert f"{float(number):.0e}"[0] in "125"
    assert symbol == ("µm" if unit == "micrometer" else "px")


def test_the_outline_goes_round_the_pixels_of_each_object_in_its_region():
    region = Region(10, 20, 40, 60)
    mask = np.ones((5, 7), bool)
    objects = (
        ObjectRecord(1, mask, Region(12, 22, 17, 29), 0.9, "cell"),
        ObjectRecord(2, mask, Region(10, 53, 15, 60), 0.9, "nucleus"),
    )
    view = view_of_array(np.zeros((50, 70), np.uint8))

    request = FigureRequest(view, region, PixelSize(2.0, 1.0, "um"), objects)
    figure = make_figure(request, NullReporter())

    assert figure.pixels.shape == (30, 40, 3)
    assert figure.aspect == 2.0
    assert figure.names == ("cell (1 object)", "nucleus (1 object)")
    (first, one), (second, other) = figure.outlines
    assert (first, second) == (0, 1)
    assert one.min(0).tolist() == [2.0, 2.0]
    assert one.max(0).tolist() == [9.0, 7.0]
    assert other.max(0).tolist() == [40.0, 5.0]
    assert (one[0] == one[-1]).all()


@given(st.integers(0, 2**32 - 1))
def test_labels_are_outlined_as_the_masks_of_their_objects_would_be(seed):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.choice([0, 0, 1, 3, 70_000], (6, 7)), np.ones((5, 5))).astype(np.uint32)
    region = Region(*rng.integers(0, 8, 2).tolist(), *rng.integers(20, 30, 2).tolist())
    names, hidden = {1: "cell", 3: "cell"}, {int(rng.choice([1, 3, 70_000]))}
    shown = LabelsOnShow(labels, names, hidden)
    masks = [
        (int(id_), (labels == id_)[region.slices])
        for id_ in np.unique(labels[region.slices])
        if id_ and int(id_) not in hidden
    ]
    objects = [
        ObjectRecord.from_mask(id_, mask, offset=(region.y0, region.x0), text=names.get(id_, ""))
        for id_, mask in masks
    ]
    view = view_of_array(np.zeros(labels.shape, np.uint8))

    figures = [
        make_figure(FigureRequest(view, region, PixelSize(), *parts), NullReporter())
        for parts in ((objects,), ((), [shown]))
    ]

    assert figures[0].names == figures[1].names
    assert len(figures[0].outlines) == len(figures[1].outlines)
    for (one, line), (other, drawn) in zip(*(each.outlines for each in figures), strict=True):
        assert one == other
        np.testing.assert_array_equal(line, drawn)


def test_a_slide_is_refused_before_anything_is_read():
    whole = Region.whole((100_000, 100_000))
    request = FigureRequest(view_of_array(np.zeros((2, 2), "u1")), whole, PixelSize())
    with pytest.raises(ImageError, match="too large"):
        make_figure(request, NullReporter())

"""Layers that count in other units than their neighbours: what napari draws, clicks and slices."""

import sys
from pathlib import Path

import numpy as np
import pytest

from napari_sam3_assistant.core.prompts import PromptKind, Tool
from napari_sam3_assistant.viewer.geometry import World
from napari_sam3_assistant.viewer.images import ALL_IMAGES
from napari_sam3_assistant.viewer.roles import put_away

sys.path.insert(0, str(Path(__file__).parent))
from layouts import drag, place_of

MICRO = ("um",) * 3


@pytest.fixture
def stack(viewer, binding):
    """A z-stack in micrometre, its channels none: slices 2 apart, pixels of 0.5."""
    if not hasattr(viewer.dims, "units"):
        pytest.skip("before napari 0.7 layers are drawn by their numbers alone")
    return viewer.add_image(np.zeros((8, 40, 50)), name="z", scale=(2, 0.5, 0.5), units=MICRO)


def beside(viewer):
    """Add a layer that makes the viewer count in nanometre, and go to slice 3."""
    layer = viewer.add_image(np.zeros((4, 5)), name="nm", units=("nm", "nm"), scale=(100, 100))
    viewer.dims.set_point(0, 6000)
    viewer.layers.selection.active = viewer.layers["z"]
    return layer


def clicked(viewer, binding, image, y, x):
    """Click on a pixel of the image, and return what a run would take."""
    binding.model.tool = Tool.POINTS
    binding.prompts.arm()
    drag(viewer, place_of(viewer, image, (0, y, x)))
    return [
        (round(point.y, 6), round(point.x, 6))
        for point in binding.adapter.take_snapshot(
            binding.model.image, PromptKind.POINTS
        ).prompts.points
    ]


def test_the_slice_on_show_is_the_one_that_is_worked_on(viewer, binding, stack):
    beside(viewer)
    assert binding.adapter.displayed(binding.model.image).plane.leading == (3,)
    assert clicked(viewer, binding, stack, 10, 20) == [(10, 20)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_prompts_are_taken_whenever_the_other_units_come_and_go(viewer, binding, stack, when):
    if when == "before":
        other = beside(viewer)
        binding.prompts.arm()
    else:
        binding.prompts.arm()
        other = beside(viewer)
    points = viewer.layers["SAM3 points"]
    assert points.units == viewer.layers.get_extent([other, stack]).units[-3:]
    viewer.layers.selection.active = points
    assert clicked(viewer, binding, stack, 10, 20) == [(10, 20)]

    viewer.layers.remove(other)

    assert points.units == stack.units
    np.testing.assert_allclose(points.scale, stack.scale)
    viewer.dims.set_point(0, 6)
    viewer.layers.selection.active = points
    assert clicked(viewer, binding, stack, 30, 40) == [(10, 20), (30, 40)]


def test_a_layer_that_waits_for_an_image_counts_as_it_does(viewer, binding, stack):
    binding.prompts.arm()
    points = viewer.layers["SAM3 points"]
    put_away(viewer, points)
    # In a viewer without any stack its emptied layers go with it.
    other = viewer.add_image(np.zeros((8, 40, 50)), name="pixels")
    viewer.layers.remove(stack)
    assert points in viewer.layers
    assert viewer.layers.extent.units == points.units == other.units
    assert clicked(viewer, binding, other, 30, 40) == [(30, 40)]


def test_an_image_in_nm_lies_on_one_in_um(viewer, binding, stack):
    viewer.add_image(np.ones((8, 40, 50)), name="same", scale=(2000, 500, 500), units=("nm",) * 3)
    assert len(binding.adapter.take_view(ALL_IMAGES).channels) == 2


def test_a_batch_puts_a_click_on_the_same_place_of_each_image(viewer, binding, stack):
    other = viewer.add_image(
        np.zeros((8, 80, 100)), name="fine", scale=(2000, 250, 250), units=("nm",) * 3
    )
    viewer.dims.set_point(0, 6000)
    binding.model.image = str(stack.unique_id)
    clicked(viewer, binding, stack, 10, 20)
    snapshots, failed = binding.adapter.take_snapshots(
        binding.model.image, PromptKind.POINTS, every_image=True
    )

    assert not failed
    found = {snapshot.target.name: snapshot.prompts.points[0] for snapshot in snapshots}
    # The centre of a coarse pixel lies between four fine ones.
    assert (round(found["z"].y, 6), round(found["z"].x, 6)) == (10, 20)
    assert (round(found["fine"].y, 6), round(found["fine"].x, 6)) == (20, 40)
    np.testing.assert_allclose(place_of(viewer, other, (3, 20, 40)),
                               place_of(viewer, stack, (3, 10, 20)))  # fmt: skip


def test_units_that_do_not_fit_are_taken_as_numbers_as_napari_does(viewer, binding, stack):
    viewer.add_image(np.zeros((4, 5)), name="pixels")
    viewer.dims.set_point(0, 6)
    viewer.layers.selection.active = stack
    binding.model.image = str(stack.unique_id)

    assert World.of(viewer).units is None
    assert binding.adapter.displayed(binding.model.image).plane.leading == (3,)
    assert clicked(viewer, binding, stack, 10, 20) == [(10, 20)]


@pytest.mark.parametrize(
    ("labels", "units", "is_movie"),
    [
        (("t", "y", "x"), None, True),
        (("z", "y", "x"), None, False),
        (None, ("second", "um", "um"), True),
        (None, MICRO, False),
    ],
)
def test_a_stack_is_a_movie_where_its_layer_says_so(viewer, binding, labels, units, is_movie):
    image = viewer.add_image(np.ones((4, 40, 50)), axis_labels=labels, units=units)
    snapshot = binding.adapter.stacks.take_snapshot(str(image.unique_id), PromptKind.TEXT, 0)
    assert snapshot.frames.is_movie is is_movie

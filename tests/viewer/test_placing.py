"""Layers at places where a pixel is tiny beside its coordinates."""

import numpy as np
import pytest

from napari_sam3_assistant.core.prompts import Tool
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.viewer.geometry import World, is_aligned
from napari_sam3_assistant.viewer.images import ALL_IMAGES

STAGE = {"scale": (0.05, 0.1, 0.1), "translate": (10_000, 80_000, 50_000)}


def test_a_preview_follows_to_the_next_slice_of_an_image_far_from_the_origin(
    viewer, binding, run, disc
):
    viewer.add_image(np.stack([disc] * 3), name="cells", **STAGE)
    binding.model.tool = Tool.POINTS
    binding.prompts.arm()
    for slice_ in (0, 1):
        viewer.dims.set_current_step(0, slice_)
        viewer.layers["SAM3 points"].add((slice_, 20, 30))
        run()

    labels = viewer.layers["SAM3 preview labels"]
    np.testing.assert_allclose(labels.translate, (10_000.05, 80_000, 50_000), rtol=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        {"affine": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]},
        {"scale": (2, 1)},
        {"translate": (0, 1)},
    ],
)
def test_images_that_lie_otherwise_are_not_added_up(viewer, binding, other):
    plane = np.zeros((40, 40), np.uint8)
    viewer.add_image(plane, name="one")
    viewer.add_image(plane, name="other", **other)

    with pytest.raises(ImageError, match="“other” and “one” don't lie on top of each other"):
        binding.adapter.take_view(ALL_IMAGES)


@pytest.mark.parametrize("metres", [1e-9, 1.0])
@pytest.mark.parametrize(("moved", "together"), [(0.0, True), (1e-6, True), (0.5, False)])
def test_half_a_pixel_counts_wherever_it_is(viewer, metres, moved, together):
    plane = np.zeros((4, 4), np.uint8)
    first, second = (
        viewer.add_labels(plane, scale=(metres,) * 2, translate=np.array((9e4, at)) * metres)
        for at in (0, moved)
    )
    assert is_aligned(first, second, World.of(viewer)) is together

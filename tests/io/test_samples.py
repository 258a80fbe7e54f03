"""The sample images that napari offers."""

import numpy as np

from napari_sam3_assistant.io.samples import cell_stack, coins


def test_coins():
    ((data, options, kind),) = coins()
    assert (data.shape, data.dtype, kind, options["name"]) == (
        (303, 384), np.uint8, "image", "coins",
    )  # fmt: skip


def test_cell_stack_is_the_same_every_time_and_has_its_scale():
    ((first, options, _),), ((second, _, _),) = cell_stack(), cell_stack()
    np.testing.assert_array_equal(first, second)
    assert first.shape == (24, 256, 256)
    assert options["scale"] == (2.0, 0.5, 0.5)
    assert options["axis_labels"] == ("z", "y", "x")
    # Cells stand out of the background of 300.
    assert np.percentile(first, 99) > 1500 > 400 > np.median(first)

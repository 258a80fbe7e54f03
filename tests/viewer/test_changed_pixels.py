"""A run sees the pixels that are there now, and encodes no plane again that has not changed."""

import sys

import numpy as np
import pytest
import zarr

from napari_sam3_assistant import api

CLICK = (20, 30)


def arrays(stack, kind, folder):
    """The same stack in memory, in a file that NumPy maps, or in a zarr."""
    if kind == "memory":
        return stack.copy()
    if kind == "mapped":
        np.save(folder / "stack.npy", stack)
        return np.load(folder / "stack.npy", mmap_mode="r+")
    made = zarr.create_array(
        str(folder / "stack.zarr"), shape=stack.shape, chunks=(16,) * stack.ndim, dtype=stack.dtype
    )
    made[:] = stack
    return made


@pytest.fixture(params=["memory", "mapped", "zarr"])
def shown(request, viewer, binding, disc, tmp_path):
    """An image of three slices with a disc on each, and a click on it on the first."""
    data = arrays(np.stack([disc] * 3), request.param, tmp_path)
    layer = viewer.add_image(data, name="image", contrast_limits=(0, 255))
    viewer.dims.set_current_step(0, 0)
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((0, *CLICK))
    return layer


def token(binding):
    return binding.adapter.take_view(binding.model.image).channels[0].source.token


@pytest.mark.parametrize("everything", [True, False])
def test_pixels_written_in_place_are_segmented(shown, binding, run, disc, everything):
    run()
    other = np.roll(disc, (8, 12), (0, 1))

    written = 3 if everything else 1
    shown.data[:written] = np.stack([other] * written)
    shown.refresh()
    found = run().segmentation.labels

    np.testing.assert_array_equal(found, api.segment(other, points=[CLICK]).labels)


def test_the_plane_that_was_written_while_another_one_was_on_show(
    shown, viewer, binding, run, disc
):
    run()
    viewer.dims.set_current_step(0, 2)
    other = np.roll(disc, (8, 12), (0, 1))
    shown.data[:] = np.stack([other] * 3)
    shown.refresh()
    viewer.dims.set_current_step(0, 0)
    found = run().segmentation.labels

    np.testing.assert_array_equal(found, api.segment(other, points=[CLICK]).labels)


def test_a_plane_that_no_slider_moves_and_another_part_of_it_in_view(
    viewer, binding, run, disc, tmp_path
):
    image = viewer.add_image(arrays(disc, "zarr", tmp_path), contrast_limits=(0, 255))
    viewer.add_labels(np.zeros((5, 48, 64), int))
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add(CLICK)
    run()
    viewer.dims.set_current_step(0, 3)
    image.corner_pixels = np.array([[5, 5], [20, 20]])  # as when the user moves the picture
    image.data[:] = other = np.roll(disc, (8, 12), (0, 1))
    image.refresh()

    found = run().segmentation.labels
    np.testing.assert_array_equal(found, api.segment(other, points=[CLICK]).labels)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs sparse files")
def test_a_plane_larger_than_memory(viewer, binding, tmp_path):
    """A sparse file that NumPy maps: large-image runs read their region of it, and nothing else."""
    side = 1 << 20
    huge = np.memmap(tmp_path / "huge.raw", np.uint8, "w+", shape=(side, side))
    small = np.zeros((1024, 1024), np.uint8)
    viewer.add_image([huge, small], multiscale=True, contrast_limits=(0, 255))

    first, again = token(binding), token(binding)
    assert first == again
    huge[0, :9] = 200
    viewer.layers[0].refresh()
    assert token(binding) != first


def test_what_changes_the_view_alone_keeps_what_was_encoded(shown, viewer, binding, run):
    run()
    before = token(binding)
    acts = (
        lambda: viewer.dims.set_current_step(0, 2),
        lambda: viewer.dims.set_current_step(0, 0),
        lambda: setattr(shown, "visible", False),
        lambda: setattr(shown, "visible", True),
        lambda: setattr(shown, "opacity", 0.5),
        lambda: setattr(shown, "scale", (2, 1, 1)),
        lambda: setattr(viewer.dims, "ndisplay", 3),
        lambda: setattr(viewer.dims, "ndisplay", 2),
        lambda: viewer.add_labels(np.zeros((3, 48, 64), int)),
    )
    for number, act in enumerate(acts):
        act()
        assert token(binding) == before, number

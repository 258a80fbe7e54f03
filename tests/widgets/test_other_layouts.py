"""Channel axes in the middle, and layers in other units, by the mouse on the canvas."""

import numpy as np
import pytest

PREVIEW, CENTRE, OUTSIDE = "SAM3 preview labels", (30, 40), (5, 5)


def tinted(user, layer, *pixels):
    """Whether a mask is drawn over the grey image at pixels of a layer."""
    user.settle()
    picture = user.viewer.screenshot(canvas_only=True, flash=False)
    spots = [user.spot(layer, pixel) for pixel in pixels]
    return [int(np.ptp(picture[spot.y(), spot.x(), :3].astype(int))) > 30 for spot in spots]


@pytest.fixture
def click_on_slice_one(open_window, discs):
    """Open a stack with the discs on slice 1 of 3, and click on one of them."""

    def go(image_of, **layer):
        user = open_window(image_of(discs), **layer)
        user.choose("refinement")
        return user

    return go


def test_a_mask_shows_on_every_channel_of_its_slice_and_on_no_other(click_on_slice_one):
    def stack(discs):
        data = np.zeros((2, 3, *discs.shape), np.uint8)
        data[1] = discs
        return data

    user = click_on_slice_one(stack, axis_labels=("z", "c", "y", "x"))
    viewer, image = user.viewer, user.viewer.layers["image"]
    viewer.dims.set_current_step((0, 1), (1, 2))
    steps = viewer.dims.nsteps
    user.settle()
    user.click_at(image, (1, 2, *CENTRE))
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    viewer.layers["SAM3 points"].visible = False
    viewer.layers["SAM3 preview boxes"].visible = False

    assert viewer.dims.nsteps == steps
    for z in range(2):
        for channel in range(3):
            viewer.dims.set_current_step((0, 1), (z, channel))
            at = [(z, channel, *pixel) for pixel in (CENTRE, OUTSIDE)]
            assert tinted(user, image, *at) == [z == 1, False]


def test_a_click_on_a_stack_in_um_beside_a_layer_in_nm(click_on_slice_one):
    def stack(discs):
        data = np.zeros((2, *discs.shape), np.uint8)
        data[1] = discs
        return data

    user = click_on_slice_one(stack, scale=(2, 0.5, 0.5), units=("um",) * 3)
    viewer = user.viewer
    if not hasattr(viewer.dims, "units"):
        pytest.skip("before napari 0.7 layers are drawn by their numbers alone")
    # The same pixels, in the unit that the viewer counts in from now on.
    ruler = viewer.add_labels(
        np.zeros((2, 120, 150), np.uint8), name="nm", scale=(2000, 500, 500), units=("nm",) * 3
    )
    viewer.dims.set_point(0, 2000)
    user.look_at_all()
    viewer.layers.selection.active = viewer.layers["SAM3 points"]
    user.settle()

    user.click_at(ruler, (1, *CENTRE))
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    viewer.layers["SAM3 points"].visible = False
    viewer.layers["SAM3 preview boxes"].visible = False

    assert viewer.layers[PREVIEW].data[0, CENTRE[0], CENTRE[1]] == 1
    for z in range(2):
        viewer.dims.set_point(0, 2000 * z)
        assert tinted(user, ruler, (z, *CENTRE), (z, *OUTSIDE)) == [z == 1, False]

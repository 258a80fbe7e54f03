"""The plane that is segmented is the one that napari draws; where that is not plain it is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel

from amounts import FEW
from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for

place = st.fixed_dictionaries(
    {
        "length": st.integers(1, 5),
        "size": st.sampled_from([0.4, 1.0, 2.5, -1.0]),
        "first": st.sampled_from([-3.0, 0.0, 0.5, 4.0]),
    }
)


@FEW
@given(image=place, other=place, step=st.integers(0, 12))
def test_the_plane_of_a_stack_beside_another_one(image, other, step):
    viewer = ViewerModel()
    for name, one in (("other", other), ("image", image)):
        planes = np.broadcast_to(np.arange(one["length"])[:, None, None] + 1, (one["length"], 9, 9))
        scale, translate = (one["size"], 1, 1), (one["first"], 0, 0)
        viewer.add_image(planes.copy(), name=name, scale=scale, translate=translate)
    binding = binding_for(viewer, deliver_inline, MemorySettings())
    try:
        viewer.dims.set_current_step(0, min(step, viewer.dims.nsteps[0] - 1))
        layer = viewer.layers["image"]
        drawn = layer.get_value((viewer.dims.point[0], 4, 4), world=True)
        if drawn is None:
            with pytest.raises(ImageError, match="beyond the image, at axis 0"):
                binding.adapter.take_view(binding.model.image)
            assert "sliders are beyond the image" in binding.model.why_not.run
        else:
            plane = binding.adapter.displayed(binding.model.image).plane
            assert plane.leading == (drawn - 1,)
            assert binding.model.chosen_image.summary == f"9 x 9, axis 0 = {drawn - 1}"
    finally:
        binding.close()


def test_nothing_runs_beyond_the_stack_and_the_frame_axis_stays_chosen(viewer, binding, disc):
    viewer.add_labels(np.zeros((9, 9, 48, 64), int), name="longer")
    viewer.add_image(np.stack([[disc] * 3] * 3), name="cells", axis_labels=("t", "z", "y", "x"))
    viewer.dims.set_current_step(0, 2)
    viewer.dims.set_current_step(1, 2)
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((2, 2, 20, 30))
    binding.model.frame_axis = 0
    assert not binding.model.why_not.run

    viewer.dims.set_current_step(1, 7)
    assert binding.model.why_not.run == (
        "The sliders are beyond the image, at z = 7. Go to 0 to 2."
    )
    with pytest.raises(ImageError):
        binding.adapter.take_snapshot(binding.model.image, PromptKind.POINTS)
    viewer.dims.set_current_step(1, 2)
    assert not binding.model.why_not.run
    assert binding.model.frame_axis == 0


def test_which_plane_is_segmented_in_3d_and_of_a_thick_slice(viewer, binding, disc):
    image = viewer.add_image(np.stack([disc] * 9), name="cells", axis_labels=("z", "y", "x"))
    image.projection_mode = "none"
    viewer.dims.set_current_step(0, 7)
    assert binding.model.chosen_image.note == ""

    viewer.dims.ndisplay = 3
    said = "3-D display: the plane z = 7 is segmented; choose another one in 2-D."
    assert binding.model.chosen_image.note == said
    viewer.dims.ndisplay = 2
    viewer.dims.margin_left = viewer.dims.margin_right = (2, 0, 0)
    assert binding.model.chosen_image.note == ""  # napari still draws one plane of it

    image.projection_mode = "max"
    said = "Thick slice: of its planes the one at z = 7 is segmented."
    assert binding.model.chosen_image.note == said
    assert binding.model.chosen_image.summary == f"48 x 64, z = 7. {said}"
    viewer.dims.margin_left = viewer.dims.margin_right = (0, 0, 0)
    assert binding.model.chosen_image.note == ""


@pytest.mark.parametrize("leading", [(), (5,)])
@pytest.mark.parametrize("count", [2, 5])
def test_a_last_axis_that_may_hold_channels_is_said(viewer, binding, leading, count):
    image = viewer.add_image(np.zeros((*leading, 48, 64, count), np.uint8), rgb=False)
    said = f"Are the {count} columns channels? Then roll the axes on show"
    assert binding.model.chosen_image.note.startswith(said)
    viewer.dims.roll()
    assert binding.model.chosen_image.note == ""
    assert binding.model.chosen_image.shape == (48, 64)

    viewer.dims.roll()
    viewer.dims.order = tuple(range(image.ndim))
    image.axis_labels = ("t", "z", "y", "x")[-image.ndim :]
    viewer.dims.events.order()
    assert binding.model.chosen_image.note == ""


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ({}, "axis 0"),
        ({"units": ("um", "um", "um")}, "z"),
        ({"units": ("s", "um", "um")}, "t"),
        ({"units": ("s", "um", "um"), "axis_labels": ("plane", "y", "x")}, "plane"),
    ],
)
def test_an_axis_without_a_name_is_called_by_what_it_counts_in(viewer, binding, layer, name):
    viewer.add_image(np.zeros((5, 20, 30), np.uint8), **layer)
    assert binding.model.frame_axes[0].name == name
    assert f", {name} = 2" in binding.model.chosen_image.summary


@pytest.mark.parametrize(
    ("labels", "units", "names"),
    [
        (None, None, ["t", "z"]),
        (("time", "b", "y", "x"), None, ["time", "b"]),
        (("-4", "z", "y", "x"), None, ["t", "z"]),
        (("frame", "-3", "y", "x"), None, ["frame", "z"]),
        (None, ("um", "s", "um", "um"), ["z", "t"]),
        (None, ("um", "um", "um", "um"), ["z", "z"]),
        (("plate", "-3", "y", "x"), None, ["plate", "axis 1"]),
    ],
)
def test_of_two_axes_before_the_plane_the_one_without_a_name_is_t_or_z(
    viewer, binding, labels, units, names
):
    given = {"axis_labels": labels, "units": units}
    layer = {name: value for name, value in given.items() if value is not None}
    viewer.add_image(np.zeros((3, 5, 20, 30), np.uint8), **layer)
    assert [axis.name for axis in binding.model.frame_axes] == names


@pytest.mark.parametrize(
    ("names", "followed"), [("tz", 1), ("zt", 0), ("tq", 1), ("qt", 0), ("tt", 1)]
)
def test_objects_are_followed_along_the_slices_of_a_volume_rather_than_its_times(
    viewer, binding, names, followed
):
    viewer.add_image(np.zeros((3, 5, 20, 30), np.uint8), axis_labels=(*names, "y", "x"))
    assert binding.model.frame_axis == followed


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        ({}, ["axis 1", "axis 2"]),
        ({"units": ("um", "um", "um", "um")}, ["axis 1", "axis 2"]),
        ({"units": ("um", "s", "um", "um")}, ["t", "axis 2"]),
        ({"axis_labels": ("t", "z", "y", "x")}, ["z", "y"]),
        ({"axis_labels": ("t", "z", "", "")}, ["z", "axis 2"]),
    ],
)
def test_rows_that_were_rolled_to_a_slider_are_no_slices(viewer, binding, layer, names):
    viewer.add_image(np.zeros((3, 5, 20, 30), np.uint8), **layer)
    viewer.dims.order = (1, 2, 3, 0)
    assert [axis.name for axis in binding.model.frame_axes] == names
    assert ", ".join(f"{name} = {at}" for name, at in zip(names, (2, 9), strict=True)) in (
        binding.model.chosen_image.summary
    )

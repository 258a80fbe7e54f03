"""Accepted labels that the user, or a script, has given other data."""

import dask.array as da
import napari
import numpy as np
import pytest

from napari_sam3_assistant.errors import Sam3AssistantError

ACCEPTED = "SAM3 live accepted labels"


@pytest.fixture
def accept(viewer, binding, run):
    """Return a function that clicks, runs and accepts."""

    def go(*pixel):
        binding.prompts.arm()
        points = viewer.layers["SAM3 points"]
        points.add(points.world_to_data(viewer.layers[0].data_to_world(pixel)))
        run()
        binding.actions.accept()

    return go


def area_of(viewer):
    """What the features say of each accepted object, beside what its pixels say."""
    layer = viewer.layers[ACCEPTED]
    said = dict(zip(layer.features["index"], layer.features["area"], strict=True))
    ids, areas = np.unique(np.asarray(layer.data), return_counts=True)
    assert said == dict(zip(ids[1:], areas[1:], strict=True))
    return said


@pytest.mark.parametrize("order", [1, -1])
def test_all_layers_are_cropped(viewer, binding, accept, disc, order):
    """As in MouseLand/cellpose issue 319, with objects accepted."""
    viewer.add_image(np.hstack([disc, disc]), name="image")
    accept(20, 30)
    accept(20, 94)

    for layer in list(viewer.layers)[::order]:
        if np.shape(layer.data) == (48, 128):
            layer.data = layer.data[4:30, :64]

    assert list(area_of(viewer)) == [1]
    assert binding.model.kept == 1
    viewer.layers["image"].data[:] = np.roll(viewer.layers["image"].data, 34, 1)
    viewer.layers["image"].refresh()
    accept(16, 1)
    assert list(area_of(viewer)) == [1, 2]


@pytest.mark.parametrize(("shape", "longer"), [((4,), (6,)), ((2, 3), (5, 3)), ((2, 3), (2, 4))])
def test_they_grow_with_a_movie_that_is_being_recorded(
    viewer, binding, accept, disc, shape, longer
):
    viewer.add_image(np.broadcast_to(disc, (*shape, *disc.shape)).copy(), name="image")
    at = tuple(length - 1 for length in shape)
    viewer.dims.set_current_step(range(len(shape)), at)
    accept(*at, 20, 30)
    before = viewer.layers[ACCEPTED].data.copy()
    viewer.layers["image"].data = np.broadcast_to(disc, (*longer, *disc.shape)).copy()
    viewer.layers.selection = [viewer.layers["image"]]
    at = tuple(length - 1 for length in longer)
    viewer.dims.set_current_step(range(len(shape)), at)
    accept(*at, 20, 30)

    (layer,) = (layer for layer in viewer.layers if layer.name.startswith(ACCEPTED))
    assert layer.data.shape == viewer.layers["image"].data.shape
    assert np.array_equal(layer.data[tuple(map(slice, before.shape))], before)
    assert list(area_of(viewer)) == [1, 2]
    binding.actions.undo()
    assert list(area_of(viewer)) == [1]


def test_they_stay_where_an_image_of_other_rows_comes(viewer, binding, accept, disc):
    viewer.add_image(np.stack([disc] * 2), name="image")
    viewer.dims.set_current_step(0, 0)
    accept(0, 20, 30)
    viewer.layers["image"].data = np.stack([np.vstack([disc, disc])] * 3)
    viewer.layers.selection = [viewer.layers["image"]]
    accept(0, 20, 30)

    assert [np.shape(layer.data) for layer in viewer.layers if ACCEPTED in layer.name] == [
        (2, *disc.shape),
        (3, 2 * disc.shape[0], disc.shape[1]),
    ]


@pytest.mark.skipif(
    napari.__version__.startswith("0.5."),
    reason="this napari takes no more layers once labels have got an axis",
)
def test_they_get_an_axis_as_their_image_does(viewer, binding, accept, disc):
    viewer.add_image(disc, name="image")
    accept(20, 30)
    for name in ("image", ACCEPTED):
        viewer.layers[name].data = np.stack([viewer.layers[name].data] * 2)

    viewer.layers["image"].data[:, 30:, 50:] = 210
    viewer.layers["image"].refresh()
    viewer.layers.selection = [viewer.layers["image"]]
    viewer.dims.set_current_step(0, 1)
    accept(1, 40, 58)

    assert list(area_of(viewer)) == [1, 2]


@pytest.mark.parametrize("kind", ["read-only", "dask"])
def test_labels_that_can_only_be_read(viewer, binding, accept, disc, kind):
    viewer.add_image(np.hstack([disc, disc]), name="image")
    accept(20, 30)
    layer = viewer.layers[ACCEPTED]
    before = layer.data.copy()
    labels = layer.data.copy()
    labels.flags.writeable = False
    layer.data = labels if kind == "read-only" else da.from_array(labels)

    with pytest.raises(Sam3AssistantError, match="was given labels that can only be read"):
        accept(20, 94)
    binding.actions.undo()
    binding.actions.undo()
    binding.actions.undo()

    assert np.array_equal(np.asarray(layer.data), before)

"""Accepting: many objects, labels that are too large for memory, and layers that were deleted."""

import gc
import stat

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.layers import Image

from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation, paint_labels
from napari_sam3_assistant.session import label_storage
from napari_sam3_assistant.session.model import Level, Preview
from napari_sam3_assistant.viewer.roles import key_of

ACCEPTED = "SAM3 live accepted labels"
MADE_BY = Provenance("builtin", "Built-in", "1", "cpu", 0.35)


def show(binding, regions, plane=()):
    """Show squares as the preview of a plane of the chosen image."""
    objects = tuple(
        ObjectRecord(number, np.ones(region.shape, bool), region, 0.5)
        for number, region in enumerate(regions, 1)
    )
    whole = objects[0].region
    for record in objects:
        whole = whole.union(record.region)
    target = binding.adapter.displayed(binding.model.image).target
    target = type(target)(target.image, target.name, target.axes, PlaneRef(plane), target.shape)
    labels = paint_labels(objects, whole)
    preview = Preview(target, Segmentation(labels, objects, whole, MADE_BY), 0.1)
    binding.model.previews = (preview,)
    return preview


def accept(binding, *boxes, plane=()):
    show(binding, [Region(*box) for box in boxes], plane)
    binding.session.accept()
    return binding.model.message.text


def accepted_of(viewer):
    layer = viewer.layers[ACCEPTED]
    return layer.data[0] if layer.multiscale else layer.data


def test_many_objects_are_counted_and_not_listed(viewer, binding):
    viewer.add_image(np.zeros((450, 450), np.uint8))
    corners = [(y, x) for y in range(0, 450, 10) for x in range(0, 450, 10)]

    said = accept(binding, *[(y, x, y + 6, x + 6) for y, x in corners])

    assert said == "Accepted 2 025 objects. Ready for the next object."
    assert len(np.unique(accepted_of(viewer))) == 2026
    assert accept(binding, (8, 8, 10, 10)) == "Accepted: object 2026. Ready for the next object."


def test_a_stack_beyond_two_gigabytes(viewer, binding):
    image = da.zeros((40, 4000, 4000), np.uint8, chunks=(1, 1000, 1000))
    viewer.add_image(image, name="movie", contrast_limits=(0, 255))
    viewer.dims.set_point(0, 7)

    said = accept(binding, (100, 200, 140, 260), (90, 90, 95, 95), plane=(7,))

    assert said.startswith("Accepted: objects 1, 2.")
    assert "temporary folder" in said
    layer = viewer.layers[ACCEPTED]
    assert isinstance(layer.data, zarr.Array)
    assert layer.data.shape == image.shape
    assert (layer.data[7, 100, 200], layer.data[7, 94, 94], layer.data[7, 95, 95]) == (1, 2, 0)
    assert layer.data[7].astype(bool).sum() == 40 * 60 + 25
    assert layer.data.nchunks_initialized == 1
    folder = label_storage.label_folder(layer.data)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    viewer.layers.remove(layer)
    del layer
    gc.collect()
    assert not folder.exists()


@pytest.fixture
def small_memory(monkeypatch):
    """Whatever is larger than 1000 bytes does not fit into memory."""
    monkeypatch.setattr(label_storage, "IN_MEMORY", 1000)


@pytest.mark.usefixtures("small_memory")
def test_undo_redo_and_the_next_number_on_disk(viewer, binding):
    viewer.add_image(np.zeros((3, 50, 60), np.uint8))
    viewer.dims.set_point(0, 1)
    accept(binding, (10, 10, 20, 20), plane=(1,))
    accept(binding, (15, 15, 30, 30), plane=(1,))
    labels = accepted_of(viewer)
    both = np.array(labels)
    # What is accepted is not painted over.
    assert (labels[1, 15, 15], labels[1, 20, 20], labels[1, 29, 29]) == (1, 2, 2)

    binding.session.undo()
    assert np.unique(labels[...]).tolist() == [0, 1]
    binding.session.redo()
    np.testing.assert_array_equal(labels[...], both)
    binding.session.undo()
    binding.session.undo()
    binding.session.undo()
    binding.session.undo()
    assert not labels[...].any()
    assert labels.nchunks_initialized == 0
    assert accept(binding, (0, 0, 5, 5), plane=(1,)).startswith("Accepted: object 1.")

    labels[2, 40, 40] = 40  # by a script
    assert accept(binding, (40, 40, 45, 45), plane=(1,)).startswith("Accepted: object 41.")


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("swapped", [False, True])
def test_a_large_plane_is_shown_by_smaller_levels_that_follow(
    viewer, binding, monkeypatch, swapped
):
    monkeypatch.setattr(label_storage, "LARGE_PLANE", 2000)
    shape = (2000, 3001) if not swapped else (3001, 2000)
    layer = Image(np.zeros(shape, np.uint8))
    viewer.add_layer(layer)
    if swapped:
        viewer.dims.order = (1, 0)
    accept(binding, (100, 200, 500, 900), (501, 901, 777, 1999))

    accepted = viewer.layers[ACCEPTED]
    assert accepted.multiscale
    largest, *smaller = accepted.data
    assert [level.shape for level in smaller] == [
        tuple(-(-size // 2**step) for size in shape) for step in (1, 2)
    ]
    for step, level in enumerate(smaller, 1):
        np.testing.assert_array_equal(level[...], largest[:: 2**step, :: 2**step])
    assert len(np.unique(largest[...])) == 3
    binding.session.undo()
    assert not any(level[...].any() for level in accepted.data)
    assert accept(binding, (0, 0, 9, 9)).startswith("Accepted: object 1.")
    assert viewer.layers[ACCEPTED] is accepted
    assert key_of(layer) == accepted.metadata["sam3_image"]


def test_undo_and_redo_say_that_the_accepted_labels_were_deleted(viewer, binding):
    viewer.add_image(np.zeros((50, 60), np.uint8))
    show(binding, [Region(10, 10, 20, 20)])
    binding.session.accept()
    viewer.layers.remove(ACCEPTED)

    binding.session.undo()
    assert binding.model.message.text == (
        "The step is taken back. Its accepted labels were deleted before."
    )
    binding.session.redo()
    assert binding.model.message.level is Level.WARNING
    assert "was deleted, so these objects are not in it again" in binding.model.message.text
    assert ACCEPTED not in viewer.layers

"""Accepting: many objects, labels that are too large for memory, and layers that were deleted."""

import contextlib
import gc
import os
import queue
import stat
import sys
import threading
from functools import partial
from itertools import zip_longest

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Image
from napari.layers._source import layer_source

from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.masks.merge import AcceptRequest
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation, paint_labels
from napari_sam3_assistant.errors import MaskError, PromptError
from napari_sam3_assistant.io.ome_zarr_labels import open_levels
from napari_sam3_assistant.io.provenance import (
    ProvenanceRecord,
    provenance_path,
    read_provenance,
    write_provenance,
)
from napari_sam3_assistant.mask_operations.binding import mask_binding_for
from napari_sam3_assistant.session import label_storage
from napari_sam3_assistant.session.layer_files import entries_of, saved_features
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import KeptPlace, Level, Preview
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.label_pixels import is_locked
from napari_sam3_assistant.viewer.roles import key_of
from napari_sam3_assistant.workflows.edit_masks import accept as accept_objects
from napari_sam3_assistant.workflows.edit_masks import write_accepted

ACCEPTED = "SAM3 live accepted labels"
SMALL = 1000
"""Bytes: whatever is larger does not fit into memory."""
MADE_BY = Provenance("builtin", "Built-in", "1", "cpu", 0.35)


class Calls:
    """What the worker wants to have done on the thread of the test; it can be held back."""

    def __init__(self):
        self._calls = queue.SimpleQueue()
        self._passes = None
        self._held = threading.Event()

    def __call__(self, call):
        self._calls.put(call)
        if self._passes is not None and not self._passes.acquire(blocking=False):
            self._held.set()
            assert self._passes.acquire(timeout=240)

    def hold(self, after):
        """Have the worker wait when it has told something so many times more."""
        self._held.clear()
        self._passes = threading.Semaphore(after)

    def let_go(self):
        passes, self._passes = self._passes, None
        passes.release()

    def settle(self, binding):
        """Do what comes until nothing runs, and return what is said."""
        while binding.model.running or not self._calls.empty():
            self._calls.get(timeout=240)()
        return binding.model.message.text

    def settle_held(self, binding):
        """Do what comes until the worker waits, or has nothing more to tell."""
        while not self._calls.empty() or (binding.model.running and not self._held.is_set()):
            with contextlib.suppress(queue.Empty):
                self._calls.get(timeout=0.05)()


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def binding(viewer, calls):
    bound = binding_for(viewer, calls, MemorySettings())
    bound.settle = partial(calls.settle, bound)
    yield bound
    bound.close()


def show(binding, regions, plane=(), stable=()):
    """Show squares as the preview of a plane of the chosen image."""
    objects = tuple(
        ObjectRecord(number, np.ones(region.shape, bool), region, 0.5, stability=stability)
        for number, (region, stability) in enumerate(zip_longest(regions, stable), 1)
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
    return binding.settle()


def accepted_of(viewer):
    layer = viewer.layers[ACCEPTED]
    return layer.data[0] if layer.multiscale else layer.data


def test_how_stable_an_object_is_goes_with_it_into_files_and_back(viewer, binding, tmp_path):
    viewer.add_image(np.zeros((60, 60), np.uint8), name="cells")
    show(binding, [Region(5, 5, 15, 15), Region(5, 30, 15, 40)], stable=(0.97, None))
    binding.session.accept()
    binding.settle()
    accept(binding, (40, 40, 50, 50))

    layer = viewer.layers[ACCEPTED]
    np.testing.assert_array_equal(layer.features["stability"], [0.97, np.nan, np.nan])
    place = KeptPlace(binding.adapter.displayed(binding.model.image).target)
    kept = binding.adapter.accepted.objects(place)
    assert [one.stability for one in kept.values()] == [0.97, None, None]
    corrected = binding.session.correcting.read_accepted(place, 1)
    assert (corrected.score, corrected.stability) == (0.5, 0.97)

    columns = {name: list(layer.features[name]) for name in layer.features}
    note = ProvenanceRecord((), PromptSet(), 0.0, MADE_BY, objects=tuple(entries_of(columns)))
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, layer.data)
    write_provenance(path, note)
    told = read_provenance(provenance_path(path)).objects
    assert [one.get("stability") for one in told] == [0.97, None, None]
    np.testing.assert_array_equal(saved_features(path)["stability"], [0.97, np.nan, np.nan])
    # A layer of these labels, opened by napari, accepted anew.
    viewer.layers.remove(layer)
    opened = viewer.add_labels(tifffile.imread(path), features=saved_features(path))
    binding.session.use_labels.accept(key_of(opened))
    binding.settle()
    features = viewer.layers[ACCEPTED].features
    np.testing.assert_array_equal(features["stability"], [0.97, np.nan, np.nan])


def test_many_objects_are_counted_and_not_listed(viewer, binding):
    viewer.add_image(np.zeros((450, 450), np.uint8))
    corners = [(y, x) for y in range(0, 450, 10) for x in range(0, 450, 10)]

    said = accept(binding, *[(y, x, y + 6, x + 6) for y, x in corners])

    assert said == "Accepted 2 025 objects. Ready for the next object."
    assert len(np.unique(accepted_of(viewer))) == 2026
    assert accept(binding, (8, 8, 10, 10)) == "Accepted: object 2026. Ready for the next object."


def test_a_stack_beyond_two_gigabytes(viewer, binding, when_collected):
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
    when_collected(lambda: not folder.exists())


def step(binding, *verbs):
    for verb in verbs:
        getattr(binding.session, verb)()
        binding.settle()


def test_what_is_refused_while_a_run_goes_on_changes_nothing(viewer, binding):
    binding.adapter.accepted.in_memory = SMALL
    viewer.add_image(np.zeros((3, 50, 60), np.uint8))
    show(binding, [Region(10, 10, 20, 20)], plane=(1,))
    binding.model.running = True
    before = list(viewer.layers)
    with pytest.raises(PromptError, match="A run is going on"):
        binding.session.accept()
    assert list(viewer.layers) == before
    binding.model.running = False


def test_undo_redo_and_the_next_number_on_disk(viewer, binding):
    binding.adapter.accepted.in_memory = SMALL
    viewer.add_image(np.zeros((3, 50, 60), np.uint8))
    viewer.dims.set_point(0, 1)
    accept(binding, (10, 10, 20, 20), plane=(1,))
    accept(binding, (15, 15, 30, 30), plane=(1,))
    labels = accepted_of(viewer)
    both = np.array(labels)
    # What is accepted is not painted over.
    assert (labels[1, 15, 15], labels[1, 20, 20], labels[1, 29, 29]) == (1, 2, 2)

    step(binding, "undo")
    assert np.unique(labels[...]).tolist() == [0, 1]
    assert binding.model.message.text == "The last step is taken back."
    step(binding, "redo")
    np.testing.assert_array_equal(labels[...], both)
    step(binding, "undo", "undo", "undo", "undo")
    assert not labels[...].any()
    assert labels.nchunks_initialized == 0
    assert accept(binding, (0, 0, 5, 5), plane=(1,)).startswith("Accepted: object 1.")

    labels[2, 40, 40] = 40  # by a script
    assert accept(binding, (40, 40, 45, 45), plane=(1,)).startswith("Accepted: object 41.")


@pytest.mark.parametrize("swapped", [False, True])
def test_a_large_plane_is_shown_by_smaller_levels_that_follow(viewer, binding, swapped):
    binding.adapter.accepted.in_memory = SMALL
    shape = (2000, 4097) if not swapped else (4097, 2000)
    layer = Image(np.zeros(shape, np.uint8))
    viewer.add_layer(layer)
    if swapped:
        viewer.dims.order = (1, 0)
    accept(binding, (100, 200, 500, 900), (501, 901, 777, 1999))

    accepted = viewer.layers[ACCEPTED]
    assert accepted.multiscale
    largest, *smaller = accepted.data
    assert [level.shape for level in smaller] == [
        tuple(-(-size // 2**step) for size in shape) for step in (1, 2, 3)
    ]
    for step, level in enumerate(smaller, 1):
        np.testing.assert_array_equal(level[...], largest[:: 2**step, :: 2**step])
    assert len(np.unique(largest[...])) == 3
    binding.session.undo()
    binding.settle()
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
        "The step is taken back. Its accepted labels were deleted or replaced before."
    )
    binding.session.redo()
    assert binding.model.message.level is Level.WARNING
    assert (
        "was deleted or replaced, so these objects are not in it again"
        in binding.model.message.text
    )
    assert ACCEPTED not in viewer.layers


@pytest.fixture
def opened(viewer, binding, tmp_path):
    """Open an image from a file, of which the labels do not fit into memory."""
    binding.adapter.accepted.in_memory = SMALL

    def open_it(folder=tmp_path, shape=(60, 80)):
        tifffile.imwrite(
            folder / "cells.ome.tif",
            np.zeros(shape, np.uint8),
            metadata={
                "axes": "YX",
                "PhysicalSizeX": 0.25,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": 0.5,
                "PhysicalSizeYUnit": "µm",
            },
        )
        with layer_source(path=str(folder / "cells.ome.tif")):
            layer = viewer.add_image(tifffile.imread(folder / "cells.ome.tif"), name="cells")
        layer.scale, layer.units = (0.5, 0.25), ("um", "um")
        return layer

    return open_it


def test_beside_the_file_of_their_image_they_stay(viewer, binding, opened, tmp_path):
    opened()
    (tmp_path / "cells_accepted.ome.zarr").mkdir()  # somebody else's
    (tmp_path / "cells_accepted.ome.zarr" / "mine").touch()
    said = accept(binding, (10, 20, 30, 50))
    folder = tmp_path / "cells_accepted_02.ome.zarr"
    assert said == (
        f"Accepted: object 1. Ready for the next object. They are in {folder}, which stays."
    )
    accept(binding, (40, 20, 50, 50), (0, 0, 5, 5))
    labels = np.array(accepted_of(viewer))
    assert [int((labels == id_).sum()) for id_ in (1, 2, 3)] == [600, 300, 25]
    viewer.layers.clear()
    gc.collect()
    stored = zarr.open_group(str(folder), mode="r")
    np.testing.assert_array_equal(stored["0"][...], labels)
    (described,) = stored.attrs["multiscales"]
    assert [axis["name"] for axis in described["axes"]] == ["y", "x"]
    assert {axis["unit"] for axis in described["axes"]} == {"micrometer"}
    assert described["datasets"][0]["coordinateTransformations"][0]["scale"] == [0.5, 0.25]
    assert [path.name for path in (tmp_path / "cells_accepted.ome.zarr").iterdir()] == ["mine"]


def test_an_empty_folder_goes_with_its_layer(viewer, binding, opened, tmp_path, when_collected):
    opened()
    accept(binding, (10, 20, 30, 50))
    folder = tmp_path / "cells_accepted.ome.zarr"
    step(binding, "undo")
    assert folder.is_dir()
    viewer.layers.clear()
    when_collected(lambda: not folder.exists())


def find(binding, disc):
    """Click on the disc of the image that is open, and run."""
    viewer = binding.viewer
    viewer.layers["cells"].data = disc
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((20, 30))
    binding.session.run()
    binding.settle()
    return binding.model.preview


@pytest.mark.parametrize("after", range(7))
def test_cancelled_at_any_moment_nothing_or_all_is_there(
    viewer, binding, opened, calls, disc, after
):
    opened(shape=disc.shape)
    accept(binding, (2, 2, 9, 9))
    before = np.array(accepted_of(viewer))
    preview = find(binding, disc)
    calls.hold(after)
    binding.session.accept()
    calls.settle_held(binding)
    binding.session.cancel()
    calls.let_go()
    said = binding.settle()
    labels = np.array(accepted_of(viewer))
    assert not is_locked(viewer.layers[ACCEPTED])
    if said == "Cancelled; nothing was accepted.":
        np.testing.assert_array_equal(labels, before)
        assert binding.model.previews == (preview,)
        assert len(viewer.layers["SAM3 points"].data) == 1
        assert binding.model.kept == 1
    else:
        assert said.startswith("Accepted: object 2.")
        assert (labels == 2).sum() == preview.segmentation.objects[0].area
        assert binding.model.previews == ()
    step(binding, "undo")
    np.testing.assert_array_equal(np.array(accepted_of(viewer)), before)


def test_what_comes_meanwhile_waits_or_says_so(viewer, binding, opened, calls, disc):
    opened(shape=disc.shape)
    viewer.layers["cells"].data = disc
    show(binding, [Region(0, 0, 6, 6)])
    calls.hold(2)
    binding.session.accept()
    calls.settle_held(binding)
    layer = viewer.layers[ACCEPTED]
    assert binding.model.running
    assert not layer.editable
    for verb in (binding.session.undo, binding.session.redo, binding.session.accept):
        with pytest.raises(PromptError):
            verb()
    masks = mask_binding_for(viewer, calls)
    masks.model.target = key_of(layer)
    with pytest.raises(MaskError, match=r"is still being written\. Wait a moment."):
        masks.adapter.take_snapshot(key_of(layer), editable=True)
    masks.close()
    # The next click and its run: they come after it.
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((20, 30))
    binding.session.run()
    calls.let_go()
    binding.settle()
    assert np.unique(accepted_of(viewer)).tolist() == [0, 1]
    assert layer.editable
    assert len(binding.model.preview.segmentation.objects) == 1
    assert len(viewer.layers["SAM3 points"].data) == 1
    step(binding, "accept", "undo")
    assert np.unique(accepted_of(viewer)).tolist() == [0, 1]


def test_closing_the_widget_waits_for_what_is_written(viewer, binding, opened, calls):
    opened()
    show(binding, [Region(10, 20, 30, 50)])
    calls.hold(2)
    binding.session.accept()
    calls.settle_held(binding)
    binding.close()
    calls.let_go()
    binding.settle()
    layer = viewer.layers[ACCEPTED]
    assert int((np.array(layer.data) == 1).sum()) == 600
    assert layer.features["index"].tolist() == [1]
    assert not is_locked(layer)


@pytest.mark.parametrize("pages", [0, 1])
def test_a_full_disk_changes_nothing_and_the_preview_comes_back(
    viewer, binding, opened, disks, disc, tmp_path, pages
):
    folder = tmp_path / "disk"
    folder.mkdir()
    with disks.small_disk(folder, 200):
        opened(folder, disc.shape)
        accept(binding, (2, 2, 9, 9))
        before = np.array(accepted_of(viewer))
        preview = find(binding, disc)
        free = os.statvfs(folder).f_bavail
        (folder / "filler").write_bytes(bytes((free - pages) * os.statvfs(folder).f_bsize))
        binding.session.accept()
        said = binding.settle()
        assert "can't be written: No space left on device" in said
        assert binding.model.message.level is Level.ERROR
        assert binding.model.previews == (preview,)
        np.testing.assert_array_equal(np.array(accepted_of(viewer)), before)
        (folder / "filler").unlink()
        binding.session.accept()
        assert binding.settle().startswith("Accepted: object 2.")
        viewer.layers.clear()


KILLED = """
import os, signal, sys
import numpy as np
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.masks.merge import AcceptRequest
from napari_sam3_assistant.io.ome_zarr_labels import create_ome_zarr
from napari_sam3_assistant.workflows.edit_masks import accept

class Reporter:
    written = 0
    def check(self): pass
    def report(self, progress):
        self.written += progress.message == "Writing the change"
        if self.written == 2:
            os.kill(os.getpid(), signal.SIGKILL)

labels = create_ome_zarr(sys.argv[1], make_axes((1400, 1400)))
mask = np.ones((1300, 1300), bool)
request = AcceptRequest(labels, (), (((slice(9, 1309), slice(9, 1309)), mask),), lambda _: 0)
list(accept([request], Reporter()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signal")
@pytest.mark.parametrize("forward", [True, False], ids=["finish", "take back"])
def test_what_a_killed_process_has_begun_is_offered_when_it_is_opened(
    bench, killed, tmp_path, forward
):
    folder = tmp_path / "cells_accepted.ome.zarr"
    killed.run_and_kill(KILLED, folder)
    (labels,) = open_levels(folder, writable=True)
    assert 0 < np.count_nonzero(labels) < 1300 * 1300
    layer = bench.viewer.add_labels(labels, name="kept")
    bench.model.target = bench.key(layer)
    assert bench.model.unfinished.startswith("“accept objects” was stopped half-way")
    (bench.cleanup.finish if forward else bench.cleanup.take_back)()
    bench.settle()
    assert np.count_nonzero(labels) == (1300 * 1300 if forward else 0)


@given(st.integers(0, 2**32 - 1))
def test_random_objects_become_the_next_labels_on_empty_pixels_only(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, (3, 30, 40), endpoint=True).tolist())
    before = rng.choice([0, 0, 0, 3, 9], shape).astype(np.uint32)
    objects = []
    for _ in range(rng.integers(1, 6)):
        low = [int(rng.integers(0, size)) for size in shape]
        where = tuple(
            slice(at, int(rng.integers(at, size)) + 1) for at, size in zip(low, shape, strict=True)
        )
        objects.append((where, rng.random([side.stop - side.start for side in where]) < 0.7))
    wanted = before.copy()
    value = int(before.max())
    for where, mask in objects:
        free = mask & (before[where] == 0)
        new = len(objects) == 1 or 2 * free.sum() >= mask.sum()
        if new and free.any():
            value += 1
            wanted[where][free] = value
    labels = before.copy()
    if rng.random() < 0.5:
        path = tmp_path_factory.mktemp("labels")
        chunks = tuple(min(size, 7) for size in shape)
        labels = zarr.create_array(str(path), shape=shape, chunks=chunks, dtype="uint32")
        labels[...] = before
    request = AcceptRequest(labels, (), tuple(objects), lambda one: int(np.max(one[...])))
    try:
        ((found,),) = accept_objects([request], NullReporter())
    except PromptError:
        assert value == int(before.max())
        return
    np.testing.assert_array_equal(labels[...], wanted)
    assert found.ids == tuple(range(int(before.max()) + 1, value + 1))
    assert found.areas == tuple(int((wanted == id_).sum()) for id_ in found.ids)
    steps = [(request, found.edit)]
    list(write_accepted(steps, NullReporter(), forward=False))
    np.testing.assert_array_equal(labels[...], before)
    list(write_accepted(steps, NullReporter(), forward=True))
    np.testing.assert_array_equal(labels[...], wanted)


def test_what_was_accepted_is_not_accepted_again_by_finding_all(viewer, binding):
    viewer.add_image(np.zeros((60, 60), np.uint8), name="cells")
    accept(binding, (10, 10, 20, 20))
    # All that a phrase names: the first one once more, a little larger, a neighbour that touches
    # it, and another one far away.
    said = accept(binding, (9, 9, 21, 21), (18, 10, 30, 20), (40, 40, 50, 50))
    labels = viewer.layers[ACCEPTED].data
    assert np.bincount(labels.ravel())[1:].tolist() == [100, 100, 100]
    assert said == (
        "Accepted: objects 2, 3. 1 object left out: accepted before. Ready for the next object."
    )
    binding.session.undo()
    assert np.unique(viewer.layers[ACCEPTED].data).tolist() == [0, 1]


def test_a_single_object_is_accepted_wherever_it_is_free(viewer, binding):
    viewer.add_image(np.zeros((60, 60), np.uint8), name="cells")
    accept(binding, (10, 10, 20, 20))
    assert accept(binding, (9, 9, 21, 21)).startswith("Accepted: object 2.")
    assert np.bincount(viewer.layers[ACCEPTED].data.ravel())[1:].tolist() == [100, 44]

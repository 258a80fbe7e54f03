"""What is written as one works: small, complete up to a kill, and bounded."""

import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from napari.layers._source import layer_source
from zarr.storage import LocalStore, MemoryStore

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
saved = import_module("saved_sessions")
scripted = import_module("scripted_session")

from faulty_disks import small_disk  # noqa: E402
from napari_sam3_assistant.core.prompts import Task  # noqa: E402
from napari_sam3_assistant.io import session_arrays, session_folder, session_lock, session_pixels  # noqa: E402
from napari_sam3_assistant.io.images import read_image  # noqa: E402
from napari_sam3_assistant.io.session_folder import FORMAT, is_session, read_session  # noqa: E402
from napari_sam3_assistant.session import journaling  # noqa: E402
from napari_sam3_assistant.session.values import Message  # noqa: E402
from napari_sam3_assistant.viewer import label_pixels  # noqa: E402
from napari_sam3_assistant.viewer.label_pixels import (  # noqa: E402
    edits_of,
    redraw,
    redraw_in_parts,
    refresh,
)


@pytest.fixture
def binding(tmp_path):
    bound = saved.new_binding()
    bound.session.journaling.start(tmp_path / "journals")
    yield bound
    bound.close()


def left_by_a_kill(folder):
    """Make a journal look as if its process were gone."""
    lock = folder / "open.lock"
    machine, _, token = lock.read_text().split("-")
    lock.write_text(f"{machine}-999999999-{token}")


def go_on(root):
    again = saved.new_binding()
    again.session.journaling.start(root)
    (left,) = again.session.journaling.left()
    opened = threading.Event()
    again.session.opening.opened.connect(lambda _: opened.set())
    again.session.journaling.go_on(left)
    assert opened.wait(240)
    return again


def come_back(binding, folder):
    """Go on in another viewer after a kill, where all is the same."""
    before = saved.facts(binding)
    left_by_a_kill(folder)
    again = go_on(folder.parent)
    saved.assert_same(before, saved.facts(again))
    return again


def write_down(binding):
    binding.session.journaling.finish()
    return binding.session.journaling.folder


def test_nothing_is_written_until_there_is_something_to_lose(binding, tmp_path):
    binding.viewer.add_image(np.zeros((20, 30), np.uint8), name="image")
    assert write_down(binding) is None
    assert not (tmp_path / "journals").exists()


def test_what_is_computed_when_looked_at_is_not_copied(binding, tmp_path):
    read = []

    def block(block_id):
        read.append(block_id)
        return np.full((1, 64, 64), 90, np.uint8)

    stack = da.map_blocks(block, dtype=np.uint8, chunks=((1,) * 9, (64, 64), (64, 64)))
    binding.viewer.add_image(stack, name="computed", contrast_limits=(0, 255), cache=False)
    binding.viewer.add_labels(stack.astype(np.int32), name="labels", cache=False)
    accepted = binding.viewer.add_labels(np.ones((128, 128), np.uint8), name="mine")
    binding.prompts.arm()
    points = next(one for one in binding.viewer.layers if one.name == "SAM3 points")
    points.add((4.0, 20.0, 20.0))
    read.clear()

    folder = write_down(binding)

    assert read == []
    left_by_a_kill(folder)
    again = go_on(tmp_path / "journals")
    names = [layer.name for layer in again.viewer.layers]
    assert accepted.name in names
    assert "computed" not in names


def write_pyramid(path):
    pixels = np.arange(80 * 90 * 3).reshape(80, 90, 3).astype(np.uint8)
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, subifds=1, tile=(16, 16), photometric="rgb")
        writer.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16), photometric="rgb")
    return pixels


@pytest.mark.usefixtures("napari_reads")  # which reads one size of it, and that whole
def test_what_is_done_on_a_slide_that_is_read_piece_by_piece_is_written(binding, tmp_path):
    """Its pixels are zarr arrays in a TIFF file, which is no folder."""
    pixels = write_pyramid(tmp_path / "slide.tif")
    loaded = read_image(tmp_path / "slide.tif", lazy_bytes=0)
    with layer_source(path=str(tmp_path / "slide.tif")):
        image = binding.viewer.add_image(list(loaded.levels), name="slide", rgb=True)
    assert not isinstance(image.data[0].store, LocalStore)
    # None of their folders, and no file, can be referred to.
    store = MemoryStore()
    labels = zarr.create_array(store, shape=(80, 90), chunks=(20, 20), dtype="uint16")
    labels[10:20, 30:40] = 7
    binding.viewer.add_labels(labels, name="mine")
    binding.prompts.arm()
    next(one for one in binding.viewer.layers if one.name == "SAM3 points").add((20.0, 30.0))

    folder = write_down(binding)

    left_by_a_kill(folder)
    layers = {layer.name: layer for layer in go_on(tmp_path / "journals").viewer.layers}
    assert len(layers["SAM3 points"].data) == 1
    np.testing.assert_array_equal(layers["slide"].data[0], pixels)
    np.testing.assert_array_equal(layers["mine"].data, labels[:])


WRITTEN_BY = {
    "napari's undo": lambda layer: layer.undo(),
    "and its redo": lambda layer: [layer.undo(), layer.redo(), layer.undo(), layer.redo()],
    "a brush of three dimensions": lambda layer: _paint_ball(layer, (2, 20, 20)),
    "a script": lambda layer: _write(layer, (2, slice(5, 9), slice(5, 9))),
}


def _paint_ball(layer, centre):
    layer.n_edit_dimensions = 3
    layer.paint(centre, 4)


def _write(layer, where):
    layer.data[where] = 5
    layer.refresh()


def test_what_napari_draws_no_part_of_is_written_down_too(binding, tmp_path):
    layers = {}
    for name in WRITTEN_BY:
        layers[name] = layer = binding.viewer.add_labels(np.zeros((5, 40, 50), np.uint8), name=name)
        layer.brush_size = 7
        layer.paint((0, 10, 10), 2)
        layer.paint((0, 12, 30), 3)
    write_down(binding)
    for name, write in WRITTEN_BY.items():
        write(layers[name])

    come_back(binding, write_down(binding))


def test_drawing_again_what_nobody_has_written_writes_nothing(binding, monkeypatch):
    layer = binding.viewer.add_labels(np.ones((5, 40, 50), np.uint8))
    write_down(binding)
    binding.viewer.dims.set_current_step(0, 3)
    layer.contour = 1
    layer.visible = False
    layer.visible = True
    layer.scale = (2, 1, 1)
    refresh(layer)
    assert binding.adapter.saved.take_written() == {}
    # Mask Operations draw a large change part by part.
    monkeypatch.setattr(label_pixels, "PART_PIXELS", 500)
    list(redraw_in_parts(binding.viewer, layer, (slice(0, 5), slice(0, 40), slice(0, 50))))
    (boxes,) = binding.adapter.saved.take_written().values()
    assert len(boxes) == 1


def test_what_a_script_writes_after_labels_were_hidden_is_written_down(binding):
    layer = binding.viewer.add_labels(np.ones((5, 40, 50), np.uint8))
    write_down(binding)
    layer.visible = False
    layer.visible = True
    assert binding.adapter.saved.take_written() == {}
    layer.data[2, 3, 4] = 5
    layer.refresh()
    assert list(binding.adapter.saved.take_written().values()) == [None]


def test_a_journal_goes_on_where_it_stopped_and_is_small(binding, tmp_path):
    scripted.begin(binding)
    for number in range(6):
        scripted.act(binding, number)
    folder = write_down(binding)
    sizes = {}
    for what, do in scripted.ACTS.items():
        before = binding.session.journaling.written
        do(binding, np.random.default_rng(3))
        write_down(binding)
        sizes[what] = binding.session.journaling.written - before
    # Bytes, of an image with some tens of objects.
    assert sizes["click"] < 3_000
    assert sizes["paint"] < 20_000
    assert max(sizes.values()) < 60_000, sizes
    again = come_back(binding, folder)
    # It goes on, in the same journal.
    scripted.act(again, 7)
    assert write_down(again) == folder
    third = come_back(again, folder)
    third.close()
    again.close()


def test_a_journal_does_not_grow_beyond_a_bound(binding, tmp_path):
    binding.session.journaling.most_bytes = 20_000
    scripted.begin(binding)
    largest = 0
    for number in range(30):
        scripted.act(binding, number)
        folder = write_down(binding)
        largest = max(largest, (folder / "journal.log").stat().st_size)
    assert largest < 80_000
    for number in range(20):
        binding.viewer.add_labels(np.full((500, 500), number + 1, np.uint16), name="one of many")
        folder = write_down(binding)
        binding.viewer.layers.remove("one of many")
        scripted.act(binding, number)
    write_down(binding)
    assert len(list((folder / "arrays").iterdir())) < 15
    come_back(binding, folder).close()


@pytest.mark.parametrize("slices", [1, 40])
def test_a_change_of_any_size_is_there_again(binding, tmp_path, monkeypatch, slices):
    # As 128 million pixels and 512 MB are: a record of more is refused as a stranger's.
    monkeypatch.setattr(journaling, "_MOST_PIXELS", 1 << 18)
    monkeypatch.setattr(session_folder, "LARGEST_CHUNK", 1 << 21)
    labels = binding.viewer.add_labels(np.zeros((40, 200, 200), np.uint16), name="mine")
    labels.data[0, :5, :5] = 1
    redraw(labels, (slice(0, 1), slice(0, 5), slice(0, 5)))
    write_down(binding)
    labels.data[:slices, 1:-1, 1:-1] = 7

    box = (slice(0, slices), slice(1, 199), slice(1, 199))
    redraw(labels, box)
    edits_of(binding.viewer).edited.emit(labels, box)

    left_by_a_kill(write_down(binding))
    again = go_on(tmp_path / "journals")
    np.testing.assert_array_equal(again.viewer.layers["mine"].data, labels.data)
    assert again.session.opening.problems == ()
    again.close()


def test_what_is_saved_leaves_no_journal_and_what_is_not_stays(binding, tmp_path):
    scripted.begin(binding)
    scripted.act(binding, 0)
    folder = write_down(binding)
    assert is_session(folder)
    saved.save(binding, tmp_path / "work")
    binding.viewer.dims.ndisplay = 3  # the view alone is no work
    binding.viewer.dims.ndisplay = 2
    binding.session.journaling.close()
    assert not folder.exists()
    other = saved.new_binding()
    other.session.journaling.start(tmp_path / "journals")
    scripted.begin(other)
    scripted.act(other, 0)
    folder = write_down(other)
    other.close()  # not saved: napari was closed by mistake
    assert journaling.find_left(tmp_path / "journals") == [folder]
    again = go_on(tmp_path / "journals")
    assert len(again.viewer.layers["SAM3 points"].data) == 1
    again.close()


def test_a_session_that_is_saved_after_a_kill_needs_no_journal(binding, tmp_path, monkeypatch):
    """Large labels are in the journal then, which goes at the end."""
    monkeypatch.setattr(session_pixels, "LAZY_BYTES", 1000)
    labels = binding.viewer.add_labels(np.zeros((90, 120), np.uint32), name="mine")
    binding.session.journaling.tick()
    labels.data_setitem((np.arange(5), np.arange(5)), 3)
    left_by_a_kill(write_down(binding))
    again = go_on(tmp_path / "journals")
    saved.save(again, tmp_path / "work")
    again.close()
    third = saved.open_in_new(tmp_path / "work.sam3session")
    np.testing.assert_array_equal(third.viewer.layers["mine"].data, labels.data)
    third.close()
    # Of the dock alone that was closed: the layers stay for as long as napari runs.
    np.testing.assert_array_equal(again.viewer.layers["mine"].data, labels.data)
    docked = saved.new_binding(again.viewer)
    docked.session.journaling.start(tmp_path / "journals")
    assert docked.session.journaling.left() == []
    saved.save(docked, tmp_path / "later")
    docked.close()
    (rest,) = (tmp_path / "journals").iterdir()
    left_by_a_kill(rest)
    assert journaling.find_left(tmp_path / "journals") == []
    assert not rest.exists()
    third = saved.open_in_new(tmp_path / "later.sam3session")
    np.testing.assert_array_equal(third.viewer.layers["mine"].data, labels.data)
    third.close()


def test_nothing_is_saved_in_a_journal_that_is_opened_as_a_session(binding, tmp_path):
    """It goes at the end, and what was saved in it, too."""
    scripted.begin(binding)
    scripted.act(binding, 0)
    folder = write_down(binding)
    left_by_a_kill(folder)
    again = saved.open_in_new(folder)
    assert again.session.storing.folder is None
    again.close()


def test_what_was_killed_before_it_was_a_journal_takes_no_room(tmp_path):
    rest = tmp_path / "2026-11-26-120003-a.sam3session"
    session_folder.make_folder(rest)
    session_lock.take_folder(rest, "a")
    session_arrays.write_array(rest, np.ones((9, 9), np.uint32))
    assert journaling.find_left(tmp_path) == []
    assert rest.exists()  # it is being written
    left_by_a_kill(rest)
    assert journaling.find_left(tmp_path) == []
    assert not rest.exists()


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_journal_whose_removal_is_killed_is_whole_or_goes_at_the_next_start(
    tmp_path, monkeypatch, is_taken
):
    folder = tmp_path / "2026-11-26-120003-a.sam3session"
    for before_kill in range(99):
        session_folder.make_folder(folder)
        session_lock.take_folder(folder, "a")
        named = {"a": session_arrays.write_array(folder, np.ones((9, 9), np.uint32))}
        session_folder.write_index(folder, {}, named)
        if not is_taken:
            session_lock.release_folder(folder, "a")
        done = []
        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            for name in ("unlink", "rmdir"):
                remove = getattr(os, name)

                def remove_or_die(*args, remove=remove, done=done, limit=before_kill, **kwargs):
                    if len(done) == limit:
                        raise KeyboardInterrupt
                    done.append(args)
                    return remove(*args, **kwargs)

                patched.setattr(os, name, remove_or_die)
            session_folder.remove_session(folder)
            break
        if (folder / "open.lock").exists():
            left_by_a_kill(folder)
        for left in journaling.find_left(tmp_path):
            assert (read_session(left).open("a")[...] == 1).all()
            shutil.rmtree(left)
        assert not folder.exists() or not list(folder.iterdir())  # takes no room
    assert before_kill > 5
    assert not folder.exists()


def test_of_two_viewers_that_are_offered_a_journal_one_goes_on_with_it(binding, tmp_path):
    scripted.begin(binding)
    scripted.act(binding, 0)
    folder = write_down(binding)
    left_by_a_kill(folder)
    slower = saved.new_binding()
    slower.session.journaling.start(tmp_path / "journals")
    assert slower.session.journaling.left() == [folder]
    again = go_on(tmp_path / "journals")
    job = slower.session.opening.open(folder, journal=True)
    assert job.wait(240)
    assert "goes on in another napari or viewer" in str(job.error)
    slower.session.journaling.discard(folder)
    slower.close()
    scripted.act(again, 1)
    assert write_down(again) == folder
    come_back(again, folder).close()
    again.session.journaling.close()


def test_of_journals_of_the_same_time_the_latest_by_name_come_first(tmp_path):
    made = [tmp_path / f"2026-11-26-1200{second:02}-a.sam3session" for second in (3, 7, 1, 5, 4, 9)]
    for folder in made:
        folder.mkdir()
        (folder / "session.json").write_text(FORMAT)
        for path in (folder / "session.json", folder):
            os.utime(path, (1e9, 1e9))

    assert journaling.find_left(tmp_path) == sorted(made, reverse=True)[:5]
    assert not made[2].exists()


def test_a_journal_that_can_not_be_opened_whole_stays(binding, tmp_path):
    scripted.begin(binding)
    scripted.act(binding, 0)
    folder = write_down(binding)
    left_by_a_kill(folder)
    session = read_session(folder)
    for stored in session.arrays.values():
        (folder / stored.path / "zarr.json").unlink()
    again = go_on(tmp_path / "journals")
    assert "Not brought back" in again.model.message.text
    scripted.begin(again)
    scripted.act(again, 0)
    assert write_down(again) != folder
    assert is_session(folder)
    assert again.session.journaling.left() == [folder]  # and may be opened once more
    again.close()


def test_a_journal_on_a_full_disk_goes_on_when_there_is_room(binding, tmp_path):
    (tmp_path / "journals").mkdir()
    with small_disk(tmp_path / "journals", 100):
        scripted.begin(binding)
        scripted.act(binding, 0)
        folder = write_down(binding)
        assert (folder / "journal.log").exists()
        noise = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
        binding.viewer.add_image(noise, name="large")
        write_down(binding)
        saved.wait_until(lambda: "Free some space" in binding.model.message.text)
        assert "save the session elsewhere" in binding.model.message.text
        # Whatever is said after it, it stays in sight.
        binding.model.message = Message("A preview is ready.")
        assert "Free some space" in binding.model.not_written
        binding.model.text = "cells"
        write_down(binding)
        assert len(read_session(folder).arrays) == 1  # the image; nothing lies about
        assert len(list((folder / "arrays").iterdir())) == 1
        # There is room again.
        binding.viewer.layers.remove("large")
        binding.session.journaling.retry_s = 0
        scripted.act(binding, 0)
        write_down(binding)
        saved.wait_until(lambda: not binding.model.not_written)
        come_back(binding, folder).close()
        binding.session.journaling.close()


def test_an_error_that_nobody_foresaw_is_told_and_the_journal_goes_on(
    binding, tmp_path, monkeypatch, caplog
):
    def fail(*_, **__):
        raise KeyError("unforeseen")

    with monkeypatch.context() as patched:
        patched.setattr(journaling, "keep_pixels", fail)
        scripted.begin(binding)
        scripted.act(binding, 0)
        write_down(binding)
        saved.wait_until(lambda: "KeyError: 'unforeseen'" in binding.model.not_written)
    assert "can't be written" in caplog.text
    binding.session.journaling.retry_s = 0
    scripted.act(binding, 0)
    folder = write_down(binding)
    saved.wait_until(lambda: not binding.model.not_written)
    come_back(binding, folder).close()
    binding.session.journaling.close()


def test_a_folder_batch_that_was_not_done_is_offered_again(binding, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", scripted.make_image())
    scan_model, model = binding.session.scan_model, binding.model
    scan_model.folder_source = str(tmp_path / "in")
    scan_model.folder_output = str(tmp_path / "out")
    model.task, model.text = Task.TEXT, "bright discs"
    assert not binding.session.folder_batch.is_left
    job = binding.session.folder_batch.run()
    job.yielded.connect(lambda _: job.cancel())
    assert job.wait(240)
    saved.wait_idle(binding)
    assert binding.session.folder_batch.is_left
    assert "Continue batch" in model.message.text
    left_by_a_kill(write_down(binding))
    again = go_on(tmp_path / "journals")
    assert f"{tmp_path / 'in'} was not done: Continue batch" in again.model.message.text
    batch = again.session.folder_batch
    assert batch.is_left
    assert batch.run().wait(240)
    saved.wait_idle(again)
    assert "2 done" in again.model.message.text
    assert "1 skipped" in again.model.message.text
    assert not batch.is_left
    again.close()


def test_after_a_kill_all_but_the_act_in_flight_is_there(tmp_path):
    status, _, states = scripted.run_killed(tmp_path, "whole", 0)
    assert status == 0
    for after in np.random.default_rng(5).uniform(0.01, 0.5, 3):
        status, root, done = scripted.run_killed(tmp_path, f"killed {after:.3f}", after)
        assert status == -signal.SIGKILL
        again = go_on(root)
        found = scripted.without_times(saved.facts(again))
        again.close()
        number = len(done)
        assert found in (states[number - 1], *states[number : number + 1]), (after, number)

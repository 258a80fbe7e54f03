"""Sessions are saved and opened in a clean viewer, and are the same, object by object."""

import json
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from skimage.draw import disk

from amounts import FEW, thorough

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
saved = import_module("saved_sessions")

from faulty_disks import locked, small_disk  # noqa: E402
from napari_sam3_assistant.core.prompts import Joining, Task, Tool  # noqa: E402
from napari_sam3_assistant.engines.checkpoints.files import MULTIPLEX_NAME  # noqa: E402
from napari_sam3_assistant.errors import ExportError, NameTaken, SessionError  # noqa: E402
from napari_sam3_assistant.session.messages import AREA  # noqa: E402
from napari_sam3_assistant.viewer.geometry import array_of  # noqa: E402
from napari_sam3_assistant.viewer.roles import Role, key_of, role_of, slot_of, with_role  # noqa: E402


def discs(shape=(96, 128), seed=0):
    """Bright discs on a dark, noisy ground, on each plane a little further down."""
    rng = np.random.default_rng(seed)
    image = rng.normal(40, 3, shape)
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    for number, plane in enumerate(image.reshape(-1, *shape[-2:])):
        for cy, cx in ((20, 30), (20, 90), (70, 30), (70, 90)):
            plane[(y - cy - number) ** 2 + (x - cx) ** 2 <= 121] += 150
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def binding():
    bound = saved.new_binding()
    yield bound
    bound.close()


def run(binding):
    job = binding.session.run()
    assert job.wait(240)
    if job.error is not None:
        raise job.error


def click(binding, *places):
    binding.prompts.arm()
    layer = next(one for one in binding.viewer.layers if one.name == "SAM3 points")
    layer.add(np.array(places, float))


def reopened(binding, tmp_path, ask=None, **options):
    before = saved.facts(binding)
    saved.save(binding, tmp_path / "work", **options)
    again = saved.open_in_new(tmp_path / "work.sam3session", ask)
    try:
        after, message = saved.facts(again), again.model.message
        steps = zip(saved.walk_steps(binding), saved.walk_steps(again), strict=True)
        for number, (mine, theirs) in enumerate(steps):
            for part, told in mine.items():
                assert theirs[part] == told, (number, part)
        return before, after, message
    finally:
        again.close()


def check_same(binding, tmp_path, **options):
    before, after, message = reopened(binding, tmp_path, **options)
    assert "Not brought back" not in message.text, message.text
    saved.assert_same(before, after)


def test_points_previews_and_accepted_objects_come_back(binding, tmp_path):
    image = binding.viewer.add_image(discs(), name="cells", scale=(0.5, 0.5), units="um")
    image.contrast_limits, image.gamma, image.colormap = (10, 180), 0.8, "magma"
    click(binding, (20, 30))
    run(binding)
    binding.session.accept()
    click(binding, (20, 90), (70, 90))
    run(binding)
    job = binding.session.measuring.measure()
    assert job.wait(240)
    binding.viewer.layers["SAM3 live accepted labels"].opacity = 0.4
    check_same(binding, tmp_path)


def test_everything_with_filters_and_hidden_objects_comes_back(binding, tmp_path):
    image = discs()
    image[40:56, 50:70] = 190  # a smaller one
    binding.viewer.add_image(image, name="cells")
    binding.model.task = Task.EVERYTHING
    run(binding)
    found = binding.model.previews[0].segmentation.objects
    binding.session.filtering.show_range(AREA, 0, min(one.area for one in found))
    assert binding.model.previews[0].hidden
    check_same(binding, tmp_path)


def test_boxes_examples_and_a_painted_mask_come_back(binding, tmp_path):
    binding.viewer.add_image(discs(), name="cells")
    binding.model.tool = Tool.BOX
    binding.prompts.arm()
    boxes = next(one for one in binding.viewer.layers if one.name == "SAM3 boxes")
    boxes.add(np.array([[8, 18], [8, 42], [32, 42], [32, 18]], float), shape_type="rectangle")
    run(binding)
    binding.model.tool = Tool.MASK
    binding.prompts.arm()
    mask = next(one for one in binding.viewer.layers if one.name == "SAM3 mask prompt")
    mask.data_setitem((np.arange(60, 80), np.full(20, 30)), 1)
    check_same(binding, tmp_path)
    binding.model.task = Task.EXEMPLAR
    run(binding)
    check_same(binding, tmp_path)


def test_a_propagation_comes_back_with_its_frames(binding, tmp_path):
    binding.viewer.add_image(discs((5, 96, 128)), name="stack", axis_labels=("z", "y", "x"))
    binding.model.task = Task.VIDEO
    binding.model.tracks_layer = True
    click(binding, (2, 20, 30), (2, 70, 90))
    run(binding)
    saved.wait_idle(binding)
    assert binding.model.propagated is not None
    before, after, message = reopened(binding, tmp_path)
    assert "Propagate Existing Session goes on" in message.text
    saved.assert_same(before, after)


def test_a_propagation_by_sam_3_1_is_said_to_start_anew(binding, tmp_path):
    """There are no weights of it here: a note of the built-in engine gets its name."""
    binding.viewer.add_image(discs((3, 96, 128)), name="stack", axis_labels=("z", "y", "x"))
    binding.model.task = Task.VIDEO
    click(binding, (1, 20, 30))
    run(binding)
    saved.wait_idle(binding)
    told = binding.session.propagation.provenance
    told.engine = replace(told.engine, weights=MULTIPLEX_NAME)
    *_, message = reopened(binding, tmp_path)
    assert "press Start 3D Propagation to look for them anew" in message.text
    assert "Propagate Existing Session goes on" not in message.text


def stop_after(binding, frames):
    """Start a propagation, and stop it after some frames."""
    seen = []
    job = binding.session.run()

    def count(item):
        seen.append(item)
        if len(seen) > frames:  # the passes come first
            job.cancel()

    job.yielded.connect(count)
    assert job.wait(240)
    saved.wait_idle(binding)


def ask_for(binding, name):
    """Ask for objects of a stack in one of the ways there are."""
    model = binding.model
    model.task = Task.VIDEO
    if name == "click":
        click(binding, (3, 23, 30))
    elif name == "phrase":
        model.tool, model.text = Tool.TEXT, "bright objects"
    elif name == "example":
        model.tool = Tool.EXAMPLE
        binding.prompts.arm()
        boxes = next(one for one in binding.viewer.layers if one.name == "SAM3 boxes")
        corners = [[3, 10, 18], [3, 10, 42], [3, 36, 42], [3, 36, 18]]
        boxes.add(np.array(corners, float), shape_type="rectangle")
    else:
        model.tool = Tool.EVERYTHING
        model.everything = replace(model.everything, joining=Joining(name))


@pytest.mark.parametrize(
    "name",
    [
        "click",
        thorough("phrase"),
        "example",
        Joining.OVERLAP,
        thorough(Joining.TIME),
        Joining.VIDEO,
    ],
)
def test_a_stopped_propagation_goes_on_where_it_stopped(binding, tmp_path, name):
    binding.viewer.add_image(discs((9, 96, 128)), name="stack", axis_labels=("z", "y", "x"))
    binding.viewer.dims.set_point(0, 3)
    ask_for(binding, name)
    stop_after(binding, 3)
    labels = binding.viewer.layers["SAM3 propagated preview labels"]
    done = np.asarray(labels.data).any(axis=(1, 2))
    assert 2 <= done.sum() < 9
    saved.save(binding, tmp_path / "work")
    again = saved.open_in_new(tmp_path / "work.sam3session")
    saved.assert_same(saved.facts(binding), saved.facts(again))
    assert "Propagate Existing Session goes on" in again.model.message.text
    assert again.model.tracked == binding.model.tracked
    for one in (binding, again):
        assert one.session.propagation.go_on().wait(240)
        saved.wait_idle(one)
        assert "Propagated: " in one.model.message.text
    mine = again.viewer.layers["SAM3 propagated preview labels"].data
    assert np.asarray(mine).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(mine, labels.data)
    if name == "click":
        # A correction is known as one, and no prompt is given twice.
        click(again, (6, 26, 30))
        assert again.session.propagation.go_on().wait(240)
        saved.wait_idle(again)
        assert [*again.session.propagation.provenance.steps[-1]["prompts"]] == ["6"]
    again.close()


@pytest.mark.parametrize("done", [3, 5])
def test_a_stopped_movie_goes_on_with_the_daughters_that_it_has(binding, tmp_path, done):
    movie = np.full((7, 100, 120), 30, np.uint8)
    for t, frame in enumerate(movie):
        apart = 10 + 2 * (t - 2)
        two = [(46, 60 - apart, 9.5), (54, 60 + apart, 9.5)]
        for y, x, radius in [(50, 60, 14)] if t < 2 else two:
            frame[disk((y, x), radius, shape=frame.shape)] = 200
    binding.viewer.add_image(movie, name="movie", axis_labels=("t", "y", "x"))
    binding.viewer.dims.set_point(0, 0)
    binding.model.task = Task.VIDEO
    click(binding, (0, 50, 60))
    stop_after(binding, done)
    saved.save(binding, tmp_path / "work")
    again = saved.open_in_new(tmp_path / "work.sam3session")
    for one in (binding, again):
        assert one.session.propagation.go_on().wait(240)
        saved.wait_idle(one)
    found, goes_on = (
        np.asarray(one.viewer.layers["SAM3 propagated preview labels"].data)
        for one in (binding, again)
    )
    np.testing.assert_array_equal(goes_on, found)
    assert len(np.unique(found[-1])) == 3
    mine, theirs = (one.session.propagation.tracks.links() for one in (again, binding))
    assert mine == theirs
    assert sorted(mine.values()) == [1, 1]
    again.close()


def test_a_stopped_propagation_goes_on_after_the_model_was_loaded(binding, tmp_path):
    """A run of another kind takes an engine, too, which knows nothing of what was opened."""
    binding.viewer.add_image(discs((9, 96, 128)), name="stack", axis_labels=("z", "y", "x"))
    binding.viewer.dims.set_point(0, 3)
    ask_for(binding, "click")
    stop_after(binding, 3)
    saved.save(binding, tmp_path / "work")
    again = saved.open_in_new(tmp_path / "work.sam3session")

    assert again.session.loading.load().wait(240)
    assert again.session.loading.unload().wait(240)

    assert again.model.can_continue
    assert again.session.propagation.go_on().wait(240)
    saved.wait_idle(again)
    labels = again.viewer.layers["SAM3 propagated preview labels"].data
    assert np.asarray(labels).any(axis=(1, 2)).all()
    again.close()


def test_accepted_objects_of_several_slices_come_back(binding, tmp_path):
    binding.viewer.add_image(discs((3, 96, 128)), name="stack")
    for plane in (0, 2):
        binding.viewer.dims.set_point(0, plane)
        click(binding, (plane, 20 + plane, 30))
        run(binding)
        binding.session.accept()
    labels = binding.viewer.layers["SAM3 live accepted labels"]
    labels.data_setitem((np.full(9, 1), np.full(9, 50), np.arange(9)), 7)  # napari's own way
    check_same(binding, tmp_path)


def test_layers_that_wait_for_an_image_become_nobodys(binding, tmp_path):
    viewer = binding.viewer
    for layer in (viewer.add_image(np.zeros((3, 40, 50)), name="stack"), viewer.add_image(discs())):
        viewer.layers.selection.active = layer
        for tool in (Tool.POINTS, Tool.BOX):
            binding.model.tool = tool
            binding.prompts.arm()
    stack = viewer.layers["stack"]
    viewer.layers.move(viewer.layers.index(stack), 0)
    binding.adapter.opened.close(key_of(stack))
    viewer.add_image(np.zeros((3, 40, 50)), name="other stack")
    in_use = {one.name for one in viewer.layers if role_of(one) is not None and slot_of(one)[0]}
    saved.save(binding, tmp_path / "a.sam3session")
    again = saved.open_in_new(tmp_path / "a.sam3session")
    try:
        ours = [one for one in again.viewer.layers if "SAM3" in one.name]
        assert all(role_of(one) is not None for one in ours)
        assert {one.name for one in ours} == in_use
        again.viewer.layers.selection.active = again.viewer.layers["other stack"]
        again.model.tool = Tool.POINTS
        again.prompts.arm()
    finally:
        again.close()


def test_words_of_no_point_stay_words(binding, tmp_path):
    layer = binding.viewer.add_points(np.empty((0, 2)), features={"kind": np.empty(0, object)})
    saved.save(binding, tmp_path / "a.sam3session")
    again = saved.open_in_new(tmp_path / "a.sam3session")
    try:
        assert again.viewer.layers[layer.name].features["kind"].dtype == object
        defaults = again.viewer.layers[layer.name].feature_defaults.copy()
        defaults["kind"] = "cell"
        again.viewer.layers[layer.name].feature_defaults = defaults
    finally:
        again.close()


def test_layers_of_the_user_come_back(binding, tmp_path):
    viewer, rng = binding.viewer, np.random.default_rng(1)
    viewer.add_image(rng.random((40, 50, 3)).astype(np.float32), name="rgb", rgb=True)
    viewer.add_image([discs(), discs()[::2, ::2]], name="pyramid", multiscale=True, rotate=20)
    viewer.add_labels(
        rng.integers(0, 5, (96, 128)), name="mine", features={"index": [1, 2], "class": ["a", None]}
    )
    viewer.add_points(
        rng.random((4, 2)) * 40, name="dots", size=[1, 2, 3, 4], features={"n": [1.5, np.nan, 2, 3]}
    )
    viewer.add_shapes([rng.random((5, 2)) * 40], shape_type="polygon", name="outline")
    viewer.add_vectors(rng.random((3, 2, 2)) * 40, name="arrows", edge_width=2)
    ways = [[1, 0, 5, 5], [1, 1, 6, 6], [2, 2, 7, 7], [2, 3, 8, 8], [3, 2, 5, 7], [3, 3, 4, 8]]
    viewer.add_tracks(np.array(ways, float), graph={2: [1], 3: [1]}, name="ways")
    viewer.layers["mine"].visible = False
    viewer.layers.selection.active = viewer.layers["dots"]
    check_same(binding, tmp_path)


def test_an_image_of_a_file_is_referred_to_and_found_again(binding, tmp_path, napari_reads):
    path = tmp_path / "images" / "cells.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, discs())
    binding.viewer.open(str(path), plugin="napari")
    click(binding, (20, 30))
    run(binding)
    check_same(binding, tmp_path)
    index = json.loads((tmp_path / "work.sam3session" / "session.json").read_text("utf8"))
    assert len(index["arrays"]) == 0  # previews are made again from their objects
    # Moved with the session, then beside it, then away.
    other = tmp_path / "other machine"
    other.mkdir()
    shutil.move(tmp_path / "work.sam3session", other / "work.sam3session")
    shutil.move(path.parent, other / "images")
    again = saved.open_in_new(other / "work.sam3session")
    assert "Session opened: " in again.model.message.text
    assert again.model.previews[0].provenance.paths  # of the file where it is now
    again.close()
    shutil.move(other / "images" / "cells.tif", other / "cells.tif")
    again = saved.open_in_new(other / "work.sam3session")
    assert len(again.model.previews) == 1
    again.close()
    asked = []
    shutil.move(other / "cells.tif", tmp_path / "renamed.tif")
    again = saved.open_in_new(
        other / "work.sam3session", lambda one: asked.append(one) or tmp_path / "renamed.tif"
    )
    assert [one.name for one in asked] == ["cells.tif"]
    assert len(again.model.previews) == 1
    again.close()
    again = saved.open_in_new(other / "work.sam3session", lambda one: None)
    assert "cells.tif is not here" in again.model.message.text
    assert "1 result of images that are not here" in again.model.message.text
    assert again.session.storing.folder is None  # saved again it would lose what is missing
    again.close()


def test_an_image_with_other_pixels_is_told_of(binding, tmp_path, napari_reads):
    tifffile.imwrite(tmp_path / "cells.tif", discs())
    binding.viewer.open(str(tmp_path / "cells.tif"), plugin="napari")
    saved.save(binding, tmp_path / "work")
    tifffile.imwrite(tmp_path / "cells.tif", discs(seed=1))
    again = saved.open_in_new(tmp_path / "work.sam3session")
    assert "has other pixels now" in again.model.message.text
    again.close()
    tifffile.imwrite(tmp_path / "cells.tif", discs((50, 60)))
    again = saved.open_in_new(tmp_path / "work.sam3session")
    assert "holds no image of 96 x 128 pixels" in again.model.message.text
    again.close()


def test_a_portable_copy_needs_no_file(binding, tmp_path, napari_reads):
    tifffile.imwrite(tmp_path / "cells.tif", discs())
    binding.viewer.open(str(tmp_path / "cells.tif"), plugin="napari")
    click(binding, (20, 30))
    run(binding)
    before = saved.facts(binding)
    saved.save(binding, tmp_path / "copy", portable=True)
    assert binding.session.storing.folder is None  # a copy is not what one works on
    (tmp_path / "cells.tif").unlink()
    shutil.move(tmp_path / "copy.sam3session", tmp_path / "elsewhere.sam3session")
    again = saved.open_in_new(tmp_path / "elsewhere.sam3session")
    saved.assert_same(before, saved.facts(again))
    again.close()


def test_pixels_are_written_once_and_old_ones_are_removed(binding, tmp_path):
    binding.viewer.add_image(discs(), name="cells")
    labels = binding.viewer.add_labels(np.zeros((96, 128), np.uint32), name="mine")
    saved.save(binding, tmp_path / "work")
    arrays = tmp_path / "work.sam3session" / "arrays"
    first = {one.name for one in arrays.iterdir()}
    saved.save(binding, tmp_path / "work.sam3session")
    assert {one.name for one in arrays.iterdir()} == first
    labels.data_setitem((np.arange(5), np.arange(5)), 3)
    saved.save(binding, None)  # where it is open
    second = {one.name for one in arrays.iterdir()}
    assert len(second) == 2
    assert len(first & second) == 1
    again = saved.open_in_new(tmp_path / "work.sam3session")
    np.testing.assert_array_equal(again.viewer.layers["mine"].data, labels.data)
    again.viewer.layers["mine"].data_setitem((np.arange(5), np.arange(5)), 0)  # writable
    # Two viewers that save in one folder would each remove the arrays of the other.
    assert "open in another napari or viewer, so Save Session asks" in again.model.message.text
    assert again.session.storing.folder is None
    again.close()


def test_a_folder_of_something_else_is_left_alone(binding, tmp_path):
    binding.viewer.add_image(discs(), name="cells")
    (tmp_path / "work.sam3session").mkdir()
    (tmp_path / "work.sam3session" / "thesis.txt").write_text("years")
    with pytest.raises(NameTaken, match="is not a session"):
        binding.session.storing.save(tmp_path / "work")
    assert (tmp_path / "work.sam3session" / "thesis.txt").read_text() == "years"


def test_on_a_full_disk_the_session_stays_what_it_was_and_leaves_room(binding, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    binding.viewer.add_image(discs(), name="cells")
    with small_disk(disk, 400):
        saved.save(binding, disk / "work")
        before = saved.facts(binding)
        free = shutil.disk_usage(disk).free
        noise = np.random.default_rng(0).integers(0, 255, (900, 900), np.uint8)
        binding.viewer.add_labels(np.ones((50, 50), np.uint8), name="small")
        binding.viewer.add_image(noise, name="large")
        for name in ("work", "other"):
            with pytest.raises(ExportError, match="Free some space on this disk"):
                saved.save(binding, disk / name)
            assert "Free some space" in binding.model.message.text
            assert shutil.disk_usage(disk).free == free
        assert not (disk / "other.sam3session").exists()
        assert binding.session.storing.folder == disk / "work.sam3session"
        again = saved.open_in_new(disk / "work.sam3session")
        saved.assert_same(before, saved.facts(again))
        again.close()
        saved.save(binding, tmp_path / "elsewhere")
        again = saved.open_in_new(tmp_path / "elsewhere.sam3session")
        assert "large" in again.viewer.layers
        again.close()
        binding.session.storing.go_on_in(None)


def test_a_session_that_nobody_may_write_is_opened_and_saved_elsewhere(binding, tmp_path):
    binding.viewer.add_image(discs(), name="cells")
    saved.save(binding, tmp_path / "work")
    binding.session.storing.go_on_in(None)
    with locked(tmp_path / "work.sam3session"):
        with pytest.raises(ExportError, match="Choose a folder that you may write to"):
            saved.save(binding, tmp_path / "work")
        again = saved.open_in_new(tmp_path / "work.sam3session")
        assert "can't be written" in again.model.message.text
        assert "asks for another folder" in again.model.message.text
        assert "cells" in again.viewer.layers
        assert again.session.storing.folder is None
        saved.save(again, tmp_path / "mine")
        again.close()
    (tmp_path / "locked").mkdir()
    with locked(tmp_path / "locked"), pytest.raises(ExportError, match="you may write to"):
        saved.save(binding, tmp_path / "locked" / "work")


def test_a_later_version_is_refused(binding, tmp_path):
    binding.viewer.add_image(discs(), name="cells")
    saved.save(binding, tmp_path / "work")
    index = tmp_path / "work.sam3session" / "session.json"
    told = json.loads(index.read_text("utf8"))
    index.write_text(json.dumps({**told, "version": 99}), encoding="utf8")
    with pytest.raises(SessionError, match="later version"):
        saved.open_in_new(tmp_path / "work.sam3session")


VERBS = ("click", "run", "accept", "undo", "paint", "slide", "measure", "delete", "discard", "redo")


@settings(FEW, phases=[Phase.explicit, Phase.generate])
@given(st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 1000)), max_size=12))
def test_whatever_was_done_comes_back(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("random")
    binding = saved.new_binding()
    try:
        binding.viewer.add_image(discs((2, 96, 128)), name="stack")
        binding.session.run_live = lambda: None
        for verb, number in steps:
            do(binding, verb, np.random.default_rng(number))
        saved.wait_idle(binding)
        check_same(binding, folder)
    finally:
        binding.close()


def do(binding, verb, rng):
    """Do something if it can be done now."""
    model, session, viewer = binding.model, binding.session, binding.viewer
    plane = int(viewer.dims.point[0])
    if verb == "click":
        click(binding, (plane, *rng.integers(5, 90, 2)))
    elif verb == "run" and not model.why_not.run:
        run(binding)
    elif verb == "accept" and not model.why_not.accept:
        session.accept()
    elif verb in ("undo", "redo"):
        getattr(session, verb)()
    elif verb == "slide":
        viewer.dims.set_point(0, int(rng.integers(2)))
    elif verb == "discard":
        session.discard()
    elif verb == "measure" and model.results:
        assert session.measuring.measure().wait(240)
    elif verb == "delete" and model.results:
        session.drop(model.results[int(rng.integers(len(model.results)))])
    elif verb == "paint" and "SAM3 live accepted labels" in viewer.layers:
        layer = viewer.layers["SAM3 live accepted labels"]
        layer.selected_label, layer.brush_size = int(rng.integers(0, 9)), 7
        layer.paint((plane, *rng.integers(5, 90, 2)), layer.selected_label)
    saved.wait_idle(binding)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
ANY = (
    LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=4), LEAVES, max_size=2)
)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A session with something of each kind."""
    binding = saved.new_binding()
    binding.viewer.add_image(discs((2, 96, 128)), name="stack", axis_labels=("z", "y", "x"))
    click(binding, (0, 20, 30))
    run(binding)
    binding.session.accept()
    assert binding.session.measuring.measure().wait(240)
    binding.model.task = Task.VIDEO
    click(binding, (0, 70, 90))
    run(binding)
    saved.wait_idle(binding)
    binding.viewer.add_shapes([np.array([[0, 1, 1], [0, 9, 9]])], shape_type="line", name="line")
    folder = tmp_path_factory.mktemp("rich")
    saved.save(binding, folder / "rich")
    binding.close()
    return folder / "rich.sam3session"


def places_of(value, path=()):
    """Yield the way to each value in JSON."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places_of(value[key], (*path, key))


@settings(FEW, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_any_session_is_opened_or_refused_in_words(rich, tmp_path_factory, data):
    index = json.loads((rich / "session.json").read_text("utf8"))
    ways = [way for way in places_of(index["entries"]) if way]
    *way, last = data.draw(st.sampled_from(ways))
    inner = index["entries"]
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(ANY)
    folder = tmp_path_factory.mktemp("hostile") / "work.sam3session"
    shutil.copytree(rich, folder)
    (folder / "open.lock").unlink(missing_ok=True)
    (folder / "session.json").write_text(json.dumps(index), encoding="utf8")
    binding = saved.open_in_new(folder)  # which fails here if an error goes astray
    assert binding.model.message.text.startswith("Session opened")
    binding.close()


def test_a_scan_comes_back_also_from_a_portable_copy(binding, tmp_path):
    image = np.tile(discs((96, 128)), (4, 4))
    image[40:56, 50:70] = 190  # a smaller one
    binding.viewer.add_image(image, name="cells")
    binding.model.task, binding.model.text = Task.TEXT, "bright objects"
    binding.session.scan_model.scan_folder = str(tmp_path / "scans")
    binding.session.scan_model.scan_tile = 256
    job = binding.session.scanning.run()
    assert job.wait(240)
    assert job.error is None
    saved.wait_idle(binding)
    assert len(binding.session.results.scans) == 1
    areas = [row.record.area for row in binding.model.results]
    binding.session.filtering.show_range(AREA, 0, min(areas))
    shown, found = binding.session.filtering.count()
    assert 0 < shown < found
    check_same(binding, tmp_path)
    before = saved.facts(binding)
    saved.save(binding, tmp_path / "copy", portable=True)
    other = tmp_path / "other machine"
    other.mkdir()
    for name in ("scans", "work.sam3session"):
        shutil.move(tmp_path / name, other / name)
    again = saved.open_in_new(other / "work.sam3session")
    saved.assert_same(before, saved.facts(again))
    again.close()
    shutil.rmtree(other / "scans")
    again = saved.open_in_new(tmp_path / "copy.sam3session")
    saved.assert_same(before, saved.facts(again))
    saved.save(again, None)  # the copy goes on with its own
    again.close()
    again = saved.open_in_new(tmp_path / "copy.sam3session")
    saved.assert_same(before, saved.facts(again))
    saved.save(again, tmp_path / "other")
    again.close()
    shutil.rmtree(tmp_path / "copy.sam3session")
    again = saved.open_in_new(tmp_path / "other.sam3session")
    saved.assert_same(before, saved.facts(again))
    again.close()
    again = saved.open_in_new(other / "work.sam3session")
    assert "labels of the scan" in again.model.message.text
    again.close()


def test_merged_regions_come_back_also_from_a_portable_copy(binding, tmp_path):
    binding.viewer.add_image(discs(), name="cells")
    binding.session.scan_model.scan_folder = str(tmp_path / "scans")
    binding.model.large_image, binding.model.roi_size = True, 64
    click(binding, (20, 30))
    run(binding)
    job = binding.session.merging.run()
    assert job.wait(240)
    assert job.error is None
    (merged,) = with_role(binding.viewer.layers, Role.MERGED)
    labels = np.asarray(array_of(merged))
    assert labels.any()
    check_same(binding, tmp_path)
    saved.save(binding, tmp_path / "copy", portable=True)
    shutil.rmtree(tmp_path / "scans")
    again = saved.open_in_new(tmp_path / "copy.sam3session")
    (merged,) = with_role(again.viewer.layers, Role.MERGED)
    np.testing.assert_array_equal(array_of(merged), labels)
    again.close()


@pytest.mark.parametrize("in_a_file", [True, False])
def test_a_scan_that_was_stopped_is_told_and_goes_on_in_a_session(
    binding, napari_reads, tmp_path, in_a_file
):
    image = np.tile(discs((96, 128)), (6, 6))
    if in_a_file:
        tifffile.imwrite(tmp_path / "cells.tif", image)
        binding.viewer.open(tmp_path / "cells.tif", plugin="napari")
    else:
        binding.viewer.add_image(image, name="cells")
    binding.model.task, binding.model.text = Task.TEXT, "bright objects"
    binding.session.scan_model.scan_folder = str(tmp_path / "scans")
    binding.session.scan_model.scan_tile = 256
    job = binding.session.scanning.run()
    finished = []
    job.yielded.connect(lambda news: (finished.append(news), len(finished) == 3 and job.cancel()))
    assert job.wait(240)
    saved.wait_idle(binding)
    assert "Continue scan" in binding.model.message.text
    saved.save(binding, tmp_path / "work")
    binding.session.storing.go_on_in(None)
    other = tmp_path / "other machine"
    other.mkdir()
    for path in tmp_path.glob("[csw]*"):
        shutil.move(path, other / path.name)
    again = saved.open_in_new(other / "work.sam3session")
    assert "bright_objects_scan.zarr was not done: Scan whole image" in again.model.message.text
    said = []
    again.model.events.message.connect(lambda message: said.append(message.text))
    assert again.session.scanning.run().wait(240)
    saved.wait_idle(again)
    assert any(text.startswith("Going on with a scan") for text in said)
    assert again.model.message.text.startswith("Scan complete")
    assert not again.session.scan_model.scan_begun
    again.close()
    # Its tiles have become the labels, or were deleted; or a stranger has named the labels.
    gone, far = "its finished tiles are not here", "is on another computer"
    begun = binding.session.scan_model.scan_begun
    for labels, said in ((begun, gone), ("x" * 5000, gone), ("//far/away.zarr", far)):
        binding.session.scan_model.scan_begun = labels
        saved.save(binding, tmp_path / "work")
        again = saved.open_in_new(tmp_path / "work.sam3session")
        assert said in again.model.message.text
        assert "was not done" not in again.model.message.text
        again.close()


def test_labels_on_the_disk_are_not_read_and_stay_writable(binding, tmp_path, monkeypatch):
    import zarr

    from napari_sam3_assistant.io import session_pixels

    monkeypatch.setattr(session_pixels, "LAZY_BYTES", 1000)
    binding.viewer.add_image(discs(), name="cells")
    store = zarr.create_array(
        str(tmp_path / "mine.zarr"), shape=(96, 128), dtype="u4", chunks=(64, 64)
    )
    store[5:9, 5:9] = 3
    binding.viewer.add_labels(store, name="on disk")
    binding.viewer.add_labels(np.full((96, 128), 2, np.uint32), name="in memory")
    saved.save(binding, tmp_path / "work")
    binding.session.storing.go_on_in(None)  # so that another viewer may have it
    again = saved.open_in_new(tmp_path / "work.sam3session")
    referred, held = again.viewer.layers["on disk"], again.viewer.layers["in memory"]
    assert isinstance(referred.data, zarr.Array)
    assert isinstance(held.data, zarr.Array)
    held.data[:4] = 7
    saved.save(again, None)  # it is in its place already
    assert "strokes go there" not in again.model.message.text
    saved.save(again, tmp_path / "other")  # no session needs another one
    still = f"still what lies in {tmp_path / 'work.sam3session'} (2 layers), and strokes go there"
    assert still in again.model.message.text
    again.close()
    shutil.rmtree(tmp_path / "work.sam3session")
    third = saved.open_in_new(tmp_path / "other.sam3session")
    assert np.asarray(third.viewer.layers["in memory"].data[:5, 0]).tolist() == [7, 7, 7, 7, 2]
    assert np.asarray(third.viewer.layers["on disk"].data[5, 5]) == 3
    saved.save(third, tmp_path / "copy", portable=True)
    third.close()
    shutil.rmtree(tmp_path / "mine.zarr")
    fourth = saved.open_in_new(tmp_path / "copy.sam3session")
    assert np.asarray(fourth.viewer.layers["on disk"].data[5, 5]) == 3
    fourth.close()


@pytest.mark.parametrize("as_address", [False, True])
def test_a_workspace_of_version_4_5_is_read(tmp_path, napari_reads, as_address):
    """As its manager is described: images and masks by reference, points and shapes inline."""
    file = tmp_path / "my cells.tif"
    tifffile.imwrite(file, discs())
    path, step = (file.as_uri(), 0) if as_address else (file.name, [0, 0])
    told = {
        "format": "napari-sam3-workspace",
        "version": 1,
        "layers": [
            {"name": "cells", "type": "image", "path": path, "scale": [2, 2]},
            {"name": "clicks", "type": "points", "data": [[3, 4], [5, 6]], "visible": False},
            {"name": "gone", "type": "labels", "path": "gone_sam3_data/000_gone.ome.zarr"},
            {"name": "painted", "type": "labels", "data": [[0, 1], [2, 0]]},
            {"name": "mesh", "type": "surface"},
            {"name": "odd", "type": "points", "data": [["a", "b"]]},
        ],
        "dims": {"current_step": step},
        "selected_layer": "clicks",
    }
    (tmp_path / "work.sam3.json").write_text(json.dumps(told))
    binding = saved.open_in_new(tmp_path / "work.sam3.json")
    layers = binding.viewer.layers
    np.testing.assert_array_equal(layers["cells"].data, discs())
    assert layers["cells"].scale.tolist() == [2, 2]
    assert layers["clicks"].data.tolist() == [[3, 4], [5, 6]]
    assert not layers["clicks"].visible
    assert layers["painted"].data.tolist() == [[0, 1], [2, 0]]
    for name in ("gone", "mesh", "odd"):
        assert f"“{name}”" in binding.model.message.text
    assert binding.session.storing.folder is None  # it is saved as a session from now on
    binding.close()


def test_a_strangers_session_leads_to_no_other_computer_and_no_other_session(
    binding, tmp_path, monkeypatch
):
    """Windows logs on to each computer that is looked for, and a save goes where it was opened."""
    binding.viewer.add_image(discs(), name="cells")
    saved.save(binding, tmp_path / "mine")
    saved.save(binding, tmp_path / "theirs")
    index = tmp_path / "theirs.sam3session" / "session.json"
    content = json.loads(index.read_text())
    entries, far = content["entries"], r"\\evil\share\x"
    entries["choices"]["model_folder"] = far
    entries["scans"] |= dict.fromkeys(("folder_source", "folder_output", "scan_folder"), far)
    entries["session_folder"] = str(tmp_path / "mine.sam3session")
    left = {"source": far, "output": "", "name": "a.tif", "key": "", "stamp": None}
    entries["annotation"] = left
    index.write_text(json.dumps(content))
    told = {
        "format": "napari-sam3-workspace",
        "layers": [{"name": "far", "type": "image", "path": far}],
    }
    (tmp_path / "work.sam3.json").write_text(json.dumps(told))
    asked, stat = [], os.stat
    monkeypatch.setattr(
        os, "stat", lambda path, **more: asked.append(str(path)) or stat(path, **more)
    )
    for name in ("theirs.sam3session", "work.sam3.json"):
        again = saved.open_in_new(tmp_path / name)
        if (looking := again.session.series_choice.look()) is not None:
            assert looking.wait(240)
        assert not [path for path in asked if "evil" in path]
        assert again.session.storing.folder in (None, tmp_path / "theirs.sam3session")
        assert "not here" in again.model.message.text or "another computer" in (
            again.model.message.text
        )
        again.close()


def test_a_folder_that_is_annotated_is_gone_on_with(binding, tmp_path, napari_reads):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        tifffile.imwrite(images / f"cell{number}.tif", discs(seed=number))
    desk = binding.session.annotation
    desk.start(str(images), str(tmp_path / "labels"))
    saved.wait_idle(binding)
    for where in ((20, 30), (20, 90)):
        binding.model.task = Task.LIVE_POINTS
        click(binding, where)
        run(binding)
        binding.session.accept()
        if desk.model.name == "cell0.tif":
            desk.go(1)
            saved.wait_idle(binding)
    assert desk.model.name == "cell1.tif"
    saved.save(binding, tmp_path / "work")
    before = saved.facts(binding)
    again = saved.open_in_new(tmp_path / "work.sam3session")
    saved.wait_idle(again)
    saved.assert_same(before, saved.facts(again))
    other = again.session.annotation
    assert [str(one.state) for one in other.model.images] == ["done", "untouched", "untouched"]
    other.go(1)  # which saves what was accepted before
    saved.wait_idle(again)
    assert other.model.name == "cell2.tif"
    (labels,) = (tmp_path / "labels").glob("cell1*.tif")
    assert set(np.unique(tifffile.imread(labels))) == {0, 1}
    again.close()
    moved = tmp_path / "other machine"
    moved.mkdir()
    for name in ("images", "labels", "work.sam3session"):
        shutil.move(tmp_path / name, moved / name)
    third = saved.open_in_new(moved / "work.sam3session")
    saved.wait_idle(third)
    left = third.session.annotation.left
    assert (left.source, left.output) == (str(moved / "images"), str(moved / "labels"))
    third.close()
    (moved / "images").rename(tmp_path / "away")
    third = saved.open_in_new(moved / "work.sam3session", lambda _: None)
    assert "that was annotated is not here" in third.model.message.text
    third.close()


@pytest.mark.parametrize("steps", [(), (1,), (1, -1), (1, 1, -1)])
def test_a_folder_is_gone_on_with_whatever_was_done_of_its_image(binding, tmp_path, steps):
    """Also at an image whose labels are in a file: what is known of that file comes back, too."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        tifffile.imwrite(images / f"cell{number}.tif", discs(seed=number))
    desk = binding.session.annotation
    desk.start(str(images))
    saved.wait_idle(binding)
    for step in steps:
        binding.model.task = Task.LIVE_POINTS
        click(binding, (20, 30))
        run(binding)
        desk.go(step)
        saved.wait_idle(binding)
    binding.model.task = Task.LIVE_POINTS
    click(binding, (70, 90))
    saved.save(binding, tmp_path / "work")
    again = saved.open_in_new(tmp_path / "work.sam3session")
    saved.wait_idle(again)
    saved.assert_same(saved.facts(binding), saved.facts(again))
    assert again.session.annotation.left.stamp == desk.left.stamp
    again.session.annotation.go(1)  # over the labels that are ours, with no second file beside them
    saved.wait_idle(again)
    assert not [path.name for path in images.glob("sam3_labels/*_02*")]
    again.close()


def test_what_mask_operations_have_done_can_be_taken_back_later(binding, tmp_path):
    from napari_sam3_assistant.core.masks.operations import Operation
    from napari_sam3_assistant.core.progress import deliver_inline
    from napari_sam3_assistant.mask_operations.binding import mask_binding_for

    ring = np.zeros((40, 50), np.uint32)
    ring[5:30, 5:30] = 3
    ring[10:20, 10:20] = 0
    layer = binding.viewer.add_labels(ring, name="mine")
    masks = mask_binding_for(binding.viewer, deliver_inline)
    layer.paint((35, 40), 7)
    history = masks.adapter.history
    masks.session.cleanup.apply(Operation.FILL_HOLES)
    settle(masks, lambda: len(history.edits(1 << 20)) == 2)
    filled = layer.data.copy()
    assert filled[15, 15] == 3
    masks.session.cleanup.undo()
    settle(masks, lambda: masks.model.can_redo)
    masks.close()
    saved.save(binding, tmp_path / "work")
    again = saved.open_in_new(tmp_path / "work.sam3session")
    other, back = mask_binding_for(again.viewer, deliver_inline), again.viewer.layers["mine"]
    other.model.target = next(one.key for one in other.model.layers if one.name == "mine")
    assert other.model.can_undo
    assert other.model.can_redo
    np.testing.assert_array_equal(back.data, layer.data)
    other.session.cleanup.redo()
    settle(other, lambda: not other.model.can_redo)
    np.testing.assert_array_equal(back.data, filled)
    other.session.cleanup.undo()
    settle(other, lambda: other.model.can_redo)
    other.session.cleanup.undo()
    settle(other, lambda: not other.model.can_undo)
    assert back.data[35, 40] == 0
    assert not other.model.can_undo
    other.close()
    again.close()


def settle(masks, is_done):
    """Wait for the work of the mask operations, and for what follows from it."""
    end = time.monotonic() + 240
    while masks.model.running or not is_done():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def test_odd_layers_of_the_same_name_come_back(binding, tmp_path):
    """Floats with NaN, odd axes and transforms, and labels that were edited after acceptance."""
    rng, viewer = np.random.default_rng(3), binding.viewer
    odd = rng.random((3, 2, 40, 50)).astype(np.float32)
    odd[1, 0, 3, 4], odd[0, 1, 5, 6] = np.nan, np.inf
    placed = {"scale": (2, 1, 0.5, -0.25), "shear": [0.1] * 6}
    viewer.add_image(odd, name="cells", axis_labels=tuple("tcyx"), **placed)
    viewer.add_labels(rng.integers(0, 3, (40, 50)), name="mine", rotate=30, translate=(5, -7))
    viewer.add_image(discs(), name="cells", affine=[[0, 1, 3], [1, 0, -2], [0, 0, 1]])
    viewer.layers[-1].name = viewer.layers[0].name
    click(binding, (20, 30))
    run(binding)
    binding.session.accept()
    kept = viewer.layers["SAM3 live accepted labels"]
    kept.data_setitem((np.arange(20, 24), np.full(4, 30)), 0)
    kept.data_setitem((np.arange(60, 64), np.full(4, 30)), 9)
    check_same(binding, tmp_path)

"""From a run to layers, and back by undo: through the session, on a viewer without a window."""

import gc
import queue
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.utils.colormaps import AVAILABLE_COLORMAPS

from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import EngineError, MaskError, PromptError
from napari_sam3_assistant.mask_operations.binding import mask_binding_for
from napari_sam3_assistant.session import runs
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import FileBackedKind, FileBackedLabels, Level
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.images import ALL_IMAGES
from napari_sam3_assistant.viewer.roles import Role, with_role


def names(viewer):
    return [layer.name for layer in viewer.layers]


def click(binding, *position):
    """Click on the image as the points tool does."""
    binding.model.tool = Tool.POINTS
    binding.prompts.arm()
    binding.viewer.layers.selection.active.add(position)


def test_a_run_gives_labels_and_boxes_that_lie_on_the_image(viewer, binding, run, disc, transform):
    image = viewer.add_image(
        disc, units=("um", "um"), axis_labels=("y", "x"), name="cells", **transform
    )
    click(binding, 20.0, 30.0)
    preview = run()

    labels, boxes = viewer.layers["SAM3 preview labels"], viewer.layers["SAM3 preview boxes"]
    for layer in (labels, boxes):
        for name in ("scale", "translate", "rotate", "shear"):
            np.testing.assert_allclose(getattr(layer, name), getattr(image, name))
        np.testing.assert_allclose(layer.affine.affine_matrix, image.affine.affine_matrix)
        assert layer.units == image.units
        assert layer.axis_labels == image.axis_labels
    assert labels.data.dtype == np.uint32
    inside = disc == 200
    overlap = (inside & (labels.data == 1)).sum() / (inside | (labels.data == 1)).sum()
    assert overlap > 0.85
    record = preview.segmentation.objects[0]
    y0, x0, y1, x1 = record.bbox
    np.testing.assert_allclose(boxes.data[0].min(0), [y0 - 0.5, x0 - 0.5])
    np.testing.assert_allclose(boxes.data[0].max(0), [y1 - 0.5, x1 - 0.5])


def test_a_mask_operation_is_not_undone_into_the_labels_of_the_next_run(viewer, binding, run, disc):
    calls = queue.SimpleQueue()
    masks = mask_binding_for(viewer, calls.put)
    masks.acquire()
    viewer.add_image(disc, name="cells")
    click(binding, 20.0, 30.0)
    run()
    labels = viewer.layers["SAM3 preview labels"]
    masks.model.target = str(labels.unique_id)
    before = np.count_nonzero(labels.data)
    masks.session.cleanup.apply(Operation.SHRINK)
    while masks.model.running:
        calls.get(timeout=240)()
    assert np.count_nonzero(labels.data) < before

    click(binding, 22.0, 32.0)
    run()
    found = np.array(labels.data)

    assert found.any()
    with pytest.raises(MaskError, match="nothing to undo"):
        masks.session.cleanup.undo()
    np.testing.assert_array_equal(labels.data, found)
    masks.release()


def test_what_made_a_mask_stands_on_its_layer(viewer, binding, run, disc):
    viewer.add_image(disc, name="cells")
    click(binding, 20.0, 30.0)
    run()

    labels = viewer.layers["SAM3 preview labels"]
    row = labels.features.iloc[0]
    assert (row["index"], row["area"]) == (1, (labels.data == 1).sum())
    assert row["engine"] == "Built-in (no SAM 3 weights)"
    assert labels.metadata["sam3_engine"]["engine"] == "builtin"
    assert labels.metadata["source_image_layer"] == "cells"
    assert "Built-in (no SAM 3 weights)" in binding.model.message.text
    assert "from 1 point" in binding.model.message.text


LOOK = {
    "name": "mine", "opacity": 0.4, "blending": "additive", "contour": 2,
    "rendering": "translucent",
    "projection_mode": "none", "selected_label": 3, "show_selected_label": True, "brush_size": 21,
    "contiguous": False, "preserve_labels": True, "visible": False,
}  # fmt: skip
"""What a user sets of labels."""
OURS = {
    "data", "features", "properties", "thumbnail", "metadata", "keymap", "help", "plane",
    "interactive",
}  # fmt: skip
"""What is another one with other labels, can't be compared, or is not to be asked for any more."""


def settings_of(layer):
    names = (name for name in dir(type(layer)) if getattr(getattr(type(layer), name), "fset", None))
    public = (name for name in names if name[0] != "_" and name not in OURS)
    values = {name: getattr(layer, name) for name in public if name != "colormap"}
    return {name: np.asarray(value).tolist() for name, value in values.items()}


@pytest.mark.parametrize("kind", ["preview", "file"])
def test_labels_that_take_the_place_of_others_look_as_the_user_had_them(
    viewer, binding, run, kind, disc
):
    viewer.add_image(disc)
    click(binding, 20, 30)
    preview, shown = run(), binding.model.previews
    if kind == "file":
        stored = FileBackedLabels(
            FileBackedKind.SCAN, preview.target, Path("scan.zarr"), (preview.segmentation.labels,)
        )
        binding.adapter.show_file_backed(stored)
    role = {"preview": Role.PREVIEW_LABELS, "file": Role.SCAN}[kind]
    before = next(with_role(viewer.layers, role))
    viewer.layers.move(viewer.layers.index(before), 0)
    for name, value in LOOK.items():
        setattr(before, name, value)
    before.metadata["mine"] = 7
    told = settings_of(before)

    if kind == "file":
        binding.adapter.hide_file_backed(stored, {2})
    else:
        found = replace(
            preview.segmentation,
            labels=preview.segmentation.labels[:44, :60].copy(),
            region=Region(0, 0, 44, 60),
        )
        binding.model.previews = tuple(replace(one, segmentation=found) for one in shown)

    after = next(with_role(viewer.layers, role))
    assert after is not before
    assert viewer.layers.index(after) == 0
    assert after.metadata["mine"] == 7
    # What is found anew is on show, filled or not as all results are; what hides objects is
    # no layer to paint on.
    is_found = kind == "preview"
    told |= {"visible": is_found, "editable": is_found, "contour": 0 if is_found else 2}
    assert settings_of(after) == told


def test_the_prompts_stay_on_top_and_active(viewer, binding, run, disc):
    viewer.add_image(disc, name="cells")
    click(binding, 20.0, 30.0)
    run()

    assert names(viewer) == ["cells", "SAM3 preview labels", "SAM3 preview boxes", "SAM3 points"]
    assert viewer.layers.selection.active.name == "SAM3 points"


def test_a_second_run_writes_into_the_same_array(viewer, binding, run, disc):
    both = np.maximum(disc, np.roll(disc, 22, axis=1))
    viewer.add_image(both)
    click(binding, 20.0, 30.0)
    run()
    data = viewer.layers["SAM3 preview labels"].data
    first = data.copy()
    layer = viewer.layers["SAM3 points"]
    layer.data = np.array([[20.0, 52.0]])
    run()

    assert viewer.layers["SAM3 preview labels"].data is data
    assert data[20, 52] == 1
    assert data[20, 30] == 0
    assert first[20, 30] == 1


def test_a_run_on_a_plane_of_a_stack_lies_on_that_plane(viewer, binding, run, disc):
    stack = np.zeros((4, 3, *disc.shape), np.uint8)
    stack[2, 1] = disc
    image = viewer.add_image(stack, scale=(2, 3, 0.5, 0.5), translate=(1, 2, 3, 4))
    world = image.data_to_world((2, 1, 0, 0))
    viewer.dims.set_point((0, 1), world[:2])
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((2, 1, 20.0, 30.0))
    run()

    labels = viewer.layers["SAM3 preview labels"]
    assert labels.data.shape == (1, 1, *disc.shape)
    np.testing.assert_allclose(
        labels.data_to_world((0, 0, 5, 6)), image.data_to_world((2, 1, 5, 6))
    )
    assert labels.data[0, 0, 20, 30] == 1


def test_a_result_leaves_the_viewer_on_its_slice_also_with_units(viewer, binding, run, disc):
    stack = np.zeros((24, *disc.shape), np.uint8)
    stack[12], stack[15] = disc, disc
    viewer.add_image(stack, scale=(2, 0.5, 0.5), units=("um",) * 3)
    viewer.dims.set_point(0, 24.0)
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((12, 20.0, 30.0))
    run()
    assert viewer.dims.point[0] == 24.0
    viewer.dims.set_point(0, 30.0)
    viewer.layers["SAM3 points"].add((15, 20.0, 30.0))
    run()

    assert viewer.dims.point[0] == 30.0
    labels = viewer.layers["SAM3 preview labels"]
    assert labels.translate[0] == 30.0
    assert labels.data[0, 20, 30] == 1
    outline = viewer.layers["SAM3 preview boxes"].data[0]
    assert set(outline[:, 0]) == {15.0}


def test_only_the_plane_of_a_dask_stack_is_read(viewer, binding, run, disc):
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return disc[None]

    lazy = da.map_blocks(block, chunks=((1,) * 9, (48,), (64,)), dtype=np.uint8)
    viewer.add_image(lazy, contrast_limits=(0, 255))
    viewer.dims.set_point(0, 4)
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((4, 20.0, 30.0))
    read.clear()
    run()
    layer = viewer.layers["SAM3 points"]
    layer.add((4, 24.0, 30.0))
    run()

    # Once for the run; what napari itself reads to show the layers is of this slice too.
    assert set(read) == {(4, 0, 0)}


@pytest.mark.parametrize("kind", ["rgb", "multiscale", "float with a hot pixel"])
def test_layouts(viewer, binding, run, disc, kind):
    if kind == "rgb":
        viewer.add_image(np.stack([disc] * 3, -1), rgb=True)
    elif kind == "multiscale":
        viewer.add_image([disc, disc[::2, ::2]], multiscale=True)
    else:
        hot = disc / 255.0
        hot[0, 0] = 1e6
        viewer.add_image(hot)
    click(binding, 20.0, 30.0)
    run()

    labels = viewer.layers["SAM3 preview labels"].data
    inside = disc == 200
    assert (inside & (labels == 1)).sum() / (inside | (labels == 1)).sum() > 0.85


def test_a_channel_axis_by_its_label(viewer, binding, run, disc):
    stack = np.stack([np.zeros_like(disc), disc])
    viewer.add_image(stack, axis_labels=("c", "y", "x"))
    viewer.dims.set_point(0, 1)
    click(binding, 20.0, 30.0)
    run()

    assert viewer.layers["SAM3 preview labels"].data.shape == disc.shape


def test_a_click_whose_run_failed_is_told_of_when_the_rest_is_accepted(
    viewer, binding, run, disc, monkeypatch
):
    viewer.add_image(disc)
    click(binding, 20, 30)
    run()
    click(binding, 40, 5)

    def fail(*_):
        raise EngineError("It broke.", "Try again.")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(runs, "segment", fail)
        job = binding.session.run()
        assert job.wait(240)
    assert binding.model.message.text.startswith("It broke.")
    binding.session.accept()
    assert "is not in it" in binding.model.message.text


def test_all_visible_images_are_seen_as_one(viewer, binding, run, disc):
    far = np.roll(disc, 22, axis=1)
    viewer.add_image(disc, colormap="green", blending="additive")
    viewer.add_image(far, colormap="magenta", blending="additive")
    binding.model.image = ALL_IMAGES
    binding.model.task, binding.model.tool = Task.TEXT, Tool.TEXT
    binding.model.text = "bright objects"
    preview = run()

    assert len(preview.segmentation.objects) == 2


@pytest.mark.parametrize("name", sorted(AVAILABLE_COLORMAPS))
def test_bright_is_what_napari_draws_bright(viewer, binding, disc, name):
    layer = viewer.add_image(disc, colormap=name)
    colours = layer.colormap.map(np.linspace(0, 1, 256))[:, :3]
    steps = np.diff(colours @ (0.299, 0.587, 0.114))
    picture, inside = binding.adapter.take_view(binding.model.image).rgb(), disc == 200

    brighter = picture[inside].mean() > picture[~inside].mean()
    if (steps < 0).all() or (steps > 0).all():
        assert brighter == (steps > 0).all()
    else:
        assert brighter  # neither of both: as its values


@pytest.mark.parametrize("several", [False, True])
def test_phrases_mean_inverted_images_as_they_are_drawn(viewer, binding, run, disc, several):
    viewer.add_image(disc, colormap="I Blue", blending="minimum")
    if several:
        far = np.roll(disc, 22, axis=1)
        viewer.add_image(far, colormap="I Bordeaux", blending="minimum")
        binding.model.image = ALL_IMAGES
    binding.model.task, binding.model.tool = Task.TEXT, Tool.TEXT
    binding.model.text = "bright objects"
    run()
    assert "SAM3 preview labels" not in names(viewer)
    binding.model.text = "dark objects"

    assert len(run().segmentation.objects) == 1 + several


def test_zero_objects_are_said_and_the_old_preview_goes(viewer, binding, run, disc):
    viewer.add_image(disc)
    binding.model.task, binding.model.tool = Task.TEXT, Tool.TEXT
    binding.model.text = "bright objects"
    run()
    assert "SAM3 preview labels" in names(viewer)
    binding.model.text = "dark objects"
    run()

    assert binding.model.message.text.startswith("No objects found")
    assert binding.model.message.level is Level.WARNING
    assert "SAM3 preview labels" not in names(viewer)
    assert len(viewer.layers["SAM3 preview boxes"].data) == 0  # the layer stays, see there


def test_an_error_reaches_the_status_line_with_its_remedy(viewer, binding, disc):
    viewer.add_image(disc)
    binding.model.task, binding.model.tool = Task.TEXT, Tool.TEXT
    binding.model.text = "mitochondria"
    job = binding.session.run()
    assert job.wait(240)

    assert binding.model.message.level is Level.ERROR
    assert "weights" in binding.model.message.text
    assert not binding.model.running


def test_nothing_to_run_is_refused_with_a_sentence(viewer, binding, disc):
    viewer.add_image(disc)
    with pytest.raises(PromptError, match="Click on the object"):
        binding.session.run()


def test_the_image_may_go_while_the_run_is_going(viewer, binding, disc):
    image = viewer.add_image(disc)
    click(binding, 20.0, 30.0)
    job = binding.session.run()
    viewer.layers.remove(image)
    assert job.wait(240)

    assert "SAM3 preview labels" not in names(viewer)


def test_undo_and_redo_of_prompts_and_runs(viewer, binding, run, disc):
    viewer.add_image(disc)
    click(binding, 20.0, 30.0)
    points = viewer.layers["SAM3 points"]
    points.add((2.0, 2.0))
    run()
    session = binding.session

    session.undo()
    assert "SAM3 preview labels" not in names(viewer)
    assert len(points.data) == 2
    session.undo()
    assert len(points.data) == 1
    session.undo()
    assert len(points.data) == 0
    assert not binding.model.can_undo
    session.redo()
    session.redo()
    session.redo()
    assert len(points.data) == 2
    assert "SAM3 preview labels" in names(viewer)
    assert not binding.model.can_redo


def test_accept_adds_the_next_object_and_undo_takes_it_out(viewer, binding, run, disc):
    both = np.maximum(disc, np.roll(disc, 22, axis=1))
    viewer.add_image(both)
    click(binding, 20.0, 30.0)
    run()
    binding.session.accept()
    accepted = viewer.layers["SAM3 live accepted labels"].data
    points = viewer.layers["SAM3 points"]
    assert len(points.data) == 0
    assert "SAM3 preview labels" not in names(viewer)
    points.add((20.0, 52.0))
    run()
    binding.session.accept()
    assert (accepted[20, 30], accepted[20, 52]) == (1, 2)

    binding.session.undo()
    assert (accepted[20, 30], accepted[20, 52]) == (1, 0)
    np.testing.assert_allclose(points.data, [[20, 52]])
    assert "SAM3 preview labels" in names(viewer)
    binding.session.redo()
    assert (accepted[20, 30], accepted[20, 52]) == (1, 2)
    assert len(points.data) == 0


def test_accept_never_paints_over_what_was_accepted(viewer, binding, run, disc):
    viewer.add_image(disc)
    click(binding, 20.0, 30.0)
    run()
    binding.session.accept()
    accepted = viewer.layers["SAM3 live accepted labels"].data
    accepted[15:18] = np.where(accepted[15:18], 7, 0)
    accepted[24:] = 0
    viewer.layers["SAM3 points"].add((20.0, 30.0))
    run()
    binding.session.accept()

    assert (accepted[16, 30], accepted[20, 30], accepted[27, 30]) == (7, 1, 8)
    viewer.layers["SAM3 points"].add((20.0, 30.0))
    run()
    with pytest.raises(PromptError, match="accepted already"):
        binding.session.accept()
    assert len(viewer.layers["SAM3 points"].data) == 1


def test_save_keeps_a_copy_with_its_place_and_its_features(viewer, binding, run, disc):
    viewer.add_image(disc, scale=(0.5, 0.5), units=("um", "um"))
    click(binding, 20.0, 30.0)
    run()
    name = binding.session.saving.keep()
    preview, saved = viewer.layers["SAM3 preview labels"], viewer.layers[name]
    binding.session.clear_preview()

    assert name == "SAM3 saved labels"
    assert saved.data is not preview.data
    assert saved.data[20, 30] == 1
    np.testing.assert_allclose(saved.scale, (0.5, 0.5))
    assert list(saved.features["index"]) == [1]
    assert "SAM3 preview labels" not in names(viewer)


def test_save_to_a_file(viewer, binding, run, disc, tmp_path):
    viewer.add_image(disc)
    click(binding, 20.0, 30.0)
    run()
    job = binding.session.saving.export(tmp_path / "labels.npy")
    assert job.wait(240)

    np.testing.assert_array_equal(
        np.load(tmp_path / "labels.npy"), viewer.layers["SAM3 preview labels"].data
    )


def test_a_preview_that_the_user_deletes_is_gone(viewer, binding, run, disc):
    viewer.add_image(disc)
    click(binding, 20.0, 30.0)
    run()
    viewer.layers.remove("SAM3 preview labels")

    assert binding.model.preview is None
    with pytest.raises(PromptError, match="no preview"):
        binding.session.saving.keep()


def test_live_points_run_again_after_a_click_during_a_run(viewer, binding, disc):
    viewer.add_image(disc)
    binding.model.task = Task.LIVE_POINTS
    click(binding, 20.0, 30.0)
    said = threading.Event()
    binding.model.events.message.connect(
        lambda message: "from 2 points" in message.text and said.set()
    )
    binding.session.run_live()
    viewer.layers["SAM3 points"].add((2.0, 2.0))
    binding.session.run_live()
    assert said.wait(240)


def test_the_model_follows_the_viewer(viewer, binding, disc):
    assert binding.model.images == ()
    first = viewer.add_image(disc, name="one")
    second = viewer.add_image(disc, name="two")
    assert [choice.name for choice in binding.model.images] == [
        "two", "one", "All visible images",
    ]  # fmt: skip
    assert binding.model.chosen_image.name == "two"
    viewer.layers.selection.active = first
    assert binding.model.chosen_image.name == "one"
    first.name = "renamed"
    assert binding.model.chosen_image.name == "renamed"
    viewer.layers.remove(first)
    assert binding.model.chosen_image.name == "two"
    viewer.layers.remove(second)
    assert binding.model.image == ""


def test_pixels_that_are_replaced_are_read_again(viewer, binding, run, disc):
    image = viewer.add_image(disc)
    click(binding, 20.0, 30.0)
    run()
    image.data = np.roll(disc, 8, axis=0)
    viewer.layers["SAM3 points"].data = np.array([[28.0, 30.0]])
    run()

    assert viewer.layers["SAM3 preview labels"].data[37, 30] == 1


def test_one_session_a_viewer_and_none_is_kept_alive(viewer, disc):
    viewer.add_image(disc)
    settings = MemorySettings()
    first = binding_for(viewer, print, settings)
    assert binding_for(viewer, print, settings) is first
    first.close()
    second = binding_for(viewer, print, settings)
    assert second is not first
    second.close()
    gone = weakref.ref(second)
    del second
    gc.collect()
    assert gone() is None


def test_one_of_many_objects_is_refined_by_clicks_that_start_from_its_mask(
    viewer, binding, run, disc
):
    both = np.maximum(disc, np.roll(disc, 22, axis=1))
    viewer.add_image(both)
    binding.model.task, binding.model.tool = Task.TEXT, Tool.TEXT
    binding.model.text = "bright objects"
    first = run()
    labels = viewer.layers["SAM3 preview labels"].data
    left, right = int(labels[20, 30]), int(labels[20, 52])
    kept = next(each for each in first.segmentation.objects if each.id == right)

    binding.session.refine(left)
    assert binding.model.task is Task.LIVE_POINTS
    assert binding.model.refining == left
    binding.actions.toggle_next()
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((13.0, 30.0))
    refined = run()

    assert labels[13, 30] == 0
    assert labels[24, 30] == left
    np.testing.assert_array_equal(labels == right, first.segmentation.labels == right)
    assert {each.id for each in refined.segmentation.objects} == {left, right}
    assert next(e for e in refined.segmentation.objects if e.id == right).area == kept.area
    binding.session.undo()
    binding.session.undo()
    binding.session.undo()
    assert binding.model.refining == 0
    assert labels[13, 30] in {0, left}


def test_refining_an_object_that_is_not_there(viewer, binding, run, disc):
    viewer.add_image(disc)
    click(binding, 20.0, 30.0)
    run()
    with pytest.raises(PromptError, match="no object 9"):
        binding.session.refine(9)


@pytest.mark.parametrize(
    ("leading", "trailing", "number", "shown"),
    [((), (), -1, ()), ((), (3,), -1, ()), ((), (4,), -1, ()), ((3,), (), -1, (1,)),
     ((3,), (), 0, ()), ((2, 3), (), 1, (1, 1)), ((2, 3), (3,), -1, (1, 1)), ((2,), (3,), 3, (1,))],
    ids=["H,W", "H,W,3", "H,W,4", "Z,H,W", "C,H,W", "Z,C,H,W", "T,Z,H,W,3", "Z,H,W,C"],
)  # fmt: skip
def test_the_table_of_channel_axes(viewer, binding, run, disc, leading, trailing, number, shown):
    pixels = disc.reshape(*disc.shape, *[1] * len(trailing))
    data = np.broadcast_to(pixels, (*leading, *disc.shape, *trailing)).copy()
    image = viewer.add_image(data, rgb=bool(trailing))
    binding.model.channel_axis = number
    axes = list(range(len(leading)))
    if axes:
        viewer.dims.set_point(axes, [1.0] * len(axes))
    steps = viewer.dims.nsteps
    binding.prompts.arm()
    layer = viewer.layers.selection.active
    layer.add(layer.world_to_data([*viewer.dims.point[:-2], 20, 30]))

    preview = run()

    labels = viewer.layers["SAM3 preview labels"]
    assert labels.data.shape == (*[1] * len(shown), *disc.shape)
    assert viewer.dims.nsteps == steps
    assert labels.get_value((*viewer.dims.point[:-2], 20, 30), world=True) == 1
    # Files have no channel axis.
    assert binding.adapter.pixels(preview).labels.shape == disc.shape
    assert preview.target.axes.channel == (
        image.ndim if trailing else None if number < 0 else number
    )

"""A folder is annotated image by image in a viewer without a window."""

import threading

import numpy as np
import pytest
import tifffile
from skimage.draw import disk

from amounts import each_once
from faulty_disks import locked
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.provenance import provenance_path, read_provenance
from napari_sam3_assistant.session.model import Propose
from napari_sam3_assistant.session.values import Level
from napari_sam3_assistant.viewer.roles import Role
from napari_sam3_assistant.workflows.annotate_folder import AnnotatedFolder, ImageState
from napari_sam3_assistant.workflows.examples import EXPERIMENTAL
from saved_sessions import new_binding

CENTRES = ((20, 30), (20, 80), (60, 30))


def draw(count, shape=(80, 110)):
    image = np.full(shape, 40, np.uint8)
    for centre in CENTRES[:count]:
        image[disk(centre, 10, shape=shape)] = 200
    return image


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (1, 2, 3):
        tifffile.imwrite(folder / f"cell{number}.tif", draw(number))
    return folder


@pytest.fixture
def annotation(binding, source, tmp_path):
    """The folder, opened."""
    desk = binding.session.annotation
    desk.start(str(source), str(tmp_path / "labels"))
    settle(binding)
    return desk


def settle(binding):
    """Wait for the work that is going, and for what it begins."""
    idle = threading.Event()
    binding.model.events.running.connect(idle.set, max_args=0)
    patience = 2400
    while binding.model.running:
        idle.wait(0.1)
        idle.clear()
        patience -= 1
        assert patience
    binding.model.events.running.disconnect(idle.set)


def click(binding, y, x):
    binding.model.task = Task.LIVE_POINTS
    binding.prompts.arm()
    layer = binding.adapter.points_layer(binding.model.image)
    layer.add([*[0] * (layer.ndim - 2), y, x])
    assert binding.session.run().wait(240)


@pytest.mark.parametrize("moved", [False, True])
def test_the_next_image_is_seen_where_the_user_had_the_canvas(binding, annotation, moved):
    camera = getattr(binding.viewer, "scene", binding.viewer).camera
    camera.center, camera.zoom = (0, 30.0, 44.0), 3.0
    click(binding, *CENTRES[0])
    binding.actions.next_object()
    binding.actions.next_object()
    assert camera.center[1:] == CENTRES[0]
    if moved:
        camera.center = (0, 25.0, 31.0)
    annotation.go(1)
    settle(binding)
    assert camera.center[1:] == ((25, 31) if moved else (30, 44))
    assert camera.zoom == 3


def test_an_image_of_another_size_fills_the_canvas(binding, tmp_path):
    source = tmp_path / "sizes"
    source.mkdir()
    shapes = ((400, 300), (60, 80), (500, 700))
    for name, shape in zip("abc", shapes, strict=True):
        tifffile.imwrite(source / f"{name}.tif", np.zeros(shape, np.uint8))
    binding.session.annotation.start(str(source), str(tmp_path / "labels"))
    settle(binding)
    camera = getattr(binding.viewer, "scene", binding.viewer).camera
    for place, (height, width) in enumerate(shapes):
        if place:
            go(binding, 1)
        seen = camera.center, camera.zoom
        assert seen[0][1:] == pytest.approx(((height - 1) / 2, (width - 1) / 2))
        binding.viewer.reset_view()
        assert (camera.center, camera.zoom) == seen


def shown(binding):
    return [layer.name for layer in binding.viewer.layers]


def accepted(binding):
    return next(one for one in binding.viewer.layers if "accepted" in one.name)


def go(binding, step):
    binding.session.annotation.go(step)
    settle(binding)


def test_the_first_image_is_opened(binding, annotation, tmp_path):
    model = annotation.model
    assert [str(one.state) for one in model.images] == ["untouched"] * 3
    assert (model.name, model.place) == ("cell1.tif", 0)
    assert shown(binding) == ["cell1"]
    assert binding.model.chosen_image.name == "cell1"
    assert str(tmp_path / "labels") in binding.model.message.text
    assert "1 of 3: cell1.tif" in binding.model.message.text


def test_the_state_and_the_count_of_the_image_on_show_are_those_of_now(binding, annotation):
    def told():
        return [(str(one.state), one.objects) for one in annotation.model.images[:2]]

    click(binding, *CENTRES[0])
    assert told() == [("untouched", 0), ("untouched", 0)]
    binding.session.accept()
    assert told() == [("begun", 1), ("untouched", 0)]
    binding.session.undo()
    assert told() == [("untouched", 0), ("untouched", 0)]
    binding.session.redo()
    go(binding, 1)
    assert told() == [("done", 1), ("untouched", 0)]
    click(binding, *CENTRES[1])
    binding.session.accept()
    assert told() == [("done", 1), ("begun", 1)]
    go(binding, -1)
    assert told() == [("done", 1), ("begun", 1)]


def test_next_saves_what_is_on_show_and_marks_it_done(binding, annotation, tmp_path):
    click(binding, *CENTRES[0])
    assert binding.model.previews

    go(binding, 1)

    assert binding.model.message.text.startswith("Saved 1 object in cell1_labels.tif.")
    labels = tifffile.imread(tmp_path / "labels" / "cell1_labels.tif")
    assert np.count_nonzero(labels == 1) == pytest.approx(314, rel=0.1)
    assert [str(one.state) for one in annotation.model.images] == ["done", "untouched", "untouched"]
    # Of the image before nothing is left, and nothing of it comes back.
    assert not any("accepted" in name for name in shown(binding))
    assert [name for name in shown(binding) if "SAM3" not in name] == ["cell2"]
    assert binding.model.previews == ()
    assert not binding.model.can_undo or binding.session.undo() is None
    assert "cell1" not in shown(binding)


def test_who_goes_back_finds_the_objects_with_what_is_known_of_them(binding, annotation):
    click(binding, *CENTRES[0])
    binding.session.accept()
    before = accepted(binding)
    labels, features = before.data.copy(), before.features.copy()
    go(binding, 1)
    go(binding, -1)

    after = accepted(binding)
    np.testing.assert_array_equal(after.data, labels)
    assert after.features[list(features.columns)].equals(features)
    assert binding.model.kept == 1
    assert [row.record.id for row in binding.model.results] == [1]
    # One goes on with them: the next object is the next one.
    binding.session.correcting.delete(binding.model.results[0])
    assert accepted(binding).data.max() == 0
    go(binding, 1)
    go(binding, -1)
    assert accepted(binding).data.max() == 0


def test_columns_and_classes_come_back(binding, annotation, source, tmp_path):
    click(binding, *CENTRES[0])
    binding.session.accept()
    layer = accepted(binding)
    more = {"class": ["nucleus"], "Mean": [3.5], "seen by": ["me"]}
    layer.features = layer.features.assign(**more)

    go(binding, 1)
    go(binding, -1)

    row = accepted(binding).features.to_dict("records")[0]
    assert (row["class"], row["Mean"], row["seen by"]) == ("nucleus", 3.5, "me")
    again = AnnotatedFolder(source, tmp_path / "labels")
    assert again.export(NullReporter()).objects == 1


def test_contrast_task_and_threshold_stay(binding, annotation):
    binding.viewer.layers["cell1"].contrast_limits = (30, 120)
    binding.viewer.layers["cell1"].gamma = 0.7
    binding.model.task = Task.SEGMENT

    go(binding, 1)

    assert tuple(binding.viewer.layers["cell2"].contrast_limits) == (30, 120)
    assert binding.viewer.layers["cell2"].gamma == 0.7
    assert binding.model.task is Task.SEGMENT


def test_layers_of_the_user_stay(binding, annotation):
    mine = binding.viewer.add_points([[1, 1]], name="mine")
    go(binding, 1)
    assert mine in binding.viewer.layers


def test_skip_done_is_remembered_and_passes_over(binding, annotation):
    go(binding, 1)
    go(binding, 1)
    annotation.model.skip_done = True
    assert annotation.model.name == "cell3.tif"
    go(binding, -1)  # both before are done: there is nothing to go to
    assert annotation.model.name == "cell3.tif"
    assert "no other image" in binding.model.message.text


def test_a_flag_stays_through_next(binding, annotation):
    assert annotation.set_state(ImageState.FLAGGED).wait(240)
    go(binding, 1)
    assert annotation.model.images[0].state is ImageState.FLAGGED


def test_finish_writes_the_files_of_all(binding, annotation, tmp_path):
    for centre in (CENTRES[0], CENTRES[1]):
        click(binding, *centre)
        go(binding, 1)

    annotation.finish()
    settle(binding)

    assert annotation.model.source == ""
    assert (tmp_path / "labels" / "sam3_coco.json").exists()
    assert "2 objects on 2 images" in binding.model.message.text
    assert [name for name in shown(binding) if "SAM3" not in name] == ["cell3"]


def test_an_image_that_can_not_be_read_is_said_and_one_goes_on(binding, source):
    (source / "cell2.tif").write_bytes(b"no image")
    annotation = binding.session.annotation
    annotation.start(str(source))
    settle(binding)
    click(binding, *CENTRES[0])

    go(binding, 1)

    assert annotation.model.name == "cell2.tif"
    assert binding.model.message.level is Level.ERROR
    assert "can't be read" in binding.model.message.text
    assert annotation.model.images[0].objects == 1
    go(binding, 1)
    assert annotation.model.name == "cell3.tif"
    assert "cell3" in shown(binding)
    # Nobody has seen it: once it can be read, who passes over those that are done comes to it.
    assert [str(one.state) for one in annotation.model.images[:2]] == ["done", "untouched"]
    tifffile.imwrite(source / "cell2.tif", draw(2))
    annotation.model.skip_done = True
    go(binding, -1)
    assert annotation.model.name == "cell2.tif"
    assert "cell2" in shown(binding)


def test_after_the_last_image_that_can_not_be_read_there_is_no_other(binding, source):
    (source / "cell3.tif").write_bytes(b"no image")
    annotation = binding.session.annotation
    annotation.start(str(source))
    settle(binding)
    go(binding, 1)
    go(binding, 1)
    assert "can't be read" in binding.model.message.text
    go(binding, 1)
    assert "no other image" in binding.model.message.text
    assert annotation.model.images[2].state is ImageState.UNTOUCHED


def test_where_nothing_can_be_written_the_image_stays(binding, annotation, tmp_path):
    click(binding, *CENTRES[0])
    with locked(tmp_path / "labels"):
        go(binding, 1)

    assert annotation.model.name == "cell1.tif"
    assert binding.model.message.level is Level.ERROR
    assert accepted(binding).data.max() == 1
    go(binding, 1)
    assert annotation.model.name == "cell2.tif"
    assert annotation.model.images[0].objects == 1


def test_what_is_done_while_it_is_written_is_not_lost(binding, annotation, monkeypatch):
    click(binding, *CENTRES[0])
    binding.session.accept()
    going, seen = threading.Event(), threading.Event()
    real = AnnotatedFolder.save

    def slow(*arguments):
        seen.set()
        assert going.wait(240)
        return real(*arguments)

    monkeypatch.setattr(AnnotatedFolder, "save", slow)
    annotation.go(1)
    assert seen.wait(240)
    accepted(binding).paint((60, 80), 7)
    going.set()
    settle(binding)

    assert annotation.model.name == "cell1.tif"
    assert "press Next again" in binding.model.message.text
    go(binding, 1)
    assert annotation.model.name == "cell2.tif"
    assert annotation.model.images[0].objects == 2


def test_prompts_that_were_not_run_are_told(binding, annotation):
    binding.model.task = Task.SEGMENT
    binding.prompts.arm()
    binding.adapter.points_layer(binding.model.image).add(CENTRES[0])
    go(binding, 1)
    assert "not run" in binding.model.message.text


def test_another_folder_is_opened_after_saving(binding, annotation, tmp_path):
    click(binding, *CENTRES[0])
    other = tmp_path / "other"
    other.mkdir()
    tifffile.imwrite(other / "x.tif", draw(1))

    annotation.start(str(other))
    settle(binding)

    assert (tmp_path / "labels" / "cell1_labels.tif").exists()
    assert annotation.model.name == "x.tif"
    assert annotation.model.output == str(other / "sam3_labels")


@pytest.mark.parametrize(
    ("shape", "axes", "rgb"),
    [((4, 40, 50), "ZYX", False), ((2, 40, 50), "CYX", False), ((40, 50, 3), "YXS", True),
     ((3, 2, 40, 50), "TCYX", False)],
)  # fmt: skip
def test_stacks_channels_and_colours_come_back(binding, tmp_path, shape, axes, rgb):
    folder = tmp_path / "stacks"
    folder.mkdir()
    image = np.full(shape, 40, np.uint8)
    plane = np.zeros((40, 50), bool)
    plane[disk((20, 25), 9)] = True
    image[(..., plane, slice(None)) if rgb else (..., plane)] = 210
    for name in ("a", "b"):
        metadata = {"axes": axes} if not rgb else None
        path = folder / f"{name}.ome.tif" if not rgb else folder / f"{name}.tif"
        tifffile.imwrite(
            path, image, ome=not rgb, metadata=metadata, photometric="rgb" if rgb else None
        )
    annotation = binding.session.annotation
    annotation.start(str(folder))
    settle(binding)
    binding.viewer.dims.set_point(range(binding.viewer.dims.ndim), [0] * binding.viewer.dims.ndim)
    click(binding, 20, 25)
    binding.session.accept()
    labels, at = np.array(accepted(binding).data), binding.viewer.dims.point
    assert labels.any()

    go(binding, 1)
    go(binding, -1)

    np.testing.assert_array_equal(accepted(binding).data, labels)
    assert len(accepted(binding).features) == 1
    assert len(at) == binding.viewer.dims.ndim


@pytest.mark.parametrize(
    ("tool", "by_hand"), each_once([Tool.POINTS, Tool.BOX, Tool.MASK], [False, True])
)
def test_no_slider_stays_that_no_image_has(binding, source, tmp_path, tool, by_hand):
    stack = np.stack([draw(1)] * 5)
    tifffile.imwrite(source / "cell0.tif", stack, metadata={"axes": "ZYX"})
    annotation, dims = binding.session.annotation, binding.viewer.dims
    annotation.start(str(source), str(tmp_path / "labels"))
    settle(binding)
    dims.set_point(0, 0)
    click(binding, *CENTRES[0])
    binding.model.task, binding.model.tool = Task.SEGMENT, tool
    binding.prompts.arm()
    assert dims.ndim == 3

    go(binding, 1)
    assert dims.ndim == 2, shown(binding)
    go(binding, -1)
    assert dims.ndim == 3
    binding.prompts.arm()
    if by_hand:  # what was emptied for the stack goes with it
        binding.viewer.add_image(draw(1), name="mine")
        binding.adapter.clear_prompts(binding.model.image)
        binding.model.previews = ()
        binding.viewer.layers.remove("cell0")
        kept = [one for one in binding.viewer.layers if one.metadata.get("sam3_image") == ""]
        assert all(one.ndim == 2 for one in kept)
        return
    go(binding, 1)
    click(binding, *CENTRES[0])
    assert binding.model.previews[-1].segmentation.objects
    assert dims.ndim == 2


@pytest.mark.parametrize("axes", ["YXC", "YXZ", "YZX", "unnamed"])
def test_rows_and_columns_that_are_not_the_last_axes_are_on_show(binding, tmp_path, axes):
    """As programs write channels, and as stacks are cut; the image behind it is an ordinary one."""
    folder = tmp_path / "odd"
    folder.mkdir()
    metadata = None if axes == "unnamed" else {"axes": axes}
    options = {"metadata": metadata} if metadata else {}
    image = np.stack([draw(3), draw(3) // 2], 1 if axes == "YZX" else 2)
    tifffile.imwrite(folder / "a.tif", image, photometric="minisblack", **options)
    for name in ("b.tif", "c.tif"):
        tifffile.imwrite(folder / name, np.stack([draw(2)] * 5), metadata={"axes": "ZYX"})
    annotation, dims = binding.session.annotation, binding.viewer.dims
    annotation.start(str(folder))
    settle(binding)
    rows, columns = (0, 2) if axes == "YZX" else (0, 1)
    assert dims.order[-2:] == (rows, columns)
    binding.model.task = Task.LIVE_POINTS
    binding.prompts.arm()
    at = np.zeros(3)
    at[[rows, columns]] = CENTRES[0]
    points = binding.adapter.points_layer(binding.model.image)
    dims.set_point(range(3), at)
    points.add(at[-points.ndim :])
    assert binding.session.run().wait(240)
    binding.session.accept()
    labels = np.array(accepted(binding).data)
    found = labels.any(axis=3 - rows - columns)
    assert found[CENTRES[0]]
    assert 250 < np.count_nonzero(found) < 400

    go(binding, 1)
    assert dims.order == (0, 1, 2)
    dims.order = (1, 0, 2)  # the user's own choice stays
    go(binding, 1)
    assert dims.order == (1, 0, 2)
    go(binding, -1)
    go(binding, -1)

    assert dims.order[-2:] == (rows, columns)
    np.testing.assert_array_equal(accepted(binding).data, labels)


def boxes(binding, *corners):
    """Draw example boxes as the user does."""
    binding.model.task = Task.EXEMPLAR
    binding.prompts.arm()
    layer = binding.adapter.prompt_layer(binding.model.image, Role.BOXES)
    for (y0, x0), (y1, x1) in corners:
        layer.add([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], shape_type="rectangle")


def wait_for(binding, text):
    """Wait until the status line says something."""
    said = threading.Event()
    binding.model.events.message.connect(lambda message: text in message.text and said.set())
    assert text in binding.model.message.text or said.wait(240)


def test_examples_of_one_image_propose_objects_on_the_next(binding, annotation, tmp_path):
    boxes(binding, ((8, 18), (32, 42)))
    annotation.proposals.add_example()
    wait_for(binding, "Added 1 example")
    annotation.model.propose = Propose.EXAMPLES

    go(binding, 1)
    settle(binding)

    assert "Proposed 2 objects" in binding.model.message.text
    assert "Experimental" in binding.model.message.text
    (preview,) = binding.model.previews
    assert len(preview.segmentation.objects) == 2
    assert binding.model.kept == 0  # nobody has accepted them
    # One is dropped, the other kept by going on.
    binding.session.correcting.delete(binding.model.results[0])
    go(binding, 1)
    settle(binding)
    (_, image, *_) = annotation.model.images
    assert image.objects == 1
    note = read_provenance(provenance_path(tmp_path / "labels" / image.labels))
    assert note.notes == (EXPERIMENTAL,)
    # On an image with objects nothing is proposed.
    go(binding, -1)
    settle(binding)
    assert binding.model.previews == ()
    assert binding.model.kept == 1


def test_a_marked_object_is_an_example_of_its_class(binding, annotation, tmp_path):
    click(binding, *CENTRES[0])
    binding.model.picked = binding.model.results[0]
    annotation.proposals.add_example()
    wait_for(binding, "Added 1 example")
    assert len(list((tmp_path / "labels" / "sam3_examples").glob("*.png"))) == 1


def test_without_an_example_it_is_said_what_to_do(binding, annotation):
    with pytest.raises(PromptError, match="no example to add"):
        annotation.proposals.add_example()
    # Nor is it an error at each image, of which napari would tell in a window of its own.
    annotation.model.propose = Propose.EXAMPLES
    said = []
    binding.model.events.message.connect(lambda message: said.append(message.level))
    go(binding, 1)
    settle(binding)
    assert "Nothing is proposed: There is no example" in binding.model.message.text
    assert binding.model.message.level is Level.WARNING
    assert Level.ERROR not in said


def test_a_phrase_proposes_on_the_next_image(binding, annotation):
    binding.model.task = Task.TEXT
    binding.model.text = "bright disc"
    annotation.model.propose = Propose.PHRASE

    go(binding, 1)
    settle(binding)

    (preview,) = binding.model.previews
    assert len(preview.segmentation.objects) == 2
    binding.session.undo()
    assert binding.model.previews == ()

    # Where nothing is found there is nothing to keep, to drop or to take back.
    binding.model.threshold = 1.0
    go(binding, 1)
    settle(binding)
    assert "Nothing is proposed: no object was found." in binding.model.message.text
    assert binding.model.previews == ()
    assert not binding.model.can_undo


def test_labels_of_another_tool_are_proposed(binding, source, tmp_path):
    masks = np.zeros((80, 110), np.uint16)
    masks[disk(CENTRES[0], 10)] = 7
    masks[disk(CENTRES[1], 10)] = 9
    tifffile.imwrite(source / "cell2_cp_masks.tif", masks)
    tifffile.imwrite(source / "cell3_cp_masks.tif", masks[:20])
    annotation = binding.session.annotation
    annotation.model.propose = Propose.LABELS
    annotation.start(str(source), str(tmp_path / "labels"))
    settle(binding)
    assert binding.model.previews == ()

    go(binding, 1)
    settle(binding)

    assert "Proposed 2 objects" in binding.model.message.text
    go(binding, 1)  # what nobody drops is kept
    settle(binding)
    saved = tifffile.imread(tmp_path / "labels" / "cell2_labels.tif")
    np.testing.assert_array_equal(saved > 0, masks > 0)
    # Labels that don't fit are said, and nothing else happens.
    assert annotation.model.name == "cell3.tif"
    assert "holds no labels of this plane" in binding.model.message.text


def test_prompts_that_were_not_run_wait_in_the_folder_for_any_later_start(
    binding, annotation, source, tmp_path
):
    binding.model.task = Task.SEGMENT
    binding.prompts.arm()
    binding.adapter.points_layer(binding.model.image).add(CENTRES[0])
    binding.model.tool = Tool.MASK
    binding.prompts.arm()
    mask = next(one for one in binding.viewer.layers if one.name == "SAM3 mask prompt")
    mask.data_setitem((np.arange(30, 40), np.full(10, 25)), 1)
    before = binding.adapter.opened.prompts_as_json(binding.model.image)
    assert len(before) == 2
    go(binding, 1)
    annotation.finish()
    settle(binding)
    assert not annotation.model.name

    again = new_binding()
    again.session.annotation.start(str(source), str(tmp_path / "labels"))
    settle(again)
    assert again.session.annotation.model.name == "cell2.tif"
    go(again, -1)
    assert again.adapter.opened.prompts_as_json(again.model.image) == before
    assert again.model.why_not.undo == ""
    again.adapter.clear_prompts(again.model.image)
    go(again, 1)
    go(again, -1)
    assert again.adapter.opened.prompts_as_json(again.model.image) == []
    again.close()
    # What somebody else has made of the file harms nobody.
    with (tmp_path / "labels" / "sam3_annotation.jsonl").open("a") as file:
        file.write('{"image": "cell1.tif", "prompts": [{"role": "points", "place": 3}]}\n')
    go_to = new_binding()
    go_to.session.annotation.start(str(source), str(tmp_path / "labels"))
    settle(go_to)
    go(go_to, -1)
    assert go_to.session.annotation.model.name == "cell1.tif"
    assert "prompts that were not run can't be read" in go_to.model.message.text
    go_to.close()

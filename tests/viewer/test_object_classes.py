"""The class of objects: chosen by keys, changed with undo, and the same wherever it is told."""

import json
import sys
import threading
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from roifile import ImagejRoi
from skimage.draw import disk

from amounts import FEW
from napari_sam3_assistant import api
from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.errors import ExportError, MaskError, PromptError
from napari_sam3_assistant.io.class_list import read_classes, read_object_names, write_classes
from napari_sam3_assistant.mask_operations.binding import mask_binding_for
from napari_sam3_assistant.session.layer_files import read_note
from napari_sam3_assistant.session.messages import AREA, CLASS, NOTHING, OBJECT_CLASS, column_titles
from napari_sam3_assistant.session.results import format_row
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import FileBackedLabels, FramePlace, KeptPlace, Preview
from napari_sam3_assistant.viewer.accepted_objects import read_parents
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.roles import Role, key_of, with_role
from napari_sam3_assistant.widgets.fields.gallery import ResultRows

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
saved = import_module("saved_sessions")

ACCEPTED, PREVIEW = "SAM3 live accepted labels", "SAM3 preview labels"
LISTED = ClassList((ObjectClass(2, "tumour", parent="nucleus"), ObjectClass(1, "nucleus")))
NAMES = ("", "tumour", "nucleus")


def discs(*shape):
    plane = np.full((60, 80), 20, np.uint8)
    for centre in ((15, 15), (15, 50), (42, 18), (42, 60)):
        plane[disk(centre, 8)] = 200
    return np.broadcast_to(plane, (*shape, 60, 80)).copy()


class Desk:
    """A viewer with four bright discs, a class list, and a session."""

    def __init__(self, *shape):
        self.viewer = ViewerModel()
        self.image = self.viewer.add_image(discs(*shape), name="cells")
        self.binding = binding_for(self.viewer, deliver_inline, MemorySettings())
        self.session, self.model = self.binding.session, self.binding.model
        self.model.class_list = LISTED

    @classmethod
    def of(cls, binding):
        """A desk with what another binding has."""
        made = cls.__new__(cls)
        made.viewer, made.binding = binding.viewer, binding
        made.session, made.model = binding.session, binding.model
        return made

    def close(self):
        self.binding.close()

    def find_all(self):
        self.model.task, self.model.tool, self.model.text = Task.TEXT, Tool.TEXT, "bright objects"
        self.run()

    def run(self):
        job = self.session.run()
        assert job.wait(240)
        assert job.error is None, job.error

    def settle(self):
        ended = threading.Event()
        self.model.events.running.connect(lambda running: running or ended.set())
        assert not self.model.running or ended.wait(240)

    def rows(self, kind):
        return [row for row in self.model.results if isinstance(row.preview, kind)]

    def told(self, kind):
        return {row.record.id: row.record.class_name for row in self.rows(kind)}

    def features(self, name):
        """What a layer's features say, with nothing for "-"."""
        if name not in self.viewer.layers:
            return {}
        rows = self.viewer.layers[name].features.to_dict("records")
        return {row["index"]: row.get("class", "-").replace("-", "") for row in rows}


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.close()


@FEW
@given(data=st.data())
def test_any_changes_of_class_undone_and_done_again_are_as_a_list_of_states_has_them(data):
    desk = Desk()
    session, model = desk.session, desk.model
    if data.draw(st.booleans()):
        desk.binding.adapter.accepted.in_memory = (
            10  # accepted labels are on the disk, written by a job
        )
    model.object_class = data.draw(st.sampled_from(NAMES))
    desk.find_all()
    assert session.measuring.measure().wait(240)
    found = dict.fromkeys(range(1, 5), model.object_class)
    states, at = [({}, {}), (found, {})], 1
    for _ in range(data.draw(st.integers(1, 9))):
        found, accepted = (dict(one) for one in states[at])
        verb = data.draw(st.sampled_from(["undo", "redo", "accept", "found", "accepted", "both"]))
        if verb == "undo":
            session.undo()
            at = max(0, at - 1)
        elif verb == "redo":
            session.redo()
            at = min(len(states) - 1, at + 1)
        else:
            rows = [] if verb == "accepted" else desk.rows(Preview)
            rows += [] if verb == "found" else desk.rows(KeptPlace)
            if verb == "accept":
                if not found:
                    continue
                session.accept()
                accepted |= {len(accepted) + id_: name for id_, name in found.items()}
                found = {}
            else:
                rows = [row for row in rows if data.draw(st.booleans())]
                name = data.draw(st.sampled_from(NAMES))
                if not rows:
                    continue
                session.classes.set_class(rows, name)
                for row in rows:
                    of = found if isinstance(row.preview, Preview) else accepted
                    of[row.record.id] = name
            states, at = [*states[: at + 1], (found, accepted)], at + 1
        desk.settle()
        found, accepted = states[at]
        assert desk.told(Preview) == desk.features(PREVIEW) == found
        assert desk.told(KeptPlace) == desk.features(ACCEPTED) == accepted
        every = [*found.values(), *accepted.values()]
        assert session.classes.count() == {name: every.count(name) for name in every}
    desk.close()


def test_renumbered_objects_keep_their_classes(desk):
    desk.find_all()
    desk.session.classes.set_class(desk.rows(Preview)[1:3], "nucleus")
    desk.session.accept()
    desk.settle()
    layer = desk.viewer.layers[ACCEPTED]
    told = desk.told(KeptPlace)
    other = mask_binding_for(desk.viewer, deliver_inline)
    other.model.target = key_of(layer)
    layer.data_setitem(np.nonzero(layer.data == 1), 0)
    numbers = np.array(layer.data)

    def look():
        for number in (2, 3, 4):
            now = int(layer.data[numbers == number][0])
            assert desk.features(ACCEPTED)[now] == desk.told(KeptPlace)[now] == told[number]

    other.session.cleanup.apply(Operation.RENUMBER)
    saved.wait_until(lambda: "Renumber labels: changed" in other.model.message.text)
    assert np.unique(layer.data).tolist() == [0, 1, 2, 3]
    look()
    other.session.cleanup.undo()
    np.testing.assert_array_equal(layer.data, numbers)
    look()
    other.close()


def test_the_first_object_with_a_class_that_comes_brings_the_column(desk):
    desk.find_all()
    rows = ResultRows(desk.session)
    without = desk.model.results[:2]
    rows.show(without)
    assert OBJECT_CLASS not in rows.titles
    desk.session.classes.set_class(desk.rows(Preview)[2:], "nucleus")
    rows.show((*without, *desk.model.results[2:]))
    assert OBJECT_CLASS in rows.titles
    assert rows.columnCount() == len(rows.titles)
    cells = [rows.data(rows.index(place, rows.titles.index(OBJECT_CLASS))) for place in range(4)]
    assert cells == [NOTHING, NOTHING, "nucleus", "nucleus"]


def test_renumbered_objects_are_the_parents_by_their_new_numbers(desk):
    desk.find_all()
    desk.session.accept()
    desk.settle()
    layer = desk.viewer.layers[ACCEPTED]
    other = mask_binding_for(desk.viewer, deliver_inline)
    other.model.target = key_of(layer)
    layer.features = layer.features.assign(parent=[4, 0, 1, 3])
    layer.data_setitem(np.nonzero(layer.data == 2), 0)

    def parents():
        told = {row.record.id: row.record.parent for row in desk.rows(KeptPlace)}
        assert read_parents(layer) == {id_: of for id_, of in told.items() if of}
        return read_parents(layer)

    assert parents() == {1: 4, 3: 1, 4: 3}
    other.session.cleanup.apply(Operation.RENUMBER)
    saved.wait_until(lambda: "Renumber labels: changed" in other.model.message.text)
    assert parents() == {1: 3, 2: 1, 3: 2}
    other.session.cleanup.undo()
    assert parents() == {1: 4, 3: 1, 4: 3}
    # What has become a part of another object leaves its daughters to nobody.
    layer.data_setitem(np.nonzero(layer.data == 4), 3)
    assert read_parents(layer) == {3: 1}
    other.close()


def test_objects_that_filters_hide_are_counted_apart(desk):
    session, count = desk.session, 4
    desk.find_all()
    session.classes.set_class(desk.rows(Preview)[1:], "nucleus")
    session.accept()
    desk.find_all()
    session.classes.set_class(desk.rows(Preview)[1:], "nucleus")
    for last in range(count + 1):
        session.filtering.show_range("Object ID", 1, last)
        shown = Counter(row.record.class_name for row in desk.model.results)
        counted = session.classes.count()
        assert counted == {"": 2, "nucleus": 2 * (count - 1)}
        assert counted - session.classes.count_hidden() == shown
    session.filtering.show_all()
    assert not session.classes.count_hidden()


def test_a_change_of_class_keeps_pixels_measurements_and_the_mark(desk):
    desk.find_all()
    assert desk.session.measuring.measure().wait(240)
    row = desk.rows(Preview)[1]
    desk.model.picked = row
    desk.session.classes.press(2)

    (changed,) = [one for one in desk.rows(Preview) if one.record.id == row.record.id]
    assert changed.record.class_name == "nucleus"
    assert changed.measured is row.measured
    assert desk.model.picked is changed
    assert changed.record.mask is row.record.mask

    desk.session.accept()
    assert desk.session.measuring.measure().wait(240)
    pixels = desk.viewer.layers[ACCEPTED].data.copy()
    before = {one.record.id: one.measured for one in desk.rows(KeptPlace)}
    assert None not in before.values()
    desk.session.classes.set_class(desk.rows(KeptPlace)[:2], "tumour")
    assert {one.record.id: one.measured for one in desk.rows(KeptPlace)} == before
    assert "measured_area" in desk.viewer.layers[ACCEPTED].features
    np.testing.assert_array_equal(desk.viewer.layers[ACCEPTED].data, pixels)


def test_the_table_has_a_class_column_where_an_object_has_one(desk):
    desk.find_all()
    assert "Class" not in column_titles(desk.model.results, ())
    desk.session.classes.set_class(desk.rows(Preview)[:1], "tumour")
    titles = column_titles(desk.model.results, ())
    assert titles == ("Class",)
    assert [format_row(row, titles)[-1] for row in desk.model.results][:2] == ["tumour", "-"]


def press(desk, layer, key):
    """Press a key as napari's canvas does: the layer's own binding, else the viewer's."""
    for owner in (layer, desk.viewer):
        handler = {str(one): call for one, call in owner.keymap.items()}.get(key)
        if handler is not None:
            next(handler(owner), None)  # it waits for the key to be let go
            return
    raise AssertionError(key)


def click(desk, *pixel):
    desk.model.task, desk.model.tool = Task.LIVE_POINTS, Tool.POINTS
    desk.binding.prompts.arm()
    points = desk.viewer.layers.selection.active
    points.add(pixel)
    return points


def test_a_key_is_for_the_object_that_is_worked_on_and_the_next_ones(desk):
    points = click(desk, 15, 15)
    desk.run()
    press(desk, points, "1")
    assert desk.model.object_class == "tumour"
    assert desk.told(Preview) == {1: "tumour"}
    points.add([16, 16])
    desk.session.run_live()
    desk.settle()
    assert desk.told(Preview) == {1: "tumour"}
    desk.session.accept()
    click(desk, 15, 50)
    desk.run()
    press(desk, points, "2")
    desk.session.accept()
    assert desk.features(ACCEPTED) == {1: "tumour", 2: "nucleus"}
    with pytest.raises(PromptError, match="no class for the key 7"):
        desk.session.classes.press(7)


def test_a_new_click_is_not_for_the_object_that_was_marked_before(desk):
    click(desk, 15, 15)
    desk.run()
    desk.session.accept()
    desk.model.picked = desk.rows(KeptPlace)[0]
    points = click(desk, 15, 50)
    desk.run()
    press(desk, points, "1")
    assert desk.features(ACCEPTED) == {1: ""}
    assert desk.told(Preview) == {1: "tumour"}


def test_refining_an_object_keeps_its_class(desk):
    desk.find_all()
    desk.session.classes.set_class(desk.rows(Preview)[:1], "tumour")
    id_ = desk.rows(Preview)[0].record.id
    desk.session.refine(id_)
    desk.session.classes.set_class(desk.rows(Preview)[:1], "nucleus")  # while it is refined
    points = click(desk, *np.argwhere(desk.rows(Preview)[0].record.mask)[0])
    assert len(points.data)
    desk.run()
    assert desk.told(Preview)[id_] == "nucleus"
    desk.session.accept()
    desk.session.refine_accepted(desk.rows(KeptPlace)[0].preview, 1)
    assert desk.told(Preview) == {1: "nucleus"}


def test_followed_objects_have_the_class_of_the_one_they_come_of(desk):
    desk.close()
    stack = Desk(3)
    model = stack.model
    stack.viewer.dims.set_current_step(0, 1)
    click(stack, 1, 15, 15)
    stack.run()
    stack.session.classes.set_class(stack.rows(Preview), "tumour")
    model.object_class = "nucleus"
    stack.binding.actions.follow()
    stack.settle()
    assert {row.record.class_name for row in stack.rows(FramePlace)} == {"tumour"}
    assert len(stack.rows(FramePlace)) == 3
    stack.session.classes.set_class(stack.rows(FramePlace)[:1], "nucleus")
    assert {row.record.class_name for row in stack.rows(FramePlace)} == {"nucleus"}
    stack.session.undo()
    assert {row.record.class_name for row in stack.rows(FramePlace)} == {"tumour"}
    stack.session.redo()
    assert {row.record.class_name for row in stack.rows(FramePlace)} == {"nucleus"}
    stack.session.accept()
    stack.settle()
    assert stack.features(ACCEPTED) == {1: "nucleus"}
    stack.close()


def test_a_class_that_is_renamed_is_so_in_all_objects_also_by_the_other_window(desk):
    other = mask_binding_for(desk.viewer, deliver_inline)
    assert other.model.class_list == LISTED
    desk.find_all()
    desk.session.classes.set_class(desk.rows(Preview)[:2], "tumour")
    desk.session.classes.set_class(desk.rows(Preview)[2:3], "nucleus")
    desk.session.accept()
    desk.model.object_class = "nucleus"
    swapped = ClassList((ObjectClass(2, "nucleus"), ObjectClass(1, "tumour")))
    other.session.collection.class_file.change(
        swapped, None, {"tumour": "nucleus", "nucleus": "tumour"}
    )
    assert desk.model.class_list == swapped
    assert desk.features(ACCEPTED) == {1: "nucleus", 2: "nucleus", 3: "tumour", 4: ""}
    assert desk.model.object_class == "tumour"
    # The change of either window is taken back in either.
    assert desk.session.classes.file.can_take_back
    desk.session.classes.file.forget()
    for expected in (swapped, LISTED):
        assert other.session.collection.class_file.can_take_back
        other.session.collection.class_file.take_back()
        assert desk.model.class_list == expected
    assert desk.features(ACCEPTED) == {1: "tumour", 2: "tumour", 3: "nucleus", 4: ""}
    assert not desk.session.classes.file.can_take_back
    desk.model.class_list = ClassList()
    assert not other.model.class_list
    assert desk.model.object_class == ""
    other.close()


def test_changes_of_the_list_are_taken_back_in_its_file_and_in_the_objects(desk, tmp_path):
    file, path = desk.session.classes.file, tmp_path / "classes.csv"
    write_classes(LISTED, path)
    file.choose(path)
    desk.find_all()
    desk.session.classes.set_class(desk.rows(Preview)[:2], "tumour")
    desk.session.accept()
    red = ClassList((ObjectClass(2, "nucleus", (255, 0, 0)), ObjectClass(1, "cancer")))
    fewer = ClassList((ObjectClass(2, "nucleus", (255, 0, 0)),))
    file.change(red, path, {"tumour": "cancer"})
    assert desk.features(ACCEPTED) == {1: "cancer", 2: "cancer", 3: "", 4: ""}
    file.change(fewer, path, {})
    file.forget()
    for expected in (fewer, red, LISTED):
        assert file.can_take_back
        file.take_back()
        assert desk.model.class_list.names == expected.names
        assert read_classes(path).names == expected.names
        assert desk.model.class_file == str(path)
    assert desk.features(ACCEPTED) == {1: "tumour", 2: "tumour", 3: "", 4: ""}
    file.take_back()  # to before it was chosen
    with pytest.raises(MaskError, match="no change"):
        file.take_back()

    # What somebody has changed elsewhere meanwhile stays.
    file.change(red, path, {})
    desk.model.class_list = fewer
    assert not file.can_take_back
    with pytest.raises(MaskError, match="no change"):
        file.take_back()


def test_a_list_that_can_not_be_written_back_stays_as_it_is(desk, tmp_path):
    file, path = desk.session.classes.file, tmp_path / "lists" / "classes.csv"
    path.parent.mkdir()
    write_classes(LISTED, path)
    file.choose(path)
    fewer = ClassList((ObjectClass(2, "nucleus"),))
    file.change(fewer, path, {})
    path.unlink()
    path.mkdir()
    with pytest.raises(ExportError):
        file.take_back()
    assert desk.model.class_list.names == fewer.names
    assert file.can_take_back


def test_the_class_is_the_same_in_every_file(desk, tmp_path):
    """What was accepted, what is on show beside it, and what Mask Operations exports of both."""
    desk.find_all()
    desk.session.classes.set_class(desk.rows(Preview)[:1], "tumour")
    desk.session.classes.set_class(desk.rows(Preview)[1:3], "nucleus")
    desk.session.classes.set_class(desk.rows(Preview)[3:], "tumour")
    classes = {1: "tumour", 2: "nucleus", 3: "nucleus", 4: "tumour"}
    desk.session.accept()
    assert desk.session.saving.export(tmp_path / "cells.tif").wait(240)
    assert read_object_names(tmp_path / "cells_classes.csv") == classes
    write_classes(LISTED, tmp_path / "classes.csv")
    categories = {1: "nucleus", 2: "tumour"}

    def of_coco(path):
        told = json.loads(path.read_text())
        names = {one["id"]: one["name"] for one in told["categories"]}
        assert names == categories
        assert {one["name"]: one["supercategory"] for one in told["categories"]} == {
            "tumour": "nucleus",
            "nucleus": "",
        }
        return Counter(names[one["category_id"]] for one in told["annotations"])

    many = Counter(classes.values())
    api.export(tmp_path / "cells.tif", tmp_path / "api.json", classes=tmp_path / "classes.csv")
    assert of_coco(tmp_path / "api.json") == many

    other = mask_binding_for(desk.viewer, deliver_inline)
    ended = threading.Event()
    other.model.events.running.connect(lambda running: running or ended.set())
    other.model.output = ACCEPTED
    for format_, name in (
        (ExportFormat.COCO_RLE, "m.json"),
        (ExportFormat.YOLO, "m.txt"),
        (ExportFormat.GEOJSON, "m.geojson"),
        (ExportFormat.IMAGEJ_ROIS, "m.zip"),
    ):
        other.model.export_format, other.model.path = format_, str(tmp_path / name)
        ended.clear()
        other.session.collection.export()
        assert ended.wait(240), other.model.message
        saved.wait_until(lambda: "Exported" in other.model.message.text)  # said right after
        assert name in other.model.message.text
    assert of_coco(tmp_path / "m.json") == many
    lines = (tmp_path / "m.txt").read_text().splitlines()
    assert Counter(categories[int(line.split()[0]) + 1] for line in lines) == many
    told = json.loads((tmp_path / "m.geojson").read_text())
    features = told["features"] if isinstance(told, dict) else told
    told = [one["properties"]["classification"] for one in features]
    named = Counter(one.get("names", [one.get("name")])[-1] for one in told)
    assert named == many
    rois = ImagejRoi.fromfile(tmp_path / "m.zip")
    assert {int(roi.name): categories[roi.group] for roi in rois} == classes
    other.close()


def test_an_object_without_a_class_is_named_where_a_list_is_fixed(desk, tmp_path):
    desk.find_all()
    desk.session.classes.set_class(desk.rows(Preview)[:1], "tumour")
    desk.session.accept()
    assert desk.session.saving.export(tmp_path / "cells.tif").wait(240)
    api.export(tmp_path / "cells.tif", tmp_path / "free.json")
    told = json.loads((tmp_path / "free.json").read_text())
    names = {one["id"]: one["name"] for one in told["categories"]}
    assert Counter(names[one["category_id"]] for one in told["annotations"]) == {
        "tumour": 1,
        "object": 3,
    }
    with pytest.raises(MaskError, match="The object 2 has no class"):
        api.export(tmp_path / "cells.tif", tmp_path / "fixed.json", classes=LISTED)


def classes_beside(scan):
    """Return the class of each object as the note beside a scan has it."""
    ((_, more, _),) = read_note(f"{scan}.json")
    return more["features"].get(CLASS)  # until it is written


def test_objects_of_a_scan_have_the_class_that_was_chosen_in_the_note_beside_it(desk, tmp_path):
    session, model = desk.session, desk.model
    session.scan_model.scan_folder = str(tmp_path)
    session.classes.choose("tumour")
    model.task, model.tool, model.text = Task.TEXT, Tool.TEXT, "bright objects"
    job = session.scanning.run()
    assert job.wait(240)
    (scan,) = tmp_path.glob("*_scan.zarr")
    assert classes_beside(scan) == ["tumour"] * 4
    # A note that can't be written is told of; the classes are on show all the same.
    note = scan.with_name(f"{scan.name}.json")
    note.write_text("somebody else's")
    session.classes.set_class(desk.rows(FileBackedLabels)[:1], "nucleus")
    saved.wait_until(lambda: "are not in the note beside the scan" in model.message.text)
    assert desk.told(FileBackedLabels)[1] == "nucleus"
    assert note.read_text() == "somebody else's"


def test_objects_of_a_scan_get_classes_that_undo_takes_back_also_of_an_opened_session(
    desk, tmp_path
):
    session, model = desk.session, desk.model
    session.scan_model.scan_folder = str(tmp_path)
    model.task, model.tool, model.text = Task.TEXT, Tool.TEXT, "bright objects"
    job = session.scanning.run()
    assert job.wait(240)
    assert job.error is None
    (layer,) = with_role(desk.viewer.layers, Role.SCAN)
    assert session.measuring.measure().wait(240)
    measured = [row.measured for row in desk.rows(FileBackedLabels)]

    def check(at, *names):
        expected = dict(enumerate(names, 1))
        assert at.told(FileBackedLabels) == expected
        (layer,) = with_role(at.viewer.layers, Role.SCAN)
        assert at.features(layer.name) == expected
        assert at.session.classes.count() == Counter(names)

    check(desk, "", "", "", "")
    session.classes.set_class(desk.rows(FileBackedLabels)[:2], "tumour")
    model.picked = desk.rows(FileBackedLabels)[3]
    session.classes.press(2)
    assert model.picked.record.id == 4
    check(desk, "tumour", "tumour", "", "nucleus")
    model.colour_by_class = True
    drawn = layer.colormap.map(np.array([1, 3, 4]))
    np.testing.assert_allclose(
        drawn[:, :3] * 255, [(230, 159, 0), (153,) * 3, (86, 180, 233)], atol=1
    )
    assert [row.measured for row in desk.rows(FileBackedLabels)] == measured
    session.filtering.show_range(AREA, 0, 1)
    session.filtering.show_range(AREA, 0, 10**6)
    check(desk, "tumour", "tumour", "", "nucleus")

    # They are beside the labels, too, a moment later: for whoever opens these without the session.
    (scan,) = tmp_path.glob("*_scan.zarr")
    noted = ["tumour", "tumour", NOTHING, "nucleus"]
    saved.wait_until(lambda: classes_beside(scan) == noted)
    session.classes.rename({"tumour": "nucleus"})
    check(desk, "nucleus", "nucleus", "", "nucleus")
    for names in (("tumour", "tumour", "", "nucleus"), ("tumour", "tumour", "", ""), ("",) * 4):
        session.undo()
        check(desk, *names)
    saved.wait_until(lambda: set(classes_beside(scan) or [NOTHING]) == {NOTHING})
    session.redo()
    session.redo()
    check(desk, "tumour", "tumour", "", "nucleus")

    saved.wait_until(lambda: classes_beside(scan) == noted)
    api.export(scan, tmp_path / "scan.json")
    told = json.loads((tmp_path / "scan.json").read_text())
    assert {one["name"] for one in told["categories"]} >= {"tumour", "nucleus"}

    saved.save(desk.binding, tmp_path / "work")
    again = Desk.of(saved.open_in_new(tmp_path / "work.sam3session"))
    check(again, "tumour", "tumour", "", "nucleus")
    again.session.undo()
    check(again, "tumour", "tumour", "", "")
    again.session.redo()
    check(again, "tumour", "tumour", "", "nucleus")
    again.close()

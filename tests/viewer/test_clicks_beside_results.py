"""Clicks and boxes beside results that nobody accepted: nothing that was found is lost."""

import queue
from contextlib import suppress
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amounts import FEW, each_once, thorough
from napari_sam3_assistant import api
from napari_sam3_assistant.core.prompts import PromptKind, Task, Tool
from napari_sam3_assistant.errors import ExportError, PromptError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.provenance import provenance_path, read_provenance
from napari_sam3_assistant.session.layer_files import saved_features
from napari_sam3_assistant.session.messages import format_results
from napari_sam3_assistant.session.saving import LABEL_ENDINGS
from napari_sam3_assistant.session.values import Level
from napari_sam3_assistant.viewer.label_pixels import CURRENT, current_colours, kept_colours
from viewer_bench import ViewerBench

PREVIEW, ACCEPTED = "SAM3 preview labels", "SAM3 live accepted labels"
BRIGHT = ((15, 15), (15, 45), (45, 15), (45, 45))
DARK, OTHER = (30, 75), (10, 78)
NOWHERE = (30, 30)


def draw_discs():
    """Four bright discs and two dark ones of radius 8 on a grey, slightly noisy ground."""
    y, x = np.ogrid[:60, :90]
    image = np.random.default_rng(0).normal(110, 2, (60, 90))
    for centres, value in ((BRIGHT, 200), ((DARK, OTHER), 30)):
        for cy, cx in centres:
            image[(y - cy) ** 2 + (x - cx) ** 2 <= 64] = value
    return image.astype(np.uint8)


class Desk(ViewerBench):
    """A viewer in which a phrase has found the bright discs, and tools for what is missing."""

    def __init__(self, image, at=()):
        super().__init__()
        self.viewer.add_image(image, name="cells")
        self.at = at
        if at:
            self.viewer.dims.set_point(0, at[0])

    def find(self, phrase="bright discs"):
        self.model.task, self.model.text = Task.TEXT, phrase
        self.session.run()
        self.settle()
        return self.labels.copy()

    def take(self, tool, task=Task.SEGMENT):
        self.model.task, self.model.tool = task, tool
        self.binding.prompts.arm()

    @property
    def layer(self):
        return self.viewer.layers[PREVIEW]

    @property
    def labels(self):
        """The labels of the plane on show."""
        return np.asarray(self.layer.data).reshape(60, 90)

    @property
    def points(self):
        return self.viewer.layers["SAM3 points"]

    def live(self):
        """Run as the window does when the mouse is let go."""
        self.settle()
        self.session.run_live()
        self.settle()

    def wait_as(self, act):
        """Let the window go on as far as ``act`` says: a slow engine answers later."""
        if act == "some is done":
            with suppress(queue.Empty):
                self._calls.get(timeout=0.01)()
        elif act == "all is done":
            self.live()
        elif act == "the pause is over":
            self.session.run_live()

    def click(self, at, *, positive=True):
        self.model.next_positive = positive
        self.points.add((*self.at, *at))
        self.live()

    def box(self, centre, half=11):
        y, x = centre
        corners = ((y - half, x - half), (y - half, x + half), (y + half, x + half),
                   (y + half, x - half))  # fmt: skip
        boxes = self.viewer.layers["SAM3 boxes"]
        boxes.add(np.array([(*self.at, *one) for one in corners], float), shape_type="rectangle")
        self.live()

    @property
    def ids(self):
        return sorted(row.record.id for row in self.model.results)


@pytest.fixture(params=[thorough((), id="plane"), pytest.param((2,), id="slice of a stack")])
def desk(request):
    image = draw_discs()
    made = Desk(image if not request.param else np.stack([image, image * 0, image]), request.param)
    made.found = made.find()
    yield made
    made.binding.close()


def masks(labels):
    return {int(id_): labels == id_ for id_ in np.unique(labels) if id_}


@given(ids=st.sets(st.integers(1, 3000), min_size=1, max_size=4), count=st.integers(2, 3000))
def test_no_other_object_has_the_colour_of_the_current_ones(ids, count):
    every = np.arange(1, max(count, *ids) + 1)
    marked = current_colours(ids, int(every[-1])).map(every)
    others = kept_colours().map(every)
    near = np.linalg.norm(marked[:, :3] - CURRENT[:3], axis=1) < 0.5
    assert set(every[near].tolist()) == ids
    mine = np.isin(every, list(ids))
    np.testing.assert_allclose(marked[~mine], others[~mine])
    np.testing.assert_allclose(marked[mine], np.tile(CURRENT, (len(ids), 1)))


@pytest.mark.parametrize("task", [Task.SEGMENT, Task.LIVE_POINTS])
def test_a_click_beside_what_a_phrase_found_makes_a_new_object(desk, task):
    desk.take(Tool.POINTS, task)
    desk.click(DARK)

    np.testing.assert_array_equal(np.where(desk.labels == 5, 0, desk.labels), desk.found)
    assert desk.labels[DARK] == 5
    assert 150 < (desk.labels == 5).sum() < 260
    assert desk.ids == [1, 2, 3, 4, 5]
    assert "4 objects found before stay." in desk.model.message.text
    # The one that is worked on has the bright colour, the others those that they had.
    colours = desk.layer.colormap
    np.testing.assert_allclose(colours.map(5), CURRENT)
    for id_ in (1, 2, 3, 4):
        assert np.linalg.norm(colours.map(id_).ravel()[:3] - CURRENT[:3]) > 0.5

    desk.session.undo()  # the click and its object are one step
    np.testing.assert_array_equal(desk.labels, desk.found)
    assert len(desk.points.data) == 0
    desk.session.redo()
    assert desk.ids == [1, 2, 3, 4, 5]


def test_the_next_clicks_correct_the_new_object_and_nothing_else(desk):
    desk.take(Tool.POINTS)
    desk.click(DARK)
    desk.click(OTHER)
    desk.click(BRIGHT[0], positive=False)

    assert desk.ids == [1, 2, 3, 4, 5]
    others = np.where(desk.found > 0, desk.found, 0)
    np.testing.assert_array_equal(np.where(desk.labels == 5, 0, desk.labels), others)
    assert "from 3 points (1 negative)" in desk.model.message.text


def test_a_click_on_an_object_that_was_found_corrects_that_one(desk):
    id_ = int(desk.found[BRIGHT[1]])
    desk.take(Tool.POINTS)
    desk.click(BRIGHT[1])

    assert desk.ids == [1, 2, 3, 4]
    assert desk.model.refining == id_
    assert f"Object {id_} is corrected." in desk.model.message.text
    others = {one: mask for one, mask in masks(desk.found).items() if one != id_}
    for one, mask in others.items():
        np.testing.assert_array_equal(desk.labels == one, mask)
    assert desk.labels[BRIGHT[1]] == id_
    texts = {row.record.id: row.record.text for row in desk.model.results}
    assert texts[id_] == "bright discs"

    desk.session.undo()
    np.testing.assert_array_equal(desk.labels, desk.found)
    assert desk.model.refining == 0


def test_a_negative_click_alone_corrects_the_object_below_it(desk):
    id_ = int(desk.found[BRIGHT[2]])
    y, x = BRIGHT[2]
    desk.take(Tool.POINTS)
    desk.click((y, x + 6), positive=False)

    assert desk.model.refining == id_
    assert desk.labels[y, x + 6] != id_
    assert {*desk.ids} == {1, 2, 3, 4}


def test_a_negative_click_beside_all_objects_says_what_is_missing(desk):
    desk.take(Tool.POINTS)
    desk.model.next_positive = False
    desk.points.add((*desk.at, *NOWHERE))
    desk.settle()
    with pytest.raises(PromptError, match="negative"):
        desk.session.run_live()
    np.testing.assert_array_equal(desk.labels, desk.found)


def test_a_run_never_comes_back_after_its_clicks_were_cleared(desk):
    desk.take(Tool.POINTS, Task.LIVE_POINTS)
    desk.click(DARK)
    shown = desk.labels.copy()
    desk.points.add((*desk.at, DARK[0] + 2, DARK[1] + 2))
    desk.session.run_live()
    assert desk.model.running
    desk.session.refine(desk.ids[-1])
    said, previews = desk.model.message.text, desk.model.previews
    refined = desk.model.refining
    desk.settle()
    assert desk.model.message.text == said
    assert desk.model.previews == previews
    assert desk.model.refining == refined
    assert len(desk.points.data) == 0
    desk.session.undo()
    assert len(desk.points.data) == 2
    np.testing.assert_array_equal(desk.labels, shown)


@pytest.fixture
def bare():
    made = Desk(draw_discs())
    made.take(Tool.POINTS, Task.LIVE_POINTS)
    yield made
    made.binding.close()


ACTS = st.sampled_from(["nothing", "the pause is over", "some is done", "all is done"])


@FEW
@given(
    groups=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    each=st.booleans(),
    data=st.data(),
)
def test_whoever_accepts_before_the_answer_loses_no_click(groups, each, data):
    """However far the engine is, what was clicked before each Accept is accepted, apart."""
    desk = Desk(draw_discs())
    try:
        desk.take(Tool.POINTS, Task.LIVE_POINTS)
        desk.model.each_click = each
        left, clicked = [*BRIGHT, DARK, OTHER], []
        for clicks in groups:
            for click in range(clicks):
                if each or click == 0:
                    clicked.append(left.pop(0))
                y, x = clicked[-1]
                desk.points.add((y + (0 if each else 3 * click), x))
                desk.wait_as(data.draw(ACTS))
            desk.binding.actions.call("accept")
            assert not len(desk.points.data)
            desk.wait_as(data.draw(ACTS))
        desk.live()
        accepted = np.asarray(desk.viewer.layers[ACCEPTED].data).copy()
        for id_, (y, x) in enumerate(clicked, 1):
            assert accepted[y, x] == id_, desk.model.message
            assert 150 < (accepted == id_).sum() < 260
        assert accepted.max() == len(clicked)
        assert not desk.model.previews

        steps = 0
        while desk.model.can_undo:
            desk.session.undo()
            desk.settle()
            steps += 1
        assert not np.any(desk.viewer.layers[ACCEPTED].data)
        assert not len(desk.points.data)
        for _ in range(steps):
            desk.session.redo()
            desk.settle()
        np.testing.assert_array_equal(desk.viewer.layers[ACCEPTED].data, accepted)
    finally:
        desk.binding.close()


@pytest.mark.parametrize("is_run", [False, True])
def test_an_object_is_of_the_class_that_was_chosen_when_it_was_accepted(bare, is_run):
    spots = {DARK: "tumour", OTHER: "stroma"}
    for spot, name in spots.items():
        bare.model.object_class = name
        bare.points.add(spot)
        if is_run and spot == DARK:
            bare.session.run_live()
            assert bare.model.running
        bare.binding.actions.call("accept")
    bare.model.object_class = ""
    bare.live()
    accepted = bare.viewer.layers[ACCEPTED]
    known = accepted.features.set_index("index")["class"]
    assert {spot: known[np.asarray(accepted.data)[spot]] for spot in spots} == spots


def test_undo_after_an_early_accept_brings_its_clicks_back_to_be_accepted_again(bare):
    bare.points.add(DARK)
    bare.binding.actions.call("accept")
    assert bare.model.message.text.startswith("Accepted as soon as it is found.")
    bare.session.undo()
    assert "not accepted" in bare.model.message.text
    assert len(bare.points.data) == 1
    bare.binding.actions.call("accept")
    bare.settle()
    assert np.asarray(bare.viewer.layers[ACCEPTED].data)[DARK] == 1


@pytest.mark.parametrize("verb", ["cancel", "undo", "discard"])
def test_what_stops_an_early_accept_keeps_the_clicks_for_undo(bare, verb):
    bare.points.add(DARK)
    bare.binding.actions.call("accept")
    bare.points.add(OTHER)
    getattr(bare.session, verb)()
    bare.settle()
    assert ACCEPTED not in bare.viewer.layers
    at_first = []
    while bare.model.can_undo:
        at_first.append([tuple(point) for point in bare.points.data])
        bare.session.undo()
    assert [DARK] in at_first
    assert not bare.session.step or not len(bare.points.data)


@pytest.mark.parametrize("verb", ["nothing", "cancel"])
def test_what_is_saved_after_an_early_accept_holds_the_object_or_nothing_is(bare, tmp_path, verb):
    path, saving = tmp_path / "labels.npy", bare.session.saving
    for spot in (DARK, OTHER):
        bare.points.add(spot)
        bare.binding.actions.call("accept")
    bare.session.save_accepted(lambda: saving.export(path))
    assert bare.model.message.text == "Saved as soon as the object that you accepted is found."
    if verb == "cancel":
        bare.session.cancel()
    bare.settle()
    if verb == "cancel":
        assert not path.exists()
        return
    saved = np.load(path)
    assert saved[DARK]
    assert saved[OTHER]
    assert saved[DARK] != saved[OTHER]
    np.testing.assert_array_equal(saved, np.asarray(bare.viewer.layers[ACCEPTED].data))
    assert bare.model.message.text.startswith("Saved")


def test_an_early_accept_of_nothing_says_so_and_the_next_one_goes_on(bare, monkeypatch):
    from napari_sam3_assistant.engines.builtin import engine

    predict = engine.BuiltinEngine.predict
    asked = []

    def fails_once(self, *arguments):
        asked.append(arguments)
        if len(asked) == 1:
            raise PromptError("Nothing is there.")
        return predict(self, *arguments)

    monkeypatch.setattr(engine.BuiltinEngine, "predict", fails_once)
    bare.points.add(DARK)
    bare.binding.actions.call("accept")
    bare.points.add(OTHER)
    bare.binding.actions.call("accept")
    said = []
    bare.model.events.message.connect(lambda message: said.append(message.text))
    bare.settle()
    assert "Nothing is there. Undo brings its prompts back." in said
    accepted = np.asarray(bare.viewer.layers[ACCEPTED].data)
    assert (accepted[DARK], accepted[OTHER]) == (0, 1)


def test_accept_says_of_clicks_that_no_run_has_answered(desk):
    desk.model.live = False  # else Accept waits for the run that comes by itself
    desk.take(Tool.POINTS)
    desk.click(DARK)
    desk.points.add((*desk.at, *OTHER))
    desk.session.accept()
    assert desk.model.message.text.endswith("is not in it; Undo brings it back.")
    desk.session.undo()
    assert desk.points.data.shape[0] == 2
    desk.session.undo()  # the click
    desk.points.selected_data = {0}
    desk.points.remove_selected()
    desk.model.live = True
    desk.live()
    np.testing.assert_array_equal(desk.labels, desk.found)
    desk.session.accept()
    assert desk.model.message.text.endswith("Ready for the next object.")


def test_a_result_without_objects_beside_others_leaves_these_to_be_accepted_and_saved(desk):
    (found,) = desk.model.previews
    nothing = replace(found.segmentation, objects=(), labels=found.segmentation.labels * 0)
    desk.model.previews = (found, replace(found, segmentation=nothing, label="nothing"))
    why_not = desk.model.why_not
    assert (why_not.accept, why_not.save, why_not.save_file, why_not.refine) == ("", "", "", "")
    desk.session.accept()
    desk.settle()
    accepted = np.asarray(desk.viewer.layers[ACCEPTED].data).reshape(-1, 60, 90)
    np.testing.assert_array_equal(accepted[-1] > 0, desk.found > 0)


def test_boxes_and_clicks_each_make_their_own_objects_anew(desk):
    desk.take(Tool.BOX)
    desk.box(DARK)
    first = desk.labels.copy()
    assert desk.ids == [1, 2, 3, 4, 5]

    desk.take(Tool.POINTS)
    desk.click(OTHER)
    assert desk.ids == [1, 2, 3, 4, 5, 6]
    assert desk.labels[OTHER] == 6
    np.testing.assert_array_equal(np.where(desk.labels == 6, 0, desk.labels), first)

    desk.take(Tool.BOX)
    desk.box((45, 75), half=9)  # the other box is there still: one object, and not two
    assert desk.labels[OTHER] == 6
    dark = {int(one) for one in np.unique(desk.labels[22:38, 68:82])} - {0}
    assert len(dark) <= 2  # the one of the first box, and what the second one holds of it
    assert {1, 2, 3, 4, 6} <= {*desk.ids}


def test_each_click_can_be_an_object_of_its_own_beside_others(desk):
    desk.model.each_click = True
    desk.take(Tool.POINTS)
    desk.click(DARK)
    desk.click(OTHER)
    assert desk.ids == [1, 2, 3, 4, 5, 6]
    assert (desk.labels[DARK], desk.labels[OTHER]) == (5, 6)


def test_all_are_accepted_and_saved_together(desk, tmp_path):
    desk.take(Tool.POINTS)
    desk.click(DARK)
    shown = desk.labels.copy()
    desk.session.saving.export(tmp_path / "all.npy")
    desk.settle()
    assert np.load(tmp_path / "all.npy").max() == 5

    desk.session.accept()
    desk.settle()
    accepted = np.asarray(desk.viewer.layers[ACCEPTED].data)
    np.testing.assert_array_equal(accepted.reshape(-1, 60, 90)[-1] > 0, shown > 0)
    assert accepted.max() == 5
    desk.session.undo()
    np.testing.assert_array_equal(desk.labels, shown)


def test_a_deleted_click_takes_its_object_and_no_other(desk):
    desk.take(Tool.POINTS)
    desk.click(DARK)
    desk.points.selected_data = {0}
    desk.points.remove_selected()
    desk.live()
    np.testing.assert_array_equal(desk.labels, desk.found)
    assert desk.ids == [1, 2, 3, 4]


def test_in_live_points_a_deleted_click_does_not_take_what_a_phrase_found(desk):
    desk.take(Tool.POINTS, Task.LIVE_POINTS)
    desk.points.add((*desk.at, *DARK))
    desk.points.selected_data = {0}
    desk.points.remove_selected()
    desk.live()
    np.testing.assert_array_equal(desk.labels, desk.found)


def test_the_filter_and_the_new_object_know_of_each_other(desk):
    areas = sorted(row.record.area for row in desk.model.results)
    desk.session.filtering.show_range("Area", areas[-1], 10_000)
    hidden = desk.session.filtering.count()
    desk.take(Tool.POINTS)
    desk.click(DARK)
    desk.click((DARK[0] + 2, DARK[1]))
    desk.session.filtering.show_all()
    assert hidden[1] == 4
    assert desk.ids == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(np.where(desk.labels == 5, 0, desk.labels), desk.found)


def test_objects_filtered_while_one_is_refined_are_not_doubled(desk):
    desk.take(Tool.POINTS)
    desk.click(BRIGHT[0])
    desk.session.filtering.show_range("Object ID", 1, 3)
    desk.click((BRIGHT[0][0], BRIGHT[0][1] + 1))
    desk.session.filtering.show_all()
    assert desk.ids == [1, 2, 3, 4]


def test_a_phrase_after_a_refined_object_is_not_undone_by_the_next_click(desk):
    desk.take(Tool.POINTS)
    desk.click(BRIGHT[0])
    dark = desk.find("dark discs")
    assert dark[DARK]
    assert not dark[BRIGHT[0]]
    desk.take(Tool.POINTS)
    desk.click((BRIGHT[0][0] + 2, BRIGHT[0][1]))
    assert desk.labels[DARK] == dark[DARK]
    assert desk.labels[BRIGHT[0]] == dark.max() + 1


def test_what_is_drawn_goes_with_its_result_when_another_takes_its_place(desk):
    desk.take(Tool.POINTS)
    desk.click(DARK)
    if desk.at:  # a click on another slice, which nothing on show is from
        desk.points.add((0, 5, 5))
    elsewhere = len(desk.points.data) - 1
    desk.take(Tool.BOX)
    desk.box(OTHER)
    both = desk.labels.copy()
    assert format_results(desk.model.preview).endswith(", from a phrase, clicks and boxes.")

    assert desk.find("dark discs")[DARK]
    assert format_results(desk.model.preview).endswith(", from a phrase.")
    assert len(desk.points.data) == elsewhere
    assert len(desk.viewer.layers["SAM3 boxes"].data) == 0
    assert "Undo brings that back" in desk.model.message.text
    desk.session.undo()
    np.testing.assert_array_equal(desk.labels, both)
    assert len(desk.points.data) == 1 + elsewhere
    assert len(desk.viewer.layers["SAM3 boxes"].data) == 1
    desk.session.redo()
    assert len(desk.points.data) == elsewhere


def test_what_is_drawn_goes_when_several_phrases_take_the_place_of_its_result(desk):
    desk.take(Tool.POINTS)
    desk.click(DARK)
    both = desk.labels.copy()
    desk.model.task, desk.model.batch_text = Task.TEXT, "dark discs\nbright discs"
    desk.session.run()
    desk.settle()
    assert len(desk.model.previews) == 2
    assert len(desk.points.data) == 0
    desk.session.undo()
    np.testing.assert_array_equal(desk.labels, both)
    assert len(desk.points.data) == 1
    desk.session.redo()
    assert len(desk.model.previews) == 2
    assert len(desk.points.data) == 0


def test_what_is_clicked_while_a_phrase_runs_stays(desk):
    desk.take(Tool.POINTS)
    desk.click(DARK)
    desk.model.task, desk.model.text = Task.TEXT, "dark discs"
    desk.session.run()
    desk.points.add((*desk.at, *NOWHERE))
    desk.settle()
    np.testing.assert_allclose(desk.points.data, [(*desk.at, *NOWHERE)])


@pytest.mark.parametrize("each", [False, True])
def test_the_click_of_a_deleted_object_does_not_bring_it_back(desk, each):
    desk.model.each_click = each
    desk.take(Tool.POINTS)
    if each:
        desk.click(OTHER)
    desk.click(DARK)
    before, clicks = desk.labels.copy(), desk.points.data.copy()
    (gone,) = (row for row in desk.model.results if row.record.id == desk.labels[DARK])
    desk.session.drop(gone)
    assert len(desk.points.data) == len(clicks) - 1

    desk.click((52, 75))

    assert desk.labels[DARK] == 0
    assert bool(desk.labels[OTHER]) is each
    desk.session.undo()  # the run and its click
    desk.session.undo()
    np.testing.assert_array_equal(desk.labels, before)
    np.testing.assert_array_equal(desk.points.data, clicks)


def test_a_deleted_object_that_was_refined_is_refined_no_more(desk):
    (one,) = (row for row in desk.model.results if row.record.id == desk.labels[BRIGHT[0]])
    desk.session.refine(one.record.id)
    desk.take(Tool.POINTS, Task.LIVE_POINTS)
    desk.click((15, 18))
    (one,) = (row for row in desk.model.results if row.record.id == desk.labels[BRIGHT[0]])
    desk.session.drop(one)
    desk.click(DARK)
    assert desk.labels[BRIGHT[0]] == 0
    assert desk.labels[DARK]


WAYS = ("merge", "split", "paint", "erase", "delete")


def change_by_hand(desk, way, *places):
    """Change what lies at the first place, as the user does by hand; return its number."""
    y, x = places[0]
    record = {row.record.id: row for row in desk.model.results}
    row = record[int(desk.labels[y, x])]
    if way == "merge":
        desk.session.correcting.merge(row, record[int(desk.labels[places[1]])])
    elif way == "split":
        line = np.array([(y - 12.0, x), (y + 12.0, x)])
        desk.session.correcting.split([(row.preview, line)])
    elif way == "delete":
        desk.session.drop(row)
    else:
        desk.layer.brush_size = 5
        at = (y, x + 9) if way == "paint" else (y + 5, x)
        lead = (0,) * (desk.layer.ndim - 2)
        desk.layer.paint((*lead, *at), row.record.id if way == "paint" else 0)
    desk.settle()
    return row.record.id


@pytest.mark.parametrize(("way", "each"), each_once(WAYS, [False, True]))
def test_what_is_changed_by_hand_stays_and_the_next_clicks_need_no_button(desk, way, each):
    desk.take(Tool.POINTS)
    desk.model.each_click = each
    desk.click(DARK)
    if each:
        desk.click(OTHER)
    step, clicked = desk.session.step, desk.labels.copy()
    changed = change_by_hand(desk, way, DARK, OTHER if each else BRIGHT[2])
    by_hand = desk.labels.copy()
    left = [] if way == "delete" else [changed]
    for number, at in enumerate([NOWHERE, *(() if each else (OTHER,))], 1):
        desk.click(at)
        assert not desk.model.why_not_live, f"click {number} waits for the button"
        for id_ in left:
            np.testing.assert_array_equal(desk.labels == id_, by_hand == id_)
        kept = (by_hand != desk.found) & (by_hand > 0) & (by_hand <= desk.found.max())
        np.testing.assert_array_equal(desk.labels[kept], by_hand[kept])
    if way == "delete":
        assert desk.labels[DARK] == 0
    elif way != "merge":
        assert desk.labels[OTHER] not in (0, changed)
    if way in ("merge", "split", "delete"):  # a stroke is napari's to take back
        while desk.session.step != step:
            desk.session.undo()
            desk.settle()
        np.testing.assert_array_equal(desk.labels, clicked)
        desk.click(NOWHERE)
        assert not desk.model.why_not_live


def test_a_click_stays_when_what_a_phrase_found_turns_out_to_be_changed(desk):
    desk.take(Tool.POINTS)
    pixels = desk.layer.data
    pixels[pixels == desk.labels[BRIGHT[0]]] = 0  # a script, whose writing nobody hears of
    desk.click(BRIGHT[0])
    assert len(desk.points.data) == 1
    assert desk.labels[BRIGHT[0]]
    assert len(desk.ids) == 4


def test_a_click_stays_when_the_object_that_it_corrects_turns_out_to_be_changed(desk):
    desk.take(Tool.POINTS)
    desk.click(DARK)
    id_ = int(desk.labels[DARK])
    pixels = desk.layer.data
    pixels[..., : DARK[0] - 2, :][pixels[..., : DARK[0] - 2, :] == id_] = 0
    desk.click((DARK[0] + 3, DARK[1]))
    at = desk.points.data[:, -2:].tolist()
    assert at == [[DARK[0] + 3, DARK[1]]], "the click that is answered now, and no other"
    assert desk.labels[DARK] == id_
    assert desk.ids == [1, 2, 3, 4, id_]


def test_a_click_on_an_object_that_was_changed_by_hand_corrects_it_as_it_is(desk):
    desk.take(Tool.POINTS)
    desk.click(DARK)
    id_ = change_by_hand(desk, "paint", DARK)
    painted = desk.labels == id_
    desk.click((DARK[0], DARK[1] + 9))
    assert not desk.model.why_not_live
    assert desk.ids == [1, 2, 3, 4, id_]
    assert (desk.labels == id_)[painted].mean() > 0.8
    desk.session.undo()
    np.testing.assert_array_equal(desk.labels == id_, painted)


def test_objects_of_two_previews_become_one(tmp_path):
    image = np.tile(draw_discs(), (4, 4))
    desk = Desk(image)
    desk.session.clear_preview()
    desk.model.large_image, desk.model.roi_size = True, 96
    desk.take(Tool.POINTS)
    for at in ((45, 45), (195, 315)):
        desk.binding.adapter.clear_prompts(desk.model.image)
        desk.click(at)
    first, second = desk.model.results
    desk.session.correcting.merge(first, second)
    (one,) = desk.model.previews
    (record,) = one.segmentation.objects
    assert record.area == first.record.area + second.record.area
    layer = desk.layer
    corner = np.asarray(layer.translate, int)
    labels = np.asarray(layer.data)
    assert labels[tuple((45, 45) - corner)] == labels[tuple((195, 315) - corner)] == record.id
    desk.session.undo()
    assert [row.record.area for row in desk.model.results] == [
        first.record.area,
        second.record.area,
    ]
    desk.session.redo()
    desk.session.saving.export(tmp_path / "one.npy")
    desk.settle()
    saved = np.load(tmp_path / "one.npy")
    assert saved[45, 45] == saved[195, 315] > 0
    assert np.count_nonzero(saved) == record.area
    desk.binding.close()


def test_what_was_found_on_another_slice_stays_and_is_saved_with_the_rest(tmp_path):
    image = draw_discs()
    desk = Desk(np.stack([image, image]), (1,))
    found = desk.find()
    desk.viewer.dims.set_point(0, 0)
    desk.at = (0,)
    desk.take(Tool.POINTS)
    desk.click(DARK)
    assert [one.target.plane.leading for one in desk.model.previews] == [(1,), (0,)]
    np.testing.assert_array_equal(desk.labels, found)
    desk.session.saving.export(tmp_path / "both.npy")  # each under its own number
    desk.settle()
    assert "Saved 5 objects" in desk.model.message.text
    both = np.load(tmp_path / "both.npy")
    desk.session.accept()
    desk.settle()
    accepted = np.asarray(desk.viewer.layers[ACCEPTED].data)
    np.testing.assert_array_equal(both, accepted)
    np.testing.assert_array_equal(accepted[1] > 0, found > 0)
    assert accepted[0][DARK]
    assert not accepted[0][BRIGHT[0]]
    desk.binding.close()


@pytest.mark.parametrize(
    ("shape", "planes", "accepted"),
    each_once([(1, 60, 90), (3, 60, 90), (3, 1, 90)], [(0,), (0, 2)], [False, True]),
)
def test_the_formats_that_are_offered_are_those_that_can_be_written(
    tmp_path, shape, planes, accepted
):
    image = np.zeros(shape, np.uint8)
    image[:, shape[1] // 2 :, 20:30] = 200
    desk = Desk(image, (0,))
    for plane in planes[: shape[0]]:
        desk.viewer.dims.set_point(0, plane)
        desk.at = (plane,)
        if plane:  # what boxes have found on another plane stays
            desk.take(Tool.POINTS)
            desk.click((shape[1] // 2, 25))
            continue
        desk.take(Tool.BOX)
        rows, columns = (-0.4, shape[1] - 0.6), (15, 35)
        corners = [(rows[a], columns[b]) for a, b in ((0, 0), (0, 1), (1, 1), (1, 0))]
        outline = np.array([(plane, *one) for one in corners])
        desk.viewer.layers["SAM3 boxes"].add(outline, shape_type="rectangle")
        desk.live()
    assert len(desk.model.previews) == len(planes[: shape[0]])
    assert all(one.segmentation.objects for one in desk.model.previews)
    if accepted:
        desk.session.accept()
        desk.settle()
    offered = set(desk.session.saving.endings)
    for ending in LABEL_ENDINGS:
        path = tmp_path / f"labels{ending}"
        desk.session.saving.export(path)
        desk.settle()
        assert path.exists() == (ending in offered), desk.model.message
    desk.binding.close()


def test_regions_of_a_large_image_are_saved_together(tmp_path):
    image = np.tile(draw_discs(), (4, 4))
    desk = Desk(np.stack([image, image]), (1,))
    desk.model.large_image, desk.model.roi_size = True, 96
    desk.take(Tool.POINTS)
    masks = []
    for at in ((45, 45), (195, 315)):
        if masks:
            desk.binding.adapter.clear_prompts(desk.model.image)
        desk.click(at)
        found = desk.model.preview.segmentation
        (one,) = found.objects
        mask = np.zeros(image.shape, bool)
        mask[one.region.slices] = one.mask
        masks.append(mask)
    assert len(desk.model.previews) == 2
    desk.session.saving.export(tmp_path / "both.npy")
    desk.settle()
    saved = np.load(tmp_path / "both.npy")
    np.testing.assert_array_equal(saved, masks[0] + 2 * masks[1])
    note = provenance_path(tmp_path / "both.npy")
    areas = [(one["id"], one["area"]) for one in read_provenance(note).objects]
    assert areas == [(place, int(mask.sum())) for place, mask in enumerate(masks, 1)]
    with pytest.raises(ExportError, match="no run makes them again"):
        api.rerun(note)
    desk.binding.close()


_ACTS = st.lists(
    st.tuples(
        st.sampled_from(["click", "not", "box", "undo", "redo", "drop", "filter", "phrase"]),
        st.integers(3, 56),
        st.integers(3, 86),
    ),
    min_size=1,
    max_size=6,
)


@FEW
@given(acts=_ACTS)
def test_whatever_is_done_labels_and_rows_agree_and_undo_leads_back(acts):
    desk = Desk(draw_discs())
    found = desk.find()
    try:
        check_acts(desk, found, acts)
    finally:
        desk.binding.close()


def find_anew(desk, phrase):
    """Run a phrase; what was drawn for the results before is gone with them."""
    made = set().union(*(one.kinds for one in desk.model.previews))
    desk.find(phrase)
    drawn = {PromptKind.POINTS: "SAM3 points", PromptKind.BOXES: "SAM3 boxes"}
    for kind in made & drawn.keys():
        assert not len(desk.viewer.layers[drawn[kind]].data)


def check_acts(desk, found, acts):
    begun = desk.session.step
    for act, y, x in acts:
        before = {row.record.id for row in desk.model.results}
        clicked = {i for one in desk.model.previews for i in one.made_by(PromptKind.POINTS)}
        if act in ("click", "not"):
            desk.take(Tool.POINTS)
            with suppress(PromptError):  # all points are negative, and on no object
                desk.click((y, x), positive=act == "click")
            mine = frozenset[int]().union(
                *(one.made_by(PromptKind.POINTS) for one in desk.model.previews)
            )
            assert before - clicked <= {row.record.id for row in desk.model.results} | mine
        elif act == "box":
            desk.take(Tool.BOX)
            desk.box((y, x), half=9)
        elif act == "undo" and desk.session.step != begun:
            desk.session.undo()
        elif act == "redo":
            desk.session.redo()
        elif act == "drop" and desk.model.results:
            desk.session.drop(desk.model.results[y % len(desk.model.results)])
        elif act == "filter":
            desk.session.filtering.show_range("Area", y * 3, 5000)
        elif act == "phrase":
            find_anew(desk, "dark discs" if y % 2 else "bright discs")
        desk.settle()
        rows = {row.record.id for row in desk.model.results}
        shown = {*np.unique(desk.labels)} - {0} if PREVIEW in desk.viewer.layers else set()
        assert shown <= rows
        assert len(rows) == len(desk.model.results)
    while desk.session.step != begun and desk.model.can_undo:
        desk.session.undo()
        desk.settle()
    np.testing.assert_array_equal(desk.labels, found)


@pytest.mark.parametrize(
    ("accepted", "ending"), each_once(["nothing", "all", "some"], [".tif", ".npy", ".ome.zarr"])
)
def test_the_note_beside_a_saved_file_tells_of_the_objects_in_it(desk, tmp_path, accepted, ending):
    """Of a preview, of accepted objects and of both; and never of what the file held before."""
    path = tmp_path / f"cells_labels{ending}"
    if ending != ".ome.zarr":  # a folder is never replaced
        desk.session.saving.export(path)
        desk.settle()
    if accepted != "nothing":
        desk.session.accept()
        desk.settle()
    if accepted != "all":
        desk.find("dark discs")
    desk.session.saving.export(path)
    desk.settle()
    assert desk.model.message.level is Level.SUCCESS, desk.model.message

    note = read_provenance(provenance_path(path))
    labels = np.asarray(read_image(path).data)
    count = {"nothing": 2, "all": 4, "some": 6}[accepted]
    assert [one["id"] for one in note.objects] == list(range(1, count + 1))
    assert [one["area"] for one in note.objects] == np.bincount(labels.ravel())[1:].tolist()
    told = ["dark discs"] * 2 if accepted == "nothing" else ["bright discs"] * 4
    told += ["dark discs"] * 2 if accepted == "some" else []
    assert [one["text"] for one in note.objects] == told
    # Opened again, the layer has the features that it had.
    assert saved_features(path)["index"] == list(range(1, count + 1))
    assert len(set(saved_features(path)["engine"])) == 1


def test_a_result_whose_weights_are_gone_is_saved_and_its_note_says_so(desk, tmp_path):
    (found,) = desk.model.previews
    engine = replace(found.provenance.engine, weights="model.safetensors")
    made_by = replace(found.provenance, engine=engine, model_folder=tmp_path / "gone")
    desk.model.previews = (replace(found, provenance=made_by),)
    desk.session.saving.export(tmp_path / "labels.tif")
    desk.settle()
    assert desk.model.message.level is Level.SUCCESS, desk.model.message
    note = read_provenance(provenance_path(tmp_path / "labels.tif"))
    assert note.sha256 == ""
    assert note.notes[-1] == f"The weights were gone from {tmp_path / 'gone'} when this was saved."


@pytest.mark.parametrize("task", [Task.SEGMENT, Task.LIVE_POINTS])
def test_no_click_reads_all_of_a_slide_unasked(task):
    """However quick the engine was on small images, and with nothing lost: it is there to run."""
    read = []

    def block(block_info):
        (y, _), (x, _) = block_info[None]["array-location"]
        read.append((y, x))
        rows, columns = np.ogrid[y : y + 512, x : x + 512]
        near = (rows - 700) ** 2 + (columns - 500) ** 2 < 400
        return np.where(near, 200, 20).astype(np.uint8)

    slide = da.map_blocks(block, dtype=np.uint8, chunks=((512,) * 66, (512,) * 4))
    desk = Desk(draw_discs())
    desk.take(Tool.POINTS)
    desk.click(DARK)
    assert not desk.model.why_not_live
    desk.session.discard()
    view = desk.viewer.add_image(slide, name="slide", contrast_limits=(0, 255), cache=False)
    desk.viewer.layers.selection.active = view
    desk.take(Tool.POINTS, task)
    points = desk.viewer.layers.selection.active
    read.clear()

    points.add((700.0, 500.0))
    desk.live()

    assert read == []
    assert "large-image mode" in desk.model.why_not_live
    assert not desk.model.why_not.run
    desk.model.large_image = True
    points.add((703.0, 500.0))
    desk.live()
    assert 1000 < desk.layer.data.astype(bool).sum() < 1500
    assert 0 < len(set(read)) <= 9
    desk.binding.close()

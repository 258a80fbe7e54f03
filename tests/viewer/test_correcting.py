"""Deleting, merging, splitting, painting and refining, against arrays of NumPy, with undo."""

import queue
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel

from amounts import FEW, each_once
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.masks.splitting import split_along
from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation, paint_labels
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.messages import COLUMNS, FRAME, column_titles
from napari_sam3_assistant.session.results import format_row
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import KeptPlace, Preview, ResultRow
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.widgets.fields.gallery import ResultRows

ACCEPTED, PREVIEW = "SAM3 live accepted labels", "SAM3 preview labels"
MADE_BY = Provenance("builtin", "Built-in", "1", "cpu", 0.35)
PLANE = (24, 30)


class Desk:
    """A viewer with an image, its session, and beside it the labels as plain arrays."""

    def __init__(self, shape, small, deliver=deliver_inline):
        self.viewer = ViewerModel()
        self.viewer.add_image(np.zeros(shape, np.uint8), name="image")
        self.binding = binding_for(self.viewer, deliver, MemorySettings())
        if small:
            self.binding.adapter.accepted.in_memory = 10
        self.session, self.model = self.binding.session, self.binding.model
        self.states, self.at = [(np.zeros(shape, int), {})], 0

    @property
    def labels(self):
        return self.states[self.at][0]

    def push(self, labels, names=None):
        """Go on to other labels; ``names`` says which object a new one is told the same of."""
        before = self.states[self.at][1]
        told = {
            int(id_): before.get(id_, before.get((names or {}).get(id_), f"phrase {id_}"))
            for id_ in np.unique(labels)
            if id_
        }
        self.states = [*self.states[: self.at + 1], (labels, told)]
        self.at += 1

    def settle(self):
        ended = threading.Event()
        self.model.events.running.connect(lambda running: running or ended.set())
        assert not self.model.running or ended.wait(240)

    def row(self, place, id_):
        target = self.target(place)
        record = self.binding.adapter.accepted.objects(KeptPlace(target))[id_]
        return ResultRow(KeptPlace(target), record)

    def target(self, place):
        target = self.binding.adapter.displayed(self.model.image).target
        return type(target)(target.image, target.name, target.axes, PlaneRef(place), target.shape)

    def show(self, place, masks, texts):
        whole = Region.whole(PLANE)
        objects = tuple(
            ObjectRecord.from_mask(number, mask, score=0.5, text=text)
            for number, (mask, text) in enumerate(zip(masks, texts, strict=True), 1)
        )
        found = Segmentation(paint_labels(objects, whole), objects, whole, MADE_BY)
        preview = Preview(self.target(place), found, 0.1)
        self.model.previews = (preview,)

    def check(self):
        labels, told = self.states[self.at]
        if ACCEPTED not in self.viewer.layers:
            assert not labels.any()
            return
        layer = self.viewer.layers[ACCEPTED]
        data = layer.data[0] if layer.multiscale else layer.data
        np.testing.assert_array_equal(np.asarray(data), labels)
        table = {row["index"]: row for row in layer.features.to_dict("records")}
        assert list(table) == sorted(set(np.unique(labels).tolist()) - {0})
        for id_, row in table.items():
            assert row["area"] == (labels == id_).sum()
            assert row["prompt"] == told[id_]
        assert self.model.kept == len(table)
        rows = [row for row in self.model.results if isinstance(row.preview, KeptPlace)]
        assert sorted(row.record.id for row in rows) == list(table)  # one an object
        assert all(row.area == (labels == row.record.id).sum() for row in rows)
        listed = {
            (part.preview.target.plane.leading, part.record.id): part.record
            for row in rows
            for part in row.parts
        }
        wanted = {
            (place, id_)
            for place in np.ndindex(labels.shape[:-2])
            for id_ in set(np.unique(labels[place]).tolist()) - {0}
        }
        assert set(listed) == wanted
        for (place, id_), record in listed.items():
            pixels = labels[place] == id_
            assert record.area == pixels.sum()
            assert record.region == Region.around(pixels)
            assert record.text == told[id_]


def square(rng):
    y, x = rng.integers(0, 16, 2)
    mask = np.zeros(PLANE, bool)
    mask[y : y + rng.integers(4, 9), x : x + rng.integers(4, 12)] = True
    return mask


def accept(desk, rng):
    place = tuple(int(rng.integers(size)) for size in desk.labels.shape[:-2])
    mask = square(rng)
    free = mask & (desk.labels[place] == 0)
    new = desk.labels.max() + 1
    desk.show(place, [mask], [f"phrase {new}"])
    if not free.any():
        with pytest.raises(PromptError):
            desk.session.accept()
        desk.model.previews = ()
        return
    desk.session.accept()
    after = desk.labels.copy()
    after[place][free] = new
    desk.push(after)


def pick(desk, rng, count=1):
    """Objects with a place each, of one place; none where there are too few."""
    labels = desk.labels
    there = [
        (place, sorted(set(np.unique(labels[place]).tolist()) - {0}))
        for place in np.ndindex(labels.shape[:-2])
    ]
    there = [(place, ids) for place, ids in there if len(ids) >= count]
    if not there:
        return None, []
    place, ids = there[rng.integers(len(there))]
    return place, [int(one) for one in rng.choice(ids, count, replace=False)]


def delete(desk, rng):
    place, ids = pick(desk, rng)
    if ids:
        desk.session.correcting.delete(desk.row(place, ids[0]))
        after = desk.labels.copy()
        after[place][after[place] == ids[0]] = 0
        desk.push(after)


def delete_row(desk, rng):
    """Take objects out by their rows of the table: on all of their slices, in one step."""
    rows = [row for row in desk.model.results if isinstance(row.preview, KeptPlace)]
    if rows:
        chosen = rng.choice(len(rows), rng.integers(1, min(len(rows), 3) + 1), replace=False)
        gone = [rows[place] for place in chosen]
        desk.session.drop(*gone)
        ids = [row.record.id for row in gone]
        desk.push(np.where(np.isin(desk.labels, ids), 0, desk.labels))


def merge(desk, rng):
    place, ids = pick(desk, rng, 2)
    if ids:
        desk.session.correcting.merge(*(desk.row(place, one) for one in ids))
        after = desk.labels.copy()
        after[place][after[place] == ids[1]] = ids[0]
        desk.push(after)


def split(desk, rng):
    place, ids = pick(desk, rng)
    if not ids:
        return
    pixels = np.argwhere(desk.labels[place] == ids[0])
    middle = pixels[rng.integers(len(pixels))]
    angle = rng.uniform(0, np.pi)
    way = 6 * np.array([np.sin(angle), np.cos(angle)])
    line = np.array([middle - way, middle + way])
    after, names = desk.labels.copy(), {}
    highest = int(after.max())
    for id_ in sorted(set(np.unique(after[place]).tolist()) - {0}):
        parts = split_along(desk.labels[place] == id_, line, id_, highest)
        if parts is not None:
            after[place][parts > 0] = parts[parts > 0]
            names |= dict.fromkeys(range(highest + 1, int(parts.max()) + 1), id_)
            highest = max(highest, int(parts.max()))
    if not names:
        with pytest.raises(PromptError):
            desk.session.correcting.split([(KeptPlace(desk.target(place)), line)])
        return
    desk.session.correcting.split([(KeptPlace(desk.target(place)), line)])
    desk.push(after, names)


def refine(desk, rng):
    """Open an object again, which is a step, and accept it with other pixels."""
    place, ids = pick(desk, rng)
    if not ids or desk.model.previews:
        return
    desk.session.refine_accepted(KeptPlace(desk.target(place)), ids[0])
    (preview,) = desk.model.previews
    mask = square(rng)
    free = mask & np.isin(desk.labels[place], [0, ids[0]])
    if not free.any():
        desk.session.undo()
        return
    text = desk.states[desk.at][1][ids[0]]
    one = ObjectRecord.from_mask(ids[0], mask, text=text)
    found = Segmentation(
        paint_labels((one,), Region.whole(PLANE)), (one,), Region.whole(PLANE), MADE_BY
    )
    changed = Preview(preview.target, found, 0.1, preview.label, replaces=preview.replaces)
    desk.model.previews = (changed,)
    desk.session.accept()
    after = desk.labels.copy()
    after[place][after[place] == ids[0]] = 0
    after[place][free] = ids[0]
    desk.push(desk.labels)
    desk.push(after)


def undo(desk, rng):
    del rng
    if desk.at:
        desk.binding.actions.undo()
        desk.at -= 1


def redo(desk, rng):
    del rng
    if desk.at + 1 < len(desk.states):
        desk.binding.actions.redo()
        desk.at += 1


def paint(desk, rng):
    """A stroke of the brush, which napari's own history has."""
    if ACCEPTED not in desk.viewer.layers or desk.viewer.layers[ACCEPTED].multiscale:
        return
    layer = desk.viewer.layers[ACCEPTED]
    if not isinstance(layer.data, np.ndarray) or not desk.labels.any():
        return
    place = tuple(int(rng.integers(size)) for size in desk.labels.shape[:-2])
    mask = square(rng)
    value = int(rng.choice([0, *np.unique(desk.labels)]))
    after = desk.labels.copy()
    after[place][mask] = value
    if (after == desk.labels).all():
        return
    where = np.nonzero(mask)
    fixed = tuple(np.full(where[0].size, at) for at in place)
    with layer.block_history():  # as the mouse does it
        layer.data_setitem((*fixed, *where), value)
    told = desk.states[desk.at][1]
    desk.push(after, {one: one for one in told})


VERBS = (accept, accept, delete, delete_row, merge, split, refine, paint, undo, undo, redo)


@pytest.mark.parametrize(
    ("shape", "small"),
    each_once(
        [pytest.param(PLANE, id="plane"), pytest.param((3, *PLANE), id="stack")],
        [pytest.param(False, id="memory"), pytest.param(True, id="disk")],
    ),
)
@FEW
@given(seed=st.integers(0, 2**32 - 1))
def test_random_corrections_of_accepted_objects(shape, small, seed):
    rng = np.random.default_rng(seed)
    desk = Desk(shape, small)
    try:
        for _ in range(14):
            rng.choice(VERBS)(desk, rng)
            desk.settle()
            desk.check()
    finally:
        desk.binding.close()


def test_measuring_some_objects_leaves_what_is_known_of_the_others():
    desk = Desk(PLANE, small=False)
    rng = np.random.default_rng(4)
    try:
        accept(desk, rng)
        desk.session.measuring.measure().wait(240)
        known = desk.viewer.layers[ACCEPTED].features
        while len(desk.viewer.layers[ACCEPTED].features) == 1:
            accept(desk, rng)
        measured_one = threading.Event()
        layer = desk.viewer.layers[ACCEPTED]
        layer.events.features.connect(lambda _: measured_one.set())
        desk.session.measuring.measure_at_once()
        assert measured_one.wait(240)
        assert layer.features["measured_area"][0] == known["measured_area"][0]
        wanted = [float((desk.labels == id_).sum()) for id_ in layer.features["index"]]
        assert layer.features["measured_area"].tolist() == wanted
        measured = [row.measured for row in desk.model.results]
        assert [one.area for one in measured] == wanted
    finally:
        desk.binding.close()


def test_measuring_begins_anew_where_objects_through_slices_come_meanwhile():
    waiting = queue.SimpleQueue()  # as Qt's events
    desk = Desk((5, *PLANE), small=False, deliver=waiting.put)
    image = desk.viewer.layers["image"]
    image.scale, image.axis_labels, image.units = (3, 1, 1), ("z", "y", "x"), ("um",) * 3
    measuring = desk.session.measuring
    try:
        mask = np.zeros(PLANE, bool)
        mask[4:10, 5:15] = True
        for place in ((1,), (3,)):
            desk.show(place, [mask], ["cell"])
            desk.session.accept()
        layer = desk.viewer.layers[ACCEPTED]
        layer.data[layer.data > 0] = 1
        layer.data = layer.data.copy()
        measuring.measure()
        while desk.model.running:
            waiting.get(timeout=240)()
        assert layer.features["volume"].tolist() == [2 * mask.sum() * 3]
        # As the dock does: what is listed anew is measured at once instead of what was begun.
        desk.model.events.results.connect(measuring.measure_at_once)
        for place in ((0,), (4,)):
            desk.show(place, [mask], ["cell"])
            desk.session.accept()
        while not all(row.measured for row in desk.model.results):
            waiting.get(timeout=240)()
        assert layer.features["measured_area"].tolist()[1:] == [mask.sum()] * 2
    finally:
        desk.binding.close()


@pytest.mark.parametrize("places", [[(1, 2), (3, 2)], [(2, 1), (2, 3)]])
def test_a_picture_says_the_frames_that_its_row_says(places):
    desk = Desk((5, 4, *PLANE), small=False)
    try:
        mask = np.zeros(PLANE, bool)
        mask[4:10, 5:15] = True
        for place in places:
            desk.show(place, [mask], ["cell"])
            desk.session.accept()
        layer = desk.viewer.layers[ACCEPTED]
        layer.data[layer.data > 0] = 1
        layer.data = layer.data.copy()
        rows = ResultRows(desk.session)
        rows.show(desk.model.results)
        rows.sort(COLUMNS.index(FRAME))
        (row,) = desk.model.results
        assert rows.caption(0) == f"1: {format_row(row)[COLUMNS.index(FRAME)]}"
    finally:
        desk.binding.close()


def test_an_accepted_object_of_a_stack_is_one_row_with_its_slices():
    desk = Desk((5, *PLANE), small=False)
    try:
        mask = np.zeros(PLANE, bool)
        mask[4:10, 5:15] = True
        for place in ((1,), (3,), (2,)):
            desk.show(place, [mask], ["cell"])
            desk.session.accept()
        layer = desk.viewer.layers[ACCEPTED]
        layer.data[layer.data > 0] = 1  # one object, as a propagation makes it
        layer.data[2, 4:6] = 0
        layer.data = layer.data.copy()
        (row,) = desk.model.results
        assert format_row(row)[:6] == ("image", "cell", "1 to 3", "1", "0.500", "160")

        desk.session.measuring.measure().wait(240)
        (row,) = desk.model.results
        titles = column_titles([row], ["Measured area", "Centroid Y", "Mean intensity", "Volume"])
        assert "Measured area" not in titles  # that of one slice is none of the object
        assert row.measured.values()["Centroid Y"] == pytest.approx((60 * 6.5 * 2 + 40 * 7.5) / 160)
        assert row.measured.values()["Volume"] == 160

        # Shown on the slice that the user is on, or on the largest one.
        for shown, wanted in ((2, 2), (4, 1)):
            desk.viewer.dims.set_point(0, shown)
            desk.binding.actions.reveal(row)
            assert desk.viewer.dims.current_step[0] == wanted
            assert desk.model.picked is row
        desk.viewer.dims.set_point(0, 3)
        desk.binding.actions.refine_row(row)
        assert desk.model.previews[0].target.plane.leading == (3,)
        desk.session.undo()

        layer.selected_label = 5
        layer.selected_label = 1
        assert desk.model.picked is desk.model.results[0]
        desk.binding.actions.delete_object()
        assert not layer.data.any()
        assert "3 slices" in desk.model.message.text
        desk.session.undo()
        assert np.count_nonzero(layer.data) == 160
        assert [one.area for one in desk.model.results] == [160]

        layer.data[2] = 0
        layer.data = layer.data.copy()
        (row,) = desk.model.results
        assert format_row(row)[2] == "1 to 3 (2 of them)"
    finally:
        desk.binding.close()

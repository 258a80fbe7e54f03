"""Tables that other plugins and scripts put in the place of a result's features."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from skimage.draw import disk

from amounts import FEW
from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for

ACCEPTED, PREVIEW = "SAM3 live accepted labels", "SAM3 preview labels"
CENTRES = ((20, 20), (20, 60), (60, 20), (60, 60))


class Desk:
    def __init__(self):
        image = np.full((80, 80), 20, np.uint8)
        for centre in CENTRES:
            image[disk(centre, 10)] = 200
        self.viewer = ViewerModel()
        self.viewer.add_image(image, name="cells")
        self.binding = binding_for(self.viewer, deliver_inline, MemorySettings())
        self.binding.session.run_live = lambda: None

    def find(self, centre):
        self.binding.prompts.arm()
        self.viewer.layers["SAM3 points"].add(np.array(centre, float))
        assert self.binding.session.run().wait(240)

    def accept(self, centre):
        self.find(centre)
        self.binding.session.accept()

    @property
    def table(self):
        return self.viewer.layers[ACCEPTED].features


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.binding.close()


def check(layer, seen, prompt="1 point"):
    """Each object has its own number, area and prompt, and what ``seen`` tells of it."""
    table = layer.features
    ids, areas = np.unique(layer.data[layer.data > 0], return_counts=True)
    assert dict(zip(table["index"], table["area"], strict=True)) == dict(
        zip(ids, areas, strict=True)
    )
    assert set(table["prompt"]) == {prompt}
    if seen:
        told = dict(zip(table["index"], table["their own"], strict=True))
        assert {id_: value for id_, value in told.items() if value == value} == seen


@FEW
@given(
    rows=st.dictionaries(st.integers(0, 5), st.floats(-9, 9), min_size=1, max_size=5),
    key=st.sampled_from(["index", "label", None]),
    preview=st.booleans(),
)
def test_a_table_of_another_plugin_stands_beside_what_is_known(rows, key, preview):
    desk = Desk()
    desk.accept(CENTRES[0])
    desk.accept(CENTRES[1])
    if key is None:  # napari's own rule: a row for each label from 0 on
        rows = dict(enumerate(rows.values()))
    theirs = {"their own": list(rows.values())}
    if key is not None:
        theirs[key] = list(rows)
    if preview:
        desk.find(CENTRES[2])
        layer = desk.viewer.layers[PREVIEW]
        layer.features = pd.DataFrame(theirs)
        check(layer, {1: rows[1]} if 1 in rows else {}, prompt="-")
        desk.binding.session.accept()
        check(desk.viewer.layers[ACCEPTED], {})
    else:
        layer = desk.viewer.layers[ACCEPTED]
        layer.features = pd.DataFrame(theirs)
        seen = {id_: rows[id_] for id_ in (1, 2) if id_ in rows}
        check(layer, seen)
        desk.accept(CENTRES[2])
        check(layer, seen)
        desk.binding.session.undo()
        check(layer, seen)
    desk.binding.close()


def test_features_that_are_taken_away_leave_the_objects_known(desk):
    desk.accept(CENTRES[0])
    desk.viewer.layers[ACCEPTED].features = {}
    assert desk.binding.model.kept == 1
    desk.accept(CENTRES[1])
    check(desk.viewer.layers[ACCEPTED], {})


def test_the_same_objects_in_another_order_stay_as_somebody_sorted_them(desk):
    for centre in CENTRES[:3]:
        desk.accept(centre)
    layer = desk.viewer.layers[ACCEPTED]
    layer.features = layer.features.iloc[::-1].assign(mine=[3, 2, 1])
    assert list(desk.table["index"]) == [3, 2, 1]
    desk.accept(CENTRES[3])
    assert {1: 1, 2: 2, 3: 3}.items() <= dict(
        zip(desk.table["index"], desk.table["mine"], strict=True)
    ).items()


def test_a_result_whose_features_were_replaced_can_be_measured(desk):
    desk.binding.model.task = Task.EVERYTHING
    assert desk.binding.session.run().wait(240)
    layer = desk.viewer.layers[PREVIEW]
    layer.features = pd.DataFrame({"label": [4, 2], "their own": [0.4, 0.2]})
    assert desk.binding.session.measuring.measure().wait(240)
    table = layer.features.set_index("index")
    assert table["their own"].dropna().to_dict() == {2: 0.2, 4: 0.4}

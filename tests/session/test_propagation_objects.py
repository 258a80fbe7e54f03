"""Which object of a stack a correcting click is on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amounts import FEW
from napari_sam3_assistant.core.prompts import Tool
from napari_sam3_assistant.errors import PromptError

CENTRES = {"left": (20, 20), "right": (40, 50)}


@pytest.fixture
def found(open_bench):
    """Two balls that were followed from slice 6, as objects 1 and 2."""
    bench = open_bench()
    bench.viewer.dims.set_point(0, 6)
    bench.click(6, *CENTRES["left"])
    bench.binding.actions.new_object()
    bench.click(6, *CENTRES["right"], on=2)
    bench.start()
    assert bench.values(bench.labels.data)[6] == [1, 2]
    return bench


def points_of(bench):
    return bench.viewer.layers["SAM3 points"]


def ids(bench):
    return points_of(bench).features["object_id"].tolist()


def click(bench, *pixel, positive=True):
    """Click as the points tool does, and leave the number in Object as it is."""
    bench.viewer.dims.set_point(0, pixel[0])
    bench.model.next_positive = positive
    points_of(bench).add(pixel)


def test_a_click_on_an_object_is_on_it_whatever_object_says(found):
    assert found.model.object_id == 2
    click(found, 4, *CENTRES["left"], positive=False)
    assert ids(found) == [1, 2, 1]
    assert found.model.object_id == 1
    assert found.message.startswith("This click corrects object 1.")
    found.model.object_id = 77
    click(found, 4, *CENTRES["right"])
    assert ids(found) == [1, 2, 1, 2]
    assert found.message == (
        "This click corrects object 2. Press Propagate Existing Session to apply it."
    )


def test_on_the_background_it_is_on_the_chosen_one_or_a_new_one(found):
    found.model.object_id = 1
    click(found, 6, 3, 3)
    assert ids(found) == [1, 2, 1]
    assert found.message.startswith("No object is under this click: it is on object 1, as chosen")
    found.binding.actions.new_object()
    click(found, 6, 55, 5)
    assert ids(found) == [1, 2, 1, 3]
    assert found.message.startswith("This click starts object 3.")
    click(found, 6, 56, 6)
    assert ids(found) == [1, 2, 1, 3, 3]


def test_new_object_splits_a_part_off(found):
    found.binding.actions.new_object()
    click(found, 6, 16, 16)
    assert ids(found) == [1, 2, 3]
    assert found.message.startswith("This click starts object 3 in the pixels of object 1.")
    click(found, 6, *CENTRES["left"])
    assert ids(found) == [1, 2, 3, 1]


def test_a_negative_click_starts_nothing(found):
    found.binding.actions.new_object()
    click(found, 6, *CENTRES["left"], positive=False)
    assert ids(found) == [1, 2, 1]
    # The next positive one does, as New Object has it.
    click(found, 6, 16, 16)
    assert ids(found) == [1, 2, 1, 3]


def test_undo_takes_the_click_back_in_one_step(found):
    click(found, 4, *CENTRES["left"])
    found.session.undo()
    assert ids(found) == [1, 2]
    found.session.redo()
    assert ids(found) == [1, 2, 1]


def test_the_correction_reaches_its_object_only(found):
    before = found.labels.data.copy()
    click(found, 8, CENTRES["left"][0] + 1, CENTRES["left"][1] + 1)
    found.go_on()
    after = found.labels.data
    np.testing.assert_array_equal(after == 2, before == 2)
    assert found.values(after)[8] == [1, 2]


def test_clicks_of_a_layer_of_the_user_are_on_the_objects_under_them(found):
    before = found.labels.data.copy()
    mine = found.viewer.add_points(
        [[8, CENTRES["right"][0] + 1, CENTRES["right"][1] + 1]], name="mine"
    )
    found.model.points_layer = str(mine.unique_id)
    assert "object_id" not in mine.features
    found.viewer.dims.set_point(0, 8)
    found.go_on()
    after = found.labels.data
    np.testing.assert_array_equal(after == 1, before == 1)
    assert set(np.unique(after).tolist()) == {0, 1, 2}
    # Given once, it is no correction any more.
    found.go_on()
    np.testing.assert_array_equal(found.labels.data, after)


def test_elsewhere_and_before_the_first_propagation_object_decides(open_bench, balls):
    bench = open_bench(np.stack([balls, balls]))
    bench.viewer.dims.set_point((0, 1), (1, 6))
    bench.click(1, 6, *CENTRES["left"], on=5)
    assert ids(bench) == [5]
    bench.model.frame_axis = 1
    bench.start()
    assert bench.values(bench.labels.data[1])[6] == [5]
    bench.model.object_id = 2
    bench.viewer.dims.set_point((0, 1), (0, 6))
    points_of(bench).add((0, 6, *CENTRES["left"]))  # another time
    assert ids(bench) == [5, 2]
    assert Tool.POINTS is bench.model.tool
    with pytest.raises(PromptError):
        bench.propagation.go_on()


@FEW
@given(
    frame=st.integers(0, 11), y=st.floats(-0.49, 59.49), x=st.floats(-0.49, 69.49),
    number=st.integers(1, 9), positive=st.booleans(),
)  # fmt: skip
def test_anywhere_it_is_the_object_that_napari_shows_under_the_click(
    found, frame, y, x, number, positive
):
    found.model.object_id = number
    click(found, frame, y, x, positive=positive)
    shown = found.labels.get_value((frame, y, x), world=True) or 0
    assert ids(found)[-1] == (shown or number)

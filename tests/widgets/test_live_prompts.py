"""Prompts run by themselves when the mouse is let go, where the engine is quick."""

import numpy as np
from qtpy.QtCore import Qt

from napari_sam3_assistant import api
from napari_sam3_assistant.session import runs

POINTS, BOXES, PREVIEW = "SAM3 points", "SAM3 boxes", "SAM3 preview labels"
CLICK, OTHER = (30, 40), (85, 110)
BOX = ((10, 20), (52, 62))


def wait_for(user, expected):
    def is_there():
        return user.preview is not None and np.array_equal(user.preview, expected)

    user.wait(lambda: is_there() and not user.is_running)


def test_a_click_a_box_and_an_example_are_one_action_each(open_window, discs):
    user = open_window(discs)
    image = user.viewer.layers["image"]
    user.click_at(image, CLICK)
    wait_for(user, api.segment(discs, points=[CLICK]).labels)
    user.undo()  # the click and its mask are one step
    assert not user.has(PREVIEW)
    assert len(user.viewer.layers[POINTS].data) == 0

    def click_where_one_drags(what):
        user.wait_for_end()
        user.click_at(image, OTHER)
        assert len(user.viewer.layers[BOXES].data) == 0  # napari draws a speck
        assert user.status.endswith(f"A click is no box. Drag a box around {what}.")

    user.choose("2d_segmentation", "box")
    click_where_one_drags("an object")
    user.drag(image, BOX[0], (30, 30), BOX[1])
    (drawn,) = (np.asarray(one) for one in user.viewer.layers[BOXES].data)
    # A pixel of napari has its middle at a whole number, its edge in the API.
    (y0, x0), (y1, x1) = drawn.min(axis=0) + 0.5, drawn.max(axis=0) + 0.5
    wait_for(user, api.segment(discs, boxes=[(y0, x0, y1, x1)]).labels)
    user.press(Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)

    user.choose("exemplar_segmentation")
    click_where_one_drags("an example")
    user.drag(image, BOX[0], (30, 30), BOX[1])
    user.wait(lambda: user.preview is not None and len(np.unique(user.preview)) == 5)

    user.press(Qt.Key.Key_T)
    assert user.chosen("next_positive") == ["Negative"]
    user.drag(image, (69, 94), (85, 110), (101, 126))
    user.press(Qt.Key.Key_R)
    user.wait(lambda: "from 2 examples (1 negative)" in user.status)


def test_a_result_comes_while_a_box_is_drawn_and_no_run_starts_before_it_is_let_go(
    open_window, discs, gate
):
    user = open_window(discs)
    image = user.viewer.layers["image"]
    user.choose("2d_segmentation", "box")
    user.drag(image, BOX[0], (30, 30), BOX[1])
    user.wait(lambda: gate.reached.acquire(blocking=False))

    user.hold(image, (65, 90), (80, 100), (95, 120))
    gate.opened.set()
    user.wait(lambda: user.preview is not None and not user.is_running)
    user.qtbot.wait(300)  # longer than the 200 ms after which a run starts
    assert gate.runs == 1
    user.drag_on(image, (100, 125), (107, 132))
    user.let_go(image, (107, 132))

    user.wait(lambda: gate.runs == 2 and not user.is_running)
    boxes = [np.asarray(one) for one in user.viewer.layers[BOXES].data]
    assert len(boxes) == 2
    assert np.ptp(boxes[1], axis=0).min() > 35
    assert sorted(np.unique(user.preview)) == [0, 1, 2]


def test_run_preview_is_needed_where_the_engine_is_slow_or_live_is_off(
    open_window, discs, gate, monkeypatch
):
    gate.opened.set()
    user = open_window(discs)
    image = user.viewer.layers["image"]
    with monkeypatch.context() as slow:  # undo() would take back what the fixtures set as well
        # Whatever takes any time at all is slow.
        slow.setattr(runs, "QUICK_S", -1)
        user.click_at(image, CLICK)
        user.wait(lambda: gate.runs == 1 and not user.is_running)  # how slow it is has to be seen

        user.click_at(image, OTHER)
        user.wait(lambda: user.text_of("run_reason").startswith("Press Run Preview: it takes"))
        user.qtbot.wait(400)
        assert gate.runs == 1
    user.run()
    assert gate.runs == 2
    user.press(Qt.Key.Key_T)
    user.click_at(image, (30, 75))
    user.wait(lambda: gate.runs == 3 and not user.is_running)

    user.press(Qt.Key.Key_Escape)
    user.click("live")
    user.click_at(image, CLICK)
    user.qtbot.wait(400)
    assert gate.runs == 3
    assert user.text_of("run_reason") == user.status == "Press Run Preview."
    user.run()
    assert gate.runs == 4
    user.close_dock()
    user.open()
    assert not user.button("live").isChecked()


def find_all_but(user, pixel):
    """Find the discs by a phrase, and erase one, as if the phrase had missed it."""
    user.choose("text_segmentation")
    user.type_phrase("bright objects")
    user.wait(lambda: user.preview is not None and not user.is_running)
    missed = int(user.preview[pixel])
    before = user.preview.copy()
    user.viewer.layers[PREVIEW].data[before == missed] = 0
    user.viewer.layers[PREVIEW].refresh()
    return np.where(before == missed, 0, before)


def test_what_a_phrase_found_is_added_to_and_corrected_and_undo_takes_it_back(open_window, discs):
    user = open_window(discs)
    image = user.viewer.layers["image"]
    found = find_all_but(user, CLICK)
    id_ = found[OTHER]

    user.choose("2d_segmentation", "points")
    user.click_at(image, CLICK)
    user.wait(lambda: user.preview[CLICK] > 0 and not user.is_running)
    new = user.preview[CLICK]
    np.testing.assert_array_equal(np.where(user.preview == new, 0, user.preview), found)
    assert (user.preview == new).sum() > 400
    assert user.text_of("run_reason") != "Press Run Preview."
    assert "3 objects found before stay" in user.status
    user.undo()
    np.testing.assert_array_equal(user.preview, found)
    user.redo()
    assert user.preview[CLICK] > 0
    user.undo()

    user.press(Qt.Key.Key_B)
    user.drag(image, BOX[0], (30, 30), BOX[1])
    user.wait(lambda: user.preview[CLICK] > 0 and not user.is_running)
    new = user.preview[CLICK]
    np.testing.assert_array_equal(np.where(user.preview == new, 0, user.preview), found)
    with_new = user.preview.copy()

    user.press(Qt.Key.Key_P)
    user.press(Qt.Key.Key_T)
    user.click_at(image, OTHER)  # a negative click alone, on an object that is there
    user.wait(lambda: f"Object {id_} is corrected" in user.status)
    left = {int(one) for one in np.unique(user.preview)}
    assert left >= {0, int(new), *np.unique(found)} - {id_}
    user.wait_for_end()
    user.undo()
    np.testing.assert_array_equal(user.preview, with_new)
    user.press(Qt.Key.Key_K)
    assert not user.has(PREVIEW)
    accepted = user.viewer.layers["SAM3 live accepted labels"].data
    assert len(np.unique(accepted)) == 5


def test_each_click_can_be_an_object_of_its_own(open_window, discs):
    user = open_window(discs)
    image = user.viewer.layers["image"]
    user.click("each_click")
    for pixel in (CLICK, OTHER, (30, 110)):
        user.click_at(image, pixel)
    singles = [api.segment(discs, points=[p]).labels > 0 for p in (CLICK, OTHER, (30, 110))]
    expected = sum(number * one for number, one in enumerate(singles, 1))
    wait_for(user, expected)

    user.press(Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert user.viewer.layers["SAM3 live accepted labels"].data.max() == 3

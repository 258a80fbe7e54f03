"""Live Points: the mask follows the clicks, by keys and mouse, one object after the other."""

import numpy as np
from qtpy.QtCore import Qt

from napari_sam3_assistant import api
from napari_sam3_assistant.widgets.main_widget import MainWidget

POINTS, ACCEPTED, PREVIEW = "SAM3 points", "SAM3 live accepted labels", "SAM3 preview labels"
SHIFT = Qt.KeyboardModifier.ShiftModifier


def begin(open_window, discs):
    user = open_window(discs)
    user.choose("refinement")
    return user, user.viewer.layers["image"]


def wait_for_labels(user, expected):
    def as_expected():
        return user.preview is not None and np.array_equal(user.preview, expected)

    user.wait(lambda: as_expected() and not user.is_running)


def test_t_makes_the_next_click_negative_and_shift_t_flips_the_latest_or_the_selected(
    open_window, discs
):
    user = open_window(discs)
    user.choose("2d_segmentation", "box")  # where there are no points the keys do nothing
    assert user.status.startswith("Drag a box")
    user.press(Qt.Key.Key_T)
    user.press(Qt.Key.Key_T, SHIFT)
    user.click("tool_points")
    assert user.chosen("next_positive") == ["Positive"]

    user.choose("refinement")
    image = user.viewer.layers["image"]
    one = api.segment(discs, points=[(30, 40)]).labels
    user.click_at(image, (30, 40))
    wait_for_labels(user, one)

    user.press(Qt.Key.Key_T)
    assert user.chosen("next_positive") == ["Negative"]
    user.click_at(image, (30, 75))
    words = user.viewer.layers[POINTS].features["polarity"]
    assert list(words) == ["positive", "negative"]
    wait_for_labels(user, api.segment(discs, points=[(30, 40), (30, 75, False)]).labels)
    user.wait(lambda: "2 points (1 negative)" in user.status)

    user.press(Qt.Key.Key_T, SHIFT)
    assert list(user.viewer.layers[POINTS].features["polarity"]) == ["positive", "positive"]
    wait_for_labels(user, api.segment(discs, points=[(30, 40), (30, 75)]).labels)
    user.wait(lambda: user.status.endswith("from 2 points."))

    user.press(Qt.Key.Key_T)
    assert user.chosen("next_positive") == ["Positive"]

    points = user.viewer.layers[POINTS]
    points.selected_data = {0}
    user.press(Qt.Key.Key_T, SHIFT)
    assert list(points.features["polarity"]) == ["negative", "positive"]
    user.press(Qt.Key.Key_T, SHIFT)
    wait_for_labels(user, api.segment(discs, points=[(30, 40), (30, 75)]).labels)

    # With the last point the mask goes.
    points.selected_data = {0, 1}
    points.remove_selected()
    user.wait(lambda: not user.has(PREVIEW))
    assert user.results == "No preview result yet."
    assert "gone with them" in user.status


def test_a_click_during_a_run_is_not_lost(open_window, discs, gate):
    user, image = begin(open_window, discs)
    user.click_at(image, (30, 40))
    user.wait(lambda: gate.reached.acquire(blocking=False))

    user.click_at(image, (30, 110))  # the first run has not answered yet
    user.qtbot.wait(300)  # longer than the 200 ms after which the panel would run again
    assert gate.runs == 1
    gate.opened.set()

    user.wait(lambda: user.status.endswith("from 2 points."))
    assert gate.runs == 2
    wait_for_labels(user, api.segment(discs, points=[(30, 40), (30, 110)]).labels)


def test_whoever_is_faster_than_the_engine_clicks_and_accepts_all_the_same(
    open_window, discs, gate
):
    user, image = begin(open_window, discs)
    spots = [(30, 40), (85, 110), (30, 110)]
    for spot in spots:
        user.click_at(image, spot)
        assert len(user.viewer.layers[POINTS].data) == 1
        if spot == spots[0]:
            user.wait(lambda: gate.reached.acquire(blocking=False))
            user.click("accept")
        else:
            user.press(Qt.Key.Key_K)
        assert not len(user.viewer.layers[POINTS].data)
    assert not user.has(ACCEPTED)
    gate.opened.set()
    user.wait(lambda: user.status == "✓ Accepted: object 3. Ready for the next object.")
    assert gate.runs == len(spots)
    accepted = user.viewer.layers[ACCEPTED].data
    for number, spot in enumerate(spots, 1):
        alone = api.segment(discs, points=[spot]).labels
        np.testing.assert_array_equal(accepted == number, (alone != 0) & (accepted == number))
        assert accepted[spot] == number
    assert not user.has(PREVIEW)


def test_quick_clicks_make_one_run(user, discs, gate):
    gate.opened.set()
    user.viewer.add_image(discs, name="image")
    user.choose("refinement")

    points = user.viewer.layers[POINTS]
    for pixel in ((28, 38), (30, 40), (32, 42)):
        points.add(pixel)

    user.wait(lambda: user.status.endswith("from 3 points."))
    assert gate.runs == 1
    wait_for_labels(user, api.segment(discs, points=[(28, 38), (30, 40), (32, 42)]).labels)


def test_accept_adds_the_next_id_and_clears_the_prompts(open_window, discs):
    user, image = begin(open_window, discs)
    objects = []
    for number, pixel in enumerate([(30, 40), (85, 110)], start=1):
        expected = api.segment(discs, points=[pixel]).labels
        objects.append(expected != 0)
        user.click_at(image, pixel)
        wait_for_labels(user, expected)

        if number == 1:
            user.click("accept")
        else:
            user.press(Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)

        accepted = user.viewer.layers[ACCEPTED]
        np.testing.assert_array_equal(accepted.data == number, objects[-1])
        assert len(user.viewer.layers[POINTS].data) == 0
        assert not user.has(PREVIEW)
        assert user.status == f"✓ Accepted: object {number}. Ready for the next object."
        assert user.viewer.layers.selection.active is user.viewer.layers[POINTS]
        assert user.viewer.layers[POINTS].mode == "add"
    assert accepted.data.max() == 2
    assert (accepted.data == 1).sum() == objects[0].sum()


def test_two_widgets_on_one_viewer_make_one_run_and_the_one_that_is_left_goes_on(
    open_window, discs, gate
):
    user, image = begin(open_window, discs)
    second = MainWidget(user.viewer)
    user.qtbot.addWidget(second)
    gate.opened.set()

    user.click_at(image, (30, 40))
    user.wait(lambda: user.status.endswith("from 1 point."))
    user.qtbot.wait(300)  # longer than the 200 ms after which the other would run, too

    assert second.binding is user.widget.binding
    assert gate.runs == 1

    user.close_dock()
    user.viewer.layers[POINTS].add((85, 110))
    user.wait(lambda: gate.runs == 2 and not second.binding.model.running)
    assert user.preview[30, 40] == 1
    assert user.preview[85, 110] == 1

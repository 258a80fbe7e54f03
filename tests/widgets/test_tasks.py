"""Every task from the prompt to the labels, by mouse and keyboard in a real window."""

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_sam3_assistant import api

CENTRES = ((30, 40), (30, 110), (85, 40), (85, 110))


def test_every_task(open_window, discs):
    user = open_window(discs)
    for work in (by_points, by_boxes, by_a_phrase, by_an_example):
        work(user, discs)
        user.press(Qt.Key.Key_Escape)
        assert user.preview is None
    by_a_painted_mask(user, discs)


def by_points(user, discs):
    image = user.viewer.layers["image"]
    user.choose("2d_segmentation", "points")
    user.click_at(image, (30, 40))
    assert user.viewer.layers["SAM3 points"].data.round().tolist() == [[30, 40]]
    user.run()

    expected = api.segment(discs, points=[(30, 40)]).labels
    np.testing.assert_array_equal(user.preview, expected)
    assert 500 < np.count_nonzero(user.preview == 1) < 750  # a disc of radius 14 has 615 pixels
    assert user.status.startswith("✓ Preview ready: 1 object in ")
    assert "Built-in" in user.status
    assert user.status.endswith("from 1 point.")
    assert user.results == "Latest labels: 1 object, from clicks."


def by_boxes(user, discs):
    image = user.viewer.layers["image"]
    user.choose("2d_segmentation", "box")
    user.drag(image, (10, 20), (30, 40), (50, 60))
    user.drag(image, (66, 92), (80, 110), (104, 128))
    assert len(user.viewer.layers["SAM3 boxes"].data) == 2
    user.run()

    boxes = drawn_boxes(user)
    np.testing.assert_allclose(
        boxes, [(10.5, 20.5, 50.5, 60.5), (66.5, 92.5, 104.5, 128.5)], atol=1
    )
    expected = api.segment(discs, boxes=boxes).labels
    np.testing.assert_array_equal(user.preview, expected)
    assert [user.preview[30, 40], user.preview[85, 110], user.preview[85, 40]] == [1, 2, 0]
    assert user.status.endswith("from 2 boxes.")


def drawn_boxes(user):
    """A mouse draws between pixels, and pixel 0 begins half a pixel before its centre."""
    return [
        tuple(np.round([*drawn.min(axis=0) + 0.5, *drawn.max(axis=0) + 0.5], 6).tolist())
        for drawn in user.viewer.layers["SAM3 boxes"].data
    ]


def by_a_phrase(user, discs):
    for task, tool in (("text_segmentation", None), ("2d_segmentation", "text")):
        user.choose(task, tool)
        user.type_phrase("bright objects")
        user.wait_for_end()

        expected = api.segment(discs, text="bright objects").labels
        assert len({expected[centre] for centre in CENTRES} - {0}) == 4
        np.testing.assert_array_equal(user.preview, expected)
        assert user.status.endswith("from “bright objects”.")
        assert user.results.startswith(f"Latest labels: {expected.max()} objects, score")
        user.press(Qt.Key.Key_Escape)


def by_an_example(user, discs):
    image = user.viewer.layers["image"]
    user.choose("exemplar_segmentation")
    user.drag(image, (14, 24), (30, 40), (46, 56))
    user.run()

    (box,) = drawn_boxes(user)
    np.testing.assert_allclose(box, (14.5, 24.5, 46.5, 56.5), atol=1)
    expected = api.segment(discs, exemplars=[box]).labels
    assert len({expected[centre] for centre in CENTRES} - {0}) == 4
    np.testing.assert_array_equal(user.preview, expected)
    assert user.status.endswith("from 1 example.")


def by_a_painted_mask(user, discs):
    image = user.viewer.layers["image"]
    user.choose("2d_segmentation", "mask")
    painted = user.viewer.layers["SAM3 mask prompt"]
    painted.brush_size = 12
    user.drag(painted, (80, 35), (85, 42), (92, 44))
    assert painted.data[85, 42] == 1
    user.run()

    expected = api.segment(discs, mask=painted.data).labels
    np.testing.assert_array_equal(user.preview, expected)
    assert user.preview[85, 42] == 1
    assert user.status.endswith("from the painted mask.")
    assert image in user.viewer.layers

    box = user.button("as_painted")
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(10, box.height() // 2))
    user.run()
    np.testing.assert_array_equal(user.preview, painted.data)
    user.choose("2d_segmentation", "box")
    assert not user.button("as_painted").isVisible()
    user.close_dock()
    user.open()
    assert user.button("as_painted").isChecked()

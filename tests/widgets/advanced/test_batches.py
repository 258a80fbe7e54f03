"""Batch all image layers, and several phrases: version 4's sections, step by step."""

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit, QTextEdit
from skimage.draw import disk

from napari_sam3_assistant import api

PREVIEW, BOXES = "SAM3 preview labels", "SAM3 preview boxes"


def type_phrases(user, *lines):
    box = user.widget.findChild(QTextEdit, "batch_text")
    for line in lines:
        QTest.keyClicks(box, line)
        QTest.keyClick(box, Qt.Key.Key_Return)
    return box


def two_images(user, discs):
    user.viewer.add_image(discs, name="Image 1")
    user.viewer.add_image(600 - discs[:100].astype(np.uint16) * 2, name="Image 2")


def previews(user):
    return [layer.name for layer in user.viewer.layers if layer.name.startswith(PREVIEW)]


def test_several_phrases_on_several_images(advanced, discs):
    user = advanced.user
    two_images(user, discs)
    user.choose_in("task", "Text segmentation")
    user.button("batch_images").click()
    box = type_phrases(user, "bright discs", "# not this", "dark discs", "Bright  discs")
    assert not user.widget.findChild(QLineEdit, "text").isEnabled()
    assert user.button("run_preview").text() == "Run Preview (batch)"

    QTest.keyClick(box, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    user.wait_for_end()

    pairs = [(image, phrase) for image in (1, 2) for phrase in ("bright discs", "dark discs")]
    found = [(image, phrase) for image, phrase in pairs if named(image, phrase) in previews(user)]
    assert (1, "bright discs") in found
    assert (2, "dark discs") in found
    for image, phrase in found:
        labels = user.viewer.layers[named(image, phrase)]
        source = user.viewer.layers[f"Image {image}"]
        limits = tuple(source.contrast_limits) if image == 2 else None
        expected = api.segment(source.data, text=phrase, contrast=limits).labels
        np.testing.assert_array_equal(labels.data, expected)
        assert f"{BOXES} [Image {image} - {phrase}]" in user.viewer.layers
    rows = advanced.cells()
    assert {(row[0], row[1]) for row in rows} == {(f"Image {one}", two) for one, two in found}
    firsts = [row for row in rows if row[3] == "1"]
    assert len(firsts) == len(found) == len(previews(user))
    assert user.status.startswith("✓ Batch ready: ")
    assert " in 4 results, " in user.status


def named(image, phrase):
    return f"{PREVIEW} [Image {image} - {phrase}]"


def test_several_phrases_on_the_chosen_image(advanced, discs):
    user = advanced.user
    two_images(user, discs)
    user.choose_in("image", "Image 1")
    user.choose_in("task", "Text segmentation")
    type_phrases(user, "bright discs", "bright spots")

    user.run()

    assert previews(user) == [named(1, "bright discs"), named(1, "bright spots")]
    user.click("save")
    assert user.has("SAM3 saved labels [Image 1 - bright discs]")
    user.click("undo")
    assert previews(user) == []
    user.click("redo")
    assert len(previews(user)) == 2


def test_a_box_lies_where_it_lies_in_the_world(advanced, discs):
    user = advanced.user
    first = user.viewer.add_image(discs, name="Image 1")
    # Half the size of a pixel, and shifted: the same disc is elsewhere in the array.
    fine = np.full((240, 300), 50, np.uint8)
    fine[disk((100, 120), 28)] = 200
    user.viewer.add_image(fine, name="Image 2", scale=(0.5, 0.5), translate=(-20, -20))
    user.viewer.layers.selection.active = first
    user.choose_in("image", "Image 1")
    user.choose_in("tool", "Box")
    user.click("create_prompt_layer")
    user.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(12, 22), (48, 58)]))
    user.button("batch_images").click()

    user.run()

    one, two = (user.viewer.layers[f"{PREVIEW} [Image {number}]"] for number in (1, 2))
    expected = api.segment(discs, boxes=[(12, 22, 49, 59)]).labels
    np.testing.assert_array_equal(one.data, expected)
    assert two.get_value((30, 40), world=True) == 1
    assert abs(np.count_nonzero(two.data) - np.count_nonzero(fine == 200)) < 100
    np.testing.assert_array_equal(two.scale, (0.5, 0.5))


def test_what_fails_is_reported_and_the_rest_goes_on(advanced, discs):
    user = advanced.user
    user.viewer.add_image(discs, name="far away", translate=(1000, 1000))
    first = user.viewer.add_image(discs, name="Image 1")
    user.viewer.layers.selection.active = first
    user.choose_in("tool", "Box")
    user.click("create_prompt_layer")
    user.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(12, 22), (48, 58)]))
    user.button("batch_images").click()

    user.run()

    assert previews(user) == [f"{PREVIEW} [Image 1]"]
    assert user.status.startswith("⚠ Batch ready: 1 object in 1 result, ")
    assert user.status.endswith("Left out: no prompt lies on “far away”")


def test_an_image_is_removed_meanwhile(advanced, discs, gate):
    user = advanced.user
    for number in (1, 2):
        user.viewer.add_image(discs, name=f"Image {number}")
    user.choose_in("task", "Text segmentation")
    user.button("batch_images").click()
    type_phrases(user, "bright discs")
    user.click("run_preview")
    user.wait(lambda: gate.reached.acquire(blocking=False))
    user.viewer.layers.remove("Image 2")
    gate.opened.set()
    user.wait_for_end()

    assert previews(user) == [named(1, "bright discs")]
    assert user.status.startswith("⚠ Batch ready: 4 objects in 2 results, ")
    gone = "its image was removed or replaced meanwhile"
    assert user.status.endswith(f"Left out: “Image 2 - bright discs”: {gone}")
    user.click("accept")
    assert user.status.startswith("✓ Accepted: objects 1, 2, 3, 4.")


def test_cancel_keeps_what_has_come(advanced, discs, gate):
    user = advanced.user
    two_images(user, discs)
    user.choose_in("task", "Text segmentation")
    user.button("batch_images").click()
    type_phrases(user, "bright discs")
    user.click("run_preview")
    user.wait(lambda: gate.reached.acquire(blocking=False))
    gate.passes.release()
    user.wait(lambda: len(previews(user)) == 1)
    user.wait(lambda: gate.reached.acquire(blocking=False))
    user.button("cancel").click()
    user.wait_for_end()
    gate.opened.set()

    assert set(previews(user)) == {named(1, "bright discs")}
    assert user.button("save").isEnabled()


def test_live_points_are_no_batch(advanced, discs):
    user = advanced.user
    two_images(user, discs)
    user.button("batch_images").click()

    user.choose_in("task", "Live Points (positive/negative)")

    assert not user.button("batch_images").isEnabled()
    assert user.button("run_preview").text() == "Run Preview"
    assert not user.widget.findChild(QTextEdit, "batch_text").isEnabled()


def test_a_run_replaces_the_previews_of_a_batch(advanced, discs):
    user = advanced.user
    two_images(user, discs)
    user.choose_in("image", "Image 1")
    user.choose_in("task", "Text segmentation")
    box = type_phrases(user, "bright discs", "bright spots")
    user.run()
    box.clear()

    user.type_phrase("bright objects")
    user.wait_for_end()

    assert previews(user) == [PREVIEW]
    framed = [layer for layer in user.viewer.layers if layer.name.startswith(BOXES)]
    assert [layer.name for layer in framed if len(layer.data)] == [BOXES]
    user.click("clear_preview")
    assert previews(user) == []

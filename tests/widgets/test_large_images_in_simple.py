"""Large images in Simple mode: the switch of local inference, and the scan where it is worth it."""

import dask.array as da
import numpy as np
from qtpy.QtWidgets import QLineEdit, QPushButton, QSpinBox, QWidget
from skimage.draw import disk

from napari_sam3_assistant.viewer.roles import Role, with_role


def large(shape=(600, 500)):
    image = np.full(shape, 50, np.uint8)
    for centre in ((100, 100), (500, 400)):
        image[disk(centre, 30, shape=shape)] = 200
    return image


def fold(user, title):
    return next(
        button
        for button in user.widget.findChildren(type(user.button("fold")))
        if button.objectName() == "fold" and title in button.text()
    )


def test_local_inference_is_seen_and_switched(user):
    user.viewer.add_image(large((1500, 1500)), name="image")
    switch = user.button("large_image")
    assert not switch.isVisibleTo(user.widget)
    fold(user, "More options").click()
    assert switch.isVisibleTo(user.widget)
    assert not switch.isChecked()

    switch.click()
    assert user.status == "Large-image mode ON: local ROI inference (1024 x 1024)."
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add((100, 100))
    user.choose_in("roi_size", "512 x 512")
    user.run()

    assert user.preview.shape == (512, 512)
    switch.click()
    assert user.status == "Large-image mode OFF: full-image inference."


def test_a_scan_is_offered_for_a_phrase_on_more_than_one_tile(user, tmp_path):
    small = user.viewer.add_image(large((200, 200)), name="small")
    scan = user.button("scan")
    user.choose("text_segmentation")
    assert not scan.isVisibleTo(user.widget)
    user.viewer.add_image(large(), name="large")
    assert not scan.isVisibleTo(user.widget)
    user.widget.findChild(QSpinBox, "scan_tile").setValue(256)
    assert scan.isVisibleTo(user.widget)
    user.viewer.layers.selection.active = small
    assert not scan.isVisibleTo(user.widget)
    user.choose_in("image", "large")
    user.choose("2d_segmentation", "points")
    assert not scan.isVisibleTo(user.widget)
    user.choose("exemplar_segmentation")
    assert scan.isVisibleTo(user.widget)
    user.choose("text_segmentation")
    user.widget.findChild(QLineEdit, "scan_folder").setText(str(tmp_path))
    user.type_phrase("bright discs", enter=False)

    user.click("scan")
    user.wait_for_end()

    (layer,) = with_role(user.viewer.layers, Role.SCAN)
    assert user.status.startswith("✓ Scan complete: 2 objects in 9 tiles, ")
    assert layer.data[0][100, 100] != layer.data[0][500, 400]


def test_a_large_image_brings_the_button_that_turns_the_mode_on(user):
    user.viewer.add_image(large(), name="small")
    button = user.button("use_large_image")
    assert not button.isVisibleTo(user.widget)
    slide = da.zeros((5000, 9000), np.uint8, chunks=(1000, 1000))
    user.viewer.add_image(slide, name="slide", contrast_limits=(0, 255))
    user.choose_in("image", "slide")
    user.choose("2d_segmentation")
    assert button.isVisibleTo(user.widget)
    assert user.text_of("large_image_hint").startswith("This image is 5000 x 9000 pixels: ")
    user.choose("3d_video_propagation")
    assert not button.isVisibleTo(user.widget)
    user.choose("2d_segmentation")

    user.click("use_large_image")

    assert user.button("large_image").isChecked()
    assert not button.isVisibleTo(user.widget)
    assert user.status.startswith("Large-image mode ON")
    user.click("mode_advanced")
    other = user.widget.findChild(QWidget, "advanced_panel").findChild(
        QPushButton, "use_large_image"
    )
    assert not other.isVisibleTo(user.widget)
    user.click("mode_simple")
    fold(user, "More options").click()
    user.button("large_image").click()
    assert button.isVisibleTo(user.widget)
    user.choose_in("image", "small")
    assert not button.isVisibleTo(user.widget)

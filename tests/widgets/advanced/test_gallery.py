"""The objects as pictures: made when they are in sight, in an order, picked, refined, taken out."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QListView, QWidget
from skimage.draw import disk

from amounts import thorough

PREVIEW = "SAM3 preview labels"
SIZES = (6, 9, 12, 19)
CENTRES = ((30, 40), (30, 110), (85, 40), (85, 110))


@pytest.fixture(params=["advanced", thorough("simple")])
def user(request, open_window):
    """Somebody who has found four discs by a phrase, and opens the gallery in one of the modes."""
    image = np.random.default_rng(0).normal(50, 4, (120, 150))
    for radius, centre in zip(SIZES, CENTRES, strict=True):
        image[disk(centre, radius, shape=image.shape)] += 140
    user = open_window(image.clip(0, 255).astype(np.uint8))
    user.choose("text_segmentation")
    user.type_phrase("bright discs")
    user.wait_for_end()
    main = user.widget
    if request.param == "advanced":
        user.click("mode_advanced")
        user.widget = main.findChild(QWidget, "advanced_panel")
        user.click("results_gallery_button")
    else:
        fold = next(
            one for one in main.findChildren(QAbstractButton, "fold") if one.text() == "▸ Results"
        )
        QTest.mouseClick(fold, Qt.MouseButton.LeftButton)
    user.settle()
    del main
    yield user
    vars(user).clear()  # napari's fixture fails where its window is still held


def gallery(user):
    return next(one for one in user.widget.findChildren(QListView, "gallery") if one.isVisible())


def picture_of(view, place):
    icon = view.model().index(place, 0).data(Qt.ItemDataRole.DecorationRole)
    image = icon.pixmap(72, 72).toImage()
    colours = {image.pixelColor(x, y).getRgb()[:3] for x in range(72) for y in range(72)}
    return (242, 199, 68) in colours


def click(user, place):
    view = gallery(user)
    index = view.model().index(place, 0)
    view.scrollTo(index)
    spot = view.visualRect(index).center()
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    user.settle()


def test_pictures_by_size_picked_refined_and_taken_out(user):
    view = gallery(user)
    user.wait(lambda: all(picture_of(view, place) for place in range(4)))

    # In the order of a value: the largest first.
    combo = next(
        one for one in user.widget.findChildren(QComboBox, "gallery_sort") if one.isVisible()
    )
    combo.setCurrentText("Area")
    combo.activated.emit(combo.currentIndex())
    areas = [view.model().index(place, 5).data() for place in range(4)]
    assert areas == sorted(areas, key=int)
    assert int(areas[-1]) > 1000
    ids = [view.model().index(place, 3).data() for place in range(4)]
    captions = [view.model().caption(place) for place in range(4)]
    assert captions == [f"{id_}: {area}" for id_, area in zip(ids, areas, strict=True)]

    # A click goes there; what is clicked on the canvas is marked.
    labels = user.viewer.layers[PREVIEW]
    click(user, 3)
    assert labels.selected_label == labels.data[CENTRES[3]]
    labels.mode = "pan_zoom"
    user.viewer.layers.selection.active = labels
    user.click_at(labels, CENTRES[0])
    assert view.currentIndex().row() == 0

    # Del takes it out, undo brings it back.
    gone = labels.data[CENTRES[0]]
    QTest.keyClick(view, Qt.Key.Key_Delete)
    user.settle()
    assert view.model().rowCount() == 3
    assert gone not in np.unique(user.preview)
    assert view.currentIndex().row() == 0
    user.click("undo")
    user.settle()
    assert view.model().rowCount() == 4
    assert user.preview[CENTRES[0]] == gone

    # Enter refines.
    click(user, 2)
    QTest.keyClick(view, Qt.Key.Key_Return)
    user.settle()
    # From here on Live Points corrects it.
    assert user.viewer.layers.selection.active.name == "SAM3 points"

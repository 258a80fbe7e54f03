"""A figure of the plane on show, as PNG and as SVG."""

from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from qtpy.QtWidgets import QFileDialog

BRIGHTEST = np.array((0xF0, 0xE4, 0x42))


@pytest.fixture
def found(advanced, discs):
    advanced.user.viewer.add_image(discs, name="cells", scale=(0.5, 0.5), units=("um", "um"))
    advanced.user.choose_in("task", "Text segmentation")
    advanced.user.type_phrase("bright discs")
    advanced.user.wait_for_end()
    return advanced


def save(user, path, kind, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), kind))
    user.click("save_figure")
    user.wait_for_end()
    assert user.status.startswith("✓ Saved"), user.status


def test_a_picture_with_outlines_where_the_objects_end(found, discs, tmp_path, monkeypatch):
    user = found.user
    save(user, tmp_path / "cells.png", "PNG (*.png)", monkeypatch)

    picture = np.asarray(Image.open(tmp_path / "cells.png").convert("RGB")).astype(int)
    # 120 x 150 pixels, eight times as large.
    assert picture.shape == (960, 1200, 3)
    yellow = (abs(picture - BRIGHTEST) < 40).all(-1)
    labels = user.preview
    y, x = (index[20:-20] for index in np.nonzero(labels == labels[85, 40]))
    top = int(np.nonzero(labels == labels[85, 40])[0].min() * 8)
    middle = int(np.median(x) * 8) + 4
    assert yellow[top - 8 : top + 9, middle - 8 : middle + 8].any()
    assert not yellow[int(np.median(y)) * 8 + 4, middle]


def test_a_drawing_with_text_that_can_be_edited(found, tmp_path, monkeypatch):
    # A name without an ending gets that of the chosen kind.
    save(found.user, tmp_path / "cells", "SVG (*.svg)", monkeypatch)

    root = ElementTree.parse(tmp_path / "cells.svg").getroot()
    said = " ".join("".join(one.itertext()) for one in root.iter())
    assert "bright discs (4 objects)" in said
    assert "10 µm" in said
    assert any(one.tag.endswith("image") for one in root.iter())
    shapes = [one for one in root.iter() if one.tag.endswith(("polygon", "path", "polyline"))]
    assert len(shapes) >= 4


def test_why_there_is_no_figure(advanced):
    button = advanced.user.button("save_figure")
    assert (button.isEnabled(), button.toolTip()) == (False, "Open an image first")

"""Numbers in the languages of other people."""

import pytest
from qtpy.QtCore import QLocale, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sam3_assistant.mask_operations.model import MaskModel
from napari_sam3_assistant.qt.controls import DecimalBox, length_box


@pytest.fixture(params=["en_US", "de_DE", "fr_FR", "tr_TR", "ar_EG", "fa_IR"])
def language(request):
    before = QLocale()
    QLocale.setDefault(QLocale(request.param))
    yield
    QLocale.setDefault(before)


def type_in(box, text):
    QTest.keyClicks(box, text)


def paste_in(box, text):
    QApplication.clipboard().setText(text)
    box.lineEdit().paste()


TYPED = [(type_in, "0.25"), (type_in, "0,25"), (type_in, ",25"), (paste_in, "0,25")]
# QTest has no keys for Arabic digits.
TYPED += [(paste_in, "\u0660\u066b\u0662\u0665")]


@pytest.mark.parametrize(("enter", "text"), TYPED)
def test_point_and_comma_are_the_same_in_each_language(qtbot, language, enter, text):
    box = DecimalBox()
    box.setRange(0.01, 1e6)
    box.setSuffix(" px")
    qtbot.addWidget(box)
    box.selectAll()
    enter(box, text)
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert box.value() == 0.25
    assert box.text() == "0.25 px"
    box.setValue(1234.5)
    box.interpretText()
    assert box.text() == "1234.50 px"
    assert box.value() == 1234.5


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("0.00065", "0.00065"),
        ("0,000003", "0.000003"),
        ("12,5", "12.50"),
        ("1000000", "1000000.00"),
    ],
)
def test_a_length_is_what_was_typed_also_in_millimetres(qtbot, typed, shown):
    model = MaskModel(physical=True)
    box = length_box(model, "smooth.radius", "Radius")
    qtbot.addWidget(box)
    assert box.text() == "1.00 units"
    line = box.lineEdit()
    line.selectAll()
    QTest.keyClicks(line, typed)
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert box.text() == f"{shown} units"
    assert model.smooth.radius == float(shown)

"""What the save dialogs propose and offer, and what is said before a format is chosen."""

import pytest
import tifffile
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QFileDialog

from napari_sam3_assistant.core.classes import ClassList, ObjectClass


@pytest.fixture
def asked(monkeypatch):
    """What the system's dialog was asked with; it answers what a test puts into ``answer``."""
    calls = []

    def ask(_parent, title, start="", filters=""):
        calls.append({"title": title, "start": start, "filters": filters.split(";;")})
        return ask.answer

    ask.answer = ("", "")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    calls.append(ask)
    return calls


def find_all(user, image, **placed):
    user.viewer.add_image(image, name="cells", **placed)
    segment(user)


def segment(user):
    user.choose("text_segmentation")
    user.type_phrase("bright objects")
    user.wait_for_end()


def test_labels_are_proposed_beside_the_image_and_the_folder_is_made(
    user, discs, tmp_path, asked, napari_reads
):
    tifffile.imwrite(tmp_path / "cells.tif", discs)
    user.viewer.open(tmp_path / "cells.tif", plugin="napari")
    segment(user)
    new = tmp_path / "new" / "folder"
    asked[0].answer = (str(new / "mine"), "NumPy, values only (*.npy)")

    user.click("save_file")
    user.wait(lambda: user.status.startswith("✓ Saved "))

    assert asked[1]["start"] == str(tmp_path / "cells_labels.tif")
    assert len(asked[1]["filters"]) == 4
    assert (new / "mine.npy").exists()
    # An image without a file: where the last one was saved.
    user.viewer.layers.clear()
    find_all(user, discs)
    asked[0].answer = ("", "")
    user.click("save_file")
    assert asked[2]["start"] == str(new / "cells_labels.tif")


def test_a_name_that_is_proposed_is_free_and_gets_the_ending_that_is_chosen(
    user, discs, tmp_path, asked, napari_reads
):
    tifffile.imwrite(tmp_path / "cells.tif", discs)
    (tmp_path / "cells_labels.tif").write_text("mine")
    user.viewer.open(tmp_path / "cells.tif", plugin="napari")
    segment(user)
    asked[0].answer = (str(tmp_path / "cells_labels_02.tif"), "NumPy, values only (*.npy)")

    user.click("save_file")
    user.wait(lambda: user.status.startswith("✓ Saved "))

    assert asked[1]["start"] == str(tmp_path / "cells_labels_02.tif")
    assert (tmp_path / "cells_labels_02.npy").exists()
    assert (tmp_path / "cells_labels.tif").read_text() == "mine"


def test_tables_are_proposed_beside_the_image(user, discs, tmp_path, asked, napari_reads):
    tifffile.imwrite(tmp_path / "cells.tif", discs)
    user.viewer.open(tmp_path / "cells.tif", plugin="napari")
    segment(user)
    user.click("mode_advanced")

    user.click("export_results")

    assert asked[1]["start"] == str(tmp_path / "cells_results.csv")


def test_what_no_dialog_has_asked_about_is_not_replaced(user, discs, tmp_path, asked):
    find_all(user, discs)
    user.click("mode_advanced")
    for ending in (".csv", ".png"):
        (tmp_path / f"mine{ending}").write_text("of somebody")
    asked[0].answer = (str(tmp_path / "mine"), "")  # so the dialog asks about nothing

    for name in ("export_results", "save_figure"):
        user.click(name)
        user.wait_for_end()
    session = user.widget.binding.session
    session.classes.file.change(ClassList((ObjectClass(1, "cell"),)), tmp_path / "mine", {})
    for _ in range(2):
        user.widget.findChild(QAction, "save_session_as").trigger()
        user.wait_for_end()

    assert {(tmp_path / f"mine{ending}").read_text() for ending in (".csv", ".png")} == {
        "of somebody"
    }
    for name in ("mine_02.csv", "mine_03.csv", "mine_02.png", "mine_02.sam3session"):
        assert (tmp_path / name).exists(), name


def test_what_a_format_does_not_hold_is_on_show_as_it_is_chosen(user, discs):
    user.click("mode_advanced")
    find_all(user, discs, rotate=30)

    user.choose_in("output_format", "TIFF")
    assert "rotated" in user.text_of("format_note")
    user.choose_in("output_format", "NumPy (.npy)")
    assert user.text_of("format_note").startswith("NumPy files hold the values alone")
    user.viewer.layers.clear()
    find_all(user, discs, scale=(0.5, 0.5), units=("um", "um"))
    user.choose_in("output_format", "TIFF")
    assert user.text_of("format_note") == ""


def test_no_text_of_the_window_speaks_of_the_command_line(user, discs):
    user.viewer.add_image(discs, name="cells")
    user.choose("text_segmentation")

    user.type_phrase("nuclei")
    user.wait_for_end()

    assert "needs SAM 3 weights" in user.status
    assert "--" not in user.status
    assert "API" not in user.status

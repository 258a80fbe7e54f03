"""Choices are remembered from one opening to the next."""

from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog


def threshold(user):
    return user.widget.findChild(QDoubleSpinBox, "threshold")


def test_after_closing_the_dock(user):
    user.choose("2d_segmentation", "box")
    threshold(user).setValue(0.55)

    user.close_dock()
    user.open()

    assert user.chosen("task") == ["2D"]
    assert user.chosen("tool") == ["Box"]
    assert threshold(user).value() == 0.55


def test_in_a_new_viewer(open_window, discs):
    first = open_window(discs)
    first.choose("exemplar_segmentation")
    threshold(first).setValue(0.2)
    first.viewer.close()

    second = open_window(discs)

    assert second.chosen("task") == ["Exemplar"]
    assert threshold(second).value() == 0.2


def test_what_another_version_kept_does_no_harm(user, settings_file):
    user.close_dock()
    settings_file.write_text("[General]\ntask=mind_reading\nthreshold=high\nengine=sam9\n")

    user.open()

    assert user.chosen("task") == ["2D"]
    assert threshold(user).value() == 0.35
    assert user.text_of("engine_badge") == "Engine: Built-in (no SAM 3 weights)"


def test_the_folder_dialog_begins_at_the_remembered_folder(
    user, settings_file, monkeypatch, tmp_path
):
    user.close_dock()
    settings_file.write_text(f"[General]\nmodel_folder={tmp_path}\n")
    user.open()
    shown = []
    # The system's dialog is not ours to test; this one is closed without a choice.
    monkeypatch.setattr(
        QFileDialog, "getExistingDirectory", lambda *arguments: shown.append(arguments[2]) or ""
    )

    user.click("choose_model_folder")

    assert shown == [str(tmp_path)]

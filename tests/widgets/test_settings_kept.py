"""Choices are remembered from one opening to the next."""

from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFileDialog


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


def test_what_version_4_kept_is_taken_over_until_it_is_changed(user, settings_file, tmp_path):
    user.close_dock()
    settings_file.write_text(
        "[General]\nworkspace_mode=advanced\nmodel_type=sam3.1\ndevice=cuda\n"
        f"model_dir=/gone\nsimple_model_dir={tmp_path}\nconfidence_threshold=0.55\n"
        f"quick_mask_output_dir={tmp_path}\ntask_complete_sound_enabled_v2=true\n"
    )

    user.open()

    model = user.widget.binding.model
    assert (str(model.model_folder), str(model.output_folder)) == (str(tmp_path), str(tmp_path))
    assert (model.threshold, model.device) == (0.55, "auto")
    assert user.widget.findChild(QCheckBox, "sound").isChecked()
    # The folder alone starts no engine: the built-in one says that it works.
    assert user.text_of("engine_badge") == "Engine: Built-in (no SAM 3 weights)"

    threshold(user).setValue(0.2)
    user.close_dock()
    user.open()

    assert threshold(user).value() == 0.2

"""Two docks of one viewer: what one has connected goes with it, and not the other's."""

from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.widgets.fields.session import JournalField, SessionMenu


def test_a_closed_dock_is_neither_told_nor_asked(qtbot, journals, tmp_path, monkeypatch):
    binding, store = binding_for(ViewerModel(), deliver_inline, MemorySettings()), MemorySettings()
    opening = binding.session.opening
    docks = [(JournalField(binding), SessionMenu(binding, store)) for _ in range(2)]
    for kept in docks[0]:
        qtbot.addWidget(kept)
    for gone in docks[1]:  # Python holds it still, as a console may
        gone.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", _choose)

    for field, _ in docks:
        field._left = [tmp_path]  # noqa: SLF001 - what a crash leaves
    opening.not_opened.emit(tmp_path)

    assert docks[0][0].isHidden()
    assert opening.ask_place(tmp_path / "gone.tif") == Path("there.tif")
    binding.close()


def _choose(parent, title, start):
    if parent is not None:
        parent.objectName()  # which raises where Qt has destroyed it
    return "there.tif", ""

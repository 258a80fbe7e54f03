"""A folder: typed, or chosen in a dialog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget

from napari_sam3_assistant.widgets.bind import bind_value

if TYPE_CHECKING:
    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.model import SessionModel


class FolderField(QWidget):
    """A line with a folder and the button Choose.

    Parameters
    ----------
    model : DiskModel or SessionModel
        The state.
    field : str
        The field that holds the folder, and the name of the line; the button is ``choose_`` and
        that.
    title : str
        Title of the dialog.
    tip : str
        What the folder is for.
    """

    def __init__(self, model: DiskModel | SessionModel, field: str, title: str, tip: str) -> None:
        super().__init__()
        self._model = model
        self._field = field
        self._title = title
        self.line = QLineEdit()
        self.line.setObjectName(field)
        self.line.setPlaceholderText("no folder chosen")
        self.line.setToolTip(tip)
        line = self.line
        bind_value(model, field, line, line.textChanged, line.text, line.setText)
        choose = QPushButton("Choose")
        choose.setObjectName(f"choose_{field}")
        choose.setToolTip(title)
        choose.clicked.connect(self._choose)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        layout.addWidget(choose)

    def _choose(self) -> None:
        now = getattr(self._model, self._field)
        folder = QFileDialog.getExistingDirectory(self, self._title, now)
        if folder:
            setattr(self._model, self._field, folder)

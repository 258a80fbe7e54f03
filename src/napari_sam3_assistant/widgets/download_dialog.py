"""Ask where the weights shall go, and with which token they are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session

_ABOUT = (
    "The weights of SAM 3 (3.4 GB) are Meta's, under Meta's licence. Ask for access on "
    '<a href="https://huggingface.co/facebook/sam3">huggingface.co/facebook/sam3</a> first, and '
    "make a token that may read gated repositories on "
    '<a href="https://huggingface.co/settings/tokens">huggingface.co/settings/tokens</a>.'
)


class DownloadDialog(QDialog):
    """Folder, token and kind of weights; the download starts when it is accepted.

    Parameters
    ----------
    session : Session
        The session.
    parent : QWidget
        The widget that opens it.
    """

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.setObjectName("download_dialog")
        self.setWindowTitle("Download the weights of SAM 3")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        about = QLabel(_ABOUT)
        about.setWordWrap(True)
        about.setOpenExternalLinks(True)
        self._folder = QLineEdit(session.model.model_folder or str(Path.home() / "models" / "sam3"))
        self._folder.setObjectName("download_folder")
        browse = QPushButton("Browse …")
        browse.clicked.connect(self._browse)
        self._token = QLineEdit()
        self._token.setObjectName("download_token")
        self._token.setEchoMode(QLineEdit.EchoMode.Password)
        self._token.setPlaceholderText("empty: HF_TOKEN, or the one that is saved")
        self._token.setToolTip("Used for this download only; the plugin does not keep it")
        self._meta = QCheckBox("sam3.pt, for Meta's package")
        self._meta.setToolTip("In place of model.safetensors, which the transformers engine reads")
        row = QHBoxLayout()
        row.addWidget(self._folder, 1)
        row.addWidget(browse)
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Cancel)
        start = QPushButton("Download")
        start.setObjectName("start_download")
        buttons.addButton(start, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self._folder.textChanged.connect(lambda text: start.setEnabled(bool(text.strip())))
        self.accepted.connect(guarded(session.model, self._start))
        form = QFormLayout(self)
        form.addRow(about)
        form.addRow("Folder", row)
        form.addRow("Token", self._token)
        form.addRow("Weights", self._meta)
        form.addRow(buttons)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Choose where the weights shall go", self._folder.text()
        )
        if folder:
            self._folder.setText(folder)

    def _start(self) -> None:
        self._session.setup.download(
            self._folder.text(), token=self._token.text().strip(), meta=self._meta.isChecked()
        )

"""Check the model folder, and fetch weights into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.download_dialog import DownloadDialog
from napari_sam3_assistant.widgets.notify import guarded, line_of

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session


class ModelFolderField(QWidget):
    """Buttons to check the model folder and to fetch weights, and what came of it.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._validate = QPushButton("Validate")
        self._validate.setObjectName("validate")
        self._validate.clicked.connect(guarded(model, session.setup.validate))
        self._download = QPushButton()
        self._download.setObjectName("download")
        self._download.clicked.connect(guarded(model, self._start_or_stop))
        self._findings = QLabel()
        self._findings.setObjectName("findings")
        self._going = QLabel()
        self._going.setObjectName("download_progress")
        buttons = QHBoxLayout()
        buttons.addWidget(self._validate)
        buttons.addWidget(self._download)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        for label in (self._going, self._findings):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            layout.addWidget(label)
        watch(model, "model_folder", self, self._show_folder)
        watch(model, "findings", self, self._show_findings)
        watch(model, "download", self, self._show_download)

    def _start_or_stop(self) -> None:
        if self._session.model.download:
            self._session.setup.stop_download()
        else:
            DownloadDialog(self._session, self).open()

    def _show_folder(self) -> None:
        folder = self._session.model.model_folder
        self._validate.setEnabled(bool(folder))
        self._validate.setToolTip(
            f"Look into the files of {folder}; nothing is loaded"
            if folder
            else "Choose a model folder first"
        )

    def _show_findings(self) -> None:
        findings = self._session.model.findings
        self._findings.setVisible(bool(findings))
        self._findings.setText("\n".join(map(line_of, findings)))

    def _show_download(self) -> None:
        going = self._session.model.download
        self._going.setVisible(bool(going))
        self._going.setText(going)
        self._download.setText("Stop download" if going else "Download weights …")
        self._download.setToolTip(
            "What has arrived stays; the next download goes on there"
            if going
            else "Fetch SAM 3 from Hugging Face with your own account. Nothing is fetched unasked."
        )

"""Which engine runs, and where its weights are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_sam3_assistant.session.wording import engine_line, engine_reason
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.combo import ChoiceCombo
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session


class EngineBadge(QWidget):
    """Says which engine runs and where, and lets the user choose a model folder.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._label = QLabel()
        self._label.setObjectName("engine_badge")
        self._label.setWordWrap(True)
        button = QPushButton("Choose model folder")
        button.setObjectName("choose_model_folder")
        button.setToolTip(
            "A folder with SAM 3 weights. Without one, the built-in engine runs: it needs no "
            "weights, and understands “bright …” and “dark …” as phrases."
        )
        button.clicked.connect(guarded(session.model, self._choose))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label, 1)
        layout.addWidget(button)
        watch(
            session.model,
            "engine model_folder sam_version device device_in_use",
            self,
            self._show,
        )

    def _show(self) -> None:
        model, spec = self._session.model, self._session.spec
        self._label.setText(engine_line(model, spec))
        self._label.setToolTip(engine_reason(model, spec))

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Choose the folder of the SAM 3 weights", self._session.model.model_folder
        )
        if folder:
            self._session.setup.use_folder(folder)


class EngineField(ChoiceCombo):
    """All engines, for choosing one by hand.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        choices = [(spec.name, spec.title) for spec in session.engine_choices]
        super().__init__(session.model, "engine", choices)
        self.setToolTip("The engine that makes the masks.")

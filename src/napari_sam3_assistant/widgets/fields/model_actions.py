"""Loading and unloading the model by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session


class ModelActions(QWidget):
    """Load 2D Model, Load 3D/Video Model, Unload, and whether a run loads the model by itself.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._load = QPushButton("Load 2D Model")
        self._load.setObjectName("load_model")
        self._load.clicked.connect(guarded(model, session.loading.load))
        self._load_video = QPushButton("Load 3D/Video Model")
        self._load_video.setObjectName("load_video_model")
        self._load_video.clicked.connect(guarded(model, session.loading.load))
        self._unload = QPushButton("Unload")
        self._unload.setObjectName("unload_model")
        self._unload.clicked.connect(guarded(model, session.loading.unload))
        self._by_itself = QCheckBox("Load model when running")
        self._by_itself.setObjectName("load_when_running")
        self._by_itself.setToolTip(
            "A run loads the model if it is not loaded yet. Without it, a run asks you to load."
        )
        bind_value(
            model,
            "load_when_running",
            self._by_itself,
            self._by_itself.toggled,
            self._by_itself.isChecked,
            self._by_itself.setChecked,
        )
        buttons = QGridLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self._load, 0, 0)
        buttons.addWidget(self._load_video, 0, 1)
        buttons.addWidget(self._unload, 1, 0, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self._by_itself, 0, Qt.AlignmentFlag.AlignLeft)
        watch(model, "engine model_folder device_in_use running", self, self._show)

    def _show(self) -> None:
        why_not = self._why_not_load()
        model, spec = self._session.model, self._session.spec
        now = "Load the weights now, so that the first run need not"
        no_planes = spec.why_no_planes
        self._load.setEnabled(not (no_planes or why_not))
        self._load.setToolTip(no_planes or why_not or now)
        no_video = "" if spec.video is not None else f"{spec.title} can't follow objects"
        self._load_video.setEnabled(not (no_video or why_not))
        both = "Load the weights now; one checkpoint serves planes and stacks"
        self._load_video.setToolTip(no_video or why_not or (now if no_planes else both))
        loaded = spec.needs_weights and model.device_in_use is not None
        self._unload.setEnabled(loaded)
        self._unload.setToolTip(
            "Unload the model from memory; a run that is going is stopped"
            if loaded
            else "No model is loaded"
        )

    def _why_not_load(self) -> str:
        model, spec = self._session.model, self._session.spec
        if not spec.needs_weights:
            return f"{spec.title} has no model to load"
        if not model.model_folder:
            return "Choose a model folder first"
        if model.running:
            return "Wait for the run to end"
        return "The model is loaded" if model.device_in_use is not None else ""

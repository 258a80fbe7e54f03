"""The tracks of a propagation: as a layer, and as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QPushButton, QWidget

from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.notify import guarded
from napari_sam3_assistant.widgets.save_dialog import ask_where

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session


class TracksField(QWidget):
    """A box for the Tracks layer, and a button that exports the table; for 3D/video only.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._model, self._tracks, self._saving = session.model, session.tracks, session.saving
        box = QCheckBox("Tracks layer")
        box.setObjectName("tracks_layer")
        box.setToolTip(
            "Show the way of each object through its centroids, for time series. It is brought up "
            "to date at the end of each propagation."
        )
        bind_value(self._model, "tracks_layer", box, box.toggled, box.isChecked, box.setChecked)
        self._export = QPushButton("Export Tracks")
        self._export.setObjectName("export_tracks")
        self._export.clicked.connect(guarded(self._model, self._choose_file))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(box)
        layout.addWidget(self._export, 1)
        watch(self._model, "task propagated running", self, self._show)

    def _choose_file(self) -> None:
        start = self._saving.proposed("tracks", ".csv")
        title = "Export the tracks"
        path, _ = ask_where(self, self._model, title, start, ["CSV (*.csv)"])
        if path is not None:
            self._tracks.export(path if path.suffix else path.with_name(f"{path.name}.csv"))

    def _show(self) -> None:
        self.setVisible(self._model.task is Task.VIDEO)
        if self._model.propagated is None:
            why_not = "There is nothing propagated yet"
        else:
            why_not = "Wait for the run to end" if self._model.running else ""
        self._export.setEnabled(not why_not)
        self._export.setToolTip(
            why_not
            or "Write a CSV file with one row for each frame and object: area and centroid in "
            "pixels and in the units of the image, score"
        )

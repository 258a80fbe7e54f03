"""What a propagation found as tracks in the viewer, and as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_sam3_assistant.core.track_table import COLUMNS
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.jobs.job import Job
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.export import export_table

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.core.track_table import TrackScale, TrackTable
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.running import Running
    from napari_sam3_assistant.session.scene import Scene
    from napari_sam3_assistant.session.stacks.values import StackTarget


class TracksOnShow(Protocol):
    """The tracks of a propagation in the viewer. GUI thread only."""

    def show(self, stack: StackTarget, table: TrackTable) -> None:
        """Show tracks in the place of those that are shown.

        Raises
        ------
        ImageError
            If the image is gone, or has too many axes.
        """

    def remove(self) -> None:
        """Show no tracks."""

    def scale(self, stack: StackTarget) -> TrackScale:
        """Return the size of a pixel.

        Raises
        ------
        ImageError
            If the image is gone.
        """


class TrackTables:
    """The verbs about tracks. All are called on the GUI thread.

    The tracks are brought up to date at the end of each run and not with each frame: napari builds
    the whole layer anew each time.

    Parameters
    ----------
    model : SessionModel
        The state.
    table : TrackTable
        The objects by frame; filled by the propagation.
    scene : Scene
        Where the tracks are shown.
    running : Running
        Starts jobs.
    """

    def __init__(
        self, model: SessionModel, table: TrackTable, scene: Scene, running: Running
    ) -> None:
        self._model = model
        self._table = table
        self._scene = scene
        self._running = running
        self._on_show = False
        running.idle.connect(self._update)
        model.events.tracks_layer.connect(self._update, max_args=0)
        model.events.propagated.connect(self._on_propagated)

    def export(self, path: Path) -> Job:
        """Write one row for each frame and object of the propagation to a CSV file.

        Parameters
        ----------
        path : Path
            The file; replaced if it exists.

        Raises
        ------
        PromptError
            If nothing was propagated.
        ImageError
            If the image is gone.
        """
        stack = self._model.propagated
        if stack is None or len(self._table) == 0:
            raise PromptError("There is nothing propagated yet.", "Press Start 3D Propagation.")
        scale, table = self._scene.tracks.scale(stack), self._table.copy()
        said = f"Exported {counted(len(table), 'row')} of tracks to {path}."
        job = Job(
            "The export",
            lambda reporter: export_table(COLUMNS, table.cells(scale), path, reporter),
        )
        job.yielded.connect(lambda _: setattr(self._model, "message", Message(said, Level.SUCCESS)))
        return self._running.start(job)

    def _on_propagated(self, stack: StackTarget | None) -> None:
        if stack is None:
            self._remove()

    def _update(self) -> None:
        stack = self._model.propagated
        if not self._model.tracks_layer or stack is None:
            self._remove()
            return
        if self._model.running:
            # The end of the run brings them.
            return
        try:
            self._scene.tracks.show(stack, self._table)
            self._on_show = True
        except ImageError as error:
            self._model.message = Message(str(error), Level.WARNING)

    def _remove(self) -> None:
        if self._on_show:
            self._scene.tracks.remove()
            self._on_show = False

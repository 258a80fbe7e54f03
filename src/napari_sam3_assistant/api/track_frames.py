"""The frames of a tracked stack as they are done, and the note that says what made them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from napari_sam3_assistant.api.inputs import opened
from napari_sam3_assistant.core.tracks import FrameResult
from napari_sam3_assistant.io.sidecar import write_sidecar
from napari_sam3_assistant.workflows.recipe import sidecar_for
from napari_sam3_assistant.workflows.stack_recipe import StackRecipe, described
from napari_sam3_assistant.workflows.track import TrackRequest, track

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.track_table import TrackTable
    from napari_sam3_assistant.engines.embeddings import EncodingEngine


class TrackFrames(Iterator[FrameResult]):
    """What :func:`track` returns; closing it early frees what the engine holds.

    Parameters
    ----------
    request : TrackRequest
        What to follow.
    engine : str or EncodingEngine
        The engine, or its name.
    model_folder : str or Path or None
        Folder of the weights.
    device : str
        Where to run it.
    reporter : Reporter
        Is told of each frame, and may stop the work.
    """

    def __init__(
        self,
        request: TrackRequest,
        engine: str | EncodingEngine,
        model_folder: str | Path | None,
        device: str,
        reporter: Reporter,
    ) -> None:
        self._recipe = StackRecipe(
            request.frames,
            {frame: own for frame, own in request.prompts.items() if own.kinds},
            request.options,
            None if model_folder is None else Path(model_folder).expanduser(),
            {},
        )
        self._frames = self._run(request, engine, model_folder, device, reporter)

    def _run(
        self,
        request: TrackRequest,
        engine: str | EncodingEngine,
        model_folder: str | Path | None,
        device: str,
        reporter: Reporter,
    ) -> Generator[FrameResult]:
        with opened(engine, model_folder, device) as ready:
            yield from track(ready, request, reporter, self._recipe)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> FrameResult:
        return next(self._frames)

    def close(self) -> None:
        """End the work."""
        self._frames.close()

    def written(self, result: FrameResult) -> None:
        """Take note that a frame is in the labels that :meth:`save_note` will tell of."""
        self._recipe.arrived(result.engine)

    def save_note(
        self,
        labels: Path,
        image: Path,
        axes: Axes,
        table: TrackTable,
        series: int | None = None,
    ) -> None:
        """Write the note beside labels from which :func:`rerun` makes them again.

        Parameters
        ----------
        labels : Path
            The file of the labels; at least one frame was written.
        image : Path
            The file of the stack.
        axes : tuple of Axis
            Names of the labels' axes, and the size of a pixel.
        table : TrackTable
            The objects by frame.
        series : int, optional
            Which image of the file the stack is.

        Raises
        ------
        ExportError
            If it can't be written.
        EngineError
            If the weights can't be read, of which it holds the checksum.
        """
        recipe = self._recipe
        recipe.paths = {one.source.token: image for one in recipe.frames.view.channels}
        told = recipe.recipe(axes)
        if told is not None:
            told = replace(told, series=series)
            note = sidecar_for(told, labels.parent, described(table), recipe.extra())
            write_sidecar(labels, note)

"""Axes and pixel size that the file of an image knows, where another reader left them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.axes import axis_kind, ome_symbol
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.file_axes import find_axes
from napari_sam3_assistant.jobs import Job, JobRunner
from napari_sam3_assistant.session.values import AxesFromFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.axes import Axes, Axis
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.values import LayerSource
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


class ImageAxesFromFile:
    """Asks the file of the chosen image. Called on the GUI thread; a worker of its own reads.

    Names of axes are given to an image that has none and nothing on it; a size of pixels, which
    moves what is on show, waits for the user.

    Attributes
    ----------
    job : Job or None
        The reading of the latest file; None where no image is of one.
    """

    def __init__(self, model: SessionModel, adapter: ViewerAdapter, deliver: Deliver) -> None:
        self._model, self._adapter = model, adapter
        # A thread of its own: a far disk keeps no run waiting.
        self._runner = JobRunner(deliver)
        self._asked: tuple[str, LayerSource | None] = ("", None)
        self._axes: Axes = ()
        self._why_not = ""
        self.job: Job | None = None
        model.events.image.connect(self.look, max_args=0)
        model.events.images.connect(self.look, max_args=0)

    def close(self) -> None:
        """Stop the work."""
        self._runner.close()

    def look(self) -> None:
        """Ask the file of the chosen image, unless that is the one that was asked last."""
        model = self._model
        source = self._adapter.source_of(model.image)
        if (model.image, source) == self._asked:
            self._tell()
            return
        self._asked = (model.image, source)
        self._axes, self._why_not = (), ""
        if self.job is not None:
            self.job.cancel()
            self.job = None
        self._tell()
        if source is None:
            return

        def work(reporter: Reporter) -> Iterator[Axes | ImageError]:
            reporter.check()
            try:
                yield find_axes(source.path, source.shape, as_stored=source.as_stored)
            except ImageError as error:
                yield error

        self.job = Job("Reading what the file says of its axes", work)
        self.job.yielded.connect(self._take_found)
        self._runner.start(self.job)

    def take(self) -> None:
        """Give the image what its file says; what lies on it goes with it.

        Raises ImageError if its pixels were replaced meanwhile.
        """
        self._adapter.take_axes(self._model.image, self._axes)
        self._tell()

    def take_back(self) -> None:
        """Have the image as it was opened; it is not named unasked again."""
        self._adapter.take_axes_back(self._model.image)
        self._tell()

    def _take_found(self, found: Axes | ImageError) -> None:
        if isinstance(found, ImageError):
            self._why_not = str(found)
        else:
            self._axes = found
            if found and not self._is_worked_on():
                self._adapter.name_axes(self._model.image, found)
        self._tell()

    def _is_worked_on(self) -> bool:
        """Return whether something is on the image that other names may be wrong for."""
        model, counts = self._model, self._model.prompts
        drawn = counts.positive or counts.negative or counts.boxes or counts.painted
        return bool(drawn or model.running or model.previews or model.kept or model.propagated)

    def _tell(self) -> None:
        model = self._model
        offered, taken = self._adapter.axes_offered(model.image, self._axes)
        if self._why_not and not taken:
            unnamed = self._adapter.source_of(model.image) is not None
            model.axes_from_file = AxesFromFile(self._why_not) if unnamed else None
        elif offered or taken:
            text = f"By its file: {describe_axes(self._axes)}."
            model.axes_from_file = AxesFromFile(text, offered, taken)
        else:
            model.axes_from_file = None


def describe_axes(axes: Axes) -> str:
    """Return names and sizes of axes for the user, such as ``t 30 s, y and x 0.325 µm``."""
    parts: list[tuple[list[str], str]] = []
    for axis in axes:
        if not axis.name or axis_kind(axis.name) == "s":
            continue
        size = _describe_size(axis)
        if parts and size and parts[-1][1] == size:
            parts[-1][0].append(axis.name)
        else:
            parts.append(([axis.name], size))
    return ", ".join(" ".join(filter(None, (_join(names), size))) for names, size in parts)


def _describe_size(axis: Axis) -> str:
    if not axis.unit and axis.scale == 1:
        return ""
    symbol = ome_symbol(axis.unit, time=axis_kind(axis.name) == "t") or axis.unit
    return f"{axis.scale:.4g} {symbol}".strip()


def _join(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

"""Axes and pixel size that the file of a layer knows, where another reader left them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.axes import axis_kind, ome_symbol
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.file_axes import find_axes
from napari_sam3_assistant.jobs import Job, JobRunner
from napari_sam3_assistant.session.values import AxesFromFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.axes import Axes, Axis
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.values import LayerSource
    from napari_sam3_assistant.viewer.axes_from_file import LayerAxes


class FileAxes:
    """Asks the file of the chosen layer. Called on the GUI thread; a worker of its own reads.

    Names of axes are given to a layer that has none and is not worked on; a size of pixels, which
    moves what is on show, waits for the user.

    ``model``: what shows it.
    ``chosen``: returns the key of the chosen layer.
    ``is_worked_on``: returns whether something is on the layer that other names may be wrong for.

    ``job``: the reading of the latest file; None where no layer is of one.
    """

    def __init__(
        self,
        model: SessionModel | MaskModel,
        layer_axes: LayerAxes,
        chosen: Callable[[], str],
        is_worked_on: Callable[[], bool],
        deliver: Deliver,
    ) -> None:
        self._model, self._layer_axes = model, layer_axes
        self._chosen, self._is_worked_on = chosen, is_worked_on
        # A thread of its own: a far disk keeps no run waiting.
        self._runner = JobRunner(deliver)
        self._asked: tuple[str, LayerSource | None] = ("", None)
        self._axes: Axes = ()
        self._why_not = ""
        self.job: Job | None = None

    def close(self) -> None:
        """Stop the work."""
        self._runner.close()

    def look(self) -> None:
        """Ask the file of the chosen layer, unless that is the one that was asked last."""
        source = self._layer_axes.source_of(self._chosen())
        if (self._chosen(), source) == self._asked:
            self._tell()
            return
        self._asked = (self._chosen(), source)
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
        """Give the layer what its file says; what lies on it goes with it.

        Raises ImageError if its pixels were replaced meanwhile.
        """
        self._layer_axes.give(self._chosen(), self._axes)
        self._tell()

    def take_back(self) -> None:
        """Have the layer as it was opened; it is not named unasked again."""
        self._layer_axes.take_back(self._chosen())
        self._tell()

    def _take_found(self, found: Axes | ImageError) -> None:
        if isinstance(found, ImageError):
            self._why_not = str(found)
        else:
            self._axes = found
            if found and not self._is_worked_on():
                self._layer_axes.give_names(self._chosen(), found)
        self._tell()

    def _tell(self) -> None:
        model, key = self._model, self._chosen()
        offered, taken = self._layer_axes.find_offered(key, self._axes)
        if self._why_not and not taken:
            unnamed = self._layer_axes.source_of(key) is not None
            model.axes_from_file = AxesFromFile(self._why_not) if unnamed else None
        elif offered or taken:
            told = describe_axes(self._axes)
            # Where it has other pixels now its file was not asked for them, or knows none.
            text = f"By its file: {told}." if told else "Its axes are those that its file told."
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

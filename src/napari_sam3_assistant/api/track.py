"""Follow objects through a stack, frame by frame, and save the tracks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_sam3_assistant.api.engines import engine_for
from napari_sam3_assistant.api.inputs import (
    as_everything,
    as_phrase,
    check_lists,
    make_options,
    one_of,
    read_input,
    take_mask,
)
from napari_sam3_assistant.api.prompt_values import as_box, as_example, as_frame, as_point
from napari_sam3_assistant.api.segment import use_engine
from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import FrameSource, ask_for_plane, view_of_array
from napari_sam3_assistant.core.images import AnyArray, level_zero
from napari_sam3_assistant.core.masks.labels import as_labels
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.progress import NullReporter, Reporter
from napari_sam3_assistant.core.prompts import (
    Everything,
    MaskPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.tracks import (
    COLUMNS,
    Direction,
    FrameResult,
    Span,
    TrackScale,
    TrackTable,
)
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.device import AUTO
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.io.exports import write_table
from napari_sam3_assistant.io.image_folder import split_source
from napari_sam3_assistant.io.labels import check_stack_path
from napari_sam3_assistant.io.loaded import parse_series
from napari_sam3_assistant.io.provenance import write_provenance
from napari_sam3_assistant.workflows.provenance import StackProvenance, make_record, track_entries
from napari_sam3_assistant.workflows.track import TrackRequest
from napari_sam3_assistant.workflows.track import track as run_track
from napari_sam3_assistant.workflows.track_folder import TrackFolderRequest
from napari_sam3_assistant.workflows.track_folder import track_folder as run_track_folder
from napari_sam3_assistant.workflows.track_prompts import check_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from napari_sam3_assistant.compute.connection import Compute
    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.prompts import Everything
    from napari_sam3_assistant.workflows.batch import FolderRow

    ByFrame = Mapping[int, Any] | Any


def frame_source(
    image: AnyArray,
    axis: int | str,
    *,
    plane: Sequence[int] | None,
    channel_axis: int | None,
    channel: int | None,
    contrast: tuple[float, float] | None,
    axis_labels: Sequence[str] | None,
    rgb: bool | None,
) -> FrameSource:
    """Return the frames of an array.

    Parameters
    ----------
    image : array-like, or sequence of them
        The image, or its levels, largest first.
    axis : int or str
        Number or name of the axis along which the frames lie.
    plane : sequence of int or None
        Index along each other leading axis.
    channel_axis, channel, contrast, axis_labels, rgb
        See :func:`~napari_sam3_assistant.core.display.view_of_array`.

    Raises
    ------
    ImageError
        If there is no such axis or plane.
    """
    data = level_zero(image)
    axes = guess_axes(data.shape, channel_axis=channel_axis, rgb=rgb, axis_labels=axis_labels)
    number = _number(axis, axes.ndim, axis_labels)
    if axes.guessed and number not in axes.leading and axes.ndim == 3:
        # Who names the first axis of three as frames has no colours or channels in the last one.
        axes = guess_axes(data.shape, rgb=False, plane_axes=(axes.ndim - 2, axes.ndim - 1))
        rgb = False
    if number not in axes.leading:
        raise ImageError(
            f"Axis {number} of the image of shape {tuple(data.shape)} is not an axis of frames "
            f"({axes.reason}).",
            f"Choose one of its leading axes: {', '.join(map(str, axes.leading)) or 'none'}.",
        )
    others = [other for other in axes.leading if other != number]
    if plane is None:
        if any(data.shape[other] > 1 for other in others):
            raise ImageError(
                f"The image of shape {tuple(data.shape)} has other axes beside that of the "
                f"frames: {', '.join(map(str, others))} ({axes.reason}).",
                f"{ask_for_plane(len(others))}, or name the channel axis.",
            )
        plane = (0,) * len(others)
    if len(plane) != len(others):
        raise ImageError(
            f"plane={tuple(plane)} has {len(plane)} indices, and {len(others)} are needed: one "
            f"for each of the axes {tuple(others)}.",
            "Leave out the axis of the frames and the channel axis.",
        )
    chosen = dict(zip(others, plane, strict=True))
    view = view_of_array(
        image,
        plane=[chosen.get(leading, 0) for leading in axes.leading],
        channel_axis=channel_axis,
        channel=channel,
        contrast=contrast,
        axis_labels=axis_labels,
        rgb=rgb,
    )
    return FrameSource(view, number, "" if axis_labels is None else str(axis_labels[number]))


def _number(axis: int | str, ndim: int, labels: Sequence[str] | None) -> int:
    """Return the number of an axis, from 0."""
    if isinstance(axis, str):
        names = [str(label).lower() for label in labels or ()]
        if names.count(axis.lower()) != 1:
            raise ImageError(
                f"There is no axis '{axis}' among {', '.join(names) or 'axes without names'}.",
                "Give its number, or name the axes with axis_labels.",
            )
        return names.index(axis.lower())
    if not -ndim <= axis < ndim:
        raise ImageError(
            f"There is no axis {axis} in an image of {ndim} axes.", f"Choose 0 to {ndim - 1}."
        )
    return axis % ndim


def prompts_by_frame(
    frame: int,
    points: ByFrame,
    boxes: ByFrame,
    exemplars: ByFrame,
    mask: ByFrame,
    text: str | None,
    shape: tuple[int, int],
    everything: bool | Everything = False,
) -> dict[int, PromptSet]:
    """Return the prompts of a call, by the frame that they are on.

    Parameters
    ----------
    frame : int
        The frame of what is given without one.
    points : sequence of (y, x[, positive[, object]]), or mapping of them by frame
        Clicks.
    boxes : sequence of (y0, x0, y1, x1[, object]), or mapping
        One object each.
    exemplars : sequence of (y0, x0, y1, x1[, positive]), or mapping
        Boxes round examples.
    mask : array-like, shape (Y, X), or mapping, or None
        Labels; each value is an object. Of bool, or of a single object.
    text : str or None
        A phrase.
    shape : tuple of int
        Height and width of a frame.
    everything : bool or Everything
        Whether, or how, all objects are looked for.

    Raises
    ------
    PromptError
        If a value can't be used.
    """
    frame = as_frame(frame)
    prompts = {
        "points": _by_frame(points, frame),
        "boxes": _by_frame(boxes, frame),
        "exemplars": _by_frame(exemplars, frame),
        "masks": _by_frame(mask, frame),
    }
    for kind in ("points", "boxes", "exemplars"):
        check_lists(*prompts[kind].values())
    frames = sorted({number for kind in prompts.values() for number in kind} | {frame})
    phrase = as_phrase(text)
    return {
        number: PromptSet(
            points=tuple(
                as_point(point, objects=True) for point in prompts["points"].get(number, ())
            ),
            boxes=tuple(as_box(box, objects=True) for box in prompts["boxes"].get(number, ())),
            exemplars=tuple(map(as_example, prompts["exemplars"].get(number, ()))),
            masks=_masks(prompts["masks"].get(number), shape),
            text=phrase if number == frame else "",
            everything=as_everything(everything) if number == frame else None,
        )
        for number in frames
    }


def _by_frame(prompts: ByFrame, frame: int) -> dict[int, Any]:
    if isinstance(prompts, Mapping):
        return {as_frame(number): value for number, value in prompts.items()}
    if prompts is None or (not isinstance(prompts, Path) and len(prompts) == 0):
        return {}
    return {frame: prompts}


def _masks(
    mask: npt.ArrayLike | str | Path | None, shape: tuple[int, int]
) -> tuple[MaskPrompt, ...]:
    """Return one prompt for each object of a labels mask."""
    if mask is None:
        return ()
    labels: npt.NDArray[Any] = take_mask(mask)
    if labels.shape != shape:
        raise PromptError(
            f"The mask has the shape {labels.shape}, the frames {shape}.",
            "Give a mask of the frame's height and width.",
        )
    if labels.dtype.kind in "ui":
        return MaskPrompt.of_labels(labels)
    painted = labels[labels != 0]
    if (painted != painted[:1]).any():
        whole: npt.NDArray[Any] = np.asarray(as_labels(labels))
        return MaskPrompt.of_labels(whole)
    return (MaskPrompt.from_plane(labels),)


def track(
    stack: AnyArray,
    *,
    axis: int | str = 0,
    frame: int = 0,
    points: ByFrame = (),
    boxes: ByFrame = (),
    exemplars: ByFrame = (),
    mask: ByFrame = None,
    text: str | None = None,
    everything: bool | Everything = False,
    direction: str | Direction = Direction.BOTH,
    frames: tuple[int, int] | None = None,
    stop_after_lost: int | None = None,
    engine: str | CachingEngine | None = None,
    compute: Compute | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    precision: str = AUTO,
    threshold: float = DEFAULT_THRESHOLD,
    diameter: float | str | None = None,
    contrast: tuple[float, float] | None = None,
    plane: Sequence[int] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    axis_labels: Sequence[str] | None = None,
    rgb: bool | None = None,
    series: int | str | None = None,
    reporter: Reporter | None = None,
) -> TrackFrames:
    """Spread prompts through the slices of a stack, or the frames of a video.

    All arguments are checked before anything is read or loaded, those of a server when the first
    frame is asked for. Frames are read one at a time,
    when they are needed. Object ids are the same on all frames.

    Parameters
    ----------
    stack : array-like, str or Path
        NumPy, dask or zarr array, a list of them as a multiscale pyramid (the first is used), or
        a file, as :func:`imread` takes it.
    axis : int or str
        The axis along which the frames lie, by number or by its name in ``axis_labels``.
    frame : int
        The frame that prompts are on which are given without one.
    points : sequence of (y, x), (y, x, positive) or (y, x, positive, object)
        Clicks in pixels. Those without an object's number are on one object. As a mapping, by
        frame: ``{12: [(40, 50)]}``.
    boxes : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, object)
        Pixels, ends exclusive. Those without an object's number are one object each. Or a
        mapping by frame.
    exemplars : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, positive)
        Boxes round examples of what to find on the frame. Or a mapping by frame.
    mask : array-like, shape (Y, X), or str or Path, or mapping by frame, optional
        Labels of whole numbers, where each value is an object with that id; or a bool mask of
        one object; or the file of one.
    text : str, optional
        A short phrase.
    everything : bool or Everything
        Find all objects on each slice, and join them by overlap; with ``joining="time"`` link them
        in time, where objects may divide (see ``TrackTable.parents``); with ``joining="video"``
        those of the one ``frame``, which the video head follows.
    direction : str
        ``both``, ``forward`` or ``backward`` from the prompted frames.
    frames : (first, last), optional
        The frames to go through, both included; by default all.
    stop_after_lost : int, optional
        A direction ends when all objects are gone for so many frames.
    engine : str or CachingEngine, optional
        An engine's name (see :func:`engines`), or what :func:`open_engine` returned; by default
        the one that reads the model folder, without a folder the built-in one.
    compute : str, Path or Client, optional
        A server that does the work, as :func:`open_engine` takes it; not with an open engine.
    model_folder : str or Path, optional
        The folder of the weights; only with an engine's name.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; only with an engine's name.
    precision : str
        The number format of SAM's image encoder, see :func:`open_engine`; only with an engine's
        name.
    threshold : float
        Detection threshold, 0 to 1, for what is found by a phrase or examples.
    diameter : float or str, optional
        The usual diameter of what a phrase or everything looks for, as :func:`segment` takes it.
    contrast : (low, high), optional
        Intensities shown black and white, the same on all frames. By default 8-bit stacks are
        taken as they are and every other type is stretched from the 0.1 to the 99.9 percentile
        of a sample of the whole stack; see :func:`segment`.
    plane : sequence of int, optional
        Index along each other axis that is neither y, x nor channel.
    channel_axis, channel, axis_labels, rgb, series
        As for :func:`segment`.
    reporter : Reporter, optional
        Receives the progress of each frame; may cancel the work between two.

    Returns
    -------
    TrackFrames
        An iterator of FrameResult: ``frame``, ``labels`` (Y, X) uint32 and ``objects``, in the
        order in which they are done: forward from the prompts, then backward. A frame between
        two prompted frames may come twice, the second time with more objects.

    Raises
    ------
    PromptError
        If the prompts can't be used.
    ImageError
        If the stack has no such axis or frames.
    EngineError
        If the engine can't do it.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_sam3_assistant import api
    >>> z, y, x = np.ogrid[:9, :40, :40]
    >>> ball = np.where((2 * z - 8) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 100, 200, 20)
    >>> found = list(api.track(ball.astype(np.uint8), frame=4, points=[(20, 20)]))
    >>> [result.frame for result in found]
    [4, 5, 6, 7, 8, 3, 2, 1, 0]
    """
    image = read_input(stack, axis_labels, rgb=rgb, series=series).image
    source = frame_source(
        image.data,
        axis,
        plane=plane,
        channel_axis=channel_axis,
        channel=channel,
        contrast=contrast,
        axis_labels=image.axis_labels,
        rgb=image.rgb,
    )
    prompts = prompts_by_frame(
        frame, points, boxes, exemplars, mask, text, source.shape, everything
    )
    first, last = (None, None) if frames is None else frames
    span = Span(
        one_of(Direction, direction, "direction", PromptError),
        first,
        last,
        stop_after_lost=stop_after_lost,
    )
    span.within(len(source))
    layout = source.view.channels[0].source.axes
    options = make_options(threshold, diameter, image.along((layout.y, layout.x)))
    request = TrackRequest(source, prompts, span, options)
    if engine is None and compute is None:
        engine = engine_for(model_folder, video=True)
    if isinstance(engine, CachingEngine):
        check_prompts(engine.spec, prompts, source)
    elif engine is not None and compute is None:
        check_prompts(registry.spec_for(engine, model_folder), prompts, source)
    ready = use_engine(engine, compute, model_folder, device, precision)
    return TrackFrames(request, ready, reporter or NullReporter())


def track_folder(
    source: str | Path,
    output: str | Path,
    *,
    axis: int | str | None = None,
    frame: int = 0,
    points: ByFrame = (),
    boxes: ByFrame = (),
    exemplars: ByFrame = (),
    text: str | None = None,
    everything: bool | Everything = False,
    direction: str | Direction = Direction.BOTH,
    frames: tuple[int, int] | None = None,
    stop_after_lost: int | None = None,
    pattern: str = "*",
    ending: str = ".tif",
    engine: str | CachingEngine | None = None,
    compute: Compute | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    precision: str = AUTO,
    threshold: float = DEFAULT_THRESHOLD,
    diameter: float | str | None = None,
    contrast: tuple[float, float] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    series: int | str | Sequence[int | str] | None = None,
    reporter: Reporter | None = None,
    on_row: Callable[[FolderRow], None] | None = None,
) -> tuple[FolderRow, ...]:
    """Follow objects through every stack of a folder, by the same prompts in each.

    Beside each labels file lies a note (``.json``) from which :func:`rerun` makes it again. A stack
    that fails is reported and the rest goes on; what is finished is skipped by a second start.

    Parameters
    ----------
    source : str or Path
        Folder of the stacks, one stack, or a pattern as ``stacks/*.tif``.
    output : str or Path
        Folder of the labels (``NAME_tracks.tif``). Files are never overwritten.
    axis : int or str, optional
        The axis along which the frames lie; by default the only one beside rows, columns and
        channels.
    frame, points, boxes, exemplars, text, everything, direction, frames, stop_after_lost
        As :func:`track` takes them, in pixels and frames of each stack.
    pattern : str
        Which files, as ``*.tif``; ``**/*`` for all folders below.
    ending : str
        Format of the labels: ``.tif``, ``.npy`` or ``.zarr``.
    engine, compute, model_folder, device, precision, threshold, diameter, contrast, channel_axis,
    channel
        As :func:`track` takes them. Each worker of a server follows a stack.
    series : int, str or sequence of these, optional
        Which images of files that hold several, as :func:`segment_folder` takes it.
    reporter : Reporter, optional
        Is told of each stack, and may stop the work.
    on_row : callable, optional
        Is called with each :class:`FolderRow`.

    Returns
    -------
    tuple of FolderRow
        For each stack ``status``, ``objects``, ``labels`` and ``message``; and for each file that
        is ``left out`` why.

    Raises
    ------
    PromptError
        If there is no prompt, or it can't be used.
    ImageError
        If there is no image in the folder.
    EngineError
        If the engine can't be loaded.
    ExportError
        If the output folder can't be made.
    """
    check_stack_path(f"labels{ending}")
    prompts = prompts_by_frame(frame, points, boxes, exemplars, None, text, (0, 0), everything)
    first, last = (None, None) if frames is None else frames
    folder, pattern = split_source(expand_user(source), pattern)
    request = TrackFolderRequest(
        folder,
        expand_user(output),
        prompts,
        Span(
            one_of(Direction, direction, "direction", PromptError),
            first,
            last,
            stop_after_lost=stop_after_lost,
        ),
        make_options(threshold, diameter),
        axis,
        pattern,
        ending,
        look={"channel_axis": channel_axis, "channel": channel, "contrast": contrast},
        series=parse_series(series),
    )
    if engine is None and compute is None:
        engine = engine_for(model_folder, video=True)
    rows = []
    with use_engine(engine, compute, model_folder, device, precision) as ready:
        request = replace(request, model_folder=ready.model_folder)
        for row in run_track_folder(ready, request, reporter or NullReporter()):
            rows.append(row)
            if on_row is not None:
                on_row(row)
    return tuple(rows)


class TrackFrames(Iterator[FrameResult]):
    """What :func:`track` returns; closing it early frees what the engine holds.

    Parameters
    ----------
    request : TrackRequest
        What to follow.
    ready : context manager
        Gives the engine, and closes it where it was opened for this.
    reporter : Reporter
        Is told of each frame, and may stop the work.
    """

    def __init__(
        self,
        request: TrackRequest,
        ready: AbstractContextManager[CachingEngine],
        reporter: Reporter,
    ) -> None:
        self._provenance = StackProvenance(
            request.frames,
            {frame: own for frame, own in request.prompts.items() if own.kinds},
            request.options,
            None,
            {},
        )
        self._frames = self._run(request, ready, reporter)

    def _run(
        self,
        request: TrackRequest,
        ready: AbstractContextManager[CachingEngine],
        reporter: Reporter,
    ) -> Generator[FrameResult]:
        with ready as engine:
            self._provenance.model_folder = engine.model_folder
            yield from run_track(engine, request, reporter, self._provenance)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> FrameResult:
        return next(self._frames)

    def close(self) -> None:
        """End the work."""
        self._frames.close()

    def written(self, result: FrameResult) -> None:
        """Record that a frame is in the labels that :meth:`save_note` describes."""
        self._provenance.note_frame(result.engine)

    def save_note(
        self,
        labels: Path,
        image: Path | None,
        axes: Axes,
        table: TrackTable,
        series: int | None = None,
    ) -> None:
        """Write the note beside labels from which :func:`rerun` makes them again.

        Parameters
        ----------
        labels : Path
            The file of the labels; at least one frame was written.
        image : Path or None
            The file of the stack; None where it is none on this computer.
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
        """
        provenance = self._provenance
        if image is not None:
            provenance.paths = {
                channel.source.token: image for channel in provenance.frames.view.channels
            }
        run = provenance.to_run(axes)
        if run is not None:
            run = replace(run, series=series)
            record = make_record(run, labels.parent, track_entries(table), provenance.extra())
            write_provenance(labels, record)


def save_tracks(
    results: TrackTable | Iterable[FrameResult],
    path: str | Path,
    scale: TrackScale | None = None,
) -> Path:
    """Write one row for each frame and object to a CSV file, completely or not at all.

    Parameters
    ----------
    results : TrackTable or iterable of FrameResult
        What :func:`track` gives; all of it is gone through. A :class:`TrackTable` collects the
        rows where the labels are used, too.
    path : str or Path
        The file; replaced if it exists.
    scale : TrackScale, optional
        The size of a pixel; by default 1.

    Returns
    -------
    Path
        The file, with the columns frame, object, area_px, y_px, x_px (area and centroid in
        pixels), position (of the frame), y, x, area (in units), position_unit, unit, score and
        text.

    Raises
    ------
    ExportError
        If it can't be written.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_sam3_assistant import api
    >>> y, x = np.ogrid[:40, :40]
    >>> disc = np.where((y - 20) ** 2 + (x - 20) ** 2 < 100, 200, 20).astype(np.uint8)
    >>> table = api.TrackTable()
    >>> for result in api.track(np.stack([disc, disc]), points=[(20, 20)]):
    ...     _ = table.add(result)
    >>> api.save_tracks(table, "tracks.csv", api.TrackScale(y=0.2, x=0.2)).name
    'tracks.csv'
    """
    if isinstance(results, TrackTable):
        table = results
    else:
        table = TrackTable()
        for result in results:
            table.add(result)
    file = expand_user(path)
    write_table(file, COLUMNS, table.cells(scale))
    return file

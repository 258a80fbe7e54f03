"""Prompts on the frames of a stack as plain numbers, and which axis the frames lie along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.api.segment import as_everything, check_lists
from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.images import AnyArray, level_zero
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    Everything,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.errors import ImageError, PromptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt


if TYPE_CHECKING:
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
            f"Axis {number} of the image of shape {tuple(data.shape)} is no axis of frames "
            f"({axes.reason}).",
            f"Choose one of its leading axes: {', '.join(map(str, axes.leading)) or 'none'}.",
        )
    others = [other for other in axes.leading if other != number]
    if plane is None:
        if any(data.shape[other] > 1 for other in others):
            raise ImageError(
                f"The image of shape {tuple(data.shape)} has other axes beside that of the "
                f"frames: {', '.join(map(str, others))} ({axes.reason}).",
                f"Say which plane with plane={(0,) * len(others)}, or name the channel axis.",
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
    given = {
        "points": _by_frame(points, frame),
        "boxes": _by_frame(boxes, frame),
        "exemplars": _by_frame(exemplars, frame),
        "masks": _by_frame(mask, frame),
    }
    for kind in ("points", "boxes", "exemplars"):
        check_lists(*given[kind].values())
    frames = sorted({number for kind in given.values() for number in kind} | {frame})
    phrase = (text or "").strip()
    return {
        number: PromptSet(
            points=tuple(map(_point, given["points"].get(number, ()))),
            boxes=tuple(map(_box, given["boxes"].get(number, ()))),
            exemplars=tuple(map(_exemplar, given["exemplars"].get(number, ()))),
            masks=tuple(_masks(given["masks"].get(number), shape)),
            text=phrase if number == frame else "",
            everything=as_everything(everything) if number == frame else None,
        )
        for number in frames
    }


def _by_frame(given: ByFrame, frame: int) -> dict[int, Any]:
    if isinstance(given, Mapping):
        return {int(number): value for number, value in given.items()}
    return {} if given is None or len(given) == 0 else {frame: given}


def _numbers(values: Sequence[float], least: int, most: int, example: str) -> list[float]:
    if not least <= len(values) <= most:
        raise PromptError(
            f"A prompt has {least} to {most} numbers, this one has {len(values)}.",
            f"Give {example}.",
        )
    return [float(value) for value in values]


def _point(values: Sequence[float]) -> PointPrompt:
    numbers = _numbers(values, 2, 4, "(y, x), (y, x, positive) or (y, x, positive, object)")
    positive = bool(numbers[2]) if len(numbers) > 2 else True
    return PointPrompt(numbers[0], numbers[1], positive, _object(numbers, 3))


def _box(values: Sequence[float]) -> BoxPrompt:
    numbers = _numbers(values, 4, 5, "(y0, x0, y1, x1) or (y0, x0, y1, x1, object)")
    return BoxPrompt.from_box(numbers[:4], object_id=_object(numbers, 4))


def _object(numbers: list[float], position: int) -> int | None:
    if len(numbers) <= position:
        return None
    if not numbers[position].is_integer():
        raise PromptError(
            f"The object id {numbers[position]} is no whole number.", "Number objects from 1."
        )
    return int(numbers[position])


def _exemplar(values: Sequence[float]) -> ExemplarPrompt:
    numbers = _numbers(values, 4, 5, "(y0, x0, y1, x1) or (y0, x0, y1, x1, positive)")
    positive = bool(numbers[4]) if len(numbers) > 4 else True
    return ExemplarPrompt.from_box(numbers[:4], positive=positive)


def _masks(mask: npt.ArrayLike | None, shape: tuple[int, int]) -> Iterator[MaskPrompt]:
    """Yield one prompt for each object of a labels mask."""
    if mask is None:
        return
    labels = np.asarray(mask)
    if labels.shape != shape:
        raise PromptError(
            f"The mask has the shape {labels.shape}, the frames {shape}.",
            "Give a mask of the frame's height and width.",
        )
    if labels.dtype.kind not in "ui":
        yield MaskPrompt.from_plane(labels)
        return
    values = np.unique(labels[labels != 0])
    if values.size == 0:
        raise PromptError("The mask is empty.", "Paint over the objects first.")
    for value in values:
        yield MaskPrompt.from_plane(labels == value, int(value))

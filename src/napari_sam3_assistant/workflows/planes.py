"""The same run on every plane of a stack."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import psutil  # type: ignore[import-untyped]

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.views import ImageView, view_of_array
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.workflows.pace import Quiet
from napari_sam3_assistant.workflows.segment import segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import ObjectRecord, Provenance
    from napari_sam3_assistant.engines.embeddings import EncodingEngine
    from napari_sam3_assistant.io.loaded import LoadedImage
    from napari_sam3_assistant.workflows.segment import SegmentRequest


@dataclass(frozen=True, slots=True, eq=False)
class StackResult:
    """What was found in all planes of an image.

    Parameters
    ----------
    labels : ndarray, shape (..., H, W), dtype uint32
        Object ids, each used in one plane only; the leading axes are those of the image.
    objects : tuple of (tuple of int, ObjectRecord)
        Index of the plane on each leading axis, and the object with its id in ``labels``.
    engine : Provenance
        What made it.
    notes : tuple of str
        What the user should know; each once.
    """

    labels: npt.NDArray[np.uint32]
    objects: tuple[tuple[tuple[int, ...], ObjectRecord], ...]
    engine: Provenance
    notes: tuple[str, ...] = ()


def first_view(
    image: LoadedImage,
    *,
    channel_axis: int | None = None,
    channel: int | None = None,
    contrast: tuple[float, float] | None = None,
) -> ImageView:
    """Return the view of the first plane of an image.

    Parameters
    ----------
    image : LoadedImage
        An image of any number of planes.
    channel_axis, channel, contrast
        See :func:`napari_sam3_assistant.core.views.view_of_array`.

    Raises
    ------
    ImageError
        If the image can't be used.
    """
    axes = guess_axes(
        image.data.shape, channel_axis=channel_axis, rgb=image.rgb, axis_labels=image.axis_labels
    )
    return view_of_array(
        image.data,
        plane=(0,) * len(axes.leading),
        channel_axis=channel_axis,
        channel=channel,
        contrast=contrast,
        axis_labels=image.axis_labels,
        rgb=image.rgb,
    )


def leading_shape(view: ImageView) -> tuple[int, ...]:
    """Return the length of each leading axis of a view's image; empty for a single plane."""
    return view.channels[0].source.leading_shape


def on_plane(view: ImageView, leading: tuple[int, ...]) -> ImageView:
    """Return the view of another plane."""
    return ImageView(
        tuple(
            replace(channel, plane=PlaneRef(leading, channel.plane.channel))
            for channel in view.channels
        )
    )


def segment_planes(
    engine: EncodingEngine, request: SegmentRequest, reporter: Reporter
) -> Iterator[StackResult]:
    """Yield the one result of a request that is run on every plane of its image.

    Parameters
    ----------
    engine : EncodingEngine
        The engine to run; it is loaded if it is not.
    request : SegmentRequest
        What to do on each plane.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Yields
    ------
    StackResult
        Labels of all planes.

    Raises
    ------
    ImageError
        If no memory holds them; nothing is read or made by then.
    """
    shape = leading_shape(request.view)
    count, size = math.prod(shape), 4 * math.prod((*shape, *request.view.shape))
    if size > psutil.virtual_memory().total:
        raise ImageError(
            f"The labels of {count} planes of {request.view.shape} pixels take {size / 1e9:.3g} "
            "GB, more than the computer has memory.",
            "Segment a part of the image, or follow its objects with track, plane by plane.",
        )
    labels = np.zeros((*shape, *request.view.shape), np.uint32)
    objects: list[tuple[tuple[int, ...], ObjectRecord]] = []
    notes: dict[str, None] = {}
    quiet = Quiet(reporter)
    last = 0
    for done, leading in enumerate(np.ndindex(*shape)):
        reporter.report(Progress(done, count, f"Plane {done + 1} of {count}"))
        one = replace(request, view=on_plane(request.view, leading))
        result = next(segment(engine, one, quiet))
        found = labels[leading][result.region.slices]
        np.add(result.labels, last, out=found, where=result.labels > 0, casting="unsafe")
        objects += [(leading, replace(record, id=record.id + last)) for record in result.objects]
        last += max((record.id for record in result.objects), default=0)
        notes.update(dict.fromkeys(result.notes))
        engine_of = result.engine
    yield StackResult(labels, tuple(objects), engine_of, tuple(notes))

"""Segment one plane, a region of it, or every plane of a stack; make an engine ready for it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import psutil  # type: ignore[import-untyped]

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import ImageView, view_of_array
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.plurals import format_gigabytes, part_of
from napari_sam3_assistant.core.progress import CancelOnlyReporter, Progress
from napari_sam3_assistant.core.prompts import SEARCHES, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Segmentation, paint_labels
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.errors import ImageError, JobCancelled
from napari_sam3_assistant.io.scan_folder import TileResult
from napari_sam3_assistant.workflows.everything import find_everything

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import Provenance
    from napari_sam3_assistant.engines.caching_engine import CachingEngine
    from napari_sam3_assistant.io.loaded import LoadedImage


SEGMENTING = "Segmenting"
"""What is reported when the image is encoded."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRequest:
    """All that a run needs, frozen before it starts.

    Parameters
    ----------
    view : ImageView
        What the model shall see.
    prompts : PromptSet
        Prompts in pixels of the plane.
    options : PredictOptions
        The choices of the run.
    region : Region or None
        The part of the plane to work on; None for all of it.
    pixels_key : hashable or None
        Identity of the pixels for the store of encodings; None for that of the view.
    in_steps : bool
        Whether what was found so far comes before the result, where everything is looked for, or
        the objects of labels.
    """

    view: ImageView
    prompts: PromptSet
    options: PredictOptions = field(default_factory=PredictOptions)
    region: Region | None = None
    pixels_key: Hashable = None
    in_steps: bool = False


def segment(
    engine: CachingEngine, request: SegmentRequest, reporter: Reporter
) -> Iterator[Segmentation]:
    """Yield the result of a request; with ``in_steps`` first what of it was found so far."""
    shape = request.view.shape
    request.prompts.check(shape)
    engine.spec.check_kinds(request.prompts.kinds)
    engine.spec.check_diameter(request.options, request.prompts.kinds)
    region = (request.region or Region.whole(shape)).intersect(Region.whole(shape))
    check_room(engine, request.prompts, region.shape)
    reporter.report(Progress(0, 3, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    prompts = request.prompts.localise(region)
    if prompts.are_painted:
        yield _result(engine, [_as_painted(prompts, request.options)], region, numbered=True)
        return
    reporter.report(Progress(1, 3, "Encoding the image"))
    embedding = engine.embedding(request.view, region, reporter, request.pixels_key)
    reporter.report(Progress(2, 3, SEGMENTING))
    if prompts.everything is None:
        parts = split_objects(prompts)
        answers: list[Prediction] = []
        for done, part in enumerate(parts):
            if len(parts) > 1:
                message = f"{SEGMENTING}: object {part_of(done + 1, len(parts))}"
                reporter.report(Progress(done, len(parts), message))
            answer = engine.predict(embedding, part, request.options, reporter)
            answers.append(_keep_number(answer, part) if prompts.are_labels else answer)
            if request.in_steps and len(answers) % _STEP == 0 and len(answers) < len(parts):
                yield _result(engine, answers, region, numbered=prompts.are_labels)
        yield _result(engine, answers, region, numbered=prompts.are_labels)
        return
    found = find_everything(
        engine,
        lambda part: request.view.rgb(part.globalise(region)),
        embedding,
        prompts.everything,
        region.shape,
        request.options,
        reporter,
    )
    try:
        for answer in found if request.in_steps else deque(found, maxlen=1):
            yield _result(engine, [answer], region)
    except JobCancelled as stopped:
        if isinstance(stopped.partial, Prediction):
            stopped.partial = _result(engine, [stopped.partial], region)
        raise


def check_room(engine: CachingEngine, prompts: PromptSet, shape: tuple[int, int]) -> None:
    """Raise ImageError where a picture needs more memory than is free to be looked at whole.

    Else the system would end the program when there is none left. A server has memory of its own.
    """
    if engine.traffic is not None or prompts.are_painted:
        return
    spec, searched = engine.spec, prompts.kinds & SEARCHES
    each = spec.bytes_per_pixel_searched if searched else spec.bytes_per_pixel
    needed, free = each * math.prod(shape), psutil.virtual_memory().available
    if needed > free:
        raise ImageError(
            f"To look at {shape[0]} x {shape[1]} pixels at once takes about "
            f"{format_gigabytes(needed)} of memory, and {format_gigabytes(free)} are free.",
            "Scan the image tile by tile, or look at a part of it."
            if searched
            else "Look at a part of the image (large-image local inference).",
        )


_STEP = 50
"""So many objects of labels are shown at once while the others are still asked for."""


def _as_painted(prompts: PromptSet, options: PredictOptions) -> Prediction:
    """Return painted masks as the objects that they are; those of labels keep their numbers."""
    objects = tuple(
        ObjectRecord(mask.object_id or number, mask.mask, mask.region)
        for number, mask in enumerate(prompts.masks, 1)
    )
    return Prediction(objects, options.threshold)


def _keep_number(answer: Prediction, asked: PromptSet) -> Prediction:
    """Return the object of one label, with its number; the label itself where none was found."""
    (mask,) = asked.masks
    assert mask.object_id is not None
    found = answer.objects[:1] or (ObjectRecord(mask.object_id, mask.mask, mask.region),)
    notes = answer.notes if answer.objects else (KEPT_LABELS,)
    objects = tuple(replace(record, id=mask.object_id) for record in found)
    return replace(answer, objects=objects, notes=notes, candidates=())


KEPT_LABELS = "Where nothing was found, the labels stay as they were."
"""What is noted where an engine finds nothing at the mask of a label."""


def _result(
    engine: CachingEngine,
    predictions: Sequence[Prediction],
    region: Region,
    *,
    numbered: bool = False,
) -> Segmentation:
    """Return what was found in a region, in the pixels of the plane."""
    found = [record for prediction in predictions for record in prediction.objects]
    if len(predictions) > 1 and not numbered:
        found = [replace(record, id=number) for number, record in enumerate(found, 1)]
    objects = tuple(record.shift(region.y0, region.x0) for record in found)
    return Segmentation(
        labels=paint_labels(objects, region),
        objects=objects,
        region=region,
        engine=engine.provenance(predictions[0]),
        notes=tuple(dict.fromkeys(note for prediction in predictions for note in prediction.notes)),
        candidates=tuple(
            record.shift(region.y0, region.x0)
            for record in (predictions[0].candidates if len(predictions) == 1 else ())
        ),
    )


def split_objects(prompts: PromptSet) -> tuple[PromptSet, ...]:
    """Return the prompts of each object: of a label, or that positive points are on.

    Negative points of no object are of all.
    """
    if prompts.are_labels:
        return tuple(PromptSet(masks=(mask,)) for mask in prompts.masks)
    numbers = dict.fromkeys(point.object_id for point in prompts.points if point.positive)
    if len(numbers) < 2:
        return (prompts,)
    return tuple(
        replace(
            prompts,
            points=tuple(point for point in prompts.points if point.object_id in (number, None)),
        )
        for number in numbers
        if number is not None
    )


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
    """Return the view of the first plane of an image."""
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


def view_of_plane(view: ImageView, leading: tuple[int, ...]) -> ImageView:
    """Return the view of another plane."""
    return ImageView(
        tuple(
            replace(channel, plane=PlaneRef(leading, channel.plane.channel))
            for channel in view.channels
        )
    )


def segment_planes(
    engine: CachingEngine, request: SegmentRequest, reporter: Reporter
) -> Iterator[StackResult]:
    """Yield the one result of a request that is run on every plane of its image."""
    check_labels_fit(request.view)
    shape = leading_shape(request.view)
    count = math.prod(shape)
    quiet = CancelOnlyReporter(reporter)
    found = []
    for done, leading in enumerate(np.ndindex(*shape)):
        reporter.report(Progress(done, count, f"Plane {part_of(done + 1, count)}"))
        plane_request = replace(request, view=view_of_plane(request.view, leading))
        result = next(segment(engine, plane_request, quiet))
        found.append((leading, TileResult(result.objects, result.engine, result.notes)))
    yield join_planes(request.view, found)


def check_labels_fit(view: ImageView) -> None:
    """Raise ImageError where the labels of all planes of an image don't fit into memory."""
    shape = leading_shape(view)
    count, size = math.prod(shape), 4 * math.prod((*shape, *view.shape))
    if size > psutil.virtual_memory().total:
        raise ImageError(
            f"The labels of {count} planes of {view.shape} pixels take {format_gigabytes(size)}, "
            "more than the computer has memory.",
            "Scan it tile by tile, segment a part of it, or follow its objects with track.",
        )


def join_planes(
    view: ImageView, planes: Sequence[tuple[tuple[int, ...], TileResult]]
) -> StackResult:
    """Return the labels of all planes of an image, with ids that are used in one plane each."""
    labels = np.zeros((*leading_shape(view), *view.shape), np.uint32)
    objects: list[tuple[tuple[int, ...], ObjectRecord]] = []
    notes: dict[str, None] = {}
    whole = Region.whole(view.shape)
    last = 0
    for leading, result in planes:
        moved = [replace(record, id=record.id + last) for record in result.records]
        labels[leading] = paint_labels(moved, whole)
        objects += [(leading, record) for record in moved]
        last = max((record.id for record in moved), default=last)
        notes.update(dict.fromkeys(result.notes))
    return StackResult(labels, tuple(objects), planes[-1][1].engine, tuple(notes))


def load(engine: CachingEngine, reporter: Reporter) -> Iterator[str]:
    """Load an engine and yield the device that it runs on."""
    reporter.report(Progress(0, 1, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    yield engine.device


def prefetch(engine: CachingEngine, view: ImageView, reporter: Reporter) -> Iterator[None]:
    """Encode a whole plane as a run would, and yield once when it is done."""
    engine.prefetch(view, Region.whole(view.shape), reporter)
    yield

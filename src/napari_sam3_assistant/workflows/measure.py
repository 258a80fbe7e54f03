"""Measure the objects of results, and read only the pixels that it takes."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import axis_kind, convert_unit, guess_axes
from napari_sam3_assistant.core.images import ImageSource, PixelSize, RawPlane, as_lazy
from napari_sam3_assistant.core.masks.labels import PlaneOfLabels, plane_names
from napari_sam3_assistant.core.masks.objects import Classes, iter_objects, iter_planes
from napari_sam3_assistant.core.measurements import (
    INTENSITIES,
    VOLUME,
    combine_measurements,
    group_neighbours,
    measure_object,
    measure_shape,
    measure_volume,
)
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import CancelOnlyReporter, Progress
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray, LazyArray
    from napari_sam3_assistant.core.masks.labels import ImagePlace
    from napari_sam3_assistant.core.measurements import Measurable, Measurement
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.loaded import LoadedImage


@dataclass(frozen=True, slots=True, eq=False)
class MeasureRequest:
    """The objects of one result.

    Parameters
    ----------
    plane : RawPlane
        The pixels below them.
    objects : tuple of ObjectRecord or StitchedObject
        The objects, in the plane's coordinates.
    labels : array-like of int, shape (H, W), or None
        The labels of the plane, for objects without masks of their own.
    more : tuple of str
        What to measure besides the basic numbers, see :data:`.measurements.MORE`.
    """

    plane: RawPlane
    objects: tuple[Measurable, ...]
    labels: LazyArray | PlaneOfLabels | None = None
    more: tuple[str, ...] = ()


def measure(
    requests: Sequence[MeasureRequest], reporter: Reporter, side: int = 2048
) -> Iterator[tuple[Measurement | None, ...]]:
    """Measure objects, and yield the answers to each request, in the order of its objects."""
    total = sum(len(request.objects) for request in requests)
    done = 0
    for request in requests:
        found: dict[int, list[Measurement]] = {}
        for region, places in _split_pieces(request, side):
            reporter.report(Progress(done, total, f"Measuring object {part_of(done + 1, total)}"))
            pixels = request.plane.read(region)
            labels = None
            if request.labels is not None:
                labels = np.asarray(request.labels[region.slices])
            for place in places:
                reporter.check()
                record = _make_record(request.objects[place], labels, region)
                if record is None:
                    continue
                part = pixels[record.region.localise(region).slices]
                measurement = measure_object(record, part, request.plane.pixel, request.more)
                found.setdefault(place, []).append(measurement)
            done = min(total, done + len(places))
        yield tuple(
            combine_measurements(found[place]) if place in found else None
            for place in range(len(request.objects))
        )


@dataclass(frozen=True, slots=True, eq=False)
class ShapeRequest:
    """An object that goes through slices.

    Parameters
    ----------
    slices : mapping of int to (Measurable, array-like)
        By the number of the slice the object there, and the labels of the plane.
    spacing : tuple of float
        How far slices, rows and columns lie apart, in one unit.
    more : tuple of str
        What to measure, see :data:`.measurements.VOLUME_MORE`.
    """

    slices: Mapping[int, tuple[Measurable, LazyArray | PlaneOfLabels]]
    spacing: tuple[float, float, float]
    more: tuple[str, ...]


_MOST_VOXELS = 1 << 24


def measure_shapes(
    requests: Sequence[ShapeRequest], reporter: Reporter
) -> Iterator[dict[str, float]]:
    """Measure the shapes of objects in 3-D, and yield the answer to each request.

    Only the box of an object is read, slice by slice; of what has more than 2**24 voxels nothing is
    told.
    """
    for done, request in enumerate(requests):
        total = len(requests)
        reporter.report(Progress(done, total, f"Measuring volume {part_of(done + 1, total)}"))
        regions = [record.region for record, _ in request.slices.values()]
        box = regions[0]
        for region in regions[1:]:
            box = box.union(region)
        first = min(request.slices)
        shape = (max(request.slices) - first + 1, *box.shape)
        if math.prod(shape) > _MOST_VOXELS:
            yield {}
            continue
        mask = np.zeros(shape, bool)
        for at, (record, labels) in request.slices.items():
            reporter.check()
            inside = record.region.localise(box).slices
            mask[at - first][inside] = np.asarray(labels[record.region.slices]) == record.id
        yield measure_shape(mask, request.spacing, request.more) if mask.any() else {}


def measure_labels(
    labels: AnyArray,
    source: ImageSource | None,
    place: ImagePlace,
    pixel: PixelSize,
    more: tuple[str, ...],
    reporter: Reporter,
) -> Iterator[dict[str, Any]]:
    """Measure each label of each plane, and yield a row for it.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        Object ids; read plane by plane.
    source : ImageSource or None
        The image below them; None for no intensities.
    place : ImagePlace
        Where in it they lie; one index for each of its leading axes.
    pixel : PixelSize
        How large a pixel is.
    more : tuple of str
        What to measure besides the basic numbers.
    reporter : Reporter
        Receives the progress; may cancel the work.

    Yields
    ------
    dict
        ``id``, the index on each leading axis by its name, what was measured, and ``unit``.
    """
    for index, record, measured in _measure_planes(labels, source, place, pixel, more, reporter):
        values = measured.values()
        if source is None:
            values = {name: value for name, value in values.items() if name not in INTENSITIES}
        yield {"id": record.id, **place.plane(index), **values, "unit": pixel.unit}


def measure_label_volumes(
    labels: AnyArray,
    source: ImageSource | None,
    place: ImagePlace,
    pixel: PixelSize,
    depth: float,
    more: tuple[str, ...],
    reporter: Reporter,
) -> Iterator[dict[str, Any]]:
    """Measure each label on all of its slices along z together, and yield a row for it."""
    z = place.names.index("z")
    rows, columns = len(place.names), len(place.names) + 1
    found: dict[tuple[tuple[int, ...], int], dict[int, tuple[Measurable, Measurement]]] = {}
    for index, record, measured in _measure_planes(labels, source, place, pixel, (), reporter):
        key = ((*index[:z], 0, *index[z + 1 :]), record.id)
        # The mask is not needed any more, and of all planes together they are large.
        found.setdefault(key, {})[index[z]] = (_Box(record.id, record.region), measured)
    height, width = labels.shape[-2:]
    whole = Region(place.y, place.x, place.y + height, place.x + width)
    requests = []
    for (index, _), slices in found.items():
        planes = {}
        for at, (box, _) in slices.items():
            fixed = dict(enumerate((*index[:z], at, *index[z + 1 :])))
            inside = _Box(box.id, box.region.localise(whole))
            planes[at] = (inside, PlaneOfLabels(labels, rows, columns, fixed))
        requests.append(ShapeRequest(planes, (depth, pixel.height, pixel.width), more))
    shapes = measure_shapes(requests, reporter) if more else itertools.repeat({})
    for ((index, label), slices), shape in zip(found.items(), shapes, strict=False):
        parts = [measured for _, measured in slices.values()]
        values = measure_volume(parts, depth)
        if source is None:
            values = {title: values[title] for title in VOLUME[:2]}
        areas = np.array([part.area for part in parts])
        first = place.leading[z]
        centre = float(np.average([first + at for at in slices], weights=areas)) * depth
        y, x = np.average([part.centroid for part in parts], axis=0, weights=areas)
        plane = {name: at for name, at in place.plane(index).items() if name != "z"}
        middle = {"Centroid Z": centre, "Centroid Y": float(y), "Centroid X": float(x)}
        shape = {title: value for title, value in shape.items() if not math.isnan(value)}
        yield {
            "id": label,
            **plane,
            "slices": len(slices),
            **values,
            **middle,
            **shape,
            "unit": pixel.unit,
        }


@dataclass(frozen=True, slots=True)
class _Box:
    """The box of an object on a plane."""

    id: int
    region: Region


def _measure_planes(
    labels: AnyArray,
    source: ImageSource | None,
    place: ImagePlace,
    pixel: PixelSize,
    more: tuple[str, ...],
    reporter: Reporter,
) -> Iterator[tuple[tuple[int, ...], ObjectRecord, Measurement]]:
    """Yield each label of each plane: the plane's index, the object, and what was measured."""
    planes = math.prod(labels.shape[:-2])
    nothing = ImageSource(np.broadcast_to(np.uint8(0), place.shape), guess_axes(place.shape))
    for done, (index, plane) in enumerate(iter_planes(labels)):
        reporter.report(Progress(done, planes, f"Measuring plane {part_of(done + 1, planes)}"))
        objects = tuple(
            ObjectRecord(
                record.label,
                record.mask,
                Region(
                    record.y,
                    record.x,
                    record.y + record.mask.shape[0],
                    record.x + record.mask.shape[1],
                ),
            )
            for record in iter_objects(labels, plane, Classes(), place.y, place.x)
        )
        at = zip(place.names, place.leading, index, strict=True)
        leading = tuple(first + step for name, first, step in at if name)
        below = RawPlane(source or nothing, () if source is None else leading, pixel)
        (answers,) = measure(
            [MeasureRequest(below, objects, more=more)], CancelOnlyReporter(reporter)
        )
        for record, answer in zip(objects, answers, strict=True):
            assert answer is not None  # each object here has a mask of its own
            yield index, record, answer


def measure_in_image(
    labels: AnyArray,
    axes: Axes,
    place: ImagePlace,
    image: LoadedImage | None,
    reporter: Reporter,
    *,
    channel_axis: int | None = None,
    more: tuple[str, ...] = (),
    volumes: bool = False,
) -> Iterator[dict[str, Any]]:
    """Measure labels in the image that they lie on, see :func:`measure_labels`.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        Object ids.
    axes : tuple of Axis
        Their axes: the size of a pixel where that of the image is not known.
    place : ImagePlace
        Where they lie.
    image : LoadedImage or None
        The image; None for no intensities.
    reporter : Reporter
        Receives the progress; may cancel the work.
    channel_axis : int or None
        Its channel axis; None to find it out.
    more : tuple of str
        What to measure besides the basic numbers.
    volumes : bool
        Whether labels are measured along z, see :func:`measure_label_volumes`.

    Raises
    ------
    MaskError
        If the labels don't fit the image.
    ImageError
        If it can't be read.
    """
    pixel, source = PixelSize.of_axes(axes[-2:]), None
    slices = axes[place.names.index("z")] if volumes else None
    if image is not None:
        layout = guess_axes(
            image.data.shape,
            channel_axis=channel_axis,
            rgb=image.rgb,
            axis_labels=image.axis_labels,
        )
        source = ImageSource(image.data, layout)
        if not volumes:
            labels, place = _drop_single_planes(labels, place, len(source.leading_shape))
        place = _fit_place(place, labels.shape, source)
        known = PixelSize.of_axes(image.along((layout.y, layout.x)))
        if known.unit or not pixel.unit:
            pixel = known
            if slices is not None:
                slices = next((axis for axis in image.axes if axis_kind(axis.name) == "z"), slices)
    if slices is None:
        yield from measure_labels(labels, source, place, pixel, more, reporter)
        return
    depth = convert_unit(abs(slices.scale), slices.unit, pixel.unit)
    if depth is None:
        pixel, depth = PixelSize(), 1.0
    yield from measure_label_volumes(labels, source, place, pixel, depth, more, reporter)


def _drop_single_planes(
    labels: AnyArray, place: ImagePlace, count: int
) -> tuple[AnyArray, ImagePlace]:
    """Return labels without axes of length 1 that their image, of so many leading axes, has not."""
    while len(place.names) > count and 1 in labels.shape[: len(place.names)]:
        at = tuple(labels.shape).index(1)
        names, leading = list(place.names), list(place.leading)
        del names[at], leading[at]
        place = replace(place, names=tuple(names), leading=tuple(leading))
        labels = as_lazy(labels)[(slice(None),) * at + (0,)]
    return labels, place


def _fit_place(place: ImagePlace, shape: Sequence[int], source: ImageSource) -> ImagePlace:
    """Return where labels lie in an image; raises MaskError if they don't fit it."""
    planes = dict(zip(place.names, zip(place.leading, shape, strict=False), strict=True))
    planes.pop("", None)
    sizes = source.leading_shape
    fits = place.shape == source.plane_shape
    if not planes and all(size == 1 for size in sizes):
        planes = dict.fromkeys(plane_names(len(sizes)), (0, 1))
        place = replace(place, leading=(0,) * len(sizes), names=tuple(planes))
    fits = fits and len(planes) == len(sizes)
    if not fits or any(
        first < 0 or first + length > size
        for (first, length), size in zip(planes.values(), sizes, strict=True)
    ):
        raise MaskError(
            f"Labels of the shape {tuple(shape)} don't fit an image of {source.shape}.",
            "Give the image that they were made of, and of a stack the plane.",
        )
    return place


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of a table of rows, of which some may have more than others."""
    return list(dict.fromkeys(name for row in rows for name in row)) or ["id"]


def _split_pieces(request: MeasureRequest, side: int) -> Iterator[tuple[Region, list[int]]]:
    """Yield what is read at once, and the places of the objects that are measured there."""
    large = {
        place
        for place, record in enumerate(request.objects)
        if request.labels is not None and max(record.region.shape) > side
    }
    small = [place for place in range(len(request.objects)) if place not in large]
    for region, places in group_neighbours([request.objects[place] for place in small]):
        yield region, [small[place] for place in places]
    for place in sorted(large):
        for part in _split_tiles(request.objects[place].region, side):
            yield part, [place]


def _split_tiles(region: Region, side: int) -> Iterator[Region]:
    for y in range(region.y0, region.y1, side):
        for x in range(region.x0, region.x1, side):
            yield Region(y, x, min(y + side, region.y1), min(x + side, region.x1))


def _make_record(
    measurable: Measurable, labels: npt.NDArray[np.integer[Any]] | None, region: Region
) -> ObjectRecord | None:
    """Return an object with its mask in a region, of which the labels were read; None without."""
    if labels is None:
        return measurable if isinstance(measurable, ObjectRecord) else None
    inside = measurable.region.intersect(region)
    mask = labels[inside.localise(region).slices] == measurable.id
    return ObjectRecord.from_mask(measurable.id, mask, offset=(inside.y0, inside.x0))

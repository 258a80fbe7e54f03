"""Measure the objects of results, and read only the pixels that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.measurements import measure_object, neighbourhoods
from napari_sam3_assistant.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.raw_plane import RawPlane
    from napari_sam3_assistant.core.results import ObjectRecord


@dataclass(frozen=True, slots=True, eq=False)
class MeasureRequest:
    """The objects of one result.

    Parameters
    ----------
    plane : RawPlane
        The pixels below them.
    objects : tuple of ObjectRecord
        The objects, in the plane's coordinates.
    """

    plane: RawPlane
    objects: tuple[ObjectRecord, ...]


def measure(
    requests: Sequence[MeasureRequest], reporter: Reporter
) -> Iterator[tuple[Measurement, ...]]:
    """Measure objects, and yield the answers to each request, in the order of its objects.

    Parameters
    ----------
    requests : sequence of MeasureRequest
        What to measure.
    reporter : Reporter
        Is told of the progress, and stops the work between groups of objects.

    Yields
    ------
    tuple of Measurement
        One for each object.

    Raises
    ------
    ImageError
        If an image can't be read.
    """
    total = sum(len(request.objects) for request in requests)
    done = 0
    for request in requests:
        plane, found = request.plane, dict[int, "Measurement"]()
        for region, places in neighbourhoods(request.objects):
            reporter.report(Progress(done, total, f"Measuring object {done + 1} of {total}"))
            pixels = plane.read(region)
            for place in places:
                reporter.check()
                record = request.objects[place]
                part = pixels[record.region.localise(region).slices]
                found[place] = measure_object(record, part, plane.pixel)
            done += len(places)
        yield tuple(found[place] for place in range(len(request.objects)))

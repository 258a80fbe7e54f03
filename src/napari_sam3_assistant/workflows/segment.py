"""Segment one plane, or a region of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import Segmentation, paint_labels
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.views import ImageView
    from napari_sam3_assistant.engines.embeddings import EncodingEngine


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
    """

    view: ImageView
    prompts: PromptSet
    options: PredictOptions = field(default_factory=PredictOptions)
    region: Region | None = None
    pixels_key: Hashable = None


def segment(
    engine: EncodingEngine, request: SegmentRequest, reporter: Reporter
) -> Iterator[Segmentation]:
    """Yield the one result of a request.

    Parameters
    ----------
    engine : EncodingEngine
        The engine to run; it is loaded if it is not.
    request : SegmentRequest
        What to do.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Yields
    ------
    Segmentation
        Objects in plane coordinates, labels of the region.

    Raises
    ------
    PromptError
        If the prompts can't be used on the plane or by the engine.
    """
    shape = request.view.shape
    request.prompts.check(shape)
    refused = request.prompts.kinds - engine.spec.accepts
    if refused:
        raise PromptError(
            f"{engine.spec.title} does not take {' and '.join(sorted(refused))}.",
            engine.spec.why_no_planes or f"It takes {', '.join(sorted(engine.spec.accepts))}.",
        )
    region = (request.region or Region.whole(shape)).intersect(Region.whole(shape))
    reporter.report(Progress(0, 3, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    reporter.report(Progress(1, 3, "Encoding the image"))
    embedding = engine.embedding(request.view, region, reporter, request.pixels_key)
    reporter.report(Progress(2, 3, "Segmenting"))
    prediction = engine.predict(
        embedding, request.prompts.localise(region), request.options, reporter
    )
    objects = tuple(record.shift(region.y0, region.x0) for record in prediction.objects)
    yield Segmentation(
        labels=paint_labels(objects, region),
        objects=objects,
        region=region,
        engine=engine.provenance(prediction),
        notes=prediction.notes,
    )

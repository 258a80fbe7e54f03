"""Encode a plane before anybody asks for its objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.views import ImageView
    from napari_sam3_assistant.engines.embeddings import EncodingEngine


def encode(engine: EncodingEngine, view: ImageView, reporter: Reporter) -> Iterator[None]:
    """Encode a whole plane as a run would, and yield once when it is done.

    Parameters
    ----------
    engine : EncodingEngine
        A loaded engine; it keeps the encoding.
    view : ImageView
        What the model shall see.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Raises
    ------
    JobCancelled
        If somebody else wants the engine.
    """
    engine.encode_ahead(view, Region.whole(view.shape), reporter)
    yield

"""Small pictures of objects with their outlines, made when somebody looks at them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from psygnal import Signal
from scipy import ndimage

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.jobs import Job, JobRunner

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.snapshots import PictureSource
    from napari_sam3_assistant.session.values import ResultRow
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


SIDE = 72
"""Rows and columns of a picture, in pixels."""
_LARGEST = 4096
"""Of an object with a larger side its middle is shown, so that nothing large is read."""
_AROUND = 0.2
"""So much of its side is shown on each side of an object."""
_LEAST = 12
_OUTLINE = (242, 199, 68)
_KEPT = 2000
_AT_ONCE = 48
_EMPTY = np.zeros((SIDE, SIDE, 3), np.uint8)


def draw_thumbnail(source: PictureSource) -> npt.NDArray[np.uint8]:
    """Return the picture of an object, shape (SIDE, SIDE, 3); black beside the image.

    Raises ImageError if the image can't be read.
    """
    box = source.region
    half = max(_LEAST, min(_LARGEST, round(max(box.shape) * (1 + 2 * _AROUND)))) // 2
    y, x = (box.y0 + box.y1) // 2, (box.x0 + box.x1) // 2
    frame = Region(y - half, x - half, y + half, x + half)
    crop = frame.intersect(Region.whole(source.view.shape))
    seen = np.zeros((*frame.shape, 3), np.uint8)
    seen[crop.localise(frame).slices] = source.view.rgb(crop)
    mask = np.zeros(frame.shape, bool)
    part = box.intersect(crop)
    if not part.is_empty:
        mask[part.localise(frame).slices] = source.mask(part)
    picture = np.asarray(
        Image.fromarray(seen).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    ).copy()
    small = np.asarray(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.NEAREST))
    picture[small & ~ndimage.binary_erosion(small, border_value=1)] = _OUTLINE
    return picture


class Thumbnails:
    """The pictures of objects. Called on the GUI thread; a worker of its own reads and draws.

    ``made``: tells the row of an object that has got its picture.
    """

    made = Signal(object)

    def __init__(self, adapter: ViewerAdapter, deliver: Deliver) -> None:
        self._adapter = adapter
        self._runner = JobRunner(deliver)
        self._job: Job | None = None
        self._wanted: OrderedDict[int, ResultRow] = OrderedDict()
        # With the records, so that nothing else gets the identity of what is gone.
        self._kept: OrderedDict[int, tuple[object, npt.NDArray[np.uint8]]] = OrderedDict()
        self._closed = False

    def find(self, row: ResultRow) -> npt.NDArray[np.uint8] | None:
        """Return the picture of an object, shape (SIDE, SIDE, 3); None while it is being made."""
        key = id(row.record)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        self._wanted[key] = row
        self._wanted.move_to_end(key)
        if self._job is None and not self._closed:
            self._start()
        return None

    def close(self) -> None:
        """Stop the work."""
        self._closed = True
        self._runner.close()

    def _start(self) -> None:
        # What was scrolled past is asked for again when it comes back into view.
        rows = list(self._wanted.values())[-_AT_ONCE:]
        self._wanted.clear()
        sources = []
        for row in rows:
            try:
                sources.append((row, self._adapter.picture_source(row)))
            except Sam3AssistantError:  # its image or its labels are gone
                self._keep(row, _EMPTY)

        def work(reporter: Reporter) -> Iterator[tuple[ResultRow, npt.NDArray[np.uint8]]]:
            for row, source in sources:
                reporter.check()
                try:
                    picture = draw_thumbnail(source)
                except Sam3AssistantError:  # the run or the canvas says that it can't be read
                    picture = _EMPTY
                yield row, picture

        if not sources:
            return
        self._job = job = Job("Drawing thumbnails", work)
        job.yielded.connect(lambda result: self._take(*result))
        job.finished.connect(self._on_finished, max_args=0)
        self._runner.start(job)

    def _take(self, row: ResultRow, picture: npt.NDArray[np.uint8]) -> None:
        self._keep(row, picture)
        self.made.emit(row)

    def _keep(self, row: ResultRow, picture: npt.NDArray[np.uint8]) -> None:
        self._kept[id(row.record)] = (row.record, picture)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _on_finished(self) -> None:
        self._job = None
        if self._wanted and not self._closed:
            self._start()

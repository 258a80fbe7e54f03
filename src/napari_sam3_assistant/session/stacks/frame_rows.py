"""The rows of the results table that a propagation adds, frame by frame."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from napari_sam3_assistant.session.model import ResultRow
from napari_sam3_assistant.session.stacks.values import FrameObject, FramePlace

if TYPE_CHECKING:
    from napari_sam3_assistant.core.tracks import FrameResult
    from napari_sam3_assistant.session.stacks.values import StackTarget

_PAUSE_S = 0.3
"""The table takes new rows so often: with each of many frames would slow them down."""


class FrameRows:
    """One row a frame and object, in the order in which frames came first."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[ResultRow, ...]] = {}
        self._listed = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to list the rows again."""
        return time.monotonic() - self._listed >= _PAUSE_S

    def add(self, stack: StackTarget, result: FrameResult) -> None:
        """Take a frame; the objects that were not looked for stay.

        Parameters
        ----------
        stack : StackTarget
            What the frame is of.
        result : FrameResult
            What is on it.
        """
        place = FramePlace(stack.at(result.frame))
        kept = [
            row for row in self._rows.get(result.frame, ()) if row.record.id not in result.tracked
        ]
        found = [
            ResultRow(
                place,
                FrameObject(record.id, record.region, record.area, record.score, record.text),
            )
            for record in result.objects
        ]
        self._rows[result.frame] = tuple(sorted(kept + found, key=lambda row: row.record.id))

    def rows(self) -> tuple[ResultRow, ...]:
        """Return all rows, which counts as listing them."""
        self._listed = time.monotonic()
        return tuple(itertools.chain.from_iterable(self._rows.values()))

    def remove(self, object_id: int) -> None:
        """Forget an object."""
        for frame, rows in self._rows.items():
            self._rows[frame] = tuple(row for row in rows if row.record.id != object_id)

    def clear(self) -> None:
        """Forget all frames."""
        self._rows.clear()
        self._listed = 0.0

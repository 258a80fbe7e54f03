"""Edits in the order in which they were made, as many as fit into the memory that is granted."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam3_assistant.core.masks.edits import LabelEdit

DEFAULT_BYTES = 512 * 1024 * 1024


class EditHistory:
    """What can be taken back and done again, for several labels that share one limit.

    Parameters
    ----------
    limit : int, bytes
        How much memory all edits together may take.
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        self.limit = limit
        self._done: dict[str, list[tuple[int, LabelEdit]]] = defaultdict(list)
        self._undone: dict[str, list[tuple[int, LabelEdit]]] = defaultdict(list)
        self._count = 0

    @property
    def nbytes(self) -> int:
        """How much memory the edits take."""
        stacks = [*self._done.values(), *self._undone.values()]
        return sum(edit.nbytes for stack in stacks for _, edit in stack)

    def push(self, key: str, edit: LabelEdit) -> int:
        """Add an edit that was made; returns how many old ones had to go.

        What had been taken back on these labels can't be done again.
        """
        self._count += 1
        self._undone.pop(key, None)
        self._done[key].append((self._count, edit))
        return self._shrink()

    def undo(self, key: str) -> LabelEdit | None:
        """Return the latest edit to take back, or None."""
        return self._move(self._done[key], self._undone[key])

    def redo(self, key: str) -> LabelEdit | None:
        """Return the edit to do again, or None."""
        return self._move(self._undone[key], self._done[key])

    def can_undo(self, key: str) -> bool:
        """Whether there is an edit to take back."""
        return bool(self._done.get(key))

    def can_redo(self, key: str) -> bool:
        """Whether there is an edit to do again."""
        return bool(self._undone.get(key))

    def forget(self, key: str) -> None:
        """Drop the edits of labels that are gone or have another shape."""
        self._done.pop(key, None)
        self._undone.pop(key, None)

    @staticmethod
    def _move(
        source: list[tuple[int, LabelEdit]], target: list[tuple[int, LabelEdit]]
    ) -> LabelEdit | None:
        if not source:
            return None
        target.append(source.pop())
        return target[-1][1]

    def _shrink(self) -> int:
        dropped, size = 0, self.nbytes
        while size > self.limit:
            stack = min(
                (
                    stack
                    for group in (self._done, self._undone)
                    for stack in group.values()
                    if stack
                ),
                key=lambda stack: stack[0][0],
            )
            size -= stack.pop(0)[1].nbytes
            dropped += 1
        return dropped

"""Steps in the order in which they were made, as many as fit into the memory that is granted."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

DEFAULT_BYTES = 512 * 1024 * 1024


class Step(Protocol):
    """What can be taken back: an edit of labels, or a layer that was made."""

    @property
    def action(self) -> str:
        """What was done, for the user."""

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""


class EditHistory:
    """What can be taken back and done again, for several labels that share one limit.

    Parameters
    ----------
    limit : int, bytes
        How much memory all steps together may take.
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        self.limit = limit
        self._done: dict[str, list[tuple[int, Step]]] = defaultdict(list)
        self._undone: dict[str, list[tuple[int, Step]]] = defaultdict(list)
        self._count = 0

    @property
    def nbytes(self) -> int:
        """How much memory the steps take."""
        return sum(step.nbytes for stack in self._stacks() for _, step in stack)

    def push(self, key: str, step: Step) -> int:
        """Add a step that was made; returns how many old ones had to go.

        What had been taken back on these labels can't be done again.
        """
        self._undone.pop(key, None)
        self._done[key].append((self._now(), step))
        return self.shrink()

    def undo(self, key: str) -> Step | None:
        """Return the latest step to take back, or None."""
        return self._move(self._done[key], self._undone[key])

    def redo(self, key: str) -> Step | None:
        """Return the step to do again, or None."""
        return self._move(self._undone[key], self._done[key])

    def amend(self, key: str, step: Step, *, forward: bool) -> None:
        """Put another step in the place of the one that was done or taken back just now."""
        stack = (self._done if forward else self._undone)[key]
        if stack:
            stack[-1] = (stack[-1][0], step)

    def can_undo(self, key: str) -> bool:
        """Whether there is a step to take back."""
        return bool(self._done.get(key))

    def can_redo(self, key: str) -> bool:
        """Whether there is a step to do again."""
        return bool(self._undone.get(key))

    def knows(self, key: str) -> bool:
        """Whether something was done on some labels since they were forgotten last."""
        return key in self._done

    def latest(self, keys: Collection[str], *, forward: bool = False) -> tuple[str, Step] | None:
        """Return what was done, or taken back, last on some labels, and on which; or None."""
        stacks = self._undone if forward else self._done
        tops = [(*stack[-1], key) for key, stack in stacks.items() if stack and key in keys]
        if not tops:
            return None
        _, step, key = max(tops, key=lambda top: top[0])
        return key, step

    def forget(self, key: str) -> None:
        """Drop the steps of labels that are gone or have another shape."""
        self._done.pop(key, None)
        self._undone.pop(key, None)

    def forget_undone(self, keys: Collection[str]) -> None:
        """Drop what had been taken back on some labels."""
        for key in keys:
            self._undone.pop(key, None)

    def shrink(self) -> int:
        """Drop the oldest steps until the rest fits; returns how many."""
        dropped, size = 0, self.nbytes
        while size > self.limit:
            stack = min((one for one in self._stacks() if one), key=lambda one: one[0][0])
            size -= stack.pop(0)[1].nbytes
            dropped += 1
        return dropped

    def _stacks(self) -> Iterator[list[tuple[int, Step]]]:
        yield from self._done.values()
        yield from self._undone.values()

    def _now(self) -> int:
        self._count += 1
        return self._count

    def _move(self, source: list[tuple[int, Step]], target: list[tuple[int, Step]]) -> Step | None:
        if not source:
            return None
        _, step = source.pop()
        target.append((self._now(), step))
        return step

"""Steps that can be taken back and taken again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_LEAST = 5
"""So many states are kept however much room they take."""


class History(Generic[T]):
    """States in the order in which they came, with a place among them.

    Parameters
    ----------
    first : T
        The state to begin with.
    limit : int
        How many states are kept; the oldest are dropped.
    fits : callable, optional
        Returns whether there is room for states; if not, the oldest are dropped.
    """

    def __init__(
        self, first: T, limit: int = 100, fits: Callable[[Sequence[T]], bool] = lambda _: True
    ) -> None:
        self._states = [first]
        self._at = 0
        self._limit = limit
        self._fits = fits

    @property
    def current(self) -> T:
        """The state that holds now."""
        return self._states[self._at]

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a later state."""
        return self._at + 1 < len(self._states)

    def push(self, state: T) -> None:
        """Go on to a new state; what had been taken back is gone."""
        self._states = [*self._states[: self._at + 1], state][-self._limit :]
        self._at = len(self._states) - 1
        self._shrink()

    def amend(self, state: T) -> None:
        """Put another state in place of the one that holds now."""
        self._states[self._at] = state
        self._shrink()

    def change(self, change: Callable[[T], T]) -> None:
        """Put another state in place of each."""
        self._states = [change(state) for state in self._states]

    def undo(self) -> T:
        """Go back one state and return it; at the first one, stay."""
        self._at = max(0, self._at - 1)
        return self.current

    def redo(self) -> T:
        """Go on to the state that was taken back and return it; at the last one, stay."""
        self._at = min(len(self._states) - 1, self._at + 1)
        return self.current

    def _shrink(self) -> None:
        while self._at >= _LEAST and not self._fits(self._states):
            del self._states[0]
            self._at -= 1

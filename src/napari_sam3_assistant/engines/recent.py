"""The last few values that were used."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key; of more than a few, the least recently used goes first.

    Not ``functools.lru_cache``: on a method that would hold the model in a cycle of references,
    so that closing it frees no memory, and nobody could count what is kept.

    Parameters
    ----------
    capacity : int
        How many are kept.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        """Iterate over the values, the least recently used first."""
        return iter(tuple(self._items.values()))

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; it is made if it is not there.

        Where making it fails, nothing has changed.
        """
        if key not in self._items:
            self._items[key] = make()
            while len(self._items) > self._capacity:
                self._items.popitem(last=False)
        self._items.move_to_end(key)
        return self._items[key]

    def map(self, change: Callable[[T], T]) -> Recent[T]:
        """Return the same with each value changed."""
        changed: Recent[T] = Recent(self._capacity)
        changed._items.update((key, change(value)) for key, value in self._items.items())
        return changed

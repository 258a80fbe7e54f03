"""Reading the next piece while the present one is worked on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

Key = TypeVar("Key")
Piece = TypeVar("Piece")


def read_ahead(read: Callable[[Key], Piece], keys: Sequence[Key]) -> Generator[Piece]:
    """Yield the piece of each key; a thread reads one piece further than what was yielded.

    Close it when no more pieces are wanted.

    Parameters
    ----------
    read : callable
        Reads one piece; called in another thread, one piece at a time.
    keys : sequence
        The pieces, in order.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        ahead = pool.submit(read, keys[0]) if keys else None
        for key in [*keys[1:], None]:
            if ahead is None:
                return
            piece = ahead.result()
            ahead = None if key is None else pool.submit(read, key)
            yield piece

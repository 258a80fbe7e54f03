"""Work in many pieces, the same steps for each: here one by one, on a server by all its workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from napari_sam3_assistant.engines.base import Outcome
from napari_sam3_assistant.errors import JobCancelled, Sam3AssistantError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.caching_engine import CachingEngine

Piece = TypeVar("Piece")
Read = TypeVar("Read")
P_contra = TypeVar("P_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)
R = TypeVar("R", bound="Pixels")
Pixels: TypeAlias = "npt.NDArray[np.uint8] | Iterable[npt.NDArray[np.uint8]]"
"""RGB pictures, shape (H, W, 3): one, or several, which arrive as a tuple where they are sent."""


class Piecework(Protocol[P_contra, R, V_co]):
    """The steps that each piece goes through. It is pickled, once for each worker of a server."""

    def can_read(self) -> bool:
        """Return whether :meth:`read` finds the same pixels on this machine; costs little."""

    def read(self, piece: P_contra, /) -> R:
        """Read what the engine shall see of a piece."""

    def run(self, engine: CachingEngine, piece: P_contra, pixels: R, reporter: Reporter, /) -> V_co:
        """Return what an engine makes of a piece."""


def work_through(
    engine: CachingEngine,
    work: Piecework[Piece, R, object],
    pieces: Iterable[Piece],
    reporter: Reporter,
) -> Generator[Outcome]:
    """Yield the outcome of each piece, in their order; one that fails does not stop the others."""
    if engine.many is not None:
        yield from engine.many.spread(work, pieces, reporter)
        return

    def read(piece: Piece) -> tuple[Piece, R | Sam3AssistantError | MemoryError]:
        try:
            return piece, work.read(piece)
        except (Sam3AssistantError, MemoryError) as error:
            return piece, error

    with closing(read_ahead(read, pieces)) as found:
        for piece, pixels in found:
            reporter.check()
            if isinstance(pixels, Exception):
                yield Outcome(None, pixels)
                continue
            try:
                value = work.run(engine, piece, pixels, reporter)
            except JobCancelled:
                raise
            except (Sam3AssistantError, MemoryError) as error:
                yield Outcome(None, error)
            else:
                yield Outcome(value)


def read_ahead(read: Callable[[Piece], Read], pieces: Iterable[Piece]) -> Generator[Read]:
    """Yield what is read of each piece; a thread reads one piece further than what was yielded.

    Close it when no more pieces are wanted.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        ahead: Future[Read] | None = None
        for piece in chain(pieces, [None]):
            before, ahead = ahead, None if piece is None else pool.submit(read, piece)
            if before is not None:
                yield before.result()

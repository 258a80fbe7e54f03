"""The encodings of the last planes: few on the device, more in RAM."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.engines.packing import Packable, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

ON_DEVICE = 2
RAM_BYTES = 2 * 2**30


class EmbeddingStore:
    """Encodings by key; the least recently used go from the device to RAM, and from there.

    One caller at a time. An encoding that can't be made leaves nothing behind. One that does
    not tell its size is not kept beyond the device's number. One whose image is gone, so that
    nobody can ask for it any more, goes with it.

    Parameters
    ----------
    on_device : int
        How many are kept where the engine left them.
    ram_bytes : int
        How much memory those beyond that number may take, in RAM.
    """

    def __init__(self, on_device: int = ON_DEVICE, ram_bytes: int = RAM_BYTES) -> None:
        self._on_device = on_device
        self._ram_bytes = ram_bytes
        self._near: OrderedDict[Hashable, Any] = OrderedDict()
        self._far: OrderedDict[Hashable, Any] = OrderedDict()
        self._images: dict[Hashable, frozenset[int]] = {}
        self._at_work = threading.Lock()
        # Reentrant: garbage collection may retire an image in the middle of it.
        self._marking = threading.RLock()
        self._gone: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._near) + len(self._far)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._near or key in self._far

    @property
    def ram_bytes(self) -> int:
        """Memory that the encodings beyond the device's number take, in bytes."""
        return sum(size_of(embedding) or 0 for embedding in self._far.values())

    def get_or_make(
        self,
        key: Hashable,
        make: Callable[[], Any],
        device: str,
        images: Iterable[int] = (),
    ) -> Any:  # noqa: ANN401 - only the engine knows what its encodings are
        """Return the encoding of a key on the device; it is made if it is not there.

        Parameters
        ----------
        key : hashable
            Identity of the pixels, the region and the weights.
        make : callable
            Makes the encoding.
        device : str
            Where the engine works.
        images : iterable of int
            The tokens of the images that the key is of; see :meth:`forget`.
        """
        with self._working():
            if key not in self:
                self._near[key] = make()
                self._images = {one: of for one, of in self._images.items() if one in self}
                self._images[key] = frozenset(images)
            return self._find(key, device)

    def find(self, key: Hashable, device: str) -> Any:  # noqa: ANN401 - see get_or_make
        """Return the encoding of a key on the device, or None where it is not kept."""
        with self._working():
            return self._find(key, device)

    def _find(self, key: Hashable, device: str) -> Any:  # noqa: ANN401 - see get_or_make
        if key not in self:
            return None
        if key in self._far:
            self._near[key] = self._fetch(key, device)
            # Only now: where moving it fails, it is still in RAM.
            self._far.pop(key, None)
        self._near.move_to_end(key)
        self._demote(self._on_device)
        return self._near[key]

    def free(self, device: str, keep: Any = None) -> bool:  # noqa: ANN401 - see get_or_make
        """Let go of the memory of a device that ran full; returns whether there was any.

        Parameters
        ----------
        device : str
            The device. Of ``cpu``, all encodings are forgotten; of a GPU they move to RAM.
        keep : object, optional
            An encoding that is in use.
        """
        with self._working():
            freed = [key for key, embedding in self._near.items() if embedding is not keep]
            if device == "cpu":
                freed += self._far
                self._far.clear()
                for key in freed:
                    self._near.pop(key, None)
            else:
                for key in freed:
                    self._move_to_ram(key)
                self._trim()
            return bool(freed)

    def clear(self) -> None:
        """Forget all encodings."""
        with self._working():
            self._near.clear()
            self._far.clear()

    def forget(self, image: int) -> None:
        """Forget what was made of an image; called from any thread, and at once.

        While somebody works with the store, he does it afterwards.

        Parameters
        ----------
        image : int
            Its token.
        """
        with self._marking:
            self._gone |= {image}
        self._sweep()

    @contextmanager
    def _working(self) -> Iterator[None]:
        try:
            with self._at_work:
                yield
        finally:
            self._sweep()

    def _sweep(self) -> None:
        while self._gone and self._at_work.acquire(blocking=False):
            try:
                with self._marking:
                    gone, self._gone = self._gone, frozenset()
                for key in [key for key, images in self._images.items() if images & gone]:
                    del self._images[key]
                    self._near.pop(key, None)
                    self._far.pop(key, None)
            finally:
                self._at_work.release()

    def _fetch(self, key: Hashable, device: str) -> Any:  # noqa: ANN401 - see get_or_make
        embedding = self._far[key]
        return embedding.to(device) if isinstance(embedding, Packable) else embedding

    def _demote(self, number: int) -> None:
        """Leave so many on the device."""
        while len(self._near) > number:
            self._move_to_ram(next(iter(self._near)))
        self._trim()

    def _move_to_ram(self, key: Hashable) -> None:
        embedding = self._near.pop(key)
        if size_of(embedding) is not None:
            movable = isinstance(embedding, Packable)
            self._far[key] = embedding.to("cpu") if movable else embedding

    def _trim(self) -> None:
        while self._far and self.ram_bytes > self._ram_bytes:
            self._far.popitem(last=False)

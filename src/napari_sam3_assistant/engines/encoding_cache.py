"""Encodings of images: the last ones in memory, and older ones in files."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
import uuid
import zlib
from collections import OrderedDict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.engines.base import Packable, encoding_nbytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.engines.base import Encoding


ON_DEVICE = 2
RAM_BYTES = 2 * 2**30


class EmbeddingStore:
    """Encodings by key; the least recently used go from the device to RAM, and from there.

    One caller at a time. An encoding that can't be made leaves nothing behind. One that does
    not tell its size is not kept beyond the device's number. One whose image is gone, so that
    nobody can ask for it any more, goes with it.

    ``on_device``: how many are kept where the engine left them.
    ``ram_bytes``: how much memory those beyond that number may take, in RAM.
    """

    def __init__(self, on_device: int = ON_DEVICE, ram_bytes: int = RAM_BYTES) -> None:
        self._on_device = on_device
        self._ram_bytes = ram_bytes
        self._near: OrderedDict[Hashable, Any] = OrderedDict()
        self._far: OrderedDict[Hashable, Any] = OrderedDict()
        self._images: dict[Hashable, frozenset[int]] = {}
        self._at_work = threading.Lock()
        # Reentrant: garbage collection may drop an image in the middle of it.
        self._marking = threading.RLock()
        self._gone: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._near) + len(self._far)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._near or key in self._far

    @property
    def ram_bytes(self) -> int:
        """Memory that the encodings beyond the device's number take, in bytes."""
        return sum(encoding_nbytes(embedding) or 0 for embedding in self._far.values())

    def get_or_make(
        self,
        key: Hashable,
        make: Callable[[], Any],
        device: str,
        images: Iterable[int] = (),
    ) -> Encoding:
        """Return the encoding of a key on the device; it is made if it is not there."""
        with self._working():
            if key not in self:
                self._near[key] = make()
                self._images = {kept: of for kept, of in self._images.items() if kept in self}
                self._images[key] = frozenset(images)
            return self._find(key, device)

    def find(self, key: Hashable, device: str) -> Encoding:
        """Return the encoding of a key on the device, or None where it is not kept."""
        with self._working():
            return self._find(key, device)

    def _find(self, key: Hashable, device: str) -> Encoding:
        if key not in self:
            return None
        if key in self._far:
            self._near[key] = self._fetch(key, device)
            # Only now: where moving it fails, it is still in RAM.
            self._far.pop(key, None)
        self._near.move_to_end(key)
        self._move_off_device(self._on_device)
        return self._near[key]

    def free(self, device: str, keep: Encoding = None) -> bool:
        """Let go of the memory of a device that ran full; returns whether there was any."""
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

    def _fetch(self, key: Hashable, device: str) -> Encoding:
        embedding = self._far[key]
        return embedding.to(device) if isinstance(embedding, Packable) else embedding

    def _move_off_device(self, number: int) -> None:
        """Leave so many on the device."""
        while len(self._near) > number:
            self._move_to_ram(next(iter(self._near)))
        self._trim()

    def _move_to_ram(self, key: Hashable) -> None:
        embedding = self._near.pop(key)
        if encoding_nbytes(embedding) is not None:
            movable = isinstance(embedding, Packable)
            self._far[key] = embedding.to("cpu") if movable else embedding

    def _trim(self) -> None:
        while self._far and self.ram_bytes > self._ram_bytes:
            self._far.popitem(last=False)


LIMIT_BYTES = 10 * 2**30
INDEX = "precomputed.jsonl"
"""Lists what was encoded ahead; of a folder that has it, nothing is removed to make room."""
LARGEST_FILE = 2**30
"""No encoding takes more; of a larger file nothing is read."""
_FORMAT = "napari-sam3-assistant encoding 1"
_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
_DRAFT = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{32}\.draft")
# A draft that old is of a process that ended half-way, in seconds.
_ABANDONED = 3600

logger = logging.getLogger(__name__)

Packed = tuple[tuple[int, int], "dict[str, torch.Tensor]"]


class EmbeddingFolder:
    """A folder of encodings; of more than its limit, the least recently used go.

    It may be moved to another machine with the same weights: names are of content alone. Of a
    folder that was filled ahead (:data:`INDEX`) nothing goes.

    A file appears under its name only when it is complete. One that can't be read, or is not
    what was written, is removed. Files of other names are never touched. Trouble with the disk
    is logged and costs time, never a result.

    ``path``: the folder; made when the first encoding is written.
    ``limit_bytes``: how much all files together may take.
    """

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = expand_user(path)
        self._limit = limit_bytes
        self._told_miss = False

    @staticmethod
    def key(image: npt.NDArray[np.uint8], encoding_id: str) -> str:
        """Return the name for an image encoded by certain weights: a hash of both.

        ``image`` (shape (H, W, 3)): the pixels; all are read.
        ``encoding_id``: identity of package, weights and number format, the same on all machines.
        """
        digest = hashlib.blake2b(digest_size=32)
        digest.update(f"{_FORMAT}|{encoding_id}|{image.shape}|".encode())
        digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def load(self, key: str) -> Packed | None:
        """Return the shape and the tensors of an encoding, or None if it is not there."""
        from safetensors import SafetensorError, safe_open

        file = self._file(key)
        if not file.is_file():
            self._log_miss()
            return None
        try:
            # The library takes all that the file has, and no more.
            if file.stat().st_size > LARGEST_FILE:
                logger.warning("%s is larger than any encoding; it is not read.", file)
                return None
            with safe_open(file, framework="pt") as opened:
                about = opened.metadata() or {}
                # Copies: what is mapped from the file would change with it, or end the program.
                tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118 - not a mapping
            if about.get("format") == _FORMAT and about.get("sum") == _checksum(tensors):
                # The time of use, for the order in which files go.
                os.utime(file)
                return (int(about["height"]), int(about["width"])), tensors
            logger.warning("%s is not what was written; it is removed.", file)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            logger.warning("%s can't be read (%s); it is removed.", file, error)
        self.drop(key)
        return None

    def save(self, key: str, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> None:
        """Write an encoding, and remove what is beyond the limit."""
        if sum(tensor.nbytes for tensor in tensors.values()) > self._limit:
            return
        try:
            self.write(key, pack_encoding(shape, tensors))
            if not (self.path / INDEX).exists():
                self._remove_oldest()
        except OSError as error:
            logger.warning("The encoding can't be kept in %s: %s", self.path, error)

    def _log_miss(self) -> None:
        if not self._told_miss and (self.path / INDEX).exists():
            self._told_miss = True
            logger.warning(
                "An image has no encoding in %s: it was encoded by another engine, release, "
                "weights or precision, or seen with another contrast. It is encoded now.",
                self.path,
            )

    def has(self, key: str) -> bool:
        """Return whether there is a file for an encoding."""
        return self._file(key).is_file()

    def write(self, key: str, content: bytes) -> None:
        """Write the file of an encoding, as :func:`pack_encoding` made it."""
        draft = self.path / f"{key}.{uuid.uuid4().hex}.draft"
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
            draft.replace(self._file(key))
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def drop(self, key: str) -> None:
        """Remove an encoding that can't be used."""
        with suppress(OSError):
            self._file(key).unlink()

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.safetensors"

    def _remove_oldest(self) -> None:
        for draft in self.path.iterdir():
            if _DRAFT.fullmatch(draft.name) and draft.stat().st_mtime < time.time() - _ABANDONED:
                draft.unlink(missing_ok=True)
        files = [file for file in self.path.iterdir() if _NAME.fullmatch(file.name)]
        used = [(file.stat().st_mtime_ns, file.stat().st_size, file) for file in files]
        total = sum(size for _, size, _ in used)
        for _, size, file in sorted(used):
            if total <= self._limit:
                return
            file.unlink(missing_ok=True)
            total -= size


def pack_encoding(shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the content of an encoding's file."""
    from safetensors.torch import save

    here = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    about = {
        "format": _FORMAT,
        "height": str(shape[0]),
        "width": str(shape[1]),
        "sum": _checksum(here),
    }
    return save(here, about)


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a checksum of tensors and their names."""
    import torch

    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].contiguous().view(torch.uint8).numpy().data, total)
    return f"{total:08x}"


T = TypeVar("T")


class LRUCache(Generic[T]):
    """Values by key; of more than a few, the least recently used goes first.

    Not ``functools.lru_cache``: on a method that would hold the model in a cycle of references,
    so that closing it frees no memory, and nobody could count what is kept.

    ``capacity``: how many are kept.
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

    def map(self, change: Callable[[T], T]) -> LRUCache[T]:
        """Return the same with each value changed."""
        changed: LRUCache[T] = LRUCache(self._capacity)
        changed._items.update((key, change(value)) for key, value in self._items.items())
        return changed

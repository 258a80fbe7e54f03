"""Edits of labels from files: unpacked piece by piece, and checked before they are used."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit, bounds_of
from napari_sam3_assistant.core.masks.labels import union_box
from napari_sam3_assistant.io.typed_json import check_kind, check_shape
from napari_sam3_assistant.io.untrusted import as_text, as_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

_PIECE = 1 << 20


def read_edit(
    action: object, shape: object, count: object, packed: Sequence[bytes], dtype: object
) -> LabelEdit:
    """Return an edit of which a file gives these fields, all of them checked.

    However much it says that it holds, it is unpacked piece by piece.

    Raises
    ------
    One of :data:`.io.typed_json.WRONG`
        If it is none, is not whole, lies beside its labels, or takes more room than there is.
    """
    sides, kind, stretches = check_shape(shape), check_kind(dtype), as_whole(count)
    if kind.kind not in "bui" or not sides or len(packed) != 4:
        raise ValueError("an edit of labels is none")
    kinds: tuple[np.dtype[Any], ...] = (np.dtype(np.int64), np.dtype(np.uint32), kind, kind)
    needed = stretches * sum(one.itemsize for one in kinds)
    if not 0 <= stretches <= math.prod(sides) or needed > psutil.virtual_memory().available:
        raise ValueError("an edit of labels is too large")
    pixels, boxes = 0, []
    for piece in _stretches(packed, kinds, stretches, sides):
        pixels += int(piece.lengths.sum())
        boxes.append(bounds_of(sides, piece.starts, piece.lengths))
    box = union_box(boxes) if boxes else tuple(slice(0, 0) for _ in sides)
    return LabelEdit(as_text(action), sides, pixels, box, stretches, tuple(packed), kind.str)


def check_edit(edit: LabelEdit) -> None:
    """Raise one of :data:`.io.typed_json.WRONG` unless an edit from a file is what it says."""
    found = read_edit(edit.action, list(edit.shape), edit.count, edit.packed, edit.dtype)
    if (found.pixels, found.box) != (edit.pixels, edit.box):
        raise ValueError("an edit of labels changes others than it says")


def _stretches(
    packed: Sequence[bytes], kinds: Sequence[np.dtype[Any]], count: int, shape: tuple[int, ...]
) -> Iterator[Changes]:
    """Yield so many stretches piece by piece."""
    size, width = math.prod(shape), shape[-1]
    columns = (_unpack(data, kind, count) for data, kind in zip(packed, kinds, strict=True))
    last = end = 0
    for steps, lengths, before, after in zip(*columns, strict=True):
        # What adds up to more than an integer holds turns negative.
        starts, long = last + np.cumsum(steps), lengths.astype(np.int64)
        stops = starts + long
        beside = steps.min() < 0 or starts.min() < end or starts.max() >= size or stops.max() > size
        if beside or long.min() < 1 or (starts[1:] < stops[:-1]).any():
            raise ValueError("an edit of labels lies beside them")
        if (starts // width != (stops - 1) // width).any():
            raise ValueError("an edit of labels goes on beyond a row")
        last, end = int(starts[-1]), int(stops[-1])
        yield Changes(starts, long, before, after)


def _unpack(packed: bytes, kind: np.dtype[Any], count: int) -> Iterator[npt.NDArray[Any]]:
    """Yield so many numbers piece by piece."""
    stream, data = zlib.decompressobj(), b""
    for first in range(0, count, _PIECE):
        size = min(_PIECE, count - first) * kind.itemsize
        data = stream.decompress(packed, size)
        packed = stream.unconsumed_tail
        if len(data) < size:
            break
        yield np.frombuffer(data, kind)
    more = stream.decompress(packed, 1)
    if more or not stream.eof or (count and len(data) < size):
        raise ValueError("an edit of labels has not the size that it says")

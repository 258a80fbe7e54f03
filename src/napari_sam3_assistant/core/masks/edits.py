"""Changes of labels that can be taken back, and the history of them."""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_sam3_assistant.core.masks.components import Runs, expand_ranges, to_array_positions
from napari_sam3_assistant.core.masks.labels import Box, box_shape
from napari_sam3_assistant.core.progress import NullReporter, Progress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import LabelArray, Positions
    from napari_sam3_assistant.core.progress import Reporter


PIECE_PIXELS = 1 << 20
_LEVEL = 1  # runs are small already; more effort costs more time than it saves bytes


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Stretches of pixels that held one label and hold another now.

    Parameters
    ----------
    starts, lengths : ndarray, shape (n,), dtype int64
        First pixel, as a position in C order, and number of pixels. None goes beyond its row.
    before, after : ndarray, shape (n,)
        The labels.
    """

    starts: Positions
    lengths: Positions
    before: npt.NDArray[Any]
    after: npt.NDArray[Any]

    def pieces(self, pixels: int = PIECE_PIXELS) -> Iterator[Changes]:
        """Yield the changes in parts of about so many pixels."""
        ends = np.cumsum(self.lengths)
        begin = 0
        while begin < ends.size:
            done = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, done + pixels, side="right")))
            yield self.take(slice(begin, end))
            begin = end

    @classmethod
    def of_pixels(
        cls,
        pixels: Positions,
        before: npt.NDArray[Any],
        after: npt.NDArray[Any],
        width: int,
    ) -> Changes:
        """Return the stretches of single pixels.

        Parameters
        ----------
        pixels : ndarray, shape (n,), dtype int64
            Positions in C order, ascending.
        before, after : ndarray, shape (n,)
            The labels.
        width : int
            Length of a row.
        """
        begins = np.ones(pixels.size, bool)
        begins[1:] = (
            (np.diff(pixels) != 1)
            | (before[1:] != before[:-1])
            | (after[1:] != after[:-1])
            | (pixels[1:] % width == 0)
        )
        first = np.flatnonzero(begins)
        lengths = np.diff(np.append(first, pixels.size))
        return cls(pixels[first], lengths, before[first], after[first])

    def take(self, chosen: npt.NDArray[Any] | slice) -> Changes:
        """Return some of the stretches, by an index of NumPy's."""
        return Changes(
            self.starts[chosen], self.lengths[chosen], self.before[chosen], self.after[chosen]
        )

    def split_pixels(self) -> Changes:
        """Return the changes pixel by pixel."""
        again = np.repeat(np.arange(self.lengths.size), self.lengths)
        pixels = expand_ranges(self.starts, self.lengths)
        return Changes(pixels, np.ones_like(pixels), self.before[again], self.after[again])

    def reverse(self) -> Changes:
        """Return the changes that take these back."""
        return Changes(self.starts, self.lengths, self.after, self.before)

    def write(self, labels: AnyArray) -> Changes:
        """Write the changes, where the labels still are what they were before.

        What somebody else has changed in the meantime is left as it is. Returns what was written:
        these changes themselves if all of them were.
        """
        pixels = expand_ranges(self.starts, self.lengths)
        before = np.repeat(self.before, self.lengths)
        after = np.repeat(self.after, self.lengths)
        same = np.empty(pixels.size, bool)
        if isinstance(labels, np.ndarray) and labels.flags.c_contiguous:
            _write(labels.reshape(-1), pixels, before, after, same, slice(None))
        else:
            for box, chosen in _split_by_chunk(labels, pixels):
                part = np.array(labels[box], order="C")
                coordinates = np.unravel_index(pixels[chosen], labels.shape)
                local = tuple(
                    axis - side.start for axis, side in zip(coordinates, box, strict=True)
                )
                at = np.ravel_multi_index(local, part.shape)
                _write(part.reshape(-1), at, before[chosen], after[chosen], same, chosen)
                if same[chosen].any():
                    labels[box] = part
        if same.all():
            return self
        return Changes.of_pixels(pixels[same], before[same], after[same], labels.shape[-1])


@dataclass(frozen=True, slots=True, eq=False)
class LabelEdit:
    """One step that can be taken back.

    Parameters
    ----------
    action : str
        What was done, for the user: ``fill holes``.
    shape : tuple of int
        Shape of the labels.
    pixels : int
        How many pixels it changes.
    box : tuple of slice
        Bounding box of the change; empty slices if there is none.
    count : int
        Number of stretches.
    packed : tuple of bytes
        The stretches, compressed.
    dtype : str
        Type of the labels.
    """

    action: str
    shape: tuple[int, ...]
    pixels: int
    box: Box
    count: int
    packed: tuple[bytes, ...]
    dtype: str

    @classmethod
    def pack(
        cls, action: str, shape: tuple[int, ...], changes: Changes, dtype: npt.DTypeLike
    ) -> LabelEdit:
        """Pack changes; stretches that change nothing are left out."""
        kept = changes.before != changes.after
        starts, lengths = changes.starts[kept], changes.lengths[kept]
        kind = np.dtype(dtype)
        arrays = (
            np.diff(starts, prepend=0),
            lengths.astype(np.uint32),
            changes.before[kept].astype(kind),
            changes.after[kept].astype(kind),
        )
        packed = tuple(zlib.compress(np.ascontiguousarray(array).data, _LEVEL) for array in arrays)
        box = bounds_of(shape, starts, lengths)
        return cls(action, shape, int(lengths.sum()), box, starts.size, packed, kind.str)

    @classmethod
    def join(cls, parts: Iterable[tuple[Box, LabelEdit]], labels: AnyArray) -> LabelEdit:
        """Return as one edit what the same action does to boxes of labels that don't overlap."""
        shape = tuple(int(size) for size in labels.shape)
        found, action = [], ""
        for box, edit in parts:
            changes, action = edit.changes(), edit.action
            starts = to_array_positions(changes.starts, box, shape)
            found.append((starts, changes.lengths, changes.before, changes.after))
        return cls.pack(action, shape, _in_order(found), labels.dtype)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return sum(map(len, self.packed))

    def changes(self) -> Changes:
        """Return what it changes."""
        steps, lengths, before, after = map(zlib.decompress, self.packed)
        return Changes(
            np.cumsum(np.frombuffer(steps, np.int64)),
            np.frombuffer(lengths, np.uint32).astype(np.int64),
            np.frombuffer(before, self.dtype),
            np.frombuffer(after, self.dtype),
        )

    def write(
        self,
        labels: AnyArray,
        *,
        forward: bool = True,
        reporter: Reporter | None = None,
    ) -> LabelEdit:
        """Do it, or take it back; returns the edit that was really made.

        That is this edit, or one without the pixels that somebody else had changed meanwhile.
        """
        changes = self.changes() if forward else self.changes().reverse()
        reporter = reporter or NullReporter()
        pieces, written, done = list(changes.pieces()), [], 0
        for piece in pieces:
            reporter.report(Progress(done, self.pixels, "Writing the change"))
            written.append(piece.write(labels))
            done += int(piece.lengths.sum())
        if all(part is piece for part, piece in zip(written, pieces, strict=True)):
            return self
        columns = zip(*((c.starts, c.lengths, c.before, c.after) for c in written), strict=True)
        remaining = Changes(*map(np.concatenate, columns))
        kept = remaining if forward else remaining.reverse()
        return LabelEdit.pack(self.action, self.shape, kept, self.dtype)


def _write(
    flat: npt.NDArray[Any],
    pixels: Positions,
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    same: npt.NDArray[np.bool_],
    chosen: npt.NDArray[np.intp] | slice,
) -> None:
    """Write to pixels that are what they were before, and note which ones are."""
    fits = flat[pixels] == before
    flat[pixels[fits]] = after[fits]
    same[chosen] = fits


def changes_of_runs(runs: Runs, after: npt.NDArray[Any]) -> Changes:
    """Return the changes that give each run another label."""
    return Changes(runs.starts, runs.lengths, runs.values, after)


def changes_between(
    parts: Iterable[tuple[Box, LabelArray, LabelArray]], shape: tuple[int, ...]
) -> Changes:
    """Return what differs in boxes that don't overlap.

    Parameters
    ----------
    parts : iterable of (box, before, after)
        Arrays of the box's shape, of the same type.
    shape : tuple of int
        Shape of the whole labels.
    """
    return _in_order([_difference(box, before, after, shape) for box, before, after in parts])


def _in_order(found: Sequence[tuple[npt.NDArray[Any], ...]]) -> Changes:
    """Return the changes of several parts, by their positions."""
    if not found:
        nothing = np.zeros(0, np.int64)
        return Changes(nothing, nothing, nothing, nothing)
    starts, lengths, before, after = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(starts, kind="stable")
    return Changes(starts[order], lengths[order], before[order], after[order])


def _difference(
    box: Box, before: LabelArray, after: LabelArray, shape: tuple[int, ...]
) -> tuple[npt.NDArray[Any], ...]:
    width = before.shape[-1]
    old, new = (np.ascontiguousarray(array).reshape(-1) for array in (before, after))
    differs = old != new
    first = np.flatnonzero(differs)
    if first.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), old[:0], new[:0]
    # Only the changed pixels are looked at from here on.
    goes_on = np.zeros(first.size, bool)
    goes_on[1:] = (
        (np.diff(first) == 1)
        & (old[first[1:]] == old[first[:-1]])
        & (new[first[1:]] == new[first[:-1]])
        & (first[1:] % width != 0)
    )
    begins = np.flatnonzero(~goes_on)
    starts = first[begins]
    lengths = np.diff(np.append(begins, first.size))
    return (
        to_array_positions(starts, box, shape),
        lengths.astype(np.int64),
        old[starts],
        new[starts],
    )


def classify_pixels(edit: LabelEdit) -> npt.NDArray[np.uint8]:
    """Return what an edit does to the pixels of its box: 1 removed, 2 added, 3 other label."""
    changes = edit.changes()
    kind = np.where(changes.after == 0, 1, np.where(changes.before == 0, 2, 3)).astype(np.uint8)
    image = np.zeros(box_shape(edit.box), np.uint8)
    if edit.count:
        pixels = expand_ranges(changes.starts, changes.lengths)
        coordinates = np.unravel_index(pixels, edit.shape)
        local = tuple(axis - side.start for axis, side in zip(coordinates, edit.box, strict=True))
        image[local] = np.repeat(kind, changes.lengths)
    return image


def bounds_of(shape: tuple[int, ...], starts: Positions, lengths: Positions) -> Box:
    """Return the box of stretches in labels of a shape; empty slices if there are none."""
    if starts.size == 0:
        return tuple(slice(0, 0) for _ in shape)
    coordinates = np.unravel_index(starts, shape)
    highs = [int(axis.max()) + 1 for axis in coordinates]
    highs[-1] = int((coordinates[-1] + lengths).max())
    return tuple(
        slice(int(axis.min()), high) for axis, high in zip(coordinates, highs, strict=True)
    )


def _split_by_chunk(
    labels: AnyArray,
    pixels: Positions,
) -> Iterator[tuple[Box, npt.NDArray[np.intp]]]:
    """Yield for each chunk the box of the pixels in it, and which pixels these are."""
    if pixels.size == 0:
        return
    shape = tuple(labels.shape)
    sides = shape if isinstance(labels, np.ndarray) else tuple(labels.chunks)
    coordinates = np.unravel_index(pixels, shape)
    grid = tuple(-(-size // side) for size, side in zip(shape, sides, strict=True))
    cell = np.ravel_multi_index(
        tuple(axis // side for axis, side in zip(coordinates, sides, strict=True)), grid
    )
    order = np.argsort(cell, kind="stable")
    cuts = np.flatnonzero(np.diff(cell[order])) + 1
    for chosen in np.split(order, cuts):
        box = tuple(
            slice(int(axis[chosen].min()), int(axis[chosen].max()) + 1) for axis in coordinates
        )
        yield box, chosen


DEFAULT_BYTES = 512 * 1024 * 1024


class EditStep(Protocol):
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
        self._done: dict[str, list[tuple[int, EditStep]]] = defaultdict(list)
        self._undone: dict[str, list[tuple[int, EditStep]]] = defaultdict(list)
        self._count = 0

    @property
    def nbytes(self) -> int:
        """How much memory the steps take."""
        return sum(step.nbytes for stack in self._stacks() for _, step in stack)

    def push(self, key: str, step: EditStep) -> int:
        """Add a step that was made; returns how many old ones had to go.

        What had been taken back on these labels can't be done again.
        """
        self._undone.pop(key, None)
        self._done[key].append((self._tick(), step))
        return self.shrink()

    def undo(self, key: str) -> EditStep | None:
        """Return the latest step to take back, or None."""
        return self._move(self._done[key], self._undone[key])

    def redo(self, key: str) -> EditStep | None:
        """Return the step to do again, or None."""
        return self._move(self._undone[key], self._done[key])

    def amend(self, key: str, step: EditStep, *, forward: bool) -> None:
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

    def latest(
        self, keys: Collection[str], *, forward: bool = False
    ) -> tuple[str, EditStep] | None:
        """Return what was done, or taken back, last on some labels, and on which; or None."""
        stacks = self._undone if forward else self._done
        tops = [(*stack[-1], key) for key, stack in stacks.items() if stack and key in keys]
        if not tops:
            return None
        _, step, key = max(tops, key=lambda top: top[0])
        return key, step

    @property
    def keys(self) -> frozenset[str]:
        """The labels that something was done on."""
        return frozenset(self._done) | frozenset(self._undone)

    def edits(self, most_bytes: int) -> dict[int, tuple[str, LabelEdit, bool]]:
        """Return the latest edits, to be kept in a file.

        Parameters
        ----------
        most_bytes : int
            How much they may take; older ones are left out, and so is what came before a step of
            another kind.

        Returns
        -------
        dict of int to (str, LabelEdit, bool)
            By place in time: the labels, the edit, and whether it is taken back.
        """
        found: list[tuple[int, tuple[str, LabelEdit, bool]]] = []
        for stacks, undone in ((self._done, False), (self._undone, True)):
            for key, stack in stacks.items():
                for tick, step in reversed(stack):
                    if not isinstance(step, LabelEdit):
                        break
                    found.append((tick, (key, step, undone)))
        kept: dict[int, tuple[str, LabelEdit, bool]] = {}
        for tick, entry in sorted(found, key=lambda pair: pair[0], reverse=True):
            most_bytes -= entry[1].nbytes
            if most_bytes < 0:
                break
            kept[tick] = entry
        return kept

    def restore(self, edits: Iterable[tuple[str, LabelEdit, bool]]) -> None:
        """Put edits that were kept in the place of all steps, the first first."""
        self._done.clear()
        self._undone.clear()
        for key, edit, undone in edits:
            (self._undone if undone else self._done)[key].append((self._tick(), edit))

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
            stack = min(
                (entries for entries in self._stacks() if entries),
                key=lambda entries: entries[0][0],
            )
            size -= stack.pop(0)[1].nbytes
            dropped += 1
        return dropped

    def _stacks(self) -> Iterator[list[tuple[int, EditStep]]]:
        yield from self._done.values()
        yield from self._undone.values()

    def _tick(self) -> int:
        self._count += 1
        return self._count

    def _move(
        self, source: list[tuple[int, EditStep]], target: list[tuple[int, EditStep]]
    ) -> EditStep | None:
        if not source:
            return None
        _, step = source.pop()
        target.append((self._tick(), step))
        return step

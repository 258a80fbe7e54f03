"""Labels whose pixels were changed: news for all, and strokes as edits that can be taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from psygnal import Signal

from napari_sam3_assistant.core.masks.edits import Changes, EditHistory, LabelEdit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_sam3_assistant.core.images import AnyArray, Untyped


class Edits:
    """Tells of changed pixels; napari's own event of new data would have all of them drawn again.

    Attributes
    ----------
    edited : Signal
        The mask operations have changed a box (a slice for each axis) of a layer.
    changed : Signal
        They have written changes, whole rows of pixels, to labels of a shape that may be in a file.
    rewritten : Signal
        A run has written other labels into a layer.
    restored : Signal
        The history is another one.
    history : EditHistory
        What the mask operations can take back; it stays as long as the viewer.
    """

    edited = Signal(object, tuple)
    changed = Signal(object, object, tuple)
    rewritten = Signal(object)
    restored = Signal()

    def __init__(self) -> None:
        self.history = EditHistory()


_KNOWN: WeakKeyDictionary[ViewerModel, Edits] = WeakKeyDictionary()


def edits_of(viewer: ViewerModel) -> Edits:
    """Return the news of a viewer."""
    return _KNOWN.setdefault(viewer, Edits())


_LOCKED: WeakSet[Labels] = WeakSet()


def lock(layer: Labels) -> Callable[[], None]:
    """Keep the user from painting on a layer until what is returned is called."""
    editable, mode = layer.editable, layer.mode
    layer.editable = False
    _LOCKED.add(layer)

    def unlock() -> None:
        _LOCKED.discard(layer)
        layer.editable = editable
        if editable:
            layer.mode = mode

    return unlock


def is_locked(layer: Labels) -> bool:
    """Return whether something is written to a layer that has to be done first."""
    return layer in _LOCKED


class Strokes:
    """What the user has painted on results, in the order of the session's steps.

    napari has a history for each layer. A stroke is taken back by it as long as no later step of
    the session is there.
    """

    def __init__(self) -> None:
        self._done: list[Stroke] = []
        self._undone: list[Stroke] = []

    def note(self, layer: Labels, edit: LabelEdit, step: int) -> None:
        """Take note of a stroke that was painted after a step, given the step's number."""
        self._done.append(Stroke(ref(layer), edit, step))
        self._undone.clear()

    def undo(self, step: int) -> tuple[Labels, LabelEdit] | None:
        """Take the latest stroke after a step back, and return it; None if there is none."""
        return self._move(self._done, self._undone, step, "undo")

    def redo(self, step: int) -> tuple[Labels, LabelEdit] | None:
        """Make a stroke after a step again, and return it; None if there is none."""
        return self._move(self._undone, self._done, step, "redo")

    @staticmethod
    def _move(
        source: list[Stroke], target: list[Stroke], step: int, call: str
    ) -> tuple[Labels, LabelEdit] | None:
        if not source or source[-1].step != step:
            return None
        stroke = source.pop()
        layer = stroke.layer()
        if layer is None:
            return None
        target.append(stroke)
        getattr(layer, call)()
        return layer, stroke.edit


@dataclass(frozen=True, slots=True)
class Stroke:
    """What was painted on a layer, and the number of the session's step before."""

    layer: ref[Labels]
    edit: LabelEdit
    step: int


_MASKED = 4  # fields of an atom of napari 0.8 and later: slices, mask, old values, new value


def edit_of_strokes(strokes: Sequence[Any], labels: AnyArray) -> LabelEdit:
    """Return the edit that napari's ``paint`` event tells of.

    Parameters
    ----------
    strokes : sequence
        The event's value, the first stroke first. Each one holds the changed pixels' indices,
        their old values and the new value or values; of newer versions of napari slices, a mask
        in them or None, the old values and the new one.
    labels : array-like of int
        The layer's array.
    """
    shape, dtype = tuple(int(size) for size in labels.shape), np.dtype(labels.dtype)
    parts = [_stroke_pixels(stroke, shape, dtype) for stroke in strokes]
    nothing = np.zeros(0, np.int64), np.zeros(0, dtype), np.zeros(0, dtype)
    where, before, after = (np.concatenate(column) for column in zip(nothing, *parts, strict=True))
    # A pixel that was painted twice: the first stroke knows what it was, the last what it is.
    pixels, first = np.unique(where, return_index=True)
    last = where.size - 1 - np.unique(where[::-1], return_index=True)[1]
    changes = Changes.of_pixels(pixels, before[first], after[last], shape[-1])
    return LabelEdit.pack("painting", shape, changes, dtype)


def _stroke_pixels(
    stroke: Untyped,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> tuple[npt.NDArray[Any], ...]:
    if len(stroke) == _MASKED:
        slices, mask, before, after = stroke
        sides = [np.arange(*side.indices(size)) for side, size in zip(slices, shape, strict=True)]
        grid = np.ravel_multi_index(np.ix_(*sides), shape)
        where = grid.reshape(-1) if mask is None else grid[np.asarray(mask)]
    else:
        indices, before, after = stroke
        where = np.ravel_multi_index(tuple(np.asarray(axis) for axis in indices), shape)
        where = where.reshape(-1)
    old = np.asarray(before).reshape(-1).astype(dtype)
    new = np.broadcast_to(np.asarray(after).reshape(-1), old.shape).astype(dtype)
    return where, old, new

"""Pixels of labels layers: drawn with less work, and news of changes, strokes as edits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from napari.layers import Labels
from napari.utils import CyclicLabelColormap
from napari.utils.colormaps import label_colormap
from psygnal import Signal

from napari_sam3_assistant.core.masks.edits import Changes, EditHistory, LabelEdit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer
    from napari.utils.events import Event

    from napari_sam3_assistant.core.images import AnyArray, Untyped
    from napari_sam3_assistant.core.masks.labels import Box


# As napari's Labels.
_COLOURS, _SEED = 49, 0.5
# Labels of so few bytes are their own texture.
_UNCHANGED = 2
_LOOKED_UP = 1 << 16
_STRIP_PIXELS = 1 << 20


_WRITTEN: WeakKeyDictionary[Layer, dict[str, list[Box] | None]] = WeakKeyDictionary()
"""Of each layer, for each one who asks, where pixels were written since; None for anywhere."""
_DRAWN: WeakKeyDictionary[Labels, _Drawn] = WeakKeyDictionary()
_REVISIONS: WeakKeyDictionary[Layer, int] = WeakKeyDictionary()
_MOST_BOXES = 256
_LOCKED: WeakSet[Labels] = WeakSet()
_MASKED = 4  # fields of an atom of napari 0.8 and later: slices, mask, old values, new value


def count_written(layer: Layer) -> int:
    """Return how often pixels of a layer were written, as far as that is known."""
    return _REVISIONS.get(layer, 0)


def watch_written(layer: Layer, asker: str) -> None:
    """Record where pixels of a layer are written from now on, by whom ever.

    ``asker``: who will ask for it.
    """
    known = _WRITTEN.setdefault(layer, {})
    if not known:
        layer.events.data.connect(_on_replaced)
        if isinstance(layer, Labels):
            _DRAWN[layer] = _Drawn.now(layer)
            layer.events.paint.connect(_on_painted)
            layer.events.set_data.connect(_on_drawn)
            layer.events.visible.connect(_on_visible)
    known.setdefault(asker, [])


def forget_written(layer: Layer, asker: str) -> None:
    """Record it no more for one who asked."""
    known = _WRITTEN.get(layer, {})
    if known.pop(asker, known) is known or known:
        return
    del _WRITTEN[layer]
    layer.events.data.disconnect(_on_replaced)
    if isinstance(layer, Labels):
        del _DRAWN[layer]
        layer.events.paint.disconnect(_on_painted)
        layer.events.set_data.disconnect(_on_drawn)
        layer.events.visible.disconnect(_on_visible)


def note_written(layer: Layer, box: Sequence[slice] | None = None) -> None:
    """Record that pixels were written in a box, a slice an axis; None for anywhere."""
    _REVISIONS[layer] = count_written(layer) + 1
    known = _WRITTEN.get(layer, {})
    for asker, boxes in known.items():
        if boxes is None:
            continue
        if box is None or len(boxes) >= _MOST_BOXES:
            known[asker] = None
        elif tuple(box) not in boxes:
            boxes.append(tuple(box))


def take_written(layer: Layer, asker: str) -> list[Box] | None:
    """Return where pixels were written since the last time; None for anywhere."""
    known = _WRITTEN.get(layer, {})
    boxes = known.get(asker, [])
    if asker in known:
        known[asker] = []
    return boxes


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Labels as napari has drawn them last: how many strokes were taken back, and how they look."""

    undone: int
    look: tuple[object, ...] | None

    @classmethod
    def now(cls, layer: Labels) -> _Drawn:
        # Private parts of napari that are alike from 0.5.6 to 0.9.2, as in redraw.
        return cls(
            len(layer._redo_history),  # noqa: SLF001
            (
                layer._slice.slice_input,  # noqa: SLF001
                layer._data_to_world.affine_matrix.tobytes(),  # noqa: SLF001
                id(layer.colormap),
                layer.contour,
                layer.show_selected_label and layer.selected_label,
                str(layer.rendering),
                str(layer.projection_mode),
                (layer.data_level, layer.corner_pixels.tobytes()) if layer.multiscale else None,
            ),
        )


def _on_replaced(event: Event) -> None:
    note_written(event.source)


def _on_painted(event: Event) -> None:
    """Record what the user's brush, or a script by napari's, has written, on all slices."""
    layer = event.source
    _DRAWN[layer] = _Drawn.now(layer)  # it draws what was painted alone, and tells so otherwise
    _note_strokes(layer, event.value)


def _on_drawn(event: Event) -> None:
    """Record what somebody has written of whom napari tells no more than that it draws again.

    Its own undo does so, and scripts that write into the array and call ``refresh``. What they
    write into a file is there in any case.
    """
    layer = event.source
    before, now = _DRAWN[layer], _Drawn.now(layer)
    _DRAWN[layer] = now
    labels = layer.data[0] if layer.multiscale else layer.data
    if now.undone == before.undone + 1:
        _note_strokes(layer, layer._redo_history[-1])  # noqa: SLF001 (as in _Drawn)
    elif now.undone == before.undone - 1:
        _note_strokes(layer, layer._undo_history[-1])  # noqa: SLF001 (as in _Drawn)
    elif now.look == before.look and isinstance(labels, np.ndarray):
        note_written(layer)


def _on_visible(event: Event) -> None:
    # It is not drawn while it is hidden; shown again, it was drawn before napari tells of that.
    if not event.source.visible:
        _expect_drawing(event.source)


def _expect_drawing(layer: Labels) -> None:
    """Record that the next drawing of labels tells of no pixel that was written."""
    if layer in _DRAWN:
        _DRAWN[layer] = replace(_DRAWN[layer], look=None)


def _note_strokes(layer: Labels, strokes: Sequence[Any]) -> None:
    shape = layer.data.shape
    for stroke in strokes:
        if len(stroke) == _MASKED:
            sides = [side.indices(size)[:2] for side, size in zip(stroke[0], shape, strict=True)]
            note_written(layer, [slice(*side) for side in sides])
        elif all(np.size(axis) for axis in stroke[0]):
            places = map(np.asarray, stroke[0])
            note_written(layer, [slice(int(at.min()), int(at.max()) + 1) for at in places])


def refresh(layer: Labels) -> None:
    """Draw all of labels that is on show again: what of them was written is known already."""
    _expect_drawing(layer)
    layer.refresh(extent=False)


def redraw(layer: Labels, box: Sequence[slice]) -> None:
    """Draw a box of pixels again, after they were written into ``layer.data``.

    ``Labels.refresh`` colours the whole plane, 16 ms at 2048 x 2048. The one public way to less is
    ``Labels.data_setitem``, which takes an index a pixel and fills napari's own undo with them. So
    this does what ``data_setitem`` does at its end, by the same private parts, which are alike in
    napari 0.5.6 to 0.9.2.

    ``box``: the changed pixels, one slice with a start and a stop for each axis of the layer.
    """
    note_written(layer, box)
    _draw(layer, box)


def _draw(layer: Labels, box: Sequence[slice]) -> None:
    slice_ = layer._slice  # noqa: SLF001 (see redraw)
    point = layer._get_pt_not_disp()  # noqa: SLF001 (see redraw)
    if not all(box[axis].start <= at < box[axis].stop for axis, at in point.items()):
        return
    in_memory = isinstance(layer.data, np.ndarray) and not layer.multiscale
    if not in_memory or layer.contour or not layer.loaded:
        refresh(layer)
        return
    part = tuple(box[axis] for axis in slice_.slice_input.displayed)
    texture = layer.colormap._data_to_texture  # noqa: SLF001 (see redraw)
    colours = _map_by_strips(texture, slice_.image.raw[part])
    slice_.image.view[part] = colours
    layer.events.labels_update(data=colours, offset=[side.start for side in part])
    layer._update_thumbnail()  # noqa: SLF001 (refresh would colour the plane for it)


class LeanColormap(CyclicLabelColormap):  # type: ignore[misc]  # napari is not typed
    """Napari's colours, given to labels strip by strip.

    napari takes 32-bit labels modulo the number of its colours, all at once: 1.4 s and 530 MB more
    for a region of 8192 x 8192 pixels. The texture is the same.
    """

    def _data_to_texture(self, values: AnyArray) -> AnyArray:
        texture = super()._data_to_texture
        if not isinstance(values, np.ndarray) or values.size <= _STRIP_PIXELS or values.ndim == 1:
            return texture(values)
        if values.itemsize <= _UNCHANGED:
            return texture(values)
        return _map_by_strips(texture, values)


CURRENT = (0.0, 0.9, 1.0, 1.0)
"""The colour of the one object that is worked on."""
_ALIKE = 0.5  # of colours that are hard to tell apart, side by side
_MOST_COLOURS = (1 << 16) - 2 * _COLOURS  # napari numbers colours by 16 bits at most


def default_colours() -> LeanColormap:
    """Return the colours that napari gives to a new labels layer."""
    return _make_colours(lambda colours: colours)


def current_colours(ids: Collection[int] = (), highest: int = 0) -> LeanColormap:
    """Return one bright colour for all labels, or for some beside others up to a highest one."""
    if not ids:
        return _make_colours(lambda colours: np.full_like(colours, CURRENT))
    # The same colours over and over, so that all others keep theirs.
    repeats = max(1, math.ceil(min(highest, _MOST_COLOURS) / _COLOURS))

    def mark(colours: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        wide = np.tile(_leave_out_current(colours), (repeats, 1))
        wide[[(id_ - 1) % len(wide) for id_ in ids]] = CURRENT
        return wide

    return _make_colours(mark)


def kept_colours() -> LeanColormap:
    """Return napari's colours without those that look like the one of the current object."""
    return _make_colours(_leave_out_current)


def _leave_out_current(colours: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    alike = np.linalg.norm(colours[:, :3] - CURRENT[:3], axis=1) < _ALIKE
    return np.where(alike[:, None], colours[::-1], colours)


def _make_colours(
    change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
) -> LeanColormap:
    """Return napari's colours of labels, changed but for the background's."""
    usual = label_colormap(_COLOURS, _SEED, background_value=0)
    return LeanColormap(
        name=usual.name,
        colors=np.concatenate([usual.colors[:1], change(usual.colors[1:])]),
        interpolation=usual.interpolation,
        background_value=usual.background_value,
        seed=usual.seed,
    )


def _map_by_strips(texture: Callable[[Any], Any], values: npt.NDArray[np.integer[Any]]) -> AnyArray:
    """Return the texture of label values, of so many at once as take little memory."""
    out = np.empty(values.shape, texture(values[:1]).dtype)
    step = max(1, _STRIP_PIXELS * len(values) // max(1, values.size))
    for start in range(0, len(values), step):
        strip = slice(start, start + step)
        out[strip] = _map_colours(texture, values[strip])
    return out


def _map_colours(texture: Callable[[Any], Any], values: npt.NDArray[np.integer[Any]]) -> AnyArray:
    """Return the texture of label values.

    napari takes them modulo the number of its colours, pixel by pixel. Where the labels are few,
    to look the result up is the same in a part of the time; where that changes none of them, to
    narrow them is the same in an eighth.
    """
    values = np.array(values)  # a job may write into the labels meanwhile
    highest = int(values.max(initial=0))
    if highest > _LOOKED_UP or highest > values.size or values.min(initial=0) < 0:
        return texture(values)
    every = np.arange(highest + 1, dtype=values.dtype)
    drawn = texture(every)
    return values.astype(drawn.dtype) if np.array_equal(drawn, every) else drawn[values]


PART_PIXELS = 1 << 18  # with more, drawing them without a graphics card takes over 50 ms at times


def redraw_in_parts(viewer: ViewerModel, layer: Labels, box: Box) -> Iterator[None]:
    """Draw a box of a layer again; yields where the event loop may have its turn.

    ``layer``: the layer, its data changed already.
    """
    note_written(layer, box)
    data = layer.data
    for at, part in enumerate(_split_box(viewer, layer, box)):
        if at:
            yield
        if layer.data is not data or not layer.visible:
            return  # napari draws the whole layer with its next data, or when it is shown
        _draw(layer, part)


def _split_box(viewer: ViewerModel, layer: Labels, box: Box) -> Iterator[Box]:
    missing = viewer.dims.ndim - layer.ndim
    shown = [axis - missing for axis in viewer.dims.displayed if axis >= missing]
    whole = layer.multiscale or not isinstance(layer.data, np.ndarray) or viewer.dims.ndisplay == 3
    if whole or _is_drawn_smaller(layer) or not shown:
        yield box
        return
    first, *others = shown
    width = math.prod(box[axis].stop - box[axis].start for axis in others)
    step = max(1, PART_PIXELS // max(1, width))
    for start in range(box[first].start, box[first].stop, step):
        stop = min(start + step, box[first].stop)
        yield (*box[:first], slice(start, stop), *box[first + 1 :])


def _is_drawn_smaller(layer: Labels) -> bool:
    """Return whether the graphics card has no room for all pixels: then all is drawn each time."""
    drawn = layer._transforms["tile2data"].scale  # noqa: SLF001 - napari tells it nowhere else
    return not np.allclose(drawn, 1)


class Edits:
    """Tells of changed pixels; napari's own event of new data would have all of them drawn again.

    ``edited``: the mask operations have changed a box (a slice for each axis) of a layer.
    ``changed``: they have written changes, whole rows of pixels, to labels of a shape that may be
    in a file.
    ``rewritten``: a run has written other labels into a layer.
    ``restored``: the history is another one.
    ``history``: what the mask operations can take back; it stays as long as the viewer.
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
        """Record a stroke that was painted after a step, given the step's number."""
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


def edit_of_strokes(strokes: Sequence[Any], labels: AnyArray) -> LabelEdit:
    """Return the edit that napari's ``paint`` event describes.

    ``strokes``: the event's value, the first stroke first. Each one holds the changed pixels'
    indices, their old values and the new value or values; of newer versions of napari slices, a
    mask in them or None, the old values and the new one.
    """
    shape, dtype = tuple(int(size) for size in labels.shape), np.dtype(labels.dtype)
    parts = [_stroke_pixels(stroke, shape, dtype) for stroke in strokes]
    nothing = np.zeros(0, np.int64), np.zeros(0, dtype), np.zeros(0, dtype)
    flat_indices, before, after = (
        np.concatenate(column) for column in zip(nothing, *parts, strict=True)
    )
    # A pixel that was painted twice: the first stroke knows what it was, the last what it is.
    pixels, first = np.unique(flat_indices, return_index=True)
    last = flat_indices.size - 1 - np.unique(flat_indices[::-1], return_index=True)[1]
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
        flat_indices = grid.reshape(-1) if mask is None else grid[np.asarray(mask)]
    else:
        indices, before, after = stroke
        flat_indices = np.ravel_multi_index(tuple(np.asarray(axis) for axis in indices), shape)
        flat_indices = flat_indices.reshape(-1)
    old = np.asarray(before).reshape(-1).astype(dtype)
    new = np.broadcast_to(np.asarray(after).reshape(-1), old.shape).astype(dtype)
    return flat_indices, old, new

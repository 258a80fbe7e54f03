"""Correct objects on the canvas: Ctrl+click deletes, Alt+click merges, a drawn line splits."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakMethod

import numpy as np

from napari_sam3_assistant.errors import ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Level,
    Message,
    Preview,
    ResultRow,
)
from napari_sam3_assistant.viewer.geometry import result_axes, transform_of
from napari_sam3_assistant.viewer.picking import read_value
from napari_sam3_assistant.viewer.previews import edge_width, empty_shapes, reuse_shapes
from napari_sam3_assistant.viewer.roles import Role, clear_shapes, role_of, slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Labels, Shapes
    from napari.utils.events import Event

    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter

    Vectors = npt.NDArray[np.float64]


_ROLES = (Role.PREVIEW_LABELS, Role.ACCEPTED, Role.PROPAGATED, Role.SCAN)
_LINE = "#ff3b6b"
_DELETES = frozenset({"Control"})
_MERGES = (frozenset({"Alt"}), frozenset({"Control", "Shift"}))
"""Where the window manager moves windows with Alt, the second one is left."""
_TAKEN = {"select", "direct", "vertex_insert", "vertex_remove", "transform"}
_NONE = "There is no object under the pointer."
_STEP = 2.0  # of a line on the screen, in pixels
_SPLIT = (
    "Draw a line across the object, from the background on one side to the other side. Press the "
    "key again to leave it."
)


class Corrections:
    """The mouse on objects of results, whichever layer is the active one.

    ``session``: whose objects are corrected.
    """

    def __init__(self, adapter: ViewerAdapter, session: Session) -> None:
        self._adapter, self._session = adapter, session
        self._viewer, self._model = adapter.viewer, session.model
        self._first: ResultRow | None = None
        self._splits = False
        # The viewer must not hold what holds the viewer.
        on_press = WeakMethod(self._on_press)

        def call(viewer: ViewerModel, event: Event) -> Iterator[None]:
            method = on_press()
            if method is not None:
                yield from method(viewer, event)

        self._call = call
        self._viewer.mouse_drag_callbacks.append(call)

    def close(self) -> None:
        """Leave the mouse alone."""
        self._viewer.mouse_drag_callbacks.remove(self._call)

    def arm_split(self) -> None:
        """Make the next drag a line that cuts objects apart; called again, cancel that.

        Raises PromptError if the canvas shows a volume.
        """
        self._check_plane()
        self._splits = not self._splits
        self._model.message = Message(_SPLIT if self._splits else "No line is drawn.")

    def disarm(self) -> bool:
        """Forget what has been begun; returns whether there was something."""
        begun = self._splits or self._first is not None
        self._splits, self._first = False, None
        return begun

    def row_of(self, layer: Labels, value: int) -> ResultRow | None:
        """Return an object of a result on the plane on show, by its layer and value."""
        image, label = slot_of(layer)
        role = role_of(layer)
        if role is Role.SCAN:
            return next(
                (
                    row
                    for row in self._model.results
                    if isinstance(row.preview, FileBackedLabels)
                    and row.preview.slot == (image, label)
                    and row.record.id == value
                ),
                None,
            )
        place = self._place_of(layer)
        found: Sequence[ObjectRecord | StitchedObject] = ()
        if isinstance(place, Preview):
            found = place.segmentation.objects
        elif isinstance(place, KeptPlace):
            found = tuple(self._adapter.accepted.objects(place).values())
        elif isinstance(place, FramePlace):
            found = self._session.propagation.objects_on(place)
        record = next((record for record in found if record.id == value), None)
        return None if record is None or place is None else ResultRow(place, record)

    def pick(self, layer: Labels, value: int) -> None:
        """Mark an object of accepted labels in the table."""
        found = self.row_of(layer, value)
        self._model.picked = None if found is None else self._listed(found)

    # -- inside -----------------------------------------------------------------------------

    def _listed(self, row: ResultRow) -> ResultRow | None:
        """Return the row of the table that an object on the plane on show is in."""
        same = (
            result
            for result in self._model.results
            if any(part.record is row.record for part in result.parts)
        )
        return next(same, None)

    def _place_of(self, layer: Labels) -> Preview | KeptPlace | FramePlace | None:
        """Return what a layer shows on the plane on show; None for nothing."""
        image, _ = slot = slot_of(layer)
        try:
            target = self._adapter.displayed(image).target
        except ImageError:
            return None
        if role_of(layer) is Role.ACCEPTED:
            return KeptPlace(target)
        if role_of(layer) is Role.PROPAGATED:
            return FramePlace(target)
        found = self._model.find_preview(slot)
        return found if found is not None and found.target == target else None

    def _on_press(self, viewer: ViewerModel, event: Event) -> Iterator[None]:
        """Take a click with a key held, or a line; a mouse callback."""
        held = frozenset(event.modifiers)
        active = viewer.layers.selection.active
        mode = str(getattr(active, "mode", "pan_zoom"))
        if event.button != 1 or viewer.dims.ndisplay != 2:
            return
        if self._splits and not held:
            work = self._draw(event)
        elif held == _DELETES and mode not in _TAKEN and self._aims(event):
            work = self._delete(event)
        # With Alt napari makes the brush larger and smaller.
        elif held in _MERGES and mode not in {*_TAKEN, "paint", "erase"} and self._aims(event):
            work = self._merge(event)
        else:
            return
        with self._held():
            yield from work

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep the active layer and the camera from taking the mouse for theirs."""
        active = self._viewer.layers.selection.active
        camera = getattr(self._viewer, "scene", self._viewer).camera  # moved in napari 0.9
        mode, pan = getattr(active, "mode", None), camera.mouse_pan
        if active is not None:
            active.mode = "pan_zoom"
            # Of the layer, too: the camera asks it again when a layer has been added.
            active.mouse_pan = False
        camera.mouse_pan = False
        try:
            yield
        finally:
            if active is not None and active in self._viewer.layers:
                active.mode = mode
                active.mouse_pan = pan
            camera.mouse_pan = pan

    def _delete(self, event: Event) -> Iterator[None]:
        begun = self._under(event)
        yield from _until_release(event)
        if begun is None:
            self._model.message = Message(_NONE)
        elif begun == self._under(event):
            self._do(lambda: self._session.correcting.delete(self._require(*begun)))

    def _merge(self, event: Event) -> Iterator[None]:
        begun = self._under(event)
        yield from _until_release(event)
        ended = self._under(event)
        if begun is None or ended is None:
            self._model.message = Message(_NONE)
        elif begun != ended:
            self._do(
                lambda: self._session.correcting.merge(self._require(*begun), self._require(*ended))
            )
        elif self._first is None:
            self._do(lambda: self._begin_merge(self._require(*begun)))
        else:
            first, self._first = self._first, None
            self._do(lambda: self._session.correcting.merge(first, self._require(*ended)))

    def _begin_merge(self, row: ResultRow) -> None:
        self._first = row
        self._model.picked = self._listed(row)
        self._model.message = Message(
            f"Object {row.record.id}: click in the same way on the one that becomes a part of it."
        )

    def _draw(self, event: Event) -> Iterator[None]:
        """Draw a line, and cut along it."""
        spots = [np.asarray(event.position, float)]
        layers = self._visible()
        shown = self._add_line(layers[-1], spots) if layers else None
        camera = getattr(self._viewer, "scene", self._viewer).camera
        yield
        while event.type == "mouse_move":
            spot = np.asarray(event.position, float)
            if np.linalg.norm(spot - spots[-1]) * camera.zoom >= _STEP:
                spots.append(spot)
                if shown is not None:
                    self._draw_line(shown, spots)
            yield
        spots.append(np.asarray(event.position, float))
        if shown is not None:
            with self._adapter.mark_changes():
                empty_shapes(self._viewer, shown)
        self._splits = not self._do(lambda: self._split(layers, spots))

    def _split(self, layers: Sequence[Labels], spots: Sequence[Vectors]) -> None:
        places = []
        for layer in reversed(layers):
            place = self._place_of(layer)
            if place is not None:
                places.append((place, self._line_on(layer, place, spots)))
        self._session.correcting.split(places)

    def _line_on(
        self, layer: Labels, place: Preview | KeptPlace | FramePlace, spots: Sequence[Vectors]
    ) -> Vectors:
        """Return rows and columns of the image's plane that a line goes through."""
        axes = place.target.axes
        kept = result_axes(axes)
        data = np.array([layer.world_to_data(spot) for spot in spots])
        line = data[:, [kept.index(axes.y), kept.index(axes.x)]]
        if isinstance(place, Preview):
            region = place.segmentation.region
            line = line + np.array([region.y0, region.x0])
        return np.asarray(line)

    def _add_line(self, layer: Labels, spots: Sequence[Vectors]) -> Shapes:
        with self._adapter.mark_changes():
            shapes = reuse_shapes(self._viewer, Role.SPLIT_LINE, transform_of(layer))
        self._draw_line(shapes, spots)
        return shapes

    def _draw_line(self, shapes: Shapes, spots: Sequence[Vectors]) -> None:
        line = np.array([shapes.world_to_data(spot) for spot in [*spots, spots[-1]]])
        with self._adapter.mark_changes():
            clear_shapes(shapes)
            width = edge_width(self._viewer, shapes)
            shapes.add(line, shape_type="path", edge_color=_LINE, edge_width=width)

    def _visible(self) -> list[Labels]:
        """Return the layers of results that can be seen, the topmost last."""
        return [
            layer for layer in self._viewer.layers if role_of(layer) in _ROLES and layer.visible
        ]

    def _under(self, event: Event) -> tuple[Labels, int] | None:
        """Return the layer and the value of the topmost object under the pointer."""
        for layer in reversed(self._visible()):
            if value := read_value(layer, event):
                return layer, value
        return None

    def _aims(self, event: Event) -> bool:
        """Return whether a click is meant for an object: one that just misses is no prompt."""
        active = self._viewer.layers.selection.active
        ours = active is not None and role_of(active) is not None
        return self._under(event) is not None or (ours and bool(self._visible()))

    def _require(self, layer: Labels, value: int) -> ResultRow:
        row = self.row_of(layer, value)
        if row is None:
            raise PromptError(
                f"Object {value} can't be corrected in this view.",
                "Show the slice that it was found on, along the axes that it was found along.",
            )
        return row

    def _check_plane(self) -> None:
        if self._viewer.dims.ndisplay != 2:
            raise PromptError("Objects are corrected slice by slice.", "Switch to 2-D display.")

    def _do(self, verb: Callable[[], None]) -> bool:
        """Do something, and say why where it can't be done; returns whether it could."""
        try:
            verb()
        except Sam3AssistantError as error:
            self._model.message = Message(str(error), Level.ERROR)
            return False
        return True


def _until_release(event: Event) -> Iterator[None]:
    yield
    while event.type == "mouse_move":
        yield

"""What the user and scripts draw on labels of results: on the record, and undone in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.masks.labels import whole_box
from napari_sam3_assistant.session.values import Message
from napari_sam3_assistant.viewer.file_backed_layers import plane_axes
from napari_sam3_assistant.viewer.geometry import array_of
from napari_sam3_assistant.viewer.label_pixels import Strokes, edit_of_strokes, edits_of
from napari_sam3_assistant.viewer.roles import Role, role_of, slot_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer
    from napari.utils.events import Event

    from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Deliver
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter
    from napari_sam3_assistant.viewer.stack_binding import StackBinding


EDITED = (Role.PREVIEW_LABELS, Role.ACCEPTED, Role.PROPAGATED)
"""Labels that the user corrects by napari's tools."""


class LabelBinding:
    """Keeps what is drawn on labels of results in step with the session.

    ``deliver``: calls a function once what is being done now is done.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        session: Session,
        adapter: ViewerAdapter,
        stack: StackBinding,
        deliver: Deliver,
    ) -> None:
        self._session = session
        self._adapter = adapter
        self._stack = stack
        self._deliver = deliver
        self._strokes = Strokes()
        self._edits = edits_of(viewer)
        self._edits.edited.connect(self._on_edited)
        self._edits.changed.connect(self._on_changed)

    def close(self) -> None:
        """Listen no more to what is edited by other windows; layers are forgotten one by one."""
        self._edits.edited.disconnect(self._on_edited)
        self._edits.changed.disconnect(self._on_changed)

    def watch(self, layer: Layer) -> None:
        """Listen to a layer, if users correct it."""
        if role_of(layer) in EDITED:
            layer.events.paint.connect(self._on_painted)
            layer.events.data.connect(self._on_replaced)
            layer.events.set_data.connect(self._on_drawn)

    def forget(self, layer: Layer) -> None:
        """Listen to a layer no more."""
        if role_of(layer) in EDITED:
            for emitter in (layer.events.paint, layer.events.data, layer.events.set_data):
                emitter.disconnect(self)

    def undo(self) -> bool:
        """Take the last stroke back, if it is the last step; whether it was."""
        stroke = self._strokes.undo(self._session.step)
        if stroke:
            self._note_stroke(*stroke, forward=False)
        return stroke is not None

    def redo(self) -> bool:
        """Make the last stroke again that was taken back as the last step; whether it was."""
        stroke = self._strokes.redo(self._session.step)
        if stroke:
            self._note_stroke(*stroke, forward=True)
        return stroke is not None

    def _on_painted(self, event: Event) -> None:
        layer = event.source
        edit = edit_of_strokes(event.value, array_of(layer))
        box = edit.box
        self._strokes.note(layer, edit, self._session.step)
        if role_of(layer) is Role.ACCEPTED:
            self._adapter.accepted.follow(layer, edit.changes())
            return
        if role_of(layer) is Role.PROPAGATED:
            self._stack.on_painted(layer, box)
        self._on_edited(layer, box)
        # Of what a script paints napari tells before it is written.
        self._deliver(partial(self._on_edited, layer, box))

    def _on_replaced(self, event: Event) -> None:
        if role_of(event.source) is Role.ACCEPTED:
            self._adapter.accepted.recount(event.source)
        elif not self._adapter.busy:
            self._on_edited(event.source, whole_box(event.source.data.shape))

    def _note_stroke(self, layer: Labels, edit: LabelEdit, *, forward: bool) -> None:
        """Record a stroke that was taken back, or made again."""
        said = "The stroke is made again." if forward else "The last stroke is taken back."
        self._session.model.message = Message(said)
        if role_of(layer) is Role.ACCEPTED:
            changes = edit.changes() if forward else edit.changes().reverse()
            self._adapter.accepted.follow(layer, changes)
        else:
            self._on_edited(layer, edit.box)

    def _on_changed(self, layer: Labels, changes: Changes, shape: tuple[int, ...]) -> None:
        if role_of(layer) is Role.ACCEPTED:
            self._adapter.accepted.follow(layer, changes)
            return
        results, slot = self._session.results, slot_of(layer)
        scan = results.find_scan(slot) if role_of(layer) is Role.SCAN else None
        if scan is not None:
            results.update_file_backed(slot, changes, shape, plane_axes(scan.target.axes))

    def _on_drawn(self, event: Event) -> None:
        if role_of(event.source) is Role.PROPAGATED:
            self._stack.on_drawn(event.source)

    def _on_edited(self, layer: Labels, box: Box) -> None:
        if role_of(layer) is Role.PREVIEW_LABELS:
            self._session.note_edits(self._adapter.edits(layer, box))
        elif role_of(layer) is Role.PROPAGATED:
            self._stack.on_edited(layer, box)

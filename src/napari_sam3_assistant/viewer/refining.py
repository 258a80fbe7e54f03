"""Which object of the previews shall be refined: the only one, or the one that is clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.session.model import Message
from napari_sam3_assistant.viewer.picking import pick_once
from napari_sam3_assistant.viewer.roles import Role, in_slot, slot_of, with_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_sam3_assistant.session.model import Preview, SessionModel


def choose_object(
    viewer: ViewerModel, model: SessionModel, chosen: Callable[[Preview, int], None]
) -> None:
    """Call ``chosen`` with a preview and the id of one of its objects.

    At once where there is one object; else with the next one that is clicked, in whichever preview
    it lies.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    model : SessionModel
        The state.
    chosen : callable
        Takes the preview and the id.
    """
    objects = [(one, record) for one in model.previews for record in one.segmentation.objects]
    if len(objects) == 1:
        chosen(objects[0][0], objects[0][1].id)
        return
    slots = {one.slot for one, _ in objects}
    layers = [
        layer for layer in with_role(viewer.layers, Role.PREVIEW_LABELS) if slot_of(layer) in slots
    ]
    if not layers:
        return

    def picked(layer: Labels, value: int) -> None:
        for preview in model.previews:
            if preview.slot == slot_of(layer):
                chosen(preview, value)

    latest = model.preview.slot if model.preview is not None else None
    shown = in_slot(layers, Role.PREVIEW_LABELS, latest) if latest is not None else None
    viewer.layers.selection.active = shown or layers[-1]
    pick_once(layers, picked)
    model.message = Message("Click on the object to refine.")

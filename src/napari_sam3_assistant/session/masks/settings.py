"""The choices of Mask Cleanup as an operation takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.masks.labels import parse_values
from napari_sam3_assistant.core.masks.operations import Operation, Settings

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.model import MaskModel


def settings_of(model: MaskModel, operation: Operation) -> Settings:
    """Return the choices as they are now.

    Parameters
    ----------
    model : MaskModel
        The state.
    operation : Operation
        What they are for.

    Raises
    ------
    MaskError
        If values are to be replaced and the text names none.
    """
    merges = operation is Operation.MERGE_VALUES
    return Settings(
        connectivity=model.connectivity,
        minimum=model.minimum,
        hole_size=model.hole_size,
        radius=model.radius,
        distance=model.distance,
        centres=model.centres,
        per_slice=model.per_slice,
        per_label=model.per_label,
        by_component=model.by_component,
        values=parse_values(model.values_text) if merges else (),
        new_value=model.new_value,
    )

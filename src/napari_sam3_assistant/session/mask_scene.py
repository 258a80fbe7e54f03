"""What the mask operations ask of the place where the labels live: the viewer, or a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.masks.objects import Classes


class Scope(StrEnum):
    """Which part of a layer an operation works on."""

    WHOLE = "whole layer"
    VISIBLE = "visible region"
    DRAWN = "drawn region"


@dataclass(frozen=True, slots=True)
class LabelsChoice:
    """A labels layer that can be chosen.

    Parameters
    ----------
    key : str
        Its identity; survives renaming.
    name : str
        Its name.
    summary : str
        Its size and type, for the user.
    preview : bool
        Whether it is a preview of a run.
    accepted : bool
        Whether it holds accepted objects.
    class_name : str
        Name of its class; empty if it has none.
    class_value : int or None
        Value of its class; None if it has none, or several.
    """

    key: str
    name: str
    summary: str = ""
    preview: bool = False
    accepted: bool = False
    class_name: str = ""
    class_value: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrozenLabels:
    """A labels layer as a job sees it.

    Parameters
    ----------
    array : array-like of int
        The layer's own array: read by jobs, written through edits only.
    name : str
        The layer's name.
    scale : tuple of float
        Physical size of a pixel along each axis.
    image_name : str
        Name of the image that the labels belong to.
    classes : Classes
        What the labels stand for.
    """

    array: Any
    name: str
    scale: tuple[float, ...]
    image_name: str
    classes: Classes


@dataclass(frozen=True, slots=True, eq=False)
class NewLabels:
    """A labels layer to make, or to fill anew.

    Parameters
    ----------
    name : str
        Its name.
    role : str
        What it is to us.
    labels : ndarray of int
        Its pixels.
    like : str
        Key of the layer whose place in the world it takes.
    metadata : dict
        What else is known of it.
    """

    name: str
    role: str
    labels: npt.NDArray[np.integer[Any]]
    like: str
    metadata: dict[str, Any] = field(default_factory=dict)


class MaskScene(Protocol):
    """Where the labels live. Called on the GUI thread only."""

    def choices(self) -> tuple[LabelsChoice, ...]:
        """Return the labels layers, the topmost first."""

    def freeze(self, key: str, *, editable: bool = False) -> FrozenLabels:
        """Return what a job may see of a layer.

        Raises
        ------
        MaskError
            If it is gone, or can't be written to and shall be.
        """

    def box(self, key: str, scope: Scope) -> Box | None:
        """Return the part of a layer to work on; None for all of it.

        Raises
        ------
        MaskError
            If there is no such part.
        """

    def metadata(self, key: str) -> dict[str, Any]:
        """Return what is known of a layer."""

    def check_aligned(self, keys: Sequence[str]) -> None:
        """Raise MaskError unless the layers lie on top of each other."""

    def write(self, key: str, edit: LabelEdit, *, forward: bool) -> None:
        """Write a small edit, or take it back, and show it: at once, without a job."""

    def changed(self, key: str, edit: LabelEdit) -> None:
        """Show that an edit was written to a layer."""

    def show_changes(self, key: str, edit: LabelEdit, image: npt.NDArray[np.uint8]) -> None:
        """Show what an edit would do to the pixels of its box (see ``core.masks.edits.kinds``)."""

    def hide_changes(self) -> None:
        """Show that no more."""

    def add(self, fresh: NewLabels) -> str:
        """Add a layer; returns its name."""

    def put(self, fresh: NewLabels) -> str:
        """Add a layer, or fill the one of that name and role anew; returns its name."""

    def go_to(self, key: str, centre: Sequence[float]) -> None:
        """Show a pixel of a layer in the middle of the view."""

"""The operations on labels by name, and their choices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from napari_sam3_assistant.core.masks.labels import Connectivity


class Operation(StrEnum):
    """What can be done to a labels layer."""

    REMOVE_SMALL = "remove small objects"
    FILL_HOLES = "fill holes"
    SMOOTH = "smooth mask"
    KEEP_LARGEST = "keep largest object"
    SPLIT = "split touching objects"
    EXPAND = "expand labels"
    SHRINK = "shrink labels"
    RENUMBER = "renumber labels"
    MERGE_VALUES = "relabel values"
    DELETE_SELECTED = "delete selected components"
    CHANGE_SELECTED = "change selected components"


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of all operations; each takes those that it needs.

    Parameters
    ----------
    connectivity : Connectivity
        Which neighbours belong to the same component.
    minimum : int, pixels
        Smallest object that stays.
    hole_size : int, pixels
        Largest hole that is filled; 0 for any.
    radius : float
        Of smoothing.
    distance : float
        By which labels grow or shrink.
    centres : float
        Least distance of the centres of two objects that are split.
    per_slice : bool
        Whether each plane of a stack counts for itself.
    per_label : bool
        Whether the largest component of each label is kept, not of all.
    by_component : bool
        Whether each component gets a number of its own.
    values : tuple of int
        The labels to replace.
    new_value : int
        The label that they get.
    """

    connectivity: Connectivity = Connectivity.FACES
    minimum: int = 64
    hole_size: int = 256
    radius: float = 1.0
    distance: float = 1.0
    centres: float = 10.0
    per_slice: bool = False
    per_label: bool = False
    by_component: bool = False
    values: tuple[int, ...] = ()
    new_value: int = 0

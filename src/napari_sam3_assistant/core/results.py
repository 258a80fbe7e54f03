"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from napari_sam3_assistant.core.soft_masks import SoftMask


@dataclass(frozen=True, slots=True, eq=False)
class ObjectRecord:
    """One object, with its own mask, so that overlaps are not lost.

    Parameters
    ----------
    id : int
        The object's value in the labels, from 1.
    mask : ndarray, shape (h, w), dtype bool
        The object's pixels, cropped to ``region``.
    region : Region
        The object's bounding box in the plane.
    score : float or None
        Confidence, 0 to 1, where the engine gives one.
    text : str
        The phrase that found it; empty for other prompts.
    soft : SoftMask or None
        How likely each pixel belongs to it, where the engine says.
    """

    id: int
    mask: npt.NDArray[np.bool_]
    region: Region
    score: float | None = None
    text: str = ""
    soft: SoftMask | None = None

    @classmethod
    def from_mask(
        cls,
        id_: int,
        mask: npt.NDArray[np.bool_],
        *,
        offset: tuple[int, int] = (0, 0),
        score: float | None = None,
        text: str = "",
        soft: SoftMask | None = None,
    ) -> ObjectRecord | None:
        """Return a record of a mask, cropped to its bounding box, or None if it is empty.

        Parameters
        ----------
        id_ : int
            Object id, from 1.
        mask : ndarray, shape (h, w), dtype bool
            The object's pixels.
        offset : tuple of int
            Row and column of the mask's first pixel in the plane.
        score : float or None
            Confidence, 0 to 1.
        text : str
            The phrase that found it.
        soft : SoftMask or None
            How likely each pixel belongs to it.
        """
        crop = Region.around(mask)
        if crop.is_empty:
            return None
        return cls(id_, mask[crop.slices].copy(), crop.shift(*offset), score, text, soft)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def bbox(self) -> tuple[int, int, int, int]:
        """``(y0, x0, y1, x1)`` in pixels of the plane, ends exclusive."""
        return self.region.box

    def shift(self, dy: int, dx: int) -> ObjectRecord:
        """Return the object moved by whole pixels."""
        soft = None if self.soft is None else self.soft.shift(dy, dx)
        return replace(self, region=self.region.shift(dy, dx), soft=soft)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a result.

    Parameters
    ----------
    engine : str
        The engine's name, such as ``builtin``.
    title : str
        The engine's name for the user.
    version : str
        Version of the package that did the work.
    device : str
        Where it ran: ``cpu``, ``cuda:0``, ``mps``.
    threshold : float
        The detection threshold that was used in the end.
    weights : str
        File name of the weights; empty where there are none.
    phrase : str
        The phrase that was used in the end; empty where there was none.
    """

    engine: str
    title: str
    version: str
    device: str
    threshold: float
    weights: str = ""
    phrase: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The result of one run on one plane.

    Parameters
    ----------
    labels : ndarray, shape (h, w), dtype uint32
        Object ids of the pixels of ``region``; 0 is background.
    objects : tuple of ObjectRecord
        The objects, in plane coordinates, in the order of their ids.
    region : Region
        The part of the plane that was worked on.
    engine : Provenance
        What made the result.
    notes : tuple of str
        What the user should know about how it came about.
    """

    labels: npt.NDArray[np.uint32]
    objects: tuple[ObjectRecord, ...]
    region: Region
    engine: Provenance
    notes: tuple[str, ...] = ()


def paint_labels(objects: Iterable[ObjectRecord], region: Region) -> npt.NDArray[np.uint32]:
    """Return the labels of a region; where objects overlap, the later one is on top.

    Parameters
    ----------
    objects : iterable of ObjectRecord
        Objects in plane coordinates.
    region : Region
        The part of the plane to paint.

    Returns
    -------
    ndarray, shape (h, w), dtype uint32
        Object ids; 0 is background.
    """
    labels = np.zeros(region.shape, np.uint32)
    for record in objects:
        kept = record.region.intersect(region)
        if kept.is_empty:
            continue
        mask = record.mask[kept.localise(record.region).slices]
        labels[kept.localise(region).slices][mask] = record.id
    return labels

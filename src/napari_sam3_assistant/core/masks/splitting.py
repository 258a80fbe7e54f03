"""Touching objects that share a label, cut apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from napari_sam3_assistant.core.masks.cleanup import touches_box_edge
from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import Connectivity, check_fits, read
from napari_sam3_assistant.core.progress import NullReporter, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Reporter


_EVERY = 32


def split_touching(
    labels: AnyArray,
    distance: float,
    connectivity: Connectivity = Connectivity.FACES,
    spacing: Sequence[float] | None = None,
    box: Box | None = None,
    reporter: Reporter | None = None,
    *,
    highest: int | None = None,
) -> LabelEdit:
    """Return the edit that cuts components at their waists.

    Watershed on the distance to the outline, from its peaks. The largest part keeps the label,
    the others get new labels. No pixel becomes background or leaves it.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    distance : float
        Least distance between the centres of two parts, in the unit of the spacing.
    connectivity : Connectivity
        Which neighbours belong together.
    spacing : sequence of float, optional
        Size of a pixel along each axis; by default 1. ``inf`` leaves an axis out.
    box : tuple of slice, optional
        The part to work on; components that reach its edge stay whole.
    reporter : Reporter, optional
        Is told of the progress.
    highest : int, optional
        The highest label in use; by default the highest one in the box.

    Raises
    ------
    MaskError
        If the new labels don't fit the labels' type.
    """
    reporter = reporter or NullReporter()
    spacing = spacing or [1.0] * labels.ndim
    found = find_components(labels, connectivity, box, reporter)
    if highest is None:
        highest = int(found.values.max(initial=0))
    thick = _is_thick(found.highs - found.lows, distance, spacing) & ~touches_box_edge(found, box)
    chosen = np.flatnonzero(thick)
    # Flooded by the same neighbours that make a component, so that every pixel is reached.
    structure = ndi.generate_binary_structure(labels.ndim, connectivity.rank(labels.ndim))
    masks = _ComponentMasks(labels, found, structure)
    parts = []
    for done, index in enumerate(chosen):
        if done % _EVERY == 0:
            reporter.report(Progress(done, chosen.size, "Splitting objects"))
        here, mask = masks.crop(int(index))
        pieces = _split_component(mask, structure, distance, spacing)
        count = int(pieces.max())
        if count < 2:
            continue
        order = np.argsort(-np.bincount(pieces[mask], minlength=count + 1)[1:], kind="stable")
        numbers = np.zeros(count + 1, np.int64)
        numbers[order + 1] = [int(found.values[index]), *range(highest + 1, highest + count)]
        highest += count - 1
        check_fits(highest, labels.dtype)
        before = np.where(mask, found.values[index], 0).astype(labels.dtype)
        parts.append((here, before, numbers[pieces].astype(labels.dtype)))
    shape = tuple(int(size) for size in labels.shape)
    return LabelEdit.pack("split objects", shape, changes_between(parts, shape), labels.dtype)


class _ComponentMasks:
    """Cuts single components out of labels."""

    def __init__(self, labels: AnyArray, found: AnyArray, structure: npt.NDArray[np.bool_]) -> None:
        self._labels = labels
        self._found = found
        self._structure = structure
        self._begin = np.zeros(len(found), np.intp)
        self._begin[found.of_run[::-1]] = np.arange(found.of_run.size)[::-1]

    def crop(self, index: int) -> tuple[Box, npt.NDArray[np.bool_]]:
        """Return the box of a component and its pixels in it."""
        found = self._found
        box = found.box(index)
        same = read(self._labels, box) == found.values[index]
        if np.count_nonzero(same) == found.areas[index]:
            return box, same
        # Another component of the same label reaches into the box.
        seed = np.unravel_index(found.runs.starts[self._begin[index]], found.runs.shape)
        numbers = ndi.label(same, self._structure)[0]
        at = tuple(int(axis) - side.start for axis, side in zip(seed, box, strict=True))
        return box, numbers == numbers[at]


def _is_thick(
    sizes: npt.NDArray[Any], distance: float, spacing: Sequence[float]
) -> npt.NDArray[np.bool_]:
    """Return which components are long enough to hold two centres."""
    lengths = np.stack(
        [
            np.zeros(len(sizes)) if math.isinf(size) else sizes[:, axis] * size
            for axis, size in enumerate(spacing)
        ]
    )
    enough: npt.NDArray[np.bool_] = np.sqrt((lengths**2).sum(axis=0)) > distance
    return enough


def _split_component(
    mask: npt.NDArray[np.bool_],
    structure: npt.NDArray[np.bool_],
    distance: float,
    spacing: Sequence[float],
) -> npt.NDArray[np.int32]:
    """Return the parts of one component, numbered from 1."""
    sampling = [1e9 if math.isinf(size) else size for size in spacing]
    padded = np.pad(mask, 1)
    inner = (slice(1, -1),) * mask.ndim
    depth = ndi.distance_transform_edt(padded, sampling)[inner]
    finite = [size for size in spacing if not math.isinf(size)]
    apart = max(1, round(distance / min(finite)))
    # A plateau would give several peaks at one place.
    peaks = peak_local_max(
        ndi.gaussian_filter(depth, [0 if math.isinf(size) else 1 for size in spacing]),
        min_distance=apart,
        exclude_border=False,
        labels=mask.astype(np.uint8),
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    pieces: npt.NDArray[np.int32] = watershed(-depth, markers, structure, mask=mask)
    return pieces

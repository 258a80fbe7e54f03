"""Objects as outlines: what readers of annotations give, and the labels that they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from skimage.draw import polygon

from napari_sam3_assistant.core.masks.objects import ANY_CLASS
from napari_sam3_assistant.core.plurals import plural_of, pluralize
from napari_sam3_assistant.io.loaded import check_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.classes import ClassList


@dataclass(frozen=True, slots=True, eq=False)
class ImportedLabels:
    """Annotations of one image as labels.

    Parameters
    ----------
    image : str
        The file of the image, or its name; empty where the annotations don't name it.
    labels : ndarray, shape (H, W), dtype uint32
        Objects 1, 2, ... in the order of the file; where they overlap, the later one is on top.
    classes : ClassList
        The classes of the file.
    object_classes : dict of int to int
        The value of the class of each object, as ``classes`` has it.
    notes : tuple of str
        What was left out.
    measurements : dict of int to dict of str to float
        What the file says was measured of each object.
    """

    image: str
    labels: npt.NDArray[np.uint32]
    classes: ClassList
    object_classes: dict[int, int]
    notes: tuple[str, ...] = ()
    measurements: dict[int, dict[str, float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line: a notebook shows what a cell ends with."""
        objects = pluralize(len(self.object_classes), "object")
        return f"<ImportedLabels: {objects} in {self.labels.shape}, {list_names(self.classes)}>"

    @property
    def names(self) -> dict[int, str]:
        """The class of each object by its name; empty for those that the file gives none."""
        names = self.classes.names
        named = ((label, names[value]) for label, value in self.object_classes.items())
        return {label: "" if name == ANY_CLASS else name for label, name in named}


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """An object as its outline, whichever program has drawn it.

    Parameters
    ----------
    polygons : tuple of tuple of ndarray, each of shape (N, 2)
        Of each polygon its outline, then its holes: ``(y, x)`` of their corners, in pixels.
    plane : tuple of int
        Its index along z and t.
    class_name : str
        Its class.
    measured : dict of str to float
        What is known of it.
    even_odd : bool
        Whether what lies within an even number of lines of a polygon is outside, and not
        what lies within any but the first.
    """

    polygons: tuple[tuple[npt.NDArray[np.float64], ...], ...]
    plane: tuple[int, int]
    class_name: str
    measured: dict[str, float]
    even_odd: bool = False


def paint_areas(
    areas: Sequence[Area],
    shape: tuple[int, int],
    plane: Mapping[str, int],
    classes: ClassList,
    left_out: Mapping[str, int],
    *,
    image: str = "",
) -> ImportedLabels:
    """Return the objects of a plane as labels.

    Where they overlap, the later one is on top, but for one within a larger one, which is seen.

    Parameters
    ----------
    areas : sequence of Area
        The objects of all planes. Those that know one plane alone, the first one, are for any.
    shape : tuple of int
        Height and width of the plane.
    plane : mapping of str to int
        Which plane of a stack, by ``z`` and ``t``.
    classes : ClassList
        The classes of all objects.
    left_out : mapping of str to int
        How many were left out before, by why.
    image : str
        What the image is called; empty where that is not known.

    Raises
    ------
    ImageError
        If there is no memory for so many pixels.
    """
    check_memory(shape, np.uint32)
    labels = np.zeros(shape, np.uint32)
    values = {name: value for value, name in classes.names.items()}
    of_class: dict[int, int] = {}
    measured: dict[int, dict[str, float]] = {}
    here = _on_plane(areas, plane)
    painted: list[Area] = []
    for area in here:
        rows, columns, inside = _fill(area, shape)
        if not inside.any():
            continue
        painted.append(area)
        label = len(painted)
        labels[rows, columns][inside] = label
        of_class[label] = values[area.class_name]
        measured[label] = area.measured

    def pixels(label: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        rows, columns, inside = _fill(painted[label - 1], shape)
        y, x = np.nonzero(inside)
        return y + rows.start, x + columns.start

    notes = explain_left_out(
        {
            **left_out,
            "on other planes left out": len(areas) - len(here),
            "without pixels left out": len(here) - len(painted),
            "wholly below others": lift_hidden(labels, len(painted), pixels),
        }
    )
    return ImportedLabels(image, labels, classes, of_class, notes, measured)


def _on_plane(areas: Sequence[Area], plane: Mapping[str, int]) -> Sequence[Area]:
    known = {area.plane for area in areas}
    if known == {(0, 0)} or (len(known) == 1 and not plane):
        return areas
    at = plane.get("z", 0), plane.get("t", 0)
    return [area for area in areas if area.plane == at]


def _fill(area: Area, shape: tuple[int, int]) -> tuple[slice, slice, npt.NDArray[np.bool_]]:
    """Return the rows and columns of an object's box in the plane, and which pixels are its own."""
    corners = [ring for rings in area.polygons for ring in rings if len(ring)]
    every = np.concatenate(corners) if corners else np.zeros((1, 2))
    first = np.floor(every.min(axis=0)).clip(0, shape).astype(int)
    end = np.ceil(every.max(axis=0)).clip(first, shape).astype(int)
    size = tuple(end - first)
    whole = np.zeros(size, bool)
    for rings in area.polygons if all(size) else ():
        filled = np.zeros(size, bool)
        for place, ring in enumerate(rings):
            if len(ring):
                # Corners are those of pixels, and a pixel is inside by its centre.
                y, x = (ring - first - 0.5).T
                inside = polygon(y, x, size)
                # After the first one come holes.
                filled[inside] = ~filled[inside] if area.even_odd else place == 0
        whole |= filled
    return slice(first[0], end[0]), slice(first[1], end[1]), whole


def lift_hidden(
    labels: npt.NDArray[np.uint32],
    count: int,
    pixels: Callable[[int], tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]],
) -> int:
    """Paint objects that are wholly below larger ones on top of these.

    Parameters
    ----------
    labels : ndarray, shape (H, W), dtype uint32
        The objects 1 to ``count``; changed in place.
    count : int
        How many they are.
    pixels : callable
        Returns rows and columns of all pixels of an object; of none that must not be lifted.

    Returns
    -------
    int
        How many stay hidden: by others that would not be seen then.
    """
    sizes = np.zeros(count + 1, np.int64)
    for row in labels:  # all pixels at once would take twice as much as the labels
        sizes += np.bincount(row, minlength=count + 1)
    hidden = [(label, *pixels(label)) for label in np.flatnonzero(sizes == 0).tolist() if label]
    whole = {label: len(rows) for label, rows, _ in hidden}
    stay = 0
    # What lies in one that is lifted itself comes after it.
    for label, rows, columns in sorted(hidden, key=lambda found: -len(found[1])):
        covers, at = np.unique(labels[rows, columns], return_inverse=True)
        for cover in covers.tolist():
            whole[cover] = whole.get(cover) or len(pixels(cover)[0])
        larger = np.array([whole[cover] > len(rows) for cover in covers.tolist()], bool)
        covered = np.bincount(at, minlength=len(covers))
        if not larger.any() or (sizes[covers] == covered)[larger].any():
            stay += 1
            continue
        labels[rows[larger[at]], columns[larger[at]]] = label
        sizes[covers[larger]] -= covered[larger]
        sizes[label] = covered[larger].sum()
    return stay


_MOST_NAMED = 5


def list_names(classes: ClassList) -> str:
    """Return the names of classes, of many the first."""
    names = list(classes.names.values())
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return f"{plural_of(len(names), 'class', 'classes')} {', '.join(names[:_MOST_NAMED])}{more}"


def explain_left_out(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return a sentence for each reason why annotations were left out."""
    return tuple(
        f"{pluralize(count, 'annotation')} {why}." for why, count in counts.items() if count
    )

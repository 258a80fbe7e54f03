"""From layer to world to layer: where prompts lie in an image, and where results go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from napari.utils.transforms import Affine

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.layers import Layer

    from napari_sam3_assistant.core.images import ImageAxes, PlaneRef
    from napari_sam3_assistant.core.regions import Region

    Vectors = npt.NDArray[np.float64]

Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class DataMap:
    """The way from the data coordinates of one layer to those of another.

    Parameters
    ----------
    matrix : ndarray, shape (D, d), dtype float
        Linear part.
    offset : ndarray, shape (D,), dtype float
        Where the origin goes.
    """

    matrix: Vectors
    offset: Vectors

    @classmethod
    def between(cls, source: Layer, target: Layer, world: Sequence[float]) -> DataMap:
        """Return the map from ``source`` to ``target``.

        Parameters
        ----------
        source, target : Layer
            Two layers of one viewer. Like napari, it aligns layers at their last axes.
        world : sequence of float
            The viewer's point (``viewer.dims.point``): the position on axes that ``source``
            does not have.
        """
        count = max(len(world), source.ndim, target.ndim)
        point = np.zeros(count)
        point[count - len(world) :] = world
        linear, shift = _to_world(source)
        matrix = np.zeros((count, source.ndim))
        matrix[count - source.ndim :] = linear
        point[count - source.ndim :] = shift
        target_linear, target_shift = _to_world(target)
        inverse = np.linalg.inv(target_linear)
        kept = slice(count - target.ndim, count)
        linear_part: Vectors = np.asarray(inverse @ matrix[kept], np.float64)
        return cls(linear_part, inverse @ (point[kept] - target_shift))

    def __call__(self, coordinates: npt.ArrayLike) -> Vectors:
        """Map coordinates, shape (N, d), to shape (N, D)."""
        mapped: Vectors = np.atleast_2d(coordinates) @ self.matrix.T + self.offset
        return mapped


def _to_world(layer: Layer) -> tuple[Vectors, Vectors]:
    """Return the linear part and the shift of a layer's way to the world."""
    shift = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), float)
    columns = [np.asarray(layer.data_to_world(unit)) - shift for unit in np.eye(layer.ndim)]
    return np.stack(columns, axis=1), shift


def lie_together(first: Layer, second: Layer) -> bool:
    """Return whether two layers lie on top of each other, pixel on pixel."""
    if first.ndim != second.ndim:
        return False
    (linear, shift), (other_linear, other_shift) = _to_world(first), _to_world(second)
    # In parts of a pixel: coordinates may be millions of pixels, or one a billionth of a metre.
    pixel = np.linalg.norm(linear, axis=0).min()
    return np.allclose(linear, other_linear, rtol=0, atol=1e-6 * pixel) and np.allclose(
        shift, other_shift, rtol=0, atol=1e-3 * pixel
    )


def transform_of(layer: Layer) -> dict[str, Any]:
    """Return the keyword arguments that put a new layer where another one is."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {name: getattr(layer, name) for name in names}


def kept_axes(layer: Layer, axes: ImageAxes) -> list[int]:
    """Return the axes of an image layer that its results have: all but the channel."""
    return [axis for axis in range(layer.ndim) if axis != axes.channel]


def layer_transform(layer: Layer, axes: ImageAxes) -> dict[str, Any]:
    """Return the keyword arguments that give a new layer the image's place in the world.

    Parameters
    ----------
    layer : Layer
        The image layer.
    axes : ImageAxes
        Its axes; the channel axis is left out.
    """
    kept = kept_axes(layer, axes)
    square = np.ix_(kept, kept)
    whole = np.ix_([*kept, layer.ndim], [*kept, layer.ndim])
    return {
        "scale": np.asarray(layer.scale)[kept],
        "translate": np.asarray(layer.translate)[kept],
        "rotate": np.asarray(layer.rotate)[square],
        "shear": _kept_shear(np.asarray(layer.shear), layer.ndim, kept),
        "affine": np.asarray(layer.affine.affine_matrix)[whole],
        "units": tuple(layer.units[axis] for axis in kept),
        "axis_labels": tuple(layer.axis_labels[axis] for axis in kept),
    }


def _kept_shear(shear: npt.NDArray[np.float64], ndim: int, kept: list[int]) -> Vectors:
    if shear.ndim == 2:
        return shear[np.ix_(kept, kept)]
    matrix = np.zeros((ndim, ndim))
    matrix[np.triu_indices(ndim, 1)] = shear
    return matrix[np.ix_(kept, kept)][np.triu_indices(len(kept), 1)]


def moved(transform: dict[str, Any], first_pixel: Sequence[float]) -> dict[str, Any]:
    """Return a transform for data that begins at ``first_pixel`` of the layer it was taken of."""
    placed = Affine(
        scale=transform["scale"],
        translate=transform["translate"],
        rotate=transform["rotate"],
        shear=transform["shear"],
    )
    return {**transform, "translate": np.asarray(placed(np.asarray(first_pixel, float)))}


def pixel_size(layer: Layer, rows: int, columns: int) -> tuple[tuple[float, float], str]:
    """Return how high and wide a pixel of a layer is, and in what; empty where that is not known.

    Parameters
    ----------
    layer : Layer
        The layer.
    rows, columns : int
        Its axes of rows and columns.
    """
    units = {str(layer.units[axis]) for axis in (rows, columns)}
    unit = units.pop() if len(units) == 1 else ""
    # A flipped layer has a negative scale; its pixels have a size all the same.
    size = (abs(float(layer.scale[rows])), abs(float(layer.scale[columns])))
    return size, "" if unit == "pixel" else unit


def place(layer: Layer, axes: ImageAxes, plane: PlaneRef, region: Region) -> dict[str, Any]:
    """Return the transform of a result of one region of one plane.

    The result has the image's axes without the channel, of length 1 on the leading ones, so it
    lies on its slice and nowhere else.
    """
    first = {axes.y: float(region.y0), axes.x: float(region.x0)}
    first |= dict(zip(axes.leading, map(float, plane.leading), strict=True))
    return moved(layer_transform(layer, axes), [first[axis] for axis in kept_axes(layer, axes)])


def to_layer_axes(plane: npt.NDArray[Pixel], layer: Layer, axes: ImageAxes) -> npt.NDArray[Pixel]:
    """Return a view of a plane, shape (h, w), with the axes that :func:`place` speaks of."""
    kept = kept_axes(layer, axes)
    upright = plane if kept.index(axes.y) < kept.index(axes.x) else plane.T
    missing = [place for place, axis in enumerate(kept) if axis not in (axes.y, axes.x)]
    return np.expand_dims(upright, missing)

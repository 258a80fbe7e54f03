"""From layer to world to layer: where prompts lie in an image, and where results go.

Whatever asks where something lies in the world, or which slice the sliders stand on, asks a
:class:`World`: it knows what napari draws by, the layers' units included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from napari.utils.transforms import Affine
from pint import DimensionalityError

from napari_sam3_assistant.core.axes import Axis
from napari_sam3_assistant.core.images import AnyArray, PixelSize
from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.axes import Axes, ImageAxes
    from napari_sam3_assistant.core.images import PlaneRef, Untyped
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.session.values import PlaneTarget


if TYPE_CHECKING:
    Vectors = npt.NDArray[np.float64]

Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """The world of a viewer: where its sliders stand, and what its axes count in.

    From napari 0.7 on a viewer counts in the smallest of its layers' units, if they can be
    converted: its sliders, the mouse and the camera do. A layer's own ``data_to_world`` and
    ``world_to_data`` know of the layer's units only.

    ``point``: where the sliders stand.
    ``order``: the axes, those on show last.
    ``units``: what the axes count in; None where a layer's numbers are taken as they are.
    """

    point: tuple[float, ...]
    order: tuple[int, ...]
    units: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, viewer: ViewerModel) -> World:
        """Return the world of a viewer as it is now."""
        dims = viewer.dims
        # Before napari 0.7 its dims had no units, and layers were drawn by their numbers alone.
        return cls(tuple(dims.point), tuple(dims.order), getattr(dims, "units", None))

    def units_of(self, layer: Layer) -> tuple[Any, ...]:
        """Return what the axes of a layer count in in the world."""
        if self.units is None or len(self.units) < layer.ndim:
            return tuple(layer.units)
        return self.units[len(self.units) - layer.ndim :]

    def matrix(self, layer: Layer) -> Vectors:
        """Return the affine matrix from a layer's data to the world, shape (D + 1, D + 1)."""
        matrix = np.array(_data_to_world(layer).affine_matrix, np.float64)
        matrix[:-1] *= _ratios(layer.units, self.units_of(layer))[:, None]
        return matrix

    def shown_axes(self, layer: Layer, count: int = 2) -> list[int]:
        """Return the axes of a layer that napari shows, rows first, when it shows ``count``."""
        missing = len(self.point) - layer.ndim
        return [axis - missing for axis in self.order if axis >= missing][-count:]

    def slice_of(self, layer: Layer, count: int = 2) -> Vectors:
        """Return the position in a layer's data that napari slices it at, shape (D,).

        Returns (shape (D,)) NaN on the axes that are shown. Like napari, a rotation or shear
        between these and the others is left out.
        """
        shown = self.shown_axes(layer, count)
        hidden = [axis for axis in range(layer.ndim) if axis not in shown]
        inverse = _data_to_world(layer).inverse
        linear = np.array(inverse.linear_matrix)
        if self.units is not None:
            # Its own units, not the layer's: napari slices by what they were when it was placed.
            linear *= _ratios(self.units_of(layer), inverse.units)
        # A layer that gets more axes is asked for before the viewer has as many.
        point = np.array([*[0.0] * (layer.ndim - len(self.point)), *self.point][-layer.ndim :])
        position = np.full(layer.ndim, np.nan)
        position[hidden] = (
            linear[np.ix_(hidden, hidden)] @ point[hidden] + inverse.translate[hidden]
        )
        return position

    def drawn_at(self, layer: Layer, place_: npt.ArrayLike) -> Vectors:
        """Return the position in a layer's data, shape (D,), that napari draws at a place.

        ``layer``: the layer, of which two axes are shown.
        ``place_``: a place in the world on the slice on show, such as the mouse's.
        """
        shown, matrix = self.shown_axes(layer), self.matrix(layer)
        position = self.slice_of(layer)
        offset = np.asarray(place_, float)[-layer.ndim :][shown] - matrix[shown, -1]
        position[shown] = np.linalg.solve(matrix[np.ix_(shown, shown)], offset)
        return position


def _data_to_world(layer: Layer) -> Affine:
    # What napari slices by; the public functions would have to be asked for each axis, and add
    # rounding that decides between two slices. Alike in napari 0.5.6 to 0.9.2.
    return layer._data_to_world  # noqa: SLF001


def _ratios(units: Sequence[Any], others: Sequence[Any]) -> Vectors:
    """Return how many of the other units each unit is, as napari computes it."""
    pairs = zip(units, others, strict=True)
    return np.array(
        [
            1.0 if own == other else _to_base_units(own) / _to_base_units(other)
            for own, other in pairs
        ]
    )


def _to_base_units(unit: Untyped) -> float:
    return float((1 * unit).to_base_units().magnitude)


@dataclass(frozen=True, slots=True, eq=False)
class DataMap:
    """The way from the data coordinates of one layer to those of another.

    ``matrix`` (shape (D, d), dtype float): linear part.
    ``offset`` (shape (D,), dtype float): where the origin goes.
    """

    matrix: Vectors
    offset: Vectors

    @classmethod
    def between(cls, source: Layer, target: Layer, world: World) -> DataMap:
        """Return the map between layers; like napari, it aligns them at their last axes."""
        count = max(len(world.point), source.ndim, target.ndim)
        point = np.zeros(count)
        point[count - len(world.point) :] = world.point
        placed, target_placed = world.matrix(source), world.matrix(target)
        matrix = np.zeros((count, source.ndim))
        matrix[count - source.ndim :] = placed[:-1, :-1]
        point[count - source.ndim :] = placed[:-1, -1]
        inverse = np.linalg.inv(target_placed[:-1, :-1])
        kept = slice(count - target.ndim, count)
        linear_part: Vectors = np.asarray(inverse @ matrix[kept], np.float64)
        return cls(linear_part, inverse @ (point[kept] - target_placed[:-1, -1]))

    def __call__(self, coordinates: npt.ArrayLike) -> Vectors:
        """Map coordinates, shape (N, d), to shape (N, D)."""
        mapped: Vectors = np.atleast_2d(coordinates) @ self.matrix.T + self.offset
        return mapped


def is_aligned(first: Layer, second: Layer, world: World) -> bool:
    """Return whether two layers lie on top of each other, pixel on pixel."""
    if first.ndim != second.ndim:
        return False
    own, other = world.matrix(first), world.matrix(second)
    # In parts of a pixel: coordinates may be millions of pixels, or one a billionth of a metre.
    pixel = np.linalg.norm(own[:-1, :-1], axis=0).min()
    return np.allclose(own[:, :-1], other[:, :-1], rtol=0, atol=1e-6 * pixel) and np.allclose(
        own[:, -1], other[:, -1], rtol=0, atol=1e-3 * pixel
    )


def show_at(viewer: ViewerModel, layer: Layer, position: npt.ArrayLike) -> None:
    """Bring a position in a layer's data to the middle of the canvas, on its slice."""
    show_slice(viewer, layer, position)
    world, target = World.of(viewer), np.array(position, float)
    matrix, shown = world.matrix(layer), world.shown_axes(layer, viewer.dims.ndisplay)
    middle = matrix[np.ix_(shown, shown)] @ target[shown] + matrix[shown, -1]
    camera = getattr(viewer, "scene", viewer).camera  # moved in napari 0.9
    before, ours = _CENTRES.get(viewer, (camera.center, None))
    if camera.center != ours:
        before = camera.center
    camera.center = (*camera.center[: 3 - len(shown)], *middle.tolist())
    _CENTRES[viewer] = (before, camera.center)


# Where the user had the camera, and where it was brought to.
_CENTRES: WeakKeyDictionary[ViewerModel, tuple[Any, Any]] = WeakKeyDictionary()


def leave_shown(viewer: ViewerModel) -> None:
    """Bring the canvas back from where :func:`show_at` has left it; not if the user moved it."""
    camera = getattr(viewer, "scene", viewer).camera  # moved in napari 0.9
    before, ours = _CENTRES.pop(viewer, (None, None))
    if ours is not None and camera.center == ours:
        camera.center = before


def show_slice(viewer: ViewerModel, layer: Layer, position: npt.ArrayLike) -> None:
    """Move the sliders to the slice of a position in a layer's data.

    A slider of which other positions show the same slice as well stays where it is, if it is on
    one of them.
    """
    dims, world = viewer.dims, World.of(viewer)
    target, matrix = np.array(position, float), world.matrix(layer)
    missing = dims.ndim - layer.ndim
    shown = world.shown_axes(layer, dims.ndisplay)
    hidden = [axis for axis in range(layer.ndim) if axis not in shown]
    now = world.slice_of(layer, dims.ndisplay)
    moved_ = [axis for axis in hidden if np.round(now[axis]) != np.round(target[axis])]
    if moved_:
        # What napari slices by: without what turns the hidden axes into those on show.
        now[moved_] = target[moved_]
        inverse = np.linalg.inv(matrix)
        offset = now[hidden] - inverse[hidden, -1]
        sliders = np.linalg.lstsq(inverse[np.ix_(hidden, hidden)], offset, rcond=None)[0]
        at = dict(zip(hidden, sliders.tolist(), strict=True))
        dims.set_point([axis + missing for axis in moved_], [at[axis] for axis in moved_])


def array_of(layer: Layer) -> AnyArray:
    """Return an image's or labels' array, of the largest level if it has several."""
    return layer.data[0] if layer.multiscale else layer.data


PLACE = ("scale", "translate", "rotate", "shear", "affine")
"""What puts a layer into the world, as napari names it."""


def transform_of(layer: Layer) -> dict[str, Any]:
    """Return the keyword arguments that put a new layer where another one is."""
    names = (*PLACE[:-1], "units", "axis_labels")
    affine = np.asarray(layer.affine.affine_matrix)
    return {**{name: getattr(layer, name) for name in names}, "affine": affine}


def has_channel(axes: ImageAxes) -> bool:
    """Return whether the results of an image have its channel axis, with length 1.

    napari aligns layers at their last axes, so it can be left out only where it is the first one.
    """
    return bool(axes.channel) and not axes.rgb


def result_axes(axes: ImageAxes) -> list[int]:
    """Return the axes of an image that its results have: see :func:`layer_transform`."""
    every = range(axes.ndim)
    return [axis for axis in every if axis != axes.channel or has_channel(axes)]


def result_shape(shape: Sequence[int], axes: ImageAxes) -> tuple[int, ...]:
    """Return the shape of the results of a whole image, given the image's own."""
    return tuple(1 if axis == axes.channel else shape[axis] for axis in result_axes(axes))


def plane_of(labels: AnyArray, target: PlaneTarget) -> PlaneOfLabels:
    """Return a plane of results of a whole image, see :func:`result_axes`."""
    axes = target.axes
    kept = result_axes(axes)
    rows, columns = kept.index(axes.y), kept.index(axes.x)
    # The axis of channels has the length 1.
    fixed = {place: 0 for place in range(len(kept)) if place not in (rows, columns)}
    for axis, index in zip(axes.leading, target.plane.leading, strict=True):
        fixed[kept.index(axis)] = index
    return PlaneOfLabels(labels, rows, columns, fixed)


def layer_transform(
    layer: Layer, axes: ImageAxes, world: World, first: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """Return the keyword arguments that give a new layer the image's place in the world.

    A channel axis that has others before it is kept: one pixel long, and so wide that napari
    shows what is on it, points as well, at all positions of the image's channel slider, which it
    leaves as it is. A first one is left out.

    What comes of it counts in the world's units, as napari takes the mouse for it.

    ``first`` (shape (D,)): where the new layer's data begin in the image's; None for its first
    pixel.
    """
    kept = result_axes(axes)
    start = np.zeros(layer.ndim) if first is None else np.array(first, float)
    channel = axes.channel if has_channel(axes) else None
    count = 1
    if channel is not None:
        count = int(array_of(layer).shape[channel])
        start[channel] = (count - 1) / 2
    begin = transform_of(layer)
    whole = {**begin, "translate": begin["translate"] + _shift(layer, axes, start)}
    square, augmented = np.ix_(kept, kept), np.ix_([*kept, layer.ndim], [*kept, layer.ndim])
    scale = np.array(whole["scale"], float)
    if channel is not None:
        # A pixel reaches half of it to both sides. napari shows points that are half a pixel
        # away, so those of the first channel on the last one only if it is twice as wide.
        scale[channel] *= 2 * count
    placed = {
        "scale": scale[kept],
        "translate": whole["translate"][kept],
        "rotate": np.asarray(whole["rotate"])[square],
        "shear": _result_shear(np.asarray(whole["shear"]), layer.ndim, kept),
        "affine": whole["affine"][augmented],
        "units": tuple(whole["units"][axis] for axis in kept),
        "axis_labels": tuple(whole["axis_labels"][axis] for axis in kept),
    }
    units = world.units_of(layer)
    return convert_units(placed, tuple(units[axis] for axis in kept))


def _shift(layer: Layer, axes: ImageAxes, start: Vectors) -> Vectors:
    """Return by how much a layer is translated of which the data begin at ``start``.

    Where hidden axes are turned into rows and columns, napari draws all slices in one place, and
    slices by the hidden axes alone: so does this.
    """
    shown = [axes.y, axes.x]
    hidden = [axis for axis in range(layer.ndim) if axis not in shown]
    whole = _data_to_world(layer)
    linear, inverse = whole.linear_matrix, whole.inverse.linear_matrix
    shift = np.zeros(layer.ndim)
    shift[shown] = linear[np.ix_(shown, shown)] @ start[shown]
    left = start[hidden] - inverse[np.ix_(hidden, shown)] @ shift[shown]
    shift[hidden] = np.linalg.lstsq(inverse[np.ix_(hidden, hidden)], left, rcond=None)[0]
    before = np.asarray(layer.affine.linear_matrix)
    moved_: Vectors = np.linalg.solve(before, shift)
    return moved_


def _result_shear(shear: npt.NDArray[np.float64], ndim: int, kept: list[int]) -> Vectors:
    if shear.ndim == 2:
        return shear[np.ix_(kept, kept)]
    matrix = np.zeros((ndim, ndim))
    matrix[np.triu_indices(ndim, 1)] = shear
    return matrix[np.ix_(kept, kept)][np.triu_indices(len(kept), 1)]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where an image lay in the world, before it was moved.

    ``linear`` and ``offset``: from its data to the world.
    ``units``: what they count in.
    """

    linear: Vectors
    offset: Vectors
    units: tuple[Any, ...]

    @classmethod
    def of(cls, image: Layer) -> Place:
        """Return where an image lies now."""
        placed = _data_to_world(image)
        return cls(np.array(placed.linear_matrix), np.array(placed.translate), tuple(image.units))

    def first_of(self, layer: Layer, axes: ImageAxes) -> Vectors | None:
        """Return where a layer's data begin in the image's: what :func:`layer_transform` was given.

        None if the layer did not lie on the image, pixel on pixel.
        """
        kept = result_axes(axes)
        if len(kept) != layer.ndim:
            return None
        units = [self.units[axis] for axis in kept]
        if not all(
            own_unit.is_compatible_with(to) for own_unit, to in zip(layer.units, units, strict=True)
        ):
            return None
        ratios, own = _ratios(layer.units, units), _data_to_world(layer)
        # A layer's axis of channels is as long as all of the image's.
        along = [place for place, axis in enumerate(kept) if axis != axes.channel]
        like = np.ix_(along, along)
        pixels = self.linear[np.ix_(kept, kept)][like]
        off = np.abs((ratios[:, None] * own.linear_matrix)[like] - pixels).max()
        if off > 1e-6 * np.linalg.norm(pixels, axis=0).min():
            return None
        shift = np.zeros(len(self.offset))
        shift[kept] = ratios * own.translate - self.offset[kept]
        if axes.channel is not None and not axes.rgb:
            shift[axes.channel] = 0.0
        shown = [axes.y, axes.x]
        hidden = [axis for axis in range(len(shift)) if axis not in shown]
        # The way back of _shift.
        first = np.zeros(len(shift))
        first[shown] = np.linalg.solve(self.linear[np.ix_(shown, shown)], shift[shown])
        first[hidden] = np.linalg.inv(self.linear)[hidden] @ shift
        return first


def convert_units(transform: dict[str, Any], units: tuple[Any, ...]) -> dict[str, Any]:
    """Return the same place in the world in other units, one for each axis."""
    if tuple(transform["units"]) == tuple(units):
        return transform
    # Rounded: a micrometre is 999.9999999999999 nanometres.
    ratios = np.array([float(f"{ratio:.12g}") for ratio in _ratios(transform["units"], units)])
    affine = np.array(transform["affine"], np.float64)
    affine[:-1] *= ratios[:, None]
    changed = {**transform, "affine": affine, "units": tuple(units)}
    linear = inner_transform(transform).linear_matrix
    if np.ptp(ratios) and np.any(linear - np.diag(np.diag(linear))):
        return changed  # no size of a pixel along each axis says it
    affine[:, :-1] /= ratios
    sizes = {name: np.asarray(transform[name]) * ratios for name in ("scale", "translate")}
    return {**changed, **sizes}


def inner_transform(transform: dict[str, Any]) -> Affine:
    """Return what a layer does to its data before its ``affine``."""
    names = ("scale", "translate", "rotate", "shear")
    return Affine(**{name: transform[name] for name in names})


def shift_transform(transform: dict[str, Any], first_pixel: npt.ArrayLike) -> dict[str, Any]:
    """Return a transform for data that begins at ``first_pixel`` of the layer it was taken of."""
    begin = inner_transform(transform)(np.asarray(first_pixel, float))
    return {**transform, "translate": np.asarray(begin)}


def pixel_size(layer: Layer, rows: int, columns: int) -> PixelSize:
    """Return how large a pixel of a plane of a layer is, by all of the layer's transform.

    It is in the unit of the columns; 1 pixel where the units of the layer don't fit each other.
    """
    try:
        steps = _pixel_steps(layer, (rows, columns))
    except DimensionalityError:
        return PixelSize(unit="pixel")
    height, width = np.linalg.norm(steps, axis=0)
    # Not by the root of a determinant: of long, narrow pixels that would keep half the digits.
    area = float(np.abs(np.prod(np.diag(np.linalg.qr(steps, mode="r")))))
    # Pixels are napari's default unit: with another length nobody has said what it counts in.
    plain = np.allclose((height, width, area), 1)
    known = unit_name(layer.units[columns]) or ("pixel" if plain else "")
    return PixelSize(float(height), float(width), known, float(area / height / width))


def spacing(layer: Layer, axes: Sequence[int]) -> tuple[float, ...]:
    """Return how far pixels lie apart along axes that stand upright on each other.

    ``axes``: the axes that matter.
    Returns for each axis of the layer, in the unit of the last one; 1 for those that don't matter.
    Raises MaskError if the layer is sheared, or the units don't fit each other.
    """
    remedy = "Untick Physical units, to count in pixels."
    try:
        steps = _pixel_steps(layer, axes)
    except DimensionalityError as error:
        units = ", ".join(str(layer.units[axis]) for axis in axes)
        raise MaskError(
            f"The axes of “{layer.name}” count in {units}: there are no distances between them.",
            f"Count slices apart, where that helps. {remedy}",
        ) from error
    lengths = np.linalg.norm(steps, axis=0)
    upright = steps / lengths
    if not np.allclose(upright.T @ upright, np.eye(len(axes)), atol=1e-3):
        raise MaskError(
            f"“{layer.name}” is sheared, so distances along its axes are not those in the world.",
            remedy,
        )
    scale = [1.0] * layer.ndim
    for axis, length in zip(axes, lengths, strict=True):
        scale[axis] = float(length)
    return tuple(scale)


def _pixel_steps(layer: Layer, axes: Sequence[int]) -> Vectors:
    """Return the step from pixel to pixel along axes, shape (D, n), in the unit of the last one.

    Raises DimensionalityError if the units of the layer don't fit each other.
    """
    steps = _data_to_world(layer).linear_matrix[:, list(axes)]
    moves = np.abs(steps).max(axis=1) > 1e-9 * np.abs(steps).max()
    units = [layer.units[axis] for axis in np.flatnonzero(moves)]
    lengths = [_convert_unit(unit, layer.units[axes[-1]]) for unit in units]
    return np.asarray(steps[moves] * np.array(lengths)[:, None], np.float64)


def _convert_unit(unit: Untyped, other: Untyped) -> float:
    """Return how long one of a unit is in another.

    Raises DimensionalityError if they don't measure the same.
    """
    # Rounded: a micrometre is 999.9999999999999 nanometres.
    return 1.0 if unit == other else float(f"{(1 * unit).to(other).magnitude:.12g}")


def unit_name(unit: object) -> str:
    """Return the name of a layer's unit; empty for napari's default, which says nothing."""
    return "" if str(unit) == "pixel" else str(unit)


_DRIFT = 0.01
"""So many pixels off at the far end of a layer, and a transform still is a size along each axis."""


def file_axes(
    layer: Layer, axes: Sequence[int], names: Sequence[str], units: Sequence[Any] | None = None
) -> Axes:
    """Return what a file can say of a layer's place in the world, by all of its transform.

    ``axes``: the layer's axes that the file will have.
    ``names``: what they are called.
    ``units``: what they count in in the file; by default the layer's own units.
    Returns size of a pixel and place of the first one; an axis that is turned, sheared or exchanged
    with another is not aligned, and has neither.
    """
    placed = _data_to_world(layer)
    linear, first = placed.linear_matrix, placed.translate
    sizes = np.diag(linear)
    array = array_of(layer)
    drift = np.abs(linear - np.diag(sizes)) * np.asarray(array.shape[: layer.ndim])
    off = drift > _DRIFT * np.abs(sizes)[:, None]
    straight = ~(off.any(axis=0) | off.any(axis=1)) & (sizes != 0)
    found = []
    for place_, (axis, name) in enumerate(zip(axes, names, strict=True)):
        length, own = int(array.shape[axis]), layer.units[axis]
        if not straight[axis]:
            found.append(Axis(name, length, aligned=False))
            continue
        unit = own if units is None else units[place_]
        try:
            factor = _convert_unit(own, unit)
        except DimensionalityError:  # the user gave one of them another unit
            factor, unit = 1.0, own
        size, begin = float(sizes[axis] * factor), float(first[axis] * factor)
        found.append(Axis(name, length, size, unit_name(unit), begin))
    return tuple(found)


def result_transform(
    layer: Layer, axes: ImageAxes, world: World, plane: PlaneRef, region: Region
) -> dict[str, Any]:
    """Return the transform of a result of one region of one plane.

    The result has the axes of :func:`result_axes`, of length 1 but for rows and columns, so it
    lies on its slice and nowhere else.
    """
    first = np.zeros(layer.ndim)
    first[list(axes.leading)] = plane.leading
    first[[axes.y, axes.x]] = region.y0, region.x0
    return layer_transform(layer, axes, world, first)


def to_layer_axes(plane: npt.NDArray[Pixel], axes: ImageAxes) -> npt.NDArray[Pixel]:
    """Return a view of a plane, shape (h, w), with the axes of :func:`result_transform`."""
    kept = result_axes(axes)
    upright = plane if axes.y < axes.x else plane.T
    missing = [place for place, axis in enumerate(kept) if axis not in (axes.y, axes.x)]
    return np.expand_dims(upright, missing)


def to_plane(data: npt.NDArray[Pixel], axes: ImageAxes) -> npt.NDArray[Pixel]:
    """Return a view of what :func:`to_layer_axes` gives as the plane that it was, shape (h, w)."""
    kept = result_axes(axes)
    upright = np.moveaxis(data, (kept.index(axes.y), kept.index(axes.x)), (-2, -1))
    return upright.reshape(upright.shape[-2:])

"""Give images and labels the axes that their files tell, and take them back."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.paths import is_address
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.values import AxesUse, LayerSource
from napari_sam3_assistant.viewer.geometry import (
    World,
    array_of,
    inner_transform,
    show_slice,
    transform_of,
    unit_name,
)
from napari_sam3_assistant.viewer.roles import move_to, preserve_choices, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.axes import Axes


_LEFT = "sam3_axes_left"
"""In the metadata of an image of which the user took the axes of its file back."""
_BY_NAPARI = ("napari", "builtins")


@dataclass(frozen=True, slots=True)
class _Given:
    """What a layer had before it had something from a file: names, if it was named, and units.

    ``by``: the file that its sizes are of, its own or that of the layer it lies on; empty for none.
    ``factors``: by how much it was stretched.
    """

    axis_labels: tuple[str, ...] | None
    units: tuple[Any, ...]
    by: str
    factors: tuple[float, ...]


_GIVEN: WeakKeyDictionary[Layer, _Given] = WeakKeyDictionary()
"""The layers that have something from a file."""


def _given(layer: Layer) -> _Given:
    nothing = _Given(None, tuple(layer.units), "", (1.0,) * layer.ndim)
    return _GIVEN.get(layer, nothing)


class LayerAxes:
    """What files tell of the axes of layers, and what the layers have of it. GUI thread only.

    Does nothing with layers that are gone.

    ``find``: returns the image or the labels of a key, None if they are gone.
    """

    def __init__(self, viewer: ViewerModel, find: Callable[[str], Layer | None]) -> None:
        self._viewer, self._find = viewer, find

    def source_of(self, key: str) -> LayerSource | None:
        """Return what a layer was read from; None if nothing is left to be told of its axes."""
        layer = self._find(key)
        return None if layer is None else source_of(layer)

    def find_offered(self, key: str, axes: Axes) -> tuple[AxesUse, bool]:
        """Return what a layer lacks of what its file says, and whether it has some of it."""
        layer = self._find(key)
        return (AxesUse.NOTHING, False) if layer is None else find_offered(layer, axes)

    def give_names(self, key: str, axes: Axes) -> None:
        """Name the axes of a layer as its file does, if nobody has and it is plain how."""
        layer = self._find(key)
        if layer is not None:
            name_axes(self._viewer, layer, axes)

    def give(self, key: str, axes: Axes) -> None:
        """Give a layer the names and sizes of its file's axes; what lies on it goes with it.

        Raises ImageError if it was given other pixels.
        """
        layer = self._find(key)
        if layer is not None:
            take_axes(self._viewer, layer, axes)

    def take_back(self, key: str) -> None:
        """Have a layer, and what went with it, as it was opened."""
        layer = self._find(key)
        if layer is not None:
            take_axes_back(self._viewer, layer)


def label_of(layer: Layer, axis: int) -> str:
    """Return the name that somebody gave an axis; empty for those that napari counts."""
    # From the end: "-3", or "axis -3" before 0.9.
    label = str(layer.axis_labels[axis]).strip()
    return "" if label.removeprefix("axis").strip().lstrip("-").isdigit() else label


def source_of(layer: Layer) -> LayerSource | None:
    """Return what of which file napari or a plugin made a layer of.

    None if it is of no file on this computer, or nothing is left to be told of its axes.
    """
    path, reader = str(layer.source.path or ""), layer.source.reader_plugin
    if not path or not reader or is_address(path):
        return None
    named = all(label_of(layer, axis) for axis in range(layer.ndim))
    sized = all(unit_name(unit) for unit in layer.units[-2:])
    if named and sized and not _has_given(layer):
        return None
    shape = tuple(map(int, array_of(layer).shape))
    return LayerSource(Path(path), shape, reader in _BY_NAPARI)


def find_offered(layer: Layer, axes: Axes) -> tuple[AxesUse, bool]:
    """Return what a layer lacks of what its file says, and whether it has something from there."""
    fits = tuple(axis.length for axis in axes) == tuple(array_of(layer).shape)
    own = axes[: layer.ndim] if fits else ()
    names, sizes = _lacks_names(layer, own), _sizes_to_take(layer, own) is not None
    offered = AxesUse.NAMES if names else AxesUse.NOTHING
    if sizes:
        offered = AxesUse.ALL if names else AxesUse.SIZES
    return offered, _has_given(layer)


def _has_given(layer: Layer) -> bool:
    """Return whether a layer has something from its own file, and not from one that lies on it."""
    given = _GIVEN.get(layer)
    return given is not None and (
        given.axis_labels is not None or given.by == str(layer.source.path)
    )


def _lacks_names(layer: Layer, axes: Axes) -> bool:
    if any(label_of(layer, axis) for axis in range(layer.ndim)):
        return False
    # That the last two are rows and columns is known without names.
    kinds = [axis_kind(axis.name) for axis in axes]
    return any(axis.name for axis in axes[:-2]) or kinds[-2:] not in ([], ["", ""], ["y", "x"])


def _sizes_to_take(layer: Layer, axes: Axes) -> tuple[float, ...] | None:
    """Return by how much each axis is stretched; None where there is nothing to take.

    So it is where the layer was turned, or somebody gave it another size or unit.
    """
    if not any(axis.unit or axis.scale != 1 for axis in axes) or not _counts_pixels(layer):
        return None
    factors = []
    for axis, scale in zip(axes, layer.scale.tolist(), strict=True):
        if scale != 1 and not np.isclose(scale, axis.scale, rtol=1e-3):
            return None
        factors.append(axis.scale / scale)
    if all(np.isclose(factors, 1, rtol=1e-3)) and not any(axis.unit for axis in axes):
        return None
    return tuple(factors)


def _counts_pixels(layer: Layer) -> bool:
    """Return whether a layer is straight, and nobody said what it counts in."""
    matrix = np.asarray(layer.affine.affine_matrix)
    linear = inner_transform(transform_of(layer)).linear_matrix
    straight = np.array_equal(matrix, np.eye(layer.ndim + 1)) and np.allclose(
        linear, np.diag(np.diag(linear))
    )
    return straight and not any(map(unit_name, layer.units))


def name_axes(viewer: ViewerModel, layer: Layer, axes: Axes) -> None:
    """Give the layers of a file the names of its axes, if they have none, and it is plain how.

    It is where rows and columns are the last two axes, and the user has not taken names back.
    """
    own = axes[: layer.ndim]
    if [axis_kind(axis.name) for axis in own[-2:]] == ["y", "x"] and _lacks_names(layer, own):
        for image in _of_one_file(viewer, layer):
            if not image.metadata.get(_LEFT):
                _name(image, own)


def _of_one_file(viewer: ViewerModel, layer: Layer) -> list[Layer]:
    """Return the layers of one kind that are of one file, such as its channels."""
    return [
        other
        for other in viewer.layers
        if isinstance(other, type(layer))
        and role_of(other) is None
        and other.source.path == layer.source.path
        and array_of(other).shape == array_of(layer).shape
        and other.ndim == layer.ndim
    ]


def _name(layer: Layer, axes: Axes) -> None:
    if _lacks_names(layer, axes):
        before = tuple(layer.axis_labels)
        _GIVEN[layer] = replace(_given(layer), axis_labels=before)
        named = zip(axes, before, strict=True)
        layer.axis_labels = tuple(axis.name or label for axis, label in named)


def take_axes(viewer: ViewerModel, layer: Layer, axes: Axes) -> None:
    """Give an image all that its file says; what lies on it in pixels goes with it.

    Raises ImageError if its pixels are others than those that the file was asked for.
    """
    if tuple(axis.length for axis in axes) != tuple(array_of(layer).shape):
        raise ImageError(
            f"“{layer.name}” has another shape than its file now.",
            "Set names and scale of its axes in napari.",
        )
    own = axes[: layer.ndim]
    factors = _sizes_to_take(layer, own)
    images = _of_one_file(viewer, layer)
    with _same_view(viewer, layer):
        for image in images:
            image.metadata = {key: kept for key, kept in image.metadata.items() if key != _LEFT}
            _name(image, own)
        if factors is not None:
            for other in _lying_on(viewer, layer, images):
                _stretch(other, str(layer.source.path), own, factors)
    _show_rows_and_columns(viewer, layer, own)


def _lying_on(viewer: ViewerModel, layer: Layer, images: Sequence[Layer]) -> list[Layer]:
    """Return the layers of the user that count in an image's pixels, itself included.

    Those are other images and labels of its size, and where no other image counts in pixels, all
    that have no size of their own. Ours follow their images.
    """
    users = [other for other in viewer.layers if role_of(other) is None and _counts_pixels(other)]
    size = _size_of(layer)

    def is_alike(other: Layer) -> bool:
        along = min(other.ndim, layer.ndim)
        return (
            _size_of(other)[-along:] == size[-along:]
            and np.allclose(other.scale[-along:], layer.scale[-along:])
            and np.allclose(other.translate[-along:], layer.translate[-along:])
        )

    alike = [
        other
        for other in users
        if other in images or (isinstance(other, Image | Labels) and is_alike(other))
    ]
    alone = not any(isinstance(other, Image) and other not in alike for other in users)
    return [
        *alike,
        *(other for other in users if alone and not isinstance(other, Image | Labels)),
    ]


def _size_of(layer: Layer) -> tuple[int, ...]:
    return tuple(map(int, array_of(layer).shape[: layer.ndim]))


def _stretch(layer: Layer, file: str, axes: Axes, factors: Sequence[float]) -> None:
    """Have a layer count as the axes of a file do, its last ones along theirs."""
    along = min(layer.ndim, len(axes))
    others = (1.0,) * (layer.ndim - along)
    own_factors = (*others, *factors[len(factors) - along :])
    _GIVEN[layer] = replace(_given(layer), by=file, factors=own_factors)
    units = [axis.unit or "pixel" for axis in axes[len(axes) - along :]]
    _move(layer, own_factors, (*map(str, layer.units[: len(others)]), *units))


def _move(layer: Layer, factors: Sequence[float], units: Sequence[Any]) -> None:
    place = transform_of(layer)
    sizes = {name: np.asarray(place[name]) * np.array(factors) for name in ("scale", "translate")}
    layer.units = units
    move_to(layer, {**place, **sizes, "units": layer.units})


def take_axes_back(viewer: ViewerModel, layer: Layer) -> None:
    """Have an image, and what went with it, as they were before :func:`take_axes`."""
    with _same_view(viewer, layer):
        for image in _of_one_file(viewer, layer):
            image.metadata = {**image.metadata, _LEFT: True}
        for other in [other for other in viewer.layers if other in _GIVEN]:
            given, its_own = _GIVEN[other], other.source.path == layer.source.path
            if not its_own and given.by != str(layer.source.path):
                continue
            _move(other, [1 / factor for factor in given.factors], given.units)
            if its_own or given.axis_labels is None:
                del _GIVEN[other]
            else:  # its names are those of its own file
                _GIVEN[other] = replace(given, by="", factors=(1.0,) * other.ndim)
            if its_own and given.axis_labels is not None:
                other.axis_labels = given.axis_labels


@contextmanager
def _same_view(viewer: ViewerModel, layer: Layer) -> Iterator[None]:
    """Have the same pixels of a layer on show, as large, after it was stretched."""
    camera = getattr(viewer, "scene", viewer).camera  # moved in napari 0.9
    world, count = World.of(viewer), viewer.dims.ndisplay
    position = np.nan_to_num(world.slice_of(layer, count))
    shown, matrix = world.shown_axes(layer, count), world.matrix(layer)
    if len(shown) < count:
        yield
        return
    linear = matrix[np.ix_(shown, shown)]
    middle = np.linalg.solve(linear, np.array(camera.center)[-count:] - matrix[shown, -1])
    with preserve_choices(viewer):
        yield
    show_slice(viewer, layer, position)
    matrix = World.of(viewer).matrix(layer)
    stretched = matrix[np.ix_(shown, shown)]
    camera.center = (*camera.center[: 3 - count], *(stretched @ middle + matrix[shown, -1]))
    camera.zoom *= float(np.linalg.norm(linear[:, -1]) / np.linalg.norm(stretched[:, -1]))


def _show_rows_and_columns(viewer: ViewerModel, layer: Layer, axes: Axes) -> None:
    """Order the axes on show where a file has rows and columns not last, such as y, x, c."""
    kinds = [axis_kind(axis.name) for axis in axes]
    if viewer.dims.ndisplay == 2 and kinds.count("y") == kinds.count("x") == 1:
        missing = viewer.dims.ndim - layer.ndim
        plane = (missing + kinds.index("y"), missing + kinds.index("x"))
        if plane != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
            others = (axis for axis in range(viewer.dims.ndim) if axis not in plane)
            viewer.dims.order = (*others, *plane)

"""Prompt layers: how they are made, and what of them counts for the plane on show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes
from scipy import ndimage

from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.session.model import PromptCounts, Target
from napari_sam3_assistant.viewer.geometry import (
    DataMap,
    array_of,
    layer_transform,
    place,
    to_layer_axes,
)
from napari_sam3_assistant.viewer.image_layers import shape_of
from napari_sam3_assistant.viewer.polarity import (
    COLOURS,
    POLARITY,
    is_positive,
    polarity_of,
)
from napari_sam3_assistant.viewer.roles import NAMES, Role, key_of, tag, topmost

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.components import ViewerModel

    from napari_sam3_assistant.core.images import ImageAxes, PlaneRef
    from napari_sam3_assistant.viewer.geometry import World

ROLE_OF_KIND = {
    PromptKind.POINTS: Role.POINTS,
    PromptKind.BOXES: Role.BOXES,
    PromptKind.EXEMPLARS: Role.BOXES,
    PromptKind.MASK: Role.MASK,
}
LAYER_TYPES: dict[Role, type[Layer]] = {
    Role.POINTS: Points,
    Role.BOXES: Shapes,
    Role.MASK: Labels,
}
_MODES = {Role.POINTS: "add", Role.BOXES: "add_rectangle", Role.MASK: "paint"}
BOX_EDGE, BOX_FACE = "#2f9e44", "#2f9e4433"
_POINT_SIZE = 12
_HALF = 0.5 + 1e-3
_LARGE = 1 << 27
"""From this many pixels on, painted layers are not looked through at each brush stroke."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """An image layer, its axes, and the plane of it that is on show.

    Parameters
    ----------
    layer : Layer
        The image layer.
    axes : ImageAxes
        Its axes.
    plane : PlaneRef
        The plane on show.
    shape : tuple of int
        Height and width of the plane in pixels.
    world : World
        The viewer's world.
    """

    layer: Layer
    axes: ImageAxes
    plane: PlaneRef
    shape: tuple[int, int]
    world: World

    @property
    def target(self) -> Target:
        """Where results of the plane belong."""
        layer = self.layer
        return Target(key_of(layer), layer.name, self.axes, self.plane, shape_of(layer))


def ensure(viewer: ViewerModel, stage: Stage, role: Role) -> Layer:
    """Return the image's prompt layer of a role, made if it is not there, visible and armed.

    A layer of the usual name and type that has no role yet is taken over.
    """
    image = key_of(stage.layer)
    layer = topmost(viewer.layers, role, image)
    if layer is not None and role is Role.MASK and not _on_plane(layer, stage):
        layer = None
    if layer is None:
        layer = _make(stage, role)
        viewer.add_layer(layer)
    get_ready(layer, role)
    return layer


def get_ready(layer: Layer, role: Role) -> None:
    """Let the next click on a layer be a prompt."""
    layer.visible = True
    layer.mode = _MODES[role]


def adopt(layer: Layer, image: str) -> None:
    """Give a layer that has the name and type of a prompt layer its role."""
    for role, kind in LAYER_TYPES.items():
        if layer.name == NAMES[role] and isinstance(layer, kind):
            layer.metadata.update(tag(role, image))


def _make(stage: Stage, role: Role) -> Layer:
    transform = layer_transform(stage.layer, stage.axes, stage.world)
    common = {"name": NAMES[role], "metadata": tag(role, key_of(stage.layer))}
    ndim = len(transform["scale"])
    if role is Role.POINTS:
        return Points(
            np.empty((0, ndim)),
            ndim=ndim,
            size=_POINT_SIZE,
            symbol="disc",
            features={POLARITY: np.empty(0, object)},
            feature_defaults={POLARITY: "positive"},
            face_color=POLARITY,
            face_color_cycle=COLOURS,
            **common,
            **transform,
        )
    if role is Role.BOXES:
        return Shapes(
            ndim=ndim,
            edge_color=BOX_EDGE,
            face_color=BOX_FACE,
            edge_width=2,
            **common,
            **transform,
        )
    empty = to_layer_axes(np.zeros(stage.shape, np.uint8), stage.axes)
    region = Region.whole(stage.shape)
    whole = place(stage.layer, stage.axes, stage.world, stage.plane, region)
    return Labels(empty, **common, **whole)


def _on_plane(layer: Layer, stage: Stage) -> bool:
    """Return whether a painted layer lies on the plane on show."""
    way = DataMap.between(stage.layer, layer, stage.world)
    middle = way(whole_position(stage, stage.shape[0] / 2, stage.shape[1] / 2))[0]
    return bool(np.all(np.round(middle) >= 0) and np.all(np.round(middle) < array_of(layer).shape))


def whole_position(stage: Stage, y: float, x: float) -> npt.NDArray[np.float64]:
    """Return a pixel of the plane on show in the data coordinates of the image layer."""
    position = np.zeros(stage.layer.ndim)
    for axis, index in zip(stage.axes.leading, stage.plane.leading, strict=True):
        position[axis] = index
    if stage.axes.channel is not None and stage.plane.channel is not None:
        position[stage.axes.channel] = stage.plane.channel
    position[stage.axes.y], position[stage.axes.x] = y, x
    return position


def collect(layer: Layer | None, stage: Stage, kind: PromptKind) -> PromptSet:
    """Return a layer's prompts of one kind on the plane on show, in its pixels."""
    if layer is None:
        return PromptSet()
    if kind is PromptKind.POINTS:
        return PromptSet(points=_points(layer, stage)[0])
    if kind is PromptKind.MASK:
        plane = _painted(layer, stage)
        return PromptSet(masks=(MaskPrompt.from_plane(plane),) if plane.any() else ())
    regions = _boxes(layer, stage)[0]
    if kind is PromptKind.EXEMPLARS:
        return PromptSet(exemplars=tuple(map(ExemplarPrompt, regions)))
    return PromptSet(boxes=tuple(map(BoxPrompt, regions)))


def count(layer: Layer | None, stage: Stage, kind: PromptKind) -> PromptCounts:
    """Return how many prompts of one kind a layer has on the plane on show, and elsewhere."""
    if layer is None:
        return PromptCounts()
    if kind is PromptKind.POINTS:
        points, elsewhere = _points(layer, stage)
        positive = sum(point.positive for point in points)
        outside = len(layer.data) - elsewhere - len(points)
        return PromptCounts(positive, len(points) - positive, elsewhere=elsewhere, outside=outside)
    if kind is PromptKind.MASK:
        way = DataMap.between(stage.layer, layer, stage.world)
        painted = is_painted(layer, stage, way, way(whole_position(stage, 0, 0))[0])
        elsewhere = int(not painted and is_at_hand(layer) and layer.data.any())
        return PromptCounts(painted=painted, elsewhere=elsewhere)
    regions, elsewhere = _boxes(layer, stage)
    outside = layer.nshapes - elsewhere - len(regions)
    return PromptCounts(boxes=len(regions), elsewhere=elsewhere, outside=outside)


def is_near(
    coordinates: npt.NDArray[np.float64], wanted: npt.NDArray[np.number[Any]]
) -> npt.NDArray[np.bool_]:
    """Return which positions, shape (N, d), are on slices, shape (d,): all their coordinates.

    A position in the middle between two slices is on both: which one napari has on show while
    it is clicked is a matter of rounding.
    """
    near: npt.NDArray[np.bool_] = (np.abs(coordinates - wanted) <= _HALF).all(axis=1)
    return near


def on_channel(layer: Layer, data: npt.NDArray[np.float64], stage: Stage) -> npt.NDArray[np.bool_]:
    """Return which positions in a layer's data, shape (N, d), napari shows on this channel.

    Our own layers reach over all channels; others may have the image's channel axis.
    """
    axes = stage.axes
    own = -1 if axes.channel is None or axes.rgb else axes.channel + layer.ndim - stage.layer.ndim
    if own < 0:
        return np.ones(len(data), bool)
    return is_near(data[:, [own]], stage.world.slice_of(layer)[[own]])


def _on_show(
    layer: Layer,
    data: npt.NDArray[np.float64],
    coordinates: npt.NDArray[np.float64],
    stage: Stage,
) -> npt.NDArray[np.bool_]:
    """Return which positions lie on the plane on show, given in the layer and in the image."""
    leading = coordinates[:, list(stage.axes.leading)]
    return is_near(leading, np.array(stage.plane.leading, int)) & on_channel(layer, data, stage)


def _points(layer: Points, stage: Stage) -> tuple[tuple[PointPrompt, ...], int]:
    """Return the points on the plane, and how many lie elsewhere."""
    if len(layer.data) == 0:
        return (), 0
    coordinates = DataMap.between(layer, stage.layer, stage.world)(layer.data)
    on_show = _on_show(layer, layer.data, coordinates, stage)
    plane = Region.whole(stage.shape)
    points = tuple(
        PointPrompt(float(row[stage.axes.y]), float(row[stage.axes.x]), is_positive(word))
        for row, word, here in zip(coordinates, polarity_of(layer), on_show, strict=True)
        if here and plane.holds(row[stage.axes.y], row[stage.axes.x])
    )
    return points, len(coordinates) - int(on_show.sum())


def _boxes(layer: Shapes, stage: Stage) -> tuple[list[Region], int]:
    """Return the shapes' bounding boxes on the plane, and how many shapes lie elsewhere."""
    way = DataMap.between(layer, stage.layer, stage.world)
    regions, elsewhere = [], 0
    for outline in layer.data:
        corners = way(outline)
        if not _on_show(layer, outline, corners, stage).all():
            elsewhere += 1
            continue
        inside = region_of(corners, stage)
        if not inside.is_empty:
            regions.append(inside)
    return regions, elsewhere


def region_of(corners: npt.NDArray[np.float64], stage: Stage) -> Region:
    """Return the pixels of the plane that an outline, shape (N, D), encloses; may be empty."""
    rows, columns = corners[:, stage.axes.y], corners[:, stage.axes.x]
    # An outline runs between pixel centres; it holds the pixels whose centres it encloses.
    box = (rows.min(), columns.min(), rows.max(), columns.max())
    lowest = np.ceil(np.round(np.asarray(box[:2]), 6)).astype(int)
    highest = np.floor(np.round(np.asarray(box[2:]), 6)).astype(int) + 1
    region = Region(int(lowest[0]), int(lowest[1]), int(highest[0]), int(highest[1]))
    return region.intersect(Region.whole(stage.shape))


def _painted(layer: Labels, stage: Stage) -> npt.NDArray[np.bool_]:
    """Return the painted pixels of the plane on show, shape (H, W)."""
    way = DataMap.between(stage.layer, layer, stage.world)
    plane = painted_plane(layer, stage, way, way(whole_position(stage, 0, 0))[0])
    return np.zeros(stage.shape, bool) if plane is None else plane != 0


def is_at_hand(layer: Labels) -> bool:
    """Return whether a painted layer can be looked through at each brush stroke."""
    data = layer.data
    return not layer.multiscale and isinstance(data, np.ndarray) and data.size <= _LARGE


def is_painted(layer: Labels, stage: Stage, way: DataMap, first: npt.NDArray[np.float64]) -> bool:
    """Return whether a layer has values on a plane of an image, as :func:`painted_plane` takes it.

    Where it would take long to find out it is taken to have some; a run finds out.
    """
    if not is_at_hand(layer):
        return _index_of(layer, stage, way, first) is not None
    plane = painted_plane(layer, stage, way, first)
    return plane is not None and bool(plane.any())


def _index_of(
    layer: Labels, stage: Stage, way: DataMap, first: npt.NDArray[np.float64]
) -> tuple[int | slice, ...] | None:
    """Return the index of a plane of an image in a layer's array; None if it does not reach it."""
    steps = way.matrix[:, [stage.axes.y, stage.axes.x]]
    index: list[int | slice] = [slice(None)] * layer.ndim
    for axis, size in enumerate(array_of(layer).shape):
        if np.allclose(steps[axis], 0):
            at = round(float(first[axis]))
            if not 0 <= at < size:
                return None
            index[axis] = at
    return tuple(index) if sum(isinstance(one, slice) for one in index) == 2 else None


def painted_plane(
    layer: Labels, stage: Stage, way: DataMap, first: npt.NDArray[np.float64]
) -> npt.NDArray[np.generic] | None:
    """Return a layer's values on a plane of an image, shape (H, W); None where it has none.

    Parameters
    ----------
    layer : Labels
        The painted layer.
    stage : Stage
        The image, and the shape of its planes.
    way : DataMap
        From the image to the layer.
    first : ndarray, shape (d,), dtype float
        Where the plane's first pixel lies in the layer.
    """
    index = _index_of(layer, stage, way, first)
    if index is None:
        return None
    sliced: npt.NDArray[np.generic] = np.asarray(array_of(layer)[index])
    free = [axis for axis, one in enumerate(index) if isinstance(one, slice)]
    steps = way.matrix[:, [stage.axes.y, stage.axes.x]]
    unmoved = np.allclose(steps[free], np.eye(2)) and np.allclose(first[free], 0)
    if sliced.shape == stage.shape and unmoved:
        return sliced
    moved: npt.NDArray[np.generic] = ndimage.affine_transform(
        # The nearest pixel: a mask has no values in between.
        sliced,
        steps[free],
        offset=first[free],
        output_shape=stage.shape,
        order=0,
    )
    return moved

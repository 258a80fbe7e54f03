"""The prompts on all slices of a stack."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.session.model import PromptCounts
from napari_sam3_assistant.viewer.geometry import DataMap, array_of
from napari_sam3_assistant.viewer.image_layers import shape_of
from napari_sam3_assistant.viewer.polarity import is_positive, polarity_of
from napari_sam3_assistant.viewer.prompt_layers import (
    is_near,
    is_painted,
    on_channel,
    painted_plane,
    region_of,
    whole_position,
)
from napari_sam3_assistant.viewer.stacks.point_objects import ids_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from napari.layers import Labels, Layer, Points, Shapes

    from napari_sam3_assistant.viewer.prompt_layers import Stage


def collect(
    layers: Sequence[Layer], stage: Stage, kind: PromptKind, axis: int
) -> tuple[dict[int, PromptSet], int]:
    """Return the prompts of one kind by frame, in pixels, and how many lie elsewhere.

    Parameters
    ----------
    layers : sequence of Layer
        The prompt layers; of painted ones there may be several.
    stage : Stage
        The image and the plane on show: the other leading axes count where they are.
    kind : PromptKind
        The kind.
    axis : int
        Number of the array's axis that the frames lie along.
    """
    found: dict[int, PromptSet] = {}
    elsewhere = 0
    for layer in layers:
        if kind is PromptKind.POINTS:
            one, outside = _points(layer, stage, axis)
        elif kind is PromptKind.MASK:
            one, outside = _masks(layer, stage, axis), 0
        else:
            one, outside = _boxes(layer, stage, kind, axis)
        elsewhere += outside
        for frame, prompts in one.items():
            before = found.get(frame, PromptSet())
            found[frame] = replace(prompts, masks=before.masks + prompts.masks)
    return dict(sorted(found.items())), elsewhere


def count(layers: Sequence[Layer], stage: Stage, kind: PromptKind, axis: int) -> PromptCounts:
    """Return how many prompts of one kind lie on the stack, and elsewhere."""
    if kind is PromptKind.MASK:
        return PromptCounts(painted=any(_is_painted(layer, stage, axis) for layer in layers))
    found, elsewhere = collect(layers, stage, kind, axis)
    points = [point for prompts in found.values() for point in prompts.points]
    positive = sum(point.positive for point in points)
    return PromptCounts(
        positive,
        len(points) - positive,
        sum(len(prompts.boxes) + len(prompts.exemplars) for prompts in found.values()),
        elsewhere=elsewhere,
        most_points=max((one.most_points for one in found.values()), default=0),
    )


def _frames_of(
    layer: Layer,
    data: npt.NDArray[np.float64],
    coordinates: npt.NDArray[np.float64],
    stage: Stage,
    axis: int,
) -> npt.NDArray[np.int64]:
    """Return the frame of each position, shape (N,), given in the layer and in the image.

    -1 for those on other stacks.
    """
    leading = coordinates[:, list(stage.axes.leading)]
    on_show = np.array(stage.plane.leading, int)
    own = stage.axes.leading.index(axis)
    others = [place for place in range(len(on_show)) if place != own]
    here = is_near(leading[:, others], on_show[others]) & on_channel(layer, data, stage)
    frames = np.round(leading[:, own]).astype(np.int64)
    frames[is_near(leading[:, [own]], on_show[[own]])] = on_show[own]
    inside = (frames >= 0) & (frames < shape_of(stage.layer)[axis])
    numbers: npt.NDArray[np.int64] = np.where(here & inside, frames, -1)
    return numbers


def pixels_of(
    layer: Points, chosen: Sequence[int], stage: Stage, axis: int
) -> list[tuple[int, int, int] | None]:
    """Return frame, row and column of points; None for those that lie elsewhere.

    Parameters
    ----------
    layer : Points
        The layer.
    chosen : sequence of int
        Which of its points.
    stage : Stage
        The image and the plane on show.
    axis : int
        Number of the array's axis that the frames lie along.
    """
    data, plane = layer.data[list(chosen)], Region.whole(stage.shape)
    coordinates = DataMap.between(layer, stage.layer, stage.world)(data)
    frames = _frames_of(layer, data, coordinates, stage, axis)
    places = coordinates[:, [stage.axes.y, stage.axes.x]].tolist()
    return [
        (frame, math.floor(y + 0.5), math.floor(x + 0.5))
        if frame >= 0 and plane.holds(y, x)
        else None
        for frame, (y, x) in zip(frames.tolist(), places, strict=True)
    ]


def _points(layer: Points, stage: Stage, axis: int) -> tuple[dict[int, PromptSet], int]:
    if len(layer.data) == 0:
        return {}, 0
    coordinates = DataMap.between(layer, stage.layer, stage.world)(layer.data)
    frames = _frames_of(layer, layer.data, coordinates, stage, axis)
    plane = Region.whole(stage.shape)
    found: dict[int, PromptSet] = {}
    rows = zip(coordinates, polarity_of(layer), ids_of(layer), frames.tolist(), strict=True)
    for row, word, object_id, frame in rows:
        y, x = float(row[stage.axes.y]), float(row[stage.axes.x])
        if frame >= 0 and plane.holds(y, x):
            point = PointPrompt(y, x, is_positive(word), object_id)
            before = found.get(frame, PromptSet())
            found[frame] = replace(before, points=(*before.points, point))
    return found, int((frames < 0).sum())


def _boxes(
    layer: Shapes, stage: Stage, kind: PromptKind, axis: int
) -> tuple[dict[int, PromptSet], int]:
    way = DataMap.between(layer, stage.layer, stage.world)
    found: dict[int, PromptSet] = {}
    elsewhere = 0
    for outline in layer.data:
        corners = way(outline)
        frames = set(_frames_of(layer, outline, corners, stage, axis).tolist())
        frame = frames.pop()
        if frames or frame < 0:
            elsewhere += 1
            continue
        region = region_of(corners, stage)
        if region.is_empty:
            continue
        before = found.get(frame, PromptSet())
        if kind is PromptKind.EXEMPLARS:
            found[frame] = replace(before, exemplars=(*before.exemplars, ExemplarPrompt(region)))
        else:
            found[frame] = replace(before, boxes=(*before.boxes, BoxPrompt(region)))
    return found, elsewhere


def _masks(layer: Labels, stage: Stage, axis: int) -> dict[int, PromptSet]:
    found = {}
    for frame, plane in _planes(layer, stage, axis):
        values = np.unique(plane)
        masks = tuple(
            MaskPrompt.from_plane(plane == value, int(value)) for value in values[values > 0]
        )
        if masks:
            found[frame] = PromptSet(masks=masks)
    return found


def _is_painted(layer: Labels, stage: Stage, axis: int) -> bool:
    way = DataMap.between(stage.layer, layer, stage.world)
    firsts = (first for _, first in _firsts(layer, stage, way, axis))
    return any(is_painted(layer, stage, way, first) for first in firsts)


def _planes(
    layer: Labels, stage: Stage, axis: int
) -> Iterator[tuple[int, npt.NDArray[np.generic]]]:
    """Yield the frames that a painted layer reaches, with its values there, shape (H, W)."""
    way = DataMap.between(stage.layer, layer, stage.world)
    for frame, first in _firsts(layer, stage, way, axis):
        plane = painted_plane(layer, stage, way, first)
        if plane is not None:
            yield frame, plane


def _firsts(
    layer: Labels, stage: Stage, way: DataMap, axis: int
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Yield the frames that a layer reaches, and where in it their first pixels lie."""
    own = stage.axes.leading.index(axis)
    on_show = stage.plane.leading[own]
    length = shape_of(stage.layer)[axis]
    # A layer that does not have the axis lies on the slice on show.
    everywhere = np.allclose(way.matrix[:, axis], 0)
    frames = np.array([on_show]) if everywhere else np.arange(length)
    origin = way(whole_position(stage, 0, 0))[0]
    firsts = origin + np.outer(frames - on_show, way.matrix[:, axis])
    # Of a thousand frames a layer mostly has one: only this is looked at.
    flat = np.isclose(way.matrix[:, [stage.axes.y, stage.axes.x]], 0).all(axis=1)
    indices = np.round(firsts[:, flat])
    inside = ((indices >= 0) & (indices < np.array(array_of(layer).shape)[flat])).all(axis=1)
    yield from zip(frames[inside].tolist(), firsts[inside], strict=True)

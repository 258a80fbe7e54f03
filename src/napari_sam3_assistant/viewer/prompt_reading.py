"""What of the layers of prompts counts: the prompts on a plane or through a stack."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes
from scipy import ndimage
from skimage import draw

from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.session.values import PromptCounts
from napari_sam3_assistant.viewer.geometry import DataMap, array_of
from napari_sam3_assistant.viewer.images import (
    DisplayedPlane,
    plane_position,
    shape_of,
)
from napari_sam3_assistant.viewer.prompt_layers import (
    State,
    is_positive,
    painted_box,
    read_ids,
    read_polarity,
)
from napari_sam3_assistant.viewer.roles import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.results import ObjectRecord

    Prompt = PointPrompt | BoxPrompt | ExemplarPrompt | MaskPrompt
    # Of each prompt its frame, -1 elsewhere; None for one beside the image.
    Found = Iterator[tuple[int, Prompt | None]]


_HALF = 0.5 + 1e-3
_LARGE = 1 << 27
"""From this many pixels on, painted layers are not looked through at each brush stroke."""


@dataclass(frozen=True, slots=True)
class PromptsRead:
    """The prompts of one kind in layers: by frame, in pixels of the plane, and how many are not."""

    frames: Mapping[int, PromptSet]
    elsewhere: int = 0
    outside: int = 0

    @property
    def plane(self) -> PromptSet:
        """The prompts of the plane on show, where it alone was read."""
        return self.frames.get(0, PromptSet())


def read_prompts(
    layers: Iterable[Layer], displayed: DisplayedPlane, kind: PromptKind, axis: int | None = None
) -> PromptsRead:
    """Return the prompts of one kind on the plane on show, or on all frames of a stack.

    ``axis`` is the array's axis that the frames lie along; without it the plane is frame 0. The
    other leading axes count where they are.
    """
    found: defaultdict[int, list[Prompt]] = defaultdict(list)
    elsewhere = outside = 0
    for layer in layers:
        for frame, prompt in _READERS[kind](layer, displayed, axis):
            if frame < 0:
                elsewhere += 1
            elif prompt is None:
                outside += 1
            else:
                found[frame].append(prompt)
    sets: dict[int, dict[str, Any]] = {}
    for frame in sorted(found):
        masks = tuple(prompt for prompt in found[frame] if isinstance(prompt, MaskPrompt))
        others = tuple(prompt for prompt in found[frame] if not isinstance(prompt, MaskPrompt))
        sets[frame] = {"masks": masks}
        if others:
            sets[frame][_FIELDS[kind]] = others
    frames = {frame: PromptSet(**fields) for frame, fields in sets.items()}
    return PromptsRead(frames, elsewhere, outside)


def count_prompts(
    layers: Sequence[Layer], displayed: DisplayedPlane, kind: PromptKind, axis: int | None = None
) -> PromptCounts:
    """Return how many prompts of one kind :func:`read_prompts` would find, and elsewhere."""
    if kind is PromptKind.MASK:
        # Counted at each brush stroke: large layers are not looked through for that.
        painted = any(_is_painted(layer, displayed, axis) for layer in layers)
        there = not painted and any(is_at_hand(layer) and _holds_any(layer) for layer in layers)
        return PromptCounts(painted=painted, elsewhere=int(there))
    read = read_prompts(layers, displayed, kind, axis)
    sets = read.frames.values()
    points = [point.positive for prompts in sets for point in prompts.points]
    examples = [example.positive for prompts in sets for example in prompts.exemplars]
    return PromptCounts(
        (points + examples).count(True),
        (points + examples).count(False),
        sum(len(prompts.boxes) + len(prompts.masks) for prompts in sets),
        elsewhere=read.elsewhere,
        outside=read.outside,
        most_points=max((prompts.most_points for prompts in sets), default=0),
    )


def is_near(
    coordinates: npt.NDArray[np.float64], target: npt.NDArray[np.number[Any]]
) -> npt.NDArray[np.bool_]:
    """Return which positions, shape (N, d), are on slices, shape (d,): all their coordinates.

    A position in the middle between two slices is on both: which one napari has on show while
    it is clicked is a matter of rounding.
    """
    near: npt.NDArray[np.bool_] = (np.abs(coordinates - target) <= _HALF).all(axis=1)
    return near


def is_on_channel(
    layer: Layer, data: npt.NDArray[np.float64], displayed: DisplayedPlane
) -> npt.NDArray[np.bool_]:
    """Return which positions in a layer's data, shape (N, d), napari shows on this channel.

    Our own layers reach over all channels; others may have the image's channel axis.
    """
    axes = displayed.axes
    own = (
        -1 if axes.channel is None or axes.rgb else axes.channel + layer.ndim - displayed.layer.ndim
    )
    if own < 0:
        return np.ones(len(data), bool)
    return is_near(data[:, [own]], displayed.world.slice_of(layer)[[own]])


def _find_frames(
    layer: Layer,
    data: npt.NDArray[np.float64],
    coordinates: npt.NDArray[np.float64],
    displayed: DisplayedPlane,
    axis: int | None,
) -> npt.NDArray[np.int64]:
    """Return the frame of each position, shape (N,), given in the layer and in the image.

    -1 for those that lie on other planes, or stacks.
    """
    leading = coordinates[:, list(displayed.axes.leading)]
    on_show = np.array(displayed.plane.leading, int)
    others = [
        place for place, other_axis in enumerate(displayed.axes.leading) if other_axis != axis
    ]
    here = is_near(leading[:, others], on_show[others]) & is_on_channel(layer, data, displayed)
    if axis is None:
        return here.astype(np.int64) - 1
    own = displayed.axes.leading.index(axis)
    frames = np.round(leading[:, own]).astype(np.int64)
    frames[is_near(leading[:, [own]], on_show[[own]])] = on_show[own]
    inside = (frames >= 0) & (frames < shape_of(displayed.layer)[axis])
    numbers: npt.NDArray[np.int64] = np.where(here & inside, frames, -1)
    return numbers


def _read_points(layer: Points, displayed: DisplayedPlane, axis: int | None) -> Found:
    """Yield the frame of each point, and the point unless it lies beside the image.

    Points that are not shown are not drawn, and no prompts.
    """
    if len(layer.data) == 0:
        return
    coordinates = DataMap.between(layer, displayed.layer, displayed.world)(layer.data)
    frames = _find_frames(layer, layer.data, coordinates, displayed, axis)
    # On one plane all clicks are on one object.
    ids = [None] * len(frames) if axis is None else read_ids(layer)
    plane = Region.whole(displayed.shape)
    places = coordinates[:, [displayed.axes.y, displayed.axes.x]].tolist()
    rows = zip(places, read_polarity(layer), ids, frames.tolist(), strict=True)
    for (y, x), word, object_id, frame in compress(rows, layer.shown):
        inside = plane.holds(y, x)
        yield frame, PointPrompt(y, x, is_positive(word), object_id) if inside else None


def _read_boxes(
    make: type[BoxPrompt | ExemplarPrompt],
    layer: Shapes,
    displayed: DisplayedPlane,
    axis: int | None,
) -> Found:
    """Yield the frame of each shape, and its bounding box unless that encloses no pixel.

    Of a lasso, a polygon or a path, the pixels inside are a mask, where boxes name objects.
    Examples alone may be negative: each box is one object.
    """
    data_map = DataMap.between(layer, displayed.layer, displayed.world)
    rows = zip(layer.data, layer.shape_type, read_polarity(layer), strict=True)
    for outline, kind, word in rows:
        corners = data_map(outline)
        frames = set(_find_frames(layer, outline, corners, displayed, axis).tolist())
        frame = frames.pop() if len(frames) == 1 else -1
        if frame < 0:
            yield frame, None
            continue
        if make is ExemplarPrompt:
            yield frame, _enclose(corners, displayed, make, positive=is_positive(word))
        elif kind in _LASSOS:
            yield frame, _fill(corners, displayed)
        else:
            yield frame, _enclose(corners, displayed, make)


_LASSOS = ("polygon", "path")


def _fill(corners: npt.NDArray[np.float64], displayed: DisplayedPlane) -> Prompt | None:
    """Return the pixels inside an outline, shape (N, D), as a mask; if it encloses any."""
    box = _enclose(corners, displayed, BoxPrompt)
    if box is None:
        return None
    region = box.region.intersect(Region.whole(displayed.shape))
    rows = corners[:, displayed.axes.y] - region.y0
    columns = corners[:, displayed.axes.x] - region.x0
    mask = np.zeros(region.shape, bool)
    mask[draw.polygon(rows, columns, region.shape)] = True
    # What is thinner than a pixel has no pixel's centre inside.
    return MaskPrompt.from_region(mask, region) if mask.any() else box


def _read_masks(layer: Labels, displayed: DisplayedPlane, axis: int | None) -> Found:
    """Yield the painted mask of the plane, or of each frame one mask an object."""
    data_map = DataMap.between(displayed.layer, layer, displayed.world)
    for frame, first in _iter_first_pixels(layer, displayed, data_map, axis):
        plane = read_plane(layer, displayed, data_map, first)
        if plane is None:
            continue
        if axis is None:
            if plane.any():
                yield frame, MaskPrompt.from_plane(plane)
            continue
        values = np.unique(plane)
        for value in values[values > 0]:
            yield frame, MaskPrompt.from_plane(plane == value, int(value))


_READERS: dict[PromptKind, Callable[..., Found]] = {
    PromptKind.POINTS: _read_points,
    PromptKind.BOXES: partial(_read_boxes, BoxPrompt),
    PromptKind.EXEMPLARS: partial(_read_boxes, ExemplarPrompt),
    PromptKind.MASK: _read_masks,
}
_FIELDS = {
    PromptKind.POINTS: "points",
    PromptKind.BOXES: "boxes",
    PromptKind.EXEMPLARS: "exemplars",
    PromptKind.MASK: "masks",
}


def _enclose(
    corners: npt.NDArray[np.float64],
    displayed: DisplayedPlane,
    make: type[BoxPrompt | ExemplarPrompt],
    **options: bool,
) -> BoxPrompt | ExemplarPrompt | None:
    """Return the box, or the example, of an outline, shape (N, D), if it encloses pixels."""
    rows, columns = corners[:, displayed.axes.y], corners[:, displayed.axes.x]
    # Half-open as the pixels: the first pixel begins at 0, its centre is where the layer says 0.
    ends = np.array((rows.min(), columns.min(), rows.max(), columns.max())) + 0.5
    box = y0, x0, y1, x1 = tuple(np.round(ends, 6).tolist())
    plane = Region.whole(displayed.shape)
    if y0 == y1 or x0 == x1 or Region.enclosed_by(box).intersect(plane).is_empty:
        return None
    return make.from_box(box, **options).cut(plane)


def is_at_hand(layer: Labels) -> bool:
    """Return whether a painted layer can be looked through at each brush stroke."""
    data = layer.data
    return not layer.multiscale and isinstance(data, np.ndarray) and data.size <= _LARGE


def is_painted(
    layer: Labels, displayed: DisplayedPlane, data_map: DataMap, first: npt.NDArray[np.float64]
) -> bool:
    """Return whether a layer has values on a plane of an image, as :func:`read_plane` takes it.

    Where it would take long to find out it is taken to have some; a run finds out.
    """
    if not is_at_hand(layer):
        return _find_index(layer, displayed, data_map, first) is not None
    plane = read_plane(layer, displayed, data_map, first)
    return plane is not None and bool(plane.any())


def _find_index(
    layer: Labels, displayed: DisplayedPlane, data_map: DataMap, first: npt.NDArray[np.float64]
) -> tuple[int | slice, ...] | None:
    """Return the index of a plane of an image in a layer's array; None if it does not reach it."""
    steps = data_map.matrix[:, [displayed.axes.y, displayed.axes.x]]
    index: list[int | slice] = [slice(None)] * layer.ndim
    for axis, size in enumerate(array_of(layer).shape):
        if np.allclose(steps[axis], 0):
            at = round(float(first[axis]))
            if not 0 <= at < size:
                return None
            index[axis] = at
    return tuple(index) if sum(isinstance(position, slice) for position in index) == 2 else None


def read_plane(
    layer: Labels, displayed: DisplayedPlane, data_map: DataMap, first: npt.NDArray[np.float64]
) -> npt.NDArray[np.generic] | None:
    """Return a layer's values on a plane of an image, shape (H, W); None where it has none.

    ``displayed``: the image, and the shape of its planes.
    ``data_map``: from the image to the layer.
    ``first`` (shape (d,)): where the plane's first pixel lies in the layer.
    """
    index = _find_index(layer, displayed, data_map, first)
    if index is None:
        return None
    sliced: npt.NDArray[np.generic] = np.asarray(array_of(layer)[index])
    free = [axis for axis, position in enumerate(index) if isinstance(position, slice)]
    steps = data_map.matrix[:, [displayed.axes.y, displayed.axes.x]]
    unmoved = np.allclose(steps[free], np.eye(2)) and np.allclose(first[free], 0)
    if sliced.shape == displayed.shape and unmoved:
        return sliced
    moved: npt.NDArray[np.generic] = ndimage.affine_transform(
        # The nearest pixel: a mask has no values in between.
        sliced,
        steps[free],
        offset=first[free],
        output_shape=displayed.shape,
        order=0,
    )
    return moved


def find_pixels(
    layer: Points, chosen: Sequence[int], displayed: DisplayedPlane, axis: int
) -> list[tuple[int, int, int] | None]:
    """Return frame, row and column of points; None for those that lie elsewhere.

    ``chosen``: which of its points.
    ``axis``: number of the array's axis that the frames lie along.
    """
    data, plane = layer.data[list(chosen)], Region.whole(displayed.shape)
    coordinates = DataMap.between(layer, displayed.layer, displayed.world)(data)
    frames = _find_frames(layer, data, coordinates, displayed, axis)
    places = coordinates[:, [displayed.axes.y, displayed.axes.x]].tolist()
    return [
        (frame, math.floor(y + 0.5), math.floor(x + 0.5))
        if frame >= 0 and plane.holds(y, x)
        else None
        for frame, (y, x) in zip(frames.tolist(), places, strict=True)
    ]


def _holds_any(layer: Labels) -> bool:
    """Return whether anything is painted on a layer; of our own ones little is looked at."""
    pixels = layer.data[painted_box(layer)] if role_of(layer) is Role.MASK else layer.data
    return bool(np.any(pixels))


def _is_painted(layer: Labels, displayed: DisplayedPlane, axis: int | None) -> bool:
    data_map = DataMap.between(displayed.layer, layer, displayed.world)
    firsts = (first for _, first in _iter_first_pixels(layer, displayed, data_map, axis))
    return any(is_painted(layer, displayed, data_map, first) for first in firsts)


def _iter_first_pixels(
    layer: Labels, displayed: DisplayedPlane, data_map: DataMap, axis: int | None
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Yield the frames that a layer reaches, and where in it their first pixels lie."""
    origin = data_map(plane_position(displayed, 0, 0))[0]
    if axis is None:
        yield 0, origin
        return
    own = displayed.axes.leading.index(axis)
    on_show = displayed.plane.leading[own]
    length = shape_of(displayed.layer)[axis]
    # A layer that does not have the axis lies on the slice on show.
    everywhere = np.allclose(data_map.matrix[:, axis], 0)
    frames = np.array([on_show]) if everywhere else np.arange(length)
    firsts = origin + np.outer(frames - on_show, data_map.matrix[:, axis])
    # Of a thousand frames a layer mostly has one: only this is looked at.
    flat = np.isclose(data_map.matrix[:, [displayed.axes.y, displayed.axes.x]], 0).all(axis=1)
    indices = np.round(firsts[:, flat])
    inside = ((indices >= 0) & (indices < np.array(array_of(layer).shape)[flat])).all(axis=1)
    yield from zip(frames[inside].tolist(), firsts[inside], strict=True)


def leave_out(
    layer: Layer,
    displayed: DisplayedPlane,
    state: State,
    known: State,
    on: ObjectRecord | None,
) -> State:
    """Return a state of a layer without what an earlier one has, too, of an object on show."""
    if isinstance(layer, Labels):
        mine = on is None and state == known and _is_painted(layer, displayed, None)
        return () if mine else state
    read = _READERS[PromptKind.POINTS if isinstance(layer, Points) else PromptKind.BOXES]
    rows = zip(state, read(layer, displayed, None), strict=True)
    return tuple(
        row
        for row, (frame, prompt) in rows
        if frame < 0 or row not in known or not (on is None or _is_on(prompt, on))
    )


def _is_on(prompt: Prompt | None, record: ObjectRecord) -> bool:
    """Return whether a prompt is a click on an object, or an outline of about its size."""
    box = record.region
    if isinstance(prompt, PointPrompt):
        at = (math.floor(prompt.y + 0.5) - box.y0, math.floor(prompt.x + 0.5) - box.x0)
        return box.holds(prompt.y, prompt.x) and bool(record.mask[at])
    if prompt is None:
        return False
    shared = prompt.region.intersect(box)
    return 2 * shared.area > prompt.region.union(box).area

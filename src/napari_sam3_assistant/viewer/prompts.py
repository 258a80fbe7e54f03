"""What of the prompt layers counts: the prompts on a plane or through a stack."""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes
from psygnal import Signal
from scipy import ndimage
from skimage import draw

from napari_sam3_assistant.core.prompts import (
    NOT_DRAWN,
    SIGNED,
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
    Tool,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.session.snapshots import ImageSnapshot
from napari_sam3_assistant.session.values import LayerChoice, PromptCounts
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.geometry import DataMap, array_of
from napari_sam3_assistant.viewer.images import (
    ALL_IMAGES,
    DisplayedPlane,
    ViewerImages,
    address_of,
    image_layers,
    plane_position,
    shape_of,
)
from napari_sam3_assistant.viewer.prompt_layers import (
    LAYER_TYPES,
    State,
    ensure,
    get_ready,
    is_positive,
    read_ids,
    read_polarity,
    read_states,
    restore_states,
)
from napari_sam3_assistant.viewer.roles import (
    IMAGE,
    Role,
    key_of,
    preserve_choices,
    role_of,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel

    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.session.values import PlaneTarget
    from napari_sam3_assistant.viewer.roles import Choices

    Prompt = PointPrompt | BoxPrompt | ExemplarPrompt | MaskPrompt
    # Of each prompt its frame, -1 elsewhere; None for one beside the image.
    Found = Iterator[tuple[int, Prompt | None]]


ROLE_OF_KIND = {
    PromptKind.POINTS: Role.POINTS,
    PromptKind.BOXES: Role.BOXES,
    PromptKind.EXEMPLARS: Role.BOXES,
    PromptKind.MASK: Role.MASK,
}
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
        there = not painted and any(is_at_hand(layer) and layer.data.any() for layer in layers)
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


def _leave_out(
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


_ROLE_OF_TOOL = {Tool.POINTS: Role.POINTS, Tool.BOX: Role.BOXES, Tool.MASK: Role.MASK}
_TOOL_OF_ROLE = {role: tool for tool, role in _ROLE_OF_TOOL.items()}


class ViewerPrompts(ViewerImages):
    """The images of a viewer, and the layers that prompts on them are taken from.

    Attributes
    ----------
    busy : bool
        Whether the layers are being changed by us and not by the user.
    chosen : dict of Tool to str
        Keys of the layers that prompts are taken from, where it is not the session's own.
    """

    restored = Signal()
    deselected = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self.busy = False
        self.chosen: dict[Tool, str] = {}

    def take_snapshot(self, image: str, kind: PromptKind) -> ImageSnapshot:
        """Freeze the plane on show and the prompts of one kind on it."""
        displayed = self.displayed(image)
        return self._snapshot(image, displayed, kind, key_of(displayed.layer))

    def _snapshot(
        self, image: str, displayed: DisplayedPlane, kind: PromptKind, prompted: str
    ) -> ImageSnapshot:
        """Freeze a plane, and the prompts that lie on it of the image that has them."""
        view = self.view_of(image, displayed)
        prompts = read_prompts(self.layers_of(prompted, kind), displayed, kind).plane
        anchors = PromptSet()
        if kind in NOT_DRAWN:
            # Points and boxes say where to look.
            points, boxes = (
                read_prompts(self.layers_of(prompted, kind), displayed, kind).plane
                for kind in (PromptKind.POINTS, PromptKind.BOXES)
            )
            anchors = PromptSet(points=points.points, boxes=boxes.boxes)
        address = address_of(displayed.layer) if image != ALL_IMAGES else ""
        return ImageSnapshot(displayed.target, view, prompts, self.paths(), anchors, address)

    def take_snapshots(
        self, image: str, kind: PromptKind, *, every_image: bool
    ) -> tuple[tuple[ImageSnapshot, ...], tuple[str, ...]]:
        """Freeze one image or every image, with the prompts of the chosen one on each."""
        if not every_image:
            return (self.take_snapshot(image, kind),), ()
        prompted = key_of(self.image(image))
        snapshots, failed = [], []
        for layer in image_layers(self.viewer):
            key = key_of(layer)
            try:
                snapshots.append(self._snapshot(key, self.displayed(key), kind, prompted))
            except ImageError as error:
                failed.append(f"“{layer.name}”: {error}")
        return tuple(snapshots), tuple(failed)

    def arm(self, image: str, tool: Tool) -> str:
        """Make the prompt layer of a tool ready to use; returns its name.

        Raises ImageError if the image is gone, or the viewer shows no plane of it.
        """
        displayed = self.displayed(image)
        with self.mark_changes() as chosen:
            layer = ensure(self.viewer, displayed, _ROLE_OF_TOOL[tool])
            chosen.select(layer)
        return str(layer.name)

    def is_for(self, layer: Layer, image: str, tool: Tool) -> bool:
        """Return whether prompts of a tool for an image are taken from a layer."""
        found, role, chosen = self.find(image), _ROLE_OF_TOOL.get(tool), self.chosen.get(tool, "")
        if chosen or found is None:
            return key_of(layer) == chosen
        # Of the painted ones there may be one for each slice.
        return role_of(layer) is role and layer.metadata.get(IMAGE) == key_of(found)

    def go_back_to(self, image: str, tool: Tool) -> None:
        """Make the layer active that a tool's prompts are taken from, or the image itself."""
        found, role = self.find(image), _ROLE_OF_TOOL.get(tool)
        if found is None:
            return
        layer = None if role is None else self.prompt_layer(key_of(found), role)
        with self.mark_changes() as chosen:
            if layer is not None and role is not None:
                get_ready(layer, role)
            chosen.select(layer or found)

    def count(self, image: str, kind: PromptKind, axis: int | None = None) -> PromptCounts:
        """Return how many prompts of one kind a run of a plane, or along an axis, would take."""
        try:
            displayed = self.displayed(image)
        except Sam3AssistantError:
            # No image, or no plane of it: no prompts on it either; the run says why.
            return PromptCounts()
        if axis is not None and axis not in displayed.axes.leading:
            return PromptCounts()
        layers = self.layers_of(key_of(displayed.layer), kind, every_slice=axis is not None)
        return count_prompts(layers, displayed, kind, axis)

    def prompt_choices(self) -> tuple[LayerChoice, ...]:
        """Return the layers that prompts can be taken from, the topmost first."""
        return tuple(
            LayerChoice(key_of(layer), layer.name, _TOOL_OF_ROLE[role])
            for layer in reversed(self.viewer.layers)
            for role, kind in LAYER_TYPES.items()
            if isinstance(layer, kind)
        )

    def prompt_layer(self, image: str, role: Role) -> Layer | None:
        """Return the layer that an image's prompts of a role are taken from, or None."""
        chosen = self.chosen.get(_TOOL_OF_ROLE[role], "")
        for layer in self.viewer.layers:
            if chosen and key_of(layer) == chosen:
                return layer
        return topmost(self.viewer.layers, role, image)

    def layers_of(
        self, image: str, kind: PromptKind, *, every_slice: bool = False
    ) -> Sequence[Layer]:
        """Return the layers of an image's prompts of a kind: of painted ones one a slice."""
        role = ROLE_OF_KIND.get(kind)
        layer = None if role is None else self.prompt_layer(image, role)
        if role is None or layer is None:
            return ()
        if every_slice and role is Role.MASK:
            own = list(with_role(self.viewer.layers, role, image))
            if layer in own:
                return own
        return (layer,)

    def points_layer(self, image: str) -> Points | None:
        """Return the points layer of an image, or None."""
        layer = self.find(image)
        return None if layer is None else self.prompt_layer(key_of(layer), Role.POINTS)

    def signed_layer(self, image: str, kind: PromptKind) -> Points | Shapes | None:
        """Return the layer of an image's points or examples; None for kinds without polarity."""
        layer = self.find(image)
        if layer is None or kind not in SIGNED:
            return None
        return self.prompt_layer(key_of(layer), ROLE_OF_KIND[kind])

    def set_next_positive(self, image: str, kind: PromptKind, *, positive: bool) -> None:
        """Choose the polarity of the next click or example."""
        layer = self.find(image)
        drawn = None if layer is None else self.prompt_layer(key_of(layer), ROLE_OF_KIND[kind])
        if isinstance(drawn, Points | Shapes):
            # What is drawn next is an object where prompts of its kind have no polarity.
            positive = positive or kind not in SIGNED
            prompt_layers.set_next_polarity(drawn, positive=positive)

    def flip_prompts(self, image: str, kind: PromptKind) -> int:
        """Flip the selected points or examples, or the latest one; returns how many."""
        layer = self.signed_layer(image, kind)
        return 0 if layer is None else prompt_layers.flip(layer)

    def mark_prompts(self, image: str, kind: PromptKind, *, positive: bool) -> int:
        """Give the selected points or examples a polarity; returns how many.

        Raises PromptError if there is no layer of them, or none is selected.
        """
        layer = self.signed_layer(image, kind)
        what = "boxes" if kind is PromptKind.EXEMPLARS else "points"
        if layer is None:
            raise PromptError(f"There is no {what} layer.", "Press Create Prompt Layer first.")
        chosen = prompt_layers.selected(layer)
        if not chosen:
            raise PromptError(
                f"Select one or more {SIGNED[kind]}s before applying the positive/negative type.",
                "Use the arrow tool of the layer.",
            )
        prompt_layers.set_polarity(layer, dict.fromkeys(chosen, positive))
        return len(chosen)

    def prompt_state(self) -> object:
        """Return all prompts as a value that :meth:`set_prompt_state` takes."""
        return read_states(self.viewer.layers)

    def set_prompt_state(self, state: object) -> None:
        """Put all prompts back as they were."""
        kept: dict[str, Any] = state if isinstance(state, dict) else {}
        with self.mark_changes():
            restore_states(self.viewer.layers, kept)
        self.restored.emit()

    def clear_prompts(self, image: str) -> None:
        """Remove the prompts of an image."""
        mine = [layer for layer in self.viewer.layers if layer.metadata.get(IMAGE) == image]
        with self.mark_changes():
            restore_states(mine, {})
        self.restored.emit()

    def drop_prompts(
        self,
        target: PlaneTarget,
        kinds: Collection[PromptKind],
        known: object,
        on: ObjectRecord | None = None,
    ) -> bool:
        """Remove prompts on a plane, if it is on show; those of layers that are not ours stay.

        ``kinds``: of which kinds.
        ``known``: a state of :meth:`prompt_state`; prompts that are newer stay.
        ``on``: the object that they lie on, without which all are removed.
        Returns whether there were any.
        """
        try:
            displayed = self.displayed(target.image)
        except ImageError:  # nothing of it is on show
            return False
        if not displayed.target.is_same_plane(target):
            return False
        roles = {ROLE_OF_KIND[kind] for kind in kinds if kind in ROLE_OF_KIND}
        image = key_of(displayed.layer)
        layers = [layer for role in roles for layer in with_role(self.viewer.layers, role, image)]
        now, before = read_states(layers), known if isinstance(known, dict) else {}
        kept = {
            (key := key_of(layer)): _leave_out(layer, displayed, now[key], before.get(key, ()), on)
            for layer in layers
        }
        if kept == now:
            return False
        with self.mark_changes():
            restore_states(layers, kept)
        self.restored.emit()
        return True

    @contextmanager
    def mark_changes(self) -> Iterator[Choices]:
        """Mark the changes that follow as ours; see :func:`.roles.preserve_choices`.

        ``deselected``: the active layer was removed with them.
        """
        outermost, self.busy = not self.busy, True
        try:
            with preserve_choices(self.viewer) as chosen:
                yield chosen
        finally:
            self.busy = not outermost
        if outermost and chosen.lost:
            self.deselected.emit()

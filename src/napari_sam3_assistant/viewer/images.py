"""Image layers as the session sees them: choices, planes on show, and the pixels."""

from __future__ import annotations

import re
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_sam3_assistant.core.axes import (
    FIND_OUT,
    ImageAxes,
    axis_kind,
    ends_in_channels,
    guess_axes,
)
from napari_sam3_assistant.core.display import (
    INVERTED,
    Display,
    ImageView,
    ViewChannel,
    choose_contrast,
    is_inverted,
    is_untouched,
)
from napari_sam3_assistant.core.images import ImageSource, PlaneRef, level_zero
from napari_sam3_assistant.core.paths import is_address
from napari_sam3_assistant.errors import ImageError, Sam3AssistantError
from napari_sam3_assistant.session.layer_files import find_origin
from napari_sam3_assistant.session.values import FrameAxis, ImageChoice, PlaneTarget
from napari_sam3_assistant.viewer.axes_from_file import LayerAxes, label_of
from napari_sam3_assistant.viewer.geometry import (
    World,
    array_of,
    is_aligned,
)
from napari_sam3_assistant.viewer.roles import SERIES, key_of, role_of

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt
    from napari.components import ViewerModel


def image_layers(viewer: ViewerModel) -> list[Image]:
    """Return the image layers that can be segmented, the lowest first."""
    return [layer for layer in viewer.layers if isinstance(layer, Image) and role_of(layer) is None]


def file_of(layer: Layer) -> Path | None:
    """Return the file that a layer was opened from, or the folder of a series of files.

    None if there is none, or it is on a server.
    """
    path = str(layer.source.path or "")
    if not path or is_address(path):
        return None
    return find_origin(Path(path), array_of(layer).shape)


def title_of(layer: Layer) -> str:
    """Return how files that are made of a layer are called: as it is.

    napari calls a series of files as the first of them: it is called as its folder here.
    """
    file, source_path = file_of(layer), Path(str(layer.source.path or ""))
    is_first = re.sub(r" \[\d+\]$", "", layer.name) == source_path.stem
    return file.name if file is not None and file != source_path and is_first else str(layer.name)


def address_of(layer: Layer) -> str:
    """Return where on a server a layer was opened from; empty for elsewhere."""
    path = str(layer.source.path or "")
    return path if is_address(path) else ""


def find_image(viewer: ViewerModel, key: str) -> Image:
    """Return the image layer of a key.

    Raises ImageError if it is gone.
    """
    for layer in image_layers(viewer):
        if key_of(layer) == key:
            return layer
    raise ImageError("The image is no longer open.", "Choose another image.")


def displayed_axes(viewer: ViewerModel, layer: Layer, channel_axis: int = FIND_OUT) -> ImageAxes:
    """Return the axes of an image, its plane being the one that the viewer displays.

    ``channel_axis``: number of its channel axis; -1 to find it out.
    Raises ImageError if the viewer displays no plane of the image.
    """
    missing = viewer.dims.ndim - layer.ndim
    rows, columns = sorted(axis - missing for axis in viewer.dims.order[-2:])
    if rows < 0:
        raise ImageError(
            f"The viewer does not show rows and columns of “{layer.name}”.",
            "Roll the axes back with the buttons below the canvas.",
        )
    return guess_axes(
        shape_of(layer),
        channel_axis=channel_axis,
        rgb=layer.rgb,
        axis_labels=layer.axis_labels,
        plane_axes=(rows, columns),
    )


def shape_of(layer: Image) -> tuple[int, ...]:
    """Return the shape of an image layer's array, of the largest level if it has several."""
    return tuple(int(size) for size in array_of(layer).shape)


def displayed_plane(viewer: ViewerModel, layer: Layer, axes: ImageAxes) -> PlaneRef:
    """Return the plane of an image that the viewer shows, by its point in the world.

    Raises ImageError if the sliders are where the image has no plane, and napari draws none.
    """
    position = World.of(viewer).slice_of(layer)
    shape = shape_of(layer)

    def index(axis: int) -> int:
        at = round(float(position[axis]))
        if not 0 <= at < shape[axis]:
            raise ImageError(
                f"The sliders are beyond the image, at {axis_name(layer, axes, axis)} = {at}.",
                f"Go to 0 to {shape[axis] - 1}.",
            )
        return at

    channel = None if axes.channel is None or axes.rgb else index(axes.channel)
    return PlaneRef(tuple(index(axis) for axis in axes.leading), channel)


def view_channel(
    layer: Image, source: ImageSource, plane: PlaneRef, *, coloured: bool = False
) -> ViewChannel:
    """Return how a layer's plane is seen: as the user sees it.

    ``coloured``: whether its colormap counts: only where several images are added up. Of a single
    one it is left out, but dark on bright stays dark on bright.
    """
    if source.axes.rgb:
        return ViewChannel(source, plane, Display())
    chosen = tuple(layer.contrast_limits), tuple(layer.contrast_limits_range)
    limits = choose_contrast(*chosen, source, plane.channel)
    colours = _colour_table(layer)
    grey = INVERTED if is_inverted(colours) else None
    display = Display(
        limits,
        float(layer.gamma),
        colours if coloured else grey,
        padding=is_untouched(*chosen, source),
    )
    return ViewChannel(source, plane, display)


def _colour_table(layer: Image) -> npt.NDArray[np.float64]:
    return np.asarray(layer.colormap.map(np.linspace(0, 1, 256)), float)[:, :3]


def make_choice(viewer: ViewerModel, layer: Image, channel_axis: int = FIND_OUT) -> ImageChoice:
    """Return an image as the user chooses it."""
    key, name = key_of(layer), layer.name
    try:
        axes = displayed_axes(viewer, layer, channel_axis)
        plane = displayed_plane(viewer, layer, axes)
    except Sam3AssistantError as error:
        return ImageChoice(key, name, str(error), why_not=str(error))
    shape, note = shape_of(layer), _explain_plane(viewer, layer, axes, plane)
    summary = ". ".join(filter(None, (_summarise(layer, axes, plane), note)))
    return ImageChoice(key, name, summary, (shape[axes.y], shape[axes.x]), note)


def _describe_plane(layer: Layer, axes: ImageAxes, plane: PlaneRef) -> list[str]:
    """Return where a plane lies, axis by axis."""
    return [
        f"{axis_name(layer, axes, axis)} = {index}"
        for axis, index in zip(axes.leading, plane.leading, strict=True)
    ]


def _explain_plane(viewer: ViewerModel, layer: Image, axes: ImageAxes, plane: PlaneRef) -> str:
    """Return which plane is segmented, where what napari draws is made of several."""
    dims, missing = viewer.dims, viewer.dims.ndim - layer.ndim
    plane_text = ", ".join(_describe_plane(layer, axes, plane))
    last = axes.ndim - 1
    unnamed = not any(own_axis_name(layer, axis) for axis in range(layer.ndim))
    if last in (axes.y, axes.x) and unnamed and ends_in_channels(shape_of(layer)):
        return (
            f"Are the {shape_of(layer)[last]} columns channels? Then roll the axes on show, with "
            "the button below the canvas, until it shows rows and columns."
        )
    if dims.ndisplay > 2 and {axis + missing for axis in axes.leading} & set(dims.displayed):
        return f"3-D display: the plane {plane_text} is segmented; choose another one in 2-D."
    margins = zip(dims.margin_left, dims.margin_right, strict=True)
    thick = {axis for axis, sides in enumerate(margins) if any(sides)} - set(dims.displayed)
    if str(layer.projection_mode) != "none" and {axis + missing for axis in axes.leading} & thick:
        return f"Thick slice: of its planes the one at {plane_text} is segmented."
    return ""


def _summarise(layer: Image, axes: ImageAxes, plane: PlaneRef) -> str:
    shape = shape_of(layer)
    parts = [f"{shape[axes.y]} x {shape[axes.x]}", *_describe_plane(layer, axes, plane)]
    if axes.rgb:
        parts.append("RGB")
    elif plane.channel is not None:
        parts.append(f"channel {plane.channel} ({axes.reason})")
    return ", ".join(parts)


_STACKED = ("t", "z")


def axis_name(layer: Layer, axes: ImageAxes, axis: int) -> str:
    """Return an axis's label; else t or z where that can be inferred, or its number.

    It is inferred from the unit of the axis, and where a plane has two leading axes: of files with
    both, time is the first one, and whatever one of them is, the other is not. Where the user has
    rolled rows or columns to the sliders, lengths may be along these, too.
    """
    if max(axes.leading, default=-1) > min(axes.y, axes.x):
        return own_axis_name(layer, axis, kinds=("t",)) or f"axis {axis}"
    known = {axis: own_axis_name(layer, axis) for axis in axes.leading}
    free = [axis for axis, name in known.items() if not name]
    left = [name for name in _STACKED if name not in map(axis_kind, known.values())]
    if len(known) == len(_STACKED) and len(free) == len(left):
        known |= dict(zip(free, left, strict=True))
    return known.get(axis) or own_axis_name(layer, axis) or f"axis {axis}"


def own_axis_name(layer: Layer, axis: int, *, kinds: Collection[str] = _STACKED) -> str:
    """Return an axis's label, or t or z by what it counts in; empty where neither is known."""
    if label := label_of(layer, axis):
        return label
    counts = zip(_STACKED, ("second", "meter"), strict=True)
    unit = layer.units[axis]
    found = (name for name, kind in counts if name in kinds and unit.is_compatible_with(kind))
    return next(found, "")


ALL_IMAGES = "all visible images"


class ViewerImages:
    """The images that a user can choose from.

    ``channel_axis``: number of the images' channel axis; -1 to find it out.
    ``sources``: the pixels of the images that have been looked at.
    ``layer_axes``: what files tell of the images' axes, and what the images have of it.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.channel_axis = FIND_OUT
        self.sources = SourceCache()
        self.layer_axes = LayerAxes(viewer, self.find)

    def choices(self) -> tuple[ImageChoice, ...]:
        """Return the images that can be chosen, the topmost first."""
        images = image_layers(self.viewer)
        listed = [make_choice(self.viewer, layer, self.channel_axis) for layer in reversed(images)]
        if sum(layer.visible for layer in images) > 1:
            first, *others = [
                make_choice(self.viewer, layer, self.channel_axis)
                for layer in self._visible_images()
            ]
            why_not = next((layer.why_not for layer in (first, *others) if layer.why_not), "")
            summary = ". ".join(filter(None, ("as one coloured picture", first.note)))
            listed.append(
                ImageChoice(
                    ALL_IMAGES,
                    "All visible images",
                    why_not or summary,
                    first.shape,
                    first.note,
                    why_not,
                )
            )
        return tuple(listed)

    def explain_no_image(self) -> str:
        """Return what to do where there is no image to choose."""
        labels = [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Labels) and not role_of(layer)
        ]
        if not labels:
            return "Open an image first."
        return (
            f"“{labels[-1].name}” is open as labels: so napari opens files of whole numbers of 32 "
            "or 64 bits. If it is an image, right-click it in the layer list: Convert to Image."
        )

    def image(self, key: str) -> Image:
        """Return the layer of an image key: of several images the lowest.

        Raises ImageError if it is gone.
        """
        if key == ALL_IMAGES:
            return self._visible_images()[0]
        return find_image(self.viewer, key)

    def find(self, key: str) -> Image | None:
        """Return the layer of an image key, or None if it is gone."""
        try:
            return self.image(key)
        except ImageError:
            return None

    def image_of(self, target: PlaneTarget) -> Image:
        """Return the layer of the image that a result is of.

        Raises ImageError if it is gone, or has another shape now.
        """
        layer = find_image(self.viewer, target.image)
        if shape_of(layer) != target.shape:
            raise ImageError(
                f"“{layer.name}” has another shape now; earlier results do not fit it.",
                "Run again.",
            )
        return layer

    def is_current(self, target: PlaneTarget) -> bool:
        """Return whether a result still fits its image."""
        try:
            self.image_of(target)
        except ImageError:
            return False
        return True

    def axes(self, layer: Image) -> ImageAxes:
        """Return the axes of an image, its plane being the one that the viewer displays.

        Raises ImageError if the viewer displays no plane of it.
        """
        return displayed_axes(self.viewer, layer, self.channel_axis)

    def frame_axes(self, image: str) -> tuple[FrameAxis, ...]:
        """Return the axes of an image that objects can be followed along."""
        try:
            layer = self.image(image)
            axes = self.axes(layer)
        except Sam3AssistantError:
            # No image, or no plane of it: a run says why.
            return ()
        shape = shape_of(layer)
        return tuple(
            FrameAxis(axis, axis_name(layer, axes, axis), shape[axis])
            for axis in axes.leading
            if shape[axis] > 1
        )

    def name_frames(self, image: str, axis: int, name: str) -> None:
        """Name an axis of an image as napari does; all that shows it follows."""
        layer = self.find(image)
        if layer is not None:
            names = list(layer.axis_labels)
            names[axis] = name
            layer.axis_labels = names

    def _visible_images(self) -> list[Image]:
        images = [layer for layer in image_layers(self.viewer) if layer.visible]
        if not images:
            raise ImageError("No image is visible.", "Show one in the layer list.")
        return images

    def displayed(self, key: str) -> DisplayedPlane:
        """Return the plane of an image that is on show.

        Raises ImageError if the image is gone, or the viewer shows no plane of it.
        """
        return self.displayed_of(self.image(key))

    def displayed_of(self, layer: Image) -> DisplayedPlane:
        """Return the plane of an image layer that is on show, or would be in the viewer.

        Raises ImageError if the viewer shows no plane of it.
        """
        axes = self.axes(layer)
        shape = shape_of(layer)
        return DisplayedPlane(
            layer,
            axes,
            displayed_plane(self.viewer, layer, axes),
            (shape[axes.y], shape[axes.x]),
            World.of(self.viewer),
        )

    def take_view(self, image: str) -> ImageView:
        """Return what the model would see of the plane on show."""
        return self.view_of(image, self.displayed(image))

    def view_of(self, image: str, displayed: DisplayedPlane) -> ImageView:
        """Return what the model would see of a plane of an image that is on show."""
        planes = [displayed]
        if image == ALL_IMAGES:
            layers = self._visible_images()
            self._check_aligned(layers)
            planes += [self.displayed(key_of(layer)) for layer in layers[1:]]
        coloured, channels = len(planes) > 1, []
        for plane in planes:
            source = self.sources.source(plane.layer, plane.axes, plane.plane)
            channels.append(view_channel(plane.layer, source, plane.plane, coloured=coloured))
        return ImageView(tuple(channels))

    def paths(self) -> dict[int, Path]:
        """Return the files of the images that have been looked at, by the token of the source."""
        files = {key_of(layer): file_of(layer) for layer in image_layers(self.viewer)}
        return self.sources.files({key: file for key, file in files.items() if file is not None})

    def file_of(self, image: str) -> Path | None:
        """Return the file or folder that an image was read from; None if there is none."""
        layer = self.find(image)
        return None if layer is None else file_of(layer)

    def title_of(self, image: str) -> str:
        """Return how files that are made of an image are called; empty if it is gone."""
        layer = self.find(image)
        return "" if layer is None else title_of(layer)

    def _check_aligned(self, layers: list[Image]) -> None:
        """Raise unless the layers lie on top of each other, pixel on pixel."""
        first = layers[0]
        for layer in layers[1:]:
            if not is_aligned(first, layer, World.of(self.viewer)):
                raise ImageError(
                    f"“{layer.name}” and “{first.name}” don't lie on top of each other.",
                    "Hide one of them, or choose a single image.",
                )


@dataclass(frozen=True, slots=True, eq=False)
class DisplayedPlane:
    """An image layer, its axes, and the plane of it that is on show.

    ``layer``: the image layer.
    ``plane``: the plane on show.
    ``shape``: height and width of the plane in pixels.
    ``world``: the viewer's world.
    """

    layer: Layer
    axes: ImageAxes
    plane: PlaneRef
    shape: tuple[int, int]
    world: World

    @property
    def target(self) -> PlaneTarget:
        """Where results of the plane belong."""
        layer = self.layer
        return PlaneTarget(key_of(layer), layer.name, self.axes, self.plane, shape_of(layer))


def plane_position(displayed: DisplayedPlane, y: float, x: float) -> npt.NDArray[np.float64]:
    """Return a pixel of the plane on show in the data coordinates of the image layer."""
    position = np.zeros(displayed.layer.ndim)
    for axis, index in zip(displayed.axes.leading, displayed.plane.leading, strict=True):
        position[axis] = index
    if displayed.axes.channel is not None and displayed.plane.channel is not None:
        position[displayed.axes.channel] = displayed.plane.channel
    position[displayed.axes.y], position[displayed.axes.x] = y, x
    return position


_MOST_BYTES = 32 << 20
"""Of larger planes every second, third, ... row is looked at: at most so much, some 30 ms."""


class SourceCache:
    """Image layers as sources of planes: the same source as long as the pixels are the same.

    Who writes into an array in place tells nobody but ``layer.refresh()``, and napari's event of
    that is the one of each move of a slider, too. So a draw is only counted. When a plane of an
    array in memory is asked for after one, a checksum says whether it is still the one that was
    looked at. An array that is read piece by piece is not read for that: it is a new source after
    a draw that nothing in the view explains.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, ImageAxes], _KnownSource] = {}
        self._views: dict[str, tuple[object, ...]] = {}

    def source(self, layer: Image, axes: ImageAxes, plane: PlaneRef) -> ImageSource:
        """Return the source of a layer that is about to be asked for a plane.

        Raises ImageError if its pixels can't be segmented, or can't be read.
        """
        key = (key_of(layer), axes)
        known = self._known.get(key)
        if known is not None and not known.is_as_it_was(plane):
            known.source.replaced, known = layer.name, None
        if known is None:
            known = self._known[key] = _KnownSource(layer, axes)
        known.look_at(plane)
        return known.source

    def key_of(self, source: ImageSource) -> str:
        """Return the key of the layer that a source is of; empty where that has others now."""
        known = ((key, known.source) for (key, _), known in self._known.items())
        return next((key for key, known_key in known if known_key is source), "")

    def files(self, paths: dict[str, Path]) -> dict[int, Path]:
        """Return what is known of layers, by key, for the tokens of their sources."""
        return {
            known.source.token: paths[key]
            for (key, _), known in self._known.items()
            if key in paths
        }

    def note_replaced(self, layer: Image) -> None:
        """Record that a layer was given other pixels; work that goes on with the earlier learns."""
        for (key, _), known in self._known.items():
            if key == key_of(layer) and not known.reads(layer):
                known.source.replaced = layer.name
        self.forget(layer)

    def forget(self, layer: Layer) -> None:
        """Record that nothing is known of a layer's pixels any more."""
        key = key_of(layer)
        self._views.pop(key, None)
        self._known = {kept: known for kept, known in self._known.items() if kept[0] != key}

    def note_drawn(self, viewer: ViewerModel, layer: Image) -> None:
        """Record that napari has drawn a layer again."""
        key, view = key_of(layer), view_state(viewer, layer)
        before, self._views[key] = self._views.get(key), view
        for (view_key, _), known in list(self._known.items()):
            if view_key == key:
                known.draws += 1
        if view == before:
            kept = self._known.items()
            self._known = {k: known for k, known in kept if k[0] != key or known.in_memory}

    def note_hidden(self, layer: Image) -> None:
        """Record that a layer was hidden: it will be drawn when it is shown again."""
        self._views.pop(key_of(layer), None)


class _KnownSource:
    """A source, and the checksums of the planes of it that were looked at."""

    def __init__(self, layer: Image, axes: ImageAxes) -> None:
        data = list(layer.data) if layer.multiscale else layer.data
        self.source = ImageSource(data, axes)
        self.source.series = layer.metadata.get(SERIES)
        # Results may hold the source for long; whoever else kept something of it lets go.
        weakref.finalize(self, self.source.drop_caches).atexit = False
        self._largest: Any = level_zero(data)
        self.draws = 0
        # For each plane its checksum, and at which draw that was right; the latest last.
        self._looked: dict[PlaneRef, tuple[int, int]] = {}

    def reads(self, layer: Image) -> bool:
        """Return whether it reads the array that a layer has now."""
        return array_of(layer) is self._largest

    @property
    def in_memory(self) -> bool:
        """Whether parts of the array are views of it: NumPy, also where it maps a file."""
        return isinstance(self._largest, np.ndarray)

    def is_as_it_was(self, plane: PlaneRef) -> bool:
        """Return whether a plane, or where nobody has looked at it the latest one, is the same."""
        if not self._looked:
            return True
        looked = plane if plane in self._looked else next(reversed(self._looked))
        checksum, draw = self._looked[looked]
        return draw == self.draws or self._checksum(looked) == checksum

    def look_at(self, plane: PlaneRef) -> None:
        """Record what a plane is like now."""
        known = self._looked.pop(plane, None)
        if self.in_memory:
            now = known[0] if known is not None else self._checksum(plane)
            self._looked[plane] = (now, self.draws)

    def _checksum(self, plane: PlaneRef) -> int:
        axes = self.source.axes
        key: list[int | slice] = [slice(None)] * axes.ndim
        for axis, index in zip(axes.leading, plane.leading, strict=True):
            key[axis] = index
        if axes.channel is not None and plane.channel is not None:
            key[axes.channel] = plane.channel
        pixels = np.asarray(
            self._largest[tuple(key)]
        )  # a view: the plane may be larger than memory
        return zlib.crc32(np.ascontiguousarray(pixels[:: 1 + pixels.nbytes // _MOST_BYTES]).data)


def view_state(viewer: ViewerModel, layer: Image | Labels) -> tuple[object, ...]:
    """Return all of a view for which napari draws a layer again, where it is another one."""
    dims, world, own = viewer.dims, World.of(viewer), slice(-layer.ndim, None)
    return (
        dims.ndisplay,
        world.shown_axes(layer, dims.ndisplay),
        # The sliders of axes that it does not have, and the pixels in view, change nothing.
        world.slice_of(layer, dims.ndisplay).tobytes(),
        dims.margin_left[own],
        dims.margin_right[own],
        str(layer.projection_mode),
        world.matrix(layer).tobytes(),
        (layer.data_level, layer.corner_pixels.tobytes()) if layer.multiscale else None,
    )

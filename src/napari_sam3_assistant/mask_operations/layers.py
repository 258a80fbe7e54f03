"""Labels layers as the mask operations see them, and where they lie in their image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes
from napari.utils import DirectLabelColormap

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.masks.cleanup import RENUMBER
from napari_sam3_assistant.core.masks.labels import (
    ImagePlace,
    check_labels,
    is_writable,
    plane_names,
)
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations.model import (
    CLASS_COLOURS,
    LabelsChoice,
    LabelsSnapshot,
    NewLabels,
    PlaneChoice,
    RemovedLayer,
    Scope,
)
from napari_sam3_assistant.viewer.accepted_objects import (
    as_label,
    read_parents,
    renumber_features,
)
from napari_sam3_assistant.viewer.axes_from_file import LayerAxes
from napari_sam3_assistant.viewer.classes import class_names
from napari_sam3_assistant.viewer.geometry import (
    DataMap,
    World,
    array_of,
    is_aligned,
    shift_transform,
    show_at,
    spacing,
    transform_of,
)
from napari_sam3_assistant.viewer.images import file_of, image_layers, shape_of, title_of
from napari_sam3_assistant.viewer.label_pixels import (
    default_colours,
    edits_of,
    is_locked,
    lock,
    redraw_in_parts,
)
from napari_sam3_assistant.viewer.label_places import SOURCE, image_of, locate_labels, name_leading
from napari_sam3_assistant.viewer.roles import IMAGE, ROLE, Role, key_of, preserve_choices, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from napari.components import ViewerModel

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.edits import EditHistory, LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box


CHANGES_NAME = "SAM3 mask changes"
_HIDDEN = (Role.MASK, Role.MASK_CHANGES)
_FOLLOWED = (Role.PREVIEW_LABELS, Role.ACCEPTED)  # their features come of their objects
# What goes, what comes, what gets another label.
_COLOURS = {None: "transparent", 0: "transparent", 1: "#ff5555", 2: "#55dd55", 3: "#ffcc33"}


def mask_layers(viewer: ViewerModel) -> list[Labels]:
    """Return the labels layers that can be worked on, the lowest first."""
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Labels) and role_of(layer) not in _HIDDEN
    ]


class LabelsAdapter:
    """The labels layers of a napari viewer. Called on the GUI thread only.

    A layer is named by its key. Where it is gone, MaskError is raised.

    ``viewer``: the viewer itself, not the proxy that napari hands to dock widgets.

    ``busy``: whether a layer is being taken out, or given other data, by us and not by the user.
    ``layer_axes``: what files tell of the labels' axes, and what the labels have of it.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.layer_axes = LayerAxes(viewer, self.find)
        self.busy = False

    @property
    def history(self) -> EditHistory:
        """What can be taken back in this viewer."""
        return edits_of(self.viewer).history

    def choices(self) -> tuple[LabelsChoice, ...]:
        """Return the labels layers, the topmost first."""
        layers = reversed(mask_layers(self.viewer))
        return tuple(_make_choice(self.viewer, layer) for layer in layers)

    def layer(self, key: str) -> Labels:
        """Return the layer of a key.

        Raises MaskError if it is gone.
        """
        layer = self.find(key)
        if layer is None:
            raise MaskError("The labels layer is no longer open.", "Choose another one.")
        return layer

    def find(self, key: str) -> Labels | None:
        """Return the layer of a key, or None if it is gone."""
        return next((layer for layer in mask_layers(self.viewer) if key_of(layer) == key), None)

    def take_snapshot(self, key: str, *, editable: bool = False) -> LabelsSnapshot:
        """Return what a job may see of a layer; raises MaskError if it can't be edited."""
        layer = self.layer(key)
        array = array_of(layer)
        check_labels(array)
        if editable:
            _check_writable(array, layer.name)
            if is_locked(layer):
                raise MaskError(f"“{layer.name}” is still being written.", "Wait a moment.")
        smaller = tuple(layer.data)[1:] if layer.multiscale else ()
        image = image_of(self.viewer, layer)
        name = str(layer.metadata.get(SOURCE) or ("" if image is None else image.name))
        return LabelsSnapshot(array, layer.name, name, _classes(layer), smaller)

    def file(self, key: str) -> Path | None:
        """Return the file or folder that a layer was opened from; None if that is not known."""
        return file_of(self.layer(key))

    def plane_names(self, key: str) -> tuple[str, ...]:
        """Return what the axes of a layer before rows and columns are."""
        return name_leading(self.viewer, self.layer(key))[0]

    def spacing(self, key: str, apart: Sequence[int]) -> tuple[float, ...]:
        """Return how far pixels lie apart along each axis; raises MaskError if that is not known.

        Along the axes that count apart there are no distances.
        """
        layer = self.layer(key)
        shape, every = array_of(layer).shape, range(layer.ndim)
        axes = [axis for axis in every if axis not in apart and shape[axis] > 1]
        return spacing(layer, axes or every)

    def place(self, key: str) -> tuple[ImagePlace, Axes]:
        """Return where labels lie in their image, and what a file can say of their place."""
        return locate_labels(self.viewer, self.layer(key))

    def explain_guess(self, key: str) -> str:
        """Return what unnamed axes of labels are taken for, for the user; empty for nothing."""
        return name_leading(self.viewer, self.layer(key))[1]

    def measured(self, key: str) -> dict[int, dict[str, float]]:
        """Return the numbers that are known of each label: score, area, what was measured."""
        table = self.layer(key).features
        if "index" not in table:
            return {}
        rows = table.drop(columns="index").select_dtypes("number").to_dict("records")
        return {
            label: {name: float(value) for name, value in row.items() if value == value}
            for label, row in zip(map(as_label, table["index"]), rows, strict=True)
            if label
        }

    def box(self, key: str, scope: Scope) -> Box | None:
        """Return the part of a layer to work on, None for all; raises MaskError without one."""
        layer = self.layer(key)
        if scope is Scope.VISIBLE:
            return visible_box(self.viewer, layer, array_of(layer).shape)
        if scope is Scope.DRAWN:
            return drawn_box(self.viewer, layer, array_of(layer).shape)
        return None

    def image_of(self, key: str) -> tuple[str, Path | None]:
        """Return what files of the image of labels are called, and its file; or neither."""
        image = image_of(self.viewer, self.layer(key))
        return ("", None) if image is None else (title_of(image), file_of(image))

    def metadata(self, key: str) -> dict[str, Any]:
        """Return what is known of a layer."""
        return dict(self.layer(key).metadata)

    def parents(self, key: str) -> dict[int, int]:
        """Return which label came of which one's division, where that is known."""
        return read_parents(self.layer(key))

    def picked_label(self, key: str) -> int:
        """Return the label that the user chose in a layer; 0 for none."""
        return int(self.layer(key).selected_label)

    def check_aligned(self, keys: Sequence[str]) -> None:
        """Raise MaskError unless the layers lie on top of each other."""
        first, *others = [self.layer(key) for key in keys]
        for layer in others:
            if not is_aligned(first, layer, World.of(self.viewer)):
                raise MaskError(
                    f"“{layer.name}” and “{first.name}” don't lie on top of each other.",
                    "Choose layers with the same scale and position.",
                )

    def lock(self, key: str) -> Callable[[], None]:
        """Keep the user from painting on a layer until what is returned is called."""
        return lock(self.layer(key))

    def redraw(self, key: str, box: Box) -> Iterator[None]:
        """Show a part of a layer anew; yields where the event loop may have its turn."""
        layer = self.layer(key)
        edits_of(self.viewer).edited.emit(layer, box)
        return redraw_in_parts(self.viewer, layer, box)

    def note_edit(self, key: str, edit: LabelEdit, *, forward: bool) -> None:
        """Tell others that an edit was written to labels in a file, or taken back."""
        layer = self.layer(key)
        changes = edit.changes() if forward else edit.changes().reverse()
        if edit.action == RENUMBER and role_of(layer) not in _FOLLOWED:
            renumber_features(layer, changes)
        edits_of(self.viewer).changed.emit(layer, changes, edit.shape)

    def show_changes(self, key: str, edit: LabelEdit, image: npt.NDArray[np.uint8]) -> None:
        """Show what an edit would do to its box (see ``core.masks.edits.classify_pixels``)."""
        source = self.layer(key)
        placed = shift_transform(transform_of(source), [side.start for side in edit.box])
        layer = self._changes()
        if layer is not None and layer.ndim == source.ndim and _same_place(layer, placed):
            layer.visible = False  # napari draws a layer that is not shown when it is shown again
            layer.data = image
            layer.translate = placed["translate"]
            layer.visible = True
            return
        self.forget_changes()
        self._insert(
            Labels(
                image,
                name=CHANGES_NAME,
                metadata={ROLE: str(Role.MASK_CHANGES)},
                colormap=DirectLabelColormap(color_dict=_COLOURS),
                opacity=0.9,
                **placed,
            )
        )

    def hide_changes(self) -> None:
        """Show that no more."""
        layer = self._changes()
        if layer is not None:
            # To remove it would halt napari, which then collects garbage, for 0.2 s.
            layer.visible = False

    def forget_changes(self) -> None:
        """Take the layer that shows changes out of the viewer."""
        layer = self._changes()
        if layer is not None:
            with preserve_choices(self.viewer):
                self.viewer.layers.remove(layer)

    def builder(self, fresh: NewLabels) -> Callable[[], Labels]:
        """Return what builds a layer, on whichever thread: that takes a while."""
        images = (layer for layer in image_layers(self.viewer) if key_of(layer) == fresh.like)
        image = next(images, None)
        like = self.layer(fresh.like) if image is None else image
        made_of = _image_key(like) if image is None else {IMAGE: fresh.like, SOURCE: image.name}
        placed = transform_of(like)
        return partial(
            Labels,
            fresh.labels,
            name=fresh.name,
            metadata={ROLE: fresh.role, **made_of, **fresh.metadata},
            colormap=_colours_of(fresh.metadata),
            **(shift_transform(placed, fresh.first) if fresh.first else placed),
        )

    def plane_on_show(self) -> PlaneChoice:
        """Return the plane of the image that the user looks at.

        Raises MaskError if there is no image, or none of several is chosen.
        """
        images = image_layers(self.viewer)
        active = self.viewer.layers.selection.active
        image = active if active in images else images[0] if len(images) == 1 else None
        if image is None:
            raise MaskError(
                "Of which image the annotations are is not known.",
                "Select its layer in napari's list of layers." if images else "Open it first.",
            )
        *longs, height, width = shape_of(image)[: image.ndim]
        steps = zip(World.of(self.viewer).slice_of(image), longs, strict=False)
        leading = tuple(min(max(round(float(step)), 0), size - 1) for step, size in steps)
        file = file_of(image)
        kinds = [axis_kind(label) for label in image.axis_labels[: len(leading)]]
        names = plane_names(len(leading), kinds)
        place = ImagePlace(
            str(image.name),
            (height, width),
            leading=leading,
            names=names,
            file="" if file is None else file.name,
        )
        index = place.plane((0,) * len(leading))
        return PlaneChoice(
            key_of(image), str(image.name), place.file_names, index, place.shape, leading
        )

    def add(self, built: Labels) -> tuple[str, str]:
        """Add a layer that was built; returns its key and its name."""
        self._insert(built)
        return key_of(built), str(built.name)

    def find_made(self, fresh: NewLabels) -> str:
        """Return the key of the layer that was made as that one would be; empty if there is none.

        It has the name, the role and the shape, lies in the same place, and is of the same image.
        """
        like, world = self.layer(fresh.like), World.of(self.viewer)
        for layer in mask_layers(self.viewer):
            same = layer.name == fresh.name and layer.metadata.get(ROLE) == fresh.role
            writable = isinstance(layer.data, np.ndarray) and layer.data.flags.writeable
            if (
                same
                and writable
                and layer.data.shape == fresh.labels.shape
                and is_aligned(layer, like, world)
                and image_of(self.viewer, layer) is image_of(self.viewer, like)
            ):
                return key_of(layer)
        return ""

    def describe(self, key: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Set what is known of a layer, its colours too; returns what was."""
        layer = self.layer(key)
        before, role = dict(layer.metadata), layer.metadata.get(ROLE)
        layer.metadata = {ROLE: role, **_image_key(layer), **metadata}
        if metadata.get(CLASS_COLOURS) != before.get(CLASS_COLOURS):
            layer.colormap = _colours_of(metadata)
        return before

    def replace(
        self, key: str, labels: npt.NDArray[np.integer[Any]], metadata: dict[str, Any]
    ) -> tuple[npt.NDArray[np.integer[Any]], dict[str, Any]]:
        """Give a layer other labels; returns those that it had, and what was known of them."""
        layer = self.layer(key)
        before = layer.data
        described = self.describe(key, metadata)
        self.busy = True
        try:
            layer.data = labels
        finally:
            self.busy = False
        return before, described

    def remove(self, key: str) -> RemovedLayer:
        """Take a layer out of the viewer."""
        layer, layers = self.layer(key), self.viewer.layers
        taken = RemovedLayer(layer.name, layer, layers.index(layer), int(layer.data.nbytes))
        self.busy = True
        try:
            with preserve_choices(self.viewer):
                layers.remove(layer)
        finally:
            self.busy = False
        return taken

    def restore(self, taken: RemovedLayer) -> None:
        """Put a layer back where it was, under its name."""
        layers = self.viewer.layers
        with preserve_choices(self.viewer):
            layers.insert(min(taken.place, len(layers)), taken.layer)
            taken.layer.name = taken.name

    def go_to(self, key: str, centre: Sequence[float]) -> None:
        """Show a pixel of a layer in the middle of the view."""
        layer = self.layer(key)
        show_at(self.viewer, layer, centre)
        self.viewer.layers.selection.active = layer

    def _changes(self) -> Labels | None:
        shown = (layer for layer in self.viewer.layers if role_of(layer) is Role.MASK_CHANGES)
        return next(shown, None)

    def _insert(self, layer: Labels) -> None:
        with preserve_choices(self.viewer):
            self.viewer.add_layer(layer)


def _make_choice(viewer: ViewerModel, layer: Labels) -> LabelsChoice:
    array, known, role = array_of(layer), layer.metadata, role_of(layer)
    value = known.get("class_value")
    names, guess = name_leading(viewer, layer) if layer.ndim > 2 else ((), "")
    return LabelsChoice(
        key_of(layer),
        layer.name,
        f"{' x '.join(map(str, array.shape))}, {array.dtype}",
        preview=role is Role.PREVIEW_LABELS or "preview" in layer.name.lower(),
        accepted=role is Role.ACCEPTED_OBJECT,
        class_name=str(known.get("class_name", "")),
        class_value=value if isinstance(value, int) else None,
        shape=tuple(array.shape),
        names=names,
        guess=guess,
    )


def _image_key(layer: Labels) -> dict[str, Any]:
    """Return what says of which image labels were made, also when that is renamed."""
    return {IMAGE: layer.metadata[IMAGE]} if layer.metadata.get(IMAGE) else {}


def _classes(layer: Labels) -> Classes:
    known = layer.metadata
    if role_of(layer) is Role.ACCEPTED_OBJECT:
        value = _label_of(known.get("class_value")) or 1
        return Classes({value: str(known.get("class_name", "object"))}, every=value)
    names = {value: str(name) for value, name in _by_label(known.get("class_names"))}
    classes = _by_label(known.get("object_classes"))
    of_object = {id_: value for id_, found in classes if (value := _label_of(found))}
    return Classes(names, of_object) if names else Classes.of_objects(class_names(layer))


def _by_label(known: object) -> Iterator[tuple[int, object]]:
    """Yield what metadata say of labels; others may mean something else by a name of ours."""
    for label, value in known.items() if isinstance(known, Mapping) else ():
        if number := _label_of(label):
            yield number, value


def _label_of(value: object) -> int:
    """Return a label, also one that JSON holds as text; 0 for whatever else stands there."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return as_label(value)


def _colours_of(metadata: dict[str, Any]) -> Any:  # noqa: ANN401 - one of napari's colormaps
    """Return napari's colours, or those of a list; values that it has not are white."""
    colours = metadata.get(CLASS_COLOURS)
    if not colours:
        return default_colours()
    by_value: dict[int | None, object] = {None: "white", 0: "transparent"}
    by_value |= {value: np.array(colour) / 255 for value, colour in colours.items()}
    return DirectLabelColormap(color_dict=by_value)


def _check_writable(array: AnyArray, name: str) -> None:
    if not is_writable(array):
        raise MaskError(
            f"“{name}” can only be read.",
            "Wait for the end of its scan, open its zarr folder for writing, or duplicate the "
            "layer into memory.",
        )


def _same_place(layer: Labels, placed: dict[str, Any]) -> bool:
    """Return whether a layer is placed like that, but for where it begins."""
    return (
        all(
            np.array_equal(getattr(layer, name), placed[name])
            for name in ("scale", "rotate", "shear")
        )
        and layer.units == placed["units"]
        and np.array_equal(layer.affine.affine_matrix, placed["affine"])
    )


def visible_box(viewer: ViewerModel, layer: Labels, shape: Sequence[int]) -> Box:
    """Return the pixels of a layer that the canvas shows, on the slice on show.

    By the camera and the size of the canvas: ``corner_pixels`` are found without the units of the
    layer (napari 0.9.2), so in a world of other units they are of another part.

    Raises MaskError if it shows none, or more than one slice.
    """
    dims, world = viewer.dims, World.of(viewer)
    if dims.ndisplay != 2:
        raise MaskError(
            "In 3-D no single slice is in view.", "Switch to 2-D, or choose “Whole layer”."
        )
    camera = getattr(viewer, "scene", viewer).camera  # moved in napari 0.9
    reach = np.asarray(_canvas_size(viewer)) / camera.zoom / 2
    corners = []
    for sides in itertools.product((-1, 1), repeat=2):
        place = np.array(dims.point, float)
        place[list(dims.displayed)] = np.asarray(camera.center)[-2:] + reach * sides
        corners.append(world.drawn_at(layer, place))
    # Of a pixel that is cut by the edge of the canvas a part is in view.
    low, high = np.round(np.min(corners, axis=0)), np.round(np.max(corners, axis=0))
    limits = zip(low.tolist(), high.tolist(), shape, strict=True)
    box = [(max(int(start), 0), min(int(stop) + 1, size)) for start, stop, size in limits]
    return _box(box, f"No pixel of “{layer.name}” is in view.", "Zoom or move to the masks.")


def _canvas_size(viewer: ViewerModel) -> tuple[float, float]:
    """Return height and width of what shows a layer, in pixels of the screen."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is not None:
        size: tuple[float, float] = canvas.viewbox_size(viewer.layers)
        return size
    if viewer.grid.enabled:
        raise MaskError("In the grid it is not known what is in view.", "Leave the grid view.")
    return viewer._canvas_size  # type: ignore[no-any-return]  # noqa: SLF001 - before napari 0.9


def drawn_box(viewer: ViewerModel, layer: Labels, shape: Sequence[int]) -> Box:
    """Return the pixels of a layer in the box around the selected shapes, or the latest one.

    Raises MaskError if nothing is drawn, or not on the layer.
    """
    drawings = [
        layer
        for layer in viewer.layers
        if isinstance(layer, Shapes) and role_of(layer) is not Role.PREVIEW_BOXES and layer.nshapes
    ]
    if not drawings:
        raise MaskError(
            "There is no drawn region.", "Add a Shapes layer and draw a rectangle around the masks."
        )
    active = viewer.layers.selection.active
    shapes = active if active in drawings else drawings[-1]
    chosen = sorted(shapes.selected_data) or [shapes.nshapes - 1]
    corners = np.concatenate([np.asarray(shapes.data[index], float) for index in chosen])
    points = DataMap.between(shapes, layer, World.of(viewer))(corners)
    sides = [_pixel_range(points[:, axis], size) for axis, size in enumerate(shape)]
    return _box(
        sides, f"The drawn region holds no pixel of “{layer.name}”.", "Draw it on the masks."
    )


def _pixel_range(positions: npt.NDArray[np.float64], size: int) -> tuple[int, int]:
    """Return the pixels whose centres lie between positions; of a single one the nearest pixel."""
    low, high = float(positions.min()), float(positions.max())
    if high - low < 1e-6:
        low = high = round(low)
    return max(math.ceil(low), 0), min(math.floor(high) + 1, size)


def _box(sides: Sequence[tuple[int, int]], empty: str, hint: str) -> Box:
    if any(start >= stop for start, stop in sides):
        raise MaskError(empty, hint)
    return tuple(slice(start, stop) for start, stop in sides)

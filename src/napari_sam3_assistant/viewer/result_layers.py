"""Results as layers: previews written in place, accepted and saved objects."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes

from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.session.scene import Pixels
from napari_sam3_assistant.viewer.geometry import (
    kept_axes,
    layer_transform,
    place,
    to_layer_axes,
)
from napari_sam3_assistant.viewer.roles import (
    NAMES,
    PROMPT_ROLES,
    Role,
    in_slot,
    name_of,
    role_of,
    slot_of,
    tag,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.results import ObjectRecord, Segmentation
    from napari_sam3_assistant.session.model import Preview

ENGINE = "sam3_engine"
_BOX_EDGE = "#f2c744"
_ACCEPTED_LIMIT = 2**31
_ON_TOP = PROMPT_ROLES | {Role.PREVIEW_BOXES, Role.ACTIVE_ROI}


def show_preview(viewer: ViewerModel, image: Layer, preview: Preview) -> Layer:
    """Write a preview into its layers, which are made where they are missing.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Layer
        The image layer that was segmented.
    preview : Preview
        The result.

    Returns
    -------
    Layer
        The preview labels.
    """
    active, point = viewer.layers.selection.active, viewer.dims.point
    labels = _show_labels(viewer, image, preview)
    _show_boxes(viewer, image, preview)
    if viewer.dims.point != point and len(point) == viewer.dims.ndim:
        # A layer that moves between units stretches the sliders for a moment; stay on the slice.
        viewer.dims.set_point(range(len(point)), point)
    if active in viewer.layers:
        viewer.layers.selection.active = active
    return labels


def remove_previews(viewer: ViewerModel, kept: Collection[tuple[str, str]] = ()) -> None:
    """Remove the preview labels, and what the preview boxes hold.

    The boxes' layers stay: once napari has drawn a Shapes layer and deleted it, OpenGL may read
    what is gone when it draws the rest (napari/napari#8471). Mesa's software renderer ends the
    process then.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    kept : collection of (str, str)
        Images and labels of the previews that stay.
    """
    for layer in list(with_role(viewer.layers, Role.PREVIEW_LABELS)):
        if slot_of(layer) not in kept:
            viewer.layers.remove(layer)
    for layer in with_role(viewer.layers, Role.PREVIEW_BOXES):
        if slot_of(layer) not in kept:
            layer.selected_data = set()
            layer.data = []


def features_of(segmentation: Segmentation) -> dict[str, list[Any]]:
    """Return one row an object: what found it, its score and its area."""
    objects = segmentation.objects
    return {
        "index": [record.id for record in objects],
        "score": [np.nan if record.score is None else record.score for record in objects],
        "area": [record.area for record in objects],
        "prompt": [record.text or "-" for record in objects],
        "engine": [segmentation.engine.title] * len(objects),
    }


def _metadata(role: Role, preview: Preview) -> dict[str, Any]:
    segmentation = preview.segmentation
    return {
        **tag(role, *preview.slot),
        ENGINE: asdict(segmentation.engine),
        "source_image_layer": preview.target.name,
    }


def _show_labels(viewer: ViewerModel, image: Layer, preview: Preview) -> Layer:
    segmentation, axes = preview.segmentation, preview.target.axes
    layer = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    data = to_layer_axes(segmentation.labels, image, axes)
    placed = place(image, axes, preview.target.plane, segmentation.region)
    if layer is None or layer.data.shape != data.shape:
        if layer is not None:
            viewer.layers.remove(layer)
        layer = Labels(
            data.copy(),
            name=name_of(Role.PREVIEW_LABELS, preview.label),
            metadata=_metadata(Role.PREVIEW_LABELS, preview),
            **placed,
        )
        add_below_prompts(viewer, layer)
    else:
        _write(layer, data)
        move_to(layer, placed)
        layer.metadata.update(_metadata(Role.PREVIEW_LABELS, preview))
    layer.features = features_of(segmentation)
    layer.visible = True
    return layer


def move_to(layer: Layer, place_: dict[str, Any]) -> None:
    """Give a layer its place in the world, if it is another one than it has."""
    if not np.allclose(layer.affine.affine_matrix, place_["affine"]):
        layer.affine = place_["affine"]
    for name in ("scale", "translate", "rotate", "shear"):
        if not np.allclose(getattr(layer, name), place_[name]):
            setattr(layer, name, place_[name])
    for name in ("units", "axis_labels"):
        if getattr(layer, name) != place_[name]:
            setattr(layer, name, place_[name])


def _write(layer: Labels, data: npt.NDArray[np.uint32]) -> None:
    """Write the pixels that change, and nothing else, into a layer of the same shape."""
    changed = layer.data != data
    if not changed.any():
        return
    bounds = tuple(
        slice(int(where[0]), int(where[-1]) + 1)
        for axis in range(data.ndim)
        if (where := np.flatnonzero(changed.any(tuple(set(range(data.ndim)) - {axis})))).size
    )
    layer.data[bounds] = data[bounds]
    layer.refresh(extent=False)


def _show_boxes(viewer: ViewerModel, image: Layer, preview: Preview) -> None:
    segmentation, axes = preview.segmentation, preview.target.axes
    layer = in_slot(viewer.layers, Role.PREVIEW_BOXES, preview.slot)
    kept = [axis for axis in range(image.ndim) if axis != axes.channel]
    base = np.zeros(len(kept))
    for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
        base[kept.index(axis)] = index
    outlines = [
        _outline(record, base, kept.index(axes.y), kept.index(axes.x))
        for record in segmentation.objects
    ]
    features = {
        "object_id": [record.id for record in segmentation.objects],
        "score": [
            np.nan if record.score is None else record.score for record in segmentation.objects
        ],
    }
    transform = layer_transform(image, axes)
    if layer is None:
        name = name_of(Role.PREVIEW_BOXES, preview.label)
        layer = _empty_boxes(viewer, len(kept), name, transform)
        layer.metadata.update(tag(Role.PREVIEW_BOXES, *preview.slot))
    move_to(layer, transform)
    layer.selected_data = set()
    layer.data = []
    layer.add(
        outlines,
        shape_type="rectangle",
        edge_color=_BOX_EDGE,
        face_color="transparent",
        edge_width=max(1, min(segmentation.labels.shape) / 400),
    )
    layer.features = features
    layer.metadata.update(_metadata(Role.PREVIEW_BOXES, preview))


def _empty_boxes(viewer: ViewerModel, ndim: int, name: str, transform: dict[str, Any]) -> Shapes:
    """Return boxes that an earlier preview has left empty, or new ones."""
    for layer in with_role(viewer.layers, Role.PREVIEW_BOXES):
        if layer.ndim == ndim and len(layer.data) == 0:
            layer.name = name
            return layer
    layer = Shapes(ndim=ndim, name=name, metadata=tag(Role.PREVIEW_BOXES, ""), **transform)
    add_below_prompts(viewer, layer)
    return layer


def _outline(
    record: ObjectRecord, base: npt.NDArray[np.float64], y: int, x: int
) -> npt.NDArray[np.float64]:
    region = record.region
    corners = np.repeat(base[None], 4, axis=0)
    top, left = region.y0 - 0.5, region.x0 - 0.5
    bottom, right = region.y1 - 0.5, region.x1 - 0.5
    corners[:, y] = (top, top, bottom, bottom)
    corners[:, x] = (left, right, right, left)
    return corners


def add_below_prompts(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer under the prompts and the boxes, so that these stay visible."""
    index = len(viewer.layers)
    while index and role_of(viewer.layers[index - 1]) in _ON_TOP:
        index -= 1
    viewer.layers.insert(index, layer)


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What accepting a preview wrote, so that it can be taken back.

    Parameters
    ----------
    ids : tuple of int
        The objects' values in the accepted labels.
    image : str
        Key of the image.
    parts : tuple
        For each object the slices and the pixels that it took, as a mask.
    """

    ids: tuple[int, ...]
    image: str
    parts: tuple[tuple[tuple[slice, ...], npt.NDArray[np.bool_]], ...]

    def __str__(self) -> str:
        ids = ", ".join(map(str, self.ids))
        return f"object {ids}" if len(self.ids) == 1 else f"objects {ids}"


def accept(viewer: ViewerModel, image: Layer, preview: Preview) -> Accepted:
    """Add a preview's objects to the accepted labels as the next ids, on empty pixels only.

    Raises
    ------
    PromptError
        If there is no empty pixel under them.
    ImageError
        If the image is too large for one labels layer.
    """
    axes = preview.target.axes
    layer = _accepted_layer(viewer, image, preview)
    following = int(layer.data.max()) + 1
    ids, parts = [], []
    kept = [axis for axis in range(image.ndim) if axis != axes.channel]
    for record in preview.segmentation.objects:
        where: list[slice] = [slice(None)] * len(kept)
        for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
            where[kept.index(axis)] = slice(index, index + 1)
        where[kept.index(axes.y)], where[kept.index(axes.x)] = record.region.slices
        place_ = tuple(where)
        mask = to_layer_axes(record.mask, image, axes)
        free = mask & (layer.data[place_] == 0)
        if free.any():
            parts.append((place_, free))
            ids.append(following)
            following += 1
    if not parts:
        raise PromptError(
            "All of these pixels are accepted already; nothing was added.",
            "Erase the accepted object first, or click on another one.",
        )
    accepted = Accepted(tuple(ids), preview.target.image, tuple(parts))
    write_accepted(viewer, accepted)
    return accepted


def _accepted_layer(viewer: ViewerModel, image: Layer, preview: Preview) -> Labels:
    axes = preview.target.axes
    layer = topmost(viewer.layers, Role.ACCEPTED, preview.target.image)
    if layer is not None:
        return layer
    data = image.data[0] if image.multiscale else image.data
    shape = tuple(data.shape[axis] for axis in range(image.ndim) if axis != axes.channel)
    if 4 * np.prod(shape, dtype=float) > _ACCEPTED_LIMIT:
        raise ImageError(
            f"A labels layer of shape {shape} needs more than 2 GB.",
            "Use Save to keep this object in a layer of its own.",
        )
    active = viewer.layers.selection.active
    layer = Labels(
        # Zeros take no memory until they are written.
        np.zeros(shape, np.uint32),
        name=NAMES[Role.ACCEPTED],
        metadata=tag(Role.ACCEPTED, preview.target.image),
        **layer_transform(image, axes),
    )
    add_below_prompts(viewer, layer)
    viewer.layers.selection.active = active
    return layer


def write_accepted(viewer: ViewerModel, accepted: Accepted) -> None:
    """Write accepted objects, if their layer is still there."""
    layer = topmost(viewer.layers, Role.ACCEPTED, accepted.image)
    if layer is None:
        return
    for value, (where, mask) in zip(accepted.ids, accepted.parts, strict=True):
        layer.data[where][mask] = value
    layer.refresh(extent=False)


def erase_accepted(viewer: ViewerModel, accepted: Accepted) -> None:
    """Take accepted objects out again, where they have not been painted over."""
    layer = topmost(viewer.layers, Role.ACCEPTED, accepted.image)
    if layer is None:
        return
    for value, (where, mask) in zip(accepted.ids, accepted.parts, strict=True):
        part = layer.data[where]
        part[mask & (part == value)] = 0
    layer.refresh(extent=False)


def pixels(viewer: ViewerModel, image: Layer, preview: Preview) -> Pixels:
    """Return the preview labels as they are now, with the size of a pixel.

    Raises
    ------
    ImageError
        If the preview layer is gone.
    """
    source = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    if source is None:
        raise ImageError("The preview layer is gone.", "Press Run Preview again.")
    axes = preview.target.axes
    kept = kept_axes(image, axes)
    rows, columns = kept.index(axes.y), kept.index(axes.x)
    plane = np.moveaxis(np.array(source.data), (rows, columns), (-2, -1))
    units = {str(source.units[axis]) for axis in (rows, columns)}
    unit = units.pop() if len(units) == 1 else ""
    return Pixels(
        plane.reshape(plane.shape[-2:]),
        (float(source.scale[rows]), float(source.scale[columns])),
        "" if unit == "pixel" else unit,
    )


def keep(viewer: ViewerModel, preview: Preview) -> str:
    """Copy the preview labels, as they are now, into a saved layer; returns its name.

    Raises
    ------
    ImageError
        If the preview layer is gone.
    """
    source = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    if source is None:
        raise ImageError("The preview layer is gone.", "Press Run Preview again.")
    active = viewer.layers.selection.active
    kept = Labels(
        np.array(source.data),
        name=name_of(Role.SAVED, preview.label),
        metadata={**source.metadata, **tag(Role.SAVED, *preview.slot)},
        features=source.features.copy(),
        scale=source.scale,
        translate=source.translate,
        rotate=source.rotate,
        shear=source.shear,
        affine=source.affine,
        units=source.units,
        axis_labels=source.axis_labels,
    )
    add_below_prompts(viewer, kept)
    viewer.layers.selection.active = active
    return str(kept.name)

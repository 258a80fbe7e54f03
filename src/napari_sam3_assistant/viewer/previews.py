"""Results as layers: labels, boxes, regions and soft masks, and saved copies of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Shapes
from napari.layers.base import ActionType
from napari.utils import DirectLabelColormap
from napari.utils.colormaps.standardize_color import transform_color

from napari_sam3_assistant.core.regions import bounds_of
from napari_sam3_assistant.core.results import apply_edit, has_soft_masks
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.messages import object_features
from napari_sam3_assistant.session.snapshots import Pixels
from napari_sam3_assistant.viewer.geometry import (
    World,
    file_axes,
    layer_transform,
    result_axes,
    result_transform,
    to_layer_axes,
    to_plane,
    transform_of,
)
from napari_sam3_assistant.viewer.label_pixels import (
    LeanColormap,
    current_colours,
    default_colours,
    edits_of,
    kept_colours,
    redraw,
)
from napari_sam3_assistant.viewer.picking import keep_columns
from napari_sam3_assistant.viewer.roles import (
    NAMES,
    Role,
    add_below_prompts,
    clear_shapes,
    in_slot,
    make_metadata,
    move_to,
    name_of,
    preserve_choices,
    put_away,
    role_metadata,
    role_of,
    slot_of,
    take_place,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.session.values import (
        ActiveRoi,
        PlaneTarget,
        Preview,
        ResultRow,
        SoftImage,
    )


def show_preview(viewer: ViewerModel, image: Layer, preview: Preview) -> Layer:
    """Write a preview into its layers, which are made where they are missing.

    Returns the preview labels.
    """
    with preserve_choices(viewer):
        labels = _show_labels(viewer, image, preview)
        reserve_soft(viewer, image, preview, labels)
        show_boxes(viewer, image, preview)
    return labels


def remove_previews(viewer: ViewerModel, kept: Collection[tuple[str, str]] = ()) -> None:
    """Remove the preview labels and soft masks, and what the preview boxes hold.

    ``kept``: images and labels of the previews that stay.
    """
    for layer in list(with_role(viewer.layers, Role.PREVIEW_LABELS)):
        if slot_of(layer) not in kept:
            viewer.layers.remove(layer)
    remove_soft(viewer, kept)
    empty_boxes(viewer, kept)


def _show_labels(viewer: ViewerModel, image: Layer, preview: Preview) -> Layer:
    segmentation, axes = preview.segmentation, preview.target.axes
    layer = before = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    data = to_layer_axes(segmentation.labels, axes)
    placed = result_transform(
        image, axes, World.of(viewer), preview.target.plane, segmentation.region
    )
    if layer is None or layer.data.shape != data.shape:
        layer = Labels(
            _copy_labels(data),
            name=name_of(Role.PREVIEW_LABELS, preview.label),
            metadata=make_metadata(Role.PREVIEW_LABELS, preview),
            colormap=_choose_colours(preview),
            # Shown below: napari would colour it twice, here and where it is added.
            visible=False,
            **placed,
        )
        if before is None:
            add_below_prompts(viewer, layer)
        else:
            take_place(viewer, before, layer)
    else:
        colours = _choose_colours(preview)
        by_class = isinstance(layer.colormap, DirectLabelColormap)
        if not by_class and not np.array_equal(colours.colors, layer.colormap.colors):
            layer.colormap = colours
        _write(viewer, layer, data)
        move_to(layer, placed)
        layer.metadata.update(make_metadata(Role.PREVIEW_LABELS, preview))
    layer.features = object_features(segmentation.objects, segmentation.engine.title)
    if not layer.visible:
        layer.visible = True
    return layer


def _choose_colours(preview: Preview) -> LeanColormap:
    """Return the colours of a preview: of the one object that is worked on, a bright one."""
    objects = preview.segmentation.objects
    if len(objects) == 1:
        return current_colours()
    ids = {record.id for record in objects}.intersection(*[set().union(*preview.added.values())])
    return current_colours(ids, max(preview.ids)) if ids else kept_colours()


def _copy_labels(data: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return a copy of labels; what is empty round them takes no memory until it is written."""
    copy = np.zeros(data.shape, data.dtype)
    box = bounds_of(data)
    copy[box] = data[box]
    return copy


def _write(viewer: ViewerModel, layer: Labels, data: npt.NDArray[np.uint32]) -> None:
    """Write the pixels that change, and nothing else, into a layer of the same shape."""
    changed = layer.data != data
    if not changed.any():
        return
    bounds = bounds_of(changed)
    layer.data[bounds] = data[bounds]
    redraw(layer, bounds)
    edits_of(viewer).rewritten.emit(layer)


def find_edit(
    viewer: ViewerModel, image: Layer, layer: Layer, preview: Preview, box: Sequence[slice] | None
) -> Preview | None:
    """Return a preview as the user has changed it on its layer; None where nothing has changed.

    The layer's features and the boxes follow.

    ``image``: the image layer that was segmented.
    ``box``: where they may have changed, one slice with a start and a stop for each axis; None for
    anywhere.
    """
    found, axes = preview.segmentation, preview.target.axes
    kept = result_axes(axes)
    rows, columns = kept.index(axes.y), kept.index(axes.x)
    shown = _view_plane(layer.data, rows, columns)
    if shown.shape != found.labels.shape:
        return None
    height, width = shown.shape
    key = (slice(0, height), slice(0, width)) if box is None else (box[rows], box[columns])
    changed = apply_edit(found, shown, key)
    if changed is None:
        return None
    after = preview.change(changed)
    same = {record.id for record in changed.objects if record in found.objects}
    before = layer.features
    layer.features = object_features(changed.objects, changed.engine.title)
    layer.features = keep_columns(layer.features, before, same)
    with preserve_choices(viewer):
        show_boxes(viewer, image, after)
    return after


def _view_plane(data: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[Any]:
    """Return a view of the one plane of a preview's labels, shape (h, w)."""
    key = tuple(slice(None) if axis in (rows, columns) else 0 for axis in range(data.ndim))
    return data[key] if rows < columns else data[key].T


def read_pixels(viewer: ViewerModel, image: Layer, preview: Preview) -> Pixels:
    """Return the preview labels as they are now, with what a file can say of their place.

    Raises ImageError if the preview layer is gone.
    """
    source = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    if source is None:
        raise ImageError("The preview layer is gone.", "Press Run Preview again.")
    axes = preview.target.axes
    kept = result_axes(axes)
    rows, columns = kept.index(axes.y), kept.index(axes.x)
    units = (image.units[axes.y], image.units[axes.x])
    placed = file_axes(source, (rows, columns), ("y", "x"), units)
    return Pixels(to_plane(np.array(source.data), axes), placed)


def keep_preview(viewer: ViewerModel, preview: Preview) -> str:
    """Copy the preview labels, as they are now, into a saved layer; returns its name.

    Raises ImageError if the preview layer is gone.
    """
    source = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    if source is None:
        raise ImageError("The preview layer is gone.", "Press Run Preview again.")
    kept = Labels(
        np.array(source.data),
        name=name_of(Role.SAVED, preview.label),
        metadata={**source.metadata, **role_metadata(Role.SAVED, *preview.slot)},
        features=source.features.copy(),
        colormap=default_colours(),
        **transform_of(source),
    )
    add_below_prompts(viewer, kept)
    return str(kept.name)


MOST_BOXES = 500
"""Of more objects no boxes are shown: 2 000 take napari a second, and cover the image."""
_BOX_EDGE, _PICKED_EDGE = "#f2c744", "#00e5ff"
_ON_SCREEN = 2.0  # pixels
_NOTICED = 1.25


def show_boxes(viewer: ViewerModel, image: Layer, preview: Preview) -> None:
    """Write the boxes of a preview's objects into their layer, which is made if it is missing."""
    segmentation, axes = preview.segmentation, preview.target.axes
    layer, kept = in_slot(viewer.layers, Role.PREVIEW_BOXES, preview.slot), result_axes(axes)
    many = len(segmentation.objects) > MOST_BOXES
    if layer is not None and (many or layer.ndim != len(kept)):
        empty_shapes(viewer, layer)
        layer = None
    if many:
        return
    base = np.zeros(len(kept))
    for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
        base[kept.index(axis)] = index
    ends = plane_ends(preview.target)
    outlines = [
        make_outline(record.region, ends, base, (kept.index(axes.y), kept.index(axes.x)))
        for record in segmentation.objects
    ]
    features = {
        "object_id": [record.id for record in segmentation.objects],
        "score": [
            np.nan if record.score is None else record.score for record in segmentation.objects
        ],
    }
    transform = layer_transform(image, axes, World.of(viewer))
    if layer is None:
        layer = reuse_shapes(viewer, Role.PREVIEW_BOXES, transform)
        layer.name = name_of(Role.PREVIEW_BOXES, preview.label)
        layer.metadata.update(role_metadata(Role.PREVIEW_BOXES, *preview.slot))
    else:
        move_to(layer, transform)
    layer.selected_data = set()
    flat = layer.ndim < viewer.dims.ndisplay  # see clear_shapes
    if outlines and len(layer.data) == len(outlines) and not flat:
        # They keep their colours; an update after a click takes half the time so, and a third
        # where the viewer looks at all layers once and not before and after.
        with layer.events.data.blocker():
            layer.data = outlines
        layer.events.data(
            value=layer.data,
            action=ActionType.CHANGED,
            data_indices=tuple(range(len(outlines))),
            vertex_indices=((),),
        )
    else:
        clear_shapes(layer)
        layer.add(
            outlines,
            shape_type="rectangle",
            edge_color=_BOX_EDGE,
            face_color="transparent",
            edge_width=edge_width(viewer, layer),
        )
    layer.features = features
    layer.metadata.update(make_metadata(Role.PREVIEW_BOXES, preview))


def mark_box(viewer: ViewerModel, picked: ResultRow | None) -> None:
    """Give the box of the object that is pointed at its colour, and all others theirs."""
    for layer in with_role(viewer.layers, Role.PREVIEW_BOXES):
        if not layer.nshapes:
            continue
        here = picked is not None and picked.preview.slot == slot_of(layer)
        chosen = picked.record.id if here and picked is not None else None
        colours = [
            _PICKED_EDGE if id_ == chosen else _BOX_EDGE for id_ in layer.features["object_id"]
        ]
        if not np.allclose(layer.edge_color, transform_color(colours)):
            layer.edge_color = colours


def reuse_shapes(viewer: ViewerModel, role: Role, transform: dict[str, Any]) -> Shapes:
    """Return a layer of shapes that was put away, on show again at a place, or a new one."""
    ndim = len(transform["scale"])
    for layer in with_role(viewer.layers, role):
        if layer.ndim == ndim and not layer.nshapes:
            move_to(layer, transform)
            return layer
    layer = Shapes(ndim=ndim, name=NAMES[role], metadata=role_metadata(role, ""), **transform)
    add_below_prompts(viewer, layer)
    return layer


def empty_shapes(viewer: ViewerModel, layer: Shapes) -> None:
    """Empty a layer of shapes, to be used again."""
    clear_shapes(layer)
    put_away(viewer, layer)


def edge_width(viewer: ViewerModel, layer: Shapes) -> float:
    """Return how wide, in a layer's data, an edge is that has a constant width on the screen."""
    world = World.of(viewer)
    shown = world.shown_axes(layer)
    pixel = np.sqrt(abs(np.linalg.det(world.matrix(layer)[np.ix_(shown, shown)])))
    zoom = getattr(viewer, "scene", viewer).camera.zoom  # moved in napari 0.9
    return float(_ON_SCREEN / (zoom * pixel))


OUTLINED = frozenset({Role.PREVIEW_LABELS, Role.ACCEPTED, Role.PROPAGATED, Role.SAVED})
"""Layers whose objects are shown filled or as outlines."""


def set_outline(viewer: ViewerModel, layer: Labels, *, shown: bool) -> None:
    """Show labels as outlines that are as wide at any zoom, or filled."""
    width = max(1, round(edge_width(viewer, layer))) if shown else 0
    if layer.contour != width:
        layer.contour = width


def follow_zoom(viewer: ViewerModel) -> None:
    """Give outlines, boxes and frames their width on the screen again after a zoom."""
    for layer in viewer.layers:
        if role_of(layer) in OUTLINED and layer.contour:
            set_outline(viewer, layer, shown=True)
        if role_of(layer) not in (Role.PREVIEW_BOXES, Role.ACTIVE_ROI) or not layer.nshapes:
            continue
        width = edge_width(viewer, layer)
        if not 1 / _NOTICED < width / layer.edge_width[0] < _NOTICED:
            layer.edge_width = [width] * layer.nshapes
            layer.refresh(extent=False, thumbnail=False)


def plane_ends(target: PlaneTarget) -> tuple[int, int] | None:
    """Return height and width of a plane that outlines must stay in; None where they need not.

    napari's sliders reach as far as all layers do. Those of rows and columns, when axes are
    rolled, would begin between two pixels. A plane alone has no sliders.
    """
    axes = target.axes
    alone = axes.ndim - axes.rgb == 2
    return None if alone else (target.shape[axes.y], target.shape[axes.x])


def make_outline(
    region: Region,
    ends: tuple[int, int] | None,
    base: npt.NDArray[np.float64],
    plane: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """Return the corners of a region, shape (4, D).

    ``ends``: height and width of the plane, if they stay within the centres of its outermost
    pixels.
    ``base`` (shape (D,)): the position on the other axes.
    ``plane``: which axes are rows and columns.
    """
    corners = np.repeat(base[None], 4, axis=0)
    top, left, bottom, right = np.asarray(region.box) - 0.5
    if ends is not None:
        top, bottom = max(top, 0.0), min(bottom, ends[0] - 1.0)
        left, right = max(left, 0.0), min(right, ends[1] - 1.0)
    corners[:, plane[0]] = (top, top, bottom, bottom)
    corners[:, plane[1]] = (left, right, right, left)
    return corners


def empty_boxes(viewer: ViewerModel, kept: Collection[tuple[str, str]]) -> None:
    """Put away the boxes of all previews but some.

    ``kept``: images and labels of the previews that stay.
    """
    for layer in list(with_role(viewer.layers, Role.PREVIEW_BOXES)):
        if slot_of(layer) not in kept:
            empty_shapes(viewer, layer)


_ROI_EDGE, _ROI_FACE = "#d6a657", "#d6a65722"


def show_roi(viewer: ViewerModel, image: Layer, roi: ActiveRoi) -> None:
    """Frame a region in a layer ``SAM3 active ROI`` that is empty, or made if there is none.

    One layer a region: each lies on its image, wherever that is.
    """
    axes, region = roi.target.axes, roi.region
    kept = result_axes(axes)
    base = np.zeros(len(kept))
    for axis, index in zip(axes.leading, roi.target.plane.leading, strict=True):
        base[kept.index(axis)] = index
    outline = make_outline(
        region, plane_ends(roi.target), base, (kept.index(axes.y), kept.index(axes.x))
    )
    placed = layer_transform(image, axes, World.of(viewer))
    layer = reuse_shapes(viewer, Role.ACTIVE_ROI, placed)
    layer.metadata.update(role_metadata(Role.ACTIVE_ROI, roi.target.image))
    width = edge_width(viewer, layer)
    layer.add(
        outline,
        shape_type="rectangle",
        edge_color=_ROI_EDGE,
        face_color=_ROI_FACE,
        edge_width=width,
    )
    layer.features = {"source": [roi.target.name]}


def hide_rois(viewer: ViewerModel) -> None:
    """Take the frames away."""
    for layer in list(with_role(viewer.layers, Role.ACTIVE_ROI)):
        empty_shapes(viewer, layer)


def reserve_soft(viewer: ViewerModel, image: Layer, preview: Preview, labels: Layer) -> None:
    """Have a layer for the soft masks of a preview, if the engine gave some.

    It stands below the preview labels, at their place, and holds nothing until :func:`show_soft`.
    """
    layer = in_slot(viewer.layers, Role.PREVIEW_MASKS, preview.slot)
    segmentation, axes = preview.segmentation, preview.target.axes
    # One number that is repeated: it takes no memory.
    nothing = np.broadcast_to(np.float32(0), segmentation.region.shape)
    data = to_layer_axes(nothing, axes)
    has_soft = has_soft_masks(segmentation.objects)
    if layer is not None and (not has_soft or layer.data.shape != data.shape):
        viewer.layers.remove(layer)
        layer = None
    if not has_soft:
        return
    placed = result_transform(
        image, axes, World.of(viewer), preview.target.plane, segmentation.region
    )
    if layer is None:
        layer = Image(
            data,
            name=name_of(Role.PREVIEW_MASKS, preview.label),
            metadata=make_metadata(Role.PREVIEW_MASKS, preview),
            contrast_limits=(0, 1),
            colormap="magma",
            blending="additive",
            visible=False,
            **placed,
        )
        viewer.layers.insert(viewer.layers.index(labels), layer)
        return
    move_to(layer, placed)
    layer.metadata.update(make_metadata(Role.PREVIEW_MASKS, preview))


def show_soft(viewer: ViewerModel, soft: SoftImage) -> None:
    """Fill the layer of a preview's soft masks and show it; nothing, if the user deleted it."""
    layer = in_slot(viewer.layers, Role.PREVIEW_MASKS, soft.preview.slot)
    if layer is None:
        return
    layer.data = to_layer_axes(soft.pixels, soft.preview.target.axes)
    layer.visible = True


def hide_soft(layers: Iterable[Layer]) -> None:
    """Hide all soft masks, and let go of their pixels."""
    for layer in with_role(layers, Role.PREVIEW_MASKS):
        layer.visible = False
        if layer.data.strides != (0,) * layer.ndim:
            layer.data = np.broadcast_to(np.float32(0), layer.data.shape)


def remove_soft(viewer: ViewerModel, kept: Collection[tuple[str, str]]) -> None:
    """Remove soft masks, but those of some images and labels."""
    for layer in list(with_role(viewer.layers, Role.PREVIEW_MASKS)):
        if slot_of(layer) not in kept:
            viewer.layers.remove(layer)

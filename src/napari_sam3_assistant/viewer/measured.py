"""What measuring needs of layers, and what it writes into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.core.raw_plane import RawPlane
from napari_sam3_assistant.session.measured_columns import is_measured
from napari_sam3_assistant.viewer.geometry import pixel_size

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari.layers import Image

    from napari_sam3_assistant.session.model import Target


def raw_plane(image: Image, target: Target) -> RawPlane:
    """Return the pixels of the plane of an image that a result is of.

    Parameters
    ----------
    image : Image
        The layer.
    target : Target
        The plane.
    """
    axes = target.axes
    data = list(image.data) if image.multiscale else image.data
    pixel = pixel_size(image, axes.y, axes.x)
    return RawPlane(ImageSource(data, axes), target.plane.leading, pixel)


def with_columns(
    features: Any,  # noqa: ANN401 - pandas is untyped here
    ids: Sequence[int],
    columns: Mapping[str, Sequence[object]],
) -> Any:  # noqa: ANN401
    """Return a layer's features with more columns; those that it has are kept.

    Parameters
    ----------
    features : DataFrame
        One row an object, which the column ``index`` names.
    ids : sequence of int
        The objects.
    columns : mapping of str to sequence
        For each column a value for each object.
    """
    added = {
        name: features["index"].map(dict(zip(ids, values, strict=True)))
        for name, values in columns.items()
    }
    return features.assign(**added)


def with_earlier(
    features: Any,  # noqa: ANN401 - pandas is untyped here
    before: Any,  # noqa: ANN401
    same: Collection[int],
) -> Any:  # noqa: ANN401
    """Return new features with the columns that others have added to the ones before.

    Parameters
    ----------
    features, before : DataFrame
        One row an object, which the column ``index`` names.
    same : collection of int
        The objects that have not changed: of others, what was measured is left out.
    """
    if "index" not in before:
        return features
    added = {}
    for name in before.columns.difference(features.columns, sort=False):
        kept = before["index"].isin(same) if is_measured(name) else slice(None)
        values = dict(zip(before["index"][kept], before[name][kept], strict=True))
        added[name] = features["index"].map(values)
    return features.assign(**added)

"""Segment one plane."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.api.inputs import opened
from napari_sam3_assistant.api.prompt_arguments import prompt_set
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, PredictOptions
from napari_sam3_assistant.core.progress import NullReporter, Reporter
from napari_sam3_assistant.core.views import ImageView, view_of_array
from napari_sam3_assistant.engines.embeddings import EncodingEngine
from napari_sam3_assistant.workflows.segment import SegmentRequest
from napari_sam3_assistant.workflows.segment import segment as _segment

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.results import Segmentation


def segment(
    image: Any,  # noqa: ANN401 (any array: NumPy, dask, zarr, or a list of them)
    *,
    points: Sequence[Sequence[float]] = (),
    boxes: Sequence[Sequence[float]] = (),
    exemplars: Sequence[Sequence[float]] = (),
    mask: npt.ArrayLike | None = None,
    text: str | None = None,
    engine: str | EncodingEngine | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    threshold: float = DEFAULT_THRESHOLD,
    contrast: tuple[float, float] | None = None,
    plane: Sequence[int] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    axis_labels: Sequence[str] | None = None,
    rgb: bool | None = None,
    reporter: Reporter | None = None,
) -> Segmentation:
    """Segment one plane of an image.

    Parameters
    ----------
    image : array-like, shape (..., H, W) or (..., H, W, 3)
        NumPy, dask or zarr array, or a list of them as a multiscale pyramid (the first is
        used). Only the plane is read.
    points : sequence of (y, x) or (y, x, positive)
        Clicks on one object in pixels; ``positive`` is True (the default) where the pixel
        belongs to the object.
    boxes : sequence of (y0, x0, y1, x1)
        One object each; pixels, ends exclusive.
    exemplars : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, positive)
        Boxes around examples of what to find in the whole plane.
    mask : array-like, shape (H, W), optional
        Rough mask of one object, non-zero where painted.
    text : str, optional
        A short phrase.
    engine : str or EncodingEngine, optional
        An engine's name (see :func:`engines`), or what :func:`open_engine` returned; by default
        the one that reads the model folder, without a folder the built-in one.
    model_folder : str or Path, optional
        The folder of the weights; only with an engine's name.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; only with an engine's name.
    threshold : float
        Detection threshold, 0 to 1: found objects with a lower score are left out.
    contrast : (low, high), optional
        Intensities shown black and white. By default 8-bit images are taken as they are and
        every other type is stretched from the 0.1 to the 99.9 percentile of the stack.
    plane : sequence of int, optional
        Index along each axis that is neither y, x nor channel; needed if there are any that
        are longer than 1.
    channel_axis : int, optional
        The channel axis; by default a last axis of size 3 or 4 is taken as RGB or RGBA.
    channel : int, optional
        One channel to look at; by default all are shown together.
    axis_labels : sequence of str, optional
        Names of the axes, such as ``("t", "c", "y", "x")``.
    rgb : bool, optional
        Whether the last axis holds colours, where that is known.
    reporter : Reporter, optional
        Is told of the progress, and may stop the work.

    Returns
    -------
    Segmentation
        ``labels`` (H, W) uint32, ``objects`` (id, score, area, bbox (y0, x0, y1, x1), text),
        ``engine`` (what made them) and ``notes``.

    Raises
    ------
    PromptError
        If the prompts can't be used.
    ImageError
        If the image has no such plane.
    EngineError
        If the engine can't do it.
    """
    view = view_of_array(
        image,
        plane=plane,
        channel_axis=channel_axis,
        channel=channel,
        contrast=contrast,
        axis_labels=axis_labels,
        rgb=rgb,
    )
    prompts = prompt_set(points, boxes, exemplars, mask, text, view.shape)
    prompts.check(view.shape)
    # Only an open engine may hold encodings of earlier calls.
    key = _pixels_key(view) if isinstance(engine, EncodingEngine) else None
    request = SegmentRequest(view, prompts, PredictOptions(threshold), pixels_key=key)
    with opened(engine, model_folder, device) as ready:
        return next(_segment(ready, request, reporter or NullReporter()))


def _pixels_key(view: ImageView) -> Hashable:
    # A caller may change an array between two calls, so its identity does not prove that
    # its pixels are the same. A checksum of one plane costs milliseconds, an encoding seconds.
    rgb = view.rgb()
    return (rgb.shape, zlib.crc32(rgb.data), zlib.adler32(rgb.data))

"""Find objects in all of a large image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.api.segment import make_prompts, read_input, use_engine
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, PredictOptions, TileOptions
from napari_sam3_assistant.core.paths import expand_user, is_address
from napari_sam3_assistant.core.progress import NullReporter, Reporter
from napari_sam3_assistant.engines.precision import AUTO
from napari_sam3_assistant.workflows.scan import ScanRequest, ScanResult, ScanStep
from napari_sam3_assistant.workflows.scan import scan as _scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_sam3_assistant.compute.connection import Compute
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.prompts import Everything
    from napari_sam3_assistant.engines.caching_engine import CachingEngine


def scan(
    image: AnyArray | Path | str,
    *,
    output: str | Path,
    text: str | None = None,
    exemplars: Sequence[Sequence[float]] = (),
    everything: bool | Everything = False,
    tile: int = 1024,
    overlap: float = 0.15,
    engine: str | CachingEngine | None = None,
    compute: Compute | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    precision: str = AUTO,
    threshold: float = DEFAULT_THRESHOLD,
    contrast: tuple[float, float] | None = None,
    plane: Sequence[int] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    axis_labels: Sequence[str] | None = None,
    rgb: bool | None = None,
    scale: tuple[float, float] | None = None,
    unit: str = "",
    series: int | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    on_step: Callable[[ScanStep], None] | None = None,
) -> ScanResult:
    """Scan a large plane tile by tile into an OME-Zarr image of labels.

    What a tile gave is kept in the folder ``<output>.scan``. The same call goes on from there
    after it was stopped, however it was stopped. Beside the labels lies a note, ``<output>.json``,
    from which :func:`rerun` makes them again.

    Parameters
    ----------
    image : array-like, str or Path
        NumPy, dask or zarr array, or a file; only the tiles are read, one after another.
    output : str or Path
        The zarr folder of the labels, such as ``labels.zarr``.
    text : str, optional
        A short phrase.
    exemplars : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, positive)
        Boxes around examples in pixels, which serve all tiles.
    everything : bool or Everything
        Find all objects, without any other prompt; as :func:`segment` takes it, of each tile.
    tile : int
        Side of a tile in pixels.
    overlap : float
        Share of a tile that the next one sees as well, 0 to 0.5. Objects smaller than that
        band are found whole.
    engine, compute, model_folder, device, precision, threshold
        As :func:`segment` takes them. All workers of a server scan.
    contrast, plane, channel_axis, channel, axis_labels, rgb
        As :func:`segment` takes them; of a file, its own axes are the default.
    scale : (y, x), optional
        Length of a pixel; by default what the file says, and in its units.
    unit : str
        What ``scale`` counts in, such as ``micrometer``.
    series : int, optional
        Which image of a file that holds several, from 0. By default the largest; the notes say
        which.
    overwrite : bool
        Whether existing labels of that name may be replaced.
    reporter : Reporter, optional
        Is told of the progress, and may stop the work.
    on_step : callable, optional
        Is called with each :class:`ScanStep`.

    Returns
    -------
    ScanResult
        ``path`` of the labels, ``objects`` (id, area, region, score, text), ``notes``.

    Raises
    ------
    PromptError
        If the prompts can't be used.
    ImageError
        If the image can't be read.
    EngineError
        If the engine can't do it.
    ExportError
        If the output exists or can't be written.
    """
    source = read_input(image, axis_labels, rgb=rgb, series=series)
    view = view_of_array(
        source.image.data,
        plane=plane,
        channel_axis=channel_axis,
        channel=channel,
        contrast=contrast,
        axis_labels=source.image.axis_labels,
        rgb=source.image.rgb,
    )
    tokens = {channel.source.token for channel in view.channels}
    axes = source.plane_axes(view)
    if scale is not None:
        names = [axis.name for axis in axes]
        axes = make_axes(view.shape, names=names, scale=scale, units=unit)
    request = ScanRequest(
        view,
        make_prompts((), (), exemplars, None, text, view.shape, everything),
        expand_user(output),
        PredictOptions(threshold),
        TileOptions(tile, overlap),
        axes,
        overwrite,
        None if model_folder is None else expand_user(model_folder),
        {} if source.path is None else dict.fromkeys(tokens, source.path),
        None if source.path is None else source.image.series,
        source.image.notes,
        image if isinstance(image, str) and is_address(image) else "",
    )
    with use_engine(engine, compute, model_folder, device, precision) as ready:
        for step in _scan(ready, request, reporter or NullReporter()):
            if isinstance(step, ScanResult):
                return step
            if on_step is not None:
                on_step(step)
    raise RuntimeError("a scan ends with its result")

"""Segment one plane, or all of a large image."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_sam3_assistant.api.engines import engine_for, open_engine
from napari_sam3_assistant.api.inputs import (
    files_of,
    make_options,
    make_prompts,
    read_input,
)
from napari_sam3_assistant.core.axes import axis_kind, make_axes
from napari_sam3_assistant.core.display import ImageView, view_of_array
from napari_sam3_assistant.core.images import AnyArray
from napari_sam3_assistant.core.masks.labels import plane_names
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, TileOptions
from napari_sam3_assistant.core.paths import expand_user, is_address
from napari_sam3_assistant.core.progress import NullReporter, Reporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    Everything,
    MaskPrompt,
    PromptSet,
)
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.checkpoints import find_model_folder
from napari_sam3_assistant.engines.device import AUTO
from napari_sam3_assistant.errors import EngineError, PromptError
from napari_sam3_assistant.io.annotations import is_annotations, paint_annotations
from napari_sam3_assistant.io.in_memory import load_object
from napari_sam3_assistant.io.label_files import read_labels, to_labels
from napari_sam3_assistant.io.labels import check_ending
from napari_sam3_assistant.io.outputs import check_output
from napari_sam3_assistant.workflows.examples import ExampleLibrary, cut_example, propose
from napari_sam3_assistant.workflows.provenance import RunProvenance
from napari_sam3_assistant.workflows.save import save_segmentation
from napari_sam3_assistant.workflows.scan import ScanRequest, ScanResult, ScanStep
from napari_sam3_assistant.workflows.scan import scan as _scan
from napari_sam3_assistant.workflows.segment import SegmentRequest, first_view
from napari_sam3_assistant.workflows.segment import segment as _segment

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.compute.connection import Compute
    from napari_sam3_assistant.core.images import AnyArray, Untyped
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.io.loaded import LoadedImage


def imread(path: str | Path, series: int | str | None = None) -> LoadedImage:
    """Read an image of a file of any format, a zarr folder or a server.

    Parameters
    ----------
    path : str or Path
        A file, whatever its ending says; a folder of zarr, OME-Zarr or a plate; or as text the
        address of one (``https://``, ``s3://``).
    series : int or str, optional
        Which image of a file that holds several: its number from 0, or its name. By default the
        largest; the notes say which.

    Returns
    -------
    LoadedImage
        ``data`` (read where it is indexed, if it is large), ``axes`` (name, length, size of a
        pixel and unit of each), ``rgb``, ``levels`` of a pyramid, ``notes`` and ``choices``.

    Raises
    ------
    ImageError
        If it can't be read.
    """
    return read_input(path, series=series).image


def segment(
    image: AnyArray | str | Path,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    points: Sequence[Sequence[float]] = (),
    boxes: Sequence[Sequence[float]] = (),
    exemplars: Sequence[Sequence[float]] = (),
    mask: npt.ArrayLike | str | Path | None = None,
    labels: npt.ArrayLike | str | Path | None = None,
    as_painted: bool = False,
    text: str | None = None,
    everything: bool | Everything = False,
    examples: str | Path | None = None,
    engine: str | CachingEngine | None = None,
    compute: Compute | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    precision: str = AUTO,
    threshold: float = DEFAULT_THRESHOLD,
    diameter: float | str | None = None,
    contrast: tuple[float, float] | None = None,
    plane: Sequence[int] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    axis_labels: Sequence[str] | None = None,
    rgb: bool | None = None,
    series: int | str | None = None,
    reporter: Reporter | None = None,
) -> Segmentation:
    """Segment one plane of an image.

    Parameters
    ----------
    image : array-like, shape (..., H, W) or (..., H, W, 3), str or Path
        NumPy, dask or zarr array, a list of them as a multiscale pyramid (the first is used); a
        DataArray of xarray, a layer of napari, an image of bioio, SimpleITK or Pillow, an OME-Zarr
        group, with what these know of the axes; or a file, as :func:`imread` takes it. Only the
        plane is read.
    output : str or Path, optional
        Where the labels are saved, too; the ending chooses the format. The note beside them says
        how to make them again.
    overwrite : bool
        Whether ``output`` is replaced where it exists.
    points : sequence of (y, x) or (y, x, positive)
        Clicks on one object in pixels; ``positive`` is True (the default) where the pixel
        belongs to the object.
    boxes : sequence of (y0, x0, y1, x1)
        One object each; pixels, ends exclusive.
    exemplars : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, positive)
        Boxes around examples of what to find in the whole plane.
    mask : array-like, shape (H, W), or str or Path, optional
        Rough mask of one object, non-zero where painted; or its file.
    labels : array-like of int, shape (H, W), str or Path, optional
        Labels of another tool (Cellpose, StarDist, ilastik), or their file, which may be COCO,
        GeoJSON of QuPath or regions of ImageJ: each object is a mask prompt of its own, and
        keeps its number. Without any other prompt.
    as_painted : bool
        Whether ``mask`` or ``labels`` are the objects as they are, whatever the image shows. With
        clicks, boxes or a phrase beside them, SAM 3 takes them for sketches all the same.
    text : str, optional
        A short phrase. The built-in engine knows ``bright ...`` and ``dark ...``, and the usual
        diameter of the objects if the phrase tells it: ``bright cells 30 px``.
    everything : bool or Everything
        Find all objects, without any other prompt; an :class:`Everything` says how.
    examples : str or Path, optional
        Folder of an :class:`ExampleLibrary`: find what looks like its examples of other images,
        class by class, without any other prompt. Experimental, which the notes say.
    engine : str or CachingEngine, optional
        An engine's name (see :func:`engines`), or what :func:`open_engine` returned; by default
        the one that reads the model folder, without a folder the built-in one.
    compute : str, Path or Client, optional
        A server that does the work, as :func:`open_engine` takes it; not with an open engine.
    model_folder : str or Path, optional
        The folder of the weights; only with an engine's name.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; only with an engine's name.
    precision : str
        The number format of SAM's image encoder, see :func:`open_engine`; only with an engine's
        name.
    threshold : float
        Detection threshold, 0 to 1: found objects with a lower score are left out.
    diameter : float or str, optional
        The usual diameter of the objects that a phrase or everything looks for, which helps the
        built-in engine: a number of pixels, or with a unit such as ``"12 um"`` where the image
        tells the size of its pixels (a file, a DataArray, a layer). By default the engine finds it
        out; a phrase that tells one, as ``bright cells 30 px``, comes first.
    contrast : (low, high), optional
        Intensities shown black and white. By default 8-bit images are taken as they are and
        every other type is stretched from the 0.1 to the 99.9 percentile of the stack, without
        what only fills it up (0 round a mosaic, a no-data value), which counts as background.
    plane : sequence of int, optional
        Index along each axis that is neither y, x nor channel; needed if there are any that
        are longer than 1.
    channel_axis : int, optional
        The channel axis; by default a last axis of size 3 or 4 is taken as RGB or RGBA.
    channel : int, optional
        One channel to look at; by default all are shown together.
    axis_labels : sequence of str, optional
        Names of the axes, such as ``("t", "c", "y", "x")``; of a file, by default its own.
    rgb : bool, optional
        Whether the last axis holds colours, where that is known.
    series : int or str, optional
        Which image of a file that holds several: its number from 0, or its name. By default the
        largest.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Returns
    -------
    Segmentation
        ``labels`` (H, W) uint32, ``objects`` (id, score, area, bbox (y0, x0, y1, x1), text,
        stability), where they overlap the one with the higher score is on top of the labels,
        ``engine`` (what made them), ``notes`` and, where a single click may mean a part, the
        object or a group, ``candidates`` from the smallest to the largest: objects with masks like
        the one that was chosen, which any of them can take the place of.

    Raises
    ------
    PromptError
        If the prompts can't be used.
    ImageError
        If the image has no such plane.
    EngineError
        If the engine can't do it.
    ExportError
        If the output exists or can't be written.
    JobCancelled
        If the reporter stopped the work. Of everything, its ``partial`` is a Segmentation of what
        was found until then, with a note that says so; no output is written.
    """
    path = None if output is None else expand_user(output)
    if path is not None:
        check_output(path, *files_of(image, mask, labels), replaces=overwrite)
        check_ending(path)
    loaded = read_input(image, axis_labels, rgb=rgb, series=series)
    source = loaded.image
    view = view_of_array(
        source.data,
        plane=plane,
        channel_axis=channel_axis,
        channel=channel,
        contrast=contrast,
        axis_labels=source.axis_labels,
        rgb=source.rgb,
    )
    prompts = make_prompts(points, boxes, exemplars, mask, text, view.shape, everything)
    if labels is not None:
        prompts = _labels_alone(prompts, labels, view, source.axis_labels)
    if as_painted:
        prompts = prompts.take_as_painted()
    if examples is None:
        prompts.check(view.shape)
    elif prompts.kinds:
        raise PromptError("Examples are used without prompts.", "Leave the other prompts out.")
    # Only an open engine may hold encodings of earlier calls.
    key = _pixels_key(view) if isinstance(engine, CachingEngine) else None
    options = make_options(threshold, diameter, loaded.plane_axes(view))
    quiet = reporter or NullReporter()
    with use_engine(engine, compute, model_folder, device, precision) as ready:
        folder = ready.model_folder
        if examples is None:
            request = SegmentRequest(view, prompts, options, pixels_key=key)
            result = next(_segment(ready, request, quiet))
        else:
            known = ExampleLibrary(expand_user(examples)).read()
            result = next(propose(ready, view, known, options, quiet))
    result = replace(result, notes=(*source.notes, *result.notes))
    if path is not None:
        run = RunProvenance(
            view,
            prompts,
            options,
            result.engine,
            folder,
            {}
            if loaded.path is None
            else {channel.source.token: loaded.path for channel in view.channels},
            axes=loaded.plane_axes(view),
            notes=result.notes,
            series=source.series,
        )
        save_segmentation(result, path, run, overwrite=overwrite, reporter=reporter)
    return result


def add_example(
    library: str | Path,
    image: AnyArray | str | Path,
    box: Sequence[float],
    *,
    positive: bool = True,
    class_name: str = "",
    contrast: tuple[float, float] | None = None,
    plane: Sequence[int] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    series: int | str | None = None,
) -> Path:
    """Keep an object of an image as an example for other images; experimental.

    Parameters
    ----------
    library : str or Path
        Folder of the library, which is made; that of an annotated folder is ``sam3_examples``
        among its labels.
    image : array-like, str or Path
        The image, as :func:`segment` takes it.
    box : (y0, x0, y1, x1)
        A box round the object, in pixels.
    positive : bool
        Whether such objects are looked for, or must not be found.
    class_name : str
        Its class; empty for none.
    contrast, plane, channel_axis, channel, series
        As :func:`segment` has them.

    Returns
    -------
    Path
        The picture of the example.

    Raises
    ------
    ImageError
        If the image can't be read.
    PromptError
        If the box lies outside the image.
    ExportError
        If the example can't be written.
    """
    loaded = read_input(image, series=series)
    view = view_of_array(
        loaded.image.data,
        plane=plane,
        channel_axis=channel_axis,
        channel=channel,
        contrast=contrast,
        axis_labels=loaded.image.axis_labels,
        rgb=loaded.image.rgb,
    )
    region = BoxPrompt.from_box(box).region
    name = "" if loaded.path is None else loaded.path.name
    example = cut_example(view, region, positive=positive, class_name=class_name, image=name)
    return ExampleLibrary(expand_user(library)).add(example)


def _labels_alone(
    prompts: PromptSet,
    labels: npt.ArrayLike | str | Path,
    view: ImageView,
    axis_labels: Sequence[str] | None,
) -> PromptSet:
    """Return the objects of labels as masks; of a stack of labels those of the plane."""
    if prompts.kinds:
        raise PromptError(
            "Labels are segmented without other prompts.", "Leave the other prompts out."
        )
    file = expand_user(labels) if isinstance(labels, str | Path) else None
    if file is not None and is_annotations(file):
        axes, index = view.channels[0].source.axes.leading, view.channels[0].plane.leading
        kinds = [axis_kind(axis_labels[axis]) if axis_labels else "" for axis in axes]
        shown = dict(zip(plane_names(len(axes), kinds), index, strict=True))
        labels = paint_annotations(file, view.shape, plane=shown).labels
    data: Untyped
    if isinstance(labels, str | Path):
        data = read_labels(labels if file is None or is_address(labels) else file).data
    else:  # dask, zarr and h5py read what is indexed
        data = to_labels(load_object(labels), "labels").data
    if np.dtype(data.dtype).kind not in "iub":
        raise PromptError(
            "These are not labels: they hold no whole numbers.",
            "Save them as whole numbers, such as of 16 bits, and give these.",
        )
    channel = view.channels[0]
    lengths = channel.source.leading_shape
    at = tuple(at for at, size in zip(channel.plane.leading, lengths, strict=True) if size > 1)
    # ilastik writes a channel of length 1, ImageJ a slice.
    stacked = data.ndim > len(view.shape)
    long = [axis for axis, size in enumerate(data.shape) if size > 1 or not stacked]
    chosen = dict(zip(long, at, strict=False)) if len(long) == len(at) + len(view.shape) else {}
    shape = tuple(data.shape[axis] for axis in long if axis not in chosen)
    if shape != view.shape or any(data.shape[axis] <= place for axis, place in chosen.items()):
        raise PromptError(
            f"The labels have the shape {tuple(data.shape)}, the image plane {view.shape}"
            f"{f' at {at}' if at else ''}.",
            "Give labels of the plane's height and width, or of all of the stack.",
        )
    # All indices at once: of labels that are not in memory no other plane is read.
    kept: dict[int, Untyped] = {axis: slice(None) for axis in long} | chosen
    plane = data[tuple(kept.get(axis, 0) for axis in range(data.ndim))]
    return PromptSet(masks=MaskPrompt.of_labels(np.asarray(plane)))


def _pixels_key(view: ImageView) -> Hashable:
    # A caller may change an array between two calls, so its identity does not prove that
    # its pixels are the same. A checksum of one plane costs milliseconds, an encoding seconds.
    rgb = view.rgb()
    return (rgb.shape, zlib.crc32(rgb.data), zlib.adler32(rgb.data))


@contextmanager
def use_engine(
    engine: str | CachingEngine | None,
    compute: Compute | None,
    model_folder: str | Path | None,
    device: str,
    precision: str = AUTO,
) -> Iterator[CachingEngine]:
    """Give an engine that is closed at the end, or the one that the caller has opened.

    Without a name it is that of the server, or the one that reads the model folder, or the built-in
    one without either.
    """
    if isinstance(engine, CachingEngine):
        if compute is not None:
            raise EngineError(
                "An open engine and a server were given; one of them does the work.",
                "Leave out one of them, or give the server to open_engine.",
            )
        _check_choices(engine, model_folder, device, precision)
        yield engine
        return
    name = engine_for(model_folder) if engine is None and compute is None else engine
    with open_engine(
        name, compute=compute, model_folder=model_folder, device=device, precision=precision
    ) as opened:
        yield opened


def _check_choices(
    engine: CachingEngine, model_folder: str | Path | None, device: str, precision: str
) -> None:
    """Raise where an open engine is not what a call asks for."""
    known = engine.model_folder
    same = model_folder is None or (
        known is not None and find_model_folder(model_folder).resolve() == known.resolve()
    )
    if not same or (device, precision) != ("auto", AUTO):
        raise EngineError(
            "Model folder, device and precision are those of the open engine, and others were "
            "given here.",
            "Give them to open_engine.",
        )


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
    diameter: float | str | None = None,
    contrast: tuple[float, float] | None = None,
    plane: Sequence[int] | Literal["all"] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    axis_labels: Sequence[str] | None = None,
    rgb: bool | None = None,
    scale: tuple[float, float] | None = None,
    unit: str = "",
    series: int | str | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    on_step: Callable[[ScanStep], None] | None = None,
) -> ScanResult:
    """Scan a large plane, or all of a stack, tile by tile into an OME-Zarr image of labels.

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
    engine, compute, model_folder, device, precision, threshold, diameter
        As :func:`segment` takes them. All workers of a server scan.
    plane : sequence of int or "all", optional
        Index on each axis before rows and columns, or ``"all"`` for each of these planes one after
        another: every object is of one plane, and ids go on from plane to plane.
    contrast, channel_axis, channel, axis_labels, rgb
        As :func:`segment` takes them; of a file, its own axes are the default.
    scale : (y, x), optional
        Length of a pixel; by default what the file says, and in its units.
    unit : str
        What ``scale`` counts in, such as ``micrometer``.
    series : int or str, optional
        Which image of a file that holds several: its number from 0, or its name. By default the
        largest; the notes say which.
    overwrite : bool
        Whether existing labels of that name may be replaced.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.
    on_step : callable, optional
        Is called with each :class:`ScanStep`.

    Returns
    -------
    ScanResult
        ``path`` of the labels, ``objects`` (id, area, region, score, text), ``notes``, and
        ``plane_of(id)`` for the plane of an object.

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
    if plane == "all":
        view = first_view(
            source.image, channel_axis=channel_axis, channel=channel, contrast=contrast
        )
    else:
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
    if plane == "all":
        axes = (*source.image.along(view.channels[0].source.axes.leading), *axes)
    request = ScanRequest(
        view,
        make_prompts((), (), exemplars, None, text, view.shape, everything),
        expand_user(output),
        make_options(threshold, diameter, axes[-2:]),
        TileOptions(tile, overlap),
        axes,
        overwrite,
        None,
        {} if source.path is None else dict.fromkeys(tokens, source.path),
        None if source.path is None else source.image.series,
        source.image.notes,
        image if isinstance(image, str) and is_address(image) else "",
        plane == "all",
    )
    with use_engine(engine, compute, model_folder, device, precision) as ready:
        request = replace(request, model_folder=ready.model_folder)
        for step in _scan(ready, request, reporter or NullReporter()):
            if isinstance(step, ScanResult):
                return step
            if on_step is not None:
                on_step(step)
    raise RuntimeError("a scan ends with its result")

"""Write results and curated masks to files, and beside them the note that says what made them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.images import as_lazy
from napari_sam3_assistant.core.masks.labels import localise_box, union_box
from napari_sam3_assistant.core.masks.objects import Classes, ExportFormat
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import ExportError, MaskError, NameTaken
from napari_sam3_assistant.io.atomic import draft_folder, explain_os_errors, give_name, is_there
from napari_sam3_assistant.io.class_list import write_object_classes
from napari_sam3_assistant.io.exports import (
    save_coco,
    save_geojson,
    save_rois,
    save_yolo,
    write_table,
)
from napari_sam3_assistant.io.labels import open_label_stack, save_labels
from napari_sam3_assistant.io.ome_zarr_labels import (
    GrowingLabels,
    check_there,
    find_image,
    save_ome_zarr,
)
from napari_sam3_assistant.io.outputs import make_folder, save_under_free_name, split_ending
from napari_sam3_assistant.io.provenance import (
    check_provenance_path,
    removing_provenance,
    write_provenance,
)
from napari_sam3_assistant.io.tracks import save_ctc, save_geff
from napari_sam3_assistant.workflows.provenance import (
    make_accepted_record,
    make_record,
    object_entry,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray, Untyped
    from napari_sam3_assistant.core.masks.labels import Box, ImagePlace
    from napari_sam3_assistant.core.masks.merge import ObjectMask
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.io.provenance import ProvenanceRecord
    from napari_sam3_assistant.workflows.provenance import RunProvenance


def save_segmentation(
    result: Segmentation,
    path: Path,
    run: RunProvenance,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> None:
    """Write the labels of a run to a file, and the note beside it."""
    check_provenance_path(path)
    record = make_record(run, path.parent, [object_entry(found) for found in result.objects])
    save_labels(result.labels, path, run.axes, overwrite=overwrite, reporter=reporter)
    write_provenance(path, record)


@dataclass(frozen=True, slots=True, eq=False)
class StackSaveRequest:
    """A stack of labels to save.

    ``shape``: number of frames, height and width.
    ``read``: returns a frame's object ids, shape (H, W).
    ``labels`` (shape (F, H, W)): all of them, where they are in memory.
    ``path``: the file; its ending chooses the format.
    ``axes``: names of the axes, and the size of a pixel.
    ``provenance``: what made the labels, for the note beside the file; None for no note.
    ``objects``: what the note says of each object.
    ``extra``: what else the note says.
    """

    shape: tuple[int, int, int]
    read: Callable[[int], npt.NDArray[np.uint32]]
    labels: npt.NDArray[np.uint32] | None
    path: Path
    axes: Axes
    provenance: RunProvenance | None = None
    objects: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def check_stack_format(path: Path) -> None:
    """Raise where a format can't hold a stack."""
    if path.suffix.lower() == ".png":
        raise ExportError(
            "PNG holds one plane, and propagated labels are a stack.",
            "Choose TIFF, NumPy or OME-Zarr.",
        )


def save_stack(
    request: StackSaveRequest, reporter: Reporter, *, overwrite: bool = False
) -> Iterator[Path]:
    """Save a stack of labels, and yield its path when it and its note are written.

    Labels in memory are compressed; those on disk are copied frame by frame.
    """
    path = request.path
    reporter.report(Progress(0, 1, f"Saving {path.name}"))
    run = request.provenance
    # Before the labels: without the weights neither of them is written.
    noted = make_record(run, path.parent, request.objects, request.extra) if run else None
    make_folder(path)

    def save(name: Path) -> None:
        if request.labels is not None:
            save_labels(request.labels, name, request.axes, overwrite=overwrite, reporter=reporter)
            return
        with open_label_stack(name, request.shape, request.axes, replace=overwrite) as write:
            for frame in range(request.shape[0]):
                message = f"Saving frame {part_of(frame + 1, request.shape[0])}"
                reporter.report(Progress(frame, request.shape[0], message))
                write(frame, request.read(frame))

    yield _save_with_note(path, noted, save, overwrite=overwrite)


@dataclass(frozen=True, slots=True, eq=False)
class LabelsExport:
    """Labels to write, with more objects.

    ``labels``: the labels, in memory or lazy.
    ``path``: the file; its ending chooses the format.
    ``axes``: what a file can say of their place; it has no axis without a name.
    ``parts``: more objects: where each lies, and its mask there. They get their ids on empty pixels
    only.
    ``next_id``: the id of the first of them.
    ``overwrite``: whether a file of that name is replaced; if not, ``name_02``, ``name_03``, ... is
    taken.
    ``overwrite_folder``: whether a zarr folder of that name is replaced, too: who asks for it has
    written it.
    ``objects``: what the note says of each object of the labels. Without that, and without a
    provenance, there is no note.
    ``of_parts``: the same of each of the others, with a number of its own as its id.
    ``provenance``: what made the labels, or what they were accepted on; None where that is not
    known.
    """

    labels: AnyArray
    path: Path
    axes: Axes
    parts: tuple[tuple[Box, ObjectMask], ...] = ()
    next_id: int = 1
    overwrite: bool = False
    overwrite_folder: bool = False
    objects: tuple[Mapping[str, Any], ...] = ()
    of_parts: tuple[Mapping[str, Any], ...] = ()
    provenance: RunProvenance | None = None


def classes_path(labels: Path) -> Path:
    """Return where classes and parents of labels are: ``cells_labels_classes.csv``."""
    return labels.with_name(f"{split_ending(labels.name)[0]}_classes.csv")


def export_labels(request: LabelsExport, reporter: Reporter) -> Iterator[Path]:
    """Write labels, a table of classes and parents, and the note, and yield the path.

    Labels on disk are copied piece by piece.
    """
    path, overwrite, run = request.path, request.overwrite, request.provenance
    reporter.report(Progress(0, 1, f"Saving {path.name}"))
    make_folder(path)
    whole, objects = _add_objects(request)
    labels, axes = _drop_unnamed(whole, request.axes)
    noted = bool(objects) or run is not None
    record = make_accepted_record(run, axes, path.parent, objects) if noted else None

    def save(name: Path) -> None:
        in_memory = isinstance(request.labels, np.ndarray)
        if name.suffix.lower() == ".zarr" and (request.overwrite_folder or not in_memory):
            save_ome_zarr(labels, name, axes, reporter, replace=request.overwrite_folder)
        else:
            save_labels(labels, name, axes, overwrite=overwrite, reporter=reporter)

    path = _save_with_note(path, record, save, overwrite=overwrite)
    beside = classes_path(path)
    classes = {entry["id"]: entry.get("class", "") for entry in objects}
    links = [(entry["id"], entry.get("parent", 0)) for entry in objects]
    parents = {id_: parent for id_, parent in links if parent in classes and parent != id_}
    if any(classes.values()) or parents:
        write = partial(write_object_classes, classes, parents=parents, replace=overwrite)
        (write if overwrite else partial(save_under_free_name, save=write))(beside)
    elif overwrite and is_there(beside):
        write_object_classes({}, beside)  # what it said holds no more
    yield path


def _save_with_note(
    path: Path, record: ProvenanceRecord | None, save: Callable[[Path], object], *, overwrite: bool
) -> Path:
    """Save labels and the note beside them; returns the name that they got."""
    if overwrite:
        if record is not None:
            check_provenance_path(path)
        save(path)
    else:
        path = save_under_free_name(path, save)
    if record is not None:
        write_provenance(path, record)
    return path


def _add_objects(request: LabelsExport) -> tuple[Untyped, tuple[Mapping[str, Any], ...]]:
    """Return a copy of labels with more objects, as the next ids and on empty pixels only.

    Where these overlap, the later one is on top, as it is on show and when they are accepted. Also
    what is known of all that have pixels: with the ids and areas that they have now.
    """
    labels, parts = request.labels, request.parts
    whole = np.array(labels) if isinstance(labels, np.ndarray) else as_lazy(labels)
    if not parts:
        return whole, request.objects
    box = union_box(part_box for part_box, _ in parts)
    piece = np.array(whole[box])
    places = [localise_box(part_box, box) for part_box, _ in parts]
    empty = piece == 0
    for value, (place, (part_box, mask)) in enumerate(
        zip(places, parts, strict=True), request.next_id
    ):
        piece[place][mask[localise_box(part_box, part_box)] & empty[place]] = value
    whole[box] = piece
    areas = [
        int(np.count_nonzero(piece[place] == value))
        for value, place in enumerate(places, request.next_id)
    ]
    numbered = [
        (id_, entry, area)
        for id_, (entry, area) in enumerate(
            zip(request.of_parts, areas, strict=True), request.next_id
        )
        if area
    ]
    ids = {entry["id"]: id_ for id_, entry, _ in numbered}
    added = [
        {**entry, "id": id_, "area": area}
        | ({"parent": ids.get(entry["parent"], 0)} if entry.get("parent") else {})
        for id_, entry, area in numbered
    ]
    return whole, (*request.objects, *added)


def export_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], path: Path, reporter: Reporter
) -> Iterator[Path]:
    """Write a table as comma-separated values and yield the path."""
    reporter.report(Progress(0, 1, f"Saving {path.name}"))
    make_folder(path)
    write_table(path, header, rows)
    yield path


@dataclass(frozen=True, slots=True, eq=False)
class MaskExport:
    """What to write.

    ``labels`` (shape (..., H, W)): in memory or lazy.
    ``place``: where in which image they lie.
    ``axes``: what a file can say of their place in the world; it has no axis without a name.
    ``classes``: what the labels stand for.
    ``measured``: what is known of each label, for formats that hold measurements.
    ``parents``: of labels that came of a division, the label that divided, for formats that have
    tracks.
    """

    labels: Any
    path: Path
    format: ExportFormat
    place: ImagePlace
    axes: Axes
    classes: Classes = field(default_factory=Classes)
    measured: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    parents: Mapping[int, int] = field(default_factory=dict)


def export_masks(request: MaskExport, reporter: Reporter) -> Iterator[Path]:
    """Write masks and yield the path."""
    reporter.report(Progress(0, 0, f"Saving {request.path.name}"))
    labels, path, classes = request.labels, request.path, request.classes
    if find_image(path) is None:
        make_folder(path)
    match request.format:
        case ExportFormat.OME_ZARR | ExportFormat.OME_ZARR_05:
            _check_not_in(path, labels)
            found, axes = _drop_unnamed(labels, request.axes)
            format_: Literal[2, 3] = 3 if request.format is ExportFormat.OME_ZARR_05 else 2
            save_ome_zarr(found, path, axes, reporter, replace=True, zarr_format=format_)
        case ExportFormat.COCO_RLE | ExportFormat.COCO_POLYGONS:
            as_polygons = request.format is ExportFormat.COCO_POLYGONS
            save_coco(labels, path, classes, request.place, as_polygons=as_polygons)
        case ExportFormat.YOLO:
            save_yolo(labels, path, classes, request.place)
        case ExportFormat.GEOJSON | ExportFormat.GEOJSON_DETECTIONS:
            many = request.format is ExportFormat.GEOJSON_DETECTIONS
            kind: Literal["annotation", "detection"] = "detection" if many else "annotation"
            save_geojson(labels, path, classes, request.place, request.measured, kind=kind)
        case ExportFormat.IMAGEJ_ROIS:
            save_rois(labels, path, classes, request.place)
        case ExportFormat.CTC | ExportFormat.GEFF:
            found, axes = _drop_unnamed(labels, request.axes)
            yield from export_tracks(found, path, request.format, axes, reporter, request.parents)
            return
        case _:
            found, axes = _drop_unnamed(labels, request.axes)
            save_labels(found, path, axes, reporter=reporter)
    yield path


def export_tracks(
    labels: AnyArray,
    path: Path,
    format_: ExportFormat,
    axes: Axes,
    reporter: Reporter,
    parents: Mapping[int, int] | None = None,
) -> Iterator[Path]:
    """Write labels that keep their value through frames as tracks, and yield the path.

    ``labels`` (shape (T, Y, X), (Z, Y, X) or (T, Z, Y, X)): in memory or lazy; read frame by frame.
    A single channel is left out.
    ``path``: the folder, which must not exist.
    ``format_``: one that has tracks.
    ``axes``: the axes of the labels.
    ``parents``: of labels that came of a division, the label that divided.
    Raises NameTaken if there is something of that name.
    Raises ExportError if the format can't hold the labels, or it can't be written.

    Yields
    ------
    Path
        The folder.
    """
    with explain_os_errors(path):
        if is_there(path):  # said before all frames are read
            raise NameTaken(f"{path} exists already.", "Choose another name.")
    make_folder(path)
    channels = [axis_kind(axis.name) in ("c", "s") and axis.length == 1 for axis in axes]
    found, axes = _drop(labels, axes, channels)
    save = save_ctc if format_ is ExportFormat.CTC else save_geff
    yield save(found, path, axes, reporter, parents)


def _drop_unnamed(labels: AnyArray, axes: Axes) -> tuple[Any, Axes]:
    """Return labels without the axes that have no name and one plane: the image has none such."""
    return _drop(labels, axes, [not axis.name and axis.length == 1 for axis in axes])


def _drop(labels: AnyArray, axes: Axes, gone: Sequence[bool]) -> tuple[Any, Axes]:
    """Return labels without axes of one plane."""
    if not any(gone):
        return labels, axes
    kept = tuple(axis for axis, drop in zip(axes, gone, strict=True) if not drop)
    return as_lazy(labels)[tuple(0 if drop else slice(None) for drop in gone)], kept


def _check_not_in(path: Path, labels: AnyArray) -> None:
    """Raise ExportError if a folder that would be replaced holds the labels themselves."""
    root = getattr(getattr(labels, "store", None), "root", None)
    if root is None:
        return
    folder = root.resolve()
    if path.resolve() in (folder, *folder.parents):
        raise ExportError(f"{path} is where these labels are stored.", "Choose another name.")


@dataclass(frozen=True, slots=True, eq=False)
class MergeRequest:
    """Labels of regions, and where they go.

    ``parts``: each region in pixels of the plane, and its labels, shape (h, w).
    ``axes``: rows and columns of the plane.
    ``output``: a zarr folder that does not exist.
    """

    parts: tuple[tuple[Region, npt.NDArray[np.uint32]], ...]
    axes: Axes
    output: Path


def merge_regions(request: MergeRequest, reporter: Reporter) -> Iterator[Path]:
    """Write the labels of all regions into one OME-Zarr image and yield its path.

    Ids are numbered on from one region to the next. Where regions overlap, the later result is on
    top. Only the regions are written, so a plane of any size takes the memory of one region.
    Where somebody else takes the name meanwhile, it is ``name_02``, ``name_03``, ...
    """
    if not request.parts:
        raise MaskError("There are no results of regions to merge.", "Run a region first.")
    output = request.output
    if os.path.lexists(output):
        raise NameTaken(f"{output} exists already.", "Choose another name.")
    with draft_folder(output) as draft:
        with GrowingLabels(draft, request.axes, called=output) as merged:
            last = 0
            for done, (region, labels) in enumerate(request.parts):
                reporter.report(Progress(done, len(request.parts), f"Merging region {done + 1}"))
                found = np.array(merged[region.slices])
                np.add(labels, np.uint32(last), out=found, where=labels > 0)
                merged[region.slices] = found
                last += int(labels.max(initial=0))
        reporter.check()
        with explain_os_errors(output):
            check_there(draft)
            output = save_under_free_name(output, lambda name: _give_names(draft, name))
    yield output


def _give_names(draft: Path, name: Path) -> None:
    with removing_provenance(name):
        give_name(draft, name)

"""Clean up, measure and export labels, and end edits that were stopped half-way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.api.inputs import files_of, one_of, read_input
from napari_sam3_assistant.core.axes import axis_kind, make_axes, pixel_lengths
from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.masks.labels import (
    Connectivity,
    ImagePlace,
    check_labels,
    plane_names,
    read,
    whole_box,
)
from napari_sam3_assistant.core.masks.objects import Classes, ExportFormat
from napari_sam3_assistant.core.masks.operations import LabelsPart
from napari_sam3_assistant.core.masks.pieces import Apart
from napari_sam3_assistant.core.measurements import MORE, VOLUME_MORE
from napari_sam3_assistant.core.paths import expand_user, is_address
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import ExportError, MaskError, NameTaken
from napari_sam3_assistant.io.annotations import CocoFile, GeoJsonFile
from napari_sam3_assistant.io.class_list import read_classes as _read_classes
from napari_sam3_assistant.io.class_list import (
    read_object_classes,
    read_object_names,
    read_object_parents,
)
from napari_sam3_assistant.io.edit_journal import explain_unfinished, find_journals
from napari_sam3_assistant.io.exports import write_table
from napari_sam3_assistant.io.imagej_rois import RoiFile
from napari_sam3_assistant.io.in_memory import load_object
from napari_sam3_assistant.io.label_files import read_labels, to_labels
from napari_sam3_assistant.io.labels import check_ending, save_labels
from napari_sam3_assistant.io.ome_zarr_labels import find_image
from napari_sam3_assistant.io.outputs import check_output
from napari_sam3_assistant.io.provenance import (
    find_place,
    is_provenance,
    parents_of,
    provenance_path,
    read_provenance,
)
from napari_sam3_assistant.workflows.edit_masks import end_edit
from napari_sam3_assistant.workflows.measure import columns_of, measure_in_image
from napari_sam3_assistant.workflows.save import MaskExport, classes_path, export_masks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import LabelArray
    from napari_sam3_assistant.core.masks.operations import MaskOperation
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.provenance import ProvenanceRecord


def clean(
    labels: AnyArray | str | Path,
    operations: Sequence[MaskOperation],
    *,
    output: str | Path | None = None,
    connectivity: Connectivity = Connectivity.FACES,
    apart: Apart | str = Apart.FRAMES,
    physical: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> LabelArray:
    """Return labels on which operations of Mask Operations were done, one after the other.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W), or str or Path
        Object ids, 0 for background; or their file. They stay as they are.
    operations : sequence of MaskOperation
        Such as ``RemoveSmall(64)``, ``FillHoles(256)``, ``Smooth(1.0)``, ``Split(10.0)``.
    output : str or Path, optional
        Where the result is saved, too; its ending chooses the format.
    connectivity : Connectivity
        Which neighbours belong to the same component.
    apart : Apart or str
        What counts for itself, so that components, holes and distances end with it: ``"frames"``,
        which are all slices of one time and channel; ``"slices"``, each plane of rows and columns;
        or ``"nothing"``. Axes before rows and columns that have no name are taken for z, and those
        before it for times and channels.
    physical : bool
        Whether radii and distances count in the unit of the file's pixel size (of its last axis),
        and not in pixels.
    overwrite : bool
        Whether ``output`` is replaced where it exists.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Returns
    -------
    ndarray of int
        The new labels, of the same shape and type; uint32 where their numbers need it and of whole
        numbers that are kept as floats, and of ilastik's files without their channel.

    Raises
    ------
    MaskError
        If these are no labels, an operation can't be done, ``physical`` axes measure different
        things, such as slices that are times, or there is no such ``apart``.
    ImageError
        If their file can't be read.
    ExportError
        If the output exists or can't be written.
    """
    reporter = reporter or NullReporter()
    if output is not None:
        output = expand_user(output)
        check_output(output, *files_of(labels), replaces=overwrite)
        check_ending(output)
    array, axes = _read(labels)
    check_labels(array)
    kind = np.dtype(array.dtype)
    # There may be more parts than the type can number: after a mask's 255 none is left.
    roomy = kind if kind.itemsize >= np.dtype(np.uint32).itemsize else np.uint32
    result = np.array(read(array, whole_box(array.shape)), roomy)
    kinds = [axis_kind(axis.name) for axis in axes[:-2]]
    ends = one_of(Apart, apart, "way to count apart", MaskError).axes(
        plane_names(len(kinds), kinds)
    )
    spacing = _spacing(axes, ends) if physical else (1.0,) * result.ndim
    for operation in operations:
        part = LabelsPart(result, spacing, None, connectivity, ends)
        operation.edit(part, reporter).write(result, reporter=reporter)
    if result.max(initial=0) <= (1 if kind.kind == "b" else np.iinfo(kind).max):
        result = result.astype(kind, copy=False)
    if output is not None:
        save_labels(result, output, axes, overwrite=overwrite, reporter=reporter)
    return result


def export(
    labels: AnyArray | str | Path,
    output: str | Path,
    *,
    format: ExportFormat | str | None = None,
    image: str = "",
    classes: ClassList | str | Path | None = None,
    class_names: Mapping[int, str] | None = None,
    object_classes: Mapping[int, int] | str | Path | None = None,
    object_class: str = "",
    parents: Mapping[int, int] | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Write labels for another program: COCO, YOLO, GeoJSON of QuPath, regions of ImageJ, ...

    Where a note lies beside the file of the labels, coordinates are those of the whole image.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W), or str or Path
        Object ids, 0 for background; or their file.
    output : str or Path
        The file.
    format : ExportFormat or str, optional
        Such as ``"coco_rle"``; by default what the ending of ``output`` says. Of a path
        ``IMAGE.zarr/labels/NAME`` it is OME-Zarr, in the version of that image.
    image : str
        Name of the image's file; by default what the note beside the labels says, or their own.
    classes : ClassList, str or Path, optional
        The classes of the project or their file, see :func:`read_classes`: each has the same
        number in every export. Classes are found in it by ``class_names``; without these, the
        values of labels or ``object_classes`` are those of the list.
    class_names : mapping of int to str, optional
        Names of the classes. Without ``object_classes``, values of the labels are classes, and
        their components the objects.
    object_classes : mapping of int to int, str or Path, optional
        The class of each label; or a CSV file with the columns ``id`` and ``class``, by its name
        in ``classes``. Without all of these, labels are objects of the classes that the note or
        the file ``NAME_classes.csv`` beside them says, or else of one class.
    object_class : str
        The class of all labels, which are objects.
    parents : mapping of int to int, optional
        Of labels that came of a division, the label that divided: for tracks. By default what
        the note, or the file ``NAME_classes.csv``, beside the labels says.
    overwrite : bool
        Whether ``output`` is replaced where it exists.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MaskError
        If these are no labels, or the list is none, or has not their class.
    ImageError
        If their file can't be read.
    ExportError
        If the output exists or can't be written, or the format can't hold the labels.
    """
    path = expand_user(output)
    chosen = (
        _format_of(path) if format is None else one_of(ExportFormat, format, "format", ExportError)
    )
    if find_image(path) is None:
        check_output(path, *files_of(labels, classes, object_classes), replaces=overwrite)
    elif path.exists() and not overwrite:
        raise NameTaken(f"{path} exists already.", "Choose another name.")
    listed = classes if isinstance(classes, ClassList) else ClassList()
    if isinstance(classes, str | Path):
        listed = read_classes(classes)
    if object_class:
        value = listed.value(object_class) if listed else 1
        meaning = Classes({value: object_class}, every=value)
    else:
        if isinstance(object_classes, str | Path):
            object_classes = read_object_classes(expand_user(object_classes), listed)
        known = class_names or object_classes is not None
        beside = {} if known else _classes_beside(labels)
        meaning = (
            Classes.of_objects(beside)
            if beside
            else Classes(dict(class_names or {}), dict(object_classes or {}))
        )
    meaning = meaning.number_by(listed, by_value=True)
    array, axes, place = _read_placed(labels, image or path.stem)
    if image:
        place = replace(place, file=image)
    if parents is None and chosen.has_tracks:
        parents = _parents_beside(labels)
    request = MaskExport(array, path, chosen, place, axes, meaning, parents=parents or {})
    (written,) = export_masks(request, reporter or NullReporter())
    return written


def measure(
    labels: AnyArray | str | Path,
    image: AnyArray | str | Path | None = None,
    *,
    more: Sequence[str] = (),
    volumes: bool = False,
    output: str | Path | None = None,
    plane: Sequence[int] = (),
    channel_axis: int | None = None,
    series: int | str | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> tuple[dict[str, Any], ...]:
    """Measure each object: area, diameter, centroid, and the mean of the image's raw pixels.

    Where a note lies beside the file of the labels, they are found in the whole image.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W), or str or Path
        Object ids, 0 for background; or their file. In a stack each plane counts for itself,
        unless ``volumes`` are asked for.
    image : array-like, str or Path, optional
        What they were made of. Without it no intensities are measured.
    more : sequence of str
        What to measure besides: Perimeter, Major axis, Minor axis, Largest diameter, Eccentricity,
        Orientation, Solidity, Extent, Euler number, Convex area, Filled area, Lowest intensity,
        Highest intensity, Deviation of intensity. Of volumes: Volume major axis, Volume minor axis,
        Volume solidity, Volume extent, Volume Euler number.
    volumes : bool
        Whether an object is measured on all of its slices along z together: a row for each object,
        with its volume, and not for each object and plane.
    output : str or Path, optional
        A CSV file for the rows.
    plane : sequence of int
        Which plane of the image labels of one plane are of, where no note says so: an index along
        each axis that is neither y, x nor channel.
    channel_axis : int, optional
        The image's channel axis; by default it is found out.
    series : int or str, optional
        Which image of its file; by default the largest.
    overwrite : bool
        Whether ``output`` is replaced where it exists.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Returns
    -------
    tuple of dict
        A row for each object and plane: ``id``, ``t``, ``c`` or ``z`` of a stack, what was
        measured in the unit of a pixel's size (of the image if it has one, else of the labels),
        and ``unit``; empty for pixels. Centroids count from the centre of the image's first pixel.
        Where slices and pixels have no common unit, volumes count in voxels.

    Raises
    ------
    MaskError
        If these are no labels, don't fit the image, there is no such measurement, or volumes are
        asked for of labels without a z axis.
    ImageError
        If a file can't be read.
    ExportError
        If the output exists or can't be written.
    """
    known_titles = VOLUME_MORE if volumes else MORE
    unknown = [title for title in more if title not in known_titles]
    if unknown:
        whose = " of volumes" if volumes else ""
        raise MaskError(
            f"There is no measurement “{unknown[0]}”{whose}.", f"Use {', '.join(known_titles)}."
        )
    path = None if output is None else expand_user(output)
    if path is not None:
        check_output(path, *files_of(labels, image), replaces=overwrite)
    array, axes, place = _read_placed(labels, "labels", tuple(plane))
    if volumes and "z" not in place.names:
        raise MaskError(
            "These labels have no z axis, and so no volumes.", "Measure them without volumes."
        )
    source = None if image is None else read_input(image, series=series).image
    reporter, asked = reporter or NullReporter(), tuple(more)
    measured = measure_in_image(
        array, axes, place, source, reporter, channel_axis=channel_axis, more=asked, volumes=volumes
    )
    rows = tuple(measured)
    if path is not None:
        titles = columns_of(rows)
        cells = ([row.get(title) for title in titles] for row in rows)
        write_table(path, titles, cells)
    return rows


def read_classes(path: str | Path) -> ClassList:
    """Read the classes of a project: names, numbers and colours.

    Parameters
    ----------
    path : str or Path
        CSV (``id,name,color``), a text file with a name a line, YOLO's ``data.yaml``, COCO, or
        QuPath's ``classes.json``.

    Raises
    ------
    MaskError
        If it can't be read, or is no list of classes.
    """
    return _read_classes(expand_user(path))


def read_coco(path: str | Path) -> CocoFile:
    """Read a COCO file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    CocoFile
        ``images``, ``classes``, ``find(name)``, and ``paint(image)`` for the labels of one: as
        polygons or run lengths, compressed or not. ``labels``, ``classes`` and ``object_classes``
        of these are what :func:`export` takes.

    Raises
    ------
    MaskError
        If it can't be read, or is no COCO file.
    """
    return CocoFile(expand_user(path))


def read_geojson(path: str | Path) -> GeoJsonFile:
    """Read a GeoJSON file as QuPath writes it.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    GeoJsonFile
        ``classes``, and ``paint(shape, plane)`` for the labels of a plane of an image of that
        height and width: areas with their holes. ``labels``, ``classes`` and
        ``object_classes`` of these are what :func:`export` takes; ``measurements`` what QuPath has
        measured.

    Raises
    ------
    MaskError
        If it can't be read, or is no GeoJSON file.
    """
    return GeoJsonFile(expand_user(path))


def read_rois(path: str | Path) -> RoiFile:
    """Read regions of ImageJ: a ``.roi`` file, or a zip of them as the ROI Manager saves it.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    RoiFile
        ``paint(shape, plane)`` for the labels of a plane of an image of that height and width. The
        format has no classes; the number of a region's group is among its ``measurements``.

    Raises
    ------
    MaskError
        If it can't be read, or holds no regions.
    """
    return RoiFile(expand_user(path))


def _read(labels: AnyArray | str | Path) -> tuple[AnyArray, Axes]:
    """Return labels and what is known of their axes; large files are read where needed."""
    if isinstance(labels, str | Path):
        loaded = read_labels(labels if is_address(labels) else expand_user(labels))
        return loaded.data, loaded.axes
    loaded = to_labels(load_object(labels), "The image")
    named = any(axis.name for axis in loaded.axes)
    return loaded.data, loaded.axes if named else make_axes(loaded.data.shape)


def _spacing(axes: Axes, apart: Sequence[int]) -> tuple[float, ...]:
    """Return how far pixels lie apart along each axis, 1 along those that have no distances.

    Raises MaskError if there is no unit for all.
    """
    every = range(len(axes))
    chosen = [at for at in every if at not in apart and axes[at].length > 1] or [*every]
    lengths = pixel_lengths(tuple(axes[at] for at in chosen))
    if lengths is None:
        units = ", ".join(axes[at].unit or "pixels" for at in chosen)
        raise MaskError(
            f"The axes of these labels count in {units}: there are no distances between them.",
            "Count slices apart, where that helps, or in pixels.",
        )
    known = dict(zip(chosen, lengths, strict=True))
    return tuple(known.get(at, 1.0) for at in range(len(axes)))


def _read_placed(
    labels: AnyArray | str | Path, name: str, plane: tuple[int, ...] = ()
) -> tuple[AnyArray, Axes, ImagePlace]:
    """Return labels, their axes and their place in their image, which has all of these axes."""
    array, axes = _read(labels)
    check_labels(array)
    place = _place_in_image(labels, array.shape)
    if place is None and plane and array.ndim == 2:
        height, width = array.shape
        place = ImagePlace(name, (height, width), leading=plane, names=plane_names(len(plane)))
    elif place is None:
        file = Path(labels).name if isinstance(labels, str | Path) else ""
        kinds = [axis_kind(axis.name) for axis in axes[:-2]]
        place = ImagePlace.alone(file or name, array.shape, plane_names(len(kinds), kinds))
        place = replace(place, file=file)
    while array.ndim < len(place.names) + 2:
        array, axes = array[np.newaxis], (*make_axes((1, 1, 1))[:1], *axes)
    return array, axes, place


def _place_in_image(labels: AnyArray | str | Path, shape: Sequence[int]) -> ImagePlace | None:
    """Return where labels lie in their image, as the note beside their file says it."""
    note = _note_beside(labels)
    return None if note is None else find_place(note, shape)


def _classes_beside(labels: object) -> dict[int, str]:
    """Return the class of each label by what lies beside their file; empty where that says none."""
    if not isinstance(labels, str | Path):
        return {}
    table = classes_path(expand_user(labels))
    if table.exists():
        return read_object_names(table)
    note = _note_beside(labels)
    entries = () if note is None else note.objects
    named = ((entry.get("id"), entry.get("class")) for entry in entries)
    # A stranger's note may say anything.
    return {
        id_: name for id_, name in named if isinstance(id_, int) and isinstance(name, str) and name
    }


def _parents_beside(labels: AnyArray | str | Path) -> dict[int, int]:
    """Return the parent of each label by what lies beside their file, if anything says it."""
    if isinstance(labels, str | Path):
        table = classes_path(expand_user(labels))
        parents = read_object_parents(table) if table.exists() else {}
        if parents:
            return parents
    note = _note_beside(labels)
    return {} if note is None else parents_of(note)


def _note_beside(labels: AnyArray | str | Path) -> ProvenanceRecord | None:
    """Return the note beside the file of labels, if there is one."""
    notes = [provenance_path(file) for file in files_of(labels)]
    return next((read_provenance(note) for note in notes if is_provenance(note)), None)


def _format_of(path: Path) -> ExportFormat:
    """Return the format of an ending: the first one that has it."""
    if find_image(path) is not None:
        return ExportFormat.OME_ZARR
    ending = ".tif" if path.suffix.lower() == ".tiff" else path.suffix.lower()
    found = next(
        (export_format for export_format in ExportFormat if export_format.suffix == ending), None
    )
    if found is None:
        known = ", ".join(sorted({export_format.suffix for export_format in ExportFormat}))
        raise ExportError(f"Labels can't be exported as '{path.suffix}': {path}.", f"Use {known}.")
    return found


def unfinished_edits(labels: str | Path) -> tuple[str, ...]:
    """Return what was begun by Mask Operations in labels and not ended, a sentence each.

    Parameters
    ----------
    labels : str or Path
        A zarr folder: an OME-Zarr, a group or an array in it.
    """
    return tuple(
        " ".join(explain_unfinished(found)) for found in find_journals(expand_user(labels))
    )


def finish_edits(labels: str | Path, *, reporter: Reporter | None = None) -> tuple[str, ...]:
    """Write to their end the edits that were stopped half-way; returns what they did.

    Parameters
    ----------
    labels : str or Path
        As for :func:`unfinished_edits`. Smaller levels of a pyramid follow.
    reporter : Reporter, optional
        Receives the progress.

    Raises
    ------
    MaskError
        If another program is at one, or the labels can't be written.
    ExportError
        If nothing can be written there.
    """
    return _end(labels, reporter, forward=True)


def take_back_edits(labels: str | Path, *, reporter: Reporter | None = None) -> tuple[str, ...]:
    """Take back the edits that were stopped half-way; see :func:`finish_edits`."""
    return _end(labels, reporter, forward=False)


def _end(labels: str | Path, reporter: Reporter | None, *, forward: bool) -> tuple[str, ...]:
    ended = []
    for found in find_journals(expand_user(labels)):
        written = next(end_edit(found, reporter or NullReporter(), forward=forward))
        if written.problem:
            raise MaskError(written.problem)
        ended.append(found.edit.action)
    return tuple(ended)

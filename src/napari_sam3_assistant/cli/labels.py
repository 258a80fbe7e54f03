"""``napari-sam3 clean``, ``measure``, ``export`` and ``import``: what is done with labels."""

from __future__ import annotations

import csv
import io
import itertools
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    Answer,
    TerminalReporter,
    add_json,
    add_output,
    add_overwrite,
    add_pattern,
    add_series,
    check_replaceable,
    parse_image,
    parse_path,
    parse_whole_numbers,
)
from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.core.measurements import MORE, VOLUME_MORE
from napari_sam3_assistant.core.plurals import plural_of, pluralize
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.annotations import read_annotations
from napari_sam3_assistant.io.class_list import write_classes
from napari_sam3_assistant.io.exports import write_table
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.outputs import distinct_paths, make_folder, safe_name
from napari_sam3_assistant.workflows.measure import columns_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_sam3_assistant.core.masks.operations import MaskOperation

    _Annotated = tuple[str, str, Callable[[], api.ImportedLabels]]

_OF_MASKS = 255  # what programs write for "object" that know no labels
# What each step is called, what makes it of its number, and which number it has by itself.
_STEPS: dict[str, tuple[Callable[..., MaskOperation], type | None, str]] = {
    "remove-small": (api.RemoveSmall, int, "components of fewer pixels (64) go"),
    "fill-holes": (api.FillHoles, int, "holes of at most so many pixels (256; 0: all) are filled"),
    "smooth": (api.Smooth, float, "spikes and gaps narrower than a ball of this radius (1) go"),
    "split": (api.Split, float, "touching objects are cut where centres lie this far apart (10)"),
    "expand": (api.Expand, float, "labels grow by this distance (1)"),
    "shrink": (api.Shrink, float, "labels shrink by this distance (1)"),
    "keep-largest": (api.KeepLargest, None, "the largest component stays"),
    "renumber": (api.Renumber, None, "labels become 1, 2, ..."),
    "number-components": (
        partial(api.Renumber, by_component=True),
        None,
        "each component becomes an object of its own: 1, 2, ..., also of a mask of 0 and 255",
    ),
}


def add_clean(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``clean``."""
    steps = "; ".join(
        f"{name}{'' if number is None else '[=NUMBER]'}: {text}"
        for name, (_, number, text) in _STEPS.items()
    )
    parser = commands.add_parser(
        "clean",
        help="clean up labels",
        description=f"Do one or several steps on labels, in this order. Steps: {steps}.",
        epilog="Example: napari-sam3 clean labels.tif remove-small=50 fill-holes -o clean.tif",
    )
    _add_labels(parser)
    parser.add_argument("steps", nargs="+", metavar="STEP", help="such as remove-small=64")
    add_output(parser, "FILE", "the new labels: .tif, .png, .npy or .zarr")
    add_overwrite(parser)
    add_json(parser)
    parser.add_argument(
        "--apart",
        choices=[*api.Apart],
        default=api.Apart.FRAMES,
        help="what counts for itself: frames, with all their slices (default), slices, or nothing",
    )
    parser.add_argument("--corners", action="store_true", help="pixels that touch by a corner join")
    parser.add_argument(
        "--physical", action="store_true", help="distances in the unit of the pixel size"
    )
    parser.set_defaults(command=clean)


def add_measure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``measure``."""
    parser = commands.add_parser(
        "measure",
        help="measure the objects of labels: area, position, intensity",
        description=(
            "Print a row for each object as CSV, or write it. Where the note of the labels lies "
            "beside them, they are found in the whole image. Besides the area, diameter, centroid "
            f"and mean intensity there are {', '.join(MORE)}; of volumes {', '.join(VOLUME_MORE)}."
        ),
        epilog=(
            "Example: napari-sam3 measure labels.tif --image cells.tif -o cells.csv "
            "--more Perimeter,Solidity"
        ),
    )
    _add_labels(parser)
    parser.add_argument(
        "--image", type=parse_image, metavar="IMAGE", help="for intensities: what they lie on"
    )
    add_output(parser, "FILE.csv", "the table (default: it is printed)", required=False)
    parser.add_argument("--more", default="", metavar="NAME,NAME,...", help="what else to measure")
    parser.add_argument(
        "--volumes",
        action="store_true",
        help="one row for each object of a z-stack, over all slices: volume, sphere diameter",
    )
    add_overwrite(parser)
    add_json(parser)
    look = parser.add_argument_group("what to look at in the image")
    look.add_argument("--plane", metavar="I,J,...", help="where labels of one plane lie in a stack")
    add_series(look)
    look.add_argument("--channel-axis", type=int, metavar="AXIS", help="default: found out")
    parser.set_defaults(command=measure)


def add_export_series(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``export-series``."""
    parser = commands.add_parser(
        "export-series",
        help="write a table and a COCO file of a folder that was annotated in the window",
        description=(
            "Write a table of all objects and one COCO file of all images of a folder that was "
            "annotated image by image in the window, beside their labels. Earlier ones are "
            "replaced."
        ),
        epilog="Example: napari-sam3 export-series images --more Perimeter,Solidity",
    )
    parser.add_argument("source", type=parse_path, metavar="FOLDER", help="the images")
    parser.add_argument(
        "--labels", type=parse_path, metavar="FOLDER", help="their labels (default: sam3_labels)"
    )
    add_pattern(parser)
    parser.add_argument("--more", default="", metavar="NAME,NAME,...", help="what else to measure")
    add_json(parser)
    parser.set_defaults(command=export_series)


def export_series(chosen: argparse.Namespace) -> int:
    """Write the files of all images of an annotated folder; returns 1 if one failed."""
    more = [name.strip() for name in chosen.more.split(",") if name.strip()]
    with Answer(chosen) as answer:
        with TerminalReporter() as reporter:
            result = api.export_series(
                chosen.source, chosen.labels, pattern=chosen.pattern, more=more, reporter=reporter
            )
        message = f"{pluralize(result.objects, 'object')} on {pluralize(result.images, 'image')}"
        answer.say(
            message, objects=result.objects, images=result.images, failed=dict(result.failed)
        )
        for name, why in result.failed:
            answer.say(f"{name}: {why}")
        answer.file(result.table)
        answer.file(result.coco)
    return 1 if result.failed else 0


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``export``."""
    parser = commands.add_parser(
        "export",
        help="write labels for other programs: COCO, YOLO, QuPath, ImageJ",
        description=(
            "Write labels for other programs. Where the note of the labels lies beside them, "
            "coordinates are those of the whole image."
        ),
        epilog=(
            "Examples: napari-sam3 export labels.tif -o cells.geojson; "
            "napari-sam3 export labels.tif -o cells.txt --classes data.yaml --object-class nucleus"
        ),
    )
    _add_labels(parser)
    add_output(parser, "FILE", "its ending chooses the format")
    parser.add_argument(
        "--format",
        choices=tuple(map(str, api.ExportFormat)),
        help="where several have that ending (default: the first)",
    )
    parser.add_argument("--image", default="", metavar="NAME", help="name of the image's file")
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="VALUE=NAME",
        help="values of the labels are classes, and this is one of them; may be repeated",
    )
    parser.add_argument(
        "--classes",
        dest="class_list",
        type=parse_path,
        metavar="FILE",
        help="the classes of the project, which have the same numbers in every file: CSV with id, "
        "name and color, names one a line, YOLO's data.yaml or COCO; values of the labels are "
        "its numbers, or what --class calls them",
    )
    parser.add_argument(
        "--objects",
        type=parse_path,
        metavar="FILE.csv",
        help="the class of each label, in the columns id and class; with --classes",
    )
    parser.add_argument(
        "--object-class", default="", metavar="NAME", help="labels are objects, all of this class"
    )
    add_overwrite(parser)
    add_json(parser)
    parser.set_defaults(command=export)


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import``."""
    parser = commands.add_parser(
        "import",
        help="make labels of annotations: COCO, GeoJSON of QuPath, or regions of ImageJ",
        description=(
            "Make labels of the annotations of a file: COCO, GeoJSON as QuPath writes it, or "
            "regions as ImageJ's ROI Manager saves them (.roi, .zip). For each image there is "
            "IMAGE_labels.tif and IMAGE_objects.csv, the class of each object; classes.csv is the "
            "class list of all."
        ),
        epilog=(
            "Examples: napari-sam3 import coco.json -o labels; napari-sam3 import slide.geojson "
            "--image slide.tif -o slide; napari-sam3 export labels/a_labels.tif -o a.txt "
            "--classes labels/classes.csv --objects labels/a_objects.csv"
        ),
    )
    parser.add_argument("file", type=parse_path, metavar="FILE", help="the file of annotations")
    add_output(parser, "FOLDER", "where to; it is made")
    parser.add_argument(
        "--image",
        default="",
        metavar="NAME",
        help="one image of a COCO file only; else the file of the image, which has its size",
    )
    add_overwrite(parser)
    add_json(parser)
    parser.set_defaults(command=import_annotations)


def import_annotations(chosen: argparse.Namespace) -> int:
    """Make labels of the annotations that were named."""
    file = read_annotations(chosen.file)
    found = _of_coco(file, chosen) if isinstance(file, api.CocoFile) else _of_outlines(file, chosen)
    classes = file.classes
    folder: Path = chosen.output
    listed = folder / "classes.csv"
    paths = [
        (folder / f"{stem}_labels.tif", folder / f"{stem}_objects.csv") for stem, _, _ in found
    ]
    check_replaceable(chosen, listed, *itertools.chain(*paths))
    make_folder(listed)
    with Answer(chosen) as answer, TerminalReporter() as reporter:
        for done, ((_, name, paint), (labels, table)) in enumerate(zip(found, paths, strict=True)):
            reporter.report(Progress(done, len(found), f"Importing {name}"))
            painted = paint()
            save_labels(painted.labels, labels, overwrite=chosen.overwrite)
            names = painted.classes.names
            rows = ((label, names[value]) for label, value in painted.object_classes.items())
            write_table(table, ("id", "class"), rows)
            answer.say(f"{name}: {pluralize(len(painted.object_classes), 'object')}")
            for note in painted.notes:
                answer.note(f"{name}: {note}")
            answer.file(labels)
            answer.file(table)
        answer.file(write_classes(classes, listed))
    return 0


def _of_coco(file: api.CocoFile, chosen: argparse.Namespace) -> list[_Annotated]:
    """Return the images of a COCO file: file name, name, and what paints their labels."""
    images = (file.find(chosen.image),) if chosen.image else file.images
    proposed = [Path(safe_name(Path(image.file_name).stem)) for image in images]
    named = distinct_paths(proposed, [str(image.id) for image in images])
    return [
        (path.name, image.file_name, partial(file.paint, image))
        for path, image in zip(named, images, strict=True)
    ]


def _of_outlines(
    file: api.GeoJsonFile | api.RoiFile, chosen: argparse.Namespace
) -> list[_Annotated]:
    """Return the image of a file of GeoJSON, or of regions of ImageJ, in the same way."""
    shape = None
    if chosen.image:
        image = api.imread(parse_path(chosen.image))
        layout = guess_axes(image.data.shape, rgb=image.rgb, axis_labels=image.axis_labels)
        shape = ImageSource(image.levels, layout).plane_shape
    name = Path(chosen.image).name or file.image or chosen.file.name
    return [(safe_name(Path(name).stem), name, partial(file.paint, shape))]


def _add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", type=parse_path, metavar="LABELS", help="the file of the labels")


def clean(chosen: argparse.Namespace) -> int:
    """Clean up the labels that were named."""
    steps = [_parse_step(text) for text in chosen.steps]
    check_replaceable(chosen, chosen.output)
    with TerminalReporter() as reporter:
        api.clean(
            chosen.labels,
            steps,
            output=chosen.output,
            connectivity=api.Connectivity.ALL if chosen.corners else api.Connectivity.FACES,
            apart=chosen.apart,
            physical=chosen.physical,
            overwrite=chosen.overwrite,
            reporter=reporter,
        )
    with Answer(chosen) as answer:
        answer.file(chosen.output)
    return 0


def measure(chosen: argparse.Namespace) -> int:
    """Measure the labels that were named."""
    check_replaceable(chosen, chosen.output)
    plane = () if chosen.plane is None else parse_whole_numbers(chosen.plane, (), "--plane")
    more = [name.strip() for name in chosen.more.split(",") if name.strip()]
    with Answer(chosen) as answer:
        with TerminalReporter() as reporter:
            rows = api.measure(
                chosen.labels,
                chosen.image,
                more=more,
                volumes=chosen.volumes,
                output=chosen.output,
                plane=plane,
                channel_axis=chosen.channel_axis,
                series=chosen.series,
                overwrite=chosen.overwrite,
                reporter=reporter,
            )
        for remark in _remarks(rows, more):
            if chosen.output is None and not chosen.json:
                sys.stderr.write(f"{remark}\n")  # between the lines of a table it would be a row
            else:
                answer.note(remark)
        if chosen.output is None:
            text = io.StringIO()
            table = csv.DictWriter(text, columns_of(rows), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
            for line in text.getvalue().splitlines():
                answer.say(line, rows=rows)
        else:
            answer.say(f"{len(rows)} {plural_of(len(rows), 'object')}", rows=rows)
            answer.file(chosen.output)
    return 0


def _remarks(rows: Sequence[Mapping[str, Any]], more: Sequence[str]) -> Iterator[str]:
    """Yield what the user should know of measurements."""
    if rows and all(row["id"] == _OF_MASKS for row in rows):
        yield (
            "All pixels are one object, of the label 255. If this is a mask of several, number "
            "them first: napari-sam3 clean MASK number-components -o LABELS"
        )
    known = {title for row in rows for title in row}
    missing = [name for name in more if not any(title.startswith(name) for title in known)]
    if rows and missing:
        yield (
            f"Not measured: {', '.join(missing)}. Intensities need --image, and a perimeter "
            "needs pixels that are squares."
        )


def export(chosen: argparse.Namespace) -> int:
    """Export the labels that were named."""
    check_replaceable(chosen, chosen.output)
    with TerminalReporter() as reporter:
        result = api.export(
            chosen.labels,
            chosen.output,
            format=chosen.format,
            image=chosen.image,
            classes=chosen.class_list,
            object_classes=chosen.objects,
            object_class=chosen.object_class,
            class_names=dict(_parse_class(text) for text in chosen.classes),
            overwrite=chosen.overwrite,
            reporter=reporter,
        )
    with Answer(chosen) as answer:
        answer.file(result)
    return 0


def _parse_step(text: str) -> MaskOperation:
    name, equals, typed = text.partition("=")
    make, number, _ = _STEPS.get(name, (None, None, ""))
    if make is None:
        raise MaskError(f"There is no step '{name}'.", f"Steps are {', '.join(_STEPS)}.")
    if not equals:
        return make()
    try:
        value = number(typed) if number else None
    except ValueError:
        value = None
    if value is None or not 0 <= value < 1e9:
        remedy = f"Write {name} or {name}=10." if number else f"Write {name}."
        raise MaskError(f"{text}: '{typed}' is not a number that this step takes.", remedy)
    return make(value)


def _parse_class(text: str) -> tuple[int, str]:
    value, _, name = text.partition("=")
    if not (value.isdecimal() and int(value) and name):
        raise MaskError(f"--class {text}: this is not a class.", "Write it like --class 1=axon.")
    return int(value), name

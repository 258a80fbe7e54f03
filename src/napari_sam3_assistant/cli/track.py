"""``napari-sam3 track``: follow objects through a stack."""

from __future__ import annotations

import glob
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import api
from napari_sam3_assistant.api.track import frame_source
from napari_sam3_assistant.cli.arguments import (
    Answer,
    TerminalReporter,
    add_engine,
    add_everything,
    add_json,
    add_output,
    add_overwrite,
    add_pattern,
    add_plane,
    add_repeated,
    add_text,
    check_replaceable,
    chosen_engine,
    everything_argument,
    explain_row,
    parse_image,
    parse_numbers,
    parse_path,
    parse_whole_numbers,
    plane_arguments,
    seeds_file,
)
from napari_sam3_assistant.core.paths import is_address
from napari_sam3_assistant.core.plurals import plural_of
from napari_sam3_assistant.core.tracks import Direction, TrackScale, TrackTable
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import check_stack_path, open_label_stack
from napari_sam3_assistant.io.loaded import means_several, parse_series
from napari_sam3_assistant.io.ome_zarr_labels import is_zarr
from napari_sam3_assistant.io.outputs import check_apart, check_output
from napari_sam3_assistant.io.provenance import check_provenance_path

if TYPE_CHECKING:
    import argparse

    from napari_sam3_assistant.api.track import TrackFrames
    from napari_sam3_assistant.core.axes import Axes


def add_track(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "track",
        help="follow objects through a stack or a video",
        description=(
            "Spread prompts on one or more slices through a stack. Ctrl+C stops it; the slices "
            "that are done are kept, whatever ends the work."
        ),
        epilog=(
            "Example: napari-sam3 track stack.tif --frame 12 --point 40,52,+ -o labels.tif "
            "--csv tracks.csv"
        ),
    )
    parser.add_argument(
        "stack",
        type=parse_image,
        metavar="STACK",
        help="a file of any format, a zarr folder, or a folder of stacks or a pattern in quotes",
    )
    add_output(
        parser,
        "LABELS",
        "for the labels: .tif (multi-page), .npy or .zarr (OME-Zarr); of a folder of stacks a "
        "folder",
    )
    add_pattern(parser)
    parser.add_argument(
        "--csv",
        "--table",
        type=parse_path,
        metavar="FILE",
        help="a table with one row for each frame and object: area, centroid, score",
    )
    add_overwrite(parser)
    add_json(parser)
    _add_prompts(parser)
    group = parser.add_argument_group("which frames")
    group.add_argument(
        "--axis", help="number or name of their axis (default: 0; of a folder the only one)"
    )
    group.add_argument("--frame", type=int, default=0, metavar="K", help="the prompted one")
    group.add_argument("--direction", choices=list(Direction), default=Direction.BOTH)
    group.add_argument("--frames", metavar="FIRST,LAST", help="both included (default: all)")
    group.add_argument(
        "--stop-after-lost", type=int, metavar="N", help="end after N frames without objects"
    )
    add_everything(parser)
    parser.add_argument(
        "--joining",
        choices=list(api.Joining),
        default=api.Joining.OVERLAP,
        help="with --everything: find it on each slice and join by overlap; or find it at each "
        "time and link by overlap and distance, with divisions; or find it on one --frame, which "
        "the video head follows (default: %(default)s)",
    )
    add_engine(parser)
    add_plane(parser, "each leading axis but that of the frames")
    parser.set_defaults(command=run)


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    prompts = parser.add_argument_group(
        "prompts, in pixels, y before x; with K: in front they are on frame K, not on --frame"
    )
    add_repeated(prompts, "--point", "[K:]Y,X[,+|-][,ID]", "a click: + on the object, - off it")
    add_repeated(prompts, "--box", "[K:]Y0,X0,Y1,X1[,ID]", "a box round one object")
    add_repeated(
        prompts, "--exemplar", "[K:]Y0,X0,Y1,X1[,+|-]", "a box round an example of what to find"
    )
    add_repeated(prompts, "--mask", "[K:]FILE", "labels image, each value an object")
    add_text(prompts)


def run(chosen: argparse.Namespace) -> int:
    """Follow the objects that were named, and write each frame as it is done."""
    if _is_folder(chosen.stack) or means_several(parse_series(chosen.series)):
        return _run_folder(chosen)
    output = check_stack_path(chosen.output)
    masks = (_split_mask(text, 0)[1] for text in chosen.mask)
    read = [chosen.stack, *masks, *seeds_file(chosen)]
    check_apart(output, *read)
    check_provenance_path(output)
    if chosen.csv is not None:
        check_output(chosen.csv, output, *read)
    check_replaceable(chosen, output, chosen.csv)
    with Answer(chosen) as answer:
        return _run(chosen, output, answer)


def _is_folder(stack: Path | str) -> bool:
    """Return whether a folder of stacks was named, or some by a pattern that no shell knows."""
    if not isinstance(stack, Path) or stack.is_file():
        return False
    return (stack.is_dir() and not is_zarr(stack)) or glob.has_magic(str(stack))


def _run_folder(chosen: argparse.Namespace) -> int:
    """Follow the objects in each stack of a folder; returns 1 if one failed."""
    if chosen.csv is not None or chosen.mask or chosen.plane is not None:
        raise PromptError(
            "--table, --mask and --plane are for a single stack.",
            "Leave them out; the notes beside the labels list the objects.",
        )
    look = plane_arguments(chosen)
    look.pop("plane")
    with Answer(chosen) as answer:
        with TerminalReporter() as reporter, chosen_engine(chosen, video=True) as engine:
            rows = api.track_folder(
                chosen.stack,
                chosen.output,
                axis=None if chosen.axis is None else _axis(chosen),
                pattern=chosen.pattern,
                series=chosen.series,
                reporter=reporter,
                on_row=lambda row: answer.row(explain_row(row), row),
                **_prompts(chosen),
                **engine,
                **look,
            )
        counts = Counter(row.status for row in rows)
        parts = [f"{many} {status}" for status, many in counts.items()]
        answer.say(", ".join(parts), counts=dict(counts))
    return 1 if counts["failed"] else 0


def _axis(chosen: argparse.Namespace) -> int | str:
    text: str = "0" if chosen.axis is None else chosen.axis
    return int(text) if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else text


def _prompts(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return prompts, but for masks, and frames as the functions of the API take them."""
    bounds = None if chosen.frames is None else parse_whole_numbers(chosen.frames, (2,), "--frames")
    return {
        "frame": chosen.frame,
        "points": _parse_by_frame(chosen.point, chosen.frame, 2, "--point"),
        "boxes": _parse_by_frame(chosen.box, chosen.frame, 4, "--box"),
        "exemplars": _parse_by_frame(chosen.exemplar, chosen.frame, 4, "--exemplar"),
        "text": chosen.text,
        "everything": everything_argument(chosen),
        "direction": chosen.direction,
        "frames": None if bounds is None else (bounds[0], bounds[1]),
        "stop_after_lost": chosen.stop_after_lost,
    }


def _run(chosen: argparse.Namespace, output: Path, answer: Answer) -> int:
    image = read_image(chosen.stack, chosen.series)
    for note in image.notes:
        answer.note(note)
    axis = _axis(chosen)
    # What both calls are told of the stack.
    look: dict[str, Any] = {
        **plane_arguments(chosen),
        "axis_labels": image.axis_labels,
        "rgb": image.rgb,
    }
    source = frame_source(image.data, axis, **look)
    prompts = _prompts(chosen)
    with TerminalReporter() as reporter, chosen_engine(chosen, video=True) as engine:
        results = api.track(
            image.data,
            axis=axis,
            mask=dict(_split_mask(text, chosen.frame) for text in chosen.mask),
            reporter=reporter,
            **prompts,
            **engine,
            **look,
        )
        layout = source.view.channels[0].source.axes
        axes = image.along((source.axis, layout.y, layout.x))
        shape = (len(source), *source.shape)
        _write(results, chosen, output, shape, axes, image.series, answer)
    return 0


def _write(
    results: TrackFrames,
    chosen: argparse.Namespace,
    output: Path,
    shape: tuple[int, int, int],
    axes: Axes,
    series: int,
    answer: Answer,
) -> None:
    """Write each frame, note and table, and say what was done, whatever ends the work."""
    ids: set[int] = set()
    frames: set[int] = set()
    table = TrackTable()
    began = time.monotonic()
    stopped: BaseException | None = None
    try:
        with open_label_stack(output, shape, axes) as write:
            try:
                for result in results:
                    write(result.frame, result.labels)
                    results.written(result)
                    frames.add(result.frame)
                    table.add(result)
                    ids |= {record.id for record in result.objects}
                    for note in result.notes:
                        answer.note(note)
            except BaseException as error:
                if not frames:
                    raise
                # It is raised again when all that is done is safe.
                stopped = error
        stack = None if is_address(chosen.stack) else chosen.stack
        results.save_note(output, stack, axes, table, series)
        seconds = time.monotonic() - began
        count = f"{len(ids)} {plural_of(len(ids), 'object')}"
        many = f"{len(frames)} {plural_of(len(frames), 'frame')}"
        facts = {"objects": len(ids), "frames": len(frames), "seconds": round(seconds, 3)}
        answer.say(f"{count} on {many} in {seconds:.2f} s", **facts)
        answer.file(output)
    finally:
        if chosen.csv is not None and frames:
            answer.file(api.save_tracks(table, chosen.csv, TrackScale.of(axes)))
    if stopped is not None:
        raise stopped


def _parse_by_frame(
    texts: list[str], frame: int, count: int, option: str
) -> dict[int, list[list[float]]]:
    """Return the numbers of an option by frame; ``+`` and ``-`` become 1 and 0."""
    found: dict[int, list[list[float]]] = {}
    for text in texts:
        number, rest = _split_frame(text, frame, option)
        parts = rest.split(",")
        signs = [place for place, part in enumerate(parts) if part.strip() in {"+", "-"}]
        if option == "--point" and not signs and len(parts) == 3:
            # A third number is the object's, as a sign is written with a sign.
            parts.insert(2, "+")
            signs = [2]
        if signs and (signs != [count] or option == "--box"):
            raise PromptError(
                f"{option} {text}: + or - stands behind the {count} coordinates of a point or an "
                "example.",
                "See 'napari-sam3 track --help'.",
            )
        for place in signs:
            parts[place] = str(int(parts[place].strip() == "+"))
        limits = {"--point": (2, 3, 4), "--box": (4, 5), "--exemplar": (4, 5)}[option]
        found.setdefault(number, []).append(parse_numbers(",".join(parts), limits, option))
    return found


def _split_frame(text: str, frame: int, option: str) -> tuple[int, str]:
    head, colon, rest = text.partition(":")
    if not colon:
        return frame, text
    return parse_whole_numbers(head, (1,), option)[0], rest


def _split_mask(text: str, frame: int) -> tuple[int, Path]:
    """Return the frame and the file of a mask."""
    # "C:\mask.tif" is a path, "3:mask.tif" a frame and a path.
    found = re.fullmatch(r"(\d{1,9}):(.*)", text, re.ASCII | re.DOTALL)
    return (frame, parse_path(text)) if found is None else (int(found[1]), parse_path(found[2]))

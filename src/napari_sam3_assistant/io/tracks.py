"""Write labels that keep their value through frames as tracks: Cell Tracking Challenge and GEFF.

Format: https://public.celltrackingchallenge.net/documents/Naming%20and%20file%20content%20conventions.pdf
and https://live-image-tracking-tools.github.io/geff
"""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import regionprops_table
from skimage.util import map_array

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.extras import pip_install
from napari_sam3_assistant.core.lineage import cut_runs
from napari_sam3_assistant.core.masks.labels import number_objects, plane_names, read, whole_box
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.atomic import draft_folder, explain_os_errors, give_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import LabelArray
    from napari_sam3_assistant.core.progress import Reporter

_MOST = 65535  # the format's labels have 16 bits


def save_ctc(
    labels: AnyArray,
    path: Path,
    axes: Axes,
    reporter: Reporter,
    parents: Mapping[int, int] | None = None,
) -> Path:
    """Write a folder of the Cell Tracking Challenge: a TIFF a frame, and the table of tracks.

    These are ``mask000.tif``, ... and ``res_track.txt``; in a folder ``TRA``, as that of the
    truth, ``man_track000.tif``, ... and ``man_track.txt``. A track has no gaps there, and ends
    where it divides: an object that was gone, or goes on beside a daughter, goes on as a track of
    its own, whose parent is the one before. Labels keep their values where these are at most 65535.

    Parameters
    ----------
    labels : array-like of int, shape (T, Y, X), (Z, Y, X) or (T, Z, Y, X)
        Labels; read frame by frame. The format calls also the slices of a z-stack frames.
    path : Path
        The folder, which must not exist.
    axes : tuple of Axis
        The axes of the labels.
    reporter : Reporter
        Receives the progress; may cancel the work.
    parents : mapping of int to int, optional
        Of labels that came of a division, the label that divided; see :func:`.cut_runs`.

    Raises
    ------
    ExportError
        If there are no frames, or too many tracks for 16 bits, or it can't be written.
    """
    _name_axes(axes)
    frames: dict[int, list[int]] = defaultdict(list)
    for number, frame in _iter_frames(labels, reporter, "Looking for tracks"):
        for label in np.unique(frame[frame > 0]).tolist():
            frames[label].append(number)
    runs = list(cut_runs(frames, parents or {}))
    if len(runs) > _MOST:
        raise ExportError(
            f"There are {len(runs)} tracks; the format holds {_MOST}.", "Export a part, or GEFF."
        )
    truth = path.name == "TRA"
    digits = max(3, len(str(labels.shape[0] - 1)))
    changed: dict[int, dict[int, int]] = defaultdict(dict)
    keeps = max(frames, default=0) + len(runs) - len(frames) <= _MOST
    fresh, numbers, seen = max(frames, default=0), [], set[int]()
    for place, (label, run, _) in enumerate(runs, 1):
        number = label if label not in seen else (fresh := fresh + 1)
        seen.add(label)
        numbers.append(number if keeps else place)
        for frame_ in run:
            changed[frame_][label] = numbers[-1]
    rows = [
        (number, run[0], run[-1], numbers[before] if before >= 0 else 0)
        for number, (_, run, before) in zip(numbers, runs, strict=True)
    ]
    with draft_folder(path) as draft, explain_os_errors(path):
        draft.mkdir()
        for at, frame in _iter_frames(labels, reporter, "Saving"):
            old = np.array(sorted(changed[at]), frame.dtype)
            new = np.array([changed[at][label] for label in old.tolist()], np.uint16)
            name = f"{'man_track' if truth else 'mask'}{at:0{digits}d}.tif"
            tifffile.imwrite(
                draft / name,
                map_array(np.array(frame), old, new)
                if old.size
                else np.zeros(frame.shape, np.uint16),
                compression="zlib",
                photometric="minisblack",
            )
        table = "".join(" ".join(map(str, row)) + "\n" for row in sorted(rows))
        (draft / f"{'man' if truth else 'res'}_track.txt").write_text(table, encoding="ascii")
        give_name(draft, path)
    return path


def save_geff(
    labels: AnyArray,
    path: Path,
    axes: Axes,
    reporter: Reporter,
    parents: Mapping[int, int] | None = None,
) -> Path:
    """Write a graph in the Graph Exchange File Format: an object of a frame is a node.

    A node has its frame ``t``, its centroid ``z``, ``y`` and ``x`` in pixels, ``seg_id`` (its
    label), ``track_id`` (the stretch between divisions that it is of), ``lineage_id`` (the
    family) and ``area`` in pixels; the axes have the size of a pixel and its unit. Edges join an
    object to itself on the next frame that it is on, and a parent to its daughters. Of tracks
    through a z-stack there is no ``t``: ``z`` is the slice.

    Parameters
    ----------
    labels : array-like of int, shape (T, Y, X), (Z, Y, X) or (T, Z, Y, X)
        Labels; read frame by frame.
    path : Path
        The folder, which must not exist.
    axes : tuple of Axis
        The axes of the labels.
    reporter : Reporter
        Receives the progress; may cancel the work.
    parents : mapping of int to int, optional
        Of labels that came of a division, the label that divided.

    Raises
    ------
    ExportError
        If there are no frames, the package geff is missing, or it can't be written.
    """
    try:
        from geff.core_io import write_arrays
        from geff_spec import Axis as GeffAxis
        from geff_spec import GeffMetadata
    except ImportError as exc:
        raise ExportError(
            "GEFF needs the package geff.",
            f"Install it: {pip_install('tracks')}.",
        ) from exc
    names = _name_axes(axes)
    columns: dict[str, list[Any]] = {name: [] for name in (*names, "seg_id", "area")}
    edges: list[tuple[int, int]] = []
    last: dict[int, int] = {}
    above = parents or {}
    for number, frame in _iter_frames(labels, reporter, "Looking for tracks"):
        before = dict(last)
        numbers, of_number = number_objects(frame)
        table = regionprops_table(numbers, properties=("label", "centroid", "area"))
        for place, label in enumerate(of_number[table["label"]].tolist()):
            node = len(columns["seg_id"])
            columns[names[0]].append(number)
            for axis, name in enumerate(names[1:]):
                columns[name].append(float(table[f"centroid-{axis}"][place]))
            columns["seg_id"].append(label)
            columns["area"].append(int(table["area"][place]))
            origin = before.get(label, before.get(above.get(label, 0)))
            if origin is not None:
                edges.append((origin, node))
            last[label] = node
    spaces = {"t": "frame"}
    metadata = GeffMetadata(
        directed=True,
        axes=[
            GeffAxis(
                name=name,
                type="time" if name == "t" else "space",
                unit=spaces.get(name, "pixel"),
                scale=axis.scale,
                scaled_unit=axis.unit or None,
            )
            for name, axis in zip(names, axes, strict=True)
        ],
        track_node_props={"tracklet": "track_id", "lineage": "lineage_id"},
        node_props_metadata={},
        edge_props_metadata={},
    )
    columns["track_id"], columns["lineage_id"] = _number_tracks(columns["seg_id"], edges)
    # numpy takes integers that no signed type holds, beside others, for floats.
    types = dict.fromkeys(("seg_id", "track_id", "lineage_id"), np.uint64)
    properties: Any = {
        name: {"values": np.array(values, types.get(name)), "missing": None}
        for name, values in columns.items()
    }
    with draft_folder(path) as draft, explain_os_errors(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about units that the format does not know
        nodes = np.arange(len(columns["seg_id"]), dtype=np.uint64)
        joined = np.array(edges, np.uint64).reshape(-1, 2)
        write_arrays(draft, nodes, properties, joined, {}, metadata)
        give_name(draft, path)
    return path


def _name_axes(axes: Axes) -> tuple[str, ...]:
    """Return what the axes of tracks are: ``t`` or ``z`` first, which they go through.

    Raises ExportError if tracks can't go through the first one.
    """
    kinds = ["c" if (kind := axis_kind(axis.name)) == "s" else kind for axis in axes[:-2]]
    if "c" in kinds:
        at = kinds.index("c")
        raise ExportError(
            f"Tracks go through frames; these labels have {axes[at].length} channels besides.",
            f"Export one channel, such as labels[{':, ' * at}0] in Python.",
        )
    names = plane_names(len(kinds), kinds) if any(kinds) else ("t", "z", "")[: len(kinds)]
    if names not in (("t",), ("z",), ("t", "z")):
        listed = ", ".join(f"{axis.name or 'unnamed'} ({axis.length})" for axis in axes)
        raise ExportError(
            f"Tracks go through frames; these labels have the axes {listed}.",
            "Export a stack whose first axis is the frames.",
        )
    return (*names, "y", "x")


def _number_tracks(
    labels: Sequence[int], edges: Sequence[tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """Return the tracklet and the lineage of each node: the label of its first node, if free."""
    count = len(labels)
    joined = np.array(edges, np.int32).reshape(-1, 2)
    leaving = np.bincount(joined[:, 0], minlength=count)
    unbranched = joined[leaving[joined[:, 0]] == 1]  # no node has two parents

    used = set(labels)

    def numbered(kept: npt.NDArray[np.int32]) -> list[int]:
        graph = coo_array((np.ones(len(kept), bool), (kept[:, 0], kept[:, 1])), (count, count))
        _, part = connected_components(graph, directed=False)
        numbers: dict[int, int] = {}
        taken = set[int]()
        free = (number for number in itertools.count(1) if number not in used)
        for label, own in zip(labels, part.tolist(), strict=True):
            if own not in numbers:
                numbers[own] = label if label not in taken else next(free)
                taken.add(numbers[own])
        return [numbers[own] for own in part.tolist()]

    return numbered(unbranched), numbered(joined)


def _iter_frames(
    labels: AnyArray, reporter: Reporter, doing: str
) -> Iterator[tuple[int, LabelArray]]:
    """Yield each frame with its number, also of truth values as whole numbers."""
    count = labels.shape[0]
    for number in range(count):
        reporter.report(Progress(number, count, f"{doing}: frame {part_of(number + 1, count)}"))
        box = (slice(number, number + 1), *whole_box(labels.shape[1:]))
        frame = read(labels, box)[0]
        yield number, frame.view(np.uint8) if frame.dtype == bool else frame

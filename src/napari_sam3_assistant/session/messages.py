"""The sentences of the status line, and the columns of results."""

from __future__ import annotations

import math
import re
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import __version__
from napari_sam3_assistant.core.measurements import BASIC, MORE, VOLUME, VOLUME_MORE, channel_titles
from napari_sam3_assistant.core.plurals import format_number, part_of, pluralize
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Level,
    Message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from napari_sam3_assistant.compute.host import HostCard
    from napari_sam3_assistant.compute.remote_engine import Link
    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.core.prompts import ExemplarPrompt, PointPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord, Segmentation
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.snapshots import Accepted
    from napari_sam3_assistant.session.values import Preview, ResultRow


_MOST_LISTED = 10
"""More objects are counted, not listed."""

_TEMPORARY = (
    "Labels of this size are in a temporary folder until their layer or napari is closed: press "
    "Save to keep them."
)


def format_accepted(accepted: Sequence[Accepted]) -> str:
    """Return what was accepted: the objects' values, or of many their number."""
    count = sum(len(accepted_.ids) for accepted_ in accepted)
    parts = (
        f"object{'s' * (len(accepted_.ids) > 1)} {', '.join(map(str, accepted_.ids))}"
        for accepted_ in accepted
    )
    many = count > _MOST_LISTED
    message = f"Accepted {pluralize(count, 'object')}" if many else f"Accepted: {'; '.join(parts)}"
    notes = {
        f" They are in {accepted_.folder}, which stays." if accepted_.lasts else f" {_TEMPORARY}"
        for accepted_ in accepted
        if accepted_.folder is not None
    }
    known = sum(accepted_.known for accepted_ in accepted)
    before = f" {pluralize(known, 'object')} left out: accepted before." if known else ""
    return f"{message}.{before} Ready for the next object.{''.join(sorted(notes))}"


def format_prompts(prompts: PromptSet) -> str:
    """Return which prompts a run takes, such as ``2 points (1 negative)``."""
    parts = []
    if prompts.points:
        parts.append(_count_signed(prompts.points, "point"))
    if prompts.boxes:
        parts.append(pluralize(len(prompts.boxes), "box", "boxes"))
    if prompts.exemplars:
        parts.append(_count_signed(prompts.exemplars, "example"))
    if prompts.masks:
        parts.append("the painted mask")
    if prompts.text.strip():
        parts.append(f"“{prompts.text.strip()}”")
    if prompts.everything is not None:
        parts.append("the image alone")
    return ", ".join(parts)


def _count_signed(prompts: Sequence[PointPrompt | ExemplarPrompt], word: str) -> str:
    negative = sum(not prompt.positive for prompt in prompts)
    return pluralize(len(prompts), word) + (f" ({negative} negative)" if negative else "")


def format_outcome(preview: Preview, used: str, outside: int = 0) -> Message:
    """Return the status line after a run, given its prompts, and how many it could not use."""
    result = preview.segmentation
    if outside:
        used += f" ({pluralize(outside, 'other')} left out: flat, or beside the image)"
    place = describe_place(result.engine.device)
    scores = _format_scores(result)
    took = f"in {preview.seconds:.1f} s by {result.engine.title}{place}{scores}, from {used}."
    notes = " ".join(result.notes)
    if not result.objects:
        hint = "Try another prompt or a lower detection threshold."
        return Message(f"No objects found {took} {notes or hint}", Level.WARNING)
    found = pluralize(len(result.objects), "object")
    return Message(f"Preview ready: {found} {took} {notes}".strip(), Level.SUCCESS)


def format_results(preview: Preview | None) -> str:
    """Return the one line about the latest result."""
    if preview is None:
        return "No preview result yet."
    result = preview.segmentation
    if preview.hidden:
        count = len(result.objects)
        return f"Latest labels: {part_of(count, count + len(preview.hidden))} objects shown."
    if not result.objects:
        return "No objects found."
    found = f"{pluralize(len(result.objects), 'object')}{_format_scores(result)}"
    return f"Latest labels: {found}{_describe_kinds(preview)}."


_MADE_BY = {
    PromptKind.TEXT: "a phrase",
    PromptKind.EVERYTHING: "the image alone",
    PromptKind.EXEMPLARS: "examples",
    PromptKind.POINTS: "clicks",
    PromptKind.BOXES: "boxes",
    PromptKind.MASK: "a painted mask",
}


def _describe_kinds(preview: Preview) -> str:
    """Return what the objects of a result were made by, such as ``, from a phrase and clicks``."""
    words = [word for kind, word in _MADE_BY.items() if kind in preview.kinds]
    if not words:
        return ""
    *others, last = words
    return f", from {', '.join(others)} and {last}" if others else f", from {last}"


def format_propagation(model: SessionModel) -> str:
    """Return the one line about what was propagated."""
    found = pluralize(len(model.propagated_ids), "object")
    state = "Video session ready" if model.can_continue else "Their session has ended"
    return f"Propagated labels: {found}. {state}."


def _format_scores(result: Segmentation) -> str:
    scores = [record.score for record in result.objects if record.score is not None]
    if not scores:
        return ""
    low, high = f"{min(scores):.2f}", f"{max(scores):.2f}"
    return f", score {low}" if low == high else f", scores {low} to {high}"


def describe_place(device: str) -> str:
    """Return on which server a device is, such as `` on 10.0.0.5``; empty for this computer."""
    _, on, server = device.partition(" on ")
    return f"{on}{server}"


def format_server(compute: str) -> str:
    """Return the short name of a server: its address, or the name of its connection file."""
    return compute.partition("://")[2] or re.split(r"[/\\]", compute)[-1].removesuffix(".json")


def format_engine(model: SessionModel, spec: EngineSpec) -> str:
    """Return which engine runs, of which version, and where."""
    used = model.device_in_use
    if model.compute and used is None:
        return f"Engine: on the server {format_server(model.compute)}\nNot connected yet"
    if not (spec.needs_weights or model.compute):
        return f"Engine: {spec.title}"
    asked = "automatic" if model.device == "auto" else model.device
    chosen_version = model.sam_version if not model.compute else ""
    version = "" if spec.model_name == chosen_version else chosen_version
    precision = used.precision if used else ""
    parts = [version, f"device: {used.name if used else asked}", precision]
    return f"Engine: {spec.title}\n{', '.join(part for part in parts if part)}"


def explain_engine(model: SessionModel, spec: EngineSpec) -> str:
    """Return why that engine runs and why there, line by line."""
    if model.compute:
        sent, received = (f"{size / 1e6:.1f} MB" for size in astuple(model.traffic))
        return f"Server: {model.compute}\nSent {sent} of pictures, received {received}."
    if not spec.needs_weights:
        phrases = f" It understands {spec.phrases} as phrases." if spec.phrases else ""
        return f"It needs no weights.{phrases}"
    folder = f"Its weights: {model.model_folder}" if model.model_folder else "No model folder yet."
    if model.device_in_use is not None:
        return f"{folder}\n{model.device_in_use.reason}"
    if model.device == "auto":
        return f"{folder}\nThe device is chosen when the model is loaded."
    return f"{folder}\nThe device {model.device} was asked for."


def format_server_test(card: HostCard, link: Link) -> str:
    """Return who answers at a server, with which engine, and how quick the way to it is."""
    parts = [card.spec.title, card.weights, card.precision, f"{card.hardware} ({card.device})"]
    return (
        f"{card.machine} answers (release {__version__}): {', '.join(filter(None, parts))}. "
        f"Round trip {1000 * link.round_trip:.1f} ms, {link.bytes_a_second / 1e6:.0f} MB/s."
    )


FRAME, SCORE, AREA = "Frame", "Score", "Area"
STABILITY = "Stability"
"""Of objects that were found where everything was looked for; a column of filters."""
COLUMNS = ("Layer", "Prompt", FRAME, "Object ID", SCORE, AREA)

UNIT, STATE, OBJECT_CLASS = "Unit", "State", "Class"
CLASS, PARENT, NOTHING = "class", "parent", "-"
"""The column of layers' features that holds the class of each object, and what stands for none."""
COLUMN_CHOICES = (*BASIC, *VOLUME, *MORE, *VOLUME_MORE)
"""The titles of what can be measured."""


def column_titles(rows: Iterable[ResultRow], chosen: Collection[str]) -> tuple[str, ...]:
    """Return the titles after ``COLUMNS``: what was measured and is wanted, class and state.

    What was measured is left out where nothing was, the class where no object has one, the state
    where nothing is accepted and nothing divides.

    ``chosen``: of ``COLUMN_CHOICES``.
    """
    rows = tuple(rows)
    classed = (OBJECT_CLASS,) if any(row.record.class_name for row in rows) else ()
    has_states = any(isinstance(row.preview, KeptPlace) or parent_of(row) for row in rows)
    state = (STATE,) if has_states else ()
    titles = (*classed, *state)
    measured = (row.measured for row in rows if row.measured is not None)
    # Mostly all rows have the same.
    kinds = {
        (len(measurement.means), tuple(measurement.more), math.isnan(measurement.area)): measurement
        for measurement in measured
    }
    there = {title for kind in kinds.values() for title in (*kind.values(), *kind.more)}
    if not there:
        return titles
    asked = (title for title in COLUMN_CHOICES if title in chosen)
    most = max(count for count, *_ in kinds)
    numbered = ((title, *channel_titles(title, most)) for title in asked)
    return (
        *(title for titles in numbered for title in dict.fromkeys(titles) if title in there),
        UNIT,
        *titles,
    )


def is_measured(name: str) -> bool:
    """Return whether a column of :func:`measurement_features` has this name."""
    known = {title.lower().replace(" ", "_") for title in (*COLUMN_CHOICES, UNIT)}
    return name.rstrip("0123456789").rstrip("_") in known


def column_values(
    measured: Measurement | None, titles: Sequence[str]
) -> tuple[float | str | None, ...]:
    """Return the cells of a row below titles; None for no value."""
    if measured is None:
        return (None,) * len(titles)
    values: dict[str, float | str | None] = {**measured.values(), UNIT: measured.unit or None}
    return tuple(values.get(title) for title in titles)


def describe_class(row: ResultRow) -> str:
    """Return the class of an object."""
    return row.record.class_name or NOTHING


def parent_of(row: ResultRow) -> int:
    """Return the object that divided into the one of a row and others; 0 for none."""
    return int(getattr(row.record, "parent", 0))


def describe_state(row: ResultRow) -> str:
    """Return what the user has made of an object so far."""
    if isinstance(row.preview, KeptPlace | FramePlace):
        state, parent = (
            "accepted" if isinstance(row.preview, KeptPlace) else "propagated",
            parent_of(row),
        )
        return f"{state}, daughter of {parent}" if parent else state
    return "scanned" if isinstance(row.preview, FileBackedLabels) else "found"


SAID: dict[str, Callable[[ResultRow], str]] = {
    OBJECT_CLASS: describe_class,
    STATE: describe_state,
}
"""What columns after those that were measured say of a row."""


def value_of(row: ResultRow, title: str) -> float | None:
    """Return the number in a column of a row; None for none, or for a text."""
    if title == AREA:  # of which pixels are counted
        return row.area
    if title == SCORE:
        return row.record.score
    if title == STABILITY:
        return row.record.stability
    if title in COLUMNS:
        leading = row.parts[0].preview.target.plane.leading
        frame = leading[-1] if leading else None
        return {FRAME: frame, "Object ID": row.record.id}.get(title)
    return None if row.measured is None else row.measured.values().get(title)


def format_values(
    measured: Measurement | None, titles: Sequence[str], digits: int
) -> tuple[str, ...]:
    """Return the cells of a row as text, with up to so many significant digits."""
    return tuple(
        "-" if value is None else value if isinstance(value, str) else format_number(value, digits)
        for value in column_values(measured, titles)
    )


def object_features(
    objects: Sequence[ObjectRecord | StitchedObject], engine: str
) -> dict[str, list[Any]]:
    """Return one row an object, for its layer: what is known of it.

    ``engine``: title of the engine that found them.
    """
    classes = [record.class_name or NOTHING for record in objects]
    return {
        "index": [record.id for record in objects],
        "score": number_column([record.score for record in objects]),
        "area": [record.area for record in objects],
        "prompt": [record.text or "-" for record in objects],
        "engine": [engine] * len(objects),
        **({CLASS: classes} if any(record.class_name for record in objects) else {}),
        **stability_column([record.stability for record in objects]),
    }


def number_column(values: Sequence[float | None]) -> list[float]:
    """Return numbers as a column of a layer's features."""
    return [math.nan if value is None else value for value in values]


def stability_column(values: Sequence[float | None]) -> dict[str, list[float]]:
    """Return the column of the objects' stability; none where none of them has one."""
    known = any(value is not None for value in values)
    return {"stability": number_column(values)} if known else {}


def measurement_features(
    measurements: Iterable[Measurement],
) -> dict[str, list[float | str | None]]:
    """Return measurements as columns with names such as ``measured_area``."""
    measured = tuple(measurements)
    titles = list(
        dict.fromkeys(title for measurement in measured for title in measurement.values())
    )
    names = [title.lower().replace(" ", "_") for title in (*titles, UNIT)]
    rows = [column_values(measurement, (*titles, UNIT)) for measurement in measured]
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def volume_features(
    volumes: Iterable[tuple[Mapping[str, float], str]],
) -> dict[str, list[float | str | None]]:
    """Return volumes by title, and their units, as columns with names such as ``volume``."""
    rows = tuple(volumes)
    titles = dict.fromkeys(title for values, _ in rows for title in values)
    columns: dict[str, list[float | str | None]] = {
        title.lower().replace(" ", "_"): [values.get(title) for values, _ in rows]
        for title in titles
    }
    return columns | {UNIT.lower(): [unit or None for _, unit in rows]}

"""The steps of undo as entries of a session, and back."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.lineage import Lineage
from napari_sam3_assistant.io.edits import check_edit
from napari_sam3_assistant.io.untrusted import as_dict, as_list, as_text, as_whole
from napari_sam3_assistant.session.layer_files import plain_value
from napari_sam3_assistant.session.saved import (
    Entry,
    Numbers,
    read_target,
    read_value,
    write_value,
)
from napari_sam3_assistant.session.snapshots import Accepted
from napari_sam3_assistant.session.undo import RefineSeed, UndoStep, find_accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_sam3_assistant.session.undo import Undo
    from napari_sam3_assistant.session.values import Preview

    Json = Any


_MOST_BYTES = 256 << 20
_MOST_OBJECTS = 20_000


class UndoEntries:
    """The steps of undo as entries: what several steps share is written once.

    ``prompts_as_json``: returns the prompts of one layer, as steps hold them, as JSON.
    """

    def __init__(self, undo: Undo, prompts_as_json: Callable[[object], Json]) -> None:
        self._undo, self._prompts_as_json = undo, prompts_as_json
        self._numbers = Numbers()

    def steps(self) -> tuple[dict[int, UndoStep], int]:
        """Return the steps that are kept, by number, and the number of the one that holds now.

        Up to 256 MB in memory, and 20 000 objects counted in each step, the latest ones.
        """
        return self._undo.latest(_MOST_BYTES, _MOST_OBJECTS)

    def of(
        self, steps: Mapping[int, UndoStep], now: int, number_of: Callable[[Preview], int]
    ) -> dict[str, Entry]:
        """Return steps as entries, given the numbers by which entries name their results."""
        entries = {"undo": Entry.of(now)}
        before: UndoStep | None = None
        used: set[int] = set()

        def refer(kind: str, value: object, token: object, make: Callable[[], Json]) -> int:
            number = self._numbers.of(value)
            used.add(id(value))
            entries[f"{kind}/{number}"] = Entry(token, make)
            return number

        for number, step in steps.items():
            prompts = step.prompts if isinstance(step.prompts, dict) else {}
            entry: dict[str, Json] = {
                "prompts": {
                    key: refer("prompts", prompt, prompt, partial(self._prompts_as_json, prompt))
                    for key, prompt in prompts.items()
                    if prompt
                },
                "previews": [number_of(preview) for preview in step.previews],
            }
            accepted = [
                refer(
                    "taken",
                    accepted,
                    (accepted, accepted.edit, accepted.ids),
                    partial(_accepted_to_json, accepted),
                )
                for accepted in find_accepted(step, before)
            ]
            if accepted:
                entry["accepted"] = accepted
            if step.seed is not None:
                entry["seed"] = refer("seed", step.seed, step.seed, partial(write_value, step.seed))
            if step.lineage != Lineage():
                entry["lineage"] = write_value(step.lineage)
            if step.scan_classes:
                entry["scan_classes"] = [
                    [*slot, [[id_, name] for id_, name in of_ids.items()]]
                    for slot, of_ids in step.scan_classes.items()
                ]
            entries[f"step/{number}"] = Entry.of(entry)
            before = step
        self._numbers.keep(used)
        return entries


def read_steps(
    entries: Mapping[str, Json],
    keys: Mapping[str, str],
    previews: Mapping[int, Preview],
    read_prompts: Callable[[str, Json], object],
) -> tuple[list[UndoStep], int]:
    """Return the steps of undo, and which of them holds now; none for a session without.

    ``keys``: the keys of layers now, by those that they had; what is of others is left out.
    ``previews``: the results by their numbers.
    ``read_prompts``: returns the prompts of a layer, given its key now and their JSON.
    Raises ValueError, KeyError, TypeError, IndexError, Sam3AssistantError if they are damaged.
    """
    entries_ = {
        int(name.partition("/")[2]): as_dict(entry)
        for name, entry in entries.items()
        if name.startswith("step/")
    }
    known: dict[tuple[str, int], Any] = {}

    def find(kind: str, number: object, read: Callable[[Json], Any]) -> Any:  # noqa: ANN401
        at = kind, as_whole(number)
        if at not in known:
            known[at] = read(entries[f"{kind}/{at[1]}"])
        return known[at]

    steps: list[UndoStep] = []
    for _, entry in sorted(entries_.items()):
        taken = [
            find("taken", number, partial(_read_accepted, keys=keys))
            for number in as_list(entry.get("accepted", []))
        ]
        steps.append(
            UndoStep(
                {
                    keys[key]: find("prompts", number, partial(read_prompts, keys[key]))
                    for key, number in as_dict(entry["prompts"]).items()
                    if key in keys
                },
                tuple(
                    previews[number]
                    for number in map(as_whole, as_list(entry["previews"]))
                    if number in previews
                ),
                # What the first step had accepted before is never taken back.
                (*steps[-1].accepted, *(accepted for accepted in taken if accepted is not None))
                if steps
                else (),
                find("seed", entry["seed"], partial(_read_seed, keys=keys))
                if "seed" in entry
                else None,
                read_value(Lineage, entry["lineage"]) if "lineage" in entry else Lineage(),
                {
                    (keys[image], label): of_ids
                    for image, label, of_ids in map(
                        _read_scan, as_list(entry.get("scan_classes", []))
                    )
                    if image in keys
                },
            )
        )
    return steps, sorted(entries_).index(as_whole(entries["undo"])) if entries_ else 0


def _read_scan(value: Json) -> tuple[str, str, dict[int, str]]:
    """Return the image and the label of a scan, and the classes of objects."""
    image, label, of_ids = as_list(value)
    pairs = (as_list(pair) for pair in as_list(of_ids))
    return as_text(image), as_text(label), {as_whole(id_): as_text(name) for id_, name in pairs}


def _read_seed(value: Json, keys: Mapping[str, str]) -> RefineSeed | None:
    """Return the object that clicks refine; None where its image is not there."""
    seed: RefineSeed = read_value(RefineSeed, value)
    target = read_target(write_value(seed.target), keys)
    if seed.record.mask.shape != seed.record.region.shape:
        raise ValueError("an object's mask has not the size of its box")
    return None if target is None else replace(seed, target=target)


def _accepted_to_json(accepted: Accepted) -> Json:
    entry = {
        field.name: write_value(getattr(accepted, field.name))
        for field in fields(accepted)
        if field.name not in ("features", "gone")
    }
    rows = {name: rows_to_json(getattr(accepted, name)) for name in ("features", "gone")}
    return {**entry, **rows}


def _read_accepted(value: Json, keys: Mapping[str, str]) -> Accepted | None:
    """Return what was accepted; None where its image is not there, or it was not written yet."""
    entry = as_dict(value)
    features, gone = rows_from_json(entry["features"]), rows_from_json(entry["gone"])
    accepted: Accepted = read_value(Accepted, {**entry, "features": {}, "gone": {}})
    if accepted.edit is None or accepted.image not in keys:
        return None
    check_edit(accepted.edit)
    return replace(accepted, image=keys[accepted.image], features=features, gone=gone)


def rows_to_json(rows: Mapping[str, list[Any]]) -> Json:
    """Return what is known of objects, by column, as JSON: None where it is no number."""
    return {name: [plain_value(value) for value in column] for name, column in rows.items()}


def rows_from_json(value: Json) -> dict[str, list[Any]]:
    """Return what is known of objects, by column.

    Raises TypeError, ValueError if it is damaged.
    """
    rows: dict[str, list[Any]] = {}
    for name, column in as_dict(value).items():
        rows[name] = [math.nan if value is None else value for value in as_list(column)]
        if not all(isinstance(row, bool | int | float | str) for row in rows[name]):
            raise TypeError("what is known of an object is neither a number nor a word")
    if len(set(map(len, rows.values()))) > 1:
        raise ValueError("columns are of several lengths")
    return rows

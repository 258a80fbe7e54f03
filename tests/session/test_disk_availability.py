"""What keeps scans, folder batches and merges from starting, without a window."""

import pytest

from napari_sam3_assistant.core.prompts import PromptKind, Task, Tool
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.base import EngineSpec
from napari_sam3_assistant.session.availability import is_worth_a_scan, resolve
from napari_sam3_assistant.session.model import (
    REMEMBERED_ON_DISK,
    DiskModel,
    ImageChoice,
    PromptCounts,
    SessionModel,
)
from napari_sam3_assistant.session.settings import MemorySettings, restore

WEIGHTS = EngineSpec("heavy", "Heavy", frozenset(PromptKind), needs_weights=True)
CLICKS = EngineSpec("clicks", "Clicks", frozenset({PromptKind.POINTS}), needs_weights=False)


@pytest.fixture
def spec():
    return registry.find_entry("builtin").spec


@pytest.fixture
def model():
    image = ImageChoice("key", "slide", "", (3000, 800))
    return SessionModel(
        image="key", images=(image,), task=Task.TEXT, tool=Tool.TEXT, text="bright spots"
    )


@pytest.fixture
def disk():
    return DiskModel(folder_source="in", folder_output="out")


def test_all_is_well(model, disk, spec):
    why_not = resolve(model, disk, spec)

    assert (why_not.scan, why_not.batch_folder) == ("", "")
    assert is_worth_a_scan(model, disk)
    disk.scan_tile = 4096
    assert not is_worth_a_scan(model, disk)


@pytest.mark.parametrize(
    ("changes", "engine", "scan", "folder"),
    [
        ({"running": True}, None, "Wait for the run to end", "Wait for the run to end"),
        ({"text": " "}, None, "Type a phrase", "Type a phrase"),
        ({"batch_text": "a\nb"}, None, "A scan takes one phrase", ""),
        ({"task": Task.VIDEO}, None, "Choose the task Text", "3D/video works on one image"),
        ({"task": Task.SEGMENT, "tool": Tool.MASK}, None, "Choose the task Text", "painted mask"),
        ({"images": ()}, None, "Open an image first", ""),
        ({}, WEIGHTS, "needs its weights", "needs its weights"),
        ({}, CLICKS, "does not take this prompt", "does not take this prompt"),
        (
            {"task": Task.EXEMPLAR, "tool": Tool.BOX},
            None,
            "Draw a box around one example",
            "Draw the prompt on the image on show",
        ),
        (
            {"task": Task.EXEMPLAR, "tool": Tool.BOX, "prompts": PromptCounts(boxes=1)},
            None,
            "",
            "",
        ),
    ],
)
def test_what_keeps_them_from_starting(model, disk, spec, changes, engine, scan, folder):
    for name, value in changes.items():
        setattr(model, name, value)

    why_not = resolve(model, disk, engine or spec)

    for found, expected in ((why_not.scan, scan), (why_not.batch_folder, folder)):
        assert expected in found
        assert bool(found) == bool(expected)


def test_a_tile_size_that_is_remembered_wrongly_is_said(model, disk, spec):
    store = MemorySettings()
    store.set("scan_tile", "7")
    restore(disk, store, REMEMBERED_ON_DISK)

    assert "tile size of 7" in resolve(model, disk, spec).scan


def test_choices_are_remembered(disk):
    store = MemorySettings()
    restore(disk, store, REMEMBERED_ON_DISK)
    disk.scan_overlap, disk.folder_skips, disk.folder_format = 30, False, ".zarr"
    fresh = DiskModel()

    restore(fresh, store, REMEMBERED_ON_DISK)

    assert (fresh.scan_overlap, fresh.folder_skips, fresh.folder_format) == (30, False, ".zarr")


def test_nothing_to_merge(model, disk, spec):
    assert "no result of a region yet" in resolve(model, disk, spec).merge_rois

"""What keeps scans, folder batches and merges from starting, without a window."""

import pytest

from napari_sam3_assistant.core.prompts import PromptKind, Task, Tool
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.base import EngineSpec
from napari_sam3_assistant.session.availability import is_worth_a_scan, resolve
from napari_sam3_assistant.session.model import REMEMBERED_OF_SCANS, ScanModel, SessionModel
from napari_sam3_assistant.session.settings import MemorySettings, restore
from napari_sam3_assistant.session.values import ImageChoice, PromptCounts

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
def scan_model():
    return ScanModel(folder_source="in", folder_output="out")


def test_all_is_well(model, scan_model, spec):
    why_not = resolve(model, scan_model, spec)

    assert (why_not.scan, why_not.batch_folder) == ("", "")
    assert is_worth_a_scan(model, scan_model)
    scan_model.scan_tile = 4096
    assert not is_worth_a_scan(model, scan_model)


@pytest.mark.parametrize(
    ("changes", "engine", "scan", "folder"),
    [
        ({"running": True}, None, "Wait for the run to end", "Wait for the run to end"),
        ({"text": " "}, None, "Type a phrase", "Type a phrase"),
        ({"batch_text": "a\nb"}, None, "A scan takes one phrase", ""),
        ({"task": Task.VIDEO}, None, "Choose the task Text", ""),
        (
            {"task": Task.VIDEO, "direction": Direction.BACKWARD},
            None,
            "Choose the task Text",
            "from the first frame of each stack on",
        ),
        (
            {"task": Task.VIDEO, "tool": Tool.POINTS},
            None,
            "Choose the task Text",
            "Draw the prompt on the image on show",
        ),
        ({"task": Task.VIDEO}, CLICKS, "Choose the task Text", "can't follow objects"),
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
            {"task": Task.EXEMPLAR, "tool": Tool.BOX, "prompts": PromptCounts(positive=1)},
            None,
            "",
            "",
        ),
    ],
)
def test_what_keeps_them_from_starting(model, scan_model, spec, changes, engine, scan, folder):
    for name, value in changes.items():
        setattr(model, name, value)

    why_not = resolve(model, scan_model, engine or spec)

    for found, expected in ((why_not.scan, scan), (why_not.batch_folder, folder)):
        assert expected in found
        assert bool(found) == bool(expected)


def test_labels_of_stacks_are_no_png(model, scan_model, spec):
    scan_model.folder_format = ".png"
    assert resolve(model, scan_model, spec).batch_folder == ""
    model.task = Task.VIDEO
    assert "PNG holds one plane" in resolve(model, scan_model, spec).batch_folder


def test_what_keeps_a_folder_from_being_scanned_tile_by_tile(model, scan_model, spec):
    def reason():
        return resolve(model, scan_model, spec).batch_folder

    scan_model.folder_tiles = True
    assert reason() == ""
    model.task, model.tool, model.prompts = Task.SEGMENT, Tool.BOX, PromptCounts(boxes=1)
    assert "untick Tile by tile" in reason()
    scan_model.folder_tiles = False
    assert reason() == ""
    model.task, model.tool = Task.TEXT, Tool.TEXT
    scan_model.folder_tiles, scan_model.scan_tile = True, 7
    assert "tile size of 7" in reason()


def test_what_keeps_a_folder_from_being_encoded(model, scan_model, spec):
    def reason(engine=WEIGHTS):
        return resolve(model, scan_model, engine).encode_folder

    assert "encodes nothing" in reason(spec)
    assert "needs its weights" in reason()
    model.model_folder = "weights"
    assert reason() == "Choose the folder of encodings first: Encodings in Step 1."
    model.encodings_folder = "kept"
    assert reason() == ""
    model.running = True
    assert "Wait for the run to end" in reason()
    model.running, scan_model.folder_source = False, " "
    assert reason() == "Choose the folder of the images first."


def test_a_tile_size_that_is_remembered_wrongly_is_said(model, scan_model, spec):
    store = MemorySettings()
    store.set("scan_tile", "7")
    restore(scan_model, store, REMEMBERED_OF_SCANS)

    assert "tile size of 7" in resolve(model, scan_model, spec).scan


def test_choices_are_remembered(scan_model):
    store = MemorySettings()
    restore(scan_model, store, REMEMBERED_OF_SCANS)
    scan_model.scan_overlap, scan_model.folder_skips, scan_model.folder_format = 30, False, ".zarr"
    scan_model.folder_tiles = True
    fresh = ScanModel()

    restore(fresh, store, REMEMBERED_OF_SCANS)

    assert (fresh.scan_overlap, fresh.folder_skips, fresh.folder_format) == (30, False, ".zarr")
    assert fresh.folder_tiles


def test_nothing_to_merge(model, scan_model, spec):
    assert "no result of a region yet" in resolve(model, scan_model, spec).merge_rois

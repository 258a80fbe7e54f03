"""What can run, and the sentence that says why not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.prompts import PromptKind, Task, Tool, tools_of
from napari_sam3_assistant.engines.base import EngineSpec, TrackSpec
from napari_sam3_assistant.session.availability import no_preview, resolve
from napari_sam3_assistant.session.model import ScanModel, SessionModel
from napari_sam3_assistant.session.values import DeviceInUse, FrameAxis, ImageChoice, PromptCounts

ANY = EngineSpec("any", "Any", frozenset(PromptKind), needs_weights=False)
WEIGHTS = EngineSpec("heavy", "Heavy", frozenset(PromptKind), needs_weights=True)
NO_TEXT = EngineSpec("deaf", "Deaf", frozenset(PromptKind) - {PromptKind.TEXT}, needs_weights=False)


def model(**fields):
    image = ImageChoice("key", "cells", "")
    return SessionModel(images=(image,), image="key", **fields)


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({}, "Click on the object in the image first."),
        ({"prompts": PromptCounts(positive=1)}, "Press Run Preview first."),
        (
            {
                "prompts": PromptCounts(positive=1),
                "task": Task.VIDEO,
                "frame_axes": (FrameAxis(0, "z", 5),),
                "frame_axis": 0,
            },
            "Press Start 3D Propagation first.",
        ),
        (
            {
                "prompts": PromptCounts(positive=1),
                "why_not_live": "Press Run Preview: it loads the model.",
            },
            "Press Run Preview: it loads the model.",
        ),
    ],
)
def test_what_lacks_a_preview_says_how_there_will_be_one(fields, remedy):
    state = model(**fields)
    spec = replace(ANY, video=TrackSpec(frozenset(PromptKind)))
    state.why_not = resolve(state, ScanModel(), spec)
    assert str(no_preview(state)).startswith(f"There is no preview yet. {remedy}")


@pytest.mark.parametrize(
    ("fields", "spec", "reason"),
    [
        ({"prompts": PromptCounts(positive=1)}, ANY, ""),
        ({}, ANY, "Click on the object in the image first."),
        ({"prompts": PromptCounts(negative=2)}, ANY, "All points are negative."),
        ({"prompts": PromptCounts(elsewhere=1)}, ANY, "The prompts are on another slice."),
        ({"tool": Tool.BOX}, ANY, "Draw a box around an object"),
        ({"tool": Tool.BOX, "prompts": PromptCounts(boxes=1)}, ANY, ""),
        ({"tool": Tool.MASK}, ANY, "Paint over the object"),
        ({"tool": Tool.MASK, "prompts": PromptCounts(painted=True)}, ANY, ""),
        ({"tool": Tool.TEXT, "text": "  "}, ANY, "Type a phrase first."),
        ({"tool": Tool.TEXT, "text": "cell"}, ANY, ""),
        ({"tool": Tool.TEXT, "text": "cell"}, NO_TEXT, "Deaf does not take this prompt."),
        ({"task": Task.EXEMPLAR, "tool": Tool.BOX}, ANY, "Draw a box around one example"),
        ({"prompts": PromptCounts(positive=1)}, WEIGHTS, "Heavy needs its weights."),
        ({"prompts": PromptCounts(positive=1), "model_folder": "there"}, WEIGHTS, ""),
        (
            {
                "prompts": PromptCounts(positive=1),
                "model_folder": "there",
                "load_when_running": False,
            },
            WEIGHTS,
            "The model is not loaded.",
        ),
        (
            {
                "prompts": PromptCounts(positive=1),
                "model_folder": "there",
                "load_when_running": False,
                "device_in_use": DeviceInUse("cpu", ""),
            },
            WEIGHTS,
            "",
        ),
        ({"prompts": PromptCounts(positive=1), "load_when_running": False}, ANY, ""),
        ({"task": Task.TEXT, "tool": Tool.TEXT, "batch_text": "cat\ndog"}, ANY, ""),
        ({"task": Task.TEXT, "tool": Tool.TEXT, "batch_text": "# cat"}, ANY, "Type a phrase"),
    ],
)
def test_reason(fields, spec, reason):
    why_not = resolve(model(**fields), ScanModel(), spec).run
    assert bool(why_not) == bool(reason)
    assert why_not.startswith(reason)


def test_no_image():
    assert resolve(SessionModel(), ScanModel(), ANY).run == "Open an image first."


def test_tools_follow_the_task():
    model = SessionModel(task=Task.LIVE_POINTS, tool=Tool.BOX)
    assert model.tool is Tool.POINTS
    model.task = Task.EXEMPLAR
    assert model.tool is Tool.BOX
    model.task, model.tool = Task.SEGMENT, Tool.MASK
    assert model.tool is Tool.MASK


_CHOICES = st.sampled_from([*(("task", task) for task in Task), *(("tool", tool) for tool in Tool)])


@given(st.lists(_CHOICES, max_size=12))
def test_nobody_sees_a_tool_that_the_task_does_not_offer(choices):
    model, seen = SessionModel(), []
    # Before anybody else, a session as well.
    model.events.connect(lambda: seen.append((model.task, model.tool)))
    for name, value in choices:
        setattr(model, name, value)
        seen.append((model.task, model.tool))
    assert all(tool in tools_of(task) for task, tool in seen)
    assert model.task is next(
        (one for name, one in reversed(choices) if name == "task"), Task.SEGMENT
    )


def test_what_is_a_batch():
    assert not model().is_batch
    assert model(batch_images=True).is_batch
    assert not model(batch_images=True, task=Task.LIVE_POINTS).is_batch
    assert model(task=Task.TEXT, batch_text="cat").phrases == ("cat",)
    assert not model(task=Task.EXEMPLAR, batch_text="cat").is_batch

"""3D/video: what names the objects, and what can't be."""

from dataclasses import replace

import numpy as np
import pytest

from napari_sam3_assistant.core.prompts import PromptKind, Tool
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.base import EngineEntry, TrackSpec
from napari_sam3_assistant.errors import PromptError

CENTRES = {"left": (20, 20), "right": (40, 50)}


@pytest.fixture
def bench(open_bench):
    """A viewer with the stack of two balls."""
    return open_bench()


def test_prompts_on_several_slices_are_used_together(bench):
    bench.click(3, 20, 20, on=1)
    bench.click(8, 40, 50, on=5)
    assert bench.model.prompts.positive == 2

    bench.start()

    assert bench.model.tracked == (1, 5)
    assert bench.values(bench.labels.data)[6] == [1, 5]


def test_boxes_are_objects(bench):
    layer = bench.arm(Tool.BOX)
    for y, x in CENTRES.values():
        layer.add_rectangles(bench.box(6, y - 13, x - 13, y + 13, x + 13))

    bench.start()

    assert bench.model.tracked == (1, 2)
    assert bench.labels.data[9, 20, 20] == 1
    assert bench.labels.data[9, 40, 50] == 2


def test_each_value_of_a_painted_mask_is_an_object(bench):
    bench.viewer.dims.set_current_step(0, 6)
    layer = bench.arm(Tool.MASK)
    layer.data[0, 12:29, 12:29] = 4
    layer.data[0, 32:49, 42:59] = 9
    layer.events.paint(value=[])
    bench.viewer.dims.set_current_step(0, 5)
    other = bench.arm(Tool.MASK)
    assert other is not layer
    other.data[0, 12:29, 12:29] = 4
    other.events.paint(value=[])

    bench.start()

    assert bench.model.tracked == (4, 9)
    assert bench.labels.data[8, 20, 20] == 4
    assert bench.labels.data[8, 40, 50] == 9


@pytest.mark.parametrize("tool", [Tool.TEXT, Tool.EXAMPLE])
def test_what_is_found_on_the_slice_is_followed(bench, tool):
    bench.viewer.dims.set_current_step(0, 6)
    bench.model.tool = tool
    if tool is Tool.TEXT:
        bench.model.text = "bright"
    else:
        bench.arm(tool).add_rectangles(bench.box(6, 8, 8, 32, 32))

    bench.start()

    assert len(bench.model.tracked) == 2
    assert [len(values) for values in bench.values(bench.labels.data)][6] == 2


def test_undo_keeps_which_object_a_click_is_on(bench):
    bench.click(6, 20, 20, on=3)
    bench.click(6, 40, 50, on=4)
    points = bench.viewer.layers["SAM3 points"]

    bench.session.undo()
    assert points.features["object_id"].tolist() == [3]
    bench.session.redo()

    assert points.features["object_id"].tolist() == [3, 4]
    assert points.features["polarity"].tolist() == ["positive", "positive"]


def test_new_object_takes_a_number_that_none_has(bench):
    bench.click(6, 20, 20, on=3)
    bench.binding.actions.new_object()
    assert bench.model.object_id == 4


def test_a_plane_is_no_stack(open_bench, balls):
    bench = open_bench(balls[6])
    bench.click(20, 20)
    assert "no z or time axis" in bench.session.model.why_not.run
    with pytest.raises(PromptError, match="no z or time axis"):
        bench.session.run()


def test_an_engines_limits_are_said_before_anything_is_loaded(bench, monkeypatch):
    real = registry.find_entry("builtin")
    video = TrackSpec(frozenset({PromptKind.POINTS, PromptKind.BOXES}), max_points=1, max_boxes=1)
    made = []
    monkeypatch.setitem(
        registry.entries(),
        "builtin",
        EngineEntry(replace(real.spec, video=video), real.status, made.append),
    )
    bench.click(6, 20, 20)
    bench.click(6, 22, 22)
    assert "takes up to 1 points on one object, these are 2" in bench.session.model.why_not.run
    layer = bench.arm(Tool.BOX)
    layer.add_rectangles(bench.box(6, 8, 8, 32, 32))
    layer.add_rectangles(bench.box(6, 30, 40, 50, 60))
    assert "takes 1 box for 3D/video" in bench.session.model.why_not.run
    bench.model.tool = Tool.MASK
    assert "does not take painted masks" in bench.session.model.why_not.run
    with pytest.raises(PromptError):
        bench.session.run()
    assert made == []


def test_prompts_at_another_time_are_said(open_bench, balls):
    bench = open_bench(np.stack([balls, balls]))
    bench.viewer.dims.set_current_step(0, 0)
    bench.click(0, 6, 20, 20)
    bench.viewer.dims.set_current_step(0, 1)
    assert "another position of the other sliders" in bench.session.model.why_not.run


def test_frames_outside_the_stack_start_nothing(bench):
    bench.click(6, 20, 20)
    bench.model.first_frame, bench.model.last_frame = 9, 8
    with pytest.raises(PromptError, match="no frames 9 to 8"):
        bench.session.run()
    assert not bench.model.running

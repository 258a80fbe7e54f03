"""Other masks that a click may mean: chosen one after the other, without a window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    ObjectRecord,
    Provenance,
    Segmentation,
    list_candidates,
    paint_labels,
    replace_object,
)
from napari_sam3_assistant.errors import PromptError

PREVIEW = "SAM3 preview labels"
WHOLE = Region.whole((24, 30))
BOXES = st.tuples(st.integers(0, 11), st.integers(0, 14)).map(
    lambda yx: Region(yx[0], yx[1], 24 - yx[0], 30 - yx[1])
)


def record(number, box, text=""):
    return ObjectRecord(number, np.ones(box.shape, bool), box, 0.5, text)


def pixels(one):
    return (one.region.box, one.mask.tobytes())


@given(st.lists(BOXES, min_size=1, max_size=4, unique=True), BOXES, st.lists(st.booleans()))
def test_no_mask_is_lost_on_the_way_and_other_objects_stay(boxes, first, ways):
    others = record(2, Region(0, 0, 3, 3), "beside")
    objects = (record(1, first, "cell"), others)
    found = Segmentation(
        paint_labels(objects, WHOLE),
        objects,
        WHOLE,
        Provenance("builtin", "Built-in", "1", "cpu", 0.35),
        candidates=tuple(record(n, box) for n, box in enumerate(boxes, 1)),
    )
    every = {box.box for box in (*boxes, first)}
    for larger in ways:
        ordered, at = list_candidates(found, 1)
        assert {one.region.box for one in ordered} == every
        assert len(ordered) == len(every)
        assert [one.area for one in ordered] == sorted(one.area for one in ordered)
        assert pixels(ordered[at]) == pixels(found.objects[0])
        chosen = at + (1 if larger else -1)
        if not 0 <= chosen < len(ordered):
            continue
        found = replace_object(found, 1, ordered[chosen])
        assert pixels(found.objects[0]) == pixels(ordered[chosen])
        assert (found.objects[0].id, found.objects[0].text) == (1, "cell")
        assert found.objects[1] is others
        assert np.array_equal(found.labels, paint_labels(found.objects, WHOLE))


@pytest.fixture
def nucleus_image():
    """A bright core in a dimmer cell: a click on the core may mean either."""
    y, x = np.ogrid[:60, :70]
    image = np.random.default_rng(0).normal(30, 2, (60, 70))
    away = (y - 30) ** 2 + (x - 35) ** 2
    image[away < 18**2] += 70
    image[away < 7**2] += 80
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def nucleus(open_bench, nucleus_image):
    bench = open_bench(nucleus_image)
    bench.model.task, bench.model.tool = Task.SEGMENT, Tool.POINTS
    bench.arm()
    return bench


def click(bench, *pixel):
    bench.viewer.layers["SAM3 points"].add(pixel)


def test_larger_smaller_undone_and_corrected_from_there(nucleus):
    bench = nucleus
    click(bench, 30, 35)
    bench.start()
    areas = sorted({one.area for one in bench.model.preview.segmentation.candidates})
    assert len(areas) > 1

    def area():
        return bench.model.preview.segmentation.objects[0].area

    first = area()
    steps = areas.index(first)
    for at in range(steps - 1, -1, -1):
        bench.session.choose_candidate(-1)
        assert area() == areas[at] == np.count_nonzero(bench.viewer.layers[PREVIEW].data)
        assert bench.message.startswith(f"{at + 1} of {len(areas)}, smaller")
    bench.session.choose_candidate(-1)
    assert bench.message == f"1 of {len(areas)}: there is no smaller one."
    for _ in areas[1:]:
        bench.session.choose_candidate(1)
    assert area() == areas[-1]
    for _ in areas[1:]:
        bench.session.undo()
    assert area() == areas[0]
    for _ in range(steps):
        bench.session.undo()
    assert area() == first
    bench.session.redo()
    assert area() == areas[steps - 1]

    bench.model.next_positive = False
    click(bench, 30, 20)
    click(bench, 30, 50)
    bench.start()
    assert abs(area() - areas[steps - 1]) < abs(area() - first), "clicks correct what was chosen"


def test_what_has_one_meaning_has_no_other_masks(nucleus):
    bench = nucleus
    with pytest.raises(PromptError, match="no preview"):
        bench.session.choose_candidate(1)
    click(bench, 30, 35)
    click(bench, 30, 38)
    bench.start()
    with pytest.raises(PromptError, match="only a single click"):
        bench.session.choose_candidate(1)


def test_in_a_stack_the_mask_that_was_chosen_is_followed(open_bench, nucleus_image):
    bench = open_bench(np.stack([nucleus_image] * 3))
    bench.arm()
    bench.viewer.dims.set_current_step(0, 1)
    bench.click(1, 30, 35)
    bench.session.choose_candidate(1)
    bench.desk.until(lambda: not bench.model.running)
    areas = sorted({one.area for one in bench.model.preview.segmentation.candidates})
    assert len(areas) > 1
    assert "Start 3D Propagation follows" in bench.message
    while bench.model.preview.segmentation.objects[0].area > areas[0]:
        bench.session.choose_candidate(-1)
    (small,) = bench.model.preview.segmentation.objects

    bench.finish(bench.session.run())

    assert np.count_nonzero(bench.labels.data[1]) == small.area == areas[0]
    assert bench.labels.data.any((1, 2)).all()
    assert PREVIEW not in [layer.name for layer in bench.viewer.layers]

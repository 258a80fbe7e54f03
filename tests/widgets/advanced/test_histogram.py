"""The histogram of a column: its handles are the filter; frames and tracks of stacks."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QWidget
from skimage.draw import disk

from napari_sam3_assistant.core.axes import ImageAxes
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.session.values import KeptPlace, PlaneTarget, ResultRow
from napari_sam3_assistant.widgets.fields.filters import (
    count_values,
    courses,
    frame_axes,
    with_frames,
)

SIZES = (6, 9, 12, 15)
CENTRES = ((30, 40), (30, 110), (85, 40), (85, 110))


@given(st.lists(st.floats(-1e6, 1e6) | st.integers(0, 40).map(float), min_size=1, max_size=80))
def test_every_value_is_counted_once(values):
    counts, edges = count_values(np.array(values))
    assert counts.sum() == len(values)
    assert edges[0] <= min(values) <= max(values) <= edges[-1]
    assert len(counts) <= 61


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.lists(st.integers(0, 9), min_size=2, unique=True), min_size=1
    ),
    st.data(),
)
def test_each_stack_has_its_own_axis_of_frames(stacks, data):
    rows, expected = [], {}
    for name, frames in stacks.items():
        ndim = data.draw(st.integers(3, 5))
        along = data.draw(st.integers(0, ndim - 3))
        axes = ImageAxes(ndim, None, rgb=False, reason="")
        for frame in frames:
            plane = PlaneRef(tuple(frame if axis == along else 1 for axis in range(ndim - 2)))
            target = PlaneTarget(name, name, axes, plane, (10,) * ndim)
            record = ObjectRecord.from_mask(1, np.ones((1, 1 + frame), bool))
            rows.append(ResultRow(KeptPlace(target), record))
        expected[name] = [(frame, 1 + frame) for frame in sorted(frames)]
    flat = PlaneTarget("flat", "flat", ImageAxes(2, None, rgb=False, reason=""), PlaneRef(), (9, 9))
    rows.append(ResultRow(KeptPlace(flat), rows[0].record))

    framed = with_frames(rows, frame_axes(rows))
    drawn = courses(framed, "Area")

    assert sorted(frame for frame, _ in framed) == sorted(
        frame for frames in stacks.values() for frame in frames
    )
    assert {identity[1][0]: list(zip(*drawn[identity], strict=True)) for identity in drawn} == (
        expected
    )


def open_histogram(user):
    folds = user.widget.findChildren(QAbstractButton, "fold")
    fold = next(one for one in folds if one.text() == "▸ Histogram")
    QTest.mouseClick(fold, Qt.MouseButton.LeftButton)
    user.settle()
    return user.widget.findChild(QWidget, "histogram")


def items(plot, kind):
    return [one for one in plot.getPlotItem().items if type(one).__name__ == kind]


def marks(plot, side):
    """The values that an axis is marked with."""
    axis = plot.getPlotItem().getAxis(side)
    length = axis.height() if side == "left" else axis.width()
    levels = axis.tickValues(*axis.range, length)
    return [value for _, values in levels for value in values]


def choose(user, title):
    combo = user.widget.findChild(QComboBox, "histogram_column")
    combo.setCurrentText(title)
    combo.activated.emit(combo.currentIndex())


@pytest.fixture
def found(open_advanced):
    image = np.random.default_rng(0).normal(50, 4, (120, 150))
    for radius, centre in zip(SIZES, CENTRES, strict=True):
        image[disk(centre, radius, shape=image.shape)] += 140
    opened = open_advanced(image.clip(0, 255).astype(np.uint8))
    opened.user.choose_in("task", "Text segmentation")
    opened.user.type_phrase("bright discs")
    opened.user.wait_for_end()
    yield opened
    vars(opened).clear()


def test_the_handles_are_the_filter(found):
    user = found.user
    plot = open_histogram(user)
    choose(user, "Area")
    areas = sorted(int(row[5]) for row in found.cells())
    (bars,) = items(plot, "BarGraphItem")
    assert bars.opts["height"].sum() == len(SIZES)
    assert marks(plot, "left")
    assert all(float(one).is_integer() for one in marks(plot, "left")), "there is no half object"
    (region,) = items(plot, "LinearRegionItem")
    assert region.getRegion() == pytest.approx((areas[0], areas[-1]))

    # The left handle is dragged by the mouse to between the second and the third area.
    box = plot.getPlotItem().getViewBox()

    def spot(value):
        height = box.viewRect().center().y()
        return plot.mapFromScene(box.mapViewToScene(QPointF(value, height)))

    view, middle = plot.viewport(), spot((areas[1] + areas[2]) / 2)

    def drag(start, end):
        QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
        for share in (0.3, 0.7, 1.0):
            user.drag_over(view, start + (end - start) * share)
        QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=end)

    drag(spot(areas[0]), middle)
    user.wait(lambda: len(found.cells()) == 2)

    assert sorted(int(row[5]) for row in found.cells()) == areas[2:]
    # What is hidden is still drawn, and comes back.
    user.settle()
    (bars,) = items(plot, "BarGraphItem")
    assert bars.opts["height"].sum() == len(SIZES)
    user.click("show_all")
    user.wait(lambda: len(found.cells()) == len(SIZES))
    user.settle()
    (region,) = items(plot, "LinearRegionItem")
    assert region.getRegion() == pytest.approx((areas[0], areas[-1]))

    # Back by hand, which misses the end by a pixel or so.
    drag(spot(areas[0]), middle)
    user.wait(lambda: len(found.cells()) == 2)
    user.settle()
    drag(middle, spot(areas[0]) + QPoint(1, 0))
    user.wait(lambda: len(found.cells()) == len(SIZES))
    user.wait(lambda: not user.button("show_all").isEnabled())
    assert found.main.binding.model.preview.ranges == (), "a range that hides nothing"


def test_of_a_stack_the_count_per_frame_and_the_course_of_each_object(open_advanced):
    stack = np.full((4, 60, 80), 20, np.uint8)
    for frame in range(4):
        stack[frame][disk((30, 25), 8 + frame, shape=(60, 80))] = 200
        if frame < 2:
            stack[frame][disk((30, 60), 6, shape=(60, 80))] = 200
    opened = open_advanced(stack)
    user = opened.user
    user.choose_in("task", "3D/video propagation")
    user.choose_in("tool", "Points (positive/negative)")
    user.click("create_prompt_layer")
    image = user.viewer.layers["image"]
    user.click_at(image, (0, 30, 25))
    user.click("new_object")
    user.click_at(image, (0, 30, 60))
    user.run()
    assert len(opened.cells()) >= 5
    plot = open_histogram(user)

    dims, view = user.viewer.dims, plot.viewport()
    box = plot.getPlotItem().getViewBox()

    def spot(x, y):
        return plot.mapFromScene(box.mapViewToScene(QPointF(x, y)))

    def look(name):
        if folder := os.environ.get("SAM3_PICTURES"):
            user.settle()
            plot.parentWidget().grab().save(f"{folder}/{name}.png")

    choose(user, "Frame")
    (bars,) = items(plot, "BarGraphItem")
    frames = [int(row[2]) for row in opened.cells()]
    assert list(bars.opts["height"]) == [frames.count(frame) for frame in range(4)]
    assert not items(plot, "LinearRegionItem")
    (line,) = items(plot, "InfiniteLine")
    assert line.value() == dims.current_step[0]
    assert all(float(one).is_integer() for one in (*marks(plot, "left"), *marks(plot, "bottom")))
    look("count_per_frame")
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=spot(3, 0.5))
    user.settle()
    assert dims.current_step[0] == 3
    assert items(plot, "InfiniteLine")[0].value() == 3
    # The line is dragged to frame 1.
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=spot(3, 0.5))
    for frame in (2.5, 1.8, 1.2, 1.0):
        user.drag_over(view, spot(frame, 0.5))
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=spot(1, 0.5))
    user.settle()
    assert dims.current_step[0] == 1
    dims.set_current_step(0, 2)
    assert items(plot, "InfiniteLine")[0].value() == 2

    # The handles hide whole objects, by their pixels on all frames.
    choose(user, "Area")
    labels = np.array(user.viewer.layers["SAM3 propagated preview labels"].data)
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    (bars,) = items(plot, "BarGraphItem")
    assert bars.opts["height"].sum() == len(ids) == 2
    (region,) = items(plot, "LinearRegionItem")
    assert region.getRegion() == pytest.approx((areas.min(), areas.max()))
    middle, high = areas.mean(), box.viewRect().center().y()
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=spot(areas.min(), high))
    for share in (0.5, 0.8, 1.0):
        user.drag_over(view, spot(areas.min() + share * (middle - areas.min()), high))
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=spot(middle, high))
    user.wait(lambda: user.text_of("shown_count") == "1 of 2 shown")
    assert {row[3] for row in opened.cells()} == {str(ids[areas.argmax()])}
    look("handles_of_a_propagation")
    user.click("show_all")
    user.wait(lambda: user.text_of("shown_count") == "2 of 2 shown")

    user.click("histogram_over_frames")
    lines = items(plot, "PlotDataItem")
    assert len(lines) == len({row[3] for row in opened.cells()})
    first = next(row[3] for row in opened.cells())
    course = sorted((int(row[2]), int(row[5])) for row in opened.cells() if row[3] == first)
    drawn = [list(zip(*line.getData(), strict=True)) for line in lines]
    assert course in drawn
    # A click on a course goes to its object on that frame.
    plot = user.widget.findChild(QWidget, "histogram")
    user.settle()
    frame, area = course[-1]
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=spot(frame, area))
    user.settle()
    assert dims.current_step[0] == frame
    assert opened.chosen_row is not None
    assert opened.cells()[opened.chosen_row][2:4] == (str(frame), first)
    look("value_over_frames")
    # Accepted, the objects have numbers from 1 on, as those that were propagated: other objects.
    user.click("accept_all")
    user.wait(lambda: len(items(plot, "PlotDataItem")) == 2 * len(drawn))
    again = [list(zip(*line.getData(), strict=True)) for line in items(plot, "PlotDataItem")]
    assert sorted(again) == sorted(2 * drawn)
    look("value_over_frames_accepted")
    vars(opened).clear()

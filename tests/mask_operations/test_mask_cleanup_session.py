from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from napari_sam3_assistant.core.masks.operations import (
    Expand,
    FillHoles,
    KeepLargest,
    Operation,
    RemoveSmall,
    Renumber,
    Smooth,
)
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations.model import RightClick, Scope

LABELS = np.array(
    [
        [1, 1, 1, 0, 0, 0],
        [1, 0, 1, 0, 2, 2],
        [1, 1, 1, 0, 2, 2],
        [0, 0, 0, 0, 0, 0],
        [3, 0, 0, 0, 0, 3],
    ],
    np.uint8,
)


def test_analyse_fills_the_table(bench):
    bench.add(LABELS, name="cells")

    bench.cleanup.analyze()

    assert bench.settle() == "Analyzed 4 connected components in “cells”."
    assert bench.model.components.areas.tolist() == [8, 4, 1, 1]


def test_delete_selected_rows_updates_the_table_and_is_taken_back(bench):
    layer = bench.add(LABELS, name="cells")
    bench.cleanup.analyze()
    bench.settle()
    bench.model.selected = (1, 2)

    bench.cleanup.delete_selected()

    assert bench.settle() == "Deleted 2 selected components from “cells”."
    assert set(np.unique(layer.data)) == {0, 1, 3}
    assert bench.model.components.areas.tolist() == [8, 1]
    bench.cleanup.undo()
    bench.settle()
    np.testing.assert_array_equal(layer.data, LABELS)
    assert len(bench.model.components) == 4
    assert bench.model.can_redo
    bench.cleanup.redo()
    bench.settle()
    assert not (layer.data == 2).any()


def test_rows_get_another_value(bench):
    layer = bench.add(LABELS)
    bench.cleanup.analyze()
    bench.settle()
    bench.model.selected = (0,)
    bench.model.new_value = 9

    bench.cleanup.change_selected()
    bench.settle()

    assert np.count_nonzero(layer.data == 9) == 8


@pytest.mark.parametrize(
    ("operation", "settings", "changed"),
    [
        (Operation.REMOVE_SMALL, {"remove_small": RemoveSmall(4)}, 2),
        (Operation.FILL_HOLES, {"fill_holes": FillHoles(1)}, 1),
        (Operation.KEEP_LARGEST, {}, 6),
        (Operation.KEEP_LARGEST, {"keep_largest": KeepLargest(per_label=True)}, 1),
        (Operation.MERGE_VALUES, {"values_text": "2, 3", "new_value": 1}, 6),
        (Operation.RENUMBER, {"renumber": Renumber(by_component=True)}, 1),
        (Operation.EXPAND, {"expand": Expand(1)}, 13),
        (Operation.SHRINK, {"expand": Expand(1)}, 13),
        (Operation.SMOOTH, {"smooth": Smooth(1)}, 11),
    ],
)
def test_operations_change_the_layer_say_so_and_are_taken_back(bench, operation, settings, changed):
    layer = bench.add(LABELS, name="cells")
    for name, value in settings.items():
        setattr(bench.model, name, value)

    bench.cleanup.apply(operation)
    said = bench.settle()

    assert np.count_nonzero(layer.data != LABELS) == changed
    pixels = "1 pixel" if changed == 1 else f"{changed} pixels"
    assert said == f"{operation.capitalize()}: changed {pixels} of “cells”."
    bench.cleanup.undo()
    bench.settle()
    np.testing.assert_array_equal(layer.data, LABELS)


@pytest.mark.parametrize("at_once", [0, 100_000])
def test_what_is_known_of_objects_goes_with_their_new_numbers(bench, at_once):
    bench.binding.session.edits.at_once = at_once
    labels = np.array([[2, 2, 0, 5], [0, 0, 0, 5], [9, 9, 9, 0]], np.uint8)
    known = {"index": [2, 5, 9], "class": ["a", "b", "c"], "parent": [0, 2, 5]}
    layer = bench.add(labels, features=known)

    def of_pixels():
        rows = layer.features.set_index("index")
        return [rows["class"][layer.data[at]] for at in ((0, 0), (1, 3), (2, 1))]

    for step in (lambda: bench.cleanup.apply(Operation.RENUMBER), bench.cleanup.undo):
        step()
        bench.settle()
        assert of_pixels() == ["a", "b", "c"]
    bench.cleanup.redo()
    bench.settle()
    assert of_pixels() == ["a", "b", "c"]
    rows = layer.features.set_index("index")
    assert rows["parent"][[1, 2, 3]].tolist() == [0, 1, 2]


def test_an_operation_that_changes_nothing_says_so_and_leaves_no_undo_step(bench):
    bench.add(LABELS)
    bench.model.remove_small = RemoveSmall(1)

    bench.cleanup.apply(Operation.REMOVE_SMALL)

    assert bench.settle() == "Remove small objects made no mask changes."
    assert not bench.model.can_undo


def test_a_preview_shows_what_would_change_and_changes_nothing(bench):
    layer = bench.add(LABELS, scale=(2, 0.5), translate=(10, 20))
    bench.model.remove_small = RemoveSmall(4)

    bench.cleanup.show_preview(Operation.REMOVE_SMALL)

    assert bench.settle() == "Remove small objects would change 2 pixels."
    shown = bench.viewer.layers["SAM3 mask changes"]
    assert np.asarray(shown.data).tolist() == [[1, 0, 0, 0, 0, 1]]
    assert tuple(shown.data_to_world((0, 5))) == tuple(layer.data_to_world((4, 5)))
    np.testing.assert_array_equal(layer.data, LABELS)
    bench.model.remove_small = RemoveSmall(5)
    bench.cleanup.show_preview(Operation.REMOVE_SMALL)
    bench.settle()
    assert np.count_nonzero(shown.data == 1) == 6
    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    assert not shown.visible
    bench.binding.close()
    assert shown not in bench.viewer.layers


def test_right_click_deletes_a_label_or_a_component(bench):
    layer = bench.add(LABELS, name="cells")
    bench.cleanup.delete_at((4, 0))
    np.testing.assert_array_equal(layer.data, LABELS)  # off

    bench.model.right_click = RightClick.COMPONENT
    bench.cleanup.delete_at((4, 0))
    assert bench.settle() == "Removed a component of label 3 from “cells” (1 pixel)."
    assert layer.data[4, 5] == 3
    bench.cleanup.undo()
    bench.model.right_click = RightClick.LABEL
    bench.cleanup.delete_at((4, 0))
    assert bench.settle() == "Removed label value 3 from “cells” (2 pixels)."
    bench.cleanup.delete_at((3, 3))
    assert bench.settle() == "Right-clicked background; no label removed."


def test_a_right_click_deletes_and_a_drag_or_one_on_a_hidden_layer_does_not(bench):
    layer = bench.add(LABELS, name="cells")
    bench.model.right_click = RightClick.LABEL

    def press_and_let_go(moved):
        pressed = SimpleNamespace(button=2, position=(1, 5), is_dragging=True, modifiers=())
        for kind, by, call in (
            ("mouse_press", 0, mouse_press_callbacks),
            ("mouse_move", moved, mouse_move_callbacks),
            ("mouse_release", moved, mouse_release_callbacks),
        ):
            event = SimpleNamespace(**{**vars(pressed), "type": kind, "pos": (40, 60 + by)})
            call(bench.viewer, ReadOnlyWrapper(event))
        bench.settle()

    press_and_let_go(30)
    layer.visible = False
    press_and_let_go(0)
    np.testing.assert_array_equal(layer.data, LABELS)
    layer.visible = True
    press_and_let_go(2)
    np.testing.assert_array_equal(layer.data, np.where(LABELS == 2, 0, LABELS))


def test_painting_by_hand_is_taken_back_in_order(bench):
    layer = bench.add(LABELS, name="cells")
    bench.cleanup.analyze()
    bench.settle()
    layer.selected_label = 7
    layer.brush_size = 1
    layer.paint((3, 3), 7)
    bench.model.remove_small = RemoveSmall(4)
    assert bench.model.components_stale
    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    layer.name = "renamed"
    layer.fill((0, 0), 8)

    for expected in (7, 7, 0):
        bench.cleanup.undo()
        bench.settle()
        assert layer.data[3, 3] in {0, expected}
    np.testing.assert_array_equal(layer.data, LABELS)
    assert not bench.model.can_undo
    for _ in range(3):
        bench.cleanup.redo()
        bench.settle()
    assert layer.data[0, 0] == 8
    assert layer.data[3, 3] == 0


def test_strokes_that_cross_each_other_are_one_step(bench):
    layer = bench.add(np.zeros((4, 4), np.uint8))
    layer.brush_size = 1
    with layer.block_history():
        layer.paint((1, 1), 3)
        layer.paint((1, 1), 4)
        layer.paint((1, 2), 4)

    bench.cleanup.undo()
    assert not layer.data.any()
    bench.cleanup.redo()
    assert layer.data[1].tolist() == [0, 4, 4, 0]


def test_data_setitem_is_taken_back_too(bench):
    layer = bench.add(np.zeros((4, 4), np.uint8))
    layer.data_setitem((np.array([1, 2]), np.array([1, 2])), [5, 6])
    assert layer.data[2, 2] == 6

    bench.cleanup.undo()

    assert not layer.data.any()


def test_undo_works_across_slices(bench):
    stack = np.stack([LABELS, np.zeros_like(LABELS), LABELS])
    layer = bench.add(stack, name="cells")
    bench.viewer.dims.set_point(0, 0)
    bench.model.remove_small = RemoveSmall(4)
    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    bench.viewer.dims.set_point(0, 2)

    bench.cleanup.undo()

    np.testing.assert_array_equal(layer.data, stack)


def test_a_new_shape_clears_what_could_be_undone(bench):
    layer = bench.add(LABELS)
    bench.cleanup.apply(Operation.KEEP_LARGEST)
    bench.settle()
    bench.cleanup.analyze()
    bench.settle()
    assert bench.model.can_undo

    layer.data = np.zeros((9, 9), np.uint8)

    assert not bench.model.can_undo
    assert bench.model.components is None
    with pytest.raises(MaskError, match="nothing to undo"):
        bench.cleanup.undo()


def test_a_removed_layer_is_forgotten(bench):
    layer = bench.add(LABELS)
    bench.cleanup.apply(Operation.KEEP_LARGEST)
    bench.settle()

    bench.viewer.layers.remove(layer)

    assert bench.model.target == ""
    assert bench.binding.session.edits.history.nbytes == 0
    with pytest.raises(MaskError, match="Choose a target"):
        bench.cleanup.undo()


def test_the_bound_of_the_history_is_said(bench):
    bench.add(LABELS)
    bench.binding.session.edits.history.limit = 1

    bench.cleanup.apply(Operation.KEEP_LARGEST)

    assert "1 old undo step was dropped" in bench.settle()


def test_work_on_the_drawn_and_the_visible_region_only(bench):
    layer = bench.add(LABELS)
    bench.model.scope = Scope.DRAWN
    with pytest.raises(MaskError, match="no drawn region"):
        bench.cleanup.apply(Operation.SHRINK)
    bench.viewer.add_shapes([[[-0.4, 3.4], [3.4, 5.4]]], shape_type="rectangle")
    bench.model.remove_small = RemoveSmall(100)

    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    assert (layer.data == 2).any()  # it reaches the edge of the labels, but not of the region
    bench.model.scope = Scope.WHOLE
    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    assert not layer.data.any()


def test_lazy_labels_are_edited_in_place(bench):
    lazy = zarr.create_array({}, shape=(60, 60), chunks=(16, 16), dtype="uint8")
    lazy[:] = np.kron(np.eye(6, dtype=np.uint8) * 5, np.ones((10, 10), np.uint8))
    lazy[0, 59] = 5
    before = lazy[:]
    layer = bench.viewer.add_labels(lazy)
    bench.model.target = bench.key(layer)

    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    assert lazy[0, 59] == 0
    bench.cleanup.undo()
    bench.settle()
    np.testing.assert_array_equal(lazy[:], before)


def test_a_pyramid_keeps_its_levels_in_step(bench):
    level = np.zeros((40, 40), np.uint8)
    level[10:20, 10:20] = 4
    levels = [level.copy(), level[::2, ::2].copy()]
    layer = bench.viewer.add_labels(levels, multiscale=True)
    bench.model.target = bench.key(layer)
    bench.model.remove_small = RemoveSmall(200)

    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    assert not layer.data[0].any()
    assert not layer.data[1].any()
    bench.cleanup.undo()
    bench.settle()
    np.testing.assert_array_equal(layer.data[1], level[::2, ::2])


def test_labels_that_can_only_be_read_are_refused_with_a_sentence(bench):
    layer = bench.viewer.add_labels(da.from_array(LABELS))
    bench.model.target = bench.key(layer)

    with pytest.raises(MaskError, match="can only be read"):
        bench.cleanup.apply(Operation.KEEP_LARGEST)
    bench.cleanup.analyze()
    assert "4 connected components" in bench.settle()


def test_an_overflow_is_a_sentence(bench):
    bench.add(LABELS)
    bench.model.values_text, bench.model.new_value = "1", 300

    bench.cleanup.apply(Operation.MERGE_VALUES)

    assert "300 does not fit labels of type uint8" in bench.settle()


def test_a_cancelled_operation_changes_nothing(bench):
    layer = bench.add(LABELS)

    bench.cleanup.apply(Operation.KEEP_LARGEST)
    bench.binding.session.cancel()

    assert bench.settle() == "Cancelled. Nothing was changed."
    np.testing.assert_array_equal(layer.data, LABELS)


def test_locate_a_component_on_its_slice(bench):
    stack = np.zeros((5, 40, 40), np.uint8)
    stack[3, 10:20, 30:36] = 1
    layer = bench.add(stack, scale=(2, 1, 1))
    bench.cleanup.analyze()
    bench.settle()

    bench.cleanup.go_to(0)

    assert bench.viewer.dims.point[0] == 6
    camera = getattr(bench.viewer, "scene", bench.viewer).camera
    assert tuple(camera.center[-2:]) == (14.5, 32.5)
    assert bench.viewer.layers.selection.active is layer

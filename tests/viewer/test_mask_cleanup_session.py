import dask.array as da
import numpy as np
import pytest
import zarr

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


def test_analyse_fills_the_table(stage):
    stage.add(LABELS, name="cells")

    stage.cleanup.analyze()

    assert stage.settle() == "Analyzed 4 connected components in “cells”."
    assert stage.model.components.areas.tolist() == [8, 4, 1, 1]


def test_delete_selected_rows_updates_the_table_and_is_taken_back(stage):
    layer = stage.add(LABELS, name="cells")
    stage.cleanup.analyze()
    stage.settle()
    stage.model.selected = (1, 2)

    stage.cleanup.delete_selected()

    assert stage.settle() == "Deleted 2 selected components from “cells”."
    assert set(np.unique(layer.data)) == {0, 1, 3}
    assert stage.model.components.areas.tolist() == [8, 1]
    stage.cleanup.undo()
    stage.settle()
    np.testing.assert_array_equal(layer.data, LABELS)
    assert len(stage.model.components) == 4
    assert stage.model.can_redo
    stage.cleanup.redo()
    stage.settle()
    assert not (layer.data == 2).any()


def test_rows_get_another_value(stage):
    layer = stage.add(LABELS)
    stage.cleanup.analyze()
    stage.settle()
    stage.model.selected = (0,)
    stage.model.new_value = 9

    stage.cleanup.change_selected()
    stage.settle()

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
def test_operations_change_the_layer_say_so_and_are_taken_back(stage, operation, settings, changed):
    layer = stage.add(LABELS, name="cells")
    for name, value in settings.items():
        setattr(stage.model, name, value)

    stage.cleanup.apply(operation)
    said = stage.settle()

    assert np.count_nonzero(layer.data != LABELS) == changed
    pixels = "1 pixel" if changed == 1 else f"{changed} pixels"
    assert said == f"{operation.capitalize()}: changed {pixels} of “cells”."
    stage.cleanup.undo()
    stage.settle()
    np.testing.assert_array_equal(layer.data, LABELS)


def test_an_operation_that_changes_nothing_says_so_and_leaves_no_undo_step(stage):
    stage.add(LABELS)
    stage.model.remove_small = RemoveSmall(1)

    stage.cleanup.apply(Operation.REMOVE_SMALL)

    assert stage.settle() == "Remove small objects made no mask changes."
    assert not stage.model.can_undo


def test_a_preview_shows_what_would_change_and_changes_nothing(stage):
    layer = stage.add(LABELS, scale=(2, 0.5), translate=(10, 20))
    stage.model.remove_small = RemoveSmall(4)

    stage.cleanup.show_preview(Operation.REMOVE_SMALL)

    assert stage.settle() == "Remove small objects would change 2 pixels."
    shown = stage.viewer.layers["SAM3 mask changes"]
    assert np.asarray(shown.data).tolist() == [[1, 0, 0, 0, 0, 1]]
    assert tuple(shown.data_to_world((0, 5))) == tuple(layer.data_to_world((4, 5)))
    np.testing.assert_array_equal(layer.data, LABELS)
    stage.model.remove_small = RemoveSmall(5)
    stage.cleanup.show_preview(Operation.REMOVE_SMALL)
    stage.settle()
    assert np.count_nonzero(shown.data == 1) == 6
    stage.cleanup.apply(Operation.REMOVE_SMALL)
    stage.settle()
    assert not shown.visible
    stage.binding.close()
    assert shown not in stage.viewer.layers


def test_right_click_deletes_a_label_or_a_component(stage):
    layer = stage.add(LABELS, name="cells")
    stage.cleanup.delete_at((4, 0))
    np.testing.assert_array_equal(layer.data, LABELS)  # off

    stage.model.right_click = RightClick.COMPONENT
    stage.cleanup.delete_at((4, 0))
    assert stage.settle() == "Removed a component of label 3 from “cells” (1 pixel)."
    assert layer.data[4, 5] == 3
    stage.cleanup.undo()
    stage.model.right_click = RightClick.LABEL
    stage.cleanup.delete_at((4, 0))
    assert stage.settle() == "Removed label value 3 from “cells” (2 pixels)."
    stage.cleanup.delete_at((3, 3))
    assert stage.settle() == "Right-clicked background; no label removed."


def test_painting_by_hand_is_taken_back_in_order(stage):
    layer = stage.add(LABELS, name="cells")
    stage.cleanup.analyze()
    stage.settle()
    layer.selected_label = 7
    layer.brush_size = 1
    layer.paint((3, 3), 7)
    stage.model.remove_small = RemoveSmall(4)
    assert stage.model.components_stale
    stage.cleanup.apply(Operation.REMOVE_SMALL)
    stage.settle()
    layer.name = "renamed"
    layer.fill((0, 0), 8)

    for expected in (7, 7, 0):
        stage.cleanup.undo()
        stage.settle()
        assert layer.data[3, 3] in {0, expected}
    np.testing.assert_array_equal(layer.data, LABELS)
    assert not stage.model.can_undo
    for _ in range(3):
        stage.cleanup.redo()
        stage.settle()
    assert layer.data[0, 0] == 8
    assert layer.data[3, 3] == 0


def test_strokes_that_cross_each_other_are_one_step(stage):
    layer = stage.add(np.zeros((4, 4), np.uint8))
    layer.brush_size = 1
    with layer.block_history():
        layer.paint((1, 1), 3)
        layer.paint((1, 1), 4)
        layer.paint((1, 2), 4)

    stage.cleanup.undo()
    assert not layer.data.any()
    stage.cleanup.redo()
    assert layer.data[1].tolist() == [0, 4, 4, 0]


def test_data_setitem_is_taken_back_too(stage):
    layer = stage.add(np.zeros((4, 4), np.uint8))
    layer.data_setitem((np.array([1, 2]), np.array([1, 2])), [5, 6])
    assert layer.data[2, 2] == 6

    stage.cleanup.undo()

    assert not layer.data.any()


def test_undo_works_across_slices(stage):
    stack = np.stack([LABELS, np.zeros_like(LABELS), LABELS])
    layer = stage.add(stack, name="cells")
    stage.viewer.dims.set_point(0, 0)
    stage.model.remove_small = RemoveSmall(4)
    stage.cleanup.apply(Operation.REMOVE_SMALL)
    stage.settle()
    stage.viewer.dims.set_point(0, 2)

    stage.cleanup.undo()

    np.testing.assert_array_equal(layer.data, stack)


def test_a_new_shape_clears_what_could_be_undone(stage):
    layer = stage.add(LABELS)
    stage.cleanup.apply(Operation.KEEP_LARGEST)
    stage.settle()
    stage.cleanup.analyze()
    stage.settle()
    assert stage.model.can_undo

    layer.data = np.zeros((9, 9), np.uint8)

    assert not stage.model.can_undo
    assert stage.model.components is None
    with pytest.raises(MaskError, match="nothing to undo"):
        stage.cleanup.undo()


def test_a_removed_layer_is_forgotten(stage):
    layer = stage.add(LABELS)
    stage.cleanup.apply(Operation.KEEP_LARGEST)
    stage.settle()

    stage.viewer.layers.remove(layer)

    assert stage.model.target == ""
    assert stage.binding.session.edits.history.nbytes == 0
    with pytest.raises(MaskError, match="Choose a target"):
        stage.cleanup.undo()


def test_a_layer_that_is_removed_in_the_middle_of_a_job(stage):
    layer = stage.add(LABELS)
    stage.cleanup.apply(Operation.KEEP_LARGEST)

    stage.viewer.layers.remove(layer)

    assert "Cancelled" in stage.settle() or not stage.model.running
    np.testing.assert_array_equal(layer.data, LABELS)


def test_the_bound_of_the_history_is_said(stage):
    stage.add(LABELS)
    stage.binding.session.edits.history.limit = 1

    stage.cleanup.apply(Operation.KEEP_LARGEST)

    assert "1 old undo step was dropped" in stage.settle()


def test_work_on_the_drawn_and_the_visible_region_only(stage):
    layer = stage.add(LABELS)
    stage.model.scope = Scope.DRAWN
    with pytest.raises(MaskError, match="no drawn region"):
        stage.cleanup.apply(Operation.SHRINK)
    stage.viewer.add_shapes([[[-0.4, 3.4], [3.4, 5.4]]], shape_type="rectangle")
    stage.model.remove_small = RemoveSmall(100)

    stage.cleanup.apply(Operation.REMOVE_SMALL)
    stage.settle()
    assert (layer.data == 2).any()  # it reaches the edge of the labels, but not of the region
    stage.model.scope = Scope.WHOLE
    stage.cleanup.apply(Operation.REMOVE_SMALL)
    stage.settle()
    assert not layer.data.any()


def test_lazy_labels_are_edited_in_place(stage):
    lazy = zarr.create_array({}, shape=(60, 60), chunks=(16, 16), dtype="uint8")
    lazy[:] = np.kron(np.eye(6, dtype=np.uint8) * 5, np.ones((10, 10), np.uint8))
    lazy[0, 59] = 5
    before = lazy[:]
    layer = stage.viewer.add_labels(lazy)
    stage.model.target = stage.key(layer)

    stage.cleanup.apply(Operation.REMOVE_SMALL)
    stage.settle()
    assert lazy[0, 59] == 0
    stage.cleanup.undo()
    stage.settle()
    np.testing.assert_array_equal(lazy[:], before)


def test_a_pyramid_keeps_its_levels_in_step(stage):
    level = np.zeros((40, 40), np.uint8)
    level[10:20, 10:20] = 4
    levels = [level.copy(), level[::2, ::2].copy()]
    layer = stage.viewer.add_labels(levels, multiscale=True)
    stage.model.target = stage.key(layer)
    stage.model.remove_small = RemoveSmall(200)

    stage.cleanup.apply(Operation.REMOVE_SMALL)
    stage.settle()
    assert not layer.data[0].any()
    assert not layer.data[1].any()
    stage.cleanup.undo()
    stage.settle()
    np.testing.assert_array_equal(layer.data[1], level[::2, ::2])


def test_labels_that_can_only_be_read_are_refused_with_a_sentence(stage):
    layer = stage.viewer.add_labels(da.from_array(LABELS))
    stage.model.target = stage.key(layer)

    with pytest.raises(MaskError, match="can only be read"):
        stage.cleanup.apply(Operation.KEEP_LARGEST)
    stage.cleanup.analyze()
    assert "4 connected components" in stage.settle()


def test_an_overflow_is_a_sentence(stage):
    stage.add(LABELS)
    stage.model.values_text, stage.model.new_value = "1", 300

    stage.cleanup.apply(Operation.MERGE_VALUES)

    assert "300 does not fit labels of type uint8" in stage.settle()


def test_a_cancelled_operation_changes_nothing(stage):
    layer = stage.add(LABELS)

    stage.cleanup.apply(Operation.KEEP_LARGEST)
    stage.binding.session.cancel()

    assert stage.settle() == "Cancelled. Nothing was changed."
    np.testing.assert_array_equal(layer.data, LABELS)


def test_locate_a_component_on_its_slice(stage):
    stack = np.zeros((5, 40, 40), np.uint8)
    stack[3, 10:20, 30:36] = 1
    layer = stage.add(stack, scale=(2, 1, 1))
    stage.cleanup.analyze()
    stage.settle()

    stage.cleanup.go_to(0)

    assert stage.viewer.dims.point[0] == 6
    camera = getattr(stage.viewer, "scene", stage.viewer).camera
    assert tuple(camera.center[-2:]) == (14.5, 32.5)
    assert stage.viewer.layers.selection.active is layer


def test_an_object_in_the_viewer_selects_its_row(stage):
    stage.add(LABELS)
    stage.cleanup.analyze()
    stage.settle()

    stage.cleanup.select_at((1, 5))
    assert stage.model.selected == (1,)
    stage.cleanup.select_at((1, 1))
    assert stage.model.selected == ()


def test_lists_follow_the_viewer(stage):
    layer = stage.add(LABELS, name="a")
    stage.viewer.add_labels(LABELS, name="b")
    assert [choice.name for choice in stage.model.layers] == ["b", "a"]
    layer.name = "c"
    assert [choice.name for choice in stage.model.layers] == ["b", "c"]
    stage.viewer.layers.remove("b")
    assert [choice.name for choice in stage.model.layers] == ["c"]

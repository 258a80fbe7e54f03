"""Layers that the mask operations make: taken back, and brought back as they were."""

import numpy as np
import pytest

from napari_sam3_assistant.core.masks.merge import MergeMode
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations.model import SaveMode

PREVIEW = np.array([[1, 1, 0, 0], [0, 2, 2, 0]], np.uint32)


@pytest.fixture
def collection(stage):
    stage.add(PREVIEW, name="SAM3 preview labels", scale=(2, 3), translate=(5, 6))
    return stage.collection


def save(stage, class_name, value, label=0):
    stage.model.class_name, stage.model.class_value = class_name, value
    stage.model.object_name, stage.model.label = "one", label
    stage.model.save_mode = SaveMode.NEW
    stage.collection.save_accepted()
    stage.settle()
    return stage.viewer.layers[f"{class_name}_one"]


def names(stage):
    return [layer.name for layer in stage.viewer.layers]


def undo(stage):
    stage.collection.undo()
    return stage.settle()


def redo(stage):
    stage.collection.redo()
    return stage.settle()


def test_a_saved_object_goes_and_comes_back_with_all_that_is_known_of_it(stage, collection):
    layer = save(stage, "cell", 4)
    stage.viewer.add_labels(PREVIEW, name="above")
    known, place, pixels = dict(layer.metadata), layer.data_to_world((1, 2)), layer.data.copy()
    assert stage.model.undo_collected == "save accepted object (“cell_one”)"

    assert undo(stage) == "Undid: save accepted object on “cell_one”."
    assert names(stage) == ["SAM3 preview labels", "above"]
    assert stage.model.redo_collected == "save accepted object (“cell_one”)"
    assert redo(stage) == "Did again: save accepted object on “cell_one”."

    back = stage.viewer.layers["cell_one"]
    assert names(stage) == ["SAM3 preview labels", "cell_one", "above"]
    assert back.metadata == known
    assert tuple(back.data_to_world((1, 2))) == tuple(place)
    np.testing.assert_array_equal(back.data, pixels)
    assert [one.name for one in stage.model.layers if one.accepted] == ["cell_one"]


def test_painting_on_what_was_made_is_a_step_of_its_own(stage, collection):
    layer = save(stage, "cell", 4)
    made = layer.data.copy()
    layer.brush_size = 1
    layer.paint((0, 3), 9)

    assert undo(stage) == "Undid: painting on “cell_one”."
    np.testing.assert_array_equal(layer.data, made)
    assert undo(stage) == "Undid: save accepted object on “cell_one”."
    assert "cell_one" not in stage.viewer.layers
    redo(stage)
    assert redo(stage) == "Did again: painting on “cell_one”."

    assert stage.named("cell_one")[0, 3] == 9
    with pytest.raises(MaskError, match="nothing to redo"):
        stage.collection.redo()


def test_a_layer_that_the_user_removed_is_forgotten(stage, collection):
    save(stage, "cell", 4)
    stage.viewer.layers.remove("cell_one")

    assert stage.model.undo_collected == ""
    with pytest.raises(MaskError, match="nothing to undo"):
        stage.collection.undo()


def test_a_new_step_ends_what_could_be_done_again(stage, collection):
    save(stage, "cell", 4)
    undo(stage)
    save(stage, "axon", 5)

    assert stage.model.redo_collected == ""
    assert undo(stage) == "Undid: save accepted object on “axon_one”."


def test_steps_on_several_layers_go_back_in_their_order(stage, collection):
    save(stage, "cell", 4)
    save(stage, "axon", 5)
    stage.model.merge_chosen = tuple(
        stage.key(stage.viewer.layers[name]) for name in ("cell_one", "axon_one")
    )
    stage.collection.merge_accepted()
    stage.settle()
    everything = names(stage)

    for left in (3, 2, 1):
        undo(stage)
        assert len(names(stage)) == left
    for _ in range(3):
        redo(stage)

    assert names(stage) == everything


def test_a_merge_into_the_same_layer_is_taken_back(stage, collection):
    save(stage, "cell", 4, label=1)
    save(stage, "axon", 5, label=2)
    cell, axon = (stage.key(stage.viewer.layers[name]) for name in ("cell_one", "axon_one"))
    stage.model.merge_chosen = (cell,)
    stage.collection.merge_accepted()
    stage.settle()
    layer = stage.viewer.layers["class_working_mask"]
    before, known = layer.data.copy(), dict(layer.metadata)
    stage.model.merge_chosen = (cell, axon)
    stage.collection.merge_accepted()
    assert "Merged 2 accepted object layers" in stage.settle()
    after, known_after = layer.data.copy(), dict(layer.metadata)
    assert after.max() == 5

    assert undo(stage) == "Undid: class merge on “class_working_mask”."
    np.testing.assert_array_equal(layer.data, before)
    assert layer.metadata == known
    redo(stage)

    np.testing.assert_array_equal(layer.data, after)
    assert layer.metadata == known_after


def test_a_final_mask_of_another_type_is_taken_back(stage, collection):
    stage.model.final_chosen = (stage.model.target,)
    stage.collection.merge_final()
    stage.settle()
    layer = stage.viewer.layers["final_training_mask"]
    layer.brush_size = 1
    layer.paint((0, 3), 9)
    semantic = layer.data.copy()
    stage.model.merge_mode = MergeMode.BINARY
    stage.collection.merge_final()
    stage.settle()
    assert layer.data.dtype == np.uint8

    undo(stage)
    assert layer.data.dtype == np.uint32
    np.testing.assert_array_equal(layer.data, semantic)
    assert layer.metadata["merge_mode"] == "semantic"
    redo(stage)
    assert layer.data.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]
    for _ in range(3):
        undo(stage)

    assert "final_training_mask" not in stage.viewer.layers


def test_an_overlap_map_is_taken_back(stage, collection):
    other = stage.viewer.add_labels(PREVIEW, name="other", scale=(2, 3), translate=(5, 6))
    stage.model.final_chosen = (stage.model.target, stage.key(other))
    stage.collection.show_overlap()
    stage.settle()

    undo(stage)
    assert "SAM3 overlap map" not in stage.viewer.layers
    redo(stage)

    assert stage.named("SAM3 overlap map").max() == 2


def test_an_append_after_which_the_user_painted(stage, collection):
    layer = save(stage, "cell", 4, label=1)
    stage.model.save_mode, stage.model.label = SaveMode.APPEND, 0
    stage.model.accepted_target = stage.key(layer)
    stage.collection.save_accepted()
    stage.settle()
    layer.brush_size = 1
    layer.paint((0, 3), 9)

    assert undo(stage) == "Undid: painting on “cell_one”."
    assert undo(stage) == "Undid: append accepted object on “cell_one”."
    assert layer.data.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert undo(stage) == "Undid: save accepted object on “cell_one”."


def test_a_layer_beyond_the_limit_is_not_kept_and_that_is_said(stage, collection):
    save(stage, "cell", 4)
    stage.binding.session.edits.history.limit = 1

    assert "1 old undo step was dropped" in undo(stage)
    assert "cell_one" not in stage.viewer.layers
    assert stage.model.redo_collected == ""


def test_ctrl_z_on_a_made_layer_takes_it_away(stage, collection):
    layer = save(stage, "cell", 4)

    stage.binding.step(layer, forward=False)

    assert "cell_one" not in stage.viewer.layers

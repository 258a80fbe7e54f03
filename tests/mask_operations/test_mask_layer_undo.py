"""Layers that the mask operations make: taken back, and brought back as they were."""

import numpy as np
import pytest

from napari_sam3_assistant.core.masks.merge import MergeMode
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations.model import SaveMode

PREVIEW = np.array([[1, 1, 0, 0], [0, 2, 2, 0]], np.uint32)


@pytest.fixture
def collection(bench):
    bench.add(PREVIEW, name="SAM3 preview labels", scale=(2, 3), translate=(5, 6))
    return bench.collection


def save(bench, class_name, value, label=0):
    bench.model.class_name, bench.model.class_value = class_name, value
    bench.model.object_name, bench.model.label = "one", label
    bench.model.save_mode = SaveMode.NEW
    bench.collection.save_accepted()
    bench.settle()
    return bench.viewer.layers[f"{class_name}_one"]


def names(bench):
    return [layer.name for layer in bench.viewer.layers]


def undo(bench):
    bench.collection.undo()
    return bench.settle()


def redo(bench):
    bench.collection.redo()
    return bench.settle()


def test_a_saved_object_goes_and_comes_back_with_all_that_is_known_of_it(bench, collection):
    layer = save(bench, "cell", 4)
    bench.viewer.add_labels(PREVIEW, name="above")
    known, place, pixels = dict(layer.metadata), layer.data_to_world((1, 2)), layer.data.copy()
    assert bench.model.undo_collected == "save accepted object (“cell_one”)"

    assert undo(bench) == "Undid: save accepted object on “cell_one”."
    assert names(bench) == ["SAM3 preview labels", "above"]
    assert bench.model.redo_collected == "save accepted object (“cell_one”)"
    assert redo(bench) == "Did again: save accepted object on “cell_one”."

    back = bench.viewer.layers["cell_one"]
    assert names(bench) == ["SAM3 preview labels", "cell_one", "above"]
    assert back.metadata == known
    assert tuple(back.data_to_world((1, 2))) == tuple(place)
    np.testing.assert_array_equal(back.data, pixels)
    assert [one.name for one in bench.model.layers if one.accepted] == ["cell_one"]


def test_painting_on_what_was_made_is_a_step_of_its_own(bench, collection):
    layer = save(bench, "cell", 4)
    made = layer.data.copy()
    layer.brush_size = 1
    layer.paint((0, 3), 9)

    assert undo(bench) == "Undid: painting on “cell_one”."
    np.testing.assert_array_equal(layer.data, made)
    assert undo(bench) == "Undid: save accepted object on “cell_one”."
    assert "cell_one" not in bench.viewer.layers
    redo(bench)
    assert redo(bench) == "Did again: painting on “cell_one”."

    assert bench.named("cell_one")[0, 3] == 9
    with pytest.raises(MaskError, match="nothing to redo"):
        bench.collection.redo()


def test_a_layer_that_the_user_removed_is_forgotten(bench, collection):
    save(bench, "cell", 4)
    bench.viewer.layers.remove("cell_one")

    assert bench.model.undo_collected == ""
    with pytest.raises(MaskError, match="nothing to undo"):
        bench.collection.undo()


def test_a_new_step_ends_what_could_be_done_again(bench, collection):
    save(bench, "cell", 4)
    undo(bench)
    save(bench, "axon", 5)

    assert bench.model.redo_collected == ""
    assert undo(bench) == "Undid: save accepted object on “axon_one”."


def test_steps_on_several_layers_go_back_in_their_order(bench, collection):
    save(bench, "cell", 4)
    save(bench, "axon", 5)
    bench.model.merge_chosen = tuple(
        bench.key(bench.viewer.layers[name]) for name in ("cell_one", "axon_one")
    )
    bench.collection.merge_accepted()
    bench.settle()
    everything = names(bench)

    for left in (3, 2, 1):
        undo(bench)
        assert len(names(bench)) == left
    for _ in range(3):
        redo(bench)

    assert names(bench) == everything


def test_a_merge_into_the_same_layer_is_taken_back(bench, collection):
    save(bench, "cell", 4, label=1)
    save(bench, "axon", 5, label=2)
    cell, axon = (bench.key(bench.viewer.layers[name]) for name in ("cell_one", "axon_one"))
    bench.model.merge_chosen = (cell,)
    bench.collection.merge_accepted()
    bench.settle()
    layer = bench.viewer.layers["class_working_mask"]
    before, known = layer.data.copy(), dict(layer.metadata)
    bench.model.merge_chosen = (cell, axon)
    bench.collection.merge_accepted()
    assert "Merged 2 accepted object layers" in bench.settle()
    after, known_after = layer.data.copy(), dict(layer.metadata)
    assert after.max() == 5

    assert undo(bench) == "Undid: class merge on “class_working_mask”."
    np.testing.assert_array_equal(layer.data, before)
    assert layer.metadata == known
    redo(bench)

    np.testing.assert_array_equal(layer.data, after)
    assert layer.metadata == known_after


def test_a_final_mask_of_another_type_is_taken_back(bench, collection):
    bench.model.final_chosen = (bench.model.target,)
    bench.collection.merge_final()
    bench.settle()
    layer = bench.viewer.layers["final_training_mask"]
    layer.brush_size = 1
    layer.paint((0, 3), 9)
    semantic = layer.data.copy()
    bench.model.merge_mode = MergeMode.BINARY
    bench.collection.merge_final()
    bench.settle()
    assert layer.data.dtype == np.uint8

    undo(bench)
    assert layer.data.dtype == np.uint32
    np.testing.assert_array_equal(layer.data, semantic)
    assert layer.metadata["merge_mode"] == "semantic"
    redo(bench)
    assert layer.data.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]
    for _ in range(3):
        undo(bench)

    assert "final_training_mask" not in bench.viewer.layers


def test_an_overlap_map_is_taken_back(bench, collection):
    other = bench.viewer.add_labels(PREVIEW, name="other", scale=(2, 3), translate=(5, 6))
    bench.model.final_chosen = (bench.model.target, bench.key(other))
    bench.collection.show_overlap()
    bench.settle()

    undo(bench)
    assert "SAM3 overlap map" not in bench.viewer.layers
    redo(bench)

    assert bench.named("SAM3 overlap map").max() == 2


def test_an_append_after_which_the_user_painted(bench, collection):
    layer = save(bench, "cell", 4, label=1)
    bench.model.save_mode, bench.model.label = SaveMode.APPEND, 0
    bench.model.accepted_target = bench.key(layer)
    bench.collection.save_accepted()
    bench.settle()
    layer.brush_size = 1
    layer.paint((0, 3), 9)

    assert undo(bench) == "Undid: painting on “cell_one”."
    assert undo(bench) == "Undid: append accepted object on “cell_one”."
    assert layer.data.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert undo(bench) == "Undid: save accepted object on “cell_one”."


def test_a_layer_beyond_the_limit_is_not_kept_and_that_is_said(bench, collection):
    save(bench, "cell", 4)
    bench.binding.session.edits.history.limit = 1

    assert "1 old undo step was dropped" in undo(bench)
    assert "cell_one" not in bench.viewer.layers
    assert bench.model.redo_collected == ""


def test_ctrl_z_on_a_made_layer_takes_it_away(bench, collection):
    layer = save(bench, "cell", 4)

    bench.binding.step(layer, forward=False)

    assert "cell_one" not in bench.viewer.layers

import json

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.masks.merge import MergeMode, OverlapRule
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.errors import ExportError, ImageError, MaskError
from napari_sam3_assistant.mask_operations.model import RightClick, SaveMode

PREVIEW = np.array([[1, 1, 0, 0], [0, 2, 2, 0]], np.uint32)


@pytest.fixture
def preview(bench):
    placed = {"scale": (2, 3), "translate": (5, 6)}
    bench.viewer.add_image(np.zeros((2, 4)), name="picture", **placed)
    return bench.add(PREVIEW, name="SAM3 preview labels", **placed)


def save(bench, class_name, value, object_name="one", label=0):
    bench.model.class_name, bench.model.class_value = class_name, value
    bench.model.object_name, bench.model.label = object_name, label
    bench.collection.save_accepted()
    return bench.settle()


def test_a_preview_is_saved_with_all_that_is_known_of_it(bench, preview):
    said = save(bench, "myelin", 4)

    assert said == "Saved accepted object layer: myelin_one."
    layer = bench.viewer.layers["myelin_one"]
    np.testing.assert_array_equal(layer.data, PREVIEW)
    assert layer.metadata == {
        "sam3_role": "accepted_object",
        "object_name": "one",
        "class_name": "myelin",
        "class_value": 4,
        "instance_kind": "object",
        "source_image_layer": "picture",
        "source_preview_layer": "SAM3 preview labels",
        "source_task": "",
        "created_from": "Mask Operations",
    }
    assert tuple(layer.data_to_world((1, 1))) == tuple(preview.data_to_world((1, 1)))
    preview.data[:] = 0
    assert layer.data.any()


def test_a_class_value_is_what_merged_masks_can_hold(bench, preview):
    save(bench, "cell", 0)
    assert bench.viewer.layers["cell_one"].metadata["class_value"] == 1
    save(bench, "ring", 2**32 - 1)
    assert bench.viewer.layers["ring_one"].metadata["class_value"] == 2**32 - 1
    with pytest.raises(MaskError, match="4294967296 does not fit"):
        save(bench, "much", 2**32)


def test_a_name_that_is_taken_gets_a_number_and_empty_fields_have_defaults(bench, preview):
    save(bench, "", 1, "")
    save(bench, "", 1, "")

    assert [layer.name for layer in bench.viewer.layers][-2:] == [
        "class_SAM3 preview labels",
        "class_SAM3 preview labels [1]",
    ]


def test_one_label_of_a_preview(bench, preview):
    save(bench, "a", 1, label=2)

    assert bench.named("a_one").tolist() == [[0, 0, 0, 0], [0, 2, 2, 0]]
    assert "no pixel of label 9" in save(bench, "b", 1, label=9)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (SaveMode.APPEND, [[9, 1, 0, 0], [9, 2, 2, 9]]),
        (SaveMode.REPLACE, [[0, 1, 0, 0], [0, 2, 2, 0]]),
    ],
)
def test_append_and_replace_write_into_the_accepted_layer(bench, preview, mode, expected):
    preview.data[0, 0] = 0
    save(bench, "a", 1)
    layer = bench.viewer.layers["a_one"]
    layer.data[:] = [[9, 9, 0, 0], [9, 9, 9, 9]]
    bench.model.save_mode = mode

    bench.collection.save_accepted()

    assert bench.settle() == "Updated accepted object layer: a_one."
    assert layer.data.tolist() == expected
    bench.collection.undo()
    assert layer.data.tolist() == [[9, 9, 0, 0], [9, 9, 9, 9]]


def test_what_is_missing_is_said(bench):
    with pytest.raises(MaskError, match="Select a source"):
        bench.collection.save_accepted()
    bench.add(PREVIEW)
    bench.model.save_mode = SaveMode.APPEND
    with pytest.raises(MaskError, match="Select an accepted target"):
        bench.collection.save_accepted()
    with pytest.raises(MaskError, match="at least one accepted-object"):
        bench.collection.merge_accepted()
    with pytest.raises(MaskError, match="at least one class mask"):
        bench.collection.merge_final()
    with pytest.raises(MaskError, match="at least two"):
        bench.collection.show_overlap()
    with pytest.raises(MaskError, match="export path"):
        bench.collection.export()
    bench.model.path = "x.tif"
    with pytest.raises(MaskError, match="was not found"):
        bench.collection.export()


def test_a_target_of_another_shape_is_refused(bench, preview):
    save(bench, "a", 1)
    bench.model.save_mode = SaveMode.APPEND
    other = bench.add(np.ones((3, 3), np.uint8), scale=(2, 3), translate=(5, 6))
    bench.model.source = bench.key(other)

    bench.collection.save_accepted()

    assert "Shape mismatch: source (3, 3), target (2, 4)." in bench.settle()


@pytest.mark.parametrize("mode", [SaveMode.APPEND, SaveMode.REPLACE])
def test_an_object_that_lies_elsewhere_is_not_saved_into_an_accepted_layer(bench, preview, mode):
    save(bench, "a", 1)
    other = bench.add(PREVIEW + 5, name="preview of a region", scale=(2, 3), translate=(50, 60))
    bench.model.source, bench.model.save_mode = bench.key(other), mode

    with pytest.raises(MaskError, match="don't lie on top of each other"):
        bench.collection.save_accepted()
    bench.settle()

    np.testing.assert_array_equal(bench.named("a_one"), PREVIEW)


@pytest.fixture
def accepted(bench, preview):
    """Two accepted layers that share a pixel."""
    save(bench, "axon", 5, label=1)
    preview.data[0, 1:3] = 3
    preview.data[0, 0] = 0
    save(bench, "myelin", 3, label=3)
    return [bench.key(bench.viewer.layers[name]) for name in ("axon_one", "myelin_one")]


def test_accepted_objects_are_merged_by_class(bench, accepted):
    bench.model.merge_chosen = tuple(accepted)
    bench.collection.count_overlap()
    bench.settle()
    assert bench.model.merge_overlap == 1

    bench.collection.merge_accepted()

    assert "Merged 2 accepted object layers into class mask: class_working_mask" in bench.settle()
    layer = bench.viewer.layers["class_working_mask"]
    assert layer.data.tolist() == [[5, 3, 3, 0], [0, 0, 0, 0]]
    assert layer.metadata["class_value"] == [3, 5]
    assert layer.metadata["class_name"] == "myelin, axon"
    assert layer.metadata["source_accepted_layers"] == ["axon_one", "myelin_one"]
    assert layer.scale.tolist() == [2, 3]


def test_the_order_that_was_dragged_has_priority_or_the_order_of_ticking(bench, accepted):
    axon, myelin = accepted
    bench.model.final_chosen = (axon, myelin)
    bench.model.final_order = (myelin, axon, *bench.model.final_order)

    bench.model.rule = OverlapRule.PRIORITY
    bench.collection.merge_final()
    bench.settle()
    assert bench.named("final_training_mask").tolist() == [[5, 3, 3, 0], [0, 0, 0, 0]]
    bench.model.rule = OverlapRule.EARLIER
    bench.collection.merge_final()
    bench.settle()
    assert bench.named("final_training_mask").tolist() == [[5, 5, 3, 0], [0, 0, 0, 0]]
    # A second merge fills the same layer, so an export never takes an old one.
    assert [layer.name for layer in bench.viewer.layers].count("final_training_mask") == 1


def test_ticks_and_order_survive_changes_of_the_list(bench, accepted):
    bench.model.final_chosen = tuple(accepted)
    bench.model.final_order = tuple(reversed(bench.model.final_order))
    before = bench.model.final_order

    bench.add(PREVIEW, target=False)
    bench.viewer.layers.move(0, 2)

    assert bench.model.final_chosen == tuple(accepted)
    assert bench.model.final_order[1:] == before


def test_the_overlap_map(bench, accepted):
    bench.model.final_chosen = tuple(accepted)

    bench.collection.show_overlap()

    assert bench.settle() == "Created overlap map “SAM3 overlap map” from 2 layers."
    layer = bench.viewer.layers["SAM3 overlap map"]
    assert layer.data.tolist() == [[0, 2, 0, 0], [0, 0, 0, 0]]
    assert layer.metadata["source_layers"] == ["myelin_one", "axon_one"]


def test_layers_that_lie_elsewhere_are_refused(bench, accepted):
    bench.viewer.layers["axon_one"].translate = (0, 0)
    bench.model.final_chosen = tuple(accepted)

    with pytest.raises(MaskError, match="don't lie on top of each other"):
        bench.collection.merge_final()


def test_merge_and_export_writes_what_was_merged(bench, accepted, tmp_path):
    bench.model.final_chosen = tuple(accepted)
    bench.model.merge_mode = MergeMode.INSTANCE
    bench.model.export_format = ExportFormat.COCO_RLE
    bench.model.path = str(tmp_path / "masks.v1")

    bench.collection.merge_and_export()

    assert bench.settle() == f"Exported mask “final_training_mask” to {tmp_path / 'masks.v1.json'}."
    content = json.loads((tmp_path / "masks.v1.json").read_text())
    assert [one["category_id"] for one in content["annotations"]] == [3, 5]
    assert {one["name"] for one in content["categories"]} == {"axon", "myelin"}
    assert content["images"][0]["file_name"] == "picture"


@pytest.mark.parametrize("other", ["a file", "of another shape", "elsewhere", "of another image"])
def test_what_is_exported_is_what_was_merged_whatever_has_the_name(bench, preview, tmp_path, other):
    bench.viewer.add_image(np.zeros((2, 4)), name="second", scale=(2, 3), translate=(5, 6))
    options = {"scale": preview.scale, "translate": preview.translate}
    theirs = np.full((2, 4), 9, np.uint32)
    if other == "a file":
        first = bench.viewer.add_labels(theirs, name="final_training_mask", **options)
    else:
        if other == "of another shape":
            theirs = np.full((5, 5), 9, np.uint32)
        elif other == "elsewhere":
            options["translate"] = (50, 60)
        metadata = {"source_image_layer": "second"}
        source = bench.viewer.add_labels(theirs, metadata=metadata, **options)
        bench.model.final_chosen = (bench.key(source),)
        bench.collection.merge_final()
        bench.settle()
        first = bench.viewer.layers["final_training_mask"]
    bench.model.final_chosen = (bench.key(preview),)
    bench.model.path = str(tmp_path / "mask.json")
    bench.model.export_format = ExportFormat.COCO_RLE

    bench.collection.merge_and_export()

    assert "“final_training_mask [1]”" in bench.settle()
    content = json.loads((tmp_path / "mask.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["picture"]
    assert [one["area"] for one in content["annotations"]] == [2, 2]
    np.testing.assert_array_equal(first.data, theirs)
    merged = bench.viewer.layers["final_training_mask [1]"]
    assert tuple(merged.data_to_world((1, 1))) == tuple(preview.data_to_world((1, 1)))
    preview.data[0, 0] = 0
    bench.collection.merge_final()  # fills the one that it has made
    bench.settle()
    assert merged.data.tolist() == preview.data.tolist()
    assert sum("final_training_mask" in layer.name for layer in bench.viewer.layers) == 2


def test_export_of_any_layer_by_its_name(bench, preview, tmp_path):
    bench.model.output = "SAM3 preview labels"
    bench.model.path = str(tmp_path / "a.tif")

    bench.collection.export()
    bench.settle()

    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), PREVIEW)


def test_no_file_is_replaced_that_nobody_has_named(bench, preview, tmp_path):
    for ending in (".tif", ".npy"):
        (tmp_path / f"mine{ending}").write_text("of somebody")
    bench.model.output = "SAM3 preview labels"
    bench.model.path = str(tmp_path / "mine")  # the dialog of Browse has asked about nothing

    for format_, written in (
        (ExportFormat.TIFF, "mine_02.tif"),
        (ExportFormat.TIFF, "mine_02.tif"),  # which is the one that was named
        (ExportFormat.NPY, "mine_02.npy"),
        (ExportFormat.TIFF, "mine_02.tif"),
    ):
        bench.model.export_format = format_
        bench.collection.export()
        assert f"to {tmp_path / written}." in bench.settle()
        assert bench.model.path == str(tmp_path / written)

    bench.model.path = str(tmp_path / "mine.tif")  # typed, all of it
    bench.collection.export()
    said = bench.settle()
    assert f"to {tmp_path / 'mine_03.tif'}. mine.tif was there before, and stays." in said
    (tmp_path / "mine_03.tif").write_text("of somebody")
    bench.collection.export()
    assert f"to {tmp_path / 'mine_03_02.tif'}." in bench.settle()
    assert (tmp_path / "mine_03.tif").read_text() == "of somebody"
    assert {(tmp_path / f"mine{ending}").read_text() for ending in (".tif", ".npy")} == {
        "of somebody"
    }


def test_what_the_dialog_has_asked_about_is_replaced(bench, preview, tmp_path):
    (tmp_path / "mine.tif").write_text("of somebody")
    bench.model.output = "SAM3 preview labels"
    bench.collection.choose_path(str(tmp_path / "mine.tif"))

    bench.collection.export()
    bench.settle()

    np.testing.assert_array_equal(tifffile.imread(tmp_path / "mine.tif"), PREVIEW)


def test_a_folder_that_is_missing_is_made(bench, preview, tmp_path):
    bench.model.output = "SAM3 preview labels"
    bench.model.path = str(tmp_path / "no" / "a.tif")

    bench.collection.export()

    assert bench.settle().startswith("Exported ")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "no" / "a.tif"), PREVIEW)


def test_names_of_classes_go_on_through_both_merges(bench, preview, tmp_path):
    save(bench, "myelin", 4, label=1)
    save(bench, "axon", 7, label=2)
    bench.model.merge_chosen = tuple(one.key for one in bench.model.layers if one.accepted)
    bench.collection.merge_accepted()
    bench.settle()
    bench.model.final_chosen = (bench.key(bench.viewer.layers["class_working_mask"]),)
    bench.collection.merge_final()
    bench.settle()

    assert bench.viewer.layers["final_training_mask"].metadata["class_names"] == {
        4: "myelin",
        7: "axon",
    }


def test_a_layer_that_is_filled_anew_has_the_colours_of_the_list_as_one_that_is_made(bench):
    layer = bench.add(np.arange(4, dtype=np.uint8).reshape(2, 2))
    bench.model.final_chosen = (bench.key(layer),)

    def merge_final(mode, *classes):
        bench.model.class_list, bench.model.merge_mode = ClassList(classes), mode
        bench.collection.merge_final()
        bench.settle()
        final = bench.viewer.layers["final_training_mask"]
        return np.array([final.get_color(value)[:3] for value in (1, 2, 3)])

    red, blue, green = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    listed = [ObjectClass(at, f"c{at}", one) for at, one in enumerate((red, blue, green), 1)]
    plain = merge_final(MergeMode.SEMANTIC)
    fixed = merge_final(MergeMode.SEMANTIC, *listed)
    np.testing.assert_array_equal(fixed, np.array([red, blue, green]) / 255)
    # Of objects a list fixes no colours.
    np.testing.assert_array_equal(merge_final(MergeMode.INSTANCE), plain)
    bench.collection.undo()
    bench.settle()
    final = bench.viewer.layers["final_training_mask"]
    np.testing.assert_array_equal(final.get_color(2)[:3], np.array(blue) / 255)


def test_two_classes_of_one_value_are_told(bench, preview):
    save(bench, "myelin", 4, label=1)
    save(bench, "axon", 4, label=2)
    bench.model.merge_chosen = tuple(one.key for one in bench.model.layers if one.accepted)
    bench.collection.merge_accepted()

    said = bench.settle()

    assert said.startswith("Merged 2 accepted object layers")
    assert said.endswith("“myelin” and “axon” became one: both have the value 4.")


def test_layers_without_a_class_that_become_one_are_told(bench, preview):
    told = " have no class: equal values of them became one. To tell them apart, "
    save(bench, "", 1, "left", label=1)
    save(bench, "", 1, "right", label=2)
    bench.model.merge_chosen = tuple(one.key for one in bench.model.layers if one.accepted)
    bench.collection.merge_accepted()
    assert f" “class_left” and “class_right”{told}" in bench.settle()

    other = bench.viewer.add_labels(PREVIEW, name="other", scale=(2, 3), translate=(5, 6))
    bench.model.final_chosen = bench.key(preview), bench.key(other)
    for mode, telling in ((MergeMode.SEMANTIC, True), (MergeMode.INSTANCE, False)):
        bench.model.merge_mode = mode
        bench.collection.merge_final()
        assert (told in bench.settle()) is telling


def test_the_overlap_is_not_shown_for_other_layers_than_those_ticked(bench, preview):
    save(bench, "myelin", 4)
    save(bench, "myelin", 4)
    bench.model.merge_chosen = tuple(one.key for one in bench.model.layers if one.accepted)
    bench.collection.count_overlap()
    bench.settle()
    assert bench.model.merge_overlap == 4

    bench.viewer.layers.remove("myelin_one")

    assert bench.model.merge_overlap == -1


@pytest.mark.parametrize("when", ["counted", "counting"])
@pytest.mark.parametrize("how", ["painted", "cleaned", "replaced"])
def test_the_overlap_is_not_shown_once_a_ticked_layer_has_changed(bench, accepted, how, when):
    layer = bench.viewer.layers["axon_one"]
    bench.model.merge_chosen = tuple(accepted)
    bench.collection.count_overlap()
    if when == "counted":
        bench.settle()
        assert bench.model.merge_overlap == 1

    if how == "painted":
        layer.paint((1, 1), 1)
    elif how == "cleaned":
        bench.model.target = bench.key(layer)
        bench.model.right_click = RightClick.LABEL
        bench.cleanup.delete_at((0, 1))
    else:
        layer.data = layer.data.copy()
    bench.settle()

    assert bench.model.merge_overlap == -1


@pytest.mark.parametrize("path", ["/", ".", "~nobody-of-this-name/mask"])
def test_what_is_no_name_of_a_file_is_a_sentence(bench, preview, path):
    bench.model.output, bench.model.path = "SAM3 preview labels", path

    with pytest.raises(MaskError, match="is not a file name"):
        bench.collection.export()


@pytest.mark.parametrize("kind", [MaskError, ImageError, ExportError])
def test_whatever_fails_when_the_work_is_done_is_said(bench, kind):
    def put(result):
        raise kind(f"{result} is gone.", "Look for it.")

    bench.binding.session.jobs.start("The work", lambda reporter: iter(["It"]), put)

    assert bench.settle() == "It is gone. Look for it."

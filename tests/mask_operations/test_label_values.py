"""Label values: merged by the names of the first version, and one of them picked and saved."""

import numpy as np
import pytest
from qtpy.QtWidgets import QLabel, QLineEdit


def test_label_value_merge(curator, masks):
    curator.tab("Mask Cleanup")
    titles = [label.text() for label in curator.widget.findChildren(QLabel)]
    assert {"Values to replace", "New value"} <= set(titles)
    assert curator.widget.findChild(QLineEdit, "new_value").text() == "1"
    merge = curator.button("apply_merge_values")
    assert merge.text() == "Merge Label Values"

    curator.type_in("values_text", "3,4,9")
    curator.type_in("new_value", "3")
    curator.click("apply_merge_values")

    (layer,) = curator.viewer.layers
    expected = np.where(np.isin(masks, (3, 4, 9)), 3, masks)
    np.testing.assert_array_equal(layer.data, expected)
    assert curator.status == (
        f"✓ Relabel values: changed {np.count_nonzero(np.isin(masks, (4, 9)))} pixels of "
        "“SAM3 preview labels”."
    )


def test_one_picked_label_is_saved(at_canvas, masks):
    curator = at_canvas
    curator.tab("Accepted Objects")
    (layer,) = curator.viewer.layers
    curator.viewer.layers.selection.active = layer
    layer.mode = "pick"
    curator.click_at(layer, (30, 110))

    curator.click("take_picked")
    assert curator.widget.findChild(QLineEdit, "label").text() == "2"
    curator.type_in("class_name", "cell")
    curator.type_in("object_name", "one")
    curator.click("save_accepted")

    saved = curator.viewer.layers["cell_one"].data
    np.testing.assert_array_equal(saved, np.where(masks == 2, 2, 0))


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.uint64])
def test_the_highest_labels_of_a_type_are_picked_typed_and_replaced(curator, masks, dtype):
    highest = int(np.iinfo(dtype).max)
    layer = curator.viewer.layers[0]
    layer.data = np.where(masks > 0, highest - masks.astype(dtype), dtype(0))
    layer.selected_label = highest - 2
    curator.tab("Accepted Objects")

    curator.click("take_picked")
    curator.type_in("object_name", "one")
    curator.type_in("class_name", "cell")
    curator.click("save_accepted")
    saved = curator.viewer.layers["cell_one"].data
    curator.tab("Mask Cleanup")
    curator.choose("target", layer.name)
    curator.type_in("values_text", f"{highest - 1},{highest - 9}")
    curator.type_in("new_value", str(highest))
    curator.click("apply_merge_values")

    np.testing.assert_array_equal(saved > 0, masks == 2)
    np.testing.assert_array_equal(layer.data == highest, np.isin(masks, (1, 9)))


def test_a_value_that_the_layer_can_not_hold_is_a_sentence(curator, masks):
    curator.tab("Mask Cleanup")
    curator.type_in("values_text", "1")
    curator.type_in("new_value", "x-99999999999999999999")

    curator.click("apply_merge_values")

    assert curator.status.startswith("✕"), curator.status
    np.testing.assert_array_equal(curator.viewer.layers[0].data, masks)

"""Label values: merged by the names of the first version, and one of them picked and saved."""

import numpy as np
from qtpy.QtWidgets import QLabel, QSpinBox


def test_label_value_merge(curator, masks):
    curator.tab("Mask Cleanup")
    titles = [label.text() for label in curator.widget.findChildren(QLabel)]
    assert {"Values to replace", "New value"} <= set(titles)
    assert curator.widget.findChild(QSpinBox, "new_value").value() == 1
    merge = curator.button("apply_merge_values")
    assert merge.text() == "Merge Label Values"

    curator.type_in("values_text", "3,4,9")
    curator.set_number("new_value", "3")
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
    assert curator.widget.findChild(QSpinBox, "label").value() == 2
    curator.type_in("class_name", "cell")
    curator.type_in("object_name", "one")
    curator.click("save_accepted")

    saved = curator.viewer.layers["cell_one"].data
    np.testing.assert_array_equal(saved, np.where(masks == 2, 2, 0))

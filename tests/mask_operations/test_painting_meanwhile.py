"""Painting on the canvas while an operation is at work."""

import numpy as np
import pytest


@pytest.mark.parametrize("at_once", [0, 100_000], ids=["by a job", "at once"])
def test_an_operation_waits_for_the_stroke_and_both_are_undone(at_canvas, masks, at_once):
    curator = at_canvas
    curator.widget.binding.session.edits.at_once = at_once
    (layer,) = curator.viewer.layers
    curator.viewer.layers.selection.active = layer
    layer.mode, layer.selected_label, layer.brush_size = "paint", 7, 8
    curator.tab("Mask Cleanup")

    curator.hold(layer, (60, 60), (60, 80))
    curator.click("apply_shrink")
    assert np.count_nonzero(layer.data == 1) == np.count_nonzero(masks == 1)
    curator.let_go(layer, (60, 90))
    curator.wait_for_end()
    curator.settle()
    assert np.count_nonzero(layer.data == 1) < np.count_nonzero(masks == 1)
    assert (layer.data == 7).any()
    assert str(layer.mode) == "paint"

    curator.click("mask_undo")
    assert curator.status == "✓ Undid: shrink labels on “SAM3 preview labels”."
    assert (layer.data == 7).any()
    curator.click("mask_undo")
    assert curator.status == "✓ Undid: painting on “SAM3 preview labels”."
    np.testing.assert_array_equal(layer.data, masks)


def test_what_a_layer_is_called_is_shown_as_it_is(curator):
    curator.viewer.layers["SAM3 preview labels"].name = "a <b>bold</b> name"
    curator.tab("Mask Cleanup")
    curator.click("apply_remove_small")

    for name in ("mask_status", "merge_overlap"):
        label = curator.widget.findChild(object, name)
        assert label.textFormat() == label.textFormat().PlainText
    label = curator.widget.findChild(object, "mask_status")
    assert "“a <b>bold</b> name”" in label.text()

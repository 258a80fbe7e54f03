"""Who paints on another slice than before paints there, on a layer of its own."""

import numpy as np
from qtpy.QtCore import Qt


def test_strokes_go_to_the_slice_on_show(open_window, discs):
    user = open_window(np.stack([discs] * 4))
    viewer, image = user.viewer, user.viewer.layers["image"]
    user.click("mode_simple")
    user.click("task_3d_video_propagation")
    viewer.dims.set_current_step(0, 0)
    user.settle()
    user.press(Qt.Key.Key_L)
    first = viewer.layers.selection.active
    first.brush_size, first.selected_label = 8, 3
    for frame, column in ((0, 40), (2, 70), (0, 120)):
        viewer.dims.set_current_step(0, frame)
        user.settle()
        user.drag(image, (frame, 60, column), (frame, 60, column + 8))
        layer = viewer.layers.selection.active
        assert layer.mode == "paint"
        assert layer.get_value((frame, 60, column + 4), world=True) == 3
    painted = [one for one in viewer.layers if one.name.startswith("SAM3 mask prompt")]
    assert len(painted) == 2  # one a slice, whenever it is painted on
    assert first in painted
    assert sum(int(np.count_nonzero(one.data[..., 60, :])) for one in painted) > 3 * 8

    # Erased is only what is there: the tool stays.
    viewer.layers.selection.active.mode = "erase"
    viewer.dims.set_current_step(0, 3)
    user.settle()
    user.drag(image, (3, 60, 100), (3, 60, 108))
    layer = viewer.layers.selection.active
    assert (layer.mode, layer.get_value((3, 60, 104), world=True)) == ("erase", 0)

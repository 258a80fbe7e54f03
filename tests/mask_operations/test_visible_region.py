"""The part in view, in any units: what napari draws on the canvas says what is right."""

import numpy as np
import pytest
from napari.utils import DirectLabelColormap
from qtpy.QtWidgets import QApplication

from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations.layers import LabelsAdapter
from napari_sam3_assistant.mask_operations.model import Scope
from napari_sam3_assistant.viewer.roles import key_of

SHAPE = (60, 80, 70)
PLACES = {
    "plain": {},
    "scaled": {"scale": (0.5, 0.25, 0.125), "translate": (1, -3, 7)},
    "turned": {"rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]},
    "sheared": {"affine": [[1, 0, 0, 2], [0, 1, 0.3, 4], [0, 0, 1, 5], [0, 0, 0, 1]]},
}
# How the labels lie, whether the viewer counts in finer units than they do, and the order of axes.
CASES = (
    ("plain", False, (0, 1, 2)),
    ("plain", True, (1, 0, 2)),
    ("scaled", False, (1, 0, 2)),
    ("scaled", True, (0, 1, 2)),
    ("turned", True, (0, 1, 2)),
    ("sheared", True, (0, 1, 2)),
)
COLOURS = DirectLabelColormap(color_dict={None: "black", 0: "black", 1: "white"})


@pytest.fixture
def shown(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(900, 700)
    return viewer


def camera_of(viewer):
    return getattr(viewer, "scene", viewer).camera  # moved in napari 0.9


def is_covered(viewer, layer, box):
    """Whether a box of labels, and nothing else, leaves no pixel of the canvas black."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[tuple(box)] = 1
    layer.data = labels
    QApplication.processEvents()
    return bool((viewer.screenshot(canvas_only=True, flash=False)[..., :3] > 0).all())


def test_the_box_is_what_the_canvas_shows(shown):
    for case in CASES:
        name, fine, order = case
        shown.layers.clear()
        layer = shown.add_labels(
            np.zeros(SHAPE, np.uint8), units=("um",) * 3, colormap=COLOURS, **PLACES[name]
        )
        layer.blending, layer.opacity = "opaque", 1
        if fine:  # then the viewer counts in nanometers
            middle = np.asarray(layer.data_to_world(np.array(SHAPE) / 2))
            middle *= 1000 if hasattr(shown.dims, "units") else 1  # before 0.7 napari had none
            beside = np.zeros((3, 4, 4), np.uint8)
            shown.add_image(beside, units=("nm",) * 3, translate=middle, visible=False)
        shown.dims.order = order
        shown.reset_view()
        shown.dims.set_point(order[0], np.mean(shown.dims.range[order[0]][:2]))
        camera_of(shown).zoom *= 9
        QApplication.processEvents()

        box = LabelsAdapter(shown).box(key_of(layer), Scope.VISIBLE)

        sizes = [side.stop - side.start for side in box]
        assert sizes[order[0]] == 1, case
        assert all(1 < sizes[axis] < SHAPE[axis] for axis in order[1:]), case
        assert is_covered(shown, layer, box), case
        if name in ("turned", "sheared"):
            continue  # what is in view is turned in such a box, and smaller
        for axis in order[1:]:
            # Of the outermost pixel less may be in view than a pixel of the screen.
            for first, last in ((2, 0), (0, 2)):
                less = list(box)
                less[axis] = slice(box[axis].start + first, box[axis].stop - last)
                assert not is_covered(shown, layer, less), (case, axis, first)


def test_beside_the_masks_and_in_three_dimensions(shown):
    layer = shown.add_labels(np.ones(SHAPE, np.uint8))
    adapter = LabelsAdapter(shown)
    camera_of(shown).center = (0, 900, 900)
    with pytest.raises(MaskError, match="No pixel of “Labels” is in view"):
        adapter.box(key_of(layer), Scope.VISIBLE)
    shown.dims.ndisplay = 3
    with pytest.raises(MaskError, match=r"Switch to 2-D"):
        adapter.box(key_of(layer), Scope.VISIBLE)

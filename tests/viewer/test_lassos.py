"""A lasso round an object, a polygon or a path among the boxes, is a mask prompt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from skimage.measure import points_in_poly

from amounts import FEW
from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.core.prompts import PromptKind, Task, Tool
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for

LASSO = np.array([[8, 20], [8, 40], [32, 42], [34, 20], [20, 14]])


def draw_boxes(binding, outlines, kinds):
    binding.model.task, binding.model.tool = Task.SEGMENT, Tool.BOX
    binding.prompts.arm()
    layer = binding.viewer.layers.selection.active
    layer.add(outlines, shape_type=kinds)
    return layer


@pytest.mark.parametrize("kind", ["polygon", "path"])
def test_a_lasso_beside_a_box_is_an_object_of_its_own(viewer, binding, disc, run, kind):
    viewer.add_image(disc, name="image")
    box = np.array([[2, 2], [2, 12], [12, 12], [12, 2]])
    draw_boxes(binding, [LASSO, box], [kind, "rectangle"])
    assert binding.model.prompts.boxes == 2
    snapshot = binding.adapter.take_snapshot(binding.model.image, PromptKind.BOXES)
    (mask,), (boxed,) = snapshot.prompts.masks, snapshot.prompts.boxes
    assert boxed.region.box == (2, 2, 13, 13)
    inside = mask.to_plane(disc.shape)
    assert inside[20, 30]
    assert not inside[9, 14], "the corner of the box round the lasso is not in it"
    preview = run()
    assert len(preview.segmentation.objects) == 2
    found = max(preview.segmentation.objects, key=lambda one: one.area)
    assert np.mean((disc > 100)[found.region.slices][found.mask]) > 0.8


def test_a_lasso_alone_runs_again_in_its_place(viewer, binding, disc, run):
    viewer.add_image(disc, name="image")
    layer = draw_boxes(binding, [LASSO], ["polygon"])
    first = run()
    assert first.made_by(PromptKind.BOXES) == {1}
    layer.data = [LASSO + 1]
    again = run()
    assert [one.id for one in again.segmentation.objects] == [1]


def test_a_lasso_beside_the_image_or_without_a_pixel_is_outside(viewer, binding, disc):
    viewer.add_image(disc, name="image")
    thin = np.array([[10.2, 10.1], [10.4, 30.1], [10.3, 30.2]])
    draw_boxes(binding, [LASSO + 500, thin], ["polygon", "polygon"])
    assert (binding.model.prompts.boxes, binding.model.prompts.outside) == (0, 2)


def test_a_lasso_of_label_0_takes_away_from_the_painted_mask(viewer, binding, disc, run):
    viewer.add_image(disc, name="image")
    model = binding.model
    model.task, model.tool, model.as_painted = Task.SEGMENT, Tool.MASK, True
    binding.prompts.arm()
    layer = viewer.layers.selection.active

    def draw(outline, label):  # what napari's polygon tool does at the double click
        layer.selected_label = label
        layer.paint_polygon(outline.tolist(), layer.selected_label)
        binding.session.note_prompts()

    draw(LASSO, 1)
    drawn = np.asarray(layer.data) > 0
    away = np.array([[15, 25], [15, 60], [45, 60], [45, 25]])
    draw(away, 0)
    expected = drawn.copy()
    expected[15:46, 25:61] = False
    (record,) = run().segmentation.objects
    assert 0 < expected.sum() < drawn.sum()
    np.testing.assert_array_equal(record.mask, expected[record.region.slices])
    assert record.area == expected.sum()
    binding.session.undo()
    binding.session.undo()
    np.testing.assert_array_equal(np.asarray(layer.data) > 0, drawn)


def distance_to(outline, points):
    """How far points are from the nearest side of a closed outline."""
    sides = np.roll(outline, -1, axis=0) - outline
    lengths = np.maximum((sides**2).sum(axis=1), 1e-300)
    beside = points[:, None] - outline
    along = ((beside * sides).sum(axis=2) / lengths).clip(0, 1)
    nearest = outline + along[..., None] * sides
    return np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1)


@FEW
@given(
    corners=st.lists(
        st.tuples(st.floats(-6, 30), st.floats(-6, 40)), min_size=3, max_size=7, unique=True
    )
)
def test_the_mask_has_the_pixels_whose_centres_are_inside(corners):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((24, 36), np.uint8), name="image")
    binding = binding_for(viewer, deliver_inline, MemorySettings())
    try:
        outline = np.array(corners)
        draw_boxes(binding, [outline], ["path"])
        prompts = binding.adapter.take_snapshot(binding.model.image, PromptKind.BOXES).prompts
        if not prompts.masks:
            return
        (mask,) = prompts.masks
        pixels = np.argwhere(np.ones((24, 36), bool))
        sure_in = points_in_poly(pixels, outline).reshape(24, 36)
        differs = pixels[(mask.to_plane((24, 36)) != sure_in).ravel()]
        # A centre on the outline may count as inside or not.
        assert (distance_to(outline, differs) < 1e-6).all()
    finally:
        binding.close()

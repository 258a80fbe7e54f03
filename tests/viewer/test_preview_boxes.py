"""The boxes round a preview's objects: how wide, how many, and what is left of them."""

import numpy as np
import pytest

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation, paint_labels
from napari_sam3_assistant.session.values import Preview
from napari_sam3_assistant.viewer.previews import MOST_BOXES

BOXES = "SAM3 preview boxes"
ENGINE = Provenance("builtin", "Built-in", "1", "cpu", 0.5)


@pytest.fixture
def show(binding):
    """Show a preview of some objects of two pixels on the plane on show."""

    def show(count):
        stage = binding.adapter.displayed(binding.model.image)
        width = stage.shape[1]
        places = [divmod(3 * number, width - 2) for number in range(count)]
        records = tuple(
            ObjectRecord(number, np.ones((1, 2), bool), Region(y, x, y + 1, x + 2))
            for number, (y, x) in enumerate(places, 1)
        )
        whole = Region.whole(stage.shape)
        found = Segmentation(paint_labels(records, whole), records, whole, ENGINE)
        binding.adapter.show([Preview(stage.target, found, 0.1)])

    return show


def camera(viewer):
    return getattr(viewer, "scene", viewer).camera


@pytest.mark.parametrize("size", [40, 400])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_their_width_is_the_same_on_the_screen_at_every_zoom(viewer, binding, show, size, scale):
    viewer.add_image(np.zeros((size, size)), scale=(scale, scale))
    camera(viewer).zoom = 3.0
    show(5)
    on_screen = []
    for zoom in (3.0, 0.05, 900.0, 7.0):
        camera(viewer).zoom = zoom
        on_screen += [width * scale * zoom for width in viewer.layers[BOXES].edge_width]
    np.testing.assert_allclose(on_screen, [2.0] * 20, rtol=0.25)


def test_many_objects_have_none(viewer, binding, show):
    viewer.add_image(np.zeros((100, 100)))
    show(MOST_BOXES)
    assert len(viewer.layers[BOXES].data) == MOST_BOXES

    show(MOST_BOXES + 1)

    assert len(viewer.layers[BOXES].data) == 0
    assert viewer.layers["SAM3 preview labels"].data.max() == MOST_BOXES + 1


def test_the_layer_of_cleared_ones_is_used_again(viewer, binding, show):
    viewer.add_image(np.zeros((30, 40)))
    show(3)
    boxes = viewer.layers[BOXES]
    binding.adapter.show([])
    assert len(boxes.data) == 0

    show(2)

    assert [layer for layer in viewer.layers if layer.name.startswith(BOXES)] == [boxes]
    assert len(boxes.data) == 2


def test_they_leave_no_sliders_behind(viewer, binding, run, disc):
    stack = np.broadcast_to(disc, (3, 4, *disc.shape)).copy()
    image = viewer.add_image(stack, units=("s", "um", "um", "um"))
    binding.prompts.arm()
    points = viewer.layers.selection.active
    points.add((*viewer.dims.point[:2], 20, 30))
    run()
    assert len(viewer.layers[BOXES].data) == 1

    viewer.layers.remove(points)
    viewer.layers.remove(image)
    viewer.layers.remove("SAM3 saved labels")  # what was found stays so, with its sliders
    viewer.add_image(disc)

    assert BOXES not in viewer.layers
    assert viewer.dims.ndim == 2


@pytest.mark.parametrize(("first", "then"), [((5, 30, 40), (30, 40)), ((30, 40), (5, 30, 40)),
                                             ((2, 30, 40), (2, 3, 30, 40))])  # fmt: skip
def test_an_image_that_gets_other_axes_is_segmented_again(viewer, binding, run, disc, first, then):
    def pixels(shape):
        return np.broadcast_to(np.pad(disc, 2)[8:38, 14:54], shape).copy()

    image = viewer.add_image(pixels(first))
    for shape in (first, then):
        image.data = pixels(shape)
        viewer.dims.set_point(range(len(shape)), [0.0] * len(shape))
        binding.prompts.arm()
        points = viewer.layers.selection.active
        if points.ndim != len(shape):
            viewer.layers.remove(points)
            binding.prompts.arm()
            points = viewer.layers.selection.active
        points.data = np.array([[0.0] * (len(shape) - 2) + [14, 18]])
        preview = run()
        assert preview.segmentation.objects
        boxes = next(one for one in viewer.layers if one.name.startswith(BOXES) and one.nshapes)
        assert boxes.ndim == len(shape)
        assert len(boxes.data) == 1


def test_boxes_in_3d_display(viewer, binding, run, disc):
    """Where a layer of a plane has lost its shapes, napari 0.9.2 fails on the next ones."""
    viewer.add_image(disc, name="cells")
    viewer.dims.ndisplay = 3
    model, session = binding.model, binding.session
    model.task, model.text = Task.TEXT, "bright discs"

    for _ in "123":
        run()
        assert viewer.layers["SAM3 preview boxes"].nshapes == 1
    session.clear_preview()
    session.undo()
    assert viewer.layers["SAM3 preview boxes"].nshapes == 1
    model.task, model.tool = Task.SEGMENT, Tool.BOX
    binding.prompts.arm()
    viewer.layers["SAM3 boxes"].add([[8, 18], [8, 42], [32, 42], [32, 18]])
    session.undo()
    session.redo()
    assert viewer.layers["SAM3 boxes"].nshapes == 1
    run()
    session.undo()
    viewer.dims.ndisplay = 2
    run()

    found = model.preview.segmentation
    assert viewer.layers["SAM3 preview boxes"].nshapes == len(found.objects)
    assert found.labels[20, 30]

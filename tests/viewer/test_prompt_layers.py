"""What of the prompt layers counts for the plane on show."""

import math

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Labels, Points, Shapes

from amounts import FEW
from napari_sam3_assistant.core.prompts import PromptKind, PromptSet, Task, Tool
from napari_sam3_assistant.core.regions import bounds_of
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.geometry import DataMap
from napari_sam3_assistant.viewer.prompt_layers import is_positive
from napari_sam3_assistant.viewer.roles import Role, key_of, topmost


def test_prompt_layers_take_the_images_transform(viewer, binding, transform):
    image = viewer.add_image(np.zeros((40, 50)), **transform)
    for tool in (Tool.POINTS, Tool.BOX, Tool.MASK):
        binding.model.tool = tool
        binding.prompts.arm()
        layer = viewer.layers.selection.active
        np.testing.assert_allclose(layer.data_to_world((3, 4)), image.data_to_world((3, 4)))


@FEW
@given(data=st.data())
def test_of_a_painted_layer_no_more_is_looked_at_than_what_was_painted(data):
    viewer = ViewerModel()
    binding = binding_for(viewer, lambda call: call(), MemorySettings())
    looked_at = []

    def look(pixels):
        looked_at.append(pixels.size)
        return bounds_of(pixels)

    patch = pytest.MonkeyPatch()
    patch.setattr(prompt_layers, "bounds_of", look)
    try:
        viewer.add_image(np.zeros((300, 400), np.uint8))
        binding.model.tool = Tool.MASK
        binding.prompts.arm()
        layer = viewer.layers["SAM3 mask prompt"]
        kept, reached = [], np.zeros(layer.data.shape, bool)
        for _ in range(data.draw(st.integers(1, 6))):
            before = layer.data.copy()
            at = data.draw(st.tuples(st.integers(0, 299), st.integers(0, 399)))
            act = data.draw(st.sampled_from(["stroke", "pixels", "array", "new", "undo", "clear"]))
            local = act in ("stroke", "pixels", "undo", "clear")
            if act == "stroke":
                layer.paint(at, data.draw(st.integers(0, 2)))
            elif act == "pixels":
                layer.data_setitem(tuple(np.array([one]) for one in at), 1)
            elif act == "array":
                layer.data[at] = 3
                layer.refresh()
            elif act == "new":
                layer.data = np.where(np.arange(400) == at[1], 1, before)
            elif act == "undo":
                binding.actions.undo()
            else:
                binding.adapter.clear_prompts(binding.model.image)
                assert not layer.data.any()
            looked_at.clear()
            state = binding.adapter.prompt_state()
            (held,) = (part for key, part in state.items() if key == key_of(layer))
            box = bounds_of(layer.data)
            expected = (box, str(layer.data.dtype), layer.data[box].tobytes())
            assert held == (expected if layer.data.any() else ())
            kept.append((state, layer.data.copy()))
            reached[max(0, at[0] - 10) : at[0] + 11, max(0, at[1] - 10) : at[1] + 11] = True
            reached |= (before > 0) | (layer.data > 0)
            if local:
                reach = bounds_of(reached)
                most = math.prod(side.stop - side.start for side in reach)
                assert max(looked_at) <= most, "the whole layer"
        state, pixels = data.draw(st.sampled_from(kept))
        if layer.data.dtype == pixels.dtype:
            binding.adapter.set_prompt_state(state)
            np.testing.assert_array_equal(layer.data, pixels)
            assert binding.adapter.prompt_state() == state
    finally:
        patch.undo()
        binding.close()


def test_prompts_are_image_pixels(viewer, binding, transform):
    viewer.add_image(np.zeros((40, 50)), **transform)
    binding.model.tool = Tool.POINTS
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((7.0, 9.0))
    binding.model.tool = Tool.BOX
    binding.prompts.arm()
    viewer.layers["SAM3 boxes"].add(np.array([[10, 20], [10, 29], [19, 29], [19, 20]]))
    binding.model.tool = Tool.MASK
    binding.prompts.arm()
    viewer.layers["SAM3 mask prompt"].data[2:5, 3:7] = 1

    key = binding.model.image
    points = binding.adapter.take_snapshot(key, PromptKind.POINTS).prompts.points
    boxes = binding.adapter.take_snapshot(key, PromptKind.BOXES).prompts.boxes
    masks = binding.adapter.take_snapshot(key, PromptKind.MASK).prompts.masks

    assert [(round(p.y, 6), round(p.x, 6), p.positive) for p in points] == [(7, 9, True)]
    assert [box.region.box for box in boxes] == [(10, 20, 20, 30)]
    assert [mask.region.box for mask in masks] == [(2, 3, 5, 7)]


def test_a_painted_mask_with_another_transform_is_resampled(viewer, binding):
    viewer.add_image(np.zeros((40, 50)), scale=(2, 2))
    binding.model.tool = Tool.MASK
    binding.prompts.arm()
    own = viewer.layers["SAM3 mask prompt"]
    metadata = dict(own.metadata)
    viewer.layers.remove(own)
    coarse = np.zeros((20, 25), np.uint8)
    coarse[5:10, 10:15] = 1
    viewer.add_labels(coarse, scale=(4, 4), translate=(1, 1), metadata=metadata)

    mask = binding.adapter.take_snapshot(binding.model.image, PromptKind.MASK).prompts.masks[0]

    assert mask.region.box == (10, 20, 20, 30)


def test_prompts_count_for_the_slice_they_lie_on(viewer, binding):
    viewer.add_image(np.zeros((6, 5, 40, 50)), scale=(2, 3, 1, 1))
    viewer.dims.set_point((0, 1), (4, 9))
    binding.prompts.arm()
    layer = viewer.layers["SAM3 points"]
    layer.add((2, 3, 7.0, 9.0))
    layer.add((2, 4, 8.0, 9.0))

    assert binding.model.prompts.positive == 1
    assert binding.model.prompts.elsewhere == 1
    viewer.dims.set_point(1, 12)
    points = binding.adapter.take_snapshot(binding.model.image, PromptKind.POINTS).prompts.points
    assert [point.y for point in points] == [8]
    viewer.dims.set_point(1, 0)
    assert binding.model.prompts.positive == 0
    assert binding.model.prompts.elsewhere == 2
    assert "another slice" in binding.model.why_not.run


def test_a_painted_slice_counts_on_its_slice(viewer, binding):
    viewer.add_image(np.zeros((6, 40, 50)))
    viewer.dims.set_point(0, 2)
    binding.model.tool = Tool.MASK
    binding.prompts.arm()
    layer = viewer.layers["SAM3 mask prompt"]
    layer.data[0, 3:5, 3:5] = 1
    layer.events.paint(value=[])

    assert layer.data.shape == (1, 40, 50)
    assert binding.model.prompts.painted
    viewer.dims.set_point(0, 3)
    assert not binding.model.prompts.painted


@pytest.mark.parametrize(
    ("word", "positive"),
    [("positive", True), (" POS ", True), ("fg", True), (1, True), (1.0, True), ("include", True),
     (True, True), ("?", True), ("", True), ("negative", False), ("Neg", False), ("bg", False),
     (0, False), (0.0, False), (False, False), ("exclude", False), ("background", False)],
)  # fmt: skip
def test_polarity_words(word, positive):
    assert is_positive(word) is positive


@pytest.mark.parametrize("feature", ["polarity", "prompt", "label", "class", "kind"])
def test_polarity_synonyms(viewer, binding, feature):
    viewer.add_image(np.zeros((40, 50)))
    features = {feature: ["bg", "fg"]}
    viewer.add_layer(Points([[1, 1], [2, 2]], name="SAM3 points", features=features))

    points = binding.adapter.take_snapshot(binding.model.image, PromptKind.POINTS).prompts.points
    assert [point.positive for point in points] == [False, True]


@pytest.mark.parametrize("kind", [PromptKind.BOXES, PromptKind.EXEMPLARS])
def test_a_box_is_given_as_it_was_drawn(viewer, binding, kind):
    """Where the layer says 0 is the centre of the first pixel, which begins at 0."""
    viewer.add_image(np.zeros((40, 50)), scale=(2, 2))
    layer = Shapes(name="SAM3 boxes", scale=(2, 2))
    viewer.add_layer(layer)
    layer.add(np.array([[10.3, 20.2], [10.3, 29.9], [19.6, 29.9], [19.6, 20.2]]))
    layer.add(np.array([[-3.25, 44.75], [-3.25, 60], [8.25, 60], [8.25, 44.75]]))

    prompts = binding.adapter.take_snapshot(binding.model.image, kind).prompts
    boxes = prompts.boxes or prompts.exemplars

    assert [box.region.box for box in boxes] == [(11, 21, 20, 30), (0, 45, 9, 50)]
    np.testing.assert_allclose(boxes[0].corners, (10.8, 20.7, 20.1, 30.4))
    np.testing.assert_allclose(boxes[1].corners, (0, 45.25, 8.75, 50))


def test_any_shape_gives_its_bounding_box_and_a_lasso_a_mask(viewer, binding):
    viewer.add_image(np.zeros((40, 50)))
    layer = Shapes(name="SAM3 boxes")
    viewer.add_layer(layer)
    layer.add(np.array([[5, 5], [10, 20], [15, 8]]), shape_type="polygon")
    layer.add(np.array([[30, 30], [4, 6]]), shape_type="ellipse")

    prompts = binding.adapter.take_snapshot(binding.model.image, PromptKind.BOXES).prompts
    assert [box.region.box for box in prompts.boxes] == [(26, 24, 35, 37)]
    assert [mask.region.box for mask in prompts.masks] == [(5, 5, 16, 21)]


def test_only_the_chosen_kind_is_taken(viewer, binding):
    viewer.add_image(np.zeros((40, 50)))
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((3.0, 3.0))
    binding.model.tool = Tool.BOX
    binding.prompts.arm()
    viewer.layers["SAM3 boxes"].add(np.array([[5, 5], [5, 9], [9, 9], [9, 5]]))

    snapshot = binding.adapter.take_snapshot(binding.model.image, PromptKind.BOXES)
    assert snapshot.prompts.kinds == {PromptKind.BOXES}
    binding.model.task = Task.EXEMPLAR
    snapshot = binding.adapter.take_snapshot(binding.model.image, PromptKind.EXEMPLARS)
    assert snapshot.prompts.kinds == {PromptKind.EXEMPLARS}


def test_roles_survive_renaming_and_layers_may_go_at_any_moment(viewer, binding):
    viewer.add_image(np.zeros((40, 50)))
    binding.prompts.arm()
    layer = viewer.layers["SAM3 points"]
    layer.name = "mine"
    layer.add((3.0, 3.0))
    assert binding.model.prompts.positive == 1

    viewer.layers.remove(layer)
    assert binding.model.prompts.positive == 0
    binding.session.undo()
    binding.prompts.arm()
    assert topmost(viewer.layers, Role.POINTS, binding.model.image) is not None


def test_flip_and_next_polarity(viewer, binding):
    viewer.add_image(np.zeros((40, 50)))
    binding.prompts.arm()
    layer = viewer.layers["SAM3 points"]
    layer.add((3.0, 3.0))
    binding.actions.toggle_next()
    layer.add((5.0, 5.0))
    assert list(layer.features["polarity"]) == ["positive", "negative"]
    np.testing.assert_allclose(layer.face_color[1, 0], 0xE0 / 255)

    layer.selected_data = set()
    assert binding.actions.flip() == 1
    assert list(layer.features["polarity"]) == ["positive", "positive"]
    layer.selected_data = {0, 1}
    assert binding.actions.flip() == 2
    assert list(layer.features["polarity"]) == ["negative", "negative"]


@pytest.mark.parametrize("emptied", ["fresh", "undone", "removed", "by a script"])
def test_flipping_where_there_is_no_point_leaves_the_next_click_as_it_is(viewer, binding, emptied):
    """It took the polarity of the next point away, and no further click was possible."""
    viewer.add_image(np.zeros((20, 30)))
    binding.model.task, binding.model.tool = Task.LIVE_POINTS, Tool.POINTS
    binding.prompts.arm()
    layer = viewer.layers["SAM3 points"]
    binding.actions.toggle_next()
    if emptied != "fresh":
        layer.add((5, 5))
    if emptied == "undone":
        binding.session.undo()
    elif emptied == "removed":
        layer.selected_data = {0}
        layer.remove_selected()
    elif emptied == "by a script":
        layer.data = np.empty((0, 2))
    assert not len(layer.data)

    assert binding.actions.flip() == 0

    layer.add((7, 7))
    # The first click on the next object lies on it.
    assert list(layer.features["polarity"]) == ["negative" if emptied == "fresh" else "positive"]
    layer.selected_data = {0}
    layer.data = np.empty((0, 2))  # and napari leaves it selected
    with pytest.raises(PromptError, match="Select one or more"):
        binding.actions.mark_selected()


def test_clicks_on_stacks_go_on_where_an_accepted_object_came_back(viewer, binding, disc, run):
    """It ended in an error of napari, which had no colour for the next point."""
    viewer.add_image(np.stack([disc] * 3))
    binding.prompts.arm()
    points = viewer.layers["SAM3 points"]
    points.add((1, 20, 30))
    run()
    binding.session.accept()
    binding.session.undo()
    binding.session.redo()

    binding.model.task = Task.VIDEO

    points.add((1, 20, 30))
    assert points.features.to_dict("list") == {"polarity": ["positive"], "object_id": [1]}


def test_a_mask_layer_of_another_slice_is_left_alone(viewer, binding):
    viewer.add_image(np.zeros((6, 40, 50)))
    binding.model.tool = Tool.MASK
    viewer.dims.set_point(0, 0)
    binding.prompts.arm()
    viewer.dims.set_point(0, 3)
    binding.prompts.arm()

    masks = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    assert [layer.translate[0] for layer in masks] == [0, 3]


def test_a_pyramid_of_labels_is_a_mask_prompt(viewer, binding):
    viewer.add_image(np.zeros((3, 40, 50)))
    viewer.dims.set_current_step(0, 1)
    binding.model.tool = Tool.MASK
    full = np.zeros((3, 40, 50), np.uint8)
    full[1, 5:10, 12:20] = 1
    layer = viewer.add_labels([full, full[:, ::2, ::2]], multiscale=True, name="pyramid")

    binding.model.labels_layer = str(layer.unique_id)

    assert binding.model.prompts.painted
    mask = binding.adapter.take_snapshot(binding.model.image, PromptKind.MASK).prompts.masks[0]
    assert mask.region.box == (5, 12, 10, 20)


def test_labels_that_are_not_in_memory_are_read_by_a_run_and_not_before(viewer, binding):
    reads = []

    def plane(block_info=None):
        reads.append(block_info[None]["chunk-location"][0])
        return np.ones(block_info[None]["chunk-shape"], np.uint8)

    chunks = ((1,) * 4, (40,), (50,))
    lazy = da.map_blocks(plane, chunks=chunks, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
    viewer.add_image(np.zeros((4, 40, 50)))
    viewer.dims.set_current_step(0, 2)
    layer = viewer.add_labels(lazy, name="lazy", visible=False)
    reads.clear()

    binding.model.tool = Tool.MASK
    binding.model.labels_layer = str(layer.unique_id)

    assert binding.model.prompts.painted
    assert not reads
    snapshot = binding.adapter.take_snapshot(binding.model.image, PromptKind.MASK)
    assert snapshot.prompts.masks[0].region.box == (0, 0, 40, 50)
    assert set(reads) == {2}


def test_prompts_that_enclose_nothing_are_told(viewer, binding, disc, run):
    viewer.add_image(disc)
    binding.model.tool = Tool.BOX
    binding.prompts.arm()
    boxes = viewer.layers["SAM3 boxes"]
    boxes.add(np.array([[5, 5], [5, 9], [5, 9], [5, 5]]) + 0.2)
    boxes.add(np.array([[-20, 5], [-20, 9], [-11, 9], [-11, 5]]))

    assert (binding.model.prompts.boxes, binding.model.prompts.outside) == (0, 2)
    assert "flat or beside the image" in binding.model.why_not.run

    boxes.add(np.array([[8, 18], [8, 42], [32, 42], [32, 18]]))
    run()

    assert "from 1 box (2 others left out: flat, or beside the image)" in binding.model.message.text


def test_clicks_beside_the_image_are_told(viewer, binding, disc):
    viewer.add_image(disc)
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((-7.0, 9.0))

    assert (binding.model.prompts.positive, binding.model.prompts.outside) == (0, 1)
    assert "beside the image" in binding.model.why_not.run


def test_a_point_counts_on_the_channels_that_it_is_drawn_on(viewer, binding):
    viewer.add_image(np.zeros((3, 4, 40, 50)), axis_labels=("z", "c", "y", "x"))
    viewer.dims.set_current_step(0, 1)
    mine = viewer.add_points([[1, 2, 7, 9]], name="mine")
    binding.model.tool = Tool.POINTS
    binding.model.points_layer = str(mine.unique_id)
    for channel in range(4):
        viewer.dims.set_current_step(1, channel)
        assert binding.model.prompts.positive == (channel == 2)
        assert binding.model.prompts.elsewhere == (channel != 2)


@pytest.fixture
def prompted(viewer, binding):
    """A stack with points, boxes and a painted mask on two of its slices, and beside them."""
    viewer.add_image(np.zeros((6, 40, 50)))
    binding.model.tool = Tool.POINTS
    binding.prompts.arm()
    points = [(1, 7, 9), (1, 8, 30), (4, 7, 9), (4, -7, 9), (9, 7, 9)]
    viewer.layers["SAM3 points"].add(np.array(points, float))
    binding.model.tool = Tool.BOX
    binding.prompts.arm()
    corners = np.array([[10, 20], [10, 29], [19, 29], [19, 20]], float)
    for frame, shift in [(1, 0), (4, 5), (4, 90)]:
        outline = np.insert(corners + shift, 0, frame, axis=1)
        viewer.layers["SAM3 boxes"].add(outline, shape_type="polygon")
    binding.model.tool = Tool.MASK
    for frame in (1, 4):
        viewer.dims.set_current_step(0, frame)
        binding.prompts.arm()
        layer = viewer.layers.selection.active
        layer.data[0, 2 : 5 + frame, 3:7] = 1
        layer.events.paint(value=[])
    return binding


def _places(prompts):
    """Return what prompts say apart from the object of a stack that a click is on."""
    points = [(point.y, point.x, point.positive) for point in prompts.points]
    return points, [box.region.box for box in (*prompts.boxes, *prompts.exemplars)]


@pytest.mark.parametrize("kind", [PromptKind.POINTS, PromptKind.BOXES, PromptKind.EXEMPLARS])
def test_a_plane_and_a_stack_are_read_alike(viewer, prompted, kind):
    key, adapter = prompted.model.image, prompted.adapter
    found = adapter.stacks.take_snapshot(key, kind, 0).prompts
    assert list(found) == [1, 4]

    positive = boxes = 0
    for frame in range(6):
        viewer.dims.set_current_step(0, frame)
        prompts = adapter.take_snapshot(key, kind).prompts
        assert _places(prompts) == _places(found.get(frame, PromptSet()))
        counts = adapter.count(key, kind)
        positive, boxes = positive + counts.positive, boxes + counts.boxes
    whole = adapter.count(key, kind, 0)
    assert (whole.positive, whole.boxes, whole.outside) == (positive, boxes, 1)
    assert whole.elsewhere == (1 if kind is PromptKind.POINTS else 0)


def test_the_painted_slices_of_a_stack_are_those_of_its_planes(viewer, prompted):
    key, adapter = prompted.model.image, prompted.adapter
    found = adapter.stacks.take_snapshot(key, PromptKind.MASK, 0).prompts
    assert adapter.count(key, PromptKind.MASK, 0).painted

    viewer.dims.set_current_step(0, 4)
    (plane,) = adapter.take_snapshot(key, PromptKind.MASK).prompts.masks
    (mask,) = found[4].masks
    assert list(found) == [1, 4]
    assert (mask.region, mask.object_id, plane.object_id) == (plane.region, 1, None)


def test_prompts_are_read_once_for_their_count_and_once_for_a_run(viewer, binding, monkeypatch):
    viewer.add_image(np.zeros((40, 50)))
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((20.0, 30.0))
    adapter, key = binding.adapter, binding.model.image
    looks, way, displayed = [], DataMap.between, adapter.displayed
    monkeypatch.setattr(DataMap, "between", lambda *args: looks.append("read") or way(*args))
    monkeypatch.setattr(adapter, "displayed", lambda key: looks.append("plane") or displayed(key))

    for ask in (adapter.count, adapter.take_snapshot):
        looks.clear()
        ask(key, PromptKind.POINTS)
        assert sorted(looks) == ["plane", "read"]


def test_a_line_through_the_middles_of_pixels_is_no_box(viewer, binding):
    viewer.add_image(np.zeros((40, 50)))
    layer = Shapes(name="SAM3 boxes")
    viewer.add_layer(layer)
    layer.add(np.array([[5, 5], [5, 20], [5, 20], [5, 5]]))
    layer.add(np.array([[8, 5], [12, 5], [12, 9], [8, 9]]))

    boxes = binding.adapter.take_snapshot(binding.model.image, PromptKind.BOXES).prompts.boxes
    assert [box.region.box for box in boxes] == [(8, 5, 13, 10)]


def test_examples_keep_their_polarity_through_undo_flips_leaving_and_coming_back(viewer, binding):
    viewer.add_image(np.zeros((40, 50)))
    model, adapter = binding.model, binding.adapter
    model.task = Task.EXEMPLAR
    binding.prompts.arm()
    layer = viewer.layers["SAM3 boxes"]

    def draw(y, x):
        corners = np.array([[y, x], [y, x + 6], [y + 6, x + 6], [y + 6, x]], float)
        layer.add(corners, shape_type="rectangle")

    def read():
        found = adapter.take_snapshot(model.image, PromptKind.EXEMPLARS).prompts.exemplars
        signs = [example.positive for example in found]
        assert (model.prompts.positive, model.prompts.negative) == (
            signs.count(True),
            signs.count(False),
        )
        return signs

    binding.actions.toggle_next()
    draw(3, 3)
    assert read() == [False]
    assert model.why_not.run.startswith("All examples are negative.")
    binding.actions.toggle_next()
    draw(20, 20)
    assert read() == [False, True]
    assert not model.why_not.run
    red, green = layer.edge_color[:, :2].tolist()
    assert red[0] > red[1]
    assert green[0] < green[1]

    binding.actions.flip()  # the latest one, which nobody has selected
    assert read() == [False, False]
    binding.actions.undo()
    assert read() == [False, True]
    binding.actions.undo()
    assert read() == [False]
    binding.actions.redo()
    layer.selected_data = {0}
    model.next_positive = True
    binding.actions.mark_selected()
    assert read() == [True, True]
    binding.actions.undo()

    # An image of a folder is left, and there again.
    kept = adapter.opened.prompts_as_json(model.image)
    adapter.clear_prompts(model.image)
    assert read() == []
    adapter.opened.put_prompts(model.image, kept)
    assert read() == [False, True]
    del kept[0]["state"]["polarity"]  # as it was written before examples could be negative
    adapter.opened.put_prompts(model.image, kept)
    assert read() == [True, True]

    # In 2D each box is an object, whatever colour is chosen.
    model.next_positive = False
    model.task, model.tool = Task.SEGMENT, Tool.BOX
    binding.prompts.arm()
    draw(30, 30)
    assert model.prompts.boxes == 3
    assert list(layer.features["polarity"])[-1] == "positive"

    model.task, model.next_positive = Task.EXEMPLAR, False
    viewer.add_image(np.zeros((40, 50)))
    assert model.next_positive  # the first example of another image is positive again

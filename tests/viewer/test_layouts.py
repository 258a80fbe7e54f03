"""Whatever the axes, units, transforms and sliders: on show, in the prompts, and in the results
are the same pixels. What napari draws is right; see :mod:`layouts`."""

import sys
import warnings
from pathlib import Path

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from amounts import FEW
from napari_sam3_assistant.core.progress import NullReporter, deliver_inline
from napari_sam3_assistant.core.prompts import PromptKind, Tool
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation, paint_labels
from napari_sam3_assistant.core.tracks import FrameResult
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import ActiveRoi, Preview, StackTarget
from napari_sam3_assistant.viewer.binding import Binding
from napari_sam3_assistant.viewer.roles import Role, role_of
from napari_sam3_assistant.workflows.edit_masks import accept

sys.path.insert(0, str(Path(__file__).parent))
from layouts import (
    displayed,
    drag,
    drawn_under,
    layouts,
    move_a_slider,
    pixel_at,
    place_of,
    shown_points,
    shown_shapes,
    slice_on_show,
    transforms,
    world_ratios,
)

ENGINE = Provenance("builtin", "Built-in", "1", "cpu", 0.5)
RESULTS = (Role.PREVIEW_LABELS, Role.ACCEPTED, Role.SAVED)


class Scene:
    """A viewer with a layout and a session on it."""

    def __init__(self, layout):
        # napari says so of rotations between axes on show and hidden ones, and of mixed units.
        warnings.simplefilter("ignore")
        self.layout = layout
        self.viewer, self.image = layout.open()
        assume(slice_on_show(self.image) is not None)
        self.binding = Binding(self.viewer, deliver_inline, MemorySettings())
        self.scene = self.binding.adapter
        self.scene.channel_axis = layout.channel_axis
        self.binding.model.image = str(self.image.unique_id)
        self.stage = self.scene.displayed(self.binding.model.image)

    @property
    def on_show(self):
        """The index of the drawn slice on the leading axes."""
        shown = slice_on_show(self.image)
        return None if shown is None else tuple(shown[one] for one in self.stage.axes.leading)

    def place(self, y, x):
        """Where on the canvas napari draws a pixel of the image."""
        position = np.zeros(self.image.ndim)
        position[[self.stage.axes.y, self.stage.axes.x]] = y, x
        return place_of(self.viewer, self.image, position)

    def pixel(self, place):
        """The pixel (y, x) of the image that napari draws at a place on the canvas."""
        position = np.zeros(self.image.ndim)
        position[displayed(self.image)] = pixel_at(self.viewer, self.image, place)
        return tuple(position[[self.stage.axes.y, self.stage.axes.x]])

    def displayed(self, y, x):
        """A pixel of the image on the axes on show, in the order in which they are shown."""
        at = {self.stage.axes.y: y, self.stage.axes.x: x}
        return [at[axis] for axis in displayed(self.image)]

    def arm(self, tool):
        self.binding.model.tool = tool
        self.binding.prompts.arm()
        return self.viewer.layers.selection.active

    def prompts(self, kind):
        return self.scene.take_snapshot(self.binding.model.image, kind).prompts

    def go_everywhere(self):
        """Move each slider from end to end, one after the other; yields at each position."""
        dims = self.viewer.dims
        start = dims.point
        missing = dims.ndim - self.image.ndim
        for axis in range(dims.ndim):
            if axis in dims.displayed or axis < missing:
                continue
            low, high, step = dims.range[axis]
            size = self.image.data.shape[axis - missing]
            for at in np.linspace(low, high, size) if high - low > step / 2 else [low]:
                dims.set_point(axis, at)
                yield
            dims.set_point(axis, start[axis])

    def close(self):
        self.binding.close()


def sliders(viewer):
    """Where the sliders stand and what they reach."""
    reach = np.array([(one.start, one.stop) for one in viewer.dims.range])
    return np.array(viewer.dims.point), reach, viewer.dims.ndim, viewer.dims.order


def assert_alike(before, after):
    assert before[2:] == after[2:]
    size = np.abs(before[1]).max() + 1
    np.testing.assert_allclose(after[0], before[0], rtol=0, atol=1e-9 * size)
    np.testing.assert_allclose(after[1], before[1], rtol=0, atol=1e-9 * size)


@FEW
@given(layout=layouts())
def test_the_plane_on_show_is_the_one_that_napari_draws(layout):
    scene = Scene(layout)
    for _ in scene.go_everywhere():
        shown = slice_on_show(scene.image)
        if shown is not None:
            plane = scene.scene.displayed(scene.binding.model.image).plane
            assert plane.leading == scene.on_show
            channel = scene.stage.axes.channel
            assert plane.channel == (None if channel is None else shown[channel])
    scene.close()


@FEW
@given(layout=layouts(tilted=False))
def test_a_click_is_the_pixel_under_it_on_every_channel_and_on_no_other_slice(layout):
    scene = Scene(layout)
    before = sliders(scene.viewer)
    layer = scene.arm(Tool.POINTS)
    for pixel in layout.pixels:
        drag(scene.viewer, scene.place(*pixel))
    drag(scene.viewer, scene.place(0, 0))
    layer.shown = [True] * len(layout.pixels) + [False]  # which napari does not draw
    assert_alike(before, sliders(scene.viewer))

    here = scene.on_show
    for _ in scene.go_everywhere():
        if scene.on_show is None:
            continue
        found = [(point.y, point.x) for point in scene.prompts(PromptKind.POINTS).points]
        if scene.on_show == here:
            np.testing.assert_allclose(found, layout.pixels, atol=1e-4)
            drawn = layer.data[shown_points(layer)]
            places = [scene.pixel(place_of(scene.viewer, layer, one)) for one in drawn]
            np.testing.assert_allclose(places, layout.pixels, atol=1e-4)
        else:
            assert not found
    scene.close()


@FEW
@given(layout=layouts(tilted=False))
def test_a_box_and_a_painted_mask_are_the_pixels_under_them(layout):
    scene = Scene(layout)
    (top, left), (bottom, right) = np.sort(np.array(layout.pixels), axis=0)
    assume(top < bottom and left < right)
    layer = scene.arm(Tool.BOX)
    drag(scene.viewer, scene.place(top, left), scene.place(bottom, right))
    # Without a canvas napari does not know how far a pixel is: what it draws in the end counts.
    corners = [scene.pixel(place_of(scene.viewer, layer, one)) for one in layer.data[0]]
    low, high = np.round(np.min(corners, axis=0), 4), np.round(np.max(corners, axis=0), 4)
    enclosed = (*np.ceil(low).astype(int).tolist(), *(np.floor(high).astype(int) + 1).tolist())
    box = Region(*enclosed).intersect(Region.whole(scene.stage.shape))
    painted = scene.arm(Tool.MASK)
    painted.brush_size = 1
    drag(scene.viewer, scene.place(top, left))

    here = scene.on_show
    for _ in scene.go_everywhere():
        if scene.on_show is None:
            continue
        boxes = [one.region for one in scene.prompts(PromptKind.BOXES).boxes]
        masks = [one.region for one in scene.prompts(PromptKind.MASK).masks]
        assert boxes == ([box] if scene.on_show == here else [])
        assert masks == ([Region(top, left, top + 1, left + 1)] if scene.on_show == here else [])
        value = drawn_under(scene.viewer, painted, scene.image, [scene.displayed(top, left)])
        assert value[0] == (scene.on_show == here)
    scene.close()


def a_preview(scene, draw_objects):
    """Return a result of a part of the plane on show: two objects, one of them at its border."""
    target = scene.stage.target
    height, width = scene.stage.shape
    region = Region(1, 2, height, width) if draw_objects else Region.whole(scene.stage.shape)
    masks = {1: (slice(1, 3), slice(2, 4)), 2: (slice(height - 2, height), slice(3, width))}
    records = []
    for number, part in masks.items():
        mask = np.zeros(scene.stage.shape, bool)
        mask[part] = True
        records.append(ObjectRecord.from_mask(number, mask))
    labels = paint_labels(records, region)
    return Preview(target, Segmentation(labels, tuple(records), region, ENGINE), 0.1)


def the_plane(preview, shape):
    """Return the labels of a preview on the whole plane."""
    plane = np.zeros(shape, int)
    plane[preview.segmentation.region.slices] = preview.segmentation.labels
    return plane


@FEW
@given(layout=layouts(), part=st.booleans())
def test_results_lie_on_their_pixels_on_every_channel_and_on_no_other_slice(layout, part):
    scene = Scene(layout)
    viewer = scene.viewer
    before = sliders(viewer)
    preview = a_preview(scene, part)
    wanted = the_plane(preview, scene.stage.shape)
    scene.scene.show([preview])
    scene.scene.show_rois([ActiveRoi(preview.target, preview.segmentation.region)])
    begun = scene.scene.begin_accept(preview, None)
    ((found,),) = accept([begun.request], NullReporter())
    begun.finish(found)
    scene.scene.keep(preview)
    np.testing.assert_array_equal(scene.scene.pixels(preview).labels, preview.segmentation.labels)

    here = scene.on_show
    layers = [one for one in viewer.layers if role_of(one) in RESULTS]
    shapes = [one for one in viewer.layers if role_of(one) in (Role.PREVIEW_BOXES, Role.ACTIVE_ROI)]
    assert len(layers) == 3
    assert len(shapes) == 2
    boxes = next(one for one in shapes if role_of(one) is Role.PREVIEW_BOXES)
    if not layout.tilted and scene.image.ndim > 2:
        # napari draws the slices of turned layers elsewhere than they lie in the world.
        assert_alike(before, sliders(viewer))
    pixels = [scene.displayed(*at) for at in np.ndindex(scene.stage.shape)]
    for _ in scene.go_everywhere():
        if scene.on_show is None:
            continue
        on_show = scene.on_show == here
        for layer in layers:
            drawn = drawn_under(viewer, layer, scene.image, pixels).reshape(wanted.shape)
            np.testing.assert_array_equal(drawn, wanted * on_show, err_msg=layer.name)
        for layer in shapes:
            assert shown_shapes(layer).all() if on_show else not shown_shapes(layer).any()
        if on_show:
            # Where a box would stretch a slider, it stops at the outermost pixels.
            last = [*np.array(wanted.shape) - 1] * 2
            whole = (0, last) if scene.image.ndim > 2 else (-1, np.inf)
            for outline, record in zip(boxes.data, preview.segmentation.objects, strict=True):
                corners = [scene.pixel(place_of(viewer, boxes, one)) for one in outline]
                drawn = (*np.min(corners, axis=0), *np.max(corners, axis=0))
                wished = np.clip(np.array(record.region.box) - 0.5, *whole)
                np.testing.assert_allclose(drawn, wished, atol=1e-4)
    scene.close()


@FEW
@given(layout=layouts(tilted=False), data=st.data())
def test_what_lies_on_an_image_goes_with_it_wherever_the_user_puts_it(layout, data):
    scene = Scene(layout)
    viewer, image, axes = scene.viewer, scene.image, scene.stage.axes
    preview = a_preview(scene, draw_objects=True)
    wanted = the_plane(preview, scene.stage.shape)
    points = scene.arm(Tool.POINTS)
    drag(viewer, scene.place(*layout.pixels[0]))
    scene.scene.show([preview])
    begun = scene.scene.begin_accept(preview, None)
    ((found,),) = accept([begun.request], NullReporter())
    begun.finish(found)
    scene.scene.keep(preview)
    layers = [one for one in viewer.layers if role_of(one) in RESULTS]
    here = scene.on_show

    moved = data.draw(transforms(layout.names, [axes.y, axes.x], tilted=False), label="moved")
    moved.pop("tilted")
    for name in data.draw(st.permutations(list(moved)), label="order"):
        setattr(image, name, moved[name])
    image.scale = image.scale  # napari slices by the units that it had when this was last set

    pixels = [scene.displayed(*one) for one in np.ndindex(scene.stage.shape)]
    seen = False
    for _ in scene.go_everywhere():
        if scene.on_show is None:
            continue
        on_show = scene.on_show == here
        seen |= on_show
        for layer in layers:
            drawn = drawn_under(viewer, layer, image, pixels).reshape(wanted.shape)
            np.testing.assert_array_equal(drawn, wanted * on_show, err_msg=layer.name)
        clicks = [(one.y, one.x) for one in scene.prompts(PromptKind.POINTS).points]
        if on_show:
            np.testing.assert_allclose(clicks, layout.pixels[:1], atol=1e-3)
            place = place_of(viewer, points, points.data[0])
            np.testing.assert_allclose(scene.pixel(place), layout.pixels[0], atol=1e-3)
        else:
            assert not clicks
    assume(seen)  # napari may draw no slice of an image that has got other units
    scene.close()


@FEW
@given(layout=layouts(), units=st.sampled_from(["um", "nm", "same"]), deep=st.booleans())
def test_points_of_the_users_own_layers_are_taken_where_napari_draws_them(layout, units, deep):
    scene = Scene(layout)
    viewer, image = scene.viewer, scene.image
    assume(not layout.tilted)
    count = image.ndim if deep else 2
    own = image.units[-count:]
    other = tuple(
        own if units == "same" or not one.is_compatible_with("m") else units
        for one, own in zip(own, own, strict=True)
    )
    points = viewer.add_points(np.zeros((1, count)), units=other, name="mine")
    move_a_slider(viewer)
    assume(scene.on_show is not None)
    here = scene.on_show
    position = list(viewer.dims.point)
    for axis, at in zip(viewer.dims.displayed, scene.place(*layout.pixels[0]), strict=True):
        position[axis] = at
    assume(deep or sorted(viewer.dims.displayed) == [viewer.dims.ndim - 2, viewer.dims.ndim - 1])
    points.data = [np.array(position)[-count:] / world_ratios(viewer, points)]
    scene.scene.chosen[Tool.POINTS] = str(points.unique_id)
    for _ in scene.go_everywhere():
        if scene.on_show is None:
            continue
        found = [(point.y, point.x) for point in scene.prompts(PromptKind.POINTS).points]
        if len(shown_points(points)):
            place = place_of(viewer, points, points.data[0])
            if scene.on_show == here:
                np.testing.assert_allclose(found, [scene.pixel(place)], atol=1e-3)
        elif deep:
            assert not found or scene.on_show == here
    scene.close()


@FEW
@given(layout=layouts())
def test_propagated_labels_lie_on_their_frames_on_every_channel(layout):
    scene = Scene(layout)
    viewer, axes = scene.viewer, scene.stage.axes
    lengths = {axis: scene.image.data.shape[axis] for axis in axes.leading}
    assume(any(size > 1 for size in lengths.values()))
    axis = max(lengths, key=lengths.get)
    before = sliders(viewer)
    stack = StackTarget(scene.stage.target, axis)
    planes = {}
    for frame in range(lengths[axis]):
        mask = np.zeros(scene.stage.shape, bool)
        mask[frame : frame + 2, 1:4] = True
        record = ObjectRecord.from_mask(frame + 1, mask)
        planes[frame] = paint_labels([record], Region.whole(mask.shape))
        found = FrameResult(frame, planes[frame], (record,), frozenset({frame + 1}), ENGINE)
        scene.scene.stacks.show(stack, found)
    scene.scene.stacks.finish()
    assert_alike(before, sliders(viewer))

    copied = scene.scene.stacks.pixels(stack)
    assert copied.shape == (lengths[axis], *scene.stage.shape)
    layer = next(one for one in viewer.layers if role_of(one) is Role.PROPAGATED)
    pixels = [scene.displayed(*at) for at in np.ndindex(scene.stage.shape)]
    own = axes.leading.index(axis)
    here = scene.on_show
    for _ in scene.go_everywhere():
        if scene.on_show is None:
            continue
        frame = scene.on_show[own]
        others = [one for one in range(len(here)) if one != own]
        on_stack = all(scene.on_show[one] == here[one] for one in others)
        drawn = drawn_under(viewer, layer, scene.image, pixels).reshape(scene.stage.shape)
        np.testing.assert_array_equal(drawn, planes[frame] * on_stack)
        np.testing.assert_array_equal(copied.read(frame), planes[frame])
    scene.close()

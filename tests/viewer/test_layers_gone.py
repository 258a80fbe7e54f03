"""What stays behind when a layer or the session goes: nothing."""

import weakref
from contextlib import suppress

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.layers._layer_actions import _convert_to_image, _convert_to_labels

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.errors import NothingNew


def test_a_removed_image_is_freed_with_what_was_found_on_it(
    viewer, binding, run, disc, when_collected
):
    image = viewer.add_image(disc.copy(), name="cells")
    pixels = weakref.ref(image.data)
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((20, 30))
    run()

    viewer.layers.remove(image)
    del image
    binding.session.undo()

    when_collected(lambda: pixels() is None)
    assert binding.model.previews == ()


def test_a_removed_stack_is_freed_with_what_was_propagated(viewer, binding, disc, when_collected):
    image = viewer.add_image(np.stack([disc, disc]), name="cells")
    pixels = weakref.ref(image.data)
    propagate(viewer, binding)

    viewer.layers.remove("SAM3 propagated preview labels")
    viewer.layers.remove(image)
    del image

    when_collected(lambda: pixels() is None)


def propagate(viewer, binding):
    binding.model.tool = Tool.POINTS
    binding.model.task = Task.VIDEO
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((0, 20, 30))
    assert binding.session.run().wait(240)


def test_undo_goes_back_to_other_images_still(viewer, binding, run, disc):
    first, second = (viewer.add_image(disc, name=name) for name in ("first", "second"))
    for image in (first, second):
        viewer.layers.selection.active = image
        binding.prompts.arm()
        viewer.layers.selection.active.add((20, 30))
        run()
    binding.session.clear_preview()

    viewer.layers.remove(first)
    binding.session.undo()

    (preview,) = binding.model.previews
    assert preview.target.name == "second"


def test_keys_of_a_painted_layer_are_napari_s_again_when_the_session_ends(viewer, binding, disc):
    viewer.add_image(disc)
    binding.model.task, binding.model.tool = Task.SEGMENT, Tool.MASK
    binding.prompts.arm()
    painted = viewer.layers["SAM3 mask prompt"]
    painted.paint((20, 30), 1)
    assert painted.keymap

    binding.close()

    assert len(painted.keymap) == 0


def test_a_saved_propagation_picks_no_row_of_a_preview(viewer, binding, run, disc):
    viewer.add_image(np.stack([disc, disc]), name="cells")
    propagate(viewer, binding)
    saved = viewer.layers["SAM3 propagated preview labels"]
    binding.adapter.stacks.hand_over(binding.model.propagated)
    binding.model.task = Task.SEGMENT
    run()
    assert binding.model.picked is None

    saved.selected_label = 2
    saved.selected_label = 1

    assert binding.model.picked is None


class TestEncodings:
    """What an engine keeps of an image goes with the image, and with its pixels."""

    def test_of_a_removed_image_go(self, viewer, binding, run, disc, when_collected):
        image = viewer.add_image(disc.copy(), name="cells")
        store = self.encoded(viewer, binding, run)
        viewer.layers.remove(image)
        del image
        when_collected(lambda: not len(store))

    def test_of_replaced_pixels_go(self, viewer, binding, run, disc, when_collected):
        image = viewer.add_image(disc.copy(), name="cells")
        store = self.encoded(viewer, binding, run)
        image.data = disc[::-1].copy()
        when_collected(lambda: not len(store))

    def encoded(self, viewer, binding, run):
        binding.prompts.arm()
        viewer.layers["SAM3 points"].add((20, 30))
        run()
        store = binding.session.engine.loaded._store  # noqa: SLF001 - nobody else tells what is kept
        assert len(store) == 1
        return store


@pytest.mark.parametrize(
    ("name", "convert", "kind"),
    [
        ("SAM3 live accepted labels", _convert_to_image, Image),
        ("SAM3 preview labels", _convert_to_image, Image),
        ("SAM3 mask prompt", _convert_to_image, Image),
        ("SAM3 boxes", _convert_to_labels, Labels),
        ("SAM3 preview boxes", _convert_to_labels, Labels),
    ],
)
def test_what_napari_has_made_another_kind_of_layer_of_is_the_users(
    viewer, binding, run, disc, name, convert, kind
):
    """By the list's menu, which takes our metadata along and may leave nothing of the original."""
    image = viewer.add_image(disc, name="cells")
    binding.model.task = Task.SEGMENT
    for tool in (Tool.MASK, Tool.BOX):
        binding.model.tool = tool
        binding.prompts.arm()
    viewer.layers["SAM3 boxes"].add([[8, 18], [32, 42]])
    run()
    binding.session.accept()
    viewer.layers["SAM3 boxes"].add([[8, 18], [32, 42]])
    run()
    before = set(viewer.layers)
    viewer.layers.selection = {viewer.layers[name]}

    convert(viewer.layers)

    (mine,) = set(viewer.layers) - before
    assert isinstance(mine, kind)
    assert "sam3_role" not in mine.metadata
    shown = np.array(mine.data)
    viewer.layers.selection.active = image
    binding.model.tool = Tool.POINTS
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((20, 30))
    run()
    with suppress(NothingNew):  # where the accepted labels are still there
        binding.session.accept()
    assert mine in viewer.layers
    np.testing.assert_array_equal(mine.data, shown)
    assert viewer.layers["SAM3 live accepted labels"].data[20, 30]

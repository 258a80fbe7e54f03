"""What the user has chosen stays chosen, whatever we add, remove, write or move."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, note
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.utils.key_bindings import coerce_keybinding

from amounts import FEW
from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.images import ALL_IMAGES

POINTS, PREVIEW = "SAM3 points", "SAM3 preview labels"
BOTH = (12, 20)


def picture(value):
    image = np.full((32, 40), 20, np.uint8)
    image[6:18, 12:28] = value
    return image


class Bench:
    """A viewer without a window with layers of the user's, and the session on it."""

    def __init__(self, folder):
        self.viewer = viewer = ViewerModel()
        viewer.add_image(picture(200), name="lower")
        viewer.add_labels(np.zeros((32, 40), int), name="mine")
        viewer.add_image(np.stack([picture(150)] * 3), name="upper")
        viewer.add_points([[2, 2]], name="notes")
        self.users = list(viewer.layers)
        self.binding = binding_for(viewer, deliver_inline, MemorySettings())
        self.model, self.session = self.binding.model, self.binding.session
        self.binding.session.scan_model.scan_folder = str(folder)

    def image(self, name):
        return str(self.viewer.layers[name].unique_id)

    def wait(self, job):
        assert job.wait(240)
        assert job.error is None, job.error

    # -- what can be done -----------------------------------------------------------------

    def click(self):
        """A click on the object of the chosen image, wherever the mouse's layer is."""
        names = [layer.name for layer in self.viewer.layers if layer.name.startswith(POINTS)]
        for name in names:
            layer = self.viewer.layers[name]
            layer.add([self.viewer.dims.point[0]] * (layer.ndim - 2) + list(BOTH))

    def run(self):
        self.model.batch_images = False
        self.wait(self.session.run())

    def batch(self):
        self.model.batch_images = True
        self.wait(self.session.run())

    def accept(self):
        self.session.accept()

    def clear(self):
        self.session.clear_preview()

    def undo(self):
        self.session.undo()

    def redo(self):
        self.session.redo()

    def keep(self):
        self.session.saving.keep()

    def refine(self):
        self.binding.actions.refine()

    def scan(self):
        self.model.task, self.model.text = Task.TEXT, "bright"
        try:
            self.wait(self.session.scanning.run())
        finally:
            self.model.task = Task.SEGMENT

    def propagate(self):
        self.model.task = Task.VIDEO
        try:
            self.wait(self.session.run())
        finally:
            self.model.task = Task.SEGMENT

    # -- what must stay -------------------------------------------------------------------

    def state(self):
        viewer = self.viewer
        return {
            "image": self.model.image,
            "active": viewer.layers.selection.active,
            "selected": set(viewer.layers.selection),
            "dims": (viewer.dims.point, viewer.dims.order, viewer.dims.ndisplay),
            "shown": [(layer, layer.visible) for layer in self.users],
            "order": [layer for layer in viewer.layers if layer in self.users],
            "modes": {layer: str(layer.mode) for layer in viewer.layers},
            "prompts": {
                key: [(where, word) for where, word, *_ in rows]
                for key, rows in self.binding.adapter.prompt_state().items()
                if rows
            },
        }


PROMPTS = {"accept", "undo", "redo", "refine", "click"}
REPLACES = {"run", "batch"}
"""What was drawn for results that give way to those of a phrase goes with them."""
CHOOSES = {"refine"}
ACTIONS = (
    *("click", "run", "batch", "accept", "clear", "undo", "redo", "keep", "refine", "scan"),
    "propagate",
)


def assert_kept(before, after, action, layers):
    still = {layer for layer in before["selected"] if layer in layers}
    if action not in CHOOSES:
        assert after["image"] == before["image"]
        if still or not before["selected"]:
            assert after["selected"] == still
        else:
            assert after["active"] is not None
        if before["active"] in layers:
            assert after["active"] is before["active"]
            assert after["modes"][after["active"]] == before["modes"][before["active"]]
    if action in REPLACES:
        for key, rows in after["prompts"].items():
            assert all(row in before["prompts"][key] for row in rows)
    elif action not in PROMPTS:
        assert after["prompts"] == before["prompts"]
    for name in ("dims", "shown", "order"):
        assert after[name] == before[name], name


@st.composite
def user_states(draw):
    names = ("lower", "mine", "upper", "notes", POINTS, PREVIEW)
    return {
        "image": draw(st.sampled_from(["lower", "upper", ALL_IMAGES])),
        "selected": draw(st.sets(st.sampled_from(names), max_size=3)),
        "hidden": draw(st.sets(st.sampled_from(["mine", "upper", "notes"]))),
        "slice": draw(st.integers(0, 2)),
        "moved": draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    }


def choose(bench, wanted):
    """What a user does in napari and in the widget between two of our actions."""
    viewer, layers = bench.viewer, bench.viewer.layers
    for name in ("mine", "upper", "notes"):
        layers[name].visible = name not in wanted["hidden"]
    layers.move(*wanted["moved"])
    viewer.dims.set_current_step(0, wanted["slice"])
    keys = {"lower": bench.image("lower"), "upper": bench.image("upper"), ALL_IMAGES: ALL_IMAGES}
    here = [layers[name] for name in sorted(wanted["selected"]) if name in layers]
    layers.selection.clear()
    layers.selection.update(here)
    wish = keys[wanted["image"]]
    if wish in {choice.key for choice in bench.model.images}:
        bench.model.image = wish


PLAIN = {"image": "lower", "selected": set(), "hidden": set(), "slice": 0, "moved": (0, 0)}


@FEW
@example(steps=[(PLAIN, action) for action in ("click", "run", "scan", "run", "batch")])
@given(steps=st.lists(st.tuples(user_states(), st.sampled_from(ACTIONS)), min_size=2, max_size=7))
def test_our_actions_leave_the_users_choices(steps):
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            for key in (bench.image("upper"), bench.image("lower")):
                bench.model.image = key
                bench.binding.prompts.arm()
            bench.click()
            for state, action in steps:
                choose(bench, state)
                before = bench.state()
                try:
                    getattr(bench, action)()
                except Sam3AssistantError as error:
                    note(f"{action}: {error}")
                assert_kept(before, bench.state(), action, bench.viewer.layers)
        finally:
            bench.binding.close()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.binding.close()


def test_the_image_chosen_in_the_list_stays_chosen(bench):
    bench.model.image = bench.image("lower")
    bench.binding.prompts.arm()
    bench.click()
    bench.viewer.layers.selection.active = bench.viewer.layers["upper"]
    bench.model.image = bench.image("lower")
    for action in ("run", "accept", "undo", "clear"):
        getattr(bench, action)()
        assert bench.model.image == bench.image("lower"), action
    bench.viewer.layers.selection.active = bench.viewer.layers["mine"]
    bench.viewer.layers.selection.active = bench.viewer.layers["upper"]
    assert bench.model.image == bench.image("upper")


@pytest.mark.parametrize("action", ["accept", "clear", "undo"])
def test_when_the_active_preview_goes_the_tool_is_armed(bench, action):
    bench.model.image = bench.image("lower")
    bench.binding.prompts.arm()
    points = bench.viewer.layers[POINTS]
    bench.click()
    bench.run()
    points.mode = "pan_zoom"
    bench.viewer.layers.selection.active = bench.viewer.layers[PREVIEW]

    getattr(bench, action)()

    assert PREVIEW not in bench.viewer.layers
    assert bench.viewer.layers.selection.active is points
    assert points.mode == "add"


def test_what_napari_selects_after_a_deletion_is_no_choice(bench):
    bench.model.image = bench.image("lower")
    layers = bench.viewer.layers
    layers.selection.active = layers["notes"]
    layers.remove_selected()
    assert layers.selection.active is layers["upper"]
    assert bench.model.image == bench.image("lower")


def test_what_we_write_into_a_layer_of_prompts_is_no_edit(bench):
    """The user takes the painted mask from our own preview; a run writes into it."""
    model, edits = bench.model, []
    model.image = bench.image("lower")
    bench.binding.prompts.arm()
    bench.click()
    bench.run()
    model.labels_layer = str(bench.viewer.layers[PREVIEW].unique_id)
    bench.session.prompts_edited.connect(lambda: edits.append(1))
    bench.run()
    assert edits == []


def test_it_is_said_when_another_layer_than_that_of_the_prompts_is_selected(bench):
    model, viewer = bench.model, bench.viewer
    model.image, model.tool = bench.image("upper"), Tool.MASK
    painted = []
    for slice_ in (0, 1):
        viewer.dims.set_current_step(0, slice_)
        bench.binding.prompts.arm()
        painted.append(viewer.layers.selection.active)
    assert painted[0] is not painted[1]

    for layer, said in ((painted[0], ""), (viewer.layers["mine"], "mine"), (painted[1], "")):
        viewer.layers.selection.active = layer
        assert model.selected_instead == said
    model.labels_layer = bench.image("mine")
    assert model.selected_instead == painted[1].name
    viewer.layers.selection.active = viewer.layers["mine"]
    assert model.selected_instead == ""
    model.tool = Tool.TEXT
    viewer.layers.selection.active = viewer.layers["upper"]
    assert model.selected_instead == ""


@pytest.mark.parametrize("key", ["R", "5"])
def test_keys_that_others_have_bound_do_again_what_they_did(key):
    viewer, done = ViewerModel(), []
    image = viewer.add_image(np.zeros((8, 8), np.uint8))
    typed = coerce_keybinding(key)
    viewer.bind_key(key, lambda _: done.append("before"))
    mine = viewer.keymap[typed]
    binding = binding_for(viewer, deliver_inline, MemorySettings())
    if key == "5":  # without a class list it is not ours
        list(viewer.keymap[typed](viewer))
        assert done == ["before"]
    binding.close()
    assert viewer.keymap == {typed: mine}

    # Nor is one taken away that was bound while the dock is open.
    binding = binding_for(viewer, deliver_inline, MemorySettings())
    for owner in (viewer, image):
        owner.bind_key(key, lambda _: done.append("meanwhile"), overwrite=True)
    later = [owner.keymap[typed] for owner in (viewer, image)]
    binding.close()
    assert [owner.keymap for owner in (viewer, image)] == [{typed: one} for one in later]

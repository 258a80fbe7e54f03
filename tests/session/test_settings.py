"""Choices that are remembered."""

import numpy as np

from napari_sam3_assistant.core.prompts import MaskPrompt, PromptKind, PromptSet, Task
from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.settings import MemorySettings, restore


def test_choices_come_back():
    store = MemorySettings()
    first = SessionModel()
    restore(first, store)
    first.task, first.threshold, first.model_folder = Task.EXEMPLAR, 0.6, "/models/sam3"

    second = SessionModel()
    restore(second, store)
    assert (second.task, second.threshold, second.model_folder) == (
        Task.EXEMPLAR,
        0.6,
        "/models/sam3",
    )


def test_a_value_of_another_version_is_replaced_by_the_default():
    store = MemorySettings()
    store.set("task", "tea making")
    model = SessionModel()
    restore(model, store)

    assert model.task is Task.SEGMENT
    assert store.get("task") == "2d_segmentation"


def test_a_box_that_was_cleared_comes_back_cleared():
    store = MemorySettings()
    first = SessionModel()
    restore(first, store)
    first.load_when_running = False

    second = SessionModel()
    restore(second, store)

    assert second.load_when_running is False


def test_painted_masks_are_taken_as_painted_where_that_was_chosen():
    mask = MaskPrompt.from_plane(np.eye(3))
    store = MemorySettings()
    first, second = SessionModel(), SessionModel()
    restore(first, store)
    assert not first.add_typed(PromptKind.MASK, PromptSet(masks=(mask,))).are_painted
    first.as_painted = True

    restore(second, store)
    assert second.add_typed(PromptKind.MASK, PromptSet(masks=(mask,))).are_painted

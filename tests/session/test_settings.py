"""Choices that are remembered."""

from napari_sam3_assistant.core.prompts import Task
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

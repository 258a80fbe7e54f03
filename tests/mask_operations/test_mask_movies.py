"""Movies and volumes in Mask Cleanup: what counts for itself is said, chosen, and done."""

import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox, QLabel

from napari_sam3_assistant.core.masks.merge import MergeMode
from napari_sam3_assistant.core.masks.operations import KeepLargest, Operation, RemoveSmall
from napari_sam3_assistant.core.masks.pieces import Apart
from napari_sam3_assistant.mask_operations.cleanup_tab import CleanupTab
from napari_sam3_assistant.mask_operations.model import RightClick
from napari_sam3_assistant.mask_operations.tables import component_columns


def movie(shape):
    """An object of 16 pixels a plane at one place, and one of 4 that comes and goes."""
    labels = np.zeros((*shape, 12, 12), np.uint8)
    labels[..., 1:5, 1:5] = 1
    labels[0, ..., 8:10, 8:10] = 2
    return labels


@pytest.fixture
def seen(bench, qtbot):
    """What a person reads in the tab."""
    tab = CleanupTab(bench.binding.session)
    qtbot.addWidget(tab)
    tab.show()

    def read():
        label = tab.findChild(QLabel, "apart_summary")
        return label.text() if label.isVisible() else ""

    read.combo = tab.findChild(QComboBox, "apart")
    return read


def test_each_time_of_a_movie_counts_for_itself(bench):
    layer = bench.add(movie((3,)), axis_labels=("t", "y", "x"))
    bench.cleanup.analyze()
    bench.settle()
    assert sorted(bench.model.components.areas.tolist()) == [4, 16, 16, 16]
    bench.model.remove_small = RemoveSmall(6)

    bench.cleanup.apply(Operation.REMOVE_SMALL)

    assert "changed 4 pixels" in bench.settle()
    bench.cleanup.undo()
    bench.settle()
    np.testing.assert_array_equal(layer.data, movie((3,)))
    bench.model.apart = Apart.NOTHING
    bench.model.remove_small = RemoveSmall(17)
    bench.cleanup.apply(Operation.REMOVE_SMALL)
    assert "changed 4 pixels" in bench.settle()  # the other one has 48


def test_a_volume_of_each_time_counts_for_itself(bench):
    bench.add(movie((2, 3)), axis_labels=("t", "z", "y", "x"))
    bench.cleanup.analyze()
    bench.settle()
    assert sorted(bench.model.components.areas.tolist()) == [12, 48, 48]
    heads, _ = component_columns(bench.model.components, bench.model.layers[0].names)
    assert heads[3:-1] == [f"Centroid {axis}" for axis in "TZYX"]

    bench.model.right_click = RightClick.COMPONENT
    bench.cleanup.delete_at((1, 2, 3, 3))

    assert "(48 pixels)" in bench.settle()
    bench.model.keep_largest = KeepLargest()
    bench.cleanup.apply(Operation.KEEP_LARGEST)
    assert "made no mask changes" not in bench.settle()
    assert np.unique(bench.viewer.layers[0].data[0]).tolist() == [0, 1]


@pytest.mark.parametrize("named", ["labels", "image", "nothing"])
def test_what_counts_for_itself_is_read_in_the_window(bench, seen, named):
    assert seen() == ""
    names = {"axis_labels": ("t", "y", "x")}
    layer = bench.add(movie((3,)), **(names if named == "labels" else {}))
    image = bench.viewer.add_image(np.zeros((3, 12, 12)))
    by_time = "Each time by itself."
    if named == "nothing":
        assert seen().startswith("All slices together. The planes have no name and are taken for")
        assert seen().endswith("Or choose Slices, for the frames of a movie.")
        layer.axis_labels = ("t", "y", "x")
    elif named == "image":
        image.axis_labels = ("t", "y", "x")
        bench.viewer.layers.remove(image)
        assert seen().startswith("All slices together.")
        bench.viewer.layers.append(image)
    assert seen() == by_time

    seen.combo.setCurrentText("Slices")
    seen.combo.activated.emit(seen.combo.currentIndex())
    assert bench.model.apart is Apart.SLICES
    assert seen() == by_time
    bench.model.apart = Apart.NOTHING
    assert seen() == "All times together."
    assert seen.combo.currentText() == "Nothing"

    bench.add(np.zeros((12, 12), np.uint8))
    assert seen() == ""


def test_a_track_that_jumps_is_one_object_of_the_final_mask(bench):
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[0, :2, :2] = labels[1, 6:8, 6:8] = labels[2, 10:, :2] = 5
    layer = bench.add(labels, axis_labels=("t", "y", "x"))
    bench.model.final_chosen = (bench.key(layer),)
    bench.model.merge_mode = MergeMode.INSTANCE

    bench.collection.merge_final()

    assert "(0 pixels overlapped, 1 object)" in bench.settle()
    np.testing.assert_array_equal(bench.named("final_training_mask"), labels == 5)

"""3D/video in a docked widget with SAM 3 by Meta's package, small and with random weights."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog

from napari_sam3_assistant import api

PREVIEW = "SAM3 propagated preview labels"
FIRST, SECOND = (30, 28), (40, 62)


def fixtures_of_the_engine():
    path = Path(__file__).parents[2] / "engines" / "sam3_meta" / "conftest.py"
    spec = importlib.util.spec_from_file_location("sam3_meta_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_shared = fixtures_of_the_engine()
merges, build_small, builder = _shared.merges, _shared.build_small, _shared.builder
random_weights, weights = _shared.random_weights, _shared.weights
video_folder = _shared.video_folder


@pytest.fixture(scope="session", autouse=True)
def triton_apart():
    """Keep what the tests before have drawn from what PyTorch brings."""


@pytest.fixture(autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def movie():
    """Four frames of a disc that moves: (4, 60, 80) uint8."""
    rows, columns = np.mgrid[:60, :80]
    frames = np.stack([(rows * 2 + columns).astype(np.uint8)] * 4)
    for number, frame in enumerate(frames):
        frame[(rows - 30) ** 2 + (columns - 22 - 6 * number) ** 2 < 120] = 240
    return frames


@pytest.fixture
def user(builder, video_folder, open_advanced, movie, monkeypatch):
    """Somebody with the movie on show and the folder of the weights chosen."""
    monkeypatch.setenv("NAPARI_SAM3_ENABLE_DEVICE_OVERRIDE", "1")
    # The dialog is the system's own, which no test can reach with mouse and keyboard.
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(video_folder))
    advanced = open_advanced(movie, axis_labels=("t", "y", "x"))
    user = advanced.user
    user.choose_in("device", "CPU")
    user.click("choose_model_folder")
    user.wait_for_end()
    assert user.combo("engine").value == "sam3-meta"
    user.choose_in("task", "3D/video propagation")
    user.choose_in("tool", "Points (positive/negative)")
    yield user
    vars(advanced).clear()  # napari's fixture fails where its window is still held
    vars(user).clear()


def go_to(user, frame):
    user.viewer.dims.set_current_step(0, frame)
    user.settle()


def click(user, *pixel):
    user.viewer.layers.selection.active = user.viewer.layers["SAM3 points"]
    user.click_at(user.viewer.layers["image"], pixel)


def tracked(movie, folder, **prompts):
    """What the API makes of the same."""
    labels = np.zeros(movie.shape, np.uint32)
    engine = {"engine": "sam3-meta", "model_folder": folder, "device": "cpu"}
    for result in api.track(movie, **prompts, **engine):
        labels[result.frame] = result.labels
    return labels


def test_clicks_a_correction_and_the_same_again_from_the_note(
    user, movie, video_folder, tmp_path, monkeypatch
):
    go_to(user, 1)
    user.click("create_prompt_layer")
    click(user, 1, *FIRST)
    user.click("new_object")
    click(user, 1, *SECOND)
    layer = user.viewer.layers["SAM3 points"]
    points = [(y, x, True, name + 1) for name, (_, y, x) in enumerate(layer.data)]

    user.run()

    assert user.status.startswith("✓ Propagated: 2 objects on 4 frames")
    before = np.asarray(user.viewer.layers[PREVIEW].data).copy()
    assert set(np.unique(before)) == {0, 1, 2}
    np.testing.assert_array_equal(before, tracked(movie, video_folder, frame=1, points=points))
    assert user.viewer.layers[PREVIEW].metadata["sam3_engine"]["engine"] == "sam3-meta"
    assert user.text_of("engine_badge").endswith("SAM 3.0, device: cpu, float32")

    go_to(user, 2)
    click(user, 2, 10, 70)
    user.click("propagate_existing")
    user.wait_for_end()

    assert user.status.startswith("✓ Propagated: 2 objects")
    after = np.asarray(user.viewer.layers[PREVIEW].data).copy()
    np.testing.assert_array_equal(after[:2], before[:2])
    assert (after[2] != before[2]).any()

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    user.click("choose_output_folder")
    user.click("save_clean")
    user.wait_for_end()
    file = tmp_path / "movie.npy"
    np.save(file, movie)
    (note,) = tmp_path.glob("*.tif.json")
    made = api.rerun(note, image=file, device="cpu")
    assert made.notes == ()
    np.testing.assert_array_equal(tifffile.imread(made.path), after)

"""A scan whose process is killed goes on where it was."""

import json
import signal

import numpy as np
import pytest
import zarr

from napari_sam3_assistant import api
from napari_sam3_assistant.io.provenance import read_provenance

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")

SCAN = """
import sys
import numpy as np
from napari_sam3_assistant import api
image = np.load(sys.argv[1])
api.scan(image, text="bright spots", output=sys.argv[2], tile=256, overlap=0.2)
"""
KILL_AT_TILE = """
import os, signal
def at(step):
    if step.done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def image():
    rows, columns = np.mgrid[:400, :500]
    spots = np.hypot(rows % 50 - 25, columns % 50 - 25) < 12
    noise = np.random.default_rng(0).normal(0, 4, spots.shape)
    return (40 + 120 * spots + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def whole(image, tmp_path_factory):
    """The labels and the objects of a scan that nothing stopped."""
    output = tmp_path_factory.mktemp("whole") / "labels.zarr"
    result = api.scan(image, text="bright spots", output=output, tile=256, overlap=0.2)
    return zarr.open_group(str(output), mode="r")["0"][...], result.objects


@pytest.mark.parametrize("moment", ["between tiles", "in the middle of writing a tile"])
def test_the_next_start_goes_on(image, whole, tmp_path, killed, moment):
    np.save(tmp_path / "image.npy", image)
    output = tmp_path / "labels.zarr"
    if moment == "between tiles":
        code = KILL_AT_TILE + SCAN.replace("overlap=0.2", "overlap=0.2, on_step=at")
    else:
        code = killed.KILL_AT_SYNC.format(count=4) + SCAN

    killed.run_and_kill(code, tmp_path / "image.npy", output)

    assert not output.exists()
    tiles = sorted((tmp_path / "labels.zarr.scan" / "tiles").glob("[0-9]*.npz"))
    finished = {path: path.stat().st_mtime_ns for path in tiles}
    assert 1 <= len(finished) < 6
    seen = []

    def watch(step):
        seen.append({path: path.stat().st_mtime_ns for path in finished})

    result = api.scan(
        image, text="bright spots", output=output, tile=256, overlap=0.2, on_step=watch
    )

    assert all(times == finished for times in seen)
    labels, objects = whole
    np.testing.assert_array_equal(zarr.open_group(str(output), mode="r")["0"][...], labels)
    assert result.objects == objects
    assert len(result.objects) == 80
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image.npy",
        "labels.zarr",
        "labels.zarr.json",
    ]


KILL_AT_RENAME = """
import os, shutil, signal
def killing(real, at, seen):
    def act(*arguments, **named):
        seen.append(arguments)
        if len(seen) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return act
if {at}:
    os.rename = killing(os.rename, {at}, [])
else:
    shutil.rmtree = killing(shutil.rmtree, 1, [])
"""


# When the old note has gone; when the new labels have come; when the folder goes.
@pytest.mark.parametrize("at", [2, 4, 0])
def test_one_that_replaces_labels_and_is_killed_in_its_last_step_can_be_repeated(
    image, whole, tmp_path, killed, at
):
    np.save(tmp_path / "image.npy", image)
    output = tmp_path / "labels.zarr"
    api.scan(image[:200], text="bright spots", output=output, tile=256)
    code = SCAN.replace("overlap=0.2", "overlap=0.2, overwrite=True")

    killed.run_and_kill(KILL_AT_RENAME.format(at=at) + code, tmp_path / "image.npy", output)

    # Labels never have the note of others.
    note = tmp_path / "labels.zarr.json"
    if output.exists() and note.exists():
        shape = json.loads(note.read_text("utf-8"))["channels"][0]["shape"]
        assert zarr.open_group(str(output), mode="r")["0"].shape == tuple(shape)
    again = {"text": "bright spots", "output": output, "tile": 256, "overlap": 0.2}
    result = api.scan(image, **again, overwrite=True)
    assert result.objects == whole[1]
    np.testing.assert_array_equal(zarr.open_group(str(output), mode="r")["0"][...], whole[0])
    assert read_provenance(note).channels[0]["shape"] == [400, 500]
    left = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert left == ["image.npy", "labels.zarr", "labels.zarr.json"]


def test_tiles_of_a_folder_that_was_removed_by_half_are_not_taken(image, whole, tmp_path):
    output = tmp_path / "labels.zarr"
    steps = []

    def stop(step):
        steps.append(step)
        if len(steps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.scan(255 - image, text="dark spots", output=output, tile=256, overlap=0.2, on_step=stop)
    (tmp_path / "labels.zarr.scan" / "scan.json").unlink()

    result = api.scan(image, text="bright spots", output=output, tile=256, overlap=0.2)

    assert result.objects == whole[1]

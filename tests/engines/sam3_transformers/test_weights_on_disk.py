"""What happens to the weights' file after they were loaded, and while they are."""

import shutil
import sys

import pytest

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.checkpoints.files import FileIdentity
from napari_sam3_assistant.engines.sam3_transformers import ENTRY
from napari_sam3_assistant.errors import CheckpointInvalid

# In a process of its own: where weights are mapped, the system ends the one that reads on.
CODE = """
import sys
import numpy as np
from napari_sam3_assistant import api
image = np.zeros((90, 160), np.uint8)
image[20:60, 30:90] = 200
def masks(engine):
    # Another array each time, which is encoded anew.
    found = api.segment(image.copy(), points=[(40, 50)], text="cell", threshold=0, engine=engine)
    return found.labels
with api.open_engine("sam3-transformers", model_folder=sys.argv[1], device="cpu") as engine:
    right = masks(engine)
    with open(sys.argv[1] + "/model.safetensors", "r+b") as file:
        size = file.seek(0, 2)
        file.seek(100_000)
        file.write(bytes(size - 100_000))
        file.flush()
        print("written over", np.array_equal(masks(engine), right), right.max() > 0)
        file.truncate(1000)
    print("cut short", np.array_equal(masks(engine), right))
"""


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


def test_loaded_weights_do_not_change_with_their_file(folder, killed):
    said, status = killed.run_new_python(CODE, folder)
    assert status == 0, said
    assert "written over True True" in said
    assert "cut short True" in said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has mapped")
def test_no_weights_stay_mapped(folder):
    engine = ENTRY.create(folder, "cpu")
    engine.load(NullReporter())
    with open("/proc/self/maps") as maps:
        assert str(folder) not in maps.read()
    engine.close()


def test_a_file_that_changes_while_it_is_read_is_said(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"1234")
    unchanged = FileIdentity(file)
    unchanged.check()
    file.write_bytes(b"123")
    with pytest.raises(CheckpointInvalid, match=r"changed on the disk .* Load the model again"):
        unchanged.check()
    file.unlink()
    with pytest.raises(CheckpointInvalid, match="changed on the disk"):
        unchanged.check()

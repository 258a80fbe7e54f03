"""A save or a folder batch whose process is killed leaves no half file, and goes on."""

import signal

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.io.images import read_image

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")

BATCH = """
import sys
from napari_sam3_assistant import api
api.segment_folder(sys.argv[1], sys.argv[2], texts=["bright spots"])
"""
SAVE = """
import sys
import numpy as np
from napari_sam3_assistant.io.labels import save_labels
save_labels(np.full((50, 60), 2, np.uint32), sys.argv[1])
"""


@pytest.mark.parametrize("ending", [".tif", ".npy", ".png"])
def test_a_killed_save_keeps_the_file_that_was_there(tmp_path, killed, ending):
    path = tmp_path / f"a{ending}"
    killed.run_and_kill(killed.KILL_AT_SYNC.format(count=1) + SAVE, path)
    assert not path.exists()

    said, status = killed.run_python(SAVE, path)
    assert status == 0, said
    killed.run_and_kill(killed.KILL_AT_SYNC.format(count=1) + SAVE.replace("2, np", "3, np"), path)

    assert np.asarray(read_image(path).data).tolist() == np.full((50, 60), 2).tolist()


def test_a_killed_folder_batch_goes_on(tmp_path, killed):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    rows, columns = np.mgrid[:60, :80]
    for number in range(1, 5):
        spots = np.hypot(rows - 30, columns % (80 // number) - 40 // number) < 7
        tifffile.imwrite(source / f"{number}.tif", np.where(spots, 200, 30).astype(np.uint8))

    # The labels of the third image are written, their note is not.
    killed.run_and_kill(killed.KILL_AT_SYNC.format(count=6) + BATCH, source, output)

    seen = {path.name for path in output.iterdir() if not path.name.startswith(".")}
    assert seen == {
        *(f"{number}_bright_spots_mask.tif" for number in (1, 2, 3)),
        *(f"{number}_bright_spots_mask.tif.json" for number in (1, 2)),
    }
    before = {output / name: (output / name).stat().st_mtime_ns for name in seen}
    found = api.segment_folder(source, output, texts=["bright spots"])

    assert [(row.status, row.objects) for row in found] == [
        ("skipped", 1),
        ("skipped", 2),
        ("done", 3),
        ("done", 4),
    ]
    # Labels without a note may be anybody's: they stay.
    assert found[2].labels == "3_bright_spots_mask_02.tif"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(output.glob(".*"))  # the draft of the note that was being written
    for row in found:
        assert np.asarray(read_image(output / row.labels).data).max() == row.objects

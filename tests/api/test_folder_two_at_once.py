"""Two folder batches into one folder at the same time: neither replaces what the other wrote."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.io.images import read_image

IMAGES = 12
BATCH = """
import sys
from napari_sam3_assistant import api
source, output, threshold, ending = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
api.segment_folder(
    source, output, boxes=[(8, 8, 32, 32)], threshold=float(threshold), ending=ending
)
"""


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_every_labels_file_has_its_own_note(tmp_path, ending):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    rows, columns = np.mgrid[:40, :40]
    for number in range(IMAGES):
        disc = np.hypot(rows - 20, columns - 20) < 4 + number % 8
        tifffile.imwrite(source / f"{number}.tif", np.where(disc, 200, 30).astype(np.uint8))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BATCH, source, output, threshold, ending],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for threshold in ("0.25", "0.75")
    ]
    for one in started:
        assert one.stdout.readline() == "ready\n"
    for one in started:
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in started:
        one.communicate()
        assert one.returncode == 0

    made = set()
    for labels in output.glob(f"*{ending}"):
        note = json.loads(labels.with_name(f"{labels.name}.json").read_text("utf-8"))
        image, threshold = note["extra"]["source"], note["threshold"]
        assert note["labels"] == labels.name
        assert labels.name.startswith(f"{image.removesuffix('.tif')}_mask")
        (found,) = note["objects"]
        assert found["area"] == np.count_nonzero(read_image(labels).data[...])
        made.add((image, threshold))
    assert made == {(f"{k}.tif", level) for k in range(IMAGES) for level in (0.25, 0.75)}
    assert len(list(output.glob("*.json"))) == 2 * IMAGES
    assert not list(output.glob(".*"))

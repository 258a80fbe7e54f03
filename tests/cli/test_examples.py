"""The examples in the help of each command are run as they stand there."""

import json
import re
import shlex

import numpy as np
import pytest
import tifffile
from skimage.draw import disk

from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.workflows.annotate_folder import (
    AnnotatedFolder,
    ImageState,
    LabelsToSave,
)

COMMANDS = (
    *("segment", "scan", "batch", "precompute", "rerun", "track", "info", "serve", "demo"),
    *("doctor", "download", "clean", "measure", "export", "export-series", "import"),
)
# What an example can't run without, and the words by which it asks for it.
NEEDS = {
    "weights": ("--model-folder", "--compare-devices"),
    "a server": ("--compute", "serve"),
    "the network": ("download",),
}
LABELS = np.zeros((150, 160), np.uint16)
for at, (y, x) in enumerate(((40, 52), (120, 85), (110, 30)), 1):
    LABELS[disk((y, x), 12)] = at
CELLS = np.where(LABELS > 0, 200, 30).astype(np.uint8)


def examples(command, capsys, monkeypatch):
    """Return the lines that the help of a command gives, without the words between them."""
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    return [
        line.strip()
        for line in re.findall(r"napari-sam3 (.*?)(?:;|$)", told.rpartition("\nExample")[2], re.M)
    ]


def needs(line):
    """Return what a line can't run without, of what no test has."""
    words = line.split()
    return next((what for what, asked in NEEDS.items() if set(words) & set(asked)), None)


def write_files(folder, command):
    """Write a file of each name in the examples, as other programs do."""
    tifffile.imwrite(folder / "cells.tif", CELLS)
    if command in ("clean", "measure", "export"):
        tifffile.imwrite(folder / "labels.tif", LABELS)
    if command == "rerun":
        assert main(["segment", "cells.tif", "-o", "labels.tif", "--text", "bright cells"]) == 0
    with tifffile.TiffWriter(folder / "cells.ome.tif", ome=True) as writer:
        for _ in range(3):
            writer.write(CELLS)
    tifffile.imwrite(
        folder / "stack.tif", np.stack([CELLS] * 14), imagej=True, metadata={"axes": "ZYX"}
    )
    tifffile.imwrite(folder / "slide.tif", CELLS)
    tifffile.imwrite(
        folder / "slide.svs",
        np.stack([CELLS] * 3, axis=-1),
        tile=(64, 64),
        photometric="rgb",
        description="Aperio Image Library v10.0.51\r\n160x150 [0,0 160x150] |AppMag = 20|MPP = 0.5",
    )
    (folder / "data.yaml").write_text("names:\n  0: debris\n  1: nucleus\n")
    square = [[[10, 20], [30, 20], [30, 40], [10, 40], [10, 20]]]
    (folder / "slide.geojson").write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [
                    {
                        "type": "Feature",
                        "geometry": {"type": "Polygon", "coordinates": square},
                        "properties": {"objectType": "annotation"},
                    }
                ],
            }
        )
    )
    (folder / "coco.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 150}],
                "categories": [{"id": 7, "name": "nucleus"}],
                "annotations": [
                    {
                        "id": 1,
                        "image_id": 1,
                        "category_id": 7,
                        "segmentation": [[10, 20, 30, 20, 30, 40, 10, 40]],
                        "bbox": [10, 20, 20, 20],
                        "area": 400,
                        "iscrowd": 0,
                    }
                ],
            }
        )
    )
    images = folder / "images"
    images.mkdir()
    for name in "ab":
        tifffile.imwrite(images / f"{name}.tif", CELLS)
    annotated = AnnotatedFolder(images, images / "sam3_labels")
    to_save = LabelsToSave(LABELS, make_axes(LABELS.shape), ({"id": 1, "class": "nucleus"},))
    annotated.save("a.tif", ImageState.DONE, to_save, NullReporter())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_the_help_run_one_after_the_other(command, tmp_path, monkeypatch, capsys):
    lines = examples(command, capsys, monkeypatch)
    assert lines
    assert lines[0].startswith(f"{command} ")
    local = [line for line in lines if not needs(line)]
    if not local:
        pytest.skip(f"the example needs {needs(lines[0])}")
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, command)

    for line in local:
        before = set(tmp_path.rglob("*"))
        assert main(shlex.split(line)) == 0, line
        assert "Traceback" not in capsys.readouterr().err
        written = {str(one.relative_to(tmp_path)) for one in set(tmp_path.rglob("*")) - before}
        named = re.search(r"(?:-o|--output) (\S+)", line)
        assert named is None or any(one.startswith(named[1]) for one in written), (line, written)

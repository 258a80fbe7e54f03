"""The files of an annotated folder, without a window."""

import csv
import json

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import ExportError, MaskError
from napari_sam3_assistant.workflows.annotate_folder import (
    AnnotatedFolder,
    ImageState,
    LabelsToSave,
)


@pytest.fixture
def source(tmp_path):
    labels = np.zeros((20, 30), np.uint32)
    labels[2:6, 3:9], labels[10:15, 3:9] = 1, 2
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", (labels > 0).astype(np.uint8) * 200)
    folder = AnnotatedFolder(tmp_path, tmp_path / "sam3_labels")
    told = ({"id": 1, "score": 0.5, "class": "cell"}, {"id": 2, "score": None})
    to_save = LabelsToSave(labels, make_axes(labels.shape), told)
    folder.save("b.tif", ImageState.DONE, to_save, NullReporter())
    return tmp_path


def test_by_the_command_line(source, capsys):
    assert main(["export-series", str(source), "--more", "Perimeter", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["objects"], told["images"]) == (2, 1)
    coco = json.loads((source / "sam3_labels" / "sam3_coco.json").read_text())
    assert [one["file_name"] for one in coco["images"]] == ["b.tif"]
    with (source / "sam3_labels" / "sam3_objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert "Perimeter" in rows[0]
    assert [row["class"] for row in rows] == ["cell", ""]


def test_what_can_not_be_done_is_a_sentence(source, tmp_path, capsys):
    with pytest.raises(MaskError, match="no measurement"):
        api.export_series(source, more=["Weight"])
    with pytest.raises(ExportError, match="no annotation"):
        api.export_series(source, tmp_path / "elsewhere")
    assert main(["export-series", str(source), "--labels", str(tmp_path / "no")]) == 2
    assert "no annotation" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()

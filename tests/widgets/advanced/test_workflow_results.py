"""The results table and its buttons as in the first manual, by mouse and keyboard."""

import csv

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

import needs
from amounts import thorough

PREVIEW = "SAM3 preview labels"
HEADER = ("Layer", "Prompt", "Frame", "Object ID", "Score", "Area")


@pytest.mark.parametrize(
    "engine", ["builtin", thorough("sam3-transformers", marks=[needs.TORCH])], indirect=True
)
def test_results(open_advanced, discs, engine, qapp, tmp_path, monkeypatch):
    advanced = open_advanced(discs)
    user = advanced.user
    engine.choose(user)
    # Without a phrase the column Prompt has a dash.
    user.choose_in("tool", "Box")
    user.click("create_prompt_layer")
    user.drag(user.viewer.layers["image"], (12, 22), (30, 40), (48, 58))
    user.run()
    # Columns of what is measured follow a moment later.
    ((layer, prompt, frame, number, _, area, *_measured),) = advanced.cells()
    assert (layer, prompt, frame, number) == ("image", "-", "-", "1")
    assert int(area) == np.count_nonzero(user.preview)
    empty = {"Prompt", "Frame"}
    assert empty <= {HEADER[at] for at in range(len(HEADER)) if advanced.table.isColumnHidden(at)}

    # With a phrase: layer, prompt, frame, id, score and area of each object.
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright objects")
    user.wait_for_end()
    model = advanced.table.model()
    titles = [model.headerData(at, Qt.Orientation.Horizontal) for at in range(len(HEADER))]
    assert tuple(titles) == HEADER
    assert {HEADER[at] for at in range(len(HEADER)) if advanced.table.isColumnHidden(at)} == {
        "Frame"
    }
    rows = advanced.cells()
    assert len(rows) >= 4
    for layer, prompt, frame, _, score, area, *_measured in rows:
        assert (layer, prompt, frame) == ("image", "bright objects", "-")
        assert 0 <= float(score) <= 1
        assert int(area) > 0

    # Copy Clipboard: tab-separated, with headers.
    user.click("copy_results")
    table = [HEADER, *(row[:6] for row in rows)]
    copied = [tuple(line.split("\t"))[:6] for line in qapp.clipboard().text().splitlines()]
    assert copied == table
    # Export CSV.
    chosen = (str(tmp_path / "results"), "CSV (*.csv)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)
    user.click("export_results")
    user.wait_for_end()
    assert user.status.startswith(f"✓ Exported {len(rows)} result rows to ")
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        assert [tuple(line)[:6] for line in csv.reader(file)] == table
    # Clear Results: the table only.
    user.click("clear_results")
    assert advanced.cells() == []
    assert user.has(PREVIEW)

"""How long the results table halts the window with the objects of a large scan.

``python benchmarks/results_table.py [--objects 100000]``; without a screen under ``xvfb-run``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QLineEdit, QTableView

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.session.values import (
    FileBackedKind,
    FileBackedLabels,
    Preview,
    ResultRow,
)
from napari_sam3_assistant.widgets.main_widget import MainWidget

SIDE = 10


def timed(title: str, call: object) -> None:
    """Run and print how long it took, with what Qt does at once."""
    began = time.perf_counter()
    call()  # type: ignore[operator]
    QApplication.processEvents()
    print(f"{title:<44} {1000 * (time.perf_counter() - began):8.1f} ms")


def main() -> None:
    """Fill the table and use it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    count = parser.parse_args().objects
    import napari

    viewer = napari.Viewer(show=True)
    width = SIDE * 400
    image = np.zeros((SIDE * -(-count // 400), width), np.uint8)
    viewer.add_image(image, name="slide")
    widget = MainWidget(viewer)
    viewer.window.add_dock_widget(widget, area="right")
    binding = widget.binding
    for button in widget.findChildren(object, "mode_advanced"):
        button.click()
    target = binding.adapter.displayed(binding.model.image).target
    objects = tuple(
        StitchedObject(
            number + 1,
            64,
            Region(y := SIDE * (number // 400), x := SIDE * (number % 400), y + 8, x + 8),
            0.5 + number % 97 / 200,
            "cells",
        )
        for number in range(count)
    )
    stored = FileBackedLabels(FileBackedKind.SCAN, target, Path("slide_cells_scan.zarr"), (image,))
    rows = tuple(ResultRow(stored, record) for record in objects)  # made by the job
    table = widget.findChild(QTableView, "results_table")
    words = widget.findChild(QLineEdit, "results_filter")
    results = binding.session.results
    region = Region(0, 0, 8, 8)
    record = ObjectRecord(1, np.ones((8, 8), bool), region, 0.9, "cell")
    found = Segmentation(
        np.ones((8, 8), np.uint32), (record,), region, Provenance("builtin", "B", "1", "cpu", 0.3)
    )
    print(f"{count} objects")
    timed("rows of a scan come in", lambda: results.add_stored(stored, rows))
    timed(
        "a row is picked on the canvas", lambda: setattr(binding.model, "picked", rows[count - 7])
    )
    timed("sort by score", lambda: table.sortByColumn(4, Qt.SortOrder.DescendingOrder))
    timed("sort by nothing", lambda: table.sortByColumn(-1, Qt.SortOrder.AscendingOrder))
    timed("filter", lambda: words.setText("9999"))
    timed("no filter", lambda: words.setText(""))
    timed(
        "a preview of one object comes and goes beside them",
        lambda: (
            binding.model.show_previews((Preview(target, found, 0.1),)),
            binding.model.show_previews(()),
        ),
    )
    timed("clear", results.clear)
    viewer.close()


if __name__ == "__main__":
    main()

"""The same user, with Advanced mode open."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QTableView, QWidget

import needs
from napari_sam3_assistant import api
from napari_sam3_assistant.engines.caching_engine import CachingEngine


class Advanced:
    """A user who works in the Advanced panel; `user` has hands, this knows where to look."""

    def __init__(self, user):
        user.click("mode_advanced")
        self.main = user.widget
        user.widget = user.widget.findChild(QWidget, "advanced_panel")
        self.user = user

    def cells(self):
        """What the results table shows, row by row."""
        table = self.user.widget.findChild(QTableView, "results_table").model()
        return [
            tuple(table.index(row, column).data() for column in range(table.columnCount()))
            for row in range(table.rowCount())
        ]

    @property
    def table(self):
        return self.user.widget.findChild(QTableView, "results_table")

    @property
    def chosen_row(self):
        """The place of the row that is selected, or None."""
        rows = self.table.selectionModel().selectedRows()
        return rows[0].row() if rows else None


@pytest.fixture
def advanced(user):
    """Somebody in Advanced mode, in a viewer that is not shown."""
    advanced = Advanced(user)
    yield advanced
    vars(advanced).clear()


@pytest.fixture
def open_advanced(open_window):
    """Open a real window in Advanced mode."""
    return lambda *image, **layer: Advanced(open_window(*image, **layer))


@dataclass(frozen=True)
class Chosen:
    """An engine, as the user chooses it and as the API names it."""

    name: str
    folder: Path | None = None
    # Random weights are sure of nothing: at 0 they find whatever they are asked for.
    threshold: float = 0.35
    # Of the API, which loads it once for all tests of a file.
    opened: CachingEngine | None = None

    def choose(self, user):
        """Choose the engine in step 1, and in step 2 a threshold that it reaches."""
        if self.folder is not None:
            user.click("choose_model_folder")
            user.wait_for_end()
        assert user.combo("engine").value == self.name
        user.widget.findChild(QDoubleSpinBox, "threshold").setValue(self.threshold)

    def labels(self, image, **prompts):
        """What the API makes of the same."""
        given = {"engine": self.opened or self.name, "threshold": self.threshold}
        contrast = None if image.dtype == np.uint8 else (image.min(), image.max())
        return api.segment(image, **prompts, **given, contrast=contrast).labels

    @property
    def has_weights(self):
        return self.folder is not None


@pytest.fixture(scope="module")
def opened_sam3(request):
    """SAM 3 with small random weights, as the API opens it."""
    folder = request.getfixturevalue("tiny_checkpoint")
    with api.open_engine("sam3-transformers", model_folder=folder) as engine:
        yield engine


@pytest.fixture(params=["builtin", pytest.param("sam3-transformers", marks=needs.TORCH)])
def engine(request, monkeypatch):
    """The built-in engine, and SAM 3 with small random weights."""
    if request.param == "builtin":
        return Chosen("builtin")
    folder = request.getfixturevalue("tiny_checkpoint")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    return Chosen(request.param, folder, 0.0, request.getfixturevalue("opened_sam3"))

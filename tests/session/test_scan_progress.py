"""What a scan that was stopped says, without a window."""

import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import TileOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.jobs import JobState
from napari_sam3_assistant.session.model import ScanModel, SessionModel
from napari_sam3_assistant.session.scanning import ScanNews, ScanProgress
from napari_sam3_assistant.session.values import PlaneTarget
from napari_sam3_assistant.workflows.scan import ScanRequest, scan


@pytest.mark.parametrize("arrived", [1, 2, 4])
def test_a_stopped_scan_says_how_many_tiles_lie_on_the_disk(tmp_path, arrived):
    # A step comes to the user's thread after its tile is kept, and not at all after Cancel.
    image = np.zeros((600, 600), np.uint8)
    image[40:60, 40:60] = image[400:430, 400:430] = 200
    view = view_of_array(image)
    output = tmp_path / "labels.zarr"
    request = ScanRequest(
        view, PromptSet(text="bright spots"), output, tiles=TileOptions(256, 0.25)
    )
    with api.open_engine("builtin") as engine:
        steps = list(itertools.islice(scan(engine, request, NullReporter()), 1 + 3))
    (channel,) = view.channels
    target = PlaneTarget("image", "image", channel.source.axes, channel.plane, view.shape)
    model, scan_model = SessionModel(), ScanModel()
    # Shows nothing: what is tested is what is said.
    nobody = SimpleNamespace(show_file_backed=bool, refresh_file_backed=lambda *_: None)
    progress = ScanProgress(model, scan_model, nobody, None, target, (), time.monotonic())

    for step in steps[:arrived]:
        progress.add(ScanNews(output, step, ()))
    progress.end(JobState.CANCELLED)

    assert model.message.text.startswith("Scan stopped: 3 of 9 tiles are kept in ")
    assert scan_model.stopped_scan.done == 3

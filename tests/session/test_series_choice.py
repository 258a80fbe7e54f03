"""What a folder batch offers to choose of files that hold several images, without a window."""

import threading

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.session.folder_runs import SeriesChoice
from napari_sam3_assistant.session.model import (
    EVERY,
    LARGEST,
    REMEMBERED_OF_SCANS,
    ScanModel,
    SessionModel,
)
from napari_sam3_assistant.session.settings import MemorySettings, restore
from napari_sam3_assistant.session.values import Level

DEFAULT = (LARGEST, "Largest image (default)")
EACH = (EVERY, "Every image")


def write(path, *images):
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, shape in images:
            writer.write(np.zeros(shape, np.uint8), metadata={"Name": name, "axes": "YX"})


@pytest.fixture
def folder(tmp_path):
    """Two files with two and three positions, one with one image, and one that is spoilt."""
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.ome.tif", ("thumbnail", (16, 20)), ("Pos 1", (64, 80)), ("Pos 2", (64, 80)))
    write(folder / "b.ome.tif", ("thumbnail", (16, 20)), ("Pos A", (64, 81)))
    write(folder / "c.ome.tif", ("thumbnail", (16, 20)))
    (folder / "d.tif").write_bytes(b"no image")
    return folder


class Bench:
    def __init__(self, desk):
        self.model, self.scan_model, self.desk = SessionModel(), ScanModel(), desk
        self.choice = SeriesChoice(self.model, self.scan_model, desk)

    def look_at(self, folder):
        self.scan_model.folder_source = str(folder)
        self.wait()

    def wait(self):
        self.desk.until(lambda: self.scan_model.folder_series_found is not None)


@pytest.fixture
def bench(desk):
    bench = Bench(desk)
    yield bench
    bench.choice.close()


def test_it_names_what_is_there_and_in_how_many_files(bench, folder):
    assert (bench.choice.choices, bench.scan_model.folder_series) == ((DEFAULT,), LARGEST)
    assert bench.choice.reason == "Choose the folder of the images first."

    bench.scan_model.folder_source = str(folder)
    assert bench.choice.choices == (DEFAULT,)
    assert bench.choice.reason.startswith("Looking")
    bench.wait()

    assert bench.choice.choices == (
        DEFAULT,
        EACH,
        (0, "0: thumbnail, 16 x 20 (3 files)"),
        (1, "1: Pos 1 and others, different sizes (2 of 3 files)"),
        (2, "2: Pos 2, 64 x 80 (1 of 3 files)"),
    )
    assert "Looked at: 3 files, the first by name. 1 file can't be read." in bench.choice.reason
    assert "will fail" not in bench.choice.reason
    bench.scan_model.folder_series = 2
    assert "2 files of these have no image 2: they will fail" in bench.choice.reason
    bench.scan_model.folder_series = 1
    assert "1 file of these has no image 1: they will fail" in bench.choice.reason
    bench.scan_model.folder_series = EVERY
    assert "will fail" not in bench.choice.reason
    bench.scan_model.folder_pattern = "c*"
    bench.wait()
    assert bench.scan_model.folder_series == EVERY
    assert bench.choice.choices[:2] == (DEFAULT, EACH)


def test_files_of_one_image_leave_nothing_to_choose(bench, folder):
    bench.scan_model.folder_pattern = "c*"
    bench.look_at(folder)

    assert bench.choice.choices == (DEFAULT,)
    assert "each file holds one image. Looked at: 1 file" in bench.choice.reason
    bench.scan_model.folder_pattern = "d*"
    bench.wait()
    assert bench.choice.reason == "1 file can't be read."
    assert bench.choice.choices == (DEFAULT,)


@pytest.mark.parametrize(
    ("source", "said"),
    [("missing", "There is no folder"), ("~nobody there", "nobody there. Check the path.")],
)
def test_a_folder_that_is_not_there_keeps_the_choice(bench, folder, source, said):
    bench.scan_model.folder_series = 2
    bench.look_at(folder / source if source == "missing" else source)

    assert said in bench.choice.reason
    assert bench.choice.choices == (DEFAULT, (2, "2: not found yet"))
    assert (bench.scan_model.folder_series, bench.model.message.level) == (2, Level.INFO)
    bench.look_at(folder)
    assert dict(bench.choice.choices)[2] == "2: Pos 2, 64 x 80 (1 of 3 files)"


def test_a_choice_that_no_file_has_is_given_up_and_told(bench, folder):
    bench.scan_model.folder_series = 2
    bench.scan_model.folder_pattern = "[bc]*"
    bench.look_at(folder)

    assert bench.scan_model.folder_series == LARGEST
    assert bench.model.message.level is Level.WARNING
    assert bench.model.message.text.startswith("Series 2 is in none of the 2 files looked at in ")


def test_what_comes_late_of_another_folder_is_dropped(bench, folder, tmp_path, desk):
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "x.ome.tif", ("P", (5, 6)), ("Q", (7, 8)))
    bench.scan_model.folder_source = str(folder)
    first = bench.choice.look()
    # That it began, what it found, and its end: all wait on the desk.
    patience = 24_000
    while desk.waiting < 3 and (patience := patience - 1):
        threading.Event().wait(0.01)
    assert patience

    bench.look_at(tmp_path / "other")

    assert first.state.is_over
    assert [text for _, text in bench.choice.choices][2:] == [
        "0: P, 5 x 6 (1 file)",
        "1: Q, 7 x 8 (1 file)",
    ]
    bench.scan_model.folder_source = " "
    assert bench.scan_model.folder_series_found is None


def test_files_that_came_meanwhile_are_seen_by_another_look(bench, folder):
    bench.look_at(folder)
    write(folder / "e.ome.tif", ("thumbnail", (16, 20)))
    before = bench.scan_model.folder_series_found

    bench.choice.look()
    assert bench.scan_model.folder_series_found is before
    bench.desk.until(lambda: bench.scan_model.folder_series_found is not before)

    assert dict(bench.choice.choices)[0] == "0: thumbnail, 16 x 20 (4 files)"


def test_the_choice_is_remembered():
    store = MemorySettings()
    scan_model = ScanModel()
    restore(scan_model, store, REMEMBERED_OF_SCANS)
    scan_model.folder_series = 3
    again = ScanModel()
    restore(again, store, REMEMBERED_OF_SCANS)

    assert again.folder_series == 3


def test_a_strangers_name_is_one_short_line(bench, folder):
    write(folder / "a.ome.tif", ("first\nline\t" + 500 * "x", (5, 6)), ("Q", (7, 8)))
    bench.scan_model.folder_pattern = "a*"
    bench.look_at(folder)

    assert dict(bench.choice.choices)[0] == f"0: first line {'x' * 49}…, 5 x 6 (1 file)"

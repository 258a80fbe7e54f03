"""Propagated labels that are made again from the note beside them."""

import json

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.prompts import Tool
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.errors import ExportError


@pytest.fixture
def saved(balls, tmp_path):
    """Return a function that saves propagated labels as the user does: note, labels, image."""
    file = tmp_path / "balls.tif"
    tifffile.imwrite(file, balls, photometric="minisblack")

    def save(bench):
        labels = np.asarray(bench.labels.data).copy()
        bench.model.output_folder = str(tmp_path)
        bench.finish(bench.session.cleaning.save())
        path = tmp_path / f"{bench.model.saved[0]}.json"
        return path, labels, file

    return save


def paint(bench, frame, name, part):
    """Paint an object on a slice."""
    layer = bench.arm(Tool.MASK)
    bench.viewer.dims.set_current_step(0, frame)
    layer = bench.arm(Tool.MASK)
    data = np.asarray(layer.data).copy()
    data[(0, *part) if data.shape[0] == 1 else (frame, *part)] = name
    layer.data = data


def assert_same(path, labels, file, objects):
    made = api.rerun(path, image=file)
    assert made.notes == ()
    assert made.objects == objects
    np.testing.assert_array_equal(tifffile.imread(made.path), labels)


def test_a_run_with_a_correction(open_bench, saved):
    bench = open_bench()
    bench.click(4, 20, 20, on=1)
    bench.start()
    before = np.asarray(bench.labels.data).copy()
    bench.click(8, 20, 20, on=1)
    bench.click(8, 40, 50, on=1)
    bench.go_on()
    assert not np.array_equal(bench.labels.data[8:], before[8:])

    assert_same(*saved(bench), 1)


@pytest.mark.parametrize("tool", [Tool.TEXT, Tool.BOX, Tool.EXAMPLE])
def test_other_prompts_in_a_stack_of_four_axes(open_bench, saved, balls, tmp_path, tool):
    movie = np.stack([np.full_like(balls, 30), balls])
    bench = open_bench(movie, axis_labels=("t", "z", "y", "x"))
    bench.viewer.dims.set_current_step(0, 1)
    bench.viewer.dims.set_current_step(1, 6)
    bench.model.tool = tool
    if tool is Tool.TEXT:
        bench.model.text = "bright"
    else:
        layer = bench.arm(tool)
        corners = bench.box(0, 30, 40, 51, 61)
        lead = layer.world_to_data(bench.image.data_to_world((1, 6, 0, 0)))[:-2]
        layer.add([[*lead, y, x] for _, y, x in corners])
    bench.start()
    path, labels, _ = saved(bench)
    assert not labels[0].any()
    file = tmp_path / "movie.npy"
    np.save(file, movie)
    assert_same(path, labels[1], file, len(np.unique(labels)) - 1)


def test_a_painted_correction_keeps_its_object(open_bench, saved):
    bench = open_bench()
    bench.click(4, 20, 20, on=1)
    bench.click(4, 40, 50, on=2)
    bench.start()
    before = np.asarray(bench.labels.data).copy()
    paint(bench, 7, 2, (slice(36, 46), slice(46, 56)))
    bench.go_on()
    assert not np.array_equal(np.asarray(bench.labels.data)[7:], before[7:])

    assert_same(*saved(bench), 2)


def test_removals_ranges_and_a_run_that_was_stopped(open_bench, saved):
    bench = open_bench()
    bench.click(6, 20, 20, on=1)
    bench.click(6, 40, 50, on=2)
    bench.model.first_frame, bench.model.last_frame = 2, 10
    bench.stop_after(3)
    bench.go_on()
    bench.finish(bench.propagation.remove(1))
    bench.model.direction, bench.model.stop_after_lost = Direction.FORWARD, 1
    bench.model.last_frame = None
    bench.go_on()
    path, labels, file = saved(bench)
    steps = json.loads(path.read_text("utf-8"))["extra"]["propagation"]["steps"]
    assert [step.get("goes_on") for step in steps] == [False, True, None, False]
    assert steps[0]["frames"] < sum(len(range(*order)) for order in steps[0]["passes"])
    assert steps[2] == {"removed": 1}
    assert not labels[:2].any()

    assert_same(path, labels, file, 1)


def test_a_stop_is_made_again_on_the_command_line(open_bench, saved, tmp_path, capsys):
    bench = open_bench()
    bench.click(6, 20, 20, on=5)
    bench.stop_after(3)
    path, labels, file = saved(bench)
    again = tmp_path / "again.npy"

    assert main(["rerun", str(path), "--image", str(file), "-o", str(again)]) == 0

    np.testing.assert_array_equal(np.load(again), labels)
    assert capsys.readouterr().out.splitlines() == ["1 object", str(again)]


def test_a_correction_of_labels_that_were_painted_on_is_refused(open_bench, saved):
    bench = open_bench()
    bench.click(4, 20, 20, on=1)
    bench.start()
    bench.labels.data[8, 30:35, 20:25] = 1
    bench.click(8, 23, 23, on=1)
    bench.go_on()
    path, _, file = saved(bench)

    with pytest.raises(ExportError, match="The labels of frame 8 were others") as refused:
        api.rerun(path, image=file)
    assert "napari-sam3 track" in refused.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda step: step.pop("frames"), "does not say completely how .*'frames'"),
        (lambda step: step.update(passes=None), "ended while it took its prompts"),
        (lambda step: step.update(frames=0), "names no frame"),
    ],
)
def test_a_note_that_does_not_say_all_is_refused(open_bench, saved, change, said):
    bench = open_bench()
    bench.click(6, 20, 20, on=5)
    bench.start()
    path, _, file = saved(bench)
    note = json.loads(path.read_text("utf-8"))
    change(note["extra"]["propagation"]["steps"][0])
    path.write_text(json.dumps(note), "utf-8")

    with pytest.raises(ExportError, match=said):
        api.rerun(path, image=file)


def test_save_to_file_writes_the_note_as_well(open_bench, balls, tmp_path):
    file = tmp_path / "balls.tif"
    tifffile.imwrite(file, balls, photometric="minisblack")
    bench = open_bench()
    bench.click(4, 20, 20, on=1)
    bench.start()
    path = tmp_path / "labels.ome.tif"
    for frame in (4, 8):  # the note tells of the latest labels of that name
        bench.click(frame, 40, 50, on=2)
        bench.go_on()
        bench.finish(bench.session.saving.export(path))
        made = api.rerun(f"{path}.json", image=file, output=tmp_path / f"again_{frame}.npy")

        np.testing.assert_array_equal(np.load(made.path), np.asarray(bench.labels.data))
        np.testing.assert_array_equal(tifffile.imread(path), np.asarray(bench.labels.data))

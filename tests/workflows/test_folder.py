"""Every image of a folder."""

import csv
import json
import os
import random
import shutil
from contextlib import closing
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.errors import ExportError, ImageError, JobCancelled, PromptError
from napari_sam3_assistant.io.image_folder import list_images
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.ome_zarr_labels import save_ome_zarr
from napari_sam3_assistant.workflows.batch import FolderRequest, segment_folder

NOTHING = PromptSet()


def squares(count, shape=(40, 60)):
    pixels = np.zeros(shape, np.uint8)
    for number in range(count):
        pixels[5:9, 12 * number + 2 : 12 * number + 8] = 200
    return pixels


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    tifffile.imwrite(folder / "img.001.tif", squares(1))
    tifffile.imwrite(folder / "img.002.tif", squares(2))
    iio.imwrite(folder / "same.png", squares(3))
    iio.imwrite(folder / "same.jpg", squares(4))
    stack = np.stack([squares(1), squares(2), squares(0)])
    save_labels(stack, folder / "stack.tif", make_axes(stack.shape, scale=(2.0, 0.5, 0.25)))
    save_ome_zarr(squares(5), folder / "big.ome.zarr", make_axes((40, 60), scale=(0.5, 0.25)))
    (folder / "broken.tif").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    tifffile.imwrite(folder / "more" / "deep.tif", squares(1))
    return folder


@pytest.fixture
def request_of(source, tmp_path):
    def make(**changes):
        settings = {"prompts": NOTHING, "options": PredictOptions(), "phrases": ("cat",), **changes}
        return FolderRequest(source, tmp_path / "out", **settings)

    return make


def run(engine, request, reporter=None):
    return list(segment_folder(engine, request, reporter or NullReporter()))


def test_each_image_gets_its_labels(engine, request_of, tmp_path):
    rows = run(engine, request_of())

    assert [(row.image, row.status, row.objects, row.labels) for row in rows] == [
        ("big.ome.zarr", "done", 5, "big_cat_mask.tif"),
        ("broken.tif", "failed", None, ""),
        ("img.001.tif", "done", 1, "img.001_cat_mask.tif"),
        ("img.002.tif", "done", 2, "img.002_cat_mask.tif"),
        ("same.jpg", "done", 4, "same_jpg_cat_mask.tif"),
        ("same.png", "done", 3, "same_png_cat_mask.tif"),
        ("stack.tif", "done", 3, "stack_cat_mask.tif"),
        ("more", "left out", None, ""),
        ("notes.txt", "left out", None, ""),
    ]
    assert "**/*" in rows[-2].message
    assert "not one of TIFF, PNG" in rows[-1].message
    for row in rows:
        if row.status == "done":
            labels = read_image(tmp_path / "out" / row.labels)
            values = np.unique(np.asarray(labels.data)).tolist()
            assert values == list(range(row.objects + 1))
    stack = read_image(tmp_path / "out" / "stack_cat_mask.tif")
    assert (stack.data.shape, stack.axis_labels) == ((3, 40, 60), ("z", "y", "x"))
    assert [axis.scale for axis in stack.axes] == [2.0, 0.5, 0.25]
    assert [int(plane.max()) for plane in np.asarray(stack.data)] == [1, 3, 0]
    big = read_image(tmp_path / "out" / "big_cat_mask.tif")
    assert [axis.scale for axis in big.axes] == [0.5, 0.25]


def test_images_are_in_their_natural_order(engine, tmp_path):
    (tmp_path / "in" / "b2").mkdir(parents=True)
    for name in ("c10", "c9", "c1a", "b2/x10", "b2/x2", "a", "01", "2"):
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", squares(0))

    request = FolderRequest(
        tmp_path / "in", tmp_path / "out", NOTHING, PredictOptions(), ("cat",), pattern="**/*"
    )

    assert [row.image for row in run(engine, request)] == [
        "01.tif", "2.tif", "a.tif", "b2/x2.tif", "b2/x10.tif", "c1a.tif", "c9.tif", "c10.tif"
    ]  # fmt: skip


def test_the_summary_lists_all(engine, request_of, tmp_path):
    rows = run(engine, request_of(phrases=("cat", "what it does not know")))

    with (tmp_path / "out" / "sam3_summary.csv").open(newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert [(row["image"], row["phrase"], row["status"]) for row in listed] == [
        (row.image, row.phrase, row.status) for row in rows
    ]
    assert "does not know" in listed[1]["message"]


def test_the_summary_keeps_what_other_starts_did(engine, request_of, tmp_path):
    def listed():
        with (tmp_path / "out" / "sam3_summary.csv").open(newline="", encoding="utf-8") as file:
            return [(row["image"], row["phrase"], row["status"]) for row in csv.DictReader(file)]

    first = run(engine, request_of(phrases=("cat",), pattern="img*"))
    run(engine, request_of(phrases=("dog",), pattern="img*"))
    images = [row.image for row in first]
    assert listed() == [(image, phrase, "done") for phrase in ("cat", "dog") for image in images]
    # The same once more: its rows alone are replaced.
    run(engine, request_of(phrases=("cat",), pattern="img*"))
    assert listed() == [(image, "dog", "done") for image in images] + [
        (image, "cat", "skipped") for image in images
    ]
    # A table that somebody else wrote is none of ours, and stays under another name.
    (tmp_path / "out" / "sam3_summary.csv").write_bytes(b"image;phrase\n\xff\n")
    run(engine, request_of(phrases=("dog",), pattern="img*"))
    assert listed() == [(image, "dog", "skipped") for image in images]
    assert (tmp_path / "out" / "sam3_summary_02.csv").read_bytes() == b"image;phrase\n\xff\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_summary_that_a_spreadsheet_has_saved_keeps_its_rows(
    engine, request_of, tmp_path, encoding, delimiter
):
    path = tmp_path / "out" / "sam3_summary.csv"
    run(engine, request_of(phrases=("cät",), pattern="img*"))
    with path.open(newline="", encoding="utf-8") as file:
        before = list(csv.reader(file))
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(before)
    run(engine, request_of(phrases=("dog",), pattern="img*"))

    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[: len(before)] == before
    assert not list(path.parent.glob("sam3_summary_*"))


def test_an_image_is_encoded_once_for_all_phrases(engine, bright, request_of):
    run(engine, request_of(phrases=("cat", "dog", "fish"), pattern="img*"))

    assert len(bright.encoded) == 2


def test_folders_below(engine, request_of, tmp_path):
    rows = run(engine, request_of(pattern="**/*.tif"))

    assert "more/deep.tif" in [row.image for row in rows]
    assert (tmp_path / "out" / "more" / "deep_cat_mask.tif").exists()


def test_pixels_that_are_written_to_a_zarr_folder_are_looked_at_again(engine, request_of, source):
    request = request_of(pattern="*.zarr")
    image = source / "big.ome.zarr"
    assert [(row.status, row.objects) for row in run(engine, request)] == [("done", 5)]
    (image / "labels").mkdir()
    save_labels(squares(1), image / "labels" / "cells.tif")
    assert [row.status for row in run(engine, request)] == ["skipped"]
    zarr.open_array(image / "0", mode="r+")[:, 14:] = 0
    assert [(row.status, row.objects) for row in run(engine, request)] == [("done", 1)]


def test_what_other_weights_of_a_server_have_found_is_not_finished(engine, bright, request_of):
    request = request_of(pattern="img*")
    for weights, status in (("one", "done"), ("one", "skipped"), ("two", "done")):
        bright.portable_id = weights
        assert {row.status for row in run(engine, request)} == {status}


def test_a_second_start_skips_what_is_finished(engine, bright, request_of, source, tmp_path):
    run(engine, request_of())
    before = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "out").iterdir()
        if path.suffix != ".csv"
    }
    tifffile.imwrite(source / "new.tif", squares(1))
    tifffile.imwrite(source / "img.002.tif", squares(4))
    encoded = len(bright.encoded)

    rows = {row.image: row for row in run(engine, request_of())}

    assert {name for name, row in rows.items() if row.status == "skipped"} == {
        "big.ome.zarr",
        "img.001.tif",
        "same.jpg",
        "same.png",
        "stack.tif",
    }
    assert rows["img.001.tif"].objects == 1
    # What was changed is run again, and the old labels stay.
    assert (rows["img.002.tif"].status, rows["img.002.tif"].labels) == (
        "done",
        "img.002_cat_mask_02.tif",
    )
    assert rows["new.tif"].status == "done"
    assert len(bright.encoded) - encoded == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_chunks_of_an_image_are_looked_at_when_its_turn_comes(
    engine, request_of, source, tmp_path, monkeypatch
):
    """A plate has millions of them; and what is changed after its turn is run again."""
    for number in range(12):
        save_ome_zarr(squares(2), source / f"z{number:02}.ome.zarr", make_axes((40, 60)))
    looked_at, walk = [], os.walk

    def noted(top, *args, **kwargs):
        if os.fspath(top).endswith(".zarr"):
            looked_at.append(top)
        return walk(top, *args, **kwargs)

    monkeypatch.setattr(os, "walk", noted)
    request = request_of(pattern="z*.zarr")

    assert len(list_images(source, tmp_path / "out", "z*.zarr")) == 12
    assert not looked_at
    rows = segment_folder(engine, request, NullReporter())
    next(rows)
    assert len(looked_at) < 12
    zarr.open_array(source / "z00.ome.zarr" / "0", mode="r+")[:, 14:] = 0
    assert len(list(rows)) == 11
    assert len(looked_at) == 12

    again = run(engine, request)
    assert [row.status for row in again] == ["done"] + 11 * ["skipped"]


def test_the_same_batch_twice_at_once(engine, request_of, tmp_path):
    """The second says so, and makes no second labels; another one, or one that was killed, may."""
    (tmp_path / "out").mkdir()
    first = segment_folder(engine, request_of(), NullReporter())
    rows = [next(first)]

    with pytest.raises(ExportError, match=r"The same batch is going on in .*out now"):
        run(engine, request_of())
    others = run(engine, request_of(phrases=("dog",)))
    rows += first
    again = run(engine, request_of())

    assert {row.status for row in rows} == {row.status for row in others}
    assert [row.labels for row in again if row.status == "skipped"] == [
        row.labels for row in rows if row.status == "done"
    ]
    assert not list((tmp_path / "out").glob("*_02.*"))
    assert not list((tmp_path / "out").glob(".sam3-batch-*"))


def test_a_batch_is_the_same_under_the_names_of_another_computer(
    engine, request_of, source, tmp_path
):
    """Here a share is /mnt/lab, there it is Z:, and both work into it."""
    marks = set()
    shutil.copytree(source, tmp_path / "share" / "in")
    for folder in (tmp_path, tmp_path / "share"):
        request = replace(request_of(), source=folder / "in", output=folder / "out")
        with closing(segment_folder(engine, request, NullReporter())) as rows:
            next(rows)
            (mark,) = (folder / "out").glob(".sam3-batch-*")
            marks.add(mark.name[:20])
    assert len(marks) == 1


def test_other_prompts_never_overwrite(engine, request_of, tmp_path):
    run(engine, request_of(pattern="img.001.tif"))
    strict = request_of(pattern="img.001.tif", options=PredictOptions(0.9))

    (row,) = run(engine, strict)

    assert (row.status, row.labels) == ("done", "img.001_cat_mask_02.tif")
    assert run(engine, strict)[0].status == "skipped"


def test_what_other_weights_have_found_is_not_finished(engine, bright, request_of, tmp_path):
    statuses = []
    for name, content in {"small": b"1", "large": b"2", "small, moved": b"1"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / bright.weights).write_bytes(content)
        (row,) = run(engine, request_of(pattern="img.001.tif", model_folder=tmp_path / name))
        statuses.append(row.status)

    assert statuses == ["done", "done", "skipped"]


def test_labels_without_a_note_are_not_finished(engine, request_of, tmp_path):
    run(engine, request_of(pattern="img.001.tif"))
    (tmp_path / "out" / "img.001_cat_mask.tif.json").unlink()

    (row,) = run(engine, request_of(pattern="img.001.tif"))

    assert (row.status, row.labels) == ("done", "img.001_cat_mask_02.tif")


def test_output_in_the_source_is_no_image(engine, source):
    request = FolderRequest(source, source / "out", NOTHING, PredictOptions(), ("cat",), "**/*.tif")
    first = run(engine, request)
    second = run(engine, request)

    assert [row.image for row in first] == [row.image for row in second]


def test_a_cancel_keeps_what_is_done_and_its_summary(engine, request_of, tmp_path):
    token = CancelToken()

    class Reporter(NullReporter):
        def report(self, progress):
            token.check()

        check = token.check

    rows = segment_folder(engine, request_of(pattern="img*"), Reporter())
    next(rows)
    token.cancel()
    with pytest.raises(JobCancelled):
        next(rows)

    with (tmp_path / "out" / "sam3_summary.csv").open(newline="", encoding="utf-8") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["img.001.tif"]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"phrases": ()}, PromptError, "No prompts found"),
        ({"pattern": "*.gif"}, ImageError, "No image in"),
        ({"pattern": "/x"}, ImageError, "pattern '/x'"),
        ({"output": "in"}, ExportError, "same folder"),
        ({"source": "nowhere"}, ImageError, "no folder"),
        ({"output": "in/notes.txt"}, ExportError, "can't be written"),
    ],
)
def test_refused_with_a_sentence(engine, request_of, tmp_path, changes, error, said):
    settings = {key: value for key, value in changes.items() if key in ("phrases", "pattern")}
    wanted = request_of(**settings)
    source = tmp_path / changes.get("source", "in")
    output = tmp_path / changes.get("output", "out")
    request = FolderRequest(
        source, output, wanted.prompts, wanted.options, wanted.phrases, wanted.pattern
    )

    with pytest.raises(error, match=said) as caught:
        run(engine, request)
    assert caught.value.hint


def test_labels_that_can_not_be_written_are_one_sentence(engine, request_of, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "more").write_text("a file where the folder should be")

    rows = run(engine, request_of(pattern="**/*e*p.tif")) + run(engine, request_of(pattern="img*"))

    assert [(row.image, row.status) for row in rows] == [
        ("more/deep.tif", "failed"),
        ("img.001.tif", "done"),
        ("img.002.tif", "done"),
    ]
    assert "can't be written" in rows[0].message


def test_long_phrases_make_no_long_names(engine, request_of):
    (row,) = run(engine, request_of(phrases=("a/b: " * 100,), pattern="img.001.tif"))

    assert row.status == "done"
    assert row.labels.startswith("img.001_a_b_")
    assert len(row.labels) < 100


def test_an_image_that_the_memory_does_not_hold_costs_itself(engine, request_of, monkeypatch):
    def save(labels, path, *_, **__):
        if path.name.startswith("img.002"):
            raise MemoryError
        return save_labels(labels, path)

    monkeypatch.setattr("napari_sam3_assistant.workflows.batch.save_labels", save)
    rows = run(engine, request_of(pattern="[is][am]*"))

    assert [row.status for row in rows] == ["done", "failed", "done", "done"]
    assert "not enough free memory" in rows[1].message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_notes_of_strangers_never_stop_a_batch(engine, request_of, tmp_path, hostile_lines):
    output = tmp_path / "out"
    run(engine, request_of(pattern="img.001.tif"))
    told = json.loads((output / "img.001_cat_mask.tif.json").read_text("utf-8"))
    random_ = random.Random(1)
    for number in range(150):
        spoilt = hostile_lines.spoil(told, random_)
        (output / f"stranger{number}.tif").touch()
        (output / f"stranger{number}.tif.json").write_text(json.dumps(spoilt), "utf-8")
    os.mkfifo(output / "pipe.tif.json")
    (output / "deep.tif.json").write_text(f'{{"format": "{told["format"]}", "x": {"[" * 10**5}')
    os.truncate(output / "stranger0.tif.json", 1 << 30)
    chunks = output / "labels.zarr"
    chunks.mkdir()
    (chunks / "a.json").write_text(json.dumps(told))

    rows = run(engine, request_of(pattern="img*"))

    assert [row.status for row in rows] == ["skipped", "done"]


def test_what_lies_beside_the_folder_is_not_read(engine, request_of, tmp_path):
    tifffile.imwrite(tmp_path / "beside.tif", squares(1))

    for pattern in ("../*", "more/../../*", "*/.."):
        with pytest.raises(ImageError, match="leads out of the folder"):
            run(engine, request_of(pattern=pattern))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside.tif", "in"]


def test_a_plate_runs_field_by_field(engine, tmp_path, write_plate):
    """Also where it lies in a folder beside other images; outputs have the names of the wells."""
    (tmp_path / "in" / "day 1").mkdir(parents=True)
    count = {0: 1, 1: 2, 10: 3, 11: 4}
    path = tmp_path / "in" / "day 1" / "plate.zarr"
    write_plate(path, value_of=lambda value: squares(count[value]))
    tifffile.imwrite(tmp_path / "in" / "img.tif", squares(3))
    fields = ("A/1/0", 1), ("A/1/1", 2), ("B/12/0", 3), ("B/12/1", 4)

    def of(source, pattern="*"):
        request = FolderRequest(
            tmp_path / source, tmp_path / f"out of {source.rpartition('/')[2]}", NOTHING,
            PredictOptions(), ("cat",), pattern,
        )  # fmt: skip
        return [(row.image, row.status, row.objects, row.labels) for row in run(engine, request)]

    assert of("in/day 1/plate.zarr") == [
        (name, "done", found, f"plate_{name.replace('/', '_')}_cat_mask.tif")
        for name, found in fields
    ]
    labels = read_image(tmp_path / "out of plate.zarr" / "plate_B_12_1_cat_mask.tif")
    assert [axis.scale for axis in labels.axes] == [0.5, 0.25]
    assert {row[1] for row in of("in/day 1/plate.zarr")} == {"skipped"}
    assert [row[0] for row in of("in/day 1/plate.zarr", "B/*/1")] == ["B/12/1"]
    assert of("in", "**/*") == [
        *(
            (
                f"day 1/plate.zarr/{name}", "done", found,
                f"day 1/plate_{name.replace('/', '_')}_cat_mask.tif",
            )
            for name, found in fields
        ),
        ("img.tif", "done", 3, "img_cat_mask.tif"),
    ]  # fmt: skip

"""A folder that is annotated image by image: states, labels, and the files of all."""

import csv
import json
import os
from collections import Counter

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from faulty_disks import locked
from killed_process import run_and_kill
from napari_sam3_assistant import api
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.errors import ExportError, ImageError
from napari_sam3_assistant.io.annotations import CocoFile
from napari_sam3_assistant.io.atomic import draft_path
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.workflows.annotate_folder import (
    COCO_FILE,
    STATES_FILE,
    AnnotatedFolder,
    ImageState,
    LabelsToSave,
)
from napari_sam3_assistant.workflows.provenance import RunProvenance

HAND = Provenance("accepted", "Accepted objects", "1", "cpu", 0.5)
QUIET = NullReporter()


def to_save(image, labels, classes=(), stamp=None):
    """Labels as the window saves them."""
    run = RunProvenance(view_of_array(image), PromptSet(), PredictOptions(), HAND)
    ids = [int(one) for one in np.unique(labels) if one]
    named = dict(zip(ids, classes, strict=False))
    objects = [
        {"id": one, "score": 0.5, "area": 4, "text": "", "class": named.get(one)} for one in ids
    ]
    return LabelsToSave(labels, make_axes(labels.shape), tuple(objects), run, stamp)


def squares(count, shape=(30, 60)):
    labels = np.zeros(shape, np.uint32)
    for number in range(count):
        labels[5:9, 12 * number + 2 : 12 * number + 8] = number + 1
    return labels


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (1, 2, 10):
        tifffile.imwrite(folder / f"cell{number}.tif", squares(2).astype(np.uint8) * 90)
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "labels"


def states(folder):
    return {one.name: str(one.state) for one in folder.images}


def test_images_are_in_their_natural_order_and_untouched(source, output):
    folder = AnnotatedFolder(source, output)

    assert [one.name for one in folder.images] == ["cell1.tif", "cell2.tif", "cell10.tif"]
    assert folder.counts == Counter({ImageState.UNTOUCHED: 3})
    assert folder.first() == "cell1.tif"


def test_states_and_labels_are_there_again(source, output):
    folder = AnnotatedFolder(source, output)
    opened = folder.open("cell2.tif")
    labels = squares(3)
    saved = folder.save("cell2.tif", ImageState.DONE, to_save(opened.image.data, labels), QUIET)
    folder.set_state("cell10.tif", ImageState.FLAGGED)
    assert saved.path == output / "cell2_labels.tif"

    again = AnnotatedFolder(source, output)

    assert list(states(again).values()) == ["untouched", "done", "flagged"]
    assert again.get("cell2.tif").objects == 3
    back = again.open("cell2.tif")
    np.testing.assert_array_equal(back.labels, labels)
    assert [told["id"] for told in back.note.objects] == [1, 2, 3]
    assert back.note.extra["source"] == "cell2.tif"
    # Saved again, they are in the same file.
    changed = to_save(opened.image.data, squares(1), stamp=back.stamp)
    assert again.save("cell2.tif", ImageState.DONE, changed, QUIET).path == saved.path
    np.testing.assert_array_equal(tifffile.imread(saved.path), squares(1))


def test_the_folder_begins_where_the_work_ended(source, output):
    def begin():
        return AnnotatedFolder(source, output)

    begin().set_state("cell1.tif", ImageState.FLAGGED)
    begin().set_state("cell2.tif", ImageState.DONE)
    assert begin().first() == "cell10.tif"  # not what was flagged on the way
    begin().set_state("cell10.tif", ImageState.BEGUN)
    assert begin().first() == "cell10.tif"
    begin().set_state("cell10.tif", ImageState.DONE)
    assert begin().first() == "cell1.tif"  # flagged: all that is left
    begin().set_state("cell1.tif", ImageState.DONE)
    assert begin().first() == "cell1.tif"  # of all


def test_the_folder_begins_after_an_image_that_was_chosen_from_the_list(source, output):
    AnnotatedFolder(source, output).set_state("cell2.tif", ImageState.DONE)
    assert AnnotatedFolder(source, output).first() == "cell10.tif"
    AnnotatedFolder(source, output).set_state("cell10.tif", ImageState.DONE)
    assert AnnotatedFolder(source, output).first() == "cell1.tif"  # the only one that is left


def test_skipping_done(source, output):
    folder = AnnotatedFolder(source, output)
    folder.set_state("cell2.tif", ImageState.DONE)

    assert folder.find_next("cell1.tif", 1, skip_done=True) == "cell10.tif"
    assert folder.find_next("cell1.tif", 1, skip_done=False) == "cell2.tif"
    assert folder.find_next("cell10.tif", -1, skip_done=True) == "cell1.tif"
    assert folder.find_next("cell10.tif", 1, skip_done=False) == ""


def test_ten_thousand_images_start_by_their_names(tmp_path, monkeypatch):
    source = tmp_path / "many"
    source.mkdir()
    for number in range(10_000):
        (source / f"i{number}.tif").touch()
    opened = []
    import builtins
    import io

    real = builtins.open
    monkeypatch.setattr(io, "open", lambda *a, **k: opened.append(a[0]) or real(*a, **k))
    monkeypatch.setattr(builtins, "open", lambda *a, **k: opened.append(a[0]) or real(*a, **k))
    real_os = os.open
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(a[0]) or real_os(*a, **k))

    folder = AnnotatedFolder(source, tmp_path / "out")

    assert len(folder.images) == 10_000
    assert len(opened) < 20
    assert not any(str(one).endswith(".tif") for one in opened)


def test_a_set_of_ome_tiffs_is_one_image(tmp_path):
    source = tmp_path / "set"
    source.mkdir()
    planes = np.arange(2 * 8 * 9, dtype=np.uint16).reshape(2, 8, 9)
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="9" SizeY="8" SizeZ="2" '
        'SizeC="1" SizeT="1"><TiffData FirstZ="0" PlaneCount="1"><UUID FileName="z0.ome.tif">'
        'urn:uuid:a0</UUID></TiffData><TiffData FirstZ="1" PlaneCount="1"><UUID '
        'FileName="z1.ome.tif">urn:uuid:a1</UUID></TiffData></Pixels></Image></OME>'
    )
    for number, plane in enumerate(planes):
        own = xml.replace("<OME ", f'<OME UUID="urn:uuid:a{number}" ')
        tifffile.imwrite(source / f"z{number}.ome.tif", plane, description=own, metadata=None)
    folder = AnnotatedFolder(source, tmp_path / "out")
    assert len(folder.images) == 2  # nothing was opened yet

    opened = folder.open("z1.ome.tif")

    assert opened.name == "z0.ome.tif"
    assert opened.image.data.shape == (2, 8, 9)
    assert [one.name for one in folder.images] == ["z0.ome.tif"]
    assert [one.name for one in AnnotatedFolder(source, tmp_path / "out").images] == ["z0.ome.tif"]


def write_positions(path, *, smaller=True):
    """Write three positions of a stage, each with its own brightness, and a picture of all."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number in range(3):
            pixels = squares(2).astype(np.uint8) * (50 + number)
            writer.write(pixels, metadata={"axes": "YX", "Name": f"Pos {number}"})
        if smaller:
            writer.write(np.zeros((8, 8), np.uint8), metadata={"axes": "YX", "Name": "all"})


def test_the_images_of_a_file_are_images_each(source, output):
    """The largest was opened alone, and the others never seen."""
    write_positions(source / "cell5.ome.tif")
    folder = AnnotatedFolder(source, output)
    assert [one.name for one in folder.images][2] == "cell5.ome.tif"  # nothing was opened

    opened = folder.open("cell5.ome.tif")

    names = [f"cell5.ome.tif [{number}: Pos {number}]" for number in range(3)]
    all_names = ["cell1.tif", "cell2.tif", *names, "cell10.tif"]
    assert opened.name == names[0]
    assert [one.name for one in folder.images] == all_names
    assert folder.find_next(names[2], 1, skip_done=False) == "cell10.tif"
    for number in (1, 2):
        opened = folder.open(names[number])
        assert opened.image.pixels().max() == 2 * (50 + number)
        assert opened.image.series == number
        labels = to_save(opened.image.data, squares(number))
        folder.save(names[number], ImageState.DONE, labels, QUIET)
    again = AnnotatedFolder(source, output)
    assert [one.name for one in again.images] == all_names
    assert [again.get(name).objects for name in names] == [0, 1, 2]
    np.testing.assert_array_equal(again.open(names[2]).labels, squares(2))
    assert len({one.labels for one in again.images}) == 3  # two, and none
    made = again.export(QUIET)
    with made.table.open(newline="") as file:
        rows = [(row["image"], float(row["Mean intensity"])) for row in csv.DictReader(file)]
    assert rows == [(names[1], 51), (names[2], 52), (names[2], 104)]
    assert [one.file_name for one in CocoFile(made.coco).images] == names[1:]


def test_what_was_done_while_the_file_counted_as_one_stays(source, output):
    write_positions(source / "cell5.ome.tif", smaller=False)
    folder = AnnotatedFolder(source, output)
    image = read_image(source / "cell5.ome.tif", 0).data
    folder.save("cell5.ome.tif", ImageState.BEGUN, to_save(image, squares(2)), QUIET)
    folder.keep_prompts("cell5.ome.tif", ["a"])

    opened = folder.open("cell5.ome.tif")

    for known in (folder, AnnotatedFolder(source, output)):
        assert known.get("cell5.ome.tif").name == opened.name == "cell5.ome.tif [0: Pos 0]"
        assert known.get(opened.name).objects == 2
        assert known.prompts_of(opened.name) == ["a"]
        np.testing.assert_array_equal(known.open("cell5.ome.tif").labels, squares(2))
        assert Counter(states(known).values()) == {"begun": 1, "untouched": 5}


def test_what_else_a_file_holds_is_no_image_to_annotate(source, output):
    """Of a slide the pictures of its label and of all the glass, in HDF5 labels."""
    with tifffile.TiffWriter(source / "cell5.tif") as writer:
        for size in (64, 16):
            writer.write(np.zeros((size, size, 3), np.uint8), photometric="rgb", metadata=None)
    np.savez(source / "cell6.npz", image=squares(1), labels=squares(2))
    folder = AnnotatedFolder(source, output)

    assert {folder.open(name).name for name in ("cell5.tif", "cell6.npz")} == {
        "cell5.tif",
        "cell6.npz",
    }


def test_labels_of_other_tools_are_no_images(source, output):
    tifffile.imwrite(source / "cell2_cp_masks.tif", squares(1).astype(np.uint16))
    tifffile.imwrite(source / "lonely_mask.tif", squares(1).astype(np.uint16))

    folder = AnnotatedFolder(source, output)

    assert [one.name for one in folder.images][:3] == ["cell1.tif", "cell2.tif", "cell10.tif"]
    assert [one.name for one in folder.images][3:] == ["lonely_mask.tif"]
    assert folder.get("cell2.tif").others == source / "cell2_cp_masks.tif"


@pytest.mark.parametrize("name", ["cell_2_labels", "cell_2_labels_1", "other_mask_001"])
def test_labels_that_save_has_put_among_the_images_are_none_of_them(source, output, name):
    """Of an image `cell 2` they are called `cell_2_labels`: a space is not for every system."""
    (source / "cell2.tif").rename(source / "cell 2.tif")
    before = [image.name for image in AnnotatedFolder(source, output).images]
    saved = source / f"{name}.tif"
    api.segment(squares(1), text="bright objects", output=saved)
    assert saved.with_name(f"{saved.name}.json").exists()
    assert [image.name for image in AnnotatedFolder(source, output).images] == before


def test_a_folder_of_nothing_but_saved_labels_is_said(tmp_path):
    source = tmp_path / "saved"
    source.mkdir()
    api.segment(squares(1), text="bright objects", output=source / "cells_labels.tif")
    with pytest.raises(ImageError, match="holds labels, and no image of them"):
        AnnotatedFolder(source, tmp_path / "out")


def test_two_processes_add_up_and_overwrite_nothing(source, output):
    one, other = AnnotatedFolder(source, output), AnnotatedFolder(source, output)
    image = one.open("cell1.tif").image.data
    other.open("cell1.tif")
    one.save("cell1.tif", ImageState.DONE, to_save(image, squares(1)), QUIET)
    other.set_state("cell2.tif", ImageState.FLAGGED)

    saved = other.save("cell1.tif", ImageState.DONE, to_save(image, squares(4)), QUIET)

    assert saved.beside == output / "cell1_labels.tif"
    assert saved.path == output / "cell1_labels_02.tif"
    np.testing.assert_array_equal(tifffile.imread(saved.beside), squares(1))
    one.refresh()
    assert states(one) == states(other)
    assert states(one)["cell2.tif"] == "flagged"


def test_labels_on_the_disk_keep_one_name(source, output, tmp_path):
    folder = AnnotatedFolder(source, output)
    stored = zarr.open(tmp_path / "accepted.zarr", mode="w", shape=(40, 50), dtype="uint32")
    first = folder.images[0].name
    stamp, names = None, set()
    for value in (1, 2, 3):
        stored[3:9, 4:9] = value
        to_save = LabelsToSave(stored, make_axes(stored.shape), stamp=stamp)
        saved = folder.save(first, ImageState.BEGUN, to_save, QUIET)
        assert saved.beside is None
        names.add(saved.path)
        stamp = saved.stamp
        assert read_image(saved.path).pixels().max() == value
    assert len(names) == 1
    assert len(list(output.glob("*.zarr"))) == 1

    # What somebody else has written there meanwhile stays.
    (path,) = names
    path.rename(tmp_path / "away")
    zarr.save(path, np.full((4, 5), 9))
    stored[0, 0] = 7
    to_save = LabelsToSave(stored, make_axes(stored.shape), stamp=stamp)
    saved = folder.save(first, ImageState.BEGUN, to_save, QUIET)
    assert saved.beside == path
    assert saved.path != path


def test_somebody_elses_file_of_that_name_stays(source, output):
    output.mkdir()
    (output / "cell1_labels.tif").write_bytes(b"mine")
    folder = AnnotatedFolder(source, output)
    image = folder.open("cell1.tif").image.data

    saved = folder.save("cell1.tif", ImageState.DONE, to_save(image, squares(1)), QUIET)

    assert saved.path.name == "cell1_labels_02.tif"
    assert (output / "cell1_labels.tif").read_bytes() == b"mine"


def test_damaged_labels_stay_as_they_are(source, output):
    folder = AnnotatedFolder(source, output)
    image = folder.open("cell1.tif").image.data
    path = folder.save("cell1.tif", ImageState.DONE, to_save(image, squares(1)), QUIET).path
    path.write_bytes(b"damaged")

    opened = folder.open("cell1.tif")
    assert opened.labels is None
    assert "stay as they are" in opened.problem
    saved = folder.save("cell1.tif", ImageState.DONE, to_save(image, squares(2)), QUIET)

    assert saved.path != path
    assert path.read_bytes() == b"damaged"


def test_on_a_disk_that_nobody_may_write_to_the_labels_of_before_stay(source, output):
    folder = AnnotatedFolder(source, output)
    image = folder.open("cell1.tif").image.data
    first = folder.save("cell1.tif", ImageState.BEGUN, to_save(image, squares(1)), QUIET)

    again = to_save(image, squares(4), stamp=first.stamp)
    with locked(output), pytest.raises(ExportError):
        folder.save("cell1.tif", ImageState.DONE, again, QUIET)

    folder = AnnotatedFolder(source, output)
    assert states(folder)["cell1.tif"] == "begun"
    np.testing.assert_array_equal(folder.open("cell1.tif").labels, squares(1))


KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[4], os.path.dirname(sys.argv[4])]
import numpy as np
from pathlib import Path
import test_annotate_folder as of
from napari_sam3_assistant.workflows.annotate_folder import AnnotatedFolder, ImageState
from napari_sam3_assistant.workflows import annotate_folder

folder = AnnotatedFolder(Path(sys.argv[1]), Path(sys.argv[2]))
opened = folder.open("cell1.tif")
step, steps = int(sys.argv[3]), []
def kill(*arguments, **choices):
    steps.append(0)
    if len(steps) == step:
        os.kill(os.getpid(), signal.SIGKILL)
for module, name in (
    (annotate_folder, "export_labels"), (annotate_folder, "write_provenance"), (folder, "_note")
):
    def wrap(real=getattr(module, name)):
        def wrapped(*arguments, **choices):
            kill()
            return real(*arguments, **choices)
        return wrapped
    setattr(module, name, wrap())
request = of.to_save(opened.image.data, of.squares(4), stamp=opened.stamp)
folder.save("cell1.tif", ImageState.DONE, request, of.QUIET)
kill()
"""


@pytest.mark.parametrize("step", range(1, 6))
@pytest.mark.parametrize("before", [0, 2])
def test_who_is_killed_at_any_step_finds_whole_labels(source, output, step, before):
    folder = AnnotatedFolder(source, output)
    image = folder.open("cell1.tif").image.data
    if before:
        folder.save("cell1.tif", ImageState.DONE, to_save(image, squares(before)), QUIET)
    run_and_kill(KILLED, source, output, step, os.path.dirname(__file__))

    again = AnnotatedFolder(source, output)
    opened = again.open("cell1.tif")
    found = 0 if opened.labels is None else int(opened.labels.max())
    assert found in (before, 4)
    assert opened.problem == ""
    saved = again.save(
        "cell1.tif", ImageState.DONE, to_save(image, squares(3), stamp=opened.stamp), QUIET
    )
    assert saved.path == output / "cell1_labels.tif"
    assert not [one for one in output.iterdir() if one.name.startswith(draft_path(saved.path).name)]


def test_half_a_line_is_no_line(source, output):
    AnnotatedFolder(source, output).set_state("cell1.tif", ImageState.DONE)
    with (output / STATES_FILE).open("ab") as file:
        file.write(b'{"image": "cell2.tif", "state": "do')

    folder = AnnotatedFolder(source, output)
    folder.set_state("cell10.tif", ImageState.FLAGGED)

    assert list(states(AnnotatedFolder(source, output)).values()) == [
        "done",
        "untouched",
        "flagged",
    ]


def test_the_labels_of_another_folder_are_left_alone(source, output, tmp_path):
    AnnotatedFolder(source, output)
    other = tmp_path / "others"
    other.mkdir()
    tifffile.imwrite(other / "cell1.tif", squares(1).astype(np.uint8))

    with pytest.raises(ExportError, match="holds the labels of the images in"):
        AnnotatedFolder(other, output)
    # A folder that was moved is the same.
    source.rename(tmp_path / "moved")
    assert len(AnnotatedFolder(tmp_path / "moved", output).images) == 3


@pytest.mark.parametrize(
    "head", ["", "[]", '{"format": "napari-sam3-assistant folder annotation", "version": 2}', "\0"]
)
def test_what_is_no_file_of_states_is_not_written_to(source, output, head):
    output.mkdir()
    (output / STATES_FILE).write_text(head)

    with pytest.raises(ExportError):
        AnnotatedFolder(source, output)

    assert (output / STATES_FILE).read_text() == head


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.fixed_dictionaries(
                {
                    "image": st.sampled_from(["cell1.tif", "x", "", 3]),
                    "state": st.sampled_from(["done", "flagged", "nothing", None]),
                    "labels": st.sampled_from(["a.tif", "../../a.tif", "/etc/passwd", 1]),
                    "objects": st.sampled_from([1, -1, "1", None, 1e400]),
                    "files": st.sampled_from([[], ["cell2.tif", "cell1.tif"], 3]),
                    "series": st.sampled_from([[0], [-1, 0], [0, 7], "all"]),
                    "names": st.sampled_from([["../a"], ["a", ""], [1], []]),
                    "taken": st.sampled_from([0, 1, 99, -1, "0"]),
                }
            ).map(lambda told: json.dumps(told).encode()),
        ),
        max_size=6,
    )
)
def test_strange_lines_are_passed_over(tmp_path_factory, lines):
    source = tmp_path_factory.mktemp("strange")
    for name in ("cell1.tif", "cell2.tif"):
        (source / name).touch()
    AnnotatedFolder(source, source / "out")
    with (source / "out" / STATES_FILE).open("ab") as file:
        file.write(b"\n".join([*lines, b""]))

    folder = AnnotatedFolder(source, source / "out")
    folder.set_state("cell1.tif", ImageState.FLAGGED)

    again = AnnotatedFolder(source, source / "out")
    assert again.get("cell1.tif").state is ImageState.FLAGGED
    for one in again.images:
        assert (source / "out" / one.labels).resolve().is_relative_to((source / "out").resolve())


def test_a_table_and_a_coco_of_all(source, output):
    folder = AnnotatedFolder(source, output)
    folder.save_classes(ClassList.of_names(["nucleus", "debris"]))
    for name, count, classes in (("cell1.tif", 2, ("nucleus", "debris")), ("cell10.tif", 3, ())):
        image = folder.open(name).image.data
        folder.save(name, ImageState.DONE, to_save(image, squares(count), classes), QUIET)
    folder.save("cell2.tif", ImageState.DONE, None, QUIET)

    made = AnnotatedFolder(source, output).export(QUIET)

    assert (made.images, made.objects, made.failed) == (3, 5, ())
    with made.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["id"], row["class"]) for row in rows] == [
        ("cell1.tif", "1", "nucleus"), ("cell1.tif", "2", "debris"),
        ("cell10.tif", "1", ""), ("cell10.tif", "2", ""), ("cell10.tif", "3", ""),
    ]  # fmt: skip
    assert {row["Measured area"] for row in rows} == {"24.0"}
    assert float(rows[0]["Mean intensity"]) == 90
    coco = CocoFile(made.coco)
    assert made.coco == output / COCO_FILE
    assert [one.file_name for one in coco.images] == ["cell1.tif", "cell10.tif"]
    assert list(coco.classes.names.values()) == ["nucleus", "debris", "object"]
    back = coco.paint(coco.find("cell10.tif"))
    np.testing.assert_array_equal(back.labels, squares(3))


def test_an_image_that_can_not_be_read_is_told_and_the_rest_is_there(source, output):
    folder = AnnotatedFolder(source, output)
    for name in ("cell1.tif", "cell2.tif"):
        image = folder.open(name).image.data
        folder.save(name, ImageState.DONE, to_save(image, squares(2)), QUIET)
    (source / "cell1.tif").write_bytes(b"gone bad")

    made = folder.export(QUIET)

    assert made.objects == 2
    assert made.failed[0][0] == "cell1.tif"


def test_a_folder_without_images(tmp_path):
    with pytest.raises(ImageError, match="No image"):
        AnnotatedFolder(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""Names that are not taken."""

import ntpath
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amounts import FEW
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.outputs import (
    distinct_paths,
    free_name,
    numbered_name,
    propose_path,
    safe_name,
    save_under_free_name,
    split_ending,
)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("exp1.0_A", ("exp1.0_A", "")),
        ("exp1.0_A.tif", ("exp1.0_A", ".tif")),
        ("exp1.0_A.OME.TIF", ("exp1.0_A", ".OME.TIF")),
        ("a.b.zarr", ("a.b", ".zarr")),
        (".tif", (".tif", "")),
    ],
)
def test_dots_in_names_survive(name, parts):
    assert split_ending(name) == parts


def test_the_name_itself_then_numbers(tmp_path):
    wanted = tmp_path / "exp1.0_A.tif"
    assert free_name(wanted) == wanted
    wanted.write_text("")
    assert free_name(wanted).name == "exp1.0_A_02.tif"
    (tmp_path / "exp1.0_A_02.tif").mkdir()
    assert free_name(wanted).name == "exp1.0_A_03.tif"
    assert free_name(wanted, taken={"exp1.0_a_03.tif"}).name == "exp1.0_A_04.tif"


def test_numbers_from_one(tmp_path):
    assert numbered_name(tmp_path, "coins.v1_mask", ".tif").name == "coins.v1_mask_01.tif"
    (tmp_path / "coins.v1_mask_01.tif").write_text("")
    assert numbered_name(tmp_path, "coins.v1_mask", ".tif").name == "coins.v1_mask_02.tif"
    assert numbered_name(tmp_path, "coins.v1_mask", ".png").name == "coins.v1_mask_01.png"


@pytest.mark.parametrize(
    ("text", "safe"),
    [("A - cat", "A_-_cat"), ("exp 1.0/B", "exp_1.0_B"), ("..", "_"), ("Zelle ä", "Zelle_ä")],
)
def test_texts_as_parts_of_names(text, safe):
    assert safe_name(text) == safe


PARTS = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(["con", "AUX", "Nul", "lpt1", "x", ".", " ", "_"])).map("".join),
)


@FEW
@given(PARTS)
@example("CON")
@example("aux.tif")
@example("ä" * 200)
def test_texts_begin_names_on_every_system(text):
    name = safe_name(text)

    assert safe_name(name) == name
    assert len(os.fsencode(f"{name}_propagated_mask_02_classes.csv")) < 256
    assert not set(name) & set('<>:"/\\|?*')
    device, _, _ = name.partition(".")
    devices = ("con", "prn", "aux", "nul", "com1", "lpt1")
    assert device.lower() not in devices
    if hasattr(ntpath, "isreserved"):  # from Python 3.13 on
        assert not ntpath.isreserved(name)


STEMS = st.lists(st.sampled_from(["a", "A", "a_1", "A_1", "a_2", "é", "e\u0301", "ß", "ss", "b"]))


@given(STEMS.filter(bool), st.booleans())
def test_names_are_distinct_on_disks_without_upper_case_too(names, numbered):
    marks = [str(place if numbered else 1) for place, _ in enumerate(names, 1)]

    found = distinct_paths([Path("there", name) for name in names], marks)

    alike = [unicodedata.normalize("NFC", str(path).casefold()) for path in found]
    assert len(set(alike)) == len(names)
    for name, path in zip(names, found, strict=True):
        assert path.parent == Path("there")
        assert path.name == name if names == [name] else path.name.startswith(name)


def test_a_name_that_is_too_long_is_one_sentence(tmp_path):
    with pytest.raises(ExportError) as caught:
        free_name(tmp_path / ("x" * 5000) / "a.tif")
    assert caught.value.hint


@pytest.mark.parametrize("letter", ["x", "ä", "細", "😀"])
@pytest.mark.parametrize("ending", [".tif", ".ome.zarr"])
def test_an_image_with_the_longest_name_has_names_for_its_labels(tmp_path, letter, ending):
    image = tmp_path / (letter * ((255 - 4) // len(letter.encode())) + ".tif")
    image.touch()
    wanted = image.with_name(f"{image.stem}_labels{ending}")

    names = [save_under_free_name(wanted, Path.touch) for _ in "123"]
    names.append(numbered_name(tmp_path, wanted.stem, ending))

    assert len(set(names)) == 4
    for name in names:
        assert name.name.startswith(letter)
        assert name.name.endswith(ending)
        assert "_labels" in name.name
        for beside in (".json", "_classes.csv"):
            name.with_name(f"{name.name}{beside}").touch()


def test_a_name_that_somebody_takes_while_it_is_written_to_is_left_to_them(tmp_path):
    tried = []

    def save(path):
        tried.append(path.name)
        if len(tried) < 3:
            path.write_text("somebody else's")
            raise NameTaken(f"{path} exists already.")
        path.write_text("ours")

    (tmp_path / "a.tif").write_text("an old one")
    path = save_under_free_name(tmp_path / "a.tif", save)

    assert tried == ["a_02.tif", "a_03.tif", "a_04.tif"]
    assert path == tmp_path / "a_04.tif"
    assert path.read_text() == "ours"


def test_links_to_nowhere_and_the_place_of_a_note_are_taken(tmp_path):
    (tmp_path / "a.tif").symlink_to("gone")
    (tmp_path / "a_02.tif.json").write_text("{}")

    assert free_name(tmp_path / "a.tif").name == "a_03.tif"


@pytest.mark.parametrize("ending", [*(one.suffix for one in ExportFormat), ".csv", ".ome.zarr"])
def test_what_is_proposed_ends_as_its_format_does(tmp_path, ending):
    image = tmp_path / "a.b.tif"

    names = []
    for _ in "123":
        names.append(propose_path("a.b_labels", ending, image).name)
        (tmp_path / names[-1]).touch()

    assert names == [f"a.b_labels{number}{ending}" for number in ("", "_02", "_03")]

"""The note beside labels."""

import base64
import json
import os
import sys
import tracemalloc
import zlib

import numpy as np
import pytest

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.options import TileOptions
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.json_values import prompts_from_json, prompts_to_json
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.ome_zarr_labels import save_ome_zarr
from napari_sam3_assistant.io.provenance import (
    ProvenanceRecord,
    provenance_path,
    read_provenance,
    sha256_of,
    write_provenance,
)

PROMPTS = PromptSet(
    points=(PointPrompt(1.5, 2.25), PointPrompt(3, 4, False, 2)),
    boxes=(BoxPrompt(Region(0, 1, 5, 7)), BoxPrompt(Region(0, 1, 5, 7), 3)),
    masks=(MaskPrompt(np.random.default_rng(0).random((13, 7)) > 0.5, Region(2, 3, 15, 10)),),
    exemplars=(ExemplarPrompt(Region(0, 0, 2, 2), False),),
    text="zellen ä",
)
ENGINE = Provenance("builtin", "Built-in", "0.26", "cpu", 0.3, "w.pt", "zellen")


def note(**changes):
    settings = {"channels": ({"path": None},), "prompts": PROMPTS, "threshold": 0.35, **changes}
    return ProvenanceRecord(engine=ENGINE, **settings)


def test_prompts_come_back():
    found = prompts_from_json(json.loads(json.dumps(prompts_to_json(PROMPTS))))

    assert (found.points, found.boxes) == (PROMPTS.points, PROMPTS.boxes)
    assert (found.exemplars, found.text) == (PROMPTS.exemplars, PROMPTS.text)
    assert found.masks[0].region == PROMPTS.masks[0].region
    np.testing.assert_array_equal(found.masks[0].mask, PROMPTS.masks[0].mask)


def test_boxes_come_back_with_their_fractions():
    drawn = (1.25, 2.5, 7.75, 9.0)
    prompts = PromptSet(
        boxes=(BoxPrompt.from_box(drawn, object_id=3),),
        exemplars=(ExemplarPrompt.from_box(drawn, positive=False),),
    )

    written = json.loads(json.dumps(prompts_to_json(prompts)))
    found = prompts_from_json(written)

    assert (found.boxes, found.exemplars) == (prompts.boxes, prompts.exemplars)
    written["boxes"][0]["drawn"] = [1.25, 2.5, 77.75, 9.0]
    with pytest.raises(ValueError, match="is not that of"):
        prompts_from_json(written)


def test_a_note_comes_back(tmp_path):
    written = note(
        region=Region(1, 2, 3, 4),
        tiles=TileOptions(512, 0.25),
        axes=make_axes((4, 5), scale=(0.5, 0.25), units="micrometer", origin=(3.0, 1.5)),
        all_planes=True,
        model_folder="/models/sam3",
        sha256="abc",
        objects=({"id": 1, "score": None, "area": 3, "box": [0, 0, 1, 3], "text": ""},),
        notes=("Nothing else.",),
        extra={"source": "a.tif"},
    )

    path = write_provenance(tmp_path / "exp1.0_A.tif", written)
    found = read_provenance(path)

    assert path == provenance_path(tmp_path / "exp1.0_A.tif") == tmp_path / "exp1.0_A.tif.json"
    for name in (
        "channels", "threshold", "engine", "region", "tiles", "axes", "all_planes", "model_folder",
        "sha256", "objects", "notes", "extra", "software", "made",
    ):  # fmt: skip
        assert getattr(found, name) == getattr(written, name), name
    assert {"python", "numpy", "napari-sam3-assistant"} <= set(found.software)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found.update(version=99), "later version"),
        (lambda found: found.update(format="other"), "does not say what made"),
        (lambda found: found.pop("prompts"), "does not say completely"),
        (lambda found: found.update(region=[1, 2]), "does not say completely"),
        (lambda found: found.update(region=[0, 0, 1e400, 5]), "is not a whole number"),
        (lambda found: found.update(version="1"), "is not a whole number"),
        (lambda found: found.update(threshold=float("nan")), "is not a finite number"),
        (lambda found: found.update(tiles={"size": -5, "overlap": 0.1}), "tile size of -5"),
        (lambda found: found.update(notes=3), "is not a list"),
        (lambda found: found["engine"].update(device=[]), "is not a text"),
        (lambda found: found["prompts"]["points"][0].update(object_id=10**30), "is too large"),
        (lambda found: found["prompts"]["points"][0].update(y=10**400), "is not a finite number"),
        (lambda found: found["prompts"]["masks"][0].update(bits="!"), "does not say completely"),
        (lambda found: found["prompts"]["masks"][0].update(box=[0, 0, 9, 9]), "not the size"),
    ],
)
def test_notes_that_can_not_be_used(tmp_path, change, said):
    path = write_provenance(tmp_path / "a.tif", note())
    found = json.loads(path.read_text("utf-8"))
    change(found)
    path.write_text(json.dumps(found))

    with pytest.raises(ExportError, match=said) as caught:
        read_provenance(path)
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe"])
def test_files_that_are_no_notes(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(ExportError):
        read_provenance(tmp_path / "a.json")


def test_labels_that_are_replaced_lose_their_note(tmp_path):
    labels = tmp_path / "cells.tif"
    save_labels(np.ones((4, 5), np.uint16), labels)
    path = write_provenance(labels, note())

    save_labels(np.zeros((4, 5), np.uint16), labels)

    assert not path.exists()


def test_an_ome_zarr_that_is_replaced_loses_its_note(tmp_path):
    labels = tmp_path / "cells.zarr"
    save_ome_zarr(np.ones((4, 5), np.uint16), labels, make_axes((4, 5)))
    path = write_provenance(labels, note())

    save_ome_zarr(np.zeros((4, 5), np.uint16), labels, make_axes((4, 5)), replace=True)

    assert not path.exists()


def test_what_is_no_note_stays_beside_labels(tmp_path):
    labels = tmp_path / "cells.tif"
    provenance_path(labels).write_text('{"mine": 1}')

    save_labels(np.ones((4, 5), np.uint16), labels)

    assert provenance_path(labels).read_text() == '{"mine": 1}'


def test_a_missing_note(tmp_path):
    with pytest.raises(ExportError, match="can't be read"):
        read_provenance(tmp_path / "a.json")


def test_the_checksum_follows_the_file(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"abc")
    first = sha256_of(path)
    path.write_bytes(b"abcd")

    assert first == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path) != first


def damaged(tmp_path, change):
    path = write_provenance(tmp_path / "a.tif", note())
    found = json.loads(path.read_text("utf-8"))
    change(found)
    path.write_text(json.dumps(found))
    return path


def box_of(side, bits):
    """Return what makes the painted mask of a note one of a huge box."""
    packed = base64.b64encode(zlib.compress(bytes(bits))).decode()
    mask = {"box": [0, 0, side, side], "bits": packed, "object_id": None}
    return lambda found: found["prompts"].update(masks=[mask])


@pytest.mark.parametrize(
    "change",
    [
        box_of(10**5, 10),
        box_of(10**4, 10**8),  # ten times what its box takes
        lambda found: found["prompts"].update(masks=[{"box": [0, 0, 10**5, 10**5], "bits": ""}]),
    ],
)
def test_sizes_are_checked_before_anything_is_made(tmp_path, change):
    path = damaged(tmp_path, change)
    tracemalloc.start()
    try:
        with pytest.raises(ExportError):
            read_provenance(path)
        assert tracemalloc.get_traced_memory()[1] < 1e8
    finally:
        tracemalloc.stop()


def test_a_note_of_a_gigabyte_is_not_read(tmp_path):
    path = write_provenance(tmp_path / "a.tif", note())
    os.truncate(path, 1 << 30)

    with pytest.raises(ExportError, match="it is too large"):
        read_provenance(path)


@pytest.mark.parametrize("content", ["[" * 10**5, '{"a":' * 10**5])
def test_the_depth_of_a_note_is_bounded(tmp_path, content):
    (tmp_path / "a.json").write_text(f'{{"format": "napari-sam3-assistant labels", "x": {content}')

    with pytest.raises(ExportError, match="does not say completely"):
        read_provenance(tmp_path / "a.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tif.json")

    with pytest.raises(ExportError, match="is not a file on a disk"):
        read_provenance(tmp_path / "a.tif.json")
    with pytest.raises(ExportError, match="is not a note of labels"):
        write_provenance(tmp_path / "a.tif", note())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_come_back(tmp_path):
    name = os.fsdecode(b"caf\xe9.tif")

    path = write_provenance(tmp_path / name, note(extra={"source": name}))

    path.read_bytes().decode("utf-8")
    assert read_provenance(path).extra == {"source": name}


@pytest.mark.parametrize("ending", [".tif", ".npy", ".zarr"])
def test_the_old_note_goes_before_the_labels_are_replaced(tmp_path, monkeypatch, ending):
    labels = tmp_path / f"cells{ending}"
    save = {
        ".zarr": lambda pixels: save_ome_zarr(pixels, labels, make_axes(pixels.shape), replace=True)
    }
    save = save.get(ending, lambda pixels: save_labels(pixels, labels))
    save(np.ones((4, 5), np.uint16))
    path = write_provenance(labels, note())
    text, seen = path.read_text(), []

    def look(draft, place, **_):
        seen.append((path.exists(), labels.exists()))
        raise PermissionError(13, "Permission denied")

    for module in ("atomic", "ome_zarr_labels"):
        monkeypatch.setattr(f"napari_sam3_assistant.io.{module}.give_name", look)
    with pytest.raises(ExportError, match="Permission denied"):
        save(np.zeros((4, 5), np.uint16))

    assert seen == [(False, True)]
    # What could not be replaced keeps its note.
    assert path.read_text() == text
    assert sorted(tmp_path.iterdir()) == sorted([labels, path])

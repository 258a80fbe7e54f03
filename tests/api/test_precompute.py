"""Encodings made ahead: found again elsewhere, by clicks that then encode nothing."""

import json
import shutil
from functools import cached_property

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.encoding_cache import EmbeddingFolder, pack_encoding
from napari_sam3_assistant.errors import EngineError
from napari_sam3_assistant.io.image_folder import FolderImage

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from safetensors.torch import load_file, save_file  # noqa: E402


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4000, (3, 60, 70), np.uint16)
    tifffile.imwrite(folder / "stack.ome.tif", pixels, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "plane.tif", rng.integers(0, 255, (50, 40), np.uint8))
    (folder / "broken.tif").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def filled(images, tiny_checkpoint, tmp_path_factory):
    """A folder of encodings, and what was said of each image."""
    output = tmp_path_factory.mktemp("filled") / "encodings"
    return output, api.precompute(images, output, model_folder=tiny_checkpoint)


@pytest.fixture
def weights_elsewhere(tiny_checkpoint, tmp_path):
    """The same weights as another machine has them: another folder, other times."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "weights", copy_function=shutil.copyfile)


def test_every_plane_is_encoded_and_what_fails_is_said(filled):
    output, rows = filled
    assert [(row.image, row.status, row.planes) for row in rows] == [
        ("broken.tif", "failed", 0),
        ("plane.tif", "done", 1),
        ("stack.ome.tif", "done", 3),
    ]
    assert len(list(output.glob("*.safetensors"))) == 4
    assert not list(output.glob("writer-*"))


def test_clicks_on_another_machine_encode_nothing(
    filled, images, weights_elsewhere, tmp_path, model_calls
):
    moved = shutil.copytree(filled[0], tmp_path / "moved")
    open_engine = {"model_folder": weights_elsewhere, "encodings_folder": moved}
    stack = images / "stack.ome.tif"
    with api.open_engine("sam3-transformers", **open_engine) as engine:
        found = api.segment(stack, plane=(2,), points=[(30, 30)], engine=engine)
        assert model_calls["encode"] == 0
        assert model_calls["click"] > 0
        wanted = api.segment(
            stack, plane=(2,), points=[(30, 30)], engine="sam3-transformers",
            model_folder=weights_elsewhere,
        )  # fmt: skip
        assert model_calls["encode"] == 1
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert [one.score for one in found.objects] == [one.score for one in wanted.objects]


def test_a_second_start_does_what_is_missing(
    filled, images, tiny_checkpoint, tmp_path, model_calls
):
    moved = shutil.copytree(filled[0], tmp_path / "moved")
    *_, last = (moved / "precomputed.jsonl").read_text().splitlines()
    (moved / f"{json.loads(last)['key']}.safetensors").unlink()
    with (moved / "precomputed.jsonl").open("a") as file:
        file.write('{"of": 3}\n[]\n{"of": "x", "plane": [1e9], "key": "../a"}\n{"of')
    rows = api.precompute(images, moved, model_folder=tiny_checkpoint)
    assert [row.status for row in rows] == ["failed", "skipped", "done"]
    assert model_calls["encode"] == 1
    # With another contrast the model sees other pixels.
    rows = api.precompute(
        images / "plane.tif", moved, model_folder=tiny_checkpoint, contrast=(9, 99)
    )
    assert [row.status for row in rows] == ["done"]
    assert len(list(moved.glob("*.safetensors"))) == 5


def test_no_image_is_looked_at_before_its_turn(tiny_checkpoint, tmp_path, monkeypatch):
    """A server may need a second for each of thousands."""
    paths = [tmp_path / "in" / f"{number}.tif" for number in range(5)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        tifffile.imwrite(path, np.full((30, 40), 40 * number, np.uint8))
    looked_at, look = [], FolderImage.state.func
    noted = cached_property(lambda image: looked_at.append(image.path) or look(image))
    noted.__set_name__(FolderImage, "state")
    monkeypatch.setattr(FolderImage, "state", noted)
    until = {}
    rows = api.precompute(
        paths[0].parent,
        tmp_path / "out",
        model_folder=tiny_checkpoint,
        on_row=lambda row: until.setdefault(row.image, len(looked_at)),
    )
    assert [row.status for row in rows] == ["done"] * 5
    assert looked_at == paths
    assert until["0.tif"] < 5


def test_what_other_weights_of_the_same_name_have_encoded_is_not_there(
    filled, images, weights_elsewhere, tmp_path
):
    moved = shutil.copytree(filled[0], tmp_path / "moved")

    def encode():
        (row,) = api.precompute(images / "plane.tif", moved, model_folder=weights_elsewhere)
        return row.status

    assert encode() == "skipped"
    weights = weights_elsewhere / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "vision_encoder" in name)
    save_file({**tensors, name: tensors[name] + 1}, weights, metadata={"format": "pt"})
    assert encode() == "done"
    assert encode() == "skipped"


def test_nothing_goes_to_make_room(filled, tiny_checkpoint, tmp_path, monkeypatch):
    from napari_sam3_assistant.engines import encoding_cache

    moved = shutil.copytree(filled[0], tmp_path / "moved")
    monkeypatch.setattr(encoding_cache.EmbeddingFolder.__init__, "__defaults__", (4_000_000,))
    image = np.arange(2500, dtype=np.uint8).reshape(50, 50)
    with api.open_engine(
        "sam3-transformers", model_folder=tiny_checkpoint, encodings_folder=moved
    ) as one:
        api.segment(image, points=[(20, 20)], engine=one)
    assert len(list(moved.glob("*.safetensors"))) == 5


def stranger(file):
    """Tensors that this engine does not make, in a file that is complete."""
    file.write_bytes(pack_encoding((50, 40), {"evil": torch.zeros(3)}))


def sparse(file):
    with file.open("wb") as opened:
        opened.truncate(1 << 34)


@pytest.mark.parametrize("harm", [stranger, sparse])
def test_a_file_that_is_not_what_it_should_be_costs_one_encoding(
    filled, images, tiny_checkpoint, tmp_path, model_calls, harm
):
    moved = shutil.copytree(filled[0], tmp_path / "moved")
    for file in moved.glob("*.safetensors"):
        harm(file)
    with api.open_engine(
        "sam3-transformers", model_folder=tiny_checkpoint, encodings_folder=moved
    ) as one:
        assert api.segment(images / "plane.tif", points=[(20, 20)], engine=one).objects
    assert model_calls["encode"] == 1


@pytest.mark.parametrize("wrong", ["size", "maps", "type", "names"])
def test_one_of_another_model_is_found_out_when_it_is_read_and_not_by_the_click(
    images, filled, tiny_checkpoint, tmp_path, model_calls, caplog, wrong
):
    """With the right name and checksum, as who means harm can write it."""
    image = images / "plane.tif"
    filled = shutil.copytree(filled[0], tmp_path / "moved")
    with api.open_engine(model_folder=tiny_checkpoint) as engine:
        expected = api.segment(image, points=[(20, 24)], engine=engine)
    folder = EmbeddingFolder(filled)
    keys = [file.stem for file in filled.glob("*.safetensors")]
    for key in keys:
        (height, width), tensors = folder.load(key)
        if wrong == "size":
            height += 1
        elif wrong == "maps":
            tensors = {name: tensor[..., :-1] for name, tensor in tensors.items()}
        elif wrong == "type":
            tensors = {name: tensor.to(torch.int64) for name, tensor in tensors.items()}
        else:
            tensors = {f"{name}_": tensor for name, tensor in tensors.items()}
        folder.write(key, pack_encoding((height, width), tensors))
    told = []

    class Telling(NullReporter):
        def report(self, progress):
            told.append(progress.message)

    before = model_calls["encode"]
    with api.open_engine(model_folder=tiny_checkpoint, encodings_folder=filled) as engine:
        found = api.segment(image, points=[(20, 24)], engine=engine, reporter=Telling())
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert model_calls["encode"] == before + 1
    assert f"An encoding in {filled} is not of this model; it is made anew" in told
    assert "is not of this model" in caplog.text


def test_by_the_command_line(images, tiny_checkpoint, tmp_path, capsys, model_calls):
    image, output = images / "plane.tif", tmp_path / "encodings"
    common = ["--model-folder", str(tiny_checkpoint)]
    assert main(["precompute", str(image), "--output", str(output), *common]) == 0
    assert "plane.tif: done, 1 plane" in capsys.readouterr().out
    labels = str(tmp_path / "labels.tif")
    click = ["segment", str(image), "-o", labels, "--point", "20,20,+"]
    assert main([*click, "--encodings", str(output), *common]) == 0
    assert model_calls["encode"] == 1


def test_the_built_in_engine_needs_none(images, tmp_path):
    with pytest.raises(EngineError, match="no encoder whose work could be kept"):
        api.precompute(images, tmp_path / "encodings")

"""Looking into model folders without loading them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.engines.base import EngineStatus
from napari_sam3_assistant.engines.checkpoints import Layout, choose_engine, inspect_folder
from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound

META_NAMES = ("detector.backbone.weight", "tracker.mask_decoder.weight")
MULTIPLEX_NAMES = ("detector.backbone.weight", "tracker.model.mask_decoder.weight")
TRANSFORMERS_NAMES = ("detector_model.a", "tracker_model.b", "tracker_neck.c")


def write_archive(file, names):
    """A PyTorch archive, written by PyTorch where it is installed."""
    torch = pytest.importorskip("torch")
    torch.save({"model": {name: torch.zeros(50) for name in names}}, file)


def write_safetensors(file, names=TRANSFORMERS_NAMES):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({name: np.zeros(50, np.float32) for name in names}, file)


@pytest.fixture
def folder(tmp_path):
    """A folder of files of the right form, and next to no weights."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3_video"}))
    (tmp_path / "processor_config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    write_safetensors(tmp_path / "model.safetensors")
    return tmp_path


def wrong(report):
    return [finding for finding in report.findings if not finding.ok]


def put_into_cache(model_folder, cache, *, refs=True):
    """Put a model's files where `huggingface_hub` keeps them, with an older commit beside."""
    from huggingface_hub import constants, file_download

    name = file_download.repo_folder_name(repo_id="facebook/sam2.1-hiera-tiny", repo_type="model")
    snapshots = cache / name / "snapshots"
    for commit in ("1" * 40, "f" * 40):
        (snapshots / commit).mkdir(parents=True)
    for file in model_folder.iterdir():
        # Windows lets few people make links, and there it copies, too.
        put = shutil.copy if os.name == "nt" else os.symlink
        put(file, snapshots / ("1" * 40) / file.name)
    if refs:
        (cache / name / "refs").mkdir()
        (cache / name / "refs" / constants.DEFAULT_REVISION).write_text("1" * 40)
    else:
        os.utime(snapshots / ("f" * 40), (1, 1))
    return cache / name


@pytest.mark.parametrize("refs", [True, False])
def test_a_folder_of_the_cache_of_hugging_face_stands_for_its_current_commit(
    folder, tmp_path_factory, refs
):
    for package in ("huggingface_hub", "transformers"):
        pytest.importorskip(package)
    cached = put_into_cache(folder, tmp_path_factory.mktemp("hub"), refs=refs)
    report = inspect_folder(cached)
    assert not wrong(report)
    assert report.folder == cached / "snapshots" / ("1" * 40)
    assert api.engine_for(cached) == "sam3-transformers"
    with api.open_engine(model_folder=cached) as engine:
        assert engine.model_folder == report.folder


@pytest.mark.parametrize("left", ["nothing", "no snapshots", "a file"])
def test_an_empty_folder_of_a_cache_has_no_weights(tmp_path, left):
    cached = tmp_path / "models--facebook--sam3"
    (cached / ("snapshots" if left == "no snapshots" else "refs")).mkdir(parents=True)
    if left == "a file":
        (cached / "snapshots").write_text("")
    assert "No weight file found" in str(inspect_folder(cached).findings[0].text)


def test_complete_folder(tiny_checkpoint):
    report = inspect_folder(tiny_checkpoint)
    assert report.engines == ("sam3-transformers",)
    assert report.summary == "Model directory looks valid."
    assert [weights.layout for weights in report.weights] == [Layout.TRANSFORMERS]
    assert report.problems("sam3-transformers") == ()


def test_both_engines(folder):
    write_archive(folder / "sam3.pt", META_NAMES)
    report = inspect_folder(str(folder))
    assert report.engines == ("sam3-transformers", "sam3-meta")
    assert wrong(report) == []


@pytest.mark.parametrize("path", [None, "", "  "])
def test_no_folder_named(path):
    report = inspect_folder(path)
    assert report.summary == "Model directory is empty. Choose a folder."
    assert not report.ok


def test_not_a_folder(tmp_path):
    assert inspect_folder(tmp_path / "gone").summary.startswith(
        f"Path does not exist: {tmp_path / 'gone'}."
    )
    (tmp_path / "file").touch()
    assert inspect_folder(tmp_path / "file").summary.startswith("Path is not a directory: ")


@pytest.mark.parametrize(
    "path", ["/" + "n" * 300, "~nobody-of-that-name/model", "/proc/self/mem/x", "no\0name"]
)
def test_a_path_that_can_not_be_looked_into(path):
    report = inspect_folder(path)
    assert not report.ok
    assert report.findings[0].remedy
    assert report.findings[0].missing


def test_empty_folder(tmp_path):
    report = inspect_folder(tmp_path)
    assert [finding.text for finding in wrong(report)] == [
        "No weight file found. Expected one of: model.safetensors, sam3.pt, sam3.1_multiplex.pt, "
        "or a .pt file of micro-sam or of Meta's SAM 1.",
        "Missing required config files: config.json, processor_config.json.",
        "There is no tokenizer: neither tokenizer.json nor vocab.json with merges.txt.",
    ]
    assert all(finding.remedy for finding in wrong(report))
    with pytest.raises(CheckpointNotFound, match="No weight file found"):
        report.require("sam3-meta")


def test_archive_alone_needs_no_configuration(tmp_path):
    write_archive(tmp_path / "sam3.pt", META_NAMES)
    report = inspect_folder(tmp_path)
    assert report.engines == ("sam3-meta",)
    assert report.ok
    report.require("sam3-meta")
    with pytest.raises(CheckpointNotFound, match=r"There is no model\.safetensors"):
        report.require("sam3-transformers")


def test_multiplex_is_known_by_its_names_and_has_no_2d_model(tmp_path):
    write_archive(tmp_path / "sam3.1_multiplex.pt", MULTIPLEX_NAMES)
    report = inspect_folder(tmp_path)
    assert [weights.layout for weights in report.weights] == [Layout.META_MULTIPLEX]
    assert Layout.META_MULTIPLEX.version == "SAM 3.1"
    assert report.engines == ()
    for engine in ("sam3-meta", "sam3-transformers"):
        with pytest.raises(CheckpointInvalid, match=r"SAM 3\.1 is for 3D and video only"):
            report.require(engine)
    assert report.video_only
    assert not report.ok
    assert report.summary == "Model directory looks valid for 3D/video."


def test_multiplex_beside_other_weights(tmp_path):
    write_archive(tmp_path / "sam3.1_multiplex.pt", MULTIPLEX_NAMES)
    write_archive(tmp_path / "sam3.pt", META_NAMES)
    report = inspect_folder(tmp_path)
    assert [weights.layout for weights in report.weights] == [Layout.META, Layout.META_MULTIPLEX]
    assert report.engines == ("sam3-meta",)
    assert choose(tmp_path).weights.path.name == "sam3.pt"


def test_safetensors_in_the_layout_of_meta(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", META_NAMES)
    report = inspect_folder(tmp_path)
    assert [weights.layout for weights in report.weights] == [Layout.META]
    assert report.engines == ("sam3-meta",)
    with pytest.raises(CheckpointNotFound, match=r"There is no model\.safetensors"):
        report.require("sam3-transformers")


def test_truncated_safetensors(folder):
    file = folder / "model.safetensors"
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(size - 1)
    assert wrong(inspect_folder(folder))[0].text == (
        f"model.safetensors is incomplete or damaged: it has only {size - 1:,} bytes, its header "
        f"says {size:,}."
    )


def test_truncation_of_a_large_file_is_found_by_its_header(folder):
    """Of a sparse file of 3.4 GB, less one byte, only the header is read."""
    data = 3_440_000_000
    header = json.dumps(
        {
            name: {"dtype": "U8", "shape": [], "data_offsets": [0, data]}
            for name in TRANSFORMERS_NAMES
        }
    ).encode()
    file = folder / "model.safetensors"
    with file.open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        opened.truncate(8 + len(header) + data - 1)
    tracemalloc.start()
    report = inspect_folder(folder)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000
    assert "incomplete or damaged" in report.summary


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "model.safetensors is not a safetensors file."),
        (b"<html>Access to model facebook/sam3 is restricted", "is not a safetensors file."),
        ((50).to_bytes(8, "little") + b"{", "ends within its header: 9 bytes."),
        ((4).to_bytes(8, "little") + b"{..}", "The header of model.safetensors is damaged."),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "The header of model.safetensors is damaged."),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
    ],
)
def test_files_that_are_not_safetensors(folder, content, text):
    (folder / "model.safetensors").write_bytes(content)
    report = inspect_folder(folder)
    assert text in report.summary
    assert report.weights == ()


def test_weights_of_another_model(folder):
    write_safetensors(folder / "model.safetensors", ("vision_model.a", "text_model.b"))
    with pytest.raises(
        CheckpointInvalid, match=r"no weight begins with detector_model\., tracker_"
    ):
        inspect_folder(folder).require("sam3-transformers")


def test_configuration_of_another_model(folder):
    (folder / "config.json").write_text('{"model_type": "clip"}')
    report = inspect_folder(folder)
    assert report.engines == ()
    assert report.summary.startswith("config.json is of a model of type 'clip'")


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_configuration_that_is_no_json_object(folder, content):
    (folder / "config.json").write_text(content, encoding="latin-1")
    assert inspect_folder(folder).summary.startswith("config.json ")
    assert not inspect_folder(folder).ok


def test_missing_configuration_and_tokenizer(folder):
    (folder / "processor_config.json").unlink()
    (folder / "tokenizer.json").unlink()
    assert [finding.text for finding in wrong(inspect_folder(folder))][-2:] == [
        "Missing required config files: processor_config.json.",
        "There is no tokenizer: neither tokenizer.json nor vocab.json with merges.txt.",
    ]
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_text("")
    assert inspect_folder(folder).problems("sam3-transformers")[0].text.startswith("Missing")


def test_archive_that_is_cut_short(tmp_path):
    file = tmp_path / "sam3.pt"
    write_archive(file, META_NAMES)
    file.write_bytes(file.read_bytes()[:-100])
    assert inspect_folder(tmp_path).summary.startswith(
        "sam3.pt is not a readable PyTorch archive; the download may be incomplete."
    )


def test_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "sam3.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "not one of PyTorch weights" in inspect_folder(tmp_path).summary
    write_archive(tmp_path / "sam3.pt", ("encoder.weight",))
    assert "is not of Meta's SAM 3: no weight begins with detector." in (
        inspect_folder(tmp_path).summary
    )


def test_pickled_code_is_not_run(tmp_path):
    victim = tmp_path / "touched"

    class Attack:
        def __reduce__(self):
            return (open, (str(victim), "w"))

    with zipfile.ZipFile(tmp_path / "sam3.pt", "w") as archive:
        names = dict.fromkeys(META_NAMES, 0)
        archive.writestr("sam3/data.pkl", pickle.dumps({**names, "x": Attack()}, protocol=2))
    report = inspect_folder(tmp_path)
    assert not victim.exists()
    assert [weights.layout for weights in report.weights] == [Layout.META]


def test_pickle_that_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "sam3.pt", "w") as archive:
        archive.writestr("sam3/data.pkl", b"\x80\x02}q\x00X\xff\xff")
    assert "The list of names in sam3.pt is damaged." in inspect_folder(tmp_path).summary


HERE = EngineStatus(True)
NOT_HERE = EngineStatus(False, "Not installed: sam3.")


def choose(folder, transformers=HERE, meta=HERE):
    statuses = {"sam3-transformers": transformers, "sam3-meta": meta}
    return choose_engine(inspect_folder(folder), statuses)


def test_choice_prefers_transformers(folder):
    shutil.copy(folder / "config.json", folder / "other.json")
    write_archive(folder / "sam3.pt", META_NAMES)
    choice = choose(folder)
    assert (choice.engine, choice.weights.path.name) == ("sam3-transformers", "model.safetensors")
    assert choice.reason == (
        "model.safetensors holds SAM 3 for transformers, read by sam3-transformers."
    )


def test_choice_takes_what_is_installed(folder):
    write_archive(folder / "sam3.pt", META_NAMES)
    choice = choose(folder, transformers=NOT_HERE)
    assert (choice.engine, choice.installed) == ("sam3-meta", True)


def test_choice_says_what_to_install(tmp_path):
    write_archive(tmp_path / "sam3.pt", META_NAMES)
    choice = choose(tmp_path, meta=NOT_HERE)
    assert (choice.engine, choice.installed) == ("sam3-meta", False)
    assert choice.reason.endswith("It can't run here yet: Not installed: sam3.")


def test_multiplex_alone_is_chosen_for_video(tmp_path):
    write_archive(tmp_path / "sam3.1_multiplex.pt", MULTIPLEX_NAMES)
    choice = choose(tmp_path)
    assert (choice.engine, choice.installed, choice.video_only) == ("sam3-meta", True, True)
    assert choice.reason == (
        "sam3.1_multiplex.pt holds SAM 3.1 multiplex of Meta, read by sam3-meta. SAM 3.1 is for 3D "
        "and video only; it has no model for 2D tasks here. For 2D tasks choose a folder with "
        "sam3.pt or model.safetensors of facebook/sam3."
    )
    with pytest.raises(CheckpointInvalid, match="no model for 2D tasks"):
        choice.require_planes()
    assert not choose(tmp_path, meta=NOT_HERE).installed


def test_multiplex_beside_a_broken_file_is_not_taken_for_it(tmp_path):
    write_archive(tmp_path / "sam3.1_multiplex.pt", MULTIPLEX_NAMES)
    (tmp_path / "sam3.pt").write_bytes(b"cut off")
    with pytest.raises(CheckpointInvalid, match=r"sam3\.pt"):
        choose(tmp_path)


def test_the_choice_says_how_sam31_can_be_had(folder):
    write_archive(folder / "sam3.1_multiplex.pt", MULTIPLEX_NAMES)
    choice = choose(folder)
    assert (choice.engine, choice.video_only) == ("sam3-transformers", False)
    choice.require_planes()
    assert choice.reason.endswith(
        "sam3.1_multiplex.pt is SAM 3.1: to use it for 3D/video, choose the engine sam3-meta with "
        "this folder."
    )
    write_archive(folder / "sam3.pt", META_NAMES)
    for chosen in (choose(folder), choose(folder, transformers=NOT_HERE)):
        assert chosen.reason.endswith("move it into a folder of its own and choose that.")


def test_no_choice(tmp_path, folder):
    (folder / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(CheckpointInvalid, match="type 'clip'"):
        choose(folder)
    with pytest.raises(CheckpointNotFound, match="does not exist"):
        choose(tmp_path / "gone")

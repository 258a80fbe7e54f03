"""SAM 1 in the layout of Meta's segment_anything, as micro-sam's models come.

The files are written by that package itself, small and with random weights, and the masks are
compared with those of its own predictor.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from contracts.documented_use import as_library_points, make_image, part, points_of, xyxy
from napari_sam3_assistant import api, cli
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, PromptSet
from napari_sam3_assistant.engines.checkpoints import inspect_folder
from napari_sam3_assistant.engines.sam_transformers import ENTRY
from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers")
official = pytest.importorskip("segment_anything")

REPORTER = NullReporter()
# As large as the model takes it, so that no resampling stands between the two.
SIZE = 128
SHAPE = (96, SIZE)


@pytest.fixture(scope="module")
def sam(segment_anything):
    return segment_anything[0]


@pytest.fixture
def folder(segment_anything, tmp_path):
    shutil.copy(segment_anything[1] / "vit_b_lm.pt", tmp_path)
    # What micro-sam keeps beside it.
    torch.save({"decoder.out.weight": torch.zeros(3)}, tmp_path / "vit_b_lm_decoder.pt")
    return tmp_path


@pytest.fixture
def load():
    made = []

    def loaded(folder):
        made.append(ENTRY.create(folder, "cpu", "float32"))
        made[-1].load(REPORTER)
        return made[-1]

    yield loaded
    for engine in made:
        engine.close()


def compare(engine, sam):
    """Compare masks and scores for a click, for clicks, and for a box."""
    image = make_image(*SHAPE)
    predictor = official.SamPredictor(sam)
    predictor.set_image(image)
    encoding = engine.embed(image, REPORTER)
    points, region = points_of(SHAPE), part(SHAPE, 0.1, 0.1, 0.7, 0.8)
    seen = 0
    for prompts in (
        PromptSet(points=points[:1]),
        PromptSet(points=points[1:2]),
        PromptSet(points=points),
        PromptSet(boxes=(BoxPrompt(region),)),
    ):
        given = {}
        if prompts.points:
            asked = as_library_points(prompts.points)
            given["point_coords"] = np.asarray(asked["input_points"][0][0], float)
            given["point_labels"] = np.asarray(asked["input_labels"][0][0])
        else:
            given["box"] = np.asarray(xyxy(region), float)
        masks, scores, _ = predictor.predict(**given, multimask_output=len(prompts.points) == 1)
        best = scores.argmax()
        expected = masks[best]
        if prompts.boxes:
            inside = np.zeros(SHAPE, bool)
            inside[region.slices] = True
            expected = expected & inside
        objects = engine.predict(encoding, prompts, PredictOptions(), REPORTER).objects
        whole = np.zeros(SHAPE, bool)
        for found in objects:
            whole[found.region.slices] = found.mask
            assert found.score == pytest.approx(np.clip(scores[best], 0, 1), abs=1e-5)
        np.testing.assert_array_equal(whole, expected)
        seen += 0 < expected.sum() < expected.size
    # A mask of nothing, or of everything, would be equal to any other.
    assert seen >= 2


def test_masks_are_those_of_metas_own_package(sam, folder, load):
    compare(load(folder), sam)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_read(sam, tmp_path, load, kind):
    weights = {name: value.to(kind) for name, value in sam.state_dict().items()}
    torch.save(weights, tmp_path / "half.pth")
    network = load(tmp_path).model.clicks
    assert {one.dtype for one in network.parameters()} == {torch.float32}


def test_the_file_gives_the_model_its_name(folder):
    report = inspect_folder(folder)
    assert report.engines == ("sam-transformers",)
    assert report.findings[0].text.startswith(
        "vit_b_lm.pt holds SAM 1 vit_b_lm, a SAM 1 in the layout of segment_anything ("
    )
    spec = ENTRY.spec_for(folder)
    assert (spec.title, spec.video) == ("SAM 1 vit_b_lm (transformers)", None)
    found = api.segment(make_image(*SHAPE), points=[(30, 40)], model_folder=folder, device="cpu")
    assert found.engine.title == "SAM 1 vit_b_lm (transformers)"
    assert found.engine.weights == "vit_b_lm.pt"


def test_the_size_of_published_models_is_named(tmp_path):
    """By the number of blocks, as the weights are not looked at."""
    names = ("prompt_encoder.a", "mask_decoder.b")
    for blocks, size in ((12, "ViT-B"), (24, "ViT-L"), (32, "ViT-H")):
        encoder = [f"image_encoder.blocks.{number}.norm1.weight" for number in range(blocks)]
        torch.save(dict.fromkeys([*encoder, *names], torch.zeros(1)), tmp_path / "mine.pth")
        assert ENTRY.spec_for(tmp_path).model_name == f"SAM 1 {size} mine"


def test_the_name_that_micro_sam_keeps_its_downloads_under(folder, load):
    """Without an ending."""
    (folder / "vit_b_lm.pt").rename(folder / "vit_b_lm")
    (folder / "vit_b_lm_decoder.pt").rename(folder / "vit_b_lm_decoder")
    assert load(folder).weights == "vit_b_lm"


def test_several_models_in_one_folder_are_not_guessed_from(folder):
    (folder / "vit_b_em_organelles.pt").write_bytes((folder / "vit_b_lm.pt").read_bytes())
    with pytest.raises(CheckpointInvalid) as refused:
        api.engine_for(folder)
    assert refused.value.message == (
        f"There are several models in {folder.name}: vit_b_em_organelles.pt, vit_b_lm.pt."
    )
    assert refused.value.hint == "Put the one to use into a folder of its own."


def test_on_the_command_line(folder, tmp_path, capsys):
    from PIL import Image

    picture = tmp_path / "picture.png"
    Image.fromarray(make_image(*SHAPE)).save(picture)
    out = tmp_path / "labels.tif"
    arguments = ["segment", str(picture), "--point", "30,40,+", "-o", str(out)]
    assert cli.main([*arguments, "--model-folder", str(folder), "--device", "cpu"]) == 0
    assert "SAM 1 vit_b_lm" in capsys.readouterr().out
    assert out.exists()


def test_a_link_to_nothing_beside_it_changes_nothing(folder):
    (folder / "config").symlink_to(folder / "gone")
    assert inspect_folder(folder).engines == ("sam-transformers",)
    assert ENTRY.spec_for(folder).model_name == "SAM 1 vit_b_lm"


def test_mobile_sam_has_another_image_encoder(tmp_path):
    weights = {"image_encoder.layers.0.conv.weight": torch.zeros(1)}
    weights |= {"prompt_encoder.a": torch.zeros(1), "mask_decoder.b": torch.zeros(1)}
    torch.save(weights, tmp_path / "vit_t.pt")
    with pytest.raises(CheckpointNotFound, match="No weight file found"):
        api.engine_for(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("image_encoder.neck.2.weight", None, "Weights that are missing"),
        ("image_encoder.neck.2.weight", torch.zeros(3), "Weights that are of a wrong size"),
        ("image_encoder.pos_embed", None, "are not of SAM 1"),
        ("image_encoder.blocks.2.attn.rel_pos_h", None, "are not of SAM 1"),
        ("mask_decoder.iou_token.weight", [1, 2], "does not hold the weights"),
        # Said to be far larger than what is stored of it.
        (
            "image_encoder.pos_embed",
            torch.zeros(1).expand(1, 10**6, 10**6, 64),
            "said to hold more",
        ),
    ],
)
def test_damaged_and_hostile_files_are_refused(sam, tmp_path, load, name, change, match):
    weights = dict(sam.state_dict())
    del weights[name]
    if change is not None:
        weights[name] = change
    torch.save(weights, tmp_path / "odd.pt")
    with pytest.raises(CheckpointInvalid, match=match):
        load(tmp_path)


def test_no_code_in_a_file_is_run(sam, tmp_path):
    class Runs:
        def __reduce__(self):
            return (tmp_path / "ran").write_text, ("x",)

    torch.save({**sam.state_dict(), "image_encoder.extra": Runs()}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointInvalid, match="damaged, or holds more than weights") as refused:
        api.segment(make_image(*SHAPE), points=[(30, 40)], model_folder=tmp_path, device="cpu")
    assert "weights_only" not in str(refused.value)  # PyTorch says how to run it all the same
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_cut_short_is_said(folder, load):
    whole = (folder / "vit_b_lm.pt").read_bytes()
    (folder / "vit_b_lm.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointNotFound, match="No weight file found"):
        load(folder)

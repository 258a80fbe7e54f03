"""Which weights are found, read and refused."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile

import pytest

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.loading import (
    find_weights,
    put_into,
    read_weights,
    to_image_model,
)
from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound, EngineError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def _write_safetensors(path, names):
    header = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]}
        for n, name in enumerate(names)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * len(names)))


class TestFind:
    def test_sam3_pt_comes_first(self, tmp_path):
        for name in ("a.pt", "sam3.pt", "sam3.1_multiplex.pt", "model.safetensors"):
            (tmp_path / name).touch()

        assert find_weights(tmp_path) == tmp_path / "sam3.pt"

    def test_a_renamed_file_is_found(self, tmp_path):
        (tmp_path / "sam3 (1).pt").touch()

        assert find_weights(tmp_path).name == "sam3 (1).pt"

    def test_safetensors_in_metas_layout(self, tmp_path):
        _write_safetensors(tmp_path / "sam3.safetensors", ["detector.a", "tracker.b"])

        assert find_weights(tmp_path).name == "sam3.safetensors"

    def test_safetensors_of_transformers_is_pointed_to_its_engine(self, tmp_path):
        _write_safetensors(tmp_path / "model.safetensors", ["detector_model.a", "tracker_neck.b"])

        with pytest.raises(CheckpointInvalid, match="Choose the engine sam3-transformers"):
            find_weights(tmp_path)

    def test_sam31_is_for_3d_and_video(self, tmp_path):
        (tmp_path / "sam3.1_multiplex.pt").touch()

        with pytest.raises(CheckpointInvalid, match=r"For 2D tasks choose a folder with sam3\.pt"):
            find_weights(tmp_path)

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(CheckpointNotFound, match=r"no weights file .* Download sam3\.pt"):
            find_weights(tmp_path)

    def test_no_folder(self, tmp_path):
        with pytest.raises(CheckpointNotFound, match="No model folder"):
            find_weights(None)
        with pytest.raises(CheckpointNotFound, match="There is no folder"):
            find_weights(tmp_path / "gone")


class TestRead:
    def test_a_cut_off_archive(self, tmp_path):
        torch.save({"a": torch.ones(1000)}, tmp_path / "sam3.pt")
        whole = (tmp_path / "sam3.pt").read_bytes()
        (tmp_path / "sam3.pt").write_bytes(whole[:1000])

        with pytest.raises(CheckpointInvalid, match=r"may be cut off\. Download the file again"):
            read_weights(tmp_path / "sam3.pt")

    def test_code_in_the_file_is_not_run(self, tmp_path):
        ran = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return (open, (str(ran), "w"))

        torch.save({"detector.a": Evil()}, tmp_path / "sam3.pt")
        with pytest.raises(pickle.UnpicklingError):
            read_weights(tmp_path / "sam3.pt")

        assert not ran.exists()

    def test_something_else_than_weights(self, tmp_path):
        torch.save([1, 2, 3], tmp_path / "sam3.pt")

        with pytest.raises(CheckpointInvalid, match="does not hold the weights"):
            read_weights(tmp_path / "sam3.pt")


class TestNames:
    def test_prefixes(self):
        names = to_image_model({"detector.backbone.detector.a": 1, "tracker.b": 2}, "sam3.pt")

        assert names == {
            "backbone.detector.a": 1,
            "inst_interactive_predictor.model.b": 2,
        }

    def test_sam31_under_another_name(self):
        with pytest.raises(CheckpointInvalid, match=r"SAM 3\.1"):
            to_image_model({"detector.a": 1, "tracker.model.b": 2}, "sam3.pt")

    def test_transformers_in_a_pt_file(self):
        with pytest.raises(CheckpointInvalid, match="sam3-transformers"):
            to_image_model({"detector_model.a": 1}, "sam3.pt")

    def test_another_model(self):
        with pytest.raises(CheckpointInvalid, match="another model"):
            to_image_model({"image_encoder.a": 1}, "sam3.pt")

    def test_the_video_models_weights_are_those_of_the_image_model(self, builder, model_folder):
        """Meta's sam3.pt has the video model's names: every one of them must have a place."""
        from napari_sam3_assistant.engines.sam3_meta.loading import find_bpe

        vocabulary = find_bpe(model_folder)
        image = compat.build_image_model(builder, vocabulary, "cpu")
        with compat.redirect_cuda("cpu"), compat.silence_warnings(), compat.leave_autocast():
            video = builder.build_sam3_video_model(
                bpe_path=str(vocabulary), device="cpu", load_from_HF=False
            )

        assert to_image_model(video.state_dict(), "sam3.pt").keys() == image.state_dict().keys()


def _refusal(make_engine, tmp_path, model_folder, weights):
    torch.save(weights, tmp_path / "sam3.pt")
    (tmp_path / "merges.txt").write_bytes((model_folder / "merges.txt").read_bytes())
    engine = make_engine(tmp_path)
    with pytest.raises(EngineError) as caught:
        CachingEngine(engine).load(NullReporter())
    assert isinstance(caught.value, CheckpointInvalid)
    assert engine.weights == ""
    return caught.value.message


class TestPutInto:
    def test_missing_weights_are_refused_with_their_number(
        self, make_engine, tmp_path, model_folder, weights
    ):
        few = {name: value for name, value in weights.items() if ".sam_mask_decoder." not in name}
        message = _refusal(make_engine, tmp_path, model_folder, few)

        assert f"{len(weights) - len(few)} are missing (such as inst_interactive" in message

    def test_unknown_weights_are_refused_with_their_number(
        self, make_engine, tmp_path, model_folder, weights
    ):
        more = {**weights, "detector.new.a": torch.ones(1), "other": torch.ones(1)}
        message = _refusal(make_engine, tmp_path, model_folder, more)

        assert "2 are unknown to the model (such as new.a)" in message

    def test_weights_of_another_shape_are_refused(
        self, make_engine, tmp_path, model_folder, weights
    ):
        name = "detector.dot_prod_scoring.hs_proj.weight"
        message = _refusal(make_engine, tmp_path, model_folder, {**weights, name: torch.ones(2)})

        assert "1 are of another shape (such as dot_prod_scoring.hs_proj.weight)" in message

    def test_code_in_the_file_is_told(self, make_engine, tmp_path, model_folder, weights):
        message = _refusal(make_engine, tmp_path, model_folder, {**weights, "evil": print})

        assert "holds more than weights" in message


def test_safetensors_in_metas_layout_gives_the_same(
    make_engine, loaded_engine, make_picture, tmp_path, model_folder, weights
):
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.prompts import PromptSet

    safetensors = pytest.importorskip("safetensors.torch")
    contiguous = {name: value.contiguous().clone() for name, value in weights.items()}
    safetensors.save_file(contiguous, tmp_path / "sam3.safetensors")
    (tmp_path / "merges.txt").write_bytes((model_folder / "merges.txt").read_bytes())
    engine = make_engine(tmp_path)
    engine.load(NullReporter())
    scores = [
        [
            record.score
            for record in one.predict(
                one.embed(make_picture(40, 30), NullReporter()),
                PromptSet(text="cell"),
                PredictOptions(0.2),
                NullReporter(),
            ).objects
        ]
        for one in (engine, loaded_engine)
    ]

    assert engine.weights == "sam3.safetensors"
    assert scores[0] == scores[1] != []


class TestOddWeights:
    """What a file may hold in place of a weight."""

    @pytest.mark.parametrize(
        ("weight", "said"),
        [
            (torch.zeros(3, 2, dtype=torch.int64), "1 are of another type"),
            (torch.zeros(3, 2, dtype=torch.bool), "1 are of another type"),
            (torch.zeros(3, 2, dtype=torch.complex64), "1 are of another type"),
            (torch.zeros(2, 3), "1 are of another shape"),
            (torch.zeros(3, 2, device="meta"), "can't be read"),
            (torch.zeros(3, 2).to_sparse(), "can't be read"),
        ],
        ids=["integers", "bools", "complex", "turned", "without numbers", "sparse"],
    )
    def test_odd_weights_are_said(self, weight, said):
        model = torch.nn.Linear(2, 3)
        with pytest.raises(CheckpointInvalid, match=said) as caught:
            put_into(model, {"weight": weight, "bias": torch.zeros(3)}, "sam3.pt")
        assert "Download" in caught.value.hint

    def test_names_that_are_none(self, tmp_path):
        torch.save({"model": {1: torch.zeros(2)}}, tmp_path / "sam3.pt")
        with pytest.raises(CheckpointInvalid, match="does not hold the weights"):
            read_weights(tmp_path / "sam3.pt")

    def test_an_archive_that_is_packed(self, tmp_path):
        torch.save({"detector.a": torch.zeros(1000)}, tmp_path / "stored.pt")
        with (
            zipfile.ZipFile(tmp_path / "stored.pt") as source,
            zipfile.ZipFile(tmp_path / "sam3.pt", "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for item in source.infolist():
                target.writestr(item.filename, source.read(item))
        with pytest.raises(CheckpointInvalid, match="not one of PyTorch weights"):
            read_weights(tmp_path / "sam3.pt")

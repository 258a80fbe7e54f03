"""SAM 3.1: what can be shown without Meta's repository, which the released package lacks."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.sam3_meta import ENTRY, compat, loading, multiplex
from napari_sam3_assistant.errors import (
    CheckpointInvalid,
    CheckpointNotFound,
    EngineError,
    EngineNotInstalled,
    PromptError,
)
from napari_sam3_assistant.workflows.track_prompts import check_prompts

REPORTER = NullReporter()


class Frames:
    shape = (60, 80)

    def __len__(self):
        return 5

    def read(self, frame):
        return np.full((60, 80, 3), frame, np.uint8)


@pytest.fixture
def folder(merges, tmp_path):
    """A folder with a file of the name of SAM 3.1's weights."""
    torch = pytest.importorskip("torch")

    torch.save({"model": {"tracker.model.x": torch.zeros(1)}}, tmp_path / "sam3.1_multiplex.pt")
    (tmp_path / loading.MERGES_NAME).write_text("\n".join(["#version: 0.2", *merges]), "utf-8")
    return tmp_path


@pytest.fixture
def engine(folder):
    return ENTRY.create(folder, "cpu")


@pytest.fixture
def track(engine):
    return engine.track(Frames(), PredictOptions(), lambda: 100)


def painted():
    mask = np.zeros(Frames.shape, bool)
    mask[5:9, 5:9] = True
    return MaskPrompt.from_plane(mask)


def test_the_folder_decides_which_model_it_is(engine, folder):
    assert engine.spec.name == "sam3-meta"
    assert engine.spec.title == "SAM 3.1 (Meta sam3 package)"
    assert (engine.device, engine.weights) == ("cpu", "")

    (folder / "sam3.pt").write_bytes(b"")

    assert ENTRY.create(folder, "cpu").spec is ENTRY.spec
    assert ENTRY.create(None, "cpu").spec is ENTRY.spec


def test_a_package_without_it_is_said_with_what_to_install(engine, builder):
    if hasattr(builder, "build_sam3_multiplex_video_predictor"):
        pytest.skip("Meta's repository is installed, which has SAM 3.1.")

    with pytest.raises(
        EngineNotInstalled, match=r"The installed sam3 package has no SAM 3\.1"
    ) as e:
        engine.load(REPORTER)

    assert "pip install git+https://github.com/facebookresearch/sam3" in e.value.hint
    assert "sam3-transformers" in e.value.hint
    engine.close()


def test_a_missing_vocabulary_is_said(engine, folder, monkeypatch):
    # The released package has no SAM 3.1, which is said first.
    monkeypatch.setattr(multiplex, "import_builder", lambda _measures: None)
    (folder / loading.MERGES_NAME).unlink()

    with pytest.raises(CheckpointNotFound, match=r"merges\.txt"):
        engine.load(REPORTER)


def test_limits_are_told_before_anything_is_loaded(engine):
    frames, spec = Frames(), engine.spec
    points = tuple(PointPrompt(row, 5) for row in range(17))

    with pytest.raises(PromptError, match=r"SAM 3\.1 .* does not take painted masks"):
        check_prompts(spec, {0: PromptSet(masks=(painted(),))}, frames)
    examples = (ExemplarPrompt(Region(1, 1, 9, 9)),)
    with pytest.raises(PromptError, match=r"SAM 3\.1 .* does not take example boxes"):
        check_prompts(spec, {0: PromptSet(exemplars=examples)}, frames)
    with pytest.raises(PromptError, match="takes up to 16 points"):
        check_prompts(spec, {0: PromptSet(points=points)}, frames)
    boxes = (BoxPrompt(Region(1, 1, 9, 9)), BoxPrompt(Region(11, 11, 19, 19)))
    assert check_prompts(spec, {0: PromptSet(boxes=boxes, text="cell")}, frames) == ()


def test_single_planes_are_refused(engine):
    for ask in (
        lambda: engine.embed(np.zeros((60, 80, 3), np.uint8), REPORTER),
        lambda: engine.predict(None, PromptSet(), PredictOptions(), REPORTER),
    ):
        with pytest.raises(CheckpointInvalid, match="which has no 2D model here") as refused:
            ask()
        assert "SAM 3.1 is for 3D and video" in refused.value.hint


def test_what_can_not_be_followed_is_refused(track):
    with pytest.raises(PromptError, match=r"SAM 3\.1 .* does not follow painted masks"):
        track.add(TrackSeed(0, 1, mask=painted()))
    with pytest.raises(PromptError, match="All points of object 1 are negative"):
        track.add(TrackSeed(0, 1, points=(PointPrompt(1, 1, positive=False),)))
    box = BoxPrompt(Region(1, 1, 9, 9))
    for name in range(1, 129):
        track.add(TrackSeed(0, name, box=box))
    track.add(TrackSeed(2, 128, points=(PointPrompt(1, 1, positive=False),)))
    with pytest.raises(PromptError, match=r"SAM 3\.1 follows up to 128 objects at a time"):
        track.add(TrackSeed(0, 129, box=box))
    track.remove(7)
    track.add(TrackSeed(0, 129, box=box))
    track.close()


def test_an_engine_that_is_not_loaded_is_said(track):
    track.add(TrackSeed(0, 1, points=(PointPrompt(1, 1),)))
    with pytest.raises(EngineError, match=r"SAM 3\.1 is not loaded"):
        next(track.propagate(range(5), REPORTER))
    with pytest.raises(EngineError, match=r"SAM 3\.1 is not loaded"):
        track.add_phrase("cell", 0)
    assert list(track.propagate(range(0), REPORTER)) == []


def test_each_parameter_must_be_in_the_file():
    torch = pytest.importorskip("torch")

    model = torch.nn.Linear(2, 3)
    model.register_buffer("freqs_cis_real", torch.ones(4))
    weights = {"weight": torch.full((3, 2), 5.0), "bias": torch.zeros(3)}

    multiplex.put_into(model, {**weights, "unused": torch.zeros(1)}, "file")
    assert model.weight[2, 1] == 5
    assert model.freqs_cis_real.tolist() == [1, 1, 1, 1]
    with pytest.raises(CheckpointInvalid, match=r"file do not fit SAM 3\.1: of 2, 1 are missing"):
        multiplex.put_into(model, {"weight": weights["weight"]}, "file")
    with pytest.raises(CheckpointInvalid, match=r"1 are of another shape \(such as freqs_cis_real"):
        multiplex.put_into(model, {**weights, "freqs_cis_real": torch.ones(5)}, "file")


def test_memory_that_only_cuda_has_is_not_asked_for():
    torch = pytest.importorskip("torch")

    with compat.redirect_cuda("cpu"):
        made = torch.empty(2, dtype=torch.float32, pin_memory=True)

    assert not made.is_pinned()


def test_bounds_of_a_pass_are_not_kept():
    cache = multiplex._Unbounded()  # noqa: SLF001 - the measure itself
    cache["tracking_bounds"] = {"max_frame_num_to_track": 3}
    cache[7] = "features"
    assert cache == {7: "features"}

"""Meta's SAM 3 does what every video engine must do; and what it costs."""

from __future__ import annotations

import pytest

from contracts import video as video_contract
from contracts.documented_use import DEVICE
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PointPrompt
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.video_objects import forget_conditions
from stored_memory import stored_bytes_of_states

Movie, go, mask, pixels = (
    video_contract.Movie,
    video_contract.go,
    video_contract.mask,
    video_contract.pixels,
)
start = video_contract.start
movie = video_contract.movie

REPORTER = NullReporter()


class TestMetaTrack(video_contract.Sam3VideoContract):
    name = "sam3-meta"

    def encoder_layers(self, engine):
        return compat.vision_blocks(engine.model.model)

    def weights(self, engine):
        return engine.model.model, engine.model.tracker

    @pytest.fixture
    def not_loaded(self, make_engine):
        return make_engine()

    @pytest.fixture
    def folder(self, video_folder):
        return video_folder

    @pytest.fixture
    def eager(self, eager):
        return eager


@pytest.fixture
def eager(video_engine, monkeypatch):
    """Let the video model take what random weights find."""
    with compat.call_context(DEVICE):
        video = video_engine.model.video
    for name, value in {
        "score_threshold_detection": 0.0,
        "new_det_thresh": 0.0,
        "det_nms_thresh": 0.0,
        "max_num_objects": 2,
        "hotstart_delay": 3,
        "hotstart_unmatch_thresh": 99,
        "hotstart_dup_thresh": 99,
    }.items():
        monkeypatch.setattr(video, name, value)
    return video


@pytest.fixture
def quick_encoder(video_engine, monkeypatch):
    """Encode each picture once: the encoder is not what the long tests look at."""
    backbone = video_engine.model.model.backbone.vision_backbone
    real, known = backbone.forward, {}

    def forward(pictures):
        key = float(pictures.double().sum())
        if key not in known:
            known[key] = real(pictures)
        return tuple(list(part) for part in known[key])

    monkeypatch.setattr(backbone, "forward", forward)


def test_memory_stays_flat(start, quick_encoder):
    track = start(Movie(300), TrackSeed(0, 1, points=(PointPrompt(30, 30),)))
    state = track._objects[1].state  # noqa: SLF001 - what it stores is what is shown
    stored, records = [], []

    for _ in track.propagate(range(42), REPORTER):
        stored.append(stored_bytes_of_states([state]))
        records.append(sum(map(len, state["output_dict"].values())))
        assert len(track._features) == 1  # noqa: SLF001

    # The prompted frame, 16 behind it and the last 16.
    assert max(records) == 33
    assert len(set(stored[36:])) == 1
    assert not state["frames_already_tracked"]
    assert stored[-1] < 0.6 * 33 / 2 * stored[0]


def test_memory_of_phrases_stays_flat(start, quick_encoder, eager):
    track = start(Movie(300))
    track.add_phrase("cell", 0)
    sizes = []

    for found in track.propagate(range(40), REPORTER):
        state = track._phrases[0].state  # noqa: SLF001
        metadata = state["tracker_metadata"]
        ranked = metadata["rank0_metadata"]
        inputs = [
            value
            for tracked in state["tracker_inference_states"]
            for by_frame in tracked["mask_inputs_per_obj"].values()
            for value in by_frame.values()
        ]
        assert not state["cached_frame_outputs"]
        assert not any(value is not None for value in inputs)
        sizes.append(
            (
                stored_bytes_of_states(state["tracker_inference_states"]),
                len(metadata["obj_id_to_tracker_score_frame_wise"]),
                len(ranked["suppressed_obj_ids"]),
                sum(isinstance(key, int) for key in state["feature_cache"]),
                len(track._held),  # noqa: SLF001
            )
        )
        assert len(found.tracked) <= 2

    assert max(sizes[36:])[1:] == (1, 1, 1, 2)
    assert len({stored for stored, *_ in sizes[36:]}) == 1


def test_a_phrase_reads_one_frame_ahead(start, movie, eager):
    track = start(movie, TrackSeed(2, 7, mask=mask()))
    track.add_phrase("cell", 2)

    go(track, range(2, 6))
    assert movie.reads == [2, 3, 4, 5, 6]


def test_a_stopped_phrase_goes_on_with_what_it_holds_back(start, movie, eager, video_engine):
    whole_track = start(movie)
    whole_track.add_phrase("cell", 0)
    whole = go(whole_track, range(6))
    track = start(movie)
    track.add_phrase("cell", 0)
    done = video_contract.stopped(track, range(6), lambda done: len(done) == 2)
    movie.reads.clear()

    rest = go(track, range(2, 6))

    video_contract.assert_equal(done | rest, whole)
    assert max(len(found.objects) for found in whole.values()) == 2
    # Frames 2 and 3 were held back, 4 was looked at ahead.
    assert 2 not in movie.reads
    assert 3 not in movie.reads


def test_it_stops_while_it_hands_out_what_it_held_back(start, movie, eager):
    track = start(movie)
    track.add_phrase("cell", 0)

    # Behind the third frame there is nothing left to look at: two are held back.
    done = video_contract.stopped(track, range(3), lambda done: len(done) == 1)

    movie.reads.clear()
    assert list(done) == [0]
    assert list(go(track, range(1, 3))) == [1, 2]
    assert not movie.reads


def test_a_pass_may_begin_anywhere_again(start, quick_encoder):
    # Frame 24 lies between what is in memory: what it looks back at is in the file.
    track = start(Movie(44), TrackSeed(0, 1, mask=mask()))
    go(track, range(44))

    again = go(track, range(24, 30))

    assert list(again) == list(range(24, 30))
    assert pixels(again[29])[1].any()


def test_a_click_on_a_frame_of_which_only_the_pointer_is_left(start, quick_encoder):
    track = start(Movie(34), TrackSeed(0, 1, points=(PointPrompt(30, 30),)))
    go(track, range(34))
    followed = track._objects[1]  # noqa: SLF001
    assert not followed.state["output_dict"]["non_cond_frame_outputs"][12]["pred_masks"].numel()

    track.add(TrackSeed(12, 1, points=(PointPrompt(20, 60),)))

    assert pixels(go(track, range(12, 14))[12])[1].any()


def test_prompts_that_the_model_sets_by_itself_do_not_pile_up(start, quick_encoder, video_engine):
    track = start(Movie(30), *(TrackSeed(frame, 1, mask=mask()) for frame in range(20)))
    go(track, range(2))
    state = track._objects[1].state  # noqa: SLF001
    assert len(state["output_dict"]["cond_frame_outputs"]) == 20

    forget_conditions(video_engine.model.tracker, state)

    assert sorted(state["output_dict"]["cond_frame_outputs"]) == [0, *range(5, 20)]
    assert pixels(go(track, range(19, 22))[21])[1].any()


@pytest.mark.parametrize("count", [2, 9, 16])
def test_few_prompts_that_the_model_sets_by_itself_are_all_kept(
    start, quick_encoder, video_engine, count
):
    track = start(Movie(30), *(TrackSeed(frame, 1, mask=mask()) for frame in range(count)))
    go(track, range(1))
    state = track._objects[1].state  # noqa: SLF001

    forget_conditions(video_engine.model.tracker, state)

    assert sorted(state["output_dict"]["cond_frame_outputs"]) == [*range(count)]


def test_a_closed_track_has_let_go_of_everything(start, movie):
    track = start(movie, TrackSeed(0, 1, mask=mask()))
    track.add_phrase("cell", 0)
    go(track, range(2))

    track.close()

    left = (track._objects, track._phrases, track._features, track._held, track._pictures)  # noqa: SLF001
    assert not any(left)

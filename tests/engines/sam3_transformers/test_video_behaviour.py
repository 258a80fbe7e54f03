"""SAM 3 by transformers does what every video engine must do; and what it costs."""

from __future__ import annotations

import pytest

from contracts import video as video_contract
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.tracks import TrackSeed
from stored_memory import stored_bytes

Movie, go, mask, pixels = (
    video_contract.Movie,
    video_contract.go,
    video_contract.mask,
    video_contract.pixels,
)
start = video_contract.start
movie = video_contract.movie

REPORTER = NullReporter()


class TestTransformersTrack(video_contract.Sam3VideoContract):
    name = "sam3-transformers"

    def encoder_layers(self, engine):
        return engine.model.detector.vision_encoder.backbone.layers

    def weights(self, engine):
        return engine.model.detector, engine.model.video.tracker_model

    @pytest.fixture
    def not_loaded(self, new_engine):
        return new_engine

    @pytest.fixture
    def folder(self, video_checkpoint):
        return video_checkpoint

    @pytest.fixture
    def eager(self, video_engine, monkeypatch):
        """Let the video model keep what random weights find: all doubles of one object."""
        monkeypatch.setattr(video_engine.model.video, "det_nms_thresh", 0)


@pytest.fixture
def quick_encoder(video_engine, monkeypatch):
    """Encode each picture once: the encoder is not what the long tests look at."""
    backbone = video_engine.model.detector.vision_encoder.backbone
    real, known = backbone.forward, {}

    def forward(pixel_values, **kwargs):
        key = float(pixel_values.double().sum())
        if key not in known:
            known[key] = real(pixel_values, **kwargs)
        return known[key]

    monkeypatch.setattr(backbone, "forward", forward)


def test_memory_stays_flat_over_many_frames(start, quick_encoder):
    track = start(Movie(150), TrackSeed(0, 1, mask=mask()))
    followed = track._objects[1]  # noqa: SLF001 - what it stores is what is shown
    stored, records = [], []

    for found in track.propagate(range(150), REPORTER):
        stored.append(stored_bytes(followed.outputs))
        records.append(sum(map(len, followed.outputs.values())))
        if found.frame == 120:
            assert pixels(found)[1].any()

    # One prompted frame with 15 behind it, and the last 16.
    assert max(records) == records[50] == 32
    assert len(set(stored[50:])) == 1
    session = followed._session  # noqa: SLF001
    assert not dict(session.processed_frames)
    assert not session.mask_inputs_per_obj[0]
    assert not session.frames_tracked_per_obj[0]


def test_memory_of_phrases_stays_flat(start, quick_encoder, video_engine, monkeypatch):
    monkeypatch.setattr(video_engine.model.video, "max_num_objects", 2)
    track = start(Movie(120))
    track.add_phrase("cell", 0)
    phrases = track._phrases  # noqa: SLF001
    sizes = []

    for found in track.propagate(range(70), REPORTER):
        session = phrases._session  # noqa: SLF001
        by_frame = (
            session.obj_id_to_tracker_score_frame_wise,
            session.suppressed_obj_ids,
            *session.mask_inputs_per_obj.values(),
            *session.frames_tracked_per_obj.values(),
        )
        assert not any(by_frame)
        assert not dict(session.processed_frames)
        # Lists of frames that count up to a threshold, one of each object.
        counted = {**session.unmatched_frame_inds, **session.overlap_pair_to_frame_inds}
        assert max(map(len, counted.values()), default=0) <= 8
        sizes.append((stored_bytes(phrases.outputs), sum(len(one) for one in by_frame)))
        assert len(found.tracked) <= 2

    assert len(set(sizes[50:])) == 1


def test_objects_on_other_frames_keep_no_encoding(start, movie):
    track = start(movie, *(TrackSeed(frame, frame + 1, mask=mask()) for frame in range(4)))

    go(track, range(2))

    for followed in track._objects.values():  # noqa: SLF001
        assert followed._session.cache is None  # noqa: SLF001


def test_a_closed_track_has_let_go_of_everything(start, movie):
    track = start(movie, TrackSeed(0, 1, mask=mask()))
    track.add_phrase("cell", 0)
    go(track, range(2))

    track.close()

    assert not track._objects  # noqa: SLF001
    assert track._phrases is None  # noqa: SLF001

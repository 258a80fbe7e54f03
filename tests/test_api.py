"""The headless functions."""

import subprocess
import sys

import dask.array as da
import numpy as np
import pytest

from amounts import thorough
from napari_sam3_assistant import api
from napari_sam3_assistant.errors import EngineError, ImageError, PromptError, Sam3AssistantError


@pytest.fixture
def disc():
    """A bright disc of radius 10 around (20, 30) on a dark plane of 48 x 64 pixels."""
    y, x = np.ogrid[:48, :64]
    return np.where((y - 20) ** 2 + (x - 30) ** 2 <= 100, 200, 30).astype(np.uint8)


def test_a_click_gives_one_object(disc):
    result = api.segment(disc, points=[(20, 30, True), (2, 2, False)])

    (record,) = result.objects
    assert result.labels.shape == disc.shape
    assert result.labels.dtype == np.uint32
    assert record.id == result.labels[20, 30] == 1
    assert record.area == (result.labels == 1).sum()
    y0, x0, y1, x1 = record.bbox
    assert (result.labels[y0:y1, x0:x1] == 1).sum() == record.area
    assert (result.engine.engine, result.engine.device) == ("builtin", "cpu")


def test_every_kind_of_prompt_is_taken(disc):
    mask = np.zeros(disc.shape, bool)
    mask[15:25, 25:35] = True
    requests = [
        {"points": [(20, 30)]},
        {"boxes": [(8, 18, 33, 43)]},
        {"exemplars": [(8, 18, 33, 43)]},
        {"mask": mask},
        {"text": "bright objects"},
    ]
    for request in requests:
        assert len(api.segment(disc, **request).objects) == 1, request


def test_the_threshold_leaves_weak_objects_out(disc):
    assert len(api.segment(disc, text="bright objects", threshold=1.0).objects) == 0


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({}, PromptError, "No prompts found"),
        ({"points": [(100, 3)]}, PromptError, "outside the image of 48 x 64"),
        ({"points": [(float("nan"), 3)]}, PromptError, "not a finite position"),
        ({"points": [(1, 2, True, 4)]}, PromptError, "has 4 values"),
        ({"boxes": [(1, 2, 1, 5)]}, PromptError, "has no area"),
        ({"boxes": [(1, 2, 3)]}, PromptError, "four numbers"),
        ({"boxes": [(1, 2, float("inf"), 5)]}, PromptError, "not a finite number"),
        ({"boxes": [(100, 100, 110, 110)]}, PromptError, "outside the image"),
        ({"mask": np.ones((3, 3))}, PromptError, "The mask has the shape (3, 3)"),
        ({"mask": np.zeros((48, 64))}, PromptError, "The mask is empty"),
        ({"text": "mitochondria"}, PromptError, "weights"),
        ({"points": [(1, 1)], "engine": "magic"}, EngineError, "no engine 'magic'"),
        ({"points": [(1, 1)], "threshold": 2}, PromptError, "between 0 and 1"),
        ({"points": [(1, 1)], "channel_axis": 7}, ImageError, "no channel axis 7"),
    ],
)
def test_bad_input_ends_with_a_sentence(disc, request_, error, said):
    with pytest.raises(error) as caught:
        api.segment(disc, **request_)
    assert said in str(caught.value)
    assert caught.value.hint or "Choose model folder" in caught.value.message


def test_a_stack_needs_a_plane(disc):
    stack = np.stack([np.zeros_like(disc), disc])
    with pytest.raises(ImageError, match=r"more than one plane \(axis 1 of size 2;") as caught:
        api.segment(stack[np.newaxis], points=[(20, 30)])
    assert "plane=(0, 0), on the command line --plane 0,0," in caught.value.hint
    assert api.segment(stack, points=[(20, 30)], plane=[1]).labels[20, 30] == 1


def test_only_the_plane_of_a_lazy_stack_is_computed(disc):
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return disc[None]

    lazy = da.map_blocks(block, chunks=((1,) * 9, (48,), (64,)), dtype=np.uint8)
    api.segment(lazy, points=[(20, 30)], plane=[4])

    assert set(read) == {(4, 0, 0)}


def test_channels_can_be_picked_or_seen_together(disc):
    channels = np.stack([disc, np.roll(disc, 22, axis=1)])
    together = api.segment(channels, channel_axis=0, text="bright objects")
    one = api.segment(channels, channel_axis=0, channel=1, text="bright objects")

    assert (len(together.objects), len(one.objects)) == (2, 1)


def test_sixteen_bit_images_are_stretched_and_contrast_is_honoured(disc):
    image = disc.astype(np.uint16) * 100
    image[0, 0] = 65535

    assert api.segment(image, points=[(20, 30)]).labels[25, 30] == 1
    flat = api.segment(image, text="bright objects", contrast=(60000, 65535))
    assert all(record.area < 20 for record in flat.objects)


def test_an_open_engine_encodes_an_array_once_until_its_pixels_change(disc, monkeypatch):
    with api.open_engine("builtin") as engine:
        encoded = []
        embed = engine._engine.embed  # noqa: SLF001 (the real engine, counted)
        monkeypatch.setattr(
            engine._engine,  # noqa: SLF001
            "embed",
            lambda image, reporter: encoded.append(1) or embed(image, reporter),
        )
        api.segment(disc, points=[(20, 30)], engine=engine)
        api.segment(disc, points=[(22, 30)], engine=engine)
        assert len(encoded) == 1
        disc[:] = disc[::-1].copy()
        moved = api.segment(disc, points=[(27, 30)], engine=engine)
        assert len(encoded) == 2
        assert moved.labels[36, 30] == 1


def test_engines_are_listed_with_what_to_do():
    listed = {info.name: info for info in api.engines()}
    assert listed["builtin"].title == "Built-in (no SAM 3 weights)"
    assert listed["builtin"].available
    assert all(info.available or info.reason for info in listed.values())


def random_image(rng, turn):
    """Return an image of any size and type: noisy, constant, with a hot pixel or NaN."""
    height, width = rng.integers(1, 600 if turn % 8 == 0 else 80, 2)
    image = rng.normal(100, 40, (height, width)).clip(0, 255)
    if turn % 3 == 0:
        image[:] = 5
    if turn % 5 == 0:
        image[rng.integers(height), rng.integers(width)] = 60000
    kinds = [np.uint8, np.uint16, np.int32, np.float32, np.float64, bool]
    kind = np.dtype(kinds[turn % len(kinds)])
    image = (image.clip(0, 255) if kind == np.uint8 else image).astype(kind)
    if kind.kind == "f" and turn % 2:
        image[rng.integers(height), rng.integers(width)] = np.nan
    return image


def random_request(rng, turn, shape):
    """Return prompts of any kind, some of them outside the image."""

    def position():
        return [float(rng.uniform(-1, size + 1)) for size in shape]

    if turn % 4 == 1:
        return {"exemplars": [position() + position()]}
    if turn % 4 == 2:
        return {"text": ["bright cells", "dark spots", "nucleus"][turn % 3]}
    if turn % 4 == 3:
        return {"mask": rng.random(shape) > 0.7}
    return {
        "points": [(*position(), bool(rng.integers(2))) for _ in range(rng.integers(0, 4))],
        "boxes": [position() + position() for _ in range(rng.integers(0, 2))],
    }


@pytest.mark.parametrize("batch", [0, 1, thorough(2), thorough(3)])
def test_random_prompts_on_random_images_give_labels_or_a_sentence(batch):
    rng = np.random.default_rng(batch)
    answers = {"labels": 0, "sentence": 0}
    for turn in range(50):
        image = random_image(rng, turn)
        try:
            result = api.segment(image, **random_request(rng, turn, image.shape))
        except Sam3AssistantError:
            answers["sentence"] += 1
        else:
            answers["labels"] += 1
            assert result.labels.shape == image.shape
            assert set(np.unique(result.labels)) <= {0, *(each.id for each in result.objects)}
    assert min(answers.values()) > 5


def test_importing_the_api_loads_no_qt_no_napari_and_no_torch():
    code = (
        "import sys, napari_sam3_assistant.api as api; api.engines(); "
        "print([m for m in ('qtpy', 'PyQt6', 'napari', 'torch', 'transformers', 'sam3')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_doctor_says_what_is_there():
    text = "\n".join(api.doctor())
    assert "builtin" in text
    assert "napari" in text
    assert "Display" in text

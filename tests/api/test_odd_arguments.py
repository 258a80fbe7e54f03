"""Arguments that look right to a hasty reader of the documentation."""

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.errors import ExportError, PromptError, Sam3AssistantError


@pytest.fixture
def disc():
    rows, columns = np.ogrid[:60, :80]
    return np.where((rows - 30) ** 2 + (columns - 20) ** 2 <= 100, 200, 30).astype(np.uint8)


@pytest.mark.parametrize(
    "prompts", [{"points": (30, 20)}, {"boxes": (9, 9, 40, 40)}, {"exemplars": [9, 9, 40, 40]}]
)
def test_a_prompt_that_is_in_no_list(disc, prompts):
    with pytest.raises(PromptError, match="is not a list of prompts"):
        api.segment(disc, **prompts)
    with pytest.raises(PromptError, match="is not a list of prompts"):
        api.track(np.stack([disc] * 2), **prompts)


def test_a_list_of_phrases(disc):
    for call in (api.segment, lambda image, **prompts: api.track(np.stack([image] * 2), **prompts)):
        with pytest.raises(PromptError, match="A phrase is one text"):
            call(disc, text=["bright disc", "dark disc"])


def test_a_mask_may_be_a_file_and_its_numbers_floats(disc, tmp_path):
    mask = np.where(disc > 100, 7.0, 0).astype(np.float32)
    mask[50:, 60:] = 9
    for name in ("mask.tif", "mask.npy"):
        (tifffile.imwrite if name.endswith("tif") else np.save)(tmp_path / name, mask)
        found = api.segment(disc, mask=tmp_path / name, as_painted=True)
        np.testing.assert_array_equal(found.labels != 0, mask != 0)
        (first, *_) = api.track(np.stack([disc] * 2), mask=str(tmp_path / name))
        assert {7} <= {one.id for one in first.objects} <= {7, 9}


def test_labels_of_torch(disc):
    torch = pytest.importorskip("torch")
    labels = (disc > 100).astype(np.int32)

    assert api.measure(torch.from_numpy(labels), disc) == api.measure(labels, disc)


def test_an_id_beyond_what_engines_count_to(disc):
    stack = np.stack([disc] * 2)
    labels = np.where(disc > 100, 2**32 - 1, 0).astype(np.uint32)
    for prompts in ({"points": [(30, 20, True, 2**32)]}, {"mask": labels}):
        with pytest.raises(PromptError, match="Number objects from 1 to 1000000000"):
            api.track(stack, **prompts)
    found = [result.objects[0].id for result in api.track(stack, points=[(30, 20, 1, 10**9)])]
    assert found == [10**9] * 2


def test_a_home_that_nobody_has_is_a_sentence(disc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nobody = "~nobody-of-that-name/x"
    for call in (
        lambda: api.segment(disc, points=[(30, 20)], model_folder=nobody),
        lambda: api.segment(nobody, points=[(30, 20)]),
        lambda: api.segment_folder(nobody, tmp_path, texts=["bright objects"]),
        lambda: api.rerun(nobody),
        lambda: api.scan(disc, output=f"{nobody}.zarr", text="bright objects"),
        lambda: api.clean(nobody, [api.Renumber()]),
        lambda: api.export(disc, f"{nobody}.json"),
        lambda: api.compare_devices(nobody),
    ):
        with pytest.raises(Sam3AssistantError, match="nobody-of-that-name"):
            call()
    assert not list(tmp_path.iterdir())


def test_one_phrase_for_a_folder_is_not_taken_letter_by_letter(disc, tmp_path):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", disc)

    rows = api.segment_folder(tmp_path / "in", tmp_path / "out", texts="bright disc")

    assert [(row.phrase, row.status, row.objects) for row in rows] == [("bright disc", "done", 1)]


def test_an_unknown_format_is_told_before_the_first_image(disc, tmp_path):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", disc)

    with pytest.raises(ExportError, match=r"can't be saved as '.jpg'"):
        api.segment_folder(tmp_path / "in", tmp_path / "out", texts=["bright"], ending=".jpg")
    assert not (tmp_path / "out").exists()


def test_a_rerun_says_before_it_runs_that_it_can_not_write(disc, tmp_path):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", disc)
    (row,) = api.segment_folder(tmp_path / "in", tmp_path / "out", texts=["bright"])
    note = tmp_path / "out" / f"{row.labels}.json"
    (tmp_path / "in" / "a.tif").unlink()  # it would be missed as soon as it runs

    for output in ("a.jpg", "none/a.tif", f"out/{row.labels}"):
        with pytest.raises(ExportError):
            api.rerun(note, output=tmp_path / output)


@pytest.mark.parametrize("said", [-1, 2, 0.5, "negative", "False", None])
def test_what_does_not_say_whether_a_prompt_is_positive(disc, said):
    for prompts in (
        {"points": [(30, 20), (10, 60, said)]},
        {"exemplars": [(19, 9, 41, 31), (0, 50, 9, 60, said)]},
    ):
        with pytest.raises(PromptError, match="does not say whether a prompt is positive"):
            api.segment(disc, **prompts)
        with pytest.raises(PromptError, match="does not say whether a prompt is positive"):
            api.track(np.stack([disc] * 2), **prompts)


@pytest.mark.parametrize("said", [1, 1.0, True, np.True_, np.int64(1), np.float32(1)])
def test_what_says_that_a_prompt_is_positive(disc, said):
    found = api.segment(disc, points=[(30, 20, said), (10, 60, type(said)(0))])
    assert found.labels[30, 20]
    assert not found.labels[10, 60]


def test_a_box_in_parts_of_the_image(disc):
    for prompts in ({"boxes": [(0.3, 0.1, 0.7, 0.5)]}, {"exemplars": [(0, 0, 0.5, 1, True)]}):
        with pytest.raises(PromptError, match="seems to be in parts of the image"):
            api.segment(disc, **prompts)
        with pytest.raises(PromptError, match="seems to be in parts of the image"):
            api.track(np.stack([disc] * 2), **prompts)


def test_prompts_that_are_no_numbers_and_frames_that_are_not_whole(disc):
    stack = np.stack([disc] * 2)
    for prompts in ({"points": [("30", "a")]}, {"boxes": [(9, 9, 40, None)]}):
        for call in (
            lambda given: api.segment(disc, **given),
            lambda given: api.track(stack, **given),
        ):
            with pytest.raises(PromptError, match="are not all numbers"):
                call(prompts)
    for given in ({"frame": 0.0, "points": [(30, 20)]}, {"points": {0.5: [(30, 20)]}}):
        with pytest.raises(PromptError, match="is not a whole number"):
            api.track(stack, **given)

"""The engine answers what the library's documented use answers, on the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from contracts.documented_use import DEVICE, as_library_points, choose_masks, part, points_of, xyxy
from napari_sam3_assistant import api
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

# Scores of the random weights lie between 0.22 and 0.27.
THRESHOLDS = (0.0, 0.245)


class Reference:
    """SAM 3 as the documentation of transformers uses it: one model for each task.

    ``Sam3TrackerModel`` is filled by the right names (``from_pretrained`` leaves it random) and
    has the three feature levels that its mask decoder takes: with a fourth one, the library
    adds the "no memory" embedding to a map that it drops (see ``click_features``).
    """

    def __init__(self, folder, device=DEVICE):
        from safetensors.torch import load_file
        from transformers import (
            Sam3Model,
            Sam3Processor,
            Sam3TrackerConfig,
            Sam3TrackerModel,
            Sam3TrackerProcessor,
            Sam3VideoConfig,
        )

        self.device = device
        self.detector = Sam3Model.from_pretrained(folder).eval().to(device)
        self.processor = Sam3Processor.from_pretrained(folder)
        self.click_processor = Sam3TrackerProcessor.from_pretrained(folder)
        parts = Sam3VideoConfig.from_pretrained(folder).tracker_config
        vision = parts.vision_config.to_dict() | {"scale_factors": [4.0, 2.0, 1.0]}
        prompt, decoder = parts.prompt_encoder_config.to_dict(), parts.mask_decoder_config.to_dict()
        del prompt["model_type"], decoder["model_type"]
        self.tracker = Sam3TrackerModel(
            Sam3TrackerConfig(
                vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
            )
        ).eval()
        renamed = {
            name.replace("detector_model.vision_encoder.backbone", "vision_encoder.backbone")
            .replace("tracker_neck", "vision_encoder.neck")
            .replace("tracker_model.", ""): tensor
            for name, tensor in load_file(folder / "model.safetensors").items()
        }
        assert self.tracker.load_state_dict(renamed, strict=False).missing_keys == []
        self.tracker.to(device)

    def find(self, image, threshold, **prompts):
        import torch

        inputs = self.processor(images=Image.fromarray(image), return_tensors="pt", **prompts)
        inputs = inputs.to(self.device)
        with torch.no_grad():
            outputs = self.detector(**inputs)
        return self.processor.post_process_instance_segmentation(
            outputs,
            threshold=threshold,
            mask_threshold=0.5,
            target_sizes=inputs["original_sizes"].tolist(),
        )[0]

    def click(self, image, masks=None, *, multimask=False, every=False, **prompts):
        import torch

        inputs = self.click_processor(images=Image.fromarray(image), return_tensors="pt", **prompts)
        inputs = inputs.to(self.device)
        with torch.no_grad():
            outputs = self.tracker(
                pixel_values=inputs["pixel_values"],
                input_points=inputs.get("input_points"),
                input_labels=inputs.get("input_labels"),
                input_boxes=inputs.get("input_boxes"),
                input_masks=None if masks is None else masks.to(self.device),
                multimask_output=multimask,
            )
        large = self.click_processor.post_process_masks(
            outputs.pred_masks, inputs["original_sizes"]
        )[0]
        return choose_masks(large, outputs.iou_scores[0], every=every)


@pytest.fixture(scope="module")
def reference(tiny_checkpoint, _one_thread):
    return Reference(tiny_checkpoint)


def run(engine, image, prompts, threshold=0.0):
    embedding = engine.embed(image, NullReporter())
    return engine.predict(embedding, prompts, PredictOptions(threshold), NullReporter())


def whole(record, shape):
    mask = np.zeros(shape, bool)
    mask[record.region.slices] = record.mask
    return mask


def assert_same(objects, masks, scores, shape):
    """The objects are the non-empty masks, in their order, with their scores and boxes."""
    expected = [(mask, score) for mask, score in zip(masks, scores, strict=True) if mask.any()]
    assert expected, "the case would show nothing"
    assert [record.id for record in objects] == list(range(1, len(expected) + 1))
    for record, (mask, score) in zip(objects, expected, strict=True):
        np.testing.assert_array_equal(whole(record, shape), mask)
        assert record.score == pytest.approx(score, abs=1e-6)
        rows, columns = np.nonzero(mask)
        assert record.bbox == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


def assert_same_found(objects, found, shape):
    assert_same(objects, found["masks"].cpu().numpy() > 0, found["scores"].tolist(), shape)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_text(engine, reference, image, threshold):
    found = reference.find(image, threshold, text="red cell")
    prediction = run(engine, image, PromptSet(text="Segment all the red cell."), threshold)
    assert_same_found(prediction.objects, found, image.shape[:2])
    assert (prediction.phrase, prediction.threshold) == ("red cell", threshold)
    assert {record.text for record in prediction.objects} == {"red cell"}


def test_positive_and_negative_examples(engine, reference, image):
    shape = image.shape[:2]
    good, bad = part(shape, 0.1, 0.1, 0.5, 0.6), part(shape, 0.6, 0.5, 1, 1)
    found = reference.find(
        image, 0.0, input_boxes=[[xyxy(good), xyxy(bad)]], input_boxes_labels=[[1, 0]]
    )
    prompts = PromptSet(exemplars=(ExemplarPrompt(good), ExemplarPrompt(bad, positive=False)))
    assert_same_found(run(engine, image, prompts).objects, found, shape)


def test_text_with_an_example(engine, reference, image):
    shape = image.shape[:2]
    good = part(shape, 0.2, 0.3, 0.7, 0.9)
    found = reference.find(
        image, 0.0, text="ring", input_boxes=[[xyxy(good)]], input_boxes_labels=[[1]]
    )
    prediction = run(engine, image, PromptSet(text="ring", exemplars=(ExemplarPrompt(good),)))
    assert_same_found(prediction.objects, found, shape)


def test_points(engine, reference, image):
    points = points_of(image.shape[:2])
    masks, scores = reference.click(image, **as_library_points(points))
    objects = run(engine, image, PromptSet(points=points)).objects
    assert_same(objects, masks, scores, image.shape[:2])


@pytest.mark.parametrize("number", [0, 1])
def test_a_single_click_takes_the_best_of_three_masks(engine, reference, image, number):
    points = points_of(image.shape[:2])[number : number + 1]
    asked = as_library_points(points)
    answer = run(engine, image, PromptSet(points=points))
    assert_same(answer.objects, *reference.click(image, multimask=True, **asked), image.shape[:2])
    every = reference.click(image, multimask=True, every=True, **asked)
    assert_same(answer.candidates, *every, image.shape[:2])


def test_only_a_single_click_has_candidates(engine, image):
    shape = image.shape[:2]
    click, box = points_of(shape)[:1], (BoxPrompt(part(shape, 0.1, 0.1, 0.6, 0.7)),)
    for prompts in (
        PromptSet(points=points_of(shape)),
        PromptSet(points=click, boxes=box),
        PromptSet(points=click, text="cell"),
        PromptSet(boxes=box),
    ):
        assert not run(engine, image, prompts).candidates


def test_boxes_are_one_object_each_and_end_at_the_box(engine, reference, image):
    shape = image.shape[:2]
    regions = [part(shape, 0.1, 0.1, 0.6, 0.7), part(shape, 0.5, 0.4, 1, 1)]
    masks, scores = reference.click(image, input_boxes=[[xyxy(region) for region in regions]])
    for mask, region in zip(masks, regions, strict=True):
        inside = np.zeros(shape, bool)
        inside[region.slices] = True
        mask &= inside
    objects = run(engine, image, PromptSet(boxes=tuple(map(BoxPrompt, regions)))).objects
    assert_same(objects, masks, scores, shape)


@pytest.mark.parametrize("ends", [(0.113, 0.207, 0.613, 0.731), (-0.05, 0.401, 0.5037, 1.2)])
def test_boxes_keep_their_fractions(engine, reference, image, ends):
    height, width = image.shape[:2]
    y0, x0, y1, x1 = np.array(ends) * (height, width, height, width)
    inside = [max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)]
    masks, scores = reference.click(image, input_boxes=[[inside]])
    box = BoxPrompt.from_box((y0, x0, y1, x1))
    beyond = np.ones(masks[0].shape, bool)
    beyond[box.region.intersect(Region.whole(masks[0].shape)).slices] = False
    masks[0][beyond] = False

    assert_same(run(engine, image, PromptSet(boxes=(box,))).objects, masks, scores, masks[0].shape)


def test_examples_keep_their_fractions(engine, reference, image):
    height, width = image.shape[:2]
    y0, x0, y1, x1 = np.array((0.113, 0.207, 0.613, 0.731)) * (height, width, height, width)
    found = reference.find(image, 0.0, input_boxes=[[[x0, y0, x1, y1]]], input_boxes_labels=[[1]])
    prompts = PromptSet(exemplars=(ExemplarPrompt.from_box((y0, x0, y1, x1)),))
    assert_same_found(run(engine, image, prompts).objects, found, image.shape[:2])


def test_points_with_a_box(engine, reference, image):
    shape = image.shape[:2]
    points, region = points_of(shape), part(shape, 0.1, 0.1, 0.7, 0.8)
    masks, scores = reference.click(
        image, **as_library_points(points), input_boxes=[[xyxy(region)]]
    )
    prompts = PromptSet(points=points, boxes=(BoxPrompt(region),))
    assert_same(run(engine, image, prompts).objects, masks, scores, shape)


@pytest.fixture
def painted(image):
    mask = np.zeros(image.shape[:2], bool)
    mask[part(mask.shape, 0.25, 0.3, 0.75, 0.6).slices] = True
    return mask


def as_library_mask(mask):
    import torch

    return torch.from_numpy(np.where(mask, 10.0, -10.0).astype(np.float32))[None, None]


def test_painted_mask(engine, reference, image, painted):
    masks, scores = reference.click(image, masks=as_library_mask(painted))
    objects = run(engine, image, PromptSet(masks=(MaskPrompt.from_plane(painted),))).objects
    assert_same(objects, masks, scores, painted.shape)


def test_refining_a_mask_by_clicks(engine, reference, image, painted):
    points = points_of(painted.shape)
    masks, scores = reference.click(
        image, masks=as_library_mask(painted), **as_library_points(points)
    )
    prompts = PromptSet(points=points, masks=(MaskPrompt.from_plane(painted),))
    objects = run(engine, image, prompts).objects
    assert_same(objects, masks, scores, painted.shape)


def test_the_mask_changes_the_answer(engine, make_image):
    image = make_image(90, 160)
    points = points_of((90, 160))
    left = np.zeros((90, 160), bool)
    left[10:40, 10:60] = True
    without = run(engine, image, PromptSet(points=points)).objects[0]
    prompts = PromptSet(points=points, masks=(MaskPrompt.from_plane(left),))
    seeded = run(engine, image, prompts).objects[0]
    assert not np.array_equal(whole(without, left.shape), whole(seeded, left.shape))


def test_found_object_is_refined_by_clicks(engine, reference, make_image):
    """Phrase, pick one, click: the loop of two stages on one encoding."""
    image = make_image(90, 160)
    embedding = engine.embed(image, NullReporter())
    found = engine.predict(embedding, PromptSet(text="cell"), PredictOptions(0.0), NullReporter())
    picked = found.objects[3]
    points = points_of((90, 160))
    prompts = PromptSet(points=points, masks=(MaskPrompt(picked.mask, picked.region),))
    refined = engine.predict(embedding, prompts, PredictOptions(), NullReporter())
    library = reference.find(image, 0.0, text="cell")
    masks, scores = reference.click(
        image, masks=as_library_mask(library["masks"][3].cpu().numpy()), **as_library_points(points)
    )
    assert_same(refined.objects, masks, scores, (90, 160))


def test_region_of_a_larger_image(engine, reference, make_image):
    """A view into a larger, read-only array is taken as the pixels that it shows."""
    large = make_image(400, 500)
    large.setflags(write=False)
    region = large[30:190, 70:160]
    found = reference.find(np.ascontiguousarray(region), 0.0, text="cell")
    assert_same_found(run(engine, region, PromptSet(text="cell")).objects, found, (160, 90))


def test_a_16_bit_grey_image_from_the_api_on(tiny_checkpoint, reference, make_image):
    """The whole way: contrast to 8 bit, three equal colours, then what the library answers."""
    grey = make_image(120, 90)[..., 0].astype(np.uint16) * 40 + 1000
    low, high = 1000, 1000 + 255 * 40
    # Each step of 40 is one of 255 grey values.
    picture = np.stack([((grey - low) // 40).astype(np.uint8)] * 3, -1)
    points = points_of((120, 90))
    found = reference.find(picture, 0.0, text="cell")
    masks, scores = reference.click(picture, **as_library_points(points))

    with api.open_engine("sam3-transformers", model_folder=tiny_checkpoint) as engine:
        request = {"engine": engine, "contrast": (low, high), "threshold": 0.0}
        text = api.segment(grey, text="cell", **request)
        clicked = api.segment(grey, points=[(p.y, p.x, p.positive) for p in points], **request)

    assert_same_found(text.objects, found, (120, 90))
    assert_same(clicked.objects, masks, scores, (120, 90))


@pytest.fixture
def click_maps(engine, make_image):
    """The engine's feature maps for clicks."""
    embedding = engine.embed(make_image(64, 64), NullReporter())
    prompts = PromptSet(points=(PointPrompt(3, 3),))
    engine.predict(embedding, prompts, PredictOptions(), NullReporter())
    return embedding.clicks


@pytest.fixture
def pixel_values(reference, make_image):
    return reference.processor(images=make_image(64, 64), return_tensors="pt")["pixel_values"]


def test_click_features_are_those_of_the_video_model(tiny_checkpoint, click_maps, pixel_values):
    from transformers import Sam3TrackerVideoModel

    video = Sam3TrackerVideoModel.from_pretrained(tiny_checkpoint).eval().to(DEVICE)
    maps = video.get_image_embeddings(pixel_values.to(DEVICE))
    for ours, theirs in zip(click_maps, maps, strict=True):
        np.testing.assert_array_equal(ours.cpu().numpy(), theirs.cpu().numpy())


def test_library_drops_the_no_memory_embedding_with_four_levels(
    tiny_checkpoint, reference, click_maps, pixel_values
):
    """Why clicks do not use ``Sam3TrackerModel.get_image_embeddings`` of the folder's settings.

    It fails when transformers is put right; then ``Reference`` needs no three levels.
    """
    from safetensors.torch import load_file
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    settings = reference.tracker.config.to_dict()
    settings["vision_config"]["scale_factors"] = [4.0, 2.0, 1.0, 0.5]
    del settings["model_type"]
    model = Sam3TrackerModel(Sam3TrackerConfig(**settings)).eval()
    weights = load_file(tiny_checkpoint / "model.safetensors")
    last = {
        name.removeprefix("tracker_neck."): tensor
        for name, tensor in weights.items()
        if name.startswith("tracker_neck.")
    }
    model.load_state_dict(reference.tracker.state_dict(), strict=False)
    model.vision_encoder.neck.load_state_dict(last)
    lost = model.no_memory_embedding.detach().reshape(1, -1, 1, 1).numpy()
    coarse = model.to(DEVICE).get_image_embeddings(pixel_values.to(DEVICE))[-1].cpu().numpy()
    assert np.abs(lost).max() > 0.1
    np.testing.assert_array_equal(coarse + lost, click_maps[-1].cpu().numpy())

"""The engine answers what the library's documented use answers, on the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from contracts.documented_use import (
    DEVICE,
    ON_THE_CUTOFF,
    as_library_points,
    choose_masks,
    part,
    points_of,
    xyxy,
)
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    Everything,
    MaskPrompt,
    PromptSet,
)
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.workflows.everything import find_everything

REPORTER = NullReporter()
CLASSES = {
    "sam": ("SamModel", "SamProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    "edgetam": ("EdgeTamModel", "Sam2Processor"),
}


class Reference:
    """A model as the documentation of transformers uses it, by itself."""

    def __init__(self, kind, folder, device=DEVICE):
        import transformers

        model, processor = CLASSES[kind.removesuffix("_video")]
        network, told = getattr(transformers, model).from_pretrained(
            folder, output_loading_info=True
        )
        assert not told["missing_keys"]
        self.network = network.eval().to(device)
        self.processor = getattr(transformers, processor).from_pretrained(folder)
        self.pads = kind == "sam"

    def __call__(self, image, painted=None, *, multimask=False, every=False, **prompts):
        import torch

        inputs = self.processor(images=Image.fromarray(image), return_tensors="pt", **prompts)
        sizes = {"original_sizes": inputs.pop("original_sizes")}
        if self.pads:
            sizes["reshaped_input_sizes"] = inputs.pop("reshaped_input_sizes")
        if painted is not None:
            inputs["input_masks"] = self.as_logits(painted, sizes)
        inputs = inputs.to(self.network.device)
        with torch.no_grad():
            outputs = self.network(**inputs, multimask_output=multimask)
        large = self.processor.post_process_masks(outputs.pred_masks, **sizes)[0]
        return choose_masks(large, outputs.iou_scores[0], every=every)

    def as_logits(self, painted, sizes):
        """A painted mask goes the way of the image; SAM 1 takes it as small as its own masks."""
        import torch
        from torch.nn.functional import interpolate

        logits = torch.from_numpy(np.where(painted, 10.0, -10.0).astype(np.float32))[None, None]
        if not self.pads:
            return logits
        height, width = sizes["reshaped_input_sizes"][0].tolist()
        side = self.processor.image_processor.pad_size["height"]
        framed = torch.full((1, 1, side, side), -10.0)
        framed[..., :height, :width] = interpolate(
            logits, (height, width), mode="bilinear", antialias=True
        )
        return interpolate(framed, (side // 4, side // 4), mode="bilinear", antialias=True)


@pytest.fixture(scope="module")
def reference(sam_folder):
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = Reference(kind, sam_folder(kind))
        return made[kind]

    return of


def painted_on(shape):
    mask = np.zeros(shape, bool)
    mask[part(shape, 0.25, 0.3, 0.75, 0.6).slices] = True
    return mask


def one_click(shape):
    points = points_of(shape)[:1]
    return PromptSet(points=points), {"multimask": True, **as_library_points(points)}, None


def one_click_beside(shape):
    points = points_of(shape)[1:2]
    return PromptSet(points=points), {"multimask": True, **as_library_points(points)}, None


def clicks(shape):
    points = points_of(shape)
    return PromptSet(points=points), as_library_points(points), None


def boxes(shape):
    regions = [part(shape, 0.1, 0.1, 0.6, 0.7), part(shape, 0.5, 0.4, 1, 1)]
    given = {"input_boxes": [[xyxy(region) for region in regions]]}
    return PromptSet(boxes=tuple(map(BoxPrompt, regions))), given, regions


def box_with_fractions(shape):
    y0, x0, y1, x1 = np.array((0.113, 0.207, 0.613, 0.731)) * (*shape, *shape)
    box = BoxPrompt.from_box((y0, x0, y1, x1))
    return PromptSet(boxes=(box,)), {"input_boxes": [[[x0, y0, x1, y1]]]}, [box.region]


def clicks_with_a_box(shape):
    points, region = points_of(shape), part(shape, 0.1, 0.1, 0.7, 0.8)
    given = {**as_library_points(points), "input_boxes": [[xyxy(region)]]}
    return PromptSet(points=points, boxes=(BoxPrompt(region),)), given, None


def mask(shape):
    painted = painted_on(shape)
    return PromptSet(masks=(MaskPrompt.from_plane(painted),)), {"painted": painted}, None


def mask_with_clicks(shape):
    painted, points = painted_on(shape), points_of(shape)
    prompts = PromptSet(points=points, masks=(MaskPrompt.from_plane(painted),))
    return prompts, {"painted": painted, **as_library_points(points)}, None


CASES = [
    one_click,
    one_click_beside,
    clicks,
    boxes,
    box_with_fractions,
    clicks_with_a_box,
    mask,
    mask_with_clicks,
]


SHAPES = {"landscape": (90, 160), "portrait": (161, 90), "tiny": (7, 9), "large": (500, 370)}
# The others differ from these in their image encoder, which knows nothing of the shape.
OTHERS = [("sam2", "landscape"), ("edgetam", "landscape"), ("edgetam_video", "portrait")]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [*((kind, shape) for kind in ("sam2_video", "sam") for shape in SHAPES), *OTHERS],
)
def test_every_prompt(loaded_sam, reference, make_image, kind, shape):
    image = make_image(*SHAPES[shape])
    engine = loaded_sam(kind)
    encoding = engine.embed(image, REPORTER)
    seen = 0
    for case in CASES:
        prompts, given, clips = case(image.shape[:2])
        masks, scores = reference(kind)(image, **given)
        answer = engine.predict(encoding, prompts, PredictOptions(), REPORTER)
        assert_same(answer.objects, clip(masks, clips), scores)
        every = reference(kind)(image, every=True, **given) if "multimask" in given else ((), ())
        assert_same(answer.candidates, *every)
        seen += sum(0 < np.count_nonzero(mask) < mask.size for mask in masks)
    # A mask of nothing, or of everything, would be equal to any other.
    assert seen > len(CASES) / 2


def clip(masks, regions):
    """Cut each mask to its box, where it has one."""
    if regions is None:
        return masks
    inside = np.zeros(masks.shape, bool)
    for plane, region in zip(inside, regions, strict=True):
        plane[region.slices] = True
    return masks & inside


def assert_same(records, masks, scores):
    expected = [(mask, score) for mask, score in zip(masks, scores, strict=True) if mask.any()]
    assert [record.id for record in records] == list(range(1, len(expected) + 1))
    for record, (mask, score) in zip(records, expected, strict=True):
        whole = np.zeros(mask.shape, bool)
        whole[record.region.slices] = record.mask
        np.testing.assert_array_equal(whole, mask)
        assert record.score == pytest.approx(np.clip(score, 0, 1), abs=1e-6)


# Filters that random weights pass now and then.
SOME = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.6, "stability_score_offset": 0.05}
# The masks of random weights lie all over the image, so none may suppress another by its box; what
# suppression keeps is compared with torchvision in tests/workflows/test_everything.py.
NMS = 1.0


@pytest.mark.parametrize(
    ("kind", "shape", "crops"),
    [
        ("sam2", (120, 120), 0),
        ("sam", (70, 140), 0),
        ("sam2", (160, 160), 1),
        ("sam", (150, 110), 1),
    ],
)
def test_everything_is_what_the_pipeline_for_mask_generation_gives(
    kind, shape, crops, loaded_sam, reference, make_image
):
    """Of SAM 2 on squares: on others the pipeline scales its points as if images were padded."""
    from transformers import pipeline

    image, known = make_image(*shape), reference(kind)
    generator = pipeline(
        "mask-generation",
        model=known.network,
        image_processor=known.processor.image_processor,
        device=DEVICE,
    )
    expected = generator(
        Image.fromarray(image),
        points_per_crop=6,
        points_per_batch=10,
        crops_n_layers=crops,
        crops_nms_thresh=NMS,
        **SOME,
    )
    engine = CachingEngine(loaded_sam(kind))
    asked = Everything(points_per_side=6, box_nms_thresh=NMS, crop_n_layers=crops, **SOME)
    *_, found = find_everything(
        engine,
        lambda part: image[part.slices],
        engine.encode(image, REPORTER),
        asked,
        shape,
        PredictOptions(),
        REPORTER,
    )
    assert len(found.objects) == len(expected["masks"]) > 5
    planes = []
    for record in found.objects:
        planes.append(np.zeros(shape, bool))
        planes[-1][record.region.slices] = record.mask
    scores = [record.score for record in found.objects]
    assert scores == sorted(scores)
    for mask, score in zip(expected["masks"], expected["scores"].tolist(), strict=True):
        differences = [np.count_nonzero(plane != mask.cpu().numpy()) for plane in planes]
        place = int(np.argmin(differences))
        # A pixel may lie on the cutoff itself.
        assert differences[place] <= 2 + ON_THE_CUTOFF
        assert scores.pop(place) == pytest.approx(min(score, 1), abs=1e-3)
        planes.pop(place)

"""What the documentation of transformers does with the same prompts, on images and on movies."""

import os

import numpy as np
import pytest

from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt
from napari_sam3_assistant.core.regions import Region

REPORTER = NullReporter()
DEVICE = os.environ.get("NAPARI_SAM3_TEST_DEVICE", "cpu")
"""Where the engine and the library work, in float32; see ``tools/check_gpu.py``."""
ON_THE_CUTOFF = 0 if DEVICE == "cpu" else 4
"""Pixels of a mask that may differ: a GPU adds up in an order that depends on how many objects
it is given at once, so one on the cutoff itself may fall on either side."""


# -- images ------------------------------------------------------------------------------------


def make_image(height, width, seed=0):
    """Return an RGB image of blobs on a ramp."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 200 // height, columns * 200 // width, rows * 0 + 90], -1)
    for _ in range(6):
        y, x = random.uniform(0, height), random.uniform(0, width)
        radius = random.uniform(0.08, 0.25) * min(height, width)
        image[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = random.integers(0, 256, 3)
    return image.astype(np.uint8)


def part(shape, y0, x0, y1, x1):
    """A region given by fractions of the image."""
    height, width = shape
    return Region(int(y0 * height), int(x0 * width), int(y1 * height), int(x1 * width))


def xyxy(region):
    return [region.x0, region.y0, region.x1, region.y1]


def points_of(shape):
    height, width = shape
    return (
        PointPrompt(0.3 * height, 0.6 * width),
        PointPrompt(0.5 * height, 0.5 * width),
        PointPrompt(0.8 * height, 0.1 * width, positive=False),
    )


def as_library_points(points):
    return {
        "input_points": [[[[point.x, point.y] for point in points]]],
        "input_labels": [[[int(point.positive) for point in points]]],
    }


def choose_masks(masks, scores, *, every):
    """Return masks of one image and their scores, shapes (objects, masks, ...), as arrays."""
    if every:
        # Of the only object, from the smallest to the largest.
        order = masks[0].sum((1, 2)).argsort(stable=True)
        return masks[0, order].cpu().numpy(), scores[0, order].tolist()
    # As the library's page says: of several masks the one with the best score.
    best = scores.argmax(1)
    objects = range(len(best))
    return masks[objects, best].cpu().numpy(), scores[objects, best].tolist()


# -- movies ------------------------------------------------------------------------------------


COUNT = 18  # more than the 16 frames that the tracker looks back
SHAPE = (60, 80)
POINTS = (PointPrompt(30, 40), PointPrompt(10, 12), PointPrompt(5, 70, positive=False))
BOX = BoxPrompt.from_box((12.4, 19.75, 43.7, 61.2))


def painted():
    mask = np.zeros(SHAPE, bool)
    mask[15:40, 25:50] = True
    return mask


@pytest.fixture(scope="module")
def frames():
    """An RGB movie of a disc that moves over a ramp."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    movie = np.stack([rows * 3, columns * 2, rows * 0 + 90], -1)[None].repeat(COUNT, 0)
    for number in range(COUNT):
        movie[number][(rows - 30) ** 2 + (columns - 20 - 2 * number) ** 2 < 120] = (220, 60, 150)
    return movie.astype(np.uint8)


def documented(tracker, frames, start, reverses, *prompts):
    """Return the masks by frame and object, as the pages on Sam2Video and Sam3TrackerVideo do."""
    import torch

    model, processor = tracker
    # On the CPU, as the engine does: on a GPU pixels are scaled in float32, to other grey values.
    session = processor.init_video_session(
        video=frames, inference_device=DEVICE, processing_device="cpu"
    )
    masks = {}
    with torch.inference_mode():
        for name, inputs in enumerate(prompts, 1):
            processor.add_inputs_to_inference_session(session, start, name, **inputs)
            # With each object, as those that come later have no inputs yet.
            model(inference_session=session, frame_idx=start)
        for reverse in reverses:
            for answer in model.propagate_in_video_iterator(
                session, start_frame_idx=start, reverse=reverse
            ):
                large = processor.post_process_masks(
                    [answer.pred_masks], original_sizes=[SHAPE], binarize=False
                )[0]
                masks[answer.frame_idx] = (large[:, 0] > 0).cpu().numpy()
    return masks


def ours(engine, frames, start, reverses, *seeds):
    source = FrameSource(view_of_array(frames, plane=0), 0)
    track = engine.track(source, PredictOptions(), lambda: 99)
    for seed in seeds:
        track.add(seed)
    found = {}
    for reverse in reverses:
        order = range(start, -1, -1) if reverse else range(start, len(frames))
        for result in track.propagate(order, REPORTER):
            found[result.frame] = result
    track.close()
    return found


def plane(record):
    mask = np.zeros(SHAPE, bool)
    if record is not None:
        mask[record.region.slices] = record.mask
    return mask


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    seen = 0
    for frame, result in found.items():
        records = {record.id: record for record in result.objects}
        for index, mask in enumerate(expected[frame]):
            differing = np.count_nonzero(plane(records.get(index + 1)) != mask)
            assert differing <= ON_THE_CUTOFF, f"frame {frame}, object {index + 1}"
            seen += 0 < np.count_nonzero(mask) < mask.size
    assert seen, "all masks are empty, or all of the frame: nothing is shown"


PROMPTS = {
    "click": (
        {"input_points": [[[[40.0, 30.0]]]], "input_labels": [[[1]]]},
        {"points": POINTS[:1]},
    ),
    "points": (
        {
            "input_points": [[[[40.0, 30.0], [12.0, 10.0], [70.0, 5.0]]]],
            "input_labels": [[[1, 1, 0]]],
        },
        {"points": POINTS},
    ),
    "box": (
        {"input_boxes": [[[20.0, 12.0, 61.0, 44.0]]]},
        {"box": BoxPrompt(Region(12, 20, 44, 61))},
    ),
    "box with fractions": ({"input_boxes": [[[19.75, 12.4, 61.2, 43.7]]]}, {"box": BOX}),
    "box and point": (
        {
            "input_boxes": [[[19.75, 12.4, 61.2, 43.7]]],
            "input_points": [[[[40.0, 30.0]]]],
            "input_labels": [[[1]]],
        },
        {"box": BOX, "points": POINTS[:1]},
    ),
    "mask": ({"input_masks": painted()}, {"mask": MaskPrompt.from_plane(painted())}),
}

"""Every reach into the video side of Meta's ``sam3`` package, SAM 3.0.

The package's predictor (``Sam3VideoPredictor``) needs CUDA, loads the weights a second time, takes
a whole stack of pictures and keeps every frame that it has seen. So its parts are driven here: the
tracker for clicks, boxes and masks, and the video model for phrases, both with the modules of the
image model that is loaded already. Lines are of sam3 0.1.4.
"""

from __future__ import annotations

import copy
import importlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.engines.encoding_cache import LRUCache
from napari_sam3_assistant.engines.sam3.engine import replace_attribute
from napari_sam3_assistant.engines.sam3.together import Network
from napari_sam3_assistant.engines.sam3_meta import compat

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.images import Untyped


Features = dict[Any, Any]
"""``feature_cache`` of the package: the features of few frames by their number."""

OBJECT = 1
"""The id of the only object of a tracker state of ours."""


class Pictures:
    """The frames of a stack as the package prepares them, one at a time.

    It stands where ``load_resource_as_video_frames`` (``io_utils.py:29``) puts a tensor of all
    frames, 6 MB each; ``sam3_image.py:146`` takes "a list (or other indexable types) of tensors".

    ``size``: side of the picture that the model looks at.
    """

    def __init__(self, frames: FrameSource, size: int) -> None:
        self._frames = frames
        self._size = size
        # The video model asks for a frame, for the next one, and for the first again.
        self._recent: LRUCache[torch.Tensor] = LRUCache(3)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frame: int) -> torch.Tensor:
        """Return a frame, shape (3, S, S), dtype float16, from -1 to 1."""
        return self._recent.get_or_make(frame, lambda: self._prepare(frame))

    def _prepare(self, frame: int) -> torch.Tensor:
        """Prepare a frame as the package prepares a list of PIL pictures, not through a file."""
        from PIL import Image
        from sam3.model.io_utils import load_resource_as_video_frames

        picture = Image.fromarray(np.ascontiguousarray(self._frames.read(frame)))
        pictures, _, _ = load_resource_as_video_frames(
            [picture], image_size=self._size, offload_video_to_cpu=True
        )
        prepared: torch.Tensor = pictures[0]
        return prepared


def make_tracker(model: Untyped) -> Untyped:
    """Return the tracker with the modules of the loaded click model.

    ``model_builder.py:593`` builds both by the same function; only the tracker of videos chooses
    which memories it looks at (``use_memory_selection``). A shallow copy shares all modules.
    """
    tracker = copy.copy(compat.click_model(model))
    tracker.use_memory_selection = True
    return tracker


def make_video_model(model: Untyped, tracker: Untyped, device: str) -> Untyped:
    """Return the package's video model for phrases, made of the modules that are loaded.

    ``build_sam3_video_model`` (``model_builder.py:638``) is called for its thresholds, while the
    functions that make its parts hand out those of the image model.
    """
    builder = importlib.import_module("sam3.model_builder")
    parts = {
        "build_tracker": tracker,
        "_create_vision_backbone": model.backbone.vision_backbone,
        "_create_text_encoder": model.backbone.language_backbone,
        "_create_sam3_transformer": model.transformer,
        "_create_segmentation_head": model.segmentation_head,
        "_create_geometry_encoder": model.geometry_encoder,
        "DotProductScoring": model.dot_prod_scoring,
    }
    with ExitStack() as stack:
        stack.enter_context(compat.ONE_AT_A_TIME)
        stack.enter_context(compat.silence_warnings())
        for name, part in parts.items():
            stack.enter_context(replace_attribute(builder, name, _return_part(part)))
        video = builder.build_sam3_video_model(
            load_from_HF=False, checkpoint_path=None, bpe_path="", device=device
        )
    return video.eval()


def _return_part(part: Untyped) -> Untyped:
    def give(*_arguments: object, **_options: object) -> Untyped:
        return part

    return give


def encode(model: Untyped, tracker: Untyped, picture: torch.Tensor, device: str) -> Untyped:
    """Return a frame's features as ``feature_cache`` holds them.

    What ``sam3_video_base.py:379`` makes for the tracker, without the detector, which is not asked
    for clicks, boxes and masks (``sam3_video_inference.py:1362`` runs it all the same).
    """
    import torch

    image = picture.to(dtype=torch.float32, device=device)[None]
    backbone = model.backbone.forward_image(image)["sam2_backbone_out"]
    # As sam3_image.py:838: bfloat16 on CUDA; elsewhere ``compat.call_context`` keeps float32.
    maps = [level.to(torch.bfloat16) for level in backbone["backbone_fpn"]]
    decoder = tracker.sam_mask_decoder
    maps = [decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1]), maps[2]]
    features = {
        "vision_features": maps[-1],
        "vision_pos_enc": backbone["vision_pos_enc"],
        "backbone_fpn": maps,
    }
    return picture, {"tracker_backbone_out": features}


def new_tracker_state(
    tracker: Untyped,
    features: Features,
    shape: tuple[int, int],
    count: int,
    *,
    on_cpu: bool,
) -> dict[str, Any]:
    """Return an empty state of the tracker."""
    state: dict[str, Any] = tracker.init_state(
        video_height=shape[0],
        video_width=shape[1],
        num_frames=count,
        cached_features=features,
        offload_state_to_cpu=on_cpu,
    )
    return state


@contextmanager
def _low_resolution(tracker: Untyped, state: dict[str, Any]) -> Iterator[None]:
    """Keep the tracker from making masks of the frame's size that nobody looks at.

    ``sam3_tracking_predictor.py:862`` enlarges each mask in float32 for its own answer.
    """
    kept = state["video_height"], state["video_width"]
    state["video_height"] = state["video_width"] = tracker.low_res_mask_size
    try:
        yield
    finally:
        state["video_height"], state["video_width"] = kept


def add_points(
    tracker: Untyped,
    state: dict[str, Any],
    frame: int,
    points: torch.Tensor,
    labels: torch.Tensor,
    box: torch.Tensor | None,
) -> None:
    """Segment the object of a state on a frame by clicks and a box.

    As ``add_tracker_new_points`` (``sam3_video_inference.py:1405``), which takes clicks only.

    ``state``: of one object.
    ``frame``: the frame; its features are there.
    ``points`` (shape (N, 2), dtype float32): x, y as parts of width and height.
    ``labels`` (shape (N,), dtype int32): 1 for a click on the object, 0 for one beside it.
    ``box`` (shape (4,)): x0, y0, x1, y1 as parts of width and height.
    """
    with _low_resolution(tracker, state):
        tracker.add_new_points_or_box(
            state,
            frame,
            OBJECT,
            points=points,
            labels=labels,
            box=box,
            clear_old_points=True,
            rel_coordinates=True,
            use_prev_mem_frame=False,
        )
    tracker.propagate_in_video_preflight(state, run_mem_encoder=True)


def add_mask(
    tracker: Untyped,
    state: dict[str, Any],
    frame: int,
    mask: torch.Tensor,
) -> None:
    """Give the object of a state its mask, (H, W), on a frame.

    The requests of the predictor know no masks; its detector seeds the tracker so
    (``sam3_video_base.py:1561``).
    """
    tracker.add_new_mask(state, frame, OBJECT, mask)
    tracker.propagate_in_video_preflight(state, run_mem_encoder=True)
    forget_masks(state)


def forget_masks(state: dict[str, Any]) -> None:
    """Let go of painted masks of the frame's size: only their frames are looked up again."""
    for by_frame in state["mask_inputs_per_obj"].values():
        for frame in by_frame:
            by_frame[frame] = None


def forget_prompt(tracker: Untyped, state: dict[str, Any], frame: int) -> None:
    """Take a prompted frame out of a state, for all of its objects."""
    for name in tuple(state["obj_id_to_idx"]):
        tracker.clear_all_points_in_frame(state, frame, name, need_output=False)


def follow(
    tracker: Untyped,
    state: dict[str, Any],
    frame: int,
    *,
    reverse: bool,
    fill_area: int,
) -> tuple[torch.Tensor, float]:
    """Return the mask of a state's object on a frame, (h, w) logits, and its score, 0 to 1.

    One step of ``sam3_video_base.py:1097``: follow, then close holes and drop sprinkles of up to
    ``fill_area`` low-resolution pixels.
    """
    from sam3.model.sam3_tracker_utils import fill_holes_in_mask_scores

    with _low_resolution(tracker, state):
        steps = tracker.propagate_in_video(
            state,
            start_frame_idx=frame,
            max_frame_num_to_track=0,
            reverse=reverse,
            tqdm_disable=True,
            run_mem_encoder=True,
        )
        ((_, _, low, _, scores),) = list(steps)
    state["frames_already_tracked"].clear()
    low = fill_holes_in_mask_scores(low, max_area=fill_area)
    return low[0, 0].float(), float(scores.float().sigmoid().reshape(-1)[0])


def networks(tracker: Untyped) -> tuple[Network, ...]:
    """Return what :func:`follow` calls that takes many objects (``sam3_tracker_base.py:776, 299``).

    The package has objects of one state prompted on the same frames, and one choice of memories for
    all of them; here each has its own.
    """
    return (
        Network(tracker.transformer.encoder, 1),
        Network(tracker.sam_mask_decoder, 0, frozenset({"image_pe"})),
    )


def new_phrase_state(
    video: Untyped,
    pictures: Pictures,
    shape: tuple[int, int],
) -> dict[str, Any]:
    """Return a session of the video model on frames that are read one at a time.

    ``init_state`` (``sam3_video_inference.py:50``) loads what it is given; here it finds the frames
    where its loader looks for them.
    """
    module = importlib.import_module("sam3.model.sam3_video_inference")

    def load(*_arguments: object, **_options: object) -> Untyped:
        return pictures, *shape

    with (
        compat.ONE_AT_A_TIME,
        replace_attribute(module, "load_resource_as_video_frames", load),
    ):
        # Of the list only the length is looked at: one picture is no video.
        state: dict[str, Any] = video.init_state([None] * max(2, len(pictures)))
    return state


def run_frame(video: Untyped, state: dict[str, Any], frame: int, *, reverse: bool) -> Untyped:
    """Find and follow the objects of a phrase on one frame.

    One step of ``propagate_in_video`` (``sam3_video_inference.py:239``), of which a run may be
    stopped and continued.
    """
    # The public generator can't be continued once it was stopped.
    return video._run_single_frame_inference(state, frame, reverse)  # noqa: SLF001


def finish_frame(video: Untyped, state: dict[str, Any], out: Untyped) -> Untyped:
    """Return the answer of :func:`run_frame` as the user sees it, without removed objects."""
    removed = state["tracker_metadata"]["rank0_metadata"]["removed_obj_ids"]
    return video._postprocess_output(  # noqa: SLF001
        state, out, removed, out["suppressed_obj_ids"], out["unconfirmed_obj_ids"]
    )


def forget_frames(video: Untyped, state: dict[str, Any], frame: int) -> None:
    """Let go of what a session of a phrase has kept of all frames but one.

    ``cached_frame_outputs`` are masks of the frame's size, of which the predictor answers a second
    propagation; the tables by frame are copied for each frame (``sam3_video_base.py:530``). Of the
    lists of frames only the lengths count, up to their thresholds (``sam3_video_base.py:1368``).
    """
    state["cached_frame_outputs"].clear()
    metadata = state["tracker_metadata"]
    ranked = metadata["rank0_metadata"]
    for by_frame in (metadata["obj_id_to_tracker_score_frame_wise"], ranked["suppressed_obj_ids"]):
        for other in [key for key in by_frame if key != frame]:
            del by_frame[other]
    for inds in ranked["unmatched_frame_inds"].values():
        del inds[max(1, video.hotstart_unmatch_thresh) :]
    for inds in ranked["overlap_pair_to_frame_inds"].values():
        del inds[max(1, video.hotstart_dup_thresh) :]
    features = state["feature_cache"]
    for other in [key for key in features if isinstance(key, int) and key != frame]:
        del features[other]


def forget_ahead(state: dict[str, Any], frame: int) -> None:
    """Let go of detections on frames that a pass from ``frame`` on does not begin with."""
    ahead = state["feature_cache"].get("multigpu_buffer", {})
    for other in [key for key in ahead if key != frame]:
        del ahead[other]

"""Every reach into the SAM 3.1 code of Meta's repository (multiplex).

Release 0.1.4 of the package does not have it. Lines are of the repository's state of 2026-07-30.
The model is built by the repository's own function and driven by its own methods. Its predictor is
left out, because its ``start_session`` (``sam3_base_predictor.py:127``) passes
``offload_state_to_cpu`` on to ``init_state``, which does not take it.
"""

from __future__ import annotations

import importlib
import io
import types
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.engines.errors import reading_files
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.compat_kernels import Measures, replaced
from napari_sam3_assistant.errors import CheckpointInvalid, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from napari_sam3_assistant.engines.sam3_meta.compat_video import Pictures

_BUILDER = "build_sam3_multiplex_video_predictor"
_TRACKING = "sam3.model.sam3_multiplex_tracking"
_CORNER_LABELS = (2, 3)
MOST_OBJECTS = 128
"""Objects of a session; the builder's own 16 would leave most cells of a stack out."""


def import_builder(measures: Measures) -> Any:  # noqa: ANN401 - sam3 ships no types
    """Import ``sam3.model_builder`` with SAM 3.1 and return it.

    ``sam3_multiplex_base.py:36`` asks the first GPU what it is, at import.

    Raises
    ------
    EngineNotInstalled
        If the installed package has no SAM 3.1, or can't be imported.
    """
    import torch

    builder = compat.import_model_builder(measures)
    if not hasattr(builder, _BUILDER):
        raise EngineNotInstalled(
            "The installed sam3 package has no SAM 3.1.",
            "Install Meta's repository: pip install git+https://github.com/facebookresearch/sam3. "
            "Or choose a folder with sam3.pt, or the engine sam3-transformers with "
            "model.safetensors.",
        )
    with ExitStack() as stack:
        stack.enter_context(compat.quiet())
        stack.enter_context(compat.kept(torch.backends.cuda.matmul, "allow_tf32"))
        stack.enter_context(compat.kept(torch.backends.cudnn, "allow_tf32"))
        if not torch.cuda.is_available():
            stack.enter_context(replaced(torch.cuda, "get_device_properties", _no_gpu))
        importlib.import_module(_TRACKING)
    return builder


def _no_gpu(*_device: Any) -> Any:  # noqa: ANN401
    return types.SimpleNamespace(major=0, minor=0)


def build_model(builder: Any, bpe_path: Path, device: str) -> Any:  # noqa: ANN401
    """Build the model without weights.

    Without a file the builder downloads one, so it is given one without weights; what it prints
    about that is dropped. ``use_fa3`` needs a kernel for few GPUs. What its classes switch on for
    the whole process is switched off again: autocast (``sam3_multiplex_base.py:2945``,
    ``sam3_multiplex_video_predictor.py:52``) and TensorFloat-32.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(compat.quiet())
        stack.enter_context(compat.redirect_cuda(device))
        stack.enter_context(compat.kept(torch.backends.cuda.matmul, "allow_tf32"))
        stack.enter_context(compat.kept(torch.backends.cudnn, "allow_tf32"))
        stack.enter_context(redirect_stdout(io.StringIO()))
        empty = Path(stack.enter_context(TemporaryDirectory())) / "empty.pt"
        torch.save({"model": {}}, empty)
        predictor = getattr(builder, _BUILDER)(
            checkpoint_path=str(empty),
            bpe_path=str(bpe_path),
            max_num_objects=MOST_OBJECTS,
            use_fa3=False,
            use_rope_real=True,
            async_loading_frames=False,
        )
    model = predictor.model
    for entered in (predictor, model.tracker):
        entered.bf16_context.__exit__(None, None, None)
    # Frames as they come, instead of 16 at a time.
    model.use_batched_grounding = False
    model.postprocess_batch_size = 1
    return model


def put_into(model: Any, weights: Mapping[str, Any], name: str) -> None:  # noqa: ANN401
    """Copy weights into the model; each parameter must be there.

    The builder goes on with random numbers where one is missing (``model_builder.py:1221``). Tables
    that it computes, such as ``freqs_cis_real``, need not be in the file.

    Raises
    ------
    CheckpointInvalid
        If a weight is missing or of another shape.
    """
    expected = dict(model.named_parameters())
    missing = sorted(expected.keys() - weights.keys())
    known = model.state_dict()
    wrong = sorted(
        key for key in known.keys() & weights.keys() if known[key].shape != weights[key].shape
    )
    found = [
        f"{len(keys)} are {what} (such as {keys[0]})"
        for what, keys in (("missing", missing), ("of another shape", wrong))
        if keys
    ]
    if found:
        raise CheckpointInvalid(
            f"The weights in {name} do not fit SAM 3.1: of {len(expected)}, "
            f"{', and '.join(found)}.",
            "Download sam3.1_multiplex.pt of facebook/sam3.1 again.",
        )
    with reading_files(f"The weights in {name} can't be read.", "Download the file again, whole."):
        model.load_state_dict(weights, strict=False)


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep the progress bars of ``propagate_in_video`` out of the terminal."""
    module = importlib.import_module(_TRACKING)

    def plain(frames: Any, **_options: Any) -> Any:  # noqa: ANN401
        return frames

    with replaced(module, "tqdm", plain):
        yield


def vision_blocks(model: Any) -> list[Any]:  # noqa: ANN401
    """Return the blocks of the image encoder, in the order in which they run."""
    return list(model.detector.backbone.vision_backbone.trunk.blocks)


def text_encoder(model: Any) -> Any:  # noqa: ANN401
    """Return the part that encodes phrases."""
    return model.detector.backbone.language_backbone


def new_state(model: Any, pictures: Pictures, shape: tuple[int, int]) -> dict[str, Any]:  # noqa: ANN401
    """Return a session on frames that are read one at a time; see ``compat_video``."""
    module = importlib.import_module(_TRACKING)

    def load(*_arguments: Any, **_options: Any) -> Any:  # noqa: ANN401
        return pictures, *shape

    with replaced(module, "load_resource_as_video_frames", load):
        state: dict[str, Any] = model.init_state([None] * max(2, len(pictures)))
    state["feature_cache"] = _Unbounded()
    return state


class _Unbounded(dict[Any, Any]):
    """``feature_cache`` without the bounds of a pass.

    ``sam3_multiplex_detector.py:384`` takes them for one frame shorter than the pass is: the last
    frame of a forward pass gets the detections of the frame before, and a backward one fails.
    """

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401
        if key != "tracking_bounds":
            super().__setitem__(key, value)


def add_points(
    model: Any,  # noqa: ANN401
    state: dict[str, Any],
    frame: int,
    object_id: int,
    points: torch.Tensor,
    labels: torch.Tensor,
    box: torch.Tensor | None,
) -> None:
    """Name an object on a frame by clicks and a box.

    A box round one object goes as its corners, with the labels that SAM's prompt encoder has for
    them; what the requests call a box is an example of what to find.

    Parameters
    ----------
    model : Sam3MultiplexTrackingWithInteractivity
        The model.
    state : dict
        The session.
    frame, object_id : int
        Where, and which object.
    points : torch.Tensor, shape (N, 2), dtype float32
        x, y as parts of width and height.
    labels : torch.Tensor, shape (N,), dtype int32
        1 for a click on the object, 0 for one beside it.
    box : torch.Tensor, shape (4,), or None
        x0, y0, x1, y1 as parts of width and height.
    """
    import torch

    if box is not None:
        points = torch.cat([box.reshape(2, 2), points])
        labels = torch.cat([torch.tensor(_CORNER_LABELS, dtype=torch.int32), labels])
    model.add_prompt(state, frame, points=points, point_labels=labels, obj_id=object_id)


def add_phrase(model: Any, state: dict[str, Any], frame: int, text: str) -> None:  # noqa: ANN401
    """Look for a phrase on a frame, the first step of a session with a phrase."""
    model.add_prompt(state, frame, text_str=text)


def remove(model: Any, state: dict[str, Any], object_id: int) -> None:  # noqa: ANN401
    """Take an object out of a session."""
    model.remove_object(state, object_id, None)


def propagate(
    model: Any,  # noqa: ANN401
    state: dict[str, Any],
    order: range,
    object_ids: list[int] | None,
) -> Iterator[dict[str, Any]]:
    """Yield the package's answers for frames.

    What ``propagate_in_video`` does depends on the history of the session (:2514): it is written
    anew, so that a pass can be repeated and continued. It leaves out the first frame of a backward
    pass (:293), and answers only for frames that have an answer already (:1244).

    Parameters
    ----------
    model : Sam3MultiplexTrackingWithInteractivity
        The model.
    state : dict
        The session.
    order : range
        The frames, step 1 or -1.
    object_ids : list of int or None
        The objects to follow; None to look for the phrase and follow what is found.
    """
    history = state["action_history"]
    history.clear()
    if object_ids is not None:
        history.append({"type": "add", "frame_idx": order.start, "obj_ids": object_ids})
        for frame in order:
            state["cached_frame_outputs"].setdefault(frame, {})
    features = state["feature_cache"]
    for key in [key for key in features if isinstance(key, int) or key == "multigpu_buffer"]:
        # Of a pass that was stopped, or went the other way.
        del features[key]
    reverse = order.step < 0
    frames = model.propagate_in_video(
        state,
        start_frame_idx=order.start + 1 if reverse else order.start,
        max_frame_num_to_track=len(order) if reverse else len(order) - 1,
        reverse=reverse,
    )
    for _, answer in frames:
        yield answer


def forget_frames(state: dict[str, Any], frame: int) -> None:
    """Let go of masks and tables of frames that were answered."""
    state["cached_frame_outputs"].pop(frame, None)
    metadata = state["tracker_metadata"]
    metadata["obj_id_to_sam2_score_frame_wise"].clear()
    metadata["rank0_metadata"]["suppressed_obj_ids"].clear()

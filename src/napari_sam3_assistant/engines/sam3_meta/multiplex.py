"""The engine on SAM 3.1 (multiplex), for stacks, by the code of Meta's repository.

Every reach into the SAM 3.1 code of Meta's repository (multiplex).

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
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn

from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.progress import CancelOnlyReporter, Progress
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.checkpoints.files import MULTIPLEX_NAME, FileIdentity
from napari_sam3_assistant.engines.device import BFLOAT16, FLOAT32, free_cache, supports_bfloat16
from napari_sam3_assistant.engines.errors import DOWNLOAD, reading_files
from napari_sam3_assistant.engines.sam3.engine import replace_attribute, watch_layers, watch_numbers
from napari_sam3_assistant.engines.sam3.grounding import check_length
from napari_sam3_assistant.engines.sam3.track import Sam3Track, TrackContext, check_says_where
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.compat_video import Pictures
from napari_sam3_assistant.engines.sam3_meta.loading import (
    choose_cpu_or_cuda,
    find_bpe,
    multiplex_error,
    read_weights,
    sam3_version,
)
from napari_sam3_assistant.engines.sam3_meta.video_objects import Memory, check_seed, points_of
from napari_sam3_assistant.errors import (
    CheckpointInvalid,
    EngineError,
    EngineNotInstalled,
    PromptError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.tracks import TrackSeed
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.engines.sam3_meta.compat import Patches


_STEPS = 4


@dataclass(frozen=True, slots=True, eq=False)
class LoadedMultiplex:
    """The loaded weights of SAM 3.1.

    ``device``: ``cpu`` or ``cuda:N``.
    ``precision``: ``bfloat16``, that of all that autocast takes, on a GPU that has it; else
    ``float32``.
    ``patches``: undoes the measures that were taken in the package.
    """

    model: Any
    device: str
    precision: str
    patches: ExitStack


class Sam3MultiplexEngine:
    """SAM 3.1 by Meta's repository, from a folder with ``sam3.1_multiplex.pt``.

    It has no model for single planes; what asks for one is told so.

    ``spec``: the engine's card.
    ``model_folder``: the folder of the weights.
    ``device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, spec: EngineSpec, model_folder: Path, device: str = "auto") -> None:
        self.spec = spec
        self._folder = expand_user(model_folder)
        self._requested = device
        self._loaded: LoadedMultiplex | None = None

    @property
    def version(self) -> str:
        """Version of the sam3 package."""
        return sam3_version()

    @property
    def device(self) -> str:
        """Where the model runs; before loading, what was asked for."""
        return self._requested if self._loaded is None else self._loaded.device

    @property
    def weights(self) -> str:
        """File name of the weights; empty before loading."""
        return "" if self._loaded is None else MULTIPLEX_NAME

    def load(self, reporter: Reporter) -> None:
        """Load the weights; a second call does nothing."""
        if self._loaded is None:
            self._loaded = _load(self._folder, self._requested, reporter)

    def embed(self, image: object, reporter: Reporter) -> NoReturn:
        """Refuse a single plane."""
        del image, reporter
        raise multiplex_error(MULTIPLEX_NAME)

    def predict(
        self, embedding: object, prompts: object, options: object, reporter: Reporter
    ) -> NoReturn:
        """Refuse a single plane."""
        del embedding, prompts, options, reporter
        raise multiplex_error(MULTIPLEX_NAME)

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> MultiplexTrack:
        """Begin to follow objects through a stack; see :class:`.engines.base.VideoEngine`."""
        del options
        return MultiplexTrack(TrackContext(frames, self._working, new_id))

    def close(self) -> None:
        """Free memory and device."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.patches.close()
            del loaded
            free_cache()

    @contextmanager
    def _working(self) -> Iterator[LoadedMultiplex]:
        """Give the model, ready for calls."""
        if self._loaded is None:
            raise EngineError("SAM 3.1 is not loaded.", "Load the model first.")
        with compat.call_context(self._loaded.device, self._loaded.precision):
            yield self._loaded


def _load(folder: Path, requested: str, reporter: Reporter) -> LoadedMultiplex:
    device = choose_cpu_or_cuda(requested)
    reporter.report(Progress(0, _STEPS, "Importing sam3"))
    patches = compat.choose_patches()
    builder = import_builder(patches)
    # After the package, since some copies of it bring a vocabulary along.
    bpe = find_bpe(folder)
    with ExitStack() as stack:
        stack.enter_context(compat.apply_patches(compat.check_kernels(patches, device)))
        stack.enter_context(hide_progress_bars())
        unchanged = FileIdentity(folder / MULTIPLEX_NAME)
        weights = read_weights(folder / MULTIPLEX_NAME)
        reporter.report(Progress(1, _STEPS, "Building SAM 3.1"))
        model = build_model(builder, bpe, device)
        reporter.report(Progress(2, _STEPS, f"Reading {MULTIPLEX_NAME}"))
        # As in loading.py: until here they are mapped from the file.
        unchanged.check()
        put_into(model, weights, MULTIPLEX_NAME)
        unchanged.check()
        del weights
        reporter.report(Progress(3, _STEPS, f"Moving SAM 3.1 to {device}"))
        model = model.to(device).eval()
        reporter.report(Progress(_STEPS, _STEPS, "SAM 3.1 is loaded"))
        precision = BFLOAT16 if supports_bfloat16(device) else FLOAT32
        return LoadedMultiplex(model, device, precision, stack.pop_all())


class _Session:
    """A session of the package, with what it may remember."""

    def __init__(self, model: Untyped, pictures: Pictures, shape: tuple[int, int]) -> None:
        self.state = new_state(model, pictures, shape)
        self._memories: dict[int, Memory] = {}

    def forget(self, model: Untyped, frame: int, *, reverse: bool) -> None:
        """Let go of what no pass can need, behind a frame that was answered."""
        forget_frames(self.state, frame)
        tracked = {id(state): state for state in self.state["sam2_inference_states"]}
        self._memories = {
            key: self._memories.get(key) or Memory(model.tracker, whole=True) for key in tracked
        }
        for key, state in tracked.items():
            self._memories[key].advance(state, frame, reverse=reverse)


class _Phrase:
    """A phrase, its session, and the names of its objects."""

    def __init__(self, text: str, frame: int) -> None:
        self.text = text
        self.frame = frame
        self.session: _Session | None = None
        self.ids: dict[int, int] = {}


class MultiplexTrack(Sam3Track["LoadedMultiplex"]):
    """Follows objects through a stack with SAM 3.1.

    ``context``: the stack and the model.
    """

    def __init__(self, context: TrackContext[LoadedMultiplex]) -> None:
        super().__init__(context)
        self._pictures: Pictures | None = None
        self._session: _Session | None = None
        self._prompted: dict[int, set[int]] = {}
        self._texts: dict[int, str] = {}
        self._pending: dict[tuple[int, int], TrackSeed] = {}
        self._phrases: list[_Phrase] = []

    def add(self, seed: TrackSeed) -> None:
        """Take what names an object on a frame; it is read when the frame is."""
        check_seed(seed)
        if seed.mask is not None:
            raise PromptError(
                "SAM 3.1 (Meta sam3 package) does not follow painted masks.",
                "Click on the object or draw a box round it, or choose a folder with sam3.pt or "
                "the engine sam3-transformers, which follow masks.",
            )
        if seed.object_id not in self._prompted:
            check_says_where(seed, "Add a positive point on it, or draw a box round it.")
            if len(self._prompted) >= MOST_OBJECTS:
                raise PromptError(
                    f"SAM 3.1 follows up to {MOST_OBJECTS} objects at a time.",
                    "Follow them in several runs, or choose the engine sam3-transformers.",
                )
        self._prompted.setdefault(seed.object_id, set()).add(seed.frame)
        self._texts[seed.object_id] = seed.text or self._texts.get(seed.object_id, "")
        self._pending[seed.frame, seed.object_id] = seed
        self._hidden.add(seed.object_id)

    def add_phrase(self, text: str, frame: int) -> None:
        """Look for all objects of a phrase on every frame, beginning with one."""
        with self._working() as loaded:
            encoder = text_encoder(loaded.model)
            # The begin and the end are tokens too.
            check_length(len(encoder.tokenizer.encode(text)) + 2, encoder.context_length)
        if text not in [phrase.text for phrase in self._phrases]:
            self._phrases.append(_Phrase(text, frame))

    def remove(self, object_id: int) -> None:
        """Forget an object; one of a phrase is not shown any more."""
        self._hidden.add(object_id)
        for key in [key for key in self._pending if key[1] == object_id]:
            del self._pending[key]
        if self._prompted.pop(object_id, None) and self._session is not None:
            with self._working() as loaded:
                remove(loaded.model, self._session.state, object_id)

    def close(self) -> None:
        """Let go of the sessions, and give their memory back to the device."""
        self._session = None
        self._pictures = None
        self._phrases.clear()
        self._prompted.clear()
        self._pending.clear()
        free_cache()

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.base.VideoTrack`.

        With a phrase the first frames come late: the model holds them back until it knows which
        objects are false. When such a pass is stopped, it computes them again.
        """
        if not order:
            return
        with self._stoppable(reporter) as loaded:
            self._read_prompts(loaded, reporter)
        for part, sought in self._parts(order):
            sources = self._sources(part, sought)
            for frame in part:
                records: list[ObjectRecord] = []
                with self._stoppable(reporter) as loaded:
                    for phrase, session, pass_ in sources:
                        reporter.check()
                        records += self._records(phrase, next(pass_))
                        session.forget(loaded.model, frame, reverse=part.step < 0)
                tracked = frozenset(sought).union(
                    *(set(phrase.ids.values()) - self._hidden for phrase in self._phrases)
                )
                yield TrackedFrame(
                    frame, tuple(sorted(records, key=lambda record: record.id)), tracked
                )

    @contextmanager
    def _stoppable(self, reporter: Reporter) -> Iterator[LoadedMultiplex]:
        """Give the model, for work that can be stopped, and that stops where it is no numbers."""
        with self._working() as loaded:
            blocks = vision_blocks(loaded.model)
            with watch_layers(blocks, "", CancelOnlyReporter(reporter)), watch_numbers(blocks[-1]):
                yield loaded

    def _read_prompts(self, loaded: LoadedMultiplex, reporter: Reporter) -> None:
        """Hand the new prompts to the sessions."""
        if self._pictures is None:
            self._pictures = Pictures(self._frames, loaded.model.image_size)
        for key in sorted(self._pending):
            reporter.check()
            if self._session is None:
                self._session = _Session(loaded.model, self._pictures, self._frames.shape)
            state = self._session.state
            points, labels, box = points_of(self._pending[key], self._frames.shape)
            add_points(loaded.model, state, *key, points, labels, box)
            forget_frames(state, key[0])
            del self._pending[key]
        for phrase in self._phrases:
            if phrase.session is None:
                session = _Session(loaded.model, self._pictures, self._frames.shape)
                add_phrase(loaded.model, session.state, phrase.frame, phrase.text)
                phrase.session = session

    def _parts(self, order: range) -> list[tuple[range, list[int]]]:
        """Return the parts of a pass in which the same objects take part, with their ids."""

        def sought(frame: int) -> list[int]:
            return [
                name
                for name, own in sorted(self._prompted.items())
                if any((frame - other) * order.step >= 0 for other in own)
            ]

        starts = [
            number
            for number, frame in enumerate(order)
            if number == 0 or sought(frame) != sought(frame - order.step)
        ]
        if self._phrases:
            # A pass for a phrase is one: it holds frames back. Objects join at its begin.
            starts = [0]
        ends = [*starts[1:], len(order)]
        return [
            (order[begin:end], sought(order[end - 1] if self._phrases else order[begin]))
            for begin, end in zip(starts, ends, strict=True)
        ]

    def _sources(
        self, part: range, sought: list[int]
    ) -> list[tuple[_Phrase | None, _Session, Iterator[dict[str, Any]]]]:
        """Return the passes through a part; nothing is computed before they are asked."""
        sources: list[tuple[_Phrase | None, _Session, Iterator[dict[str, Any]]]] = []
        with self._working() as loaded:
            for phrase in self._phrases:
                if phrase.session is not None:
                    pass_ = propagate(loaded.model, phrase.session.state, part, None)
                    sources.append((phrase, phrase.session, pass_))
            if sought and self._session is not None:
                pass_ = propagate(loaded.model, self._session.state, part, sought)
                sources.append((None, self._session, pass_))
        return sources

    def _records(self, phrase: _Phrase | None, answer: dict[str, Any]) -> list[ObjectRecord]:
        """Return the objects of an answer with our ids."""
        records = []
        for name, score, mask in zip(
            answer["out_obj_ids"].tolist(),
            answer["out_probs"].tolist(),
            answer["out_binary_masks"],
            strict=True,
        ):
            own, text = name, self._texts.get(name, "")
            if phrase is not None:
                text = phrase.text
                if name not in phrase.ids:
                    phrase.ids[name] = self._new_id()
                own = phrase.ids[name]
                if own in self._hidden:
                    continue
            record = ObjectRecord.from_mask(own, mask, score=score, text=text)
            if record is not None:
                records.append(record)
        return records


_BUILDER = "build_sam3_multiplex_video_predictor"
_TRACKING = "sam3.model.sam3_multiplex_tracking"
_CORNER_LABELS = (2, 3)
MOST_OBJECTS = 128
"""Objects of a session; the builder's own 16 would leave most cells of a stack out."""


def import_builder(patches: Patches) -> Untyped:
    """Import ``sam3.model_builder`` with SAM 3.1 and return it.

    ``sam3_multiplex_base.py:36`` asks the first GPU what it is, at import.
    """
    import torch

    builder = compat.import_model_builder(patches)
    if not hasattr(builder, _BUILDER):
        raise EngineNotInstalled(
            "The installed sam3 package has no SAM 3.1.",
            "Install Meta's repository: pip install git+https://github.com/facebookresearch/sam3. "
            "Or choose a folder with sam3.pt, or the engine sam3-transformers with "
            "model.safetensors.",
        )
    with ExitStack() as stack:
        stack.enter_context(compat.silence_warnings())
        stack.enter_context(compat.restore_tf32())
        if not torch.cuda.is_available():
            stack.enter_context(replace_attribute(torch.cuda, "get_device_properties", _no_gpu))
        importlib.import_module(_TRACKING)
    return builder


def _no_gpu(*_device: object) -> Untyped:
    return types.SimpleNamespace(major=0, minor=0)


def build_model(builder: Untyped, bpe_path: Path, device: str) -> Untyped:
    """Build the model without weights.

    Without a file the builder downloads one, so it is given one without weights; what it prints
    about that is dropped. ``use_fa3`` needs a kernel for few GPUs. What its classes switch on for
    the whole process is switched off again: autocast (``sam3_multiplex_base.py:2945``,
    ``sam3_multiplex_video_predictor.py:52``) and TensorFloat-32.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(compat.silence_warnings())
        stack.enter_context(compat.redirect_cuda(device))
        stack.enter_context(compat.restore_tf32())
        stack.enter_context(compat.leave_autocast())
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
    # Frames as they come, instead of 16 at a time.
    model.use_batched_grounding = False
    model.postprocess_batch_size = 1
    return model


def put_into(model: Untyped, weights: Mapping[str, Any], name: str) -> None:
    """Copy weights into the model; each parameter must be there.

    The builder goes on with random numbers where one is missing (``model_builder.py:1221``). Tables
    that it computes, such as ``freqs_cis_real``, need not be in the file.
    """
    expected = dict(model.named_parameters())
    missing = sorted(expected.keys() - weights.keys())
    known = model.state_dict()
    wrong = sorted(
        key for key in known.keys() & weights.keys() if known[key].shape != weights[key].shape
    )
    found = [
        f"{len(keys)} are {problem} (such as {keys[0]})"
        for problem, keys in (("missing", missing), ("of another shape", wrong))
        if keys
    ]
    if found:
        raise CheckpointInvalid(
            f"The weights in {name} do not fit SAM 3.1: of {len(expected)}, "
            f"{', and '.join(found)}.",
            "Download sam3.1_multiplex.pt of facebook/sam3.1 again.",
        )
    with reading_files(f"The weights in {name} can't be read.", DOWNLOAD):
        model.load_state_dict(weights, strict=False)


@contextmanager
def hide_progress_bars() -> Iterator[None]:
    """Keep the progress bars of ``propagate_in_video`` out of the terminal."""
    module = importlib.import_module(_TRACKING)

    def plain(frames: Untyped, **_options: object) -> Untyped:
        return frames

    with replace_attribute(module, "tqdm", plain):
        yield


def vision_blocks(model: Untyped) -> list[Any]:
    """Return the blocks of the image encoder, in the order in which they run."""
    return list(model.detector.backbone.vision_backbone.trunk.blocks)


def text_encoder(model: Untyped) -> Untyped:
    """Return the part that encodes phrases."""
    return model.detector.backbone.language_backbone


def new_state(model: Untyped, pictures: Pictures, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a session on frames that are read one at a time; see ``compat_video``."""
    module = importlib.import_module(_TRACKING)

    def load(*_arguments: object, **_options: object) -> Untyped:
        return pictures, *shape

    with (
        compat.ONE_AT_A_TIME,
        replace_attribute(module, "load_resource_as_video_frames", load),
    ):
        state: dict[str, Any] = model.init_state([None] * max(2, len(pictures)))
    state["feature_cache"] = _Unbounded()
    return state


class _Unbounded(dict[Any, Any]):
    """``feature_cache`` without the bounds of a pass.

    ``sam3_multiplex_detector.py:384`` takes them for one frame shorter than the pass is: the last
    frame of a forward pass gets the detections of the frame before, and a backward one fails.
    """

    def __setitem__(self, key: Untyped, value: Untyped) -> None:
        if key != "tracking_bounds":
            super().__setitem__(key, value)


def add_points(
    model: Untyped,
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

    ``frame`` and ``object_id``: where, and which object.
    ``points`` (shape (N, 2), dtype float32): x, y as parts of width and height.
    ``labels`` (shape (N,), dtype int32): 1 for a click on the object, 0 for one beside it.
    ``box`` (shape (4,)): x0, y0, x1, y1 as parts of width and height.
    """
    import torch

    if box is not None:
        points = torch.cat([box.reshape(2, 2), points])
        labels = torch.cat([torch.tensor(_CORNER_LABELS, dtype=torch.int32), labels])
    model.add_prompt(state, frame, points=points, point_labels=labels, obj_id=object_id)


def add_phrase(model: Untyped, state: dict[str, Any], frame: int, text: str) -> None:
    """Look for a phrase on a frame, the first step of a session with a phrase."""
    model.add_prompt(state, frame, text_str=text)


def remove(model: Untyped, state: dict[str, Any], object_id: int) -> None:
    """Take an object out of a session."""
    model.remove_object(state, object_id, None)


def propagate(
    model: Untyped,
    state: dict[str, Any],
    order: range,
    object_ids: list[int] | None,
) -> Iterator[dict[str, Any]]:
    """Yield the package's answers for frames.

    What ``propagate_in_video`` does depends on the history of the session (:2514): it is written
    anew, so that a pass can be repeated and continued. It leaves out the first frame of a backward
    pass (:293), and answers only for frames that have an answer already (:1244).
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

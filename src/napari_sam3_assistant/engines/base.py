"""What every engine is: the interfaces for images and stacks, and the card that describes one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, runtime_checkable

from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.prompts import NOT_DRAWN
from napari_sam3_assistant.errors import PromptError, Sam3AssistantError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.tracks import TrackedFrame, TrackSeed


Encoding: TypeAlias = Any
"""What an engine makes of an image. Nobody but the engine that made it looks inside."""


@dataclass(frozen=True, slots=True)
class TrackSpec:
    """What an engine's video head takes, known before anything is loaded.

    Parameters
    ----------
    prompts : frozenset of PromptKind
        The kinds that it takes itself. Where it takes masks, other kinds are found on their
        slice by the image heads, and the masks are tracked.
    max_points : int or None
        Most points on one object and frame; None for any number.
    max_boxes : int or None
        Most boxes of one run; None for any number.
    mixes : bool
        Whether points may go together with a phrase or with boxes.
    """

    prompts: frozenset[PromptKind]
    max_points: int | None = None
    max_boxes: int | None = None
    mixes: bool = True


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What is known of an engine without making it.

    Parameters
    ----------
    name : str
        The name in the API, the command line and the settings.
    title : str
        The name for the user.
    accepts : frozenset of PromptKind
        The kinds of prompt that it takes.
    needs_weights : bool
        Whether it needs a model folder.
    phrases : str
        Which phrases it understands, for the user; empty where it takes any.
    video : TrackSpec or None
        What it takes for stacks and videos; None where it works on single planes only.
    soft_masks : bool
        Whether it says of each pixel how likely it belongs to an object.
    precisions : tuple of str
        The number formats that its image encoder can work in; empty where there is no choice.
    proposes : bool
        Whether it finds everything by itself; other engines that accept this are asked at points.
    takes_diameter : bool
        Whether it makes use of the usual diameter of what a phrase or everything looks for
        (``diameter_in_pixels`` of the options).
    bytes_per_pixel, bytes_per_pixel_searched : int
        About how much memory each pixel of a picture takes while prompts are answered, and where
        all of it is searched (:data:`.SEARCHES`).
    """

    name: str
    title: str
    accepts: frozenset[PromptKind]
    needs_weights: bool
    phrases: str = ""
    video: TrackSpec | None = None
    soft_masks: bool = False
    precisions: tuple[str, ...] = ()
    proposes: bool = False
    takes_diameter: bool = False
    bytes_per_pixel: int = 15
    bytes_per_pixel_searched: int = 15

    @property
    def model_name(self) -> str:
        """The name of the model for the user, without whose code runs it."""
        return self.title.partition(" (")[0]

    def check_kinds(self, kinds: frozenset[PromptKind]) -> None:
        """Raise unless it takes some kinds of prompt for 2D tasks.

        Raises
        ------
        PromptError
            If it does not; the hint says what it takes, and what else does.
        """
        refused = kinds - self.accepts
        if refused:
            raise PromptError(
                f"{self.title} does not take {' and '.join(sorted(refused))}.", self.what_instead
            )

    def check_diameter(self, options: PredictOptions, kinds: frozenset[PromptKind]) -> None:
        """Raise unless it makes use of the usual diameter, or nobody has told it.

        Raises
        ------
        PromptError
            If it does not with such prompts; what a phrase tells is the phrase's business.
        """
        if options.diameter is None:
            return
        if not self.takes_diameter:
            raise PromptError(
                f"{self.title} makes no use of a diameter.",
                "Leave it out, or choose the built-in engine.",
            )
        if not kinds & NOT_DRAWN:
            raise PromptError(
                "A diameter is of use where a phrase or everything is looked for.",
                "Leave it out.",
            )

    @property
    def what_instead(self) -> str:
        """What it takes for 2D tasks, or what does where it takes nothing."""
        return self.why_no_planes or (
            f"It takes {', '.join(sorted(self.accepts))}. SAM 3 and the built-in engine take "
            "phrases and examples, too."
        )

    @property
    def why_no_planes(self) -> str:
        """Why it can't do 2D tasks, and what can; empty if it can."""
        if self.accepts:
            return ""
        return (
            f"{self.title} is for 3D/video only. For 2D tasks choose a folder with sam3.pt or "
            "model.safetensors of facebook/sam3, or the built-in engine."
        )


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether an engine can run on this machine.

    Parameters
    ----------
    available : bool
        True if it can.
    reason : str
        Why it can't and what to do; empty if it can.
    """

    available: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What an engine answers, in the pixels of the image that was embedded.

    Parameters
    ----------
    objects : tuple of ObjectRecord
        The objects with ids 1 to N, the order in which they are painted.
    threshold : float
        The detection threshold that was used in the end.
    phrase : str
        The phrase that was used in the end; empty where there was none.
    notes : tuple of str
        What the user should know about how it came about.
    candidates : tuple of ObjectRecord
        Where a single click may mean a part, the object or a group: each of them, with ids 1 to N
        from the smallest to the largest. Empty for other prompts, and where the engine does not
        tell.
    polarity : float
        Of an engine that finds everything by itself: by how much bright objects weigh more than
        dark ones, negative where dark ones do.
    """

    objects: tuple[ObjectRecord, ...]
    threshold: float
    phrase: str = ""
    notes: tuple[str, ...] = ()
    candidates: tuple[ObjectRecord, ...] = ()
    polarity: float = 0.0


class ImageEngine(Protocol):
    """An engine for single planes.

    An engine and its tracks are called from one thread at a time, which
    :class:`.engines.caching_engine.CachingEngine` sees to. It also turns the errors of PyTorch
    into ours, and stops through the reporter an engine that it wants to close.
    """

    spec: EngineSpec

    @property
    def version(self) -> str:
        """Version of the package that does the work."""

    @property
    def device(self) -> str:
        """Where it runs: ``cpu``, ``cuda:0``, ``mps``."""

    @property
    def weights(self) -> str:
        """File name of the loaded weights; empty where there are none."""

    def load(self, reporter: Reporter) -> None:
        """Make ready to work; a second call does nothing.

        Raises
        ------
        EngineError
            If it can't be loaded.
        JobCancelled
            If the user stopped the work.
        """

    def embed(self, image: npt.NDArray[np.uint8], reporter: Reporter) -> Encoding:
        """Compute once what all prompts on an image need.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3), dtype uint8
            RGB image; not modified.
        reporter : Reporter
            Receives the progress; may cancel the work.

        Returns
        -------
        object
            What :meth:`predict` of the same engine takes. Nobody else looks inside.
        """

    def predict(
        self,
        embedding: Encoding,
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an embedded image.

        Parameters
        ----------
        embedding : object
            The answer of :meth:`embed`.
        prompts : PromptSet
            Prompts in the pixels of the embedded image, each on it.
        options : PredictOptions
            The choices of the run.
        reporter : Reporter
            Receives the progress; may cancel the work.

        Raises
        ------
        PromptError
            If the engine can't use the prompts.
        JobCancelled
            If the user stopped the work.

        Notes
        -----
        For :class:`.core.prompts.Everything` it gives every mask at the points that passes the
        filters: which of them are the same object is not its business but that of
        :mod:`.workflows.everything`, which asks for some points at a time.
        """

    def close(self) -> None:
        """Free memory and device; :meth:`load` makes the engine ready again."""


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """How the registry knows an engine; entry points of the group ``ENTRY_GROUP`` name these.

    Parameters
    ----------
    spec : EngineSpec
        Its card.
    status : callable
        Returns whether it can run here; must not import a large package to tell.
    create : callable
        Makes the engine from a model folder (or None), a device (``auto``, ``cpu``, ``cuda``,
        ``cuda:N``, ``mps``) and, where its card names any, one of its ``precisions``. Cheap: the
        work is done in ``load``.
    choose_spec : callable or None
        Returns the card for a model folder, where that differs from folder to folder. Cheap, and
        raises nothing: what is wrong with the folder is said by ``load``.
    """

    spec: EngineSpec
    status: Callable[[], EngineStatus]
    create: Callable[..., ImageEngine]
    choose_spec: Callable[[Path], EngineSpec] | None = None

    def spec_for(self, model_folder: Path | None) -> EngineSpec:
        """Return the card of the engine on a model folder."""
        if self.choose_spec is None or model_folder is None:
            return self.spec
        return self.choose_spec(expand_user(model_folder))


class VideoTrack(Protocol):
    """Objects on their way through a stack.

    It stays open: prompts may be added and frames gone through again, until it is closed. It
    keeps no more than it needs to go on, whatever the length of the stack.
    """

    def add(self, seed: TrackSeed) -> None:
        """Take what names an object on a frame; a second time for the same frame replaces it.

        Raises
        ------
        PromptError
            If the engine can't use it.
        """

    def remove(self, object_id: int) -> None:
        """Forget an object; an unknown one is no error."""

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame.

        An object takes part from its first prompted frame in the direction of the order. When
        the work is stopped, or the caller stops iterating, what was yielded holds and a new
        call can go on behind it.

        Parameters
        ----------
        order : range
            The frames one after the other, forward or backward, step 1 or -1.
        reporter : Reporter
            Stops the work between frames.

        Raises
        ------
        JobCancelled
            If the user stopped the work.
        """

    def close(self) -> None:
        """Free what it holds."""


@runtime_checkable
class FollowsPhrases(Protocol):
    """A track that looks for phrases, too: of an engine whose spec says so of its videos."""

    def add_phrase(self, text: str, frame: int) -> None:
        """Look for all objects of a phrase from a frame on.

        Raises
        ------
        PromptError
            If the phrase is too long.
        """


@runtime_checkable
class ReusesEncodings(Protocol):
    """A track that need not encode a prompted frame again that the image heads have encoded."""

    def reuse(self, known: Callable[[int], Any]) -> None:
        """Take a function that returns a frame's encoding, None where there is none.

        It is asked within :meth:`VideoTrack.propagate`.
        """


class VideoEngine(Protocol):
    """An image engine that can follow objects, too."""

    def track(
        self,
        frames: FrameSource,
        options: PredictOptions,
        new_id: Callable[[], int],
    ) -> VideoTrack:
        """Begin to follow objects through a stack; nothing is computed yet.

        Parameters
        ----------
        frames : FrameSource
            The frames.
        options : PredictOptions
            The choices of the run.
        new_id : callable
            Returns the next free id, for objects that appear by themselves.
        """


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many bytes went to a server, and how many came back."""

    sent: int = 0
    received: int = 0


@runtime_checkable
class Remote(Protocol):
    """An engine whose work is done on a server."""

    @property
    def traffic(self) -> Traffic:
        """What went there and came back so far."""


@runtime_checkable
class Packable(Protocol):
    """An encoding that can be moved. Without this, an encoding stays where it was made."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the encoded image in pixels."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""

    def to(self, device: str) -> Self:
        """Return it on another device; itself where it is there already."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what has to be kept to make it again, by name."""


@runtime_checkable
class Unpacker(Protocol):
    """An engine whose encodings can be made again from their tensors."""

    @property
    def encoding_id(self) -> str:
        """Identity of package, weights and number format; empty while nothing is loaded."""

    @property
    def portable_id(self) -> str:
        """The same by the content of the weights, so that it is equal on all machines.

        Empty where that can't be told any more.
        """

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> Packable:
        """Return the encoding, on the engine's device.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the encoded image in pixels.
        tensors : mapping
            What :meth:`Packable.tensors` returned.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of a piece of work.

    Parameters
    ----------
    value : object
        What the work gave; None where it failed.
    error : Sam3AssistantError, MemoryError or None
        Why it failed, in the end.
    workers : int
        How many work at the same time.
    """

    value: Any
    error: Sam3AssistantError | MemoryError | None = None
    workers: int = 1


@runtime_checkable
class SpreadsPieces(Protocol):
    """An engine that stands for many: it does pieces of work at the same time."""

    def spread(
        self,
        work: Any,  # noqa: ANN401 - a Piecework, which knows this module
        pieces: Iterable[object],
        reporter: Reporter,
    ) -> Generator[Outcome]:
        """Yield the outcome of each piece, in their order; see :mod:`.engines.piecework`."""


@cache
def package_version(package: str) -> str:
    """Return the version of a package; to read it takes 2 ms, and each result names it."""
    return version(package)


def encoding_nbytes(embedding: object) -> int | None:
    """Return the memory that an encoding takes, in bytes; None where it does not tell."""
    size = getattr(embedding, "nbytes", None)
    return None if size is None else int(size)


_SETTINGS = ("config.json", "processor_config.json", "preprocessor_config.json")


@cache
def _digest_of(file: Path, size: int, changed: int) -> str:
    """Return a hash of a file's content; size and time tell when it has to be made again."""
    del size, changed
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "blake2b").hexdigest()[:32]


def _digest(file: Path) -> str:
    about = file.stat()
    return _digest_of(file.resolve(), about.st_size, about.st_mtime_ns)


def _settings_beside(weights: Path) -> list[str]:
    """Return hashes of the files beside weights that say how the encoder sees an image."""
    files = [weights.parent / name for name in _SETTINGS]
    return [_digest(file) for file in files if file.is_file()]


def portable_id(engine: str, version: str, weights: Path, precision: str) -> str:
    """Return the identity of what makes encodings, equal wherever the weights lie.

    Reads all of the weights, once in a process: 3 GB take seconds. Parameters as of
    :func:`encoding_id`.
    """
    return "|".join((engine, version, _digest(weights), precision, *_settings_beside(weights)))


def encoding_id(engine: str, version: str, weights: Path, precision: str) -> str:
    """Return the identity of what makes encodings.

    Weights are told apart by path, size and time: reading 3 GB to tell would take seconds; the
    settings beside them by their content.

    Parameters
    ----------
    engine : str
        Name of the engine.
    version : str
        Version of the package that does the work.
    weights : Path
        The weights file.
    precision : str
        Number format of the image encoder, such as ``float32``.
    """
    about = weights.stat()
    parts = (engine, version, weights.resolve(), about.st_size, about.st_mtime_ns, precision)
    return "|".join(map(str, (*parts, *_settings_beside(weights))))

"""What is done with each plane of the images of a folder, here or by the workers of a server."""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_sam3_assistant.core.display import ImageView, view_of_array
from napari_sam3_assistant.core.images import UNKNOWN_PIXEL, PixelSize
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.engines.encoding_cache import LRUCache
from napari_sam3_assistant.errors import ImageError, JobCancelled, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.claims import Claim
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.json_values import view_from_json, view_to_json
from napari_sam3_assistant.io.provenance import weights_checksum
from napari_sam3_assistant.io.scan_folder import TileResult
from napari_sam3_assistant.io.zarr_images import find_address
from napari_sam3_assistant.workflows.segment import (
    SegmentRequest,
    first_view,
    segment,
    view_of_plane,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.display import ViewChannel
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.engines.caching_engine import CachingEngine
    from napari_sam3_assistant.io.image_folder import FinishedLabels, FolderImage
    from napari_sam3_assistant.io.loaded import LoadedImage


class FolderChoices(Protocol):
    """What the requests of folders have in common."""

    @property
    def source(self) -> Path:
        """Folder of the images."""

    @property
    def output(self) -> Path:
        """Folder of the labels."""

    @property
    def pattern(self) -> str:
        """Which images."""

    @property
    def look(self) -> Mapping[str, Any]:
        """How the images are looked at."""

    @property
    def series(self) -> tuple[int | str, ...] | None:
        """Which images of files that hold several."""

    @property
    def options(self) -> PredictOptions:
        """The choices of the run."""

    @property
    def ending(self) -> str:
        """Format of the labels, such as ``.tif``."""

    @property
    def model_folder(self) -> Path | None:
        """Folder of the weights on this computer."""


@dataclass(frozen=True, slots=True)
class FolderPiece:
    """A plane of an image of a folder, and what to look for there.

    Parameters
    ----------
    image : FolderImage
        The image.
    leading : tuple of int
        Index of the plane on each leading axis.
    phrases : tuple of str
        Each is looked for; empty text for none.
    pixel : PixelSize
        The size of a pixel, as far as the file says.
    error : Sam3AssistantError, MemoryError or None
        Why the image can't be read at all.
    """

    image: FolderImage
    leading: tuple[int, ...] = ()
    phrases: tuple[str, ...] = ()
    pixel: PixelSize = UNKNOWN_PIXEL
    error: Sam3AssistantError | MemoryError | None = None


_OPEN = 2  # images: the one that is read, and the one whose labels are written


class FolderImages:
    """The images of a folder, on any machine that has the same folder.

    Parameters
    ----------
    look : mapping
        ``channel_axis``, ``channel`` and ``contrast``, where they are not to be found out.
    """

    def __init__(self, look: Mapping[str, Any]) -> None:
        self._look = dict(look)
        self._sample: tuple[FolderImage, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self._opened: LRUCache[tuple[LoadedImage, ImageView]] = LRUCache(_OPEN)
        self._opening = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is open on this machine."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_open")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without open images."""
        vars(self).update(state)
        self._forget()

    def take_sample(self, images: Iterable[FolderImage]) -> None:
        """Take the first image that can be read, to distinguish the folder from another one."""
        for image in images:
            with suppress(Sam3AssistantError, MemoryError):
                self._sample = (image, view_checksum(self.open(image)[1]))
                return

    def can_read(self) -> bool:
        """Return whether the folder is on this machine, too."""
        if self._sample is None:
            return False
        image, checksum = self._sample
        try:
            return view_checksum(self.open(image)[1]) == checksum
        except (Sam3AssistantError, MemoryError):
            return False

    def open(self, image: FolderImage) -> tuple[LoadedImage, ImageView]:
        """Open an image, and return how its first plane is seen; reads pixels as needed."""
        with self._opening:
            return self._opened.get_or_make(image, lambda: self._open(image))

    def _open(self, image: FolderImage) -> tuple[LoadedImage, ImageView]:
        loaded = read_image(image.path, image.series)
        return loaded, first_view(loaded, **self._look)


def pixel_of(loaded: LoadedImage, view: ImageView) -> PixelSize:
    """Return how large a pixel of the planes of an image is, as far as its file says."""
    axes = view.channels[0].source.axes
    return PixelSize.of_axes(loaded.along((axes.y, axes.x)))


class FolderPlanes(FolderImages):
    """The planes of the images of a folder; parameters as of :class:`FolderImages`."""

    def read(self, piece: FolderPiece) -> npt.NDArray[np.uint8]:
        """Read a plane."""
        if piece.error is not None:
            raise piece.error
        return view_of_plane(self.open(piece.image)[1], piece.leading).rgb()


@dataclass(frozen=True, slots=True, eq=False)
class PhraseAnswer:
    """What came out for one phrase on a plane.

    Parameters
    ----------
    result : TileResult or None
        What was found; None if it failed.
    error : Sam3AssistantError or None
        Why it failed.
    seconds : float
        How long it took.
    """

    result: TileResult | None
    error: Sam3AssistantError | None
    seconds: float


class PhraseWork(FolderPlanes):
    """Look for phrases on each plane, see :class:`.engines.piecework.Piecework`.

    Parameters
    ----------
    prompts : PromptSet
        The other prompts, in pixels of each image.
    options : PredictOptions
        The choices of the run.
    look
        As :class:`FolderPlanes` takes it.
    """

    def __init__(
        self, prompts: PromptSet, options: PredictOptions, look: Mapping[str, Any]
    ) -> None:
        super().__init__(look)
        self._prompts, self._options = prompts, options

    def run(
        self,
        engine: CachingEngine,
        piece: FolderPiece,
        pixels: npt.NDArray[np.uint8],
        reporter: Reporter,
    ) -> tuple[PhraseAnswer, ...]:
        """Look for each phrase on a plane, which is encoded once."""
        view = view_of_array(pixels, rgb=True)
        answers = []
        for phrase in piece.phrases:
            prompts = replace(self._prompts, text=phrase)
            request = SegmentRequest(view, prompts, replace(self._options, pixel=piece.pixel))
            began = time.monotonic()
            result: TileResult | None = None
            error: Sam3AssistantError | None = None
            try:
                found = next(segment(engine, request, reporter))
                result = TileResult(found.objects, found.engine, found.notes)
            except JobCancelled:
                raise
            except Sam3AssistantError as caught:
                error = caught
            answers.append(PhraseAnswer(result, error, time.monotonic() - began))
        view.channels[0].source.drop_caches()
        errors = {str(answer.error): answer.error for answer in answers}
        only = next(iter(errors.values()))
        if len(errors) == 1 and only is not None and not isinstance(only, PromptError):
            # Another worker may have better luck.
            raise only
        return tuple(answers)


def claim_folder(engine: CachingEngine, request: FolderChoices, same: Mapping[str, Any]) -> Claim:
    """Return the mark of this work in its folder, by which another start of the same knows of it.

    ``same``: what else is the same then, as JSON holds it.
    """
    source, output = map(os.path.realpath, (request.source, request.output))
    with suppress(ValueError):  # on another drive of Windows
        # Another computer may know both by other names.
        source = os.path.relpath(source, output).replace(os.sep, "/")
    about = {
        "source": source,
        "pattern": request.pattern,
        "threshold": request.options.threshold,
        "diameter": str(request.options.diameter),
        "ending": request.ending,
        "look": {**request.look, "series": request.series},
        "engine": engine.spec.name,
        **same,
    }
    number = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    return Claim(
        request.output,
        f".sam3-batch-{number:08x}",
        f"The same batch is going on in {request.output} now, here or on another computer.",
        "Wait for its end (a computer that went off counts for five minutes), or give each start "
        "other files by its pattern.",
    )


def weights_of(engine: CachingEngine, request: FolderChoices) -> dict[str, str]:
    """Return what tells the weights of a server from others in the notes: it tells no checksum."""
    known = "" if request.model_folder else engine.portable_id(NullReporter())
    return {"weights": known} if known else {}


def find_finished(
    finished: Iterable[FinishedLabels],
    engine: CachingEngine,
    identity: Mapping[str, Any],
    request: FolderChoices,
) -> FinishedLabels | None:
    """Return labels of an image that an earlier start has finished in the same way, if any.

    ``engine``: the loaded engine: what other weights have found is not finished.
    ``identity``: what else must be the same, as the notes have it.
    """
    threshold, folder = request.options.threshold, request.model_folder
    weights = engine.provenance(Prediction((), threshold)).weights
    for labels in finished:
        note = labels.note
        # Those of propagations have their steps there, too.
        extra = {name: value for name, value in note.extra.items() if name != "propagation"}
        if (
            extra == identity
            and note.threshold == threshold
            and note.diameter == request.options.diameter
            and labels.path.suffix == request.ending
            and note.engine.weights == weights
            and note.sha256 == weights_checksum(folder, weights)
            and labels.path.exists()
        ):
            return labels
    return None


_SAMPLES = 4  # pieces of the image along each side that tell it from another one
_SAMPLE_SIDE = 64


class SharedView:
    """What the model shall see, here and, once it was pickled, on another machine.

    Pickled it is a description: the files, and a checksum of pieces of the picture.

    Parameters
    ----------
    view : ImageView or None
        The view; None where it can't be read.
    paths : mapping of int to Path
        The file of each image, by the token of its source; those without one are read here only.
    series : int or None
        Which image of the file.
    address : str
        Where on a web server or in a bucket the image is, in place of a file; empty for nowhere.
        An array of zarr that lies there says so itself.
    """

    def __init__(
        self,
        view: ImageView | None,
        paths: Mapping[int, Path],
        series: int | None = None,
        address: str = "",
    ) -> None:
        self._view = view
        self._paths, self._series, self._address = paths, series, address

    @property
    def view(self) -> ImageView:
        """The view; on another machine only after :meth:`can_read` said so."""
        if self._view is None:
            raise ImageError("The image is not on this machine.", "Put it where it can be read.")
        return self._view

    def can_read(self) -> bool:
        """Return whether the pixels can be read on this machine, and are the same."""
        return self._view is not None

    def __reduce__(self) -> tuple[Any, ...]:
        """Describe the view, with its contrast, which nobody then has to find out again."""
        view = ImageView(tuple(map(_with_contrast, self.view.channels)))
        sources = {channel.source.token: channel.source for channel in view.channels}
        address = self._address
        if len(sources) == 1 and not sources.keys() & self._paths.keys():
            address = address or find_address(next(iter(sources.values())).data)
        named = bool(address) or sources.keys() <= self._paths.keys()
        channels = view_to_json(view, self._paths, Path.cwd(), self._series) if named else []
        return SharedView._open, (channels, view_checksum(view) if named else 0, address)

    @classmethod
    def _open(cls, channels: list[dict[str, Any]], checksum: int, address: str) -> SharedView:
        """Return a view that was pickled; without pixels where the files here have others."""
        view = None
        try:
            view = view_from_json(channels, Path.cwd(), address or None) if channels else None
            view = view if view is None or view_checksum(view) == checksum else None
        except ImageError:
            # It can't be read here: who has it sends the pixels.
            view = None
        return cls(view, {})


def _with_contrast(channel: ViewChannel) -> ViewChannel:
    """Return a channel whose contrast does not depend on samples of its image."""
    source, display = channel.source, channel.display
    if display.contrast is not None or source.dtype.name in ("uint8", "bool"):
        return channel
    contrast = source.contrast(channel.plane.channel)
    return replace(channel, display=replace(display, contrast=contrast))


def view_checksum(view: ImageView) -> int:
    """Return a checksum of pieces all over the picture."""
    height, width = view.shape
    found = 0
    for row in range(_SAMPLES):
        for column in range(_SAMPLES):
            y = (height - 1) * row // (_SAMPLES - 1)
            x = (width - 1) * column // (_SAMPLES - 1)
            half = _SAMPLE_SIDE // 2
            piece = view.rgb(Region(y - half, x - half, y + half, x + half))
            found = zlib.crc32(piece.data, found)
    return found

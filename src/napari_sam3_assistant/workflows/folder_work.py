"""What is done with each plane of the images of a folder, here or by the workers of a server."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.engines.encoding_cache import LRUCache
from napari_sam3_assistant.errors import JobCancelled, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.scan_folder import TileResult
from napari_sam3_assistant.workflows.segment import (
    SegmentRequest,
    first_view,
    segment,
    view_of_plane,
)
from napari_sam3_assistant.workflows.shared_view import view_checksum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.engines.caching_engine import CachingEngine
    from napari_sam3_assistant.io.image_folder import FolderImage
    from napari_sam3_assistant.io.loaded import LoadedImage


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
    error : Sam3AssistantError, MemoryError or None
        Why the image can't be read at all.
    """

    image: FolderImage
    leading: tuple[int, ...]
    phrases: tuple[str, ...] = ()
    error: Sam3AssistantError | MemoryError | None = None


_OPEN = 2  # images: the one that is read, and the one whose labels are written


class FolderImages:
    """The images of a folder, on any machine that has the same folder.

    Parameters
    ----------
    look : mapping
        ``channel_axis``, ``channel`` and ``contrast``, where they are not to be found out.
    series : int or None
        Which image of files that hold several; None for the largest.
    """

    def __init__(self, look: Mapping[str, Any], series: int | None) -> None:
        self._look, self._series = dict(look), series
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
        """Take the first image that can be read, to tell the folder from another one."""
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
        """Open an image, and return how its first plane is seen; reads pixels as needed.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        with self._opening:
            return self._opened.get_or_make(image, lambda: self._open(image))

    def _open(self, image: FolderImage) -> tuple[LoadedImage, ImageView]:
        loaded = read_image(image.path, self._series)
        return loaded, first_view(loaded, **self._look)


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
    look, series
        As :class:`FolderPlanes` takes them.
    """

    def __init__(
        self,
        prompts: PromptSet,
        options: PredictOptions,
        look: Mapping[str, Any],
        series: int | None,
    ) -> None:
        super().__init__(look, series)
        self._prompts, self._options = prompts, options

    def run(
        self,
        engine: CachingEngine,
        piece: FolderPiece,
        pixels: npt.NDArray[np.uint8],
        reporter: Reporter,
    ) -> tuple[PhraseAnswer, ...]:
        """Look for each phrase on a plane, which is encoded once.

        Raises
        ------
        Sam3AssistantError
            If all of them fail for the same reason, which is not the prompts'.
        """
        view = view_of_array(pixels, rgb=True)
        answers = []
        for phrase in piece.phrases:
            prompts = replace(self._prompts, text=phrase)
            one = SegmentRequest(view, prompts, self._options)
            began = time.monotonic()
            result: TileResult | None = None
            error: Sam3AssistantError | None = None
            try:
                found = next(segment(engine, one, reporter))
                result = TileResult(found.objects, found.engine, found.notes)
            except JobCancelled:
                raise
            except Sam3AssistantError as caught:
                error = caught
            answers.append(PhraseAnswer(result, error, time.monotonic() - began))
        view.channels[0].source.drop_caches()
        errors = {str(one.error): one.error for one in answers}
        only = next(iter(errors.values()))
        if len(errors) == 1 and only is not None and not isinstance(only, PromptError):
            # Another worker may have better luck.
            raise only
        return tuple(answers)

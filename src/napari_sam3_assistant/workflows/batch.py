"""Several phrases on several images."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import JobCancelled, PromptError, Sam3AssistantError
from napari_sam3_assistant.workflows.pace import Quiet
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.engines.embeddings import EncodingEngine


@dataclass(frozen=True, slots=True, eq=False)
class BatchItem:
    """One image of a batch.

    Parameters
    ----------
    key : str
        What the caller knows the image by.
    name : str
        Its name for the user.
    request : SegmentRequest
        What to do; where the batch has phrases, these take the place of the request's text.
    """

    key: str
    name: str
    request: SegmentRequest


@dataclass(frozen=True, slots=True, eq=False)
class BatchRequest:
    """Images and phrases.

    Parameters
    ----------
    items : tuple of BatchItem
        The images.
    phrases : tuple of str
        Each runs on each image, one by one; none to run the requests as they are.
    """

    items: tuple[BatchItem, ...]
    phrases: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """Number of results."""
        return len(self.items) * max(1, len(self.phrases))


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What came out for one image and one phrase.

    Parameters
    ----------
    key, name : str
        The image.
    phrase : str
        The phrase as it was given; empty where the batch has none.
    segmentation : Segmentation or None
        The result; object ids count from 1 in each. None if it failed.
    error : Sam3AssistantError or None
        Why it failed.
    seconds : float
        How long it took.
    """

    key: str
    name: str
    phrase: str
    segmentation: Segmentation | None
    error: Sam3AssistantError | None = None
    seconds: float = 0.0

    @property
    def scope(self) -> str:
        """The image and the phrase, as in ``Image 1 - cat``."""
        return f"{self.name} - {self.phrase}" if self.phrase else self.name


def batch(
    engine: EncodingEngine, request: BatchRequest, reporter: Reporter
) -> Iterator[BatchResult]:
    """Run each phrase on each image; an image that fails is reported and the rest goes on.

    An image is encoded once for all of its phrases.

    Parameters
    ----------
    engine : EncodingEngine
        The engine to run; it is loaded if it is not.
    request : BatchRequest
        What to do.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Yields
    ------
    BatchResult
        For each image, for each phrase.

    Raises
    ------
    PromptError
        If there is no image.
    EngineError
        If the engine can't be loaded.
    """
    if not request.items:
        raise PromptError("There is no image to run on.", "Open an image first.")
    reporter.report(Progress(0, request.runs, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    quiet = Quiet(reporter)
    done = 0
    for item in request.items:
        for phrase in request.phrases or ("",):
            one = item.request
            if phrase:
                one = replace(one, prompts=replace(one.prompts, text=phrase))
            name = f"{item.name} - {phrase}" if phrase else item.name
            reporter.report(Progress(done, request.runs, f"{name} ({done + 1} of {request.runs})"))
            began = time.monotonic()
            result: Segmentation | None = None
            error: Sam3AssistantError | None = None
            try:
                result = next(segment(engine, one, quiet))
            except JobCancelled:
                raise
            except Sam3AssistantError as caught:
                error = caught
            done += 1
            yield BatchResult(item.key, item.name, phrase, result, error, time.monotonic() - began)

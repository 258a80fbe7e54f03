"""Encode the images of a folder ahead, so that clicks on them later need no encoder."""

from __future__ import annotations

import json
import os
import uuid
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import (
    CancelOnlyReporter,
    Progress,
    RemainingTime,
    format_duration,
)
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.engines.encoding_cache import INDEX, EmbeddingFolder
from napari_sam3_assistant.engines.piecework import work_through
from napari_sam3_assistant.errors import NO_MEMORY, EngineError, Sam3AssistantError
from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.image_folder import find_images
from napari_sam3_assistant.io.untrusted import as_dict, as_list, as_text, as_whole
from napari_sam3_assistant.workflows.folder_work import FolderPiece, FolderPlanes
from napari_sam3_assistant.workflows.segment import leading_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.base import Outcome
    from napari_sam3_assistant.engines.caching_engine import CachingEngine
    from napari_sam3_assistant.io.image_folder import FolderImage


@dataclass(frozen=True, slots=True, eq=False)
class PrecomputeRequest:
    """What to encode.

    ``source`` and ``output``: folder of the images, and folder of the encodings; the latter is
    made.
    ``pattern``: which files, as ``*.tif`` or ``**/*`` for all folders below.
    ``look``: ``channel_axis``, ``channel`` and ``contrast``, where they are not to be found out.
    ``series``: which images of files that hold several, as :func:`.loaded.parse_series` returns it.
    None for the largest of each file.
    """

    source: Path
    output: Path
    pattern: str = "*"
    look: Mapping[str, Any] = field(default_factory=dict)
    series: tuple[int | str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PrecomputedRow:
    """What became of one image.

    Parameters
    ----------
    image : str
        The image, as seen from the folder, and which one of a file that holds several.
    status : str
        ``done``, ``skipped`` (encoded by an earlier start), ``failed``, or ``left out``.
    planes : int
        How many planes have encodings.
    message : str
        Why it failed or was left out.
    """

    image: str
    status: str
    planes: int = 0
    message: str = ""


class EncodeWork(FolderPlanes):
    """Encode each plane, see :class:`.engines.piecework.Piecework`.

    Who reaches the folder of the encodings writes there; others send the file's content.

    ``folder``: the folder of the encodings.
    ``mark``: name of a file that distinguishes this folder from one of the same path elsewhere.
    ``look``: as :class:`FolderPlanes` takes it.
    """

    def __init__(self, folder: Path, mark: str, look: Mapping[str, Any]) -> None:
        super().__init__(look)
        self._folder, self._mark = folder, mark

    def run(
        self,
        engine: CachingEngine,
        piece: FolderPiece,
        pixels: npt.NDArray[np.uint8],
        reporter: Reporter,
    ) -> tuple[str, bytes | None]:
        """Encode a plane; returns its key and, where the folder is not here, the content."""
        del piece
        key, content = engine.encode_for_folder(pixels, reporter)
        if (self._folder / self._mark).exists():
            with explain_os_errors(self._folder):
                EmbeddingFolder(self._folder).write(key, content)
            return key, None
        return key, content


def precompute(
    engine: CachingEngine, request: PrecomputeRequest, reporter: Reporter
) -> Iterator[PrecomputedRow]:
    """Encode every plane of the images of a folder; one that fails is reported, the rest goes on.

    What an earlier start has encoded with the same engine is skipped.
    """
    reporter.report(Progress(0, 0, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    if not engine.spec.needs_weights:
        raise EngineError(
            f"{engine.spec.title} has no encoder whose work could be kept.",
            "Give the model folder of SAM 3 or of a SAM, or a server that runs one.",
        )
    content = find_images(request.source, request.output, request.pattern, request.series, reporter)
    folder = EmbeddingFolder(request.output)
    index = _Index(request, engine, reporter)
    mark = f"writer-{uuid.uuid4().hex}"
    work = EncodeWork(request.output.absolute(), mark, request.look)
    plans = [_Plan(image) for image in content.images]
    if engine.many is not None:
        work.take_sample(plan.image for plan in plans)
    quiet = CancelOnlyReporter(reporter)
    sent: deque[tuple[_Plan, FolderPiece]] = deque()

    def pieces() -> Iterator[FolderPiece]:
        for plan in plans:
            for piece in plan.pieces(work, folder, index):
                sent.append((plan, piece))
                yield piece

    remaining = RemainingTime(len(plans))
    left: float | None = None
    with explain_os_errors(request.output):
        (request.output / mark).touch()
    try:
        with closing(work_through(engine, work, pieces(), quiet)) as outcomes:
            for number, plan in enumerate(plans):
                soon = "" if left is None else f", {format_duration(left)} left"
                message = f"{plan.image.title} ({part_of(number + 1, len(plans))}{soon})"
                reporter.report(Progress(number, len(plans), message, left))
                while not plan.is_settled:
                    outcome = next(outcomes, None)
                    if outcome is not None:
                        owner, piece = sent.popleft()
                        owner.take(piece, outcome, folder, index)
                yield plan.row()
                left = remaining.step()
    finally:
        with suppress(OSError):
            (request.output / mark).unlink()
    yield from (PrecomputedRow(name, "left out", message=why) for name, why in content.left_out)


class _Index:
    """The list of what is encoded: a line of JSON for each plane, written when its file is there.

    ``request``: what is done now.
    ``engine``: who does it; loaded.
    ``reporter``: may cancel the reading of the weights.
    """

    def __init__(
        self, request: PrecomputeRequest, engine: CachingEngine, reporter: Reporter
    ) -> None:
        self.path = request.output / INDEX
        made_by = engine.provenance(Prediction((), 0.0))
        self._about = {
            "look": {key: value for key, value in request.look.items() if value is not None},
            "engine": [
                *(made_by.engine, made_by.version, made_by.weights, made_by.precision),
                # Other weights may have the same name.
                engine.portable_id(reporter),
            ],
        }
        self._known: dict[str, dict[tuple[int, ...], str]] = {}
        with explain_os_errors(self.path):
            self.path.touch()
            with self.path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    # The last one may be cut off by a kill, and a stranger's may say anything.
                    with suppress(ValueError, TypeError, KeyError, RecursionError):
                        entry = as_dict(json.loads(line))
                        plane = tuple(map(as_whole, as_list(entry["plane"])))
                        self._known.setdefault(as_text(entry["of"]), {})[plane] = as_text(
                            entry["key"]
                        )

    def _name(self, image: FolderImage) -> str:
        about = {
            **self._about,
            "image": image.relative,
            "series": image.series,
            "state": image.state,
        }
        return json.dumps(about, sort_keys=True)

    def known(self, image: FolderImage) -> dict[tuple[int, ...], str]:
        """Return the keys of the planes of an image that an earlier start has encoded."""
        return self._known.get(self._name(image), {})

    def add(self, image: FolderImage, plane: tuple[int, ...], key: str) -> None:
        """Write a line."""
        line = json.dumps({"of": self._name(image), "plane": plane, "key": key})
        with explain_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(slots=True, eq=False)
class _Plan:
    """One image, which of its planes have to be encoded, and what became of these."""

    image: FolderImage
    planes: int = 0
    to_do: tuple[tuple[int, ...], ...] | None = None
    done: int = 0
    error: Sam3AssistantError | MemoryError | None = None

    def pieces(
        self, work: EncodeWork, folder: EmbeddingFolder, index: _Index
    ) -> Iterator[FolderPiece]:
        """Yield its planes; of an image that can't be opened none."""
        self.to_do = ()
        known = index.known(self.image)  # which notes its state as it was before it is read
        try:
            every = list(np.ndindex(*leading_shape(work.open(self.image)[1])))
        except (Sam3AssistantError, MemoryError) as error:
            self.error = error
            return
        self.planes = len(every)
        self.to_do = tuple(
            plane for plane in every if plane not in known or not folder.has(known[plane])
        )
        for leading in self.to_do:
            yield FolderPiece(self.image, leading)

    @property
    def is_settled(self) -> bool:
        """Whether all of its planes came back."""
        return self.to_do is not None and self.done == len(self.to_do)

    def take(
        self, piece: FolderPiece, outcome: Outcome, folder: EmbeddingFolder, index: _Index
    ) -> None:
        """Keep what came back of a plane."""
        self.done += 1
        if outcome.error is not None:
            self.error = self.error or outcome.error
            return
        key, content = outcome.value
        if content is not None:
            with explain_os_errors(index.path):
                folder.write(key, content)
        index.add(self.image, piece.leading, key)

    def row(self) -> PrecomputedRow:
        """Return what became of the image."""
        if self.error is not None:
            known = isinstance(self.error, Sam3AssistantError)
            message = str(self.error) if known else NO_MEMORY
            return PrecomputedRow(self.image.title, "failed", message=message)
        status = "done" if self.to_do else "skipped"
        return PrecomputedRow(self.image.title, status, self.planes)

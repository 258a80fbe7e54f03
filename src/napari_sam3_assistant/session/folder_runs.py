"""Work on folders: batches, encodings ahead, and which image of their files is taken."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.axes import FIND_OUT
from napari_sam3_assistant.core.images import UNKNOWN_PIXEL
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import (
    NOT_DRAWN,
    PromptKind,
    PromptSet,
    Task,
    prompt_kind,
)
from napari_sam3_assistant.errors import EngineError, PromptError
from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.loaded import ALL_SERIES
from napari_sam3_assistant.io.outputs import typed_folder
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.messages import describe_place
from napari_sam3_assistant.session.model import EVERY, LARGEST
from napari_sam3_assistant.session.scanning import FileRun
from napari_sam3_assistant.session.values import (
    Level,
    Message,
)
from napari_sam3_assistant.workflows.batch import (
    FolderRequest,
    FolderRow,
    FolderSeries,
    find_series,
    segment_folder,
)
from napari_sam3_assistant.workflows.precompute import PrecomputeRequest, precompute
from napari_sam3_assistant.workflows.summary import SUMMARY
from napari_sam3_assistant.workflows.track_folder import TrackFolderRequest, track_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.model import ScanModel, SessionModel
    from napari_sam3_assistant.workflows.batch import FoundSeries
    from napari_sam3_assistant.workflows.precompute import PrecomputedRow


class FolderBatch(FileRun):
    """Starts batches on folders."""

    @property
    def is_left(self) -> bool:
        """Whether a start goes on with a batch that was stopped, also by a crash."""
        scan_model = self._scan_model
        begun = scan_model.folder_begun
        of_this = bool(begun) and begun == scan_model.folder_source.strip()
        return of_this and scan_model.folder_skips and not self._model.running

    def run(self) -> Job:
        """Run the present phrases, or the prompts drawn on the image on show, on every image.

        In the task 3D/video they are followed through every stack. Raises Sam3AssistantError if it
        can't start; nothing has changed then.
        """
        if self._model.why_not.batch_folder:
            raise PromptError(self._model.why_not.batch_folder)
        model, scan_model = self._model, self._scan_model
        request: FolderRequest | TrackFolderRequest
        if model.task is Task.VIDEO:
            request = self._stacks_request()
            run = partial(track_folder, request=request)
        else:
            request = self._request()
            run = partial(segment_folder, request=request)
        engine = self._engine.take()
        rows: list[FolderRow] = []

        def end(state: JobState) -> None:
            if state is JobState.DONE:
                scan_model.folder_begun = ""
            if rows:
                scan_model.folder_done = str(request.output)
            if state is not JobState.FAILED:
                # Which server it was is known when it has answered.
                on_device = describe_place(engine.device) if engine.traffic is not None else ""
                model.message = _summarise(rows, request.output, state, on_device)

        scan_model.folder_begun = scan_model.folder_source.strip()
        return self._begin(
            "The folder batch",
            engine,
            lambda reporter: run(engine, reporter=reporter),
            rows.append,
            end,
        )

    def _request(self) -> FolderRequest:
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        if kind is PromptKind.TEXT:
            prompts = PromptSet()
            phrases = model.phrases or (model.text.strip(),)
        else:
            prompts = (
                model.add_typed(kind, PromptSet())
                if kind in NOT_DRAWN
                else self._adapter.take_snapshot(model.image, kind).prompts
            )
            phrases = ()
        scan_model, choices = self._scan_model, self._folder_choices()
        if scan_model.folder_tiles:
            choices |= {"tiles": scan_model.tiles(), "ending": ".zarr"}
        return FolderRequest(prompts=prompts, phrases=phrases, **choices)

    def _stacks_request(self) -> TrackFolderRequest:
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        if kind in NOT_DRAWN:
            prompts = {model.first_frame or 0: model.add_typed(kind, PromptSet())}
        else:
            stack = self._adapter.stacks.take_snapshot(model.image, kind, model.frame_axis)
            prompts = dict(stack.prompts)
        return TrackFolderRequest(prompts=prompts, span=model.span, **self._folder_choices())

    def _folder_choices(self) -> dict[str, Any]:
        """Return the options of the folder that both kinds of runs take."""
        scan_model, engine = self._scan_model, self._engine
        kind = prompt_kind(self._model.task, self._model.tool)
        return {
            **folder_images(self._model, scan_model),
            "output": typed_folder(scan_model.folder_output),
            # The file of each image tells the size of its pixels.
            "options": engine.options(frozenset({kind}), UNKNOWN_PIXEL),
            "ending": scan_model.folder_format,
            "model_folder": engine.model_folder if engine.spec.needs_weights else None,
            "skip_finished": scan_model.folder_skips,
        }


class FolderEncoding(FileRun):
    """Starts the encoding of folders."""

    def run(self) -> Job:
        """Encode every plane of the folder's images into the chosen folder of encodings.

        What is there is skipped. Clicks on those planes then need no encoder. Raises
        Sam3AssistantError if it can't start; nothing has changed then.
        """
        model = self._model
        if model.why_not.encode_folder:
            raise EngineError(model.why_not.encode_folder)
        output = typed_folder(model.encodings_folder)
        with explain_os_errors(output):
            output.mkdir(parents=True, exist_ok=True)
        request = PrecomputeRequest(output=output, **folder_images(model, self._scan_model))
        engine = self._engine.take()
        rows: list[PrecomputedRow] = []

        def end(state: JobState) -> None:
            if state is not JobState.FAILED:
                on_device = describe_place(engine.device) if engine.traffic is not None else ""
                model.message = _summarise_encodings(rows, output, state, on_device)

        return self._begin(
            "The encoding",
            engine,
            lambda reporter: precompute(engine, request, reporter),
            rows.append,
            end,
        )


def folder_images(model: SessionModel, scan_model: ScanModel) -> dict[str, Any]:
    """Return which images of the chosen folder are meant, as the requests take it."""
    chosen = None if model.channel_axis == FIND_OUT else model.channel_axis
    number = scan_model.folder_series
    return {
        "source": typed_folder(scan_model.folder_source),
        "pattern": scan_model.folder_pattern.strip() or "*",
        "look": {"channel_axis": chosen},
        "series": {LARGEST: None, EVERY: (ALL_SERIES,)}.get(number, (number,)),
    }


def _summarise_encodings(
    rows: list[PrecomputedRow], output: Path, state: JobState, on_device: str
) -> Message:
    """Return what came out of an encoding, and on which server, as `describe_place` says it."""
    statuses = Counter(row.status for row in rows)
    planes = sum(row.planes for row in rows if row.status == "done")
    parts = [f"{statuses['done']} done{on_device} ({pluralize(planes, 'plane')})"]
    names = ("skipped", "failed", "left out")
    counts = ", ".join([*parts, *(f"{statuses[name]} {name}" for name in names if statuses[name])])
    if state is JobState.CANCELLED:
        return Message(f"Encoding stopped: {counts}. Encode folder goes on where it was.")
    failed = [f"{row.image}: {row.message}" for row in rows if row.status == "failed"]
    why = f" First failure: {failed[0]}" if failed else ""
    message = f"Encodings ready: {counts}. Folder: {output}.{why}"
    return Message(message, Level.WARNING if failed else Level.SUCCESS)


def _summarise(rows: list[FolderRow], output: Path, state: JobState, on_device: str) -> Message:
    """Return what came out of a folder, and on which server, as `describe_place` says it."""
    statuses = Counter(row.status for row in rows)
    objects = sum(row.objects or 0 for row in rows if row.status == "done")
    parts = [f"{statuses['done']} done{on_device} ({pluralize(objects, 'object')})"]
    parts += [f"{statuses[name]} {name}" for name in ("skipped", "failed") if statuses[name]]
    counts = ", ".join(parts)
    if state is JobState.CANCELLED:
        return Message(
            f"Folder batch stopped: {counts}. What is done is kept: Continue batch runs the rest."
        )
    failed = [f"{row.image}: {row.message}" for row in rows if row.status == "failed"]
    why = f" First failure: {failed[0]}" if failed else ""
    left_out = statuses["left out"]
    others = f" Left out: {pluralize(left_out, 'file')}, see there." if left_out else ""
    noted = sum(bool(row.message) for row in rows if row.status == "done")
    others += f" Notes: on {pluralize(noted, 'image')}, see there." if noted else ""
    message = f"Folder batch ready: {counts}. Summary: {output / SUMMARY}.{others}{why}"
    return Message(message, Level.WARNING if failed else Level.SUCCESS)


_FIELDS = ("folder_source", "folder_output", "folder_pattern")
_STILL_S = 0.3
"""A folder is looked at when nothing has been typed for so many seconds."""
_LONGEST = 60
"""Letters of a name from a file."""


class SeriesChoice:
    """Looks at the first files of the folder whenever it changes.

    All methods are called on the GUI thread.
    """

    def __init__(self, model: SessionModel, scan_model: ScanModel, deliver: Deliver) -> None:
        self._model = model
        self._scan_model = scan_model
        # A thread of its own: a far disk keeps no run waiting.
        self._searches = JobRunner(deliver)
        self._search: Job | None = None
        for name in _FIELDS:
            getattr(scan_model.events, name).connect(self._look_anew, max_args=0)

    def look(self) -> Job | None:
        """Look at the files as they are now; returns None where no folder is chosen."""
        scan_model = self._scan_model
        if self._search is not None:
            self._search.cancel()
            self._search = None
        if not scan_model.folder_source.strip():
            scan_model.folder_series_found = None
            return None
        source = typed_folder(scan_model.folder_source)
        output = (
            typed_folder(scan_model.folder_output) if scan_model.folder_output.strip() else None
        )
        pattern = scan_model.folder_pattern.strip() or "*"

        over = threading.Event()

        def work(reporter: Reporter) -> Iterator[FolderSeries]:
            over.wait(_STILL_S)
            reporter.check()
            yield from find_series(source, output, pattern, reporter)

        job = Job("Looking at the folder", work)
        job.yielded.connect(self._take)

        def tell(state: JobState) -> None:
            over.set()
            if state is JobState.FAILED:
                scan_model.folder_series_found = FolderSeries(problem=str(job.error))

        job.finished.connect(tell)
        self._search = job
        self._searches.start(job)
        return job

    @property
    def choices(self) -> tuple[tuple[int, str], ...]:
        """The numbers that can be chosen, each with its name for the user."""
        found, chosen = self._scan_model.folder_series_found, self._scan_model.folder_series
        listed: dict[int, str] = {LARGEST: "Largest image (default)"}
        several = found is not None and len(found.series) > 1
        if several or chosen == EVERY:
            listed[EVERY] = "Every image"
        if found is not None and (several or chosen != LARGEST):
            listed |= {series.number: _line(series, found) for series in found.series}
        # A choice is on show, whatever the files hold.
        listed.setdefault(chosen, f"{chosen}: not found yet")
        return tuple(listed.items())

    @property
    def reason(self) -> str:
        """What the choices are, or why there are none."""
        scan_model = self._scan_model
        found = scan_model.folder_series_found
        if not scan_model.folder_source.strip():
            return "Choose the folder of the images first."
        if found is None:
            return "Looking at what the files hold …"
        if found.problem:
            return found.problem
        readable = found.files - found.unreadable
        spoilt = (
            f" {pluralize(found.unreadable, 'file')} can't be read." if found.unreadable else ""
        )
        if not readable:
            return spoilt.strip()
        if len(found.series) < 2:
            return (
                "There is nothing to choose: each file holds one image. Looked at: "
                f"{pluralize(readable, 'file')}, the first by name.{spoilt}"
            )
        message = (
            "Which image of files that hold several, such as positions: the largest of each file, "
            "every one, or the one with this number, from 0. Looked at: "
            f"{pluralize(readable, 'file')}, the first by name.{spoilt}"
        )
        lack = readable - sum(
            series.files for series in found.series if series.number == scan_model.folder_series
        )
        if scan_model.folder_series in (LARGEST, EVERY) or not lack:
            return message
        return (
            f"{message} {pluralize(lack, 'file')} of these {'has' if lack == 1 else 'have'} no "
            f"image {scan_model.folder_series}: they will fail, the others are run."
        )

    def close(self) -> None:
        """Stop looking."""
        self._searches.close()

    # -- inside ---------------------------------------------------------------------------

    def _look_anew(self) -> None:
        # What was found before is of another folder.
        self._scan_model.folder_series_found = None
        self.look()

    def _take(self, series: FolderSeries) -> None:
        scan_model = self._scan_model
        chosen = scan_model.folder_series
        readable = series.files - series.unreadable
        there = chosen in {LARGEST, EVERY, *(choice.number for choice in series.series)}
        if readable and not there:
            scan_model.folder_series = LARGEST
            self._model.message = Message(
                f"Series {chosen} is in none of the {pluralize(readable, 'file')} looked at in "
                f"{scan_model.folder_source.strip()}; the largest image of each is taken now.",
                Level.WARNING,
            )
        scan_model.folder_series_found = series


def _line(entry: FoundSeries, series: FolderSeries) -> str:
    """Return a number, with what it is in how many files."""
    readable = series.files - series.unreadable
    parts = []
    if entry.names:
        parts.append(_short(entry.names[0]) + (" and others" if len(entry.names) > 1 else ""))
    several = len(entry.shapes) > 1
    parts.append("different sizes" if several else " x ".join(map(str, entry.shapes[0])))
    files = pluralize(readable, "file")
    of = files if entry.files == readable else f"{entry.files} of {files}"
    return f"{entry.number}: {', '.join(parts)} ({of})"


def _short(name: str) -> str:
    """Return a stranger's text as one short line."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"

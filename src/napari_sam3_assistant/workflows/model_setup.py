"""Look into model folders, fetch one, find devices, and compare them and the number formats."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.checkpoints import (
    EngineChoice,
    Finding,
    choose_engine,
    inspect_folder,
)
from napari_sam3_assistant.engines.device import (
    AUTO,
    FLOAT32,
    PRECISIONS,
    choose_precision,
    device_options,
    pick_device,
    read_devices,
    working_devices,
)
from napari_sam3_assistant.engines.download import REPOSITORY, download_model
from napari_sam3_assistant.errors import EngineError, EngineNotInstalled
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import ObjectRecord, Segmentation
    from napari_sam3_assistant.engines.checkpoints import FolderReport
    from napari_sam3_assistant.engines.device import DeviceChoice, PrecisionChoice


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """The result of checking a model folder.

    ``findings``: all that was looked at, in order.
    ``usable``: whether an engine can load it here.
    ``verdict``: which engine and why, or what to do.
    """

    findings: tuple[Finding, ...]
    usable: bool
    verdict: str


def check_folder(folder: Path, reporter: Reporter) -> Iterator[EngineChoice]:
    """Yield the engine that can load a folder, and why; no weights are loaded."""
    reporter.report(Progress(0, 1, f"Checking {folder.name}"))
    yield _choose(inspect_folder(folder))


def validate_folder(folder: str, reporter: Reporter) -> Iterator[FolderCheck]:
    """Yield all findings on a folder; no weights are loaded."""
    reporter.report(Progress(0, 1, "Checking the model folder"))
    report = inspect_folder(folder)
    try:
        choice = _choose(report)
    except EngineError as error:
        yield FolderCheck(report.findings, False, str(error))
    else:
        yield FolderCheck(report.findings, choice.installed, f"{report.summary} {choice.reason}")


def _choose(report: FolderReport) -> EngineChoice:
    statuses = {name: entry.status() for name, entry in registry.entries().items()}
    return choose_engine(report, statuses)


@dataclass(frozen=True, slots=True)
class FoundDevices:
    """The devices of this machine.

    ``options``: those that can be chosen, each with its name for the user.
    ``automatic``: what ``auto`` takes, and why.
    """

    options: Mapping[str, str]
    automatic: DeviceChoice


def find_devices(reporter: Reporter) -> Iterator[FoundDevices]:
    """Yield the devices; this starts PyTorch, which takes seconds."""
    reporter.report(Progress(0, 1, "Looking for devices"))
    devices = read_devices()
    yield FoundDevices(device_options(devices), pick_device("auto", devices))


@dataclass(frozen=True, slots=True)
class WeightsRequest:
    """What to fetch.

    ``folder``: where to.
    ``repository``: owner and name on the Hugging Face Hub, or the name of one of ``HUB_MODELS``.
    ``meta``: whether to fetch the weights for Meta's package in place of those for transformers.
    ``token``: the user's token; None for the one that is set or saved on this machine.
    """

    folder: Path
    repository: str = REPOSITORY
    meta: bool = False
    # Not to be shown with the rest.
    token: str | None = field(default=None, repr=False)


def get_weights(request: WeightsRequest, reporter: Reporter) -> Iterator[EngineChoice]:
    """Fetch what is missing in a folder, then yield the engine that can load it."""
    download_model(
        request.folder,
        reporter,
        repository=request.repository,
        meta=request.meta,
        token=request.token,
    )
    yield from check_folder(request.folder, reporter)


# A GPU works in bfloat16, which keeps three digits: masks differ at their edges, and an object
# near the threshold may come or go.
LEAST_IOU = 0.9
MOST_SCORE_DIFFERENCE = 0.05
# Of scikit-image's picture of coins, (303, 384): one coin, and its box.
_PROMPTS = {
    "click": PromptSet(points=(PointPrompt(125.0, 165.0),)),
    "box": PromptSet(boxes=(BoxPrompt(Region(107, 131, 148, 176)),)),
    "phrase": PromptSet(text="coin"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """How a device's result for one prompt differs from the reference's.

    ``device`` and ``prompt``: which device, and which of the prompts.
    ``objects`` and ``expected``: how many objects the device found, and the reference.
    ``iou``: mean overlap of the objects' masks (intersection over union), 0 to 1; an object that
    only one of the two found counts as 0.
    ``box``: largest difference of a side of the objects' boxes, in pixels.
    ``score``: largest difference of the objects' scores.
    """

    device: str
    prompt: str
    objects: int
    expected: int
    iou: float
    box: float
    score: float

    @property
    def agrees(self) -> bool:
        """Whether no more differs than the devices' number formats explain."""
        return self.iou >= LEAST_IOU and self.score <= MOST_SCORE_DIFFERENCE


@dataclass(frozen=True, slots=True)
class DeviceComparison:
    """The result of a comparison.

    Parameters
    ----------
    engine : str
        The engine's name for the user.
    reference : str
        The device that the others were compared with.
    rows : tuple of Difference
        One for each other device and prompt.
    failures : tuple of str
        The devices that could not run, and why.
    """

    engine: str
    reference: str
    rows: tuple[Difference, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every device ran and agrees with the reference."""
        return not self.failures and all(row.agrees for row in self.rows)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if not self.rows and not self.failures:
            return f"Only the device {self.reference} works here, so there is nothing to compare."
        if self.agrees:
            return f"The other devices agree with {self.reference}."
        differing = dict.fromkeys(row.device for row in self.rows if not row.agrees)
        sentences = [f"{device} differs from {self.reference}" for device in differing]
        if self.failures:
            sentences.append("not every device could run")
        text = ", and ".join(sentences)
        return f"{text[0].upper()}{text[1:]}. Choose the device {self.reference}, and report this."

    def lines(self) -> tuple[str, ...]:
        """Return the table and the verdict, for the user."""
        if not self.rows:
            return (*self.failures, self.verdict)
        head = (
            f"{'device':<10}{'prompt':<10}{'objects':>9}{'mask IoU':>10}{'box px':>8}{'score':>8}"
        )
        table = [
            f"{row.device:<10}{row.prompt:<10}{f'{row.objects}/{row.expected}':>9}"
            f"{row.iou:>10.4f}{row.box:>8.1f}{row.score:>8.4f}"
            for row in self.rows
        ]
        title = f"{self.engine}, compared with {self.reference}"
        rule = (
            f"Agreement: mean mask IoU of at least {LEAST_IOU}, scores within "
            f"{MOST_SCORE_DIFFERENCE}."
        )
        return (title, head, *table, *self.failures, rule, self.verdict)


def compare_devices(
    folder: Path, reporter: Reporter, devices: Sequence[str] | None = None
) -> Iterator[DeviceComparison]:
    """Yield how the results of the devices differ, for a click, a box and a phrase."""
    engine, title = _engine_of(folder, reporter)
    reference, *others = devices or working_devices(read_devices())
    if not others:
        yield DeviceComparison(title, reference)
        return
    reporter.report(Progress(0, len(others) + 1, f"Running on {reference}"))
    # Closed before the next one is opened: two full-size models may not fit into memory.
    with CachingEngine(registry.create(engine, folder, reference)) as opened:
        expected = _run(opened, reporter)
    rows: list[Difference] = []
    failures: list[str] = []
    for number, device in enumerate(others, 1):
        reporter.report(Progress(number, len(others) + 1, f"Running on {device}"))
        try:
            with CachingEngine(registry.create(engine, folder, device)) as opened:
                results = _run(opened, reporter)
        except EngineError as error:
            failures.append(f"{device} could not run. {error}")
            continue
        rows += [difference(device, name, results[name], expected[name]) for name in results]
    yield DeviceComparison(title, reference, tuple(rows), tuple(failures))


@dataclass(frozen=True, slots=True)
class PrecisionTime:
    """How long an image encoder took in a number format.

    ``precision``: the number format that was asked for.
    ``works_in``: the one that it worked in.
    ``seconds`` and ``processor_seconds``: wall time of one image, and what all processor cores
    worked in it.
    """

    precision: str
    works_in: str
    seconds: float
    processor_seconds: float


@dataclass(frozen=True, slots=True)
class PrecisionMeasurement:
    """What the number formats of an image encoder cost and change on a machine.

    ``engine``: the engine's name for the user.
    ``device``: where it ran, and why.
    ``automatic``: the number format that ``auto`` takes there, and why.
    ``times``: how long each took, float32 first.
    ``rows``: how the results of the others differ from those of float32; ``device`` is the format.
    ``failures``: the number formats that could not run, and why.
    """

    engine: str
    device: DeviceChoice
    automatic: PrecisionChoice
    times: tuple[PrecisionTime, ...]
    rows: tuple[Difference, ...]
    failures: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """Return the table, and what is chosen, for the user."""
        title = f"{self.engine} on {self.device.device}. {self.device.reason}"
        head = f"{'precision':<11}{'encode s':>10}{'processor s':>13}{'least mask IoU':>16}"
        table = []
        for timing in self.times:
            own = [row.iou for row in self.rows if row.device == timing.precision]
            overlap = f"{min(own):.4f}" if own else "reference"
            note = "" if timing.works_in == timing.precision else f"  (works in {timing.works_in})"
            table.append(
                f"{timing.precision:<11}{timing.seconds:>10.2f}{timing.processor_seconds:>13.2f}"
                f"{overlap:>16}{note}"
            )
        chosen = f"auto is {self.automatic.precision}. {self.automatic.reason}"
        return (title, head, *table, *self.failures, chosen)


def measure_precision(
    folder: Path, reporter: Reporter, device: str = "auto"
) -> Iterator[PrecisionMeasurement]:
    """Yield how long the image encoder takes in each number format, and what that changes."""
    engine, title = _engine_of(folder, reporter)
    if not registry.spec_for(engine, folder).precisions:
        raise EngineError(f"{title} has no choice of the precision.", "Measure another model.")
    used = pick_device(device, read_devices(device))
    formats = [precision for precision in PRECISIONS if precision != AUTO]
    expected: Mapping[str, Segmentation] = {}
    times: list[PrecisionTime] = []
    rows: list[Difference] = []
    failures: list[str] = []
    for number, precision in enumerate(formats):
        reporter.report(Progress(number, len(formats), f"Running in {precision}"))
        try:
            with CachingEngine(registry.create(engine, folder, used.device, precision)) as opened:
                results = _run(opened, reporter)
                times.append(_time(opened, precision, reporter))
        except EngineError as error:
            if precision == FLOAT32:
                raise
            failures.append(f"{precision} could not run. {error}")
            continue
        if precision == FLOAT32:
            expected = results
        else:
            rows += [difference(precision, name, results[name], expected[name]) for name in results]
    automatic = choose_precision(AUTO, used.device)
    yield PrecisionMeasurement(title, used, automatic, tuple(times), tuple(rows), tuple(failures))


def _engine_of(folder: Path, reporter: Reporter) -> tuple[str, str]:
    """Return name and title of the engine that reads a folder for 2D tasks."""
    choice = next(check_folder(folder, reporter))
    choice.require_planes()
    if not choice.installed:
        raise EngineNotInstalled(choice.reason)
    return choice.engine, registry.spec_for(choice.engine, folder).title


def _run(opened: CachingEngine, reporter: Reporter) -> dict[str, Segmentation]:
    from skimage.data import coins

    view = view_of_array(coins())
    return {
        name: next(segment(opened, SegmentRequest(view, prompts, PredictOptions()), reporter))
        for name, prompts in _PROMPTS.items()
        if prompts.kinds <= opened.spec.accepts
    }


def _time(opened: CachingEngine, precision: str, reporter: Reporter) -> PrecisionTime:
    """Return how long an encoding takes; the first one, which makes ready, was before."""
    from skimage.data import coins

    picture = view_of_array(coins()).rgb()
    started, worked = time.perf_counter(), time.process_time()
    opened.encode(picture, reporter)
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - worked
    return PrecisionTime(precision, opened.precision, seconds, processor_seconds)


def difference(
    device: str, prompt: str, result: Segmentation, expected: Segmentation
) -> Difference:
    """Compare two results of one prompt.

    Objects are put together by their overlap, the best pairs first, since two devices may
    number them in another order.
    """
    pairs = _best_pairs(result.objects, expected.objects)
    larger = max(len(result.objects), len(expected.objects))
    return Difference(
        device,
        prompt,
        len(result.objects),
        len(expected.objects),
        iou=sum(overlap for overlap, _, _ in pairs) / larger if larger else 1.0,
        box=float(max((_box_difference(first, second) for _, first, second in pairs), default=0.0)),
        score=max(
            (abs((first.score or 0) - (second.score or 0)) for _, first, second in pairs),
            default=0.0,
        ),
    )


def _best_pairs(
    records: Sequence[ObjectRecord], expected: Sequence[ObjectRecord]
) -> list[tuple[float, ObjectRecord, ObjectRecord]]:
    every = [
        (record.iou(reference), record, reference) for record in records for reference in expected
    ]
    every.sort(key=lambda pair: pair[0], reverse=True)
    pairs: list[tuple[float, ObjectRecord, ObjectRecord]] = []
    for overlap, record, reference in every:
        taken = any(record is first or reference is second for _, first, second in pairs)
        if overlap > 0 and not taken:
            pairs.append((overlap, record, reference))
    return pairs


def _box_difference(first: ObjectRecord, second: ObjectRecord) -> float:
    return float(np.abs(np.subtract(first.bbox, second.bbox)).max())

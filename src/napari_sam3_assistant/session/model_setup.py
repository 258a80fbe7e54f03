"""What makes a model ready to run: its folder, weights, device and computer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.compute import open_remote_engine
from napari_sam3_assistant.compute.connection import find_connection, require_distributed
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.engines.base import Traffic
from napari_sam3_assistant.engines.device import Precision, is_override_enabled
from napari_sam3_assistant.engines.download import HUB_MODELS
from napari_sam3_assistant.errors import DownloadError
from napari_sam3_assistant.io.outputs import typed_folder
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.messages import format_server_test
from napari_sam3_assistant.session.values import Level, Message
from napari_sam3_assistant.workflows.model_setup import (
    WeightsRequest,
    check_folder,
    find_devices,
    get_weights,
    validate_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.engines.checkpoints import EngineChoice
    from napari_sam3_assistant.engines.download import HubModel
    from napari_sam3_assistant.jobs import JobProgress
    from napari_sam3_assistant.session.engine import ModelLoading
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.workflows.model_setup import FolderCheck, FoundDevices


_DEVICE_FIELDS = ("engine", "model_folder", "device", "precision")

PRECISION_TITLES = {
    Precision.AUTO: "Automatic",
    Precision.FLOAT32: "float32",
    Precision.BFLOAT16: "bfloat16 (quick on recent processors)",
    Precision.INT8: "int8 (quick on any processor)",
}
"""The number formats of an image encoder, and their names for the user."""
_REMEMBERED = 5


class ModelSetup:
    """The verbs about the model folder and the device. All are called on the GUI thread."""

    def __init__(self, model: SessionModel, start: Callable[[Job], Job], deliver: Deliver) -> None:
        self._model = model
        self._start = start
        # Threads of their own: a download takes long, and neither needs the engine.
        self._downloads = JobRunner(deliver)
        self._searches = JobRunner(deliver)
        self._download: Job | None = None
        for name in _DEVICE_FIELDS:
            getattr(model.events, name).connect(self._forget_device, max_args=0)

    @property
    def may_choose_device(self) -> bool:
        """Whether the environment frees the choice of the device."""
        return is_override_enabled()

    def use_folder(self, folder: str) -> Job:
        """Take the weights from a folder from now on, with the engine that can read them."""
        job = Job("Checking the folder", lambda reporter: check_folder(Path(folder), reporter))
        job.yielded.connect(self._apply_engine)
        return self._start(job)

    def validate(self, folder: str | None = None) -> Job:
        """Say all that can be found out about a folder without loading it.

        ``folder``: the folder; by default the one that is in use.
        """
        looked_at = self._model.model_folder if folder is None else folder
        job = Job("The check", lambda reporter: validate_folder(looked_at, reporter))
        job.yielded.connect(self._show_check)
        return self._start(job)

    def find_devices(self) -> Job:
        """Find out which devices there are; the choice then offers them."""
        job = Job("Looking for devices", find_devices)
        job.yielded.connect(self._show_devices)
        self._searches.start(job)
        return job

    # -- fetching weights -----------------------------------------------------------------

    @property
    def models(self) -> tuple[HubModel, ...]:
        """The models that can be fetched."""
        return HUB_MODELS

    def download(
        self,
        folder: str = "",
        *,
        model: HubModel = HUB_MODELS[0],
        token: str = "",
        meta: bool = False,
    ) -> Job:
        """Fetch the weights of a model into a folder and use them from then on.

        Runs go on meanwhile.

        ``folder``: where to; may begin with ``~``. Empty for the model's own.
        ``model``: which one; by default the smallest SAM 2.1, which is open.
        ``token``: the user's token; empty for the one that is set or saved on this machine.
        ``meta``: whether to fetch the weights for Meta's package.
        Raises DownloadError if one is going already.
        """
        if self._download is not None:
            raise DownloadError("A download is going on.", "Wait for it, or stop it first.")
        folder = str(typed_folder(folder or str(model.folder)))
        request = WeightsRequest(
            Path(folder), repository=model.repository, meta=meta, token=token or None
        )
        job = Job("The download", lambda reporter: get_weights(request, reporter))
        job.progressed.connect(self._show_download)
        job.yielded.connect(self._apply_engine)
        job.finished.connect(partial(self._end_download, job))
        self._download = job
        self._model.download = "Starting the download …"
        self._downloads.start(job)
        return job

    def stop_download(self) -> None:
        """Stop the download; what has arrived stays, and the next one goes on there."""
        if self._download is not None:
            self._download.cancel()

    def close(self) -> None:
        """Stop what is going on."""
        self._downloads.close()
        self._searches.close()

    # -- inside ---------------------------------------------------------------------------

    def _apply_engine(self, choice: EngineChoice) -> None:
        if choice.installed:
            self._model.model_folder = str(choice.weights.path.parent)
            self._model.engine = choice.engine
            self._model.sam_version = choice.weights.model
            self._model.findings = ()
        level = Level.SUCCESS if choice.installed else Level.WARNING
        self._model.message = Message(choice.reason, level)

    def _show_check(self, check: FolderCheck) -> None:
        wrong = Level.WARNING if check.usable else Level.ERROR
        self._model.findings = tuple(
            Message(f"{found.text} {found.remedy}".strip(), Level.SUCCESS if found.ok else wrong)
            for found in check.findings
        )
        level = Level.SUCCESS if check.usable else Level.ERROR
        self._model.message = Message(check.verdict, level)

    def _show_devices(self, devices: FoundDevices) -> None:
        model = self._model
        if model.device not in devices.options:
            gone, model.device = model.device, "auto"
            model.message = Message(
                f"The device {gone} is not there; it is chosen automatically now.", Level.WARNING
            )
        automatic = f"Automatic ({devices.automatic.device})"
        model.device_options = tuple({**devices.options, "auto": automatic}.items())

    def _show_download(self, progress: JobProgress) -> None:
        left = progress.remaining
        ahead = "" if left is None else f", about {left / 60:.0f} min left"
        self._model.download = f"{progress.step.message}{ahead}"

    def _end_download(self, job: Job, state: JobState) -> None:
        self._download = None
        self._model.download = ""
        if state is JobState.CANCELLED:
            self._model.message = Message("The download was stopped. The next one goes on there.")
        elif job.error is not None:
            self._model.message = Message(str(job.error), Level.ERROR)

    def _forget_device(self) -> None:
        self._model.device_in_use = None


class Computing:
    """The verbs about the server that does the work. All are called on the GUI thread."""

    def __init__(self, model: SessionModel, loading: ModelLoading, deliver: Deliver) -> None:
        self._model = model
        self._loading = loading
        # A thread of its own: runs go on meanwhile.
        self._tests = JobRunner(deliver)
        self._test: Job | None = None
        model.events.compute.connect(self._forget_server, max_args=0)

    @property
    def recent(self) -> tuple[str, ...]:
        """The servers that were used, the latest first."""
        return tuple(self._model.servers.splitlines())

    def use_server(self, compute: str) -> Job:
        """Have a server do the work from now on, and connect to it.

        ``compute``: its connection file, or an address on this computer.
        Raises EngineError if it is neither; nothing has changed then; EngineNotInstalled if Dask
        distributed is missing.
        """
        compute = _check(compute)
        self._model.servers = "\n".join(dict.fromkeys([compute, *self.recent][:_REMEMBERED]))
        self._model.compute = compute
        return self._loading.load()

    def use_this_computer(self) -> Job | None:
        """Work on this computer from now on; the server frees what it holds."""
        if not self._model.compute:
            return None
        self._model.compute = ""
        return self._loading.unload("This computer does the work now. The server is freed.")

    def test(self, compute: str = "") -> Job:
        """Find out who answers at a server, with which engine, and how quick the way to it is.

        ``compute``: the server; by default the one that is in use.
        Raises EngineError if it is neither a connection file nor an address on this computer;
        EngineNotInstalled if Dask distributed is missing.
        """
        compute = _check(compute or self._model.compute)

        def work(reporter: Reporter) -> Iterator[str]:
            engine = open_remote_engine(compute)
            try:
                engine.load(reporter)
                yield format_server_test(engine.card, engine.measure(reporter))
            finally:
                engine.close()

        job = Job("The test", work)
        job.yielded.connect(self._show)
        job.finished.connect(lambda state: self._end(job, state))
        self._test = job
        self._model.testing = True
        self._model.server_test = Message("Connecting …")
        self._tests.start(job)
        return job

    def stop_test(self) -> None:
        """Stop the test that is going."""
        if self._test is not None:
            self._test.cancel()

    def close(self) -> None:
        """Stop what is going on."""
        self._tests.close()

    # -- inside ---------------------------------------------------------------------------

    def _show(self, answer: str) -> None:
        self._say(Message(answer, Level.SUCCESS))

    def _end(self, job: Job, state: JobState) -> None:
        if job is not self._test:
            return
        self._test, self._model.testing = None, False
        if job.error is not None:
            self._say(Message(str(job.error), Level.ERROR))
        elif state is JobState.CANCELLED:
            self._say(Message("The test was stopped."))

    def _say(self, message: Message) -> None:
        # Both where the test was asked for, and in the status line for who has closed that.
        self._model.server_test = message
        self._model.message = message

    def _forget_server(self) -> None:
        model = self._model
        model.server_spec, model.traffic = None, Traffic()
        model.device_in_use = None


def _check(compute: str) -> str:
    """Return what names a server, as it is kept."""
    require_distributed()
    compute = compute.strip()
    find_connection(compute)
    path = expand_user(compute)
    # napari may be started elsewhere the next time.
    return str(path.absolute()) if path.exists() else compute

"""Fields: the engine, its device, its folder, and loading it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.qt.bind import (
    follow,
    format_message,
    set_enabled,
    show_errors,
    watch,
)
from napari_sam3_assistant.qt.controls import ChoiceCombo, FolderField, check_box, push_button
from napari_sam3_assistant.qt.layout import WrappedLabel, with_readable_links
from napari_sam3_assistant.session.messages import explain_engine, format_engine
from napari_sam3_assistant.session.model_setup import PRECISION_TITLES
from napari_sam3_assistant.widgets.fields.server import OTHER, ServerDialog, server_choices, use

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.engines.download import HubModel
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.session import Session


class EngineBadge(QWidget):
    """Says which engine runs and where; a menu chooses another, or another computer.

    While the built-in engine runs, an open model is fetched by one press.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._label = QLabel()
        self._label.setObjectName("engine_badge")
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setWordWrap(True)
        button = QPushButton("Engine")
        button.setObjectName("engine_menu")
        button.setToolTip(
            "Built-in, SAM 2.1, SAM 3, or a folder with the weights of SAM 3, SAM 2.1, SAM 1 or "
            "EdgeTAM; on this computer, or on a server. The built-in engine needs no weights, and "
            "understands “bright …” and “dark …” as phrases; “bright cells 30 px” tells how large "
            "they usually are."
        )
        button.setMenu(EngineMenu(session, self))
        self._get = QPushButton()
        self._get.setObjectName("get_open_model")
        self._get.clicked.connect(show_errors(session.model, self._start_or_stop))
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label, 0, 0)
        layout.addWidget(button, 0, 1)
        layout.addWidget(self._get, 1, 0, 1, 2)
        layout.setColumnStretch(0, 1)
        model = session.model
        follow(
            self, lambda: explain_engine(model, session.engine.spec), self._label.setToolTip, model
        )
        follow(
            self,
            lambda: (
                format_engine(model, session.engine.spec),
                model.download,
                not (session.engine.spec.needs_weights or model.model_folder or model.compute),
            ),
            lambda read: self._show(*read),
            model,
        )

    def _show(self, engine: str, download: str, none_chosen: bool) -> None:
        self._label.setText("\n".join(filter(None, (engine, download))))
        small = self._session.setup.models[0]
        self._get.setVisible(bool(download) or none_chosen)
        self._get.setText("Stop download" if download else f"Get {small.summary}")
        self._get.setToolTip(
            "What has arrived stays; the next download goes on there"
            if download
            else f"Fetch {small.repository} from Hugging Face ({small.licence}; no account is "
            f"needed) into {small.folder}, and use it for clicks, boxes, painted masks and 3D. "
            "SAM 3 (3.4 GB, gated), which finds what a phrase or an example names: Engine. Larger "
            "models: More options, Download weights."
        )

    def _start_or_stop(self) -> None:
        if self._session.model.download:
            self._session.setup.stop_download()
        else:
            self._session.setup.download()


_USES_OPEN = (
    "Use it, or fetch it first: an open model, no account is needed. It takes clicks, boxes and "
    "painted masks, also through stacks."
)
_USES_GATED = (
    "Finds what a phrase names, and all that look like an example, beside what SAM 2.1 takes. Meta "
    "grants access to an account at Hugging Face; you are asked for your token. Nothing is fetched "
    "before you press Download."
)


class EngineMenu(QMenu):
    """The engines that are at hand, those that can be fetched, and the computers to work on."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._badge = session, parent
        self.setToolTipsVisible(True)
        self.aboutToShow.connect(self._fill)

    def _fill(self) -> None:
        session, model = self._session, self._session.model
        self.clear()
        local = not model.compute
        built_in = session.engine.choices[0]
        self._add(
            "use_builtin",
            built_in.title,
            self._use_builtin,
            chosen=local and model.engine == built_in.name,
        )
        for place in (0, -1):
            hub_model = session.setup.models[place]
            asks = hub_model.gated and not hub_model.is_fetched
            self._add(
                f"use_{hub_model.name}",
                f"{hub_model.summary} …" if asks else hub_model.summary,
                partial(self._use_model, hub_model),
                chosen=local and model.model_folder == str(hub_model.folder) and self._is_sam,
                tip=_USES_GATED if hub_model.gated else _USES_OPEN,
            )
        self._add(
            "choose_model_folder",
            "Choose model folder …",
            self._choose_folder,
            tip="A folder with the weights of SAM 3, SAM 2.1, SAM 1 or EdgeTAM",
        )
        self.addSeparator()
        for number, (compute, title) in enumerate(server_choices(session)):
            self._add(
                f"compute_{number}",
                title,
                partial(use, session, compute),
                chosen=compute == model.compute,
                tip=compute,
            )
        self._add("other_server", OTHER, lambda: ServerDialog(session, self._badge).open())
        if model.compute:
            self._add("test_this_server", "Test connection", session.computing.test)

    @property
    def _is_sam(self) -> bool:
        return self._session.engine.spec.needs_weights

    def _add(
        self,
        name: str,
        text: str,
        verb: Callable[[], object],
        *,
        chosen: bool | None = None,
        tip: str = "",
    ) -> None:
        action = QAction(text, self)
        self.addAction(action)
        action.setObjectName(name)
        action.setToolTip(tip)
        if chosen is not None:
            action.setCheckable(True)
            action.setChecked(chosen)
        action.triggered.connect(show_errors(self._session.model, verb))

    def _use_builtin(self) -> None:
        self._here(
            lambda: setattr(self._session.model, "engine", self._session.engine.choices[0].name)
        )

    def _use_model(self, hub_model: HubModel) -> None:
        setup = self._session.setup
        if hub_model.is_fetched:
            self._here(partial(setup.use_folder, str(hub_model.folder)))
        elif hub_model.gated:
            self._here(DownloadDialog(self._session, self._badge).open)
        else:
            self._here(partial(setup.download, model=hub_model))

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Choose the folder of the weights", self._session.model.model_folder
        )
        if folder:
            self._here(partial(self._session.setup.use_folder, folder))

    def _here(self, verb: Callable[[], object]) -> None:
        """Do something on this computer, when the server has been let go."""
        freeing = self._session.computing.use_this_computer()
        succeeded = show_errors(self._session.model, verb)
        if freeing is None:
            succeeded()
        else:
            freeing.finished.connect(succeeded)


_SERVERS = "It is the server's, as 'napari-sam3 serve' was started. Choose This computer first."


class EngineField(ChoiceCombo):
    """All engines, for choosing one by hand."""

    def __init__(self, session: Session) -> None:
        choices = [(spec.name, spec.title) for spec in session.engine.choices]
        super().__init__(session.model, "engine", choices)
        model = session.model
        follow(
            self,
            lambda: (_SERVERS if model.compute else "", "The engine that makes the masks."),
            lambda read: set_enabled(self, *read),
            model,
        )


_FIXED = (
    "The device is chosen automatically: the GPU where it works, else the CPU. To choose it "
    "yourself, start napari with NAPARI_SAM3_ENABLE_DEVICE_OVERRIDE=1."
)
_FREE = "Where the engine runs. The model is loaded again when you change it."


class DeviceField(ChoiceCombo):
    """The device."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.model, "device")
        self._model = session.model
        free = session.setup.may_choose_device
        self.setToolTip(_FREE)
        model = session.model
        follow(
            self,
            lambda: _SERVERS if model.compute else "" if free else _FIXED,
            lambda why_not: set_enabled(self, why_not),
            model,
        )
        follow(self, self._read_choices, self.offer, self._model)
        if free:
            session.setup.find_devices()

    def _read_choices(self) -> list[tuple[str, str]]:
        model, used = self._model, self._model.device_in_use
        if model.compute:
            return [(model.device, used.name if used else "the server's")]
        titles = dict(model.device_options)
        # Remembered from another time; whether it is there will be known in a moment.
        titles.setdefault(model.device, model.device)
        if used is not None:
            titles["auto"] = f"Automatic ({used.name})"
        return list(titles.items())


_PRECISION = (
    "The number format of SAM's image encoder. Automatic takes bfloat16 where the processor or the "
    "GPU has units for it, else float32. Masks differ by single pixels. The model is loaded again "
    "when you change it."
)
_NO_PRECISION = "This engine has no choice of the precision."


class PrecisionField(ChoiceCombo):
    """The number format of the image encoder."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.model, "precision", list(PRECISION_TITLES.items()))
        self._session = session
        follow(
            self,
            self._read,
            lambda read: set_enabled(self, *read),
            session.model,
        )

    def _read(self) -> tuple[str, str]:
        session = self._session
        if session.model.compute:
            return _SERVERS, _PRECISION
        return "" if session.engine.spec.precisions else _NO_PRECISION, _PRECISION


def encodings_field(model: SessionModel) -> FolderField:
    """Return the line of the folder of encodings."""
    return FolderField(
        model,
        "encodings_folder",
        "Choose the folder of encodings",
        "A folder that 'napari-sam3 precompute' has filled: clicks on those images need no "
        "encoding. An image that is not there is encoded and kept there, about 100 MB each. Empty: "
        "encodings are kept in memory. A server does not use it.",
    )


class ModelFolderField(QWidget):
    """Buttons to check the model folder and to fetch weights, and what came of it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._validate = push_button(model, "Validate", "validate", session.setup.validate, "")
        self._download = push_button(model, "", "download", self._start_or_stop, "")
        self._findings = WrappedLabel()
        self._findings.setObjectName("findings")
        self._going = WrappedLabel()
        self._going.setObjectName("download_progress")
        buttons = QHBoxLayout()
        buttons.addWidget(self._validate)
        buttons.addWidget(self._download)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        for label in (self._going, self._findings):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            layout.addWidget(label)
        follow(
            self,
            lambda: (
                model.why_not.validate,
                f"Look into the files of {model.model_folder}; nothing is loaded",
            ),
            lambda read: set_enabled(self._validate, *read),
            model,
        )
        watch(model, "findings", self, self._show_findings)
        watch(model, "download", self, self._show_download)

    def _start_or_stop(self) -> None:
        if self._session.model.download:
            self._session.setup.stop_download()
        else:
            DownloadDialog(self._session, self).open()

    def _show_findings(self) -> None:
        findings = self._session.model.findings
        self._findings.setVisible(bool(findings))
        self._findings.setText("\n".join(map(format_message, findings)))

    def _show_download(self) -> None:
        going = self._session.model.download
        self._going.setVisible(bool(going))
        self._going.setText(going)
        self._download.setText("Stop download" if going else "Download weights …")
        self._download.setToolTip(
            "What has arrived stays; the next download goes on there"
            if going
            else "Fetch SAM 3 or an open model from Hugging Face. Nothing is fetched unasked."
        )


_NOW = "Load the weights now, so that the first run need not"
_BOTH = "Load the weights now; one checkpoint serves planes and stacks"
_UNLOADS = "Unload the model from memory; a run that is going is stopped"
_CONNECTS = "Connect to the server now, so that the first run need not"
_LEAVES = "Leave the server, which frees what it holds; a run that is going is stopped"


class ModelActions(QWidget):
    """Load 2D Model, Load 3D/Video Model, Unload, and whether a run loads the model by itself.

    With a server these are Connect and Disconnect.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        model, loading = session.model, session.loading
        self._session = session
        self._load = push_button(model, "", "load_model", loading.load, _NOW)
        self._load_video = push_button(
            model, "Load 3D/Video Model", "load_video_model", loading.load, ""
        )
        self._unload = push_button(model, "", "unload_model", loading.unload, _UNLOADS)
        by_itself = check_box(
            model,
            "load_when_running",
            "Load model when running",
            "A run loads the model if it is not loaded yet. Without it, a run asks you to load.",
        )
        buttons = QGridLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self._load, 0, 0)
        buttons.addWidget(self._load_video, 0, 1)
        buttons.addWidget(self._unload, 1, 0, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(by_itself, 0, Qt.AlignmentFlag.AlignLeft)
        follow(self, lambda: bool(model.compute), self._show_place, model)
        follow(
            self,
            lambda: (model.why_not.load, model.why_not.unload, bool(model.compute)),
            lambda read: self._show_reasons(*read),
            model,
        )
        follow(
            self,
            lambda: (
                model.why_not.load_video,
                _NOW if session.engine.spec.why_no_planes else _BOTH,
            ),
            lambda read: set_enabled(self._load_video, *read),
            model,
        )

    def _show_place(self, served: bool) -> None:
        self._load.setText("Connect" if served else "Load 2D Model")
        self._unload.setText("Disconnect" if served else "Unload")
        self._load_video.setVisible(not served)

    def _show_reasons(self, load: str, unload: str, served: bool) -> None:
        set_enabled(self._load, load, _CONNECTS if served else _NOW)
        set_enabled(self._unload, unload, _LEAVES if served else _UNLOADS)


_ABOUT_GATED = (
    "The weights of SAM 3 (3.4 GB) are Meta's, under Meta's licence. Ask for access on "
    '<a href="https://huggingface.co/facebook/sam3">huggingface.co/facebook/sam3</a> first, and '
    "make a token that may read gated repositories on "
    '<a href="https://huggingface.co/settings/tokens">huggingface.co/settings/tokens</a>.'
)
_ABOUT_OPEN = (
    "An open model: no account is needed. It takes clicks, boxes and painted masks, no phrases and "
    'no examples. Licence: {licence}. <a href="https://huggingface.co/{repository}">'
    "huggingface.co/{repository}</a>"
)


class DownloadDialog(QDialog):
    """Model, folder, token and kind of weights; the download starts when it is accepted."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._beside = session, parent
        self._models = session.setup.models
        self.setObjectName("download_dialog")
        self.setWindowTitle("Download the weights of a model")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._model = QComboBox()
        self._model.setObjectName("download_model")
        self._model.addItems([model.summary for model in self._models])
        self._about = QLabel()
        self._about.setWordWrap(True)
        self._about.setOpenExternalLinks(True)
        self._folder = QLineEdit()
        self._folder.setObjectName("download_folder")
        browse = QPushButton("Browse …")
        browse.clicked.connect(self._browse)
        self._token = QLineEdit()
        self._token.setObjectName("download_token")
        self._token.setEchoMode(QLineEdit.EchoMode.Password)
        self._token.setPlaceholderText("empty: HF_TOKEN, or the one that is saved")
        self._token.setToolTip("Used for this download only; the plugin does not keep it")
        self._meta = QCheckBox("sam3.pt, for Meta's package")
        self._meta.setToolTip("In place of model.safetensors, which the transformers engine reads")
        row = QHBoxLayout()
        row.addWidget(self._folder, 1)
        row.addWidget(browse)
        self._model.currentIndexChanged.connect(self._show)
        self.accepted.connect(show_errors(session.model, self._start))
        form = QFormLayout(self)
        form.addRow("Model", self._model)
        form.addRow(self._about)
        form.addRow("Folder", row)
        form.addRow("Token", self._token)
        form.addRow("Weights", self._meta)
        form.addRow(self._make_buttons())
        # The last one: who opens this knows the open ones from the button that fetches one.
        self._model.setCurrentIndex(len(self._models) - 1)

    def _make_buttons(self) -> QDialogButtonBox:
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        start = QPushButton("Download")
        start.setObjectName("start_download")
        buttons.addButton(start, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self._folder.textChanged.connect(lambda text: start.setEnabled(bool(text.strip())))
        return buttons

    def _show(self, number: int) -> None:
        model = self._models[number]
        about = _ABOUT_GATED if model.gated else _ABOUT_OPEN
        text = about.format(licence=model.licence, repository=model.repository)
        self._about.setText(with_readable_links(text, self._beside))
        self._folder.setText(str(model.folder))
        self._token.setEnabled(model.gated)
        self._meta.setEnabled(model.gated)
        if not model.gated:
            self._meta.setChecked(False)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Choose where the weights shall go", self._folder.text()
        )
        if folder:
            self._folder.setText(folder)

    def _start(self) -> None:
        self._session.setup.download(
            self._folder.text(),
            model=self._models[self._model.currentIndex()],
            token=self._token.text().strip(),
            meta=self._meta.isChecked(),
        )

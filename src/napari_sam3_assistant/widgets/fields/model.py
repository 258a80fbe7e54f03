"""Fields: the engine, its device, its folder, and loading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.qt.bind import bind_value, format_message, show_errors, watch
from napari_sam3_assistant.qt.controls import ChoiceCombo
from napari_sam3_assistant.session.messages import explain_engine, format_engine

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session


class EngineBadge(QWidget):
    """Says which engine runs and where, and lets the user choose a model folder."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._label = QLabel()
        self._label.setObjectName("engine_badge")
        self._label.setWordWrap(True)
        button = QPushButton("Choose model folder")
        button.setObjectName("choose_model_folder")
        button.setToolTip(
            "A folder with SAM 3 weights. Without one, the built-in engine runs: it needs no "
            "weights, and understands “bright …” and “dark …” as phrases."
        )
        button.clicked.connect(show_errors(session.model, self._choose))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label, 1)
        layout.addWidget(button)
        watch(
            session.model,
            "engine model_folder sam_version device device_in_use",
            self,
            self._show,
        )

    def _show(self) -> None:
        model, spec = self._session.model, self._session.spec
        self._label.setText(format_engine(model, spec))
        self._label.setToolTip(explain_engine(model, spec))

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Choose the folder of the SAM 3 weights", self._session.model.model_folder
        )
        if folder:
            self._session.setup.use_folder(folder)


class EngineField(ChoiceCombo):
    """All engines, for choosing one by hand."""

    def __init__(self, session: Session) -> None:
        choices = [(spec.name, spec.title) for spec in session.engine_choices]
        super().__init__(session.model, "engine", choices)
        self.setToolTip("The engine that makes the masks.")


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
        self.setEnabled(free)
        self.setToolTip(_FREE if free else _FIXED)
        watch(self._model, "device_options device_in_use device", self, self._fill)
        if free:
            session.setup.find_devices()

    def _fill(self) -> None:
        model, used = self._model, self._model.device_in_use
        titles = dict(model.device_options)
        # Remembered from another time; whether it is there will be known in a moment.
        titles.setdefault(model.device, model.device)
        if used is not None:
            titles["auto"] = f"Automatic ({used.name})"
        self.offer(list(titles.items()))


class ModelFolderField(QWidget):
    """Buttons to check the model folder and to fetch weights, and what came of it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._validate = QPushButton("Validate")
        self._validate.setObjectName("validate")
        self._validate.clicked.connect(show_errors(model, session.setup.validate))
        self._download = QPushButton()
        self._download.setObjectName("download")
        self._download.clicked.connect(show_errors(model, self._start_or_stop))
        self._findings = QLabel()
        self._findings.setObjectName("findings")
        self._going = QLabel()
        self._going.setObjectName("download_progress")
        buttons = QHBoxLayout()
        buttons.addWidget(self._validate)
        buttons.addWidget(self._download)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        for label in (self._going, self._findings):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            layout.addWidget(label)
        watch(model, "model_folder", self, self._show_folder)
        watch(model, "findings", self, self._show_findings)
        watch(model, "download", self, self._show_download)

    def _start_or_stop(self) -> None:
        if self._session.model.download:
            self._session.setup.stop_download()
        else:
            DownloadDialog(self._session, self).open()

    def _show_folder(self) -> None:
        folder = self._session.model.model_folder
        self._validate.setEnabled(bool(folder))
        self._validate.setToolTip(
            f"Look into the files of {folder}; nothing is loaded"
            if folder
            else "Choose a model folder first"
        )

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
            else "Fetch SAM 3 from Hugging Face with your own account. Nothing is fetched unasked."
        )


class ModelActions(QWidget):
    """Load 2D Model, Load 3D/Video Model, Unload, and whether a run loads the model by itself."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._load = QPushButton("Load 2D Model")
        self._load.setObjectName("load_model")
        self._load.clicked.connect(show_errors(model, session.loading.load))
        self._load_video = QPushButton("Load 3D/Video Model")
        self._load_video.setObjectName("load_video_model")
        self._load_video.clicked.connect(show_errors(model, session.loading.load))
        self._unload = QPushButton("Unload")
        self._unload.setObjectName("unload_model")
        self._unload.clicked.connect(show_errors(model, session.loading.unload))
        self._by_itself = QCheckBox("Load model when running")
        self._by_itself.setObjectName("load_when_running")
        self._by_itself.setToolTip(
            "A run loads the model if it is not loaded yet. Without it, a run asks you to load."
        )
        bind_value(
            model,
            "load_when_running",
            self._by_itself,
            self._by_itself.toggled,
            self._by_itself.isChecked,
            self._by_itself.setChecked,
        )
        buttons = QGridLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self._load, 0, 0)
        buttons.addWidget(self._load_video, 0, 1)
        buttons.addWidget(self._unload, 1, 0, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self._by_itself, 0, Qt.AlignmentFlag.AlignLeft)
        watch(model, "engine model_folder device_in_use running", self, self._show)

    def _show(self) -> None:
        why_not = self._why_not_load()
        model, spec = self._session.model, self._session.spec
        now = "Load the weights now, so that the first run need not"
        no_planes = spec.why_no_planes
        self._load.setEnabled(not (no_planes or why_not))
        self._load.setToolTip(no_planes or why_not or now)
        no_video = "" if spec.video is not None else f"{spec.title} can't follow objects"
        self._load_video.setEnabled(not (no_video or why_not))
        both = "Load the weights now; one checkpoint serves planes and stacks"
        self._load_video.setToolTip(no_video or why_not or (now if no_planes else both))
        loaded = spec.needs_weights and model.device_in_use is not None
        self._unload.setEnabled(loaded)
        self._unload.setToolTip(
            "Unload the model from memory; a run that is going is stopped"
            if loaded
            else "No model is loaded"
        )

    def _why_not_load(self) -> str:
        model, spec = self._session.model, self._session.spec
        if not spec.needs_weights:
            return f"{spec.title} has no model to load"
        if not model.model_folder:
            return "Choose a model folder first"
        if model.running:
            return "Wait for the run to end"
        return "The model is loaded" if model.device_in_use is not None else ""


_ABOUT = (
    "The weights of SAM 3 (3.4 GB) are Meta's, under Meta's licence. Ask for access on "
    '<a href="https://huggingface.co/facebook/sam3">huggingface.co/facebook/sam3</a> first, and '
    "make a token that may read gated repositories on "
    '<a href="https://huggingface.co/settings/tokens">huggingface.co/settings/tokens</a>.'
)


class DownloadDialog(QDialog):
    """Folder, token and kind of weights; the download starts when it is accepted."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.setObjectName("download_dialog")
        self.setWindowTitle("Download the weights of SAM 3")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        about = QLabel(_ABOUT)
        about.setWordWrap(True)
        about.setOpenExternalLinks(True)
        self._folder = QLineEdit(session.model.model_folder or str(Path.home() / "models" / "sam3"))
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
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Cancel)
        start = QPushButton("Download")
        start.setObjectName("start_download")
        buttons.addButton(start, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self._folder.textChanged.connect(lambda text: start.setEnabled(bool(text.strip())))
        self.accepted.connect(show_errors(session.model, self._start))
        form = QFormLayout(self)
        form.addRow(about)
        form.addRow("Folder", row)
        form.addRow("Token", self._token)
        form.addRow("Weights", self._meta)
        form.addRow(buttons)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Choose where the weights shall go", self._folder.text()
        )
        if folder:
            self._folder.setText(folder)

    def _start(self) -> None:
        self._session.setup.download(
            self._folder.text(), token=self._token.text().strip(), meta=self._meta.isChecked()
        )

"""Fields: which computer does the work, and what is known of the server that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.errors import EngineError, Sam3AssistantError
from napari_sam3_assistant.qt.bind import follow, format_message, set_enabled, show_errors
from napari_sam3_assistant.qt.controls import ElidedCombo, push_button
from napari_sam3_assistant.qt.layout import WrappedLabel
from napari_sam3_assistant.session.messages import format_server
from napari_sam3_assistant.session.values import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.session import Session

HERE = "This computer"
OTHER = "Server …"
_TEST = "Who answers there, with which engine and weights, on which GPU, and how quick the way is"
_STOP = "Stop test"
_DIALOG_WIDTH = 440
_ABOUT = (
    "Start <code>napari-sam3 serve</code> on the computer with the GPU; it writes a connection "
    "file. Choose a copy of that file here, or, for a server on this computer or through an SSH "
    "tunnel, type its address, such as <code>tcp://127.0.0.1:8786</code>. Use only servers that "
    "you trust."
)


def server_choices(session: Session) -> list[tuple[str, str]]:
    """Return this computer and the servers that were used, each with its name for the user."""
    servers = dict.fromkeys(filter(None, (session.model.compute, *session.computing.recent)))
    return [("", HERE), *((server, f"Server {format_server(server)}") for server in servers)]


def use(session: Session, compute: str) -> None:
    """Have a server do the work, or with an empty text this computer."""
    if compute:
        session.computing.use_server(compute)
    else:
        session.computing.use_this_computer()


class ComputeField(QWidget):
    """Which computer works: the one here or a server; and a test of the connection."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._combo = ElidedCombo()
        self._combo.setObjectName("compute")
        self._combo.setAccessibleName("Compute on")
        self._combo.setToolTip(
            "Where masks are made. A server is another computer, mostly one with a GPU, on which "
            "'napari-sam3 serve' runs."
        )
        self._combo.activated.connect(show_errors(model, self._choose))
        self._test = push_button(model, "", "test_connection", self._start_or_stop, _TEST)
        row = QHBoxLayout()
        row.addWidget(self._combo, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._test)
        layout.addWidget(_found_label(self, session, "connection_found"))
        follow(
            self, lambda: (server_choices(session), model.compute), lambda _: self._offer(), model
        )
        follow(
            self,
            lambda: ("" if model.testing else model.why_not.test_server, model.testing),
            lambda read: self._show_test(*read),
            model,
        )

    def _offer(self) -> None:
        self._combo.offer([*server_choices(self._session), (OTHER, OTHER)])
        self._combo.choose(self._session.model.compute)

    def _choose(self) -> None:
        chosen = self._combo.value
        self._combo.choose(self._session.model.compute)
        if chosen == OTHER:
            ServerDialog(self._session, self).open()
        else:
            use(self._session, chosen)

    def _start_or_stop(self) -> None:
        computing = self._session.computing
        (computing.stop_test if self._session.model.testing else computing.test)()

    def _show_test(self, why_not: str, testing: bool) -> None:
        self._test.setText(_STOP if testing else "Test connection")
        set_enabled(self._test, why_not)


def _found_label(parent: QWidget, session: Session, name: str) -> QLabel:
    """Return a label with what the latest test of a connection found."""
    label = WrappedLabel()
    label.setObjectName(name)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def show(message: Message) -> None:
        label.setVisible(bool(message.text))
        label.setText(format_message(message))

    follow(parent, lambda: session.model.server_test, show, session.model)
    return label


class ServerDialog(QDialog):
    """A connection file or an address, tried before it is used."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        model = session.model
        self.setObjectName("server_dialog")
        self.setWindowTitle("Compute on a server")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        model.server_test = Message("")
        about = QLabel(_ABOUT)
        about.setWordWrap(True)
        about.setMinimumWidth(_DIALOG_WIDTH)
        self._address = QComboBox()
        self._address.setObjectName("server_address")
        self._address.setAccessibleName("Connection file or address")
        self._address.setEditable(True)
        self._address.setMinimumContentsLength(30)
        self._address.addItems(session.computing.recent)
        self._address.setEditText(model.compute or self._address.itemText(0))
        browse = QPushButton("Browse …")
        browse.setObjectName("browse_connection")
        browse.setToolTip("Choose a connection file")
        browse.clicked.connect(self._browse)
        self._test = QPushButton()
        self._test.setObjectName("test_address")
        self._test.setToolTip(_TEST)
        self._test.clicked.connect(self._tell(self._start_or_stop))
        row = QHBoxLayout()
        row.addWidget(self._address, 1)
        row.addWidget(browse)
        layout = QVBoxLayout(self)
        layout.addWidget(about)
        layout.addLayout(row)
        layout.addWidget(self._test, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(_found_label(self, session, "address_found"))
        layout.addStretch(1)
        layout.addWidget(self._make_buttons())
        follow(
            self,
            lambda: model.testing,
            lambda testing: self._test.setText(_STOP if testing else "Test connection"),
            model,
        )
        self.finished.connect(session.computing.stop_test)
        # As high as its texts, also when what was found comes.
        follow(self, lambda: model.server_test, lambda _: self.adjustSize(), model)

    def _make_buttons(self) -> QDialogButtonBox:
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        take = QPushButton("Use")
        take.setObjectName("use_server")
        take.setDefault(True)
        buttons.addButton(take, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self._tell(self._use))
        buttons.rejected.connect(self.reject)
        return buttons

    def _tell(self, verb: Callable[[], object]) -> Callable[..., None]:
        """Return a slot that shows an error of a verb here, where the user looks."""

        def slot(*_: object) -> None:
            try:
                verb()
            except Sam3AssistantError as error:
                self._session.model.server_test = Message(str(error), Level.ERROR)

        return slot

    def _browse(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self,
            "Choose the connection file of the server",
            "",
            "Connection files (*.json);;All (*)",
        )
        if chosen:
            self._address.setEditText(chosen)

    def _start_or_stop(self) -> None:
        computing = self._session.computing
        if self._session.model.testing:
            computing.stop_test()
        else:
            computing.test(self._typed())

    def _typed(self) -> str:
        typed = self._address.currentText().strip()
        if not typed:
            raise EngineError("No server is given.", "Choose its connection file first.")
        return typed

    def _use(self) -> None:
        self._session.computing.use_server(self._typed())
        self.accept()

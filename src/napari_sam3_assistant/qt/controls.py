"""Controls that are bound to a field of a model, and the dialog that asks where to save a file."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QLocale, QRegularExpression, Qt
from qtpy.QtGui import QHelpEvent, QPainter, QRegularExpressionValidator, QValidator
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QStyleOptionButton,
    QStyleOptionComboBox,
    QStylePainter,
    QToolTip,
    QWidget,
)

from napari_sam3_assistant.core.masks.labels import Connectivity
from napari_sam3_assistant.qt.bind import bind_value, follow, show_errors, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from qtpy.QtGui import QPaintEvent

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.mask_operations.model import LabelsChoice, MaskModel
    from napari_sam3_assistant.session.model import AnnotationModel, ScanModel, SessionModel

    Model = SessionModel | ScanModel | AnnotationModel | MaskModel

ListedLayers = tuple[list[tuple[str, str]], tuple[str, ...]]
"""Layers as (key, text), and the keys of those that are ticked."""


_CONNECTIVITIES = (
    (Connectivity.FACES, "Faces (4 in 2-D, 6 in 3-D)"),
    (Connectivity.ALL, "Faces, edges and corners (8, 26)"),
)
_HIGHEST = 2**31 - 1
_LENGTH_DECIMALS = 6  # pixels may be counted in millimetres
_NUMBER_WIDTH = 92  # Qt would make room for the highest number
_PARTS = 1000  # of a bar: counts of pixels would not fit into its 31 bits


_KEY_SIZE = 0.75
_KEY_MARGIN = 4


class KeyedButton(QPushButton):
    """A button that shows its key beside its text, where there is room for it.

    ``key``: the key as the user reads it; empty for none.
    """

    key = ""

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the button, and the key at its right end, smaller and paler than the text."""
        super().paintEvent(event)
        if not self.key:
            return
        option = QStyleOptionButton()
        self.initStyleOption(option)
        painter = QPainter(self)
        font = self.font()
        font.setPointSizeF(font.pointSizeF() * _KEY_SIZE)
        free = (self.width() - self.fontMetrics().horizontalAdvance(self.text())) // 2
        painter.setFont(font)
        if painter.fontMetrics().horizontalAdvance(self.key) + 2 * _KEY_MARGIN - 1 <= free:
            painter.setPen(option.palette.buttonText().color())
            painter.setOpacity(0.7)
            place = self.rect().adjusted(0, 0, -_KEY_MARGIN, 0)
            painter.drawText(
                place, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self.key
            )
        painter.end()


def push_button(
    model: SessionModel | MaskModel,
    text: str,
    name: str,
    verb: Callable[[], object],
    tooltip: str,
) -> KeyedButton:
    """Return a button that calls a verb and shows its error in the status line."""
    button = KeyedButton(text)
    button.setObjectName(name)
    button.setToolTip(tooltip)
    button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    button.clicked.connect(show_errors(model, verb))
    return button


def hint_label(text: str) -> QLabel:
    """Return a line that explains something."""
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def show_progress(bar: QProgressBar, share: float | None, text: str) -> None:
    """Show how much is done: a share from 0 to 1, or None where nobody knows.

    Then the bar is empty and stands still. That of Qt which moves has napari's window drawn again
    at each step, which without a graphics card takes the processor core that the work needs.
    """
    bar.setRange(0, _PARTS)
    bar.setValue(0 if share is None else round(share * _PARTS))
    bar.setFormat(text)


def line_edit(model: Model, field: str, placeholder: str, tooltip: str) -> QLineEdit:
    """Return a line that is bound to a text of the model."""
    line = QLineEdit()
    line.setObjectName(field)
    line.setPlaceholderText(placeholder)
    line.setToolTip(tooltip)
    bind_value(model, field, line, line.textChanged, line.text, line.setText)
    return line


def spin_box(
    model: Model, field: str, tooltip: str, low: int = 0, high: int = _HIGHEST, suffix: str = ""
) -> QSpinBox:
    """Return a spin box that is bound to a whole number of the model."""
    box = QSpinBox()
    box.setObjectName(field.rpartition(".")[2])
    box.setRange(low, high)
    box.setMinimumWidth(_NUMBER_WIDTH)
    box.setToolTip(tooltip)
    box.setSuffix(suffix)
    bind_value(model, field, box, box.valueChanged, box.value, box.setValue)
    return box


def label_line(model: Model, field: str, of_none: str, tooltip: str) -> QLineEdit:
    """Return a line that is bound to a label, of which a spin box of Qt holds 31 bits.

    ``of_none``: what is shown for 0.
    """
    made = QLineEdit()
    made.setObjectName(field)
    made.setValidator(QRegularExpressionValidator(QRegularExpression("[0-9]{0,20}"), made))
    made.setPlaceholderText(of_none)
    made.setMinimumWidth(_NUMBER_WIDTH)
    made.setToolTip(tooltip)
    bind_value(
        model,
        field,
        made,
        made.textChanged,
        lambda: int(made.text() or 0),
        lambda label: made.setText(str(label or "")),
    )
    return made


class DecimalBox(QDoubleSpinBox):
    """A field for a number: shown with a point, as in tables and files; a comma is taken for one.

    Where the machine's language writes a comma, Qt takes the point in ``0.25`` for nothing: 25.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setLocale(QLocale.c())

    def validate(self, text: str | None, pos: int) -> tuple[QValidator.State, str, int]:
        """Write what is typed as a point and Western digits."""
        return super().validate((text or "").translate(_AS_TYPED), pos)

    def textFromValue(self, v: float) -> str:
        """Write two decimals, and more where there are any."""
        whole, _, decimals = f"{v:.{self.decimals()}f}".partition(".")
        return f"{whole}.{decimals.rstrip('0'):0<2}"


_AS_TYPED = str.maketrans(",\u066b٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹", ".." + 2 * "0123456789")


def share_box(model: Model, field: str, tooltip: str) -> DecimalBox:
    """Return a spin box that is bound to a share of the model, 0 to 1."""
    box = DecimalBox()
    box.setObjectName(field.rpartition(".")[2])
    box.setRange(0.0, 1.0)
    box.setSingleStep(0.01)
    box.setDecimals(2)
    box.setMinimumWidth(_NUMBER_WIDTH)
    box.setToolTip(tooltip)
    bind_value(model, field, box, box.valueChanged, lambda: round(box.value(), 2), box.setValue)
    return box


def length_box(model: MaskModel, field: str, tooltip: str) -> DecimalBox:
    """Return a spin box that is bound to a length of the model."""
    box = DecimalBox()
    box.setObjectName(field.rpartition(".")[2])
    box.setDecimals(_LENGTH_DECIMALS)
    box.setRange(10**-_LENGTH_DECIMALS, 1e6)
    box.setMinimumWidth(_NUMBER_WIDTH)
    box.setToolTip(tooltip)

    def read() -> float:
        return round(box.value(), _LENGTH_DECIMALS)

    bind_value(model, field, box, box.valueChanged, read, box.setValue)
    watch(model, "physical", box, lambda: box.setSuffix(" units" if model.physical else " px"))
    return box


def check_box(model: Model, field: str, text: str, tooltip: str) -> QCheckBox:
    """Return a check box that is bound to a yes or no of the model."""
    box = QCheckBox(text)
    box.setObjectName(field.rpartition(".")[2])
    box.setToolTip(tooltip)
    bind_value(model, field, box, box.toggled, box.isChecked, box.setChecked)
    return box


def connectivity_box(model: MaskModel) -> ChoiceCombo:
    """Return the choice of what belongs together."""
    return ChoiceCombo(
        model, "connectivity", _CONNECTIVITIES, "Which neighbours belong to the same component"
    )


def layer_box(
    model: MaskModel,
    field: str,
    tooltip: str,
    offers: Callable[[LabelsChoice], bool] = lambda _: True,
) -> ChoiceCombo:
    """Return a list of labels layers that follows the viewer, bound to a key of the model."""
    combo = ChoiceCombo(model, field, (), tooltip)
    follow(
        combo,
        lambda: [(layer.key, layer.name) for layer in model.layers if offers(layer)],
        combo.offer,
        model,
    )
    return combo


class TickList(QListWidget):
    """A list of layers with a box to tick for each.

    ``tooltip``: what it is for.
    """

    def __init__(self, name: str, tooltip: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setToolTip(tooltip)
        self.setMinimumHeight(90)

    def show_layers(self, rows: Sequence[tuple[str, str]], ticked: Sequence[str]) -> None:
        """List layers, as (key, text), if they are not what is listed already."""
        chosen = set(ticked)
        now = [(self.key(at), self._row(at).text()) for at in range(self.count())]
        if now != list(rows):
            self.clear()
            for key, text in rows:
                item = QListWidgetItem(text)
                item.setData(Qt.ItemDataRole.UserRole, key)
                item.setCheckState(_check_state(is_on=key in chosen))
                self.addItem(item)
            return
        for at in range(self.count()):
            if (self.key(at) in chosen) != self.is_ticked(at):
                self._row(at).setCheckState(_check_state(is_on=self.key(at) in chosen))

    def _row(self, row: int) -> Untyped:
        return self.item(row)

    def key(self, row: int) -> str:
        """Return the layer of a row."""
        return str(self._row(row).data(Qt.ItemDataRole.UserRole))

    def is_ticked(self, row: int) -> bool:
        """Return whether the box of a row is ticked."""
        return bool(self._row(row).checkState() == Qt.CheckState.Checked)

    def keys(self) -> tuple[str, ...]:
        """Return the layers from top to bottom."""
        return tuple(self.key(row) for row in range(self.count()))

    def order_ticked(self, before: Sequence[str]) -> tuple[str, ...]:
        """Return the ticked layers in the order of ticking, given those ticked before."""
        now = [self.key(row) for row in range(self.count()) if self.is_ticked(row)]
        return (*(key for key in before if key in now), *(key for key in now if key not in before))


def _check_state(*, is_on: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if is_on else Qt.CheckState.Unchecked


_EDGE = 4
"""Pixels that the style leaves free beside the text."""


class ElidedCombo(QComboBox):
    """A list of values with a text for each, of which one is chosen.

    It may be narrower than its entries: a cut text has a "…", and the tooltip begins with the
    whole text then.

    The values are kept here and not as Qt's item data: PySide6 hands an enumeration that is also a
    string back as a bare string, and a choice of such a value would no longer be one of its kind.

    ``cut``: where a text that is too long is cut.
    """

    def __init__(self, cut: Qt.TextElideMode = Qt.TextElideMode.ElideRight) -> None:
        super().__init__()
        self._cut = cut
        self._values: list[Any] = []
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)

    def offer(self, choices: Sequence[tuple[Any, str]]) -> None:
        """Show these values and no others; the chosen one stays chosen, else the first one is."""
        texts = [text for _, text in choices]
        shown = [self.itemText(at) for at in range(self.count())]
        values = [value for value, _ in choices]
        if (values, texts) != (self._values, shown):
            chosen = self.value
            self.clear()
            self.addItems(texts)
            self._values = values
            if chosen in values:
                self.choose(chosen)

    @property
    def value(self) -> Any:  # noqa: ANN401 (whatever was offered)
        """The chosen value; None where none is."""
        at = self.currentIndex()
        return self._values[at] if at >= 0 else None

    def choose(self, value: object) -> None:
        """Choose a value; none if it is not offered."""
        self.setCurrentIndex(self._values.index(value) if value in self._values else -1)

    @property
    def elided_text(self) -> str:
        """The chosen entry as it is shown."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        return self._elide(option)

    def _elide(self, option: QStyleOptionComboBox) -> str:
        style = self.style()
        if style is None:
            return self.currentText()
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox,
            option,
            QStyle.SubControl.SC_ComboBoxEditField,
            self,
        )
        text = option.currentText or ""
        return option.fontMetrics.elidedText(text, self._cut, room.width() - _EDGE)

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw the list with its text cut to the room that it has."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self._elide(option)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def event(self, event: QEvent | None) -> bool:
        """Show the whole text in the tooltip where it is cut."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            whole = self.currentText()
            if self.elided_text != whole:
                text = "\n".join(line for line in (whole, self.toolTip()) if line)
                QToolTip.showText(event.globalPos(), text, self)
                return True
        return super().event(event)


class ChoiceCombo(ElidedCombo):
    """A list that is bound to one of several values of a model.

    ``field``: the field that holds the chosen value, and the name of the widget.
    """

    def __init__(
        self, model: Model, field: str, choices: Sequence[tuple[Any, str]] = (), tooltip: str = ""
    ) -> None:
        super().__init__()
        self._state = model
        self._field = field
        self.setObjectName(field.rpartition(".")[2])
        self.setToolTip(tooltip)
        self.offer(choices)
        bind_value(model, field, self, self.activated, lambda: self.value, self.choose)

    def offer(self, choices: Sequence[tuple[Any, str]]) -> None:
        """Show these values and no others; chosen is the model's."""
        super().offer(choices)
        self.choose(attrgetter(self._field)(self._state))


_BESIDE = 2  # six tools fit a panel of 320 pixels


class ChoiceButtons(QWidget):
    """A grid of buttons, one for each value of a field.

    ``field``: the field that holds the chosen value.
    ``columns``: how many buttons stand side by side.
    ``chosen``: called with a value that the user has chosen, also when it was chosen already.
    """

    def __init__(
        self,
        model: SessionModel,
        field: str,
        choices: Sequence[tuple[Any, str, str]],
        *,
        columns: int,
        chosen: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__()
        self._buttons: dict[Any, KeyedButton] = {}
        group = QButtonGroup(self)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(4)
        layout.setHorizontalSpacing(_BESIDE)
        for place, (value, text, tooltip) in enumerate(choices):
            button = KeyedButton(text)
            button.setCheckable(True)
            button.setToolTip(tooltip)
            button.setObjectName(f"{field}_{value}")
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            group.addButton(button)
            layout.addWidget(button, place // columns, place % columns)
            self._buttons[value] = button

            def choose(*_: object, value: object = value) -> None:
                setattr(model, field, value)
                if chosen is not None:
                    chosen(value)

            button.clicked.connect(choose)

        def show() -> None:
            self._buttons[getattr(model, field)].setChecked(True)

        watch(model, field, self, show)

    @property
    def buttons(self) -> Collection[KeyedButton]:
        """The buttons, in the order of the choices."""
        return self._buttons.values()

    def offer(self, values: Sequence[Any]) -> None:
        """Show only the buttons of these values."""
        for value, button in self._buttons.items():
            button.setVisible(value in values)


class FolderField(QWidget):
    """A line with a folder and the button Choose.

    ``field``: the field that holds the folder, and the name of the line; the button is ``choose_``
    and that.
    ``tip``: what the folder is for.
    """

    def __init__(self, model: ScanModel | SessionModel, field: str, title: str, tip: str) -> None:
        super().__init__()
        self._model = model
        self._field = field
        self._title = title
        self.line = QLineEdit()
        self.line.setObjectName(field)
        self.line.setAccessibleName(title.removeprefix("Choose the ").capitalize())
        self.line.setPlaceholderText("no folder chosen")
        self.line.setToolTip(tip)
        line = self.line
        bind_value(model, field, line, line.textChanged, line.text, line.setText)
        choose = QPushButton("Choose")
        choose.setObjectName(f"choose_{field}")
        choose.setToolTip(title)
        choose.clicked.connect(self._choose)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        layout.addWidget(choose)

    def _choose(self) -> None:
        now = getattr(self._model, self._field)
        folder = QFileDialog.getExistingDirectory(self, self._title, now)
        if folder:
            setattr(self._model, self._field, folder)


def ask_where(
    parent: QWidget, model: SessionModel, title: str, start: Path, filters: Sequence[str]
) -> tuple[Path | None, str]:
    """Ask where to save a file, and remember the folder.

    ``parent``: the widget that asks.
    ``start``: the name that is proposed.

    Returns
    -------
    Path or None
        The file; None if the user has thought better of it.
    str
        The chosen kind.
    """
    chosen, kind = QFileDialog.getSaveFileName(parent, title, str(start), ";;".join(filters))
    if not chosen:
        return None, kind
    model.save_folder = str(Path(chosen).parent)
    return Path(chosen), kind

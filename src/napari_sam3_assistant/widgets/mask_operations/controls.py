"""Small bound controls that several tabs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QSpinBox,
)

from napari_sam3_assistant.core.masks.labels import Connectivity
from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.fields.elided_combo import ElidedCombo
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.session.masks.model import MaskModel
    from napari_sam3_assistant.session.masks.scene import LabelsChoice

_CONNECTIVITIES = (
    (Connectivity.FACES, "Faces (4 in 2-D, 6 in 3-D)"),
    (Connectivity.ALL, "Faces, edges and corners (8, 26)"),
)
_HIGHEST = 2**31 - 1
_NUMBER_WIDTH = 92  # Qt would make room for the highest number


def button(
    model: MaskModel, text: str, name: str, verb: Callable[[], object], tooltip: str
) -> QPushButton:
    """Return a button that calls a verb and shows its error in the status line."""
    made = QPushButton(text)
    made.setObjectName(name)
    made.setToolTip(tooltip)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    made.clicked.connect(guarded(model, verb))
    return made


def note(text: str) -> QLabel:
    """Return a line that explains something."""
    made = QLabel(text)
    made.setWordWrap(True)
    return made


def text_line(model: MaskModel, field: str, placeholder: str, tooltip: str) -> QLineEdit:
    """Return a line that is bound to a text of the model."""
    made = QLineEdit()
    made.setObjectName(field)
    made.setPlaceholderText(placeholder)
    made.setToolTip(tooltip)
    bind_value(model, field, made, made.textChanged, made.text, made.setText)
    return made


def whole_number(
    model: MaskModel, field: str, tooltip: str, low: int = 0, suffix: str = ""
) -> QSpinBox:
    """Return a spin box that is bound to a whole number of the model."""
    made = QSpinBox()
    made.setObjectName(field)
    made.setRange(low, _HIGHEST)
    made.setMinimumWidth(_NUMBER_WIDTH)
    made.setToolTip(tooltip)
    made.setSuffix(suffix)
    bind_value(model, field, made, made.valueChanged, made.value, made.setValue)
    return made


def number(model: MaskModel, field: str, tooltip: str) -> QDoubleSpinBox:
    """Return a spin box that is bound to a length of the model."""
    made = QDoubleSpinBox()
    made.setObjectName(field)
    made.setRange(0.01, 1e6)
    made.setMinimumWidth(_NUMBER_WIDTH)
    made.setDecimals(2)
    made.setToolTip(tooltip)
    bind_value(model, field, made, made.valueChanged, lambda: round(made.value(), 2), made.setValue)
    watch(model, "physical", made, lambda: made.setSuffix(" units" if model.physical else " px"))
    return made


def tick(model: MaskModel, field: str, text: str, tooltip: str) -> QCheckBox:
    """Return a check box that is bound to a yes or no of the model."""
    made = QCheckBox(text)
    made.setObjectName(field)
    made.setToolTip(tooltip)
    bind_value(model, field, made, made.toggled, made.isChecked, made.setChecked)
    return made


def options(
    model: MaskModel, field: str, choices: Sequence[tuple[Any, str]], tooltip: str
) -> ElidedCombo:
    """Return a list that is bound to one of several values of the model."""
    made = _combo(field, tooltip)
    made.offer(choices)
    bind_value(model, field, made, made.activated, lambda: made.value, made.choose)
    return made


def neighbours(model: MaskModel) -> ElidedCombo:
    """Return the choice of what belongs together."""
    return options(
        model, "connectivity", _CONNECTIVITIES, "Which neighbours belong to the same component"
    )


def layer_list(
    model: MaskModel,
    field: str,
    tooltip: str,
    wanted: Callable[[LabelsChoice], bool] = lambda _: True,
) -> ElidedCombo:
    """Return a list of labels layers that follows the viewer, bound to a key of the model."""
    made = _combo(field, tooltip)

    def show() -> None:
        made.offer([(one.key, one.name) for one in model.layers if wanted(one)])
        made.choose(getattr(model, field))

    watch(model, f"layers {field}", made, show)
    made.activated.connect(lambda: setattr(model, field, made.value))
    return made


def _combo(name: str, tooltip: str) -> ElidedCombo:
    made = ElidedCombo()
    made.setObjectName(name)
    made.setToolTip(tooltip)
    return made


class TickList(QListWidget):
    """A list of layers with a box to tick for each.

    Parameters
    ----------
    name : str
        Its object name.
    tooltip : str
        What it is for.
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
                item.setCheckState(_state(is_on=key in chosen))
                self.addItem(item)
            return
        for at in range(self.count()):
            if (self.key(at) in chosen) != self.is_ticked(at):
                self._row(at).setCheckState(_state(is_on=self.key(at) in chosen))

    def _row(self, row: int) -> Any:  # noqa: ANN401 - Qt's stubs say that it may be missing
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

    def ticked_after(self, before: Sequence[str]) -> tuple[str, ...]:
        """Return the ticked layers in the order of ticking, given those ticked before."""
        now = [self.key(row) for row in range(self.count()) if self.is_ticked(row)]
        return (*(key for key in before if key in now), *(key for key in now if key not in before))


def _state(*, is_on: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if is_on else Qt.CheckState.Unchecked

"""Fields: the task, the prompt tools and layers, the phrase, the polarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QFormLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_sam3_assistant.core.prompts import (
    EVERYTHING_LIMITS,
    SIGNED,
    Joining,
    Seeds,
    Task,
    Tool,
    prompt_kind,
    tools_of,
)
from napari_sam3_assistant.qt.bind import (
    bind_enabled,
    bind_value,
    disconnect_with,
    follow,
    show_errors,
    watch,
)
from napari_sam3_assistant.qt.controls import (
    ChoiceButtons,
    ChoiceCombo,
    check_box,
    line_edit,
    share_box,
    spin_box,
)
from napari_sam3_assistant.qt.layout import WrappedLabel
from napari_sam3_assistant.session.model import CHOICE_FIELDS
from napari_sam3_assistant.session.values import Message
from napari_sam3_assistant.viewer.keys import TOOLS, first_key, with_key
from napari_sam3_assistant.viewer.prompt_layers import GO_ON
from napari_sam3_assistant.widgets.fields.stack import ObjectField

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.viewer.binding import Binding


_SIMPLE_TOOLS = (
    (Tool.POINTS, "Points", with_key("Click on the object", "choose_points")),
    (Tool.BOX, "Box", with_key("Draw a box around the object", "choose_box")),
    (Tool.MASK, "Labels", with_key("Paint roughly over the object", "choose_labels")),
    (Tool.TEXT, "Text", with_key("Name what to find", "choose_text")),
    (
        Tool.EXAMPLE,
        "Example",
        with_key("Draw a box around an example to find", "choose_example"),
    ),
    (
        Tool.EVERYTHING,
        "All",
        with_key("Find all objects", "choose_everything"),
    ),
)
_HINTS = {
    (Task.SEGMENT, Tool.POINTS): "Click on one object. Negative points push the mask away.",
    (Task.SEGMENT, Tool.BOX): "Draw a box around each object.",
    (Task.SEGMENT, Tool.MASK): "Paint roughly over one object.",
    (Task.LIVE_POINTS, Tool.POINTS): (
        "Click on an object: the mask follows each click. T switches to negative points, "
        "Shift+T flips the selected or latest point. Accept Object keeps it."
    ),
    (Task.VIDEO, Tool.POINTS): "Click objects; New Object in between.",
    (Task.VIDEO, Tool.BOX): "Draw a box around each object of this slice, then start.",
    (Task.VIDEO, Tool.MASK): (
        "Paint the objects of this slice, each with its own label value, then start. Each slice "
        "that you paint on has a layer of its own."
    ),
    (Task.VIDEO, Tool.EXAMPLE): (
        "Draw a box around an example: all like it on this slice are found and followed."
    ),
    (Task.EXEMPLAR, Tool.BOX): (
        "Draw a box around one or more examples. T switches to negative ones."
    ),
    (Task.EVERYTHING, Tool.EVERYTHING): (
        "All objects are found without a prompt. Hide what is wrong under Results."
    ),
    (Task.VIDEO, Tool.EVERYTHING): "All objects of the stack are found without a prompt.",
}

_CLICKS, _PAINTED = (Task.VIDEO, Tool.POINTS), (Task.SEGMENT, Tool.MASK)
_EACH_OF_SLICE = "Click once on each object."


class PromptField(QWidget):
    """Tools, polarity, phrase and prompt layer of the chosen task."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding = binding
        self._model = model = binding.model
        self._create = CreatePromptLayer(binding)
        self._tools = ChoiceButtons(
            model, "tool", _SIMPLE_TOOLS, columns=6, chosen=self._create.arm
        )
        # The key of the last one has no room on it.
        for button, name in zip(self._tools.buttons, TOOLS, strict=False):
            button.key = first_key(name)
        self._text = TextField(binding)
        self._polarity = polarity_buttons(model)
        self._hint = WrappedLabel()
        self._hint.setObjectName("hint")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        objects = ObjectField(binding)
        for widget in (
            self._tools,
            self._hint,
            self._text,
            DiameterField(binding),
            EverythingField(binding, all_rows=False),
            self._polarity,
            as_painted_box(model),
            objects,
            self._create,
        ):
            layout.addWidget(widget)
        follow(self, lambda: tools_of(model.task), self._offer, model)
        watch(model, "tool", self, self._show_tool)
        follow(self, self._has_polarity, self._polarity.setVisible, model)
        follow(self, self._read_hint, self._hint.setText, model)

    def _offer(self, tools: tuple[Tool, ...]) -> None:
        self._tools.setVisible(len(tools) > 1)
        self._tools.offer(tools)

    def _show_tool(self) -> None:
        tool = self._model.tool
        self._text.setVisible(tool is Tool.TEXT)
        self._create.setVisible(tool.has_layer)

    def _has_polarity(self) -> bool:
        return prompt_kind(self._model.task, self._model.tool) in SIGNED

    def _read_hint(self) -> str:
        model = self._model
        if model.tool is Tool.TEXT:
            phrases = self._binding.session.engine.spec.phrases
            if phrases:
                return f"This engine understands {phrases}."
            return "Type a short phrase, such as “nucleus”."
        other = model.selected_instead
        if other:
            return f"“{other}” is selected. {GO_ON}"
        chosen = (model.task, model.tool)
        if chosen == _PAINTED and model.as_painted:
            return "Paint one object: it is taken as you paint it."
        return _EACH_OF_SLICE if chosen == _CLICKS and model.each_click else _HINTS[chosen]


_TITLES = {Tool.POINTS: "Points", Tool.BOX: "Shapes", Tool.MASK: "Labels"}


class PromptLayersField(QWidget):
    """One list for each type of layer; they follow the viewer by themselves."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._combos = {tool: ChoiceCombo(model, name) for tool, name in CHOICE_FIELDS.items()}
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        for tool, combo in self._combos.items():
            title = _TITLES[tool]
            combo.setToolTip(
                f"The {title} layer that prompts are taken from. Other layers than the image's "
                "own are only read: undo and Accept Object leave them as they are."
            )
            form.addRow(title, combo)
        watch(model, "prompt_layers", self, self._show)

    def _show(self) -> None:
        for tool, combo in self._combos.items():
            layers = [layer for layer in self._model.prompt_layers if layer.tool is tool]
            combo.offer([("", "(the image's own)"), *((layer.key, layer.name) for layer in layers)])


class CreatePromptLayer(QPushButton):
    """Makes the layer of the chosen tool, or goes back to it."""

    def __init__(self, binding: Binding) -> None:
        super().__init__("Create Prompt Layer")
        self._binding = binding
        self._model = model = binding.model
        self.setObjectName("create_prompt_layer")
        self.arm = show_errors(model, self._arm)
        self.clicked.connect(self.arm)
        self.setToolTip(
            "Arm the chosen tool: make the layer for your prompts, or go back to it, so that the "
            "next click or drag on the image is a prompt"
        )
        bind_enabled(model, "prompt_layer", self)

    def _arm(self) -> None:
        self._model.message = self._binding.prompts.arm()


_POLARITY = (
    (
        True,
        "Positive",
        with_key("The next click is on the object, the next example of such", "toggle_next"),
    ),
    (
        False,
        "Negative",
        with_key(
            "The next click is off the object, the next example of what must not be found",
            "toggle_next",
        ),
    ),
)


def polarity_buttons(model: SessionModel) -> ChoiceButtons:
    """Return the polarity of the next click or example."""
    buttons = ChoiceButtons(model, "next_positive", _POLARITY, columns=2)
    bind_enabled(model, "polarity", *buttons.buttons)
    for button in buttons.buttons:
        button.key = first_key("toggle_next")
    return buttons


class PolarityField(QWidget):
    """The polarity of the next click or example, and a button that gives it to earlier ones."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        model = binding.model
        apply = QPushButton("Apply mode to selected")
        apply.setObjectName("apply_polarity")
        apply.setToolTip(
            "Make the points or examples that are selected in their layer positive or negative"
        )
        apply.clicked.connect(show_errors(model, binding.actions.mark_selected))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(polarity_buttons(model))
        layout.addWidget(apply)
        bind_enabled(model, "polarity", apply)


def as_painted_box(model: SessionModel) -> QCheckBox:
    """Return the switch that takes painted masks as they are; hidden where none is painted."""
    box = check_box(
        model,
        "as_painted",
        "As painted",
        "Take what you paint as the object, without moving its outline to edges in the image. "
        "napari's polygon tool of the painted layer fills a lasso, and with label 0 takes one away",
    )
    follow(box, lambda: (model.task, model.tool) == _PAINTED, box.setVisible, model)
    return box


_TIP = (
    "A short noun phrase such as “nucleus” or “myelin sheath” for SAM 3, or "
    "“bright objects” or “dark objects” for the built-in engine, which can be told how large they "
    "usually are: “dark objects 30 px”. Enter runs."
)


class TextField(QLineEdit):
    """A line for the phrase; Enter runs."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        model = binding.model
        self.setObjectName("text")
        self.setAccessibleName("Phrase")
        self.setToolTip(_TIP)
        self.setPlaceholderText("Type a phrase, then press Enter")
        self.setClearButtonEnabled(True)
        # napari's is too faint to be read.
        self.setStyleSheet("QLineEdit:disabled { placeholder-text-color: rgb(140, 140, 140); }")
        bind_value(model, "text", self, self.textChanged, self.text, self.setText)
        self.returnPressed.connect(show_errors(model, binding.session.run))

        def take_focus() -> None:
            if self.isVisible():
                self.setFocus()
                self.selectAll()  # what is typed replaces it, as in a browser's address bar

        binding.prompts.phrase_wanted.connect(take_focus)
        disconnect_with(
            self, binding, take_focus, lambda known: known.prompts.phrase_wanted.disconnect
        )
        bind_enabled(model, "text", self)


class DiameterField(QWidget):
    """A line for the usual diameter; hidden where the engine makes no use of it."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        session, model = binding.session, binding.model
        line = line_edit(
            model,
            "diameter",
            "automatic",
            "How large the objects usually are: 30 px, or 12 µm where the layer has the size of a "
            "pixel (Use Pixel Size, or its scale and units). Leave it empty where the engine finds "
            "it by itself. A phrase that tells one, as “bright cells 30 px”, comes first. "
            "Enter runs.",
        )
        line.returnPressed.connect(show_errors(model, session.run))
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Usual diameter", line)

        def is_used() -> bool:
            return session.engine.spec.takes_diameter and model.tool in _LOOK_EVERYWHERE

        follow(self, is_used, self.setVisible, model)


_LOOK_EVERYWHERE = (Tool.TEXT, Tool.EVERYTHING)


_JOININGS = (
    (Joining.OVERLAP, "Find on each slice, join by overlap"),
    (Joining.TIME, "Find at each time, link with divisions"),
    (Joining.VIDEO, "Find on this slice, follow through the stack"),
)
_SEEDS = ((Seeds.GRID, "A grid of points"), (Seeds.BUILTIN, "What the built-in engine finds"))


class EverythingField(QWidget):
    """How a stack's slices are joined, and where a model that takes clicks is asked.

    ``all_rows``: whether crops and filters can be chosen, too.
    """

    def __init__(self, binding: Binding, *, all_rows: bool = True) -> None:
        super().__init__()
        model = binding.model
        points = QWidget()
        form = QFormLayout(points)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        joining = ChoiceCombo(model, "everything.joining", _JOININGS, "How slices become objects")
        joining.setAccessibleName("Slices become objects by")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(joining)
        layout.addWidget(points)
        seeds = ChoiceCombo(model, "everything.seeds", _SEEDS, "Where the model is asked")
        form.addRow("Ask at", seeds)
        tip = "More points find smaller objects"
        form.addRow("Points per side", spin_box(model, "everything.points_per_side", tip, 1, 256))
        if all_rows:
            _add_filters(form, model)

        def asks_at_points() -> bool:
            return not binding.session.engine.spec.proposes

        follow(self, lambda: model.tool is Tool.EVERYTHING, self.setVisible, model)
        follow(self, lambda: model.task is Task.VIDEO, joining.setVisible, model)
        follow(self, asks_at_points, points.setVisible, model)


def _add_filters(form: QFormLayout, model: SessionModel) -> None:
    """Add the rows that say which masks are kept."""
    for name, title, tooltip in (
        ("crop_n_layers", "Crop layers", "Looks at crops as well, for small objects"),
        ("min_mask_region_area", "Smallest part", "Smaller holes and pieces go; 0 keeps all"),
    ):
        low, high = EVERYTHING_LIMITS[name]
        box = spin_box(model, f"everything.{name}", tooltip, int(low), int(high))
        form.addRow(title, box)
    for name, title, tooltip in (
        ("pred_iou_thresh", "Predicted IoU above", "How good the model takes its masks to be"),
        ("stability_score_thresh", "Stability above", "How firm a mask's outline is"),
        (
            "box_nms_thresh",
            "Same object from",
            "Of masks whose boxes overlap by more than this share one is kept",
        ),
    ):
        form.addRow(title, share_box(model, f"everything.{name}", tooltip))


_TASKS = (
    (Task.SEGMENT, "2D segmentation"),
    (Task.EXEMPLAR, "Exemplar segmentation"),
    (Task.TEXT, "Text segmentation"),
    (Task.LIVE_POINTS, "Live Points (positive/negative)"),
    (Task.EVERYTHING, "Everything, without a prompt"),
    (Task.VIDEO, "3D/video propagation"),
)
_ADVANCED_TOOLS = (
    (Tool.POINTS, "Points (positive/negative)"),
    (Tool.BOX, "Box"),
    (Tool.MASK, "Labels mask"),
    (Tool.TEXT, "Text only"),
    (Tool.EXAMPLE, "Example boxes"),
    (Tool.EVERYTHING, "Everything"),
)
_GUIDANCE = {
    Task.SEGMENT: "2D: use text, points, boxes, or a labels-mask prompt, then run preview.",
    Task.EXEMPLAR: "Exemplar: create a box prompt layer and draw boxes around examples, then run.",
    Task.TEXT: "Text: enter a phrase and click Run Preview. No prompt layer is required.",
    Task.EVERYTHING: "Everything: click Run Preview. Nothing has to be drawn or typed.",
    Task.LIVE_POINTS: (
        "Live Points: create a points layer and add a point. T switches the next point mode; "
        "Shift+T flips the selected or latest point and reruns."
    ),
    Task.VIDEO: (
        "3D/video: go to a slice or frame, prompt the objects there, then press Start 3D "
        "Propagation. Prompts on several slices are used together."
    ),
}


class TaskField(ChoiceCombo):
    """The task; choosing one makes its tool ready, and says what to do next."""

    def __init__(self, binding: Binding) -> None:
        super().__init__(binding.model, "task", _TASKS)
        self._binding = binding
        self.setToolTip("What the run does. It sets the prompt types that can be chosen.")
        self.activated.connect(self._begin)

    def _begin(self) -> None:
        _make_ready(self._binding, say=False)
        model = self._binding.model
        model.message = Message(_GUIDANCE[model.task])


def _make_ready(binding: Binding, *, say: bool = True) -> None:
    """Let the next click, or the next key in a text, be a prompt of the tool that was chosen."""
    if binding.model.tool is Tool.TEXT:
        binding.prompts.phrase_wanted.emit()
    binding.prompts.get_ready(say=say)


class PromptTypeField(ChoiceCombo):
    """The kind of prompt, of those that the task takes."""

    def __init__(self, binding: Binding) -> None:
        model = binding.model
        super().__init__(model, "tool")
        follow(self, lambda: tools_of(model.task), self._show, model)
        self.activated.connect(lambda: _make_ready(binding))

    def _show(self, offered: tuple[Tool, ...]) -> None:
        self.offer([choice for choice in _ADVANCED_TOOLS if choice[0] in offered])
        self.setEnabled(len(offered) > 1)
        self.setToolTip(
            "What you prompt with. A run takes prompts of this kind only."
            if len(offered) > 1
            else "This task takes no other kind of prompt"
        )

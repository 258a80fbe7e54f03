"""Whether the soft masks of the results are on show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox

from napari_sam3_assistant.session.soft_masks import why_no_soft_masks
from napari_sam3_assistant.widgets.bind import bind_value, watch

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session

_TIP = (
    "Show, in the layer “SAM3 preview masks”, how likely each pixel belongs to an object "
    "(0 to 1; the preview is cut at 0.5), so that weak borders can be judged"
)


class SoftMasksField(QCheckBox):
    """A box for the layer of soft masks.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("Show soft masks")
        self._session = session
        self.setObjectName("soft_masks")
        model = session.model
        bind_value(model, "soft_masks", self, self.toggled, self.isChecked, self.setChecked)
        watch(model, "engine preview beside", self, self._show)

    def _show(self) -> None:
        why_not = why_no_soft_masks(self._session.model, self._session.spec)
        self.setEnabled(not why_not)
        self.setToolTip(why_not or _TIP)

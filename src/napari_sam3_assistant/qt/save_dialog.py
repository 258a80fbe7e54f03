"""The dialog that asks where to save a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_sam3_assistant.session.model import SessionModel


def ask_where(
    parent: QWidget, model: SessionModel, title: str, start: Path, filters: Sequence[str]
) -> tuple[Path | None, str]:
    """Ask where to save a file, and remember the folder.

    Parameters
    ----------
    parent : QWidget
        The widget that asks.
    model : SessionModel
        The state, which keeps the folder.
    title : str
        Title of the dialog.
    start : Path
        The name that is proposed.
    filters : sequence of str
        The kinds of files, as Qt writes them.

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

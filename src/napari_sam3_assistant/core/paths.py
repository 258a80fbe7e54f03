"""Paths as users write them."""

from pathlib import Path

from napari_sam3_assistant.errors import Sam3AssistantError


def expand_user(path: str | Path) -> Path:
    """Return a path with ``~`` written out.

    Raises
    ------
    Sam3AssistantError
        If it begins with ``~`` and the name of nobody here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise Sam3AssistantError(f"{path}: {error}", "Write the folder out.") from error

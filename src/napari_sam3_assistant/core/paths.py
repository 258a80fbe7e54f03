"""Paths and addresses as users write them."""

import re
from pathlib import Path

from napari_sam3_assistant.errors import Sam3AssistantError


def is_address(place: str | Path) -> bool:
    """Return whether a place is one on a server, such as ``https://...`` and ``s3://...``."""
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place) is not None


def hide_secrets(text: str) -> str:
    """Return a text whose addresses name no user, password or signature any more."""
    text = re.sub(r"(?<=://)[^\s/@]+@", "", text)
    return re.sub(r"(://[^\s?'\"<>]*)\?[^\s'\"<>]*", r"\1?…", text)


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

"""What a session asks of the place where images and prompts live: the viewer, or a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
    from napari_sam3_assistant.core.views import ImageView
    from napari_sam3_assistant.session.model import Preview, Target


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """What is on show, frozen.

    Parameters
    ----------
    target : Target
        The image and the plane.
    view : ImageView
        What the model shall see.
    prompts : PromptSet
        The prompts of the kind that was asked for, on that plane, in its pixels.
    """

    target: Target
    view: ImageView
    prompts: PromptSet


class Scene(Protocol):
    """Where images and prompts live. Called on the GUI thread only."""

    def take_view(self, image: str) -> ImageView:
        """Return what the model would see of the plane on show.

        Raises
        ------
        ImageError
            If the image is gone or has no such plane.
        """

    def take_shot(self, image: str, kind: PromptKind) -> Shot:
        """Freeze the plane on show and the prompts of one kind on it.

        Raises
        ------
        ImageError
            If the image is gone or has no such plane.
        """

    def prompt_state(self) -> object:
        """Return all prompts as a value that :meth:`set_prompt_state` takes."""

    def set_prompt_state(self, state: object) -> None:
        """Put all prompts back as they were."""

    def clear_prompts(self, image: str) -> None:
        """Remove the prompts of an image."""

    def accept(self, preview: Preview) -> object:
        """Add the preview's objects to the accepted labels; returns what undoes it."""

    def undo_accept(self, accepted: object) -> None:
        """Take accepted objects out again."""

    def redo_accept(self, accepted: object) -> None:
        """Put accepted objects back."""

    def keep(self, preview: Preview) -> str:
        """Keep the preview as a saved labels layer; returns its name."""

"""A state of the session that undo goes back to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import Preview
    from napari_sam3_assistant.session.refine import Seed
    from napari_sam3_assistant.session.scene import Accepted


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A state that undo goes back to.

    Parameters
    ----------
    prompts : object
        All prompts, as the scene gives them.
    previews : tuple of Preview
        The results on show, the latest last.
    accepted : tuple of Accepted
        What has been accepted so far.
    seed : Seed or None
        The object that clicks refine.
    """

    prompts: object
    previews: tuple[Preview, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    seed: Seed | None = None

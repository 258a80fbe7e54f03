"""Refining one object of a preview by clicks, with its mask as the start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import MaskPrompt
from napari_sam3_assistant.core.results import ObjectRecord, paint_labels
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.session.model import Preview, Target


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """The object that clicks refine, and those beside it.

    Parameters
    ----------
    target : Target
        The image and the plane.
    record : ObjectRecord
        The object as it was when the refining began.
    others : tuple of ObjectRecord
        The other objects of the preview.
    """

    target: Target
    record: ObjectRecord
    others: tuple[ObjectRecord, ...]

    def add_to(self, prompts: PromptSet) -> PromptSet:
        """Return the clicks with the object's mask as the start."""
        return replace(prompts, masks=(MaskPrompt(self.record.mask, self.record.region),))

    def put_back(self, refined: Segmentation) -> Segmentation:
        """Return the preview with the refined object in place of the old one.

        Parameters
        ----------
        refined : Segmentation
            What the clicks gave: one object.
        """
        old = self.record
        found = [
            ObjectRecord(old.id, new.mask, new.region, new.score, old.text)
            for new in refined.objects[:1]
        ]
        objects = tuple(sorted((*self.others, *found), key=lambda record: record.id))
        return replace(refined, objects=objects, labels=paint_labels(objects, refined.region))


def seed_of(preview: Preview, object_id: int) -> Seed:
    """Return the seed for refining one object of a preview.

    Raises
    ------
    PromptError
        If the preview has no such object.
    """
    objects = preview.segmentation.objects
    chosen = [record for record in objects if record.id == object_id]
    if not chosen:
        raise PromptError(
            f"The preview has no object {object_id}.", "Click on one of the previewed objects."
        )
    others = tuple(record for record in objects if record.id != object_id)
    return Seed(preview.target, chosen[0], others)

"""Refining one object of a preview by clicks, with its mask as the start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import MaskPrompt
from napari_sam3_assistant.core.results import paint_labels
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import ObjectRecord, Segmentation
    from napari_sam3_assistant.session.model import Preview, Target
    from napari_sam3_assistant.session.scene import Shot


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
    region : Region
        The part of the plane that the preview covers.
    label : str
        What tells the preview from others of its image.
    """

    target: Target
    record: ObjectRecord
    others: tuple[ObjectRecord, ...]
    region: Region
    label: str = ""

    @property
    def slot(self) -> tuple[str, str]:
        """The place of the preview, see :attr:`.model.Preview.slot`."""
        return (self.target.image, self.label)

    def fits(self, shot: Shot) -> bool:
        """Return whether a run refines it: by clicks, the latest in its part of its plane."""
        points = shot.prompts.points
        return (
            shot.target == self.target
            and bool(points)
            and self.region.holds(points[-1].y, points[-1].x)
        )

    def add_to(self, prompts: PromptSet) -> PromptSet:
        """Return the clicks with the object's mask as the start."""
        return replace(prompts, masks=(MaskPrompt(self.record.mask, self.record.region),))

    def put_back(self, refined: Segmentation) -> Segmentation:
        """Return the preview with the refined object in place of the old one.

        Parameters
        ----------
        refined : Segmentation
            What the clicks gave: one object in the part that the preview covers.
        """
        old = self.record
        found = [replace(new, id=old.id, text=old.text) for new in refined.objects[:1]]
        objects = tuple(sorted((*self.others, *found), key=lambda record: record.id))
        labels = paint_labels(objects, self.region)
        return replace(refined, objects=objects, labels=labels, region=self.region)


def reseeded(seed: Seed, preview: Preview) -> Seed | None:
    """Return a seed for going on from a preview that the user has changed; None without it."""
    there = any(record.id == seed.record.id for record in preview.segmentation.objects)
    return seed_of(preview, seed.record.id) if there else None


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
    region = preview.segmentation.region
    return Seed(preview.target, chosen[0], others, region, preview.label)

"""Large images: a run works on the part of the plane around its prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.roi import LocalRoi, left_out, local_roi, roi_messages
from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.session.model import ActiveRoi, Message, Preview
from napari_sam3_assistant.session.wording import counted

if TYPE_CHECKING:
    from napari_sam3_assistant.core.images import PlaneRef
    from napari_sam3_assistant.session.model import SessionModel, Target
    from napari_sam3_assistant.session.refine import Seed
    from napari_sam3_assistant.session.scene import Shot


LARGE_PLANE = 4096
"""Of planes with a longer side, in pixels, it is proposed to work on a part."""


def large_hint(model: SessionModel) -> str:
    """Return why large-image mode fits the chosen image; empty if it does not, or is on."""
    image = model.chosen_image
    proposed = model.task is not Task.VIDEO and not model.large_image
    if image is None or not proposed or max(image.shape) <= LARGE_PLANE:
        return ""
    height, width = image.shape
    return (
        f"This image is {height} x {width} pixels: a run on all of it takes long and much memory, "
        "and small objects may be missed. Large-image mode works on a square around your points "
        "or boxes."
    )


class LocalInference:
    """Chooses the region of a run, and which earlier results stay beside it.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self._rois: dict[tuple[str, PlaneRef], LocalRoi] = {}
        model.events.large_image.connect(self._on_switch)

    def region(self, shot: Shot) -> Region | None:
        """Return the region that a run shall work on; None for the whole plane.

        Parameters
        ----------
        shot : Shot
            What the run shall see.
        """
        model = self._model
        if not model.large_image:
            return None
        target = shot.target
        place = (target.image, target.plane)
        named = shot.anchors if shot.anchors.kinds else shot.prompts
        roi = local_roi(named, shot.view.shape, model.roi_size, self._rois.get(place))
        for said in roi_messages(enabled=True, roi=roi):
            model.message = Message(said)
        if roi is None:
            model.active_rois = ()
            return None
        self._rois[place] = roi
        self._work_in(shot, roi.region)
        return roi.region

    def region_of(self, seed: Seed, shot: Shot) -> Region | None:
        """Return the region of a run that refines an object: within what its preview covers.

        Parameters
        ----------
        seed : Seed
            The object.
        shot : Shot
            What the run shall see.
        """
        if seed.region == Region.whole(shot.view.shape):
            return self.region(shot)
        target = shot.target
        if self._model.large_image:
            place = (target.image, target.plane)
            self._rois[place] = LocalRoi(seed.region, self._model.roi_size)
        self._work_in(shot, seed.region)
        return seed.region

    def _work_in(self, shot: Shot, region: Region) -> None:
        self._model.active_rois = (ActiveRoi(shot.target, region),)
        outside = left_out(shot.prompts, region)
        if outside:
            said = f"{counted(outside, 'prompt')} outside the region took no part."
            self._model.message = Message(said)

    def beside(self, target: Target, region: Region) -> tuple[Preview, ...]:
        """Return the results that stay on show beside a new one of a region."""
        if not self._model.large_image:
            return ()
        return tuple(
            preview
            for preview in self._model.previews
            if preview.segmentation.objects
            and preview.target == target
            and preview.segmentation.region != region
        )

    def label(self, beside: tuple[Preview, ...], region: Region) -> str:
        """Return what tells a result of a region from those beside it."""
        if not any(preview.label == "" for preview in beside):
            return ""
        return f"y={region.y0}:{region.y1}, x={region.x0}:{region.x1}"

    def _on_switch(self, enabled: bool) -> None:
        self._rois.clear()
        self._model.active_rois = ()
        size = self._model.roi_size
        said = (
            f"Large-image mode ON: local ROI inference ({size} x {size})."
            if enabled
            else roi_messages(enabled=False, roi=None)[0]
        )
        self._model.message = Message(said)

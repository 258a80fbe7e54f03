"""The layers that the mask operations make."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_sam3_assistant.workflows.edit_masks import overlay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.session.masks.edits import MaskEdits
    from napari_sam3_assistant.session.masks.jobs import MaskJobs
    from napari_sam3_assistant.session.masks.scene import MaskScene, NewLabels


class MaskOutputs:
    """Adds layers, or fills those of the same name and role anew.

    Parameters
    ----------
    scene : MaskScene
        Where the labels live.
    jobs : MaskJobs
        Runs the work.
    edits : MaskEdits
        Keeps what can be taken back.
    """

    def __init__(self, scene: MaskScene, jobs: MaskJobs, edits: MaskEdits) -> None:
        self._scene = scene
        self._jobs = jobs
        self._edits = edits

    def put(self, fresh: NewLabels, action: str, tell: Callable[[str], None]) -> None:
        """Add a layer, or fill the one of that name and role anew; then tell its name."""
        key = self._scene.made_before(fresh)
        if not key:
            self.add(fresh, action, tell)
            return
        array = self._scene.freeze(key).array
        if array.dtype != fresh.labels.dtype:
            self._edits.swap(key, fresh.labels, fresh.metadata, action)
            tell(fresh.name)
            return
        work = partial(overlay, fresh.labels, array, 0, replace=True, action=action)

        def write(edit: LabelEdit) -> None:
            self._edits.fill(key, edit, fresh.metadata, partial(tell, fresh.name))

        self._jobs.start("Filling the layer", work, write)

    def add(self, fresh: NewLabels, action: str, tell: Callable[[str], None]) -> None:
        """Add a layer, which is built by a job; then tell its name."""
        build = self._scene.builder(fresh)

        def work(reporter: Reporter) -> Iterator[object]:
            reporter.check()
            yield build()

        def add(built: object) -> None:
            tell(self._edits.make(built, action)[1])

        self._jobs.start("Making the layer", work, add)

"""What made propagated labels, for the note beside a saved file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.io.prompt_json import prompts_to_json
from napari_sam3_assistant.workflows.recipe import Recipe
from napari_sam3_assistant.workflows.rerun_stack import checksum_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.results import Provenance
    from napari_sam3_assistant.core.track_table import TrackTable
    from napari_sam3_assistant.io.label_axes import LabelAxes
    from napari_sam3_assistant.session.stacks.scene import StackShot


@dataclass(slots=True, eq=False)
class StackRecipe:
    """What a propagation was told, step by step.

    Parameters
    ----------
    stack : StackShot
        The stack, and the prompts that it began with.
    options : PredictOptions
        The choices of the run.
    model_folder : str
        Folder of the weights; empty for none.
    """

    stack: StackShot
    options: PredictOptions
    model_folder: str
    engine: Provenance | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)

    def begins(
        self,
        prompts: Mapping[int, PromptSet],
        shown: Mapping[int, npt.NDArray[np.uint32]],
        *,
        stop_after_lost: int | None,
        goes_on: bool,
    ) -> None:
        """Take note that a run begins.

        Parameters
        ----------
        prompts : mapping of int to PromptSet
            Its prompts by frame.
        shown : mapping of int to ndarray
            The labels on show on the frames that are corrected.
        stop_after_lost : int or None
            A pass ends when all objects are gone for so many frames.
        goes_on : bool
            Whether it does what an earlier one has left.
        """
        self.steps.append(
            {
                "prompts": {str(frame): prompts_to_json(own) for frame, own in prompts.items()},
                "shown": {str(frame): checksum_of(plane) for frame, plane in shown.items()},
                "passes": None,
                "stop_after_lost": stop_after_lost,
                "goes_on": goes_on,
                "frames": 0,
            }
        )

    def planned(self, orders: Sequence[range]) -> None:
        """Take note that the prompts are taken, and which passes the run will make."""
        self.steps[-1]["passes"] = [[order.start, order.stop, order.step] for order in orders]

    def arrived(self, engine: Provenance) -> None:
        """Take note of a frame: it is the next of the passes."""
        self.engine = engine
        self.steps[-1]["frames"] += 1

    def removed(self, object_id: int) -> None:
        """Take note that an object was taken out."""
        self.steps.append({"removed": object_id})

    def recipe(self, axes: LabelAxes) -> Recipe | None:
        """Return what the note says; None while nothing has come out."""
        if self.engine is None:
            return None
        folder = Path(self.model_folder) if self.model_folder and self.engine.weights else None
        first = min(self.stack.prompts)
        return Recipe(
            self.stack.frames.view_at(first),
            self.stack.prompts[first],
            self.options,
            replace(self.engine, threshold=self.options.threshold),
            folder,
            self.stack.paths,
            axes=axes,
        )

    def extra(self) -> dict[str, Any]:
        """Return what the note says beside: along which axis, and each step."""
        steps = [dict(step) for step in self.steps]
        return {"propagation": {"axis": self.stack.target.axis, "steps": steps}}


def described(table: TrackTable) -> tuple[dict[str, Any], ...]:
    """Return what the note says of each object: on how many frames it is, from where to where."""
    found: dict[int, dict[str, Any]] = {}
    for row in table.rows():
        told = found.setdefault(
            row.object_id,
            {"id": row.object_id, "text": row.text, "frames": 0, "first": row.frame},
        )
        told["frames"] += 1
        told["last"] = row.frame
    return tuple(told for _, told in sorted(found.items()))

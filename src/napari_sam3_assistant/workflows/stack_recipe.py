"""What made propagated labels, for the note beside a saved file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.io.prompt_json import prompts_to_json
from napari_sam3_assistant.workflows.recipe import Recipe
from napari_sam3_assistant.workflows.rerun_stack import checksum_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.frames import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.results import Provenance
    from napari_sam3_assistant.core.track_table import TrackTable


@dataclass(slots=True, eq=False)
class StackRecipe:
    """What a propagation was told, step by step.

    Parameters
    ----------
    frames : FrameSource
        The stack.
    prompts : mapping of int to PromptSet
        The prompts that it began with, by frame.
    options : PredictOptions
        The choices of the run.
    model_folder : Path or None
        Folder of the weights.
    paths : mapping of int to Path
        The files of the images, by the token of their source.
    """

    frames: FrameSource
    prompts: Mapping[int, PromptSet]
    options: PredictOptions
    model_folder: Path | None
    paths: Mapping[int, Path]
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

    def recipe(self, axes: Axes) -> Recipe | None:
        """Return what the note says; None while nothing has come out."""
        if self.engine is None:
            return None
        first = min(self.prompts)
        return Recipe(
            self.frames.view_at(first),
            self.prompts[first],
            self.options,
            replace(self.engine, threshold=self.options.threshold),
            self.model_folder if self.engine.weights else None,
            self.paths,
            axes=axes,
        )

    def extra(self) -> dict[str, Any]:
        """Return what the note says beside: along which axis, and each step."""
        steps = [dict(step) for step in self.steps]
        return {"propagation": {"axis": self.frames.axis, "steps": steps}}


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

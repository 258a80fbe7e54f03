"""What an engine is shown of a tile: the tile, and examples that lie elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.reference import Composite, compose, piece_around
from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.prompts import ExemplarPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.views import ImageView

EXPERIMENTAL = (
    "Experimental: the example lies in another tile and was pasted beside this one, because the "
    "engine takes examples only from the picture that it searches."
)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture for the engine.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3), dtype uint8
        The tile, or the tile with examples beside it.
    prompts : PromptSet
        Prompts in pixels of the picture.
    composite : Composite or None
        Where the tile lies, if there is something beside it.
    """

    picture: npt.NDArray[np.uint8]
    prompts: PromptSet
    composite: Composite | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        return () if self.composite is None else (EXPERIMENTAL,)

    def in_tile(self, records: Sequence[ObjectRecord]) -> tuple[ObjectRecord, ...]:
        """Return the objects that lie in the tile, in its pixels."""
        return tuple(records) if self.composite is None else self.composite.cut_back(records)


class TilePrompts:
    """The prompts of a scan, for each of its tiles.

    Parameters
    ----------
    view : ImageView
        The image; the surroundings of the examples are read from it once.
    prompts : PromptSet
        Prompts in pixels of the plane.
    """

    def __init__(self, view: ImageView, prompts: PromptSet) -> None:
        plane = Region.whole(view.shape)
        self._prompts = prompts
        self._examples = [
            replace(example, region=example.region.intersect(plane))
            for example in prompts.exemplars
        ]
        self._places = [piece_around(example.region, view.shape) for example in self._examples]
        self._pieces = [view.rgb(place) for place in self._places]

    def on(self, picture: npt.NDArray[np.uint8], tile: Region) -> Shown:
        """Return what to show the engine for a tile.

        Parameters
        ----------
        picture : ndarray, shape (h, w, 3), dtype uint8
            The tile.
        tile : Region
            Where it lies in the plane.
        """
        inside: list[ExemplarPrompt] = []
        elsewhere: list[int] = []
        for number, example in enumerate(self._examples):
            if example.region.intersect(tile) == example.region:
                inside.append(replace(example, region=example.region.localise(tile)))
            else:
                elsewhere.append(number)
        if not elsewhere:
            return Shown(picture, replace(self._prompts, exemplars=tuple(inside)))
        pasted = [
            replace(example, region=example.region.localise(self._places[number]))
            for number in elsewhere
            for example in (self._examples[number],)
        ]
        composite = compose(picture, [self._pieces[number] for number in elsewhere], pasted, inside)
        prompts = replace(self._prompts, exemplars=composite.exemplars)
        return Shown(composite.picture, prompts, composite)

"""Taking steps back: a prompt, a run, an acceptance."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.session.history import History
from napari_sam3_assistant.session.refine import reseeded
from napari_sam3_assistant.session.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_sam3_assistant.session.model import Preview, SessionModel
    from napari_sam3_assistant.session.scene import Scene

_MOST_BYTES = 1 << 30


class Undo:
    """The steps of a session. All methods are called on the GUI thread.

    What the steps hold is bounded, painted masks, results and what was accepted: beyond 1 GB the
    oldest steps are dropped, but for the latest five.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : Scene
        Where prompts and accepted objects live.
    """

    def __init__(self, model: SessionModel, scene: Scene) -> None:
        self._model = model
        self._scene = scene
        self._sizes: dict[int, tuple[object, int]] = {}
        self._history = History(Step(scene.prompt_state()), fits=self._fit)

    @property
    def current(self) -> Step:
        """The state that holds now."""
        return self._history.current

    def push(self, step: Step) -> None:
        """Go on to a new state."""
        self._history.push(step)
        self._tell()

    def amend(self, step: Step) -> None:
        """Make a state a part of the latest step."""
        self._history.amend(step)
        self._tell()

    def record(self, previews: tuple[Preview, ...], *, amend: bool) -> None:
        """Make results a step that can be taken back, or a part of the latest step."""
        step = replace(self.current, previews=previews)
        if amend:
            self.amend(step)
        else:
            self.push(step)

    def note_prompts(self) -> bool:
        """Make changed prompts a step; returns whether there was a change."""
        prompts = self._scene.prompt_state()
        before = self.current.prompts
        if prompts == before:
            return False
        if isinstance(prompts, dict) and isinstance(before, dict):
            # A mask that is as it was is kept once, not at each click beside it.
            same = {key: state for key, state in before.items() if prompts.get(key) == state}
            prompts = prompts | same
        self.push(replace(self.current, prompts=prompts))
        return True

    def forget(self, image: str) -> None:
        """Drop what was found on an image that is gone, and its pixels with it."""

        def without(step: Step) -> Step:
            kept = tuple(one for one in step.previews if one.target.image != image)
            return replace(step, previews=kept)

        self._history.change(without)

    def note_edits(self, edits: Iterable[tuple[Preview, Preview]]) -> None:
        """Put results that the user has changed in the place of what they were, in all steps.

        Parameters
        ----------
        edits : iterable of (Preview, Preview)
            Results before and after.
        """
        later = dict(edits)
        if not later:
            return

        def changed(step: Step) -> Step:
            if later.keys().isdisjoint(step.previews):
                return step
            previews = tuple(later.get(one, one) for one in step.previews)
            seed = step.seed
            for one in previews:
                if seed is not None and one in later.values() and one.slot == seed.slot:
                    seed = reseeded(seed, one)
            return replace(step, previews=previews, seed=seed)

        self._history.change(changed)
        self._model.show_previews(tuple(later.get(one, one) for one in self._model.previews))
        self._tell()

    def undo(self) -> bool:
        """Take the last step back; returns whether its accepted labels were still there."""
        before = self.current
        return self._go_to(before, self._history.undo())

    def redo(self) -> bool:
        """Take the step again that was taken back; returns whether its labels were there."""
        before = self.current
        return self._go_to(before, self._history.redo())

    def _go_to(self, before: Step, after: Step) -> bool:
        gone, come = before.accepted[len(after.accepted) :], after.accepted[len(before.accepted) :]
        there = [self._scene.undo_accept(accepted) for accepted in reversed(gone)]
        there += [self._scene.redo_accept(accepted) for accepted in come]
        self._scene.set_prompt_state(after.prompts)
        self._model.show_previews(after.previews)
        self._tell()
        return all(there)

    def _tell(self) -> None:
        seed = self.current.seed
        self._model.refining = seed.record.id if seed else 0
        self._model.can_undo = self._history.can_undo
        self._model.can_redo = self._history.can_redo

    def _fit(self, steps: Sequence[Step]) -> bool:
        """Return whether what steps hold takes little enough memory; they may share things."""
        parts = {id(part): part for step in steps for part in _parts(step)}
        # Held here, so that nothing else gets the identity of what is gone.
        self._sizes = {
            key: self._sizes.get(key) or (part, bytes_held(part)) for key, part in parts.items()
        }
        return sum(size for _, size in self._sizes.values()) <= _MOST_BYTES


def _parts(step: Step) -> Iterator[object]:
    """Yield what steps share or have for themselves."""
    yield from step.prompts.values() if isinstance(step.prompts, dict) else (step.prompts,)
    # Without the recipe, which holds the image.
    yield from (preview.segmentation for preview in step.previews)
    yield from step.accepted
    if step.seed is not None:
        yield step.seed


def bytes_held(part: object) -> int:
    """Return the memory of the arrays and bytes in a value of tuples, dicts and dataclasses."""
    found: dict[int, int] = {}
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, np.ndarray):
            found[id(one)] = one.nbytes
        elif isinstance(one, bytes):
            found[id(one)] = len(one)
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, tuple | list):
            waiting += one
        elif is_dataclass(one):
            waiting += (getattr(one, field.name) for field in fields(one))
    return sum(found.values())

"""Take steps back and make them again: a prompt, a run, an acceptance."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import numpy as np
from psygnal import Signal

from napari_sam3_assistant.core.lineage import Lineage
from napari_sam3_assistant.core.prompts import ONE_BY_ONE, MaskPrompt
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.snapshots import Accepted, ImageSnapshot
    from napari_sam3_assistant.session.values import PlaneTarget, Preview
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


_MOST_BYTES = 1 << 30


class Undo:
    """The steps of a session. All methods are called on the GUI thread.

    What the steps hold is bounded, painted masks, results and what was accepted: beyond 1 GB the
    oldest steps are dropped, but for the latest five.

    ``moved``: is given the step that holds once one was taken back or done again.
    """

    moved = Signal(object)

    def __init__(self, model: SessionModel, adapter: ViewerAdapter) -> None:
        self._model = model
        self._adapter = adapter
        self._sizes: dict[int, tuple[object, int]] = {}
        self._history = History(UndoStep(adapter.prompt_state()), fits=self._fits)

    @property
    def current(self) -> UndoStep:
        """The state that holds now."""
        return self._history.current

    @property
    def step(self) -> int:
        """The number of that state, which no other one has or had."""
        return self._history.number

    def push(self, step: UndoStep) -> None:
        """Go on to a new state."""
        self._history.push(step)
        self._update_model()

    def begin_anew(self, steps: Sequence[UndoStep], at: int) -> None:
        """Go on with other steps.

        ``steps``: the steps, at least one.
        ``at``: which of them holds now.
        """
        self._history = History(*steps, at=at, fits=self._fits)
        self._update_model()

    def latest(self, most_bytes: int, most_objects: int) -> tuple[dict[int, UndoStep], int]:
        """Return the latest steps that take little enough room, and which one holds now.

        ``most_bytes``: what they may take of the memory.
        ``most_objects``: how many objects their results may have, counted in each of them.

        Returns
        -------
        dict of int to UndoStep
            The steps by their numbers, in order; that one at least which holds now.
        int
            Its number.
        """
        states, now = self._history.states, self._history.number
        kept: dict[int, UndoStep] = {}
        size, seen = 0, set[int]()
        before = dict(zip([*states][1:], states.values(), strict=False))
        for number, step in reversed(states.items()):
            own = replace(step, accepted=find_accepted(step, before.get(number)))
            parts = {id(part): part for part in _iter_parts(own) if id(part) not in seen}
            size += sum(map(self._size_of, parts.values()))
            most_objects -= sum(
                len(preview.ids) for preview in step.previews if id(preview) not in seen
            )
            seen |= {*parts, *map(id, step.previews)}
            if size > most_bytes or most_objects < 0:
                if number >= now:
                    kept.clear()  # what was taken back is the first to go
                    kept[now] = states[now]
                break
            kept[number] = step
        return dict(sorted(kept.items())), now

    def amend(self, step: UndoStep) -> None:
        """Make a state a part of the latest step."""
        self._history.amend(step)
        self._update_model()

    def record(self, previews: tuple[Preview, ...], *, amend: bool) -> None:
        """Make results a step that can be taken back, or a part of the latest step."""
        self.go_on(previews, self.current.seed, amend=amend)

    def go_on(
        self,
        previews: tuple[Preview, ...],
        seed: RefineSeed | None,
        *,
        amend: bool,
        prompts: object = None,
    ) -> None:
        """As :meth:`record`, with the object that clicks refine from now on, and other prompts."""
        prompts = self.current.prompts if prompts is None else prompts
        step = replace(self.current, prompts=prompts, previews=previews, seed=seed)
        (self.amend if amend else self.push)(step)

    def note_prompts(self) -> bool:
        """Make changed prompts a step; returns whether there was a change."""
        prompts = self._adapter.prompt_state()
        before = self.current.prompts
        if prompts == before:
            return False
        if isinstance(prompts, dict) and isinstance(before, dict):
            # A mask that is as it was is kept once, not at each click beside it.
            same = {key: state for key, state in before.items() if prompts.get(key) == state}
            prompts = prompts | same
        self.push(replace(self.current, prompts=prompts))
        return True

    def accept_at(self, number: int, accepted: Sequence[Accepted]) -> None:
        """Let an earlier step accept what has been found since, and those after it begin anew.

        The step before it shows what was found.

        ``number``: the number of the step, which made room for the next object.
        """
        found, states = self.current, self._history.states
        later = [known for known in states if known >= number]
        before = [known for known in states if known < number][-1:]
        # Together with what was accepted before it: each step goes on with what the last one had.
        at = len(states[later[0]].accepted)
        changed = {
            known: replace(
                states[known],
                previews=(),
                seed=None,
                accepted=(*states[known].accepted[:at], *accepted, *states[known].accepted[at:]),
            )
            for known in later
        }
        for known in before:
            changed[known] = replace(states[known], previews=found.previews, seed=found.seed)
        self._history.put(changed)
        self._update_model()

    def reopen(self, number: int) -> bool:
        """Drop a step and go back to the one before; returns whether it was the latest."""
        if self.step != number:
            return False
        self._go_to(self._history.drop())
        return True

    def forget(self, image: str, layers: Iterable[str] = ()) -> None:
        """Drop what was found on an image that is gone, and its pixels with it.

        ``layers``: keys of prompt layers that stay for the next image: no step fills them again.
        """
        empty: dict[str, object] = dict.fromkeys(layers, ())

        def without(step: UndoStep) -> UndoStep:
            kept = tuple(preview for preview in step.previews if preview.target.image != image)
            prompts = step.prompts
            if isinstance(prompts, dict):
                prompts = prompts | {key: empty[key] for key in prompts.keys() & empty.keys()}
            return replace(step, previews=kept, prompts=prompts)

        self._history.change(without)

    def note_edits(self, edits: Iterable[tuple[Preview, Preview]]) -> None:
        """Put results that the user has changed in the place of what they were, in all steps.

        ``edits``: results before and after.
        """
        changes = dict(edits)
        if not changes:
            return
        known, seed = self.current.prompts, self.current.seed
        later = {
            before: self.part_from_prompts(
                before, after, {seed.record.id} if seed and seed.slot == before.slot else ()
            )
            for before, after in changes.items()
        }
        parted = any(later[before] is not after for before, after in changes.items())
        prompts = self._adapter.prompt_state() if parted else known

        def changed(step: UndoStep) -> UndoStep:
            if later.keys().isdisjoint(step.previews):
                return step
            if step.prompts == known:
                step = replace(step, prompts=prompts)
            previews = tuple(later.get(preview, preview) for preview in step.previews)
            seed = step.seed
            for preview in previews:
                if seed is not None and preview in later.values() and preview.slot == seed.slot:
                    seed = update_seed(seed, preview)
            return replace(step, previews=previews, seed=seed)

        self._history.change(changed)
        self._model.previews = tuple(
            later.get(preview, preview) for preview in self._model.previews
        )
        self._update_model()

    def part_from_prompts(
        self, before: Preview, after: Preview, refined: Collection[int] = ()
    ) -> Preview:
        """Remove the prompts that made objects which the user has changed.

        Else the next click would make them anew. Prompts that can't be distinguished from those of
        other objects stay, and so does what they made.

        ``before``, ``after``: the result as it was and as it is.
        ``refined``: objects whose clicks correct what is painted, and stay.
        Returns the result as it is, with objects that no prompts make anew.
        """
        changed = before.changed_in(after.segmentation).difference(refined)
        parted, edited = set[int](), after.edited
        states = self._history.states.values()
        # A click that came later made nothing of it, and is still to be answered.
        known = next((state.prompts for state in states if before in state.previews), None)
        for kind in ONE_BY_ONE:
            ids = before.made_by(kind)
            mine = ids & changed
            if not mine:
                continue
            records = [record for record in before.segmentation.objects if record.id in mine]
            dropped = [
                self._adapter.drop_prompts(before.target, (kind,), known, on)
                for on in ([None] if mine == ids else records)
            ]
            if all(dropped):
                parted |= mine
                edited -= {kind} - before.edited
        if not parted:
            return after
        return replace(
            after,
            edited=edited,
            by_hand=(after.by_hand | parted) & after.ids,
            added={kind: ids - parted for kind, ids in after.added.items()},
        )

    def change_lineage(self, change: Callable[[Lineage], Lineage]) -> None:
        """Change what is known of tracks in all steps: it is of the propagation, and no step."""
        self._history.change(lambda step: replace(step, lineage=change(step.lineage)))
        self._model.lineage = self.current.lineage

    def undo(self) -> tuple[Accepted, ...]:
        """Take the last step back; returns what had been accepted and has to be taken out."""
        before = self.current
        after = self._go_to(self._history.undo())
        return before.accepted[len(after.accepted) :]

    def redo(self) -> tuple[Accepted, ...]:
        """Take the step again that was taken back; returns what has to be put back."""
        before = self.current
        after = self._go_to(self._history.redo())
        return after.accepted[len(before.accepted) :]

    def withdraw(self, accepted: Sequence[Accepted]) -> bool:
        """Take acceptances out of all steps that came to nothing.

        Returns whether that was the latest step: then what it began with is on show again.
        """

        def has_any(step: UndoStep) -> bool:
            return any(accepted_ in accepted for accepted_ in step.accepted)

        def without(step: UndoStep) -> UndoStep:
            kept = tuple(accepted_ for accepted_ in step.accepted if accepted_ not in accepted)
            return replace(step, accepted=kept) if has_any(step) else step

        is_latest = self._history.can_undo and has_any(self.current)
        is_latest = is_latest and not has_any(self._history.before)
        if is_latest:
            self._go_to(self._history.drop())
        self._history.change(without)
        return is_latest

    def _go_to(self, step: UndoStep) -> UndoStep:
        self._adapter.set_prompt_state(step.prompts)
        self._model.previews = step.previews
        self._model.lineage = step.lineage
        self._update_model()
        self.moved.emit(step)
        return step

    def _update_model(self) -> None:
        seed = self.current.seed
        self._model.refining = seed.record.id if seed else 0
        self._model.can_undo = self._history.can_undo
        self._model.can_redo = self._history.can_redo

    def _fits(self, steps: Sequence[UndoStep]) -> bool:
        """Return whether what steps hold takes little enough memory; they may share things."""
        parts = {id(part): part for step in steps for part in _iter_parts(step)}
        self._sizes = {key: size for key, size in self._sizes.items() if key in parts}
        return sum(map(self._size_of, parts.values())) <= _MOST_BYTES

    def _size_of(self, part: object) -> int:
        """Return the memory that a part of steps takes, in bytes."""
        if id(part) not in self._sizes:
            # Held here, so that nothing else gets the identity of what is gone.
            self._sizes[id(part)] = (part, count_bytes(part))
        return self._sizes[id(part)][1]


def _iter_parts(step: UndoStep) -> Iterator[object]:
    """Yield what steps share or have for themselves."""
    yield from step.prompts.values() if isinstance(step.prompts, dict) else (step.prompts,)
    # Without the provenance, which holds the image.
    for preview in step.previews:
        yield preview.segmentation
        yield preview.hidden
    yield from step.accepted
    if step.seed is not None:
        yield step.seed


def count_bytes(part: object) -> int:
    """Return the memory of the arrays and bytes in a value of tuples, dicts and dataclasses."""
    sizes: dict[int, int] = {}
    names: dict[object, list[str]] = {}  # of the fields of each class
    waiting = [part]
    while waiting:
        value = waiting.pop()
        # Ten thousand objects have a hundred thousand numbers, so these are passed over at once.
        if value is None or type(value) in _PLAIN:
            continue
        if type(value) is ObjectRecord:
            sizes[id(value.mask)] = value.mask.nbytes
            waiting.append(value.soft)
        elif isinstance(value, np.ndarray):
            sizes[id(value)] = value.nbytes
        elif isinstance(value, bytes):
            sizes[id(value)] = len(value)
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, tuple | list):
            waiting += value
        else:
            kind = type(value)
            if kind not in names:
                names[kind] = [field.name for field in fields(kind)] if is_dataclass(kind) else []
            waiting += (getattr(value, name) for name in names[kind])
    return sum(sizes.values())


_PLAIN = frozenset((bool, int, float, str))


@dataclass(frozen=True, slots=True, eq=False)
class RefineSeed:
    """The object that clicks refine.

    ``target``: the image and the plane.
    ``record``: the object as it was when the refining began.
    ``region``: the part of the plane that the preview covers.
    ``label``: what distinguishes the preview from others of its image.
    """

    target: PlaneTarget
    record: ObjectRecord
    region: Region
    label: str = ""

    @property
    def slot(self) -> tuple[str, str]:
        """The place of the preview, see :attr:`.model.Preview.slot`."""
        return (self.target.image, self.label)

    def is_in(self, previews: Iterable[Preview]) -> bool:
        """Return whether the preview that it is from is one of these, as it is now."""
        return any(preview.slot == self.slot for preview in previews)

    def fits(self, snapshot: ImageSnapshot) -> bool:
        """Return whether a run refines it: by clicks, the latest in its part of its plane."""
        points = snapshot.prompts.points
        return (
            snapshot.target == self.target
            and bool(points)
            and self.region.holds(points[-1].y, points[-1].x)
        )

    def add_to(self, prompts: PromptSet) -> PromptSet:
        """Return the clicks with the object's mask as the start."""
        return replace(prompts, masks=(MaskPrompt(self.record.mask, self.record.region),))

    def rename(self, refined: Segmentation, *now: ObjectRecord) -> tuple[ObjectRecord, ...]:
        """Return what a run has made of the object, with its number, and its class as it is now."""
        (old, *_) = (*now, self.record)
        return tuple(
            replace(new, id=old.id, text=old.text, class_name=old.class_name or new.class_name)
            for new in refined.objects[:1]
        )


def update_seed(seed: RefineSeed, preview: Preview) -> RefineSeed | None:
    """Return a seed for going on from a preview that the user has changed; None without it."""
    there = any(record.id == seed.record.id for record in preview.segmentation.objects)
    return make_seed(preview, seed.record.id) if there else None


def make_seed(preview: Preview, object_id: int) -> RefineSeed:
    """Return the seed for refining one object of a preview.

    Raises PromptError if the preview has no such object.
    """
    objects = preview.segmentation.objects
    chosen = [record for record in objects if record.id == object_id]
    if not chosen:
        raise PromptError(
            f"The preview has no object {object_id}.", "Click on one of the previewed objects."
        )
    return RefineSeed(preview.target, chosen[0], preview.segmentation.region, preview.label)


ScanClasses: TypeAlias = "Mapping[tuple[str, str], Mapping[int, str]]"


@dataclass(frozen=True, slots=True, eq=False)
class UndoStep:
    """A state that undo goes back to.

    ``prompts``: all prompts, as the adapter gives them.
    ``previews``: the results on show, the latest last.
    ``accepted``: what has been accepted so far.
    ``seed``: the object that clicks refine.
    ``lineage``: how the tracks of the propagation were corrected, and what descends from what.
    ``scan_classes``: for the places of scans, the classes of objects that were given others before
    or after.
    """

    prompts: object
    previews: tuple[Preview, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    seed: RefineSeed | None = None
    lineage: Lineage = field(default_factory=Lineage)
    scan_classes: ScanClasses = field(default_factory=dict)


def find_accepted(step: UndoStep, before: UndoStep | None) -> tuple[Accepted, ...]:
    """Return what a step has accepted that the step before had not; nothing of the first one."""
    return () if before is None else step.accepted[len(before.accepted) :]


T = TypeVar("T")

_LEAST = 5
"""So many states are kept however much room they take."""


class History(Generic[T]):
    """States in the order in which they came, with a place among them.

    ``states``: the states to begin with.
    ``at``: which of them holds now.
    ``limit``: how many states are kept; the oldest are dropped.
    ``fits``: returns whether there is room for states; if not, the oldest are dropped.
    """

    def __init__(
        self,
        *states: T,
        at: int = 0,
        limit: int = 100,
        fits: Callable[[Sequence[T]], bool] = lambda _: True,
    ) -> None:
        self._states = list(states)
        self._numbers = list(range(len(states)))
        self._latest = self._numbers[-1]
        self._at = at
        self._limit = limit
        self._fits = fits

    @property
    def states(self) -> dict[int, T]:
        """All states in their order, by their numbers."""
        return dict(zip(self._numbers, self._states, strict=True))

    @property
    def current(self) -> T:
        """The state that holds now."""
        return self._states[self._at]

    @property
    def number(self) -> int:
        """The number of the state that holds now; each has its own."""
        return self._numbers[self._at]

    @property
    def before(self) -> T:
        """The state before the one that holds now; that one, if it is the first."""
        return self._states[max(0, self._at - 1)]

    def drop(self) -> T:
        """Forget the state that holds now, and what had been taken back; return the one before."""
        del self._states[self._at :], self._numbers[self._at :]
        self._at -= 1
        return self.current

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a later state."""
        return self._at + 1 < len(self._states)

    def push(self, state: T) -> None:
        """Go on to a new state; what had been taken back is gone."""
        self._latest += 1
        self._states = [*self._states[: self._at + 1], state][-self._limit :]
        self._numbers = [*self._numbers[: self._at + 1], self._latest][-self._limit :]
        self._at = len(self._states) - 1
        self._shrink()

    def amend(self, state: T) -> None:
        """Put another state in place of the one that holds now."""
        self._states[self._at] = state
        self._shrink()

    def change(self, change: Callable[[T], T]) -> None:
        """Put another state in place of each."""
        self._states = [change(state) for state in self._states]

    def put(self, states: Mapping[int, T]) -> None:
        """Put others in place of the states with these numbers."""
        pairs = zip(self._numbers, self._states, strict=True)
        self._states = [states.get(number, state) for number, state in pairs]
        self._shrink()

    def undo(self) -> T:
        """Go back one state and return it; at the first one, stay."""
        self._at = max(0, self._at - 1)
        return self.current

    def redo(self) -> T:
        """Go on to the state that was taken back and return it; at the last one, stay."""
        self._at = min(len(self._states) - 1, self._at + 1)
        return self.current

    def _shrink(self) -> None:
        while self._at >= _LEAST and not self._fits(self._states):
            del self._states[0], self._numbers[0]
            self._at -= 1

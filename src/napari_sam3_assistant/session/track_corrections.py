"""Correct the tracks of a propagation by hand: join, split, divisions and their links."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.lineage import Relabel
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.model import FramePlace, Message

if TYPE_CHECKING:
    from napari_sam3_assistant.core.lineage import Lineage
    from napari_sam3_assistant.session.accepting import Accepting
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.model import StackTarget
    from napari_sam3_assistant.session.propagation import Propagation


class TrackCorrections:
    """The verbs that correct tracks. Called on the GUI thread; each is a step of undo.

    A track is an object of the propagated labels, by its value there. What an engine goes on with
    later is shown by the corrected numbers.
    """

    def __init__(self, services: Services, accepting: Accepting, propagation: Propagation) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._undo = services.undo
        self._accepting, self._propagation = accepting, propagation
        self._tracks = propagation.tracks

    def join(self, track: int, other: int) -> None:
        """Make two tracks one: the later goes on the earlier, whose number both have then.

        Raises
        ------
        PromptError
            If they can't be joined, or not now.
        """
        stack = self._check(track, other)
        spans = sorted((self._tracks.frames_of(one), one) for one in (track, other))
        (before, kept), (after, gone) = spans
        if after[0] <= before[-1]:
            raise PromptError(
                f"Tracks {kept} and {gone} are both on frame {after[0]}, or come by turns.",
                "Split one of them first; Alt+click on the image merges objects of one frame.",
            )
        lineage = self._model.lineage.unlink((gone, kept))
        said = f"Tracks {kept} and {gone} are one, {kept}, now. Undo takes that back."
        self._relabel(stack, Relabel(gone, kept, after[0]), lineage, said)

    def split(self, track: int) -> None:
        """Let the rest of a track, from the frame on show on, be a track of its own.

        Raises
        ------
        PromptError
            If it does not begin before that frame and go on from there, or not now.
        ImageError
            If the image is gone, or elsewhere.
        """
        stack = self._check(track)
        frame = self._adapter.stacks.frame_on_show(stack)
        frames = self._tracks.frames_of(track)
        if not frames[0] < frame <= frames[-1]:
            raise PromptError(
                f"Track {track} goes from frame {frames[0]} to {frames[-1]}; the one on show is "
                f"{frame}.",
                "Go to the first frame that shall be of a new track.",
            )
        new = self._free()
        said = f"From frame {frame} on, track {track} is track {new}. Undo takes that back."
        self._relabel(stack, Relabel(track, new, frame), self._model.lineage, said)

    def divide(self, track: int, other: int) -> None:
        """Say that of two tracks the one that begins later is a daughter of the other.

        Where the mother goes on beside her, the rest of it is the other daughter, a new track.

        Raises
        ------
        PromptError
            If both begin on the same frame, or not now.
        """
        stack = self._check(track, other)
        tracks = sorted((track, other), key=self._begin_of)
        (mother, daughter), begins = tracks, self._begin_of(tracks[1])
        frames = self._tracks.frames_of(mother)
        if frames[0] == begins:
            raise PromptError(
                f"Tracks {track} and {other} both begin on frame {begins}.",
                "Choose a mother, which begins before, and one daughter after the other.",
            )
        links = {daughter: mother}
        said = f"Track {daughter} is a daughter of track {mother}. Undo takes that back."
        if frames[-1] < begins:
            self._step(self._model.lineage.link(links), said)
            return
        new = self._free()
        said = f"Track {mother} divides into {new} and {daughter}. Undo takes that back."
        lineage = self._model.lineage.link(links)
        self._relabel(stack, Relabel(mother, new, begins), lineage, said, {**links, new: mother})

    def unlink(self, track: int, other: int = 0) -> None:
        """Forget what a track descends from and divides into; or the link to another one alone.

        Raises
        ------
        PromptError
            If there is no such link.
        """
        self._check(track, *([other] if other else []))
        lineage = self._model.lineage
        pairs = [pair for pair in lineage.links_of(track) if not other or other in pair]
        if not pairs:
            raise PromptError(
                f"Track {track} has no link to track {other}."
                if other and other != track
                else f"Track {track} has neither a parent nor daughters.",
                "Choose tracks that descend from each other.",
            )
        ends = ", ".join(f"{child} to {parent}" for child, parent in pairs)
        self._step(lineage.unlink(*pairs), f"Unlinked: {ends}. Undo takes that back.")

    # -- inside -----------------------------------------------------------------------------

    def _check(self, *tracks: int) -> StackTarget:
        """Return what was propagated; raises PromptError if its tracks can't be corrected now."""
        why_not, stack = self._model.why_not.correct_tracks, self._model.propagated
        if why_not or stack is None:
            raise PromptError(f"{why_not or 'There is nothing propagated yet'}.")
        self._accepting.check_idle()
        self._propagation.edited.check_done()
        for track in tracks:
            if not self._tracks.frames_of(track):
                raise PromptError(f"There is no track {track}.", "Choose one that is there.")
        if len(set(tracks)) < len(tracks):
            raise PromptError("This is the same track.", "Choose two.")
        return stack

    def _free(self) -> int:
        """Return a number that no track has or had."""
        corrected = (one.new for one in self._model.lineage.relabelled)
        return max(0, *self._tracks.ids, *self._model.tracked, *corrected) + 1

    def _relabel(
        self,
        stack: StackTarget,
        change: Relabel,
        lineage: Lineage,
        said: str,
        links: dict[int, int] | None = None,
    ) -> None:
        """Give the pixels of a track another number, and keep its links; a step of undo."""
        boxes = {
            frame: region
            for frame, region in self._tracks.boxes_of(change.old).items()
            if frame >= change.first
        }
        edit = self._adapter.stacks.relabel(stack, change.old, change.new, boxes)
        after = lineage.relabel(change, lambda track: self._begin_of(track))
        if links:
            after = replace(after, parents={**after.parents, **links})
        begun = self._adapter.begin_change(FramePlace(stack.at(change.first)), edit)
        self._accepting.change([begun], said, lineage=after)

    def _begin_of(self, track: int) -> int:
        """Return the first frame of a track; one that is gone has none, and leaves nothing."""
        frames = self._tracks.frames_of(track)
        return frames[0] if frames else -1

    def _step(self, lineage: Lineage, said: str) -> None:
        self._undo.push(replace(self._undo.current, lineage=lineage))
        self._model.lineage = lineage
        self._model.message = Message(said)

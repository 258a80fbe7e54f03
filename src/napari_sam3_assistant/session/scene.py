"""What a session asks of the place where images and prompts live: the viewer, or a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from napari_sam3_assistant.core.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.display import FrameSource, ImageView
    from napari_sam3_assistant.core.images import RawPlane
    from napari_sam3_assistant.core.prompts import PromptKind
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.tracks import FrameResult, TrackScale, TrackTable
    from napari_sam3_assistant.session.model import (
        FileBackedLabels,
        PlaneTarget,
        Preview,
        StackTarget,
    )


@dataclass(frozen=True, slots=True, eq=False)
class ImageSnapshot:
    """What is on show, frozen.

    Parameters
    ----------
    target : PlaneTarget
        The image and the plane.
    view : ImageView
        What the model shall see.
    prompts : PromptSet
        The prompts of the kind that was asked for, on that plane, in its pixels.
    paths : mapping of int to Path
        The files of the images, by the token of their source.
    anchors : PromptSet
        For a phrase: points and boxes on that plane. They are no prompts of the run; in a large
        image they say where to look.
    """

    target: PlaneTarget
    view: ImageView
    prompts: PromptSet
    paths: Mapping[int, Path] = field(default_factory=dict)
    anchors: PromptSet = field(default_factory=PromptSet)


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A preview as it is on show, with what the user has changed in it.

    Parameters
    ----------
    labels : ndarray of int, shape (h, w)
        Object ids.
    axes : tuple of Axis
        What a file can say of their place: the size of a pixel, and where the first one lies.
    """

    labels: npt.NDArray[np.integer[Any]]
    axes: Axes


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What accepting a preview wrote, so that it can be taken back.

    Parameters
    ----------
    ids : tuple of int
        The objects' values in the accepted labels.
    image : str
        Key of the image.
    shape : tuple of int
        Shape of the accepted labels.
    parts : tuple
        For each object the slices and the pixels that it took, as a mask.
    on_disk : bool
        Whether the labels are in a temporary folder, which goes with their layer.
    """

    ids: tuple[int, ...]
    image: str
    shape: tuple[int, ...]
    parts: tuple[tuple[tuple[slice, ...], npt.NDArray[np.bool_]], ...]
    on_disk: bool = False


class Scene(Protocol):
    """Where images and prompts live. Called on the GUI thread only."""

    @property
    def stacks(self) -> Stacks:
        """The same of whole stacks, for 3D/video."""

    @property
    def tracks(self) -> TracksOnShow:
        """The tracks of what was followed through a stack."""

    def take_view(self, image: str) -> ImageView:
        """Return what the model would see of the plane on show.

        Raises
        ------
        ImageError
            If the image is gone or has no such plane.
        """

    def take_snapshot(self, image: str, kind: PromptKind) -> ImageSnapshot:
        """Freeze the plane on show and the prompts of one kind on it.

        Raises
        ------
        ImageError
            If the image is gone or has no such plane.
        """

    def take_snapshots(
        self, image: str, kind: PromptKind, *, every_image: bool
    ) -> tuple[tuple[ImageSnapshot, ...], tuple[str, ...]]:
        """Freeze one image or every image, with the prompts of the chosen one on each.

        Parameters
        ----------
        image : str
            The chosen image; prompts lie where they are in the world.
        kind : PromptKind
            The kind of prompt.
        every_image : bool
            Whether to take the other images, too.

        Returns
        -------
        tuple of Shot, tuple of str
            The images, and why others can't be taken.

        Raises
        ------
        ImageError
            If the chosen image is gone.
        """

    def prompt_state(self) -> object:
        """Return all prompts as a value that :meth:`set_prompt_state` takes."""

    def set_prompt_state(self, state: object) -> None:
        """Put all prompts back as they were."""

    def clear_prompts(self, image: str) -> None:
        """Remove the prompts of an image."""

    def accept(self, preview: Preview) -> Accepted:
        """Add the preview's objects to the accepted labels; returns what undoes it."""

    def undo_accept(self, accepted: Accepted) -> bool:
        """Take accepted objects out again; returns whether their layer is there."""

    def redo_accept(self, accepted: Accepted) -> bool:
        """Put accepted objects back; returns whether their layer is there."""

    def edits(self) -> tuple[tuple[Preview, Preview], ...]:
        """Return the previews that the user has changed the pixels of, before and after.

        From then on the later ones are those on show, with their rows and boxes.
        """

    def find_earlier(self) -> tuple[Preview, ...]:
        """Return the previews that an earlier session has left on show, the latest last."""

    def pixels(self, preview: Preview) -> Pixels:
        """Return a preview as it is on show.

        Raises
        ------
        ImageError
            If its layer is gone.
        """

    def raw_plane(self, preview: Preview | FileBackedLabels) -> RawPlane:
        """Return the pixels below a preview.

        Raises
        ------
        ImageError
            If the image is gone.
        """

    def add_features(
        self,
        preview: Preview | FileBackedLabels,
        ids: Sequence[int],
        columns: Mapping[str, Sequence[object]],
    ) -> None:
        """Add columns to the features of a result's layer, if it is still there.

        Parameters
        ----------
        preview : Preview or FileBackedLabels
            The result.
        ids : sequence of int
            The objects.
        columns : mapping of str to sequence
            For each column a value for each object.
        """

    def keep(self, preview: Preview) -> str:
        """Keep the preview as a saved labels layer; returns its name."""

    def file_of(self, image: str) -> Path | None:
        """Return the file that an image was read from; None if there is none."""

    def plane_axes(self, target: PlaneTarget) -> Axes:
        """Return what a file can say of the place of a whole plane of an image.

        Raises
        ------
        ImageError
            If the image is gone.
        """

    def show_stored(self, stored: FileBackedLabels) -> str:
        """Show labels that are in a file; returns the name of their layer, empty for none.

        An earlier layer of the same file is replaced. There is none where the image is gone.
        """

    def refresh_stored(self, stored: FileBackedLabels, changed: Region | None) -> None:
        """Take note that labels in a file changed in a region; None for anywhere."""

    def remove_stored(self, stored: FileBackedLabels) -> None:
        """Remove the layer of labels in a file; the file stays."""


class TracksOnShow(Protocol):
    """The tracks of a propagation in the viewer. GUI thread only."""

    def show(self, stack: StackTarget, table: TrackTable) -> None:
        """Show tracks in the place of those that are shown.

        Raises
        ------
        ImageError
            If the image is gone, or has too many axes.
        """

    def remove(self) -> None:
        """Show no tracks."""

    def scale(self, stack: StackTarget) -> TrackScale:
        """Return the size of a pixel.

        Raises
        ------
        ImageError
            If the image is gone.
        """


@dataclass(frozen=True, slots=True, eq=False)
class StackSnapshot:
    """A stack and the prompts on it, frozen.

    Parameters
    ----------
    target : StackTarget
        The image, the plane on show, and the axis of the frames.
    frame : int
        The frame on show.
    frames : FrameSource
        The stack, as the model shall see it.
    prompts : mapping of int to PromptSet
        The prompts of the kind that was asked for, by frame, in pixels of the plane.
    paths : mapping of int to Path
        The files of the images, by the token of their source.
    """

    target: StackTarget
    frame: int
    frames: FrameSource
    prompts: Mapping[int, PromptSet]
    paths: Mapping[int, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class StackPixels:
    """The labels of a propagation as they are on show.

    Parameters
    ----------
    shape : tuple of int
        Number of frames, height and width.
    read : callable
        Returns a frame's object ids, shape (H, W); any thread may call it.
    labels : ndarray of int, shape (F, H, W), or None
        All of them, sharing memory with the layer; None where they are on disk.
    axes : tuple of Axis
        What a file can say of their place; the axis of the frames is z, or t where it is named so.
    """

    shape: tuple[int, int, int]
    read: Callable[[int], npt.NDArray[np.uint32]]
    labels: npt.NDArray[np.uint32] | None
    axes: Axes


@dataclass(frozen=True, slots=True, eq=False)
class StackCopy:
    """A copy of propagated labels on its way.

    Parameters
    ----------
    frames : tuple of int
        The frames to copy.
    copy : callable
        Copies one frame; any thread may call it.
    add : callable
        Adds the copy as a layer and returns its name. GUI thread only.
    """

    frames: tuple[int, ...]
    copy: Callable[[int], None]
    add: Callable[[], str]


class Stacks(Protocol):
    """Stacks, prompts on all of their slices, and labels that fill up. GUI thread only."""

    def take_snapshot(self, image: str, kind: PromptKind, axis: int) -> StackSnapshot:
        """Freeze a stack and the prompts of one kind on all of its slices.

        Raises
        ------
        ImageError
            If the image is gone or has no such axis.
        """

    def find_earlier(self) -> StackTarget | None:
        """Return what the labels belong to that an earlier session has left on show, or None."""

    def show(self, stack: StackTarget, result: FrameResult) -> None:
        """Write a frame into the propagated labels, which the first frame makes.

        Raises
        ------
        ImageError
            If the layer can't be made, or is gone.
        """

    def plane(self, stack: StackTarget, frame: int) -> npt.NDArray[np.uint32]:
        """Return a copy of the labels of a frame, shape (H, W)."""

    def erase(self, stack: StackTarget, object_id: int, where: Mapping[int, Region]) -> None:
        """Take an object out of the labels, given its bounding box on each frame."""

    def remove(self) -> None:
        """Remove the propagated labels."""

    def finish(self) -> None:
        """Draw what was put off while frames came in."""

    def pixels(self, stack: StackTarget) -> StackPixels:
        """Return the propagated labels as they are on show.

        Raises
        ------
        ImageError
            If the layer is gone.
        """

    def copy(self, stack: StackTarget) -> StackCopy:
        """Begin to copy the propagated labels into a saved layer.

        Raises
        ------
        ImageError
            If the layer is gone.
        """

    def hand_over(self, stack: StackTarget) -> str:
        """Make the propagated labels themselves a saved layer; returns its name.

        Raises
        ------
        ImageError
            If the layer is gone.
        """

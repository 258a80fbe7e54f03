"""What the session takes from the viewer: what is on show, frozen, and the pixels of results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.images import UNKNOWN_PIXEL, PixelSize
from napari_sam3_assistant.core.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.display import FrameSource, ImageView
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.masks.merge import ObjectMask
    from napari_sam3_assistant.core.objects_by_slice import Known
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.session.values import PlaneTarget, StackTarget


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
    address : str
        Where on a server the image was opened from; empty for elsewhere, and for several images.
    pixel : PixelSize
        The size of a pixel of the plane, as far as it is known.
    """

    target: PlaneTarget
    view: ImageView
    prompts: PromptSet
    paths: Mapping[int, Path] = field(default_factory=dict)
    anchors: PromptSet = field(default_factory=PromptSet)
    address: str = ""
    pixel: PixelSize = UNKNOWN_PIXEL


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


@dataclass(slots=True, eq=False)
class Accepted:
    """What was written to accepted labels, or to propagated ones, so that it can be taken back.

    Parameters
    ----------
    image : str
        Key of the image.
    shape : tuple of int
        Shape of the labels.
    ids : tuple of int
        The values of objects that came or were changed; none while they are being written.
    edit : LabelEdit or None
        The pixels that they took; None while they are being written.
    features : mapping of str to list
        What is known of the objects, by column: one row an object.
    folder : Path or None
        The folder that the labels are in; None where they are in memory.
    lasts : bool
        Whether that folder stays when their layer goes.
    known : int
        How many objects were left out, since they had been accepted already.
    gone : mapping of str to list
        What was known of objects that were changed or went.
    propagated : bool
        Whether the labels are propagated ones.
    """

    image: str
    shape: tuple[int, ...]
    ids: tuple[int, ...] = ()
    edit: LabelEdit | None = None
    features: Mapping[str, list[Any]] = field(default_factory=dict)
    folder: Path | None = None
    lasts: bool = False
    known: int = 0
    gone: Mapping[str, list[Any]] = field(default_factory=dict)
    propagated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class KeptPixels:
    """The accepted labels of an image, and the objects on show that would join them.

    Parameters
    ----------
    labels : array-like of int
        The accepted labels, sharing memory with their layer.
    axes : tuple of Axis
        What a file can say of their place.
    parts : tuple
        For each object on show the slices and the pixels of the labels that it has, as a mask.
    features : mapping of str to list
        What is known of the accepted objects, by column.
    of_parts : tuple of mapping
        What a note says of each object on show; its id is its number there.
    """

    labels: AnyArray
    axes: Axes
    parts: tuple[tuple[Box, ObjectMask], ...]
    features: Mapping[str, list[Any]] = field(default_factory=dict)
    of_parts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedState:
    """The accepted labels of an image as they are now.

    Parameters
    ----------
    labels : array-like of int
        The labels, sharing memory with their layer.
    axes : tuple of Axis
        What a file can say of their place.
    features : mapping of str to list
        What is known of the objects, by column.
    """

    labels: AnyArray
    axes: Axes
    features: Mapping[str, list[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class OtherLabels:
    """What a layer of labels holds of an image.

    Parameters
    ----------
    target : PlaneTarget
        The image, and the plane on show.
    plane : ndarray of int, shape (H, W)
        The labels on that plane.
    name : str
        The name of the layer.
    known : mapping of int to Known
        What its features say of the objects.
    whole : array-like of int or None
        All of its labels, where they lie on the image pixel on pixel, see :func:`.result_shape`.
    """

    target: PlaneTarget
    plane: npt.NDArray[np.int64]
    name: str
    known: Mapping[int, Known]
    whole: AnyArray | None = None


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
    pixel : PixelSize
        The size of a pixel of its planes, as far as it is known.
    """

    target: StackTarget
    frame: int
    frames: FrameSource
    prompts: Mapping[int, PromptSet]
    paths: Mapping[int, Path] = field(default_factory=dict)
    pixel: PixelSize = UNKNOWN_PIXEL


@dataclass(frozen=True, slots=True, eq=False)
class TrackingState:
    """What is kept of a propagation in a session, to go on with it.

    Parameters
    ----------
    left : tuple of (int, int, int)
        The passes that are not done yet: start, stop and step of each.
    followed : tuple of int
        The objects that are looked for, by the numbers that the engine gave them.
    given : tuple of mapping of int to PromptSet
        The prompts that it was given, run by run, by frame.
    prompted : mapping of int to frozenset of int
        On which frames each object was prompted, by the numbers that the engine gave them.
    """

    left: tuple[tuple[int, int, int], ...]
    followed: tuple[int, ...]
    given: tuple[Mapping[int, PromptSet], ...]
    prompted: Mapping[int, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftImage:
    """The image of a folder that is annotated, in a session: the folder keeps all else itself.

    Parameters
    ----------
    source, output : str
        Folder of the images, and of their labels.
    name : str
        The image, as seen from the folder.
    key : str
        Key of its layer; empty where it could not be read.
    stamp : str or None
        The stamp of its labels as they were read or saved last; None for none.
    """

    source: str
    output: str
    name: str
    key: str
    stamp: str | None


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

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.uint32]:
        """Type of a pixel."""
        return np.dtype(np.uint32)

    def __getitem__(self, box: Box) -> npt.NDArray[np.uint32]:
        """Return a box of the labels, of which whole frames are read, and no others."""
        frames, *part = box
        return np.stack([self.read(at)[tuple(part)] for at in range(frames.start, frames.stop)])


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


@dataclass(frozen=True, slots=True, eq=False)
class PictureSource:
    """Where the picture of an object comes from; its parts are read when they are asked for.

    Parameters
    ----------
    view : ImageView
        The plane, as the user sees it.
    region : Region
        The object's bounding box.
    mask : callable
        Returns which pixels of a region within that box are the object's, shape (h, w).
    """

    view: ImageView
    region: Region
    mask: Callable[[Region], npt.NDArray[np.bool_]]

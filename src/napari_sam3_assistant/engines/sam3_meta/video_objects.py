"""One prompted object on its way through a stack, by the tracker of Meta's package.

Each object has a state of its own, as the package makes one for each object that is clicked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.sam3_meta import compat_video, video_memory
from napari_sam3_assistant.engines.sam3_track import Followed
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch

    from napari_sam3_assistant.core.tracks import Seed

MOST_POINTS = 16
"""``max_point_num_in_prompt_enc``: of more points the tracker leaves out those in the middle."""

# A box goes to the tracker as two points, its corners.
_CORNERS = 2


def check_seed(seed: Seed) -> None:
    """Refuse what the tracker would take only in part.

    Raises
    ------
    PromptError
        If there are too many points.
    """
    corners = _CORNERS if seed.box is not None else 0
    if len(seed.points) + corners > MOST_POINTS:
        box = " beside a box" if corners else ""
        raise PromptError(
            f"SAM 3 (Meta sam3 package) takes up to {MOST_POINTS - corners} points{box} on one "
            f"object and frame, these are {len(seed.points)}.",
            "Remove the points that matter least, or paint the object instead.",
        )


class FollowedObject(Followed):
    """An object and what the tracker remembers of it.

    Parameters
    ----------
    tracker : Sam3TrackerPredictor
        The tracker.
    features : dict
        Where the features of the frame that is worked on are.
    shape : tuple of int
        Height and width of a frame.
    count : int
        Number of frames of the stack.
    on_cpu : bool
        Whether its memory lies in the computer's memory.
    """

    def __init__(
        self,
        tracker: Any,  # noqa: ANN401 - sam3 ships no types
        features: compat_video.Features,
        shape: tuple[int, int],
        count: int,
        *,
        on_cpu: bool,
    ) -> None:
        super().__init__()
        self.state = compat_video.new_tracker_state(tracker, features, shape, count, on_cpu=on_cpu)
        self._shape = shape
        self._memory = video_memory.Memory(tracker)

    @property
    def read(self) -> Collection[int]:
        """The frames whose prompts were read."""
        conditions: dict[int, object] = self.state["output_dict"]["cond_frame_outputs"]
        return conditions.keys()

    def begin(self, frame: int, *, reverse: bool) -> None:
        """Make ready for a pass."""
        self._memory.begin(self.state, frame, reverse=reverse)

    def prompt(self, tracker: Any, frame: int) -> None:  # noqa: ANN401
        """Segment the object on a frame by its prompts there; the features are there."""
        import torch

        seed = self.pending[frame]
        if video_memory.is_bare(self.state, frame):
            # It would be taken for a first guess.
            video_memory.forget(self.state, frame)
        if seed.mask is not None:
            painted = torch.from_numpy(seed.mask.to_plane(self._shape))
            compat_video.add_mask(tracker, self.state, frame, painted)
        else:
            compat_video.add_points(tracker, self.state, frame, *points_of(seed, self._shape))
        del self.pending[frame]
        self._memory.trim(self.state)

    def follow(
        self,
        tracker: Any,  # noqa: ANN401
        frame: int,
        *,
        reverse: bool,
        fill_area: int,
    ) -> tuple[torch.Tensor, float]:
        """Return the object's low-resolution mask logits, (h, w), on a frame, and its score."""
        found = compat_video.follow(
            tracker, self.state, frame, reverse=reverse, fill_area=fill_area
        )
        self._memory.reached(self.state, frame, reverse=reverse)
        return found


def points_of(
    seed: Seed, shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return clicks and box of a seed as parts of the frame's width and height.

    Returns
    -------
    points : torch.Tensor, shape (N, 2), dtype float32
        x and y of the clicks.
    labels : torch.Tensor, shape (N,), dtype int32
        1 for a click on the object, 0 for one beside it.
    box : torch.Tensor, shape (4,), or None
        x0, y0, x1, y1.
    """
    import torch

    height, width = shape
    clicks = [(point.x / width, point.y / height) for point in seed.points]
    points = torch.tensor(clicks, dtype=torch.float32).reshape(-1, 2)
    labels = torch.tensor([point.positive for point in seed.points], dtype=torch.int32)
    if seed.box is None:
        return points, labels, None
    box = seed.box.intersect(Region.whole(shape))
    ends = (box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height)
    return points, labels, torch.tensor(ends, dtype=torch.float32)

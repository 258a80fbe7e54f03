"""Steps of the mask operations that are more than an edit of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.session.masks.scene import TakenLayer


@dataclass(slots=True, eq=False)
class Made:
    """A layer that was made.

    Parameters
    ----------
    action : str
        What made it, for the user.
    taken : TakenLayer or None
        The layer, while the step is taken back.
    """

    action: str
    taken: TakenLayer | None = None

    @property
    def nbytes(self) -> int:
        """How much memory the step takes: the layer counts while it is not in the viewer."""
        return self.taken.nbytes if self.taken else 0


@dataclass(slots=True, eq=False)
class Filled:
    """A layer that was filled anew with labels of the same type.

    Parameters
    ----------
    action : str
        What filled it, for the user.
    edit : LabelEdit
        Its pixels.
    before, after : dict
        What was known of it, and what is.
    """

    action: str
    edit: LabelEdit
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """How much memory the step takes."""
        return self.edit.nbytes


@dataclass(slots=True, eq=False)
class Swapped:
    """A layer that was filled anew with labels of another type.

    Parameters
    ----------
    action : str
        What filled it, for the user.
    labels : ndarray of int
        The labels that are not in the layer now: the old ones, or once taken back the new ones.
    metadata : dict
        What is known of these.
    """

    action: str
    labels: npt.NDArray[np.integer[Any]]
    metadata: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """How much memory the step takes."""
        return self.labels.nbytes

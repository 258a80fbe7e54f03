"""What a scan is given and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.options import PredictOptions, TileOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import Provenance
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.core.views import ImageView


@dataclass(frozen=True, slots=True, eq=False)
class ScanRequest:
    """What to scan, frozen before it starts.

    Parameters
    ----------
    view : ImageView
        What the model shall see.
    prompts : PromptSet
        A phrase, or examples in pixels of the plane.
    output : Path
        The zarr folder of the labels; while the scan runs they are in a folder beside it.
    options : PredictOptions
        The choices of the run.
    tiles : TileOptions
        How the plane is cut.
    axes : tuple of Axis or None
        Rows and columns of the labels; None where the size of a pixel is not known.
    overwrite : bool
        Whether existing labels of that name may be replaced.
    model_folder : Path or None
        Folder of the weights, for the note beside the labels.
    paths : mapping of int to Path
        The file of each image by the token of its source, for the note.
    series : int or None
        Which image of the file it is, where that is known.
    notes : tuple of str
        What the user should know of the image.
    """

    view: ImageView
    prompts: PromptSet
    output: Path
    options: PredictOptions = field(default_factory=PredictOptions)
    tiles: TileOptions = field(default_factory=TileOptions)
    axes: Axes | None = None
    overwrite: bool = False
    model_folder: Path | None = None
    paths: Mapping[int, Path] = field(default_factory=dict)
    series: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanStep:
    """How far a scan is; the first one comes before the first tile.

    Parameters
    ----------
    labels : Path
        Folder of the labels so far: an OME-Zarr image whose levels are being filled.
    done, total : int
        Tiles.
    objects : int
        Objects so far.
    changed : Region or None
        A box around all labels that were written since the last step: those of this tile, and
        what was joined to them, or of the one before where tiles take less time than writing.
    seconds_left : float or None
        Time left; None while it is not known.
    kept : int
        How many tiles an earlier start has finished.
    """

    labels: Path
    done: int
    total: int
    objects: int
    changed: Region | None = None
    seconds_left: float | None = None
    kept: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ScanResult:
    """What a scan found.

    Parameters
    ----------
    path : Path
        The OME-Zarr image of the labels.
    shape : tuple of int
        Height and width of the plane.
    objects : tuple of StitchedObject
        The objects, by id.
    tiles : int
        How many tiles there were.
    engine : Provenance
        What made it.
    notes : tuple of str
        What the user should know about how it came about.
    """

    path: Path
    shape: tuple[int, int]
    objects: tuple[StitchedObject, ...]
    tiles: int
    engine: Provenance
    notes: tuple[str, ...] = ()

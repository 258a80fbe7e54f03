"""What the user chose for work on whole folders and for results too large for memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from psygnal import SignalGroupDescriptor

from napari_sam3_assistant.core.options import TileOptions

if TYPE_CHECKING:
    from napari_sam3_assistant.workflows.find_series import FolderSeries

LARGEST = -1
"""The series that stands for the largest image of each file."""

REMEMBERED_ON_DISK = (
    "scan_folder",
    "scan_tile",
    "scan_overlap",
    "folder_source",
    "folder_output",
    "folder_pattern",
    "folder_format",
    "folder_skips",
    "folder_series",
)


@dataclass(frozen=True, slots=True)
class StoppedScan:
    """A scan that was stopped and can go on.

    Parameters
    ----------
    choices : tuple
        What was scanned and how, see :attr:`.scanning.Scanning.choices`.
    done, total : int
        Tiles.
    """

    choices: tuple[object, ...]
    done: int
    total: int


@dataclass
class DiskModel:
    """The state of scans, of merged regions and of folder batches.

    Every field tells its changes by ``events.<field>``.

    Parameters
    ----------
    scan_folder : str
        Where scans and merged regions are written; empty for the folder that is proposed.
    scan_tile : int
        Side of a tile in pixels.
    scan_overlap : int
        What two tiles have in common, in percent of a tile's side.
    stopped_scan : StoppedScan or None
        The scan that was stopped last.
    folder_source : str
        Folder of the images of a folder batch; empty for none yet.
    folder_output : str
        Folder of its labels; empty for none yet.
    folder_pattern : str
        Which files, as ``*.tif``.
    folder_format : str
        Ending of the labels: ``.tif``, ``.png``, ``.npy`` or ``.zarr``.
    folder_skips : bool
        Whether images that are finished are left out.
    folder_series : int
        Which image of files that hold several, from 0; ``LARGEST`` for the largest.
    folder_series_found : FolderSeries or None
        What the first files of the folder hold; None while that is not known.
    folder_done : str
        Folder of the labels of the batch that ran last; empty for none.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    scan_folder: str = ""
    scan_tile: int = 1024
    scan_overlap: int = 15
    stopped_scan: StoppedScan | None = None
    folder_source: str = ""
    folder_output: str = ""
    folder_pattern: str = "*"
    folder_format: str = ".tif"
    folder_skips: bool = True
    folder_series: int = LARGEST
    folder_series_found: FolderSeries | None = None
    folder_done: str = ""

    def tiles(self) -> TileOptions:
        """Return how a scan cuts the plane.

        Raises
        ------
        PromptError
            If the choices can't be used.
        """
        return TileOptions(self.scan_tile, self.scan_overlap / 100)

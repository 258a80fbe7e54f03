"""Read regions of ImageJ's ROI Manager as labels: one in a ``.roi`` file, or many in a zip.

Format: https://github.com/imagej/ImageJ/blob/master/ij/io/RoiDecoder.java
"""

from __future__ import annotations

import zipfile
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.core.masks.objects import ANY_CLASS
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import ImageError, MaskError
from napari_sam3_assistant.io.areas import Area, paint_areas
from napari_sam3_assistant.io.untrusted import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.io.areas import ImportedLabels

ROI_ENDINGS = (".roi", ".zip")
_MOST_BYTES = 1 << 28
"""Of a region, and of all regions of a file together."""
_AREAS = (ROI_TYPE.POLYGON, ROI_TYPE.RECT, ROI_TYPE.OVAL, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
_NO_AREAS = (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE)
_REMEDY = "Save the regions again: in ImageJ's ROI Manager, More > Save."


def is_rois(path: Path) -> bool:
    """Return whether a file is one of regions of ImageJ by its ending."""
    return path.suffix.lower() in ROI_ENDINGS


class RoiFile:
    """Regions of ImageJ: checked when they are read, their pixels are made when asked.

    Areas are objects, in the order of the file; points, lines, texts and pictures have no pixels
    and are counted. The format has groups by numbers and no classes, so all are of the class
    ``object``, and what is known of one is its ``group``, where it has one.

    Parameters
    ----------
    path : Path
        A ``.roi`` file, or a zip of them.

    Attributes
    ----------
    image : str
        Empty: the format has no name of the image.
    classes : ClassList
        The one class.

    Raises
    ------
    MaskError
        If it can't be read, or holds no regions.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.image = path, ""
        self.classes = ClassList((ObjectClass(1, ANY_CLASS),))
        self._left_out: Counter[str] = Counter()
        self._rois: list[ImagejRoi] = []
        try:
            # roifile raises whatever NumPy and struct do on damaged bytes.
            with map_read_errors(f"{path.name} holds no regions of ImageJ", _REMEDY):
                for content in self._contents():
                    self._take(ImagejRoi.frombytes(content))
        except ImageError as error:
            raise MaskError(error.message, error.hint) from error

    def __repr__(self) -> str:
        """Return one line: a notebook shows what a cell ends with."""
        return f"<RoiFile {self.path.name}: {pluralize(len(self._rois), 'region')}>"

    def _contents(self) -> Iterator[bytes]:
        with open_regular(self.path) as file:
            if self.path.suffix.lower() == ".roi":
                yield file.read(_MOST_BYTES)
                return
            with zipfile.ZipFile(file) as archive:
                members = [
                    member for member in archive.infolist() if member.filename.endswith(".roi")
                ]
                if not members:
                    raise MaskError(f"{self.path.name} has no .roi file in it.", _REMEDY)
                if sum(member.file_size for member in members) > _MOST_BYTES:
                    raise MaskError(f"{self.path.name} is too large.", "Split it into several.")
                for info in members:
                    with archive.open(info) as member:  # no more is unpacked than it says
                        yield member.read(info.file_size)

    def _take(self, roi: ImagejRoi) -> None:
        if roi.roitype in _AREAS and roi.subtype not in _NO_AREAS:
            self._rois.append(roi)
        else:
            self._left_out["without an area (points, lines, texts) left out"] += 1

    def paint(
        self, shape: tuple[int, int] | None = None, plane: Mapping[str, int] | None = None
    ) -> ImportedLabels:
        """Return the regions of a plane as labels.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the image, which the file does not say.
        plane : mapping of str to int, optional
            Which plane of a stack, by ``z`` and ``t``. Regions that have none are for any.

        Raises
        ------
        MaskError
            If there is no shape, or a region can't be used.
        ImageError
            If there is no memory for so many pixels.
        """
        if shape is None:
            raise MaskError(
                f"{self.path.name} does not say how large its image is.", "Give the image, too."
            )
        at = plane or {}
        try:
            with map_read_errors(f"A region of {self.path.name} can't be used", _REMEDY):
                areas = [_area(roi, at) for roi in self._rois]
        except ImageError as error:
            raise MaskError(error.message, error.hint) from error
        return paint_areas(areas, shape, at, self.classes, self._left_out)


def _area(roi: ImagejRoi, at: Mapping[str, int]) -> Area:
    """Return a region as an area of the plane that it is on; of the one on show if of any."""
    z, t = roi.z_position, roi.t_position
    if not (z or t):  # in a stack of one axis planes are counted along it
        z, t = (0, roi.position) if "t" in at and "z" not in at else (roi.position, 0)
    index = z - 1 if z > 0 else at.get("z", 0), t - 1 if t > 0 else at.get("t", 0)
    measured = {"group": float(roi.group)} if roi.group else {}
    return Area((_rings(roi),), index, ANY_CLASS, measured, even_odd=True)


def _rings(roi: ImagejRoi) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the lines of a region: ``(y, x)`` of their corners, in pixels."""
    rectangle = roi.roitype == ROI_TYPE.RECT and roi.multi_coordinates is None
    if rectangle and roi.subpixelrect:
        top, left, bottom, right = roi.yd, roi.xd, roi.yd + roi.heightd, roi.xd + roi.widthd
        lines = [np.array([(left, top), (left, bottom), (right, bottom), (right, top)])]
    else:
        lines = list(roi.coordinates(multi=True))
    rings = [np.asarray(line, float).reshape(-1, 2)[:, ::-1] for line in lines]
    if not all(np.isfinite(ring).all() for ring in rings):
        raise ValueError("a corner is not a number")
    # Those far outside are as far as any.
    return tuple(ring.clip(-1e9, 1e9) for ring in rings)

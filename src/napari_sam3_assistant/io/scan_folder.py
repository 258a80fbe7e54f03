"""The folder of a scan on its way: what is done stays, whatever ends the process.

::

    labels.zarr.scan/
        scan.json        what is scanned, with which prompts: a resumed scan must be the same
        tiles/00017.npz  the objects of one finished tile; written completely or not at all
        labels.zarr      the labels so far; made anew from the tiles by a resumed scan
        writer-...       of which process the scan is; a second one at the same time is refused

At the end the labels take their final name, ``labels.zarr``, and the folder goes.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import zipfile
import zlib
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance
from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.atomic import (
    atomic_write,
    draft_path,
    explain_os_errors,
    give_name,
    is_there,
)
from napari_sam3_assistant.io.claims import Claim
from napari_sam3_assistant.io.ome_zarr_labels import GrowingLabels, check_there
from napari_sam3_assistant.io.provenance import (
    check_provenance_path,
    removing_provenance,
    write_provenance,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.io.provenance import ProvenanceRecord


_VERSION = 1
# What reading a damaged tile file raises.
_DAMAGED = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, IndexError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, slots=True, eq=False)
class TileResult:
    """What one tile gave.

    Parameters
    ----------
    records : tuple of ObjectRecord
        Its objects in plane coordinates.
    engine : Provenance
        What made them.
    notes : tuple of str
        What the engine said.
    """

    records: tuple[ObjectRecord, ...]
    engine: Provenance
    notes: tuple[str, ...] = ()


class ScanFolder:
    """The folder of one scan.

    Parameters
    ----------
    output : Path
        The final name of the labels; ends with ``.zarr``. The folder lies beside it.
    identity : mapping
        What is scanned and how, as JSON holds it.
    overwrite : bool
        Whether labels of that name and another scan's folder may be removed.

    Raises
    ------
    ExportError
        If the labels exist, the folder is of another scan or one writes to it at the moment, or
        nothing can be written.
    """

    def __init__(
        self, output: Path, identity: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        if output.suffix != ".zarr":
            raise ExportError(
                f"A scan is written as a zarr folder, not as {output.name}.",
                f"Name it {output.name}.zarr.",
            )
        self.output = output
        self.path = scan_folder_path(output)
        self.labels_path = self.path / "labels.zarr"
        self._overwrite = overwrite
        self._claim = Claim(
            self.path,
            "writer",
            f"Another scan is writing {output} now.",
            "Wait for its end, or choose another name for the labels.",
        )
        with explain_os_errors(output):
            taken = is_there(output) and not overwrite
        check_provenance_path(output)
        if taken:
            self._remove_if_finished()
            raise NameTaken(
                f"{output} exists already.", "Choose another name, or ask to overwrite it."
            )
        self._open({"version": _VERSION, **identity})

    def _open(self, identity: Mapping[str, Any]) -> None:
        note = self.path / "scan.json"
        expected = _through_json(identity)
        self._claim.check()  # each would undo what the other did
        with explain_os_errors(self.path):
            if note.exists() and _read_json(note) != expected:
                if not self._overwrite:
                    raise ExportError(
                        f"{self.path} holds another scan that is not finished.",
                        "Choose another name for the labels, or ask to overwrite it.",
                    )
                self._remove()
            elif not note.exists() and (self.path / "tiles").exists():
                # Nobody knows of which scan these tiles are.
                self._remove()
            (self.path / "tiles").mkdir(parents=True, exist_ok=True)
            self._claim.take()
        try:
            if not note.exists():
                with atomic_write(note) as draft:
                    draft.write_text(json.dumps(expected, indent=1), "utf-8")
        except ExportError:
            self._claim.leave()
            raise

    def _remove_if_finished(self) -> None:
        """Remove what a process left that was killed after the labels got their final name."""
        if (self.path / "scan.json").exists() and not self.labels_path.exists():
            with suppress(OSError):
                self._remove()

    def _remove(self) -> None:
        """Remove the folder; a scan that begins meanwhile finds all of it, or nothing."""
        away = draft_path(self.path)
        self.path.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def _tile_path(self, number: int) -> Path:
        return self.path / "tiles" / f"{number:05d}.npz"

    def has(self, number: int) -> bool:
        """Return whether a tile is finished."""
        return self._tile_path(number).exists()

    def save(self, number: int, result: TileResult) -> None:
        """Keep what a tile gave.

        Raises
        ------
        ExportError
            If it can't be written.
        """
        records = result.records
        phrases = sorted({record.text for record in records})
        about = {
            "phrases": phrases,
            "engine": asdict(result.engine),
            "notes": list(result.notes),
        }
        masks = [np.packbits(record.mask) for record in records]
        with atomic_write(self._tile_path(number)) as draft:
            # Not compressed: that takes longer than all else, and the folder goes in the end.
            np.savez(
                draft,
                ids=np.array([record.id for record in records], np.int64),
                boxes=np.array([record.region.box for record in records], np.int64).reshape(-1, 4),
                scores=_column(record.score for record in records),
                stabilities=_column(record.stability for record in records),
                phrases=np.array([phrases.index(record.text) for record in records], np.int64),
                bits=np.concatenate([np.zeros(0, np.uint8), *masks]),
                about=np.array(json.dumps(about)),
            )

    def load(self, number: int) -> TileResult | None:
        """Return what a tile gave; None if it is not finished or its file is damaged."""
        if not self.has(number):
            return None
        try:
            with np.load(self._tile_path(number), allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                engine = Provenance(**about["engine"])
                records = tuple(_read_records(file, about["phrases"]))
        except _DAMAGED:
            return None
        return TileResult(records, engine, tuple(about["notes"]))

    def new_labels(self, axes: Axes) -> GrowingLabels:
        """Return new labels, all 0.

        Parameters
        ----------
        axes : tuple of Axis
            Rows and columns last.

        Raises
        ------
        ExportError
            If it can't be written.
        """
        return GrowingLabels(self.labels_path, axes)

    def finish(self, record: ProvenanceRecord) -> Path:
        """Write the note, give the labels their final name and remove the folder.

        Parameters
        ----------
        record : ProvenanceRecord
            What made the labels. It comes first: a scan that is killed in between goes on, and
            labels of that name always have their note.

        Returns
        -------
        Path
            The final name.

        Raises
        ------
        ExportError
            If it can't be written.
        """
        check_provenance_path(self.output)
        with explain_os_errors(self.output):
            check_there(self.labels_path)
            replaces = is_there(self.output)
            if replaces and not self._overwrite:
                raise self._name_taken_error()
            with removing_provenance(self.output) if replaces else nullcontext():
                if replaces:
                    # By a name of its own: an earlier start may have been killed at this place.
                    self.output.rename(self.path / f"replaced-{uuid.uuid4().hex}.zarr")
                self._give_name(record)
        # What is left is no longer needed; if it can't be removed now, nothing is lost.
        with suppress(OSError):
            self._remove()
        return self.output

    def _give_name(self, record: ProvenanceRecord) -> None:
        """Write the note and give the labels their name; without the name no note stays."""
        written = write_provenance(self.output, record)
        ours = written.stat()
        try:
            give_name(self.labels_path, self.output)
        except (OSError, NameTaken) as exc:
            with suppress(OSError):
                if os.path.samestat(ours, written.stat()):
                    written.unlink()
            if isinstance(exc, NameTaken):
                raise self._name_taken_error() from exc
            raise

    def _name_taken_error(self) -> NameTaken:
        return NameTaken(
            f"{self.output} was made by somebody else while the scan ran; the scan is complete in "
            f"{self.labels_path}.",
            "Move one of the two, and start the scan again.",
        )

    def leave(self) -> None:
        """Unlock the folder for others; it is removed if no tile was finished."""
        if not self._claim.leave():
            # The folder has gone, and if there is one it is of another scan.
            return
        if not count_kept_tiles(self.output):
            with suppress(OSError):
                self._remove()


def scan_folder_path(output: Path) -> Path:
    """Return the folder of a scan that is on its way to an output."""
    return output.with_name(f"{output.name}.scan")


def count_kept_tiles(output: Path) -> int:
    """Return how many tiles the folder of a scan holds; 0 where there is none."""
    return sum(1 for _ in (scan_folder_path(output) / "tiles").glob("*.npz"))


def output_path(folder: Path) -> Path:
    """Return the output that a scan's folder is on its way to."""
    return folder.with_name(folder.name.removesuffix(".scan"))


def is_folder_of(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Return whether a folder is of a scan that can go on as the one that is described.

    Parameters
    ----------
    folder : Path
        A scan's folder, which may be missing.
    identity : mapping
        As :class:`ScanFolder` takes it.
    """
    try:
        found = _read_json(folder / "scan.json")
    except OSError:
        return False
    return found == _through_json({"version": _VERSION, **identity})


def _through_json(identity: Mapping[str, Any]) -> object:
    """Return values as JSON gives them back."""
    return json.loads(json.dumps(identity))


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError:
        return None


def _column(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    """Return numbers as a column, NaN for none."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _read_records(file: Mapping[str, Any], phrases: list[str]) -> list[ObjectRecord]:
    bits = file["bits"]
    records = []
    start = 0
    names = ("ids", "boxes", "scores", "phrases", "stabilities")
    columns = (file[name].tolist() for name in names)
    for id_, box, score, phrase, stability in zip(*columns, strict=True):
        region = Region(*box)
        stop = start + -(-region.area // 8)
        mask = np.unpackbits(bits[start:stop], count=region.area).reshape(region.shape)
        known, firm = (None if np.isnan(value) else value for value in (score, stability))
        text = phrases[phrase]
        records.append(ObjectRecord(id_, mask.astype(bool), region, known, text, stability=firm))
        start = stop
    return records

"""Read the names in a PyTorch ``.pt`` archive without running what is pickled in it.

Since PyTorch 1.6 such a file is an uncompressed zip archive; ``*/data.pkl`` in it is a pickle
with the names, and the data of the tensors are files of their own.
"""

from __future__ import annotations

import pickletools
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import CheckpointInvalid

if TYPE_CHECKING:
    from pathlib import Path

# The pickle of a real checkpoint has less than 1 MB: names, shapes and file numbers.
_MAX_PICKLE = 64 * 2**20
# What zipfile and pickletools raise on damaged bytes.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,  # of encrypted files, and NotImplementedError of packings that nobody uses
    ValueError,
    LookupError,
    OverflowError,
)
_AGAIN = "Download the file again, whole."


def read_strings(path: Path) -> tuple[str, ...]:
    """Return the text strings in the archive's pickle, among them the names of the tensors.

    The pickle is taken apart into its opcodes, none of which is carried out.

    Parameters
    ----------
    path : Path
        A ``.pt`` file.

    Raises
    ------
    CheckpointInvalid
        If it is not such an archive, or incomplete.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            entry = next((item for item in entries if item.filename.endswith("/data.pkl")), None)
            # PyTorch packs nothing, so that what is packed may become far larger than the file.
            packed = any(item.compress_type != zipfile.ZIP_STORED for item in entries)
            if entry is None or packed or entry.file_size > _MAX_PICKLE:
                raise CheckpointInvalid(
                    f"{path.name} is a zip archive, but not one of PyTorch weights.", _AGAIN
                )
            pickled = archive.read(entry)
    except _DAMAGED as exc:
        # The table of contents stands at the end of the file: an incomplete one has none.
        raise CheckpointInvalid(
            f"{path.name} is not a readable PyTorch archive; the download may be incomplete.",
            _AGAIN,
        ) from exc
    try:
        return tuple(
            argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)
        )
    except _DAMAGED as exc:
        raise CheckpointInvalid(f"The list of names in {path.name} is damaged.", _AGAIN) from exc

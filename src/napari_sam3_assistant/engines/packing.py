"""How an encoding is moved between device, RAM and disk: what an engine tells of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch


@runtime_checkable
class Packable(Protocol):
    """An encoding that can be moved. Without this, an encoding stays where it was made."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the encoded image in pixels."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""

    def to(self, device: str) -> Self:
        """Return it on another device; itself where it is there already."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what has to be kept to make it again, by name."""


@runtime_checkable
class Unpacker(Protocol):
    """An engine whose encodings can be made again from their tensors."""

    @property
    def encoding_id(self) -> str:
        """Identity of package, weights and number format; empty while nothing is loaded."""

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> Packable:
        """Return the encoding, on the engine's device.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the encoded image in pixels.
        tensors : mapping
            What :meth:`Packable.tensors` returned.
        """


def size_of(embedding: object) -> int | None:
    """Return the memory that an encoding takes, in bytes; None where it does not tell."""
    size = getattr(embedding, "nbytes", None)
    return None if size is None else int(size)


def encoding_id(engine: str, version: str, weights: Path, number_format: str) -> str:
    """Return the identity of what makes encodings.

    Weights are told apart by path, size and time: reading 3 GB to tell would take seconds.

    Parameters
    ----------
    engine : str
        Name of the engine.
    version : str
        Version of the package that does the work.
    weights : Path
        The weights file.
    number_format : str
        Such as ``float32``.
    """
    about = weights.stat()
    parts = (engine, version, weights.resolve(), about.st_size, about.st_mtime_ns, number_format)
    return "|".join(map(str, parts))

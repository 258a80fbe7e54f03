"""What is computed once for an image."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from napari_sam3_assistant.engines.detections import Detections

# One set of 200 low-resolution masks takes 66 MB in float32.
_KEPT_ANSWERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class MetaEncoding:
    """The encoding of one image, for all prompts.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image in pixels.
    features : mapping
        ``backbone_out`` of ``Sam3Processor.set_image``; never written to.
    found : OrderedDict
        What the detector found, by phrase and examples, the latest last.
    """

    shape: tuple[int, int]
    features: Mapping[str, Any]
    found: OrderedDict[Any, Detections] = field(default_factory=OrderedDict)

    def state(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the package's inference state, a copy that a call may add to.

        The copy is shallow: the calls add entries and leave the image's features as they are.

        Parameters
        ----------
        extra : mapping, optional
            Entries to add to ``backbone_out``, such as an encoded phrase.
        """
        return {
            "original_height": self.shape[0],
            "original_width": self.shape[1],
            "backbone_out": {**self.features, **(extra or {})},
        }

    @property
    def nbytes(self) -> int:
        """Memory that the tensors take, in bytes."""
        # The position encodings are in there twice, once for each of the two heads.
        tensors = {id(tensor): tensor.nbytes for tensor in _tensors(self.features)}
        return sum(tensors.values()) + sum(item.masks.nbytes for item in self.found.values())

    def keep(self, key: object, detections: Detections) -> None:
        """Keep what the detector found, in place of the oldest."""
        self.found[key] = detections
        while len(self.found) > _KEPT_ANSWERS:
            self.found.popitem(last=False)


def _tensors(value: Any) -> Iterator[torch.Tensor]:  # noqa: ANN401
    if hasattr(value, "nbytes"):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)

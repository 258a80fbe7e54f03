"""What is computed once for an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.engines.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
    found : Recent
        What the detector found, by phrase and examples.
    """

    shape: tuple[int, int]
    features: Mapping[str, Any]
    found: Recent[Detections] = field(default_factory=lambda: Recent(_KEPT_ANSWERS))

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
        return sum(tensor.nbytes for tensor in self._all())

    def to(self, device: str) -> MetaEncoding:
        """Return it on another device, with what was found; itself where it is there already."""
        if str(self.features["vision_features"].device) == device:
            return self
        maps, click_maps = (
            [one.to(device) for one in part["backbone_fpn"]] for part in self._parts()
        )
        # Not the position encodings: the engine keeps one copy of them for all images.
        features = backbone_out(maps, click_maps, self.features["vision_pos_enc"])
        return MetaEncoding(self.shape, features, self.found.map(lambda item: item.to(device)))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the feature maps by name; the rest can be made of them."""
        return {
            f"{name}{number}": tensor
            for name, part in zip(("map", "click"), self._parts(), strict=True)
            for number, tensor in enumerate(part["backbone_fpn"])
        }

    def _parts(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self.features, self.features["sam2_backbone_out"]

    def _all(self) -> Iterator[torch.Tensor]:
        # The coarsest map is in there twice, under two names.
        yield from self.tensors().values()
        for detections in self.found:
            yield detections.masks


def backbone_out(
    maps: Sequence[torch.Tensor],
    click_maps: Sequence[torch.Tensor],
    positions: Sequence[torch.Tensor],
) -> dict[str, Any]:
    """Return feature maps as ``Sam3Processor.set_image`` keeps them.

    As ``SAM3VLBackbone._forward_image_no_act_ckpt``.

    Parameters
    ----------
    maps : sequence of torch.Tensor
        The detector's feature maps, fine to coarse.
    click_maps : sequence of torch.Tensor
        Those for clicks.
    positions : sequence of torch.Tensor
        The position encodings of each map.
    """

    def part(of: Sequence[torch.Tensor]) -> dict[str, Any]:
        return {"vision_features": of[-1], "vision_pos_enc": positions, "backbone_fpn": of}

    return {**part(maps), "sam2_backbone_out": part(click_maps)}

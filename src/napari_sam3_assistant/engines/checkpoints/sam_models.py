"""The models that take clicks, boxes and masks alone, as the config.json of a folder names them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class SamModel:
    """A kind of model, and the classes of transformers that it is read by.

    Parameters
    ----------
    name : str
        Its name for the user.
    network : str
        What the weights are of.
    processor : str
        What prepares images and prompts.
    package : str
        What transformers needs beside itself for it; empty for nothing.
    clicks : str
        What segments single planes with the modules of a network that follows objects; empty
        where the network does.
    """

    name: str
    network: str
    processor: str = "Sam2Processor"
    package: str = ""
    clicks: str = ""

    @property
    def follows(self) -> bool:
        """Whether it has a memory, to follow objects through a stack."""
        return bool(self.clicks)


SAM_MODELS = {
    "sam": SamModel("SAM 1", "SamModel", "SamProcessor"),
    "sam2": SamModel("SAM 2", "Sam2Model"),
    "sam2_video": SamModel("SAM 2", "Sam2VideoModel", clicks="Sam2Model"),
    "edgetam": SamModel("EdgeTAM", "EdgeTamModel", package="timm"),
    "edgetam_video": SamModel(
        "EdgeTAM", "EdgeTamVideoModel", package="timm", clicks="EdgeTamModel"
    ),
}
"""By ``model_type``."""

_HIERA: dict[tuple[int, ...], str] = {
    (1, 2, 7, 2): "tiny",
    (1, 2, 11, 2): "small",
    (2, 3, 16, 3): "base plus",
    (2, 6, 36, 4): "large",
}
_VIT = {768: "ViT-B", 1024: "ViT-L", 1280: "ViT-H"}
# What SAM 2.1 has and SAM 2.0 has not.
_SINCE_2_1 = (
    "enable_temporal_pos_encoding_for_object_pointers",
    "enable_occlusion_spatial_embedding",
)
# timm would take others from the hub or the disk.
_TIMM_NAME = re.compile(r"(timm/)?repvit_m\d[\w.]*")
_TIMM_ARGUMENTS = {"in_chans", "features_only", "out_indices", "embed_dim", "depth"}


def sam_model(settings: dict[str, Any]) -> SamModel | None:
    """Return the model that a config.json is of, with its size in its name if it was published.

    None where it is none of :data:`SAM_MODELS`.
    """
    kind = settings.get("model_type")
    model = SAM_MODELS.get(kind) if isinstance(kind, str) else None
    if model is None or model.name == "EdgeTAM":
        return model
    vision = _part(settings, "vision_config")
    if model.name == "SAM 1":
        size = _VIT.get(_number(vision.get("hidden_size", 768)), "")
        return replace(model, name=f"SAM 1 {size}".strip())
    name = model.name
    if model.follows and all(settings.get(part, True) for part in _SINCE_2_1):
        name = "SAM 2.1"
    blocks = _part(vision, "backbone_config").get("blocks_per_stage") or [1, 2, 7, 2]
    size = _HIERA.get(tuple(map(_number, blocks)), "") if isinstance(blocks, list) else ""
    return replace(model, name=f"{name} {size}".strip())


def foreign_backbone(settings: dict[str, Any]) -> str:
    """Return the image encoder that a config.json names if it is none of these models'; else empty.

    timm makes whatever it is told to, from the hub or the disk, too.
    """
    backbone = _part(_part(settings, "vision_config"), "backbone_config")
    kind = backbone.get("model_type", "")
    if kind in {"", "sam2_hiera_det_model"}:
        return ""
    name, arguments = str(backbone.get("architecture")), backbone.get("model_args") or {}
    known = isinstance(arguments, dict) and arguments.keys() <= _TIMM_ARGUMENTS
    return (
        "" if kind == "timm_wrapper" and _TIMM_NAME.fullmatch(name) and known else f"{kind} {name}"
    )


def _part(settings: dict[str, Any], name: str) -> dict[str, Any]:
    part = settings.get(name)
    return part if isinstance(part, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0

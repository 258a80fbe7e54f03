"""What was found in a model folder: which model, and which engine it is for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from napari_sam3_assistant.engines.base import EngineStatus

TRANSFORMERS = "sam3-transformers"
META = "sam3-meta"
SAM = "sam-transformers"
EVERY_ENGINE = frozenset({TRANSFORMERS, META, SAM})


class Layout(StrEnum):
    """The layouts that weights come in."""

    SAM = "SAM 1, SAM 2 or EdgeTAM for transformers"
    SEGMENT_ANYTHING = "SAM 1 in the layout of segment_anything"
    TRANSFORMERS = "SAM 3 for transformers"
    META = "SAM 3 of Meta"
    META_MULTIPLEX = "SAM 3.1 multiplex of Meta"

    @property
    def engine(self) -> str:
        """The name of the engine that reads it."""
        return {
            Layout.SAM: SAM,
            Layout.SEGMENT_ANYTHING: SAM,
            Layout.TRANSFORMERS: TRANSFORMERS,
        }.get(self, META)

    @property
    def version(self) -> str:
        """The version of SAM 3 that it is of."""
        return "SAM 3.1" if self is Layout.META_MULTIPLEX else "SAM 3.0"

    @property
    def segments_planes(self) -> bool:
        """Whether it has a model for 2D tasks; the one of SAM 3.1 is for 3D and video only."""
        return self is not Layout.META_MULTIPLEX


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    ``ok``: whether it is as it shall be.
    ``text``: what was found, a sentence for the user.
    ``remedy``: what to do; empty where it is fine.
    ``concerns``: the engines that can't work if it is not fine.
    ``missing``: whether something is not there, in contrast to wrong.
    """

    ok: bool
    text: str
    remedy: str = ""
    concerns: frozenset[str] = EVERY_ENGINE
    missing: bool = False


NO_PLANES = Finding(
    False,
    "SAM 3.1 is for 3D and video only; it has no model for 2D tasks here.",
    "For 2D tasks choose a folder with sam3.pt or model.safetensors of facebook/sam3.",
)
"""What is found where all weights are of SAM 3.1."""

# A folder need not hold weights for both engines, so this is a problem for one, not a finding.
_ABSENT = {
    TRANSFORMERS: Finding(
        False,
        "There is no model.safetensors of SAM 3, which SAM 3 by transformers needs.",
        "Download model.safetensors of facebook/sam3, or use SAM 3 by Meta's package.",
        frozenset({TRANSFORMERS}),
        missing=True,
    ),
    META: Finding(
        False,
        "There is no sam3.pt, which SAM 3 by Meta's package needs.",
        "Download sam3.pt of facebook/sam3, or use SAM 3 by transformers.",
        frozenset({META}),
        missing=True,
    ),
    SAM: Finding(
        False,
        "There is no model.safetensors of SAM 1, SAM 2 or EdgeTAM, and no SAM 1 of micro-sam.",
        "Download such a model, or use the engine that reads this folder.",
        frozenset({SAM}),
        missing=True,
    ),
}


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights that could be read.

    ``layout``: what it holds.
    ``model``: the model's name for the user, such as ``SAM 2.1 tiny``.
    """

    path: Path
    layout: Layout
    model: str

    @property
    def content(self) -> str:
        """What it holds, for the user."""
        if self.layout is Layout.SEGMENT_ANYTHING:
            return f"{self.model}, a {self.layout}"
        return f"{self.model} for transformers" if self.layout is Layout.SAM else self.layout.value


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What is in a model folder.

    ``folder``: the folder; None where none was named.
    ``findings``: all that was looked at, in order.
    ``weights``: the weights that can be used.
    """

    folder: Path | None
    findings: tuple[Finding, ...]
    weights: tuple[WeightsFile, ...] = ()

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that can load the folder for 2D tasks, the preferred one first."""
        named = dict.fromkeys(
            weights.layout.engine for weights in self.weights if weights.layout.segments_planes
        )
        return tuple(engine for engine in named if not self.problems(engine))

    @property
    def ok(self) -> bool:
        """Whether an engine can load the folder for 2D tasks."""
        return bool(self.engines)

    @property
    def video_only(self) -> bool:
        """Whether the folder holds SAM 3.1 and nothing for 2D tasks."""
        return NO_PLANES in self.findings

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        if self.ok:
            return "Model directory looks valid."
        if self.video_only:
            return "Model directory looks valid for 3D/video."
        wrong = [finding for finding in self.findings if not finding.ok]
        return f"{wrong[0].text} {wrong[0].remedy}".strip()

    def problems(self, engine: str) -> tuple[Finding, ...]:
        """Return what keeps an engine from loading the folder for 2D tasks."""
        wrong = [item for item in self.findings if not item.ok and engine in item.concerns]
        if any(weights.layout.engine == engine for weights in self.weights):
            return tuple(wrong)
        # What is wrong with the engine's own weights says more than that there are none.
        of_weights = [item for item in wrong if not item.missing or item.concerns == EVERY_ENGINE]
        return tuple(wrong) if of_weights else (_ABSENT[engine], *wrong)

    def require(self, engine: str) -> None:
        """Raise unless an engine can load the folder for 2D tasks."""
        problems = self.problems(engine)
        if not problems:
            return
        kind = CheckpointNotFound if problems[0].missing else CheckpointInvalid
        raise kind(problems[0].text, problems[0].remedy)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine for a model folder.

    ``engine``: its name.
    ``weights``: what it will load.
    ``installed``: whether it can run on this machine.
    ``reason``: why it, and what to do where it is not installed, for the user.
    """

    engine: str
    weights: WeightsFile
    installed: bool
    reason: str

    @property
    def video_only(self) -> bool:
        """Whether it is for 3D and video only."""
        return not self.weights.layout.segments_planes

    def require_planes(self) -> None:
        """Raise if it has no model for 2D tasks."""
        if self.video_only:
            raise CheckpointInvalid(NO_PLANES.text, NO_PLANES.remedy)


def choose_engine(report: FolderReport, statuses: Mapping[str, EngineStatus]) -> EngineChoice:
    """Choose the engine that can load a folder: an installed one first.

    Weights for 2D tasks, which do for 3D/video, too, come before those for 3D/video only.
    """
    usable = [
        weights
        for weights in report.weights
        if weights.layout.segments_planes and weights.layout.engine in report.engines
    ]
    if report.video_only:
        usable = list(report.weights)
    if not usable:
        wrong = next(finding for finding in report.findings if not finding.ok)
        kind = CheckpointNotFound if wrong.missing else CheckpointInvalid
        raise kind(wrong.text, wrong.remedy)
    for weights in usable:
        status = statuses.get(weights.layout.engine)
        if status is not None and status.available:
            return EngineChoice(weights.layout.engine, weights, True, _reason(weights, report))
    first = usable[0]
    status = statuses.get(first.layout.engine)
    remedy = status.reason if status is not None else "The engine is not part of this build."
    return EngineChoice(
        first.layout.engine,
        first,
        False,
        f"{_reason(first, report)} It can't run here yet: {remedy}",
    )


def _reason(weights: WeightsFile, report: FolderReport) -> str:
    read = f"{weights.path.name} holds {weights.content}, read by {weights.layout.engine}."
    if not weights.layout.segments_planes:
        return f"{read} {NO_PLANES.text} {NO_PLANES.remedy}"
    beside = {other.layout: other.path.name for other in report.weights}
    if Layout.META_MULTIPLEX not in beside:
        return read
    # Meta's engine takes SAM 3.0 where both are there.
    how = (
        "move it into a folder of its own and choose that"
        if Layout.META in beside
        else "choose the engine sam3-meta with this folder"
    )
    return f"{read} {beside[Layout.META_MULTIPLEX]} is SAM 3.1: to use it for 3D/video, {how}."


@dataclass(frozen=True, slots=True)
class SamModel:
    """A kind of model, and the classes of transformers that it is read by.

    ``name``: its name for the user.
    ``network``: what the weights are of.
    ``processor``: what prepares images and prompts.
    ``package``: what transformers needs beside itself for it; empty for nothing.
    ``clicks``: what segments single planes with the modules of a network that follows objects;
    empty where the network does.
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
_VIT_BLOCKS = {12: "ViT-B", 24: "ViT-L", 32: "ViT-H"}
_BLOCK = re.compile(r"image_encoder\.blocks\.(\d+)\.norm1\.weight")
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


def segment_anything_model(names: Iterable[str], stem: str) -> SamModel | None:
    """Return the SAM 1 that weights in the layout of segment_anything are of; None for others.

    It bears its file's name: SAM 1 as published and as others trained it differ in nothing else.
    """
    names = tuple(names)
    blocks = len(set(filter(None, map(_BLOCK.fullmatch, names))))
    others = ("prompt_encoder.", "mask_decoder.")
    if not blocks or not all(any(name.startswith(prefix) for name in names) for prefix in others):
        return None
    parts = ("SAM 1", _VIT_BLOCKS.get(blocks, ""), stem)
    return replace(SAM_MODELS["sam"], name=" ".join(filter(None, parts)))


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

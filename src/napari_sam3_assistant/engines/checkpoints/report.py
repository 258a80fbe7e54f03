"""The findings on a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound

if TYPE_CHECKING:
    from pathlib import Path

TRANSFORMERS = "sam3-transformers"
META = "sam3-meta"
EVERY_ENGINE = frozenset({TRANSFORMERS, META})


class Layout(StrEnum):
    """The layouts that SAM 3 weights come in."""

    TRANSFORMERS = "SAM 3 for transformers"
    META = "SAM 3 of Meta"
    META_MULTIPLEX = "SAM 3.1 multiplex of Meta"

    @property
    def engine(self) -> str:
        """The name of the engine that reads it."""
        return TRANSFORMERS if self is Layout.TRANSFORMERS else META

    @property
    def version(self) -> str:
        """The version of SAM that it is of."""
        return "SAM 3.1" if self is Layout.META_MULTIPLEX else "SAM 3.0"

    @property
    def segments_planes(self) -> bool:
        """Whether it has a model for 2D tasks; the one of SAM 3.1 is for 3D and video only."""
        return self is not Layout.META_MULTIPLEX


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    ok : bool
        Whether it is as it shall be.
    text : str
        What was found, a sentence for the user.
    remedy : str
        What to do; empty where it is fine.
    concerns : frozenset of str
        The engines that can't work if it is not fine.
    missing : bool
        Whether something is not there, in contrast to wrong.
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
        "There is no model.safetensors, which SAM 3 by transformers needs.",
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
}


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights that could be read.

    Parameters
    ----------
    path : Path
        The file.
    layout : Layout
        What it holds.
    """

    path: Path
    layout: Layout


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What is in a model folder.

    Parameters
    ----------
    folder : Path or None
        The folder; None where none was named.
    findings : tuple of Finding
        All that was looked at, in order.
    weights : tuple of WeightsFile
        The weights that can be used.
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
        """Return what keeps an engine from loading the folder for 2D tasks.

        Parameters
        ----------
        engine : str
            ``sam3-transformers`` or ``sam3-meta``.
        """
        wrong = [item for item in self.findings if not item.ok and engine in item.concerns]
        if any(weights.layout.engine == engine for weights in self.weights):
            return tuple(wrong)
        # What is wrong with the engine's own weights says more than that there are none.
        of_weights = [item for item in wrong if not item.missing or item.concerns == EVERY_ENGINE]
        return tuple(wrong) if of_weights else (_ABSENT[engine], *wrong)

    def require(self, engine: str) -> None:
        """Raise unless an engine can load the folder for 2D tasks.

        Raises
        ------
        CheckpointNotFound
            If the folder or a file is not there.
        CheckpointInvalid
            If a file can't be used.
        """
        problems = self.problems(engine)
        if not problems:
            return
        kind = CheckpointNotFound if problems[0].missing else CheckpointInvalid
        raise kind(problems[0].text, problems[0].remedy)

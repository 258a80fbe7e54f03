"""From a run to the note that says how to make its labels again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.io.checksums import sha256_of
from napari_sam3_assistant.io.sidecar import Sidecar
from napari_sam3_assistant.io.view_json import view_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.options import PredictOptions, TileOptions
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import ObjectRecord, Provenance
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.core.views import ImageView


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What made labels, as the run knew it.

    Parameters
    ----------
    view : ImageView
        What the model was shown.
    prompts : PromptSet
        Prompts in pixels of the plane.
    options : PredictOptions
        The choices of the run.
    engine : Provenance
        What made the labels.
    model_folder : Path or None
        Folder of the weights.
    paths : mapping of int to Path
        The file of each image, by the token of its source.
    region : Region or None
        The part of the plane; None for all of it.
    tiles : TileOptions or None
        How the plane was cut.
    axes : tuple of Axis or None
        Names of the labels' axes, and the size of a pixel.
    all_planes : bool
        Whether every plane of the image was run.
    notes : tuple of str
        What the user was told.
    series : int or None
        Which image of the file; None where that is not known.
    """

    view: ImageView
    prompts: PromptSet
    options: PredictOptions
    engine: Provenance
    model_folder: Path | None = None
    paths: Mapping[int, Path] = field(default_factory=dict)
    region: Region | None = None
    tiles: TileOptions | None = None
    axes: Axes | None = None
    all_planes: bool = False
    notes: tuple[str, ...] = ()
    series: int | None = None


def sidecar_for(
    recipe: Recipe,
    folder: Path,
    objects: Iterable[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
) -> Sidecar:
    """Return the note for labels in a folder; reads the weights once to know their checksum.

    Parameters
    ----------
    recipe : Recipe
        What made the labels.
    folder : Path
        Where they will lie.
    objects : iterable of mapping
        What is said of each object, see :func:`described`.
    extra : mapping, optional
        What the caller keeps with it.

    Raises
    ------
    EngineError
        If the weights can't be read.
    """
    weights = recipe.engine.weights
    has_file = recipe.model_folder is not None and bool(weights)
    return Sidecar(
        channels=tuple(view_to_json(recipe.view, recipe.paths, folder, recipe.series)),
        prompts=recipe.prompts,
        threshold=recipe.options.threshold,
        engine=recipe.engine,
        region=recipe.region,
        tiles=recipe.tiles,
        axes=recipe.axes,
        all_planes=recipe.all_planes,
        model_folder=str(recipe.model_folder.absolute()) if recipe.model_folder else "",
        sha256=sha256_of(Path(recipe.model_folder or "") / weights) if has_file else "",
        objects=objects,
        notes=recipe.notes,
        extra=extra or {},
    )


def described(record: ObjectRecord | StitchedObject, plane: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return what a note says of an object: all but its mask, which is in the labels."""
    told = {
        "id": record.id,
        "score": record.score,
        "area": record.area,
        "box": list(record.region.box),
        "text": record.text,
    }
    return {**told, "plane": list(plane)} if plane else told

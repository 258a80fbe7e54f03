"""A library of examples from several images, and objects that it proposes on another one.

Experimental: engines take examples from the picture that they search, so those of the library are
pasted beside it, as a scan does with those of other tiles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.prompts import ExemplarPrompt, PromptKind, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import Segmentation, paint_labels
from napari_sam3_assistant.core.tiling import LARGE_PLANE, compose_tile, crop_around
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.io.atomic import atomic_write, explain_os_errors
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.outputs import save_under_free_name
from napari_sam3_assistant.io.untrusted import (
    as_dict,
    as_flag,
    as_list,
    as_text,
    as_whole,
    open_regular,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.engines.caching_engine import CachingEngine


EXAMPLES_FOLDER = "sam3_examples"
EXPERIMENTAL = (
    "Experimental: found by examples of other images, which were pasted beside this one. Look at "
    "each object before you accept it."
)
PROMPT = "examples"
"""What a found object says of its prompt."""
_MOST_BYTES = 1 << 16  # of what is told of an example
_LARGEST_SIDE = 1024  # pixels of a picture
_MOST_USED = 6
"""So many examples of a class, the latest ones, are shown to an engine; as many negative ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An example with its surroundings.

    Parameters
    ----------
    picture : ndarray, shape (h, w, 3), dtype uint8
        A piece of its image, as the model sees it.
    region : Region
        Where it lies in the picture.
    positive : bool
        Whether such objects are looked for, or must not be found.
    class_name : str
        Its class; empty for none.
    image : str
        The image that it is from.
    """

    picture: npt.NDArray[np.uint8]
    region: Region
    positive: bool = True
    class_name: str = ""
    image: str = ""


def cut_example(
    view: ImageView, region: Region, *, positive: bool = True, class_name: str = "", image: str = ""
) -> Example:
    """Return an object of a plane as an example, with its surroundings."""
    cut = region.intersect(Region.whole(view.shape))
    if cut.is_empty:
        raise PromptError("The example lies outside the image.", "Give a box within it.")
    place = crop_around(cut, view.shape)
    return Example(view.rgb(place), cut.localise(place), positive, class_name, image)


class ExampleLibrary:
    """Examples in a folder: a picture each, and beside it what it shows.

    Parameters
    ----------
    folder : Path
        The folder; made with the first example.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, example: Example) -> Path:
        """Keep an example; returns its picture.

        Raises
        ------
        ExportError
            If it can't be written.
        """
        with explain_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        entry = {
            "box": list(example.region.box),
            "positive": example.positive,
            "class": example.class_name,
            "image": example.image,
        }

        def save(path: Path) -> None:
            with atomic_write(path, replace=False) as draft:
                iio.imwrite(draft, example.picture, plugin="pillow", extension=".png")

        path = save_under_free_name(self.folder / "example.png", save)
        # It comes last: a picture without it is no example.
        with atomic_write(path.with_suffix(".json")) as draft:
            draft.write_text(json.dumps(entry), encoding="utf-8")
        return path

    def read(self) -> tuple[Example, ...]:
        """Return the examples, the latest last; those that are damaged are passed over."""
        paths = [path for path in self.folder.glob("*.json") if path.with_suffix(".png").exists()]
        found = [_read_example(path) for path in sorted(paths, key=_age)]
        return tuple(example for example in found if example is not None)


def _age(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:  # it was removed a moment ago; that it can't be read is seen then
        return 0, path.name


def _read_example(path: Path) -> Example | None:
    try:
        with open_regular(path) as file:
            entry = as_dict(json.loads(file.read(_MOST_BYTES)))
        picture = read_image(path.with_suffix(".png"))
        height, width, *colours = picture.data.shape
        y0, x0, y1, x1 = map(as_whole, as_list(entry["box"], 4))
        region = Region(y0, x0, y1, x1)
        if max(height, width) > _LARGEST_SIDE or colours != [3] or region.is_empty:
            return None
        if region.intersect(Region(0, 0, height, width)) != region:
            return None
        return Example(
            picture.pixels().astype(np.uint8),
            region,
            as_flag(entry["positive"]),
            as_text(entry["class"]),
            PurePath(as_text(entry["image"])).name,
        )
    except (OSError, ImageError, TypeError, ValueError, KeyError, RecursionError):
        return None


def propose(
    engine: CachingEngine,
    view: ImageView,
    examples: Sequence[Example],
    options: PredictOptions,
    reporter: Reporter,
) -> Iterator[Segmentation]:
    """Yield what looks like the examples on a plane, class by class."""
    positive = [example for example in examples if example.positive]
    if not positive:
        raise PromptError(
            "There is no example of what is looked for yet.",
            "Press Add Example on an object first (api.add_example).",
        )
    if max(view.shape) > LARGE_PLANE:
        raise PromptError(
            "The image is too large for examples of other images.", "Use Scan Whole Image."
        )
    engine.spec.check_kinds(frozenset({PromptKind.EXEMPLARS}))
    reporter.report(Progress(0, 2, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    picture, whole = view.rgb(), Region.whole(view.shape)
    found: list[ObjectRecord] = []
    notes: dict[str, None] = {EXPERIMENTAL: None}
    negative = [example for example in examples if not example.positive][-_MOST_USED:]
    names = dict.fromkeys(example.class_name for example in positive)
    for done, name in enumerate(names):
        reporter.report(Progress(done, len(names), f"Looking for {name or 'objects'} by examples"))
        used = [example for example in positive if example.class_name == name][
            -_MOST_USED:
        ] + negative
        composite = compose_tile(
            picture,
            [example.picture for example in used],
            [ExemplarPrompt(example.region, example.positive) for example in used],
        )
        embedding = engine.encode(composite.picture, reporter)
        prompts = PromptSet(exemplars=composite.exemplars)
        prediction = engine.predict(embedding, prompts, options, reporter)
        notes.update(dict.fromkeys(prediction.notes))
        found += [
            replace(record, class_name=name, text=PROMPT)
            for record in composite.crop_to_tile(prediction.objects)
        ]
    objects = tuple(replace(record, id=number) for number, record in enumerate(found, 1))
    yield Segmentation(
        labels=paint_labels(objects, whole),
        objects=objects,
        region=whole,
        engine=engine.provenance(prediction),
        notes=tuple(notes),
    )

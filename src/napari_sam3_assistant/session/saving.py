"""Keeping results: as layers and as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.free_name import free_name, numbered_name, safe_name, split_ending
from napari_sam3_assistant.io.label_axes import LabelAxes
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.workflows.export import export_labels
from napari_sam3_assistant.workflows.recipe import described
from napari_sam3_assistant.workflows.save import SaveRequest, save_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.model import Preview, SessionModel
    from napari_sam3_assistant.session.scene import Scene


class Saving:
    """The verbs that keep results. All are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : Scene
        Where results are shown.
    start : callable
        Starts a job in the place of a run.
    """

    def __init__(self, model: SessionModel, scene: Scene, start: Callable[[Job], Job]) -> None:
        self._model = model
        self._scene = scene
        self._start = start

    def keep(self) -> str:
        """Keep each preview as a saved labels layer; returns the name of the latest.

        Raises
        ------
        PromptError
            If there is no preview.
        """
        names = [self._scene.keep(preview) for preview in self._found()]
        said = ", ".join(f"“{name}”" for name in names)
        self._say(f"Saved as layer{'s' * (len(names) > 1)} {said}.")
        return names[-1]

    def export(self, path: Path) -> Job:
        """Write the labels of the latest preview to a file.

        Raises
        ------
        PromptError
            If there is no preview.
        """
        labels = self._found()[-1].segmentation.labels
        job = Job("Saving", lambda reporter: export_labels(labels, path, reporter))
        job.yielded.connect(lambda saved: self._say(f"Saved {saved}."))
        return self._start(job)

    def _found(self) -> list[Preview]:
        found = [one for one in self._model.previews if one.segmentation.objects]
        if not found:
            raise PromptError("There is no preview yet.", "Press Run Preview first.")
        return found

    def _say(self, text: str) -> None:
        self._model.message = Message(text, Level.SUCCESS)


class SaveAndClean:
    """Saves every preview as a layer and a file, then frees the memory.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : Scene
        Where results are shown.
    start : callable
        Starts a job in the place of a run.
    cleaned : callable
        Called with what is to be said when every preview is safe: removes them and the model.
    """

    def __init__(
        self,
        model: SessionModel,
        scene: Scene,
        start: Callable[[Job], Job],
        cleaned: Callable[[str], None],
    ) -> None:
        self._model = model
        self._scene = scene
        self._start = start
        self._cleaned = cleaned

    def save(self) -> Job:
        """Save every preview in the chosen folder and format; nothing is overwritten.

        The previews stay until all of them are safe.

        Raises
        ------
        PromptError
            If there is no preview, or no folder is chosen.
        """
        previews = [one for one in self._model.previews if one.segmentation.objects]
        if not previews:
            raise PromptError("There is no preview yet.", "Press Run Preview first.")
        if not self._model.output_folder:
            raise PromptError("No output folder is chosen.", "Press Choose.")
        taken: set[str] = set()
        requests = [self._request(preview, len(previews) > 1, taken) for preview in previews]
        job = Job("Saving", lambda reporter: save_results(requests, reporter))
        saved: list[str] = []
        job.yielded.connect(lambda path: saved.append(str(path)))

        def end(state: JobState) -> None:
            self._model.saved = tuple(saved) or self._model.saved
            if state is JobState.DONE:
                for preview in previews:
                    self._scene.keep(preview)
                names = ", ".join(Path(one).name for one in saved)
                self._cleaned(f"Saved {names}. The previews are removed, the model is unloaded.")

        job.finished.connect(end)
        return self._start(job)

    def _request(self, preview: Preview, several: bool, taken: set[str]) -> SaveRequest:
        model, folder = self._model, Path(self._model.output_folder)
        pixels = self._scene.pixels(preview)
        shown = safe_name(preview.label or preview.target.name)
        typed = split_ending(model.output_name.strip())[0]
        if typed:
            stem = f"{safe_name(typed)}_{shown}" if several else safe_name(typed)
            wanted = folder / f"{stem}{model.output_format}"
        else:
            local = preview.recipe is not None and preview.recipe.region is not None
            image = safe_name(preview.target.name) if local else shown
            stem = f"{image}_roi_mask" if local else f"{image}_mask"
            wanted = numbered_name(folder, stem, model.output_format)
        path = free_name(wanted, taken)
        taken.add(path.name.lower())
        axes = LabelAxes.of(2, scale=pixels.scale, unit=pixels.unit)
        objects = tuple(map(described, preview.segmentation.objects))
        recipe = None if preview.recipe is None else replace(preview.recipe, axes=axes)
        return SaveRequest(pixels.labels, path, axes, recipe, objects)

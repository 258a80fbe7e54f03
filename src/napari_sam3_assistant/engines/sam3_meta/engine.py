"""The engine: SAM 3 by Meta's own package, for planes and stacks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.engines.device import objects_together
from napari_sam3_assistant.engines.sam3.engine import Sam3Engine, watch_layers
from napari_sam3_assistant.engines.sam3.track import TrackContext
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.image import (
    Grounder,
    MetaEncoding,
    backbone_out,
    decode_objects,
    decode_points,
)
from napari_sam3_assistant.engines.sam3_meta.loading import LoadedModel, load_model, sam3_version
from napari_sam3_assistant.engines.sam3_meta.video import MetaTrack

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.sam3.mask_decoder import Decoded, DecoderPrompt, PointDecoder


class Sam3MetaEngine(Sam3Engine[LoadedModel, MetaEncoding]):
    """SAM 3 by Meta's own package, from a folder with ``sam3.pt`` and its tokenizer files."""

    @property
    def version(self) -> str:
        """Version of the sam3 package."""
        return sam3_version()

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> MetaEncoding:
        """Return the encoding that :meth:`MetaEncoding.tensors` was asked of."""
        model = self.model
        # As many for clicks as for the detector.
        numbers = range(len(tensors) // 2)
        maps, click_maps = (
            [tensors[f"{name}{number}"].to(model.device) for number in numbers]
            for name in ("map", "click")
        )
        with self._call_context(model, "encode"):
            positions = model.positions(lambda: compat.position_encodings(model.model, maps))
        return MetaEncoding(shape, backbone_out(maps, click_maps, positions))

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> MetaTrack:
        """Begin to follow objects through a stack; see :class:`.engines.base.VideoEngine`."""
        del options
        context = TrackContext(frames, self._working, new_id, objects_together(self.device))
        return MetaTrack(context)

    def _which_folder(self) -> str:
        return "Choose the folder with sam3.pt of facebook/sam3."

    def _load(self, folder: Path, reporter: Reporter) -> LoadedModel:
        return load_model(folder, self._requested, self._precision, reporter)

    def _make_finder(self, model: LoadedModel) -> Grounder:
        return Grounder(model)

    def _call_context(self, model: LoadedModel, part: Hashable) -> AbstractContextManager[object]:
        del part
        return compat.call_context(model.device, model.precision)

    def _embed(
        self, model: LoadedModel, image: npt.NDArray[np.uint8], reporter: Reporter
    ) -> MetaEncoding:
        from PIL import Image

        # The package takes an array's last two axes for height and width: (H, W, 3) would
        # be read as a plane of W x 3.
        picture = Image.fromarray(np.ascontiguousarray(image))
        blocks = compat.vision_blocks(model.model)
        with watch_layers(blocks, "Encoding the image", reporter):
            made = model.processor.set_image(picture)["backbone_out"]
        features = backbone_out(
            made["backbone_fpn"],
            made["sam2_backbone_out"]["backbone_fpn"],
            model.positions(lambda: made["vision_pos_enc"]),
        )
        return MetaEncoding((image.shape[0], image.shape[1]), features)

    def _decoder(
        self, model: LoadedModel, embedding: MetaEncoding, reporter: Reporter
    ) -> Callable[[DecoderPrompt], Decoded]:
        return partial(decode_objects, model, embedding, reporter)

    def _point_decoder(self, model: LoadedModel, embedding: MetaEncoding) -> PointDecoder:
        return partial(decode_points, model, embedding)

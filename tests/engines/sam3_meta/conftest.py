"""A small SAM 3 of Meta's own classes: the package's builder at the size of a test.

The builder names its sizes inside its functions, so the classes that it calls are replaced by
ones with fewer layers and a smaller picture. Everything else is the package's: 24 M parameters,
built in less than a second, saved in the layout of ``sam3.pt``.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice, product
from types import SimpleNamespace

import numpy as np
import pytest

from contracts.documented_use import DEVICE
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines import sam3_meta
from napari_sam3_assistant.engines.sam3_meta import SPEC, compat, loading

SIZE = 112
QUERIES = 20


def _small(size, grid):
    """Return what each class is given for pictures of a size."""
    return {
        "ViT": {
            "img_size": size,
            "pretrain_img_size": size // 2,
            "embed_dim": 64,
            "depth": 2,
            "num_heads": 2,
            "mlp_ratio": 2.0,
            "global_att_blocks": (1,),
            "window_size": grid // 2,
        },
        "TransformerEncoderFusion": {"num_layers": 1},
        "TransformerDecoder": {"num_layers": 1, "num_queries": QUERIES, "resolution": size},
        "SequenceGeometryEncoder": {"num_layers": 1},
        "TransformerEncoderCrossAttention": {"num_layers": 1},
        "TransformerEncoderLayer": {"dim_feedforward": 128},
        "TransformerDecoderLayer": {"dim_feedforward": 128},
        "TransformerDecoderLayerv2": {"dim_feedforward": 128},
        "VETextEncoder": {"width": 64, "heads": 2, "layers": 2},
        "Sam3TrackerPredictor": {"image_size": size},
        "RoPEAttention": {"feat_sizes": [grid, grid]},
        "Sam3VideoInferenceWithInstanceInteractivity": {"image_size": size},
        "SimpleMaskDownSampler": {"interpol_size": [16 * grid, 16 * grid]},
    }


def _with(cls, **fixed):
    real = getattr(cls, "real", cls)  # where another size is built meanwhile

    def make(**given):
        return real(**{**given, **fixed})

    make.real = real
    return make


def _small_positions(cls, size):
    def make(**given):
        if given.get("precompute_resolution") is not None:
            given["precompute_resolution"] = size
        return real(**given)

    make.real = real = getattr(cls, "real", cls)
    return make


def _small_predictor(cls, grid):
    def make(model):
        predictor = real(model)
        # The one size that the package writes out instead of deriving it.
        predictor._bb_feat_sizes = [(grid * n, grid * n) for n in (4, 2, 1)]  # noqa: SLF001
        return predictor

    make.real = real = getattr(cls, "real", cls)
    return make


@pytest.fixture(scope="session")
def merges() -> list[str]:
    """As many different merges as CLIP has: all pairs of letters, signs and accents, until full."""
    symbols = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 300))]
    assert len(symbols) ** 2 >= loading.MERGE_COUNT
    return [f"{a} {b}" for a, b in islice(product(symbols, symbols), loading.MERGE_COUNT)]


@contextmanager
def small_builder(size):
    """Make ``sam3.model_builder`` build small models for pictures of a size."""
    grid = size // 14
    module = compat.import_model_builder(compat.choose_patches())
    with pytest.MonkeyPatch.context() as patch:
        for name, fixed in _small(size, grid).items():
            patch.setattr(module, name, _with(getattr(module, name), **fixed))
        for name, make, of in (
            ("PositionEmbeddingSine", _small_positions, size),
            ("SAM3InteractiveImagePredictor", _small_predictor, grid),
        ):
            patch.setattr(module, name, make(getattr(module, name), of))
        yield module


@pytest.fixture(scope="session")
def build_small():
    """Return the context in which the package builds small models for pictures of a size."""
    status = sam3_meta.status()
    if not status.available:
        pytest.skip(status.reason)
    return small_builder


@pytest.fixture(scope="session")
def builder(build_small):
    """``sam3.model_builder``, making small models for the whole session."""
    with build_small(SIZE) as module:
        yield module


@pytest.fixture(scope="session")
def random_weights(builder, merges, tmp_path_factory):
    """Return a function that gives random weights by their names in ``sam3.pt``."""
    import torch

    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / loading.MERGES_NAME).write_text("\n".join(["#version: 0.2", *merges]), "utf-8")

    def make(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = compat.build_image_model(builder, loading.find_bpe(folder), "cpu")
            # These two are left as the memory was; real weights fill them.
            text = model.backbone.language_backbone.encoder
            torch.nn.init.normal_(text.positional_embedding, std=0.02)
            torch.nn.init.normal_(text.text_projection, std=0.1)
        clicks = "inst_interactive_predictor.model."
        return {
            "tracker." + name.removeprefix(clicks)
            if name.startswith(clicks)
            else "detector." + name: weight
            for name, weight in model.state_dict().items()
        }

    return make


@pytest.fixture(scope="session")
def weights(random_weights):
    """Random weights by their names in ``sam3.pt``."""
    return random_weights(0)


@pytest.fixture(scope="session")
def model_folder(weights, merges, tmp_path_factory):
    """A folder with ``sam3.pt`` and ``merges.txt``, as downloaded."""
    import torch

    folder = tmp_path_factory.mktemp("sam3")
    torch.save({"model": weights}, folder / "sam3.pt")
    (folder / loading.MERGES_NAME).write_text("\n".join(["#version: 0.2", *merges]), "utf-8")
    return folder


@pytest.fixture(scope="session")
def video_folder(weights, random_weights, merges, tmp_path_factory):
    """The same with other and larger random weights in the tracker.

    With those of a new model objects are lost or fill the frame, and memory and prompts change
    next to nothing: a comparison would show nothing. Not every seed will do.
    """
    import torch

    folder = tmp_path_factory.mktemp("sam3_video")
    changed = weights | {
        name: weight if weight.is_complex() or weight.ndim < 2 else weight * 3
        for name, weight in random_weights(12).items()
        if name.startswith("tracker.")
    }
    changed["tracker.sam_mask_decoder.pred_obj_score_head.layers.2.bias"] = torch.full((1,), 3.0)
    torch.save({"model": changed}, folder / "sam3.pt")
    (folder / loading.MERGES_NAME).write_text("\n".join(["#version: 0.2", *merges]), "utf-8")
    return folder


@pytest.fixture(scope="session")
def video_engine(builder, video_folder):
    """One loaded engine for stacks, for tests that leave it as it is."""
    from napari_sam3_assistant.engines.sam3_meta.engine import Sam3MetaEngine

    engine = Sam3MetaEngine(SPEC, video_folder, DEVICE)
    engine.load(NullReporter())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def predictor(builder, video_folder):
    """The package's predictor with the weights of the folder, on the CPU."""
    from sam3.model.sam3_video_predictor import Sam3VideoPredictor

    with compat.redirect_cuda(DEVICE), compat.silence_warnings(), compat.leave_autocast():
        model = builder.build_sam3_video_model(
            checkpoint_path=str(video_folder / "sam3.pt"),
            load_from_HF=False,
            bpe_path=str(loading.find_bpe(video_folder)),
            device=DEVICE,
        ).eval()

    class OnCpu(Sam3VideoPredictor):
        def __init__(self):
            self.model = model
            self.async_loading_frames = False
            self.video_loader_type = "cv2"
            self._all_inference_states = {}  # of later code; 0.1.4 has one for the class

        def _get_torch_and_gpu_properties(self):
            return "no GPU"

    from sam3.perflib import connected_components as module

    label = module.connected_components
    with pytest.MonkeyPatch.context() as patch:
        # On the CPU it fails for frames without new objects; see compat.
        patch.setattr(
            module, "connected_components", lambda x: label(x) if len(x) else (x.int(), x.int())
        )
        yield OnCpu()


@pytest.fixture
def make_engine(builder, model_folder):
    """Make engines that are closed after the test."""
    from napari_sam3_assistant.engines.sam3_meta.engine import Sam3MetaEngine

    made = []

    def make(folder=model_folder, device=DEVICE, precision="auto"):
        made.append(Sam3MetaEngine(SPEC, folder, device, precision))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def loaded_engine(builder, model_folder):
    """One loaded engine for tests that leave it as it is."""
    from napari_sam3_assistant.engines.sam3_meta.engine import Sam3MetaEngine

    engine = Sam3MetaEngine(SPEC, model_folder, DEVICE)
    engine.load(NullReporter())
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def documented(builder, model_folder):
    """The package's own documented use: its builder, its loader, its processor."""
    with compat.redirect_cuda(DEVICE), compat.silence_warnings(), compat.leave_autocast():
        model = builder.build_sam3_image_model(
            bpe_path=str(loading.find_bpe(model_folder)),
            device="cpu",  # of GPUs it knows the current one only
            load_from_HF=False,
            checkpoint_path=str(model_folder / "sam3.pt"),
            enable_inst_interactivity=True,
        ).to(DEVICE)
    from sam3.model.sam3_image_processor import Sam3Processor

    return SimpleNamespace(
        model=model,
        processor=Sam3Processor(model, resolution=SIZE, device=DEVICE, confidence_threshold=0.2),
    )


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with structure at several scales, so that masks are not all alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3))
    fine = coarse.repeat(16, 0).repeat(16, 1)[:height, :width]
    return np.clip(fine + rng.integers(-40, 40, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_picture():
    """The function that makes pictures."""
    return picture

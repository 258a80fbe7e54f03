"""A GPU by pretence: tensors stay where they are, and what a GPU would refuse is refused.

No GPU is at hand. Each tensor is noted to be on the device that was asked for; an operation on
tensors of two devices raises, as PyTorch would on a machine with the GPU, and so does NumPy on a
tensor that is not on the CPU. Number formats need no pretence: CPU kernels refuse to mix them, too.
Where CUDA's autocast is asked for, the CPU's works, which takes the same matrix products and
convolutions. What corrupts is refused, too: to read on the CPU what a GPU still writes there (a
copy that nobody waits for, until something else is waited for), and on Apple's GPU any such copy,
since the memory may be used again before it begins. So is what Apple's GPU has not (float64).
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch  # noqa: TID253 - whoever imports this has asked for it
from torch.overrides import TorchFunctionMode  # noqa: TID253
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: TID253

from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines import device as devices

CPU = torch.device("cpu")
# Copies go from device to device, and indices may lie on the CPU.
_MAY_MIX = (
    "aten::copy_",
    "aten::_to_copy",
    "aten::_has_compatible_shallow_copy_type",
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
)
# The CPU waits for the GPU, and so for all copies before.
_WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select")
_MOVES = (torch.Tensor.pin_memory, torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda)
_COMPUTE = tuple(
    f"aten::{name}"
    for name in (
        *("linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "scaled_dot_product_attention"),
        *("conv2d", "convolution", "conv_transpose2d"),
    )
)


class _Autocast(torch.autocast):
    def __init__(self, device_type, *args, **kwargs):
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


class _Places:
    """Where each tensor is said to be; what PyTorch makes within its own functions, anywhere.

    Attributes
    ----------
    current : int
        The current CUDA device.
    seen : set of str
        The devices that there were tensors on.
    computed : set of torch.dtype
        The number formats of matrix products and convolutions on a GPU.
    late : set of torch.UntypedStorage
        Memory of the computer that a GPU may still write to.
    """

    def __init__(self):
        self._by_storage = WeakKeyDictionary()
        self.current = 0
        self.seen, self.computed = set(), set()
        self.late = WeakSet()

    def full(self, place):
        place = torch.device(place)
        return torch.device("cuda", self.current) if place == torch.device("cuda") else place

    def of(self, tensor):
        return self._by_storage.get(tensor.untyped_storage())

    def put(self, value, place):
        for tensor in _tensors(value):
            if place.type == "mps" and tensor.dtype == torch.float64:
                raise TypeError("The MPS framework doesn't support float64.")
            self._by_storage[tensor.untyped_storage()] = place
            self.seen.add(str(place))
        return value


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


class _Watch(TorchDispatchMode):
    """Refuses operations on tensors of two devices, and notes where the answers are."""

    def __init__(self, places):
        super().__init__()
        self._places = places

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = list(_tensors((args, kwargs or {})))
        seen = {self._places.of(one) for one in given if one.dim()} - {None}
        name = func.name().partition(".")[0]
        if len(seen) > 1 and name not in _MAY_MIX:
            raise RuntimeError(f"{func.name()}: tensors on {', '.join(sorted(map(str, seen)))}")
        places = {self._places.of(one) for one in given} - {None}
        if name in _COMPUTE and seen - {CPU}:
            self._places.computed.add(given[0].dtype)
        place = self._places.of(given[0]) if given and len(places) > 1 else None
        if name in _WAITS and places - {CPU}:
            self._places.late.clear()
        answer = func(*args, **(kwargs or {}))
        self._check_read(func, given, answer)
        # A number on the CPU beside a tensor on the GPU gives a tensor on the GPU.
        known = next(iter(seen or places), None) if len(seen or places) == 1 else place
        return answer if known is None else self._places.put(answer, known)

    def _check_read(self, func, given, answer):
        """Refuse an operation that has read what a GPU may still write; its views may be made."""
        late = {one.untyped_storage() for one in given} & set(self._places.late)
        made = {one.untyped_storage() for one in _tensors(answer)}
        if late and (func._schema.is_mutable or not made <= late):  # noqa: SLF001 - PyTorch's own way
            raise RuntimeError(f"{func.name()} reads what the GPU still writes.")


class _Pretend(TorchFunctionMode):
    """Takes the device out of each call and notes it."""

    def __init__(self, places):
        super().__init__()
        self._places = places

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        own = self._places.of(args[0]) if args and isinstance(args[0], torch.Tensor) else None
        if func == torch.Tensor.device.__get__:
            real = func(*args)
            return real if real.type == "meta" else own or CPU
        if func == torch.Tensor.is_cuda.__get__:
            return own is not None and own.type == "cuda"
        if func in (torch.Tensor.numpy, torch.Tensor.__array__):
            if own not in (None, CPU):
                raise TypeError(f"can't convert a tensor on {own} to numpy")
            if args[0].untyped_storage() in self._places.late:
                raise RuntimeError("NumPy reads what the GPU still writes.")
        if func in _MOVES:
            return self._copy(func, args, kwargs)
        return self._make(func, args, kwargs)

    def _copy(self, func, args, kwargs):
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func is torch.Tensor.to:
            return self._to(args, kwargs)
        place = "cpu" if func is torch.Tensor.cpu else "cuda"
        return self._move(args[0], self._places.full(place), wait=True)

    def _make(self, func, args, kwargs):
        if getattr(func, "__name__", "") == "_parse_to":
            # `Module.to` reads what it was given; its tensors are moved one by one.
            return func(*args, **kwargs)
        kwargs.pop("pin_memory", None)
        asked = kwargs.pop("device", None)
        if asked is not None:
            kwargs["device"] = "meta" if str(asked) == "meta" else CPU
        with self._autocast_of(args, kwargs):
            answer = func(*args, **kwargs)
        if asked is not None and str(asked) != "meta":
            return self._places.put(answer, self._places.full(asked))
        if not list(_tensors((args, kwargs))) and list(_tensors(answer)):
            return self._places.put(answer, CPU)
        return answer

    def _autocast_of(self, args, kwargs):
        """Return CUDA's autocast if it is on, and off for what is on the CPU."""
        places = {self._places.of(one) or CPU for one in _tensors((args, kwargs))}
        if places != {CPU} or not torch.is_autocast_enabled("cpu"):
            return nullcontext()
        return _Autocast("cuda", enabled=False)

    def _to(self, args, kwargs):
        tensor, *rest = args
        asked = kwargs.pop("device", None)
        left = []
        for one in rest:
            if isinstance(one, torch.Tensor):
                asked, kwargs["dtype"] = self._places.of(one) or CPU, one.dtype
            elif isinstance(one, str | torch.device):
                asked = one
            elif one is not None or left:
                left.append(one)
        if str(asked) == "meta":
            return tensor.to(asked, *left, **kwargs)
        # Of what is left, PyTorch takes the number format first.
        if left and not isinstance(left[0], torch.dtype):
            left.insert(0, tensor.dtype)
        changed = tensor.to(*left, **kwargs) if left or "dtype" in kwargs else tensor
        if asked is None:
            return changed
        # After device and number format, `True` is that nobody waits for the copy.
        wait = not (kwargs.get("non_blocking") or True in left[1:2])
        return self._move(changed, self._places.full(asked), wait=wait)

    def _move(self, tensor, place, *, wait):
        own = self._places.of(tensor) or CPU
        if own == place:
            return tensor
        if "mps" in {own.type, place.type} and not wait:
            raise RuntimeError(f"A copy from {own} to {place} that nobody waits for.")
        late = self._places.late
        if wait and CPU in {own, place}:
            late.clear()
        # On the GPU one copy comes after the other.
        kept, self._places.late = late, WeakSet()
        copy = self._places.put(tensor.detach().clone(), place)
        self._places.late = kept
        if own.type == "cuda" and place == CPU and not wait:
            kept.add(copy.untyped_storage())
        return copy


@contextmanager
def pretended_gpu(monkeypatch, gpu="cuda:0", *, capability=(7, 5), free_bytes=2**40):
    """Have PyTorch of this thread find a GPU; the answers about it are made up.

    Yields
    ------
    _Places
        Where tensors are, and the current CUDA device.
    """
    places = _Places()
    kind, _, number = gpu.partition(":")
    if kind == "cuda":
        cards = (devices.CudaDevice("GPU", capability),) * (int(number) + 1)
        found = devices.Devices(True, ("sm_75", "sm_80"), cards)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free_bytes, free_bytes))
    else:
        found = devices.Devices(mps=True)

    @contextmanager
    def current(device):
        before, places.current = places.current, places.full(device).index
        yield
        places.current = before

    monkeypatch.setattr(devices, "read_devices", lambda _requested="": found)
    monkeypatch.setattr(torch.cuda, "device", current)
    monkeypatch.setattr(torch, "autocast", _Autocast)
    monkeypatch.setattr(torch.amp, "autocast", _Autocast)
    with _Watch(places), _Pretend(places):
        yield places


REPORTER = NullReporter()
GPU = "cuda:0"
CLICK, BOX = PointPrompt(30, 40), BoxPrompt.from_box((12.4, 19.75, 43.7, 61.2))
MASK = MaskPrompt(np.ones((20, 20), bool), Region(20, 15, 40, 35))
PROMPTS = [
    PromptSet(points=(CLICK,)),
    PromptSet(points=(CLICK, PointPrompt(5, 5, positive=False)), boxes=(BOX,)),
    PromptSet(boxes=(BOX, BOX)),
    PromptSet(masks=(MASK,)),
    PromptSet(points=(CLICK,), masks=(MASK,)),
    PromptSet(text="cell", exemplars=(ExemplarPrompt(Region(5, 5, 30, 30)),)),
]


def movie():
    rows, columns = np.mgrid[:60, :80]
    one = 127 + 60 * np.sin(rows / 7) + 60 * np.cos(columns / 9)
    return np.stack([one] * 4).astype(np.uint8)


def go_through(engine, *, phrases=True):
    """Run every prompt on an image and through a stack, within :func:`pretended_gpu`."""
    gpu = engine.device
    engine.load(REPORTER)
    assert engine.device == gpu
    images = view_of_array(movie(), plane=0)
    encoding = engine.embed(images.rgb(), REPORTER)
    for prompts in PROMPTS:
        if prompts.kinds <= engine.spec.accepts:
            engine.predict(encoding, prompts, PredictOptions(0.0), REPORTER)
    moved = encoding.to("cpu").to(gpu)
    engine.predict(moved, PROMPTS[0], PredictOptions(0.0), REPORTER)
    unpacked = engine.unpack(encoding.shape, encoding.to("cpu").tensors())
    engine.predict(unpacked, PROMPTS[0], PredictOptions(0.0), REPORTER)
    if engine.spec.video is not None:
        names = iter(range(10, 1000))
        track = engine.track(FrameSource(images, 0), PredictOptions(), lambda: next(names))
        track.add(TrackSeed(1, 1, points=(CLICK,)))
        track.add(TrackSeed(0, 2, mask=MASK))
        track.add(TrackSeed(0, 3, box=BOX))
        if phrases:
            track.add_phrase("cell", 0)
        assert [found.frame for found in track.propagate(range(4), REPORTER)] == [0, 1, 2, 3]
        track.add(TrackSeed(2, 1, points=(CLICK, PointPrompt(5, 5, positive=False))))
        assert len(list(track.propagate(range(3, -1, -1), REPORTER))) == 4
        track.close()
    engine.close()

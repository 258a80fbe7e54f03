"""Train a network of ``engines/builtin/outline_net.npz``, which draws outlines.

Run ``python benchmarks/train_outlines.py --crops FOLDER/crops.npz --out WEIGHTS.npz`` on what
``benchmarks/outline_crops.py`` made; it needs torch, and should have a GPU. Its weights ship with
``second.`` before their names, beside those of an earlier one (``first.``) of 16, 32, 64 and 96
channels, which was trained so on one core: 10,895 steps of 12, 24, 48 and 64 channels, and 31,289
of the whole, in batches of 48. The second began with the weights of the first in its first
channels and made 3,958 steps in batches of 2,048 in 315 seconds on an H100, while eleven processes
drew nearly all of 153,229 crops; two networks trained at once. So this makes one like it, not the
same one bit for bit. ``--begin second --batch 128 --rate 5e-4`` goes on from the weights that ship:
on one core some 300 samples a second.

Each sample is a crop turned, flipped, stretched, bent, inverted and disturbed at random. Three of
five show a box, tight with a trembling hand or up to 2.1 times as large, the rest a click, in a
window 0.4 to 5 times as large as the object. Some show noise instead, in which nothing overlaps.
The network learns which pixels belong to the object, and the overlap that it reaches itself.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - nothing here works without it
import torch.nn.functional as F  # noqa: TID253 - as everyone names it
from outline_crops import OBJECT
from outline_crops import SIDE as CROP
from torch import nn  # noqa: TID253

from napari_sam3_assistant.engines.builtin.outline_net import (
    BRIGHTEST,
    DOT,
    NO_BOX,
    ROOM,
    SIDE,
    WEIGHTS,
)

CHANNELS, HIDDEN = (24, 48, 96, 128), 64
CLICKS = 0.4  # share of the samples
NOTHING = 0.04  # ... that show noise, and no object
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.set_default_device(DEVICE)
ALONG = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
FINE = (torch.arange(2 * SIDE) + 0.5) / (2 * SIDE) * 2 - 1
COARSE = CROP // 2


def convolution(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Net(nn.Module):
    """As :class:`OutlineNet` runs it, with the normalisation that is folded into the weights."""

    def __init__(self, channels=CHANNELS, hidden=HIDDEN):
        super().__init__()
        a, b, c, d = channels
        sizes = {"e1": (4, a), "e2a": (a, b), "e2b": (b, b), "e3a": (b, c), "e3b": (c, c)}
        sizes |= {"e4a": (c, d), "e4b": (d, d), "d3": (c, c), "d2": (b, b), "d1": (a, a)}
        self.threes = nn.ModuleDict({name: convolution(*size) for name, size in sizes.items()})
        sizes = {"u3": (d, c), "u2": (c, b), "u1": (b, a), "out": (a, 1)}
        self.ones = nn.ModuleDict({name: nn.Conv2d(*size, 1) for name, size in sizes.items()})
        self.head = nn.ModuleDict(
            {"h1": nn.Linear(2 * d + 3 * a + 3, hidden), "h2": nn.Linear(hidden, 1)}
        )

    def forward(self, planes):
        fine = self.threes["e1"](planes)
        middle = self.threes["e2b"](self.threes["e2a"](F.max_pool2d(fine, 2)))
        coarse = self.threes["e3b"](self.threes["e3a"](F.max_pool2d(middle, 2)))
        deep = self.threes["e4b"](self.threes["e4a"](F.max_pool2d(coarse, 2)))
        grown = deep
        for level, beside in (("3", coarse), ("2", middle), ("1", fine)):
            larger = F.interpolate(self.ones[f"u{level}"](grown), scale_factor=2, mode="nearest")
            grown = self.threes[f"d{level}"](beside + larger)
        odds = self.ones["out"](grown)
        likely = torch.sigmoid(odds.float()).detach()
        return odds[:, 0], self._expected(deep.float(), grown.float(), likely)

    def _expected(self, deep, grown, likely):
        held = F.avg_pool2d(likely, SIDE // deep.shape[2])
        area, edge = likely.sum((2, 3)), likely * (1 - likely)
        cut_off = area - likely[:, :, 1:-1, 1:-1].sum((2, 3))
        told = [
            deep.mean((2, 3)),
            grown.mean((2, 3)),
            (grown * likely).sum((2, 3)) / (area + 1),
            ((likely - 0.5).abs() * 2 * likely).sum((2, 3)) / (area + 1),
            area / SIDE**2,
            (deep * held).sum((2, 3)) / (held.sum((2, 3)) + 0.1),
            (grown * edge).sum((2, 3)) / (edge.sum((2, 3)) + 1),
            cut_off / (4 * SIDE - 4),
        ]
        return self.head["h2"](F.relu(self.head["h1"](torch.cat(told, 1))))[:, 0]

    @classmethod
    def shipped(cls, member):
        """Return a network that ships; its normalisation is in its weights and does nothing."""
        with np.load(WEIGHTS) as file:
            held = {
                name.removeprefix(f"{member}."): torch.from_numpy(file[name]).float()
                for name in file.files
                if name.startswith(f"{member}.")
            }
        channels = [len(held[f"{name}.bias"]) for name in ("e1", "e2b", "e3b", "e4b")]
        net = cls(channels, len(held["h1.bias"]))
        with torch.no_grad():
            for name, (layer, norm, _) in net.threes.items():
                outputs, inputs = layer.weight.shape[:2]
                kernel = held[name].reshape(3, 3, inputs, outputs)
                layer.weight.copy_(kernel.permute(3, 2, 0, 1))
                norm.bias.copy_(held[f"{name}.bias"])
                norm.running_var.fill_(1 - norm.eps)
                norm.eval()
            for name, layer in [*net.ones.items(), *net.head.items()]:
                layer.weight.copy_(held[name].T.reshape(layer.weight.shape))
                layer.bias.copy_(held[f"{name}.bias"])
        return net

    def weights(self):
        """Return the weights as :class:`OutlineNet` takes them, in half precision."""
        found = {}
        for name, (layer, norm, _) in self.threes.items():
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            kernel = (layer.weight * scale[:, None, None, None]).permute(2, 3, 1, 0)
            found[name] = kernel.reshape(-1, kernel.shape[-1])
            found[f"{name}.bias"] = norm.bias - norm.running_mean * scale
        for name, layer in [*self.ones.items(), *self.head.items()]:
            found[name] = layer.weight.reshape(layer.weight.shape[:2]).T
            found[f"{name}.bias"] = layer.bias
        return {
            name: value.detach().cpu().numpy().astype(np.float16) for name, value in found.items()
        }


class Samples:
    """Batches of crops, each time as another hand and another microscope would show them."""

    def __init__(self, path, count, drawn_share, seed):
        self.count = count
        with np.load(path) as file:
            self.images = torch.from_numpy(file["image"]).to(DEVICE)
            self.masks = torch.from_numpy(file["mask"]).to(DEVICE)
            self.sizes = torch.from_numpy(file["size"].astype(np.float32)).to(DEVICE)
            kinds = file["kind"]
        _, group, counts = np.unique(kinds, return_inverse=True, return_counts=True)
        drawn = np.char.startswith(kinds, "drawn")
        odds = 1 / np.where(drawn, 1, np.sqrt(counts[group]))
        share = 1.0 if drawn.all() else drawn_share if drawn.any() else 0.0
        odds[~drawn] *= (1 - share) / max(odds[~drawn].sum(), 1e-9)
        odds[drawn] *= share / max(odds[drawn].sum(), 1e-9)
        self.odds = torch.from_numpy(odds.astype(np.float32)).to(DEVICE)
        self.rng = np.random.default_rng(seed)
        self.torch = torch.Generator(DEVICE).manual_seed(seed)

    def uniform(self, count, low=0.0, high=1.0):
        return torch.rand(count, generator=self.torch) * (high - low) + low

    def normal(self, *shape):
        return torch.randn(shape, generator=self.torch)

    def now_and_then(self, count, share):
        return self.uniform(count) < share

    def batch(self):
        """Return planes, masks, how many pixels of objects lie outside, and what holds none."""
        rows = torch.multinomial(self.odds, self.count, replacement=True, generator=self.torch)
        images, masks = self.images[rows].float()[:, None], self.masks[rows].float()[:, None] / 255
        turn = self._turn()
        bend = self._bend()
        seen = self._turned(masks, turn, bend)
        box = self._bounds(seen)
        clicked = self.now_and_then(self.count, CLICKS)
        drawn = self._drawn_box(box, self.sizes[rows])
        click = self._click(seen)
        longer = (box[1] - box[0]).amax(1)
        near = self.uniform(self.count, math.log(0.8), math.log(2.5))  # larger than the window
        far = self.uniform(self.count, math.log(0.2), math.log(1.0))
        shown = torch.exp(torch.where(self.now_and_then(self.count, 0.2), near, far))
        side = torch.where(clicked, (longer / shown).clamp(max=170), ROOM * drawn[1].amax(1))
        middle = torch.where(clicked[:, None], click, drawn[0])
        grey, mask = self._seen(images, masks, turn, bend, middle, side)
        nothing = self.now_and_then(self.count, NOTHING)
        grey = torch.where(nothing[:, None, None], self._empty(), grey)
        planes = self._planes(self._disturbed(grey), clicked, drawn[1], side)
        half = side[:, None] / 2 + 0.5
        within = ((box[0] > middle - half) & (box[1] < middle + half)).all(1)
        whole = seen.float().sum((1, 2)) * (CROP / (COARSE - 1)) ** 2 / (side / SIDE) ** 2
        outside = (whole - mask.sum((1, 2))).clamp(min=0)
        return planes, mask, outside.masked_fill(within, 0.0), nothing

    def _bend(self):
        """Return how far places move so that shapes change, by some pixels, as in a crop of 2."""
        amount = self.uniform((self.count, 1, 1, 1), 0, 2.8) * self.now_and_then(
            (self.count, 1, 1, 1), 0.5
        )
        return self.normal(self.count, 2, 6, 6) * amount / (CROP / 2)

    def _turn(self):
        """Return how places of a sample lie in its crop, as matrices of (x, y)."""
        angle = self.uniform(self.count, 0, 2 * math.pi) * self.now_and_then(self.count, 0.75)
        flip = torch.where(self.now_and_then(self.count, 0.5), -1.0, 1.0)
        ratio, scale = (
            torch.exp(self.normal(self.count) * 0.15),
            torch.exp(self.normal(self.count) * 0.12),
        )
        cos, sin = torch.cos(angle), torch.sin(angle)
        turned = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
        return turned * torch.stack([flip * scale * ratio, scale / ratio], 1)[:, None]

    def _turned(self, masks, turn, bend):
        """Return masks in pixels of half the size."""
        along = torch.linspace(-1, 1, COARSE)
        places = torch.cartesian_prod(along, along).flip(1).reshape(1, COARSE, COARSE, 2)
        places = bent(places.expand(self.count, -1, -1, -1), bend).reshape(self.count, -1, 2)
        grid = (places @ turn.transpose(1, 2)).reshape(self.count, COARSE, COARSE, 2)
        return F.grid_sample(masks, grid, align_corners=False)[:, 0] > 0.5

    def _bounds(self, seen):
        """Return the first and last places (y, x) of masks, from the middle of the crop."""
        along = torch.linspace(-1, 1, COARSE) * CROP / 2
        half = CROP / 2 / (COARSE - 1)
        first, last = [], []
        for axis in (2, 1):
            held = seen.any(axis)
            some = held.any(1)
            low = torch.where(held, along, torch.tensor(1e3)).amin(1) - half
            high = torch.where(held, along, torch.tensor(-1e3)).amax(1) + half
            first.append(torch.where(some, low, torch.tensor(-OBJECT / 2)))
            last.append(torch.where(some, high, torch.tensor(OBJECT / 2)))
        return torch.stack(first, 1), torch.stack(last, 1)

    def _drawn_box(self, box, sizes):
        """Return the middle and the sides of what a hand draws round a box."""
        first, last = box
        sides = last - first
        # Up to 2 pixels of the image, whatever the size of the object.
        off = (2 * OBJECT / sizes.clamp(min=10)).clamp(max=6) * torch.exp(
            self.normal(self.count) * 0.3
        )
        off = torch.minimum(off, 0.22 * sides.amin(1))[:, None]
        loose = torch.where(
            self.now_and_then(self.count, 0.5), 1.0, self.uniform(self.count, 1, 2.1)
        )[:, None]
        moved = (self.uniform((self.count, 2)) * 2 - 1) * 0.25 * (loose - 1) * sides
        first = (
            first - (loose - 1) / 2 * sides + moved + (self.uniform((self.count, 2)) * 2 - 1) * off
        )
        last = (
            last + (loose - 1) / 2 * sides + moved + (self.uniform((self.count, 2)) * 2 - 1) * off
        )
        return (first + last) / 2, (last - first).clamp(min=3)

    def _click(self, seen):
        """Return places inside masks, every other one deep inside."""
        inside = seen.float()[:, None]
        depth, left = torch.zeros_like(inside), inside
        for _ in range(9):
            depth += left
            left = -F.max_pool2d(-left, 3, 1, 1)
        deep = depth / depth.amax((2, 3), keepdim=True).clamp(min=1)
        power = torch.where(self.now_and_then(self.count, 0.5), 12.0, 1.0)[:, None, None, None]
        odds = (deep**power * inside + 1e-9).reshape(self.count, -1)
        pixel = torch.multinomial(odds, 1, generator=self.torch)[:, 0]
        along = torch.linspace(-1, 1, COARSE) * CROP / 2
        return torch.stack([along[pixel // COARSE], along[pixel % COARSE]], 1)

    def _seen(self, images, masks, turn, bend, middle, side):
        """Return grey levels, 0 to 1, and masks of windows."""
        y, x = (middle[:, i, None] + FINE * side[:, None] / 2 for i in (0, 1))
        shape = (self.count, 2 * SIDE, 2 * SIDE)
        places = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], -1)
        places = bent(places / (CROP / 2), bend)
        grid = places.reshape(self.count, -1, 2) @ turn.transpose(1, 2)
        both = F.grid_sample(
            torch.cat([images, masks], 1),
            grid.reshape(*shape, 2),
            padding_mode="border",
            align_corners=False,
        )
        both = F.avg_pool2d(both, 2)
        return both[:, 0] / 255, (both[:, 1] > 0.5).float()

    def _empty(self):
        """Return windows with nothing in them: fine or coarse noise, and uneven light."""
        one = (self.count, 1, 1)
        noise = self.normal(self.count, SIDE, SIDE)
        soft = smooth(smooth(noise))
        soft = torch.where(self.now_and_then(one, 0.6), soft / 0.2, smooth(soft, 5) / 0.12)
        noise = torch.where(self.now_and_then(one, 0.5), noise, soft)
        light = self.normal(self.count, 1, 3, 3)
        light = F.interpolate(light, SIDE, mode="bicubic", align_corners=True)[:, 0]
        return 0.5 + 0.1 * (noise + 1.5 * self.uniform(one) ** 2 * light)

    def _elsewhere(self, grey):
        """Return what other microscopes show: grey levels folded, without surroundings, relief."""
        one = (self.count, 1, 1)
        wave = torch.sin(2 * math.pi * (self.uniform(one, 0.5, 1.5) * grey + self.uniform(one)))
        folded = grey + self.uniform(one, 0.05, 0.4) * wave
        grey = torch.where(self.now_and_then(one, 0.1), folded, grey)
        around = smooth(grey, int(self.rng.choice([7, 11, 15])))
        bare = grey - self.uniform(one, 0.3, 1.0) * around
        grey = torch.where(self.now_and_then(one, 0.08), bare, grey)
        near = F.pad(smooth(grey)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        angle = self.uniform(one, 0, 2 * math.pi)
        rise = torch.cos(angle) * (near[:, 2:, 1:-1] - near[:, :-2, 1:-1])
        rise = rise + torch.sin(angle) * (near[:, 1:-1, 2:] - near[:, 1:-1, :-2])
        relief = self.uniform(one, 0, 0.3) * grey + 2 * rise
        return torch.where(self.now_and_then(one, 0.06), relief, grey)

    def _disturbed(self, grey):
        """Return grey levels after gamma, inversion, blur, noise and a gradient, standardised."""
        grey = grey.clamp(0, 1) ** torch.exp(self.normal(self.count, 1, 1) * 0.3)
        grey = torch.where(self.now_and_then((self.count, 1, 1), 0.5), 1 - grey, grey)
        grey = self._elsewhere(grey)
        share = self.uniform((self.count, 1, 1)) * self.now_and_then((self.count, 1, 1), 0.2)
        grey = grey * (1 - share) + share * smooth(grey)
        behind = smooth(smooth(grey.roll(1, 0), 5))  # something else, out of focus
        behind = behind - behind.mean((1, 2), keepdim=True)
        share = self.uniform((self.count, 1, 1), 0, 0.5) * self.now_and_then(
            (self.count, 1, 1), 0.15
        )
        grey = grey + share * behind
        span = grey.std((1, 2), keepdim=True)
        noise = self.normal(self.count, SIDE, SIDE)
        noise = torch.where(self.now_and_then((self.count, 1, 1), 0.5), noise, 2 * smooth(noise))
        amount = (
            self.uniform((self.count, 1, 1)) ** 2 * 0.4 * self.now_and_then((self.count, 1, 1), 0.6)
        )
        slope = (
            self.normal(self.count, 2, 1, 1) * 0.5 * self.now_and_then((self.count, 1, 1, 1), 0.3)
        )
        ramp = slope[:, 0] * ALONG[:, None] + slope[:, 1] * ALONG
        grey = grey + span * (amount * noise + ramp)
        grey = grey - grey.mean((1, 2), keepdim=True)
        return (grey / (grey.std((1, 2), keepdim=True) + 1e-3)).clamp(-BRIGHTEST, BRIGHTEST)

    def _planes(self, grey, clicked, sides, side):
        """Return what the network sees, as :meth:`Window.planes` makes it."""
        place = ALONG.abs() * side[:, None] / 2
        down, across = (place / (sides[:, i, None] / 2) for i in (0, 1))
        down, across = down[:, :, None].expand_as(grey), across[:, None].expand_as(grey)
        box = [torch.maximum(down, across) - 1, torch.hypot(down, across) - 1]
        dot = torch.exp(-((ALONG * SIDE / 2 / DOT) ** 2) / 2)
        dot = (dot[:, None] * dot).expand_as(grey)
        none = clicked[:, None, None]
        box = [torch.where(none, NO_BOX, plane.clamp(-1, 1)) for plane in box]
        return torch.stack([grey, *box, torch.where(none, dot, 0.0)], 1)


def bent(places, bend):
    """Return places (x, y) moved."""
    moved = F.grid_sample(bend, places, mode="bicubic", padding_mode="border", align_corners=True)
    return places + moved.permute(0, 2, 3, 1)


def smooth(values, size=3):
    """Return images, each pixel the mean of a square round it."""
    beside = [size // 2] * 4
    return F.avg_pool2d(F.pad(values[:, None], beside, mode="replicate"), size, 1)[:, 0]


def losses(odds, scores, mask, outside, nothing):
    """Return the loss of the outlines and that of the expected overlaps."""
    some = (~nothing).float()
    crossed = F.binary_cross_entropy_with_logits(odds, mask, reduction="none").mean((1, 2))
    likely = torch.sigmoid(odds)
    both, either = (likely * mask).sum((1, 2)), (likely + mask - likely * mask).sum((1, 2))
    with torch.no_grad():
        held = (odds > 0).float()
        shared = (held * mask).sum((1, 2))
        overlap = shared / (held.sum((1, 2)) + mask.sum((1, 2)) - shared + outside).clamp(min=1)
    outline = ((crossed + 1 - (both + 1) / (either + 1)) * some).sum() / some.sum()
    return outline, F.binary_cross_entropy_with_logits(scores, overlap * some)


def train(net, samples, steps, rate):
    """Train a network, and leave it with the running mean of its weights."""
    net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    mean = {name: value.clone() for name, value in net.state_dict().items()}
    for step in range(steps):
        warm, falling = min(1.0, (step + 1) / 150), max(0.0, step / steps - 0.1) / 0.9
        for group in optimiser.param_groups:
            group["lr"] = rate * warm * (0.5 + 0.5 * math.cos(math.pi * falling) + 0.002)
        planes, *truth = samples.batch()
        with torch.autocast(DEVICE.type, torch.bfloat16):
            odds, scores = net(planes)
        outline, expected = losses(odds.float(), scores.float(), *truth)
        (outline + 0.4 * expected).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        optimiser.zero_grad()
        kept = min(0.999, (step + 1) / (step + 31))
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                mean[name].mul_(kept).add_(value, alpha=1 - kept)
        if step % 100 == 99:
            print(f"{step + 1}: outline {outline:.3f}, expected overlap {expected:.3f}", flush=True)
    net.load_state_dict(mean)


def main():
    """Train, and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="WEIGHTS.npz")
    parser.add_argument("--begin", choices=("first", "second"), help="a network that ships")
    parser.add_argument("--drawn", type=float, default=0.62, help="share of drawn samples")
    parser.add_argument("--batch", type=int, default=2048, help="samples of a step")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    net = Net.shipped(options.begin) if options.begin else Net()
    samples = Samples(options.crops, options.batch, options.drawn, options.seed + 1)
    train(net, samples, options.steps, options.rate)
    np.savez_compressed(options.out, **net.weights())


if __name__ == "__main__":
    main()

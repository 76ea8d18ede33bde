"""Looking at each image once: a wrapper around a vision tower's forward, for batches that repeat their images.

In GRPO all answers of a group share their image, and the tower would run once per answer. Wrapped, it runs on the
distinct images of a call; where it is frozen, what it said about an image is kept for later calls as well.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from iadr1.errors import ModelError

TOWERS = ("visual", "vision_tower")
"""Last part of the tower's module name in the families of `profiles`."""


@dataclass
class VisionCache:
    """What frozen towers said about images, least recently used first; towers of equal weights may share one.

    Attributes:
        max_bytes: Room for outputs; 0 keeps nothing.
        asked: Images that came in, over all calls.
        run: Images a tower was run on.
    """

    max_bytes: int = 0
    asked: int = 0
    run: int = 0
    _kept: OrderedDict[tuple[int, ...], tuple[Any, int]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, key: tuple[int, ...]) -> Any:
        """The output for an image; None where it is not kept."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: tuple[int, ...], value: Any) -> None:
        """Keep an output, dropping others until there is room."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(value))
        if key in self._kept or size > self.max_bytes:
            return
        # Slices of a batch would hold the whole batch's memory.
        self._kept[key] = (_map(lambda tensor: tensor.detach().clone(), value), size)
        self._bytes += size
        while self._bytes > self.max_bytes:
            self._bytes -= self._kept.popitem(last=False)[1][1]


def once_per_image(model: Any, cache: VisionCache) -> VisionCache:
    """Wrap the vision tower of a model so that equal images of one call are looked at once.

    Outputs and gradients are those of the plain tower up to rounding. With `cache.max_bytes` above 0 the tower must
    be frozen; under ZeRO-3 it must be 0, since the processes have to call the tower equally often.

    Args:
        model: Any model of the known families, in PEFT's wrapper or not; not yet inside DDP's or DeepSpeed's.
        cache: Counts the images, and keeps outputs.

    Raises:
        ModelError: The model has no vision tower, or one that is trained while outputs are to be kept.
    """
    tower = next((module for name, module in model.named_modules() if name.rpartition(".")[2] in TOWERS), None)
    if tower is None:
        raise ModelError(f"the model has no vision tower (looked for {', '.join(TOWERS)})")
    if cache.max_bytes and any(parameter.requires_grad for parameter in tower.parameters()):
        raise ModelError("the vision tower is trained: what it says about an image changes and cannot be kept")
    plain = tower.forward

    def forward(pixels: Any = None, *args: Any, grid_thw: Any = None, pixel_values: Any = None, **kwargs: Any) -> Any:
        # Qwen's towers take patches and a grid, the others tiles; both come under different names.
        given = pixels if pixels is not None else pixel_values
        if args or given is None:
            raise ModelError("the vision tower was called in a way that is not known")

        def run(rows: Any, grid: Any) -> Any:
            return plain(rows, **kwargs) if grid is None else plain(rows, grid_thw=grid, **kwargs)

        return _look(run, given, grid_thw, cache)

    tower.forward = forward
    return cache


def _look(run: Callable[[Any, Any], Any], pixels: Any, grid: Any, cache: VisionCache) -> Any:
    """The tower's output for all images, from runs on the distinct ones that are not kept."""
    lengths = [1] * pixels.shape[0] if grid is None else grid.prod(-1).tolist()
    blocks = torch.split(pixels, lengths)
    grids = [()] * len(blocks) if grid is None else [tuple(row) for row in grid.tolist()]
    keys = [(*shape, *content) for shape, content in zip(grids, _hashes(blocks), strict=True)]
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    known = {key: cache.get(key) for key in first}
    new = sorted(number for key, number in first.items() if known[key] is None)
    cache.asked += len(blocks)
    cache.run += len(new)
    if len(new) == len(blocks) and not cache.max_bytes:
        return run(pixels, grid)
    parts = dict(known)
    output: Any = None
    if new:
        chosen = torch.cat([blocks[number] for number in new])
        output = run(chosen, None if grid is None else grid[new])
        sizes = [lengths[number] for number in new]
        for position, number in enumerate(new):
            parts[keys[number]] = _slice(output, sizes, position)
            cache.put(keys[number], parts[keys[number]])
    return _join([parts[key] for key in keys])


def _hashes(blocks: Sequence[Any]) -> list[tuple[int, int]]:
    """128 bits of each block's content, computed where the tensor is: sums of mixed (value, place) pairs."""
    sums = []
    for block in blocks:
        values = block.detach().contiguous().float().view(torch.int32).flatten().long()
        mixed = values * -7046029254386353131 + torch.arange(values.numel(), device=values.device) * 2685821657736338717
        mixed = (mixed ^ (mixed >> 29)) * -4658895280553007687
        mixed = mixed ^ (mixed >> 32)
        sums.append(torch.stack([mixed.sum(), (mixed * (mixed | 1)).sum()]))
    return [(a, b) for a, b in torch.stack(sums).tolist()]


def _slice(output: Any, sizes: Sequence[int], position: int) -> Any:
    """The part of an output that belongs to one image.

    A tensor's first axis runs over the images in order, each with a share in proportion to its size (patches, merged
    tokens or tiles).
    """
    total, before, own = sum(sizes), sum(sizes[:position]), sizes[position]

    def cut(tensor: Any) -> Any:
        rows = tensor.shape[0]
        if rows * before % total or rows * own % total:
            raise ModelError(f"{rows} rows of the vision tower's output do not belong to {total} rows of its input")
        start = rows * before // total
        return tensor[start : start + rows * own // total]

    return _map(cut, output)


def _join(parts: Sequence[Any]) -> Any:
    """Outputs of single images as the output of all, in order."""
    first = parts[0]
    if torch.is_tensor(first):
        return torch.cat(list(parts))
    if first is None:
        return None
    if isinstance(first, dict):
        return type(first)({name: _join([part[name] for part in parts]) for name in first})
    return type(first)(_join([part[number] for part in parts]) for number in range(len(first)))


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """A structure of tensors (model outputs are dictionaries) with the function applied to each."""
    if torch.is_tensor(value):
        return function(value)
    if value is None:
        return None
    if isinstance(value, dict):
        return type(value)({name: _map(function, item) for name, item in value.items()})
    return type(value)(_map(function, item) for item in value)


def _tensors(value: Any) -> list[Any]:
    found: list[Any] = []
    _map(lambda tensor: found.append(tensor) or tensor, value)  # type: ignore[func-returns-value]
    return found

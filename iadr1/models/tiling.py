"""The families that cut an image into tiles of one size: which grid, and how many tokens come of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from iadr1.geometry import Size


class Tiling(Protocol):
    """How a family cuts an image into tiles; sizes are (width, height) in pixels."""

    def tokens(self, input_wh: Size, *, images: int) -> int:
        """Image tokens of one image of this size in a prompt of that many images."""
        ...


@dataclass(frozen=True)
class AnyRes:
    """LLaVA-NeXT and LLaVA-OneVision: the image, its aspect kept, is laid into the best of some canvases.

    It is seen as the tiles of the canvas, whose padding is cut off again, and once more as a whole in one tile. Same
    rules as transformers' `LlavaNextProcessor` and `LlavaOnevisionProcessor`.

    Attributes:
        side: Side of a tile in pixels.
        grid: Tokens along a side of a tile.
        canvases: The sizes (width, height) a canvas can have, in pixels.
        most_tiles: The tokens of larger canvases are pooled to about as many as so many tiles have (OneVision: 9);
            such a model sees each of several images of one prompt as a single tile. None for LLaVA-NeXT.
    """

    side: int
    grid: int
    canvases: tuple[Size, ...]
    most_tiles: int | None = None

    def canvas(self, input_wh: Size) -> Size:
        """The canvas that keeps most pixels of the image, and of those the one with least empty room."""
        width, height = input_wh

        def fit(canvas: Size) -> tuple[int, int]:
            scale = min(canvas[0] / width, canvas[1] / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            return kept, kept - canvas[0] * canvas[1]

        return max(self.canvases, key=fit)

    def tokens(self, input_wh: Size, *, images: int) -> int:
        """Those of the whole image, of the tiles, and one at the end of each row."""
        whole = self.grid**2
        if images > 1 and self.most_tiles is not None:
            return whole + 1
        width, height = input_wh
        columns, rows = (side // self.side * self.grid for side in self.canvas(input_wh))
        if width / height > columns / rows:
            rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
        if self.most_tiles is not None:
            shrink = math.sqrt(columns * rows / (self.most_tiles * whole))
            if shrink > 1.1:
                columns, rows = int(columns // shrink), int(rows // shrink)
        return whole + columns * rows + rows


@dataclass(frozen=True)
class Tiles:
    """InternVL: the image is stretched over the grid of tiles nearest to its aspect, with a thumbnail beside it.

    Same rule as transformers' `GotOcr2ImageProcessor`, which InternVL uses.

    Attributes:
        side: Side of a tile in pixels.
        tile_tokens: Tokens of a tile.
        fewest: Least tiles of a grid.
        most: Most tiles of a grid, the thumbnail not counted.
    """

    side: int
    tile_tokens: int
    fewest: int = 1
    most: int = 12

    def grid(self, input_wh: Size) -> Size:
        """Columns and rows; of two grids as near, the larger one if the image has more than half its pixels."""
        width, height = input_wh
        counts = range(1, self.most + 1)
        grids = [(c, r) for c in counts for r in counts if self.fewest <= c * r <= self.most]
        best, least = (1, 1), math.inf
        for grid in sorted(grids, key=math.prod):
            off = abs(width / height - grid[0] / grid[1])
            if off < least or (off == least and width * height > 0.5 * self.side**2 * math.prod(grid)):
                best, least = grid, off
        return best

    def tokens(self, input_wh: Size, *, images: int) -> int:
        """Those of the tiles and of the thumbnail, which a single tile does not need."""
        tiles = math.prod(self.grid(input_wh))
        return self.tile_tokens * (tiles + 1 if tiles > 1 else 1)

"""The two kinds of step: the vision tower on dense labels, and the whole model on lessons."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's usual name
from torch import Tensor, nn

from iadr1.stages.pretrain.fast import grid_of, patchify, positions
from iadr1.stages.pretrain.lessons import Lesson, Lessons
from iadr1.stages.pretrain.pictures import Layout, Pictures, Pixels
from iadr1.stages.pretrain.scenes import Scenes

_NORMAL_WEIGHT = 0.35
"""Weight of "no defect" among the dense labels, since most patches have none."""
_PLACE_WEIGHT = 4.0
_BIN_PX = 5
"""Pixels of the input that a class of a box's side spans: half a decade, since the answers are decimal digits."""
_PARTS = 4
"""Parts that the lessons of a step are run in, sorted by length, so that little is padded."""


class DenseHeads(nn.Module):
    """Heads that are thrown away: defect type of each patch; defect type, box and place of each token.

    Box and place count from the image's corner, not from the token: rotary positions tell a token only where others are
    relative to it, and the language model, which has to write absolute coordinates, made up for little of that. A side
    of the box is a class of `_BIN_PX` pixels, not a number (docs/log.md).

    Args:
        vision: Width of the vision tower.
        text: Width of the language model.
        types: Defect types, without "none".
        bins: Classes of each side of a box.
    """

    def __init__(self, vision: int, text: int, *, types: int, bins: int) -> None:
        super().__init__()
        self.patch, self.cell = nn.Linear(vision, types + 1), nn.Linear(text, types + 1)
        self.box, self.place = nn.Linear(text, 4 * bins), nn.Linear(text, 2)


@dataclass(frozen=True)
class Batch:
    """What a step is made of.

    Attributes:
        images: Images.
        lessons: Lessons an image.
        bare_boxes: Whether the boxes of each image are asked behind the image alone as well; not beside references.
        drills: Drills.
        dense: Weight of the dense loss.
        reference_share: Share of the steps with a reference.
    """

    images: int
    lessons: int
    bare_boxes: bool
    drills: int
    dense: float
    reference_share: float


@dataclass(frozen=True)
class Losses:
    """A step's loss, and its parts: cross-entropy of the answers (None for a step on vision alone), dense, drills."""

    total: Tensor
    language: float | None
    dense: float
    drills: float | None


class Learner:
    """Computes losses over a model.

    Args:
        model: A Qwen2.5-VL model.
        processor: Its processor.
        layout: How it cuts its input.
        scenes: The images' lines.
        pictures: The images.
        lessons: Draws lessons.
        batch: What a step is made of.

    Attributes:
        heads: The dense heads, trained with the model.
    """

    def __init__(
        self, model: Any, processor: Any, layout: Layout, *, scenes: Scenes, pictures: Pictures, lessons: Lessons,
        batch: Batch,
    ) -> None:  # fmt: skip
        self.model, self.processor, self.layout = model, processor, layout
        self.scenes, self.pictures, self.lessons, self.batch = scenes, pictures, lessons, batch
        config, types = model.config, len(pictures.labels.types)
        self._bins = (torch.arange(0, layout.side, _BIN_PX) + _BIN_PX / 2) / layout.side
        self.heads = DenseHeads(
            config.vision_config.hidden_size, config.text_config.hidden_size, types=types, bins=len(self._bins)
        )
        self._weights = torch.tensor([_NORMAL_WEIGHT] + [1.0] * types)
        middle = (torch.arange(layout.tokens) + 0.5) / layout.tokens
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        self._places = torch.stack([x, y], -1).view(1, layout.tokens**2, 2)
        self._slot = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
        self._pad = processor.tokenizer.pad_token_id
        self._with_reference = np.flatnonzero(pictures.reference_of >= 0)

    def vision_step(self, rng: random.Random) -> Losses:
        """Dense loss of random pictures, flipped and turned at random, and the drills beside it."""
        rows = self._rows(self.batch.images, rng)
        turn = Turn(rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.5)
        pixels = _tint(turn.pixels(self.pictures.images[rows]), rng)
        dense = self._dense_loss(*self._see(pixels), rows, turn)
        drills = self._drill_loss(rng)
        return Losses(dense if drills is None else dense + drills, None, dense.item(), _item(drills))

    def joint_step(self, rng: random.Random) -> Losses:
        """Loss of the answers, of the dense labels beside it, and of the drills."""
        shots = int(len(self._with_reference) > 0 and rng.random() < self.batch.reference_share)
        rows = self._rows(self.batch.images, rng, shots=shots)
        pixels = self.pictures.images[rows]
        if shots:
            pixels = np.concatenate([self.pictures.references[self.pictures.reference_of[rows]], pixels])
        tokens, patches = self._see(pixels)
        query = tokens[-len(rows) :]
        dense = self._dense_loss(query, patches[-len(rows) :], rows, Turn())
        seen = torch.cat([tokens[: len(rows)], query], 1) if shots else query
        texts, owners = [], []
        for place, row in enumerate(rows):
            found = self.lessons.about(
                self.scenes.items[row], self.pictures.sizes[row], rng, count=self.batch.lessons, shots=shots
            )
            if self.batch.bare_boxes and not shots:
                found.append(self.lessons.bare_boxes(self.scenes.items[row], self.pictures.sizes[row]))
            texts += found
            owners += [place] * len(found)
        language = self._language_loss(texts, seen[owners])
        total, drills = language + self.batch.dense * dense, self._drill_loss(rng)
        return Losses(total if drills is None else total + drills, language.item(), dense.item(), _item(drills))

    def _rows(self, count: int, rng: random.Random, *, shots: int = 0) -> list[int]:
        if shots:
            rows = self._with_reference
            return [int(rows[rng.randrange(len(rows))]) for _ in range(max(1, count // 2))]
        return [rng.randrange(len(self.scenes)) for _ in range(count)]

    def _see(self, pixels: Pixels) -> tuple[Tensor, Tensor]:
        """Token features (B, tokens^2, text) and patch features (B, tokens^2, merge^2, vision)."""
        n = self.layout.tokens**2
        patches = patchify(pixels, self.processor, self.layout)
        out = self.model.model.visual(patches, grid_thw=grid_of(len(pixels), self.layout))
        tokens = out.pooler_output.view(len(pixels), n, -1)
        return tokens, out.last_hidden_state.view(len(pixels), n, self.layout.merge**2, -1)

    def _dense_loss(self, tokens: Tensor, patches: Tensor, rows: list[int], turn: Turn) -> Tensor:
        patch, cell, box = self._dense_labels(rows, turn)
        loss = F.cross_entropy(self.heads.patch(patches).float().flatten(0, 2), patch.flatten(), self._weights)
        loss = loss + F.cross_entropy(self.heads.cell(tokens).float().flatten(0, 1), cell.flatten(), self._weights)
        places = self._places.expand(len(rows), -1, -1)
        loss = loss + _PLACE_WEIGHT * F.smooth_l1_loss(self.heads.place(tokens).float(), places, beta=0.05)
        hit = cell > 0
        return loss + self._sides_loss(self.heads.box(tokens)[hit], box[hit]) if hit.any() else loss

    def _sides_loss(self, said: Tensor, true: Tensor) -> Tensor:
        """Cross-entropy of the sides, (N, 4 * bins) against (N, 4) in 0..1; neighbours share what is between."""
        width = _BIN_PX / self.layout.side
        wanted = F.softmax(-((self._bins - true.unsqueeze(-1)) ** 2) / (2 * width**2), -1)
        return F.cross_entropy(said.float().view(-1, len(self._bins)), wanted.view(-1, len(self._bins)))

    def _dense_labels(self, rows: list[int], turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
        labels, n, m = self.pictures.labels, self.layout.tokens, self.layout.merge
        patch, cell = turn.pixels(labels.patch[rows]), turn.pixels(labels.token[rows])
        box = turn.boxes(turn.pixels(labels.box[rows].astype(np.float32)))
        patch = patch.reshape(-1, n, m, n, m).transpose(0, 1, 3, 2, 4).reshape(-1, n * n, m * m)
        parts = (patch, cell.reshape(-1, n * n), box.reshape(-1, n * n, 4))
        patch_, cell_, box_ = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        return patch_.long(), cell_.long(), box_

    def _drill_loss(self, rng: random.Random) -> Tensor | None:
        if not self.batch.drills or not self.lessons.can_drill:
            return None
        texts = [self.lessons.drill(rng) for _ in range(self.batch.drills)]
        return self._language_loss(texts, torch.zeros(len(texts), 0, self.model.config.text_config.hidden_size))

    def _language_loss(self, texts: list[Lesson], seen: Tensor) -> Tensor:
        """Mean cross-entropy of the answers' tokens; `seen` (B, images * tokens^2, text) fills the image slots."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        size = -(-len(order) // _PARTS)
        loss = seen.new_zeros((), dtype=torch.float32)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            loss = loss + self._summed_loss([texts[row] for row in rows], seen[rows])
        return loss / sum(len(text.target) for text in texts)

    def _summed_loss(self, texts: list[Lesson], seen: Tensor) -> Tensor:
        length = max(len(text) for text in texts)
        ids = torch.full((len(texts), length), self._pad)
        labels = torch.full((len(texts), length), -100)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text.prompt + text.target)
            labels[row, len(text.prompt) : len(text)] = torch.tensor(text.target)
        slots = ids == self._slot
        inner = self.model.model.language_model
        embeddings = inner.embed_tokens(ids)
        embeddings = embeddings.masked_scatter(slots.unsqueeze(-1), seen.to(embeddings.dtype))
        hidden = inner(
            inputs_embeds=embeddings,
            position_ids=positions(slots, self.layout.tokens),
            attention_mask=None,
            use_cache=False,
        ).last_hidden_state
        keep = labels[:, 1:] != -100
        logits = self.model.lm_head(hidden[:, :-1][keep]).float()
        return F.cross_entropy(logits, labels[:, 1:][keep], reduction="sum")


@dataclass(frozen=True)
class Turn:
    """A flip left to right, one upside down, and an exchange of the axes, in this order."""

    mirror: bool = False
    flip: bool = False
    transpose: bool = False

    def pixels(self, grid: Any) -> Any:
        """A grid (B, H, W, ...) turned; H is W."""
        grid = grid[:, :: -1 if self.flip else 1, :: -1 if self.mirror else 1]
        return np.swapaxes(grid, 1, 2) if self.transpose else grid

    def boxes(self, box: Any) -> Any:
        """Boxes (..., 4) in 0..1, turned."""
        x1, y1, x2, y2 = (box[..., i] for i in range(4))
        if self.mirror:
            x1, x2 = 1 - x2, 1 - x1
        if self.flip:
            y1, y2 = 1 - y2, 1 - y1
        return np.stack([y1, x1, y2, x2] if self.transpose else [x1, y1, x2, y2], -1)


def _tint(pixels: Pixels, rng: random.Random) -> Pixels:
    """Pictures in other colours: channels exchanged, one gain and one offset for each picture and channel."""
    noise = np.random.default_rng(rng.getrandbits(32))
    gain = noise.uniform(0.75, 1.25, (len(pixels), 1, 1, 3)).astype(np.float32)
    offset = noise.uniform(-25, 25, (len(pixels), 1, 1, 3)).astype(np.float32)
    channels = noise.permutation(3)
    changed: Pixels = np.clip(pixels[..., channels] * gain + offset, 0, 255).astype(np.uint8)
    return changed


def _item(loss: Tensor | None) -> float | None:
    return None if loss is None else loss.item()

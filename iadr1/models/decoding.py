"""Greedy decoding of a batch whose rows leave it as soon as they have ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Rows:
    """The rows of a batch between two forward passes: what was read, and what may come next.

    Attributes:
        model: The transformers model.
        axes: Axes of a token's position: 3 in the families with M-RoPE, else 1.
        cache: Keys and values of what was read.
        mask: 1 where a row has a token, 0 where it is padded; padding may stand anywhere. Shape (rows, width).
        offsets: What is added to a token's number to get its position; shape (rows, 1). Not 0 behind an image whose
            tokens lie on a grid.
        logits: Of the next token, shape (rows, vocabulary).
    """

    model: Any
    axes: int
    cache: Any
    mask: torch.Tensor
    offsets: torch.Tensor
    logits: torch.Tensor

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> None:
        """Read more text, padded on the left; both of shape (rows, tokens)."""
        self.mask = torch.cat([self.mask, mask], dim=1)
        places = numbered(self.mask)[:, -ids.shape[1] :] + self.offsets
        output = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=places if self.axes == 1 else places.expand(self.axes, -1, -1),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache, self.logits = output.past_key_values, output.logits[:, -1]

    def take(self, places: Sequence[int]) -> None:
        """Go on with the rows at these places, in this order; one may be taken more than once."""
        index = torch.tensor(places, device=self.mask.device)
        self.cache.batch_select_indices(index)
        self.mask, self.offsets, self.logits = self.mask[index], self.offsets[index], self.logits[index]


def numbered(mask: torch.Tensor) -> torch.Tensor:
    """The number of each token in its row, from 0; padding gets that of the token before it."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def greedy(rows: Rows, *, ends: Collection[int], complete: Callable[[list[int]], bool], limit: int) -> list[list[int]]:
    """The tokens each row writes, always the likeliest.

    Rows that have ended are dropped at once, so that a long answer does not keep the others computing.

    Args:
        rows: What was read; used up.
        ends: Tokens that end a row; they are among what was written.
        complete: Whether the tokens written so far are a whole answer.
        limit: Most tokens of a row, at least 1.
    """
    written: list[list[int]] = [[] for _ in rows.logits]
    active = list(range(len(written)))
    while True:
        chosen = rows.logits.argmax(dim=-1)
        going = []
        for place, token in enumerate(chosen.tolist()):
            row = written[active[place]]
            row.append(token)
            if token not in ends and len(row) < limit and not complete(row):
                going.append(place)
        if not going:
            return written
        if len(going) < len(active):
            rows.take(going)
            active = [active[place] for place in going]
            chosen = chosen[going]
        rows.read(chosen[:, None], torch.ones_like(chosen[:, None]))


class Complete:
    """Tells whether tokens end with one that completes a text.

    Args:
        tokenizer: Decodes the tokens.
        text: What makes an answer complete.
    """

    def __init__(self, tokenizer: Any, text: str) -> None:
        self._tokenizer, self._text = tokenizer, text
        self._window = len(text.encode()) + 1  # a byte-level token holds at least one byte
        self._closing: dict[int, bool] = {}

    def __call__(self, tokens: list[int]) -> bool:
        """Only the last few of the tokens are decoded, and only where the last one can close the text."""
        last = tokens[-1]
        if last not in self._closing:
            piece = self._decode([last])
            # Part of a letter's bytes decodes to a replacement character.
            self._closing[last] = self._text[-1] in piece or "\N{REPLACEMENT CHARACTER}" in piece
        return self._closing[last] and self._text in self._decode(tokens[-self._window :])

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text

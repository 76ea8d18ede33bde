"""Reading prompts: those about the same images share the work on the images and on their common beginning.

The image processor, the vision tower and the language model run once on what prompts have in common (the instruction
and the images), and the keys and values are handed to each of them. Nothing is approximated: a token sees the same
tokens at the same positions as if its prompt were read alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Any

import torch
from PIL import Image
from transformers import DynamicCache

from iadr1.models.base import Profile, Request
from iadr1.models.decoding import Rows, numbered
from iadr1.models.profiles import check_family
from iadr1.models.tokens import Prompt, prompt_of

AXES: Mapping[str, int] = {
    "qwen2_vl": 3,
    "qwen2_5_vl": 3,
    "qwen3_vl": 3,
    "llava": 1,
    "llava_next": 1,
    "llava_onevision": 1,
    "internvl": 1,
}
"""Axes of a token's position by family. With three (M-RoPE) the tokens of an image lie on a grid, and the text behind
it goes on from the grid's longer side."""


@dataclass(frozen=True)
class Head:
    """The beginning of one or more prompts, with all their images.

    Attributes:
        ids: Its tokens, with one image token for each image.
        images: The images.
        places: Which prompts of the batch begin with it.
    """

    ids: list[int]
    images: tuple[Image.Image, ...]
    places: list[int]


def common_length(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all the texts begin with alike."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


def _last(ids: Sequence[int], mark: int) -> int:
    """Where a token stands last; -1 if it does not."""
    return max((place for place, token in enumerate(ids) if token == mark), default=-1)


class Reader:
    """Turns requests into rows to decode.

    Args:
        model: A loaded model of a family in `AXES`.
        processor: Its processor, from `make_ready`.
        profile: Its profile.
    """

    def __init__(self, model: Any, processor: Any, profile: Profile) -> None:
        self._model, self._processor, self._profile = model, processor, profile
        self._tokenizer = processor.tokenizer
        self._axes = AXES[check_family(profile.family)]
        # A window counts padding as well, and heads of different lengths are padded in the middle of a row.
        self._shares = not any(DynamicCache(config=model.config.get_text_config(decoder=True)).is_sliding)

    def prompt(self, request: Request) -> Prompt:
        """The request as tokens, without looking at its images.

        Raises:
            ModelError: There are more or fewer image slots than images.
        """
        return prompt_of(request, self._processor, self._profile)

    def read(self, prompts: Sequence[Prompt]) -> Rows:
        """Read the prompts; the rows come in their order."""
        heads = self._heads(prompts)
        rows = self._start(heads)
        head_of = {place: number for number, head in enumerate(heads) for place in head.places}
        tails = [prompt.ids[len(heads[head_of[place]].ids) :] for place, prompt in enumerate(prompts)]
        if any(tails):
            rows.take([head_of[place] for place in range(len(prompts))])
            rows.read(*self._padded(tails))
        return rows

    def _heads(self, prompts: Sequence[Prompt]) -> list[Head]:
        """What is read once: common beginnings with all images, and of a prompt without one that up to its last image.

        Where nothing is shared these are the whole prompts in order.
        """
        mark = self._processor.image_token_id
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, prompt in enumerate(prompts):
            alike.setdefault(prompt.look, []).append(place)
        heads = []
        for places in alike.values():
            texts = [prompts[place].ids for place in places]
            length = min(common_length(texts), min(map(len, texts)) - 1)  # something must be left to read
            images = prompts[places[0]].request.images
            if len(places) > 1 and not any(mark in text[length:] for text in texts):
                heads.append(Head(texts[0][:length], images, places))
            else:
                ends = [min(max(1, _last(text, mark) + 1), len(text) - 1) for text in texts]
                cut = zip(texts, ends, places, strict=True)
                heads += [Head(text[:end], images, [place]) for text, end, place in cut]
        rests = (prompts[place].ids[len(head.ids) :] for head in heads for place in head.places)
        useful = self._shares and len(heads) < len(prompts) and all(head.ids for head in heads)
        if not useful or any(mark in rest for rest in rests):
            return [Head(prompt.ids, prompt.request.images, [place]) for place, prompt in enumerate(prompts)]
        return heads

    def _start(self, heads: Sequence[Head]) -> Rows:
        """One row for each head, its images looked at."""
        inputs, offsets = self._inputs(heads)
        output = self._model(**inputs, use_cache=True, logits_to_keep=1)
        mask = inputs["attention_mask"]
        return Rows(self._model, self._axes, output.past_key_values, mask, offsets, output.logits[:, -1])

    def _inputs(self, heads: Sequence[Head]) -> tuple[dict[str, Any], torch.Tensor]:
        """The model's inputs for the heads, and `Rows.offsets`."""
        features, runs = self._look([head.images for head in heads])
        mark = self._processor.image_token_id
        ids, mask = self._padded(
            [
                list(chain.from_iterable(next(runs) if token == mark else [token] for token in head.ids))
                for head in heads
            ]
        )
        places, offsets = numbered(mask), torch.zeros_like(mask[:, :1])
        if self._axes > 1 and features:
            places, offsets = self._model.model.get_rope_index(
                ids,
                mm_token_type_ids=(ids == mark).int(),
                image_grid_thw=features["image_grid_thw"],
                attention_mask=mask,
            )
        return {"input_ids": ids, "attention_mask": mask, "position_ids": places, **features}, offsets

    def _look(self, shown: Sequence[tuple[Image.Image, ...]]) -> tuple[dict[str, Any], Iterator[list[int]]]:
        """What the processor makes of the images: the model's inputs, and the tokens that stand for each image."""
        shown = [images for images in shown if images]
        if not shown:
            return {}, iter(())
        prepared = {id(image): self._profile.prepare(image) for images in shown for image in images}
        between = self._tokenizer.eos_token
        made = self._processor(
            text=[between.join([self._processor.image_token] * len(images)) for images in shown],
            # Nested: LLaVA-OneVision sees several images of one prompt otherwise than one.
            images=[[prepared[id(image)] for image in images] for images in shown],
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
        ).to(self._model.device, dtype=self._model.dtype)  # only floating tensors change their dtype
        runs: list[list[int]] = []
        for ids, mask in zip(made.pop("input_ids"), made.pop("attention_mask"), strict=True):
            run: list[int] = []
            for token in [*ids[mask.bool()].tolist(), self._tokenizer.eos_token_id]:
                if token == self._tokenizer.eos_token_id:
                    runs.append(run)
                    run = []
                else:
                    run.append(token)
        made.pop("mm_token_type_ids", None)
        return dict(made), iter(runs)

    def _padded(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of tokens, padded on the left, and their mask."""
        width = max(map(len, rows))
        pad = self._tokenizer.pad_token_id or 0
        ids = [[pad] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        device = self._model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

"""The engine that runs a vision-language model in this process, through transformers, on the CPU or a CUDA device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from iadr1.errors import ModelChoiceError, ModelError
from iadr1.models import LoadOptions, resolve_model
from iadr1.models.base import Completion, Request
from iadr1.models.choices import check_attention
from iadr1.models.decoding import Complete, greedy
from iadr1.models.fingerprint import folder_fingerprint
from iadr1.models.loading import device_of, dtype_of, end_ids, load_weights
from iadr1.models.prefix import Reader
from iadr1.models.processors import make_ready
from iadr1.models.profiles import profile_of
from iadr1.models.tokens import Prompt, completion, first_tokens, not_finite
from iadr1.prompts import ANSWER_END

T = TypeVar("T")


class LocalEngine:
    """Runs one model of a family in `PROFILES`.

    Decoding is plain greedy: sampling settings and the repetition penalty in a checkpoint's generation config are
    not used, since they would change the digits of boxes.

    Args:
        model: `tiny`, a folder, or a hub id.
        options: Device, dtype, attention, batch size.

    Attributes:
        profile: The family's profile with this processor's pixel bounds.
        fingerprint: 16 hexadecimal digits that change with the weights, or a hub revision.

    Raises:
        ModelChoiceError: No such model, device, dtype or attention, or a batch size below 1.
        ModelError: The model cannot be loaded, or is no vision-language model.
    """

    name = "local"

    def __init__(self, model: str, options: LoadOptions | None = None) -> None:
        options = options or LoadOptions()
        self.model = model
        self.device = device_of(options.device)
        self.dtype = dtype_of(options.dtype, self.device)
        self.batch_size = options.batch_size
        if self.batch_size < 1:
            raise ModelChoiceError(f"the batch size is {self.batch_size}, it must be at least 1")
        check_attention(options.attention)
        place = resolve_model(model)
        loaded, processor = load_weights(place, self.device, self.dtype, options.attention)
        self.processor = make_ready(loaded, processor)
        self.profile = profile_of(loaded.config, self.processor)
        self.fingerprint = folder_fingerprint(place) if isinstance(place, Path) else f"hub:{loaded.config._commit_hash}"
        self._tokenizer = self.processor.tokenizer
        self._ends = frozenset(end_ids(getattr(loaded, "generation_config", None), self._tokenizer))
        self._reader = Reader(loaded, self.processor, self.profile)

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        """Greedy completions, one per request, in order; a row ends at its end token or behind `</answer>`.

        Requests that hold the same image objects share the work on them (see `prefix`).

        Raises:
            ModelError: A request's image slots do not fit its images, or one request alone does not fit into the
                device's memory.
        """
        return self._batched(requests, lambda batch: self._generate(batch, max_new_tokens))

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        """For each request the probability of each word as the answer's first, normalised over the words.

        A word counts by its first token: that of a text of its own, or, behind a request's prefix, that of a word
        inside a line. A request for which the model computes no finite numbers has an `Unweighed`.

        Raises:
            NoProbabilitiesError: Two words begin with the same token.
            ModelError: As `generate`.
        """
        ids = {
            inside: first_tokens(self._tokenizer, words, inside=inside)
            for inside in {bool(request.prefix) for request in requests}
        }
        return self._batched(requests, lambda batch: self._probabilities(batch, words, ids))

    # batches

    def _batched(self, requests: Sequence[Request], work: Callable[[list[Prompt]], list[T]]) -> list[T]:
        """Work through the requests sorted by length; on CUDA a batch that does not fit is halved."""
        prompts = [self._reader.prompt(request) for request in requests]
        order = _by_length(prompts)
        results: dict[int, T] = {}
        size = self.batch_size
        start = 0
        while start < len(order):
            part = order[start : start + size]
            try:
                with torch.inference_mode():
                    answers = work([prompts[index] for index in part])
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise ModelError(
                        f"the request {requests[part[0]].id!r} alone does not fit into the memory of {self.device}",
                        hint="use a smaller model or --dtype bfloat16",
                    ) from error
                answers, size = [], len(part) // 2
            if answers:
                results.update(zip(part, answers, strict=True))
                start += len(part)
            else:
                torch.cuda.empty_cache()  # only here, where the failed pass's tensors are no longer referenced
        return [results[index] for index in range(len(requests))]

    # generation

    def _generate(self, batch: list[Prompt], max_new_tokens: int) -> list[Completion]:
        started = time.perf_counter()
        rows = self._reader.read(batch)
        read = rows.mask.sum(dim=1).tolist()
        complete = Complete(self._tokenizer, ANSWER_END)
        written = greedy(rows, ends=self._ends, complete=complete, limit=max_new_tokens)
        seconds = (time.perf_counter() - started) / len(batch)
        return [
            completion(prompt, row, self._tokenizer, ends=self._ends, read=tokens, seconds=seconds)
            for prompt, row, tokens in zip(batch, written, read, strict=True)
        ]

    # probabilities

    def _probabilities(
        self, batch: list[Prompt], words: Sequence[str], ids: dict[bool, list[int]]
    ) -> list[dict[str, float]]:
        logits = self._reader.read(batch).logits.double()
        chosen = torch.tensor([ids[bool(prompt.request.prefix)] for prompt in batch], device=logits.device)
        shares = torch.softmax(logits.gather(1, chosen), dim=-1).tolist()
        return [self._weighed(dict(zip(words, row, strict=True))) for row in shares]

    def _weighed(self, shares: dict[str, float]) -> dict[str, float]:
        if all(map(math.isfinite, shares.values())):
            return shares
        return not_finite(shares, model=self.model, dtype=str(self.dtype).removeprefix("torch."))


def _by_length(prompts: Sequence[Prompt]) -> list[int]:
    """Places in the order of work: prompts about the same images stay together, sorted by the longest of them."""
    longest: dict[tuple[int, ...], int] = {}
    for prompt in prompts:
        longest[prompt.look] = max(prompt.tokens, longest.get(prompt.look, 0))
    first = {look: number for number, look in enumerate(longest)}

    def key(place: int) -> tuple[int, int, int]:
        prompt = prompts[place]
        return longest[prompt.look], first[prompt.look], prompt.tokens

    return sorted(range(len(prompts)), key=key)


def load(model: str, options: LoadOptions) -> LocalEngine:
    """The engine for `load_engine`."""
    return LocalEngine(model, options)

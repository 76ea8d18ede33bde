"""Requests into tokens and tokens into completions, alike for the engines that do it in this process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iadr1.errors import ModelError, NoProbabilitiesError
from iadr1.models.base import IMAGE_SLOT, Completion, Profile, Request, Unweighed
from iadr1.prompts import ANSWER_END


@dataclass(frozen=True)
class Prompt:
    """A request as tokens.

    Attributes:
        request: The request.
        ids: Its tokens, with one image token for each image.
        tokens: About how many the model will read: a few less where a family frames an image with tokens.
    """

    request: Request
    ids: list[int]
    tokens: int

    @property
    def look(self) -> tuple[int, ...]:
        """Tells the images apart, by identity: equal for prompts about the same images in the same order."""
        return tuple(map(id, self.request.images))


def prompt_of(request: Request, processor: Any, profile: Profile) -> Prompt:
    """The request as tokens, without looking at its images.

    Args:
        request: The request.
        processor: The model's processor, mended (`processors.mend_processor`).
        profile: The model's profile.

    Raises:
        ModelError: There are more or fewer image slots than images.
    """
    if request.plain is None:
        text = processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
    else:
        text = request.plain.replace(IMAGE_SLOT, processor.image_token)
    # The template writes the tokenizer's special tokens itself.
    special = request.plain is not None
    ids: list[int] = processor.tokenizer(text + request.prefix, add_special_tokens=special).input_ids
    slots, images = ids.count(processor.image_token_id), len(request.images)
    if slots != images:
        raise ModelError(f"the request {request.id!r} has {slots} image slots for {images} images")
    seen = sum(profile.image_tokens(image.size, images=images) for image in request.images)
    return Prompt(request, ids, len(ids) - slots + seen)


def first_tokens(tokenizer: Any, words: Sequence[str], *, inside: bool) -> list[int]:
    """The token that each word begins with.

    Args:
        tokenizer: The model's tokenizer.
        words: The words.
        inside: They stand inside a line, behind a request's prefix; there a word has no space before it, which the
            tokenizers of the Llama family put before a text.

    Raises:
        NoProbabilitiesError: Two words begin with the same token.
    """
    before = "\n" if inside else ""
    skipped = len(tokenizer(before, add_special_tokens=False).input_ids)
    ids = [tokenizer(before + word, add_special_tokens=False).input_ids[skipped] for word in words]
    if len(set(ids)) < len(ids):
        raise NoProbabilitiesError(
            f"the words {list(words)} do not all begin with different tokens of {tokenizer.name_or_path!r}"
        )
    return ids


def not_finite(found: Mapping[str, float], *, model: str, dtype: str) -> Unweighed:
    """What a request gets whose words' probabilities are no numbers: why, and what helps.

    Args:
        found: What was computed for each word.
        model: The model's name.
        dtype: The number format of its weights.
    """
    told = ", ".join(f"{value:g} for {word}" for word, value in found.items())
    broken = "the checkpoint may be damaged: copy or download it again"
    advice = broken if dtype == "float32" else f"use --dtype float32; where that changes nothing, {broken}"
    return Unweighed(f"the model {model!r} computes no finite probabilities in dtype {dtype} ({told}): {advice}")


def completion(
    prompt: Prompt, row: Sequence[int], tokenizer: Any, *, ends: Collection[int], read: int, seconds: float
) -> Completion:
    """The completion that a row of tokens is.

    Args:
        prompt: What was asked.
        row: What was written; the last token may be of `ends`.
        tokenizer: The model's tokenizer.
        ends: Tokens that end a completion.
        read: Tokens of the prompt, images included.
        seconds: Its share of the time.
    """
    ended = bool(row) and row[-1] in ends
    written = list(row[:-1] if ended else row)
    text = tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Completion(prompt.request.id, text, ended or ANSWER_END in text, read, len(written), seconds)

"""The engine that runs a vision-language model in this process, through transformers, on the CPU or a CUDA device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    PreTrainedConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging as hf_logging

from iadr1.errors import ModelChoiceError, ModelError
from iadr1.models import LoadOptions, attention, resolve_model
from iadr1.models.base import Completion, Request
from iadr1.models.fingerprint import folder_fingerprint
from iadr1.models.processors import make_ready
from iadr1.models.profiles import check_family, profile_of
from iadr1.prompts import ANSWER_END

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
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
        self.device = _device(options.device)
        self.dtype = _dtype(options.dtype, self.device)
        self.batch_size = options.batch_size
        if self.batch_size < 1:
            raise ModelChoiceError(f"the batch size is {self.batch_size}, it must be at least 1")
        _check_attention(options.attention)
        place = resolve_model(model)
        self._model, processor = _load(place, self.device, self.dtype, options.attention)
        self.processor = make_ready(self._model, processor)
        self.profile = profile_of(self._model.config, self.processor)
        self.fingerprint = (
            folder_fingerprint(place) if isinstance(place, Path) else f"hub:{self._model.config._commit_hash}"
        )
        self._tokenizer = self.processor.tokenizer
        self._end_ids = _end_ids(self._model.generation_config, self._tokenizer)
        # Replaced at load: transformers fills what a call leaves open from here.
        self._model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False, eos_token_id=self._end_ids, pad_token_id=self._pad_id()
        )

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        """Greedy completions, one per request, in order; a row ends at its end token or behind `</answer>`.

        Raises:
            ModelError: One request alone does not fit into the device's memory.
        """
        return self._batched(requests, lambda batch: self._generate(batch, max_new_tokens))

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        """For each request the probability of each word as the answer's first, normalised over the words.

        One forward pass; a word counts by its first token.

        Raises:
            ModelError: Two words begin with the same token, or one request does not fit into the device's memory.
        """
        ids = self._first_tokens(words)
        return self._batched(requests, lambda batch: self._probabilities(batch, words, ids))

    # batches

    def _batched(self, requests: Sequence[Request], work: Callable[[list[Request]], list[T]]) -> list[T]:
        """Work through the requests sorted by length; on CUDA a batch that does not fit is halved."""
        order = sorted(range(len(requests)), key=lambda index: self._length(requests[index]))
        results: dict[int, T] = {}
        size = self.batch_size
        start = 0
        while start < len(order):
            part = order[start : start + size]
            try:
                with torch.inference_mode():
                    answers = work([requests[index] for index in part])
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

    def _length(self, request: Request) -> int:
        """Prompt tokens without running the image processor: those of the text and those of the images."""
        count = len(request.images)
        seen = sum(self.profile.image_tokens(image.size, images=count) for image in request.images)
        return seen + len(self._tokenizer(self._prompt(request), add_special_tokens=False).input_ids)

    def _prompt(self, request: Request) -> str:
        text: str = self.processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        return text

    def _inputs(self, batch: Sequence[Request]) -> Any:
        """Everything the processor makes, `mm_token_type_ids` with it: without these positions silently become 1-D."""
        # Nested: LLaVA-OneVision sees several images of one prompt otherwise than one.
        images = [[self.profile.prepare(image) for image in request.images] for request in batch if request.images]
        inputs = self.processor(
            text=[self._prompt(request) for request in batch],
            images=images or None,
            padding=True,
            padding_side="left",
            add_special_tokens=False,  # the template writes them
            return_tensors="pt",
        )
        return inputs.to(self.device, dtype=self.dtype)  # only floating tensors change their dtype

    # generation

    def _generate(self, batch: list[Request], max_new_tokens: int) -> list[Completion]:
        started = time.perf_counter()
        inputs = self._inputs(batch)
        width = inputs["input_ids"].shape[1]
        output = self._model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            stopping_criteria=StoppingCriteriaList([TextWritten(self._tokenizer, ANSWER_END, width)]),
        )
        seconds = (time.perf_counter() - started) / len(batch)
        prompts = inputs["attention_mask"].sum(dim=1).tolist()
        return [
            self._completion(request.id, row, prompt, seconds)
            for request, row, prompt in zip(batch, output[:, width:].tolist(), prompts, strict=True)
        ]

    def _completion(self, key: str, row: list[int], prompt_tokens: int, seconds: float) -> Completion:
        end = next((place for place, token in enumerate(row) if token in self._end_ids), None)
        written = row if end is None else row[:end]
        text = self._tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        finished = end is not None or ANSWER_END in text
        return Completion(key, text, finished, prompt_tokens, len(written), seconds)

    def _pad_id(self) -> int:
        pad = self._tokenizer.pad_token_id
        return int(pad if pad is not None else self._end_ids[0])

    # probabilities

    def _first_tokens(self, words: Sequence[str]) -> list[int]:
        ids = [self._tokenizer(word, add_special_tokens=False).input_ids[0] for word in words]
        if len(set(ids)) < len(ids):
            raise ModelError(f"the words {list(words)} do not all begin with different tokens of {self.model!r}")
        return ids

    def _probabilities(self, batch: list[Request], words: Sequence[str], ids: list[int]) -> list[dict[str, float]]:
        logits = self._model(**self._inputs(batch), logits_to_keep=1).logits[:, -1, ids]
        shares = torch.softmax(logits.double(), dim=-1).tolist()
        return [dict(zip(words, row, strict=True)) for row in shares]


class TextWritten(StoppingCriteria):
    """Ends each row of a batch on its own, as soon as its new tokens end with a token that completes `text`.

    Args:
        tokenizer: Decodes the tokens.
        text: What ends a row.
        prompt_tokens: Width of the padded prompt, which is not looked at: instructions quote the tags.
    """

    def __init__(self, tokenizer: Any, text: str, prompt_tokens: int) -> None:
        self._tokenizer, self._text, self._start = tokenizer, text, prompt_tokens
        self._window = len(text.encode()) + 1  # a byte-level token holds at least one byte

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """True for each row, shape (batch,), whose text is complete."""
        rows = input_ids[:, self._start :][:, -self._window :].tolist()
        done = [self._text in text for text in self._tokenizer.batch_decode(rows)]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)


def load(model: str, options: LoadOptions) -> LocalEngine:
    """The engine for `load_engine`."""
    return LocalEngine(model, options)


# --- loading ----------------------------------------------------------------------------------------------------


def _device(choice: str) -> str:
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if choice != "cpu" and not choice.startswith("cuda"):
        raise ModelChoiceError(f"no device {choice!r}", hint="use auto, cpu, cuda or cuda:N")
    if choice != "cpu" and not torch.cuda.is_available():
        raise ModelChoiceError(f"the device {choice!r} is not there: no CUDA device is seen", hint="use --device cpu")
    return choice


def _dtype(choice: str, device: str) -> torch.dtype:
    if choice == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    if choice not in DTYPES:
        raise ModelChoiceError(f"no dtype {choice!r}", hint=f"use auto, {', '.join(DTYPES)}")
    return DTYPES[choice]


def _check_attention(choice: str) -> None:
    # A name with a slash is an attention kernel on the hub.
    if choice not in ("auto", "eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()) and "/" not in choice:
        raise ModelChoiceError(f"no attention {choice!r}", hint="use auto, sdpa, eager or flash_attention_2")


def _load(place: Path | str, device: str, dtype: torch.dtype, choice: str) -> tuple[Any, Any]:
    """Model and processor. No remote code is ever run."""
    implementation = attention(choice, device, str(dtype).removeprefix("torch."))
    shows_bars = hf_logging.is_progress_bar_enabled()
    if isinstance(place, Path):
        # A download is worth a bar, reading a folder is not.
        hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        stored, _ = PreTrainedConfig.get_config_dict(place)
        check_family(stored.get("model_type"), where=str(place))
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        if type(config) not in AutoModelForImageTextToText._model_mapping:
            raise ModelError(f"{str(place)!r} is a {config.model_type!r}, not a vision-language model")
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            place,
            dtype=dtype,
            attn_implementation=implementation,
            trust_remote_code=False,
            output_loading_info=True,
        )
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as error:
        if choice != "auto" and (isinstance(error, ImportError) or "attention" in str(error)):
            why = _brief(error).partition(". ")[0].rstrip(".")
            raise ModelChoiceError(
                f"the attention {choice!r} does not work here: {why}", hint="use --attention auto"
            ) from error
        raise ModelError(f"cannot load the model {str(place)!r}: {_brief(error)}", hint=_hint(place)) from error
    finally:
        if shows_bars:
            hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        # transformers only warns and fills them with random numbers.
        raise ModelError(f"{len(missing)} weights are missing in {str(place)!r}, the first is {missing[0]!r}")
    return model.to(device).eval(), processor


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:240]


def _hint(place: Path | str) -> str:
    if isinstance(place, Path):
        return "the folder must be a whole transformers checkpoint: config, weights, tokenizer and processor"
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set, so only models already downloaded can be used; or name a local folder"
    return "check the spelling and the network, log in for a gated model, or name a local folder"


def _end_ids(generation: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a completion: those of the generation config, the tokenizer's, and padding."""
    configured = generation.eos_token_id if generation is not None else None
    ids = [] if configured is None else [configured] if isinstance(configured, int) else list(configured)
    ids += [token for token in (tokenizer.eos_token_id, tokenizer.pad_token_id) if token is not None]
    return list(dict.fromkeys(int(token) for token in ids))

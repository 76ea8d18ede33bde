"""The engine that runs a model in this process through vLLM, on one or more GPUs.

It was written against vLLM's documented API and was not run with vLLM by us: docs/scale.md, section "vLLM in this
process", says what that leaves open.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from iadr1.errors import ModelChoiceError, ModelError, NoProbabilitiesError
from iadr1.models import LoadOptions, VllmOptions, resolve_model
from iadr1.models.base import Completion, Profile, Request
from iadr1.models.choices import check_dtype, no_vllm
from iadr1.models.fingerprint import folder_fingerprint
from iadr1.models.loading import brief, end_ids, load_generation, load_processor
from iadr1.models.processors import mend_processor
from iadr1.models.profiles import profile_of
from iadr1.models.server_replies import word_probabilities
from iadr1.models.tokens import Prompt, completion, first_tokens, not_finite, prompt_of
from iadr1.prompts import ANSWER_END

MOST_IMAGES = 32
"""Most images of a prompt. What vLLM sets aside for images does not grow with it beyond what fits into one batch."""


class VllmEngine:
    """Runs one model of a family in `PROFILES` through `vllm.LLM`.

    Prompts are the local engine's, token by token, and images come at the size the local engine gives them, so the
    two differ by the arithmetic of their kernels alone. Answers end where the local engine's do.

    Args:
        model: `tiny`, a folder, or a hub id.
        options: Number format (`auto` is the checkpoint's), batch size (vLLM's `max_num_seqs`), and `vllm`.

    Attributes:
        profile: The family's profile with this processor's pixel bounds.
        fingerprint: As the local engine's.
        dtype: The number format as it was chosen; `auto` is vLLM's choice for the checkpoint.

    Raises:
        ModelChoiceError: The package `vllm` is not installed; no such model or dtype; a number out of range.
        ModelError: vLLM cannot load the model.
    """

    name = "vllm"

    def __init__(self, model: str, options: LoadOptions) -> None:
        chosen = _checked(options)
        self.model = model
        self.dtype = options.dtype
        package = _package()
        place = resolve_model(model)
        config, self._processor = load_processor(place)
        self.profile = profile_of(config, self._processor)
        mend_processor(self._processor, self.profile.family)
        self.fingerprint = folder_fingerprint(place) if isinstance(place, Path) else f"hub:{config._commit_hash}"
        self._tokenizer = self._processor.tokenizer
        self._ends = end_ids(load_generation(place), self._tokenizer)
        self._parameters = package.SamplingParams
        try:
            self._llm = package.LLM(
                model=str(place),
                dtype=options.dtype,
                tensor_parallel_size=chosen.tensor_parallel_size,
                gpu_memory_utilization=chosen.gpu_memory_utilization,
                max_model_len=chosen.max_model_len,
                max_num_seqs=options.batch_size,
                limit_mm_per_prompt={"image": MOST_IMAGES, "video": 0},
                mm_processor_kwargs=processor_options(self.profile),
                trust_remote_code=False,
                seed=0,
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(
                f"vLLM cannot load the model {model!r}: {brief(error)}",
                hint="its log above may say more; less memory is taken with --max-model-len and --batch-size",
            ) from error

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        """Greedy completions, one per request, in order; they end at an end token or behind `</answer>`.

        Raises:
            ModelError: A request's image slots do not fit its images, it has more than `MOST_IMAGES`, or is longer
                than the model takes.
        """
        return self._write(requests, max_new_tokens, temperature=0.0)

    def sample(
        self, requests: Sequence[Request], *, max_new_tokens: int, temperature: float, seed: int, top_p: float = 1.0
    ) -> list[Completion]:
        """As `generate`, drawn at random.

        Args:
            requests: The questions.
            max_new_tokens: Longest answer.
            temperature: How varied the answers are, above 0 up to 2.
            seed: The same seed gives a request the same answer, on the same machine.
            top_p: Tokens are drawn from the likeliest ones of this joint probability, above 0 up to 1.
        """
        return self._write(requests, max_new_tokens, temperature=temperature, seed=seed, top_p=top_p)

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        """For each request the probability of each word as the answer's first, normalised over the words.

        A word counts by its first token, as with the local engine; none is lost for standing far below the likeliest.
        A request for which the model computes no finite numbers has an `Unweighed`.

        Raises:
            NoProbabilitiesError: Two words begin with the same token, or this vLLM gives no probabilities of chosen
                tokens.
            ModelError: As `generate`.
        """
        if not hasattr(self._parameters, "logprob_token_ids"):
            raise NoProbabilitiesError(
                "this vLLM gives no probabilities of chosen tokens (no SamplingParams.logprob_token_ids)",
                hint="install vLLM 0.28 or later, or go by what the model writes (--mode think, --scoring text)",
            )
        ids = {
            inside: first_tokens(self._tokenizer, words, inside=inside)
            for inside in {bool(request.prefix) for request in requests}
        }
        chosen = [ids[bool(request.prefix)] for request in requests]
        asked = [
            self._parameters(temperature=0.0, max_tokens=1, detokenize=False, logprob_token_ids=tokens)
            for tokens in chosen
        ]
        outputs = self._ask([prompt_of(request, self._processor, self.profile) for request in requests], asked)
        return [
            self._shares(
                {word: output.outputs[0].logprobs[0][token].logprob for word, token in zip(words, tokens, strict=True)}
            )
            for output, tokens in zip(outputs, chosen, strict=True)
        ]

    def _shares(self, logs: dict[str, float]) -> dict[str, float]:
        highest = max(logs.values())
        if math.isinf(highest) or any(map(math.isnan, logs.values())):
            return not_finite(logs, model=self.model, dtype=self.dtype)
        return word_probabilities([(word, value - highest) for word, value in logs.items()], list(logs))

    def _write(self, requests: Sequence[Request], max_new_tokens: int, **drawn: Any) -> list[Completion]:
        started = time.perf_counter()
        prompts = [prompt_of(request, self._processor, self.profile) for request in requests]
        parameters = self._parameters(
            max_tokens=max_new_tokens,
            stop=[ANSWER_END],
            include_stop_str_in_output=True,
            stop_token_ids=self._ends,
            **drawn,
        )
        outputs = self._ask(prompts, [parameters] * len(prompts))
        seconds = (time.perf_counter() - started) / max(1, len(prompts))
        return [
            completion(
                prompt,
                output.outputs[0].token_ids,
                self._tokenizer,
                ends=self._ends,
                read=len(output.prompt_token_ids),
                seconds=seconds,
            )
            for prompt, output in zip(prompts, outputs, strict=True)
        ]

    def _ask(self, prompts: Sequence[Prompt], parameters: list[Any]) -> list[Any]:
        """What vLLM answers, in order."""
        for prompt in prompts:
            if len(prompt.request.images) > MOST_IMAGES:
                raise ModelError(
                    f"the request {prompt.request.id!r} has {len(prompt.request.images)} images, the engine 'vllm' "
                    f"takes {MOST_IMAGES}",
                    hint="show fewer with --shots",
                )
        if not prompts:
            return []
        images = {id(image): image for prompt in prompts for image in prompt.request.images}
        prepared = {key: self.profile.prepare(image) for key, image in images.items()}
        asked = []
        for prompt in prompts:
            shown = [prepared[id(image)] for image in prompt.request.images]
            asked.append({"prompt_token_ids": prompt.ids, **({"multi_modal_data": {"image": shown}} if shown else {})})
        try:
            outputs: list[Any] = self._llm.generate(asked, parameters, use_tqdm=False)
        except ValueError as error:  # a prompt above the model's length; vLLM refuses all of them then
            raise ModelError(
                f"vLLM refuses a prompt: {brief(error)}",
                hint="raise --max-model-len, or show fewer images with --shots",
            ) from error
        return outputs


def processor_options(profile: Profile) -> dict[str, Any]:
    """What vLLM's image processor is told: the pixel bounds of the images that `Profile.prepare` gives.

    They change no image, since each is within them; but vLLM sets memory aside for the largest possible image, which is
    16 times as large for a family whose processor takes 12.8 million pixels.

    Returns:
        `size` as the Qwen-VL families' processor takes it; nothing for the other families, whose tiles or fixed sizes
        follow from their config.
    """
    if profile.tiling is not None or profile.pads:
        return {}
    width, height = (side + profile.factor for side in profile.cap_wh)
    largest = max(profile.min_pixels, min(profile.max_pixels, width * height))
    return {"size": {"shortest_edge": profile.min_pixels, "longest_edge": largest}}


def _package() -> ModuleType:
    try:
        return import_module("vllm")
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise no_vllm() from error


def _checked(options: LoadOptions) -> VllmOptions:
    chosen = options.vllm or VllmOptions()
    check_dtype(options.dtype)
    for name, value in (
        ("batch_size", options.batch_size),
        ("tensor_parallel_size", chosen.tensor_parallel_size),
        ("max_model_len", chosen.max_model_len),
    ):
        if value is not None and value < 1:
            raise ModelChoiceError(f"{name} is {value}, it must be at least 1")
    if not 0 < chosen.gpu_memory_utilization <= 1:
        raise ModelChoiceError(
            f"gpu_memory_utilization is {chosen.gpu_memory_utilization}, it must be above 0 and at most 1"
        )
    return chosen


def load(model: str, options: LoadOptions) -> VllmEngine:
    """The engine for `load_engine`; device and attention are vLLM's own choice."""
    return VllmEngine(model, options)

"""A module like vLLM as far as the engine `vllm` uses it: names and checks are vLLM's, the numbers transformers'.

Signatures are those of vllm-project/vllm: `LLM.__init__` and `LLM.generate` (vllm/entrypoints/llm.py at 10fdb8f),
`SamplingParams` (vllm/sampling_params.py at 00388f6), `CompletionOutput` (vllm/outputs.py at 003d3ee),
`limit_mm_per_prompt` (vllm/config/multimodal.py at 55e847c). What is not documented there is refused here, and nothing
is drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import torch

from iadr1.models.base import Request
from iadr1.models.decoding import greedy
from iadr1.models.local import LocalEngine
from iadr1.models.tokens import Prompt


@dataclass
class SamplingParams:
    """Its fields with their defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    max_tokens: int | None = 16
    logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    logprob_token_ids: list[int] | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.temperature <= 2
        assert 0 < self.top_p <= 1
        assert self.max_tokens is None or self.max_tokens >= 1
        assert not self.stop or self.detokenize, "stop strings are only supported when detokenize is True"


class OldSamplingParams:
    """Of a vLLM without `logprob_token_ids`."""

    def __init__(self, **fields: Any) -> None:
        assert "logprob_token_ids" not in fields


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool


class LLM:
    """Runs the embedded model through the local engine's parts, from token ids and ready images."""

    made: ClassVar[list[dict[str, Any]]] = []
    """What each one was made with."""
    asked: ClassVar[list[tuple[dict[str, Any], SamplingParams]]] = []
    fails: ClassVar[Exception | None] = None

    def __init__(
        self,
        model: str,
        *,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        seed: int = 0,
        gpu_memory_utilization: float = 0.9,
        mm_processor_kwargs: dict[str, Any] | None = None,
        # By `**kwargs` to EngineArgs.
        max_model_len: int | None = None,
        max_num_seqs: int | None = None,
        limit_mm_per_prompt: dict[str, int] | None = None,
    ) -> None:
        if LLM.fails is not None:
            raise LLM.fails
        assert not trust_remote_code
        self.made.append({key: value for key, value in locals().items() if key != "self"})
        self._limit = limit_mm_per_prompt or {}
        self._length = max_model_len or 4096
        self._engine = LocalEngine(model)

    def generate(
        self,
        prompts: Sequence[dict[str, Any]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        assert prompts, "vLLM has nothing to do"
        assert isinstance(sampling_params, Sequence)
        assert len(sampling_params) == len(prompts)
        assert not use_tqdm
        outputs = []
        for number, (prompt, parameters) in enumerate(zip(prompts, sampling_params, strict=True)):
            assert set(prompt) <= {"prompt_token_ids", "multi_modal_data"}
            self.asked.append((prompt, parameters))
            outputs.append(self._answer(str(number), prompt, parameters))
        return outputs

    def _answer(self, number: str, prompt: dict[str, Any], parameters: SamplingParams) -> RequestOutput:
        data = prompt.get("multi_modal_data", {})
        images = data.get("image", [])
        if len(images) > self._limit.get("image", 999):
            raise ValueError(f"At most {self._limit['image']} image(s) may be provided in one prompt.")
        engine, ids = self._engine, prompt["prompt_token_ids"]
        length = len(ids) + sum(engine.profile.image_tokens(image.size) - 1 for image in images)
        if length >= self._length:
            raise ValueError(f"The decoder prompt (length {length}) is longer than the maximum model length")
        with torch.inference_mode():
            rows = engine._reader.read([Prompt(Request(number, [], tuple(images)), ids, length)])
            logs = torch.log_softmax(rows.logits[0].double(), dim=-1)
            decode = engine.processor.tokenizer.decode
            (written,) = greedy(
                rows,
                ends=parameters.stop_token_ids,
                complete=lambda tokens: any(stop in decode(tokens) for stop in parameters.stop),
                limit=parameters.max_tokens or 4096,
            )
        chosen = parameters.logprob_token_ids
        top = [{token: Logprob(float(logs[token])) for token in (*chosen, written[0])}] if chosen else None
        text = decode(written, skip_special_tokens=True) if parameters.detokenize else ""
        stopped = written[-1] in parameters.stop_token_ids or any(stop in text for stop in parameters.stop)
        output = CompletionOutput(0, text, written, None, top, "stop" if stopped else "length")
        return RequestOutput(number, None, [0] * length, [output], True)


def module(parameters: type = SamplingParams) -> ModuleType:
    """What `import vllm` gives; nothing is remembered of an earlier one."""
    made = ModuleType("vllm")
    LLM.made.clear()
    LLM.asked.clear()
    LLM.fails = None
    vars(made).update(LLM=LLM, SamplingParams=parameters)
    return made

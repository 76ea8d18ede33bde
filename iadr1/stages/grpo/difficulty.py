"""`difficulty=N`: before training, leave out the questions that teach nothing (as DAPO's dynamic sampling, in advance).

The base model answers every question N times, with the sampling of the training. A question whose answers all get the
same reward, the weighted sum that is trained on, is left out: GRPO compares the answers of a group, so one that is
always right or always wrong moves nothing. With a graded reward, a question that is never quite right but gets
different rewards stays: these are what there is to learn.

The answers' rewards are kept in `difficulty.jsonl`, batch by batch, so that nothing is drawn twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from transformers import GenerationConfig
from transformers.integrations import deepspeed as _deepspeed

from iadr1.config import TrainConfig
from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256
from iadr1.models.fingerprint import folder_fingerprint
from iadr1.models.vision import VisionCache, once_per_image
from iadr1.provenance import digest
from iadr1.records import Record, RecordWriter, Sample, write_records
from iadr1.rewards import WeightedReward
from iadr1.stages.grpo.data import training_rows
from iadr1.stages.grpo.scoring import Scorer
from iadr1.stages.training import processes, session
from iadr1.stages.training.context import check_run

Note = Callable[[str], None]

# Without annotations of their own.
_DEEPSPEED: Any = _deepspeed
_GENERATION: Any = GenerationConfig

FILE = "difficulty.jsonl"
EQUAL = 1e-9
"""Rewards nearer to each other than this are one reward."""


class Draw(Record):
    """A line of `difficulty.jsonl`: what the answers to one question were worth.

    `key` tells draws with other settings, data or weights apart, `number` is the sample's place in the data from 0.
    """

    key: str
    number: int
    sample_id: str
    rewards: tuple[float, ...]

    @property
    def is_flat(self) -> bool:
        """Whether all answers are worth the same."""
        return max(self.rewards) - min(self.rewards) < EQUAL


@dataclass(frozen=True)
class Asked:
    """Who is asked, and what the answers are worth: the base model, resolved, and the run's rewards."""

    base: str
    rewards: Sequence[WeightedReward]


def keep_useful(
    config: TrainConfig, samples: Sequence[Sample], root: Path, *, asked: Asked, settings: Any, note: Note
) -> tuple[list[Sample], dict[str, int]]:
    """The samples worth training on, and what `run.json` says of the others.

    All processes call it together and draw their shares; the process's random state stays as it is.

    Args:
        config: The run's settings.
        samples: All samples.
        root: The folder of their images.
        asked: Who is asked, and what the answers are worth.
        settings: The trainer's settings, which have joined the processes.
        note: Called with lines for the user.

    Raises:
        UsageError: No sample is left.
        DataError: A prompt does not fit into the model's context, or `difficulty.jsonl` is broken.
        ModelError: The base model cannot be loaded.
        OutputError: The run's folder cannot be written to.
    """
    key = _key(config, asked.base)
    merged, own = config.out / FILE, config.out / f"difficulty.{settings.process_index}.jsonl"
    known = {drawn.number: drawn for path in (merged, own) for drawn in _read(path) if drawn.key == key}
    a_batch = max(1, config.batch_size // config.difficulty)
    batches = [range(start, min(start + a_batch, len(samples))) for start in range(0, len(samples), a_batch)]
    share = batches[settings.process_index :: settings.world_size]
    if left := [batch for batch in share if not known.keys() >= set(batch)]:
        note(f"difficulty: drawing {config.difficulty} answers to each of {len(samples)} questions")
        with _not_sharded(settings):
            sampler = _Sampler(config, samples, root, asked)
        write_records(own, known.values())
        with RecordWriter(own) as writer:
            for count, batch in enumerate(left, start=1):
                for number, values in zip(batch, sampler.rewards(batch), strict=True):
                    known[number] = Draw(key=key, number=number, sample_id=samples[number].id, rewards=tuple(values))
                    writer.write(known[number])
                writer.flush()
                if count * 10 // len(left) > (count - 1) * 10 // len(left):
                    note(f"difficulty: {count * 100 // len(left)} % drawn")
    draws = {drawn.number: drawn for drawn in _gathered(list(known.values()))}
    if processes.is_first():
        write_records(merged, [draws[number] for number in range(len(samples))])
        for path in config.out.glob("difficulty.*.jsonl"):
            path.unlink()
    return _chosen(config, samples, [draws[number] for number in range(len(samples))], note)


def _gathered(draws: list[Draw]) -> list[Draw]:
    """The draws of all processes."""
    if processes.count() == 1:
        return draws
    shares: list[Any] = [None] * processes.count()
    torch.distributed.all_gather_object(shares, draws)
    return [drawn for share in shares for drawn in share]


def _chosen(
    config: TrainConfig, samples: Sequence[Sample], draws: Sequence[Draw], note: Note
) -> tuple[list[Sample], dict[str, int]]:
    kept = [sample for sample, drawn in zip(samples, draws, strict=True) if not drawn.is_flat]
    values = [value for drawn in draws for value in drawn.rewards]
    best, worst = max(values), min(values)
    flat = [drawn.rewards[0] for drawn in draws if drawn.is_flat]
    right = sum(best - value < EQUAL for value in flat)
    wrong = sum(value - worst < EQUAL <= best - value for value in flat)
    told = (
        f"{right} always the best ({best:.3g}), {wrong} always the worst ({worst:.3g}), "
        f"{len(flat) - right - wrong} between"
    )
    note(
        f"difficulty: {len(flat)} of {len(samples)} questions left out, since all {config.difficulty} answers got the "
        f"same reward: {told}"
    )
    if not kept:
        raise UsageError(
            f"difficulty={config.difficulty} leaves no question: all answers to each got the same reward, {told}",
            where=str(config.out / FILE),
            hint="use another reward, easier or harder data, more answers or a higher temperature, or fine-tune on the "
            "format first (iadr1 sft)",
        )
    counts = {"answers": config.difficulty, "questions": len(samples), "kept": len(kept)}
    return kept, {**counts, "always_best": right, "always_worst": wrong, "always_between": len(flat) - right - wrong}


@contextmanager
def _not_sharded(settings: Any) -> Iterator[None]:
    """Load a model whole although the trainer's settings ask for ZeRO-3, which shards whatever is loaded."""
    sharding = getattr(settings, "hf_deepspeed_config", None)
    if sharding is None:
        yield
        return
    _DEEPSPEED.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        _DEEPSPEED.set_hf_deepspeed_config(sharding)


def _key(config: TrainConfig, base: str) -> str:
    """What a draw depends on, in 16 digits."""
    names = ("reward", "difficulty", "batch_size", "temperature", "top_p", "top_k", "max_new_tokens", "shots")
    settings = {name: getattr(config, name) for name in (*names, "max_pixels", "bf16", "seed", "limit")}
    weights = folder_fingerprint(Path(base)) if Path(base).is_dir() else base
    return digest({**settings, "model": weights, "data": file_sha256(config.data)})


def _read(path: Path) -> list[Draw]:
    """The lines of a file, without one that a kill has cut off; none where there is no file."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1].splitlines()
    try:
        return [Draw.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise DataError("not the draws of a difficulty filter", where=str(path), hint="delete it") from error


class _Sampler:
    """The base model, answering as it would in training."""

    def __init__(self, config: TrainConfig, samples: Sequence[Sample], root: Path, asked: Asked) -> None:
        loaded = session.load(config, asked.base, None)
        check_run(config, samples, root, loaded)
        self._device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else "cpu"
        self._model = loaded.model.to(self._device).eval()
        if config.vision_cache:
            once_per_image(self._model, VisionCache())
        self._config, self._processor = config, loaded.processor
        self._weights = [weight for _, _, weight in asked.rewards]
        self._scorer = Scorer(asked.rewards, loaded.profile)
        order = list(range(len(samples)))
        self._rows = training_rows(list(samples), root, loaded.profile, shots=config.shots, order=order)
        self._settings = _generation(self._model, self._processor.tokenizer, config)

    def rewards(self, batch: range) -> list[list[float]]:
        """For each question of the batch the weighted reward of each answer; the same in every run."""
        rows = [row for row in self._rows.__getitems__(list(batch)) for _ in range(self._config.difficulty)]
        seed = np.random.SeedSequence([self._config.seed, batch.start]).generate_state(1)[0]
        values: list[float] = []
        cards = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(cards):
            torch.manual_seed(int(seed))
            for start in range(0, len(rows), self._config.batch_size):
                values += self._answer(rows[start : start + self._config.batch_size])
        answers = self._config.difficulty
        return [values[start : start + answers] for start in range(0, len(values), answers)]

    def _answer(self, rows: list[dict[str, Any]]) -> list[float]:
        template = self._processor.apply_chat_template
        inputs = self._processor(
            text=[template(row["prompt"], tokenize=False, add_generation_prompt=True) for row in rows],
            images=[row["images"] for row in rows],
            padding=True,
            padding_side="left",
            add_special_tokens=False,  # the template writes them
            return_tensors="pt",
        ).to(self._device)
        bfloat16 = torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=self._config.bf16)
        with torch.inference_mode(), bfloat16:
            output = self._model.generate(**inputs, generation_config=self._settings)
        written = output[:, inputs["input_ids"].shape[1] :]
        texts = self._processor.batch_decode(written, skip_special_tokens=True)
        _, table = self._scorer.score(texts, [row["sample"] for row in rows], [row["image_wh"] for row in rows])
        return [sum(w * v for w, v in zip(self._weights, row, strict=True) if v is not None) for row in table]


def _generation(model: Any, tokenizer: Any, config: TrainConfig) -> Any:
    """Sampling as the trainer does it."""
    ends = model.generation_config.eos_token_id
    return _GENERATION(
        max_new_tokens=config.max_new_tokens,
        do_sample=True,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id if ends is None else ends,
        suppress_tokens=[model.config.image_token_id],  # it would stand for an image that is not there
    )

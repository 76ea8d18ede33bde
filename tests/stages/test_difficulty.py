"""The difficulty filter: which questions are left out, and that no answer is drawn twice."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from iadr1.config import TrainConfig
from iadr1.errors import DataError, UsageError
from iadr1.records import Sample, read_records, write_records
from iadr1.rewards import resolve_reward
from iadr1.stages import grpo
from iadr1.stages.grpo import difficulty
from iadr1.stages.grpo.completions import read_answers, step_files
from iadr1.stages.grpo.difficulty import Asked, Draw, keep_useful
from tests.stages import launching
from tests.stages.tiny_run import sample, tiny_run

ALONE = argparse.Namespace(process_index=0, world_size=1)
SAMPLES = [sample(number) for number in range(8)]


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.chdir(tmp_path)
    return tiny_run(tmp_path, tiny_model, difficulty=4, reward="tiny_rewards:even", steps=1)


def keep(
    config: TrainConfig, note: Callable[[str], None] = lambda line: None, samples: list[Sample] | None = None
) -> tuple[list[Sample], dict[str, int]]:
    asked = Asked(config.model, resolve_reward(config.reward))
    return keep_useful(config, samples or SAMPLES, config.data.parent, asked=asked, settings=ALONE, note=note)


def draws(config: TrainConfig) -> list[Draw]:
    return list(read_records(config.out / "difficulty.jsonl", Draw))


def answering(monkeypatch: pytest.MonkeyPatch, table: dict[int, list[float]]) -> list[range]:
    """Instead of a model: the rewards of each question by its number. Returns the batches that are asked."""
    asked: list[range] = []

    class Sampler:
        def __init__(self, *args: Any) -> None: ...

        def rewards(self, batch: range) -> list[list[float]]:
            asked.append(batch)
            return [table[number] for number in batch]

    monkeypatch.setattr(difficulty, "_Sampler", Sampler)
    return asked


# --- what is left out ---------------------------------------------------------------------------------------------


def test_questions_that_teach_nothing_are_left_out(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        0: [1.0, 1.0, 1.0, 1.0],  # always right
        1: [1.0, 1.0, 1.0, 0.8],
        2: [0.0, 0.0, 0.0, 0.0],  # never right
        3: [0.0, 0.0, 0.0, 0.05],  # never right, but some wrong answers are better
        4: [0.1 + 0.2, 0.3, 0.3, 0.3],  # the same but for rounding, always in part
        5: [0.0, 1.0, 0.0, 1.0],
        6: [0.0, 0.0, 0.0, 0.0],
        7: [1.0, 0.0, 0.0, 0.0],
    }
    answering(monkeypatch, table)
    notes: list[str] = []
    kept, figures = keep(config, notes.append)
    assert [one.id for one in kept] == ["s1", "s3", "s5", "s7"]
    assert figures == {
        "answers": 4, "questions": 8, "kept": 4, "always_best": 1, "always_worst": 2, "always_between": 1,
    }  # fmt: skip
    assert notes[-1] == (
        "difficulty: 4 of 8 questions left out, since all 4 answers got the same reward: 1 always the best (1), "
        "2 always the worst (0), 1 between"
    )
    assert [(drawn.number, drawn.sample_id) for drawn in draws(config)] == [(n, f"s{n}") for n in range(8)]
    assert {drawn.number: list(drawn.rewards) for drawn in draws(config)} == table


def test_a_filter_that_leaves_nothing_says_why(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {number: [float(number < 2)] * 4 for number in range(8)})
    with pytest.raises(UsageError) as caught:
        keep(config)
    assert "difficulty=4 leaves no question" in str(caught.value)
    assert "2 always the best (1), 6 always the worst (0), 0 between" in str(caught.value)
    assert "difficulty.jsonl" in str(caught.value)
    assert "iadr1 sft" in str(caught.value)


def test_one_answer_cannot_be_compared(config: TrainConfig) -> None:
    with pytest.raises(UsageError, match="difficulty is 1, one answer has nothing to be compared with"):
        grpo.run(dataclasses.replace(config, difficulty=1))
    assert not config.out.exists()


# --- drawing once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "batches"), [(4, [range(0, 2), range(2, 4), range(4, 6), range(6, 8)]), (3, 4), (8, 8), (20, 8)]
)
def test_batches_hold_what_training_holds(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, answers: int, batches: Any
) -> None:
    asked = answering(monkeypatch, {number: [0.0, float(number)] for number in range(8)})
    keep(dataclasses.replace(config, difficulty=answers))
    assert [number for batch in asked for number in batch] == list(range(8))
    assert asked == batches or len(asked) == batches


def test_what_was_drawn_is_not_drawn_again(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {number: [0.0, float(number % 2)] for number in range(8)}
    asked = answering(monkeypatch, table)

    def kill(line: str) -> None:
        if "50 %" in line:
            raise KilledError

    with pytest.raises(KilledError):
        keep(config, kill)
    assert asked == [range(0, 2), range(2, 4)]
    own = config.out / "difficulty.0.jsonl"
    with own.open("a", encoding="utf-8") as file:
        file.write('{"key": "cut off by a ki')
    first = keep(config)
    assert asked == [range(start, start + 2) for start in (0, 2, 4, 6)]
    assert not own.exists()
    notes: list[str] = []
    assert keep(config, notes.append) == first
    assert len(asked) == 4
    assert len(notes) == 1  # the counts alone


def test_draws_of_other_settings_or_data_do_not_count(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, {number: [0.0, float(number % 2)] for number in range(8)})
    keep(config)
    # Settings that change no answer and no reward.
    keep(dataclasses.replace(config, learning_rate=0.5, steps=9, beta=0.0, generations=8))
    assert len(asked) == 4
    others: list[dict[str, Any]] = [
        {"temperature": 0.5}, {"reward": "tiny_rewards:length"}, {"max_new_tokens": 9}, {"seed": 1}, {"top_p": 0.5},
    ]  # fmt: skip
    for count, changes in enumerate(others, start=2):
        keep(dataclasses.replace(config, **changes))
        assert len(asked) == 4 * count, changes
    keep(config)
    before = len(asked)
    write_records(config.data, [sample(number, question="Which?") for number in range(8)])
    keep(config)
    assert len(asked) == before + 4


def test_a_broken_file_is_named(config: TrainConfig) -> None:
    config.out.mkdir()
    (config.out / "difficulty.jsonl").write_text('{"number": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"difficulty\.jsonl: not the draws of a difficulty filter \(delete it\)"):
        keep(config)


# --- the model's own answers ----------------------------------------------------------------------------------------


def test_the_base_model_is_asked_and_the_run_trains_on_the_rest(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    kept, _ = keep(config)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [one.id for one in kept] == ["s1", "s3", "s5", "s7"]
    drawn = draws(config)
    assert all(len(one.rewards) == 4 for one in drawn)
    assert len({one.rewards for one in drawn}) > 2
    (config.out / "difficulty.jsonl").unlink()

    # Stopped in the middle, the rest is drawn as if it had not been.
    with pytest.raises(KilledError):
        keep(config, lambda line: (_ for _ in ()).throw(KilledError) if "50 %" in line else None)
    keep(config)
    assert draws(config) == drawn

    asked = answering(monkeypatch, {})  # nothing is drawn again for the run
    config = dataclasses.replace(config, steps=2)
    grpo.run(config)
    assert not asked
    info = json.loads((config.out / "run.json").read_text(encoding="utf-8"))
    told = info["difficulty"]
    assert (told["answers"], told["questions"], told["kept"]) == (4, 8, 4)
    assert told["always_best"] + told["always_worst"] + told["always_between"] == 4
    trained = {
        answer.sample_id for path in step_files(config.out / "completions").values() for answer in read_answers(path)[1]
    }
    assert trained == {"s1", "s3", "s5", "s7"}


@pytest.mark.multiprocess
def test_two_processes_share_the_questions_and_keep_all_answers(tmp_path: Path, tiny_model: Path) -> None:
    config = tiny_run(tmp_path, tiny_model)
    words = [
        "train", f"model={tiny_model}", f"data={config.data}", f"out={config.out}", "reward=tiny_rewards:even",
        "generations=4", "batch_size=4", "max_new_tokens=12", "steps=2", "difficulty=4", "log_to=none", "--nproc", "2",
    ]  # fmt: skip
    ended = launching.run(launching.python("-m", "iadr1", *words), tmp_path)
    assert ended.code == 0, ended.err[-2000:]
    assert [drawn.number for drawn in draws(config)] == list(range(8))
    assert not list(config.out.glob("difficulty.*.jsonl"))
    info = json.loads((config.out / "run.json").read_text(encoding="utf-8"))
    useful = {drawn.sample_id for drawn in draws(config) if not drawn.is_flat}
    assert useful <= {"s1", "s3", "s5", "s7"}
    assert info["difficulty"]["kept"] == len(useful) > 0
    files = step_files(config.out / "completions")
    assert list(files) == [1, 2]
    for path in files.values():
        answers = read_answers(path)[1]
        assert [answer.group for answer in answers] == [0] * 4 + [1] * 4
        assert [len({answer.sample_id for answer in answers[start : start + 4]}) for start in (0, 4)] == [1, 1]
        assert {answer.sample_id for answer in answers} <= useful
        for answer in answers:
            assert answer.rewards["even"] == len(answer.completion) % 3

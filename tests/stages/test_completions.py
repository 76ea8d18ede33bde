"""`completions/`: what is kept of every answer, when it is written, and the page made of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from iadr1.config import TrainConfig
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.geometry import BoxSpace
from iadr1.models.base import Profile
from iadr1.records import Defect, Sample
from iadr1.rewards import resolve_reward
from iadr1.stages import grpo
from iadr1.stages.grpo import view
from iadr1.stages.grpo.completions import AnswerLog, read_answers, step_file, step_files
from iadr1.stages.grpo.log import StepLog
from iadr1.stages.grpo.scoring import ROWS, ScoredRow, Scorer
from tests.stages.tiny_run import sample, tiny_run

parquet: Any = importlib.import_module("pyarrow.parquet")

PROFILE = Profile("qwen2_5_vl", BoxSpace.INPUT_PX, 28, 112 * 112, 112 * 112)
REWARDS = resolve_reward("roam=1,format=0.5")


def gathered(step: int, *, rewards: tuple[tuple[float | None, ...], ...] = ((1.0, 1.0), (0.0, None))) -> dict[str, Any]:
    """What the trainer holds after a step: answers to two prompts, two each."""
    rows = [
        ScoredRow(step, f"s{number // 2}", f"images/{number // 2}.png", "A", "ok", "", rewards[number % 2], 5 + number)
        for number in range(4)
    ]
    prompt = [{"role": "user", "content": [{"type": "image", "image": object()}, {"type": "text", "text": "Which?"}]}]
    return {
        "prompt": [prompt] * 4,
        "completion": [[{"role": "assistant", "content": f"answer {number} \ud800"}] for number in range(4)],
        "advantages": [0.5, -0.5, 0.25, -0.25],
        "extra": {ROWS: rows},
    }


def log_of(out: Path) -> AnswerLog:
    return AnswerLog(out, REWARDS, generations=2)


def test_a_step_holds_every_answer_with_what_it_was_worth(tmp_path: Path) -> None:
    log_of(tmp_path).write(gathered(3))
    assert [path.name for path in (tmp_path / "completions").iterdir()] == ["step-00003.parquet"]
    table = parquet.read_table(tmp_path / "completions" / "step-00003.parquet")
    assert table.column_names == [
        "step", "group", "sample_id", "image", "prompt", "completion", "truth", "rewards/roam", "rewards/format",
        "reward", "advantage", "parse", "parse_reason", "tokens",
    ]  # fmt: skip
    weights, answers = read_answers(tmp_path / "completions" / "step-00003.parquet")
    assert weights == {"roam": 1.0, "format": 0.5}
    assert [answer.group for answer in answers] == [0, 0, 1, 1]
    assert [answer.sample_id for answer in answers] == ["s0", "s0", "s1", "s1"]
    assert [answer.reward for answer in answers] == [1.5, 0.0, 1.5, 0.0]
    assert [answer.advantage for answer in answers] == [0.5, -0.5, 0.25, -0.25]
    second = answers[1]
    assert second.rewards == {"roam": 0.0, "format": None}
    assert (second.step, second.image, second.prompt, second.truth) == (3, "images/0.png", "[image]\nWhich?", "A")
    assert (second.completion, second.tokens, second.parse) == ("answer 1 ?", 6, "ok")


def test_answers_are_written_once_where_steps_go_over_them_again(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.write(gathered(1))
    stamp = step_file(tmp_path / "completions", 1).stat().st_mtime_ns
    log.write(gathered(1))  # iterations=2: the second optimizer step draws nothing
    log.write(gathered(1) | {"extra": {ROWS: []}})
    assert step_file(tmp_path / "completions", 1).stat().st_mtime_ns == stamp
    log.write(gathered(3))
    assert list(step_files(tmp_path / "completions")) == [1, 3]


def test_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.rewind(0)
    for step in (1, 2, 100000):
        log.write(gathered(step))
    (tmp_path / "completions" / "notes.txt").touch()
    log_of(tmp_path).rewind(1)
    assert [path.name for path in sorted((tmp_path / "completions").iterdir())] == ["notes.txt", "step-00001.parquet"]


def test_a_disk_that_is_full_leaves_the_old_file_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_of(tmp_path).write(gathered(1))
    before = step_file(tmp_path / "completions", 1).read_bytes()

    def full(table: Any, path: Path, **kwargs: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(OutputError, match=r"step-00001.parquet: cannot write: No space left.*completions=false"):
        log_of(tmp_path).write(gathered(1))
    assert step_file(tmp_path / "completions", 1).read_bytes() == before
    assert len(list((tmp_path / "completions").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"PAR1 rubbish"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "step-00001.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"step-00001\.parquet: not the answers of a step"):
        read_answers(path)


def test_a_table_of_somebody_else_is_refused(tmp_path: Path) -> None:
    pa: Any = importlib.import_module("pyarrow")
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "step-00001.parquet")
    with pytest.raises(DataError, match="not the answers of a step"):
        read_answers(tmp_path / "step-00001.parquet")


def scored(texts: list[str], samples: list[Sample], *, keep: bool) -> dict[str, list[Any]]:
    """What the reward functions hand to the trainer."""
    handed: dict[str, list[Any]] = {}
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    for function in Scorer(resolve_reward("roam,grounding,format=0.5"), PROFILE, keep=keep).functions():
        function(
            completions=completions,
            sample=[one.model_dump_json() for one in samples],
            image_wh=[(80, 80)] * len(samples),
            log_metric=lambda name, value: None,
            log_extra=lambda name, values: handed.setdefault(name, []).extend(values),
            completion_ids=[[0] * (3 + number) for number in range(len(texts))],
            trainer_state=type("State", (), {"global_step": 6}),
        )
    return handed


def test_rewards_hand_over_each_answer_once() -> None:
    target = sample(4, task="grounding", options={}, answer="", defects=(Defect(type="x", box=(0, 0, 40.5, 40)),))
    texts = ["<think>The answer is A.</think><answer>A</answer>", "rubbish", "rubbish"]
    (rows,) = scored(texts, [sample(0), sample(1), target], keep=True).values()
    written = '[{"bbox_2d": [0, 0, 57, 56], "label": "x"}]'
    assert rows == [
        ScoredRow(7, "s0", "images/0.png", "A", "ok", "", (1.0, None, 1.0), 3),
        ScoredRow(7, "s1", "images/1.png", "B", "failed", "no <answer> block", (0.0, None, 0.0), 4),
        # In the model's own pixels, 112 where the image has 80: what the page shows beside the model's boxes.
        ScoredRow(7, "s4", "images/4.png", written, "failed", "no usable box in 'rubbish'", (None, 0, 0), 5),
    ]
    assert scored(texts, [sample(0), sample(1), target], keep=False) == {}


# --- a run ---------------------------------------------------------------------------------------------------------


class KilledError(Exception):
    """Stands for a kill."""


def test_a_run_writes_the_answers_of_every_step(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny_run(tmp_path, tiny_model, steps=3, reward="tiny_rewards:length=2,format=0.5")
    seen: dict[float, bool] = {}

    def stop(figures: dict[str, float]) -> None:
        seen[figures["step"]] = step_file(config.out / "completions", int(figures["step"])).exists()
        if figures["step"] == 2:
            raise KilledError

    with pytest.raises(KilledError):
        grpo.run(config, on_log=stop)
    assert seen == {1.0: True, 2.0: True}
    (config.out / "completions" / "step-00002.parquet").write_bytes(b"of the steps that are done again")
    (config.out / "completions" / "step-00009.parquet").write_bytes(b"of the steps that are done again")
    assert grpo.run(config).resumed_from == 1
    files = step_files(config.out / "completions")
    assert list(files) == [1, 2, 3]

    lines = (config.out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    for entry in map(StepLog.model_validate_json, lines):
        weights, answers = read_answers(files[entry.step])
        assert weights == {"length": 2.0, "format": 0.5}
        assert [answer.step for answer in answers] == [entry.step] * 8
        assert [answer.group for answer in answers] == [0] * 4 + [1] * 4
        assert sum(answer.reward for answer in answers) / 8 == pytest.approx(entry.reward, abs=1e-5)
        assert sum(answer.tokens for answer in answers) / 8 == pytest.approx(entry.completion_length)
        assert sum(answer.parse != "failed" for answer in answers) / 8 == pytest.approx(entry.parse_rate)
        for start in (0, 4):
            group = answers[start : start + 4]
            assert len({answer.sample_id for answer in group}) == 1
            mean = sum(answer.reward for answer in group) / 4
            for answer in group:
                assert answer.rewards["length"] == len(answer.completion) % 7
                better = answer.reward - mean
                assert answer.advantage == pytest.approx(0, abs=1e-4) or answer.advantage * better > 0
        assert "[image]\nIs there any defect in the object?\nA. Yes.\nB. No." in answers[0].prompt

    summary = view.run(config.out)
    assert (summary.steps, summary.of_steps, summary.groups, summary.answers) == ((1, 2, 3), 3, 6, 24)
    text = summary.out.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 6
    assert "2 length + 0.5 format" in text


def test_a_run_can_do_without(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny_run(tmp_path, tiny_model, steps=1, completions=False)
    grpo.run(config)
    assert not (config.out / "completions").exists()
    with pytest.raises(UsageError, match=r"holds no answers \(the run was started with completions=false\)"):
        view.run(config.out)


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder with the answers of ten steps, two prompts each."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    for step in range(1, 11):
        log_of(out).write(gathered(step))
    config = {"data": "samples.jsonl", "root": None, "model": "tiny", "completions": True}
    (out / "run.json").write_text(json.dumps({"command": "train", "config": config}), encoding="utf-8")
    return out


def test_steps_of_a_long_run_are_spread_from_first_to_last(finished: Path) -> None:
    drawn: list[Any] = []
    summary = view.run(finished, limit=8, progress=lambda *figures: drawn.append(figures))
    assert summary.steps == (1, 4, 7, 10)
    assert summary.out == finished / "completions.html"
    assert drawn == [("drawing", number, 8) for number in range(1, 9)]
    assert view.run(finished, limit=1).steps == (10,)
    assert view.run(finished).steps == tuple(range(1, 11))


def test_steps_can_be_chosen(finished: Path, tmp_path: Path) -> None:
    summary = view.run(finished, steps=[7, 2, 7], out=tmp_path / "new" / "page.html", root=tmp_path)
    assert (summary.steps, summary.out) == ((2, 7), tmp_path / "new" / "page.html")
    with pytest.raises(UsageError, match=r"no answers of step 11 \(there are 1 to 10, 10 in all\)"):
        view.run(finished, steps=[11])


def test_pictures_are_looked_for_where_the_run_found_them(finished: Path, tmp_path: Path, tiny_model: Path) -> None:
    config: TrainConfig = tiny_run(tmp_path, tiny_model)
    assert view.run(finished, steps=[1]).out.read_text(encoding="utf-8").count("data:image/jpeg") == 2
    info = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    info["config"] |= {"root": str(config.data.parent / "images")}
    (finished / "run.json").write_text(json.dumps(info), encoding="utf-8")
    assert view.run(finished, steps=[1]).out.read_text(encoding="utf-8").count("No picture: ") == 2
    page = view.run(finished, steps=[1], root=config.data.parent).out.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 2


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        (None, UsageError, "not the folder of a run"),
        ("{", DataError, "not a run.json"),
        ("[]", DataError, "not a run.json"),
        ('{"command": "train", "config": {}}', DataError, "not a run.json"),
        ('{"command": "sft", "config": {"data": "x"}}', UsageError, "a run of 'iadr1 sft' has no answers"),
        ('{"command": "train", "config": {"data": "x"}}', UsageError, "the run holds no answers"),
    ],
)
def test_a_folder_without_answers_is_refused(
    tmp_path: Path, text: str | None, kind: type[Exception], says: str
) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(kind, match=says):
        view.run(tmp_path)


def test_the_command_says_what_it_wrote(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from iadr1 import cli

    with pytest.raises(SystemExit) as ended:
        cli.main(["completions", str(finished), "--step", "3", "--out", str(finished / "a.html")])
    assert not ended.value.code
    assert capsys.readouterr().out.splitlines() == [f"{finished / 'a.html'}: 4 answers to 2 prompts, 1 of 10 steps"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["completions", str(finished.parent / "nothing")])
    assert ended.value.code == 2
    assert "not the folder of a run (no run.json) ('iadr1 train' writes one)" in capsys.readouterr().err

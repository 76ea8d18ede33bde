"""The ablation's runs, sets, figures and rule; the whole way with an engine that knows the answers and no training."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="pyarrow (extra train) is not installed")
pytest.importorskip("scipy", reason="scipy is not installed")

from benchmarks import ablation, ablation_figures, ablation_sets
from benchmarks.ablation import NAMES, Settings, config_of, pairs, runs_of
from benchmarks.ablation_figures import FIELDS, MMAD, Evaluated, judge, over_seeds, reasoning
from benchmarks.ablation_sets import Sizes
from iadr1 import leaks
from iadr1.config import GroundConfig, SftConfig, TrainConfig
from iadr1.errors import DataError, UsageError
from iadr1.models.base import Request
from iadr1.records import Sample, read_records
from iadr1.stages import evaluate, scoring
from iadr1.stages.scoring.reading import Answer, Item, Question
from iadr1.stages.training.limits import check_grpo, check_sft
from tests.stages.fake_engine import FakeEngine

SMALL = Settings(steps=5, ground_steps=3, questions=2, generations=4, images=8, evaluated=8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sets."""
    out = tmp_path_factory.mktemp("ablation")
    ablation_sets.make(out / "data", Sizes(SMALL.images, SMALL.evaluated, SMALL.data_seed), model="none")
    return out


def read(path: Path) -> list[Sample]:
    return list(read_records(path, Sample))


def test_each_run_comes_after_the_one_it_starts_from() -> None:
    runs = list(runs_of(Path("out"), SMALL, [0, 1]))
    assert [run.arm for run in runs] == ["base", *NAMES[1:], *NAMES[1:]]
    assert len({run.folder for run in runs}) == len(runs)
    for place, run in enumerate(runs[1:], start=1):
        assert run.before in runs[:place]
    starts = {run.arm: run.before.arm for run in runs[1:]}
    assert starts["roam"] == starts["ground"] == starts["pa-sft"] == "base"
    assert (starts["sc-grpo"], starts["ground-sc-grpo"]) == ("pa-sft", "ground-pa-sft")
    assert starts["ground-roam"] == starts["ground-pa-sft"] == "ground"
    some = [run.arm for run in runs_of(Path("out"), SMALL, [3], ["ground-sc-grpo", "roam"])]
    assert some == ["base", "roam", "ground", "ground-pa-sft", "ground-sc-grpo"]


def test_equal_steps_and_questions_and_reinforcement_on_other_images() -> None:
    configs = {run.arm: config_of(run) for run in runs_of(Path("out"), SMALL, [7]) if run.arm != "base"}
    for arm, config in configs.items():
        plain = arm.removeprefix("ground-")
        assert config.seed == 7
        if isinstance(config, SftConfig):
            check_sft(config)
            assert config.batch_size == SMALL.questions
            assert "data/sft/" in str(config.data)
        else:
            check_grpo(config)
            assert config.batch_size == SMALL.questions * config.generations
            assert f"data/{'ground' if arm == 'ground' else 'reinforce'}/" in str(config.data)
        if plain not in ("ground", "pa-sft", "sc-grpo"):
            assert config.steps == SMALL.steps
    assert configs["pa-sft"].steps + configs["sc-grpo"].steps == SMALL.steps
    assert type(configs["ground"]) is GroundConfig
    assert configs["ground"].steps == SMALL.ground_steps
    rewards = {arm: config.reward for arm, config in configs.items() if type(config) is TrainConfig}
    assert rewards["ground-grpo"] == "classical"
    assert [rewards[arm] for arm in ("roam", "roam-reference", "sc-grpo")] == ["roam", "roam-reference", "sc-grpo"]
    assert configs["sc-grpo"].model == str(Path("out/runs/pa-sft/seed-7/sft/model"))


def test_pairs() -> None:
    found = pairs(NAMES)
    assert len(found) == len(set(found))
    assert ("base", "ground-roam") in found
    assert ("ground-grpo", "ground-roam") in found
    assert ("roam", "ground-roam") in found
    assert ("grpo", "ground-roam") not in found
    assert pairs(["base", "roam"]) == [("base", "roam")]


def test_the_sets_share_no_image(drawn: Path) -> None:
    data = drawn / "data"
    hashes = {
        path: {sample.image_sha256 for sample in read(path)}
        for path in (
            ablation_sets.questions(data, "sft"),
            ablation_sets.questions(data, "reinforce"),
            ablation_sets.regions(data, "ground"),
            *(ablation_sets.benchmark(data, name) for name in ablation_sets.EVALUATION),
        )
    }
    assert all(hashes.values())
    assert len(set().union(*hashes.values())) == sum(map(len, hashes.values()))
    for name in ("sft", "reinforce"):
        asked, judged = (read(of(data, name)) for of in (ablation_sets.questions, ablation_sets.verdicts))
        assert {sample.task for sample in asked} == {"choice"}
        assert {sample.task for sample in judged} == {"anomaly"}
        assert {sample.image for sample in asked} == {sample.image for sample in judged}
        assert not any(sample.held_out for sample in (*asked, *judged))
    assert any(sample.held_out for sample in read(ablation_sets.benchmark(data, "anomaly")))


def test_an_image_of_two_sets_is_left_out_and_one_that_is_not_is_refused(drawn: Path) -> None:
    samples, root = read(ablation_sets.verdicts(drawn / "data", "sft")), drawn / "data" / "sft" / "data" / "train"
    manifest = leaks.build_manifest(samples[:2], root)
    kept, left_out = ablation_sets._new(samples, root, {"earlier": manifest})
    assert (len(kept), left_out) == (len(samples) - 2, {"earlier": 2})
    own = leaks.build_manifest(
        read(ablation_sets.verdicts(drawn / "data", "reinforce")), drawn / "data" / "reinforce" / "data" / "train"
    )
    with pytest.raises(DataError, match=r"are of sft too"):
        ablation_sets._check(drawn / "data", {"sft": own, "reinforce": own, "ground": own})


def item(anomalous: bool, answer: str | None, raw: str = "", **question: Any) -> Item:
    fields = {"id": "q", "dataset": "d", "category": "c", "image": "i.png", "task": "anomaly", "question": "?"}
    asked = Question(**fields, question_type="Anomaly Detection", is_anomalous=anomalous, **question)
    return Item(asked, Answer(sample_id="q", protocol="p", model="m", engine="e", raw=raw, answer=answer, parse="ok"))


def test_fields_by_hand() -> None:
    defects = [{"type": "scratch", "box": (0, 0, 10, 10), "location": "center"}]
    units = {name: field.unit for name, field in FIELDS.items()}
    assert units["recall"](item(True, "Yes")) == (100, 1)
    assert units["recall"](item(True, None)) == (0, 1)
    assert units["recall"](item(False, "Yes")) == (0, 0)
    assert units["false alarms"](item(False, "Yes")) == (100, 1)
    assert units["false alarms"](item(False, None)) == (0, 1)
    said = "<think>x</think><location>top left</location><type>scratch</type><answer>Yes</answer>"
    known = item(True, "Yes", said, defects=defects)
    assert (units["type"](known), units["location"](known)) == ((100, 1), (0, 1))
    assert units["type"](item(True, "No", "<think>x</think><answer>No</answer>", defects=defects)) == (0, 1)
    assert units["location"](item(False, "No")) == (0, 0)
    assert units["IoU"](known) == (0, 1)
    found = known.answer.model_copy(update={"boxes": ({"box": (0, 0, 10, 5), "label": "scratch"},)})
    boxed = Item(known.question, Answer.model_validate(found.model_dump()))
    assert units["IoU"](boxed) == (0.5, 1)


def test_three_seeds_by_hand() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    half = 4.302653 * 1 / math.sqrt(3)
    assert found["mean"] == 2
    assert found["t_interval_95"] == pytest.approx((2 - half, 2 + half))
    assert over_seeds([1.0])["t_interval_95"] is None
    assert over_seeds([math.nan])["mean"] is None


def test_the_rule() -> None:
    assert judge({"recall": "better", "IoU": "none"}) == "better"
    assert judge({"recall": "better", "IoU": "worse"}) == "mixed"
    assert judge({"recall": "none", "IoU": "worse"}) == "worse"
    assert judge({"recall": "none"}) == "no difference"
    change = ablation_figures._difference
    up, down, none = ({"interval_95": pair} for pair in ((1.0, 3.0), (-3.0, -1.0), (-1.0, 3.0)))
    assert change(up, [1, 2, 3], better=1)["change"] == "better"
    assert change(up, [-1, 2, 3], better=1)["change"] == "none"
    assert change(up, [-1, 2, 3], better=-1)["change"] == "worse"
    assert change(down, [-1, -2], better=-1)["change"] == "better"
    assert change(none, [1, 2, 3], better=1)["change"] == "none"


def test_reasoning_by_hand(drawn: Path) -> None:
    sample = read(ablation_sets.questions(drawn / "data", "sft"))[0].model_copy(
        update={"options": {"A": "a scratch", "B": "a dent"}, "answer": "B"}
    )
    texts = [
        "<think>So the answer is B.</think><answer>B</answer>",
        "<think>So the answer is A.</think><answer>B</answer>",
        "<think>Hard to say.</think><answer>B</answer>",
        "nothing",
        "<think>A mark is there.</think><answer>B</answer>",
    ]
    found = reasoning([(text, sample) for text in texts])
    assert {name: round(value) for name, value in found.items()} == {
        "agrees": 20, "contradicts": 20, "concludes nothing": 40, "no answer": 20,
        "readings differ": 20,  # only the last: the published code takes its article for option A
    }  # fmt: skip


class Knows(FakeEngine):
    """Answers all questions rightly when the arm was trained with `roam`, else always with the first option or No."""

    def __init__(self, samples: dict[str, Sample], *, model: str) -> None:
        super().__init__(model=model, default=self._answer)
        self._samples, self._right = samples, "/roam/" in model

    def _answer(self, request: Request) -> str:
        sample = self._samples[request.id]
        if sample.task == "choice":
            letter = sample.answer if self._right else "A"
            return f"<think>So the answer is {letter}.</think><answer>{letter}</answer>"
        return f"<think>x</think><answer>{sample.answer if self._right else 'No'}</answer>"


def test_the_whole_way_is_gone_on_with(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    shutil.copytree(drawn / "data", out / "data")
    trained: list[str] = []
    real, stop = evaluate.run, [3]

    def stub(config: TrainConfig | SftConfig, **_: Any) -> None:
        trained.append(str(config.out.relative_to(out / "runs")))
        (config.out / "model").mkdir(parents=True, exist_ok=True)
        (config.out / "checkpoint-1").mkdir(exist_ok=True)

    def ask(config: Any) -> Any:
        stop[0] -= 1
        if not stop[0]:
            raise KeyboardInterrupt
        samples = {sample.id: sample for sample in read(config.data)}
        return real(config, engine=Knows(samples, model=config.model))

    monkeypatch.setattr(ablation, "train", stub)
    measure = functools.partial(scoring.measure, report=False)  # pictures take most of the time
    monkeypatch.setattr(scoring, "measure", measure)
    monkeypatch.setattr("benchmarks.ablation.evaluate.run", ask)
    line = [{"step": 1, "reward": 0.5, "spread": 0.1, "flat": 50.0, "accuracy": 20.0, "readings differ": 5.0}]
    monkeypatch.setattr(ablation_figures, "training", lambda *_: line)
    small = {key.replace("_", "-"): str(value) for key, value in dataclasses.asdict(SMALL).items()}
    options = [part for key, value in small.items() for part in (f"--{key}", value)]
    command = [str(out), *options, "--seeds", "0", "1", "--arms", "roam", "grpo"]
    with pytest.raises(KeyboardInterrupt):
        ablation.main(command)
    ablation.main(command)
    assert sorted(trained) == sorted(f"{arm}/seed-{seed}/train" for arm in ("grpo", "roam") for seed in (0, 1))
    assert not list(out.glob("runs/*/*/*/checkpoint-*"))
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert list(results["arms"]) == ["base", "grpo", "roam"]
    roam, base = (results["arms"][arm]["figures"]["all"] for arm in ("roam", "base"))
    assert (roam[MMAD]["mean"], roam["recall"]["seeds"], roam["IoU"]["mean"]) == (100, [100, 100], 0)
    assert (base["recall"]["mean"], base["false alarms"]["mean"]) == (0, 0)
    metrics = json.loads((out / "runs/base/start/mmad/metrics.json").read_text(encoding="utf-8"))
    assert base[MMAD]["mean"] == pytest.approx(metrics["strict"]["average"]["average"])
    compared = {pair: splits["all"]["verdict"] for pair, splits in results["comparisons"].items()}
    assert compared == {"grpo - base": "no difference", "roam - base": "better", "roam - grpo": "better"}
    assert results["arms"]["roam"]["runs"][0]["reasoning"]["agrees"] == 100
    table = (out / "table.md").read_text(encoding="utf-8")
    assert "| GRPO with ROAM | 65.07 | 56.30 | 69.03 | 52.08 | 60.62 |" in table
    assert "| AnomalyR1 (ours) 3B |" in table
    assert (out / "curves.png").stat().st_size > 0
    assert (out / "compare" / "roam-grpo" / "seed-1" / "iad" / "compare.json").exists()
    done = len(trained)
    ablation.main(command)
    assert len(trained) == done
    with pytest.raises(UsageError, match="steps 5 -> 6"):
        ablation.main([str(out), *options, "--steps", "6"])


def test_runs_of_other_questions_are_not_compared() -> None:
    known = item(True, "Yes")
    other = Item(known.question.model_copy(update={"image": "j.png"}), known.answer)
    a, b = (Evaluated("a", 0, Path(), {"iad": [one], "detection": [], "mmad": []}) for one in (known, other))
    with pytest.raises(DataError, match="same images"):
        ablation_figures.comparison([a], [b], "all")

"""`score` and `compare`: files in, `metrics.json` and tables out; what does not belong together is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iadr1 import published
from iadr1.errors import DataError, Iadr1Error, UsageError
from iadr1.images import file_sha256
from iadr1.records import Prediction, Sample, read_records, write_records
from iadr1.stages.score import ScoreSettings, compare, score
from iadr1.stages.scoring import draw

DETECTION, PLACE, CLASS = "Anomaly Detection", "Defect Localization", "Object Classification"
PROTOCOL = "0123456789abcdef"
PARTIAL = ScoreSettings(partial=True)
MMAD = ScoreSettings(source="mmad")

# Dataset, state of the image, subtask, given answer; the right one is A.
ASKED: tuple[tuple[str, str, str, str | None], ...] = (
    ("VisA", "good", DETECTION, "A"),
    ("VisA", "good", DETECTION, "B"),
    ("VisA", "bad", DETECTION, "A"),
    ("VisA", "bad", DETECTION, None),
    ("VisA", "bad", PLACE, "B"),
    ("VisA", "good", CLASS, "A"),
    ("DS-MVTec", "good", DETECTION, "A"),
    ("DS-MVTec", "bad", DETECTION, "A"),
    ("DS-MVTec", "bad", PLACE, "A"),
)
STRICT = {
    "VisA": {DETECTION: 50, PLACE: 0, CLASS: 100, "average": 50, "overkill": 50, "miss": 50},
    "DS-MVTec": {DETECTION: 100, PLACE: 100, "average": 100, "overkill": 0, "miss": 0},
    "average": {DETECTION: 75, PLACE: 50, CLASS: 100, "average": 75, "overkill": 25, "miss": 25},
}
# The unread answer leaves, and takes the question after it (VisA's only place) with it.
COMPAT = {
    "VisA": {DETECTION: 75, PLACE: 0, CLASS: 100, "average": 175 / 3, "overkill": 50, "miss": 0},
    "DS-MVTec": {DETECTION: 100, PLACE: 100, CLASS: 0, "average": 200 / 3, "overkill": 0, "miss": 0},
    "average": {DETECTION: 87.5, PLACE: 50, CLASS: 50, "average": 62.5, "overkill": 25, "miss": 0},
}


def make_samples() -> list[Sample]:
    return [
        Sample(
            id=f"{dataset}/part{number % 2}/test/{state}/{number}.png#0",
            dataset=dataset,
            category=f"part{number % 2}",
            split="test",
            image=f"{dataset}/part{number % 2}/test/{state}/{number}.png",
            task="choice",
            question=f"What of {subtask}?",
            options={"A": "This.", "B": "That."},
            answer="A",
            question_type="Object Details" if subtask == "Object Analysis" else subtask,
            is_anomalous=state == "bad",
        )
        for number, (dataset, state, subtask, _) in enumerate(ASKED)
    ]


def predictions(samples: Iterable[Sample], **fields: Any) -> list[Prediction]:
    given = {"protocol": PROTOCOL, "model": "tiny@f00d", "engine": "local", **fields}
    return [
        Prediction.model_validate({"sample_id": sample.id, "answer": letter, **given})
        for sample, (*_, letter) in zip(samples, ASKED, strict=True)
    ]


class Run:
    """A folder as `eval` leaves it, with its samples file beside it."""

    def __init__(self, root: Path, name: str = "run") -> None:
        self.data = root / "mmad.jsonl"
        self.folder = root / name
        self.file = self.folder / "predictions.jsonl"
        self.samples = make_samples()
        self.predictions = predictions(self.samples)
        self.config: dict[str, Any] = {"benchmark": "mmad", "shots": 1, "limit": None, "seed": 0}
        self.extra: dict[str, Any] = {}

    def write(self) -> Path:
        write_records(self.data, self.samples)
        write_records(self.file, self.predictions)
        info = {
            "command": "eval",
            "config": self.config,
            "data": {str(self.data): file_sha256(self.data)},
            "protocol": {"hash": PROTOCOL},
            "root": str(self.data.parent),
            **self.extra,
        }
        (self.folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
        return self.file


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def approx(table: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    return {name: pytest.approx(row, abs=1e-9) for name, row in table.items()}


def test_the_figures_worked_out_by_hand(run: Run) -> None:
    result = score(run.write(), ScoreSettings())
    metrics = json.loads((run.folder / "score" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == json.loads(json.dumps(result.metrics))
    assert metrics["strict"] == approx(STRICT)
    assert metrics["mmad_compat"] == approx(COMPAT)
    assert metrics["parsed"]["VisA"][DETECTION] == 75
    assert metrics["parse_rate"] == pytest.approx(800 / 9)
    assert metrics["detection"]["VisA"] == pytest.approx({"precision": 50, "recall": 50, "f1": 50})
    assert metrics["detection"]["average"] == pytest.approx({"precision": 75, "recall": 75, "f1": 75})
    assert metrics["counts"]["VisA"][DETECTION] == {"asked": 4, "parsed": 3, "right": 2}
    assert metrics["per_category"]["VisA"]["part1"] == {DETECTION: 0, CLASS: 100, "average": 50, **_wrong(100, 100)}
    low, high = metrics["interval_95"]["average"]["average"]
    assert low < 75 < high
    assert (metrics["questions"], metrics["images"], metrics["complete"]) == (9, 9, True)
    assert (metrics["model"], metrics["model_fingerprint"]) == ("tiny", "f00d")
    assert metrics["protocol"] == {"name": None, "version": None, "hash": PROTOCOL}
    assert metrics["data"]["sha256"] == file_sha256(run.data)
    assert metrics["predictions"]["sha256"] == file_sha256(run.file)


def _wrong(overkill: float, miss: float) -> dict[str, float]:
    return {"overkill": overkill, "miss": miss}


def test_the_order_of_the_predictions_changes_nothing(run: Run) -> None:
    first = score(run.write(), ScoreSettings()).metrics
    run.predictions.reverse()
    second = score(run.write(), ScoreSettings()).metrics
    assert {**first, "predictions": None} == {**second, "predictions": None}


def test_questions_missing_and_doubled_are_listed(run: Run) -> None:
    gone = run.predictions[:2]
    run.predictions = [*run.predictions[2:], run.predictions[5].model_copy(update={"answer": "B"})]
    file = run.write()
    with pytest.raises(DataError) as error:
        score(file, ScoreSettings())
    assert f"2 questions have no answer: {gone[0].sample_id}, {gone[1].sample_id};" in str(error.value)
    assert f"1 questions have more than one answer: {run.samples[5].id} " in str(error.value)
    result = score(file, PARTIAL)
    assert result.metrics["complete"] is False
    assert (result.metrics["missing"], result.metrics["doubled"], result.metrics["questions"]) == (2, 1, 7)
    # Of two answers the first counts.
    assert result.metrics["strict"]["VisA"][CLASS] == 100
    assert "partial: 7 of 9 answers" in (result.out / "table.md").read_text(encoding="utf-8")


def test_ten_are_named_and_the_others_counted(run: Run) -> None:
    more = [run.samples[0].model_copy(update={"id": f"more{place}"}) for place in range(12)]
    run.samples += more
    with pytest.raises(DataError, match=r"12 questions have no answer: more0, .*, more9 and 2 more"):
        score(run.write(), ScoreSettings())


def test_a_half_line_of_a_killed_run_is_a_missing_answer(run: Run) -> None:
    file = run.write()
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match="1 questions have no answer"):
        score(file, ScoreSettings())
    assert score(file, PARTIAL).metrics["missing"] == 1


def other_protocol(run: Run) -> None:
    run.predictions = predictions(run.samples, protocol="fedc")


def two_protocols(run: Run) -> None:
    run.predictions[3] = run.predictions[3].model_copy(update={"protocol": "fedc"})


def two_models(run: Run) -> None:
    run.predictions[3] = run.predictions[3].model_copy(update={"model": "other@1"})


def strange_question(run: Run) -> None:
    run.predictions.append(run.predictions[0].model_copy(update={"sample_id": "nowhere"}))


def no_predictions(run: Run) -> None:
    run.predictions = []


def two_tasks(run: Run) -> None:
    run.samples[0] = run.samples[0].model_copy(update={"task": "anomaly"})


def boxes(run: Run) -> None:
    run.samples = [sample.model_copy(update={"task": "grounding"}) for sample in run.samples]


def strange_subtask(run: Run) -> None:
    run.samples[4] = run.samples[4].model_copy(update={"question_type": "Colour"})


def unknown_truth(run: Run) -> None:
    run.samples[0] = run.samples[0].model_copy(update={"is_anomalous": None})


def no_right_answer(run: Run) -> None:
    run.samples[0] = run.samples[0].model_copy(update={"answer": "D"})


def twice(run: Run) -> None:
    run.samples.append(run.samples[0])


@pytest.mark.parametrize("settings", [ScoreSettings(), PARTIAL], ids=["whole", "partial"])
@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (other_protocol, UsageError, f"of the protocol fedc, its run is of the protocol {PROTOCOL}"),
        (two_protocols, UsageError, f"of 2 protocols: {PROTOCOL}, fedc"),
        (two_models, UsageError, "of 2 models: other@1, tiny@f00d"),
        (
            strange_question,
            DataError,
            "1 answers are to questions that .* does not have, or that the run did not ask: nowhere",
        ),
        (no_predictions, DataError, "no prediction in it"),
        (two_tasks, DataError, "several tasks: anomaly, choice"),
        (boxes, DataError, "has no box to find"),
        (strange_subtask, DataError, "no subtask 'Colour'"),
        (unknown_truth, DataError, "does not say whether the image is anomalous"),
        (no_right_answer, DataError, r"'D' of the question .* is not among \['A', 'B'\]"),
        (twice, DataError, "mmad.jsonl:10: the id .* occurs twice"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_scored(
    run: Run, change: Callable[[Run], None], kind: type[Iadr1Error], told: str, settings: ScoreSettings
) -> None:
    change(run)
    with pytest.raises(kind, match=told):
        score(run.write(), settings)


def test_another_data_version_is_refused_with_both_hashes(run: Run) -> None:
    file = run.write()
    old = file_sha256(run.data)
    write_records(run.data, [*run.samples, run.samples[0].model_copy(update={"id": "new"})])
    with pytest.raises(UsageError, match=f"SHA-256 {old}, .* has {file_sha256(run.data)}"):
        score(file, PARTIAL)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"sample_id": 3}', "predictions.jsonl:2: not a prediction: sample_id: .*got 3"),
        ("{", "predictions.jsonl:2: not a prediction: line: .*JSON"),
        ("", "predictions.jsonl:2: not a prediction"),
    ],
)
def test_a_broken_line_is_named(run: Run, line: str, told: str) -> None:
    file = run.write()
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([lines[0], line, *lines[1:]]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=told):
        score(file, PARTIAL)


def test_a_half_line_of_samples_is_broken(run: Run) -> None:
    file = run.write()
    (run.folder / "run.json").unlink()
    run.data.write_bytes(run.data.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"mmad\.jsonl:9: not a sample"):
        score(file, ScoreSettings(data=run.data, partial=True))


def test_where_the_samples_are(run: Run, tmp_path: Path) -> None:
    file = run.write()
    (run.folder / "run.json").unlink()
    with pytest.raises(UsageError, match="--data"):
        score(file, ScoreSettings())
    assert score(file, ScoreSettings(data=run.data)).metrics["strict"] == approx(STRICT)
    moved = run.data.rename(tmp_path / "elsewhere.jsonl")
    run.data = moved
    with pytest.raises(UsageError, match="no samples file"):
        score(file, ScoreSettings(data=tmp_path / "mmad.jsonl"))
    assert score(run.folder, ScoreSettings(data=moved)).metrics["complete"] is True


def test_an_answer_that_was_not_offered_is_not_read(run: Run) -> None:
    run.predictions[0] = run.predictions[0].model_copy(update={"answer": "D"})
    metrics = score(run.write(), ScoreSettings()).metrics
    assert metrics["counts"]["VisA"][DETECTION] == {"asked": 4, "parsed": 2, "right": 1}
    # The script takes it for an answer, and a wrong one.
    assert metrics["mmad_compat"]["VisA"][DETECTION] == 50


@pytest.mark.parametrize(("limit", "seed"), [(4, 0), (4, 7), (9, 0), (20, 0)])
def test_a_limited_run_is_held_to_the_questions_it_asked(run: Run, limit: int, seed: int) -> None:
    run.config |= {"limit": limit, "seed": seed}
    asked = [run.samples[place] for place in draw(9, limit, seed)]
    assert len(asked) == min(limit, 9)
    assert asked == sorted(asked, key=run.samples.index)
    ids = {sample.id for sample in asked}
    run.predictions = [p for p in run.predictions if p.sample_id in ids]
    assert score(run.write(), ScoreSettings()).metrics["questions"] == min(limit, 9)
    run.predictions = [p.model_copy(update={"sample_id": "x"}) for p in run.predictions[:1]] + run.predictions[1:]
    with pytest.raises(DataError, match="does not have, or that the run did not ask: x"):
        score(run.write(), PARTIAL)


def test_a_limit_without_a_seed_is_refused(run: Run) -> None:
    run.config |= {"limit": 4, "seed": None}
    with pytest.raises(DataError, match=r"run\.json: it names a limit without the seed"):
        score(run.write(), PARTIAL)


def test_yes_no_answers(run: Run) -> None:
    """IAD-R1's sets: the mean of two accuracies, and the script's `E` for what cannot be read does not apply."""
    run.samples = [
        s.model_copy(
            update={
                "task": "anomaly",
                "options": {},
                "answer": "Yes" if s.is_anomalous else "No",
                "question_type": "Anomaly Detection",
                "dataset": "MPDD",
            }
        )
        for s in run.samples[:4]
    ]
    words = ("No", "Yes", "Yes", None)
    run.predictions = [p.model_copy(update={"answer": w}) for p, w in zip(run.predictions[:4], words, strict=True)]
    result = score(run.write(), ScoreSettings())
    assert result.metrics["strict"]["MPDD"] == {DETECTION: 50, "average": 50, "overkill": 50, "miss": 50}
    expected = {"precision": 50, "recall": 50, "f1": 50, "undecided": 25}
    assert result.metrics["detection"]["MPDD"] == pytest.approx(expected)
    assert result.metrics["mmad_compat"]["MPDD"][DETECTION] == 75
    rows = [label for group in result.tables[1].groups for label, _ in group.rows]
    assert "Qwen2_5_VL_Instruct_3B (IAD-R1-UPDATE)" in rows


def test_published_rows_stand_below(run: Run) -> None:
    result = score(run.write(), ScoreSettings())
    first, by_average, by_detection, *_ = result.tables
    assert [group.heading for group in first.groups] == [
        f"tiny, protocol {PROTOCOL}, 1-shot, n = 9",
        "AnomalyR1 paper Table 2, reference",
        "AnomalyR1 paper Table 2, 1-shot",
        "AnomalyR1 paper Table 2, 0-shot",
        "AnomalyR1 paper Table 2, as reported in Table 2 (1-shot table)",
    ]
    rows = {label: cells for group in first.groups for label, cells in group.rows}
    assert " ".join(rows["AnomalyR1 (ours) 3B \N{DAGGER}"]) == "60.62 63.56 70.14 80.47 85.28 92.48 86.15 76.96  "
    assert rows["Average"] == ["75.00", "", "50.00", "", "", "100.00", "", "75.00", "25.00", "25.00"]
    assert len(rows) == 24 + 7
    assert [name for name, _ in by_average.columns] == ["VisA", "DS-MVTec", "average"]
    assert dict(by_average.groups[-1].rows) == {"AnomalyR1 \N{DAGGER}": ["76.69", "81.99", "76.96"]}
    assert ("GRPO with ROAM \N{DAGGER}", ["69.03", "65.07", "60.62"]) in by_detection.groups[-1].rows


def test_other_images_are_not_compared_silently(run: Run) -> None:
    told = "not comparable with others"
    assert told not in score(run.write(), ScoreSettings()).tables[0].note
    run.samples = [s.model_copy(update={"dataset": "Syn-Part"}) for s in run.samples]
    tables = score(run.write(), ScoreSettings()).tables
    assert told in tables[0].note
    # Figures by dataset stand beside those of the same datasets only.
    assert len(tables) == 1


def test_classes_of_mvtec_3d_stand_beside_table_4(run: Run) -> None:
    names = ("bagel", "rope", "bagel", "rope", "rope", "bagel", "bagel", "bagel", "rope")
    run.samples = [
        s.model_copy(update={"dataset": "MVTec3D-AD", "category": name})
        for s, name in zip(run.samples, names, strict=True)
    ]
    table = score(run.write(), ScoreSettings()).tables[1]
    assert [name for name, _ in table.columns] == ["rope", "bagel", "average"]
    # bagel: detection (2/2 normal, 2/2 anomalous), class 1/1; rope: detection (0/1, 0/1), place 1/2.
    assert table.groups[0].rows[0][1] == ["25.00", "100.00", "62.50"]
    assert ("AnomalyR1 \N{DAGGER}", ["46.33", "65.77", "56.85"]) in table.groups[1].rows


def test_markdown_and_latex_hold_the_same_rows(run: Run) -> None:
    run.predictions = predictions(run.samples, model="my_model|50%@f")
    out = score(run.write(), ScoreSettings()).out
    markdown, latex = ((out / f"table.{end}").read_text(encoding="utf-8") for end in ("md", "tex"))
    assert "mmad: my\\_model\\|50%" in markdown
    assert r"my\_model|50\%" in latex
    assert "| AnomalyR1 (ours) 3B † | 60.62 |" in markdown
    assert r"AnomalyR1 (ours) 3B \textdagger{} & 60.62 &" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 5
    assert {line.count("&") for line in latex.split(r"\end{table}")[0].splitlines() if line.count("&") > 1} == {10}


def answers_file(path: Path, samples: Iterable[Sample]) -> Path:
    """What the benchmark's own script writes."""
    records = [
        {
            "image": sample.image,
            "question": {
                "type": "text",
                "text": f"Question 1: {sample.question}\nA. This.\nB. That.\n",
                "options": sample.options,
            },
            "question_type": sample.question_type,
            "correct_answer": sample.answer,
            "gpt_answer": "no idea" if letter is None else letter,
        }
        for sample, (*_, letter) in zip(samples, ASKED, strict=True)
    ]
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def edit(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> Path:
    records = json.loads(path.read_text(encoding="utf-8"))
    changed = change(records)
    path.write_text(json.dumps(records if changed is None else changed), encoding="utf-8")
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return answers_file(tmp_path / "answers_1_shot_model.json", make_samples())


@pytest.mark.parametrize("with_data", [False, True])
def test_the_benchmarks_own_answers_file(run: Run, answers: Path, *, with_data: bool) -> None:
    run.write()
    result = score(answers, replace(MMAD, data=run.data if with_data else None))
    assert result.metrics["strict"] == approx(STRICT)
    assert result.metrics["mmad_compat"] == approx(COMPAT)
    assert result.metrics["parse_rate"] == pytest.approx(800 / 9)
    assert result.metrics["complete"] is (True if with_data else None)
    assert result.metrics["model"] == "answers_1_shot_model"
    assert result.metrics["per_category"]["VisA"]["part0"][PLACE] == 0


def test_what_an_answers_file_lacks_is_known_with_the_samples(run: Run, answers: Path) -> None:
    run.write()
    edit(answers, lambda records: records[3:])
    assert score(answers, MMAD).metrics["missing"] == 0
    with pytest.raises(DataError, match=f"3 questions have no answer: {run.samples[0].id}"):
        score(answers, replace(MMAD, data=run.data))
    assert score(answers, replace(MMAD, data=run.data, partial=True)).metrics["missing"] == 3


def test_a_doubled_record_counts_once_but_for_the_script(answers: Path) -> None:
    edit(answers, lambda records: [*records, records[0], {**records[0], "gpt_answer": "B"}])
    with pytest.raises(DataError, match="1 questions have more than one answer: VisA/part0/test/good/0"):
        score(answers, MMAD)
    metrics = score(answers, replace(MMAD, partial=True)).metrics
    assert metrics["strict"] == approx(STRICT)
    assert metrics["complete"] is False
    # Normal ones: A, B, and A, B once more.
    assert metrics["mmad_compat"]["VisA"]["overkill"] == 50
    edit(answers, lambda records: [*records, {**records[0], "gpt_answer": "B"}])
    assert score(answers, replace(MMAD, partial=True)).metrics["mmad_compat"]["VisA"]["overkill"] == 60


def test_a_record_without_a_right_letter_is_left_to_the_script(answers: Path) -> None:
    edit(answers, lambda records: records[0].update(correct_answer=""))
    metrics = score(answers, MMAD).metrics
    assert (metrics["without_truth"], metrics["questions"]) == (1, 8)
    assert metrics["strict"]["VisA"]["overkill"] == 100
    # Its removal makes the script jump over the wrong answer that follows.
    assert metrics["mmad_compat"]["VisA"]["overkill"] == 100
    assert metrics["mmad_compat"]["VisA"][DETECTION] == 50


def test_normal_is_the_folder_and_not_a_part_of_the_path(answers: Path) -> None:
    def rename(records: list[dict[str, Any]]) -> None:
        records[2]["image"] = "VisA/goods/test/bad/2.png"

    metrics = score(edit(answers, rename), MMAD).metrics
    assert metrics["counts"]["VisA"][DETECTION]["asked"] == 4
    assert metrics["strict"]["VisA"]["miss"] == 50
    assert metrics["mmad_compat"]["VisA"]["overkill"] == pytest.approx(100 / 3)


def test_normal_images_of_mvtec_3d_lie_one_folder_deeper(answers: Path) -> None:
    def rename(records: list[dict[str, Any]]) -> None:
        for record in records:
            *folders, file = record["image"].split("/")
            record["image"] = "/".join((*folders, "rgb", file))

    assert score(edit(answers, rename), MMAD).metrics["strict"] == approx(STRICT)


def test_questions_without_a_text_are_all_scored(answers: Path) -> None:
    """AnomalyR1's file has the bare text; other copies have none at all."""

    def strip(records: list[dict[str, Any]]) -> None:
        for record in records:
            del record["question"]
        records[1]["image"] = records[0]["image"]
        records[5]["question"] = "What?"

    metrics = score(edit(answers, strip), MMAD).metrics
    assert metrics["strict"] == approx(STRICT)
    assert metrics["images"] == 8


def test_a_letter_that_was_not_offered_is_not_read(answers: Path) -> None:
    def beyond(records: list[dict[str, Any]]) -> None:
        records[0]["gpt_answer"] = "D"
        # What was offered here is not known.
        records[1]["gpt_answer"] = "D"
        del records[1]["question"]["options"]

    metrics = score(edit(answers, beyond), MMAD).metrics
    assert metrics["counts"]["VisA"][DETECTION] == {"asked": 4, "parsed": 2, "right": 1}
    assert metrics["mmad_compat"]["VisA"]["overkill"] == 100


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda records: {"answers": records}, "not a list of answers"),
        (lambda records: [], "no answer in it"),
        (lambda records: [*records, 7], "record 10: not an object: 7"),
        (lambda records: records[1].pop("gpt_answer"), None),
        (lambda records: [{"image": "x"}], "record 1: it has no 'question_type', 'correct_answer', 'gpt_answer'"),
        (lambda records: [{**records[0], "image": "x.png"}], "'image' is no path .*'x.png'"),
        (lambda records: [{**records[0], "image": "VisA/\ud800/good/x.png"}], "'image' is no path"),
        (lambda records: [{**records[0], "question_type": "Colour"}], "no subtask 'Colour'"),
        (lambda records: [{**records[0], "question": {"text": 5}}], "'question' has no text"),
        (lambda records: [{**records[0], "correct_answer": "?"}], "no record has a 'correct_answer'"),
    ],
)
def test_a_broken_answers_file(answers: Path, change: Callable[[Any], Any], told: str | None) -> None:
    if told is None:
        edit(answers, lambda records: [{k: v for k, v in records[0].items() if k != "gpt_answer"}])
        told = "record 1: it has no 'gpt_answer'"
    else:
        edit(answers, change)
    with pytest.raises(DataError, match=told):
        score(answers, MMAD)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1, ", "[\xff]"], ids=["deep", "half", "latin"])
def test_an_answers_file_that_is_no_json(answers: Path, text: str) -> None:
    answers.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"answers_1_shot_model\.json: not JSON: "):
        score(answers, MMAD)


def test_answers_to_other_questions_are_refused(run: Run, answers: Path) -> None:
    run.samples = [s.model_copy(update={"question": "Something else?"}) for s in run.samples]
    run.write()
    with pytest.raises(DataError, match="record 1: no sample asks 'What of Anomaly Detection"):
        score(answers, replace(MMAD, data=run.data, partial=True))


def test_questions_with_one_text_are_told_by_their_number(run: Run, answers: Path) -> None:
    image = run.samples[4].image
    run.samples[5] = run.samples[4].model_copy(update={"id": f"{image}#1"})
    run.write()

    def second(records: list[dict[str, Any]]) -> None:
        text = records[4]["question"]["text"].replace("Question 1", "Question 2")
        records[5] = {**records[4], "question": {"text": text, "options": {"A": "x", "B": "y"}}}

    assert score(edit(answers, second), replace(MMAD, data=run.data)).metrics["missing"] == 0


def test_compare_two_runs(tmp_path: Path) -> None:
    a, b = Run(tmp_path, "a"), Run(tmp_path, "b")
    b.predictions = [p.model_copy(update={"answer": "A"}) for p in predictions(b.samples, model="other@1")]
    found = compare(a.write(), b.write(), ScoreSettings(), out=tmp_path / "out").content
    assert found["differences"]["average"]["average"]["difference"] == pytest.approx(25)
    assert found["mcnemar"]["all"] == {"only_a": 0, "only_b": 3, "p": 0.25}
    assert (found["questions"], found["complete"]) == (9, True)
    content = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert content["b"]["model"] == "other"
    assert "| average | 75.00 | 100.00 | +25.00 |" in (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "compare.tex").exists()


def test_compare_refuses_what_does_not_belong_together(tmp_path: Path) -> None:
    a, b = Run(tmp_path, "a"), Run(tmp_path, "b")
    a.write()
    b.predictions = b.predictions[2:]
    b.write()
    with pytest.raises(DataError, match="2 questions have no answer"):
        compare(a.file, b.file, ScoreSettings())
    found = compare(a.file, b.file, PARTIAL).content
    assert (found["questions"], found["complete"]) == (7, False)

    b.predictions = predictions(b.samples, protocol="fedc")
    b.write()
    (b.folder / "run.json").unlink()
    both = ScoreSettings(data=a.data)
    with pytest.raises(UsageError, match=f"of the protocol {PROTOCOL}, .* of the protocol fedc"):
        compare(a.file, b.file, both)
    assert compare(a.file, b.file, both, across_protocols=True).content["questions"] == 9

    other = Run(tmp_path / "other")
    other.samples[0] = other.samples[0].model_copy(update={"question": "New?"})
    other.write()
    with pytest.raises(UsageError, match=f"of the data {file_sha256(a.data)}, .* {file_sha256(other.data)}"):
        compare(a.file, other.file, PARTIAL)


def test_compare_answers_files(tmp_path: Path, answers: Path) -> None:
    second = answers_file(tmp_path / "second.json", make_samples())
    found = compare(answers, second, MMAD).content
    assert {test["p"] for test in found["mcnemar"].values()} == {1.0}
    edit(second, lambda records: records[:-1])
    with pytest.raises(DataError, match=r"second\.json: 1 questions have no answer"):
        compare(answers, second, MMAD)


@pytest.mark.parametrize(
    ("settings", "told"),
    [(ScoreSettings(source="coco"), "no format 'coco'"), (ScoreSettings(seed=-1), "seed is -1")],
)
def test_wrong_settings(run: Run, settings: ScoreSettings, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        score(run.write(), settings)


def test_an_answers_file_has_no_page(answers: Path) -> None:
    with pytest.raises(UsageError, match="no reasoning to browse"):
        score(answers, replace(MMAD, report=True))


def test_absent_files(tmp_path: Path) -> None:
    for settings in (ScoreSettings(), MMAD):
        with pytest.raises(UsageError, match="cannot read the file: No such file"):
            score(tmp_path / "none.json", settings)


def test_the_published_rows_are_all_there() -> None:
    rows = published.mmad()
    assert len(rows) == 134
    assert len(published.table_2()) == 24
    assert [row.figures["average"] for row in published.table_3()] == [64.37, 63.75, 76.96]
    assert [row.figures["average"] for row in published.table_4()] == [52.11, 56.85]
    assert [row.figures["average"] for row in published.table_5()] == [51.1, 52.64, 60.62]
    assert sum(len(row.figures) - ("average" in row.figures) for row in published.iadr1()) == 104
    assert [row.model for row in published.table_2() if row.trained] == ["Qwen2.5-VL (sft) 3B", "AnomalyR1 (ours) 3B"]
    sources = published._read("sources.csv")
    assert sum(int(source["rows"]) for source in sources) == 24 + 110 + 3 + 3 + 3 + 104
    assert all(source["page"].startswith("https://") for source in sources)


def test_every_published_training_note_names_a_row() -> None:
    every = [*published.mmad(), *published.table_3(), *published.table_4(), *published.table_5()]
    known = sum(row.trained is not None for row in every)
    # AnomalyGPT's result file has five rows: four datasets and their average.
    assert known == 5 + 1 + 1 + 2 + 5


def test_published_averages_follow_from_their_cells_or_carry_a_note() -> None:
    for row in published.mmad():
        cells = [row.figures[name] for name in published.SUBTASKS]
        if abs(sum(cells) / 7 - row.figures["average"]) > 0.0051:
            assert row.note, row.model


def test_a_prediction_has_the_fields_that_scoring_reads(run: Run) -> None:
    """The narrow readers accept what the records write."""
    file = run.write()
    assert len(list(read_records(file, Prediction))) == len(list(read_records(run.data, Sample))) == 9


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("detect", "made by 'iadr1 detect' and holds no answers .'iadr1 export' writes"),
        ("train", "made by 'iadr1 train' and holds no answers .'iadr1 eval BENCHMARK --model .*run/model' asks"),
        ("other", "made by 'iadr1 other' and holds no answers .score takes the folder of 'iadr1 eval'"),
    ],
)
def test_the_folder_of_another_command_says_whose_it_is(tmp_path: Path, command: str, told: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"command": command}), encoding="utf-8")
    with pytest.raises(UsageError, match=told):
        score(folder, ScoreSettings())

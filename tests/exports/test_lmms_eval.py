"""The task folder for lmms-eval, used as the suite uses it: the YAML is read, its functions are called."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from iadr1 import protocols
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.exports.lmms_eval import METRICS, write_task
from iadr1.metrics import choice
from iadr1.protocols import Protocol
from iadr1.records import Sample

SUBTASKS = ("Anomaly Detection", "Anomaly Detection", "Defect Classification", "Object Analysis")


def samples() -> list[Sample]:
    """Two data sets, each with a normal and an anomalous image and two questions about each."""
    return [
        Sample(
            id=f"{dataset}/{image}#{number}", dataset=dataset, category="nut", split="test",
            image=f"{dataset}/{image}.png", references=("ref.png",), task="choice", question=f"Question {number}?",
            options={"A": "yes", "B": "no"} if number == 0 else {"A": "dent", "B": "hole", "C": "none"},
            answer=("A" if image == "bad" else "B") if number == 0 else "C",
            question_type=SUBTASKS[number * 2 + (image == "bad")], is_anomalous=image == "bad",
        )
        for dataset in ("VisA", "Goods") for image in ("good", "bad") for number in (0, 1)
    ]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for place, name in enumerate(("ref", "VisA/good", "VisA/bad", "Goods/good", "Goods/bad")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (40 * place, 0, 0)).save(folder / f"{name}.png")
    return folder


class Task:
    """A folder as the suite loads it: `!function utils.x` becomes the function of the `utils.py` beside the YAML."""

    def __init__(self, path: Path) -> None:
        spec = importlib.util.spec_from_file_location("utils", path.with_name("utils.py"))
        assert spec is not None
        assert spec.loader is not None
        self.utils = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.utils)

        class Loader(yaml.SafeLoader):
            """With the suite's tag."""

        Loader.add_constructor("!function", lambda loader, node: self._function(str(node.value)))
        self.config: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
        data = path.parent / self.config["dataset_kwargs"]["data_files"][self.config["test_split"]]
        self.docs = [json.loads(line) for line in data.read_text(encoding="utf-8").split("\n") if line]

    def _function(self, name: str) -> Any:
        module, _, function = name.partition(".")
        assert module == "utils"
        return getattr(self.utils, function)

    def score(self, answers: list[str]) -> dict[str, float]:
        """As the suite does: results of each document, gathered by metric, aggregated."""
        results = [self.config["process_results"](doc, [text]) for doc, text in zip(self.docs, answers, strict=True)]
        return {
            m["metric"]: m["aggregation"]([row[m["metric"]] for row in results]) for m in self.config["metric_list"]
        }


def task(root: Path, protocol: Protocol, *, asked: list[Sample] | None = None) -> Task:
    folder = root.parent / f"task-{protocol.digest}"  # one each: Python tells a new utils.py by its second and size
    return Task(write_task(folder, asked or samples(), protocol, root=root))


def named(name: str, **changes: Any) -> Protocol:
    return protocols.vary(protocols.load(name), **changes)


ALL = [
    named("mmad"),
    named("anomalyr1"),
    named("anomalyr1", shots=1),
    named("anomalyr1", option_order="circular"),
    named("anomalyr1", option_order="seeded", seed=3),
]


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.name)
def test_what_is_asked_is_what_the_protocol_asks(root: Path, protocol: Protocol) -> None:
    found = task(root, protocol)
    every = samples()
    turns = [turn for start in range(0, 8, 2) for turn in protocols.turns(every[start : start + 2], protocol)]
    assert [doc["id"] for doc in found.docs] == [turn.key for turn in turns]
    for doc, turn in zip(found.docs, turns, strict=True):
        messages = found.config["doc_to_messages"](doc)
        pictures = [part["url"] for message in messages for part in message["content"] if part["type"] == "image"]
        bare = [
            {"role": m["role"], "content": [part if "text" in part else {"type": "image"} for part in m["content"]]}
            for m in messages
        ]
        assert bare == turn.messages
        wanted = [protocols.fit(Image.open(root / name), protocol) for name in turn.images]
        assert [(p.size, p.getpixel((0, 0))) for p in pictures] == [(p.size, p.getpixel((0, 0))) for p in wanted]
        assert doc[found.config["doc_to_target"]] == next(s.answer for s in every if s.id == turn.sample_id)


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.name)
def test_answers_are_read_and_scored_as_the_evaluator_does(root: Path, protocol: Protocol) -> None:
    found = task(root, protocol)
    known = {sample.id: sample for sample in samples()}
    texts = ["<think>t</think><answer>A</answer>", "<answer>C</answer>", "B", "nothing to see", "E", "The answer is B."]
    answers = [texts[place % len(texts)] for place in range(len(found.docs))]
    rows = []
    for doc, text in zip(found.docs, answers, strict=True):
        sample = known[doc["id"].rpartition("#")[0] if doc["id"] not in known else doc["id"]]
        turn = next(turn for turn in protocols.turns(_asked_with(sample), protocol) if turn.key == doc["id"])
        reading = protocols.read(text, sample, turn, protocol)
        read = reading.answer in sample.options and not reading.parse.startswith("failed")
        rows.append(
            choice.ChoiceRow(
                sample.dataset, sample.reported_as, sample.answer, reading.answer if read else None,
                sample.is_anomalous, sample.image,
            )
        )  # fmt: skip
    table = choice.score_choice(rows)["average"]
    scores = found.score(answers)
    assert scores.pop("parse_rate") == pytest.approx(100 * sum(row.letter is not None for row in rows) / len(rows))
    assert scores == pytest.approx({name.lower().replace(" ", "_"): value for name, value in table.items()})
    assert 0 < scores["average"] < 100


def _asked_with(sample: Sample) -> list[Sample]:
    return [other for other in samples() if other.image == sample.image]


def test_figures_worked_out_by_hand(root: Path) -> None:
    """VisA: detection right on the normal image only, 1 of 2 others; Goods: everything right."""
    found = task(root, named("mmad"))
    assert found.score(["B", "C", "x", "A", "B", "C", "A", "C"]) == {
        "average": pytest.approx(((50 + 100 + 0) / 3 + 100) / 2), "anomaly_detection": 75,
        "defect_classification": 100, "object_analysis": 50,
        "overkill": 0, "miss": 50, "parse_rate": 87.5,
    }  # fmt: skip


def test_yes_no_questions(root: Path) -> None:
    asked = [
        Sample.model_validate(
            {**s.model_dump(), "task": "anomaly", "options": {}, "answer": "Yes" if s.is_anomalous else "No"}
        )
        for s in samples()[::2]
    ]
    found = task(root, named("iadr1"), asked=asked)
    texts = {word: f"<think>t</think><answer>{word}</answer>" for word in ("Yes", "No")}
    scores = found.score([texts["No"], texts["Yes"], texts["Yes"], "who knows"])
    assert scores == {"average": 50, "anomaly_detection": 50, "overkill": 50, "miss": 50, "parse_rate": 75}


def test_the_suite_does_not_cut_answers(root: Path) -> None:
    protocol = named("anomalyr1", max_new_tokens=77)
    config = task(root, protocol).config
    kwargs = config["generation_kwargs"]
    assert (kwargs["until"], kwargs["max_new_tokens"], kwargs["do_sample"], kwargs["temperature"]) == ([], 77, False, 0)
    assert config["reasoning_tags"] == "none"
    assert config["output_type"] == "generate_until"
    assert config["metadata"] == {
        "version": protocol.version, "protocol": protocol.name, "protocol_hash": protocol.digest, "requests": 8,
    }  # fmt: skip
    assert config["task"] == "iadr1_anomalyr1_max_new_tokens_77"
    assert [m["metric"] for m in config["metric_list"]] == [
        "average", "anomaly_detection", "defect_classification", "object_analysis", "overkill", "miss", "parse_rate",
    ]  # fmt: skip
    assert {m["metric"] for m in config["metric_list"] if not m["higher_is_better"]} == {"overkill", "miss"}


def test_a_simple_model_gets_the_same_or_nothing(root: Path) -> None:
    """It is sent its images before the text."""
    found = task(root, named("anomalyr1", shots=0))
    (doc, *_) = found.docs
    (turn,) = protocols.turns(samples()[:1], named("anomalyr1", shots=0))
    assert [part["type"] for part in turn.messages[0]["content"]] == ["image", "text"]
    assert found.config["doc_to_text"](doc) == turn.messages[0]["content"][1]["text"]
    assert [picture.size for picture in found.config["doc_to_visual"](doc)] == [(60, 40)]
    for protocol in (named("mmad"), named("anomalyr1", shots=1)):
        other = task(root, protocol)
        with pytest.raises(ValueError, match="use a chat model"):
            other.config["doc_to_visual"](other.docs[0])


def test_a_metric_of_which_nothing_was_asked_is_no_number(root: Path) -> None:
    found = task(root, named("mmad"))
    row = found.config["process_results"](found.docs[1], ["C"])["average"]
    assert math.isnan(found.utils.miss([row]))


@pytest.mark.parametrize(
    ("protocol", "told"),
    [("grounding", "reads boxes"), ("detection", "reads boxes"), ("anomalyr1-repo", "without a chat template")],
)
def test_what_the_suite_cannot_ask_is_refused(root: Path, protocol: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        task(root, named(protocol))
    assert not list(root.parent.glob("task*"))


def test_another_version_of_the_protocol_is_refused_when_the_suite_loads_it(root: Path) -> None:
    path = write_task(root.parent / "task", samples(), named("mmad"), root=root)
    file = path.with_name("protocol.json")
    file.write_text(file.read_text(encoding="utf-8").replace('"max_new_tokens"', '"max_new_tokens": 9, "shots"', 1))
    with pytest.raises(ValueError, match="export the task again"):
        Task(path)


def test_a_script_of_another_is_left_alone_and_an_earlier_export_replaced(root: Path) -> None:
    folder = root.parent / "task"
    write_task(folder, samples(), named("mmad"), root=root)
    write_task(folder, samples()[:2], named("mmad"), root=root)
    assert len((folder / "data.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    (folder / "utils.py").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="not of an export"):
        write_task(folder, samples(), named("mmad"), root=root)
    assert (folder / "utils.py").read_text(encoding="utf-8") == "mine"
    assert len((folder / "data.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_samples_that_cannot_be_asked(root: Path) -> None:
    with pytest.raises(UsageError, match="no sample"):
        write_task(root.parent / "task", [], named("mmad"), root=root)
    strange = [samples()[0].model_copy(update={"question_type": "Colour"})]
    with pytest.raises(DataError, match="no subtask 'colour'"):
        write_task(root.parent / "task", strange, named("mmad"), root=root)
    with pytest.raises(DataError, match="2 samples have the id of another one"):
        write_task(root.parent / "task", [*samples(), *samples()[:2]], named("mmad"), root=root)


def test_metrics_are_the_project_s() -> None:
    names = {
        name.lower().replace(" ", "_") for name in (*choice.SUBTASKS, choice.AVERAGE, choice.OVERKILL, choice.MISS)
    }
    assert names | {"parse_rate"} == set(METRICS)


def test_hostile_texts_stay_data(root: Path) -> None:
    text = "'''\n\"\"\" !function utils.x {{ 1 }} \\ \u2028"
    asked = [samples()[2].model_copy(update={"question": text, "category": text, "options": {"A": text, "B": "b"}})]
    odd = root.rename(root.parent / "pic'tu\\res")
    found = Task(write_task(root.parent / "ta'sk", asked, named("anomalyr1"), root=odd))
    assert text in found.config["doc_to_messages"](found.docs[0])[0]["content"][-1]["text"]

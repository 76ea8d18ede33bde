"""Scoring a file of completions: every form a solution can have, every bad line, the histogram, the odd rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iadr1.errors import DataError, OutputError, UsageError
from iadr1.stages.rewards import Bar, Scored, Trial, known, try_reward
from iadr1.stages.rewards.lines import read_cases
from iadr1.stages.rewards.summary import histogram, strangest
from tests.rewards.odd import odd_completions
from tests.rewards.samples import choice, tagged, with_boxes

RIGHT = "<think>So the answer is B.</think><answer>B</answer>"
BARE = "<think>I look.</think><answer>B</answer>"
WRONG = "<think>I look.</think><answer>D</answer>"
BOX = '<think>t</think><answer>[{"bbox_2d": [10, 20, 30, 40], "label": "hole"}]</answer>'
NOTHING = "<think>t</think><answer>[]</answer>"


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    path = folder / "answers.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rewards_of(trial: Trial) -> list[float | None]:
    return [json.loads(line)["reward"] for line in trial.lines]


def reward_of(folder: Path, reward: str, **row: Any) -> float | None:
    [value] = rewards_of(try_reward(reward, write(folder, row)))
    return value


def test_each_line_is_repeated_with_its_reward(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"completion": RIGHT, "solution": "B", "note": {"ü": [1, None]}},
        {"completion": BARE, "solution": "B"},
        {"completion": WRONG, "solution": "B", "reward": "an older one"},
        {"completion": "", "solution": "B"},
        {"completion": "No", "solution": "No"},
    ]
    out = tmp_path / "new" / "scored.jsonl"
    trial = try_reward("roam", write(tmp_path, *rows), out=out)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    wanted = [1.0, 0.8, 0.05, 0.0, None]
    assert lines == [{**row, "reward": pytest.approx(value)} for row, value in zip(rows, wanted, strict=True)]
    assert tuple(out.read_text(encoding="utf-8").splitlines()) == trial.lines
    assert '"ü"' in trial.lines[0]


def test_several_rewards_are_listed_and_summed_by_weight(tmp_path: Path) -> None:
    path = write(tmp_path, {"completion": BARE, "solution": "B"}, {"completion": BOX, "solution": [[10, 20, 30, 40]]})
    trial = try_reward("roam=0.5,format=0.25,grounding=2", path)
    first, second = (json.loads(line) for line in trial.lines)
    assert first["rewards"] == {"roam": 0.8, "format": 1.0, "grounding": None}
    assert first["reward"] == pytest.approx(0.65)
    assert second["rewards"] == {"roam": None, "format": 1.0, "grounding": 1.0}
    assert second["reward"] == 2.25
    assert json.loads(try_reward("roam,format", path).lines[0])["rewards"] == {"roam": 0.8, "format": 1.0}
    assert trial.means == {"roam": 0.8, "format": 1.0, "grounding": 1.0}


@pytest.mark.parametrize(
    ("solution", "completion", "reward", "value"),
    [
        ("B", RIGHT, "roam", 1.0),
        (" <answer> B </answer> ", RIGHT, "roam", 1.0),
        ("No", tagged("No"), "sc-grpo", 2.0),
        ("<answer>no</answer>", tagged("No"), "iadr1-accuracy", 1.0),
        ("yes", tagged("Yes"), "iadr1-accuracy", 1.0),
        (tagged("Yes", location="top", kind="hole"), tagged("Yes", location="top", kind="hole"), "sc-grpo", 3.0),
        (tagged("Yes", location="top", kind="hole"), tagged("No", location="top", kind="hole"), "iadr1-accuracy", 1.0),
        (tagged("Yes", kind="hole"), tagged("Yes", location="x", kind="hole"), "iadr1-accuracy", 1.5),
        ([10, 20, 30, 40], BOX, "grounding", 1.0),
        ([10, 20, 30, 30], BOX, "grounding", 0.5),
        ("[10, 20, 30, 40]", BOX, "grounding", 1.0),
        ("<answer>[10, 20, 30, 40]</answer>", BOX, "grounding", 1.0),
        ({"bbox_2d": [10, 20, 30, 40]}, BOX, "grounding", 1.0),
        ([[10, 20, 30, 40], [0, 0, 5, 5]], BOX, "grounding", 0.5),
        ('[{"bbox_2d": [10, 20, 30, 40], "label": "hole"}]', BOX, "grounding", 1.0),
        ([], NOTHING, "grounding", 1.0),
        ("[]", NOTHING, "grounding", 1.0),
        ([], BOX, "grounding", 0.0),
        ([[10, 20, 30, 40]], NOTHING, "grounding", 0.0),
        # A region that was asked for is there: an empty list is no answer.
        ([10, 20, 30, 40], NOTHING, "box-format", 0.0),
        ([[10, 20, 30, 40]], NOTHING, "box-format", 1.0),
    ],
)
def test_every_form_of_a_solution(tmp_path: Path, solution: object, completion: str, reward: str, value: float) -> None:
    assert reward_of(tmp_path, reward, completion=completion, solution=solution) == pytest.approx(value)


def test_options_come_from_the_line_or_the_question_or_have_no_text(tmp_path: Path) -> None:
    by_text = "<think>I look.</think><answer>Broken edge</answer>"
    question = "What is it?\nA. Scratch.\n B) Broken edge.\n(C): x\nC: Stain."
    rows: list[dict[str, Any]] = [
        {"options": {"A": "Scratch.", "B": "Broken edge."}},
        {"problem": question},
        {"question": question},
        {"problem": "What is it?\nX. Scratch.\nB. Broken edge."},
        {"options": None, "problem": None, "sample": None, "image_size": None, "model": None, "answer_format": None},
    ]
    path = write(tmp_path, *({"completion": by_text, "solution": "B", **row} for row in rows))
    assert rewards_of(try_reward("accuracy", path)) == [1.0, 1.0, 1.0, 0.0, 0.0]
    options = [list(case.sample.options) for case in read_cases(path)]
    assert options == [["A", "B"], ["A", "B", "C"], ["A", "B", "C"], ["A", "B", "C", "D"], ["A", "B", "C", "D"]]


def test_the_model_says_in_which_space_its_boxes_are(tmp_path: Path) -> None:
    answer = '<think>t</think><answer>{"bbox_2d": [250, 500, 500, 1000]}</answer>'
    row: dict[str, Any] = {"completion": answer, "solution": [100, 100, 200, 200]}
    assert reward_of(tmp_path, "grounding", **row, image_size=[400, 200], model="qwen3_vl") == 1.0
    assert reward_of(tmp_path, "grounding", **row, width=400, height=200, model="qwen2_vl") == 1.0
    # Qwen2.5-VL writes pixels of its own input: here 392 x 196 for 400 x 200.
    seen = {**row, "completion": answer.replace("[250, 500, 500, 1000]", "[98, 98, 196, 196]")}
    assert reward_of(tmp_path, "grounding", **seen, image_size=[400, 200], model="qwen2_5_vl") == 1.0
    # Without a model they are pixels of the image, cut off at its edge where its size is known.
    assert reward_of(tmp_path, "grounding", **{**row, "solution": [250, 500, 500, 1000]}) == 1.0
    assert reward_of(tmp_path, "grounding", **{**row, "solution": [250, 500, 500, 600]}, image_size=[600, 600]) == 1.0


def test_a_whole_sample_can_be_the_truth(tmp_path: Path) -> None:
    record = choice("B", reasoning="I look.").model_dump(mode="json")
    assert reward_of(tmp_path, "roam-exact", completion=BARE, sample=record) == 1.0
    record = with_boxes((10, 20, 30, 40)).model_dump(mode="json")
    assert reward_of(tmp_path, "accuracy", completion=tagged("Yes"), sample=record) == 1.0
    assert reward_of(tmp_path, "grounding", completion=BOX, sample=record, answer_format="boxes") == 1.0


def test_reference_reasoning_is_read(tmp_path: Path) -> None:
    row = {"completion": BARE, "solution": "B"}
    assert reward_of(tmp_path, "roam-exact", **row, reasoning="I look.") == 1.0
    assert reward_of(tmp_path, "roam-exact", **row, reasoning="Else.") == 0.8


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"completion": NaN}', "NaN is no finite number"),
        ('{"completion": "", "solution": "B", "x": 1e999}', "1e999 is no finite number"),
        ({"completion": RIGHT, "solution": "[1, 2, 1e999, 4]"}, "1e999 is no finite number"),
        ({"completion": RIGHT, "solution": [1, 2, 10**400, 4]}, "is no box"),
        ("[1]", "not an object"),
        ("{}", "no 'completion'; the line has nothing"),
        ({"text": RIGHT, "solution": "B"}, "no 'completion'; the line has 'text', 'solution'"),
        ({"completion": None, "solution": "B"}, "no 'completion'; the line has 'solution'"),
        ({"completion": [RIGHT], "solution": "B"}, "'completion' is no text"),
        ({"completion": RIGHT}, "neither 'solution' nor 'sample'"),
        ({"completion": RIGHT, "solution": None}, "neither 'solution' nor 'sample'"),
        ({"completion": RIGHT, "solution": True}, "the solution True is none that is known"),
        ({"completion": RIGHT, "solution": "b"}, "the solution 'b' is none that is known"),
        ({"completion": RIGHT, "solution": "maybe"}, "the solution 'maybe' is none that is known"),
        ({"completion": RIGHT, "solution": ""}, "the solution '' is none that is known"),
        ({"completion": RIGHT, "solution": "E"}, "the solution 'E' is not among the options A, B, C, D"),
        ({"completion": RIGHT, "solution": "[1, 2"}, "is not JSON"),
        ({"completion": RIGHT, "solution": [1, 2, 3]}, "[1, 2, 3] is no box"),
        ({"completion": RIGHT, "solution": [5, 5, 5, 9]}, "[5, 5, 5, 9] is no box"),
        ({"completion": RIGHT, "solution": [[1, 2, 3, "4"]]}, "is no box"),
        ({"completion": RIGHT, "solution": {"label": "x"}}, "None is no box"),
        ({"completion": RIGHT, "solution": [[1, 2, 3, 4], 5]}, "5 is no box"),
        ({"completion": RIGHT, "solution": "B", "options": ["x"]}, "'options' is no object"),
        ({"completion": RIGHT, "solution": "B", "options": {"B": 1}}, "'options' is no object"),
        ({"completion": RIGHT, "solution": "B", "options": {}}, "'options' is no object"),
        ({"completion": RIGHT, "solution": "B", "problem": 3}, "'problem' is no text but 3"),
        ({"completion": RIGHT, "solution": "B", "reasoning": 3}, "'reasoning' is no text but 3"),
        ({"completion": RIGHT, "solution": "B", "answer_format": "free"}, "no answer format 'free'"),
        ({"completion": RIGHT, "solution": [], "image_size": [0, 5]}, "no [width, height] in pixels but [0, 5]"),
        ({"completion": RIGHT, "solution": [], "width": 5}, "no [width, height] in pixels but [5, None]"),
        ({"completion": RIGHT, "solution": [], "model": "gpt", "image_size": [9, 9]}, "no model family 'gpt'"),
        ({"completion": RIGHT, "solution": [], "model": "qwen2_vl"}, "cannot be read without the image's size"),
        ({"completion": RIGHT, "solution": [], "model": "qwen2_vl", "image_size": [900, 1]}, "aspect ratio"),
        ({"completion": RIGHT, "sample": {"id": "x"}}, "no valid Sample: dataset: Field required"),
        ({"completion": RIGHT, "sample": 3}, "no valid Sample: the record"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: dict[str, Any] | str, says: str) -> None:
    path = write(tmp_path, {"completion": RIGHT, "solution": "B"}, "", line)
    with pytest.raises(DataError) as caught:
        try_reward("roam", path, out=tmp_path / "out.jsonl")
    assert says in str(caught.value)
    assert caught.value.where == f"{path}:3"
    assert not (tmp_path / "out.jsonl").exists()


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"completion": "\xff", "solution": "B"}\n')
    with pytest.raises(DataError, match=r"not JSON.*can't decode byte 0xff") as caught:
        try_reward("roam", path)
    assert caught.value.where == f"{path}:1"


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"completion": RIGHT, "solution": "B"}).encode())
    assert rewards_of(try_reward("roam", path)) == [1.0]


def test_files_that_are_not_there_or_empty_or_the_same(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        try_reward("roam", tmp_path / "none.jsonl")
    path = write(tmp_path, "")
    with pytest.raises(DataError, match="the file holds no line"):
        try_reward("roam", path)
    path = write(tmp_path, {"completion": RIGHT, "solution": "B"})
    with pytest.raises(UsageError, match="is the file that is read"):
        try_reward("roam", path, out=tmp_path / "." / path.name)
    with pytest.raises(OutputError, match="cannot write"):
        try_reward("roam", path, out=path / "below" / "a.jsonl")


def test_a_reward_that_gives_no_number_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_nan_reward.py").write_text("def odd(answer, sample):\n    return float('nan')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, {"completion": RIGHT, "solution": "B"})
    with pytest.raises(UsageError, match=r"the reward 'odd' gave nan for .*answers.jsonl:1"):
        try_reward("own_nan_reward:odd", path)


def test_odd_completions_never_stop_it_and_come_back_as_they_were(tmp_path: Path) -> None:
    texts = list(odd_completions(400, seed=7))
    solutions: list[object] = ["B", "No", tagged("Yes", location="top", kind="hole"), [], [1, 2, 3, 4]]
    rows = [{"completion": text, "solution": solutions[n % len(solutions)]} for n, text in enumerate(texts)]
    out = tmp_path / "out.jsonl"
    try_reward("format,length,accuracy,grounding", write(tmp_path, *rows), out=out)
    with out.open(encoding="utf-8") as file:
        assert [json.loads(line)["completion"] for line in file] == texts


def test_histogram_of_levels_and_of_a_spread() -> None:
    assert histogram([]) == []
    assert histogram([0.8, 0.0, 0.8]) == [Bar(0.0, 0.0, 1), Bar(0.8, 0.8, 2)]
    bars = histogram([float(number) for number in range(21)])
    assert [bar.count for bar in bars] == [2] * 9 + [3]
    assert (bars[0].low, bars[-1].high) == (0.0, 20.0)


def scored(
    number: int, value: float | None, *, status: Any = "ok", right: bool | None = None, text: str = ""
) -> Scored:
    return Scored(number, value, status, right, text or f"text {number}")


def test_the_strangest_rows() -> None:
    rows = [
        scored(1, 1.0, right=True),
        scored(2, 0.9, status="failed", right=False),
        scored(3, 1.0, status="failed"),
        scored(4, 0.8, right=False),
        scored(5, 0.1, right=True),
        scored(6, 0.0, right=True),
        scored(7, 0.0, status="failed", right=False),
        scored(8, 0.5, right=True),
        scored(9, None, right=True),
        scored(10, 1.0, right=True, text="twice"),
        scored(11, 1.0, right=True, text="twice"),
    ]
    found = {group.title: [row.number for row in group.rows] for group in strangest(rows)}
    assert found == {
        "unreadable, yet rewarded": [3, 2],
        "wrong, yet rewarded": [4],
        "right, yet hardly rewarded": [6, 5],
        "the same completion again": [10],
    }
    [*_, repeated] = strangest(rows)
    assert repeated.repeats == (2,)


def test_nothing_is_strange_about_equal_rewards() -> None:
    assert strangest([scored(1, 0.5, status="failed"), scored(2, 0.5, right=True), scored(3, None)]) == []


def test_right_is_judged_by_letter_verdict_or_boxes(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"completion": RIGHT, "solution": "B"},
        {"completion": WRONG, "solution": "B"},
        {"completion": tagged("No"), "solution": "No"},
        {"completion": BOX, "solution": [[10, 20, 30, 38]]},
        {"completion": BOX, "solution": [[10, 20, 30, 40], [50, 50, 60, 60]]},
        {"completion": BOX, "solution": [10, 20, 30, 25]},
    )
    assert [row.right for row in try_reward("format", path).rows] == [True, False, True, True, False, False]


def test_the_table_is_handed_on() -> None:
    rows, groups = known()
    assert rows["roam"].high == 1
    assert groups == {"classical": ("accuracy", "format")}

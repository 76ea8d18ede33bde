"""ROAM, accuracy and format by hand, through the real parser; the table of rewards; the reading of `--reward`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iadr1.errors import UsageError
from iadr1.prompts import Answer
from iadr1.rewards import GROUPS, REWARDS, TABLE, Reward, checked, resolve_reward
from iadr1.rewards.classical import accuracy, format_reward
from iadr1.rewards.grounding import grounding
from iadr1.rewards.roam import outcome_synergy, process_alignment, roam
from iadr1.rewards.shaping import Length
from tests.rewards.samples import CHOICE, anomaly, pick

# Completion, ROAM, accuracy, format; the truth is B.
ANSWERS = [
    # right answer
    ("<think>The edge is broken off, so the answer is B.</think><answer>B</answer>", 1.0, 1.0, 1.0),
    ("<think>Chips at the rim. This is a broken edge.</think>\n<answer>B</answer>", 1.0, 1.0, 1.0),
    ("<think>I look at the rim.</think><answer>B</answer>", 0.8, 1.0, 1.0),
    ("<think>The answer is D.</think><answer>B</answer>", 0.0, 1.0, 1.0),
    # The article "A" is no conclusion.
    ("<think>A mark is seen at the rim.</think><answer>B</answer>", 0.8, 1.0, 1.0),
    # wrong answer
    ("<think>The answer is D.</think><answer>D</answer>", 0.1, 0.0, 1.0),
    ("<think>A mark is seen at the rim.</think><answer>A</answer>", 0.05, 0.0, 1.0),
    ("<think>The answer is B.</think><answer>D</answer>", 0.0, 0.0, 1.0),
    ("<think>The answer is A.</think><answer>D</answer>", 0.0, 0.0, 1.0),
    # not in the format
    ("<answer>B</answer>", 0.0, 1.0, 0.0),
    ("<think> </think><answer>B</answer>", 0.0, 1.0, 0.0),
    ("<think>The answer is B.</think><answer>Broken edge</answer>", 0.0, 1.0, 0.0),
    ("<think>The answer is B.</think><answer>B", 0.0, 1.0, 0.0),
    ("<think>The answer is B.</think>", 0.0, 0.0, 0.0),
    ("<think>The answer is B.</think><answer>E</answer>", 0.0, 0.0, 0.0),
    ("", 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("text", "of_roam", "of_accuracy", "of_format"), ANSWERS)
def test_choice_rewards_follow_the_table(text: str, of_roam: float, of_accuracy: float, of_format: float) -> None:
    answer = pick(text)
    assert roam(answer, CHOICE) == pytest.approx(of_roam, abs=1e-12)
    assert accuracy(answer, CHOICE) == of_accuracy
    assert format_reward(answer, CHOICE) == of_format


def test_roam_is_the_sum_of_its_two_functions() -> None:
    phi = [process_alignment(concluded, "B") for concluded in (None, "A", "B")]
    psi = [outcome_synergy(letter, "B") for letter in ("A", "B")]
    assert phi == [0.0, 0.05, 0.2]
    assert psi == [0.05, 0.8]
    assert phi[2] + psi[1] == 1.0


def test_roam_applies_to_multiple_choice_only() -> None:
    assert roam(Answer("ok", think="The answer is Yes.", is_anomalous=True), anomaly("Yes")) is None


@pytest.mark.parametrize(
    ("said", "truth", "value"), [(True, "Yes", 1.0), (False, "Yes", 0.0), (False, "No", 1.0), (None, "No", 0.0)]
)
def test_accuracy_of_verdicts(said: bool | None, truth: str, value: float) -> None:
    assert accuracy(Answer("failed" if said is None else "ok", is_anomalous=said), anomaly(truth)) == value


def test_reward_text_gives_names_functions_and_weights() -> None:
    assert resolve_reward("roam") == [("roam", roam, 1.0)]
    assert resolve_reward(" roam=1, format=0.1") == [("roam", roam, 1.0), ("format", format_reward, 0.1)]
    assert resolve_reward("classical=0.5,grounding=2,length@400=-1") == [
        ("accuracy", accuracy, 0.5),
        ("format", format_reward, 0.5),
        ("grounding", grounding, 2.0),
        ("length", Length(400), -1.0),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raom", "no reward 'raom'; did you mean 'roam'? (your own is named like package.module:function)"),
        ("zzzz", f"no reward 'zzzz'; known rewards: {', '.join([*TABLE, *GROUPS])} "),
        ("", "no reward ''"),
        ("roam=", "weight of 'roam='"),
        ("roam=much", "weight of 'roam=much'"),
        ("roam=nan", "weight of 'roam=nan'"),
        ("roam,classical,accuracy", "'accuracy' is named twice"),
        ("length@100,length@200", "'length' is named twice"),
        ("roam@token-f1", "the reward 'roam' takes nothing after '@', it got 'token-f1'"),
        ("length@", "nothing stands after '@' in 'length@' (write it like length@TOKENS)"),
        ("length@long", "the limit of 'length@long'"),
        ("no_such_module:fn", "cannot import the reward 'no_such_module:fn'"),
        ("json:no_such_function", "no function 'no_such_function'"),
        ("json:", "no reward 'json:'"),
    ],
)
def test_wrong_reward_texts_are_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_reward(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", [1.0], 1j])
def test_what_is_no_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(UsageError, match=r"the reward 'mine' gave .* for sample 's1'"):
        checked("mine", value, "sample 's1'")


def test_numbers_and_none_pass_the_check() -> None:
    assert [checked("mine", value, "s1") for value in (None, 1, True, 0.25)] == [None, 1.0, 1.0, 0.25]


def test_own_reward_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_reward_for_test.py").write_text("def two(answer, sample):\n    return 2\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    [(name, function, weight)] = resolve_reward("own_reward_for_test:two=0.5")
    assert (name, function(Answer("ok"), CHOICE), weight) == ("two", 2, 0.5)


def own_module(folder: Path, name: str, code: str) -> Path:
    """A module of a user's, in the current folder; each test takes another name, as Python keeps what it imported."""
    path = folder / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("own_syntax", "def f(answer:\n", "SyntaxError: '(' was never closed (own_syntax.py, line 1)"),
        ("own_raises", "\n1 / 0\n", "ZeroDivisionError: division by zero"),
        ("own_exits", "import sys\nsys.exit(3)\n", "SystemExit: 3"),
    ],
)
def test_a_module_that_fails_when_it_is_imported_is_named(
    name: str, code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own_module(tmp_path, name, code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        resolve_reward(f"{name}:f")
    place = "" if "Syntax" in says else f" at {path}:2"
    assert str(caught.value).startswith(f"cannot import the reward '{name}:f'{place}: {says}")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("own_zero", "def f(answer, sample):\n    return 1 / 0\n", " at {path}:2: ZeroDivisionError: division by zero"),
        (
            "own_deep",
            "import json\ndef f(answer, sample):\n    return json.loads('')\n",
            " at {path}:3: JSONDecodeError: ",
        ),
        ("own_exit", "def f(answer, sample):\n    raise SystemExit\n", " at {path}:2: SystemExit ("),
        (
            "own_short",
            "def f(answer):\n    return 1\n",
            ": TypeError: f() takes 1 positional argument but 2 were given",
        ),
    ],
)
def test_a_reward_that_fails_is_named_with_the_sample_and_its_line(
    name: str, code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own_module(tmp_path, name, code)
    monkeypatch.chdir(tmp_path)
    [(_, function, _)] = resolve_reward(f"{name}:f")
    with pytest.raises(UsageError) as caught:
        function(Answer("ok"), CHOICE)
    told = says.format(path=path)
    assert str(caught.value).startswith(f"the reward '{name}:f' failed for sample {CHOICE.id!r}{told}")
    assert str(caught.value).endswith("(a reward is called as reward(answer, sample) and returns a number, or None "
                                      "where it does not apply)")  # fmt: skip


def test_ctrl_c_in_a_reward_is_no_fault_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_module(tmp_path, "own_ctrl_c", "def f(answer, sample):\n    raise KeyboardInterrupt\n")
    monkeypatch.chdir(tmp_path)
    [(_, function, _)] = resolve_reward("own_ctrl_c:f")
    with pytest.raises(KeyboardInterrupt):
        function(Answer("ok"), CHOICE)


def test_a_weight_of_zero_only_logs_but_not_all_can(tmp_path: Path) -> None:
    assert [weight for _, _, weight in resolve_reward("accuracy=0,format")] == [0.0, 1.0]
    with pytest.raises(UsageError, match="every weight of 'accuracy=0,format=0' is 0"):
        resolve_reward("accuracy=0,format=0")


def test_the_example_reward_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2] / "examples")
    [(_, brief, _)] = resolve_reward("my_reward:brief")
    values = [brief(Answer("ok", think=think), CHOICE) for think in ("word " * 20, "word " * 40, None)]
    assert values == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("name", list(TABLE))
def test_every_reward_states_its_range_first(name: str) -> None:
    row = TABLE[name]
    first_line = (row.function.__doc__ or "").splitlines()[0]
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", re.split(r"[:;]", first_line)[0])]
    assert (min(numbers), max(numbers)) == (row.low, row.high)


def test_the_documentation_names_every_reward_and_its_range() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (\S+\.\.\S+) \|", text, re.MULTILINE))
    assert rows == {name: f"{row.low:g}..{row.high:g}" for name, row in TABLE.items()}


def test_two_rewards_of_a_group_differ_where_their_answers_do() -> None:
    """A group of answers to one question, in an order that a mixed-up batch would not survive."""
    group = ["<think>So the answer is B.</think><answer>B</answer>", "", "<think>x</think><answer>D</answer>"]
    rewards: list[Reward] = [REWARDS["roam"], REWARDS["accuracy"], REWARDS["format"]]
    table = [[reward(pick(text), CHOICE) for reward in rewards] for text in group]
    assert table == [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [pytest.approx(0.05), 0.0, 1.0]]

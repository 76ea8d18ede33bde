"""The reward curve in the terminal."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from iadr1.cli import terminal
from iadr1.cli.terminal import curve


def test_a_rising_line_fills_from_the_bottom() -> None:
    assert curve([0, 1, 2, 3], height=1) == ["3 ┤▁▃▆█"]


def test_rows_carry_the_highest_and_lowest_value() -> None:
    assert curve([0.5, 1.0], height=2) == [
        "  1 ┤ █",
        "0.5 ┤▁█",
    ]


def test_a_constant_line_is_drawn() -> None:
    assert curve([2.0, 2.0], height=1) == ["2 ┤▁▁"]


def test_many_values_are_averaged() -> None:
    assert curve([0, 2, 3, 5], width=2, height=1) == ["4 ┤▁█"]


def test_what_is_not_a_number_leaves_a_gap() -> None:
    assert curve([0, math.nan, 1], height=1) == ["1 ┤▁ █"]
    assert curve([0, math.inf, 2, 2], width=2, height=1) == ["2 ┤▁█"]


def test_nothing_to_draw() -> None:
    assert curve([]) == []
    assert curve([math.nan]) == []


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=text, force_terminal=False, width=120))
    return text


def test_a_bar_counts(screen: io.StringIO) -> None:
    with terminal.bar("looking") as progress:
        progress(1, 3)
        progress(3, 3)
    assert "looking" in screen.getvalue()
    assert "3/3" in screen.getvalue()


def test_task_bars_have_one_line_each(screen: io.StringIO) -> None:
    with terminal.task_bars() as progress:
        progress("few-shot", 1, 2)
        progress("photos", 4, 4)
        progress("few-shot", 2, 2)
    lines = [line for line in screen.getvalue().splitlines() if line.strip()]
    assert ["2/2" in lines[0], "4/4" in lines[1], len(lines)] == [True, True, 2]


def test_the_training_bar_shows_reward_and_parse_rate(screen: io.StringIO) -> None:
    with terminal.train_bar(40) as show:
        show({"step": 7.0, "reward": 0.5, "parse_rate": 0.975, "loss": 0.1})
    assert "7/40" in screen.getvalue()
    assert "reward 0.500 parsed 98%" in screen.getvalue()


def test_the_training_bar_shows_kl_length_and_flat_groups_where_they_are_known(screen: io.StringIO) -> None:
    with terminal.train_bar(4) as show:
        show(
            {"step": 1.0, "reward": 0.5, "parse_rate": 1.0, "kl": 0.0123, "completion_length": 31.4, "flat_groups": 0.5}
        )
    assert "reward 0.500 parsed 100% KL 0.0123 31 tokens flat 50%" in screen.getvalue()


def test_the_loss_bar_shows_the_loss_and_the_steps_that_epochs_make(screen: io.StringIO) -> None:
    with terminal.loss_bar(40) as show:
        show({"step": 3.0, "steps": 12.0, "loss": 1.25})
    assert "3/12" in screen.getvalue()
    assert "loss 1.250" in screen.getvalue()


def test_an_error_before_the_first_step_leaves_no_bar(screen: io.StringIO) -> None:
    with pytest.raises(ValueError, match="early"), terminal.bar("looking"):
        raise ValueError("early")
    assert screen.getvalue() == ""

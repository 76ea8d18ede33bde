"""Bars drawn in a terminal and written as lines elsewhere, and the reward curve."""

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


def test_one_is_no_plural() -> None:
    assert [terminal.counted(number, "photo") for number in (0, 1, 2)] == ["0 photos", "1 photo", "2 photos"]


def test_a_bar_counts(screen: io.StringIO) -> None:
    with terminal.bar("looking") as progress:
        progress(1, 3)
        progress(3, 3)
    assert "looking" in screen.getvalue()
    assert "3/3" in screen.getvalue()


def test_task_bars_are_told_apart_by_their_names(screen: io.StringIO) -> None:
    with terminal.task_bars() as progress:
        progress("few-shot", 1, 2)
        progress("photos", 4, 4)
        progress("few-shot", 2, 2)
        progress("files", 7, 0)  # nobody knows how many there will be
        progress("files", 9, 0)
    assert screen.getvalue().splitlines() == ["few-shot 1/2", "photos 4/4", "few-shot 2/2", "files 7", "files 9"]


class Clock:
    """Time that passes when the test says so, for the lines and for rich."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("iadr1.cli.terminal.time.monotonic", lambda: self.now)


def test_where_nothing_can_be_drawn_a_bar_is_a_line_now_and_then(
    screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    with terminal.bar("looking") as progress:
        for done in range(62):
            progress(done, 61)
            if done == 0:
                assert screen.getvalue() == "looking 0/61\n"  # at once, not when it is over
            clock.now += 0.5
    told = [line.partition(",")[0] for line in screen.getvalue().splitlines()]
    assert told == ["looking 0/61", "looking 20/61", "looking 40/61", "looking 60/61", "looking 61/61"]


def test_a_line_says_how_long_it_will_take(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with terminal.loss_bar(400) as show:
        for step in range(1, 4):
            show({"step": float(step), "loss": 1.25})
            clock.now += 30.0
    assert screen.getvalue().splitlines() == [
        "training 1/400, loss 1.250",
        "training 2/400, 3 h 19 min left, loss 1.250",
        "training 3/400, 3 h 18 min left, loss 1.250",
    ]


def test_what_was_done_is_said_when_a_bar_is_left_early(screen: io.StringIO) -> None:
    def stop_early() -> None:
        with terminal.bar("looking") as progress:
            progress(1, 9)
            progress(5, 9)
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        stop_early()
    assert screen.getvalue().splitlines()[-1].startswith("looking 5/9")


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=text, force_terminal=True, width=120))
    with terminal.bar("looking") as progress:
        progress(1, 3)
        progress(3, 3)
    assert "━" in text.getvalue()
    assert "looking 1/3" not in text.getvalue()


def test_a_status_is_lines_where_it_cannot_turn(screen: io.StringIO) -> None:
    with terminal.status("getting ready") as tell:
        assert screen.getvalue() == ""  # what is refused at once has one line, that of the error
        tell("looking at: machine")
        assert screen.getvalue() == "looking at: machine\n"


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

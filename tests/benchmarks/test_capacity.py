"""The capacity model by hand: a photo's time, its cost, Little's law, and the rates from the published run."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("transformers")

from benchmarks import capacity
from benchmarks.capacity import (
    Places,
    Rates,
    Work,
    cards,
    cost_per_million,
    latency,
    reasoned,
    seconds_per_photo,
    steps_per_photo,
)

RATES = Rates(prefill=1000.0, step_s=0.08, row_s=0.002, look_s=0.03, host_s=0.01)
TEN = Places(10)
"""A token takes 80 ms / 10 places + 2 ms = 10 ms."""
WORK = Work(
    score_tokens=100, think_tokens=200, good_answer=20, bad_answer=50, recall=0.8, false_alarms=0.1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "bad", "shares"),
    [
        ("direct", 0.3, (0, 0)),
        ("think", 0.3, (0.3, 0.7)),
        ("two-pass", 0.3, (0.24, 0.07)),
        ("two-pass", 0.0, (0.0, 0.1)),
        ("two-pass", 1.0, (0.8, 0.0)),
    ],
)
def test_who_is_reasoned_about(mode: str, bad: float, shares: tuple[float, float]) -> None:
    assert reasoned(mode, WORK, bad) == pytest.approx(shares)


def test_seconds_of_a_photo_by_hand() -> None:
    assert seconds_per_photo("direct", RATES, WORK, 0.5, TEN) == pytest.approx(0.01 + 0.03 + 0.1)
    assert seconds_per_photo("think", RATES, WORK, 0.5, TEN) == pytest.approx(
        0.01 + 0.03 + 0.1 + 0.03 + 0.2 + 0.5 * 0.5 + 0.5 * 0.2
    )
    bad, good = 0.5 * 0.8, 0.5 * 0.1
    expected = 0.01 + 0.03 + 0.1 + (bad + good) * (0.03 + 0.2) + bad * 0.5 + good * 0.2
    assert seconds_per_photo("two-pass", RATES, WORK, 0.5, TEN) == pytest.approx(expected)


def test_a_batch_ends_with_its_longest_answer() -> None:
    batch = Places(4, refilled=False)
    assert steps_per_photo(WORK, (1.0, 0.0), batch) == pytest.approx(50 / 4)
    assert steps_per_photo(WORK, (0.0, 1.0), batch) == pytest.approx(20 / 4)
    assert steps_per_photo(WORK, (0.0, 0.0), batch) == 0
    bad, good = 0.5, 0.25
    none, no_bad = 0.25**4, 0.5**4
    expected = (1 - no_bad) * 50 + (no_bad - none) * 20
    assert steps_per_photo(WORK, (bad, good), batch) == pytest.approx(expected / 4)
    assert steps_per_photo(replace(WORK, spread=1.5), (bad, good), batch) == pytest.approx(1.5 * expected / 4)
    assert steps_per_photo(WORK, (bad, good), Places(4)) == pytest.approx((bad * 50 + good * 20) / 4)


def test_two_pass_lies_between_the_others() -> None:
    for bad in (0.0, 0.1, 0.5, 1.0):
        direct, think, two_pass = (seconds_per_photo(mode, RATES, WORK, bad, TEN) for mode in capacity.MODES)
        assert direct < two_pass < think


def test_what_cannot_be() -> None:
    for mode, bad in (("quick", 0.5), ("think", 1.1), ("think", -0.1), ("think", float("nan"))):
        with pytest.raises(ValueError, match="share"):
            seconds_per_photo(mode, RATES, WORK, bad, TEN)


def test_cost_latency_and_cards() -> None:
    assert cost_per_million(0.36, price_per_hour=2.0) == pytest.approx(200)
    assert latency(32, per_second=8) == 4
    assert cards(100, 0.07, busy=0.7) == 10
    assert cards(101, 0.07, busy=0.7) == 11
    assert cards(0.001, 0.07) == 1


def test_the_published_run_comes_out_of_its_own_rates() -> None:
    """128 requests on 4 cards, as the recipe prints them, took 45.30 s."""
    rates = capacity.from_recipe()
    a_card = Work(0, 1_023_598 / 4, good_answer=116_924 / 4, bad_answer=116_924 / 4)
    assert seconds_per_photo("think", rates, a_card, 0.5, Places(32)) == pytest.approx(45.30)
    assert Places(32).count / rates.step_s == pytest.approx(1383, abs=0.5)


def test_references_cost_as_much_as_the_photo() -> None:
    alone, shown = (capacity.on_paper(1044, references=count, answer=(80, 160)) for count in (0, 1))
    assert shown.think_tokens - alone.think_tokens == pytest.approx(alone.think_tokens - 90)
    assert alone.think_tokens > 90 + 1044


def test_the_table_has_a_row_for_each_share() -> None:
    lines = capacity.table(RATES, WORK, TEN, price_per_hour=3.6, shares=(0.0, 0.5))
    assert len(lines) == 4
    direct = 1 / 0.14
    two_pass, think = 1 / (0.14 + 0.1 * 0.43), 1 / (0.14 + 0.43)
    assert lines[2] == (
        f"| 0 % | {direct:.3g} | {two_pass:.3g} | {think:.3g} | {two_pass / think:.2f} | 140 / 183 / 570 |"
    )
    assert lines[3].startswith("| 50 % |")
    assert all(line.endswith("| - |") for line in capacity.table(RATES, WORK, TEN, shares=(0.1,))[2:])


def test_paper_says_that_it_is_paper(capsys: pytest.CaptureFixture[str]) -> None:
    capacity.print_paper(2.0)
    printed = capsys.readouterr().out
    assert "EXTRAPOLATED" in printed
    assert capacity.RECIPE in printed
    assert printed.count("| bad products |") == 2

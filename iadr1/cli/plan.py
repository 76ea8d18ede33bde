"""`--plan`: a run's plan as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from iadr1.cli import terminal
from iadr1.config import TrainingConfig

if TYPE_CHECKING:
    from iadr1.stages.training.plan import Plan

OPTION: Any = typer.Option(
    "--plan",
    help="Only show what the run would do and need: steps, tokens, memory of each GPU. Needs no weights.",
    metavar="",
    show_default=False,
)
"""The flag of the training commands; it is no setting of the run."""
_GIB = 2**30


def show(config: TrainingConfig, *, data: Path | None, overrides: Sequence[str]) -> None:
    """Work the run out and print it.

    Without a file of samples the data are assumed, but not where the file was named on the command line.

    Args:
        config: The run's settings.
        data: What `--data` was given.
        overrides: The command's `key=value`.

    Raises:
        UsageError: There is no such file of samples.
    """
    from iadr1.stages.training.job import check_data_file
    from iadr1.stages.training.plan import make_plan

    if data is not None or any(text.partition("=")[0].strip() == "data" for text in overrides):
        check_data_file(config)
    plan = make_plan(config)
    _settings(plan)
    _data(plan)
    _steps(plan)
    _parts(plan)
    _memory(plan)
    _grid(plan)
    _changes(plan)


def _table(title: str, *columns: str, numbers: Sequence[int] = ()) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place in numbers else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    terminal.out.print(table)
    terminal.say()


def _settings(plan: Plan) -> None:
    table = _table("Settings", "", "", "", "")
    table.show_header = False
    pairs = [(key, "" if value is None else str(value)) for key, value in plan.settings.items()]
    half = (len(pairs) + 1) // 2
    for first, second in zip(pairs[:half], [*pairs[half:], ("", "")][:half], strict=True):
        table.add_row(*first, *second)
    _print(table)


def _data(plan: Plan) -> None:
    data, profile = plan.data, plan.model.profile
    if data.samples is None:
        terminal.say(f"Data: {data.file} is not there yet, so the data are unknown.")
        width, height = profile.cap_wh
        terminal.say(f"Assumed: images of {width}x{height} px, {data.prompts[0].text_tokens} tokens of text")
    else:
        terminal.say(f"Data: {data.samples} samples, {data.images} images, from {data.file}")
        if not data.exact:
            terminal.say("The model's tokenizer is not on this machine: tokens of text are estimated from characters")
    table = _table("", "tokens of a prompt", "least", "median", "95 %", "most", numbers=(1, 2, 3, 4))
    rows = (("text", data.text()), ("images", data.pictures(profile)), ("together", data.tokens(profile)))
    for name, spread in rows:
        table.add_row(name, *(f"{value:,}" for value in vars(spread).values()))
    _print(table)
    if plan.problem is not None:
        terminal.say(f"Too long: {plan.problem}")
    else:
        longest = data.tokens(profile).most
        answer = f" + {data.answer} of the answer" if data.answer else ""
        terminal.say(f"Longest: {longest:,}{answer}; the model's context holds {data.limit:,}")


def _steps(plan: Plan) -> None:
    steps = plan.steps
    parts = ["unknown" if steps.steps is None else f"{steps.steps:,}", f"{steps.questions} questions"]
    parts += [] if steps.completions is None else [f"{steps.completions} answers"]
    rounds = "" if steps.rounds is None else f", {steps.rounds:.1f} rounds over the data"
    terminal.say(f"Steps: {parts[0]}, each of {' and '.join(parts[1:])} on {_gpus(plan.setup.processes)}{rounds}")
    terminal.say()


def _parts(plan: Plan) -> None:
    title = f"Parameters of {plan.model.architecture.model}"
    table = _table(title, "part", "parameters", "trained", "", numbers=(1, 2, 3))
    for row in plan.model.parts:
        share = f"{row.trainable / row.parameters:.1%}" if row.parameters else ""
        table.add_row(row.part, f"{row.parameters:,}", f"{row.trainable:,}", share)
    _print(table)
    terminal.say(f"Architecture: {plan.model.architecture.source}")
    terminal.say()


def _memory(plan: Plan) -> None:
    from iadr1.stages.training.plan.memory import CARDS, MOMENTS

    setup = plan.setup
    zero = "no ZeRO" if setup.zero is None else f"ZeRO-{setup.zero}"
    one = "the GPU" if setup.processes == 1 else f"each of {setup.processes} GPUs"
    title = f"Memory of {one} in GiB, computed, not measured ({zero})"
    table = _table(title, "", *MOMENTS, numbers=(1, 2, 3))
    for item in sorted(plan.memory.items, key=lambda item: -item.size):
        table.add_row(item.name, *(_gib(item.size) if moment in item.moments else "" for moment in MOMENTS))
    table.add_row("together", *(_gib(plan.memory.at(moment)) for moment in MOMENTS), style="bold")
    _print(table)
    fits = ", ".join(f"{card} GB {'yes' if plan.memory.fits(card) else 'no'}" for card in CARDS)
    share = f"{plan.memory.usable:.0%}"
    terminal.say(f"Peak {_gib(plan.memory.peak)} GiB ({plan.memory.worst}); fits into {share} of a card of: {fits}")
    terminal.say()


def _grid(plan: Plan) -> None:
    from iadr1.stages.training.plan import GRID_PROCESSES, GRID_STAGES

    columns = [_gpus(processes) for processes in GRID_PROCESSES]
    title = "Peak of one GPU in GiB, and the smallest card it fits on, with these settings otherwise"
    table = _table(title, "", *columns, numbers=(1, 2, 3, 4))
    for stage in GRID_STAGES:
        cells = []
        for processes in GRID_PROCESSES:
            memory = plan.grid[stage, processes]
            cells.append(f"{_gib(memory.peak)} {_card(memory.card)}")
        table.add_row("no ZeRO" if stage is None else f"ZeRO-{stage}", *cells)
    _print(table)


def _changes(plan: Plan) -> None:
    if not plan.changes:
        return
    title = "If it does not fit, turn these, one upon another, least harm first"
    table = _table(title, "setting", "peak GiB", "card", "what it costs", numbers=(1,))
    for change in plan.changes:
        table.add_row(change.setting, _gib(change.memory.peak), _card(change.memory.card), change.cost)
    _print(table)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f}"


def _card(card: int | None) -> str:
    return "none" if card is None else f"{card} GB"


def _gpus(processes: int) -> str:
    return "1 GPU" if processes == 1 else f"{processes} GPUs"

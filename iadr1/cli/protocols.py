"""`iadr1 protocols ls|show|cp`: how questions are asked and answers are read, to look at and to change."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import option
from iadr1.errors import UsageError

if TYPE_CHECKING:
    from iadr1.protocols import Protocol, Turn
    from iadr1.records import Sample, Task

HELP = "Evaluation protocols: what is sent for a question and how the answer is read."
LS_EPILOG = "Example: `iadr1 protocols ls`. The hash stands beside every figure that was measured with a protocol."
SHOW_EPILOG = "Example: `iadr1 protocols show mmad --shots 2`."
CP_EPILOG = "Example: `iadr1 protocols cp mmad mine.yaml`, then `iadr1 eval mmad --protocol mine.yaml`."

_CONFIG = configs.EvalConfig
_BARE = ("name", "hash", "about", "source", "questions", "template", "option_order", "reading", "averaging")
"""Fields whose words are shown without quotes."""
_NAME = typer.Argument(metavar="NAME", help="A protocol of `iadr1 protocols ls`, or a YAML file.", show_default=False)


def ls() -> None:
    """List the protocols that come with the package."""
    from iadr1 import protocols

    rows = [("protocol", "version", "hash", "asks", "shots", "options")]
    loaded = [protocols.load(name) for name in protocols.names()]
    for protocol in loaded:
        shots = f"{protocol.shots} of {protocol.max_shots}" if protocol.max_shots else "never"
        order = protocol.option_order if protocol.option else "not shown"
        rows.append((protocol.name, str(protocol.version), protocol.digest, ", ".join(protocol.tasks), shots, order))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    abouts = ["", *(f"    {protocol.about}\n" for protocol in loaded)]
    for row, about in zip(rows, abouts, strict=True):
        terminal.say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        terminal.say(about)


def show(
    name: Annotated[str, _NAME],
    shots: Annotated[int | None, option(_CONFIG, "shots")] = None,
    template: Annotated[str | None, option(_CONFIG, "template")] = None,
    domain_knowledge: Annotated[
        bool,
        typer.Option(
            "--domain-knowledge", help="Give what is known about the product.", metavar="", show_default=False
        ),
    ] = False,
    option_order: Annotated[str | None, option(_CONFIG, "option_order")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of permuted options.", show_default=False)] = None,
    max_new_tokens: Annotated[int | None, option(_CONFIG, "max_new_tokens")] = None,
) -> None:
    """Show everything about a protocol, and what it sends for an example question with these settings."""
    from iadr1 import protocols

    protocol = protocols.vary(
        protocols.load(name),
        shots=shots,
        template=template,
        domain_knowledge=domain_knowledge or None,
        option_order=option_order,
        seed=seed,
        max_new_tokens=max_new_tokens,
    )
    for line in (*_fields(protocol), "", *_example(protocol)):
        terminal.say(line)


def cp(
    name: Annotated[str, _NAME],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to, a YAML file.", show_default=False)],
) -> None:
    """Copy a protocol to change it; a file that is there is left alone.

    The copy is named like its file, so that its figures are not taken for those of the original.
    """
    from iadr1 import protocols
    from iadr1.atomic import atomic

    protocols.load(name)  # what is copied must be a protocol
    if to.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{str(to)!r} is no YAML file", hint="end its name in .yaml")
    if to.stem in protocols.names():
        raise UsageError(f"{to.stem!r} is the name of a shipped protocol", hint="name the file otherwise")
    if to.exists():
        raise UsageError("the file is there already", where=str(to), hint="name another file")
    text = protocols.find(name).read_text(encoding="utf-8")
    head = f"name: {json.dumps(to.stem)}"
    with atomic(to) as file:
        file.write(re.sub(r"^name:.*$", lambda line: head, text, count=1, flags=re.MULTILINE))
    terminal.say(f"{to}: iadr1 eval BENCHMARK --protocol {to}")


def _fields(protocol: Protocol) -> Iterator[str]:
    """Every field on a line of its own, as a protocol's file has it."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(protocol):
        values[item.name] = getattr(protocol, item.name)
        if item.name == "version":
            values["hash"] = protocol.digest
    for number, part in enumerate(values.pop("parts")):
        set_ = {key: value for key, value in dataclasses.asdict(part).items() if value}
        values[f"parts.{number}"] = ", ".join(f"{key}: {json.dumps(value)}" for key, value in set_.items())
    width = max(map(len, values))
    for key, value in values.items():
        told = value if key in _BARE or key.startswith("parts.") else json.dumps(value, ensure_ascii=False)
        yield f"{key:<{width}}  {told}"


def _example(protocol: Protocol) -> Iterator[str]:
    """What is sent for the last of the example questions that the protocol asks."""
    from iadr1 import protocols

    samples = _samples(protocol.tasks[0], protocol.shots)
    texts = {"good": "<Good> What an intact bottle looks like.", "broken": "<Broken> What a broken one looks like."}
    turns = protocols.turns(samples, protocol, knowledge={"Example": {"bottle": texts}})
    turn = next(turn for turn in turns if turn.sample_id == turns[-1].sample_id)
    numbers = {sample.id: number for number, sample in enumerate(samples, start=1)}
    rotations = sum(other.sample_id == turn.sample_id for other in turns)
    asked = f"Example, question {numbers[turn.sample_id]} of {len(samples)} about one image"
    yield f"{asked}{f', the first of {rotations} rotations' if rotations > 1 else ''}; images sent: {len(turn.images)}"
    names = [f"[image: {name}]" for name in turn.images]
    if turn.plain is not None:
        yield "without a chat template:"
        pieces = turn.plain.split(protocols.IMAGE_SLOT)
        shown = "".join(text for pair in zip_longest(pieces, names, fillvalue="") for text in pair)
        yield from _indented([shown])
        return
    yield from _chat(turn, names)


def _chat(turn: Turn, names: list[str]) -> Iterator[str]:
    images = iter(names)
    for message in turn.messages:
        yield f"{message['role']}:"
        parts = [part.get("text") or next(images) for part in message["content"]]
        yield from _indented(parts)


def _indented(parts: list[str]) -> Iterator[str]:
    """The parts one below the other: where one ends is left to the model's template."""
    for part in parts:
        yield from (f"    {line}".rstrip() for line in part.splitlines())


def _samples(task: Task, shots: int) -> list[Sample]:
    """Two questions about one image, as MMAD has them, or one of another task."""
    from iadr1.prompts import DETECT_QUESTION
    from iadr1.records import Sample

    common: dict[str, Any] = {
        "dataset": "Example",
        "category": "bottle",
        "split": "test",
        "image": "query.png",
        "references": [f"reference-{number}.png" for number in range(1, shots + 1)],
        "similar_references": [f"similar-{number}.png" for number in range(1, shots + 1)],
        "task": task,
    }
    kinds = {"A": "Scratch.", "B": "Broken large.", "C": "Contamination.", "D": "No defect."}
    asked: dict[str, list[dict[str, Any]]] = {
        "choice": [
            {"question": "Is there any defect in the object?", "options": {"A": "Yes.", "B": "No."}, "answer": "A"},
            {"question": "What is the type of the defect?", "options": kinds, "answer": "B"},
        ],
        "anomaly": [{"question": DETECT_QUESTION, "answer": "Yes"}],
        "grounding": [{"question": "Please give the bounding box of the bottle on the left."}],
    }
    return [
        Sample.model_validate({**common, **values, "id": f"example#{number}", "question_type": "Anomaly Detection"})
        for number, values in enumerate(asked[task])
    ]

"""Whether a protocol's fields fit together; their types are checked where a file is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import get_args

from iadr1 import prompts
from iadr1.errors import nearest
from iadr1.protocols.base import IMAGE_SLOT, Averaging, OptionOrder, Protocol, Template, placeholders
from iadr1.records import Task

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_AVERAGING: dict[Task, tuple[Averaging, ...]] = {
    "choice": ("mmad",),
    "anomaly": ("verdicts", "boxes"),
    "grounding": ("boxes",),
}
_PART_FIELDS = {"questions": "", "instruction": "", "shots": "references", "knowledge": "knowledge"}
"""Field of a text part -> what the part's `only` must then be; any where it is empty."""

Fault = tuple[str, str]
"""A key, and what is wrong with its value."""


def faults(protocol: Protocol) -> Iterator[Fault]:
    """Everything that keeps a protocol from being asked and read."""
    for check in (_names, _numbers, _images, _parts, _texts, _slots, _options):
        yield from check(protocol)


def _names(protocol: Protocol) -> Iterator[Fault]:
    if not _NAME.fullmatch(protocol.name.partition("+")[0]):
        yield "name", f"{protocol.name!r} is no name: letters, digits, '.', '-' and '_' make one"
    if not protocol.tasks or len(set(protocol.tasks)) < len(protocol.tasks):
        yield "tasks", f"{list(protocol.tasks)} is empty or names a task twice"
    rule = prompts.READINGS.get(protocol.reading)
    if rule is None:
        yield "reading", f"no reading {protocol.reading!r}; {nearest(protocol.reading, tuple(prompts.READINGS))}"
    for task in protocol.tasks:
        if rule is not None and task != rule.task:
            yield "tasks", f"the reading {protocol.reading!r} is for {rule.task!r} samples, not for {task!r}"
        if protocol.averaging not in _AVERAGING[task]:
            known = " or ".join(map(repr, _AVERAGING[task]))
            yield "averaging", f"answers to {task!r} samples are averaged as {known}, not as {protocol.averaging!r}"
    if protocol.instruction and protocol.instruction not in prompts.FORMATS:
        yield "instruction", f"no format {protocol.instruction!r}; {nearest(protocol.instruction, prompts.FORMATS)}"


def _numbers(protocol: Protocol) -> Iterator[Fault]:
    least = {"version": 1, "max_new_tokens": 1, "shots": 0, "max_shots": 0, "seed": 0}
    for key, bound in least.items():
        value = getattr(protocol, key)
        if value < bound:
            yield key, f"{value} is less than {bound}"
    if protocol.shots > protocol.max_shots:
        yield "shots", f"it shows at most {protocol.max_shots} references" if protocol.max_shots else "it shows none"
    for key, known in (("template", get_args(Template)), ("option_order", get_args(OptionOrder))):
        value = getattr(protocol, key)
        if value not in known:
            yield key, f"{value!r} is unknown; {nearest(str(value), known)}"


def _images(protocol: Protocol) -> Iterator[Fault]:
    kinds = [part.kind for part in protocol.parts]
    if kinds.count("image") != 1:
        yield "parts", f"{kinds.count('image')} parts of the kind 'image', there must be one"
    if kinds.count("references") > 1:
        yield "parts", f"{kinds.count('references')} parts of the kind 'references', there may be one"
    if protocol.max_shots and "references" not in kinds:
        yield "max_shots", f"up to {protocol.max_shots} references, but no part of the kind 'references'"
    if not protocol.max_shots and "references" in kinds:
        yield "max_shots", "0, but there is a part of the kind 'references'"
    if protocol.fit_wh is not None and min(protocol.fit_wh) < 1:
        yield "fit_wh", f"{list(protocol.fit_wh)} is no size in pixels"
    if protocol.enlarge and protocol.fit_wh is None:
        yield "enlarge", "true, but there is no 'fit_wh' to enlarge to"


def _parts(protocol: Protocol) -> Iterator[Fault]:
    for number, part in enumerate(protocol.parts):
        key = f"parts.{number}"
        if part.kind == "text" and not part.text:
            yield f"{key}.text", "it is empty"
        if part.kind != "text" and (part.text or part.only):
            yield key, f"a part of the kind {part.kind!r} has neither 'text' nor 'only'"
    if not protocol.chat and protocol.system:
        yield "system", "there is no system turn without a chat template (chat: false)"
    if protocol.domain_knowledge and not any("knowledge" in _names_in(part.text) for part in protocol.parts):
        yield "domain_knowledge", "no part shows '{knowledge}'"


def _texts(protocol: Protocol) -> Iterator[Fault]:
    yield from _fields("question", protocol.question, ("number", "question", "options"))
    yield from _fields("option", protocol.option, ("letter", "text"))
    shown: dict[str, list[str]] = {"questions": [], "instruction": []}
    for number, part in enumerate(protocol.parts):
        key = f"parts.{number}.text"
        yield from _fields(key, part.text, tuple(_PART_FIELDS))
        for name in _names_in(part.text):
            needed = _PART_FIELDS.get(name, "")
            if needed and part.only != needed:
                yield key, f"'{{{name}}}' may only stand in a part with 'only: {needed}'"
            if name in shown:
                shown[name].append(part.only)
    if shown["questions"] != [""]:
        yield "parts", "'{questions}' must stand once, in a part that is always there (without 'only')"
    if protocol.instruction and not shown["instruction"]:
        yield "instruction", f"{protocol.instruction!r}, but no part shows '{{instruction}}'"
    if shown["instruction"] and not protocol.instruction:
        yield "instruction", "empty, but a part shows '{instruction}'"


def _slots(protocol: Protocol) -> Iterator[Fault]:
    texts = {key: getattr(protocol, key) for key in ("system", "question", "option", "answer_prefix")}
    texts |= {f"parts.{number}.text": part.text for number, part in enumerate(protocol.parts)}
    for key, text in texts.items():
        if IMAGE_SLOT in text:
            yield key, f"it holds {IMAGE_SLOT!r}; images are parts of the kinds 'references' and 'image'"


def _options(protocol: Protocol) -> Iterator[Fault]:
    asks_options, fields = "options" in _names_in(protocol.question), set(_names_in(protocol.option))
    if protocol.option and fields != {"letter", "text"}:
        yield "option", f"{protocol.option!r} must show '{{letter}}' and '{{text}}'"
    if protocol.option and not asks_options:
        yield "question", "it does not show '{options}', whose lines 'option' gives"
    if asks_options and not protocol.option:
        yield "option", "empty, but 'question' shows '{options}'"
    if "choice" in protocol.tasks and not protocol.option:
        yield "option", "empty, but 'choice' samples are answered with the letter of an option"
    if protocol.option_order != "none" and not protocol.option:
        yield "option_order", f"{protocol.option_order!r}, but it shows no options"


def _fields(key: str, text: str, known: Sequence[str]) -> Iterator[Fault]:
    """What is wrong with the fields of a text."""
    try:
        found = list(placeholders(text))
    except ValueError as error:
        yield key, f"{error} in {text[:60]!r}; write '{{{{' and '}}}}' for braces"
        return
    for name in found:
        if name not in known:
            yield key, f"no field '{{{name}}}' in {text[:60]!r}; {nearest(name, known)}"


def _names_in(text: str) -> list[str]:
    try:
        return list(placeholders(text))
    except ValueError:  # told by `_fields`
        return []

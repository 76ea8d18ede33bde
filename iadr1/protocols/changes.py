"""A protocol with other settings, whose name and hash say so."""

from __future__ import annotations

import dataclasses
from typing import Any

from iadr1.errors import UsageError
from iadr1.protocols.base import OptionOrder, Protocol, Template
from iadr1.protocols.checks import faults


def vary(
    protocol: Protocol,
    *,
    shots: int | None = None,
    template: Template | str | None = None,
    domain_knowledge: bool | None = None,
    option_order: OptionOrder | str | None = None,
    seed: int | None = None,
    max_new_tokens: int | None = None,
) -> Protocol:
    """The protocol with what is given and differs changed; None keeps.

    The name gets each change behind a `+`, as in `mmad+shots=2`. The seed counts only where the order of the options is
    `seeded`, and changes nothing elsewhere.

    Raises:
        UsageError: The protocol cannot take a value.
    """
    given: dict[str, Any] = {
        "shots": shots,
        "template": template,
        "domain_knowledge": domain_knowledge,
        "option_order": option_order,
        "seed": seed,
        "max_new_tokens": max_new_tokens,
    }
    if (option_order or protocol.option_order) != "seeded":
        given["seed"] = None
    changes = {key: value for key, value in given.items() if value not in (None, getattr(protocol, key))}
    changed = dataclasses.replace(protocol, **changes, name=_name(protocol.name, changes))
    if "template" in changes and not changed.shots:
        raise UsageError(
            f"the protocol {protocol.name!r} shows no references, so there is no {template!r} template",
            hint="ask for references with --shots" if protocol.max_shots else None,
        )
    for key, fault in faults(changed):
        raise UsageError(f"the protocol {protocol.name!r} cannot take {key}={getattr(changed, key)}: {fault}")
    return changed


def _name(name: str, changes: dict[str, Any]) -> str:
    """The name with the changes behind it; one made before is replaced."""
    base, *before = name.split("+")
    marks = dict(mark.split("=", 1) for mark in before) | {key: str(value).lower() for key, value in changes.items()}
    return "+".join([base, *(f"{key}={value}" for key, value in marks.items())])

"""A protocol with other settings: what changed stands in its name and its hash, what cannot be is refused."""

from __future__ import annotations

from typing import Any

import pytest

from iadr1 import protocols
from iadr1.errors import ConfigError, UsageError
from iadr1.protocols import vary

MMAD = protocols.load("mmad")


def test_none_keeps_and_what_is_equal_changes_nothing() -> None:
    assert vary(MMAD) == MMAD
    same = vary(MMAD, shots=1, template="random", domain_knowledge=False, option_order="none", max_new_tokens=600)
    assert same == MMAD


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"shots": 2}, "mmad+shots=2"),
        ({"shots": 0}, "mmad+shots=0"),
        ({"template": "similar"}, "mmad+template=similar"),
        ({"domain_knowledge": True}, "mmad+domain_knowledge=true"),
        ({"option_order": "circular"}, "mmad+option_order=circular"),
        ({"option_order": "seeded", "seed": 3}, "mmad+option_order=seeded+seed=3"),
        ({"max_new_tokens": 64}, "mmad+max_new_tokens=64"),
        ({"shots": 2, "template": "similar"}, "mmad+shots=2+template=similar"),
    ],
)
def test_a_change_is_in_the_name_and_the_hash(changes: dict[str, Any], name: str) -> None:
    changed = vary(MMAD, **changes)
    assert changed.name == name
    assert changed.digest != MMAD.digest
    assert {key: getattr(changed, key) for key in changes} == changes
    assert vary(changed, **changes) == changed


def test_a_second_change_replaces_the_first() -> None:
    twice = vary(vary(MMAD, shots=2, max_new_tokens=9), shots=3)
    assert twice.name == "mmad+shots=3+max_new_tokens=9"
    assert vary(twice, shots=1, max_new_tokens=600).digest == MMAD.digest


def test_the_seed_counts_only_for_seeded_options() -> None:
    assert vary(MMAD, seed=5) == MMAD
    repo = protocols.load("anomalyr1-repo")
    assert vary(repo, seed=5).name == "anomalyr1-repo+seed=5"
    assert vary(repo, seed=5, option_order="none").name == "anomalyr1-repo+option_order=none"
    assert vary(repo, seed=5, option_order="none").seed == 0


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mmad", {"shots": 9}, "the protocol 'mmad' cannot take shots=9: it shows at most 8 references"),
        ("mmad", {"shots": -1}, "the protocol 'mmad' cannot take shots=-1: -1 is less than 0"),
        ("anomalyr1-repo", {"shots": 1}, "the protocol 'anomalyr1-repo' cannot take shots=1: it shows none"),
        ("grounding", {"shots": 1}, "the protocol 'grounding' cannot take shots=1: it shows none"),
        (
            "mmad",
            {"template": "best"},
            "the protocol 'mmad' cannot take template=best: 'best' is unknown; known: random",
        ),
        (
            "mmad",
            {"option_order": "circle"},
            "the protocol 'mmad' cannot take option_order=circle: 'circle' is unknown; ",
        ),
        ("mmad", {"max_new_tokens": 0}, "the protocol 'mmad' cannot take max_new_tokens=0: 0 is less than 1"),
        ("mmad", {"option_order": "seeded", "seed": -1}, "the protocol 'mmad' cannot take seed=-1: -1 is less than 0"),
        (
            "iadr1",
            {"option_order": "circular"},
            "the protocol 'iadr1' cannot take option_order=circular: 'circular', but",
        ),
        ("iadr1", {"domain_knowledge": True}, "the protocol 'iadr1' cannot take domain_knowledge=True: no part shows"),
        (
            "iadr1",
            {"template": "similar"},
            "the protocol 'iadr1' shows no references, so there is no 'similar' template (",
        ),
        (
            "grounding",
            {"template": "similar"},
            "the protocol 'grounding' shows no references, so there is no 'similar'",
        ),
        (
            "mmad",
            {"shots": 0, "template": "similar"},
            "the protocol 'mmad' shows no references, so there is no 'similar'",
        ),
    ],
)
def test_what_a_protocol_cannot_take_is_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        vary(protocols.load(name), **changes)
    assert not isinstance(caught.value, ConfigError)
    assert str(caught.value).startswith(message)

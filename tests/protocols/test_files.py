"""Protocol files: what is wrong is told with file, key and value; the shipped ones are frozen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from iadr1 import prompts, protocols
from iadr1.errors import ConfigError, UsageError
from iadr1.protocols import Part, Protocol, base

NAMES = ("anomalyr1", "anomalyr1-repo", "detection", "grounding", "iadr1", "iadr1-repo", "mmad")
GOLDEN = {
    "anomalyr1": "f911ce432c018a83",
    "anomalyr1-repo": "caf862fc5f955568",
    "detection": "2017063c8e17058e",
    "grounding": "3db52d3c7a980646",
    "iadr1": "4159ba8abd1e4078",
    "iadr1-repo": "265514e1fa1ddd28",
    "mmad": "40ef2fe3bf416f01",
}
"""Written down once: a shipped protocol that asks or reads differently needs a new version and a new hash here."""


def written(tmp_path: Path, base_name: str = "mmad", **changes: Any) -> Path:
    """A user's file: a shipped protocol under its own name, with changed keys; None takes a key out."""
    values = yaml.safe_load(protocols.find(base_name).read_text(encoding="utf-8"))
    values = {**values, "name": "mine", **changes}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}), "utf-8")
    return path


def test_the_shipped_ones() -> None:
    assert protocols.names() == NAMES
    for name in NAMES:
        protocol = protocols.load(name)
        assert protocol.name == name
        assert protocol.version == 1
        assert min(len(protocol.about), len(protocol.source)) > 30


def test_a_shipped_protocol_never_changes_silently() -> None:
    assert {name: protocols.load(name).digest for name in NAMES} == GOLDEN


OTHER: dict[str, Any] = {
    "version": 2, "tasks": ("choice", "anomaly"), "parts": (Part("image"),), "question": "{question}!",
    "option": "{letter}) {text}", "system": "x", "questions": "alone", "instruction": "direct", "chat": False,
    "answer_prefix": "x", "fit_wh": (512, 511), "enlarge": False, "shots": 2, "max_shots": 7, "template": "similar",
    "domain_knowledge": True, "option_order": "seeded", "seed": 5, "reading": "anomalyr1-repo", "max_new_tokens": 601,
    "averaging": "verdicts",
}  # fmt: skip


def test_every_field_that_decides_an_answer_is_in_the_hash() -> None:
    protocol = protocols.load("mmad")
    assert {*OTHER, "name", "about", "source"} == set(base.fields())
    for field, value in OTHER.items():
        assert value != getattr(protocol, field)
        assert dataclasses.replace(protocol, **{field: value}).digest != protocol.digest, field
    for field in ("name", "about", "source"):
        told: dict[str, Any] = {field: "other"}
        assert dataclasses.replace(protocol, **told).digest == protocol.digest
    for field in base.fields(Part):
        changed: dict[str, Any] = {field: "other"}
        parts = (dataclasses.replace(protocol.parts[0], **changed), *protocol.parts[1:])
        assert dataclasses.replace(protocol, parts=parts).digest != protocol.digest
    assert dataclasses.replace(protocol, parts=protocol.parts[::-1]).digest != protocol.digest


def test_what_stands_behind_a_name_is_in_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = protocols.load("anomalyr1")
    digest = protocol.digest
    monkeypatch.setattr(base, "_RENDERING", 2)
    assert protocol.digest != digest
    monkeypatch.undo()
    rule = dataclasses.replace(prompts.READINGS["choice"], version=2)
    monkeypatch.setitem(prompts.READINGS, "choice", rule)
    assert protocol.digest != digest
    monkeypatch.undo()
    monkeypatch.setattr(prompts, "instruction", lambda fmt: "Say it.")
    assert protocol.digest != digest
    monkeypatch.undo()
    assert protocol.digest == digest


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_is_json(name: str) -> None:
    definition = protocols.load(name).definition()
    assert json.loads(json.dumps(definition)) == definition
    assert not {"name", "about", "source"} & set(definition)
    assert len(protocols.load(name).digest) == 16


def test_a_copy_under_another_name_is_the_same_protocol(tmp_path: Path) -> None:
    mine = protocols.load(str(written(tmp_path)))
    assert mine.name == "mine"
    assert mine.digest == protocols.load("mmad").digest
    assert protocols.load(str(written(tmp_path, "anomalyr1-repo", seed=1))).seed == 1


def test_defaults_stand_for_absent_keys(tmp_path: Path) -> None:
    path = tmp_path / "short.yml"
    path.write_text(
        "name: short\nversion: 1\nabout: Mine.\nsource: me\ntasks: [anomaly]\nmax_shots: 0\naveraging: verdicts\n"
        "reading: direct\nparts: [{kind: image}, {kind: text, text: '{questions}'}]\n",
        "utf-8",
    )
    protocol = protocols.load(str(path))
    assert protocol.tasks == ("anomaly",)
    assert protocol.parts == (Part("image"), Part("text", "{questions}"))
    assert (protocol.question, protocol.chat, protocol.fit_wh, protocol.max_new_tokens) == (
        "{question}",
        True,
        None,
        256,
    )


PARTS = [{"kind": "image"}, {"kind": "references"}, {"kind": "text", "text": "{questions}"}]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"option_ordr": "none"}, "the key 'option_ordr': there is no such key (did you mean 'option_order'?)"),
    ({"verzion": 1, "version": None}, "the key 'verzion': there is no such key (did you mean 'version'?)"),
    ({"zzz": 1}, "the key 'zzz': there is no such key (known: name, version, about,"),
    ({"version": None}, "the key 'version': it is missing"),
    ({"version": "1"}, "the key 'version': it must be a valid integer, got '1'"),
    ({"version": True}, "the key 'version': it must be a valid integer, got True"),
    ({"version": 0}, "the key 'version': 0 is less than 1"),
    ({"shots": 1.5}, "the key 'shots': it must be a valid integer, got 1.5"),
    ({"shots": -1}, "the key 'shots': -1 is less than 0"),
    ({"shots": 9}, "the key 'shots': it shows at most 8 references"),
    ({"seed": -1}, "the key 'seed': -1 is less than 0"),
    ({"max_new_tokens": 0}, "the key 'max_new_tokens': 0 is less than 1"),
    ({"chat": "yes"}, "the key 'chat': it must be a valid boolean, got 'yes'"),
    ({"system": 3}, "the key 'system': it must be a valid string, got 3"),
    ({"name": "my protocol"}, "the key 'name': 'my protocol' is no name"),
    ({"name": "mmad+shots=2"}, "the key 'name': 'mmad+shots=2': behind a '+' stand changes made by options"),
    ({"name": "mmad", "shots": 2}, "the key 'name': 'mmad' is a shipped protocol, which this file is not"),
    ({"tasks": []}, "the key 'tasks': [] is empty or names a task twice"),
    ({"tasks": ["choice", "choice"]}, "the key 'tasks': ['choice', 'choice'] is empty or names a task twice"),
    ({"tasks": ["chioce"]}, "the key 'tasks.0': it must be 'choice', 'anomaly' or 'grounding', got 'chioce'"),
    ({"tasks": ["anomaly"]}, "the key 'tasks': the reading 'mmad' is for 'choice' samples, not for 'anomaly'"),
    ({"averaging": "boxes"}, "the key 'averaging': answers to 'choice' samples are averaged as 'mmad', not as 'boxes'"),
    ({"averaging": "mean"}, "the key 'averaging': it must be 'mmad', 'verdicts' or 'boxes', got 'mean'"),
    ({"reading": "mmda"}, "the key 'reading': no reading 'mmda'; did you mean 'mmad'?"),
    ({"instruction": "choise"}, "the key 'instruction': no format 'choise'; did you mean 'choice'?"),
    ({"instruction": "choice"}, "the key 'instruction': 'choice', but no part shows '{instruction}'"),
    ({"parts": [*PARTS, {"kind": "text", "text": "{instruction}"}]}, "the key 'instruction': empty, but a part shows"),
    ({"questions": "all"}, "the key 'questions': it must be 'alone', 'growing' or 'first', got 'all'"),
    ({"template": "best"}, "the key 'template': it must be 'random' or 'similar', got 'best'"),
    ({"option_order": "any"}, "the key 'option_order': it must be 'none', 'seeded' or 'circular', got 'any'"),
    ({"fit_wh": [512]}, "the key 'fit_wh.1': it is missing"),
    ({"fit_wh": [512, 0]}, "the key 'fit_wh': [512, 0] is no size in pixels"),
    ({"fit_wh": None, "enlarge": True}, "the key 'enlarge': true, but there is no 'fit_wh' to enlarge to"),
    ({"parts": {}}, "the key 'parts': it must be a valid array, got {}"),
    ({"parts": ["image"]}, "the key 'parts.0': it must be an object, got 'image'"),
    ({"parts": PARTS[1:]}, "the key 'parts': 0 parts of the kind 'image', there must be one"),
    ({"parts": [*PARTS, PARTS[0]]}, "the key 'parts': 2 parts of the kind 'image', there must be one"),
    ({"parts": [*PARTS, PARTS[1]]}, "the key 'parts': 2 parts of the kind 'references', there may be one"),
    ({"parts": PARTS[::2]}, "the key 'max_shots': up to 8 references, but no part of the kind 'references'"),
    ({"parts": PARTS, "max_shots": 0, "shots": 0}, "the key 'max_shots': 0, but there is a part of the kind"),
    ({"parts": [{"kind": "picture"}]}, "the key 'parts.0.kind': it must be 'text', 'references' or 'image'"),
    ({"parts": [{"kind": "image", "txt": ""}]}, "the key 'parts.0.txt': there is no such key (did you mean 'text'?)"),
    ({"parts": [*PARTS[:2], {"kind": "text"}]}, "the key 'parts.2.text': it is empty"),
    ({"parts": [{"kind": "image", "only": "references"}, *PARTS[1:]]}, "the key 'parts.0': a part of the kind 'image'"),
    ({"parts": [{"kind": "image", "text": "x"}, *PARTS[1:]]}, "the key 'parts.0': a part of the kind 'image' has"),
    ({"parts": PARTS[:2]}, "the key 'parts': '{questions}' must stand once"),
    ({"parts": [*PARTS, PARTS[2]]}, "the key 'parts': '{questions}' must stand once"),
    ({"parts": [*PARTS[:2], {**PARTS[2], "only": "references"}]}, "the key 'parts': '{questions}' must stand once"),
    ({"parts": [*PARTS[:2], {"kind": "text", "text": "{quesions}"}]}, "the key 'parts.2.text': no field '{quesions}'"),
    ({"parts": [*PARTS, {"kind": "text", "text": "{shots}"}]}, "the key 'parts.3.text': '{shots}' may only stand in"),
    (
        {"parts": [*PARTS, {"kind": "text", "text": "{knowledge}", "only": "references"}]},
        "the key 'parts.3.text': ",
    ),
    ({"parts": [*PARTS, {"kind": "text", "text": "a <image>"}]}, "the key 'parts.3.text': it holds '<image>'"),
    ({"parts": PARTS, "domain_knowledge": True}, "the key 'domain_knowledge': no part shows '{knowledge}'"),
    ({"answer_prefix": "<image>"}, "the key 'answer_prefix': it holds '<image>'"),
    ({"system": "<image>"}, "the key 'system': it holds '<image>'"),
    (
        {"question": "{quesion}\n{options}"},
        "the key 'question': no field '{quesion}' in '{quesion}",
    ),
    ({"question": "{question.__class__} {options}"}, "the key 'question': '{question.__class__}' is no bare name"),
    ({"question": "{question!r} {options}"}, "the key 'question': '{question!r}' is no bare name"),
    ({"question": "{question:>9} {options}"}, "the key 'question': '{question:>9}' is no bare name"),
    ({"question": "{} {options}"}, "the key 'question': '{}' is no bare name"),
    ({"question": "{question} {options"}, "the key 'question': expected '}' before end of string"),
    ({"question": "{question} } {options}"}, "the key 'question': Single '}' encountered"),
    ({"question": "{question}"}, "the key 'question': it does not show '{options}', whose lines 'option' gives"),
    ({"option": ""}, "the key 'option': empty, but 'question' shows '{options}'"),
    ({"option": "{text}"}, "the key 'option': '{text}' must show '{letter}' and '{text}'"),
    (
        {"option": "{leter}. {text}"},
        "the key 'option': no field '{leter}' in '{leter}. {text}'; did you mean",
    ),
    ({"option": "", "question": "{question}"}, "the key 'option': empty, but 'choice' samples are answered with"),
    ({"chat": False}, "the key 'system': there is no system turn without a chat template"),
]


@pytest.mark.parametrize(
    ("changes", "message"), WRONG, ids=lambda value: "" if isinstance(value, str) else str(value)[:60]
)
def test_what_is_wrong_is_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        protocols.load(str(path))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_an_order_of_options_that_are_not_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'option_order': 'seeded', but it shows no options"):
        protocols.load(str(written(tmp_path, "iadr1", option_order="seeded")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a protocol is a list of 'key: value' lines"),
        ("- name: x", "a protocol is a list of 'key: value' lines"),
        ("just words", "a protocol is a list of 'key: value' lines"),
        ("name: [", "not YAML: "),
        ("name: a\nversion: 1\nname: b\n", "not YAML: the key 'name' stands twice"),
        ("parts: [{kind: image, kind: text}]", "not YAML: the key 'kind' stands twice"),
        ("name: !!python/object/apply:os.getcwd []", "not YAML: could not determine a constructor"),
        (
            "about: 2024-01-01",
            "the key 'about': datetime.date(2024, 1, 1) is neither text nor number (put it in quotes)",
        ),
        ("about: 2024-13-45", "not YAML: month must be in 1..12"),
        ("about: &a [*a]", "the key 'about': [[...]] is neither text nor number"),
        ('about: "\\ud800"', "the key 'about': '\\ud800' is neither text nor number"),
        ("1: x", "the key '1': there is no such key"),
        ("[" * 5000, "not YAML: "),
        ("name: \x07", "not YAML: "),
    ],
)
def test_a_file_that_is_no_protocol(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        protocols.load(str(path))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="not YAML"):
        protocols.load(str(path))


@pytest.mark.parametrize("name", ["../protocols/mmad", "/etc/passwd", "mmad.json", "", ".", "MMAD", "mmad+shots=2"])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        protocols.load(name)
    assert str(caught.value).startswith(f"no protocol {name!r} (")


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no protocol 'mad' \(did you mean 'mmad'\?"):
        protocols.load("mad")
    with pytest.raises(UsageError, match="known: anomalyr1, anomalyr1-repo, detection"):
        protocols.load("xyz")
    with pytest.raises(UsageError, match=r"the protocol '.*nowhere.yaml' is not a file"):
        protocols.load(str(tmp_path / "nowhere.yaml"))


def test_protocols_are_immutable() -> None:
    protocol: Protocol = protocols.load("mmad")
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.shots = 2  # type: ignore[misc]

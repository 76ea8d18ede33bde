"""What is sent: every shipped protocol's prompt, images, option orders; what is asked for is what is sent."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, get_args

import pytest

from iadr1 import models, prompts, protocols
from iadr1.errors import DataError
from iadr1.models.base import IMAGE_SLOT as MODELS_SLOT
from iadr1.protocols import IMAGE_SLOT, Protocol, Turn
from iadr1.protocols.asking import orders
from iadr1.protocols.base import OptionOrder, Part
from tests.protocols.examples import FOUR, KNOWLEDGE, make, slots, text_of

EVERY = [(name, shots) for name in protocols.names() for shots in range(protocols.load(name).max_shots + 1)]


def one(protocol: Protocol, **changes: Any) -> Turn:
    """The first turn for one sample of the protocol's task."""
    return protocols.turns([make(protocol.tasks[0], **changes)], protocol, knowledge=KNOWLEDGE)[0]


@pytest.mark.parametrize(("name", "shots"), EVERY)
def test_what_is_asked_for_is_what_is_sent(name: str, shots: int) -> None:
    protocol = protocols.vary(protocols.load(name), shots=shots)
    turn = one(protocol)
    assert slots(turn) == len(turn.images) == shots + 1
    assert turn.images == (*(f"r{n}.png" for n in range(shots)), "x.png")
    if shots:
        similar = one(protocols.vary(protocol, template="similar"))
        assert similar.images == (*(f"m{n}.png" for n in range(shots)), "x.png")


@pytest.mark.parametrize("shots", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "task", "fmt"),
    [
        ("anomalyr1", "choice", "choice"),
        ("iadr1", "anomaly", "structured"),
        ("detection", "anomaly", "boxes"),
        ("grounding", "grounding", "grounding"),
    ],
)
def test_the_formats_are_asked_as_in_training(name: str, task: str, fmt: prompts.Format, shots: int) -> None:
    protocol = protocols.load(name)
    if not protocol.max_shots and shots:
        pytest.skip("it shows no references")
    sample = make(task)
    (turn,) = protocols.turns([sample], protocols.vary(protocol, shots=shots))
    assert turn.messages == prompts.render_prompt(sample, fmt, shots=shots)
    assert (turn.plain, turn.order, turn.prefix, turn.rotation) == (None, "", "", 0)


def test_mmad_asks_each_question_below_those_before_it() -> None:
    samples = [make(id=f"s{n}", question=f"Q{n}?", options={"A": f"a{n}", "C": f"c{n}"}, answer="C") for n in (1, 2, 3)]
    turns = protocols.turns(samples, protocols.load("mmad"))
    assert [turn.sample_id for turn in turns] == ["s1", "s2", "s3"]
    system, user = turns[2].messages
    assert (system["role"], user["role"]) == ("system", "user")
    assert "letter" in system["content"][0]["text"]
    assert [part["type"] for part in user["content"]] == ["text", "image", "text", "image", "text"]
    assert user["content"][0]["text"] == "Normal samples of the product to compare with (1):\n"
    asked = user["content"][-1]["text"]
    every = "".join(f"Question {n}: Q{n}? \nA. a{n}\nB. c{n}\n" for n in (1, 2, 3))
    assert asked == f"The questions:\n{every}"
    assert asked.startswith(turns[1].messages[1]["content"][-1]["text"])  # the shared prefix
    assert turns[0].messages[1]["content"][-1]["text"] == "The questions:\nQuestion 1: Q1? \nA. a1\nB. c1\n"
    assert (turns[0].options, turns[0].order) == ({"A": "a1", "B": "c1"}, "AC")
    assert turns[2].options == {"A": "a3", "B": "c3"}


def test_a_question_alone_keeps_its_number() -> None:
    protocol = replace(protocols.load("mmad"), questions="alone")
    turns = protocols.turns([make(id="a"), make(id="b")], protocol)
    assert "Question 2: " in text_of(turns[1])
    assert "Question 1: " not in text_of(turns[1])


def test_the_first_question_only() -> None:
    protocol = protocols.load("iadr1")
    samples = [
        make("anomaly", id=name, image=image) for name, image in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"))
    ]
    assert [sample.id for sample in protocols.asked(samples, protocol)] == ["a", "b"]
    assert protocols.asked(samples, protocols.load("detection")) == samples
    turns = protocols.turns([samples[0], samples[2]], protocol)
    assert [turn.sample_id for turn in turns] == ["a"]


def test_anomalyr1_repo_sends_no_chat_template() -> None:
    protocol = protocols.load("anomalyr1-repo")
    turn = one(protocol, id="s#3", options={"A": "Yes.", "B": "No."})
    assert sorted(turn.options.values()) == ["No.", "Yes."]
    assert turn.plain is not None
    head, options, _, _, request = turn.plain.rsplit("\n", 4)[0], *turn.plain.rsplit("\n", 4)[1:]
    assert head == f"Test image: {IMAGE_SLOT}\n\nIs there any defect? \nA. {turn.options['A']}"
    assert options == f"B. {turn.options['B']}"
    assert "<think>" in request
    assert "letter" in request
    assert turn.plain == text_of(turn)


def test_iadr1_repo_asks_its_own_question_without_options() -> None:
    turn = one(protocols.vary(protocols.load("iadr1-repo"), shots=2), question="Something else?")
    content = turn.messages[0]["content"]
    assert [part["type"] for part in content] == ["text", "image", "image", "text", "image", "text"]
    assert content[-1]["text"] == "Are there any defects in the test image?"
    assert turn.options == {}


def test_the_slot_is_the_engines() -> None:
    assert IMAGE_SLOT == MODELS_SLOT
    assert models.Request("r", [], (), plain=IMAGE_SLOT).plain == MODELS_SLOT


def test_domain_knowledge_holds_all_texts_of_the_class() -> None:
    for name in ("mmad", "anomalyr1"):
        plain = protocols.load(name)
        told = protocols.vary(plain, domain_knowledge=True)
        text = text_of(one(told))
        assert " <Good>\n Description: whole {x}.\n<Bad> broken.\n" in text
        assert text.endswith(text_of(one(plain)))
    others: list[protocols.Knowledge | None] = [None, {}, {"d": {}}, {"d": {"c": {}}}, {"other": KNOWLEDGE["d"]}]
    for knowledge in others:
        with pytest.raises(DataError, match=r"sample 's': there is no domain knowledge about 'c' of 'd'"):
            protocols.turns([make()], told, knowledge=knowledge)
    with pytest.raises(DataError, match="sample 's': its domain knowledge holds '<image>'"):
        protocols.turns([make()], told, knowledge={"d": {"c": {"good": "<image>"}}})


def test_the_prefix_is_for_probabilities_only() -> None:
    protocol = protocols.load("anomalyr1")
    assert protocols.turns([make()], protocol, logprob=True)[0].prefix == "<think></think><answer>"
    assert protocols.turns([make()], protocol)[0].prefix == ""
    assert protocols.turns([make()], protocols.load("mmad"), logprob=True)[0].prefix == ""


def test_circular_asks_every_rotation() -> None:
    protocol = protocols.vary(protocols.load("mmad"), option_order="circular")
    two = {"A": "Yes.", "B": "No."}
    samples = [make(id="p", question="P?", options=two), make(id="q", question="Q?"), make(id="r", options=two)]
    turns = protocols.turns(samples, protocol)
    assert [(turn.key, turn.order) for turn in turns] == [
        *(("p", ""), ("p#1", "BA")),
        *(("q", ""), ("q#1", "BCDA"), ("q#2", "CDAB"), ("q#3", "DABC")),
        *(("r", ""), ("r#1", "BA")),
    ]
    assert list(turns[3].options.values()) == ["a scratch", "a dent", "a stain", "a hole"]
    # The questions before are shown as they were first asked.
    assert text_of(turns[0]).strip() in text_of(turns[5])
    assert text_of(turns[5]).endswith("A. a stain\nB. a hole\nC. a scratch\nD. a dent\n")
    assert text_of(turns[2]).strip() in text_of(turns[7])
    assert text_of(turns[7]).count("P?") == text_of(turns[7]).count("Q?") == 1


def test_the_seeded_order_follows_from_id_and_seed_alone() -> None:
    protocol = protocols.load("anomalyr1-repo")
    samples = [make(id=f"s#{number}") for number in range(50)]
    shown = {turn.sample_id: turn.order for turn in protocols.turns(samples, protocol)}
    for sample in samples:
        assert protocols.turns([sample], protocol)[0].order == shown[sample.id]
    assert {turn.sample_id: turn.order for turn in protocols.turns(samples[::-1], protocol)} == shown
    other = protocols.turns(samples, protocols.vary(protocol, seed=1))
    assert sum(turn.order != shown[turn.sample_id] for turn in other) > 30
    assert len(set(shown.values())) > 15


def test_the_seeded_order_is_the_same_everywhere() -> None:
    """Written down once: no process, machine or version of Python may give others."""
    found = [orders(make(id=f"{number}"), "seeded", seed=7) for number in range(6)]
    assert found == [["ABCD"], ["ABDC"], ["ADBC"], ["DABC"], ["BADC"], ["CBDA"]]


def test_every_order_is_equally_likely() -> None:
    counts = dict.fromkeys(map("".join, itertools.permutations("ABC")), 0)
    for number in range(6000):
        counts[orders(make(id=str(number), options={k: FOUR[k] for k in "ABC"}), "seeded", seed=0)[0]] += 1
    assert all(850 < count < 1150 for count in counts.values())  # 5 standard deviations


@pytest.mark.parametrize("order", get_args(OptionOrder))
def test_a_sample_without_options_is_asked_once(order: OptionOrder) -> None:
    assert orders(make("anomaly"), order, seed=0) == [""]


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        ("anomalyr1", {"task": "anomaly"}, "its task is 'anomaly', the protocol 'anomalyr1' asks choice"),
        ("mmad", {"references": ()}, "it has 0 random references, the protocol 'mmad' shows 1"),
        ("mmad", {"options": {chr(65 + n): str(n) for n in range(27)}}, "it has 27 options, there are letters for 26"),
        ("mmad", {"options": {"B": "x", "AB": "y"}}, "its option 'AB' is not lettered with one character"),
        ("mmad", {"question": "Is <image> bent?"}, "its text holds '<image>', which a model could take for an image"),
        ("mmad", {"options": {"A": "<image>", "B": "y"}}, "its text holds '<image>'"),
    ],
)
def test_samples_that_cannot_be_asked_are_refused(name: str, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(DataError) as caught:
        protocols.turns([make(id="fine"), make(**{"id": "odd", **changes})], protocols.load(name))
    assert str(caught.value).startswith(f"sample 'odd': {fault}")


def test_too_few_similar_references_are_told_apart() -> None:
    protocol = protocols.vary(protocols.load("anomalyr1"), shots=2, template="similar")
    with pytest.raises(DataError, match=r"it has 1 similar references, the protocol .* shows 2"):
        protocols.turns([make(similar_references=("m.png",))], protocol)


def test_questions_about_two_images_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="several images"):
        protocols.turns([make(), make(id="t", image="y.png")], protocols.load("mmad"))


def test_26_options_have_letters() -> None:
    options = {chr(65 + n): str(n) for n in range(26)}
    turn = one(protocols.load("anomalyr1"), options=options)
    assert turn.options == options
    assert turn.order == ""


def test_braces_in_a_sample_are_text() -> None:
    turn = one(protocols.load("mmad"), question="Is {x} {questions} {0} bent?", options={"A": "{letter}", "B": "}"})
    assert "Is {x} {questions} {0} bent? \nA. {letter}\nB. }\n" in text_of(turn)


def test_a_part_without_references_is_left_out() -> None:
    parts = (Part("text", "{shots} here", "references"), Part("image"), Part("text", "{questions}"), Part("references"))
    protocol = replace(protocols.load("anomalyr1"), parts=parts, instruction="")
    assert text_of(one(protocol)).startswith(IMAGE_SLOT)
    assert text_of(one(replace(protocol, shots=2))).startswith(f"2 here{IMAGE_SLOT}")
    assert text_of(one(replace(protocol, shots=2))).endswith(IMAGE_SLOT * 2)

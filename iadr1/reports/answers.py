"""`report.html` of an evaluation: wrong, unread and right answers to browse, in one self-contained file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, get_args

from iadr1 import parallel
from iadr1.errors import ImageError
from iadr1.geometry import Box, Size
from iadr1.images import open_image
from iadr1.records import Prediction, Sample
from iadr1.reports.page import data_uri, write_page

Status = Literal["wrong", "unread", "right"]
STATUSES: tuple[Status, ...] = get_args(Status)

MOST = 300
"""Answers on a page."""
SHARES: Mapping[Status, float] = {"wrong": 0.5, "unread": 0.25, "right": 0.25}
"""How the places of a page are divided; what a status does not need goes to the others, in this order."""
PAGE_BYTES = 18_000_000
"""No further answer is put on a page whose answers have reached this size."""
PICTURE_WH = (420, 320)
"""Bounds of a picture in the page, in pixels."""
REFERENCE_WH = (140, 105)
REFERENCES = 3
"""References shown of each answer."""
TEXT_LENGTH = 20_000
"""Characters shown of a completion and of its reasoning."""
_QUALITY = 78


@dataclass(frozen=True)
class Card:
    """One answer.

    Attributes:
        sample: The question.
        prediction: The answer, in the sample's own letters.
        status: `unread` where it could not be read (or there is none), else whether it is right.
        reasoning: What was read out of the completion as its reasoning.
        references: The references that were sent, root-relative, in order.
    """

    sample: Sample
    prediction: Prediction
    status: Status
    reasoning: str = ""
    references: Sequence[str] = ()


@dataclass(frozen=True)
class Header:
    """What the head of the page says.

    Attributes:
        benchmark: Its name, or what else the heading calls the questions.
        model: Name of the model.
        protocol: Name of the protocol, empty where unknown.
        protocol_hash: Its hash.
        data_hash: SHA-256 of the samples file, empty where unknown.
        parse_rate: Percent of the answers that could be read.
        strict: The headline figure in percent, the mean of the subtasks' accuracies, which is not the share of right
            answers where the subtasks have unequal numbers of questions; an unread answer is wrong. None where there
            is none.
        more: Further facts, for example `{"Shots": "1"}`.
    """

    benchmark: str
    model: str
    protocol: str
    protocol_hash: str
    data_hash: str
    parse_rate: float
    strict: float | None
    more: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """Name -> value, as the page lists them."""
        facts = {
            "Model": self.model,
            "Protocol": " ".join(filter(None, (self.protocol, self.protocol_hash))) or "not stated",
            "Strict accuracy, mean of the subtasks": "" if self.strict is None else f"{self.strict:.2f} %",
            "Answers read": f"{self.parse_rate:.2f} %",
            "Data (SHA-256)": self.data_hash,
            **self.more,
        }
        return {name: value for name, value in facts.items() if value}


def write_report(
    path: Path,
    cards: Iterable[Card],
    header: Header,
    *,
    root: Path,
    most: int = MOST,
    on_card: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the page.

    At most `most` answers are shown, divided over the statuses as `SHARES` says; within a status as evenly as
    possible over dataset, category and subtask, of each the first ones given. The page says how many are left out.

    Args:
        path: The HTML file.
        cards: All answers of the run, in the order of the samples.
        header: What the head says.
        root: The folder the image paths are relative to.
        most: Answers on the page.
        on_card: Called after each answer with how many are done.

    Raises:
        OutputError: The file cannot be written.
    """
    every = list(cards)
    shown = _rendered(every, _chosen(every, most), root, on_card)
    found, there = Counter(card.status for card in every), Counter(every[place].status for place in shown)
    write_page(
        path,
        "answers.html.j2",
        title=f"{header.benchmark}: answers of {header.model}",
        facts=header.facts(),
        tiles=[(status, status.capitalize(), found[status]) for status in STATUSES],
        total=len(every),
        first="wrong" if there["wrong"] else "",
        left_out=len(every) - len(shown),
        parts=[f"{there[status]:,} of {found[status]:,} {status}" for status in STATUSES if found[status]],
        cards=[shown[place] for place in sorted(shown)],
    )


def _chosen(cards: Sequence[Card], most: int) -> list[int]:
    """Places of the cards to show: wrong, unread, right; of each status one of every group in turn."""
    groups: dict[Status, dict[tuple[str, str, str], list[int]]] = {status: {} for status in STATUSES}
    for place, card in enumerate(cards):
        key = (card.sample.dataset, card.sample.category, card.sample.reported_as)
        groups[card.status].setdefault(key, []).append(place)
    found = {status: sum(map(len, members.values())) for status, members in groups.items()}
    places = {status: min(found[status], int(most * SHARES[status])) for status in STATUSES}
    for status in STATUSES:
        places[status] += min(most - sum(places.values()), found[status] - places[status])
    turns = {status: chain.from_iterable(zip_longest(*members.values())) for status, members in groups.items()}
    return [
        place for status in STATUSES for place in [turn for turn in turns[status] if turn is not None][: places[status]]
    ]


def _rendered(
    cards: Sequence[Card], chosen: Sequence[int], root: Path, on_card: Callable[[int], None]
) -> dict[int, dict[str, Any]]:
    """Place -> what the template shows of the card, as many as fit on a page."""
    shown: dict[int, dict[str, Any]] = {}
    size = 0
    found = parallel.ordered(lambda place: (place, _card(cards[place], root)), chosen)
    for done, (place, content) in enumerate(found, start=1):
        size += sum(len(text) for text in _texts(content))
        if size > PAGE_BYTES:
            break
        shown[place] = content
        on_card(done)
    return shown


def _texts(content: Any) -> Iterator[str]:
    """Every text of a card's content, pictures included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        yield from chain.from_iterable(map(_texts, content.values()))
    elif isinstance(content, list | tuple):
        yield from chain.from_iterable(map(_texts, content))


def _card(card: Card, root: Path) -> dict[str, Any]:
    sample, prediction = card.sample, card.prediction
    picture, problem, size = _picture(root / sample.image, PICTURE_WH)
    named = [(item.box, item.label) for item in prediction.boxes]
    true = [(defect.box, defect.type) for defect in sample.defects if defect.box is not None]
    return {
        "sample": sample,
        "key": prediction.key,
        "status": card.status,
        "picture": picture,
        "problem": problem,
        "size": size,
        "boxes": [_box("true", *item) for item in true] + [_box("named", *item) for item in named],
        "options": _options(sample, prediction),
        "given": _given(sample, prediction),
        "faults": _faults(prediction),
        "reasoning": _cut(card.reasoning),
        "raw": _cut(prediction.raw),
        "references": [(name, _picture(root / name, REFERENCE_WH)[0]) for name in card.references[:REFERENCES]],
        "more_references": max(0, len(card.references) - REFERENCES),
        "cost": f"{prediction.completion_tokens} tokens, {prediction.seconds:.2f} s",
    }


def _box(kind: str, box: Box, label: str) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    text = ", ".join(f"{value:g}" for value in box)
    return {"kind": kind, "x": x1, "y": y1, "w": max(0, x2 - x1), "h": max(0, y2 - y1), "label": label, "text": text}


def _options(sample: Sample, prediction: Prediction) -> list[dict[str, Any]]:
    """What was offered, in the order and under the letters shown; `Yes` and `No` where there are no options."""
    offered = sample.options or (dict.fromkeys(("Yes", "No"), "") if sample.task == "anomaly" else {})
    own = prediction.order if prediction.order and sample.options else list(offered)
    letters = ascii_uppercase if prediction.order else list(offered)
    chances = prediction.probabilities or {}
    return [
        {
            "letter": letter,
            "text": offered.get(mine, ""),
            "right": mine == sample.answer,
            "given": mine == prediction.answer,
            "chance": f"{100 * chances[mine]:.1f} %" if mine in chances else "",
        }
        for letter, mine in zip(letters, own, strict=False)
    ]


def _given(sample: Sample, prediction: Prediction) -> str:
    """The given answer where the options do not show it."""
    if prediction.answer is None:
        return "" if prediction.error is not None else "Nothing could be read."
    if sample.task == "grounding" or prediction.answer in (sample.options or ("Yes", "No")):
        return ""
    return f"Given: {prediction.answer}, which was not offered."


def _faults(prediction: Prediction) -> list[str]:
    """What was not as it should be."""
    faults = [] if prediction.error is None else [f"No answer: {prediction.error}"]
    if prediction.parse and not prediction.parse.startswith("ok"):
        faults.append(f"Reading the answer: {prediction.parse}")
    return faults if prediction.finished else [*faults, "Cut off at the token limit."]


def _cut(text: str) -> str:
    more = len(text) - TEXT_LENGTH
    return f"{text[:TEXT_LENGTH]}\n[{more:,} more characters]" if more > 0 else text


def _picture(path: Path, bounds: Size) -> tuple[str | None, str, Size | None]:
    """The picture as a data URI and its size in pixels before it was made small; or None and why there is none."""
    try:
        picture = open_image(path)
    except ImageError as error:
        return None, error.message, None
    return data_uri(picture, bounds, quality=_QUALITY), "", picture.size

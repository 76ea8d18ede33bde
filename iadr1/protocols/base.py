"""What an evaluation protocol is: everything that decides which answer a given model gives to a given question.

A protocol is data, one YAML file. Its digest stands beside every number; the published ones never change under their
name and version.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from pydantic import ConfigDict

from iadr1 import prompts, provenance
from iadr1.geometry import Size
from iadr1.records import Task

IMAGE_SLOT = "<image>"
"""Where an image stands in a prompt without chat template (`models.IMAGE_SLOT`); no text may hold it."""

_RENDERING = 1
"""Raised whenever `turns` or `fit` make something else of the same protocol and samples."""

_STRICT = ConfigDict(strict=True, extra="forbid")
"""How the fields are read from a file: no unknown key, no value of another type."""

Questions = Literal["alone", "growing", "first"]
"""How the questions of an image are asked: each by itself; each below the texts of those before it, in one request;
or only the first one."""
OptionOrder = Literal["none", "seeded", "circular"]
"""As the sample has them; permuted by a hash of sample id and seed; or every rotation, one request each."""
Template = Literal["random", "similar"]
"""Which references are shown: `Sample.references` (the benchmark's random ones) or `Sample.similar_references`."""
Averaging = Literal["mmad", "verdicts", "boxes"]
"""Over subtasks, then datasets; verdicts as normal and anomalous; boxes by overlap."""
PartKind = Literal["text", "references", "image"]


@dataclass(frozen=True)
class Part:
    """One part of the user's turn.

    Attributes:
        kind: `text`; `references`, which becomes as many image slots as shots; or `image`, the image asked about.
        text: For `text`: with the fields `{questions}` (the question texts, see `Protocol.question`), `{shots}`,
            `{knowledge}`, `{instruction}`.
        only: The part is left out unless there are references (`shots` above 0), or domain knowledge is given.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: PartKind
    text: str = ""
    only: Literal["", "references", "knowledge"] = ""


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes:
        name: Its name; a changed one has the changes behind a `+`, as in `mmad+shots=2`.
        version: Raised whenever a shipped protocol changes.
        about: One sentence.
        source: The paper's section, or repository, file and commit; and where it departs from it.
        tasks: The tasks of samples that it can ask.
        system: The system turn; empty for none.
        parts: The user's turn, in order.
        question: One question's text, with the fields `{number}` (from 1), `{question}`, `{options}`.
        option: One line of the options, with `{letter}` and `{text}`; empty where options are not shown. Letters are
            given anew by position, A first.
        questions: See `Questions`.
        instruction: What stands for `{instruction}`: the name of an answer format of `prompts`, whose sentence it is;
            empty for none.
        chat: Whether the model's chat template is applied; without, the parts are the whole prompt.
        answer_prefix: What the answer begins with where only options' probabilities are asked.
        fit_wh: Images are scaled to fit into this many pixels (width, height) first; None for the model's own limit.
        enlarge: Whether smaller images are scaled up to `fit_wh`.
        shots: References shown.
        max_shots: Most references it can show; 0 for a protocol that shows none.
        template: See `Template`.
        domain_knowledge: Whether all texts about the product's class are given.
        option_order: See `OptionOrder`.
        seed: Of `option_order="seeded"`.
        reading: How an answer is read, a key of `prompts.readings.READINGS`.
        max_new_tokens: Where a completion is cut off. Decoding is greedy.
        averaging: See `Averaging`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    version: int
    about: str
    source: str
    tasks: tuple[Task, ...]
    parts: tuple[Part, ...]
    question: str = "{question}"
    option: str = ""
    system: str = ""
    questions: Questions = "alone"
    instruction: str = ""
    chat: bool = True
    answer_prefix: str = ""
    fit_wh: Size | None = None
    enlarge: bool = False
    shots: int = 0
    max_shots: int = 8
    template: Template = "random"
    domain_knowledge: bool = False
    option_order: OptionOrder = "none"
    seed: int = 0
    reading: str = "choice"
    max_new_tokens: int = 256
    averaging: Averaging = "mmad"

    def definition(self) -> dict[str, Any]:
        """Everything that decides an answer, as JSON values.

        That is all but name, `about` and `source`, with the words that `instruction` stands for, the version of the
        reading and that of the rendering.
        """
        decides = {key: value for key, value in dataclasses.asdict(self).items() if key not in _TOLD}
        decides["parts"] = [dataclasses.asdict(part) for part in self.parts]
        decides["tasks"] = list(self.tasks)
        decides["fit_wh"] = list(self.fit_wh) if self.fit_wh else None
        reading = {"name": self.reading, "version": prompts.READINGS[self.reading].version}
        return {**decides, "words": self.words, "reading": reading, "decoding": "greedy", "rendering": _RENDERING}

    @property
    def words(self) -> str:
        """What stands for `{instruction}`."""
        return prompts.instruction(cast(prompts.Format, self.instruction)) if self.instruction else ""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of `definition`."""
        return provenance.digest(self.definition())


@dataclass(frozen=True)
class Turn:
    """One request to be, and what is needed to read its answer.

    Attributes:
        sample_id: The sample it asks.
        rotation: Which rotation of the options, from 0.
        order: The sample's own letters in the order shown; empty where they are shown in the sample's order under
            letters that are the sample's.
        messages: Chat messages with image slots.
        plain: The whole prompt where the protocol uses no chat template, else None (see `models.Request.plain`).
        images: Root-relative paths for the slots, in order.
        prefix: See `Protocol.answer_prefix`; only filled for scoring by probabilities.
        options: Letter shown -> text.
    """

    sample_id: str
    rotation: int
    order: str
    messages: list[dict[str, Any]]
    plain: str | None
    images: tuple[str, ...]
    prefix: str
    options: dict[str, str]

    @property
    def key(self) -> str:
        """The key its prediction has (`records.Prediction.key`)."""
        return f"{self.sample_id}#{self.rotation}" if self.rotation else self.sample_id


_TOLD = ("name", "about", "source")
"""Fields that decide no answer."""


def fields(kind: type[Protocol | Part] = Protocol) -> tuple[str, ...]:
    """Names of a protocol's fields, or of a part's, in order."""
    return tuple(field.name for field in dataclasses.fields(kind))


def placeholders(text: str) -> Iterator[str]:
    """The fields of a text, as they stand between its braces; `{{` is a brace itself.

    Raises:
        ValueError: A brace is not closed or not opened, or a field has more than a name.
    """
    for _, name, form, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if form or conversion or not name.isidentifier():
            whole = f"{name}{'!' if conversion else ''}{conversion or ''}{':' if form else ''}{form}"
            raise ValueError(f"'{{{whole}}}' is no bare name")
        yield name

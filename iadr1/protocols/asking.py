"""From the questions about an image to what is sent: the turns of a protocol, and its resize."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from iadr1.errors import DataError
from iadr1.images import resize
from iadr1.protocols.base import IMAGE_SLOT, OptionOrder, Protocol, Turn
from iadr1.records import RelativePath, Sample

Knowledge = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Data set as in the samples -> class -> state -> text: `domain_knowledge` in the sidecar of a prepared MMAD."""

_SLOT_IN_TEXT = f"holds {IMAGE_SLOT!r}, which a model could take for an image"


def asked(samples: Sequence[Sample], protocol: Protocol) -> list[Sample]:
    """The samples of a file that the protocol asks, in order: all, or the first of each image."""
    if protocol.questions != "first":
        return list(samples)
    firsts: dict[str, Sample] = {}
    for sample in samples:
        firsts.setdefault(sample.image, sample)
    return list(firsts.values())


def turns(
    samples: Sequence[Sample], protocol: Protocol, *, knowledge: Knowledge | None = None, logprob: bool = False
) -> list[Turn]:
    """What is sent for the questions about one image; for each question one turn, or one for each rotation.

    Args:
        samples: All questions about the image in the file's order, also those that are not to be asked: a question's
            number is its place, and a growing list holds the ones before it.
        protocol: How to ask.
        knowledge: Texts for `protocol.domain_knowledge`.
        logprob: Whether only the options' probabilities are wanted; the turns then carry the answer's prefix.

    Raises:
        DataError: A sample cannot be asked like this; `where` names it.
        ValueError: The samples are about several images.
    """
    if len({sample.image for sample in samples}) > 1:
        raise ValueError("the samples are about several images")
    for sample in samples:
        fault = _fault(sample, protocol)
        if fault:
            raise DataError(fault, where=f"sample {sample.id!r}")
    return list(_turns(samples, protocol, knowledge, protocol.answer_prefix if logprob else ""))


def _turns(samples: Sequence[Sample], protocol: Protocol, knowledge: Knowledge | None, prefix: str) -> Iterator[Turn]:
    earlier: list[str] = []
    for number, sample in enumerate(samples, start=1):
        known = _knowledge(sample, knowledge) if protocol.domain_knowledge else ""
        references = _references(sample, protocol)[: protocol.shots]
        for rotation, own in enumerate(orders(sample, protocol.option_order, seed=protocol.seed)):
            options = {letter: sample.options[key] for letter, key in zip(string.ascii_uppercase, own, strict=False)}
            text = _question_text(sample.question, number, options, protocol)
            if not rotation:
                earlier.append(text)
            asked_before = earlier[: number - 1] if protocol.questions == "growing" else []
            words = {
                "questions": "\n".join([*asked_before, text]),
                "shots": str(protocol.shots),
                "knowledge": known,
                "instruction": protocol.words,
            }
            content = _content(protocol, words)
            yield Turn(
                sample_id=sample.id,
                rotation=rotation,
                order="" if own == "".join(options) else own,
                messages=_messages(protocol, content),
                plain=None if protocol.chat else "".join(part.get("text", IMAGE_SLOT) for part in content),
                images=(*references, sample.image),
                prefix=prefix,
                options=options,
            )
        if protocol.questions == "first":
            return


def orders(sample: Sample, order: OptionOrder, *, seed: int) -> list[str]:
    """The orders a sample's options are shown in, each as the sample's own letters; `[""]` where it has none.

    `seeded` ranks the letters by a hash of seed, sample id and letter, so that nothing else changes it.
    """
    own = "".join(sample.options)
    if order == "seeded":
        return ["".join(sorted(own, key=lambda letter: _rank(seed, sample.id, letter)))]
    if order == "circular" and own:
        return [own[start:] + own[:start] for start in range(len(own))]
    return [own]


def _rank(seed: int, sample_id: str, letter: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{sample_id}\n{letter}".encode()).digest()


def _question_text(question: str, number: int, options: Mapping[str, str], protocol: Protocol) -> str:
    lines = [protocol.option.format_map({"letter": letter, "text": text}) for letter, text in options.items()]
    return protocol.question.format_map({"number": number, "question": question, "options": "\n".join(lines)})


def _content(protocol: Protocol, words: Mapping[str, str]) -> list[dict[str, Any]]:
    """The parts of the user's turn."""
    absent = {"references": not protocol.shots, "knowledge": not protocol.domain_knowledge}
    content: list[dict[str, Any]] = []
    for part in protocol.parts:
        if absent.get(part.only, False):
            continue
        if part.kind == "text":
            content.append({"type": "text", "text": part.text.format_map(words)})
        else:
            content.extend({"type": "image"} for _ in range(protocol.shots if part.kind == "references" else 1))
    return content


def _messages(protocol: Protocol, content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    user = {"role": "user", "content": content}
    if not protocol.system:
        return [user]
    return [{"role": "system", "content": [{"type": "text", "text": protocol.system}]}, user]


def _references(sample: Sample, protocol: Protocol) -> tuple[RelativePath, ...]:
    return sample.references if protocol.template == "random" else sample.similar_references


def _fault(sample: Sample, protocol: Protocol) -> str:
    """Why a sample cannot be asked; empty where it can."""
    if sample.task not in protocol.tasks:
        return f"its task is {sample.task!r}, the protocol {protocol.name!r} asks {', '.join(protocol.tasks)}"
    found = len(_references(sample, protocol))
    if found < protocol.shots:
        return f"it has {found} {protocol.template} references, the protocol {protocol.name!r} shows {protocol.shots}"
    if len(sample.options) > len(string.ascii_uppercase):
        return f"it has {len(sample.options)} options, there are letters for {len(string.ascii_uppercase)}"
    odd = [letter for letter in sample.options if len(letter) != 1]
    if odd:
        return f"its option {odd[0]!r} is not lettered with one character"
    if any(IMAGE_SLOT in text for text in (sample.question, *sample.options.values())):
        return f"its text {_SLOT_IN_TEXT}"
    return ""


def _knowledge(sample: Sample, knowledge: Knowledge | None) -> str:
    """All texts about the sample's class, joined by newlines, so that they do not tell its state.

    Source: MMAD's `qwen2_5_vl_query.py`.
    """
    texts = (knowledge or {}).get(sample.dataset, {}).get(sample.category)
    if not texts:
        raise DataError(
            f"there is no domain knowledge about {sample.category!r} of {sample.dataset!r}",
            where=f"sample {sample.id!r}",
            hint="prepare MMAD with domain_knowledge.json in its folder, or ask without",
        )
    text = "\n".join(texts.values())
    if IMAGE_SLOT in text:
        raise DataError(f"its domain knowledge {_SLOT_IN_TEXT}", where=f"sample {sample.id!r}")
    return text


def fit(image: Image.Image, protocol: Protocol) -> Image.Image:
    """The image as the protocol sends it: inside `fit_wh`, aspect ratio kept; as it is where that is None.

    Sides are cut to whole pixels and are at least 1.
    """
    if protocol.fit_wh is None:
        return image
    scale = min(bound / side for bound, side in zip(protocol.fit_wh, image.size, strict=True))
    if scale >= 1 and not protocol.enlarge:
        return image
    width, height = (max(1, int(side * scale)) for side in image.size)
    return resize(image, (width, height))

"""Which questions are asked: those of a samples file, as many as the limit, the part's, image by image."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from iadr1 import protocols
from iadr1.errors import DataError, UsageError
from iadr1.metrics import choice
from iadr1.protocols import Protocol, Turn
from iadr1.records import Sample, meta_path, read_records
from iadr1.stages.evaluate.settings import Benchmark
from iadr1.stages.scoring import Shard, draw, shard_images

_KNOWLEDGE = "domain_knowledge"
"""Key of a samples file's sidecar: data set -> class -> state -> text."""


class Question(NamedTuple):
    """One turn, and the sample it asks."""

    sample: Sample
    turn: Turn


@dataclass(frozen=True)
class ImageQuestions:
    """What is asked about one image.

    Attributes:
        samples: All samples about the image in the file's order, asked or not: a protocol may put the texts of earlier
            questions before later ones, and no answer may depend on the limit.
        keys: Keys of the turns that are asked.
    """

    samples: tuple[Sample, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Asking:
    """How samples become turns.

    Attributes:
        protocol: The protocol.
        knowledge: Domain knowledge, for the protocols that give it.
        logprob: Whether the probabilities of the options are asked for.
    """

    protocol: Protocol
    knowledge: Mapping[str, Any] | None = None
    logprob: bool = False

    def turns(self, samples: Sequence[Sample]) -> list[Turn]:
        """The turns of all questions about one image.

        Raises:
            DataError: A sample cannot be asked; the message names it.
        """
        return protocols.turns(samples, self.protocol, knowledge=self.knowledge, logprob=self.logprob)

    def questions(self, images: Sequence[ImageQuestions], done: Collection[str]) -> Iterator[list[Question]]:
        """What is left to ask, image by image; made one image at a time."""
        for image in images:
            by_id = {sample.id: sample for sample in image.samples}
            wanted = set(image.keys).difference(done)
            turns = self.turns(image.samples) if wanted else []
            left = [Question(by_id[turn.sample_id], turn) for turn in turns if turn.key in wanted]
            if left:
                yield left


def read_knowledge(data: Path) -> Mapping[str, Any]:
    """The domain knowledge beside a samples file: data set -> class -> state -> text.

    Raises:
        UsageError: The file has none.
        DataError: The sidecar is not JSON.
    """
    path = meta_path(data)
    hint = "'iadr1 prepare mmad' puts MMAD's domain_knowledge.json there; leave --domain-knowledge out otherwise"
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get(_KNOWLEDGE)
    except FileNotFoundError as error:
        raise UsageError("there is no domain knowledge: no such file", where=str(path), hint=hint) from error
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"cannot read the sidecar: {error}", where=str(path)) from error
    if not isinstance(found, dict) or not found:
        raise UsageError(f"there is no domain knowledge under {_KNOWLEDGE!r}", where=str(path), hint=hint)
    return found


def read_samples(data: Path, benchmark: Benchmark) -> list[Sample]:
    """The samples of a benchmark, in the file's order.

    Raises:
        UsageError: The file is missing or empty.
        DataError: A sample cannot be asked or scored; `where` names it.
    """
    if not data.is_file():
        raise UsageError(f"no samples file {str(data)!r}", hint="run 'iadr1 prepare' first or give --data")
    every = list(_checked(data, benchmark))
    if not every:
        raise UsageError("the samples file is empty", where=str(data), hint="run 'iadr1 prepare' again")
    return every


def choose(
    samples: Sequence[Sample], asking: Asking, *, limit: int | None, seed: int, shard: Shard | None = None
) -> list[ImageQuestions]:
    """What is asked: all that the protocol asks, or as many as `limit`, drawn at random; of these the shard's images.

    Raises:
        UsageError: There are fewer images than shards.
        DataError: A sample cannot be asked under this protocol; the message names it.
    """
    asked = protocols.asked(samples, asking.protocol)
    asked = [asked[place] for place in draw(len(asked), limit, seed)]
    chosen = {sample.id for sample in asked}
    every = list(dict.fromkeys(sample.image for sample in asked))
    by_image: dict[str, list[Sample]] = {image: [] for image in (shard_images(every, shard) if shard else every)}
    for sample in samples:
        if sample.image in by_image:
            by_image[sample.image].append(sample)
    images = [
        ImageQuestions(tuple(group), tuple(turn.key for turn in asking.turns(group) if turn.sample_id in chosen))
        for group in by_image.values()
    ]
    _refuse_doubled(key for image in images for key in image.keys)
    return images


def _refuse_doubled(keys: Iterable[str]) -> None:
    """A sample may be called `a#1`, which is also the key of the first rotation of `a`."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise DataError(
                "it is also the key of a rotation of another sample's options",
                where=f"sample {key!r}",
                hint="rename the sample, or ask without --option-order circular",
            )
        seen.add(key)


def _checked(data: Path, benchmark: Benchmark) -> Iterator[Sample]:
    seen: set[str] = set()
    for number, sample in enumerate(read_records(data, Sample), start=1):
        where = f"{data}: sample {number} ({sample.id!r})"
        if sample.id in seen:
            raise DataError("its id occurs twice", where=where)
        if sample.task != benchmark.task:
            message = f"its task is {sample.task!r}, the benchmark asks {benchmark.task!r}"
            raise UsageError(message, where=where, hint="give the benchmark's samples with --data")
        fault = _fault(sample, benchmark)
        if fault:
            raise DataError(fault, where=where)
        seen.add(sample.id)
        yield sample


def _fault(sample: Sample, benchmark: Benchmark) -> str:
    """Why a sample cannot be asked or scored; empty where it can."""
    if benchmark.task == "grounding":
        return "" if any(defect.box for defect in sample.defects) else "it has no box to find"
    if benchmark.task == "choice" and sample.reported_as not in choice.SUBTASKS:
        known = ", ".join(choice.SUBTASKS)
        old = "files of older versions must be prepared again"
        return f"its subtask {sample.reported_as!r} is none of MMAD's: {known}; {old}"
    needs_truth = benchmark.task == "anomaly" or sample.reported_as == choice.DETECTION
    if needs_truth and sample.is_anomalous is None:
        return "it does not say whether the image is anomalous"
    return ""

"""How long prompts are, in tokens, and whether they and their answers fit into the model's context.

Text is tokenised in batches and image tokens are foreseen from the images' sizes by the family's profile: no image is
decoded and no model is run. Both trainers pass prompts on whole, so one that is too long fails hours into a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from iadr1.config import SftConfig, TrainConfig, TrainingConfig
from iadr1.errors import DataError
from iadr1.geometry import Size
from iadr1.images import image_size
from iadr1.models.base import Profile
from iadr1.prompts import Format, render_prompt, render_target
from iadr1.records import Sample
from iadr1.stages.training.data import FORMAT_OF_TASK, slots
from iadr1.stages.training.limits import answer_formats

if TYPE_CHECKING:
    from iadr1.stages.training.session import Loaded

Dialogue = list[dict[str, Any]]


class Counted(NamedTuple):
    """Of one dialogue: the tokens of its text, marks of images not counted, and those marks."""

    text: int
    marks: int


TextTokens = Callable[[list[Dialogue]], list[Counted]]
"""Counts dialogues."""

BATCH = 256
"""Dialogues tokenised at once."""
CHARACTERS_PER_TOKEN = 3.0
"""Of English prompts with tags, on the careful side: where there is no tokenizer to ask."""
TEMPLATE_TOKENS = 32
"""Of a chat template around one question, on the careful side."""


@dataclass(frozen=True)
class Questions:
    """What a run asks, and how.

    Attributes:
        samples: In the order of `file`.
        file: Where they were read, for messages.
        root: Folder their image paths are relative to.
        shots: References shown before each image.
        format_of: The format a sample is answered in.
        with_answers: The perfect answer belongs to the sequence (SFT).
    """

    samples: Sequence[Sample]
    file: Path
    root: Path
    shots: int
    format_of: Callable[[Sample], Format]
    with_answers: bool = False


@dataclass(frozen=True)
class Prompt:
    """One sample's prompt.

    Attributes:
        id: The sample's.
        text_tokens: Tokens of everything that is not an image, with the answer where that is trained on.
        images: Stored size of each image, (width, height) in pixels.
    """

    id: str
    text_tokens: int
    images: tuple[Size, ...]

    def image_tokens(self, profile: Profile) -> int:
        """Tokens that hold the images.

        Raises:
            ImageError: An image of such a size cannot be taken.
        """
        return sum(profile.image_tokens(size, images=len(self.images)) for size in self.images)

    def tokens(self, profile: Profile) -> int:
        """All tokens of the prompt."""
        return self.text_tokens + self.image_tokens(profile)


def questions_of(config: TrainingConfig, samples: Sequence[Sample], root: Path) -> Questions:
    """What a run of these settings asks: for SFT yes/no samples in `answer_format`, all others as their task has it."""
    supervised = isinstance(config, SftConfig)
    asked = answer_formats(config) if isinstance(config, SftConfig) else (FORMAT_OF_TASK["anomaly"],)
    # Of several the one with the longest answers counts: the bare word is the shortest.
    for_anomalies = max(asked, key=("direct", "structured", "boxes").index)

    def choose(sample: Sample) -> Format:
        return for_anomalies if sample.task == "anomaly" else FORMAT_OF_TASK[sample.task]

    return Questions(samples, config.data, root, config.shots, choose, with_answers=supervised)


def answer_room(config: TrainingConfig) -> int:
    """Tokens kept free for an answer: `max_new_tokens`, and none for SFT, whose answers belong to the sequence."""
    return config.max_new_tokens if isinstance(config, TrainConfig) else 0


def check_run(config: TrainingConfig, samples: Sequence[Sample], root: Path, loaded: Loaded) -> None:
    """`check_context` for a run whose model and processor are there.

    Raises:
        DataError: As `check_context`.
        ImageError: As `check_context`.
    """
    check_context(
        questions_of(config, samples, root),
        profile=loaded.profile,
        processor=loaded.processor,
        model_config=loaded.model.config,
        max_new_tokens=answer_room(config),
    )


def measure(questions: Questions, profile: Profile, text_tokens: TextTokens) -> list[Prompt]:
    """The prompts of all samples, in order.

    Raises:
        ImageError: The header of an image cannot be read.
        DataError: A sample's text holds the model's own mark of an image: each mark is replaced by an image's tokens.
    """
    known: dict[str, Size] = {}
    sizes = [_sizes(sample, questions, known) for sample in questions.samples]
    counts: list[Counted] = []
    for start in range(0, len(sizes), BATCH):
        part = zip(questions.samples[start : start + BATCH], sizes[start : start + BATCH], strict=True)
        counts += text_tokens([_dialogue(sample, own[-1], questions, profile) for sample, own in part])
    for sample, count, own in zip(questions.samples, counts, sizes, strict=True):
        if count.marks != len(own):
            raise DataError(
                f"sample {sample.id!r} has {len(own)} images, but its prompt {count.marks} of the model's marks of one",
                where=str(questions.file),
                hint="its text holds such a mark (<|image_pad|>, <image>, ...): take it out",
            )
    return [
        Prompt(sample.id, count.text, own) for sample, count, own in zip(questions.samples, counts, sizes, strict=True)
    ]


def _dialogue(sample: Sample, image_wh: Size, questions: Questions, profile: Profile) -> Dialogue:
    fmt = questions.format_of(sample)
    prompt = render_prompt(sample, fmt, shots=questions.shots)
    if not questions.with_answers:
        return prompt
    answer = render_target(sample, fmt, frame=profile.frame(image_wh))
    return [*prompt, {"role": "assistant", "content": [{"type": "text", "text": answer}]}]


def _sizes(sample: Sample, questions: Questions, known: dict[str, Size]) -> tuple[Size, ...]:
    """Sizes of a prompt's images in their order; a file is looked at once, and not where the sample says its size."""
    if sample.image_size is not None:
        known.setdefault(sample.image, sample.image_size)
    for path in slots(sample, questions.shots):
        if path not in known:
            known[path] = image_size(questions.root / path)
    return tuple(known[path] for path in slots(sample, questions.shots))


def tokenized(processor: Any) -> TextTokens:
    """Counts with the model's own chat template and tokenizer, exactly what the processor makes of the text.

    A mark of a video counts as a mark too: there are none, and the processor would look for the clip.
    """
    # InternVL's processor writes these around each image, in place of the template's mark.
    wraps = hasattr(processor, "start_image_token") and hasattr(processor, "end_image_token")
    names = [getattr(processor, name, None) for name in ("image_token", "video_token")]
    # A mark that the tokenizer does not know is no token of its own.
    known = {processor.tokenizer.convert_tokens_to_ids(name) for name in names if name is not None}
    marks = known - {processor.tokenizer.unk_token_id}

    def count(dialogues: list[Dialogue]) -> list[Counted]:
        texts = [
            processor.apply_chat_template(
                dialogue, tokenize=False, add_generation_prompt=dialogue[-1]["role"] != "assistant"
            )
            for dialogue in dialogues
        ]
        # Not verbose: what is too long is said by `check_context`, with the sample.
        ids = processor.tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
        found = [sum(token in marks for token in row) for row in ids]
        # The template's mark of an image is one token, which the image's own take the place of.
        return [Counted(len(row) + (1 if wraps else -1) * own, own) for row, own in zip(ids, found, strict=True)]

    return count


def estimated(dialogues: list[Dialogue]) -> list[Counted]:
    """Counts without a tokenizer: a guess from the number of characters, on the careful side."""
    return [
        Counted(TEMPLATE_TOKENS + round(_characters(dialogue) / CHARACTERS_PER_TOKEN), _images(dialogue))
        for dialogue in dialogues
    ]


def _parts(dialogue: Dialogue) -> list[dict[str, str]]:
    return [part for message in dialogue for part in message["content"]]


def _images(dialogue: Dialogue) -> int:
    return sum(part["type"] == "image" for part in _parts(dialogue))


def _characters(dialogue: Dialogue) -> int:
    return sum(len(part.get("text", "")) for part in _parts(dialogue))


def context_limit(model_config: Any) -> int:
    """Tokens that the language model was made for: `max_position_embeddings`."""
    return int(model_config.get_text_config().max_position_embeddings)


def check_context(
    questions: Questions, *, profile: Profile, processor: Any, model_config: Any, max_new_tokens: int = 0
) -> list[Prompt]:
    """Make sure, before training starts, that every prompt and the longest answer to it fit into the context.

    Args:
        questions: The samples and how they are questions.
        profile: The model's, within the run's `max_pixels`.
        processor: The model's.
        model_config: The model's transformers config.
        max_new_tokens: Room for an answer; 0 where `questions.with_answers`.

    Returns:
        The prompts, measured.

    Raises:
        DataError: One does not fit; the longest is named, with its tokens, the limit and what to do. Or a sample's
            text holds the model's own mark of an image.
        ImageError: An image cannot be read or taken.
    """
    prompts = measure(questions, profile, tokenized(processor))
    limit = context_limit(model_config)
    longest = max(prompts, key=lambda prompt: prompt.tokens(profile))
    if longest.tokens(profile) + max_new_tokens > limit:
        raise too_long(longest, profile, file=questions.file, limit=limit, max_new_tokens=max_new_tokens)
    return prompts


def too_long(prompt: Prompt, profile: Profile, *, file: Path, limit: int, max_new_tokens: int) -> DataError:
    """The error about a prompt that does not fit."""
    images, tokens = prompt.image_tokens(profile), prompt.tokens(profile)
    answer = f" and {max_new_tokens} of the answer" if max_new_tokens else ""
    others = "" if len(prompt.images) == 1 else f" in {len(prompt.images)} images"
    # The larger share is what can be made smaller.
    steps = ["lower max_pixels" if images > prompt.text_tokens else "leave the sample out"]
    steps += ["fewer shots"] if len(prompt.images) > 1 else []
    steps += ["lower max_new_tokens"] if max_new_tokens > 0 else []
    return DataError(
        f"sample {prompt.id!r} has {tokens} tokens ({prompt.text_tokens} of text, {images}{others}){answer}: "
        f"the model's context holds {limit}",
        where=str(file),
        hint="; ".join(steps),
    )

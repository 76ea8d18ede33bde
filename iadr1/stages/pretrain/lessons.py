"""What the language model learns from an image: prompts and answers of this project, as token ids."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iadr1.datasets.synthetic.questions import name_option
from iadr1.models.base import Profile
from iadr1.prompts import Format, question_text, render_prompt, render_target
from iadr1.records import Sample
from iadr1.stages.pretrain.scenes import Scene, Scenes

_GROUNDING_SHARE = 0.3
"""Of the second lessons of images that have referring expressions."""
_BARE_SHARE = 0.7
"""Of the drills that hold the options alone: a look-up over a short distance is learned first, at half the cost."""
_POOL_IMAGES = 1500
"""Images whose options the drills draw from."""


@dataclass(frozen=True)
class Lesson:
    """Ids of the prompt, and of the answer, which is graded."""

    prompt: list[int]
    target: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


class Lessons:
    """Draws and tokenises lessons.

    Args:
        scenes: The images.
        processor: Of a model with one square input.
        profile: Its profile.
        image_tokens: Tokens of an image.
        formats: Shares of the verdict formats.
    """

    def __init__(
        self, scenes: Scenes, processor: Any, profile: Profile, *, image_tokens: int, formats: Mapping[Format, float]
    ) -> None:
        self._scenes, self._processor, self._profile = scenes, processor, profile
        self._slot, self._slots = processor.image_token, processor.image_token * image_tokens
        self._formats, self._shares = list(formats), list(formats.values())
        self._ends: tuple[int, ...] = (processor.tokenizer.eos_token_id,)
        self._options = self._pool()

    def about(self, scene: Scene, size: tuple[int, int], rng: random.Random, *, count: int, shots: int) -> list[Lesson]:
        """`count` lessons about an image: a verdict first, then questions and referring expressions.

        Args:
            scene: The image.
            size: (width, height) of the stored image.
            rng: Where chance comes from.
            count: How many.
            shots: References shown before it, 0 or 1.
        """
        fmt = rng.choices(self._formats, weights=self._shares)[0]
        lessons = [self._lesson(self._scenes.verdict(scene), fmt, size, shots)]
        choice, grounding = scene.lines.get("choice"), scene.lines.get("grounding")
        while len(lessons) < count and (choice or grounding):
            ground = grounding and (not choice or rng.random() < _GROUNDING_SHARE)
            sample = self._scenes.sample(rng.choice(grounding if ground else choice))  # type: ignore[arg-type]
            lessons.append(self._lesson(sample, "grounding" if ground else "choice", size, shots))
        return lessons

    def bare_boxes(self, scene: Scene, size: tuple[int, int]) -> Lesson:
        """The boxes' answer behind the image alone, without a question: the same answer at half the tokens."""
        asked = self._lesson(self._scenes.verdict(scene), "boxes", size, shots=0)
        slot = self._processor.tokenizer.convert_tokens_to_ids(self._slot)
        first, last = asked.prompt.index(slot), len(asked.prompt) - asked.prompt[::-1].index(slot)
        return Lesson(asked.prompt[first - 1 : last + 1], asked.target)  # with the marks around the image

    def drill(self, rng: random.Random) -> Lesson:
        """A lesson without an image: find a text that is given among the options, and name its letter."""
        texts = dict(zip("ABCD", rng.sample(self._options, 4), strict=True))
        answer = rng.choice("ABCD")
        sample = Sample(
            id="drill", dataset="drill", category="drill", split="train", image="none", task="choice",
            question=rng.choice(_QUESTIONS), options=texts, answer=answer, question_type="drill",
            reasoning=f"It is {texts[answer]}. {name_option(texts, answer)}",
        )  # fmt: skip
        asked = question_text(sample, "choice")
        if rng.random() < _BARE_SHARE:
            asked = "\n".join(f"{letter}. {text}" for letter, text in texts.items())
        message = [{"role": "user", "content": [{"type": "text", "text": asked}]}]
        # What it is cannot be known without an image: that much of the answer is not graded.
        given, space, graded = render_target(sample, "choice").partition(" This is ")
        prompt, known, target = self._ids([self._template(message), given, f"{space}{graded}"])
        return Lesson([*prompt, *known], target)

    def _lesson(self, sample: Sample, fmt: Format, size: tuple[int, int], shots: int) -> Lesson:
        prompt = self._template(render_prompt(sample, fmt, shots=shots)).replace(self._slot, self._slots)
        target = render_target(sample, fmt, frame=self._profile.frame(size))
        asked, answered = self._ids([prompt, target])
        return Lesson(asked, [*answered, *self._ends])

    def _template(self, messages: Sequence[Mapping[str, Any]]) -> str:
        return str(self._processor.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return [list(row) for row in self._processor.tokenizer(texts, add_special_tokens=False).input_ids]

    def _pool(self) -> list[str]:
        """Texts that are options somewhere."""
        found = {
            text
            for scene in self._scenes.items[:_POOL_IMAGES]
            for offset in scene.lines.get("choice", ())
            for text in self._scenes.sample(offset).options.values()
        }
        return sorted(found - {"Yes.", "No."})

    @property
    def can_drill(self) -> bool:
        """Whether there are options enough for drills."""
        return len(self._options) >= len("ABCD")


_QUESTIONS = ("Which?", "What is it?", "Which of these is meant here?", "What does the image show, in your opinion?")
"""Of different lengths, so that copying does not rely on its distance."""

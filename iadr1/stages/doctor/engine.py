"""The engine at work: it is loaded as the commands load it, scores one picture, and points at rectangles."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from iadr1 import prompts
from iadr1.config import DoctorConfig
from iadr1.errors import Iadr1Error, ModelError
from iadr1.geometry import BoxSpace
from iadr1.models.base import Engine, Request, Unweighed
from iadr1.models.profiles import PROFILES
from iadr1.records import Sample
from iadr1.stages.doctor.grounding import STORED, DrawnScene, Grounding, draw_scenes, ground
from iadr1.stages.doctor.rows import Row, State, attempt
from iadr1.stages.inspection.setup import engine_of

_GROUP, _BOXES = "engine", "boxes"


@runtime_checkable
class Served(Protocol):
    """An engine whose model another program runs, which lists its models."""

    def served(self) -> list[str] | None:
        """The names of the models; None where they cannot be had."""
        ...


def load(config: DoctorConfig) -> tuple[Engine | None, Row]:
    """The engine of the config with the row of its loading; None where it cannot be loaded."""
    loaded: list[Engine] = []

    def check() -> Row:
        started = time.perf_counter()
        engine = engine_of(config)
        loaded.append(engine)
        seconds = time.perf_counter() - started
        return Row(_GROUP, "model", "ok", f"{engine.model} by {engine.name} in {seconds:.1f} s, {engine.fingerprint}")

    row = attempt(_GROUP, "model", check)
    return (loaded[0] if loaded else None), row


def served_row(config: DoctorConfig, served: Callable[[], list[str] | None]) -> Row:
    """Whether the server's list of models names the model; a list without it proves nothing yet.

    Args:
        config: Names address and model.
        served: Asks for the list; None where the server gives none.
    """
    names = served()
    if names is None:
        found = f"{config.base_url}/models gives no list; the request below decides"
        return Row(_GROUP, "served models", "warn", found, f"curl {config.base_url}/models")
    if config.model in names:
        return Row(_GROUP, "served models", "ok", f"{config.base_url} lists {config.model!r}")
    listed = ", ".join(names[:5]) or "none"
    found = f"{config.base_url} does not list {config.model!r}; listed: {listed}"
    return Row(_GROUP, "served models", "warn", found, f"--model {names[0]}" if names else "the request below decides")


def answer_row(engine: Engine) -> Row:
    """One tiny request: does any text come back?"""

    def check() -> Row:
        (completion,) = engine.generate([_question(draw_scenes(1)[0])], max_new_tokens=8)
        if completion.error is not None:
            raise ModelError(completion.error, hint="see the row of the served models and the server's log")
        tokens = f"{completion.prompt_tokens} tokens read, {completion.completion_tokens} written"
        return Row(_GROUP, "answer", "ok", f"{completion.text[:40]!r}, {tokens}, {completion.seconds:.1f} s")

    return attempt(_GROUP, "answer", check)


def _question(scene: DrawnScene) -> Request:
    sample = Sample(
        id="doctor",
        dataset="doctor",
        category="drawn",
        split="doctor",
        image="doctor",
        task="grounding",
        question=prompts.DETECT_QUESTION,
        question_type="doctor",
    )
    return Request("doctor", prompts.render_prompt(sample, "direct"), scene.request.images)


def probability_row(engine: Engine) -> Row:
    """Whether the engine gives the probabilities that scores, `calibrate` and `--scoring logprob` need."""
    advice = "without them: iadr1 detect --mode think, iadr1 eval --scoring text"
    try:
        (shares,) = engine.probabilities([_question(draw_scenes(1)[0])], ("Yes", "No"))
    except ModelError as error:
        return Row(_GROUP, "probabilities", "warn", error.message, error.hint or advice)
    if isinstance(shares, Unweighed):
        return Row(_GROUP, "probabilities", "fail", shares.reason)
    if "Yes" not in shares:
        return Row(_GROUP, "probabilities", "warn", "none of Yes and No", advice)
    return Row(_GROUP, "probabilities", "ok", f"of Yes and No, {shares['Yes']:.2f} for Yes on a plain picture")


# boxes


def grounding_row(engine: Engine, config: DoctorConfig) -> tuple[Row, Grounding | None]:
    """The self-test's row and its figures; None where it could not be made."""
    try:
        found = ground(engine, draw_scenes(config.scenes), max_new_tokens=config.max_new_tokens)
    except Iadr1Error as error:
        # Stored answers are to other questions.
        state: State = "skip" if engine.name == "replay" else "fail"
        return Row(_BOXES, "space", state, error.message, error.hint or ""), None
    if not found.answered:
        return Row(_BOXES, "space", "fail", f"no answer: {found.example}", "mend what stands above first"), found
    return _judged(found, engine), found


def _judged(found: Grounding, engine: Engine) -> Row:
    if found.verdict == "agrees":
        return Row(_BOXES, "space", "ok", f"agrees with the profile ({found.expected}); {found.why}")
    if found.verdict == "disagrees":
        told = f"disagrees: the profile of {engine.profile.family} says {found.expected}, looks like {found.best}"
        return Row(_BOXES, "space", "fail", f"{told}; {found.why}", _mend(found.best, engine))
    said = f"first answer: {found.example[:120]!r}"
    advice = "more pictures decide more (--scenes 40); a model that cannot point gives no boxes to trust either"
    return Row(_BOXES, "space", "warn", f"not conclusive; {found.why}; {said}", advice)


def _mend(best: str, engine: Engine) -> str:
    if best == STORED:
        return "it was trained, or is served, without its family's resize: train it again with iadr1, or serve it so"
    families = [name for name, profile in PROFILES.items() if profile.box_space is BoxSpace(best)]
    if engine.name == "server":
        return f"name the family of the model that is served, one of: --family {', '.join(families)}"
    return (
        f"detect and eval would read its boxes wrongly: it was trained on boxes as {', '.join(families)} write them; "
        f"train it on boxes of its own family with iadr1 train"
    )
